"""`vgg-sweep bench`: how fast this machine is at what this program does, beside how it is usually done."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from vgg_sweep.bench.advice import advice, bottleneck, paper_seconds
from vgg_sweep.bench.data import bench_data
from vgg_sweep.bench.lrn import bench_lrn
from vgg_sweep.bench.score import bench_score
from vgg_sweep.bench.sweep import bench_sweep
from vgg_sweep.bench.timing import Row
from vgg_sweep.bench.train import bench_train
from vgg_sweep.config.schema import Config
from vgg_sweep.sweep.status import duration

PAPER_CLASSES = 1000


def bench(config: Config, chosen: Sequence[str], *, as_json: bool, seconds: float, console: Console) -> None:
    """Measure `chosen` (train, score, lrn, data, sweep) at the size and with the settings of `config`, and show the
    figures and what follows. Works that are compared take turns, for at least `seconds` together.
    """
    num_classes = config.classes or (
        config.data.fractals.num_classes if config.data.source == "fractals" else PAPER_CLASSES
    )
    rows: list[Row] = []
    with console.status("") as status:
        for name in chosen:
            match name:
                case "train":
                    rows += bench_train(config, num_classes, seconds, status.update)
                case "score":
                    rows += bench_score(config, num_classes, seconds, status.update)
                case "lrn":
                    rows += bench_lrn(config, seconds, status.update)
                case "data":
                    rows += bench_data(config, seconds, status.update)
                case "sweep":
                    rows += bench_sweep(status.update)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    for name in chosen:
        console.print(_table(name, [row for row in rows if row.bench == name]))
    for sentence in _conclusions(rows, config, num_classes):
        console.print(sentence)


def _conclusions(rows: Sequence[Row], config: Config, num_classes: int) -> list[str]:
    said = [
        f"{row.config}: {bottleneck(row, config, num_classes)}"
        for row in rows
        if (row.bench, row.what) == ("train", "ours")
    ]
    said += advice(rows, config)
    if (times := paper_seconds(rows, config)) is not None:
        train, score = map(duration, times)
        said.append(
            f"The twelve runs of Table 3 on ILSVRC would train for {train} and score for {score} here, one after "
            f"another: from the speeds of {config.model.name} above and the multiply-adds of each net."
        )
    return said


_HEADINGS = {
    "what": "",
    "image_px": "px",
    "settings": "",
    "seconds": "s",
    "images_per_second": "images/s",
    "images_per_second_per_core": "a core",
    "share_of_peak": "of peak",
    "peak_memory_bytes": "memory",
    "speedup": "speedup",
}


def _table(name: str, rows: Sequence[Row]) -> Table:
    """The columns that have something to say, and not the first looks, of which only the fastest matters."""
    rows = [row for row in rows if row.what != "first look"]
    nets = {f": net {row.config}, {row.device}" for row in rows if row.device}
    table = Table(
        title=f"bench {name}{nets.pop() if len(nets) == 1 else ''}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    cells = {key: [_cell(key, row) for row in rows] for key in _HEADINGS}
    shown = {key: each for key, each in cells.items() if any(each)}
    if "images_per_second" in shown:
        del shown["seconds"]
    for key in shown:
        table.add_column(_HEADINGS[key], justify="left" if key in ("what", "settings") else "right", no_wrap=True)
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def _cell(key: str, row: Row) -> str:
    if key == "settings":
        at_once = f"by {row.micro_batch}" if row.micro_batch else ""
        words = [row.precision, row.layout, at_once, "compiled" if row.compile else ""]
        return " ".join(word for word in words if word)
    value = getattr(row, key)
    if value is None:
        return ""
    match key:
        case "share_of_peak":
            return f"{value:.0%}"
        case "peak_memory_bytes":
            return f"{value / 1e6:,.0f} MB"
        case "speedup":
            return f"{value:.2f} x"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return str(value)
