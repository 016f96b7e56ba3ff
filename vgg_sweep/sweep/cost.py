"""What scoring costs, before it is spent: multiply-adds, disk and time of each pass, and what sharing them saves."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vgg_sweep.config.schema import Config
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.views.crops import rescaled_size
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.plan.passes import missing, passes
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import test_scales
from vgg_sweep.protocols.passes import BYTES_PER_POSTERIOR, NPY_HEADER_BYTES, Pass, passes_of
from vgg_sweep.runs.folder import find_runs
from vgg_sweep.sweep.status import duration

Size = tuple[int, int]
"""Width and height in pixels."""


def pass_table(run: Run) -> RenderableType:
    """The passes of the run's protocol, what each costs, and what is still to do; the run need not be trained.

    Times are those at the speed of the sweep's finished scorings; a dash where there is none.
    """
    config = run.config
    num_classes, sizes_px = validation_set(config)
    wanted, todo = passes(config), set(missing(run.folder, config))
    cost = macs(wanted, config, num_classes, sizes_px)
    num_bytes = NPY_HEADER_BYTES + len(sizes_px) * num_classes * BYTES_PER_POSTERIOR
    speed = macs_per_second(Path(config.out))
    lines = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("method", "Q", "flip", "views an image", "state", "multiply-adds", "disk", "time"):
        lines.add_column(name, justify="left" if name in ("method", "flip", "state") else "right")

    def costs(those: Sequence[Pass]) -> list[str]:
        total = sum(cost[each] for each in those)
        return [_short(total), f"{_short(len(those) * num_bytes)}B", duration(total / speed) if speed else "-"]

    for each in wanted:
        state = Text("to do") if each in todo else Text("done", "green")
        flip = "yes" if each.flip else "no"
        lines.add_row(each.method, str(each.Q), flip, str(each.views), state, *costs([each]))
    for name, those in (("all", wanted), ("to do", [each for each in wanted if each in todo])):
        lines.add_row(name, "", "", str(sum(each.views for each in those)), "", *costs(those), style="bold")
    trained = "" if run.folder.is_trained else " It is not trained yet: `vgg-sweep train` does both."
    return Group(lines, Text(f"{run.folder.path}: {len(todo)} of {len(wanted)} passes to do.{trained}"))


def _short(count: int) -> str:
    """12.5 G, 48.1 k."""
    factor, prefix = next(((f, p) for f, p in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if count >= f), (1e3, "k"))
    return f"{count / factor:.1f} {prefix}"


def validation_set(config: Config) -> tuple[int, list[Size]]:
    """The number of classes and the sizes of the validation images, of which none is decoded or drawn."""
    if config.data.source == "fractals":
        spec = config.data.fractals
        return spec.num_classes, [(spec.side_px, spec.side_px)] * (spec.num_classes * spec.val_per_class)
    images = open_images(config)
    return config.classes or len(images.classes), [images.val.size_px(index) for index in range(len(images.val))]


def macs_per_second(sweep: Path) -> float | None:
    """The median speed of the scorings recorded in a sweep's folder; None if there is none."""
    speeds = [run.record().get("score_macs_per_second") for run in find_runs(sweep)]
    known = [float(speed) for speed in speeds if speed is not None]
    return median(known) if known else None


def scored_once(configs: Iterable[Config]) -> list[tuple[Config, Pass]]:
    """What the protocols of the configurations, each of another net, put through the nets."""
    return [(config, each) for config in configs for each in passes(config)]


def scored_row_by_row(configs: Iterable[Config]) -> list[tuple[Config, Pass]]:
    """What would be put through the nets if every row of Tables 3 to 7 and of the 5x5 comparison were evaluated by
    itself, as far as `configs` have its nets.
    """
    nets = {paper.Net(config.model.name, config.train_scale.name): config for config in configs}
    return [
        (config, each)
        for members, rule, method in _rows()
        if all(net in nets for net in members)
        for config in (nets[net] for net in members)
        for each in passes_of(method, test_scales(config.train_scale.S, rule, config.crop))
    ]


def _rows() -> list[tuple[tuple[paper.Net, ...], str, str]]:
    """The nets, rule of Q and method of every row that has to be evaluated."""
    single_nets = [((row.net,), row.rule, row.method) for table in "345" for row in paper.rows(table)]
    fusions = [(row.members, "multi", row.method) for row in paper.fusions()]
    systems = [(members, "multi", method) for members, method, _ in paper.own_systems()]
    kernels = [((paper.Net(config, "256"),), "single", "centre-crop") for config in ("B", "B-5x5")]
    return [*single_nets, *fusions, *systems, *kernels]


def total_macs(scored: Iterable[tuple[Config, Pass]], num_classes: int, sizes_px: Sequence[Size]) -> int:
    """Multiply-adds of passes over images of the given sizes."""
    return sum(macs([each], config, num_classes, sizes_px)[each] for config, each in scored)


def total_views(scored: Iterable[tuple[Config, Pass]]) -> int:
    """Forward passes for each image."""
    return sum(each.views for _, each in scored)


def macs(
    wanted: Iterable[Pass], config: Config, num_classes: int, sizes_px: Iterable[tuple[int, int]]
) -> dict[Pass, int]:
    """Multiply-adds of each pass over images of the given (width, height), counted as in `nets.columns.macs`."""
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)

    @cache
    def of_one(height: int, width: int) -> int:
        return net_macs(layers, height, width, pool_ceil=config.pool_ceil)

    shapes = Counter(sizes_px)

    def of_pass(each: Pass) -> int:
        if each.method != "dense":
            return shapes.total() * each.views * of_one(config.crop, config.crop)
        total = 0
        for (width_px, height_px), count in shapes.items():
            width, height = rescaled_size(width_px, height_px, each.Q)
            total += count * of_one(height, width)
        return total

    return {each: of_pass(each) for each in wanted}
