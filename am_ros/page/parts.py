"""What the views are made of: plain HTML that is sent when it has changed, buttons, fields. All text is escaped here.

Native elements in place of a widget library's: they have the keyboard, the contrast and the reading order that a
browser gives them, and a table of fifty rows is one message.
"""

import html
from collections.abc import Awaitable, Callable, Iterable

from nicegui import ui

MAX_PICK = 200  # characters of what a click may name
MAX_FIELD = 2000  # of what may be typed

_PICK = "(e) => { const t = e.target.closest('[data-pick]'); if (t && !t.disabled) emit(t.dataset.pick); }"


def esc(text) -> str:
    """Text as it may stand in HTML, in an attribute too."""
    return html.escape(str(text), quote=True)


class Drawn:
    """A piece of HTML; `pick` is called with the `data-pick` of what was clicked in it, a text of the browser's."""

    def __init__(self, classes: str = "", pick: Callable[[str], Awaitable | None] | None = None, label: str = ""):
        self.element = ui.html("", sanitize=False).classes(classes)
        if label:
            self.element.props["aria-label"] = label
        if pick is not None:
            self.element.on("click", lambda event: pick(str(event.args)[:MAX_PICK]), js_handler=_PICK)

    def show(self, content: str) -> None:
        """Send it, if it differs from what is there."""
        # Whoever waited for an answer may find the view gone.
        if content != self.element.content and not self.element.is_deleted:
            self.element.set_content(content)


class Button:
    """A button; `set` changes what it says, whether it can be pressed, and why not."""

    def __init__(self, text: str, press: Callable, kind: str = "", hint: str = ""):
        self.element = ui.element("button").classes(f"btn {kind}")
        self.element.props["type"] = "button"
        with self.element:
            self._text = ui.html(esc(text), sanitize=False, tag="span")
        self.element.on("click", press, args=[])
        self.set(enabled=True, hint=hint)

    def set(self, text: str | None = None, enabled: bool | None = None, hint: str | None = None, on=None) -> None:
        """Only what is given."""
        if self.element.is_deleted:
            return
        if text is not None and esc(text) != self._text.content:
            self._text.set_content(esc(text))
        changed = False
        for name, value in (("disabled", None if enabled is None else not enabled), ("title", hint)):
            if value is not None and self.element.props.get(name) != value:
                self.element.props[name] = value
                changed = True
        if on is not None:
            self.element.classes(add="on" if on else "", remove="" if on else "on")
            self.element.props["aria-pressed"] = "true" if on else "false"
        if changed:
            self.element.update()


class Field:
    """A line of text, or a choice where `options` are given; `value` is what it holds now."""

    def __init__(
        self,
        label: str,
        value: str = "",
        changed: Callable[[], None] = lambda: None,
        options: Iterable[str] | None = None,
        kind: str = "text",
        longest: int = 64,
        width: str = "",
        hint: str = "",
    ):
        self.value, self._changed = value, changed
        self._options = None if options is None else list(options)
        self._longest = min(longest, MAX_FIELD)
        with ui.element("label").classes("fieldset"):
            ui.html(esc(label), sanitize=False, tag="span").classes("small soft")
            if self._options is None:
                self.element = ui.element("input").classes("field")
                self.element.props.update({"type": kind, "maxlength": self._longest, "autocomplete": "off"})
                self.element.props["value"] = value
                if hint:
                    self.element.props["placeholder"] = hint
            else:
                self.element = ui.element("select").classes("field")
                self._draw_options()
            if width:
                self.element.style(f"width: {width}")
            event = "input" if self._options is None else "change"
            self.element.on(event, self._on_change, js_handler="(e) => emit(e.target.value)", throttle=0.2)
            if self._options is None:  # whoever types and presses a button at once means all that was typed
                self.element.on("change", self._on_change, js_handler="(e) => emit(e.target.value)")

    def offer(self, options: Iterable[str]) -> None:
        """Other choices; the value stays if it is among them."""
        options = list(options)
        if options != self._options:
            self._options = options
            self.element.clear()
            if self.value not in options:
                self.value = options[0] if options else ""
            self._draw_options()

    def clear(self) -> None:
        """Empty, as if nothing had been typed."""
        self.value = ""
        ui.run_javascript(f"const e = getHtmlElement({self.element.id}); if (e) e.value = '';")

    def _draw_options(self) -> None:
        with self.element:
            for option in self._options or []:
                one = ui.element("option")
                one.props["value"] = option
                if option == self.value:
                    one.props["selected"] = True
                with one:
                    ui.html(esc(option), sanitize=False, tag="span")

    def _on_change(self, event) -> None:
        text = str(event.args)[: self._longest]
        if self._options is None or text in self._options:
            self.value = text
            self._changed()


def heading(text: str, level: int = 2) -> None:
    """A heading."""
    ui.html(esc(text), sanitize=False, tag=f"h{level}")


def words(text: str, classes: str = "soft") -> None:
    """A sentence that stays."""
    ui.html(esc(text), sanitize=False, tag="div").classes(classes)


def card(classes: str = ""):
    """A framed part of a view; a context manager."""
    return ui.element("section").classes(f"card {classes}")


def facts(pairs: Iterable[tuple[str, str]], wide: bool = False) -> str:
    """Names and values as HTML, one below the other or, `wide`, side by side; values are escaped."""
    rows = [f"<dt>{esc(k)}</dt><dd>{esc(v)}</dd>" for k, v in pairs]
    if wide:
        return f"<dl class='facts beside'>{''.join(f'<div>{row}</div>' for row in rows)}</dl>"
    return f"<dl class=facts>{''.join(rows)}</dl>"


def dot(level: str) -> str:
    """A light: its shape tells the level too, for who does not see the colour."""
    return f'<span class="dot {esc(level)}" role=img aria-label="{esc(level)}"></span>'


def live(camera: str, note: str = "", classes: str = "") -> ui.element:
    """The live picture of a camera; a context manager for what lies over it."""
    screen = ui.element("div").classes(f"screen {classes}")
    with screen:
        canvas = ui.element("canvas")
        canvas.props.update({"data-live": camera, "role": "img", "aria-label": f"live picture: {note or camera}"})
        if note:
            ui.html(esc(note), sanitize=False, tag="div").classes("note")
    return screen


def keys(handler: Callable) -> None:
    """Keys of the view, wherever the focus is; page.js keeps back those that are meant for a field or a button."""
    ui.keyboard(handler, repeating=True, ignore=[])


async def confirm(question: str, yes: str) -> bool:
    """Ask before something that cannot be undone; Escape is no."""
    with ui.dialog() as dialog, ui.element("div").classes("card"):
        words(question, "")
        with ui.element("div").classes("row-of").style("margin-top: .8rem; justify-content: flex-end"):
            Button("No", lambda: dialog.submit(False))
            Button(yes, lambda: dialog.submit(True), "danger")
    answer = await dialog
    dialog.delete()
    return bool(answer)
