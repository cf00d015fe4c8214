"""Nobody runs open who asked for security, and nothing that comes over the network becomes a path or a program."""

import ast
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from am_msgs.action import ReachGoal
from am_msgs.msg import EpisodeEvent, Step
from am_msgs.srv import CheckGoal, DeleteGoal, GetGoal, LabelEpisode, LoadCheckpoint, RecordGoal, StartEpisode
from conftest import wait_until

from am_ros import images
from am_ros.action import ActionSpace
from am_ros.bags.assembler import EpisodeAssembler
from am_ros.cell.environment import child_environment
from am_ros.cell.graph import NodeSpec, sim_nodes
from am_ros.cell.security import check_security, enclave, security_environment, why_unavailable
from am_ros.cell.security_policy import OPERATOR, cell_policy, policy_file, policy_text, read_policy
from am_ros.cli import main
from am_ros.episode import MAX_REASON, MAX_TEXT, EpisodeInfo
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.paths import inside
from am_ros.pretrained import find_checkpoint
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.backlog import Backlog
from am_ros.ros.node.common import RELIABLE_QOS

PACKAGE = Path(__file__).parents[1] / "am_ros"
ON = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}


# -- discovery ------------------------------------------------------------------------------------------------------


def packets(domain: int, seconds: float) -> dict[str, int]:
    """UDP packets to the ports of a ROS domain, by network interface; skips where this may not be looked at."""
    try:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
    except PermissionError:
        pytest.skip("only root may look at all packets")
    wire.settimeout(0.1)
    first, seen, end_s = 7400 + 250 * domain, Counter(), time.monotonic() + seconds
    while time.monotonic() < end_s:
        try:
            data, (interface, *_) = wire.recvfrom(65_535)
        except TimeoutError:
            continue
        if data[12:14] == b"\x08\x00" and data[23] == socket.IPPROTO_UDP:
            (port,) = struct.unpack_from("!H", data, 14 + 4 * (data[14] & 15) + 2)
            seen[interface] += first <= port < first + 250
    wire.close()
    return +seen


@pytest.mark.slow
def test_a_node_says_nothing_to_the_network_unless_told_to(start_node, ros_env, tmp_path):
    domain = int(ros_env["ROS_DOMAIN_ID"])
    quiet = start_node("goal_registry", folder=str(tmp_path / "goals"), ready="ready")
    heard = packets(domain, 3.0)
    assert set(heard) == {"lo"} and heard["lo"] > 10
    quiet.stop()
    loud = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    start_node("goal_registry", folder=str(tmp_path / "goals"), env=loud, ready="ready")
    if not set(packets(domain, 3.0)) - {"lo"}:
        pytest.skip("there is no network to be heard on")


# -- DDS-Security ---------------------------------------------------------------------------------------------------


@pytest.fixture
def able(tmp_path):
    """An environment whose Fast DDS does not say that it lacks DDS-Security, as that of an apt install."""
    (tmp_path / "librmw_fastrtps_shared_cpp.so").write_bytes(b"\x7fELF and so on")
    (tmp_path / "keys" / "enclaves").mkdir(parents=True)
    return {"LD_LIBRARY_PATH": str(tmp_path), **security_environment(str(tmp_path / "keys"))}


def test_security_that_is_asked_for_and_to_be_had_is_let_pass(able):
    check_security(able)


@pytest.mark.parametrize("text", ["", "false", "False", "0", "no", "off"])
def test_who_does_not_want_security_goes_without(text):
    check_security({"ROS_SECURITY_ENABLE": text, "ROS_SECURITY_STRATEGY": "Enforce"})
    check_security({})


@pytest.mark.parametrize("text", ["True", "TRUE", "1", "yes", "on", "true ", "enforce"])
def test_spellings_that_ros_takes_for_no_are_refused(able, text):
    with pytest.raises(AmRosError, match="security_misspelt: ROS_SECURITY_ENABLE is "):
        check_security({**able, "ROS_SECURITY_ENABLE": text})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ROS_SECURITY_STRATEGY": ""}, "security_permissive: ROS_SECURITY_STRATEGY is ''"),
        ({"ROS_SECURITY_STRATEGY": "enforce"}, "security_permissive"),
        ({"ROS_SECURITY_KEYSTORE": ""}, "security_keystore: ROS_SECURITY_KEYSTORE is ''"),
        ({"ROS_SECURITY_KEYSTORE": "/nowhere"}, "security_keystore"),
        ({"ROS_SECURITY_ENABLE": None}, "security_not_enabled: ROS_SECURITY_STRATEGY is Enforce"),
    ],
)
def test_settings_with_which_ros_would_run_open_are_refused(able, changes, sentence):
    environ = {name: text for name, text in {**able, **changes}.items() if text is not None}
    with pytest.raises(AmRosError, match=sentence):
        check_security(environ)


