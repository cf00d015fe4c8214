"""Goals: a gallery; record, compare with today's view, pursue and watch."""

import base64
import math

from nicegui import ui

from am_ros.page.parts import Button, Drawn, Field, card, confirm, dot, esc, heading, live, words
from am_ros.page.shell import Page
from am_ros.page.source import VIEW, Comparison, GoalCard
from am_ros.page.views.pursuit import Watch
from am_ros.page.words import when

REFRESH_S = 0.25


def draw(page: Page) -> None:
    """The view."""
    _Goals(page)


class _Goals:
    def __init__(self, page: Page):
        self._page, self._chosen = page, ""
        source = page.source
        if source.live:
            with ui.element("div").classes("view above"):
                self._watch = Watch(page)
        with ui.element("div").classes("view two"):
            with ui.element("div").classes("stack"), card():
                with ui.element("div").classes("head"):
                    heading("Goals")
                    self._count = Drawn("soft small")
                self._gallery = Drawn("gallery", pick=self._choose)
            with ui.element("div").classes("stack"):
                self._draw_chosen()
                if source.live:
                    self._draw_record()
        self._refresh()
        ui.timer(REFRESH_S, self._refresh)

    def _draw_record(self) -> None:
        with card():
            heading("Record what the camera sees now")
            with ui.element("div").style("max-width:22rem;margin-bottom:.6rem"):
                live(VIEW, "now")
            with ui.element("div").classes("filters"):
                self._name = Field("name (letters, digits, _ and -)", width="11rem")
                self._note = Field("note", longest=1000, width="14rem")
                self._record = Button("Record goal", self._on_record, "primary")

    def _draw_chosen(self) -> None:
        with card() as self._panel:
            self._title = Drawn()
            with ui.element("div").classes("filters").style("margin:.6rem 0"):
                if self._page.source.live:
                    self._pursue = Button("Pursue", self._on_pursue, "primary")
                    self._steps = Field("steps at most", kind="number", width="6.5rem", hint="as set")
                    self._compare = Button("Compare with now", self._on_compare)
                self._delete = Button("Delete", self._on_delete, "danger")
            self._found = Drawn()
            with ui.element("div") as self._both:
                with ui.element("div").classes("screen split") as screen:
                    canvas = ui.element("canvas")
                    if self._page.source.live:
                        canvas.props["data-live"] = VIEW
                    self._over = Drawn()
                split = ui.element("input")
                split.props.update({"type": "range", "min": 0, "max": 100, "value": 50, "data-split": f"c{screen.id}"})
                split.props["aria-label"] = "left: the camera now; right: the goal"
                words("Slide: left of the line is now, right of it the goal.", "soft small")
            self._overlay = Drawn()
        self._both.set_visibility(False)

    def _refresh(self) -> None:
        goals = self._page.source.goals()
        self._gallery.show("".join(_card(goal, goal.goal_id == self._chosen) for goal in goals) or _none(self._page))
        self._count.show(f"{len(goals)}" if goals else "")
        known = {goal.goal_id: goal for goal in goals}
        if self._chosen not in known:
            self._chosen = ""
            self._both.set_visibility(False)
            self._overlay.show("")
            self._found.show("")
        may = bool(self._chosen) and self._page.commands
        self._title.show(_about(known.get(self._chosen)))
        state = self._page.source.pursuit()
        pursued = state.running and state.goal_id == self._chosen
        self._delete.set(enabled=may and not pursued, hint="it is pursued: cancel first" if pursued else "")
        if self._page.source.live:
            running = state.running
            self._record.set(enabled=self._page.commands)
            self._pursue.set(enabled=may and not running, hint="another goal is pursued" if running else "")
            self._compare.set(enabled=bool(self._chosen))
            self._watch.refresh()

    def _choose(self, goal_id: str) -> None:
        self._chosen = goal_id
        known = {goal.goal_id: goal for goal in self._page.source.goals()}
        if goal_id in known and self._page.source.live:
            self._over.show(
                f'<img class=over alt="the goal {esc(goal_id)}" src="{_address(known[goal_id])}"><div class=edge></div>'
            )
            self._both.set_visibility(True)
        elif goal_id in known:
            self._overlay.show(f'<div class=screen><img alt="the goal" src="{_address(known[goal_id])}"></div>')
        self._found.show("")
        if self._page.source.live:
            self._overlay.show("")
        self._refresh()

    async def _on_record(self) -> None:
        if await self._page.act(self._page.source.record_goal, self._name.value.strip(), self._note.value):
            self._name.clear()
            self._note.clear()

    async def _on_pursue(self) -> None:
        text = self._steps.value.strip()
        if text and not (text.isdigit() and 0 < int(text) <= 1000):
            self._page.tell("steps at most: a whole number from 1 to 1000", "warning")
            return
        await self._page.act(self._page.source.pursue, self._chosen, int(text or 0), tell=False)

    async def _on_compare(self) -> None:
        found = await self._page.ask(self._page.source.compare_goal, self._chosen)
        if isinstance(found, Comparison) and found.goal_id == self._chosen:
            self._found.show(_finding(found))
            self._overlay.show(_overlay(found))

    async def _on_delete(self) -> None:
        goal_id = self._chosen
        if await confirm(f"Delete the goal {goal_id}? Its picture is gone then.", "Delete"):
            await self._page.act(self._page.source.delete_goal, goal_id)


def _card(goal: GoalCard, chosen: bool) -> str:
    return (
        f'<button type=button class="goal{" chosen" if chosen else ""}" data-pick="{esc(goal.goal_id)}"'
        f' aria-pressed="{str(chosen).lower()}"><img alt="" loading=lazy src="{_address(goal)}">'
        f"<b>{esc(goal.goal_id)}</b><span>{esc(goal.note)}</span></button>"
    )


def _address(goal: GoalCard) -> str:
    return f"/picture/goal/{esc(goal.goal_id)}?v={esc(goal.version)}"


def _none(page: Page) -> str:
    return (
        "<div class=empty>No goal yet."
        + (" Bring the scene into the state you want, and record it." if page.source.live else "")
        + "</div>"
    )


def _about(goal: GoalCard | None) -> str:
    if goal is None:
        return "<h2>No goal is chosen</h2><div class=soft>Choose one in the gallery.</div>"
    opening = "" if goal.gripper_opening is None else f", gripper {goal.gripper_opening:.0%} open"
    recorded = f", recorded {when(goal.recorded_s)}" if goal.recorded_s else ""
    return (
        f"<h2>{esc(goal.goal_id)}</h2><div>{esc(goal.note)}</div>"
        f'<div class="soft small">{goal.width}x{goal.height} px{opening}{recorded}</div>'
    )


def _finding(found: Comparison) -> str:
    level = {"consistent": "ok", "moved": "error", "scene differs": "error"}.get(found.finding, "warn")
    shift = ""
    if math.isfinite(found.shift_px):
        shift = f'<div class="soft small">mean shift {found.shift_px:.1f} px, {found.shift_deg:.2f}°</div>'
    return f"<p><b class=t-{level}>{dot(level)} {esc(found.sentence)}</b></p>{shift}"


def _overlay(found: Comparison) -> str:
    if not found.overlay:
        return ""
    data = base64.b64encode(found.overlay).decode()
    return (
        f'<h3 style="margin-top:.8rem">Then, now, and both in one</h3><img class=wide alt="then, now, both in one" src="data:image/png;base64,{data}">'
        '<div class="soft small">both in one: then in red, now in cyan; patches that agree are framed in green</div>'
    )
