"""What training takes, before anything has been timed."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import tiny_config
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config, Data, Recipe
from vgg_sweep.plan.runs import plan
from vgg_sweep.sweep.forecast import training_work


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


def test_a_set_of_unknown_size_and_trained_runs_have_none(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    assert len(training_work(plan([config]))) == 1
    assert training_work(plan([replace(config, data=Data(name="mine", source="folder", root="x"))])) == []
    [run] = plan([config])
    run.folder.path.mkdir(parents=True)
    run.folder.weights.touch()
    assert training_work([run]) == []