def test_a_library_that_is_not_found_counts_as_one_without_security(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert "is not known" in why_unavailable({"AMENT_PREFIX_PATH": str(tmp_path)})
    assert why_unavailable({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}) == ""


def test_what_is_said_of_this_installation_is_what_it_does(ros_env, tmp_path):
    """A node of plain rclpy, asked for security with an empty keystore, fails in the way that tells."""
    (tmp_path / "enclaves").mkdir()
    code = "import rclpy; rclpy.init(); rclpy.create_node('plain'); print('created')"
    env = child_environment({**ros_env, **security_environment(str(tmp_path))})
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=240)
    assert "created" not in done.stdout
    without = "doesn't have the security libraries" in done.stderr
    assert without == ("built without DDS-Security" in why_unavailable())


def test_nodes_and_programs_refuse_to_run_open_in_one_sentence(start_node, ros_env, monkeypatch, capsys):
    wanted = "security_unavailable" if why_unavailable() else "security_permissive"
    nodes = {
        "goal_registry": (start_node("goal_registry", env={"ROS_SECURITY_ENABLE": "True"}), "security_misspelt: "),
        "bringup": (start_node("bringup", env={"ROS_SECURITY_ENABLE": "true"}), wanted),
    }
    for name, (node, sentence) in nodes.items():
        assert node.wait() == 2
        assert any(line.startswith(f"{name}: {sentence}") for line in node.lines), node.output
        assert "Traceback" not in node.output
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "yes")
    assert main(["up", "sim"]) == 2
    assert "am-ros: security_misspelt: ROS_SECURITY_ENABLE is 'yes'" in capsys.readouterr().err
    with pytest.raises(AmRosError, match="security_misspelt"):
        RosClient("program")


def test_every_way_into_ros_asks_first():
    ways = {path for path in PACKAGE.rglob("*.py") if "rclpy.init(" in path.read_text()}
    assert {path.name for path in ways} == {"common.py", "client.py"}
    assert not [path for path in PACKAGE.rglob("*.py") if "from rclpy import init" in path.read_text()]
    for path in ways:
        assert "check_start(" in path.read_text() and "entering_ros()" in path.read_text()


def test_a_keystore_gives_every_node_its_enclave_and_is_refused_where_it_is_of_no_use(monkeypatch, capsys):
    values = security_environment("keys")
    assert values["ROS_SECURITY_KEYSTORE"] == os.path.abspath("keys") and security_environment("") == {}
    for spec in sim_nodes(security="keys", namespace="left"):
        command = spec.command()
        assert command[command.index("--enclave") + 1] == f"/am_ros/left/{spec.label}"
    assert not any("--enclave" in spec.command() for spec in sim_nodes())
    for name in values:
        monkeypatch.setenv(name, "")  # put back afterwards
    assert main(["up", "sim", "security:=/nowhere"]) == 2
    assert ("security_unavailable" if why_unavailable() else "security_keystore") in capsys.readouterr().err


# -- the policy -----------------------------------------------------------------------------------------------------


def test_the_policy_has_an_enclave_for_every_node_and_one_for_the_operator():
    nodes = {path.stem for path in (PACKAGE / "nodes").glob("*.py") if "def main(" in path.read_text()}
    assert nodes | {OPERATOR} == set(read_policy(policy_file()))


def test_the_policy_of_a_cell_follows_its_names_and_topics(tmp_path):
    arm = NodeSpec("cartesian_controller", namespace="left", remappings={"joint_states": "/lbr/joint_states"})
    file = tmp_path / "policy.xml"
    file.write_text(cell_policy([arm, NodeSpec("camera", name="eye", namespace="left")]))
    rights = read_policy(file)
    assert "/lbr/joint_states" in rights["cartesian_controller"].subscribes
    assert "joint_states" not in rights["cartesian_controller"].subscribes
    driven = NodeSpec("cartesian_controller", remappings={"joint_trajectory": "/lbr/controller/joint_trajectory"})
    file.write_text(cell_policy([driven]))
    status = "/lbr/controller/follow_joint_trajectory/_action/status"
    assert status in read_policy(file)["cartesian_controller"].subscribes
    file.write_text(cell_policy([arm, NodeSpec("camera", name="eye", namespace="left")]))
    text = file.read_text()
    assert f'<enclave path="{enclave("left", "eye")}">' in text and '<profile ns="/left" node="eye">' in text
    with pytest.raises(AmRosError, match="says nothing of the node nonsense"):
        cell_policy([NodeSpec("nonsense")])


