"""Teach: keys or a gamepad move the arm as `am-ros teleop` does; episodes are begun, ended and labelled."""

from nicegui import ui

from am_ros.page.parts import Button, Drawn, Field, card, esc, facts, heading, keys, live, words
from am_ros.page.shell import Page
from am_ros.page.source import CAMERA, VIEW, TeachState

REFRESH_S = 0.2
MAX_AXES, MAX_BUTTONS = 8, 24
# What the browser calls keys, as `am-ros teleop` calls them.
KEYS = {
    "ArrowUp": "up", "ArrowDown": "down", "ArrowLeft": "left", "ArrowRight": "right", "Enter": "\r",
    **{key: key for key in "wsadrfqeoctgbx+-="},
}  # fmt: skip
PAD = (
    ("Turn left (q)", "q"), ("Away (w)", "w"), ("Turn right (e)", "e"), ("Up (r)", "r"),
    ("Left (a)", "a"), ("Back (s)", "s"), ("Right (d)", "d"), ("Down (f)", "f"),
    ("Open (o)", "o"), ("Close (c)", "c"), ("Longer (+)", "+"), ("Shorter (-)", "-"),
)  # fmt: skip


def draw(page: Page) -> None:
    """The view."""
    source = page.source
    if not source.live or "teach" in source.lacks:
        with ui.element("div").classes("view"), card():
            heading("Teach")
            words(source.lacks.get("teach", "there is no arm here"), "empty")
        return

    def begin_teaching():
        page.operators.teacher = page.browser.client_id
        return page.act(source.begin_teaching, task.value.strip())

    def press(key: str) -> None:
        if page.commands and source.teach().active:
            source.teach_key(key)

    def on_key(event) -> None:
        key = KEYS.get(str(event.key.name))
        modified = event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta
        if event.action.keydown and key and not modified:
            press(key)

    def on_pad(told) -> None:
        if page.commands and source.teach().active and (pad := _pad(told)):
            source.teach_pad(*pad)

    with ui.element("div").classes("view two"):
        with card():
            heading("Camera")
            live(VIEW, "the whole view")
        with ui.element("div").classes("stack"):
            with card():
                heading("Teach")
                state = Drawn()
                with ui.element("div").classes("filters").style("margin:.6rem 0"):
                    task = Field("task, written into the episodes", longest=64, width="12rem")
                    begin = Button("Take the arm", begin_teaching, "primary")
                    end = Button("Let go", lambda: page.act(source.end_teaching))
                with ui.element("div").classes("pad"):
                    moves = [Button(text, lambda _, key=key: press(key)) for text, key in PAD]
                with ui.element("div").classes("row-of").style("margin-top:.8rem"):
                    episode = Button("Begin an episode (Enter)", lambda: press("\r"), "primary")
                    labels = [
                        Button("End: terminate (t)", lambda: press("t")),
                        Button("Good (g)", lambda: press("g")),
                        Button("Bad (b)", lambda: press("b")),
                        Button("Discard (x)", lambda: press("x"), "danger"),
                    ]
                with ui.element("div").style("margin-top:.7rem"):
                    words("Each key is one step. Space stops the arm, as everywhere.", "soft small")
                ui.html('<div id=gamepad class="soft small"></div>', sanitize=False)
                words(
                    "Gamepad: hold the left shoulder button and move the sticks: left one along the table, right one up and turn.",
                    "soft small",
                )
            with card():
                heading("What the policy would see", 3)
                with ui.element("div").style("max-width: 12rem"):
                    live(CAMERA)
            with card():
                heading("What happened", 3)
                log = Drawn("log")
                log.element.props["role"] = "log"

    def refresh() -> None:
        now = source.teach()
        state.show(_state(now))
        begin.set(enabled=page.commands and not now.active)
        end.set(enabled=page.commands and now.active)
        for button in (*moves, episode, *labels):
            button.set(enabled=page.commands and now.active)
        episode.set(text="End the episode (Enter)" if now.episode else "Begin an episode (Enter)")
        log.show(
            "".join(f"<div>{esc(line)}</div>" for line in reversed(now.lines)) or "<div class=soft>nothing yet</div>"
        )

    refresh()
    ui.timer(REFRESH_S, refresh)
    keys(on_key)
    page.pad = on_pad


def _state(now: TeachState) -> str:
    if not now.active:
        return "<div class=soft>Take the arm first: the page then holds it as `am-ros teleop` would.</div>"
    what = (
        f"{now.episode}, {now.steps} steps"
        if now.episode
        else f"none; a label means {now.last}"
        if now.last
        else "none"
    )
    return facts([("episode", what), ("step", f"{now.step_m * 100:.1f} cm")])


def _pad(args) -> tuple[list[float], list[bool]] | None:
    """What a browser says of its gamepad, if it is that."""
    if not isinstance(args, dict):
        return None
    axes, buttons = args.get("axes"), args.get("buttons")
    if not isinstance(axes, list) or not isinstance(buttons, list):
        return None
    if not all(isinstance(axis, (int, float)) and not isinstance(axis, bool) for axis in axes):
        return None
    return [float(axis) for axis in axes[:MAX_AXES]], [bool(button) for button in buttons[:MAX_BUTTONS]]
