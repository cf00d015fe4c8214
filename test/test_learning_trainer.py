"""What a training keeps and starts from: held-out episodes, milestones, first weights."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from learning_data import random_episodes

from am_ros import cli
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.keeper import start_network
from am_ros.learning.methods import MethodConfig
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig, Sampler, is_held_out
from am_ros.replay.store import ReplayStore

CONFIG = LearnerConfig(
    network=NetworkConfig(image_size=16, width=16, channels=4),
    method=MethodConfig(negatives=4),
    goals=GoalConfig(random_shift_px=0),
    trainer=TrainerConfig(updates=12, batch_size=16, precision="fp32"),
)


def _with(part, **changes):
    return replace(CONFIG, **{part: replace(getattr(CONFIG, part), **changes)})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ReplayStore.create(tmp_path_factory.mktemp("trainer") / "store", (16, 16))
    episodes = random_episodes(30, steps=4, size=16)
    store.append([e.with_info(outcome=Outcome(1 + i % 2)) for i, e in enumerate(episodes)])
    return store


def test_held_out_episodes_never_appear_in_a_training_batch(store):
    """Neither as transition nor as goal, random goals and rewarded items included; and the other way round."""
    config = GoalConfig(
        random_share=0.3, at_goal_share=0.1, reward_share=0.3, held_out_share=0.3, random_shift_px=0
    )  # fmt: skip
    owner = {image.tobytes(): store.episodes[row // 5]["id"] for row, image in enumerate(store.observations)}
    kept_apart = {e["id"] for e in store.episodes if is_held_out(e["id"], 0.3)}
    assert 2 < len(kept_apart) < 20
    for held_out in (False, True):
        sampler = Sampler(store, config, 128, seed=0, held_out=held_out)
        seen = set()
        for step in range(8):
            batch = sampler.batch(step)
            images = np.concatenate([batch.image, batch.next_image, batch.goal_image[~batch.rewarded]])
            seen |= {owner[image.tobytes()] for image in images}
        everything = {e["id"] for e in store.episodes}
        assert seen == (kept_apart if held_out else everything - kept_apart)


def test_held_out_figures_are_in_the_log(store, tmp_path):
    progress = Trainer(_with("goals", held_out_share=0.3, random_shift_px=0), tmp_path).fit(store)
    assert 0 < progress.metrics["held_out_loss"] < 10 and 0 <= progress.metrics["held_out_ranking"] <= 1
    assert "held_out_ranking" in (tmp_path / "metrics.csv").read_text().splitlines()[0]


def test_the_best_weights_on_held_out_episodes_are_kept(store, tmp_path):
    config = _with("goals", held_out_share=0.3, random_shift_px=0)
    Trainer(config, tmp_path).fit(store)
    best = checkpoint.load(tmp_path / "best").meta
    assert best["held_out_score"] == best["metrics"]["held_out_ranking"]
    before = checkpoint.load(tmp_path / "best").sha256
    trainer = Trainer(config, tmp_path)
    trainer.keeper.keep_best(store, None, best["held_out_score"])  # no better: stays
    assert checkpoint.load(tmp_path / "best").sha256 == before


def _weights(folder):
    return checkpoint.load(folder).tensors["model"]


def test_milestones_are_written_and_survive_a_resume(store, tmp_path):
    config = _with("trainer", milestones=4)
    Trainer(config, tmp_path / "whole").fit(store)
    Trainer(config, tmp_path / "parts").fit(store, until_update=7)
    milestones = tmp_path / "parts" / "milestones"
    assert sorted(p.name for p in milestones.iterdir()) == ["001", "002"]
    before = {p.name: checkpoint.load(p).sha256 for p in milestones.iterdir()}
    Trainer(config, tmp_path / "parts").fit(store)
    assert sorted(p.name for p in milestones.iterdir()) == ["001", "002", "003", "004"]
    assert {name: checkpoint.load(milestones / name).sha256 for name in before} == before
    for number, update in ((1, 3), (2, 6), (3, 9), (4, 12)):
        ours, theirs = milestones / f"{number:03d}", tmp_path / "whole" / "milestones" / f"{number:03d}"
        assert checkpoint.load(ours).meta["update"] == update
        assert all(torch.equal(v, _weights(theirs)[k]) for k, v in _weights(ours).items())


def test_a_training_can_start_from_the_weights_of_another_with_another_method(store, tmp_path):
    Trainer(CONFIG, tmp_path / "first").fit(store)
    fine_tuning = replace(
        _with("method", method="qt_opt"),
        goals=GoalConfig(random_share=0, at_goal_share=0, reward_share=1, random_shift_px=0),
    )
    second = Trainer(fine_tuning, tmp_path / "second", start_from=tmp_path / "first" / "checkpoint")
    assert second.update == 0
    weights = _weights(tmp_path / "first" / "checkpoint")
    assert all(torch.equal(v, weights[k]) for k, v in second.learner.network.state_dict().items())
    assert all(torch.equal(v, weights[k]) for k, v in second.learner.target.state_dict().items())
    second.fit(store)
    again = Trainer(fine_tuning, tmp_path / "second", start_from=tmp_path / "first" / "checkpoint")
    assert again.update == 12  # a resumed training goes on where it was, not where it came from
    assert not all(torch.equal(v, weights[k]) for k, v in again.learner.network.state_dict().items())


def test_weights_of_another_network_are_no_start(store, tmp_path):
    Trainer(CONFIG, tmp_path / "first").fit(store)
    with pytest.raises(AmRosError, match="its network differs \\(width\\)"):
        Trainer(_with("network", width=32), tmp_path / "second", start_from=tmp_path / "first" / "checkpoint")
    with pytest.raises(AmRosError, match="is not a checkpoint"):
        Trainer(CONFIG, tmp_path / "second", start_from=tmp_path)


def test_q_that_sees_a_proposal_is_fine_tuned_on_a_reward_together_with_its_head(store, tmp_path):
    Trainer(_with("network", anchors=1, layers=1), tmp_path / "first").fit(store)
    first = tmp_path / "first" / "checkpoint"
    for start, head in ((first, True), (None, False)):
        recipe = find_recipe("qt_opt", image_size=16, width=16, channels=4, random_shift_px=0)
        config = replace(recipe, network=start_network(start, recipe.network), trainer=CONFIG.trainer)
        second = Trainer(config, tmp_path / f"second_{head}", start_from=start)
        assert second.config.network.behaviour_prior == head and second.config.network.anchors == head
        before = {k: v.clone() for k, v in second.learner.network.state_dict().items() if k.startswith("prior_head")}
        second.fit(store)
        after = second.learner.network.state_dict()
        assert len(before) == 4 * head and all(not torch.equal(v, after[k]) for k, v in before.items())


def test_the_command_starts_with_the_network_of_the_checkpoint_whatever_the_recipe_says(store, tmp_path, capsys):
    Trainer(CONFIG, tmp_path / "first").fit(store)
    command = ["train", "--replay", str(store.folder), "--updates", "2", "--recipe", "best", "--start-from"]
    assert cli.main([*command, str(tmp_path / "first" / "checkpoint"), "--out", str(tmp_path / "second")]) == 0
    found = checkpoint.load(tmp_path / "second" / "checkpoint").meta["config"]
    assert found["network"] == asdict(CONFIG.network) and found["method"]["negatives"] == 16
    assert cli.main([*command, str(tmp_path / "no"), "--out", str(tmp_path / "third")]) == 2
    assert f"parameter start_from: {tmp_path / 'no'}: is not a checkpoint" in capsys.readouterr().err
