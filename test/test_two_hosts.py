"""Training, jobs and a cell over two hosts with a cable between them, and what happens when it is pulled."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from learning_data import random_episodes
from test_policy_server import save_untrained
from two_hosts import needs_root, two_hosts

from am_ros.bags.episodes import write_episode
from am_ros.bags.finder import find_bags
from am_ros.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), needs_root]

HERE = Path(__file__).parent
CUT_S = 3.0
AM_ROS = (sys.executable, "-m", "am_ros.cli")


@pytest.fixture
def hosts():
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture
def tmp_path():
    """Not in /dev/shm, as conftest.py has it: each host has a /dev/shm of its own."""
    with tempfile.TemporaryDirectory(prefix="two_hosts_", dir="/tmp") as folder:
        yield Path(folder)


def peers_of(hosts, name: str) -> dict[str, str]:
    """The settings of docs/cluster.md on one of them: it is found by this host and by the other, by nobody else."""
    (other,) = (host for host in hosts.values() if host.name != name)
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_STATIC_PEERS": other.address, "ROS_DOMAIN_ID": "7"}


def start(hosts, name: str, *words, **env):
    return hosts[name].start(*words, OMP_NUM_THREADS="1", PYTHONPATH=f"{Path.cwd()}:{HERE}", **env)


def lines_of(process):
    """The lines of JSON that a process says, as they come."""
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)
        else:
            print(line, end="")


# ------------------------------------------------------------------------------------------------------ ROS


@pytest.mark.needs_quiet(0.2)
@pytest.mark.parametrize("discovery", ["peers", "subnet"])
def test_images_reach_the_other_host(hosts, discovery):
    count = 150
    env = {name: peers_of(hosts, name) for name in hosts}
    if discovery == "subnet":
        env = {name: {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_DOMAIN_ID": "7"} for name in hosts}
    counter = start(hosts, "gpuhost", sys.executable, HERE / "image_counter.py", 5.0, **env["gpuhost"])
    talker = start(hosts, "armhost", sys.executable, HERE / "image_talker.py", count, 15.0, "now", **env["armhost"])
    assert talker.wait(300) == 0, talker.stdout.read()
    (seen,) = lines_of(counter)
    print(f"images of 472x472 px by {discovery}: {seen}")
    assert seen["count"] >= 0.95 * count


@pytest.mark.needs_quiet(0.3)  # a controller that did not run for half a second says so, and stops
def test_a_cut_link_stops_the_arm_ends_the_goal_by_name_and_service_comes_back(hosts, tmp_path):
    policy = save_untrained(tmp_path / "policy" / "checkpoint")
    params = tmp_path / "mine.yaml"
    params.write_text("/**/policy_server: {ros__parameters: {goal_check: 'off', samples: 8}}\n")
    up = [*AM_ROS, "up", "sim", f"params_file:={params}", "--log-dir"]
    env = {name: peers_of(hosts, name) | {"HOME": str(tmp_path / name)} for name in hosts}
    there = [f"policy:={policy}", "part:=policy"]
    server = start(hosts, "gpuhost", *up, tmp_path / "gpuhost_log", *there, **env["gpuhost"])
    arm = start(hosts, "armhost", *up, tmp_path / "armhost_log", "part:=arm", **env["armhost"])
    try:
        operator = hosts["armhost"].start(
            sys.executable, HERE / "two_hosts_operator.py", stdin=subprocess.PIPE, PYTHONPATH=f"{Path.cwd()}:{HERE}",
            **env["armhost"],
        )  # fmt: skip
        said = {}
        for line in lines_of(operator):
            print(line)
            said[line.pop("what")] = line
            if "still" not in said and "moving" in said:
                hosts["armhost"].link("down")
                cut = time.monotonic()
                print("cut", file=operator.stdin, flush=True)
            elif "still" in said and "ended" not in said:
                time.sleep(max(0.0, cut + CUT_S - time.monotonic()))
                hosts["armhost"].link("up")
                print("up", file=operator.stdin, flush=True)
        assert operator.wait(60) == 0
    finally:
        for process in (arm, server):
            process.terminate()
            print(process.communicate(timeout=60)[0][-3000:])
    assert said["reached"]["steps"] == 3 and said["again"]["steps"] == 3
    assert said["still"]["after_s"] < 20
    assert said["ended"]["end"] > 0 and ": " in said["ended"]["reason"] and "unknown" not in said["ended"]["reason"]


# ------------------------------------------------------------------------------------------- training, and jobs


def test_torchrun_trains_over_two_hosts(hosts, tmp_path):
    from am_ros.action import ActionSpace

    for name in hosts:
        for episode in random_episodes(12, steps=5, size=64):
            write_episode(episode, tmp_path / name / "bags", ActionSpace())
    runs = []
    for rank, name in enumerate(hosts):
        torchrun = (sys.executable, "-m", "torch.distributed.run", "--nnodes", 2, "--nproc-per-node", 1)
        meet = ("--node-rank", rank, "--master-addr", hosts["gpuhost"].address, "--master-port", 29500)
        folder = tmp_path / name
        train = ["train", folder / "bags", "--out", tmp_path / "out", "--updates", 5, "--batch-size", 16]
        train += ["--replay", folder / "replay", "--own-data", "true"]
        runs.append(start(hosts, name, *torchrun, *meet, "-m", "am_ros.cli", *train, GLOO_SOCKET_IFNAME="eth0"))
    for run in runs:
        said, _ = run.communicate(timeout=600)
        assert run.returncode == 0, said[-3000:]
    assert (tmp_path / "out" / "checkpoint").exists()


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: `make slow` installs it")
def test_ray_spreads_jobs_over_two_hosts(hosts, tmp_path):
    nodes = [sys.executable, "-c", "import sys, ray_nodes; ray_nodes.command_line(sys.argv[1:])", "start", "--block"]
    head = f"{hosts['gpuhost'].address}:6379"
    roles = {"gpuhost": ("--head", "--port=6379", "--include-dashboard=false"), "armhost": (f"--address={head}",)}
    for name, role in roles.items():
        address = f"--node-ip-address={hosts[name].address}"
        start(hosts, name, *nodes, *role, address, "--num-cpus=1")
    words = ["collect", "--task", "reach", "--episodes", "60", "--seed", "3", "--out"]
    deadline = time.monotonic() + 300
    while True:
        collect = start(hosts, "gpuhost", *AM_ROS, *words, tmp_path / "ray", "--ray", head)
        said, _ = collect.communicate(timeout=600)
        if collect.returncode == 0 or time.monotonic() > deadline:
            break
        time.sleep(5)  # until the head is there
    assert collect.returncode == 0, said[-3000:]
    assert main([*words, str(tmp_path / "local")]) == 0
    assert {bag.name for bag in find_bags(tmp_path / "ray")} == {bag.name for bag in find_bags(tmp_path / "local")}
