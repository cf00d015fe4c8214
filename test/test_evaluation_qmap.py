"""Pictures of Q: the map peaks where the network wants to go, and lies in the image where the table is."""

import math

import cv2
import numpy as np
import pytest
import torch

from am_ros.action import CLOSE, OPEN, TERMINATE, X, Y
from am_ros.cli import main
from am_ros.errors import AmRosError
from am_ros.evaluation import q_map as module
from am_ros.evaluation.actors import ActorConfig, PolicyActor
from am_ros.evaluation.projection import project
from am_ros.evaluation.q_map import QMapConfig, q_map
from am_ros.evaluation.q_map_picture import draw_look, look_inside
from am_ros.evaluation.trials import run_trial
from am_ros.learning import checkpoint
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import TASKS, draw_scenario, evaluation_seed
from am_ros.sim.workcell import SimConfig

WIDTH = 16
WANTED = (0.4, -0.7)  # displacement that the planted network likes best, in units of the largest step


def save(folder, network, acting=None):
    config = {"network": {"width": WIDTH, "channels": 4, "behaviour_prior": network.config.behaviour_prior}}
    if acting:
        config["acting"] = acting
    space = {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5}
    meta = {"update": 3, "image_size": 64, "action_space": space, "config": config}
    return checkpoint.save(folder, meta, {"model": network.state_dict()})


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A checkpoint whose Q depends on the action alone: highest at WANTED with the gripper closing.

    logit = 3 cos(pi/2 (x - x0)) + 3 cos(pi/2 (y - y0)) + close - 6, written with the features that the network has.
    """
    network = make_network(NetworkConfig(width=WIDTH, channels=4, behaviour_prior=False))
    sine, cosine = 7, 19  # where the first frequency's features of x begin: after the action and its sines
    with torch.no_grad():
        for layer in (network.film[0], network.film[2], network.head[0], network.head[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        for unit, (axis, wanted) in enumerate(zip((X, Y), WANTED, strict=True)):
            network.film[0].weight[unit, sine + axis] = math.sin(math.pi / 2 * wanted)
            network.film[0].weight[unit, cosine + axis] = math.cos(math.pi / 2 * wanted)
        network.film[0].weight[2, CLOSE] = 1
        network.film[2].bias[:WIDTH] = -1  # the image says nothing
        network.film[2].weight[WIDTH, :3] = torch.tensor([3.0, 3.0, 1.0])
        network.head[0].weight[0, 0] = network.head[2].weight[0, 0] = 1
        network.head[2].bias[0] = -6
    return save(tmp_path_factory.mktemp("planted") / "checkpoint", network)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    torch.manual_seed(0)
    network = make_network(NetworkConfig(width=WIDTH, channels=4))
    return save(tmp_path_factory.mktemp("untrained") / "checkpoint", network)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    return *images, np.array([1, 0.2, 0.55, 0.0, 0, 1], np.float32)


def test_the_map_peaks_where_the_network_wants_to_go(planted):
    q = q_map(Policy.load(planted), *inputs())
    assert q.values.shape == (21, 21) and q.by_gripper.shape == (2, 21, 21)
    assert q.peak_m == pytest.approx((0.08 * WANTED[0], 0.08 * WANTED[1]), abs=1e-6)
    assert q.best[[X, Y]] == pytest.approx(WANTED, abs=1e-6) and q.best[CLOSE] == 1
    sigmoid = lambda logit: 1 / (1 + math.exp(-logit))  # noqa: E731
    at_rest = sum(3 * math.cos(math.pi / 2 * w) for w in WANTED) - 6
    expected = {"close": sigmoid(1), "open": sigmoid(0), "terminate": sigmoid(at_rest)}
    assert q.choices == pytest.approx(expected, abs=1e-5)
    assert q.values[0, 20] < q.values[20, 20] < q.values[20, 0]  # it falls off with the distance


def test_every_value_is_the_best_of_the_actions_there(untrained, monkeypatch):
    policy, config = Policy.load(untrained), QMapConfig(grid=3, candidates=4)
    image, goal, state = inputs()
    q = q_map(policy, image, goal, state, config)
    encoding = policy.network.encode(*(torch.as_tensor(a)[None] for a in (image, goal, state)))
    others = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    others[0] = 0
    for k, gripper in enumerate((CLOSE, OPEN)):
        for i, x in enumerate((-1, 0, 1)):
            for j, y in enumerate((-1, 0, 1)):
                scores = []
                for z, yaw in others:
                    action = torch.zeros(1, 1, 7)
                    action[..., :4], action[..., gripper] = torch.tensor([x, y, z, yaw]), 1
                    scores.append(policy.network.score(encoding, action).sigmoid().item())
                assert q.by_gripper[k, i, j] == pytest.approx(max(scores), abs=1e-6)
    monkeypatch.setattr(module, "CHUNK", 5)
    again = q_map(policy, image, goal, state, config)
    assert np.allclose(again.by_gripper, q.by_gripper, atol=1e-6)
    assert not np.allclose(q_map(policy, *inputs(1), config).values, q.values)  # it depends on what is seen


def test_terminate_is_the_best_action_when_it_is_worth_most(planted):
    policy = Policy.load(planted)
    with torch.no_grad():
        policy.network.film[0].weight[3, TERMINATE] = 1
        policy.network.film[2].weight[WIDTH, 3] = 50
    q = q_map(policy, *inputs())
    assert q.best[TERMINATE] == 1 and q.terminate == max(q.choices.values())


def test_what_is_not_a_number_is_a_hole_and_never_wanted(planted, monkeypatch, tmp_path):
    policy = Policy.load(planted)
    score = policy.network.score
    half = lambda encoding, actions: torch.where(actions[..., X] > 0, torch.nan, score(encoding, actions))  # noqa: E731
    monkeypatch.setattr(policy.network, "score", half)
    q = q_map(policy, *inputs())
    assert np.isnan(q.values[11:]).all() and np.isfinite(q.values[:11]).all()
    assert q.peak_m == pytest.approx((0, 0.08 * WANTED[1]), abs=1e-6) and q.best[X] == 0
    assert all(math.isfinite(value) for value in q.choices.values())
    draw_look(look_inside(policy, TASKS["reach"], 0, 1, QMapConfig(grid=5)), tmp_path / "q.png")


def test_points_are_projected_to_where_the_camera_sees_them():
    """Blocks stand where their colour is in the image, with the errors of the camera's pose in each scene."""
    task, config, errors = TASKS["pick_place"], CameraConfig(image_size=256), []
    with Environment(task, SimConfig(camera=config)) as environment:
        for seed in map(evaluation_seed, range(10)):
            picture = environment.reset(seed).image
            block = environment.scene().objects[0]
            appearance = draw_scenario(task, seed).appearance
            seen = centre_of_colour(picture, appearance.colours[block.name])
            errors.append([
                np.linalg.norm(project(np.array(block.pose.position_m), config, look) - seen)
                for look in (appearance, None)
            ])  # fmt: skip
    exact, usual = np.median(errors, axis=0)
    assert exact < 3 and usual > 1.5 * exact  # [px]; the arm hides some of some blocks


