"""One checkpoint, judged as it acts, by its Q alone and by its cloning head alone: who of them decides."""

from dataclasses import replace
from typing import Any, TypeAlias

from am_ros.evaluation.actors import ActorConfig, load_policy, searching
from am_ros.evaluation.statistics import summarise
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning.cem import CemConfig
from am_ros.learning.method_config import HEAD_ALONE as WITHOUT_Q
from am_ros.paths import Folder

Ways: TypeAlias = dict[str, tuple[tuple[str, object], ...]]  # by a name: what is changed of a search

AS_IT_ACTS, Q_ALONE, HEAD_ALONE = "as_it_acts", "q_alone", "prior"
_BY_Q: dict[str, Any] = {
    "objective": "q", "prior_weight": 0.0, "prior_share": 0.0, "data_share": 1.0, "refit": "elites", "samples": 256,
    "iterations": 3, "elite_fraction": 0.06,
}  # fmt: skip
_BY_HEAD: dict[str, Any] = {
    "objective": "prior", "samples": 2, "iterations": 1, "prior_share": 1.0, "prior_weight": 1.0
}  # fmt: skip


def ways_to_act(acting: CemConfig, method: str, has_head: bool) -> Ways:
    """How a network of that method can act, without those ways that would be the same."""
    ways: Ways = {AS_IT_ACTS: ()}
    if method not in WITHOUT_Q:
        if replace(acting, **_BY_Q) != acting:
            ways[Q_ALONE] = searching(**_BY_Q)
        if has_head:
            ways[HEAD_ALONE] = searching(**_BY_HEAD)
    return ways


def compare_ways(
    checkpoint: Folder,
    task: str,
    trials: int,
    seed: int = 0,
    variety: float = 0.0,
    workers: int = 1,
    names: tuple[str, ...] = (AS_IT_ACTS, Q_ALONE, HEAD_ALONE),
) -> dict[str, dict]:
    """Figures (see `summarise`) of `trials` on the same scenes, for each of the ways named that the checkpoint has."""
    policy = load_policy(checkpoint)
    method, has_head = policy.meta["config"]["method"]["method"], policy.network.config.behaviour_prior
    figures = {}
    for name, search in ways_to_act(policy.cem, method, has_head).items():
        if name in names:
            plan = TrialPlan(ActorConfig(str(checkpoint), search=search), (task,), trials, seed, variety=variety)
            figures[name] = summarise(list(run_trials([plan], workers)))[task]
    return figures
