"""A run that takes about a second: the whole line on a few small fractals."""

from dataclasses import replace
from pathlib import Path

from vgg_sweep.config import Config, Data, Fractals, Recipe, load_option
from vgg_sweep.plan import Run, plan

FRACTALS = Fractals(num_classes=3, train_per_class=8, val_per_class=4, side_px=64)
RECIPE = Recipe(
    name="tiny",
    batch_size=7,
    epochs=3.0,
    fine_tune_epochs=1.0,
    lr=0.02,
    fine_tune_lr=0.005,
    dropout=0.5,
    init="he",
    schedule="fractions",
    pixel_max=4.0,
)


def tiny_config(
    tmp_path: Path, model: str = "A", train_scale: str = "256", protocol: str = "single", **settings: object
) -> Config:
    """A configuration at crop 32 and width 1/32; `settings` replace fields of `Config`."""
    config = Config(
        model=load_option("model", model),
        train_scale=load_option("train_scale", train_scale),
        recipe=RECIPE,
        data=Data(name="fractals", source="fractals", fractals=FRACTALS),
        protocol=load_option("protocol", protocol),
        crop=32,
        width=1 / 32,
        out=str(tmp_path / "sweep"),
        cache=str(tmp_path / "cache"),
        device="cpu",
        threads=1,
    )
    return replace(config, **settings)  # type: ignore[arg-type]


def tiny_run(tmp_path: Path, **settings: object) -> Run:
    """The last run of the chain of `tiny_config`."""
    return plan([tiny_config(tmp_path, **settings)])[-1]  # type: ignore[arg-type]
