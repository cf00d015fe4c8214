"""A goal that is pursued: goal beside live view, steps, Q and decision time as they come, and why it ended."""

import math

from nicegui import ui

from am_ros.page.parts import Button, Drawn, card, esc, heading, live
from am_ros.page.projection import Projection
from am_ros.page.shell import Page
from am_ros.page.source import VIEW, Candidate, PursuitState, PursuitStep
from am_ros.page.views.overlay import colour, overlay, q_range, shares
from am_ros.page.words import move

MAP_PX = 260
SHOWN = 60  # steps in the strip; further ones are counted


class Watch:
    """Draws itself where it is made; `refresh` a few times a second."""

    def __init__(self, page: Page):
        self._page, self._shown, self._closed_s = page, "", 0.0
        with card() as self._card:
            with ui.element("div").classes("head"):
                heading("Pursuit")
                self._state = Drawn("grow")
                self._cancel = Button("Cancel", lambda: page.act(page.source.cancel_pursuit), "danger")
                self._close = Button("Close", self._on_close)
            with ui.element("div").classes("watch"):
                with ui.element("div").style("grid-area: goal"):
                    self._goal = Drawn()
                with ui.element("div").style("grid-area: now"), live(VIEW, "now"):
                    self._over = Drawn()
                with ui.element("div").style("grid-area: curves"):
                    self._curve = Drawn()
                with ui.element("div").style("grid-area: steps; min-width: 0"):
                    self._legend = Drawn("soft small")
                    self._steps = Drawn("strip")
                with ui.element("div").style("grid-area: map"):
                    self._map = Drawn()
        self._card.set_visibility(False)

    def _on_close(self) -> None:
        """What has ended makes room."""
        self._closed_s = self._page.source.pursuit().began_s
        self.refresh()

    def refresh(self) -> None:
        """Show what is new."""
        source, state = self._page.source, self._page.source.pursuit()
        shown = bool(state.goal_id) and (state.running or state.began_s != self._closed_s)
        self._card.set_visibility(shown)
        if not shown:
            return
        self._state.show(_state(state))
        self._cancel.set(enabled=state.running and self._page.commands)
        self._cancel.element.set_visibility(state.running)
        self._close.element.set_visibility(not state.running)
        version = next((goal.version for goal in source.goals() if goal.goal_id == state.goal_id), None)
        if version is not None:
            self._goal.show(
                f'<div class=screen><img alt="the goal" src="/picture/goal/{esc(state.goal_id)}?v={esc(version)}">'
                f"<div class=note>goal: {esc(state.goal_id)}</div></div>"
            )
        elif self._shown != state.goal_id:  # one that was deleted meanwhile stays as it was shown
            self._goal.show(
                f'<div class="screen lack"><div class=note>goal: {esc(state.goal_id)}, of which the library has no '
                "picture</div></div>"
            )
        self._shown = state.goal_id
        projection, candidates = source.projection(), source.candidates()
        self._steps.show("".join(_step(step, projection) for step in state.steps[-SHOWN:]))
        last = state.steps[-1] if state.steps else None
        self._over.show(overlay(projection, last, candidates))
        seen = "Over the picture: the step that was chosen last"
        self._legend.show(f"{seen}; {_legend(candidates) or 'its Q is not told'}." if projection and last else "")
        self._map.show(_table(candidates, last))
        self._curve.show(_curve(state.steps))


def _state(state: PursuitState) -> str:
    warnings = "".join(f"<div class=t-warn><b>warning:</b> {esc(warning)}</div>" for warning in state.warnings)
    if state.running:
        return f"<b>{esc(state.goal_id)}</b> <span class=soft>step {len(state.steps)}</span>{warnings}"
    level = "error" if state.fault else "ok"
    return f"<b class=t-{level}>{'Fault' if state.fault else 'Ended'}:</b> {esc(state.ended)}{warnings}"


def _legend(candidates: list[Candidate]) -> str:
    low, high = q_range(candidates)
    return f"Q of the last decision's candidates, {low:.2f} (blue) to {high:.2f} (red)" if candidates else ""


