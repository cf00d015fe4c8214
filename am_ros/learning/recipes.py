"""Named configurations: the default, the paper to the letter, and the paper's baselines on the same network and data.

Batch, updates and the held-out share are the same for all.
"""

import dataclasses
from dataclasses import replace
from typing import Any

from am_ros import configuration
from am_ros.errors import AmRosError
from am_ros.learning.cem_config import CemConfig
from am_ros.learning.method_config import MethodConfig
from am_ros.learning.network_config import NetworkConfig
from am_ros.learning.trainer_config import FACTORED, LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig

# Over Q alone: from actions that the data did, then closer and closer around the best of them.
_Q_ONLY = CemConfig(refit="elites", data_share=1.0, prior_share=0.0, prior_weight=0.0)
_SEARCH = replace(_Q_ONLY, samples=256, iterations=3, elite_fraction=0.06)
_TARGET_SEARCH = replace(_Q_ONLY, samples=16, iterations=1, elite_fraction=0.25)
_PAPER_SEARCH = CemConfig(samples=64, iterations=2, prior_share=0.0, prior_weight=0.0)  # section 4.2 of QT-Opt
_Q_ALONE = NetworkConfig(behaviour_prior=False)
_DEEP = NetworkConfig(layers=4, shared_encoder=True)  # docs/learner_study.md
_FASTER = TrainerConfig(learning_rate=1e-3)
# Every number here was compared on vectors (docs/results_vectors.md).
_OURS = MethodConfig(gamma=0.97, negatives=16, data_share=0.75, target_cem=_TARGET_SEARCH)
_OUR_GOALS = GoalConfig(random_share=0.3)
# An item at its goal would be the same picture twice, which no trial ever shows: then nothing ends by itself
# (docs/learn.md, "When it terminates").
# And 128 pictures teach all items of a batch. A shift of image and goal alike contradicts where the tool is, and helps
# nothing ("Pictures that items share" in docs/learner_study.md).
_PICTURES: dict[str, Any] = {"noise_levels": 3, "camera_shift_px": 2, "shared_episodes": 16, "random_shift_px": 0}
_PLAIN = MethodConfig(gamma=0.97, monte_carlo_floor=False, cloning_weight=0.0, target_cem=_TARGET_SEARCH)
# What gave most so far (docs/results_pictures.md). The cloning head proposes beside the data, and Q sees each action
# beside its proposal.
_BEST = LearnerConfig(
    network=replace(_DEEP, anchors=1),
    trainer=_FASTER,
    method=replace(_OURS, target_cem=replace(_TARGET_SEARCH, prior_share=0.25), cloning_weight=2.0),
    goals=replace(_OUR_GOALS, **_PICTURES),
    acting=replace(_SEARCH, prior_share=0.25, data_share=0.75, prior_weight=1.0, objective="logit"),
)

