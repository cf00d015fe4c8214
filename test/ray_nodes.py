"""A Ray cluster of several nodes on this host, patient enough for a machine that is busy with other things."""

import os
import socket
from contextlib import ExitStack, contextmanager

# Ray's own limits are those of idle machines: 15 s for an agent to say its port, 30 s for a node to be there.
PATIENCE = {
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def node_arguments(**arguments) -> dict:
    """Those of Cluster.add_node; ports that are named need not be waited for."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in PORTS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = {name: one.getsockname()[1] for name, one in zip(PORTS, sockets)}
    return {"object_store_memory": 80_000_000, **ports, **arguments}


@contextmanager
def _agents_may_be_late():
    """A raylet gives up 15 s after its start unless its agent, a Python program, has said its port: say it at once.

    -1 is what the agent says itself of a service that is not in use, as none of the dashboard's is here.
    """
    from ray._private import services
    from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME, persist_port

    start_raylet = services.start_raylet

    def start(*arguments, **others):
        node_id, session = arguments[2], arguments[11]
        persist_port(session, node_id, DASHBOARD_AGENT_LISTEN_PORT_NAME, -1)
        return start_raylet(*arguments, **others)

    services.start_raylet = start
    try:
        yield
    finally:
        services.start_raylet = start_raylet


@contextmanager
def ray_cluster(nodes: int):
    """A head that does no jobs, and nodes of one processor each; gives ray.cluster_utils.Cluster."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.update(PATIENCE, PYTHONPATH=os.pathsep.join([os.getcwd(), os.path.dirname(__file__)]))
    head = node_arguments(num_cpus=0, include_dashboard=False, include_log_monitor=False)
    with _agents_may_be_late():
        cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        add_nodes(cluster, nodes)
        yield cluster
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def add_nodes(cluster, nodes: int) -> None:
    """Have so many nodes beside the head."""
    with _agents_may_be_late():
        while len(cluster.worker_nodes) < nodes:
            cluster.add_node(**node_arguments(num_cpus=1))


def command_line(words: list[str]) -> None:
    """`ray WORDS`, as patient."""
    from ray.scripts.scripts import cli

    os.environ.update(PATIENCE)
    with _agents_may_be_late():
        cli(words)