def _step(step: PursuitStep, projection: Projection | None) -> str:
    picture = ""
    if step.number:
        picture = f'<div class=shot><img alt="" src="/picture/step/{step.number}">{overlay(projection, step, weight=2.5)}</div>'
    q = f"Q {step.q_value:.2f}" if math.isfinite(step.q_value) else "no Q"
    action = move(step.translation_m, step.rotation_rad, step.gripper, step.terminate)
    return (
        f"<figure>{picture}<figcaption><b>{step.index + 1}</b> {q}<span class=soft>{step.decision_ms:.1f} ms</span>"
        f"<span>{esc(action)}</span></figcaption></figure>"
    )


def _table(candidates: list[Candidate], last: PursuitStep | None) -> str:
    """The table from above, x up and y to the left as one stands behind the robot's base; Q of each candidate."""
    if last is None or last.start_m is None:
        return ""
    tool_m = last.start_m
    half = 0.16  # m shown to each side: twice the longest step
    scale = MAP_PX / (2 * half)

    def place(x: float, y: float) -> tuple[float, float]:
        return MAP_PX / 2 - (y - tool_m[1]) * scale, MAP_PX / 2 - (x - tool_m[0]) * scale

    dots = []
    for one, share in shares(candidates):
        x, y = place(one.position_m[0], one.position_m[1])
        dots.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour(share)}" stroke="#0008" stroke-width=".5"/>'
        )
    arrow = ""
    if not last.terminate:
        x, y = place(tool_m[0] + last.translation_m[0], tool_m[1] + last.translation_m[1])
        middle = MAP_PX / 2
        arrow = (
            f'<line x1="{middle}" y1="{middle}" x2="{x:.1f}" y2="{y:.1f}" stroke="var(--ink)" stroke-width="3"'
            ' marker-end="url(#tip)"/>'
        )
    what = _legend(candidates) or "the step"
    return (
        f'<h3>From above</h3><svg viewBox="0 0 {MAP_PX} {MAP_PX}" width="100%" style="max-width:{MAP_PX}px;'
        'border:1px solid var(--line)" role=img aria-label="the table from above">'
        '<defs><marker id="tip" markerWidth="5" markerHeight="5" refX="3" refY="2.5" orient="auto">'
        '<path d="M0 0 L5 2.5 L0 5z" fill="var(--ink)"/></marker></defs>'
        f'{"".join(dots)}<circle cx="{MAP_PX / 2}" cy="{MAP_PX / 2}" r="6" fill="none" stroke="var(--ink)" stroke-width="2"/>'
        f'{arrow}</svg><div class="soft small">the tool in the middle, away from the base is up; {what}; '
        f"{2 * half * 100:.0f} cm wide</div>"
    )


def _curve(steps: list[PursuitStep]) -> str:
    """Q and decision time over the steps."""
    if not steps:
        return ""
    width, height = 320, 110
    count = max(len(steps) - 1, 1)
    longest = max(max(s.decision_ms for s in steps), 1.0)

    def line(values, top: float, stroke: str) -> str:
        points = " ".join(
            f"{8 + i * (width - 16) / count:.1f},{height - 6 - (height - 12) * v / top:.1f}"
            for i, v in enumerate(values)
        )
        dots = "".join(
            f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3" fill="{stroke}"/>' for p in points.split()
        )
        return f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="2"/>{dots}'

    q = [s.q_value if math.isfinite(s.q_value) else 0.0 for s in steps]
    frame = (
        f'<svg viewBox="0 0 {width} {height}" width="100%" style="border:1px solid var(--line)" role=img aria-label='
    )
    return (
        f'<h3>Q by step</h3>{frame}"Q by step">{line(q, 1.0, "var(--accent)")}</svg>'
        f'<div class="soft small">0 to 1; now {q[-1]:.2f}</div>'
        f'<h3 style="margin-top:.6rem">Decision time</h3>{frame}"decision time by step">'
        f"{line([s.decision_ms for s in steps], longest, 'var(--ok)')}</svg>"
        f'<div class="soft small">0 to {longest:.1f} ms; now {steps[-1].decision_ms:.1f} ms</div>'
    )
