"""`vgg-sweep import`: published weights become a run like any other, with all that belongs to them.

Preprocessing, rounding of pooled sizes, order of the classes and training scale are not part of a weights file. They
are known if the file's maker is; otherwise the command asks for an option.
"""

import codecs
import hashlib
import json
import math
from collections.abc import Callable, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from vgg_sweep.config.imported import Imported, Preprocessing
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config
from vgg_sweep.config.vocabulary import groups
from vgg_sweep.errors import ConfigError, some
from vgg_sweep.exchange.readers.files import Weights, read_weights
from vgg_sweep.exchange.recognise import SHOWN, Recognised, recognise, with_rgb_input
from vgg_sweep.exchange.tag import Tag, read_tag
from vgg_sweep.images.sets.wnids import devkit_order, sorted_order
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.nets.weights import save_weights
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.protocols.seals import sha256_of
from vgg_sweep.runs.provenance import provenance

OXFORD = {"00b39a1b", "d01eb7cb"}
"""SHA-256, first eight digits, of J. Johnson's conversions of Oxford's D and E, as their file names have it."""
KERAS = {
    *("64373286793e3c8b2b4e3219cbf3544b", "cbe5617147190e668d6c5d5026f83318"),
    *("6d6bbae143d832006294945121d1f1fc", "253f8cb515780f3b799900260a226db6"),
}
"""MD5 of the files of keras.applications.VGG16 and VGG19, whole and `notop`, by which Keras itself knows them."""
TORCHVISION_OF_2017 = {"bbd30ac9", "c768596a"}
"""The same of torchvision's first vgg11 and vgg13; what it has now, its own `weights` entries say."""


def import_weights(path: Path, config: Config, given: Set[str], note: Callable[[str], None]) -> Run:
    """Make a run of the weights in `path`, in the folder of `config.out`, and report through `note` what was found.

    `given` are the settings of `config` that the user chose; the others follow from the file: from the tag of our own
    exports, or else from its maker's known practice. A file imported before with the same settings is left as it is.
    Raises `ConfigError` for what the user must specify, `RunError` for a file that is damaged or not a VGG.
    """
    named = {name.partition(".")[0] for name in given}
    if config.recipe.ema_decay:
        raise ConfigError(
            f"recipe.ema_decay={config.recipe.ema_decay} averages the weights of a run while it trains, and an "
            "imported net is not trained; leave it out here, and give it with start_from=RUN."
        )
    asked = config.imported
    weights = read_weights(path, mirrored=asked.mirrored, state_dict=asked.state_dict, trunk=asked.trunk)
    tag, sha256 = read_tag(weights.tag, path), sha256_of(path)
    if "preprocessing" in named:
        _check_preprocessing(config.preprocessing)
    found = _recognised(weights, tag, config, named)
    if tag is not None:
        says = _of_tag(tag, config, given)
    elif "preprocessing" in named:
        says = _of_maker(config.preprocessing.name, found)
    else:
        preprocessing = _preprocessing(path, weights, found, sha256)
        says = _of_maker(preprocessing.name, found) | {"preprocessing": preprocessing}
    config = replace(config, **{name: value for name, value in says.items() if name not in named - {"data"}})
    classes, class_order = _classes(path, asked.class_order, found.classes, tag)
    foreign = {"caffemodel": "caffe", "Keras h5": "keras"}.get(weights.format, found.scheme.source)
    source = "vgg-sweep" if tag is not None else foreign
    config = replace(
        config,
        model=found.model,
        width=found.width,
        crop=found.crop,
        classes=found.classes or None,
        imported=replace(asked, sha256=sha256, source=source, class_order=class_order, trunk=found.is_trunk),
    )
    run = plan([config])[-1]
    _say(path, run, found, weights, note)
    _write(run, path, found, classes)
    return run


