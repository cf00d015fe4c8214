"""The replay store and the relabelling of its transitions."""

import numpy as np
import pytest
from learning_data import random_episodes

from am_ros.action import TERMINATE
from am_ros.errors import AmRosError
from am_ros.replay.alike import POSITION
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore


@pytest.fixture
def store(tmp_path):
    store = ReplayStore.create(tmp_path / "store", (16, 16))
    store.append(random_episodes(20, steps=6, size=16))
    return store


def test_a_store_gives_back_what_went_in(tmp_path):
    episodes = random_episodes(3, steps=4, size=16)
    ReplayStore.create(tmp_path / "s", (16, 16)).append(episodes)
    store = ReplayStore.open(tmp_path / "s")
    assert len(store) == 12 and store.rows == 15
    np.testing.assert_array_equal(store.observations[5:10], episodes[1].images)
    np.testing.assert_array_equal(store.states[10:15], episodes[2].states)
    np.testing.assert_array_equal(store.actions[5:9], episodes[1].actions)
    assert (store.actions[9] == 0).all()


def test_an_episode_is_stored_once(store):
    assert store.append(random_episodes(20, steps=6, size=16)) == 0
    assert len(store.episodes) == 20


def test_rows_of_a_killed_writer_are_cut_off(store):
    for column in ("observations", "rows", "steps"):  # written, and not committed
        with (store.folder / "shard_000000" / f"{column}.npy").open("ab") as file:
            file.write(b"half a row, and more")
    reopened = ReplayStore.open(store.folder)
    assert len(reopened.episodes) == 20
    new = random_episodes(21, steps=6, size=16)[20:]
    assert reopened.append(new) == 1
    again = ReplayStore.open(store.folder)
    np.testing.assert_array_equal(again.observations[-7:], new[0].images)


def test_a_shard_shorter_than_it_says_is_named_and_left_out(store, caplog):
    path = store.folder / "shard_000000" / "rows.npy"
    path.write_bytes(path.read_bytes()[:-4])
    assert len(ReplayStore.open(store.folder)) == 0
    assert "rows.npy: is shorter" in caplog.text


def test_an_image_of_another_size_is_refused_by_name(store):
    with pytest.raises(AmRosError, match="episode 'e0_s32'.*\\(32, 32\\)"):
        store.append(random_episodes(1, steps=2, size=32))
    assert len(store.episodes) == 20


def test_the_data_hash_does_not_depend_on_the_order(tmp_path):
    episodes = random_episodes(4, steps=3, size=16)
    one, two = (ReplayStore.create(tmp_path / n, (16, 16)) for n in "ab")
    one.append(episodes)
    two.append(episodes[::-1])
    assert one.data_hash == two.data_hash
    two.append(random_episodes(5, steps=3, size=16)[4:])
    assert one.data_hash != two.data_hash


def _find_row(store, image):
    return int(np.flatnonzero((store.observations == image).all(axis=(1, 2, 3)))[0])


def test_goals_are_what_their_label_says(store):
    config = GoalConfig(random_share=0.4, at_goal_share=0.2, random_shift_px=0)
    batch = Sampler(store, config, 400, seed=3).batch(0)
    shares = {"random": 0, "at": 0, "hindsight": 0}
    for i in range(len(batch)):
        row, goal = _find_row(store, batch.image[i]), _find_row(store, batch.goal_image[i])
        steps = batch.steps_to_goal[i]
        if steps == 0:
            shares["at"] += 1
            assert goal == row and batch.action[i, TERMINATE] == 1
            np.testing.assert_array_equal(batch.next_image[i], batch.image[i])
            continue
        assert _find_row(store, batch.next_image[i]) == row + 1
        np.testing.assert_array_equal(batch.action[i], store.actions[row])
        if steps > 0:
            shares["hindsight"] += 1
            assert goal == row + steps and goal <= store.last_row[row]
            assert not batch.final[i]
        else:
            shares["random"] += 1
            if batch.final[i]:
                np.testing.assert_array_equal(batch.next_action[i], store.actions[row + 1])
    assert 0.3 < shares["random"] / 400 < 0.5 and 0.12 < shares["at"] / 400 < 0.28
    assert batch.final.any()


def _moves_of(folder, x_m, opening):
    """A store of one episode along x, with a gripper."""
    states = np.zeros((len(x_m), 6), np.float32)
    states[:, 0], states[:, 2], states[:, 5] = opening, x_m, 1
    ends = np.arange(len(x_m)) == len(x_m) - 1
    return ReplayStore.from_arrays(
        folder, np.arange(len(x_m), dtype=np.float32)[:, None], np.zeros((len(x_m), 4), np.float32), ends, states=states
    )


