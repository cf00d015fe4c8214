"""One configuration for all methods: they share network, data, trainer and search, and differ in their loss."""

from dataclasses import dataclass

from am_ros.configuration import parameter
from am_ros.learning.cem_config import CemConfig

NAMES = ("actionable_models", "contrastive", "gcbc", "gcivl", "her", "her_random_negatives", "qt_opt")
HEAD_ALONE = ("gcbc", "gcivl")  # methods that act by the behaviour prior, for they learn no Q
WITH_HEAD = ("actionable_models", "contrastive")  # methods that teach one beside their Q, with cloning_weight


@dataclass(frozen=True)
class MethodConfig:
    """Everything the paper leaves open is a value here, with the reason for its default."""

    method: str = parameter("actionable_models", "what is learned (docs/learn.md)", choices=NAMES)
    gamma: float = parameter(0.95, "discount; 0.9 in QT-Opt, episodes here take up to 20 steps", range=(0.0, 0.9999))
    # The observed return bounds the value of a hindsight goal k steps away from below, where dynamics are nearly
    # deterministic. Without it values fade faster than they propagate: lift and place were never learned in trials.
    monte_carlo_floor: bool = parameter(True, "target at least gamma^(k-1) for a goal that was reached k steps later")
    # QT-Opt's guard against optimism; the floor and the negatives made it needless in trials, and it costs a quarter.
    double_q: bool = parameter(False, "the next value is the minimum over two lagged networks")
    older_every: int = parameter(500, "updates between copies into the second lagged network", range=(1, 10_000_000))
    terminates: bool = parameter(
        True, "false: the task has no end that the policy says, so terminating is neither learned nor searched"
    )
    negatives: int = parameter(12, "candidates for negative actions per item", range=(1, 1024))
    perturbed_share: float = parameter(0.25, "share of candidates drawn around the seen action", range=(0.0, 1.0))
    perturbed_std: float = parameter(0.4, "their standard deviation [normalised]", range=(0.01, 2.0))
    flipped_share: float = parameter(
        0.0, "share of candidates that differ from the seen action in one dimension only", range=(0.0, 1.0)
    )
    searched_share: float = parameter(
        0.0, "share of candidates that a short search over the present Q proposes", range=(0.0, 1.0)
    )
    # What the search will look at (CemConfig.data_share) is where Q must be right.
    data_share: float = parameter(
        0.0, "share of candidates that the data did at other moments (at most other_actions)", range=(0.0, 1.0)
    )
    # Q lies in (0, 1), so exp(Q) differs by at most a factor e; a temperature sharpens the choice.
    temperature: float = parameter(0.3, "negatives are weighted by softmax(Q / temperature)", range=(0.01, 100.0))
    negative_weight: float = parameter(1.0, "weight of the negatives in the loss", range=(0.0, 100.0))
    # What was done under way to another goal is rarely what leads to a random one: there the negatives push down the
    # very action that would, and what is chained fades from step to step.
    chained_negative_weight: float = parameter(
        1.0, "weight of the negatives of items with a random goal, beside the others'", range=(0.0, 1.0)
    )
    # 0 is QT-Opt, which learns from actions that were tried and failed; a small data set does not hold enough of them.
    reward_negative_weight: float = parameter(
        0.0, "weight of the negatives of items with a task reward, beside the others'", range=(0.0, 1.0)
    )
    # In normalised units; another gripper command or terminate always counts as far.
    close_distance: float = parameter(
        0.3, "candidates nearer than this to the seen action are dropped", range=(0.0, 4.0)
    )
    # Dropping what is close leaves Q flat there, negatives there push down the seen action as well. A target that falls
    # with the distance does neither, and averages the demonstrators' noise as regression does (docs/learner_study.md).
    kernel_std: float = parameter(
        0.0, "candidates of the seen choice have the seen action's target times a Gaussian of this standard deviation "
        "around it [normalised], and none is dropped as too close; 0: target 0, but none too close",
        range=(0.0, 4.0),
    )  # fmt: skip
    ranking_weight: float = parameter(
        0.0, "weight of the cross-entropy of picking the seen action among its negatives, by softmax of the logits",
        range=(0.0, 100.0),
    )  # fmt: skip
    goal_candidates: int = parameter(
        1, "each random goal is drawn from so many, by softmax(Q / goal_temperature); 1: not skewed", range=(1, 256)
    )
    goal_temperature: float = parameter(0.3, "how little Q counts in that draw", range=(0.001, 100.0))
    target_cem: CemConfig = CemConfig(samples=8, iterations=1, elite_fraction=0.25, prior_share=0.5, prior_weight=0.0)
    cloning_weight: float = parameter(
        1.0, "weight of cloning the behaviour prior; 0: the network has none", range=(0.0, 10.0)
    )
    frozen_prior: bool = parameter(
        False, "the behaviour prior stays as it was in the cloning checkpoint that the training starts from "
        "(start_from; networks with prior_encoder)"
    )  # fmt: skip
    # OGBench's; the data of the cell are nearly deterministic, so a high one hardly takes luck for skill.
    expectile: float = parameter(
        0.9, "gcivl: the value is this expectile of what the data did next; 0.5: the mean", range=(0.5, 0.999)
    )
    advantage_weight: float = parameter(
        1.0, "gcivl: an action counts exp(this times the steps that it gains on the usual); 0: cloning",
        range=(0.0, 100.0),
    )  # fmt: skip

    @property
    def learns_q(self) -> bool:
        """Whether there is a Q to search over; the methods without act by the behaviour prior."""
        return self.method not in HEAD_ALONE
