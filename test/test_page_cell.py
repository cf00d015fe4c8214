"""The operator's page on a running cell, in a real browser: what an operator does in a morning, and what goes wrong."""

import json
import os
import re
import signal
import time

import pytest
from am_msgs.action import ReachGoal
from am_msgs.srv import RecordGoal, ResetScene
from conftest import PATIENCE_S, wait_until
from geometry_msgs.msg import PoseStamped
from page_browser import PICTURED, arrive, browser, contrast_faults, go, open_page, picture, tab_to  # noqa: F401
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import JointState
from test_rviz_foxglove import foxglove_topics, rviz, rviz_topics

from am_ros.bags.index import EpisodeIndex
from am_ros.cell.graph import workcell_nodes
from am_ros.cell.processes import NodeProcess
from am_ros.cell.supervisor import Supervisor
from am_ros.faults.domain import claim_domain
from am_ros.ros.node.common import RELIABLE_QOS

VIEWS = ("", "goals", "episodes", "training", "check", "teach")
STILL = 0.01  # rad/s: a joint below it stands
ACTING = {"image_timeout_s": 10.0, "controller_timeout_s": 10.0, "motion_timeout_s": 60.0}
PATIENT = {
    "cartesian_controller": {"joint_state_timeout_s": 5.0, "suspended_s": 10.0, "heartbeat_timeout_s": 10.0,
                             "command_timeout_s": 20.0},
    "goal_registry": {"fresh_timeout_s": 10.0, "max_age_s": 10.0},
    "policy_server": ACTING,
    "operator_page": ACTING,
}  # fmt: skip