def _recognised(weights: Weights, tag: Tag | None, config: Config, named: Set[str]) -> Recognised:
    """The net in the file, which its tag names if it has one."""
    asked = config.model.name if "model" in named else None
    if tag is not None:
        models, asked = [tag.config.model], asked or tag.config.model.name
    else:
        models = [load_option("model", name) for name in groups()["model"]]
        models += [config.model] if config.model.name not in groups()["model"] else []  # the user's own
    trunk, last_layer = config.imported.trunk, config.imported.last_layer
    return recognise(weights.tensors, models, asked, last_layer, trunk=trunk)


def _of_tag(tag: Tag, config: Config, given: Set[str]) -> dict[str, Any]:
    """The settings that the tag of an exported file has; of the data those that the user has not chosen."""
    chosen = {"root", "download"} | {name.removeprefix("data.") for name in given if name.startswith("data.")}
    data = {name: getattr(config.data, name) for name in chosen if "." not in name}
    return {
        "data": config.data if "data" in given else replace(tag.config.data, **data),
        "preprocessing": tag.preprocessing,
        "train_scale": tag.config.train_scale,
        "pool_ceil": tag.config.pool_ceil,
    }


def _of_maker(preprocessing: str, found: Recognised) -> dict[str, Any]:
    """What the makers of nets for this preprocessing are known to do: Oxford rounds pooled sizes up, and released its D
    and E trained with scale jitter; nets of others know no S, and are tested as at S = 256.
    """
    is_oxfords = preprocessing == "caffe" and found.model.name in ("D", "E") and found.classes in (0, 1000)
    train_scale = load_option("train_scale", "jitter" if is_oxfords else "256")
    return {"pool_ceil": preprocessing == "caffe", "train_scale": train_scale}


def _check_preprocessing(preprocessing: Preprocessing) -> None:
    """Raise `ConfigError` unless there is a mean and a deviation for each colour."""
    for name, values in {"mean": preprocessing.mean, "std": preprocessing.std}.items():
        if len(values) != 3 or not all(math.isfinite(value) for value in values):
            raise ConfigError(
                f"preprocessing.{name}={values} must be three numbers, one for each of {preprocessing.channel_order}, "
                "such as [123.68,116.779,103.939]."
            )
    if min(preprocessing.std) <= 0:
        raise ConfigError(f"preprocessing.std={preprocessing.std} must be greater than 0; 1 leaves a colour as it is.")


def _classes(path: Path, order: str, num_classes: int, tag: Tag | None) -> tuple[list[str], str]:
    """The classes in the order of the net's outputs, and what that order is called; a list is called by its hash."""
    orders = {"ilsvrc": sorted_order, "devkit": devkit_order}
    if num_classes == 0:  # a trunk
        return [], Imported().class_order
    if tag is not None and order == Imported().class_order and tag.classes != sorted_order():
        classes, order = tag.classes, "exported"
    else:
        classes = orders[order]() if order in orders else _read_classes(Path(order))
    if len(classes) != num_classes:
        whose = "ILSVRC" if order in orders else order
        raise ConfigError(
            f"{path} has {num_classes} classes and {whose} has {len(classes)}; give imported.class_order=FILE, a text "
            "file with one class per line in the order of the net's outputs, named as the folders of your images."
        )
    if order in orders:
        return classes, order
    return classes, f"{Path(order).stem}-{hashlib.sha256(json.dumps(classes).encode()).hexdigest()[:8]}"


def _read_classes(path: Path) -> list[str]:
    """A class a line, in UTF-8, or in UTF-16 with its mark, as Windows writes it."""
    try:
        content = path.read_bytes()
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
        classes = [line.strip() for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"imported.class_order={path} is not `ilsvrc`, `devkit` or a text file with one class per line ({error})."
        ) from error
    if len(set(classes)) < len(classes):
        raise ConfigError(f"imported.class_order={path} names a class twice; use wnids, which are unique.")
    return classes


