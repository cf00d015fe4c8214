"""The pre-flight check: what is wrong, and how to mend it."""

from nicegui import ui

from am_ros.errors import AmRosError
from am_ros.page.parts import Button, Drawn, card, dot, esc, heading, words
from am_ros.page.shell import Page
from am_ros.page.source import CheckState
from am_ros.page.words import plural, when

REFRESH_S = 0.5
LEVELS = {"wrong": "error", "warning": "warn", "ok": "ok"}


def draw(page: Page) -> None:
    """The view."""
    with ui.element("div").classes("view"), card():
        with ui.element("div").classes("head"):
            heading("Pre-flight check")
            state = Drawn("soft grow")
            again = Button("Run again", lambda: page.act(page.source.run_check), "primary")
        words("As `am-ros check` finds it. Nothing is commanded and nothing moves.", "soft small")
        findings = Drawn("lights")

    def refresh() -> None:
        try:
            check = page.source.check()
        except AmRosError as error:
            state.show("")
            findings.show(f"<div class=empty>{esc(error)}</div>")
            again.set(enabled=False)
            return
        again.set(
            text="Looking at the cell ..." if check.running else "Run again",
            enabled=page.commands and not check.running,
        )
        state.show(_state(check))
        findings.show(_findings(check))

    refresh()
    ui.timer(REFRESH_S, refresh)


def _state(check: CheckState) -> str:
    if check.trouble:
        return f"<b class=t-error>{esc(check.trouble)}</b>"
    if not check.at_s:
        return "" if check.running else "not run yet"
    counts = {level: sum(finding[0] == level for finding in check.findings) for level in LEVELS}
    words_ = f"{counts['wrong']} wrong, {plural(counts['warning'], 'warning')}, {counts['ok']} ok"
    return f"<b class=t-{'error' if counts['wrong'] else 'ok'}>{words_}</b>, {when(check.at_s)}"


def _findings(check: CheckState) -> str:
    order = list(LEVELS)
    rows = []
    for level, name, seen, mend in sorted(check.findings, key=lambda finding: order.index(finding[0])):
        word = "" if level == "ok" else f"<b class=t-{LEVELS[level]}>{level}:</b> "
        how = f"<div><b>mend:</b> {esc(mend)}</div>" if mend else ""
        rows.append(
            f"<div class=light>{dot(LEVELS[level])}<span>{esc(name)}</span><div class=sentence>{word}{esc(seen)}{how}</div></div>"
        )
    return "".join(rows) or ("" if check.running else "<div class=empty>Press Run again: it takes some seconds.</div>")
