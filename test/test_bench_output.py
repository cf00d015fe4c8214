"""benchmarks/output.py: a file that cannot be written is refused before anything is measured."""

import argparse
import importlib.util
import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def output_file():
    spec = importlib.util.spec_from_file_location("bench_output", BENCHMARKS / "output.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.output_file


def test_the_folder_of_a_result_is_made(output_file, tmp_path):
    path = output_file(str(tmp_path / "new" / "results" / "figures.json"))
    path.write_text("{}")
    assert path.parent.is_dir()


def test_what_cannot_be_written_is_named(output_file, tmp_path):
    with pytest.raises(argparse.ArgumentTypeError, match="is a folder, a file is needed"):
        output_file(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match="file: File exists"):
        output_file(str(tmp_path / "file" / "figures.json"))


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda script: script.name)
def test_every_option_for_a_file_that_is_written_is_of_that_type(script):
    options = re.findall(r'add_argument\("--(?:json|picture|overlay)",([^\n]*)', script.read_text())
    assert all("type=output_file" in option for option in options)
