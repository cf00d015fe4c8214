"""`am-ros page` on the folders of a disk, in a real browser: look, label, discard, salvage, and what was learned."""

import json
import shlex
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from bag_data import make_episode, many_bags
from page_browser import browser, contrast_faults, go, open_page  # noqa: F401

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.bags.index import EpisodeIndex
from am_ros.bags.relabel import label_of
from am_ros.bags.writer import EpisodeBag
from am_ros.commands.demo import Demo, DemoConfig
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.goals import GoalLibrary
from am_ros.pretrained import FOLDER

SPACE = ActionSpace()
EVIL = "<img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `am-ros demo` leaves, in small: bags, goals, a training, a checkpoint, an evaluation."""
    folder = tmp_path_factory.mktemp("results")
    for number in range(60):
        episode = make_episode(f"episode_{number:02d}", steps=5, size=32, seed=number)
        outcome = Outcome.SUCCESS if number % 3 else Outcome.FAILURE
        task = "pick_place" if number % 2 else "reach"
        write_episode(episode.with_info(task=task, source="expert", outcome=outcome), folder / "bags", SPACE)
    EpisodeBag(folder / "bags", EpisodeInfo("torn")).abandon()
    rng = np.random.default_rng(0)
    library = GoalLibrary(folder / "goals")
    for name in ("left", "right"):
        library.record(name, rng.integers(0, 255, (64, 64, 3), np.uint8))
    (folder / "training").mkdir()
    rows = [f"{u},{u / 10},20,{1 / (1 + u / 50):.4f},{0.5 + u / 4000:.3f}" for u in range(10, 1000, 10)]
    (folder / "training" / "metrics.csv").write_text("update,trained_s,updates_per_s,loss,q_seen\n" + "\n".join(rows))
    shutil.copytree(FOLDER / "pick_place", folder / "checkpoint")
    figures = {"trials": 20, "success_rate": 0.8, "ci95": [0.58, 0.92], "distance_m": {"median": 0.013},
               "decision_ms": {"p50": 3.5}}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps({"reach": figures, EVIL: figures, "wall_s": 3}))
    return folder


