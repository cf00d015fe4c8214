"""The learner's configuration as flags, for the verbs that learn. No verb itself."""

from typing import Any

from am_ros import configuration
from am_ros.learning.method_config import MethodConfig
from am_ros.learning.network_config import NetworkConfig
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig

_PARTS = {"network": NetworkConfig, "method": MethodConfig, "goals": GoalConfig, "trainer": TrainerConfig}


def add_learner_flags(parser, skip: tuple[str, ...] = ()) -> None:
    """One flag per field of the learner's configuration, but those in `skip`."""
    for name, part in _PARTS.items():
        configuration.add_flags(parser.add_argument_group(name), part, skip)


def learner_config(arguments, base: LearnerConfig, **trainer) -> LearnerConfig:
    """`base` (a recipe) changed by the flags that were given; `trainer` fixes fields of its TrainerConfig."""
    fixed = {"trainer": trainer}
    parts: dict[str, Any] = {
        name: configuration.from_flags(part, arguments, getattr(base, name), **fixed.get(name, {}))
        for name, part in _PARTS.items()
    }
    config = LearnerConfig(**parts, acting=base.acting)
    config.check_prior(base)
    return config
