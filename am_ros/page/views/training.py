"""Training: curves and throughput, checkpoints, what they reach; pause, save, load into the policy server."""

from nicegui import ui

from am_ros.page.parts import Button, Drawn, Field, card, esc, facts, heading, words
from am_ros.page.shell import Page
from am_ros.page.source import CheckpointCard, EvaluationCard, TrainingState
from am_ros.page.words import duration

REFRESH_S = 1.0
SILENT_S = 5.0  # a trainer publishes once a second
# What is drawn together; what is in none of them comes last, by itself.
GROUPS = (
    ("Losses", ("loss", "loss_positive", "loss_negative", "loss_prior")),
    ("What Q says", ("q_seen", "q_seen_random_goal", "q_unseen", "target")),
    ("On held-out episodes", ("held_out_loss", "held_out_ranking", "held_out_prior")),
)
COLOURS = ("#2f7fc1", "#c9572b", "#3a9a4f", "#8b5cc7", "#b08900", "#c2407a")


def draw(page: Page) -> None:
    """The view."""
    _Training(page)


class _Training:
    def __init__(self, page: Page):
        self._page, self._source = page, page.source
        self._drawn: tuple = ()
        with ui.element("div").classes("view"):
            with card():
                with ui.element("div").classes("filters"):
                    self._which = Field("training", "", self._refresh, [""], width="22rem")
                    if self._source.live:
                        self._pause = Button("Pause", self._on_pause)
                        self._save = Button("Save a checkpoint", lambda: page.act(self._source.save_training))
                self._state = Drawn()
            self._charts = ui.element("div").classes("view halves").style("padding:0")
            with card():
                heading("Checkpoints")
                self._checkpoints = Drawn("scroll", pick=self._load)
            with card():
                heading("Evaluations")
                self._evaluations = Drawn()
                if self._source.live:
                    words("Evaluations lie on the disk: `am-ros page FOLDER` shows them.", "soft small")
        self._refresh()
        ui.timer(REFRESH_S, self._refresh)

    def _refresh(self) -> None:
        trainings = self._source.trainings()
        self._which.offer([one.name for one in trainings] or [""])
        chosen = next((one for one in trainings if one.name == self._which.value), None)
        self._state.show(_state(chosen))
        if self._source.live:
            running = chosen is not None and chosen.running
            self._pause.set(
                text="Go on" if chosen and chosen.paused else "Pause", enabled=running and self._page.commands
            )
            self._save.set(enabled=running and self._page.commands)
        mark = (chosen.name, chosen.update, tuple(chosen.curves)) if chosen else ()
        if mark != self._drawn:
            self._draw_charts(
                chosen, rebuild=not self._drawn or not mark or (mark[0], mark[2]) != (self._drawn[0], self._drawn[2])
            )
            self._drawn = mark
        self._checkpoints.show(_checkpoints(self._source.checkpoints(), self._source.live, self._page.commands))
        self._evaluations.show(_evaluations(self._source.evaluations()))

    def _draw_charts(self, training: TrainingState | None, rebuild: bool) -> None:
        if rebuild:
            self._charts.clear()
            self._parts: dict[str, ui.echart] = {}
            with self._charts:
                for title, series in _groups(training):
                    with card():
                        heading(title, 3)
                        self._parts[title] = ui.echart(_options(series)).style("height: 15rem")
            return
        for title, series in _groups(training):
            chart = self._parts[title]
            chart.options["series"] = _options(series)["series"]
            chart.update()

    async def _on_pause(self) -> None:
        chosen = next((one for one in self._source.trainings() if one.name == self._which.value), None)
        if chosen is not None:
            await self._page.act(self._source.pause_training, not chosen.paused)

    async def _load(self, number: str) -> None:
        cards = self._source.checkpoints()
        if number.isdigit() and int(number) < len(cards):  # a number in our own list, never a path
            await self._page.act(self._source.load_checkpoint, cards[int(number)].name)


def _groups(training: TrainingState | None) -> list[tuple[str, dict]]:
    if training is None:
        return []
    left, found = dict(training.curves), []
    for title, names in GROUPS:
        series = {name: left.pop(name) for name in names if name in left}
        if series:
            found.append((title, series))
    if left:
        found.append(("Other figures", left))
    if training.success:
        found.append(("Success by task", training.success))
    return found


