"""`vgg-sweep bench`: how fast this machine is at what this program does, beside how it is usually done."""

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from vgg_sweep.bench.data import bench_data
from vgg_sweep.bench.score import bench_score
from vgg_sweep.bench.timing import Effort, Progress, Row
from vgg_sweep.bench.train import bench_train
from vgg_sweep.config.schema import Config

PAPER_CLASSES = 1000


def bench(config: Config, chosen: Sequence[str], effort: Effort, progress: Progress) -> list[Row]:
    """Measure `chosen` (train, score, data) at the size and with the settings of `config`."""
    of_set = config.data.fractals.num_classes if config.data.source == "fractals" else PAPER_CLASSES
    num_classes = config.classes or of_set
    measures: dict[str, Callable[[], list[Row]]] = {
        "train": lambda: bench_train(config, num_classes, effort, progress),
        "score": lambda: bench_score(config, num_classes, effort, progress),
        "data": lambda: bench_data(config, effort, progress),
    }
    return [row for name in chosen for row in measures[name]()]


def _settings(row: Row) -> str:
    at_once = f"by {row.micro_batch}" if row.micro_batch else ""
    return " ".join(filter(None, [row.precision, row.layout, at_once, "compiled" if row.compile else ""]))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "px": lambda row: str(row.image_px or ""),
    "images/s": lambda row: _figure(row.images_per_second),
    "a core": lambda row: _figure(row.images_per_second_per_core),
    "of peak": lambda row: "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
    "memory": lambda row: "" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:,.0f} MB",
    "speedup": lambda row: "" if row.speedup is None else f"{row.speedup:.2f} x",
}


def table(name: str, rows: Sequence[Row]) -> Table:
    """The rows of one bench in the columns that have something to say."""
    nets = {f": net {row.config}, {row.device}" for row in rows if row.device}
    title = f"bench {name}{nets.pop() if len(nets) == 1 else ''}"
    shown = Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False)
    shown.padding, shown.pad_edge = (0, 1, 0, 0), False
    columns = {"": [row.what for row in rows], "settings": [_settings(row) for row in rows]}
    columns |= {heading: [cell(row) for row in rows] for heading, cell in _COLUMNS.items()}
    columns = {heading: cells for heading, cells in columns.items() if any(cells)}
    for heading in columns:
        shown.add_column(heading, justify="right" if heading in _COLUMNS else "left", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        shown.add_row(*map(Text, cells))
    return shown
