"""The model card of an exported net: what it is, how to use it, how good it is, and where it comes from."""

import csv
import json
import math
import shlex
from dataclasses import asdict
from pathlib import Path

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import counted
from vgg_sweep.exchange.exporting import Exported, To, exported
from vgg_sweep.images.sets.wnids import shown
from vgg_sweep.nets.describe import trained_word
from vgg_sweep.plan import commands
from vgg_sweep.plan.configs import config_in
from vgg_sweep.plan.folders import read_run
from vgg_sweep.plan.runs import Run
from vgg_sweep.predict.trained import TrainedNet, load
from vgg_sweep.protocols.methods import scaled_px
from vgg_sweep.protocols.metrics import Misses, wilson
from vgg_sweep.report.results.errors import ReportedRun, run_scores
from vgg_sweep.report.tables.nets import share
from vgg_sweep.report.tables.table import scale_px
from vgg_sweep.runs.files import write_text
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.train.schedule import DROP_FACTOR
from vgg_sweep.version import __version__

_IMAGENETS = (
    "are for non-commercial research and education (ImageNet's terms of access); whether that binds weights trained on "
    "them is for you to judge."
)
_NONE_STATED = "Its authors state no licence and ask to be cited; the rights in the images are their owners'."
_FLICKRS = "The images are from Flickr, whose terms of use hold for them."
LICENCES = {
    "fractals": "The images are drawn by this program from a formula; nobody else has rights in them.",
    "imagenet": f"The images of ILSVRC {_IMAGENETS}",
    "tiny-imagenet": f"The images are ILSVRC's, made smaller, which {_IMAGENETS}",
    "stl10": f"The images are ImageNet's, made smaller, which {_IMAGENETS}",
    **dict.fromkeys(
        ("imagenette", "imagenette-320", "imagenette-160"), f"The images are of ten classes of ILSVRC and {_IMAGENETS}"
    ),
    **dict.fromkeys(("cifar10", "cifar100", "flowers102"), _NONE_STATED),
    "caltech101": "Caltech distributes the set under CC BY 4.0; its authors found the images by a search engine, and "
    "the rights in them are their owners'.",
    "caltech256": "Its authors found the images by search engines; this program does not know whose they are.",
    **dict.fromkeys(("voc2007", "voc2012", "voc2012-action"), _FLICKRS),
    "food101": "The images are from Foodspotting; its authors allow scientific use alone and refer to the images' "
    "owners for any other.",
    "folder": "This program does not know whose the images are and under which licence: write it here before you pass "
    "the net on.",
}
"""Of the images of each data.source."""


def export(folder: RunFolder, to: To, out: Path | None = None, *, force: bool = False) -> Exported:
    """Write the net of `folder` as `exporting.exported` does, and its model card beside it."""
    with exported(folder, to, out, force=force) as file:
        write_text(file.card, model_card(folder, file))
    return file


def model_card(folder: RunFolder, file: Exported) -> str:
    """The card in Markdown. Raises `RunError` if the run's configuration or posteriors cannot be read."""
    run, loaded = read_run(folder), load(folder.path)
    reported = ReportedRun(folder, config_in(folder.config), str(folder.path.parent))
    classes = "\n".join(f"{index} {shown(name)}" for index, name in enumerate(loaded.classes))
    return f"""# VGG net {run.config.model.name}: {run.id}

A net of Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition (ICLR 2015, arXiv \
1409.1556), made with vgg-sweep.

{_facts(run.config, loaded, file)}

## Use

{_use(loaded, file)}

## Errors

{_errors(reported)}

## Training

{_training(run, reported)}

## Data

{_data(run.config, loaded)}

## Made with

{_made_with(run.config, reported, file)}

## Classes

```text
{classes}
```
"""


def _facts(config: Config, loaded: TrainedNet, file: Exported) -> str:
    num_params = sum(parameter.numel() for parameter in loaded.net.parameters())
    *words, last = [layer.word for layer in loaded.net.layers]
    words = [*(trained_word(word, config.width) for word in words), last]
    agreement = f"its log-posteriors in {file.to} are within {file.difference:.0e} (relative) of vgg-sweep's"
    return _table(
        ("", ""),
        ("file", f"`{file.file.name}`, for {file.to}, {file.num_bytes / 1e6:.1f} MB"),
        ("SHA-256", f"`{file.sha256}`"),
        ("net", f"{config.model.name}: {', '.join(words)}"),
        ("size", f"crop {config.crop} px, width {share(config.width)}, {num_params:,} parameters"),
        ("agreement", agreement),
    )


def _use(loaded: TrainedNet, file: Exported) -> str:
    Q_px, crop, example = loaded.test_scale_px, loaded.config.crop, "\n".join(file.example)
    crops = f"""
left, top = (image.width - {crop}) // 2, (image.height - {crop}) // 2
image = image.crop((left, top, left + {crop}, top + {crop}))  # the net sees {crop} px here"""
    return f"""```python
import numpy as np
from PIL import Image

image = Image.open("image.jpg").convert("RGB")
size = [round(side * {Q_px} / min(image.size)) for side in image.size]  # the smallest side becomes Q
image = image.resize(size, Image.Resampling.{loaded.preprocessing.interpolation.upper()})\
{"" if file.sees_larger else crops}
pixels_NCHW = np.array(image).transpose(2, 0, 1)[None]

{example}
```

That is one view of the image: {"the whole, unflipped" if file.sees_larger else "the centre crop"}. The columns of \
`posteriors_NK` are the classes at the end of this card."""


