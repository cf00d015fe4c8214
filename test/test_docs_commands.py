"""Every command in the documentation is well formed, and is run by a test or marked on its page as not run."""

import argparse
import importlib
import importlib.util
import re
import runpy
import sys
from functools import cache

import pytest
import yaml
from docs_commands import MARK, PAGES, ROOT, Call, calls, inline

from am_ros import cli
from am_ros.cell.graph import GRAPHS
from am_ros.commands.check import read_cell
from am_ros.commands.up import split_settings
from am_ros.errors import AmRosError
from am_ros.nodes.defaults import NODES, parameters_of

# Who runs it: the first pattern that a command begins with counts. SMALL: test_docs_commands_run.py runs the command
# itself, with small numbers. The others name a test (its file, or the beginning of its name) that does what the command
# does. A command that fits no line has to be marked on its page.
SMALL = "small"
PLAYED = "test_teleop_terminal.py::test_episodes_are_played"
RUN_BY = {
    r"am-ros (collect|train|improve|model|qmap|--help)": SMALL,
    r"am-ros evaluate (?!.*--through-ros)": SMALL,
    r"am-ros evaluate .*--through-ros": "test_evaluation_ros.py::test_one_cell_runs_policy_and_expert",
    r"am-ros bags (info|verify|show|label|salvage|topics|ingest)": SMALL,
    r"am-ros bags export": "test_lerobot.py",
    r"am-ros bags play": "test_trainer_node.py::test_replayed_bags_are_learned_from",
    r"am-ros goals check": SMALL,
    r"am-ros goals (record|now)": "test_goal_check.py",
    r"am-ros up .*--policy": SMALL,
    r"am-ros up train": "test_trainer_node.py::test_bags_in_the_watched_folder",
    r"am-ros up .*teleop:=joy": "test_teleop_terminal.py::test_a_joystick_moves_the_arm",
    r"am-ros up record stack:=sim": PLAYED,
    r"am-ros up .*backend:=moveit params_file": "test_controller_backends.py",
    r"am-ros up .*page:=true": "test_page_cell.py",
    r"am-ros up sim driver:=": "test_sim_driver.py",
    r"am-ros up (sim|workcell stack:=sim)": "test_supervisor.py::test_a_cell_comes_up_in_order",
    r"am-ros check .*--offline": SMALL,
    r"am-ros check .*stack:=sim": "test_preflight_node.py::test_a_running_cell_is_well",
    r"am-ros teleop(?! --stack)": PLAYED,
    r"am-ros reach": "test_reach.py::test_an_operator_has_a_goal_pursued",
    r"am-ros page runs/demo": "test_page_disk.py",
    r"am-ros page .*--page-certificate": "test_page_guard.py",
    r"am-ros faults": "test_faults.py",
    r"python -m am_ros\.sim\.foreign_cell": SMALL,
    r"python -m am_ros\.nodes\.defaults": SMALL,
    r"python benchmarks/(vector_study|vector_online|chaining_profile)\.py": SMALL,
    r"python -m am_ros\.nodes\.trainer": "test_trainer_node.py",
    r"python -m am_ros\.nodes\.camera": "test_camera_node.py",
    r"python -m am_ros\.nodes\.goal_registry": "test_goal_registry.py",
    r"python -m am_ros\.nodes\.(sim_workcell|image_relay)": "test_policy_faults.py",
    r"python -$": SMALL,
    r"python -m pytest": "the tests themselves",
    r"torchrun --nproc-per-node": "test_learning_parallel.py::test_torchrun_trains_one_model",
    r"make (setup|test|lint|docs)": ".ci/run",
    r"(mkdir|sed) ": SMALL,
}


@pytest.fixture(scope="module")
def of_page(tmp_path_factory):
    """A function page -> its calls, and the folder that bash ran in."""

    @cache
    def of(page: str):
        folder = tmp_path_factory.mktemp("page")
        return calls(page, folder), folder

    return of