def address_of(node: NodeProcess) -> str:
    return node.wait_for_line("page: http", PATIENCE_S).partition("page: ")[2].split()[0]


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A simulated cell as `am-ros up workcell stack:=sim policy:=pick_place page:=true` starts it."""
    folder = tmp_path_factory.mktemp("cell")
    domain, lock = claim_domain()
    patch = pytest.MonkeyPatch()
    patch.setenv("ROS_DOMAIN_ID", str(domain))
    patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # What a busy machine delays is no fault of the cell here.
    patient = folder / "patient.yaml"
    patient.write_text(json.dumps({f"/**/{node}": {"ros__parameters": values} for node, values in PATIENT.items()}))
    nodes = workcell_nodes(
        stack="sim", policy="pick_place", variety=0.0, samples=32, iterations=1, goals=str(folder / "goals"),
        bags=str(folder / "bags"), page=True, page_port=0, params_file=str(patient),
    )  # fmt: skip
    with Supervisor(nodes, folder / "log", dict(os.environ)) as supervisor:
        supervisor.wait_until_up()
        yield address_of(supervisor.processes["operator_page"]), folder
    patch.undo()
    lock.close()


@pytest.fixture
def client(cell):
    from am_ros.ros.introspection.client import RosClient

    with RosClient("test_client") as client:
        yield client


def reset(client, seed: int, task: str = "pick_place") -> None:
    assert client.call(ResetScene, "sim_workcell/reset", task=task, seed=seed, phase=ResetScene.Request.START).success


def record(page, name: str, note: str = "") -> None:
    page.get_by_label("name (letters").fill(name)
    page.get_by_label("note").fill(note)
    page.get_by_role("button", name="Record goal").click()
    page.wait_for_selector(f"[data-pick={name}]")


def pursue(page, name: str) -> None:
    page.click(f"[data-pick={name}]")
    page.get_by_role("button", name="Pursue").click()


def play(client) -> None:
    """An episode, so that there is one whatever other tests came to; for a picture, more and longer ones."""
    for number in range(4 if PICTURED else 1):
        reset(client, 20 + number)
        goal_id = f"for_labels_{number}"
        assert client.call(RecordGoal, "goal_registry/record", goal_id=goal_id).success
        steps = 12 if PICTURED else 2
        client.send_goal(ReachGoal, "policy_server/reach_goal", 60.0, goal_id=goal_id, max_steps=steps).result(200.0)


def choose_the_first(page) -> None:
    """Of the episodes, by the key; its bag may be closed only now, and it stays chosen meanwhile."""
    page.wait_for_selector("tr[data-pick]")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("tr.chosen")
    page.locator("tr.chosen .t-warn", has_text="recording").wait_for(state="detached")


@pytest.mark.timeout(300)
@pytest.mark.needs_quiet(0.1)
def test_an_operator_sees_the_cell_records_a_goal_pursues_it_and_stops_the_arm(cell, client, open_page):  # noqa: F811
    page = open_page(cell[0])
    page.wait_for_selector("canvas[data-live=view][data-frames]")
    page.get_by_text("idle", exact=True).first.wait_for()
    page.wait_for_selector("text=cartesian_controller: arm")
    picture(page, "cell")

    client.call(
        ResetScene, "sim_workcell/reset", task="pick_place", seed=4, phase=ResetScene.Request.GOAL, timeout_s=20
    )
    go(page, "goals")
    page.wait_for_timeout(800)
    record(page, "block_away", "the block where it belongs")
    assert (cell[1] / "goals" / "block_away.png").is_file()
    reset(client, 4)
    joints = client.receive(JointState, "joint_states")
    pursue(page, "block_away")
    page.wait_for_selector(".strip figure:nth-child(2)")
    page.wait_for_selector(".strip figure img")
    picture(page, "pursuit", 1060)

    def moving() -> bool:
        return bool(joints) and max(map(abs, joints[-1].velocity or [0.0])) > 5 * STILL

    wait_until(moving, 20.0, "a motion")
    pressed_s = time.monotonic()
    page.keyboard.press("Space")
    wait_until(lambda: not moving(), 5.0, "the stop")
    stopped_s = time.monotonic() - pressed_s
    assert stopped_s < 1.0, f"the arm moved for {stopped_s:.2f} s after the key"
    page.wait_for_function("document.getElementById('stop-said').textContent.startsWith('stopped: ')")
    page.get_by_text("cancelled, the arm was stopped").wait_for()
    time.sleep(0.5)
    assert not moving()

    page.get_by_role("button", name="Compare with now").click()
    page.wait_for_selector("img[alt='then, now, both in one']")
    picture(page, "goals", 1250, page.locator(".card:has(.goal)").last)


@pytest.mark.timeout(200)
def test_an_episode_is_labelled_by_a_key_and_played(cell, client, open_page):  # noqa: F811
    play(client)
    page = open_page(cell[0] + "episodes")
    choose_the_first(page)
    page.wait_for_selector("img[alt^='what was seen']")
    page.keyboard.press("g")
    page.wait_for_selector("tr.chosen b.t-ok:has-text('good')")
    index = EpisodeIndex([cell[1] / "bags"])

    def labels() -> list[str]:
        index.look()
        return [row.label for row in index.rows()]

    assert "good" in labels()
    page.keyboard.press("ArrowRight")
    page.get_by_text("1 of ", exact=False).first.wait_for()
    picture(page, "episodes", 1150)
    page.keyboard.press("v")
    page.get_by_text("Nothing is wrong with it.").or_(page.get_by_text("problem")).first.wait_for()
    page.keyboard.press("x")
    page.get_by_role("button", name="No", exact=True).click()
    page.wait_for_timeout(300)
    assert "good" in labels()


@pytest.mark.timeout(200)
def test_a_checkpoint_is_loaded_and_seen_to_serve(cell, open_page):  # noqa: F811
    page = open_page(cell[0] + "training")
    row = page.locator("tr", has_text="seven_tasks")
    row.get_by_role("button", name="Load").click()
    row.get_by_text("serves").wait_for()
    go(page, "")
    page.locator("dd", has_text="seven_tasks, update").wait_for()


@pytest.mark.timeout(200)
def test_the_arm_is_taught_by_keys_through_the_same_lease(cell, open_page):  # noqa: F811
    page = open_page(cell[0] + "teach")
    page.wait_for_selector("canvas[data-live=view][data-frames]")
    page.get_by_role("button", name="Take the arm").click()
    page.locator("button:enabled", has_text="Away (w)").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("recording to").wait_for()
    for key in "rwa":
        page.keyboard.press(key)
        page.wait_for_timeout(1200)
    page.get_by_text("steps recorded").first.wait_for()
    page.get_by_text("holds the arm: operator_page_hand").wait_for()
    picture(page, "teach", 1060)
    page.keyboard.press("g")
    page.get_by_text(": good", exact=False).first.wait_for()
    page.get_by_role("button", name="Let go").click()
    page.locator("button:enabled", has_text="Take the arm").wait_for()


def test_what_rviz_and_foxglove_are_told_to_show_is_there_and_they_can_hear_it(cell, client):
    """Not the programs themselves: the topics of their files, on a running cell."""
    wanted = {name: kind for name, (kind, _) in rviz_topics().items()} | foxglove_topics()
    wait_until(lambda: wanted.keys() <= dict(client.node.get_topic_names_and_types()).keys(), PATIENCE_S, str(wanted))
    there = dict(client.node.get_topic_names_and_types())
    assert {name: there[name] for name in wanted} == {name: [kind] for name, kind in wanted.items()}
    for name, (_, about) in rviz_topics().items():
        for publisher in client.node.get_publishers_info_by_topic(name):
            asks = {
                "Reliable": ReliabilityPolicy.RELIABLE, "Best Effort": ReliabilityPolicy.BEST_EFFORT,
                "Transient Local": DurabilityPolicy.TRANSIENT_LOCAL,
            }  # fmt: skip
            ours = QoSProfile(
                depth=5, reliability=asks[about["Reliability Policy"]],
                durability=asks.get(about.get("Durability Policy", ""), DurabilityPolicy.VOLATILE),
                liveliness=LivelinessPolicy.AUTOMATIC,
            )  # fmt: skip
            assert qos_check_compatible(publisher.qos_profile, ours)[0] == QoSCompatibility.OK, name
    pose = client.wait_for_message(PoseStamped, "ee_pose", PATIENCE_S, RELIABLE_QOS)
    assert pose.header.frame_id == rviz()["Visualization Manager"]["Global Options"]["Fixed Frame"]


@pytest.mark.timeout(200)
@pytest.mark.slow
def test_two_browsers_one_commands_the_other_looks_on_and_takes_over(cell, open_page):  # noqa: F811
    first, second = open_page(cell[0] + "goals"), open_page(cell[0] + "goals")
    second.get_by_text("commands, you look on").wait_for()
    second.locator("button:disabled", has_text="Record goal").wait_for()
    second.wait_for_selector("canvas[data-live][data-frames]")  # it sees what the other sees
    second.get_by_role("button", name="Take over").click()
    second.get_by_text("you command").wait_for()
    first.get_by_text("commands, you look on").wait_for()
    first.locator("button:disabled", has_text="Record goal").wait_for()
    first.keyboard.press("Space")  # everybody may stop
    first.wait_for_function("document.getElementById('stop-said').textContent.startsWith('stopped')")


@pytest.mark.slow  # test_page_looks.py has the same in front of a stand-in
@pytest.mark.timeout(300)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_fits_768_pixels_and_is_legible(cell, open_page, dark):  # noqa: F811
    page = open_page(cell[0], width=768, dark=dark)
    for view in VIEWS:
        go(page, view)
        page.wait_for_timeout(900)
        assert page.evaluate("document.documentElement.scrollWidth") <= 768, view
        assert contrast_faults(page) == [], view
        assert page.locator(".stop").is_visible()
        if view in ("", "goals"):
            picture(page, f"{view or 'cell'}_{'dark' if dark else 'light'}_768")


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_the_keyboard_alone_is_enough(cell, client, open_page):  # noqa: F811
    """Record, pursue, stop, label, check and teach, with the keys that a mouse would spare."""
    page = open_page(cell[0])
    tab_to(page, "a", "Goals")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Record what the camera sees now")
    tab_to(page, "input", "name (letters")
    page.keyboard.type("typed")
    tab_to(page, "button", "Record goal")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-pick=typed]")
    reset(client, 5)
    tab_to(page, "[data-pick=typed]")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-pick=typed].chosen")
    tab_to(page, "button:enabled", "Pursue")
    page.keyboard.press("Enter")
    page.wait_for_selector(".strip figure")
    page.keyboard.press("Space")
    page.wait_for_function("document.getElementById('stop-said').textContent.startsWith('stopped')")
    page.get_by_text("Ended:").or_(page.get_by_text("Fault:")).wait_for()

    tab_to(page, "a", "Episodes")
    page.keyboard.press("Enter")
    choose_the_first(page)
    for key, shown in (("b", "tr.chosen b.t-error"), ("g", "tr.chosen b.t-ok")):
        page.keyboard.press(key)
        page.wait_for_selector(shown)
    tab_to(page, "button", "Verify")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing is wrong with it.").or_(page.get_by_text("problem")).first.wait_for()
    page.keyboard.press("n")  # the focus is on a button still
    page.wait_for_selector("tr.chosen b", state="detached")

    tab_to(page, "a", "Check")
    page.keyboard.press("Enter")
    arrive(page, "check")
    page.locator("button:enabled", has_text="Run again").wait_for()
    tab_to(page, "button:enabled", "Run again")
    page.keyboard.press("Enter")

    tab_to(page, "a", "Teach")
    page.keyboard.press("Enter")
    arrive(page, "teach")
    page.locator("button:enabled", has_text="Take the arm").wait_for()
    tab_to(page, "button:enabled", "Take the arm")
    page.keyboard.press("Enter")
    page.locator("button:enabled", has_text="Longer (+)").wait_for()
    recorded = page.get_by_text("recording to").count()  # by whoever taught before
    tab_to(page, "button:enabled", "Longer")
    page.keyboard.press("Enter")  # presses the button, and begins no episode
    page.get_by_text("steps of 3.0 cm").wait_for()
    assert page.get_by_text("recording to").count() == recorded
    page.keyboard.press("-")
    page.get_by_text("steps of 2.0 cm").wait_for()
    tab_to(page, "button:enabled", "Let go")
    page.keyboard.press("Enter")
    page.locator("button:enabled", has_text="Take the arm").wait_for()


@pytest.mark.timeout(200)
@pytest.mark.slow
def test_the_check_says_what_it_found(cell, open_page):  # noqa: F811
    page = open_page(cell[0] + "check")
    page.get_by_role("button", name="Run again").click()
    page.get_by_text("discovery_range").wait_for(timeout=150_000)
    picture(page, "check")


@pytest.mark.timeout(400)
@pytest.mark.needs_quiet(0.2)
@pytest.mark.slow
def test_a_policy_server_that_is_killed_is_named_and_its_successor_takes_goals(ros_env, start_node, ros, open_page, tmp_path):  # noqa: F811,E501
    start_node("sim_workcell", real_time_factor=2.0, variety=0.0)
    start_node("cartesian_controller")
    start_node("goal_registry", folder=str(tmp_path / "goals"))
    options = {"checkpoint": "am_ros/pretrained/pick_place", "samples": 32, "iterations": 1}
    policy = start_node("policy_server", **options, ready="serving")
    page = open_page(address_of(start_node("operator_page", page_port=0)) + "goals")
    page.wait_for_selector("canvas[data-live][data-frames]")
    record(page, "there")
    reset(ros, 7)
    pursue(page, "there")
    page.wait_for_selector(".strip figure")
    os.kill(policy.pid, signal.SIGKILL)
    ended = page.get_by_text(re.compile("^(Fault|Ended):")).locator("..")
    ended.wait_for()  # where the machine was late the pursuit may have ended before: then the sentence says why
    assert "policy_server has said nothing for" in ended.inner_text()
    start_node("policy_server", **options, ready="serving")
    page.locator("button:enabled", has_text="Pursue").wait_for()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Pursue").click()
    page.get_by_text("policy_server has said nothing for").wait_for(state="hidden")
    page.wait_for_selector(".strip figure")
