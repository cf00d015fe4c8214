"""The cell: live pictures, the arm, who holds it, the nodes, and every light of /diagnostics."""

import math

from nicegui import ui

from am_ros.page.parts import Button, Drawn, card, dot, esc, facts, heading, live, words
from am_ros.page.shell import Page
from am_ros.page.source import CAMERA, ERROR, STALE, VIEW, WARN, CellState, Light
from am_ros.page.words import duration, metres, plural, size

REFRESH_S = 0.25
WORDS = {WARN: "warning", ERROR: "error", STALE: "silent"}


def draw(page: Page) -> None:
    """The view; of a disk, what lies there."""
    if not page.source.live:
        _disk(page)
        return
    with ui.element("div").classes("view two"):
        with ui.element("div").classes("stack"):
            with card():
                with ui.element("div").classes("head"):
                    heading("Camera")
                    age = Drawn("soft small grow")
                live(VIEW, "the whole view")
            with card():
                with ui.element("div").classes("head"):
                    heading("Diagnostics")
                    count = Drawn("soft small")
                lights = Drawn("lights")
        with ui.element("div").classes("stack"):
            with card():
                heading("Arm")
                arm = Drawn()
                with ui.element("div").classes("row-of").style("margin-top:.6rem"):
                    reset = Button("Reset the protective stop", lambda: page.act(page.source.reset), "primary")
            with card():
                heading("What the policy sees")
                with ui.element("div").style("max-width: 15rem"):
                    live(CAMERA)
            with card():
                heading("Nodes")
                nodes = Drawn("lights")

    def refresh() -> None:
        cell = page.source.cell()
        age.show(_age(cell))
        arm.show(_arm(cell))
        reset.set(enabled=cell.arm == "protective stop" and page.commands)
        lights.show("".join(map(_light, cell.lights)) or "<div class=empty>Nothing has come on /diagnostics yet.</div>")
        wrong = sum(light.level != "ok" for light in cell.lights)
        count.show(f"{plural(len(cell.lights), 'entry').replace('entrys', 'entries')}, {wrong} not well")
        nodes.show(_nodes(cell))

    refresh()
    ui.timer(REFRESH_S, refresh)


def _age(cell: CellState) -> str:
    if cell.image_age_s is None:
        return "<b class=t-error>no picture has come</b>"
    if cell.image_age_s > 2:
        return f"<b class=t-error>the newest picture is {duration(cell.image_age_s)} old</b>"
    return f"{cell.image_hz:.0f} per second"


def _arm(cell: CellState) -> str:
    level = {"idle": "ok", "moving": "ok", "protective stop": "error"}.get(cell.arm, "stale")
    state = (
        f'<div class=row-of style="margin-bottom:.5rem">{dot(level)}<b>{esc(cell.arm or "no controller is heard")}</b>'
    )
    state += f"<span>{esc(cell.reason)}</span></div>"
    opening = "-" if cell.gripper_opening is None else f"{cell.gripper_opening:.0%} open"
    pose = "-" if cell.position_m is None else metres(cell.position_m)
    yaw = "-" if math.isnan(cell.yaw_rad) else f"{math.degrees(cell.yaw_rad):+.1f}°"
    pairs = [("tool", pose), ("turned by", yaw), ("gripper", opening), ("held by", cell.commander or "nobody")]
    pairs += [("speed", "reduced, 250 mm/s at most")] if cell.reduced else []
    pairs += [("policy", cell.model)] if cell.model else []
    pairs += [("episode", cell.episode)] if cell.episode else []
    return state + facts(pairs)


def _light(light: Light) -> str:
    word = WORDS.get(light.level, "")
    values = "; ".join(f"{key} {value}" for key, value in light.values)
    return (
        f'<div class=light title="{esc(values)}">{dot(light.level)}<span>{esc(light.name.lstrip("/"))}</span>'
        f"<span class=sentence>{f'<b class=t-{esc(light.level)}>{word}:</b> ' if word else ''}{esc(light.sentence)}"
        f"{f' (silent for {duration(light.age_s)})' if light.level == STALE else ''}</span></div>"
    )


def _nodes(cell: CellState) -> str:
    if not cell.nodes:
        return "<div class=empty>No node is seen.</div>"
    rows = []
    for node in cell.nodes:
        level = {"active": "ok", "": "ok"}.get(node.state, "warn")
        rows.append(
            f'<div class="light short">{dot(level)}<span>{esc(node.name)}</span><span>{esc(node.state or "runs")}</span></div>'
        )
    return "".join(rows)


def _disk(page: Page) -> None:
    with ui.element("div").classes("view"), card():
        heading("On this disk")
        words("No cell is connected: these are the files of the folders that were named.")
        content = Drawn()

    def refresh() -> None:
        source = page.source
        rows = source.episodes()
        content.show(
            facts(
                [
                    ("folders", page.source.title),
                    ("episodes", f"{len(rows)} bags, {size(sum(row.bytes for row in rows))}"),
                    ("goals", str(len(source.goals()))),
                    ("trainings", str(len(source.trainings()))),
                    ("checkpoints", str(len(source.checkpoints()))),
                    ("evaluations", str(len(source.evaluations()))),
                    ("free disk", size(source.free_bytes())),
                    *([("note", source.episodes_note())] if source.episodes_note() else []),
                ]
            )
        )

    refresh()
    ui.timer(1.0, refresh)
