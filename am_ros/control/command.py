"""Who may command the arm, and whether a command still counts."""

from dataclasses import dataclass

from am_ros.configuration import parameter
from am_ros.errors import AmRosError

OPERATOR = "operator"  # whoever does not say a name
MAX_NAME = 64


@dataclass(frozen=True)
class CommandConfig:
    """How long commands and commanders count; all times but the age of a command are those of a monotonic clock."""

    lease_s: float = parameter(
        2.0, "a commander holds the arm for so long after its last step ended [s]", range=(0.0, 600.0)
    )
    heartbeat_timeout_s: float = parameter(
        0.5, "a motion is braked when its commander's heartbeat stays out for so long [s]", range=(0.1, 10.0)
    )
    command_timeout_s: float = parameter(
        1.0, "a step decided longer ago, or as far in the future, is refused [s]", range=(0.05, 60.0)
    )


def commander_name(text: str) -> str:
    """The name in a goal, "operator" if it has none; raises AmRosError "commander_invalid: ..."."""
    if len(text) > MAX_NAME or not text.isprintable():
        raise AmRosError(f"commander_invalid: {text[:MAX_NAME]!r} is no name of at most {MAX_NAME} printable letters")
    return text or OPERATOR


def check_age(decided_ns: int, now_ns: int, timeout_s: float) -> None:
    """Raise AmRosError "command_stale: ..." if a step was decided too long ago, or in the future; 0: not checked."""
    age_s = (now_ns - decided_ns) * 1e-9
    if decided_ns and abs(age_s) > timeout_s:
        when = f"{age_s:.1f} s ago" if age_s > 0 else f"{-age_s:.1f} s in the future"
        raise AmRosError(f"command_stale: decided {when}")


class Lease:
    """One commander at a time: from its first accepted step until a while after its last one ended."""

    def __init__(self, lease_s: float):
        self._lease_s = lease_s
        self._name, self._until_s = "", float("-inf")

    def check(self, name: str, now_s: float) -> None:
        """Raise AmRosError "not_commander: ..." if another holds the arm."""
        holder = self.holder(now_s)
        if holder and holder != name:
            raise AmRosError(f"not_commander: {holder} holds the arm (asked by {name})")

    def take(self, name: str) -> None:
        """A step of this commander begins."""
        self._name, self._until_s = name, float("inf")

    def ended(self, now_s: float) -> None:
        """The step has ended."""
        self._until_s = now_s + self._lease_s

    def holder(self, now_s: float) -> str:
        """Who holds the arm; empty: nobody."""
        return self._name if now_s < self._until_s else ""


class Heartbeats:
    """When each commander was heard last. Those who never send a heartbeat are not waited for."""

    def __init__(self, timeout_s: float):
        self._timeout_s = timeout_s
        self._heard_s: dict[str, float] = {}

    def beat(self, name: str, now_s: float) -> None:
        """A heartbeat came."""
        if len(name) > MAX_NAME:  # nobody of that name could command
            return
        if len(self._heard_s) >= 1000 and name not in self._heard_s:  # names are made up: whose is oldest goes
            del self._heard_s[min(self._heard_s, key=self._heard_s.__getitem__)]
        self._heard_s[name] = now_s

    def fault(self, name: str, started_s: float, now_s: float) -> str:
        """Why the motion that `name` began at `started_s` must end: "commander_gone: ...", or empty."""
        heard_s = self._heard_s.get(name)
        if heard_s is None:
            return ""
        silent_s = now_s - max(heard_s, started_s)  # that it sent the step was a sign of life
        return f"commander_gone: {name} was not heard for {silent_s:.1f} s" if silent_s > self._timeout_s else ""
