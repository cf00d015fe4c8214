"""An episode step by step: its pictures under a scrubber, the gripper, what was decided, and Q."""

from nicegui import ui

from am_ros.bags.index import RECORDING, EpisodeRow
from am_ros.bags.playback import Moment
from am_ros.page.parts import Button, Drawn, esc, facts
from am_ros.page.shell import Page
from am_ros.page.words import metres, move

STEP_S = 0.5  # between two pictures while it plays


class Player:
    """Draws itself where it is made; `open` shows another episode."""

    def __init__(self, page: Page):
        self._page = page
        self._row: EpisodeRow | None = None
        self._moments: list[Moment] = []
        self._at = 0
        with ui.element("div") as self._box:
            self._screen = Drawn()
            with ui.element("div").classes("row-of").style("margin-top:.4rem"):
                self._button = Button("Play", self.play)
                Button("Previous", lambda: self.step(-1))
                Button("Next", lambda: self.step(1))
            self._scrub = ui.element("input")
            self._scrub.props.update({"type": "range", "min": 0, "value": 0, "aria-label": "step of the episode"})
            self._scrub.on("input", self._on_scrub, js_handler="(e) => emit(e.target.value)", throttle=0.05)
            self._text = Drawn()
            self._chart = Drawn()
        self._said = Drawn()
        self._box.set_visibility(False)
        self._timer = ui.timer(STEP_S, self._advance, active=False)

    def open(self, row: EpisodeRow | None) -> None:
        """Read the episode in a thread, and show its first picture."""
        if row is self._row or (row and self._row and (row.key, row.state) == (self._row.key, self._row.state)):
            return
        self._row, self._moments, self._at, self._timer.active = row, [], 0, False
        self._box.set_visibility(False)
        self._said.show("")
        if row is not None and row.state == RECORDING:
            self._said.show("<p class=soft>It is being recorded, and can be played as soon as it is closed.</p>")
        elif row is not None:
            self._said.show("<p class=soft>The bag is being read ...</p>")
            ui.timer(0.01, lambda: self._read(row), once=True)

    async def _read(self, row: EpisodeRow) -> None:
        moments = await self._page.ask(self._page.playback, row.key)
        if self._row is None or self._row.key != row.key:
            return
        self._said.show("" if moments else "<p class=soft>There is nothing in it that could be shown.</p>")
        if moments:
            self._moments = moments
            self._scrub.props["max"] = len(moments) - 1
            self._scrub.update()
            self._box.set_visibility(True)
            self._show()

    def play(self) -> None:
        """Begin, or pause."""
        if not self._moments:
            return
        if not self._timer.active and self._at >= len(self._moments) - 1:
            self._at = 0
        self._timer.active = not self._timer.active
        self._show()

    def step(self, way: int) -> None:
        """To the next picture or the one before."""
        self._timer.active = False
        self._to(self._at + way)

    def _advance(self) -> None:
        if self._at >= len(self._moments) - 1:
            self._timer.active = False
        self._to(self._at + 1)

    def _on_scrub(self, event) -> None:
        text = str(event.args)
        if text.isdigit():
            self._timer.active = False
            self._to(int(text))

    def _to(self, at: int) -> None:
        if self._moments:
            self._at = max(0, min(at, len(self._moments) - 1))
            self._show()

    def _show(self) -> None:
        moment, last = self._moments[self._at], len(self._moments) - 1
        key = self._row.key if self._row else 0
        self._button.set(text="Pause" if self._timer.active else "Play")
        self._screen.show(
            f'<div class=screen><img alt="what was seen at step {self._at}" '
            f'src="/picture/episode/{key}/{self._at}"><div class=note>{self._at} of {last}, {moment.t_s:.1f} s</div></div>'
        )
        if self._scrub.props.get("value") != self._at:
            self._scrub.props["value"] = self._at
            self._scrub.update()
            ui.run_javascript(f"const e = getHtmlElement({self._scrub.id}); if (e) e.value = {self._at};")
        action = move(moment.translation_m, moment.rotation_rad, moment.gripper, moment.terminate) or "the end"
        q = "-" if moment.q_value is None else f"{moment.q_value:.2f}"
        self._text.show(
            facts(
                [
                    ("step", action),
                    ("Q", q),
                    ("gripper", f"{moment.gripper_opening:.0%} open"),
                    ("tool", metres(moment.position_m)),
                ]
            )
        )
        self._chart.show(_chart(self._moments, self._at))


def _chart(moments: list[Moment], at: int) -> str:
    """Gripper opening and Q over the steps, with a mark where the scrubber stands."""
    width, height, count = 320, 80, max(len(moments) - 1, 1)

    def x(i: int) -> float:
        return 8 + i * (width - 16) / count

    def line(pairs, stroke: str, dash: str = "") -> str:
        points = " ".join(f"{x(i):.1f},{height - 6 - (height - 12) * v:.1f}" for i, v in pairs)
        return f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="2"{dash}/>' if points else ""

    q = [(i, m.q_value) for i, m in enumerate(moments) if m.q_value is not None]
    parts = [
        line(
            [(i, min(max(m.gripper_opening, 0), 1)) for i, m in enumerate(moments)],
            "var(--ok)",
            ' stroke-dasharray="5 3"',
        ),
        line(q, "var(--accent)"),
        f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" y2="{height}" stroke="var(--ink)"/>',
    ]
    note = "gripper opening (dashed)" + (", Q (solid)" if q else "") + ", 0 to 1"
    return (
        f'<svg viewBox="0 0 {width} {height}" width="100%" style="border:1px solid var(--line)" role=img '
        f'aria-label="{esc(note)}">{"".join(parts)}</svg><div class="soft small">{esc(note)}</div>'
    )
