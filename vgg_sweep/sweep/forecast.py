"""A sweep before it starts: whether its runs are possible, what each will do, and how much time and disk that takes."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median, variance
from typing import Self

from vgg_sweep.config.checks import check_batches
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.index import forget
from vgg_sweep.images.sets.sources import index_folder, is_here, open_images
from vgg_sweep.nets.columns import net_macs, num_params, parse_columns
from vgg_sweep.nets.inherited import check_inherits
from vgg_sweep.nets.layers import Layer
from vgg_sweep.plan.commands import settings
from vgg_sweep.plan.passes import passes
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.passes import BYTES_PER_POSTERIOR
from vgg_sweep.protocols.statistics import MOST_SEEDS, POWER, seeds_needed
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.sweep.agenda import FAILED, Agenda, found_state
from vgg_sweep.sweep.status import duration

BYTES_PER_WEIGHT = 4
WEIGHTS_IN_CHECKPOINTS = 6
"""Weights and velocity, in the two newest checkpoints and the one being written."""
IMAGENET_POSTERIORS = 50_000 * 1000
IMAGES = {"imagenet": 1_281_167, "cifar10": 50_000, "cifar100": 50_000, "tiny-imagenet": 100_000, "stl10": 5_000}
"""Training images of published sets, which need not be there."""
FORWARD_AND_BACKWARD = 3
"""A backward pass takes twice as many multiply-adds as a forward pass: for the weights and for the input."""
TFLOPS = (1, 10, 100)
"""Speeds that a machine may reach in training, at two operations a multiply-add."""


@dataclass(frozen=True)
class Forecast:
    """Training time in seconds and disk in bytes of runs, by id, and the bytes that one needs beside while it trains.

    A run whose time is not known is left out.
    """

    seconds: Mapping[str, float]
    bytes: Mapping[str, int]
    working_bytes: int

    @classmethod
    def of(cls, runs: Sequence[Run], finished: Sequence[Run]) -> Self:
        """Judging by the `finished` runs."""
        posteriors = next((each for run in finished if (each := _posteriors_of_a_pass(run.folder))), None)
        weights = {run.id: _num_weights(run.config) for run in runs}
        num_bytes = {
            run.id: BYTES_PER_WEIGHT * weights[run.id]
            + BYTES_PER_POSTERIOR * len(passes(run.config)) * (posteriors or _posteriors_expected(run.config))
            for run in runs
        }
        most = max((weights[run.id] for run in runs if not run.folder.is_trained), default=0)
        return cls(estimated_seconds(runs, finished), num_bytes, WEIGHTS_IN_CHECKPOINTS * BYTES_PER_WEIGHT * most)


def planned_states(agenda: Agenda) -> dict[str, str]:
    """What is ahead of each run: new, resume (where), score, retry; or done, running, failed, diverged, blocked."""
    states: dict[str, str] = {}
    for run in agenda.runs:
        state, status = found_state(run), run.folder.status()
        if state in FAILED and agenda.retries > 0:
            state = "retry"
        elif state == "interrupted" and run.folder.is_trained:
            state = "score"
        elif state == "interrupted":
            has_step = status.get("stage") == "train" and status.get("step")
            state = f"resume at step {status['step']}" if has_step else "resume"
        if state != "done" and run.parent is not None and states[run.parent.id] in (*FAILED, "blocked"):
            state = "blocked"
        states[run.id] = state
    return states


def _num_weights(config: Config) -> int:
    layers = _layers(tuple(config.model.columns), config.width, num_classes(config), config.crop)
    return sum(map(num_params, layers))


@cache
def _layers(columns: tuple[str, ...], width: float, classes: int, crop: int) -> list[Layer]:
    return parse_columns(columns, width=width, classes=classes, crop=crop)


def num_classes(config: Config) -> int:
    """As far as known without the data."""
    if config.classes is None and config.data.source == "fractals":
        return config.data.fractals.num_classes
    return config.classes or 1000


def _posteriors_of_a_pass(folder: RunFolder) -> int | None:
    files = read_json(folder.posteriors / "manifest.json").get("files", [])
    return int(files[0]["N"] * files[0]["K"]) if files else None


def _posteriors_expected(config: Config) -> int:
    """Those of a set whose number of images is known without opening it; else none."""
    if config.data.source == "fractals":
        return config.data.fractals.num_classes**2 * config.data.fractals.val_per_class
    return IMAGENET_POSTERIORS if config.data.source == "imagenet" else 0


def estimated_seconds(runs: Sequence[Run], finished: Sequence[Run]) -> dict[str, float]:
    """Training time of each of `runs`, by id: what it took if it is among the `finished`, else in proportion to theirs.

    The proportion is that of multiply-adds, among runs on the same data; if there are some of the same net they count
    alone, as speed differs. A run with nothing to compare it with is left out.
    """
    took = {run.id: float(took) for run in finished if (took := run.folder.record().get("train_seconds")) is not None}
    rates: dict[str, list[float]] = defaultdict(list)
    for run in finished:
        if run.id in took:
            for kin in _kin(run):
                rates[kin].append(took[run.id] / training_macs(run))
    typical = {kin: median(values) for kin, values in rates.items()}
    estimates = {}
    for run in runs:
        rate = next((typical[kin] for kin in _kin(run) if kin in typical), None)
        if run.id in took:
            estimates[run.id] = took[run.id]
        elif rate is not None:
            estimates[run.id] = rate * training_macs(run)
    return estimates


def _kin(run: Run) -> tuple[str, str]:
    """Names of the two families among which a run's speed is alike, the closer one first."""
    data = repr(run.config.data)
    return f"{run.config.model.name} on {data}", data


