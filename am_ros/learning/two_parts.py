"""A Q beside a cloning policy, in one training: first the cloning policy learns alone, then Q beside it.

The first part is a training of its own in the folder `cloning` of the output, with its own checkpoint and curve. Each
part goes on where it was interrupted.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from am_ros.learning import checkpoint
from am_ros.learning.progress import Progress
from am_ros.learning.recipes import RECIPES
from am_ros.learning.trainer_config import CLONING, LearnerConfig, TrainerConfig
from am_ros.paths import Folder


def has_two_parts(config: LearnerConfig, out: Folder, start_from: Folder | None) -> bool:
    """Whether the cloning policy that Q stands beside is learned in the same training; otherwise it is given."""
    begun, of_two = (checkpoint.exists(Path(out) / name / "checkpoint") for name in ("", CLONING))
    return config.method.frozen_prior and start_from is None and (of_two or not begun)


def cloning_part(config: LearnerConfig) -> LearnerConfig:
    """What learns the cloning policy: the same network and data, the goals and the loss of the recipe `gcbc`."""
    recipe = RECIPES["gcbc"]
    return LearnerConfig(
        network=replace(config.network, prior_encoder=False, anchors=0),
        method=replace(recipe.method, terminates=config.method.terminates),
        goals=replace(config.goals, random_share=recipe.goals.random_share),
        trainer=replace(config.trainer.part(config.trainer.cloning_share), milestones=0, calibrate_stop=False),
        acting=recipe.acting,
    )


def is_over(first: LearnerConfig, out: Folder) -> bool:
    """Whether the first part has come to its end; once Q has begun it has, however long it would take now."""
    if checkpoint.exists(Path(out) / "checkpoint"):
        return True
    folder = Path(out) / CLONING / "checkpoint"
    if not checkpoint.exists(folder):
        return False
    meta = checkpoint.load(folder).meta
    return max(first.trainer.used(meta["update"], meta["trained_s"], meta["trained_cpu_s"]).values()) >= 1


def q_part(config: LearnerConfig) -> LearnerConfig:
    """What learns Q beside it, in the rest of the time."""
    return replace(config, trainer=config.trainer.part(1 - config.trainer.cloning_share))


def told(on_progress: Callable[[Progress], None], rest: TrainerConfig) -> Callable[[Progress], None]:
    """The same for the first part: the progress names it, and what is left includes what is known of the rest."""
    return lambda progress: on_progress(
        replace(progress, part=CLONING, seconds_left=progress.seconds_left + 60 * rest.minutes)
    )