@pytest.fixture(scope="module")
def address(folder):
    command = [sys.executable, "-m", "am_ros.cli", "page", str(folder), "--page-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().split()[1].rstrip(";")
    process.terminate()
    process.wait(60)


@pytest.mark.timeout(200)
def test_bags_are_found_filtered_labelled_salvaged_and_discarded(address, folder, open_page):  # noqa: F811
    page = open_page(address + "episodes")
    page.get_by_text("1 to 50 of 61").wait_for()
    page.get_by_label("task").select_option("reach")
    page.get_by_text("1 to 30 of 30").wait_for()
    page.get_by_label("contains").fill("episode_04")
    page.get_by_text("1 to 1 of 1").wait_for()
    page.locator("tr[data-pick]").click()
    page.wait_for_selector("img[alt^='what was seen']")
    page.get_by_role("button", name="Bad (b)").click()
    page.wait_for_selector("tr.chosen b.t-error")
    assert label_of(folder / "bags" / "episode_04") == "bad"
    page.get_by_role("button", name="Discard (x)").click()
    page.get_by_role("button", name="Discard", exact=True).click()
    page.get_by_text("No bag fits.").wait_for()
    assert not (folder / "bags" / "episode_04").exists()
    page.get_by_label("task").select_option("any")
    page.get_by_label("contains").fill("torn")
    page.locator("tr[data-pick]").click()
    page.get_by_role("button", name="Salvage").click()
    page.get_by_text("nothing to salvage").or_(page.get_by_text("complete step")).first.wait_for()


@pytest.mark.timeout(200)
def test_trainings_checkpoints_and_evaluations_are_shown_and_nothing_in_them_is_run(address, open_page):  # noqa: F811
    page = open_page(address + "training")
    page.get_by_text("update 7000").or_(page.get_by_text("7000")).first.wait_for()
    page.wait_for_selector("canvas")
    page.get_by_text(EVIL).wait_for()  # as text
    assert page.evaluate("window.hacked") is None
    for view in ("", "goals", "check", "teach"):
        go(page, view)
        page.wait_for_timeout(400)
        assert contrast_faults(page) == [], view
    assert not page.locator(".stop").is_visible()  # there is nothing to be stopped
    go(page, "check")
    page.get_by_text("there is no cell here to be checked").wait_for()


@pytest.mark.timeout(200)
def test_the_command_that_the_demo_prints_opens_the_page_on_its_results(folder, capsys, monkeypatch, open_page):  # noqa: F811
    for stage in ("record", "collect", "learn"):
        monkeypatch.setattr(Demo, stage, lambda self: None)
    monkeypatch.setattr(Demo, "compare", lambda self: {})
    monkeypatch.setattr(Demo, "judge", lambda self, _: json.loads((folder / "summary.json").read_text()))
    assert Demo(folder, DemoConfig()).run() == 0
    command = shlex.split(capsys.readouterr().out.partition("look at it in a browser: ")[2])
    process = subprocess.Popen([*command, "--page-port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        page = open_page(process.stdout.readline().split()[1].rstrip(";"))
        index, goals = EpisodeIndex([folder]), len(GoalLibrary(folder / "goals").list()[0])
        index.look()
        bags = len(index.rows())
        page.locator("dd", has_text=f"{bags} bags").wait_for()
        for name, count in (("goals", goals), ("trainings", 1), ("checkpoints", 1), ("evaluations", 1)):
            assert page.locator(f"dt:text-is('{name}') + dd").inner_text() == str(count)
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.timeout(200)
def test_a_page_that_is_read_only_changes_nothing(folder, open_page):  # noqa: F811
    command = [sys.executable, "-m", "am_ros.cli", "page", str(folder), "--page-port", "0", "--page-read-only", "true"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        page = open_page(process.stdout.readline().split()[1].rstrip(";") + "episodes")
        page.get_by_text("read-only").wait_for()
        page.get_by_label("contains").fill("episode_05")
        page.get_by_text("1 to 1 of 1").wait_for()
        page.locator("tr[data-pick]").click()
        page.wait_for_selector("tr.chosen")
        assert page.get_by_role("button", name="Good (g)").is_disabled()
        page.keyboard.press("g")
        page.get_by_text("this page is read-only").wait_for()
        assert page.locator("tr.chosen b").count() == 0
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.needs_quiet(0.1)
def test_ten_thousand_bags_are_in_the_table_within_a_second_of_the_click(tmp_path, open_page):  # noqa: F811
    many_bags(tmp_path, 10_000)
    command = [sys.executable, "-m", "am_ros.cli", "page", str(tmp_path), "--page-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        page = open_page(process.stdout.readline().split()[1].rstrip(";") + "episodes")
        page.get_by_text("1 to 50 of 10000").wait_for(timeout=300_000)  # the first scan reads each bag's metadata
        go(page, "goals")
        took_s = {}
        for name, act, shown in (
            ("the table", lambda: page.click('nav a[href="/episodes"]'), "1 to 50 of 10000"),
            ("a word", lambda: page.get_by_label("contains").fill("e0"), "1 to 50 of 10000"),
            ("a page", lambda: page.get_by_role("button", name="Later rows").click(), "51 to 100 of 10000"),
            ("another order", lambda: page.locator("[data-pick='sort:steps']").click(), "1 to 50 of 10000"),
        ):
            began_s = time.monotonic()
            act()
            page.get_by_text(shown).wait_for()
            took_s[name] = time.monotonic() - began_s
        print({name: f"{seconds:.2f} s" for name, seconds in took_s.items()})
        assert max(took_s.values()) < 1.0, took_s
    finally:
        process.terminate()
        process.wait(60)
