"""Goals are chosen when a batch is read, by index arithmetic on the replay store (Algorithm 1, EXTRACTEXAMPLES).

Every item is a transition (s, a, s') with a goal g:

* hindsight: g is a later observation of the same episode, k >= 1 steps ahead (the sub-trajectory is cut at g);
* random: g is any observation of the data set. If the random cut falls right behind the transition, the item is the
  final one of its sub-trajectory and its target is the chained value Q(s', a', g) (section 4.2);
* at the goal: the action is replaced by `terminate`, which is the right thing to do there. The paper leaves open how
  terminate is learned; Q(s, a, s') = 1 alone does not teach to stop. g is s itself or an observation at most two steps
  away between which the tool hardly moved: with g = s alone a network learns to compare pixels, and the picture of a
  goal is never the very picture that the camera sees there;
* alike: a random goal, of another episode with the tool at the same place (alike.py); the action is `terminate`, which
  is wrong there;
* of a trial: the goal is how another episode of the same scene ended in success; the action is `terminate`, which is
  right where the episode ended in success itself, and wrong anywhere else (trial_ends.py);
* rewarded: no goal, the goal image is all zeros; the episode's last transition ends with 1 if it was a success, else
  with 0 (sections 5.2 and 5.3: downstream tasks). Some of them ask what `terminate` is worth: 1 on the last observation
  of a success, 0 anywhere else. Demonstrators terminate where they have succeeded, so the data alone never show the 0,
  and a policy that learned from them ended at its first step.

Batch `step` of seed `seed` is always the same batch: training can resume exactly without saving generator states.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np

from am_ros.configuration import parameter
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.replay.alike import CANDIDATES, POSITION, TURNED, look_alikes
from am_ros.replay.columns import Damaged
from am_ros.replay.gather import Gather
from am_ros.replay.light import add_noise, light, light_tables
from am_ros.replay.pool import ActionPool
from am_ros.replay.spans import Spans
from am_ros.replay.store import ReplayStore
from am_ros.replay.trial_ends import TrialEnds

NEAR_STEPS = 2


@dataclass(frozen=True)
class GoalConfig:
    """How goals are drawn. Shares: the rest is hindsight."""

    # Episodes of a thousand steps: uniform goals lie hundreds of steps away, and hardly any teaches the next step.
    hindsight_steps: float = parameter(
        0.0, "mean number of steps to a hindsight goal, drawn geometrically within the episode; 0: uniform to its end, "
        "as in the paper", range=(0.0, 1e6),
    )  # fmt: skip
    random_share: float = parameter(0.1, "share of items with a random goal (goal chaining)", range=(0.0, 0.95))
    # In a scene of another episode other things lie about, and a goal that shows them is told from this scene's at a
    # glance: it never teaches that being where the goal's arm is does not reach a goal whose object is elsewhere.
    same_scene_share: float = parameter(
        0.0, "share of the random goals that are any observation of the item's own episode, before or after it",
        range=(0.0, 1.0),
    )  # fmt: skip
    # Else a policy ends where its arm is right, wherever the object lies.
    alike_share: float = parameter(
        0.0, "share of the random goals that are of another episode with the tool where the item has it, within twice "
        "near_goal_m; the action there is terminate, which is wrong", range=(0.0, 1.0),
    )  # fmt: skip
    # A policy's own trials show what hindsight never does: this scene, with the arm at the goal's place and the object
    # elsewhere.
    trial_share: float = parameter(
        0.0, "share of the random goals that are how another episode of the item's scene (task and seed) ended in "
        "success; the action there is terminate, right where the episode was a success and ended, else wrong",
        range=(0.0, 1.0),
    )  # fmt: skip
    at_goal_share: float = parameter(0.08, "share of items already at their goal, to learn terminate", range=(0.0, 0.5))
    near_goal_m: float = parameter(
        0.03, "how far the tool may be from the goal to be there, with the same gripper and turn [m]", range=(0.0, 0.5)
    )
    reward_share: float = parameter(0.0, "share of items with the task reward and a zero goal image", range=(0.0, 1.0))
    stop_share: float = parameter(
        0.1, "share of the rewarded items whose action is replaced by terminate, half of them where an episode ends",
        range=(0.0, 1.0),
    )  # fmt: skip
    reward_task: str = parameter("", "rewarded items come from this task's episodes; empty: from all")
    # By a hash of the episode's id: always the same ones, whatever else is in the store.
    held_out_share: float = parameter(0.0, "share of episodes kept for the held-out figures", range=(0.0, 0.5))
    other_actions: int = parameter(
        16, "actions of other moments that come with each item, as candidates for Q", range=(0, 1024)
    )
    # With a few thousand episodes the encoder remembers them: without shifts pick_place falls to half.
    random_shift_px: int = parameter(4, "same random shift of image and goal, up to so many pixels", range=(0, 32))
    # A goal is recorded in the morning and pursued in the evening: its light is not the image's.
    photometric: float = parameter(
        0.0, "strength of random brightness, contrast, gamma and colour, drawn for image and goal apart; 0: none",
        range=(0.0, 1.0),
    )  # fmt: skip
    noise_levels: int = parameter(
        0, "uniform noise on every pixel of image and goal, of up to so many of 255 levels", range=(0, 60)
    )
    camera_shift_px: int = parameter(
        0, "the goal is shifted by up to so many pixels more than the image: a camera that was bumped", range=(0, 16)
    )
    shared_episodes: int = parameter(
        0, "episodes that the pictures of a batch come from, each picture read and encoded once, however many items it "
        "is part of; 0: each item has pictures of its own", range=(0, 65536),
    )  # fmt: skip
    shared_observations: int = parameter(8, "pictures of each of these episodes (shared_episodes)", range=(2, 1024))


IMAGES = ("image", "next_image", "goal_image")


@dataclass
class Batch:
    """A batch as NumPy arrays; images are uint8 until they are on the device. D: displacements of an action."""

    image: np.ndarray  # uint8 [B, H, W, 3], or observations that are vectors: float32 [B, size]
    next_image: np.ndarray  # the same
    goal_image: np.ndarray  # the same
    state: np.ndarray  # float32 [B, state_dim]
    next_state: np.ndarray  # float32 [B, state_dim]
    action: np.ndarray  # float32 [B, D + 3]
    next_action: np.ndarray  # float32 [B, D + 3], of the data; zeros where the episode ended
    other_actions: np.ndarray  # float32 [B, P, D + 3], what the data did at any other moments
    near_goal: np.ndarray  # bool [B]; at the goal, or so near (near_goal_m) that terminating is no mistake
    steps_to_goal: np.ndarray  # int64 [B]; 0 at the goal, k >= 1 hindsight, -1 random goal (unknown)
    final: np.ndarray  # bool [B], random goals only: last of its sub-trajectory, so chain with next_action
    rewarded: np.ndarray  # bool [B], the task reward counts, the goal image is all zeros
    ended: np.ndarray  # bool [B], rewarded items only: the episode ends here, with
    reward: np.ndarray  # float32 [B], this
    shift: np.ndarray  # int64 [B, 2]; by how many pixels (down, right) the images are still to be shifted
    # Observations [F, ...] that items share (shared.py): then image, next_image and goal_image are its rows, int64 [B].
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    def __len__(self) -> int:
        return len(self.action)


def is_held_out(episode_id: str, share: float) -> bool:
    """Whether an episode belongs to the held-out ones: a function of its name alone."""
    return zlib.crc32(episode_id.encode()) / 2**32 < share


def steps_ahead(uniform: np.ndarray, longest: np.ndarray, mean: float) -> np.ndarray:
    """Steps k in 1 ... `longest` [B] from numbers in [0, 1) [B], by inversion: int64 [B].

    Uniform if `mean` is 0, else geometric, P(k) ~ (1 - 1/mean)^(k-1), cut at `longest` and scaled to sum to one. With a
    discount gamma the field's usual mean is 1 / (1 - gamma).
    """
    if not mean:
        anything: np.ndarray = 1 + (uniform * longest).astype(np.int64)
        return anything
    if mean <= 1:
        return np.ones(len(uniform), np.int64)
    fade = np.log1p(-1 / mean)  # log of the ratio of neighbouring probabilities
    steps = np.ceil(np.log1p(uniform * np.expm1(longest * fade)) / fade).astype(np.int64)
    within: np.ndarray = np.clip(steps, 1, longest)
    return within


class Sampler:
    """Draws batches from a store. Raises AmRosError if the store holds no transition.

    Of `size` processes that share a batch, the one with this `rank` gets every size-th item: together they see exactly
    what one process would. Samplers of other stores draw with another `stream` of random numbers each.
    """

    def __init__(
        self,
        store: ReplayStore,
        config: GoalConfig,
        batch_size: int,
        seed: int,
        rank: int = 0,
        size: int = 1,
        held_out: bool = False,
        stream: int = 0,
    ):
        if len(store) == 0:
            raise AmRosError(f"{store.folder}: the replay store holds no transition to learn from")
        if config.random_share + config.at_goal_share + config.reward_share > 1:
            raise AmRosError("parameters random_share, at_goal_share and reward_share: their sum must not exceed 1")
        if batch_size < size:
            raise AmRosError(f"parameter batch_size: {batch_size} items are too few for {size} processes")
        self.store, self.config, self.batch_size, self.seed = store, config, batch_size, seed
        self.mine = slice(rank, None, size)
        self._stream = (stream,) if stream else ()
        self.gather = Gather()
        self._held_out = held_out
        self._look()

    def _look(self) -> None:
        """Which transitions and observations are drawn from, as the store is now."""
        store, config, held_out = self.store, self.config, self._held_out
        self._revision = -1
        while self._revision != store.revision:  # a shard whose index is damaged is left out while it is read
            self._revision = store.revision
            ids, steps, first = (store.ids() if config.held_out_share or held_out else []), store.steps, store.first
            scenes = config.trial_share and not held_out and (store.seeds, store.summary())  # what TrialEnds will read
        chosen = np.ones(len(steps), bool)
        if config.held_out_share or held_out:
            chosen = np.array([is_held_out(i, config.held_out_share) == held_out for i in ids], bool)
        self._transitions = Spans(first[chosen], steps[chosen])
        self._observations = Spans(first[chosen], steps[chosen] + 1)
        self._pool = ActionPool(len(self._transitions), self._actions, (self.seed, *self._stream))
        if not len(self._transitions):
            what = "held-out episode" if held_out else "episode that is not held out"
            raise AmRosError(f"{store.folder}: holds no {what}; change held_out_share or add episodes")
        # Of two episodes of a scene, one may be held out, and the other not.
        self._trial_ends = TrialEnds(store, chosen) if scenes else None
        self._rewarding = self._transitions
        if config.reward_share and config.reward_task:
            chosen = chosen & store.of_task(config.reward_task)
            self._rewarding = Spans(first[chosen], steps[chosen])
            if not len(self._rewarding):
                raise AmRosError(f"parameter reward_task: {store.folder} holds no episode of {config.reward_task!r}")
        if config.reward_share and not held_out and not (store.outcomes[chosen] == Outcome.SUCCESS).any():
            of_task = f" of {config.reward_task!r}" if config.reward_task else ""
            raise AmRosError(f"{store.folder}: no episode{of_task} is a success, so a task reward teaches nothing")

    def batch(self, step: int, out: np.ndarray | None = None) -> Batch:
        """Batch number `step`: a function of (seed, step), the stream and the store alone.

        `out`: memory for its observations, of `observed_shape` and `observed_dtype`. If a shard turns out to be
        damaged, the store names it, and the batch is drawn from the others.
        """
        while True:
            try:
                if self._revision != self.store.revision:
                    self._look()
                return self._batch(step, out)
            except Damaged:
                if self._revision == self.store.revision:
                    raise

    def _batch(self, step: int, out: np.ndarray | None) -> Batch:
        store, config, size = self.store, self.config, self.batch_size
        rng = np.random.default_rng((self.seed, step, *self._stream))
        place: tuple[np.ndarray, ...] = self._transitions.within(rng.integers(len(self._transitions), size=size))
        kind = rng.random(size)
        limits = np.cumsum([config.random_share, config.at_goal_share, config.reward_share])
        random_goal = kind < limits[0]
        at_goal = (kind >= limits[0]) & (kind < limits[1])
        rewarded = (kind >= limits[1]) & (kind < limits[2])
        if config.reward_share:
            rewarding = self._rewarding.within(rng.integers(len(self._rewarding), size=size))
            place = tuple(np.where(rewarded, *both) for both in zip(rewarding, place, strict=True))
        else:
            rng.integers(len(self._rewarding), size=size)  # so that a batch is the batch that it always was
        row, first, last = place  # episodes from first to last observation
        cut = row + steps_ahead(rng.random(size), last - row, config.hindsight_steps)
        anything = self._observations.rows(rng.integers(len(self._observations), size=size))
        goal = np.where(random_goal, anything, cut)
        shifts = rng.integers(0, 2 * config.random_shift_px + 1, size=(2, size))
        others = rng.integers(self._pool.size, size=(size, config.other_actions))
        offset = rng.integers(-NEAR_STEPS, NEAR_STEPS + 1, size=size)
        stop, half = rewarded & (rng.random(size) < config.stop_share), rng.random(size) < 0.5
        if config.same_scene_share:
            own = first + (rng.random(size) * (last + 1 - first)).astype(np.int64)
            goal = np.where(random_goal & (rng.random(size) < config.same_scene_share), own, goal)
        alike = np.zeros(size, bool)
        if config.alike_share:
            asked = np.flatnonzero(random_goal & (rng.random(size) < config.alike_share))
            alike[asked], goal[asked] = self._alike(row[asked], goal[asked], rng)
        won = np.zeros(size, bool)
        if self._trial_ends:
            asked = np.flatnonzero(random_goal & ~alike & (rng.random(size) < config.trial_share))
            row[asked], goal[asked], won[asked] = self._trial_ends.draw(len(asked), rng)
            alike[asked] = True
        mine = (row, first, last, cut, goal, random_goal, alike, won, at_goal, rewarded, others, stop, half, offset)
        row, first, last, cut, goal, random_goal, alike, won, at_goal, rewarded, others, stop, half, offset = map(
            self._my_share, mine
        )
        beside = np.clip(row + offset, first, last)
        begin, row = row, np.where(stop & half, last, row)
        terminates = at_goal | stop | alike
        following = row + ~terminates  # terminate moves nothing
        # One question to the store in place of three: with many shards each costs a search of its own.
        several = [beside, goal, row, following] + ([begin] if stop.any() else [])
        there, wanted, now, then, *others_begin = store.records(np.stack(several))
        start = others_begin[0] if others_begin else now
        is_beside, is_near = self._near(begin, start, beside, there), self._near(begin, start, goal, wanted)
        goal = np.where(at_goal, np.where(is_beside, beside, begin), goal)
        near = at_goal | won | (~rewarded & is_near)
        action = now["action"].copy()
        action[terminates] = np.eye(store.action_dim, dtype=np.float32)[-1]
        shift = (shifts[:, self.mine].T - config.random_shift_px) * store.has_images
        seen = self._observed(np.stack([row, following, goal]), shift, rng, out)
        image, next_image, goal_image = seen
        goal_image[rewarded] = 0
        success = now["success"]
        steps = np.where(random_goal, -1, np.where(at_goal, 0, goal - row))
        steps[rewarded] = np.where(success, last - row, -1)[rewarded]
        steps[stop], steps[won] = -1, 0
        ended = stop | (rewarded & (following == last))
        return Batch(
            image=image,
            next_image=next_image,
            goal_image=goal_image,
            state=now["state"].copy(),
            next_state=then["state"].copy(),
            action=action,
            next_action=then["action"].copy(),
            other_actions=self._pool.take(step, others),
            near_goal=near,
            steps_to_goal=steps,
            final=random_goal & ~alike & (cut == row + 1) & (following < last),
            rewarded=rewarded,
            ended=ended,
            reward=(ended & success & (following == last)).astype(np.float32),
            shift=shift * (not self._shifts_here),
        )

    def _alike(self, rows: np.ndarray, goals: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For rows [n] whether there is a look-alike, bool [n], and goals [n]: those, or the given ones.

        Half of the candidates are any observations, half the last ones of episodes: those of a goal that was reached.
        """
        some = self._observations.within(rng.integers(len(self._observations), size=CANDIDATES))
        candidates = np.where(np.arange(CANDIDATES) % 2, some[0], some[2] - 1)
        found, alike = look_alikes(self.store, rows, candidates, 2 * self.config.near_goal_m)
        return alike, np.where(alike, found, goals)

    def _actions(self, numbers: np.ndarray) -> np.ndarray:
        """Actions of transitions by their numbers among those that are drawn from: float32 [n, D + 3]."""
        actions: np.ndarray = self.store.records(self._transitions.rows(numbers))["action"].copy()
        return actions

    def _my_share(self, drawn: np.ndarray) -> np.ndarray:
        """The part of this process of what was drawn for the whole batch."""
        part: np.ndarray = drawn[self.mine]
        return part

    def near(self, rows: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Whether the tool is at rows [...] about where it is at `goals` [...], within two steps: bool [...].

        Nothing but the tool moves by itself, so what was between is the same. Without proprioception only a row itself
        is near it.
        """
        return self._near(rows, self.store.records(rows), goals, self.store.records(goals))

    def _near(self, rows: np.ndarray, here: np.ndarray, goals: np.ndarray, there: np.ndarray) -> np.ndarray:
        """As `near`, of rows and goals whose records are known."""
        a, moved = here["state"], here["state"] - there["state"]
        moved_m = np.linalg.norm(moved[..., POSITION], axis=-1)
        turned = np.abs(moved[..., TURNED]).max(axis=-1)
        near: np.ndarray = (np.abs(goals - rows) <= NEAR_STEPS) & (rows - here["before"] == goals - there["before"])
        near &= (moved_m < self.config.near_goal_m) & (turned < 0.1) & a.any(axis=-1)
        near |= rows == goals
        return near

    @property
    def observed_shape(self) -> tuple[int, ...]:
        """Of what `batch` fills: observation, next one and goal of each item [3, B, ...]."""
        return 3, len(range(self.batch_size)[self.mine]), *self.store.observation_shape

    @property
    def observed_dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.store.has_images else np.float32)

    @property
    def _shifts_here(self) -> bool:
        """Whether shifts are done while observations are copied: what comes after them cannot be done before."""
        config = self.config
        return self.gather.shifts or bool(self.store.has_images and (config.noise_levels or config.camera_shift_px))

    def _observed(
        self, rows: np.ndarray, shift: np.ndarray, rng: np.random.Generator, out: np.ndarray | None
    ) -> np.ndarray:
        """Observations of rows [3, B]: [3, B, ...]; the images of item b are shifted by shift[b] (down, right).

        Light, noise and a bumped camera are drawn last, so that a batch without is the batch that it was. An item has
        two lights and two poses of the camera: the scene's and the goal's.
        """
        config, size = self.config, self.batch_size
        out = np.empty(self.observed_shape, self.observed_dtype) if out is None else out
        whole = out.reshape(-1, *out.shape[2:])
        shifts = np.tile(shift, (3, 1, 1))
        if config.camera_shift_px and self.store.has_images:
            most = config.camera_shift_px
            shifts[2] += rng.integers(-most, most + 1, (size, 2))[self.mine]
        shifted = self._shifts_here and shifts.any()
        self.gather(self.store.observations, rows.ravel(), whole, shifts.reshape(-1, 2) if shifted else None)
        if config.photometric and self.store.has_images:
            tables = light_tables(rng, 2 * size, config.photometric).reshape(2, size, 3, 256)[:, self.mine]
            for images, lights in zip(out, tables[[0, 0, 1]], strict=True):
                light(images, lights)
        if config.noise_levels and self.store.has_images:
            for images, places in zip(out, rng.random((3, size))[:, self.mine], strict=True):
                add_noise(images, config.noise_levels, places)
        return out
