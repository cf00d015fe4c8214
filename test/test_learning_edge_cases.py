"""Poor data and poor trainings: each works, is refused in one sentence, or is warned of."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from learning_data import DotWorld, random_episodes

from am_ros.errors import AmRosError
from am_ros.learning import collapse
from am_ros.learning.collapse import CollapseWatch
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.policy import Policy
from am_ros.learning.recipes import RECIPES, find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import TrainerConfig
from am_ros.replay.store import ReplayStore

WITH_REWARD = [name for name, recipe in RECIPES.items() if recipe.goals.reward_share]


def _train(tmp_path, name, episodes, **changes):
    store = ReplayStore.create(tmp_path / f"{name}_store", (16, 16))
    store.append(episodes)
    trainer = TrainerConfig(updates=3, batch_size=16, precision="fp32", **changes)

    def small(name):
        found = find_recipe(name)
        parts = {part: getattr(found.network, part) for part in ("behaviour_prior", "prior_encoder")}
        return replace(found, network=NetworkConfig(image_size=16, width=16, channels=4, **parts), trainer=trainer)

    start = None
    if small(name).method.frozen_prior:
        Trainer(small("gcbc"), tmp_path / "cloned").fit(store)
        start = tmp_path / "cloned" / "checkpoint"
    return Trainer(small(name), tmp_path / name, start_from=start).fit(store)


@pytest.mark.parametrize("name", RECIPES)
def test_data_without_any_success(tmp_path, name):
    """Goals need none; a task reward cannot do without."""
    episodes = random_episodes(5, steps=3, size=16)
    if name in WITH_REWARD:
        with pytest.raises(AmRosError, match="no episode is a success, so a task reward teaches nothing"):
            _train(tmp_path, name, episodes)
        assert not (tmp_path / name / "checkpoint").exists()
    else:
        assert np.isfinite(list(_train(tmp_path, name, episodes).metrics.values())).all()


@pytest.mark.parametrize(("count", "steps"), [(1, 4), (1, 1), (6, 1)])
def test_one_episode_or_episodes_of_one_step_are_learned_from(tmp_path, count, steps):
    episodes = [DotWorld.corner_episode(seed, steps) for seed in range(400)]
    won = [e for e in episodes if e.info.outcome == 1 and len(e) == steps]
    for name in RECIPES:
        progress = _train(tmp_path, name, won[:count])
        assert progress.update == 3 and np.isfinite(list(progress.metrics.values())).all(), name
        blank = np.zeros((16, 16, 3), np.uint8)
        assert 0 < Policy.load(tmp_path / name / "checkpoint").act(blank, blank, np.zeros(6)).q_value < 1


def test_nothing_left_to_hold_out_is_said(tmp_path):
    store = ReplayStore.create(tmp_path / "store", (16, 16))
    store.append(random_episodes(1, steps=3, size=16))
    config = find_recipe("default")
    config = replace(
        config, network=NetworkConfig(image_size=16, width=16, channels=4),
        goals=replace(config.goals, held_out_share=0.3), trainer=TrainerConfig(updates=1, batch_size=4),
    )  # fmt: skip
    with pytest.raises(AmRosError, match="holds no .*episode.*; change held_out_share or add episodes"):
        Trainer(config, tmp_path / "out").fit(store)


HEALTHY = {"q_seen": 0.5, "q_unseen": 0.1, "loss_negative": 0.2}


@pytest.mark.parametrize(("metrics", "word"), [
    ({"q_seen": 0.95, "q_unseen": 0.93, "loss_negative": 0.1}, "0.95 at the data's actions and 0.93 at others"),
    ({"q_seen": 0.95}, "nothing in this method lowers it"),  # hindsight alone
    ({"q_seen": 0.01, "q_unseen": 0.001, "loss_negative": 0.1}, "even where the data reached the goal"),
    ({"q_seen": 0.4, "q_unseen": 0.39, "loss_negative": 0.1}, "cannot tell them apart"),
])  # fmt: skip
def test_a_collapse_is_named_once_and_not_too_early(metrics, word):
    watch = CollapseWatch()
    assert not any(watch.look(update, metrics) for update in range(0, collapse.FROM_UPDATE, 100))
    said = [watch.look(update, metrics) for update in range(2000, 4000, 100)]
    assert sum(s is not None for s in said) == 1
    assert word in next(filter(None, said)) and next(filter(None, said)).startswith("update ")


def test_a_healthy_training_is_not_warned_of():
    watch = CollapseWatch()
    for update in range(1000, 9000, 100):
        # Cloning has no Q; a task reward alone no negatives; a single odd report is no collapse.
        odd = {"q_seen": 0.99, "q_unseen": 0.99} if update % 500 == 0 else HEALTHY
        for metrics in (odd, HEALTHY, {"loss": 1.0}, {"q_seen": 0.3, "q_unseen": 0.3, "loss_negative": 0.0}):
            assert watch.look(update, metrics) is None


def test_hindsight_alone_is_warned_of_on_stderr(tmp_path, monkeypatch, caplog):
    """The collapse that the paper reports of HER, on data where nothing is ever unreachable."""
    monkeypatch.setattr(collapse, "FROM_UPDATE", 1)
    monkeypatch.setattr(collapse, "REPORTS", 1)
    store = ReplayStore.create(tmp_path / "store", (16, 16))
    store.append(random_episodes(6, steps=1, size=16))  # every goal is one step away: Q = 1 everywhere
    config = replace(
        find_recipe("her"), network=NetworkConfig(image_size=16, width=16, channels=4, behaviour_prior=False),
        trainer=TrainerConfig(updates=150, batch_size=16, learning_rate=5e-3, warmup_updates=5),
    )  # fmt: skip
    trainer = Trainer(config, tmp_path / "out")
    for until in (50, 100, 150):
        trainer.fit(store, until_update=until)
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert any("Q seems to have collapsed" in w and "nothing in this method lowers it" in w for w in warnings)


def test_tensorboard_is_asked_for_in_one_sentence_where_it_is_missing(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    with pytest.raises(AmRosError, match="parameter tensorboard: the package tensorboard is not installed"):
        _train(tmp_path, "default", random_episodes(2, steps=2, size=16), tensorboard=True)


def test_tensorboard_gets_the_figures_of_the_log(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    progress = _train(tmp_path, "default", random_episodes(2, steps=2, size=16), tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "default" / "tensorboard"))
    events.Reload()
    assert events.Scalars("loss")[-1].step == 3
    assert events.Scalars("loss")[-1].value == pytest.approx(progress.metrics["loss"], rel=1e-5)