RECIPES: dict[str, LearnerConfig] = {
    "default": LearnerConfig(),
    "best": _BEST,
    # The same Q beside a policy of `gcbc`, which the training starts from and leaves as it is. Q alone decides: with
    # the log prior beside it fewer goals were reached in each of four comparisons.
    "beside_cloning": replace(
        _BEST,
        network=replace(_BEST.network, prior_encoder=True),
        method=replace(_BEST.method, frozen_prior=True),
        acting=_SEARCH,
    ),
    # For goals that no episode leads to from where it began: more random goals, and a head that proposes where an
    # episode ends and the data has no next action. Q alone decides, for the head knows nothing beyond an episode.
    "chaining": LearnerConfig(
        method=replace(_OURS, target_cem=replace(_TARGET_SEARCH, prior_share=0.5)),
        goals=GoalConfig(random_share=0.4),
        acting=_SEARCH,
    ),
    # Section 4 as printed: equal shares of hindsight and random goals, negatives drawn uniformly and weighted by
    # exp(Q), no floor, no prior, QT-Opt's discount and double Q.
    "paper": LearnerConfig(
        network=_Q_ALONE,
        method=replace(
            _PLAIN,
            gamma=0.9,
            double_q=True,
            perturbed_share=0.0,
            temperature=1.0,
            target_cem=_PAPER_SEARCH,
        ),
        goals=GoalConfig(random_share=0.46),
        acting=_PAPER_SEARCH,
    ),
    "gcbc": LearnerConfig(
        network=_DEEP,
        trainer=_FASTER,
        method=MethodConfig(method="gcbc"),
        goals=GoalConfig(random_share=0.0, **_PICTURES),
        acting=CemConfig(samples=2, iterations=1, objective="prior"),
    ),
    # Zheng et al., 2023: goals a geometric number of steps ahead, the batch's others as negatives; the search maximises
    # critic and log-likelihood of the cloning head, as the paper's actor does.
    "contrastive": LearnerConfig(
        network=NetworkConfig(factored=FACTORED),
        method=MethodConfig(method="contrastive", gamma=0.9),
        goals=GoalConfig(random_share=0.0, hindsight_steps=10.0),
        acting=replace(_SEARCH, prior_share=0.25, data_share=0.75, prior_weight=1.0, objective="logit"),
    ),
    # OGBench's implicit value method, its goals as theirs: 30 % random ones for the value, none for the policy.
    "gcivl": LearnerConfig(
        method=MethodConfig(method="gcivl", gamma=0.97),
        goals=_OUR_GOALS,
        acting=CemConfig(samples=2, iterations=1, objective="prior"),
    ),
    "her": LearnerConfig(
        network=_Q_ALONE, method=replace(_PLAIN, method="her"), goals=GoalConfig(random_share=0.0), acting=_SEARCH
    ),
    "her_random_negatives": LearnerConfig(
        network=_Q_ALONE,
        method=replace(_PLAIN, method="her_random_negatives"),
        goals=GoalConfig(random_share=0.46),
        acting=_SEARCH,
    ),
    # The best without its prior, neither in targets nor in acting: Actionable Models with our floor, negatives, search.
    "q_alone": LearnerConfig(
        network=_Q_ALONE, method=replace(_OURS, cloning_weight=0.0), goals=_OUR_GOALS, acting=_SEARCH
    ),
    "qt_opt": LearnerConfig(
        network=_Q_ALONE,
        method=replace(_OURS, method="qt_opt"),
        goals=GoalConfig(random_share=0.0, at_goal_share=0.0, reward_share=1.0),
        acting=_SEARCH,
    ),
    # Section 5.3 with xi = 0.1: one tenth relabelled, the same tenth once more with unseen actions. From a few hundred
    # episodes two fifths (reward_share 0.6) gave more: docs/results_new_tasks.md, figure 8d.
    "qt_opt_auxiliary": LearnerConfig(
        network=_Q_ALONE,
        method=replace(_OURS, method="qt_opt"),
        goals=GoalConfig(random_share=0.0, at_goal_share=0.0, reward_share=0.9),
        acting=_SEARCH,
    ),
}


def find_recipe(name: str, **changes: Any) -> LearnerConfig:
    """The configuration of that name, with single fields changed: find_recipe("q_alone", preset="state", updates=500).

    `changes` name fields of the network, method, goals and trainer, as the flags of `am-ros train` do; all others stay
    as the recipe has them. Raises AmRosError with the names there are, or if a value does not fit.
    """
    if name not in RECIPES:
        raise AmRosError(f"recipe {name!r}: use one of {', '.join(RECIPES)}")
    recipe, left, parts = RECIPES[name], dict(changes), {}
    for part in ("network", "method", "goals", "trainer"):
        config = getattr(recipe, part)
        ours = {f.name: left.pop(f.name) for f in dataclasses.fields(config) if f.name in left}
        parts[part] = configuration.from_dict(type(config), {**vars(config), **ours})
    if left:
        raise AmRosError(f"recipe {name!r}: no part of it has a field {', '.join(sorted(left))}")
    config = replace(recipe, **parts)
    config.check_prior(recipe)
    return config
