"""`am-ros model describe`: the published figures are counted on the network itself."""

import json

import pytest
import torch

from am_ros import cli
from am_ros.learning.cem import CemConfig
from am_ros.learning.describe import describe
from am_ros.learning.networks import NetworkConfig, make_network, parameter_count


def _describe(capsys, *arguments):
    assert cli.main(["model", "describe", *arguments, "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_full_size_network_has_the_published_figures(capsys):
    figures = _describe(capsys, "--preset", "qt_opt")
    assert figures["parameters"] == 1_249_729 and figures["parameters_behaviour_prior"] == 0
    assert list(figures["sizes"].values()) == [236, 79, 27, 14, 8]
    cost = figures["multiply_adds"]
    assert cost["tower_per_state"] == pytest.approx(4.60e9, rel=2e-3)
    assert cost["tail_per_candidate"] == pytest.approx(0.173e9, rel=2e-3)
    assert figures["decision"]["candidates"] == 128
    assert figures["decision"]["multiply_adds"] == pytest.approx(26.7e9, rel=2e-3)
    assert figures["decision"]["multiply_adds_without_sharing_the_tower"] == pytest.approx(611e9, rel=2e-3)


def test_the_behaviour_prior_stands_beside_the_published_network(capsys):
    figures = _describe(capsys, "--preset", "qt_opt", "--behaviour-prior", "true", "--samples", "16")
    assert figures["parameters"] == 1_249_729 and figures["parameters_behaviour_prior"] > 0
    cost, decision = figures["multiply_adds"], figures["decision"]
    assert decision["candidates"] == 32
    parts = cost["tower_per_state"] + cost["behaviour_prior_per_state"] + 32 * cost["tail_per_candidate"]
    assert decision["multiply_adds"] == parts


@pytest.mark.parametrize("config", [NetworkConfig(), NetworkConfig(preset="state", observation_size=5)])
def test_parts_add_up_to_the_whole(config):
    figures = describe(config, CemConfig())
    whole = parameter_count(make_network(config))
    assert figures["parameters"] + figures["parameters_behaviour_prior"] == whole
    # A dense layer costs as many multiply-adds as it has weights.
    width = config.width
    assert figures["multiply_adds"]["behaviour_prior_per_state"] == width * width + width * 7


def test_the_full_size_prior_proposes_actions():
    torch.manual_seed(0)
    network = make_network(NetworkConfig(preset="qt_opt", image_size=256)).eval()
    pixels = torch.randint(0, 256, (2, 3, 256, 256, 3), dtype=torch.uint8)
    with torch.no_grad():
        prior = network.prior(network.encode(*pixels, torch.randn(3, 6)))
    assert prior.mean.shape == (3, 4) and prior.logits.shape == (3, 3)
    assert torch.isfinite(prior.mean).all()


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    for path, sentence in ((tmp_path, "is a folder"), ("/proc/figures.json", "cannot be written")):
        assert cli.main(["model", "describe", "--json", str(path)]) == 2
        said = capsys.readouterr()
        assert f"json {path}: {sentence}" in said.err and "\n" not in said.err.strip() and not said.out
    assert cli.main(["model", "describe", "--json", str(tmp_path / "new" / "figures.json")]) == 0
    assert json.loads((tmp_path / "new" / "figures.json").read_text())["parameters"]


def test_the_summary_for_people_names_every_figure(capsys):
    assert cli.main(["model", "describe", "--preset", "state", "--observation-size", "9"]) == 0
    text = capsys.readouterr().out
    assert "parameters" in text and "per candidate" in text and "maps: none" in text
    assert cli.main(["model", "describe", "--preset", "small", "--image-size", "60"]) == 2
    assert "image_size: 60" in capsys.readouterr().err