def _preprocessing(path: Path, weights: Weights, found: Recognised, sha256: str) -> Preprocessing:
    """That of a known file, or of a format of which there is one. Raises `ConfigError` where it may be any."""
    start = sha256[:8]
    if weights.format == "caffemodel" or start in OXFORD or (weights.format == "Keras h5" and _md5(path) in KERAS):
        name = "caffe"
    elif not found.classifies and not found.is_trunk:
        name = "torchvision-features"
    elif start in TORCHVISION_OF_2017 | _torchvision_files():
        name = "torchvision"
    else:
        caffe = " or preprocessing=caffe (BGR, 0 to 255, the paper's mean; Keras's too)"
        raise ConfigError(
            f"{path} does not say for which preprocessing its weights were trained, and is none of the files known by "
            "checksum: give preprocessing=torchvision (RGB, 0 to 1, mean and deviation; timm's too)"
            f"{'' if 'BN' in found.model.columns else caffe}, or give preprocessing.mean, .std, .pixel_max and "
            ".channel_order."
        )
    option: Preprocessing = load_option("preprocessing", name)
    return option


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _torchvision_files() -> set[str]:
    """SHA-256, first eight digits, of all of torchvision's VGG files, as their addresses have it."""
    from torchvision.models import get_model_weights, list_models

    urls = [each.url for name in list_models(include="vgg*") for each in get_model_weights(name)]
    return {url.rpartition("-")[2].partition(".")[0] for url in urls}


def _say(path: Path, run: Run, found: Recognised, weights: Weights, note: Callable[[str], None]) -> None:
    config, pre = run.config, run.config.preprocessing
    num_params = sum(tensor.numel() for name, tensor in found.state.items() if name.endswith(("weight", "bias")))
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (pre.mean, pre.std))
    scale = config.train_scale
    note(
        f"{path}: {found.model.name}{' as a trunk' * found.is_trunk}, {num_params:,} parameters, "
        f"{found.classes or 'no'} classes; a {weights.format} in {found.scheme.source}'s names; SHA-256 "
        f"{config.imported.sha256}"
    )
    if weights.prefix:
        note(f"  {weights.prefix} was stripped from the names of all tensors")
    note(f"  images: {pre.channel_order}, 0 to {pre.pixel_max:g}, mean {mean}, deviation {std}, {pre.interpolation}")
    rounding, order = "up" if config.pool_ceil else "down", config.imported.class_order
    note(f"  pooled sizes rounded {rounding}" + f"; order of the classes: {order}" * (not found.is_trunk))
    if not found.is_trunk:
        note(f"  tested as train_scale={scale.name}, S = {scale.S}")
    if pre.channel_order == "BGR":
        note("  the first layer is reordered to R, G, B")
    if found.left_out:
        note(f"  left out, as no part of the trunk: {some(found.left_out, SHOWN)}")
    if found.is_trunk:
        note("  no FC layers: features up to pool5, no scores; start_from gives it new ones")
    elif not found.classifies:
        note("  the FC layers are not numbers (NaN), as in IMAGENET1K_FEATURES: features up to pool5 only, no scores")


def _write(run: Run, path: Path, found: Recognised, classes: list[str]) -> None:
    folder, config = prepare(run), run.config
    with folder.locked():
        if folder.is_trained:
            return
        is_rgb = config.preprocessing.channel_order == "RGB"
        with torch.device("meta"):
            net = VGG(found.model.columns, width=found.width, classes=found.classes, crop=found.crop)
        net.load_state_dict(found.state if is_rgb else with_rgb_input(found.state), assign=True)
        imported = {
            "file": path.name,
            **asdict(config.imported),
            "preprocessing": asdict(config.preprocessing),
            "pool_ceil": config.pool_ceil,
            "classifies": found.classifies,
        }
        save_weights(net, folder.weights, {"classes": json.dumps(classes), "imported": json.dumps(imported)})
        params: dict[str, Any] = {"params": sum(parameter.numel() for parameter in net.parameters())}
        folder.update_record(imported=imported, **params, **provenance())
        folder.update_status(state="done", stage="done", error=None)
