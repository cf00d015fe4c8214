"""What a real gripper's driver takes in place of our opening, 0 closed ... 1 open."""

from dataclasses import dataclass

from am_ros.configuration import parameter

GRIPPERS = ("opening", "positions", "trajectory", "action", "parallel", "switch", "none")


@dataclass(frozen=True)
class GripperConfig:
    """gripper_command is published in any case, for the simulated cell and for the bags."""

    gripper: str = parameter(
        "opening",
        "opening: gripper_command alone; positions: gripper_positions, a Float64MultiArray with a value per finger; "
        "trajectory: gripper_trajectory, a JointTrajectory; action: a control_msgs/GripperCommand; "
        "parallel: a control_msgs/ParallelGripperCommand; switch: gripper_switch, a Bool that is true to close; "
        "none: the arm has no gripper",
        choices=GRIPPERS,
    )
    gripper_open: float = parameter(
        0.045, "what a finger is sent to open [m], or [rad] for a gripper that turns", range=(-4.0, 4.0)
    )
    gripper_closed: float = parameter(0.0, "what a finger is sent to close", range=(-4.0, 4.0))
    gripper_move_s: float = parameter(0.5, "how long the fingers take from open to closed [s]", range=(0.05, 10.0))
    gripper_measured: bool = parameter(
        True, "the driver reports the fingers; false: the controller does, as they were told to move, open at first"
    )
    # A parameter and no topic to be renamed: ROS remaps no actions.
    gripper_action: str = parameter("gripper_controller/gripper_cmd", "action, parallel: its name")
    gripper_effort: float = parameter(40.0, "action, parallel: the largest effort [N], or [N m]", range=(0.0, 1000.0))

    @property
    def reported(self) -> bool:
        """Whether anybody but the controller says where the fingers are."""
        return self.gripper_measured and self.gripper != "none"

    def position(self, opening: float) -> float:
        """What a finger is sent for an opening."""
        return self.gripper_closed + opening * (self.gripper_open - self.gripper_closed)


class AssumedOpening:
    """Where a gripper that reports nothing is, if it does what it is told: evenly, in `move_s` from open to closed."""

    def __init__(self, move_s: float):
        self._move_s = move_s
        self._from, self._to, self._since_s = 1.0, 1.0, 0.0

    def command(self, opening: float, now_s: float) -> None:
        """It is told to go there."""
        self._from, self._to, self._since_s = self.at(now_s), opening, now_s

    def at(self, now_s: float) -> float:
        """0 closed ... 1 open."""
        way, moved = self._to - self._from, max(0.0, now_s - self._since_s) / self._move_s
        return self._from + max(-moved, min(moved, way))

    def stay(self, now_s: float) -> None:
        """It does not do what it was told: it is taken to stand where it is."""
        self.command(self.at(now_s), now_s)


# Fingers that have moved by less have not moved; a share of the whole way, as ArrivalTolerance.gripper_tolerance.
STANDS = 0.03
# A gripper that was told to open may be stopped by what stands beside it, but not so far from open.
NEARLY_OPEN = 0.25
# How much longer than `gripper_move_s` it may take to begin: drivers queue, and a serial gripper is polled.
BEGIN_S = 1.5
STILL_S = 0.25  # as ArrivalTolerance.gripper_still_s
LONGEST_S = 10.0  # one that never comes to rest is not waited for


class GripperWatch:
    """Has the gripper done what it was told? By what is measured, and by what its driver answers, where it answers.

    A gripper that closes may be stopped by what it holds, so it must only move; one that is told again what it does
    already need not even that. `now_s`: the monotonic clock; openings: 0 closed ... 1 open.
    """

    def __init__(self, config: GripperConfig):
        self._config = config
        self._last: float | None = None  # what it was told before, if it did that
        self._fresh = True  # it was told nothing yet
        self._goal: float | None = None
        self._before: float | None = None
        self._opening: float | None = None
        self._told_s = 0.0
        self._still = (0.0, 0.0)  # since when, and where the fingers stand
        self._answered = False
        self._failure = ""

    def told(self, goal: float, opening: float | None, now_s: float) -> None:
        """It is told to go to `goal`, while `opening` is measured."""
        self._goal, self._before, self._told_s = goal, opening, now_s
        self._still, self._answered, self._failure = (now_s, -1.0), False, ""

    def over(self) -> None:
        """The step that told it has ended: nobody asks any more."""
        self._failure = ""
        if self._goal is not None:
            self._done("")

    def answer(self, failure: str = "") -> None:
        """The driver has answered: with what is not well, or that all is."""
        self._answered, self._failure = True, failure

    def failure(self, opening: float | None) -> str:
        """ "gripper_failed: ..." with what is measured, as soon as the driver has said so; or empty."""
        return self._sentence(self._failure, opening) if self._failure else ""

    def verdict(self, opening: float | None, now_s: float) -> str | None:
        """ "gripper_failed: ...", empty if it has done what it was told, None while that cannot be told yet."""
        self._opening = opening
        goal = self._goal
        if goal is None:
            return ""
        if self._failure:
            return self._done(self._failure)
        late = now_s - self._told_s > self._config.gripper_move_s + BEGIN_S
        if opening is None or not self._config.reported:
            # An answer is all there is to go by, where there is one.
            if self._answered or not self._answers:
                return self._done("")
            return self._done("its action does not answer") if late else None
        if abs(opening - self._still[1]) > STANDS / 3:
            self._still = now_s, opening
        before = opening if self._before is None else self._before
        moved = abs(opening - before) > STANDS
        there, again = abs(opening - goal) <= STANDS, self._last == goal or self._first_of_all(goal)
        if there and not moved and not again and now_s - self._told_s < self._config.gripper_move_s:
            return None  # it seems to be there: one whose values are the wrong way round would go away now
        stands, long = now_s - self._still[0] > STILL_S, now_s - self._told_s > LONGEST_S
        if there or (again and not moved) or (moved and stands) or (late and not moved) or long:
            return self._done("" if there else self._wrong(goal, before, opening, moved, again))
        return None

    def _first_of_all(self, goal: float) -> bool:
        """A gripper that holds something since before this process began need not move to close."""
        if not self._fresh or self._before is None:
            return False
        return abs(self._before - (1 - goal)) > NEARLY_OPEN and abs(self._before - goal) > STANDS

    @property
    def _answers(self) -> bool:
        return self._config.gripper in ("action", "parallel")

    def _wrong(self, goal: float, before: float, opening: float, moved: bool, again: bool) -> str:
        """What is wrong with where it stands, which is not `goal`; or empty."""
        if moved and abs(goal - opening) > abs(goal - before) + STANDS:
            return "it moved the other way: finger_open, finger_closed or gripper_open, gripper_closed are wrong"
        if not moved and not again:
            return "its fingers have not moved"
        if goal > 0.5 and opening < goal - NEARLY_OPEN:
            return "it has not opened"
        return ""

    def _done(self, wrong: str) -> str:
        opening = self._opening if self._config.reported else None
        sentence = self._sentence(wrong, opening) if wrong else ""
        self._last, self._fresh, self._goal = None if wrong else self._goal, False, None
        return sentence

    def _sentence(self, wrong: str, opening: float | None) -> str:
        told = "open" if self._goal and self._goal > 0.5 else "close"
        where = "nothing measures its opening" if opening is None else f"opening {opening:.2f} is measured"
        before = "" if self._before is None or opening is None else f", {self._before:.2f} before"
        return f"gripper_failed: told to {told}: {wrong}; {where}{before}"
