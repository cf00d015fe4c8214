"""The goal registry and the policy server, when the camera is bumped after a goal was recorded: real nodes."""

import math

import cv2
import pytest
from am_msgs.action import ReachGoal
from am_msgs.srv import CheckGoal, GetGoal, RecordGoal
from conftest import wait_until
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from test_consistency import view
from test_policy_server import pursue, save_untrained

from am_ros import cli
from am_ros.goals import GoalLibrary
from am_ros.images import array_from_image

CONSISTENT, MOVED = CheckGoal.Response.CONSISTENT, CheckGoal.Response.MOVED


def check(ros, **goal):
    return ros.call(CheckGoal, "goal_registry/check", timeout_s=20, **goal)


@pytest.fixture
def camera(start_node, tmp_path):
    """A function that points a camera of 32 degrees, whose images are 200 px, and 64 px for the policy."""
    nodes = []

    def point(right_deg, arm):
        if nodes:
            nodes.pop().stop()
        folder = tmp_path / f"camera_{right_deg:g}"
        folder.mkdir()
        cv2.imwrite(str(folder / "0.png"), view(right_deg=right_deg, arm=arm, size=200)[..., ::-1])
        nodes.append(start_node("camera", source=str(folder), width=64, height=64, rate_hz=20.0, loop=True,
                                horizontal_fov_rad=math.radians(32), ready="ready: "))  # fmt: skip
        return nodes[-1]

    return point


def test_a_goal_is_refused_or_warned_of_once_the_camera_has_moved(ros, start_node, camera, tmp_path, capsys):
    start_node("goal_registry", folder=str(tmp_path / "goals"), ready="ready: ")
    settings = {"checkpoint": str(save_untrained(tmp_path / "policy")), "samples": 8, "motion_timeout_s": 0.5}
    policy = start_node("policy_server", goal_check="refuse", **settings)
    missing = check(ros, goal_id="cup")
    assert not missing.success and "goal 'cup': does not exist" in missing.message
    camera(0.0, arm=0.05)

    def recorded() -> bool:
        """With the larger view, which comes once a second."""
        ros.call(RecordGoal, "goal_registry/record", goal_id="cup")
        goal = GoalLibrary(tmp_path / "goals").get("cup")[0]
        if goal.view_width and goal.focal_px:
            return True
        GoalLibrary(tmp_path / "goals").delete("cup")
        return False

    wait_until(recorded, 60, "a goal with its view")
    found = check(ros, goal_id="cup")
    assert found.success and found.finding == CONSISTENT, found.message
    assert found.compared_px == 200 and found.shift_deg < 0.1 and found.matched > 0.9
    policy.wait_for_line("serving")
    result, _ = pursue(ros, goal_id="cup")
    assert result.reason.startswith("controller_gone"), result.reason  # that is, pursued: there is no controller here

    camera(5.0, arm=0.6)
    wait_until(lambda: check(ros, goal_id="cup").finding == MOVED, 60, "MOVED")
    found = check(ros, goal_id="cup")
    assert found.message.startswith("moved: the camera looks 5.0° further right than for the goal"), found.message
    assert found.right_deg == pytest.approx(5.0, abs=0.2) and abs(found.down_deg) < 0.2
    assert found.shift_px == pytest.approx(5 * 64 / 32, rel=0.1)  # pixels of the goal image
    assert array_from_image(found.overlay).shape == (298, 720, 3)
    goal, larger = (ros.call(GetGoal, f"goal_registry/{name}", goal_id="cup") for name in ("get", "get_view"))
    assert larger.success and (goal.image.width, larger.image.width) == (64, 200)
    by_image = check(ros, goal_image=goal.image)
    assert by_image.finding == MOVED and by_image.compared_px == 64
    result, status = pursue(ros, goal_id="cup")
    assert (status, result.end) == ("aborted", ReachGoal.Result.FAULT) and result.steps == 0
    assert result.reason.startswith("goal_inconsistent: moved: the camera looks 5.0° further right"), result.reason

    policy.stop()
    start_node("policy_server", goal_check="warn", **settings, ready="serving")
    told = ros.receive(DiagnosticArray, "/diagnostics")
    sentence = "goal_inconsistent: moved: the camera looks 5.0° further right than for the goal"
    assert cli.main(["reach", "cup"]) == 1  # pursued: there is no controller here
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"warning: {sentence}") and lines[1].startswith("controller_gone"), lines
    run = ros.send_goal(ReachGoal, "policy_server/reach_goal", goal_id="cup")
    result = run.result(20)
    assert list(result.warnings) == list(run.feedback[0].warnings) == [lines[0].removeprefix("warning: ")]

    def on_diagnostics() -> bool:
        goals = [s for array in told for s in array.status if s.name == "/policy_server: goal"]
        return bool(goals) and goals[-1].level == DiagnosticStatus.WARN and goals[-1].message.startswith(sentence)

    wait_until(on_diagnostics, 60, "the warning on /diagnostics")
    GoalLibrary(tmp_path / "goals").delete("cup")
    assert not list((tmp_path / "goals").glob("*.png"))
