"""What rcl and DDS refuse, or take for something else without a word, ends every node and command in one sentence."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from am_ros.cell.environment import child_environment, share_directory
from am_ros.cell.fastdds_profile import read_profile
from am_ros.cell.start_check import check_start, domain_of
from am_ros.errors import AmRosError
from am_ros.ros.introspection.names import NAMELESS, full_name

NODE = [sys.executable, "-m", "am_ros.nodes.goal_registry"]
COMMAND = [sys.executable, "-m", "am_ros.cli", "goals", "now", "there"]
SENTENCES = {
    ("RMW_IMPLEMENTATION", "rmw_nothere_cpp"): "RMW_IMPLEMENTATION=rmw_nothere_cpp: is not installed, there is rmw_fas",
    ("ROS_DOMAIN_ID", "seven"): "ROS_DOMAIN_ID=seven: is not a whole number from 0 to 232",
    ("ROS_DOMAIN_ID", "233"): "ROS_DOMAIN_ID=233: is not",
    ("ROS_DOMAIN_ID", "-1"): "ROS_DOMAIN_ID=-1: is not",  # 0 to rcl
    ("ROS_DOMAIN_ID", "5x"): "ROS_DOMAIN_ID=5x: is not",  # 5 to rcl
    ("ROS_LOG_DIR", "/proc/no_folder"): "log folder /proc/no_folder: cannot be written (",
    ("ROS_AUTOMATIC_DISCOVERY_RANGE", "HERE"): "ROS_AUTOMATIC_DISCOVERY_RANGE=HERE: is none of LOCALHOST, SUBNET",
    ("FASTRTPS_DEFAULT_PROFILES_FILE", "/no.xml"): "FASTRTPS_DEFAULT_PROFILES_FILE=/no.xml: cannot be read (No such",
    ("ROS_STATIC_PEERS", "no..host"): "ROS does not start: error creating node: Unable to resolve peer no..host",
}


def ends(command: list[str], **environment: str) -> str:
    """What a program says that must end with exit code 2, which must be one line, beside warnings of rcl."""
    env = child_environment(None, **environment)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    said = [line for line in done.stderr.splitlines() if "[WARN]" not in line]
    assert done.returncode == 2 and len(said) == 1 and done.stdout == "", done
    return said[0].partition(": ")[2]


@pytest.mark.parametrize(("name", "value"), SENTENCES)
def test_surroundings_that_ros_does_not_start_in_are_named_by_nodes_and_commands(ros_env, name, value):
    for command in (NODE, COMMAND):
        assert ends(command, **{name: value}).startswith(SENTENCES[name, value])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ros-args", "-p", "folder"], "ROS does not start: Failed to parse ROS arguments: Couldn't parse parameter"),
        (["--ros-args", "--no-such"], "--ros-args: --no-such: unknown to ROS"),
        (["--ros-args", "--params-file", "/no.yaml"], "ROS does not start: Failed to parse ROS arguments: "),
        (["--ros-args", "-r", "__node:=a-b"], "ROS does not start: Failed to parse ROS arguments: "),
        (["--ros-args", "--enclave", "x"], "ROS does not start: Enclave name is not valid"),
        (["-p", "folder:=goals"], "argument '-p': unknown; a node's parameters are given as --ros-args -p NAME:=VALUE"),
    ],
)
def test_arguments_that_ros_does_not_take_are_named(ros_env, words, sentence):
    said = ends([*NODE, *words])
    assert said.startswith(sentence) and not re.search(r"\.c(pp)?:\d+", said)


def test_a_parameter_file_that_ros_cannot_read_is_named(ros_env, tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [")
    said = ends([*NODE, "--ros-args", "--params-file", str(tmp_path / "bad.yaml")])
    assert f"'--params-file {tmp_path / 'bad.yaml'}'" in said


def test_a_namespace_that_is_none_is_named(ros_env):
    assert ends([*COMMAND, "--namespace", "a-b"]).startswith("Invalid namespace: ")


# What Fast DDS does with each of these: some lines in C++, then its defaults, with which most images are lost.
PROFILES = {
    "": "cannot be read (no element found",
    "<dds>": "cannot be read (no element found",
    "<urdf/>": "is no Fast DDS profile: <urdf> in place of <dds>",
    "<dds><profiles><nonsense/></profiles></dds>": "Fast DDS knows no element <nonsense>",
    "<dds><profiles><transport_descriptors><transport_descriptor><type>SHM</type><segment_siz>1</segment_siz>"
    "</transport_descriptor></transport_descriptors></profiles></dds>": "<segment_siz>; is segment_size meant?",
    "<dds><profiles><transport_descriptors><transport_descriptor><type>SHM</type><segment_size>6 MB</segment_size>"
    "</transport_descriptor></transport_descriptors></profiles></dds>": "<segment_size> is '6 MB', not a whole number",
}


@pytest.mark.parametrize("text", PROFILES)
def test_a_profile_that_fast_dds_would_not_take_is_refused(tmp_path, text):
    path = tmp_path / "profile.xml"
    path.write_text(text)
    with pytest.raises(AmRosError, match=re.escape(f"FASTRTPS_DEFAULT_PROFILES_FILE={path}: ")) as refused:
        read_profile(path)
    assert PROFILES[text] in str(refused.value)


def test_our_own_profile_is_taken():
    assert read_profile(share_directory() / "config" / "fastdds.xml").segment_bytes == 6291456


def test_a_domain_is_read_as_it_stands():
    assert [domain_of({"ROS_DOMAIN_ID": text}) for text in ("", "0", "232", " 7 ")] == [0, 0, 232, 7]


# A program that becomes another user once everything is loaded, because the files of this one may be closed to them.
def open_to_others(file: Path) -> bool:
    """Whether another user may enter every folder above a file."""
    return all(folder.stat().st_mode & 0o001 for folder in file.parents)


AS_USER = """
import locale, encodings.idna, os, sys, am_ros.nodes.goal_registry as registry
from am_ros.ros.introspection.client import RosClient
from am_msgs.srv import ListGoals
uid = int(sys.argv[1])
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
if sys.argv[2] == "serve":
    sys.argv = ["goal_registry", "--ros-args", "-p", f"folder:={os.environ['ROS_LOG_DIR']}/goals"]
    sys.exit(registry.main())
