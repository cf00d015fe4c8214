"""Batches whose items share pictures: each picture is read and encoded once, and teaches several items.

A batch looks at `shared_observations` pictures of each of `shared_episodes` episodes. An item is one of these and the
step that the data took there, with a goal among them: a later picture of the episode (hindsight), a picture of another
episode (random), or a picture of its own (at the goal, or a look-alike of it); an item of a trial has both to itself.
So 128 pictures make as many items as one likes, and without sharing 64. What differs: the states and goals of a batch
are fewer than its items.
"""

import numpy as np

from am_ros.errors import AmRosError
from am_ros.replay.light import add_noise, light, light_tables
from am_ros.replay.sampling import NEAR_STEPS, Batch, GoalConfig, Sampler, steps_ahead
from am_ros.replay.store import ReplayStore


def make_sampler(
    store: ReplayStore, config: GoalConfig, batch_size: int, seed: int, rank: int = 0, size: int = 1, stream: int = 0
) -> Sampler:
    """What draws batches as `config` says; the arguments are those of Sampler."""
    kind = SharedSampler if config.shared_episodes else Sampler
    return kind(store, config, batch_size, seed, rank, size, stream=stream)


class SharedSampler(Sampler):
    """As Sampler; the fields image, next_image and goal_image are rows int64 [B] of `frames` uint8 [F, H, W, 3].

    Raises AmRosError where the configuration asks for items that cannot share pictures.
    """

    def __init__(
        self, store: ReplayStore, config: GoalConfig, batch_size: int, seed: int, rank: int = 0, size: int = 1,
        stream: int = 0,
    ):  # fmt: skip
        if config.shared_episodes < 2:
            raise AmRosError("parameter shared_episodes: random goals come from another episode, so give 2 or more")
        if config.reward_share:
            raise AmRosError("parameter reward_share: such items share no pictures; set shared_episodes to 0")
        super().__init__(store, config, batch_size, seed, rank, size, stream=stream)
        self._at_goal = round(config.at_goal_share * batch_size)
        self._random = round(config.random_share * batch_size)
        self._alikes = round(config.alike_share * self._random)
        self._trials = round(config.trial_share * (self._random - self._alikes)) if self._trial_ends else 0
        self._own = config.shared_observations
        # Processes that share a batch have every size-th episode each: a goal of another episode is one of those, too.
        self._stride = next(s for s in (4, 2, 1) if config.shared_episodes % s == 0 and config.shared_episodes > s)

    def _batch(self, step: int, out: np.ndarray | None) -> Batch:
        store, config, size, own = self.store, self.config, self.batch_size, self._own
        episodes = config.shared_episodes
        rng = np.random.default_rng((self.seed, step, *self._stream))
        _, first, last = self._transitions.within(rng.integers(len(self._transitions), size=episodes))
        begin, length = self._looked_at(first, last + 1 - first, rng)
        seen = begin[:, None] + _one_of_each_part(length, own, rng)  # rows of the store
        following = np.minimum(seen + 1, last[:, None])
        episode = np.arange(size) % episodes
        first, last = first[episode], last[episode]
        # What is seen last is only a goal; the first one of two or more is never that.
        which = (rng.random(size) * (seen < seen[:, -1:]).sum(axis=1)[episode]).astype(np.int64)
        row = seen[episode, which]
        order = rng.permutation(size)
        at_goal, random_goal = order < self._at_goal, order >= size - self._random
        later = self._later(row, seen[episode], rng.random(size))
        other = (episode + self._stride * rng.integers(1, episodes // self._stride, size=size)) % episodes
        other = np.where(rng.random(size) < config.same_scene_share, episode, other)
        anything = rng.integers(own, size=size)
        beside = np.clip(row + rng.integers(-NEAR_STEPS, NEAR_STEPS + 1, size=size), first, last)
        beside = np.where(self.near(row, beside), beside, row)
        cut = row + steps_ahead(rng.random(size), last - row, config.hindsight_steps)
        others = rng.integers(self._pool.size, size=(size, config.other_actions))

        asked = order >= size - self._alikes
        found, wanted = self._alike(row[asked], row[asked], rng) if self._alikes else (asked[:0], row[:0])
        alike = asked.copy()
        alike[asked] = found
        of_trial, won = (order >= size - self._alikes - self._trials) & ~asked, np.zeros(size, bool)
        trial, aim = row[:0], row[:0]
        if self._trial_ends:
            trial, aim, won[of_trial] = self._trial_ends.draw(self._trials, rng)
            row[of_trial], alike[of_trial] = trial, True

        # Rows of the store in the order of the frames: what is seen, what follows it, and pictures of their own for
        # goals that are reached, or look as if they were.
        rows = np.concatenate([seen.ravel(), following.ravel(), beside[at_goal], wanted, trial, aim])
        image = episode * own + which
        goal = np.where(random_goal, other * own + anything, episode * own + later)
        goal[at_goal] = 2 * seen.size + np.arange(self._at_goal)
        goal[asked & alike] = 2 * seen.size + self._at_goal + np.flatnonzero(found)
        image[of_trial] = len(rows) - 2 * self._trials + np.arange(self._trials)
        goal[of_trial] = len(rows) - self._trials + np.arange(self._trials)
        next_image = np.where(at_goal | alike, image, seen.size + image)  # terminate moves nothing
        drawn = (image, next_image, goal, row, last, cut, at_goal, random_goal, alike, won, others)
        image, next_image, goal, row, last, cut, at_goal, random_goal, alike, won, others = map(self._my_share, drawn)
        used, places = np.unique(np.stack([image, next_image, goal]), return_inverse=True)
        image, next_image, goal_image = places.reshape(3, -1).astype(np.int64)
        terminates = at_goal | alike
        goal_row, next_row = rows[goal], row + ~terminates
        now, then = store.records(np.stack([row, next_row]))
        action = now["action"].copy()
        action[terminates] = np.eye(store.action_dim, dtype=np.float32)[-1]
        nothing = np.zeros(len(row), bool)
        return Batch(
            image=image,
            next_image=next_image,
            goal_image=goal_image,
            state=now["state"].copy(),
            next_state=then["state"].copy(),
            action=action,
            next_action=then["action"].copy(),
            other_actions=self._pool.take(step, others),
            near_goal=at_goal | won | self.near(row, goal_row),
            steps_to_goal=np.where(at_goal | won, 0, np.where(random_goal, -1, goal_row - row)),
            final=random_goal & ~alike & (cut == row + 1) & (next_row < last),
            rewarded=nothing,
            ended=nothing,
            reward=nothing.astype(np.float32),
            shift=np.zeros((len(row), 2), np.int64),
            frames=self._frames(rows, used, rng, out),
        )

    def _later(self, row: np.ndarray, seen: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Which of the pictures seen [B, P] of its episode is the goal of each row [B]: one behind it, int64 [B].

        Uniform among them, or geometric in the number of steps (hindsight_steps).
        """
        ahead = seen - row[:, None]
        mean = self.config.hindsight_steps
        fade = max(0.0, 1 - 1 / mean) if mean else 1.0
        nearest = np.where(ahead > 0, ahead, np.iinfo(np.int64).max).min(axis=1, keepdims=True)
        up_to = np.cumsum(np.where(ahead > 0, fade ** np.maximum(ahead - nearest, 0.0), 0.0), axis=1)
        found: np.ndarray = np.minimum((up_to <= (uniform * up_to[:, -1])[:, None]).sum(axis=1), seen.shape[1] - 1)
        return found

    def _looked_at(
        self, first: np.ndarray, length: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of episodes [E] the run of observations that pictures come from, first row and length: all of it, or with
        hindsight_steps a part so long that goals at that distance are among a few pictures."""
        if not self.config.hindsight_steps:
            return first, length
        part = np.minimum(length, 2 + int(3 * self.config.hindsight_steps))
        return first + (rng.random(len(first)) * (length - part + 1)).astype(np.int64), part

    @property
    def observed_shape(self) -> tuple[int, ...]:
        """Of what `batch` fills: its frames, [F, ...], and no batch has more."""
        own = self._at_goal + self._alikes + 2 * self._trials
        return 2 * self.config.shared_episodes * self._own + own, *self.store.observation_shape

    def _frames(
        self, rows: np.ndarray, used: np.ndarray, rng: np.random.Generator, out: np.ndarray | None
    ) -> np.ndarray:
        """Observations of rows[used]. All are shifted alike, so that no shift says which goals are of another episode;
        light, noise and a bumped camera are each picture's own."""
        config = self.config
        out = np.empty(self.observed_shape, self.observed_dtype) if out is None else out
        frames = out[: len(used)]
        if not self.store.has_images:
            self.gather(self.store.observations, rows[used], frames)
            return frames
        most, bumped = config.random_shift_px, config.camera_shift_px
        shifts = np.tile(rng.integers(-most, most + 1, size=2), (len(rows), 1))
        shifts += rng.integers(-(bumped // 2), bumped - bumped // 2 + 1, size=(len(rows), 2))
        self.gather(self.store.observations, rows[used], frames, shifts[used] if shifts.any() else None)
        if config.photometric:
            light(frames, light_tables(rng, len(rows), config.photometric)[used])
        if config.noise_levels:
            add_noise(frames, config.noise_levels, rng.random(len(rows))[used])
        return frames


def _one_of_each_part(lengths: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """For runs of lengths [E], cut into `count` parts each, a number of each part: increasing, int64 [E, count].

    Where a run is shorter than that, some numbers occur twice; the first is below the last in every run of two or more.
    """
    edges = np.arange(count + 1) * lengths[:, None] // count
    sizes = np.maximum(1, np.diff(edges))
    found: np.ndarray = edges[:, :-1] + (rng.random(sizes.shape) * sizes).astype(np.int64)
    return found
