"""A synthetic sweep folder of any size, as training and scoring would leave it; needs no torch."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config
from vgg_sweep.protocols.methods import parse_pass

S_AT_224 = {"256": [256, 256], "384": [384, 384], "jitter": [256, 512], "jitter-fc": [256, 512]}

TABLE3 = [
    *((model, "256") for model in ("A", "A-LRN", "B", "C", "D", "E")),
    *((m, s) for m in "CDE" for s in ("384", "jitter")),
]
"""(model, train scale) of the twelve runs of Table 3."""

EVERYTHING = [*TABLE3, ("D", "jitter-fc"), ("B-5x5", "256")]
"""What Tables 3 to 7 and the 5x5 comparison need."""

ALL_PASSES = (
    "dense@single",
    "dense@multi",
    "multi-crop@single",
    "multi-crop@multi",
    "centre-crop@single",
    "ten-crop@single",
)


@dataclass
class Spec:
    """What the runs of a synthetic sweep have in common."""

    num_images: int = 40
    num_classes: int = 7
    crop: int = 64
    passes: Sequence[str] = ALL_PASSES
    record: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """Dotted name -> value, such as {"recipe.lr": 0.02}."""
    noise: float = 1.0
    """Standard deviation of the logits; the true class is raised by 1."""


def make_sweep(
    sweep: Path, nets: Iterable[tuple[str, str]] = EVERYTHING, seeds: Sequence[int] = (0,), spec: Spec | None = None
) -> Path:
    """A folder with one scored run per (model, train scale) and seed."""
    for model, train_scale in nets:
        for seed in seeds:
            make_run(sweep, model, train_scale, seed, spec or Spec())
    return sweep


def make_run(sweep: Path, model: str, train_scale: str, seed: int = 0, spec: Spec | None = None) -> Path:
    """One scored run; its posteriors are random but fixed by its name."""
    spec = spec or Spec()
    digest = hashlib.sha256(repr((model, train_scale, seed, spec.settings)).encode()).hexdigest()
    folder = sweep / f"{model}-{train_scale}-s{seed}-{digest[:8]}"
    config = OmegaConf.structured(Config())
    config.model = load_option("model", model)
    config.train_scale.name, config.train_scale.S = train_scale, S_AT_224[train_scale]
    config.recipe.name, config.protocol.name, config.protocol.passes = "paper", "test", list(spec.passes)
    config.data.name, config.data.source, config.crop, config.seed = "fractals", "fractals", spec.crop, seed
    for name, value in spec.settings.items():
        OmegaConf.update(config, name, value)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (folder / "status.json").write_text('{"state": "done"}')
    (folder / "record.json").write_text(json.dumps({"step_seconds": 0.1, "peak_memory_bytes": 10**9} | spec.record))
    rng = np.random.default_rng(int(hashlib.sha256(folder.name.encode()).hexdigest()[:8], 16))
    labels_N = np.arange(spec.num_images) % spec.num_classes
    posteriors = {}
    for method, Q in dict.fromkeys(
        (m, Q)
        for each in spec.passes
        for m, scales in [parse_pass(each, S_AT_224[train_scale], spec.crop)]
        for Q in scales
    ):
        for flip in (False, True):
            logits_NK = rng.normal(0, spec.noise, (spec.num_images, spec.num_classes))
            logits_NK[np.arange(spec.num_images), labels_N] += 1
            posteriors[method, Q, flip] = softmax(logits_NK)
    write_posteriors(folder, posteriors, labels_N)
    return folder


def softmax(logits_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    exp_NK = np.exp(logits_NK)
    return exp_NK / exp_NK.sum(axis=1, keepdims=True)


def write_posteriors(
    folder: Path,
    posteriors: dict[tuple[str, int, bool], NDArray[np.float64]],
    labels_N: Sequence[int] | NDArray[np.int64],
    classes: Sequence[str] | None = None,
    images: Sequence[str] | None = None,
) -> None:
    """`posteriors/` of a run, from arrays [N, K] by (method, Q, flip)."""
    here = folder / "posteriors"
    here.mkdir(parents=True, exist_ok=True)
    num_images, num_classes = len(labels_N), next(iter(posteriors.values())).shape[1]
    files = []
    for (method, Q, flip), posteriors_NK in posteriors.items():
        name = f"{method}-Q{Q}-flip{int(flip)}.npy"
        np.save(here / name, posteriors_NK.astype(np.float32))
        digest = hashlib.sha256((here / name).read_bytes()).hexdigest()
        files.append(
            {"file": name, "method": method, "Q": Q, "flip": flip, "N": num_images, "K": num_classes, "sha256": digest}
        )
    manifest = {
        "format": 1,
        "classes": list(classes or [f"class {k}" for k in range(num_classes)]),
        "images": list(images or [f"val/{n}.png" for n in range(num_images)]),
        "labels": [int(label) for label in labels_N],
        "data_fingerprint": "0" * 64,
        "weights_fingerprint": "0" * 64,
        "files": files,
    }
    (here / "manifest.json").write_text(json.dumps(manifest))
