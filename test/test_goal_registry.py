"""The goal registry as a process: records what the camera sees now, refuses in one sentence, survives kill -9."""

import contextlib
import itertools
import math
import threading
import time

import numpy as np
import pytest
from am_msgs.srv import CheckGoal, DeleteGoal, GetGoal, ListGoals, RecordGoal
from conftest import wait_until
from sensor_msgs.msg import Image, JointState
from test_camera import number_of, write_folder
from test_images import picture

from am_ros.errors import AmRosError
from am_ros.goals import GoalLibrary
from am_ros.images import array_from_image, fill_image
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import SENSOR_QOS, from_ns, to_ns

HZ = 25.0
BLACK, GREY = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 100, np.uint8)


class Cell:
    """A camera and an arm that publish in a thread: change `rgb`, `joints`, `delay_s` or `silent` while it runs."""

    def __init__(self, ros, joints: bool = True):
        self.rgb, self.delay_s, self.silent, self.stamps = picture(), 0.0, False, []
        self.joints = JointState(name=["joint_a1", "finger_left_joint", "finger_right_joint"],
                                 position=[0.5, 0.045, 0.0225]) if joints else None
        self._node = ros.node
        self._images = ros.publisher(Image, "image_raw", SENSOR_QOS)
        self._states = ros.publisher(JointState, "joint_states", SENSOR_QOS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(1 / HZ):
            if self.silent:
                continue
            if self.joints:
                self._states.publish(self.joints)
            message = Image()
            fill_image(message, self.rgb)
            stamp = self._node.get_clock().now().nanoseconds - int(self.delay_s * 1e9)
            message.header.stamp = from_ns(stamp)
            self._images.publish(message)
            self.stamps.append(stamp)

    def close(self):
        self._stop.set()
        self._thread.join(5)


@pytest.fixture
def registry(ros, start_node, tmp_path):
    """A function that starts the registry, with a cell around it unless told otherwise."""
    cells = []

    def start(cell=True, joints=True, **parameters):
        node = start_node("goal_registry", folder=str(tmp_path / "goals"), ready="ready: ", **parameters)
        if cell:
            cells.append(Cell(ros, joints))
        return (node, cells[-1]) if cell else node

    yield start
    for cell in cells:
        cell.close()


GOAL = {"goal_image": Image()}
fill_image(GOAL["goal_image"], picture())


def record(ros, goal_id="", note=""):
    return ros.call(RecordGoal, "goal_registry/record", goal_id=goal_id, note=note)


def refusal(ros, goal_id="", note="") -> str:
    response = record(ros, goal_id, note)
    assert not response.success and "\n" not in response.message
    return response.message


def names(ros) -> list:
    return [goal.goal_id for goal in ros.call(ListGoals, "goal_registry/list").goals]


def test_record_list_get_delete_and_a_restart(ros, registry):
    node, cell = registry()
    response = record(ros, "cup", "left of the plate")
    assert response.success, response.message
    goal = response.goal
    assert (goal.goal_id, goal.note, goal.width, goal.height) == ("cup", "left of the plate", 64, 48)
    assert to_ns(goal.image_stamp) in cell.stamps
    assert list(goal.joint_state.position) == [0.5, 0.045, 0.0225] and goal.joint_state.name[0] == "joint_a1"
    assert goal.gripper_opening == pytest.approx(0.75)
    assert [record(ros).goal.goal_id for _ in range(2)] == ["goal_0001", "goal_0002"]

    assert node.stop() == 0
    registry(cell=False)
    assert names(ros) == ["cup", "goal_0001", "goal_0002"]
    got = ros.call(GetGoal, "goal_registry/get", goal_id="cup")
    assert got.success and got.goal == goal and got.image.encoding == "rgb8"
    assert got.image.header.stamp == goal.image_stamp
    np.testing.assert_array_equal(array_from_image(got.image), picture())
    assert ros.call(DeleteGoal, "goal_registry/delete", goal_id="cup").success
    assert names(ros) == ["goal_0001", "goal_0002"]
    for service, name in ((GetGoal, "get"), (DeleteGoal, "delete")):
        missing = ros.call(service, f"goal_registry/{name}", goal_id="cup")
        assert not missing.success and missing.message.startswith("goal 'cup': does not exist in ")


def test_the_image_that_is_stored_was_captured_after_the_request(ros, registry):
    _, cell = registry()
    for i in range(5):
        cell.rgb = picture(seed=i)
        requested_ns = ros.node.get_clock().now().nanoseconds
        goal = record(ros, f"goal_{i}").goal
        assert to_ns(goal.image_stamp) > requested_ns
        np.testing.assert_array_equal(
            array_from_image(ros.call(GetGoal, "goal_registry/get", goal_id=f"goal_{i}").image), picture(seed=i)
        )


def test_bad_names_and_notes_are_refused_by_name(ros, registry, tmp_path):
    registry()
    assert record(ros, "cup").success
    assert "goal 'cup': exists already" in refusal(ros, "cup")
    for name in ("../x", "/tmp/x", "a/b", ".a", "x" * 65, "a b"):
        assert f"goal id {name!r}: use 1 to 64 letters" in refusal(ros, name)
        got = ros.call(GetGoal, "goal_registry/get", goal_id=name)
        assert not got.success and "use 1 to 64 letters" in got.message
    assert "at most 1000 characters" in refusal(ros, "long", "x" * 1001)
    assert names(ros) == ["cup"] and not (tmp_path / "x.png").exists()


def test_useless_images_are_refused_by_name(ros, registry):
    _, cell = registry(width=64, height=48)
    for rgb, sentence in (
        (BLACK, "topic /image_raw: black image: mean 0.0 below 4"),
        (GREY, "topic /image_raw: uniform image: standard deviation 0.0 below 3"),
        (picture(24, 32), "topic /image_raw: image of 32x24 px, but 64x48 is expected"),
    ):
        cell.rgb = rgb
        time.sleep(0.1)
        assert refusal(ros, "cup") == sentence
    cell.rgb = picture()
    time.sleep(0.1)
    assert record(ros, "cup").success


@pytest.mark.needs_quiet(0.1)
def test_without_a_camera_record_says_so_and_list_answers_meanwhile(ros, registry):
    registry(cell=False, fresh_timeout_s=1.5)
    assert names(ros) == []
    answers, begin = [], time.monotonic()
    thread = threading.Thread(target=lambda: answers.append((refusal(ros, "cup"), time.monotonic() - begin)))
    thread.start()
    time.sleep(0.2)
    asked = time.monotonic()
    assert names(ros) == []
    assert time.monotonic() - asked < 0.8 and not answers  # record still waits
    thread.join(10)
    message, took_s = answers[0]
    assert message == "topic /image_raw: no image came yet (waited 1.5 s)" and 1.4 < took_s < 3.0


def test_a_camera_that_stopped_or_lags_is_stale(ros, registry):
    _, cell = registry(fresh_timeout_s=0.5)
    assert record(ros, "first").success
    cell.delay_s = 30.0
    time.sleep(0.1)
    message = refusal(ros, "cup")
    assert message.startswith("topic /image_raw: stale image: the newest is stamped 2") and "clock" in message
    cell.silent = True
    time.sleep(0.1)
    assert refusal(ros, "cup").startswith("topic /image_raw: stale image: the newest came 0.")


@pytest.mark.needs_quiet(0.2)
def test_the_newest_image_will_do_if_the_operator_says_so(ros, registry):
    _, cell = registry(fresh=False, max_age_s=0.5)
    wait_until(lambda: record(ros, "first").success, what="the registry finds the camera")
    cell.silent = True
    time.sleep(0.1)
    assert record(ros, "a").success
    time.sleep(0.6)
    assert refusal(ros, "b").endswith("s ago, more than 0.5 s") and "stale image: the newest came" in refusal(ros, "b")
    cell.silent = False
    for delay_s, sentence in ((2.0, "stale image: its stamp is 2."), (-3.0, "in the future: the clocks differ"),
                              (time.time(), "the image has no stamp")):
        cell.delay_s = delay_s
        if sentence.endswith("no stamp"):
            cell.delay_s = 0
            cell.silent = True
            message = Image()
            fill_image(message, picture())
            cell._images.publish(message)
        time.sleep(0.15)
        assert sentence in refusal(ros, "b")


@pytest.mark.parametrize("fresh", [True, False])
def test_whoever_asks_before_the_camera_is_found_waits_for_its_first_image(ros, registry, fresh):
    """A publisher takes DDS 0.05 s to find, and on a busy machine more; record and check are asked at once."""
    registry(cell=False, fresh=fresh, fresh_timeout_s=20.0, require_joint_state=True)
    answers = []
    asked = [
        threading.Thread(target=lambda: answers.append(record(ros, "cup"))),
        threading.Thread(target=lambda: answers.append(ros.call(CheckGoal, "goal_registry/check", 30.0, **GOAL))),
    ]
    for thread in asked:
        thread.start()
    time.sleep(0.3)
    assert not answers
    cell = Cell(ros)
    for thread in asked:
        thread.join(30)
    cell.close()
    assert len(answers) == 2 and all(answer.success for answer in answers), answers


def test_a_missing_joint_state_is_told_or_refused(ros, registry):
    node, _ = registry(joints=False)
    response = record(ros, "cup")
    assert response.success and "without joint state" in response.message
    assert list(response.goal.joint_state.name) == [] and math.isnan(response.goal.gripper_opening)
    node.stop()
    registry(cell=False, require_joint_state=True)
    wait_until(lambda: refusal(ros, "b") == "topic /joint_states: no current joint state (none came yet)",
               what="the refusal")


def test_arm_and_gripper_may_say_apart_where_they_are(ros, registry):
    _, cell = registry(max_age_s=0.5)
    gripper = ros.publisher(JointState, "joint_states", SENSOR_QOS)
    cell.joints = JointState(name=["joint_a1"], position=[0.5])
    fingers = JointState(name=["finger_left_joint", "finger_right_joint"], position=[0.0225, 0.0225])
    timer = ros.node.create_timer(0.05, lambda: gripper.publish(fingers))
    time.sleep(0.7)  # so long that what came before is not current any more
    goal = record(ros, "cup").goal
    timer.cancel()
    assert dict(zip(goal.joint_state.name, goal.joint_state.position)) == {
        "joint_a1": 0.5, "finger_left_joint": 0.0225, "finger_right_joint": 0.0225
    }  # fmt: skip
    assert goal.gripper_opening == pytest.approx(0.5)


def test_a_malformed_joint_state_is_refused(ros, registry):
    _, cell = registry()
    for positions in ([0.5], [0.5, math.nan, 0.0]):
        cell.joints = JointState(name=["a", "b", "c"], position=positions)
        time.sleep(0.1)
        assert refusal(ros, "cup").startswith(f"topic /joint_states: 3 names and {len(positions)} positions")


def test_damaged_goals_are_named_and_the_rest_served(ros, registry, tmp_path):
    library = GoalLibrary(tmp_path / "goals")
    for name in ("good", "changed", "cut"):
        library.record(name, picture())
    data = bytearray((library.folder / "changed.png").read_bytes())
    data[100] ^= 4
    (library.folder / "changed.png").write_bytes(data)
    (library.folder / "cut.json").write_text("{")
    node = registry(cell=False)
    assert names(ros) == ["changed", "good"] and "cut.json: is damaged: not JSON" in node.output
    response = ros.call(GetGoal, "goal_registry/get", goal_id="changed")
    assert not response.success and "changed.png: is not the image that was recorded" in response.message
    assert ros.call(GetGoal, "goal_registry/get", goal_id="good").success


def test_kill_9_in_the_middle_of_records_loses_no_goal_that_was_confirmed(ros, registry, tmp_path):
    node, _cell = registry(fresh=False)
    confirmed = []
    for round_number in range(2):
        # A client of its own: to one that knew the dead server, the service still seems to be there for a while.
        with RosClient(f"operator_{round_number}") as client:
            before = len(confirmed)
            listed = {goal.goal_id: goal for goal in client.call(ListGoals, "goal_registry/list").goals}
            assert all(listed[goal.goal_id] == goal for goal in confirmed)
            assert before <= len(listed) <= before + round_number  # stored, but killed before the answer

            killed = threading.Event()

            def keep_recording(client=client, number=round_number, killed=killed):
                names = (f"r{number}_{i}" for i in itertools.count())
                while not killed.is_set():
                    with contextlib.suppress(AmRosError):  # the registry died under it
                        response = client.call(RecordGoal, "goal_registry/record", 4.0, goal_id=next(names))
                        if response.success:
                            confirmed.append(response.goal)

            thread = threading.Thread(target=keep_recording)
            thread.start()
            wait_until(lambda before=before: len(confirmed) >= before + 5, 60.0, "the first goals")
            node.close()  # SIGKILL
            killed.set()
            thread.join(20)
        node = registry(cell=False, fresh=False)
    library = GoalLibrary(tmp_path / "goals")
    assert library.list()[1] == []
    for goal in confirmed:
        np.testing.assert_array_equal(library.get(goal.goal_id)[1], picture())


def test_a_folder_that_cannot_be_one_ends_the_node(start_node, tmp_path):
    (tmp_path / "file").touch()
    node = start_node("goal_registry", folder=str(tmp_path / "file"))
    assert node.wait() == 2
    assert "goal_registry: goal library " in node.output and "Traceback" not in node.output


def test_it_records_what_the_camera_node_shows(ros, start_node, registry, tmp_path):
    start_node("camera", source=str(write_folder(tmp_path / "images", 25)), rate_hz=20.0, ready="ready: ")
    registry(cell=False)
    images = ros.receive(Image, "image_raw")
    images.wait(1)
    response = record(ros, "cup")
    assert response.success, response.message
    rgb = array_from_image(ros.call(GetGoal, "goal_registry/get", goal_id="cup").image)
    wait_until(lambda: any(i.header.stamp == response.goal.image_stamp for i in images), what="the same image here")
    same = next(image for image in images if image.header.stamp == response.goal.image_stamp)
    np.testing.assert_array_equal(rgb, array_from_image(same))
    assert 0 <= number_of(rgb) < 25