def centre_of_colour(picture, colour) -> np.ndarray:
    """Pixel (right, down) in the middle of the largest patch of a colour, whatever the light."""
    pixels = picture.astype(float) / np.linalg.norm(picture, axis=-1, keepdims=True).clip(1e-9)
    mask = (pixels @ (np.array(colour) / np.linalg.norm(colour)) > 0.985).astype(np.uint8)
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask)
    return centres[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]


def test_the_look_inside_is_the_trial_that_is_evaluated(untrained):
    policy, task = Policy.load(untrained), TASKS["reach"]
    look = look_inside(policy, task, 3, task.max_steps, QMapConfig(grid=3, candidates=2))
    actor = PolicyActor(ActorConfig(str(untrained)))
    with Environment(task) as environment:
        trial = run_trial(environment, actor, 3, frames_px=64)
    assert len(look.moments) == trial.steps and look.distance_m == trial.distance_m
    assert all((m.image == f).all() for m, f in zip(look.moments, trial.frames, strict=False))
    assert (look.goal_image == trial.goal_image).all()


def test_the_map_is_drawn_where_its_displacements_lie(planted, tmp_path):
    """Where Q is highest the picture differs most from the bare view, and towards the colour of the highest Q."""
    from am_ros.evaluation.q_map_picture import VIEW_PX, _colours, _overlay

    look = look_inside(Policy.load(planted), TASKS["reach"], 0, 1, QMapConfig())
    (moment,) = look.moments
    x, y = moment.state[2:4]

    def pixels(dx, dy):
        return project(np.array([x + dx, y + dy, 0]), CameraConfig(image_size=VIEW_PX), look.appearance)

    overlay = _overlay(moment, pixels, _colours(moment.q.values))
    drawn = {}
    for name, place in {"wanted": moment.q.peak_m, "opposite": (-0.075, 0.075), "outside": (0.15, 0.15)}.items():
        column, row = np.round(pixels(*place)).astype(int)
        drawn[name] = overlay[row, column] * 255, moment.view[row, column]
    assert np.allclose(*drawn["outside"])
    change = {name: np.abs(np.subtract(*pair)).sum() for name, pair in drawn.items()}
    assert change["wanted"] > 100 and drawn["wanted"][0][0] > drawn["wanted"][0][2] + 60  # yellow
    assert drawn["opposite"][0][2] > drawn["opposite"][0][0]  # blue


