"""Every view with something of each kind in it: it fits, is legible, shows where the focus is. In a real browser."""

import subprocess
import sys
from pathlib import Path

import pytest
from page_browser import browser, contrast_faults, cramped, focus_faults, go, open_page  # noqa: F401

SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def address():
    command = [sys.executable, str(Path(__file__).with_name("page_stand_in.py")), "full"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().split()[1]
    process.stdin.close()
    process.wait(60)


def show_goals(page) -> None:
    page.click("[data-pick=block_left]")
    page.locator("button:disabled", has_text="Delete").wait_for()  # it is being pursued
    page.get_by_role("button", name="Compare with now").click()
    page.wait_for_selector("img[alt='then, now, both in one']")
    page.wait_for_selector(".strip figure:nth-child(9)")


def show_episodes(page) -> None:
    page.click("tr[data-pick]:nth-child(3)")
    page.wait_for_selector("img[alt^='what was seen']")
    page.keyboard.press("v")
    page.get_by_text("2 problems").wait_for()


def show_teach(page) -> None:
    page.get_by_role("button", name="Take the arm").click()
    page.locator("button:enabled", has_text="Let go").wait_for()
    page.wait_for_selector(".q-notification")


VIEWS = {
    "": lambda page: page.get_by_text("moved it back by hand").or_(page.get_by_text("torque of")).first.wait_for(),
    "goals": show_goals,
    "episodes": show_episodes,
    "training": lambda page: page.wait_for_selector("canvas"),
    "check": lambda page: page.get_by_text("am-ros keystore").wait_for(),
    "teach": show_teach,
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("width", "dark"),
    [(768, False), (1280, True), pytest.param(768, True, marks=SLOW), pytest.param(1280, False, marks=SLOW)],
    ids=["768-light", "1280-dark", "768-dark", "1280-light"],
)
def test_every_view_fits_is_legible_and_shows_where_the_focus_is(address, open_page, width, dark):  # noqa: F811
    page = open_page(address, width=width, dark=dark)
    for view, show in VIEWS.items():
        go(page, view)
        show(page)
        page.mouse.move(0, 0)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert contrast_faults(page) == [], view
        assert focus_faults(page) == [], view
        assert cramped(page) == [], view
        assert page.locator(".stop").is_visible()


def test_buttons_stay_where_they_are_whatever_is_said_beside_them(address, open_page):  # noqa: F811
    """Take over, theme and Stop: a chip that grew once moved the button away from under the mouse."""
    places = []
    for width in (768, 1280):
        first, second = (open_page(address + "teach", width=width) for _ in range(2))
        second.get_by_role("button", name="Take over").wait_for()
        spot = "[...document.querySelectorAll('.bar button')].map((b) => JSON.stringify(b.getBoundingClientRect()))"
        places.append(second.evaluate(spot))
        first.get_by_role("button", name="Take the arm").click()
        longer = "'<span class=chip>' + 'm'.repeat(60) + '</span>'"
        second.evaluate(f"document.querySelector('.who').insertAdjacentHTML('beforeend', {longer})")
        assert second.evaluate(spot)[:2] == places[-1][:2]
        first.get_by_role("button", name="Let go").click()
        first.context.close()
        second.context.close()
