"""The commands in the documentation: found by letting bash run every block of a page with programs that only write
down how they were called. So variables, loops, comments and continued lines mean what they mean to a reader's shell."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md")))
MARK = "Not run by a test: "
# Whatever else a page calls is not found by bash, and the test says so.
PROGRAMS = (
    "am-ros", "python", "make", "ros2", "torchrun", "git", "rosdep", "pip", "colcon", "sudo", "rviz2", "mkdir", "sed",
    "ray",
)  # fmt: skip

_BLOCK = re.compile(r"^```(bash|console)([^\n]*)\n(.*?)^```\n*((?:[^\n]+\n)*)", re.S | re.M)
_END = "\x01"
_STAND_IN = """#!/bin/bash
{ printf '%s\\0' "$BLOCK" "${0##*/}" "$@"
  for last in "$@"; do :; done
  if [ "${last-}" = - ]; then printf '%s\\0' "$(</dev/stdin)"; fi
  printf '\\1\\0'; } >> "$CALLS"
if [ "${0##*/}" = sed ]; then /bin/sed "$@" 2>/dev/null || true; fi  # a later command reads what it writes
"""
_BEGIN = "set -eu\nsource() { :; }\ncd() { :; }\n"


@dataclass(frozen=True)
class Call:
    """A command as a shell would call it: `words[0]` is the program's name without its folder."""

    page: str
    words: tuple[str, ...]
    mark: str = field(default="", compare=False)  # why no test runs it, as the page says it; "" if it does not

    @property
    def text(self) -> str:
        """One line, with what is passed on standard input left out."""
        return " ".join(word for word in self.words if "\n" not in word)

    def __str__(self):
        return f"{self.page}: {self.text}"


def blocks(page: str) -> list[tuple[str, str]]:
    """(shell text, mark) of every block of bash on the page, and of the lines behind `$ ` in its console blocks."""
    found = []
    for kind, info, text, after in _BLOCK.findall((ROOT / page).read_text()):
        if kind == "console":
            text = "".join(line[2:] + "\n" for line in text.splitlines() if line.startswith("$ "))
        mark = re.search(rf'title="{MARK}([^"]+)"', info) or re.match(rf"\*{MARK}([^*]+)\*", after)
        found.append((re.sub(r"<[a-z ]+>", "PLACEHOLDER", text), mark[1] if mark else ""))
    return found


def calls(page: str, folder: Path) -> list[Call]:
    """Every call that the blocks of a page make, in order; runs nothing but bash itself, in `folder`."""
    programs = folder / "programs"
    for where in (programs, folder / ".venv" / "bin"):
        where.mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            (where / name).write_text(_STAND_IN)
            (where / name).chmod(0o755)
    (folder / "runs").mkdir(exist_ok=True)
    for name, content in parameter_files():
        (folder / name).write_text(content)
    parts = blocks(page)
    script = _BEGIN + "".join(f"export BLOCK={i}\n{text}" for i, (text, _) in enumerate(parts))
    log = folder / "calls"
    log.touch()
    env = {"PATH": str(programs), "CALLS": str(log), "HOME": str(folder)}
    done = subprocess.run(["/bin/bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{page}: {done.stderr}"
    records = log.read_text().split(f"{_END}\0")[:-1]
    fields = [record.split("\0")[:-1] for record in records]
    return [Call(page, tuple(words), parts[int(block)][1]) for block, *words in fields]


def parameter_files() -> list[tuple[str, str]]:
    """(name, text) of every block of YAML whose first line is its name: `# my_cell.yaml`."""
    text = "".join((ROOT / page).read_text() for page in PAGES)
    return re.findall(r"^```yaml\n# (\w+\.yaml)\n(.*?)^```", text, re.S | re.M)


def inline(page: str) -> list[str]:
    """The commands of am-ros in running text: `am-ros train --milestones N`."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.S | re.M)
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`(?:\.venv/bin/)?(am-ros [^`]+)`", text)]