@pytest.mark.slow
def test_the_command_draws_the_same_picture_again(untrained, tmp_path):
    pictures = [tmp_path / f"{i}.png" for i in (1, 2)]
    for path in pictures:
        assert main(["qmap", str(untrained), "--task", "reach", "--seed", "4", "--steps", "7", "--grid", "5",
                     "--candidates", "3", "--out", str(path)]) == 0  # fmt: skip
    drawn = cv2.imread(str(pictures[0]))
    assert drawn.shape[0] > 1000 and drawn.std() > 20  # seven moments take two rows
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_a_task_without_goal_image_is_drawn_too(untrained, tmp_path):
    look = look_inside(Policy.load(untrained), TASKS["grasp_milk"], 0, 1, QMapConfig(grid=3, candidates=1))
    assert not look.goal_image.any()
    assert draw_look(look, tmp_path / "q.png").stat().st_size > 10_000


def test_a_cloned_policy_has_no_q_to_look_at(tmp_path):
    network = make_network(NetworkConfig(width=WIDTH, channels=4))
    folder = save(tmp_path / "cloned", network, {"objective": "prior"})
    with pytest.raises(AmRosError, match="has no Q to look at"):
        look_inside(Policy.load(folder), TASKS["reach"], 0, 1, QMapConfig())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task", "nothing"), "task 'nothing': use one of"),
        (("--seed", "-1"), "scene index -1"),
        (("--steps", "0"), "parameter steps: 0 is not a positive number"),
        (("--grid", "1"), "parameter grid: 1 is outside"),
        (("--candidates", "0"), "parameter candidates: 0 is outside"),
        (("--out", "/proc/q.png"), "out /proc/q.png: cannot be written"),
        (("--out", "q.txt"), "out q.txt: must end with one of"),
    ],
)
def test_a_wrong_argument_is_one_sentence(untrained, tmp_path, capsys, arguments, sentence):
    assert main(["qmap", str(untrained), "--out", str(tmp_path / "q.png"), *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said
    assert not (tmp_path / "q.png").exists()
