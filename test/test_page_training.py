"""The page's node without a cell: a training watched, paused, continued and saved, by a real trainer; a taken port."""

import os

import psutil
import pytest
from learning_data import DotWorld
from page_browser import browser, open_page, picture  # noqa: F401
from test_page_cell import address_of

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.nodes.operator_page import NICE


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_training_is_watched_paused_continued_and_saved(ros_env, start_node, open_page, tmp_path):  # noqa: F811
    for seed in range(12):
        write_episode(DotWorld.episode(seed), tmp_path / "bags", ActionSpace())
    endless = {"image_size": 16, "batch_size": 16, "updates": 5000, "precision": "fp32"}
    start_node("trainer", bags=str(tmp_path / "bags"), out=str(tmp_path / "out"), min_episodes=8, **endless)
    start_node("policy_server", checkpoint_folder=str(tmp_path / "out"))
    page = open_page(address_of(start_node("operator_page", page_port=0)) + "training")
    page.locator("option", has_text="out").wait_for(state="attached")
    page.get_by_text("of 5 000").wait_for()
    page.wait_for_selector(".nicegui-echart canvas")
    page.locator("button:enabled", has_text="Save a checkpoint").click()
    row = page.locator("tbody tr", has_text="checkpoint")
    row.wait_for()
    page.locator("button:enabled", has_text="Pause").click()
    page.get_by_text("Paused.").wait_for()
    page.wait_for_timeout(1500)
    picture(page, "training", 1150)
    page.locator("button:enabled", has_text="Go on").click()
    page.locator("button:enabled", has_text="Pause").wait_for()
    row.get_by_role("button", name="Load").click()
    row.get_by_text("serves").wait_for()


def test_the_page_of_a_port_that_is_taken_ends_in_one_sentence(start_node):
    first = start_node("operator_page", page_port=0)
    port = address_of(first).rstrip("/").rpartition(":")[2]
    assert psutil.Process(first.pid).nice() - os.nice(0) == NICE, "the robot's nodes come first"
    second = start_node("operator_page", page_port=int(port))
    assert second.wait(60) == 2
    assert f"operator_page: parameter page_port: 127.0.0.1:{port} cannot be listened on" in second.output