def training_macs(run: Run) -> float:
    """Multiply-adds of the forward passes in a run's training, for each image of the set."""
    config = run.config
    layers = _layers(tuple(config.model.columns), config.width, config.classes or 1, config.crop)
    return run.epochs * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)


def training_work(runs: Iterable[Run]) -> list[str]:
    """A sentence for a plan about its untrained runs; none where they take less than a minute at 1 TFLOP/s."""
    total = 0.0
    for run in runs:
        if not run.folder.is_trained and run.config.imported.sha256 is None:
            if (images := _num_images(run.config)) is None:
                return ["How long training takes is known when a run on these images is done; --smoke measures it."]
            total += FORWARD_AND_BACKWARD * images * training_macs(run)
    if (seconds := 2 * total / 1e12) < 60:
        return []
    times = [duration(seconds / speed) for speed in TFLOPS]
    speeds = ", ".join(map(str, TFLOPS[:-1])) + f" or {TFLOPS[-1]}"
    return [f"Training takes {total:.1e} multiply-adds: at {speeds} TFLOP/s reached, {', '.join(times)}."]


def _num_images(config: Config) -> int | None:
    """Training images, as far as known without looking at the set."""
    data, share = config.data, config.data.val_share or 0.0
    if data.source == "fractals":
        return data.fractals.num_classes * data.fractals.train_per_class
    return round(IMAGES[data.source] * (1 - share)) if data.source in IMAGES else None


def seeds_note(finished: Iterable[Run]) -> list[str]:
    """A sentence for a plan, if there are nets of several seeds among the `finished` runs: how many seeds it takes to
    tell two nets apart, as far as the spread of their validation errors says.
    """
    errors: dict[str, dict[int, float]] = defaultdict(dict)
    for run in finished:
        if (error := run.folder.record().get("val_error")) is not None:
            net = (run.config.model.name, run.config.train_scale.name, settings(asdict(run.config)))
            errors[json.dumps(net)][run.config.seed] = float(error)
    several = [list(values.values()) for values in errors.values() if len(values) > 1]
    squares = sum(variance(values) * (len(values) - 1) for values in several)
    if squares == 0:
        return []
    deviation = math.sqrt(squares / sum(len(values) - 1 for values in several))
    needed = seeds_needed(1, math.sqrt(2) * deviation)
    return [
        f"Over the finished seeds a net's validation error has a standard deviation of {deviation:.1f} points: to "
        f"detect a difference of 1 point between two nets with a power of {100 * POWER:.0f} % takes "
        f"{needed or f'more than {MOST_SEEDS}'} seeds, more where the images are few."
    ]


def check_ready(runs: Iterable[Run]) -> None:
    """Raise `ConfigError` for a net that cannot be built, or that cannot take what its parent has to give; for batches
    that it cannot be trained in; and for a logger whose package is not installed.
    """
    listed: dict[Path, int] = {}
    for run in runs:
        config, parent = run.config, run.parent
        if run.folder.is_trained or config.imported.sha256 is not None:
            continue
        if config.logger != "none" and find_spec(config.logger) is None:
            raise ConfigError(
                f"logger={config.logger} needs a package that is not installed; pip install "
                f"'vgg-sweep[{config.logger}]', or leave it out."
            )
        classes = num_classes(config)
        try:
            parse_columns(config.model.columns, width=config.width, classes=classes, crop=config.crop)
        except ConfigError as error:
            raise ConfigError(f"model={config.model.name}: {error}") from error
        if parent is not None and not run.fine_tunes and parent.config.model.name == config.model.parent:
            check_inherits(config, parent.config, classes)
        _check_batches(config, listed)


def _check_batches(config: Config, listed: dict[Path, int]) -> None:
    """Raise `ConfigError` for batches that cannot be trained in, where the number of images is known: a folder's are
    listed for a net with batch normalisation alone, once for all runs (`listed`), and the list goes if that is refused.
    """
    normalises, folder = "BN" in config.model.columns, index_folder(config)
    count = _num_images(config) if config.data.val_share is None else None
    was_there = True
    if normalises and config.data.source == "folder" and is_here(config.data):
        was_there = folder in listed or folder.exists()
        count = listed[folder] = listed.get(folder) or len(open_images(config).train)
    if count is None:
        return
    try:
        check_batches(config, count, config.devices, is_whole=normalises)
    except ConfigError:
        if not was_there:
            forget(folder)
        raise
