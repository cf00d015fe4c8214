"""`am-ros reach` on a real cell: a goal by name and by picture, refusals, Ctrl-C."""

import signal
import subprocess
import sys
import time

import cv2
from test_policy_server import save_untrained

from am_ros import cli


def test_a_cell_that_is_not_there_is_told_within_seconds(ros_env, capsys):
    for command in (["reach", "there"], ["goals", "now", "there"], ["goals", "record", "there"]):
        began_s = time.monotonic()
        assert cli.main(command) == 2
        assert time.monotonic() - began_s < 6
        assert "no node offers it (waited 2 s)" in capsys.readouterr().err


def test_an_operator_has_a_goal_pursued_sees_each_step_and_stops_the_arm(ros, start_node, tmp_path, capsys):
    start_node("sim_workcell", real_time_factor=2.0)
    start_node("cartesian_controller")
    start_node("goal_registry", folder=str(tmp_path / "goals"))
    start_node("policy_server", checkpoint=str(save_untrained(tmp_path / "policy")), samples=8, ready="serving")
    assert cli.main(["goals", "record", "there", "--note", "as it is"]) == 0
    assert capsys.readouterr().out.startswith("recorded there: 64x64 px")
    assert cli.main(["goals", "record", "there"]) == 2
    assert "goal_registry/record: goal 'there': exists already" in capsys.readouterr().err
    overlay = tmp_path / "overlay.png"
    assert cli.main(["goals", "now", "there", "--out", str(overlay)]) == 0
    assert "consistent" in capsys.readouterr().out and cv2.imread(str(overlay)) is not None

    picture = tmp_path / "there.png"
    assert cli.main(["reach", "there", "--max-steps", "2", "--out", str(picture)]) == 0
    # Warnings of other nodes stand between the steps; on a busy machine there may be some.
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("warning: ")]
    assert [line[:8] for line in lines[:2]] == ["step   1", "step   2"] and " cm, " in lines[0]
    assert lines[2].startswith("all steps made: 2 steps, Q 0.") and lines[3] == str(picture)
    height, width, _ = cv2.imread(str(picture)).shape
    assert width >= 3 * height  # start, step, end, goal in one row

    assert cli.main(["reach", str(tmp_path / "goals" / "there.png"), "--max-steps", "1"]) == 0
    assert cli.main(["reach", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert cli.main(["reach", "nowhere.png"]) == 2
    assert "nowhere.png: cannot be read" in capsys.readouterr().err

    command = [sys.executable, "-u", "-m", "am_ros.cli", "reach", "there", "--max-steps", "500"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline().startswith("step   1")
    ros.node.get_logger().warning("the lamp is off")  # what any node of the cell warns of meanwhile
    assert any(line == "warning: test_client: the lamp is off\n" for line in run.stdout)
    run.send_signal(signal.SIGINT)
    began = time.monotonic()
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 130 and "cancelled, the arm was stopped" in said
    assert time.monotonic() - began < 10
