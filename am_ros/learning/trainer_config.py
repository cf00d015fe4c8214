"""Everything that decides what is learned, how long and how fast."""

from dataclasses import dataclass, replace

from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.learning.cem_config import CemConfig
from am_ros.learning.method_config import HEAD_ALONE, WITH_HEAD, MethodConfig
from am_ros.learning.network_config import NetworkConfig
from am_ros.replay.sampling import GoalConfig

DEFAULT_UPDATES = 6000
COMPRESSIONS = ("none", "bf16")  # of gradients on their way between processes
CLONING = "cloning"  # folder and name of the first part of a training in two parts
FACTORED = 64  # numbers in each vector of a contrastive critic, unless the network says how many
# What may change when a training goes on: how long it takes, what it keeps, and what makes the same weights otherwise.
FREE_SETTINGS = (
    "updates", "minutes", "cpu_minutes", "processes", "checkpoint_every_s", "milestones", "calibrate_stop",
    "tensorboard", "threads", "device", "precision", "loader_threads",
)  # fmt: skip


@dataclass(frozen=True)
class TrainerConfig:
    """How long and how fast to learn."""

    updates: int = parameter(
        0, f"gradient updates in all; 0: what the minutes allow, or {DEFAULT_UPDATES} if no minutes are given",
        range=(0, 10_000_000),
    )  # fmt: skip
    minutes: float = parameter(
        0.0, "stop after so many minutes of training if that comes first; 0: no such limit", range=(0.0, 1e6)
    )
    # On a busy machine a minute of the clock is not a minute of work: what two runs learn is compared by this.
    cpu_minutes: float = parameter(
        0.0, "stop after so many minutes of this process's CPU time, all threads added; 0: no such limit",
        range=(0.0, 1e6),
    )  # fmt: skip
    batch_size: int = parameter(128, "items per update, over all processes", range=(1, 65536))
    processes: int = parameter(1, "processes that share each batch (data parallel)", range=(1, 1024))
    own_data: bool = parameter(
        False, "each machine draws its items from a replay store of its own (--replay), not all from the same data"
    )
    gradient_compression: str = parameter(
        "none", "how gradients travel between processes: as they are, or as bf16, half as long", choices=COMPRESSIONS
    )
    cloning_share: float = parameter(
        0.5, "share of the training in which a cloning policy learns alone, before Q learns beside it (frozen_prior, "
        "without start_from)", range=(0.01, 0.99),
    )  # fmt: skip
    learning_rate: float = parameter(7e-4, "AdamW, after warm-up", range=(1e-7, 1.0))
    weight_decay: float = parameter(1e-4, "AdamW", range=(0.0, 1.0))
    warmup_updates: int = parameter(200, "linear warm-up of the learning rate", range=(0, 1_000_000))
    decay_from: float = parameter(
        0.5, "share of the training after which the rate falls to zero (cosine)", range=(0, 1)
    )
    target_rate: float = parameter(0.01, "Polyak rate of the lagged network, which also acts", range=(1e-6, 1.0))
    max_gradient_norm: float = parameter(10.0, "gradients are clipped to this norm", range=(0.0, 1e6))
    checkpoint_every_s: float = parameter(60.0, "seconds between checkpoints", range=(0.1, 1e6))
    milestones: int = parameter(
        0, "weights kept along the way, evenly spaced, in out/milestones (for curves)", range=(0, 1000)
    )
    calibrate_stop: bool = parameter(
        False, "when the training is over, find from which Q of terminating on the policy ends an episode by itself"
    )
    tensorboard: bool = parameter(
        False, "log to out/tensorboard, too (needs the package tensorboard, which is optional)"
    )
    seed: int = parameter(0, "of weights, batches and sampling", range=(0, 2**31 - 1))
    threads: int = parameter(1, "CPU threads of PyTorch per process; 0: leave as it is", range=(0, 1024))
    loader_threads: int = parameter(
        0, "threads that copy the images of a batch; 0: one, with a GPU as many as there are cores, up to 8",
        range=(0, 256),
    )  # fmt: skip
    device: str = parameter("auto", "cpu, cuda, or auto", choices=("auto", "cpu", "cuda"))
    precision: str = parameter(
        "auto", "bf16 where the hardware multiplies it, or fp32", choices=("auto", "bf16", "fp32")
    )

    @property
    def limits(self) -> str:
        """What ends the training, in words: "10 minutes or 6000 updates, whichever comes first"."""
        given = [f"{value:g} {name.replace('cpu_', 'CPU ')}" for name, value in self._limits().items() if value]
        if not (self.updates or self.minutes or self.cpu_minutes):
            return f"{given[0]}, as no limit was given"
        return " or ".join(given) + (", whichever comes first" if len(given) > 1 else "")

    def used(self, update: int, trained_s: float, trained_cpu_s: float) -> dict[str, float]:
        """How much of each given limit is used up; 1 or more: the training is over."""
        done = {"updates": update, "minutes": trained_s / 60, "cpu_minutes": trained_cpu_s / 60}
        return {name: done[name] / limit for name, limit in self._limits().items() if limit}

    def part(self, share: float) -> "TrainerConfig":
        """The same with that share of every given limit."""
        updates = max(1, round(share * self.planned_updates)) if self.planned_updates else 0
        return replace(self, updates=updates, minutes=share * self.minutes, cpu_minutes=share * self.cpu_minutes)

    def _limits(self) -> dict[str, float]:
        return {"updates": self.planned_updates, "minutes": self.minutes, "cpu_minutes": self.cpu_minutes}

    @property
    def planned_updates(self) -> int:
        """Gradient updates after which the training ends; 0 where only time ends it."""
        return self.updates or (0 if self.minutes or self.cpu_minutes else DEFAULT_UPDATES)