def _options(series: dict[str, list]) -> dict:
    axis = {
        "axisLabel": {"color": "#4a5866"},
        "splitLine": {"lineStyle": {"color": "#8886"}},
        "nameTextStyle": {"color": "#4a5866"},
    }
    return {
        "animation": False, "color": list(COLOURS), "grid": {"left": 52, "right": 18, "top": 34, "bottom": 34},
        "tooltip": {"trigger": "axis"}, "legend": {"top": 0, "type": "scroll", "textStyle": {"color": "#4a5866"}},
        "xAxis": {"type": "value", "name": "update", "nameLocation": "middle", "nameGap": 22, **axis},
        "yAxis": {"type": "value", "scale": True, **axis},
        "series": [
            {"type": "line", "name": name, "data": points, "showSymbol": len(points) < 12, "lineStyle": {"width": 2}}
            for name, points in series.items()
        ],
    }  # fmt: skip


def _state(training: TrainingState | None) -> str:
    if training is None:
        return "<div class=empty>No training is seen. `am-ros up train page:=true` starts one.</div>"
    of = f" of {training.updates:,}".replace(",", " ") if training.updates else ""
    pairs = [("part", f"{training.part}, before Q")] if training.part else []
    pairs += [
        ("update", f"{training.update:,}{of}".replace(",", " ")),
        ("speed", f"{training.updates_per_s:.1f} updates per second"),
    ]
    if training.running or training.seconds_left:
        pairs += [
            ("waits for data", f"{training.data_wait_share:.0%} of the time"),
            ("time left", duration(training.seconds_left)),
        ]
    if training.episodes:
        pairs.append(("data", f"{training.episodes} episodes, {training.transitions} transitions"))
    note = ""
    if training.paused:
        note = "<b class=t-warn>Paused.</b>"
    elif training.running and training.silent_s > SILENT_S:
        note = f"<b class=t-warn>No figures have come for {duration(training.silent_s)}.</b>"
    return f'<div style="margin-top:.6rem">{note}{facts(pairs, wide=True)}</div>'


def _checkpoints(cards: list[CheckpointCard], live: bool, commands: bool) -> str:
    if not cards:
        return "<div class=empty>No checkpoint is seen.</div>"
    rows = ""
    for number, one in enumerate(cards):
        button = ""
        if live and not one.flaw:
            button = (
                "<b class=t-ok>serves</b>" if one.serving
                else f'<button type=button class=btn data-pick="{number}"{"" if commands else " disabled"}>Load</button>'
            )  # fmt: skip
        what = f"<span class=t-error>{esc(one.flaw)}</span>" if one.flaw else esc(_data(one))
        rows += (
            f"<tr><td>{esc(one.name)}</td><td>{one.update}</td><td class=tight>{duration(one.trained_s)}</td>"
            f"<td>{one.image_px} px</td><td>{what}</td><td class=tight>{esc(one.sha256[:8])}</td><td>{button}</td></tr>"
        )
    heads = "".join(
        f"<th class=plain scope=col>{h}</th>"
        for h in ("checkpoint", "update", "trained", "image", "data", "sha256", "")
    )
    return f"<table class=list><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _evaluations(cards: list[EvaluationCard]) -> str:
    parts = []
    for number, one in enumerate(cards):
        heads = "".join(f"<th class=plain scope=col>{esc(column)}</th>" for column in one.columns)
        rows = "".join("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in row) + "</tr>" for row in one.rows)
        pictures = "".join(
            f'<figure style="width:11rem"><a href="/picture/evaluation/{number}/{i}" target=_blank><img alt="{esc(name)}" loading=lazy '
            f'style="object-fit:contain" src="/picture/evaluation/{number}/{i}"></a><figcaption>{esc(name)}</figcaption></figure>'
            for i, name in enumerate(one.pictures)
        )
        parts.append(
            f"<h3>{esc(one.name)}</h3><div class=scroll><table class=list><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>"
            f'</table></div><div class=strip style="margin:.6rem 0 1rem">{pictures}</div>'
        )
    return "".join(parts)


def _data(one: CheckpointCard) -> str:
    parts = [f"{one.transitions} transitions of {one.episodes} episodes", one.method.replace("_", " ")]
    return ", ".join(filter(None, [*parts, f"data {one.data_hash[:8]}" if one.data_hash else ""]))
