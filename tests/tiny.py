"""A run that takes about a second: the whole line on a few small fractals."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from vgg_sweep.config.imported import Imported, Preprocessing
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config, Data, Fractals, Model, Recipe
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.nets.initial import draw_weights
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.nets.weights import save_weights
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.folder import RunFolder

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
        precision="fp32",
        layout="channels-last",
    )
    return replace(config, **settings)  # type: ignore[arg-type]


def tiny_run(tmp_path: Path, **settings: object) -> Run:
    """The last run of the chain of `tiny_config`."""
    return plan([tiny_config(tmp_path, **settings)])[-1]  # type: ignore[arg-type]


CLASSES = ["crane", "daisy", "drake", "koala", "wolf", "zebra"]
MEAN_RGB = [0.5, 0.4, 0.3]


IMPORTED = {
    "imported": Imported(sha256="0" * 64, source="oxford"),
    "preprocessing": Preprocessing(name="caffe", channel_order="BGR", mean=[103.939, 116.779, 123.68]),
}
"""The settings of a run that was imported, as BGR; its own weights are RGB."""


def with_batch_norm(model: str) -> Model:
    """A net of the paper with a batch normalisation after every convolution, which only imported nets may have."""
    columns = load_option("model", model).columns
    return Model(f"{model}-BN", [word for each in columns for word in ([each, "BN"] if "conv" in each else [each])])


def random_run(tmp_path: Path, model: str | Model = "D", **settings: object) -> RunFolder:
    """A run of random weights and biases for six classes, as if it had been trained, at crop 64: fc6 sees 2x2."""
    config = replace(tiny_config(tmp_path, warm_start="none", crop=64), **settings)  # type: ignore[arg-type]
    config = replace(config, model=model if isinstance(model, Model) else load_option("model", model))
    run = plan([config])[-1]
    folder = prepare(run)
    net = build_net(config, len(CLASSES))
    generator = torch.Generator().manual_seed(config.seed)
    draw_weights(net, "he", generator)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point() and tensor.dim() == 1:  # biases, and all of a batch normalisation
                tensor.uniform_(0.1, 0.5, generator=generator)
    statistics = Statistics(MEAN_RGB, [1.0, 1.0, 1.0], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    metadata = {
        "classes": json.dumps(CLASSES),
        "statistics": json.dumps(asdict(statistics)),
        "pixel_max": repr(config.recipe.pixel_max),
        "data_fingerprint": "none",
    }
    save_weights(net, folder.weights, metadata)
    if config.imported.sha256 is not None:
        folder.update_record(imported={"file": "vgg16.pth"}, versions={"torch": "2"})
    else:
        folder.update_record(
            steps=12, train_seconds=60.0, device_name="a CPU", precision="fp32", copied=[], versions={"torch": "2"}
        )
    return folder
