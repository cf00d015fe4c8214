"""Episodes: thousands of bags as a table, filtered and sorted; playback; labels by keys; verify, salvage, discard."""

from nicegui import ui

from am_ros.bags.index import BROKEN, CLOSED, RECORDING, EpisodeRow
from am_ros.bags.labels import BAD, DISCARDED, GOOD, NONE
from am_ros.page.parts import Button, Drawn, Field, card, confirm, esc, heading, keys, words
from am_ros.page.shell import Page
from am_ros.page.table import ANY, COLUMNS, Choice, matching, ordered
from am_ros.page.views.playback import Player
from am_ros.page.words import duration, lately, plural, size, when

REFRESH_S = 1.0
PER_PAGE = 50
KEYS = {"g": GOOD, "b": BAD, "n": NONE}
NAMES = {GOOD: "Good", BAD: "Bad", NONE: "No label"}


def draw(page: Page) -> None:
    """The view."""
    _Episodes(page)


class _Episodes:
    def __init__(self, page: Page):
        self._page, self._source = page, page.source
        self._key: int | None = None
        self._first, self._column, self._down = 0, "began", True
        self._shown: list[EpisodeRow] = []
        self._found: list[EpisodeRow] = []
        with ui.element("div").classes("view two table-first"):
            with card():
                with ui.element("div").classes("head"):
                    heading("Episodes")
                    self._count = Drawn("soft small grow")
                    self._disk = Drawn("soft small")
                with ui.element("div").classes("filters").style("margin:.6rem 0"):
                    self._text = Field("contains", changed=self._filter, width="7rem")
                    self._filters = {
                        name: Field(name, ANY, self._filter, [ANY], width="6.6rem")
                        for name in ("task", "label", "outcome", "source", "flaws")
                    }
                with ui.element("div").classes("scroll high"):
                    self._table = Drawn("", pick=self._pick)
                with ui.element("div").classes("row-of").style("margin-top:.6rem"):
                    self._back = Button("Earlier rows", lambda: self._turn(-1))
                    self._on = Button("Later rows", lambda: self._turn(1))
                    self._where = Drawn("soft small")
            with ui.element("div").classes("stack"):
                with card():
                    self._about = Drawn()
                    with ui.element("div").classes("row-of").style("margin:.6rem 0"):
                        self._labels = {
                            label: Button(f"{NAMES[label]} ({key})", lambda _, label=label: self._label(label))
                            for key, label in KEYS.items()
                        }
                        self._discard = Button("Discard (x)", self._on_discard, "danger")
                        self._verify = Button("Verify (v)", self._on_verify)
                        self._salvage = Button("Salvage", self._on_salvage)
                    self._said = Drawn()
                    self._player = Player(page)
                with card():
                    heading("Keys", 3)
                    words("Up and down choose an episode, left and right step through it, Enter plays it.", "small")
                    words("g good, b bad, n no label, x discard, v verify. Space is always Stop.", "small")
        keys(self._on_key)
        self._refresh()
        ui.timer(REFRESH_S, self._refresh)

    # -- the table

    def _refresh(self) -> None:
        rows = self._source.episodes()
        for name, field in self._filters.items():
            field.offer([ANY, *_choices(rows, name)])
        wanted = {name: field.value for name, field in self._filters.items()}
        self._found = ordered(
            matching(rows, Choice(self._text.value.strip().lower(), **wanted)), self._column, self._down
        )
        self._first = max(0, min(self._first, (len(self._found) - 1) // PER_PAGE * PER_PAGE))
        self._shown = self._found[self._first : self._first + PER_PAGE]
        if self._key is not None and not any(row.key == self._key for row in rows):
            self._key = None
        self._table.show(_table(self._shown, self._key, self._column, self._down, bool(rows)))
        of = "" if len(self._found) == len(rows) else f" of {len(rows)}"
        total = sum(row.bytes for row in self._found)
        self._count.show(f"{len(self._found)}{of}, {size(total)} {esc(self._source.episodes_note())}")
        self._disk.show(f"free disk: {size(self._source.free_bytes())}")
        last = self._first + len(self._shown)
        self._where.show(f"{self._first + 1} to {last} of {len(self._found)}" if self._shown else "")
        self._back.set(enabled=self._first > 0)
        self._on.set(enabled=last < len(self._found))
        self._show_chosen()

    def _filter(self) -> None:
        self._first = 0
        self._refresh()

    def _turn(self, way: int) -> None:
        self._first = max(0, self._first + way * PER_PAGE)
        self._refresh()

    def _pick(self, what: str) -> None:
        kind, _, name = what.partition(":")
        if kind == "sort" and name in COLUMNS:
            self._down = not self._down if self._column == name else name in ("began", "steps", "bytes")
            self._column = name
            self._first = 0
            self._refresh()
        elif kind == "row" and name.isdigit():
            self._choose(int(name))

    def _choose(self, key: int) -> None:
        if any(row.key == key for row in self._shown) and key != self._key:
            self._key = key
            self._said.show("")
            self._refresh()
            self._player.open(self._chosen())

    def _step(self, way: int) -> None:
        keys = [row.key for row in self._found]
        at = keys.index(self._key) if self._key in keys else -1 if way > 0 else 0
        at = max(0, min(len(keys) - 1, at + way))
        if keys:
            self._first = at // PER_PAGE * PER_PAGE
            self._shown = self._found[self._first : self._first + PER_PAGE]
            self._choose(keys[at])
            ui.run_javascript("document.querySelector('tr.chosen')?.scrollIntoView({block: 'nearest'})")

    def _chosen(self) -> EpisodeRow | None:
        return next((row for row in self._source.episodes() if row.key == self._key), None)

    def _show_chosen(self) -> None:
        row, may = self._chosen(), self._page.commands
        self._about.show(_about(row))
        closed = row is not None and row.state == CLOSED
        for label, button in self._labels.items():
            button.set(
                enabled=(closed or (row is not None and row.state == RECORDING)) and may,
                on=row is not None and row.state == CLOSED and row.label == label,
            )
        self._discard.set(enabled=closed and may)
        self._verify.set(enabled=row is not None)
        broken = row is not None and (row.state == BROKEN or any("salvage" in flaw for flaw in row.flaws))
        self._salvage.set(enabled=broken and may)
        if row is None or row.state == CLOSED:  # one that was being recorded can be played now
            self._player.open(row)

    # -- what is done with one

    async def _label(self, label: str) -> None:
        row = self._chosen()
        if row is None:
            return
        if row.state == BROKEN and self._page.commands:
            self._page.tell(f"{row.name} was never closed, and cannot be labelled: salvage it first", "warning")
            return
        # One that is being recorded is labelled too; the table shows it when the bag is closed.
        await self._page.act(self._source.label, row.key, label, tell=row.state == RECORDING)
        self._refresh()

    async def _on_discard(self) -> None:
        row = self._chosen()
        if row is None or row.state != CLOSED:
            return
        if await confirm(f"Discard {row.name}? Its bag ({size(row.bytes)}) is deleted from the disk.", "Discard"):
            self._step(1)
            await self._page.act(self._source.label, row.key, DISCARDED)
            self._refresh()

    async def _on_verify(self) -> None:
        row = self._chosen()
        if row is None:
            return
        self._said.show("<p class=soft>Every checksum, count, stamp and picture is looked at ...</p>")
        problems = await self._page.ask(self._source.verify, row.key)
        if problems is not None and self._key == row.key:
            listed = "".join(f"<li>{esc(problem)}</li>" for problem in problems)
            self._said.show(f"<p class=t-error>{plural(len(problems), 'problem')}</p><ul>{listed}</ul>" if problems
                            else "<p class=t-ok>Nothing is wrong with it.</p>")  # fmt: skip

    async def _on_salvage(self) -> None:
        row = self._chosen()
        if row is not None:
            await self._page.act(self._source.salvage, row.key)
            self._refresh()

    async def _on_key(self, event) -> None:
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta:
            return
        name = str(event.key.name)
        if name in ("ArrowDown", "ArrowUp"):
            self._step(1 if name == "ArrowDown" else -1)
        elif name in ("ArrowLeft", "ArrowRight"):
            self._player.step(1 if name == "ArrowRight" else -1)
        elif name == "Enter":
            self._player.play()
        elif event.action.repeat:
            return
        elif name in KEYS:
            await self._label(KEYS[name])
        elif name == "x":
            await self._on_discard()
        elif name == "v":
            await self._on_verify()


def _choices(rows: list[EpisodeRow], name: str) -> list[str]:
    if name == "flaws":
        return ["with flaws", "without"]
    return sorted({getattr(row, name) or "-" for row in rows})


def _table(rows: list[EpisodeRow], chosen: int | None, column: str, down: bool, any_bag: bool) -> str:
    heads = ""
    for name, title in COLUMNS.items():
        mark = (" ▼" if down else " ▲") if name == column else ""
        sort = f" aria-sort={'descending' if down else 'ascending'}" if name == column else ""
        heads += f'<th scope=col{sort}><button type=button data-pick="sort:{name}">{esc(title)}{mark}</button></th>'
    lines = "".join(_line(row, row.key == chosen) for row in rows)
    if not rows:
        lines = f"<tr><td colspan={len(COLUMNS)} class=empty>{'No bag fits.' if any_bag else 'There is no bag here yet.'}</td></tr>"
    return f"<table class=list><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def _line(row: EpisodeRow, chosen: bool) -> str:
    flaws = f'<span class=t-warn title="{esc("; ".join(row.flaws))}">{len(row.flaws)}</span>' if row.flaws else ""
    label = {GOOD: "<b class=t-ok>good</b>", BAD: "<b class=t-error>bad</b>"}.get(row.label, "")
    outcome = {"success": "<span class=t-ok>success</span>", "failure": "<span class=t-error>failure</span>"}.get(
        row.outcome, ""
    )
    state = "" if row.state == CLOSED else f"<b class=t-warn>{esc(row.state)}</b>"
    cells = [
        f'<td class=tight title="{esc(when(row.began_s))}">{esc(lately(row.began_s))}</td>', f'<td class=name title="{esc(row.name)}">{state}{esc(row.name)}</td>', f"<td>{esc(row.task)}</td>",
        f"<td>{label}</td>", f"<td>{outcome}</td>", f"<td>{esc(row.source)}</td>", f"<td>{row.steps}</td>",
        f"<td class=tight>{size(row.bytes)}</td>", f"<td>{flaws}</td>",
    ]  # fmt: skip
    marked = ' class="pick chosen" aria-selected=true' if chosen else " class=pick"
    return f'<tr{marked} data-pick="row:{row.key}">{"".join(cells)}</tr>'


def _about(row: EpisodeRow | None) -> str:
    if row is None:
        return "<h2>No episode is chosen</h2><div class=soft>Choose one in the table, or press the down key.</div>"
    goal = f", goal {row.goal_id}" if row.goal_id else ""
    parts = [
        f"{plural(row.steps, 'step')} in {duration(row.duration_s)}",
        row.task or "no task",
        f"by {row.source or '?'}{goal}",
    ]
    ended = f"<div class=small>ended: {esc(row.reason)}</div>" if row.reason else ""
    flaws = "".join(f'<div class="small t-warn">{esc(flaw)}</div>' for flaw in row.flaws)
    where = f'<div class="soft small" style="overflow-wrap:anywhere">{esc(row.bag)}</div>'
    return f'<h2 style="overflow-wrap:anywhere">{esc(row.name)}</h2><div>{esc(", ".join(parts))}</div>{ended}{flaws}{where}'
