"""A real browser for the tests of the operator's page: Debian's Chromium, driven by Playwright."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import PATIENCE_S

PICTURES = Path(__file__).parents[1] / "docs" / "images"
PICTURED = bool(os.environ.get("AM_ROS_PICTURES"))  # whether pictures for docs/page.md are taken anew
PATIENCE_MS = 1000 * PATIENCE_S


def chromium() -> str:
    """The browser's path; skips the test, saying how to install it, where it is missing."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: sudo apt install chromium")
    return path


class Hosts(set):
    """The hosts that pages asked for anything."""

    def __call__(self, request) -> None:
        scheme, _, rest = request.url.partition("://")
        if scheme not in ("data", "blob", "about"):
            self.add(rest.partition("/")[0])


@pytest.fixture(scope="module")
def browser():
    """One browser process for a file of tests."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        # Without its sandbox it runs as root in a container as well; --disable-gpu: there is none.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """A function `open_page(address, width=1280, dark=False)` that opens a page as a person of its own.

    The page has `faults`, what its console complained of, and `hosts`; both are judged when the test ends.
    """
    contexts, faults, hosts, served = [], [], Hosts(), set()

    def open_one(address: str, width: int = 1280, height: int = 860, dark: bool = False, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", hosts)
        served.add(address.split("/")[2])
        page.goto(address)
        page.wait_for_selector("nav a")
        page.wait_for_function("window.socket?.connected")  # from then on it counts as a browser that is there
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert faults == []
    assert hosts <= served, "something was loaded from another host"


def go(page, view: str) -> None:
    """To another view by its link."""
    page.click(f'nav a[href="/{view}"]')
    arrive(page, view)


def arrive(page, view: str) -> None:
    """Wait until a view is there that was asked for."""
    page.wait_for_selector(f'nav a[href="/{view}"][aria-current=page]')


def tab_to(page, what: str, text: str = "", most: int = 150) -> None:
    """Press Tab until the focus is on an element of that selector whose text, or label's text, begins so."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED, [what, text]):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", f"{what}: unseen"
            return
    raise AssertionError(f"{most} times Tab do not lead to {what} {text!r}")


FOCUSED = """([what, text]) => {
  const one = document.activeElement;
  return one.matches(what) && (one.closest("label") || one).innerText.trim().startsWith(text);
}"""


def picture(page, name: str, height: int = 0, top=None) -> None:
    """Take a picture for docs/page.md, if the file is to be taken anew (AM_ROS_PICTURES=1).

    `height`: of the window [px]; `top`: what is just below the header.
    """
    if PICTURED:
        before = page.viewport_size
        if height:
            page.set_viewport_size({"width": before["width"], "height": height})
        if top is not None:
            top.evaluate("e => window.scrollBy(0, e.getBoundingClientRect().top - 100)")
        page.wait_for_timeout(600)
        page.screenshot(path=PICTURES / f"page_{name}.png", style=".q-notification { display: none }")
        page.set_viewport_size(before)


def contrast_faults(page) -> list[str]:
    """Texts whose contrast with what lies behind them is below WCAG AA: 4.5, or 3 for large ones."""
    return page.evaluate(CONTRAST)


def focus_faults(page) -> list[str]:
    """What can have the focus and does not show it: by a line of 2 px, with a contrast of 3 to what lies around it."""
    return page.evaluate(FOCUS)


def cramped(page) -> list[str]:
    """Buttons, links, headings and chips whose text does not fit."""
    return page.evaluate(CRAMPED)


CRAMPED = """() => [...document.querySelectorAll("button:not(.goal), nav a, h2, h3, .chip")].filter((e) => {
  if (!e.checkVisibility() || !e.innerText.trim()) return false;
  const range = document.createRange();
  range.selectNodeContents(e);
  const text = range.getBoundingClientRect(), box = e.getBoundingClientRect();
  return text.left < box.left - 0.5 || text.right > box.right + 0.5;
}).map((e) => e.innerText)"""

COLOURS = """
  const number = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number), unit = text.startsWith("color(") ? 255 : 1;
    return [r * unit, g * unit, b * unit, a];
  };
  const linear = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
  const behind = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const colour = number(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0) layers.unshift(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduce((below, one) => over(one, below), [255, 255, 255, 1]);
  };
  const contrast = (one, other) => {
    const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
"""

FOCUS = f"""() => {{ {COLOURS}
  const found = [], which = "a[href], button, input, select, textarea, [tabindex]:not([tabindex='-1'])";
  document.activeElement.blur(); // what was clicked has the focus already, and does not show it
  for (const e of document.querySelectorAll(which)) {{
    if (e.disabled || !e.checkVisibility({{ visibilityProperty: true }})) continue;
    e.focus({{ focusVisible: true, preventScroll: true }});
    if (document.activeElement !== e) continue;
    const style = getComputedStyle(e), around = behind(e.parentElement);
    const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const ratio = contrast(over(number(style.outlineColor), around), around);
    if (!seen || ratio < 3) found.push(`${{e.outerHTML.slice(0, 60)}}: ${{style.outline}}`);
  }}
  document.activeElement.blur();
  return found;
}}"""

CONTRAST = f"""() => {{ {COLOURS}
  const found = [];
  for (const e of document.querySelectorAll("body *")) {{
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(e);
    if (!own || !e.checkVisibility({{ opacityProperty: true, visibilityProperty: true }})) continue;
    if (e.closest("[disabled]")) continue;
    if (e.tagName === "OPTION" || e.closest("svg")) continue;
    const back = behind(e), fore = over(number(style.color), back);
    const ratio = contrast(fore, back), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${{e.textContent.trim().slice(0, 40)}}: ${{ratio.toFixed(2)}}`);
  }}
  return found;
}}"""
