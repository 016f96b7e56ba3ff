"""`vgg-sweep bench`: how fast this program is on this machine, how many workers feed a net, and how long the paper's
experiment would take here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from vgg_sweep.bench.measures import bench_data, bench_score, bench_train
from vgg_sweep.bench.timing import Announce, Effort, Measurement, peak_flops
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config
from vgg_sweep.images.sets.imagenet import NUM_TRAIN, NUM_VAL
from vgg_sweep.machine.hardware import DTYPES, choose_hardware
from vgg_sweep.plan.passes import passes
from vgg_sweep.plan.runs import plan
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import PAPER_CROP_PX
from vgg_sweep.score.cost import macs as pass_macs
from vgg_sweep.sweep.forecast import FORWARD_AND_BACKWARD, training_macs
from vgg_sweep.sweep.status import duration

PAPER_CLASSES = 1000
ILSVRC_SIZE_PX = (500, 375)
"""Width and height of the most frequent ILSVRC image; the set's own are not at hand when this is asked."""


def bench(config: Config, chosen: Sequence[str], effort: Effort, progress: Announce) -> list[Measurement]:
    """Measure `chosen` (train, score, data) at the size and with the settings of `config`."""
    of_set = config.data.fractals.num_classes if config.data.source == "fractals" else PAPER_CLASSES
    num_classes = config.classes or of_set
    measures: dict[str, Callable[[], list[Measurement]]] = {
        "train": lambda: bench_train(config, num_classes, effort, progress),
        "score": lambda: bench_score(config, num_classes, effort, progress),
        "data": lambda: bench_data(config, effort, progress),
    }
    return [row for name in chosen for row in measures[name]()]


def _settings(row: Measurement) -> str:
    at_once = f"by {row.micro_batch}" if row.micro_batch else ""
    return " ".join(filter(None, [row.precision, row.layout, at_once, "compiled" if row.compile else ""]))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


_COLUMNS: dict[str, Callable[[Measurement], str]] = {
    "px": lambda row: str(row.image_px or ""),
    "images/s": lambda row: _figure(row.images_per_second),
    "a core": lambda row: _figure(row.images_per_second_per_core),
    "of peak": lambda row: "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
    "memory": lambda row: "" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:,.0f} MB",
    "speedup": lambda row: "" if row.speedup is None else f"{row.speedup:.2f} x",
}


def table(name: str, rows: Sequence[Measurement]) -> Table:
    """The rows of one bench in the columns that have something to say."""
    nets = {f": net {row.config}, {row.device}" for row in rows if row.device}
    title = f"bench {name}{nets.pop() if len(nets) == 1 else ''}"
    shown = Table(title=Text(title, "bold"), title_justify="left", box=None, pad_edge=False, header_style="dim")
    columns = {"": [row.what for row in rows], "settings": [_settings(row) for row in rows]}
    columns |= {heading: [cell(row) for row in rows] for heading, cell in _COLUMNS.items()}
    columns = {heading: cells for heading, cells in columns.items() if any(cells)}
    for heading in columns:
        shown.add_column(heading, justify="right" if heading in _COLUMNS else "left", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        shown.add_row(*map(Text, cells))
    return shown


def conclusions(rows: Sequence[Measurement], config: Config) -> list[str]:
    """A sentence each."""
    said = []
    train = next((row.images_per_second for row in rows if (row.bench, row.what) == ("train", "ours")), None)
    core = next((row.images_per_second_per_core for row in rows if (row.bench, row.what) == ("data", "ours")), None)
    if train and core:
        workers = math.ceil(train / core)
        said.append(
            f"The net takes {train:.1f} images/s and a core prepares {core:.0f}: workers={workers} keeps it busy."
        )
    if (times := paper_seconds(rows, config)) is not None:
        train_time, score_time = map(duration, times)
        said.append(
            f"The twelve runs of Table 3 on ILSVRC would train for {train_time} and score for {score_time} here, one "
            f"after another, judging by the speeds of {config.model.name} above and each net's multiply-adds."
        )
    return said


def paper_seconds(rows: Sequence[Measurement], config: Config) -> tuple[float, float] | None:
    """Seconds that the twelve runs of Table 3 would train and score on ILSVRC at the speeds measured, one after
    another; None if training or scoring was not measured, or not at the paper's size.
    """
    device = choose_hardware(config).device
    rates = {
        (row.bench, row.what): (row.share_of_peak or 0.0) * peak_flops(device, DTYPES[row.precision]) / 2
        for row in reversed(rows)  # of several dense ones the first counts
        if row.what in ("ours", "ours, dense") and row.precision  # reading images has none
    }
    train_rate, score_rate = rates.get(("train", "ours")), rates.get(("score", "ours, dense"))
    if train_rate is None or score_rate is None or (config.crop, config.width) != (PAPER_CROP_PX, 1.0):
        return None
    train_macs = score_macs = 0.0
    num_classes = config.classes or PAPER_CLASSES
    config = replace(config, classes=num_classes)
    nets = [
        replace(config, model=load_option("model", net.config), train_scale=load_option("train_scale", net.train_scale))
        for net in (row.net for row in paper.rows("3"))
    ]
    for run in plan(nets):
        train_macs += FORWARD_AND_BACKWARD * NUM_TRAIN * training_macs(run)
        each_pass = pass_macs(passes(run.config), run.config, num_classes, [ILSVRC_SIZE_PX])
        score_macs += NUM_VAL * sum(each_pass.values())
    return train_macs / train_rate, score_macs / score_rate