def test_only_the_controller_may_command_the_arm():
    rights = read_policy(policy_file())
    assert [name for name, r in rights.items() if "joint_trajectory" in r.publishes] == ["cartesian_controller"]
    assert "cartesian_controller/move_cartesian" not in rights["camera"].calls
    assert policy_text({}) .startswith("<?xml")


# -- names, paths, sizes --------------------------------------------------------------------------------------------


def test_paths_from_the_network_stay_inside(tmp_path):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    assert inside("a", [root], "x") == inside(str(root / "a"), [root], "x") == (root / "a").resolve()
    assert inside("a", [root, Path("/")], "x") == (root / "a").resolve()
    for text in ("../secret", "a/../../secret", str(tmp_path / "secret"), "link", "link/deep", "/etc", "~/x/../..",
                 "", "a\0b", "a\nb", "a" * 2000):  # fmt: skip
        with pytest.raises(AmRosError, match="path_refused: "):
            inside(text, [root], "folder")
    with pytest.raises(AmRosError, match="parameter folder names no folder"):
        inside("a", [], "folder")


@pytest.fixture
def checkpoints(tmp_path):
    """Folders: `mine` with a checkpoint and a link that leads out, `outside` with another one."""
    found = checkpoint.load(find_checkpoint("pick_place"))
    for place in ("mine/good", "outside/good"):
        checkpoint.save(tmp_path / place, found.description, found.tensors)
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "outside" / "good")
    return tmp_path


def test_the_policy_server_loads_from_its_folder_alone_and_bounds_what_goals_ask_for(ros, start_node, checkpoints):
    start_node("policy_server", checkpoint=str(checkpoints / "mine" / "good"), samples=8, ready="serving")

    def load(path):
        return ros.call(LoadCheckpoint, "policy_server/load_checkpoint", path=str(path), timeout_s=30)

    mine, outside = checkpoints / "mine", checkpoints / "outside"
    for path in (outside / "good", mine / "link", mine / ".." / "outside" / "good", "/etc", "", "x" * 5000):
        answer = load(path)
        assert not answer.success and answer.message.startswith("path_refused: "), (path, answer.message)
        assert len(answer.message) < 6000 and answer.sha256  # the old one serves on
    assert load(mine / "good").success and load("pick_place").success and load("good").success
    endless = ros.send_goal(ReachGoal, "policy_server/reach_goal", goal_id="x", max_steps=4_000_000_000, timeout_s=20)
    assert endless.result(20).reason == "max_steps 4000000000: at most 1000"
    path = ros.send_goal(ReachGoal, "policy_server/reach_goal", goal_id="../../etc/passwd", max_steps=1)
    assert path.result(20).reason.startswith("goal id '../../etc/passwd': use 1 to 64 letters")


NAMED = (
    (RecordGoal, "goal_registry/record", "goal_id"),
    (CheckGoal, "goal_registry/check", "goal_id"),
    (DeleteGoal, "goal_registry/delete", "goal_id"),
    (StartEpisode, "episode_logger/start", "episode_id"),
    (LabelEpisode, "episode_logger/label", "episode_id"),
)


def test_registry_and_logger_take_names_for_names_and_bound_their_text(ros, start_node, tmp_path):
    start_node("goal_registry", folder=str(tmp_path / "goals"), fresh=False, ready="ready")
    logger = start_node("episode_logger", folder=str(tmp_path / "bags"), ready="ready")
    for name in ("../x", "/etc/passwd", "a/b", "a\nb", "", "x" * 65, ".", ".."):
        answer = ros.call(GetGoal, "goal_registry/get", goal_id=name)
        assert not answer.success and "use 1 to 64 letters" in answer.message
        if name:
            for service_type, service, field in NAMED:
                answer = ros.call(service_type, service, **{field: name})
                assert not answer.success and "use 1 to 64 letters" in answer.message, (service, name)
    answer = ros.call(StartEpisode, "episode_logger/start", episode_id="long", task="t" * (MAX_TEXT + 1))
    assert not answer.success and "task is longer than 200 characters" in answer.message
    events = ros.publisher(EpisodeEvent, "episode_event", RELIABLE_QOS)
    events.publish(EpisodeEvent(episode_id="../out", type=EpisodeEvent.START))
    events.publish(EpisodeEvent(episode_id="wordy", task="t" * 1_000_000, type=EpisodeEvent.START))
    wait_until(lambda: "task is longer than" in logger.output, 60, "the refusal of the event")
    assert "episode id '../out': use 1 to 64 letters" in logger.output
    assert not list(tmp_path.glob("out*")) and not list((tmp_path / "bags").iterdir())


