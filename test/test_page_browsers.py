"""What browsers do to each other, and to what one of them began: real ones, on a page without a cell behind it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from page_browser import browser, go, open_page  # noqa: F401


@pytest.fixture(scope="module")
def address():
    command = [sys.executable, str(Path(__file__).with_name("page_stand_in.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().split()[1]
    process.stdin.close()
    process.wait(60)


def take_the_arm(page) -> None:
    page.get_by_role("button", name="Take the arm").click()
    page.locator("button:enabled", has_text="Away (w)").wait_for()


@pytest.mark.timeout(200)
def test_keys_reach_the_arm_wherever_the_focus_is_but_for_fields(address, open_page):  # noqa: F811
    page = open_page(address + "teach")
    take_the_arm(page)
    page.keyboard.press("w")
    page.get_by_text("key 'w'").wait_for()
    page.get_by_role("button", name="Longer (+)").click()
    page.get_by_text("key '+'").wait_for()
    page.keyboard.press("a")  # the focus is on the button still
    page.get_by_text("key 'a'").wait_for()
    page.keyboard.press("Enter")  # presses it once more, and begins no episode
    page.wait_for_function("document.querySelector('.log').innerText.split(\"key '+'\").length === 3")
    page.get_by_label("task, written").fill("wads")
    page.get_by_label("task, written").press("q")
    page.get_by_role("button", name="Close (c)").click()
    page.get_by_text("key 'c'").wait_for()
    said = page.locator(".log").inner_text()
    assert "'q'" not in said and "\\r" not in said and "'d'" not in said
    page.get_by_role("button", name="Let go").click()
    page.locator("button:enabled", has_text="Take the arm").wait_for()


@pytest.mark.timeout(200)
def test_enter_is_not_lost_to_a_button_that_was_just_switched_off(address, open_page):  # noqa: F811
    """Chromium leaves the focus on it until it draws next; who is quick has pressed Enter by then."""
    page = open_page(address + "teach")
    take_the_arm(page)
    page.get_by_role("button", name="Take the arm", disabled=True).evaluate(
        """button => {
            button.disabled = false; button.focus(); button.disabled = true;
            button.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", code: "Enter", bubbles: true}));
        }"""
    )
    page.get_by_text("key '\\r'").wait_for()
    page.get_by_role("button", name="Let go").click()
    page.locator("button:enabled", has_text="Take the arm").wait_for()


@pytest.mark.timeout(200)
def test_what_was_typed_counts_at_once_spaces_are_typed_and_the_way_back_leads_back(address, open_page):  # noqa: F811
    page = open_page(address)
    go(page, "goals")
    page.get_by_label("name (letters").click()
    page.keyboard.type("block_away")
    page.keyboard.press("Tab")
    page.keyboard.type("left of it")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("recorded 'block_away', 'left of it'").wait_for()
    assert page.locator("#stop-said").inner_text() == ""
    page.get_by_label("name (letters").fill("full")
    page.get_by_role("button", name="Record goal").click()
    page.get_by_text("No space left on device").wait_for()
    page.keyboard.press("Space")  # the focus is on a button, which it does not press
    page.get_by_text("stopped: nothing was moving").wait_for()
    go(page, "check")
    page.go_back()
    page.wait_for_selector('nav a[href="/goals"][aria-current=page]')
    page.get_by_role("button", name="Record goal").wait_for()
    page.go_forward()
    page.get_by_role("button", name="Run again").wait_for()


@pytest.mark.timeout(200)
def test_a_page_that_is_loaded_anew_while_it_teaches_lets_the_arm_go(address, open_page):  # noqa: F811
    page = open_page(address + "teach")
    take_the_arm(page)
    page.reload()
    page.locator("button:enabled", has_text="Take the arm").wait_for()


@pytest.mark.timeout(200)
def test_a_browser_that_is_closed_while_it_teaches_lets_the_arm_go(address, open_page):  # noqa: F811
    """Although the next one is there before it counts as gone."""
    first = open_page(address + "teach")
    take_the_arm(first)
    first.close()
    second = open_page(address + "teach")
    second.locator("button:enabled", has_text="Take the arm").wait_for()


@pytest.mark.timeout(200)
def test_who_takes_over_finds_the_arm_free_and_pictures_that_are_folded_away_are_not_sent(address, open_page):  # noqa: F811
    first, second = open_page(address + "teach"), open_page(address + "teach")
    take_the_arm(first)
    second.locator("button:disabled", has_text="Take the arm").wait_for()
    second.get_by_role("button", name="Take over").click()
    take_the_arm(second)
    first.get_by_text("commands, you look on").wait_for()
    first.locator("button:disabled", has_text="Let go").wait_for()
    second.get_by_role("button", name="Let go").click()
    go(second, "goals")
    second.wait_for_selector("canvas[data-live=view][data-frames]")
    unseen = "[...document.querySelectorAll('canvas[data-live][data-frames]')].filter((one) => !one.checkVisibility())"
    assert second.evaluate(f"{unseen}.length") == 0


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_browser_that_sleeps_for_a_minute_comes_back_to_the_page_as_it_is_now(address, open_page):  # noqa: F811
    page, other = open_page(address), open_page(address)
    page.get_by_text("you command").wait_for()
    page.get_by_text("2 browsers").wait_for()
    session = page.context.new_cdp_session(page)
    session.send("Debugger.enable")
    session.send("Debugger.pause")  # nothing runs in it, and no ping of the server's is answered
    asleep_s = time.monotonic()
    # The other one is left alone, and commands.
    other.get_by_text("you command").wait_for()
    other.wait_for_timeout(1000 * max(0.0, 60.0 - (time.monotonic() - asleep_s)))
    session.send("Debugger.resume")
    session.send("Debugger.disable")
    page.get_by_text("2 browsers").wait_for()
    page.get_by_text("commands, you look on").wait_for()
    go(page, "goals")
    page.wait_for_selector("canvas[data-live][data-frames]")
