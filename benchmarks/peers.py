"""Our search, our sampling and our reading of bags beside those of others, on the same network and the same data.

python benchmarks/peers.py --json runs/peers.json     # `make bench` installs what it compares with

Milliseconds of CPU time on one thread, the smallest of several rounds; ours and theirs take turns, so that both meet
the same machine. What is not installed is left out.
"""

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bags import make_episode
from output import output_file

from am_ros.action import ACTION_DIM, ActionSpace
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.episode import STATE_DIM
from am_ros.learning.cem import CemConfig, maximise
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

ROUNDS = 7
SAMPLES, ITERATIONS = 64, 2
BATCH, SIDE, EPISODES, STEPS = 128, 64, 100, 12


def best_ms(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """CPU time of one call of each [ms]."""
    best = dict.fromkeys(candidates, float("inf"))
    for call in candidates.values():
        call()  # what is loaded and allocated once
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            began = time.process_time()
            for _ in range(repeats):
                call()
            best[name] = min(best[name], 1e3 * (time.process_time() - began) / repeats)
    return best


def machine() -> dict[str, float]:
    """What this machine takes for things that are nobody's: figures without a peer are compared with them [ms]."""
    a, b, block = torch.rand(512, 512), torch.rand(512, 512), np.zeros(16_000_000, np.uint8)
    return best_ms(
        {
            "matmul 512x512": lambda: a @ b,
            "copy 16 MB": block.copy,
            "Python loop of 10 000": lambda: sum(i * i for i in range(10_000)),
        },
        5,
    )


def search() -> dict[str, float]:
    """A decision: 64 candidates, twice, scored by our network. The encoding is done before: it is the same for all."""
    network = make_network(NetworkConfig()).eval()
    image = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.no_grad():
        encoding = network.encode(image, image.flip(1), torch.zeros(1, STATE_DIM))

    @torch.no_grad()
    def score(actions: torch.Tensor) -> torch.Tensor:
        """Q of actions [1, N, 7]."""
        return network.score(encoding, actions).sigmoid()

    config = CemConfig(samples=SAMPLES, iterations=ITERATIONS, prior_share=0.0, prior_weight=0.0)
    candidates: dict[str, Callable[[], object]] = {"am_ros": lambda: maximise(score, 1, config)}
    if importlib.util.find_spec("evotorch"):
        candidates["evotorch"] = lambda: evotorch_search(score)
    if importlib.util.find_spec("torchrl"):
        candidates["torchrl"] = torchrl_search(score)
    return best_ms(candidates, 10)


def evotorch_search(score: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    from evotorch.algorithms.functional import cem, cem_ask, cem_tell

    state = cem(
        center_init=torch.zeros(ACTION_DIM), stdev_init=0.4, parenthood_ratio=0.1, objective_sense="max",
        stdev_min=0.01,
    )  # fmt: skip
    for _ in range(ITERATIONS):
        values = cem_ask(state, popsize=SAMPLES)
        state = cem_tell(state, values, score(values.unsqueeze(0))[0])
    return state.center


def torchrl_search(score: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], object]:
    from tensordict import TensorDict
    from torchrl.data import Bounded, Composite, Unbounded
    from torchrl.envs import EnvBase
    from torchrl.modules import CEMPlanner

    class OneStep(EnvBase):
        """An environment whose reward is Q of the action."""

        batch_locked = False

        def __init__(self):
            super().__init__(batch_size=[])
            self.observation_spec = Composite(observation=Unbounded((1,)))
            self.action_spec, self.reward_spec = Bounded(-1, 1, (ACTION_DIM,)), Unbounded((1,))

        def _reset(self, tensordict, **_):
            shape = self.batch_size if tensordict is None else tensordict.shape
            return TensorDict({"observation": torch.zeros(*shape, 1)}, shape)

        def _step(self, tensordict):
            reward = score(tensordict["action"].reshape(1, -1, ACTION_DIM)).reshape(*tensordict.shape, 1)
            done = torch.zeros(*tensordict.shape, 1, dtype=torch.bool)
            found = {"observation": tensordict["observation"], "reward": reward, "done": done, "terminated": done}
            return TensorDict(found, tensordict.shape)

        def _set_seed(self, seed):
            return seed

    environment = OneStep()
    planner = CEMPlanner(
        environment, planning_horizon=1, optim_steps=ITERATIONS, num_candidates=SAMPLES,
        top_k=max(2, int(0.1 * SAMPLES)),
    )  # fmt: skip
    start = environment.reset()
    return lambda: planner(start.clone())


def sampling(folder: Path) -> dict[str, float]:
    """A batch of 128 (s, a, s', g) with three images of 64x64 each, from files that are mapped into memory."""
    rng, rows = np.random.default_rng(0), EPISODES * (STEPS + 1)
    pixels = rng.integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8)
    actions, ends = rng.uniform(-1, 1, (rows, 4)), np.arange(rows) % (STEPS + 1) == STEPS
    sampler = Sampler(ReplayStore.from_arrays(folder / "replay", pixels, actions, ends), GoalConfig(), BATCH, 0)
    steps = iter(range(10**9))
    candidates: dict[str, Callable[[], object]] = {"am_ros": lambda: sampler.batch(next(steps))}
    if importlib.util.find_spec("torchrl"):
        candidates["torchrl"] = torchrl_sampling(folder / "torchrl", pixels, actions.astype(np.float32), ends)
    return best_ms(candidates, 10)


def torchrl_sampling(folder: Path, pixels: np.ndarray, actions: np.ndarray, ends: np.ndarray) -> Callable[[], object]:
    """Its replay buffer on a memory-mapped storage: transitions with both images, and any image as the goal."""
    from tensordict import TensorDict
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer

    now = np.flatnonzero(~ends)
    buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(len(now), scratch_dir=folder), batch_size=BATCH)
    data = {"image": pixels[now], "next_image": pixels[now + 1], "action": actions[now]}
    buffer.extend(TensorDict({name: torch.from_numpy(value) for name, value in data.items()}, [len(now)]))
    images = buffer.storage.get(slice(None))["image"]

    def draw():
        batch = buffer.sample()
        batch["goal_image"] = images[torch.randint(0, len(now), (BATCH,))]
        return batch

    return draw


def reading(folder: Path, side: int) -> dict[str, float]:
    """A bag of 15 steps: ours decodes its pictures and checks everything; theirs hand over the raw messages."""
    from mcap.reader import make_reader
    from rosbags.rosbag2 import Reader

    bag = write_episode(make_episode(side).with_info(episode_id=f"e{side}"), folder, ActionSpace())
    (file,) = bag.glob("*.mcap")

    def by_mcap() -> int:
        with open(file, "rb") as stream:
            return sum(len(message.data) for _, _, message in make_reader(stream).iter_messages())

    def by_rosbags() -> int:
        with Reader(bag) as reader:
            return sum(len(raw) for _, _, raw in reader.messages())

    return best_ms({"am_ros": lambda: read_episode(bag, ActionSpace()), "mcap": by_mcap, "rosbags": by_rosbags}, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=output_file, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {"machine": machine(), "CEM, 64 candidates twice": search()}
    with tempfile.TemporaryDirectory() as folder:
        found["batch of 128 at 64 px"] = sampling(Path(folder))
        for side in (64, 472):
            found[f"bag of 15 steps at {side} px"] = reading(Path(folder), side)
    for what, times in found.items():
        print(f"{what:28}" + "   ".join(f"{name} {ms:.3f} ms" for name, ms in times.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
