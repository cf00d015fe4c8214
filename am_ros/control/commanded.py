"""Where the arm was told to be. A step begins there, and not where the arm is measured.

An arm hangs a little below its command, by gravity, friction or a compliant controller. Were each step to begin at the
measured angles, the command would sink by that much with every step.

| what happens | the next step begins |
|---|---|
| a step arrives, or is braked along its path | where it, or the brake, ends |
| after a stop the arm stands elsewhere (contact, emergency stop) | where it stood: the command has been led there |
| it does not stay there either | nowhere: `state_offset` |
| at rest the arm leaves its command: somebody's hand, another program, a reset simulator | at the measured angles |
| start, activation, reset of a protective stop after which the arm stands elsewhere | at the measured angles |

"Elsewhere": a joint is measured further from its command than `state_offset_rad`.
"""

import numpy as np

from am_ros.control.types import Names
from am_ros.errors import AmRosError


class CommandedState:
    """The joint angles at which the command rests. What uses it: planning, guard, arrival, brake."""

    def __init__(self, joint_names: Names, offset_rad: float):
        self._names, self._bound = tuple(joint_names), offset_rad
        self.q: np.ndarray | None = None  # [joints] rad; None: unknown, the measured angles count
        self.why = "no step since the start"  # of the measured angles

    def rest(self, q: np.ndarray) -> None:
        """The arm was told to come to rest at q."""
        self.q = np.array(q, float)

    def forget(self, why: str) -> None:
        """The next step begins at the measured angles, for that reason."""
        self.q, self.why = None, why

    def offset_rad(self, measured: np.ndarray) -> float:
        """Of the joint that stands furthest from its command; 0 while that is unknown."""
        return 0.0 if self.q is None else float(np.abs(measured - self.q).max())

    def followed(self, measured: np.ndarray) -> bool:
        """Whether the arm is where it was told to be, as far as it must be."""
        return self.offset_rad(measured) <= self._bound

    def start(self, measured: np.ndarray) -> np.ndarray:
        """Where a step begins [joints]; raises AmRosError "state_offset: ..." if the arm does not follow."""
        if self.q is None:
            return np.array(measured, float)
        if not self.followed(measured):
            k = int(np.abs(measured - self.q).argmax())
            raise AmRosError(
                f"state_offset: {self._names[k]} is {measured[k] - self.q[k]:+.3f} rad from where it was told to be, "
                f"limit {self._bound:g} rad: mend the driver's control mode or its load data, then activate the "
                "controller anew"
            )
        return self.q.copy()