def _errors(run: ReportedRun) -> str:
    if not run.is_scored:
        return f"Not measured. `{run.posteriors.redo}` measures them."
    scores = run_scores(run)
    rows = [
        (score.method, ", ".join(map(str, score.test_scales)), *_error(score.top1), *_error(score.top5))
        for score in scores
    ]
    images = f"{scores[0].top1.num_images} validation images of {run.config['data']['name']}"
    return f"""In percent of the {images}, with 95 % intervals (Wilson). Posteriors are averaged over the image and \
its flip, and over the Q given.

{_table(("method", "Q, px", "top-1", "95 %", "top-5", "95 %"), *rows)}"""


def _error(misses: Misses | None) -> tuple[str, str]:
    if misses is None:
        return "-", "-"
    low, high = wilson(misses.error, misses.num_images)
    return f"{misses.error:.1f}", f"{low:.1f}–{high:.1f}"


def _training(run: Run, reported: ReportedRun) -> str:
    config, recipe, imported = run.config, run.config.recipe, run.config.imported
    if imported.sha256 is not None:
        return f"Not trained here: imported from a file of {imported.source} with SHA-256 `{imported.sha256}`."
    parents: list[str] = []
    parent = run.parent
    while parent is not None:
        parents.insert(0, f"`{parent.id}`")
        parent = parent.parent
    smallest, largest = (scaled_px(S, config.crop) for S in config.train_scale.S)
    rows = [
        ("S, px", scale_px((smallest, largest))),
        ("started from", " -> ".join(parents) or f"random weights ({recipe.init})"),
        ("rate", f"{run.lr:g}, {recipe.schedule}{_drops(run)}"),
        ("momentum, weight decay, dropout", f"{recipe.momentum:g}, {recipe.weight_decay:g}, {recipe.dropout:g}"),
        ("seed", str(config.seed)),
    ]
    if record := reported.record:  # which may have been damaged, and be gone
        rows += [
            ("layers copied", ", ".join(record["copied"]) or "none"),
            ("length", f"{record['steps']} steps of {recipe.batch_size} images, at most {run.epochs:g} epochs"),
            ("where", f"{record['device_name']}, {record['precision']}, {record['train_seconds'] / 60:.1f} min"),
        ]
    return _table(("", ""), *rows)


def _drops(run: Run) -> str:
    """How often the rate fell, by its last value in metrics.csv; nothing of one that falls with every step."""
    folder = run.folder
    if run.config.recipe.schedule == "cosine" or not folder.metrics.exists():
        return ""
    folder.check_metrics()
    with open(folder.metrics, encoding="utf-8", newline="") as file:
        *_, last = run.lr, *(float(row["lr"]) for row in csv.DictReader(file) if row.get("lr"))
    return f", {counted(round(math.log(run.lr / last, DROP_FACTOR)), 'drop')} in training"


def _data(config: Config, loaded: TrainedNet) -> str:
    own = loaded.preprocessing
    mean, std = (", ".join(f"{value:.6g}" for value in each) for each in (own.mean, own.std))
    return _table(
        ("", ""),
        ("set", f"{config.data.name}, {len(loaded.classes)} classes"),
        ("licence", LICENCES[config.data.source]),
        ("rescaling", f"the smallest side to Q, {own.interpolation}, with antialiasing"),
        ("pixels", f"RGB, 0 to {own.pixel_max:g}, minus {mean}, divided by {std}"),
    )


def _made_with(config: Config, reported: ReportedRun, file: Exported) -> str:
    record = reported.record
    if config.imported.sha256 is not None:
        origin = ("import", record.get("imported", {}).get("file", "FILE"), *_preprocessing(config))
    else:
        own = (f"model={config.model.name}", f"train_scale={config.train_scale.name}", f"seed={config.seed}")
        origin = ("train", *own, *reported.overrides)
    versions = {"vgg-sweep": __version__} | record.get("versions", {})
    commit = f"; commit {record['commit']}" if record.get("commit") else ""
    return f"""```shell
{commands.command(*origin)}
{shlex.join(["vgg-sweep", "export", str(reported.folder.path), "--to", file.to, "--out", str(file.file)])}
```

{", ".join(f"{name} {version}" for name, version in versions.items())}{commit}."""


def _preprocessing(config: Config) -> list[str]:
    """The overrides that give an imported net its preprocessing; none where its file has a tag that says it."""
    own, default = config.preprocessing, Preprocessing()
    if config.imported.source == "vgg-sweep":
        return []
    if own.name != default.name:
        return [f"preprocessing={own.name}"]
    changed = {name: value for name, value in asdict(own).items() if value != getattr(default, name)}
    return [f"preprocessing.{name}={json.dumps(value, separators=(',', ':'))}" for name, value in changed.items()]


def _table(head: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
