"""One checkpoint judged as it acts, by its Q alone and by its cloning head alone."""

from am_ros.commands.demo import Demo, DemoConfig
from am_ros.evaluation.ways import AS_IT_ACTS, HEAD_ALONE, Q_ALONE, ways_to_act
from am_ros.learning.recipes import find_recipe
from am_ros.pretrained import find_checkpoint


def _ways(recipe):
    config = find_recipe(recipe)
    return ways_to_act(config.acting, config.method.method, config.network.behaviour_prior)


def test_a_recipe_is_judged_by_the_ways_in_which_it_can_act():
    assert list(_ways("best")) == [AS_IT_ACTS, Q_ALONE, HEAD_ALONE]
    assert list(_ways("q_alone")) == [AS_IT_ACTS]  # which is Q alone already
    assert list(_ways("gcbc")) == [AS_IT_ACTS]
    assert list(_ways("chaining")) == [AS_IT_ACTS, HEAD_ALONE]  # it acts by Q alone, and has a head


def test_the_demo_learns_what_can_act_by_q_and_by_its_head_apart():
    assert list(_ways(DemoConfig().recipe)) == [AS_IT_ACTS, Q_ALONE, HEAD_ALONE]


def test_the_demo_tells_what_the_model_and_its_head_reach_apart(tmp_path, capsys):
    config = DemoConfig(pick_place_trials=0, offline_trials=1, workers=1)  # reach alone: ten steps
    demo = Demo(tmp_path, config)
    demo.checkpoint = find_checkpoint("pick_place")
    offline = demo.compare()["offline"]
    assert (offline["task"], offline["first_scene"]) == ("reach", 1000)
    assert [offline[way]["trials"] for way in (AS_IT_ACTS, HEAD_ALONE)] == [1, 1]
    printed = capsys.readouterr().out
    assert "the model" in printed and "its head alone" in printed


def test_the_demo_without_further_trials_says_nothing_of_them(tmp_path):
    assert Demo(tmp_path, DemoConfig(offline_trials=0)).compare() == {}