def test_the_last_words_of_an_episode_are_cut_and_the_episode_is_kept():
    info = EpisodeInfo("e", reason="r" * 10_000)
    assert len(info.reason) == MAX_REASON and info.reason.endswith("r ...")


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def test_an_image_that_claims_to_be_huge_is_given_no_memory():
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2_500_000_000,) * 2)\n"
        "from am_ros import images\nfrom am_ros.errors import AmRosError\n"
        "try: images.decode(sys.stdin.buffer.read())\nexcept AmRosError as error: print('refused', error)"
    )
    command, data = [sys.executable, "-c", code], png_that_claims(60_000, 60_000)
    done = subprocess.run(command, input=data, capture_output=True, env=child_environment())
    assert done.stdout.startswith(b"refused image data: "), done.stderr
    with pytest.raises(AmRosError, match="has 300000000 bytes, more than"):
        images.decode(np.zeros(300_000_000, np.uint8))


class Bytes:
    """A message with so many bytes in it."""

    def __init__(self, count: int):
        self.data = b"0" * count


def test_messages_wait_for_a_thread_only_as_long_as_they_fit_and_its_own_jobs_always_do():
    backlog = Backlog(10_000)
    assert backlog.offer("a", Bytes(7_000)) and not backlog.offer("b", Bytes(7_000))
    backlog.put("job")
    assert backlog.get(1.0)[:2] == ("message", "a") and backlog.get(1.0) == "job" and backlog.empty()
    assert backlog.offer("b", Bytes(7_000))  # there is room again


def test_an_episode_that_never_ends_is_given_up():
    assembler = EpisodeAssembler(ActionSpace())
    with pytest.raises(AmRosError, match="episode 'endless': has more than 10000 steps"):
        for index in range(10_001):
            assembler.add("step", Step(episode_id="endless", index=index))


# -- no program in data ---------------------------------------------------------------------------------------------


def dotted(node) -> str:
    """A name as it is written, `torch.load`; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp"}
UNSAFE_CALLS = {
    "torch.load", "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "pickle.load", "pickle.loads", "pickle.Unpickler", "numpy.load", "torch.jit.load",
}  # fmt: skip
# Makes the malicious files that the policy server is offered; reads none.
MAKES_PICKLES = PACKAGE / "faults" / "checkpoints.py"


def unsafe(path: Path) -> list[str]:
    """What in a module could run a program that came as data."""
    tree = ast.parse(path.read_text())
    assigned = {dotted(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    found = []
    for node in ast.walk(tree):
        call = dotted(node.func) if isinstance(node, ast.Call) else ""
        if call in UNSAFE_CALLS:
            loader = node.args[1] if len(node.args) > 1 else ast.Constant("")
            loader = ast.unparse(assigned.get(dotted(loader), loader))
            if not (call == "yaml.load" and "SafeLoader" in loader):
                found.append(f"calls {call}")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"imports {n}" for n in names if n.split(".")[0] in UNSAFE_MODULES and path != MAKES_PICKLES]
        if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
            found += [f"{node.arg}={text}" for text in [ast.unparse(node.value)] if text != "False"]
    return found


def test_nothing_in_the_package_runs_what_comes_as_data(tmp_path):
    modules = sorted(PACKAGE.rglob("*.py"))
    assert len(modules) > 150
    assert {str(path): unsafe(path) for path in modules if unsafe(path)} == {}
    bad = tmp_path / "bad.py"
    bad.write_text("import pickle\nfrom dill import loads\nnp.load(x, allow_pickle=True)\ntorch.load(y)\neval('1')\n"
                   "subprocess.run('ls', shell=True)\nyaml.load(z)\n")  # fmt: skip
    assert len(unsafe(bad)) == 7