def run_by(call: Call) -> str:
    """SMALL, the name of a test, or "" if only a mark can excuse it."""
    return next((who for pattern, who in RUN_BY.items() if re.match(pattern, call.text)), "")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_well_formed(page, of_page, monkeypatch):
    found, folder = of_page(page)
    monkeypatch.chdir(folder)
    wrong = []
    for call in found:
        try:
            CHECKS[call.words[0]](list(call.words[1:]), monkeypatch)
        except (AmRosError, AssertionError, ValueError) as error:
            wrong.append(f"{call.text}\n    {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_by_a_test_or_marked_as_not_run(page, of_page):
    neither = [call.text for call in of_page(page)[0] if not (call.mark or run_by(call))]
    assert not neither, f'run these in a test and name it in RUN_BY, or mark their block with title="{MARK}why":\n' + (
        "\n".join(neither)
    )


def test_the_tests_that_are_named_exist():
    for name in set(RUN_BY.values()) - {SMALL, "the tests themselves", ".ci/run"}:
        file, _, function = name.partition("::")
        assert f"def {function}" in (ROOT / "test" / file).read_text(), name


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_running_text_have_known_verbs_and_flags(page):
    wrong = []
    for text in inline(page):
        words = text.split()[1:]
        if words[0].startswith("-") or not re.fullmatch("[a-z]+", words[0]):
            continue
        try:
            known = _flags(words[0])
        except AmRosError as error:
            wrong.append(f"{text}: {error}")
            continue
        flags = [word for word in words if word.startswith("--")]
        wrong += [f"{text}: {words[0]} has no {flag}" for flag in flags if flag not in known]
    assert not wrong, "\n".join(wrong)


@cache
def _flags(verb: str) -> frozenset[str]:
    if verb not in dict(cli.COMMANDS):
        raise AmRosError(f"there is no am-ros {verb}")
    parser = cli._parser([verb])
    choices = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    waiting, flags = [choices[verb]], set()
    while waiting:
        one = waiting.pop()
        flags |= set(one._option_string_actions)
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    return frozenset(flags)


class _Parsed(Exception):
    """A script has read its command line, and need not go on."""


def _am_ros(words, monkeypatch):
    try:
        arguments = cli._parse(words)
    except SystemExit as end:  # --help
        assert end.code == 0
        return
    if words[0] == "up":
        _cell(words[1], [word for word in words if ":=" in word])
    elif words[0] == "check":
        read_cell([word for word in arguments.settings if not word.startswith("security:=")])


def _cell(name: str, settings: list[str]) -> None:
    from am_ros.cell.arguments import arguments_from_text

    cls, make_nodes = GRAPHS[name]
    values = arguments_from_text(cls, split_settings(settings))
    make_nodes(**{key: value for key, value in values.items() if key != "security"})


def _python(words, monkeypatch):
    if words[0] == "-":
        compile(words[1], "the documentation", "exec")
        for module, names in re.findall(r"^from (am_\S+) import (.+)", words[1], re.M):
            for name in names.split(", "):
                assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
    elif words[:2] == ["-m", "pytest"]:
        paths = [word for word in words[2:] if "/" in word]
        assert paths and all((ROOT / path).exists() or list(ROOT.glob(path)) for path in paths), paths
    elif words[0] == "-m":
        assert importlib.util.find_spec(words[1]), words[1]
        package, _, node = words[1].rpartition(".")
        if words[1] == "am_ros.sim.foreign_cell":
            _script(str(ROOT / "am_ros/sim/foreign_cell.py"), words[2:], monkeypatch)
        elif package == "am_ros.nodes" and node != "defaults":
            _node(node, words[2:])
    else:
        _script(words[0], words[1:], monkeypatch)


def _script(path: str, words: list[str], monkeypatch) -> None:
    """Let the script's own parser read the words, and stop there."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(parser, args=None, namespace=None):
        original(parser, args, namespace)
        raise _Parsed

    def refuse(parser, message):
        raise AssertionError(message)

    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        patch.syspath_prepend(str((ROOT / path).parent))
        patch.setattr(sys, "argv", [path, *words])
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(argparse.ArgumentParser, "error", refuse)
        with pytest.raises(_Parsed):
            runpy.run_path(path, run_name="__main__")


def _node(node: str, words: list[str]) -> None:
    """`--ros-args -p name:=value -r from:=to` of a node of ours."""
    assert words[:1] in ([], ["--ros-args"]), f"--ros-args is missing before {words}"
    assert node in NODES, node
    known = {f.name: f for f, _ in parameters_of(node)}
    flags, values = words[1::2], words[2::2]
    for flag, value in zip(flags, values, strict=True):
        name, found, text = value.partition(":=")
        assert found and flag in ("-p", "-r"), (flag, value)
        if flag == "-p":
            assert name in known, f"{node} has no parameter {name}"
            kind = known[name].type if isinstance(known[name].type, str) else known[name].type.__name__
            given = type(yaml.safe_load(text)).__name__
            assert given == kind or "tuple" in kind, f"{node}: {name} is {kind}, {text} is {given}"


def _ros2(words, monkeypatch):
    if words[0] == "launch":
        assert words[1] == "am_ros" and (ROOT / "launch" / words[2]).is_file(), words
        _cell(words[2].removesuffix(".launch.py"), words[3:])
    elif words[0] == "run":
        assert words[1] == "am_ros"
        _node(words[2], words[3:])
    elif words[:2] == ["service", "call"]:
        package, kind, name = words[3].split("/")
        service = getattr(importlib.import_module(f"{package}.{kind}"), name)
        given = yaml.safe_load(words[4]) if len(words) > 4 else {}
        unknown = set(given) - set(service.Request.get_fields_and_field_types())
        assert not unknown, f"{name} has no {unknown}"
        service.Request(**given)  # an AssertionError where a value has another type
    else:
        assert words[0] == "security", words


def _make(words, monkeypatch):
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    variables = re.findall(r"^([A-Z_]+) \??= ", (ROOT / "Makefile").read_text(), re.M)
    for word in words:
        assert word in targets or word.partition("=")[0] in variables, f"make {word}"


def _torchrun(words, monkeypatch):
    at = words.index("-m")
    assert words[at + 1] == "am_ros.cli" and all(w.startswith("--") for w in words[:at] if "-" in w)
    _am_ros(words[at + 2 :], monkeypatch)


def _other(words, monkeypatch):
    """Programs that are not ours; those that need a network or a password are marked."""


CHECKS = {"am-ros": _am_ros, "python": _python, "ros2": _ros2, "make": _make, "torchrun": _torchrun} | dict.fromkeys(
    ("git", "rosdep", "pip", "colcon", "sudo", "rviz2", "mkdir", "sed", "ray"), _other
)
