"""How long the cross-entropy method searches, where it begins, and what it maximises.

Without torch, as all that a learner is told: a program that only hands it on starts three seconds sooner.
"""

from dataclasses import dataclass

from am_ros.configuration import parameter

OBJECTIVES = ("q", "logit", "log_q", "prior")
REFITS = ("gaussian", "elites")


@dataclass(frozen=True)
class CemConfig:
    """Budget and first distribution of a search."""

    samples: int = parameter(64, "candidates per iteration", range=(2, 4096))
    iterations: int = parameter(2, "refits of the distribution", range=(1, 20))
    elite_fraction: float = parameter(0.1, "share of candidates the refit uses", range=(0.01, 1.0))
    # One Gaussian cannot follow a Q with several narrow peaks (close right here, or go as far as a step reaches): it
    # ended at actions of lower Q than the expert's, and Q alone reached 3 % instead of 23 % (docs/learn.md).
    refit: str = parameter(
        "gaussian", "after an iteration: one Gaussian over all elites, or a smaller one around each of them",
        choices=REFITS,
    )  # fmt: skip
    elite_std: float = parameter(
        0.2, "standard deviation around elites, halved in each iteration [normalised]", range=(0.001, 2.0)
    )
    data_share: float = parameter(
        0.0, "share of first candidates that are actions of the data, taken at any moment", range=(0.0, 1.0)
    )
    # The paper's 3 cm, 3 cm, 6 cm, 0.16 rad (it says variances; the units say standard deviations), for the default
    # action space of 8 cm and 0.5 rad.
    initial_std: tuple[float, ...] = parameter(
        (0.375, 0.375, 0.75, 0.32),
        "first standard deviations of x, y, z, azimuth [normalised]; of more displacements the last one counts for all",
        range=(0.001, 10.0),
    )
    objective: str = parameter(
        "q", "what is maximised besides the prior: Q, its logit, log Q, or nothing (the prior alone)",
        choices=OBJECTIVES,
    )  # fmt: skip
    terminate: bool = parameter(True, "whether terminating is among the candidates")
    # Demonstrators terminate rarely, so a cloning head that decides with Q never does. Q of terminating is taught
    # itself what is at a goal and what is not (at_goal_share).
    stop_q: float = parameter(
        0.0, "when acting: terminate as soon as Q of terminating is this much, whatever the rest says; 0: no such rule",
        range=(0.0, 1.0),
    )  # fmt: skip
    # At a goal Q of terminating rises and falls from step to step (0.5, 0.0, 0.4), but goes on; what looks like a
    # goal on the way is over after a step: the sum tells them apart where no single value does (docs/learner_study.md).
    stop_sum: float = parameter(
        0.0, "when acting: terminate as soon as Q of terminating, summed over an episode's decisions, is this much; 0: "
        "no such rule",
        range=(0.0, 100.0),
    )  # fmt: skip
    stop_alone: bool = parameter(
        False, "where stop_q or stop_sum is set, nothing else ends an episode: the search does not choose to terminate"
    )
    # The behaviour prior proposes, and the best of Q + prior_weight * log prior is taken. Q lies in (0, 1), so with
    # weight 1 the prior decides nearly everything: after minutes of training it is the better judge (docs/learn.md).
    # Networks without a prior ignore the three.
    prior_std: float = parameter(0.2, "standard deviation around the behaviour prior [normalised]", range=(0.001, 2.0))
    prior_share: float = parameter(1.0, "share of first candidates from the behaviour prior", range=(0.0, 1.0))
    prior_weight: float = parameter(1.0, "weight of the prior's log-likelihood beside Q", range=(0.0, 100.0))

    @property
    def uses_prior(self) -> bool:
        """Whether a behaviour prior changes anything of the search."""
        return bool(round(self.samples * self.prior_share) or self.prior_weight)

    @property
    def elites(self) -> int:
        return max(2, int(self.samples * self.elite_fraction))

    def first_std(self, displacements: int) -> tuple[float, ...]:
        """`initial_std` for so many displacements: its first ones, the last one repeated."""
        return (self.initial_std + self.initial_std[-1:] * displacements)[:displacements]