def test_the_goal_of_an_item_at_its_goal_may_be_another_moment_in_which_the_tool_is_there(tmp_path):
    x_m, opening = [0.40, 0.41, 0.42, 0.43, 0.43, 0.60], [1, 1, 1, 1, 0, 0]
    store = _moves_of(tmp_path / "store", x_m, opening)
    batch = Sampler(store, GoalConfig(random_share=0, at_goal_share=0.5, near_goal_m=0.025), 400, seed=0).batch(0)
    at = batch.steps_to_goal == 0
    pairs = set(zip(batch.image[at, 0].astype(int).tolist(), batch.goal_image[at, 0].astype(int).tolist()))
    near = {(a, b) for a in range(3) for b in range(4) if abs(a - b) <= 2} | {(3, b) for b in (1, 2, 3)} | {(4, 4)}
    assert pairs == near  # not from the open gripper to the closed one, not to where the tool is elsewhere
    assert (batch.action[at, TERMINATE] == 1).all() and batch.near_goal[at].all()
    later = ~at
    expected = [(a, b) in near for a, b in zip(batch.image[later, 0], batch.goal_image[later, 0])]
    assert batch.near_goal[later].tolist() == expected and any(expected) and not all(expected)


def test_without_proprioception_only_the_same_moment_is_at_the_goal(tmp_path):
    observations = np.arange(6, dtype=np.float32)[:, None]
    store = ReplayStore.from_arrays(tmp_path / "s", observations, np.zeros((6, 2), np.float32), np.arange(6) == 5)
    batch = Sampler(store, GoalConfig(random_share=0, at_goal_share=0.5), 100, seed=0).batch(0)
    np.testing.assert_array_equal(batch.near_goal, batch.steps_to_goal == 0)
    np.testing.assert_array_equal(batch.image[batch.near_goal], batch.goal_image[batch.near_goal])


def test_a_batch_is_a_function_of_seed_and_step(store):
    sampler = Sampler(store, GoalConfig(), 32, seed=7)
    first, later = sampler.batch(5), sampler.batch(6)
    again = Sampler(store, GoalConfig(), 32, seed=7).batch(5)
    np.testing.assert_array_equal(first.goal_image, again.goal_image)
    assert not np.array_equal(first.action, later.action)


def test_image_and_goal_are_shifted_alike(store):
    """An item at its goal sees the same pixels twice, whatever the shift."""
    batch = Sampler(store, GoalConfig(random_share=0, at_goal_share=0.5, random_shift_px=3), 64, seed=1).batch(0)
    at = batch.steps_to_goal == 0
    np.testing.assert_array_equal(batch.image[at], batch.goal_image[at])
    assert at.any()


def test_an_empty_store_is_refused(tmp_path):
    store = ReplayStore.create(tmp_path / "empty", (16, 16))
    with pytest.raises(AmRosError, match="holds no transition"):
        Sampler(store, GoalConfig(), 4, seed=0)


def test_a_look_alike_is_another_episodes_and_terminating_there_is_worth_nothing(tmp_path):
    """Two tools on the same line, in episodes with other pictures."""
    count, steps = 40, 5
    states = np.zeros((count * (steps + 1), 6), np.float32)
    states[:, POSITION[0]] = np.tile(np.arange(steps + 1) / 10, count)
    states[:, POSITION[1]] = 0.01 * np.repeat(np.arange(count) % 3, steps + 1)
    observations = np.arange(len(states), dtype=np.float32)[:, None]
    ends = np.arange(len(states)) % (steps + 1) == steps
    store = ReplayStore.from_arrays(tmp_path / "s", observations, np.full((len(states), 4), 0.1), ends, states=states)
    config = GoalConfig(random_share=0.5, alike_share=0.5, at_goal_share=0.1, near_goal_m=0.015)
    batch = Sampler(store, config, 1000, seed=0).batch(0)
    alike = (batch.steps_to_goal == -1) & (batch.action[:, -1] > 0.5)
    assert 0.2 < alike.mean() < 0.3 and not batch.final[alike].any() and not batch.near_goal[alike].any()
    rows, goals = (x[alike, 0].astype(int) for x in (batch.image, batch.goal_image))
    assert (rows // (steps + 1) != goals // (steps + 1)).all()
    assert (np.linalg.norm(states[rows] - states[goals], axis=1) < 0.03).all()
    np.testing.assert_array_equal(batch.image[alike], batch.next_image[alike])
    halves = [Sampler(store, config, 1000, seed=0, rank=rank, size=2).batch(0) for rank in range(2)]
    np.testing.assert_array_equal(batch.goal_image[::2], halves[0].goal_image)
    np.testing.assert_array_equal(batch.action[1::2], halves[1].action)


def test_without_proprioception_there_is_no_look_alike(tmp_path):
    store = ReplayStore.from_arrays(
        tmp_path / "s", np.arange(20.0, dtype=np.float32)[:, None], np.full((20, 4), 0.1), np.arange(20) % 5 == 4
    )
    batch = Sampler(store, GoalConfig(random_share=0.5, alike_share=1.0, at_goal_share=0.0), 200, seed=0).batch(0)
    assert not (batch.action[:, -1] > 0.5).any()