with RosClient("asking", args=[]) as client:
    client.call(ListGoals, "goal_registry/list")
    print("answered")
"""


@contextmanager
def serving(environment):
    command = [sys.executable, "-c", AS_USER, "4001", "serve"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        assert b"ready" in process.stderr.readline()
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run programs of two other users")
@pytest.mark.skipif(not open_to_others(Path(sys.executable)), reason="other users cannot run this Python")
def test_programs_of_another_user_in_the_domain_are_named_where_their_shared_memory_is_closed(ros_env, tmp_path):
    folders = {}
    for uid in (4001, 4002):
        folders[uid] = tmp_path / str(uid)
        folders[uid].mkdir()
        shutil.copy(share_directory() / "config" / "fastdds.xml", folders[uid])
        shutil.chown(folders[uid], uid, uid)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    environments = {
        uid: child_environment(
            None, ROS_LOG_DIR=str(folder), FASTRTPS_DEFAULT_PROFILES_FILE=str(folder / "fastdds.xml")
        )
        for uid, folder in folders.items()
    }

    def ask(uid: int) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", AS_USER, str(uid), "ask"]
        return subprocess.run(command, env=environments[uid], capture_output=True, text=True, timeout=240)

    domain = ros_env["ROS_DOMAIN_ID"]
    with serving(environments[4001]):
        assert ask(4001).stdout == "answered\n"
        sentence = f"shared_memory_of_others: a program of user 4001 runs in ROS domain {domain}, and this is 4002: "
        assert sentence in ask(4002).stderr
        with pytest.raises(AmRosError, match="shared_memory_of_others: a program of user 4001"):
            check_start()  # nor would it hear root
        elsewhere = str(int(domain) - 1 if int(domain) else 1)
        check_start({**os.environ, "ROS_DOMAIN_ID": elsewhere})
    check_start()  # what a killed program leaves hinders nobody


def test_a_node_without_a_name_is_described():
    assert full_name("_NODE_NAME_UNKNOWN_", "_NODE_NAMESPACE_UNKNOWN_") == NAMELESS
    assert full_name("camera", "/") == "/camera" and full_name("camera", "/cell") == "/cell/camera"
