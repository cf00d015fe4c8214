"""What stands around every view: who is shown, who commands, the way to the other views, and Stop."""

import logging
from collections.abc import Callable
from typing import Literal, TypeAlias

from nicegui import ui

from am_ros.errors import AmRosError
from am_ros.page.aside import aside
from am_ros.page.operators import Browser, Operators
from am_ros.page.parts import Button, Drawn, dot, esc
from am_ros.page.source import Source

_log = logging.getLogger(__name__)
Kind: TypeAlias = Literal["positive", "negative", "warning", "info"]  # of a sentence that is shown
STOP_NOTE = "Stop cancels the motion and brakes. It is no emergency stop."


class Page:
    """One browser's page: what views share."""

    def __init__(self, source: Source, operators: Operators, browser: Browser, playback: Callable):
        self.source, self.operators, self.browser, self.playback = source, operators, browser, playback
        self.client = ui.context.client
        self.pad: Callable = lambda told: None  # what the view does with a gamepad
        ui.on("teach_pad", lambda event: self.pad(event.args))

    @property
    def commands(self) -> bool:
        """Whether this browser may change something."""
        return self.operators.commands(self.browser.client_id)

    async def act(self, function: Callable, *arguments, tell: bool = True):
        """Do something that blocks, if this browser commands; returns its answer, or None if it was refused.

        What it says, or why it was refused, is shown.
        """
        try:
            self.operators.require(self.browser.client_id)
        except AmRosError as error:
            self.tell(str(error), "warning")
            return None
        return await self.ask(function, *arguments, tell=tell)

    async def ask(self, function: Callable, *arguments, tell: bool = False):
        """Like `act`, for what changes nothing: everybody may."""
        try:
            answer = await aside(function, *arguments)
        except AmRosError as error:
            self.tell(str(error), "negative")
            return None
        if tell and isinstance(answer, str):
            self.tell(answer, "positive")
        return answer

    def tell(self, sentence: str, kind: Kind = "info") -> None:
        """Show a sentence for a while."""
        if self.client.has_socket_connection:
            with self.client:
                long = kind in ("negative", "warning")
                ui.notify(sentence, type=kind, position="bottom-left", timeout=9000 if long else 4000, multi_line=True)


def header(page: Page, views: list[tuple[str, str]]) -> None:
    """The bar at the top; `views` are (path, name)."""
    with ui.element("header").classes("bar"):
        with ui.element("div").classes("top"):
            ui.html("am_ros", sanitize=False, tag="span").classes("brand")
            links = _links(views)
            # Buttons at the end of a row whose other parts keep their size: none moves away under a finger.
            take = Button("Take over", lambda: page.operators.take(page.browser.client_id))
            theme = Button("◐", lambda: ui.run_javascript("amTheme.turn()"), hint="light or dark")
            theme.element.props["aria-label"] = "light or dark"
        who = Drawn("who")
        stop = ui.html(
            '<button type=button class=stop aria-keyshortcuts=Space aria-label="Stop the arm">STOP<small>space bar'
            "</small></button>", sanitize=False,
        ).style("grid-area: stop")  # fmt: skip
        stop.set_visibility(page.source.live)  # of a disk nothing can be stopped
    with ui.element("div").classes("told"):
        ui.html("<div id=stop-said role=status aria-live=assertive></div>", sanitize=False)
        told = Drawn("grow")

    def refresh() -> None:
        current = _current(page)
        for path, link in links.items():
            here = "page" if path == current else "false"
            if link.props.get("aria-current") != here:
                link.props["aria-current"] = here
                link.update()
        who.show(_who(page))
        take.element.set_visibility(not page.commands and not page.operators.read_only)
        told.show(_state(page))

    refresh()
    ui.timer(0.5, refresh)


def _links(views: list[tuple[str, str]]) -> dict[str, ui.element]:
    """The way to each view, by its path. They are drawn once: to draw them anew would take the focus from them."""
    links = {}
    with ui.element("div").classes("nav"), ui.element("nav") as nav:
        nav.props["aria-label"] = "views"
        for path, name in views:
            links[path] = ui.element("a")
            links[path].props["href"] = path
            with links[path]:
                ui.html(esc(name), sanitize=False, tag="span")
    return links


def _current(page: Page) -> str:
    return "/" + (page.client.sub_pages_router.current_path or "/").split("?")[0].strip("/")


def _who(page: Page) -> str:
    cell, holder = page.source.cell(), page.operators.holder
    title = page.source.title
    chips = [f"<b>{esc(title)}</b>"] if title else []
    if page.source.live:
        level = {"idle": "ok", "moving": "ok", "protective stop": "error"}.get(cell.arm, "stale")
        chips.append(f"{dot(level)} arm: {esc(cell.arm or 'no controller is heard')}")
        chips.append(f"holds the arm: {esc(cell.commander or 'nobody')}")
    if page.operators.read_only:
        chips.append("read-only")
    elif page.commands:
        chips.append("you command")
    else:
        chips.append(f"{esc(holder.name if holder else 'nobody')} commands, you look on")
    if page.operators.count > 1:
        chips.append(f"{page.operators.count} browsers")
    return "".join(f"<span class=chip>{chip}</span>" for chip in chips)


def _state(page: Page) -> str:
    """The line below the bar: what has to be known whatever view is open."""
    cell = page.source.cell()
    parts = []
    if cell.arm == "protective stop":
        why = f"<b class=t-error>Protective stop:</b> {esc(cell.reason)}."
        parts.append(f"{why} Mend the cause, then reset it in Cell.")
    elif page.source.live and not cell.arm:
        parts.append("<b class=t-warn>No controller is heard.</b> Stop is sent all the same, and may reach nobody.")
    running = page.source.pursuit()
    if running.running:
        parts.append(f"Goal <b>{esc(running.goal_id)}</b> is pursued: step {len(running.steps)}")
    kind = "error" if cell.arm == "protective stop" else "warn" if page.source.live and not cell.arm else ""
    note = f"<span class='soft small'>{esc(STOP_NOTE)}</span>" if page.source.live else ""
    said = f"<span class=said>{' '.join(parts)}</span>" if parts else ""
    return f'<div class="line {kind}">{said}{note}</div>'
