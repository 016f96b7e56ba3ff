"""What training takes, before anything has been timed."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from statsmodels.stats.power import TTestPower

from tests.tiny import RECIPE, tiny_config, tiny_run
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config, Data, Recipe
from vgg_sweep.plan.runs import plan
from vgg_sweep.sweep.forecast import seeds_note, training_work


def test_net_A_of_the_paper_takes_what_its_layers_say() -> None:
    """7.6 G multiply-adds a forward pass, as widely published for VGG-11; 74 epochs of ILSVRC."""
    config = Config(
        model=load_option("model", "A"),
        train_scale=load_option("train_scale", "256"),
        recipe=Recipe(name="paper"),
        data=Data(name="imagenet", source="imagenet"),
        protocol=load_option("protocol", "single"),
        classes=1000,
        out="/nowhere",
    )
    [said] = training_work(plan([config]))
    total = float(said.split()[2])
    assert total == pytest.approx(3 * 7.61e9 * 74 * 1_281_167, rel=0.02)
    assert "at 1, 10 or 100 TFLOP/s reached, 50 days" in said


def test_a_set_of_unknown_size_has_a_sentence_and_trained_or_short_runs_none(tmp_path: Path) -> None:
    assert training_work(plan([tiny_config(tmp_path)])) == []
    config = tiny_config(tmp_path, recipe=replace(RECIPE, epochs=1e8))
    assert len(training_work(plan([config]))) == 1
    assert training_work(plan([replace(config, data=Data(name="mine", source="folder", root="x"))])) == [
        "How long training takes is known when a run on these images is done; --smoke measures it."
    ]
    [run] = plan([config])
    run.folder.path.mkdir(parents=True)
    run.folder.weights.touch()
    assert training_work([run]) == []


def test_seeds_that_a_difference_of_a_point_takes(tmp_path: Path) -> None:
    """Deviations 1 and 2 over two and three seeds: pooled sqrt((1 + 2 * 4) / 3), of a difference sqrt(2) times that."""
    found = []
    for lr, errors in ((0.01, [10.0, 10 + math.sqrt(2)]), (0.02, [30.0, 28.0, 32.0]), (0.04, [5.0])):
        for seed, error in enumerate(errors):
            run = tiny_run(tmp_path, recipe=replace(RECIPE, lr=lr), seed=seed)
            run.folder.path.mkdir(parents=True)
            run.folder.update_record(val_error=error)
            found.append(run)
    [said] = seeds_note(found)
    expected = math.ceil(TTestPower().solve_power(1 / math.sqrt(2 * 3), None, 0.05, 0.8))
    assert "deviation of 1.7 points" in said and f"a power of 80 % takes {expected} seeds" in said
    assert seeds_note([*found, found[0]]) == [said]  # which lies in two sweeps
    assert seeds_note(found[-1:]) == seeds_note([found[-1], found[-1]]) == []
    found[1].folder.update_record(val_error=10.0)
    assert seeds_note(found[:2]) == []  # two seeds that err alike