@dataclass(frozen=True)
class LearnerConfig:
    """Everything that decides what is learned; saved with every checkpoint."""

    network: NetworkConfig = NetworkConfig()
    method: MethodConfig = MethodConfig()
    goals: GoalConfig = GoalConfig()
    trainer: TrainerConfig = TrainerConfig()
    acting: CemConfig = CemConfig()  # how the policy searches

    @property
    def teaches_prior(self) -> bool:
        """Whether the loss teaches a behaviour prior: a network has one for no other reason.

        Q that sees what the prior proposes or sees needs it: fine-tuning it on a reward teaches it further.
        """
        method, network = self.method, self.network
        sees = network.anchors > 0 or network.prior_encoder
        beside = method.method == "qt_opt" and sees and network.behaviour_prior
        return method.method in HEAD_ALONE or ((method.method in WITH_HEAD or beside) and method.cloning_weight > 0)

    def settled(self) -> "LearnerConfig":
        """The same with what one value decides for others.

        Without `terminates` no part learns or searches an end. A network has a behaviour prior only if the method
        teaches it: whoever takes a recipe of Q alone and names a network of his own gets Q alone. A method without Q
        acts by the prior, and a contrastive critic is a product. Items share pictures only where the network encodes
        image and goal each by itself, and none has a reward.
        """
        network, method, goals, acting = self.network, self.method, self.goals, self.acting
        if not method.terminates:
            method = replace(method, target_cem=replace(method.target_cem, terminate=False))
            goals, acting = replace(goals, at_goal_share=0.0, stop_share=0.0), replace(acting, terminate=False)
        if not self.teaches_prior:
            network = replace(network, behaviour_prior=False)
        elif not network.behaviour_prior and method.learns_q:
            method = replace(method, cloning_weight=0.0)
        if not (network.behaviour_prior and method.learns_q):  # an encoder beside that of Q
            network = replace(network, prior_encoder=False)
        if method.method == "contrastive" and not network.factored:
            network = replace(network, factored=FACTORED)
        if network.preset != "small" or network.factored:
            network = replace(network, shared_encoder=False)
        if not network.shared_encoder or goals.reward_share:
            goals = replace(goals, shared_episodes=0)
        if not method.learns_q and acting.objective != "prior":
            acting = replace(acting, objective="prior", prior_weight=acting.prior_weight or 1.0)
        return replace(self, network=network, method=method, goals=goals, acting=acting)

    def check_prior(self, recipe: "LearnerConfig") -> None:
        """Raise AmRosError if this asks for a behaviour prior that the `recipe` it came from does not teach."""
        asked = self.network.behaviour_prior and not recipe.network.behaviour_prior
        if asked and not self.teaches_prior:
            raise AmRosError(
                "parameter behaviour_prior: true, but nothing here teaches the head; set cloning_weight above 0, too"
            )
