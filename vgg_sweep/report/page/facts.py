"""What surrounds the results on the page: headline figures, Tables 1 and 2, and the provenance of the runs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vgg_sweep.config.schema import Model
from vgg_sweep.errors import counted
from vgg_sweep.nets.describe import describe
from vgg_sweep.plan import commands
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import PAPER_CROP_PX
from vgg_sweep.report.page.grids import MAX_ROWS, Grid, plain_grid
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.results import joined
from vgg_sweep.report.tables.contents import Contents
from vgg_sweep.report.tables.gaps import ENOUGH
from vgg_sweep.report.tables.nets import COUNTED, PAPER_CLASSES, share, table1
from vgg_sweep.report.tables.table import Column, TextTable, number, text


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    more: str = ""


def headline(report: Contents) -> list[Fact]:
    """How much is there, of what, and how good the best is."""
    runs = _runs(report)
    states = Counter(str(run.folder.status().get("state", "not started")) for run in runs if not run.is_scored)
    measured, total = _rows_of_paper(report)
    unscored = ", ".join(f"{count} {state}" for state, count in states.most_common())
    facts = [Fact("Runs scored", f"{sum(run.is_scored for run in runs)} of {len(runs)}", unscored)]
    if measured >= ENOUGH * total:
        facts.append(Fact("Rows of Tables 3 to 6", f"{measured} of {total}", "measured"))
    if (found := report.frames.get("runs")) is not None:
        best = found[found["fusion"] == ""].iloc[0]
        seeds = counted(best["seeds"], "seed")
        name = f"{best['config']}-{best['train_scale']}, {seeds}: {best['method']}"
        under = f"{name}, Q {', '.join(map(str, best['test_scales']))} px"
        interval = f"95 %: {best['top1_low']:.1f} to {best['top1_high']:.1f}"
        facts.append(Fact("Lowest top-1 error of a net", f"{best['top1_error']:.1f} %", f"{interval}. {under}"))
    return facts


def about(report: Contents) -> list[Fact]:
    """What the report is about: data, nets, training, and what it was made on; every value that occurs."""
    boxes = [run for sweep in report.sweeps for run in sweep.localised.runs]
    runs = [run for of_task in (_runs(report), boxes) for run in of_task if run.is_scored]
    if not runs:  # probes alone, whose table names their data
        return []
    if len(results := joined(report.sweeps)):
        sizes = list(zip(results["n_classes"], results["n_images"], strict=True))
    else:
        sizes = [(len(run.scored.manifest["classes"]), len(run.scored.manifest["images"])) for run in runs]
    configs = [run.config for run in runs]
    classes, images = (_values(counts) for counts in zip(*sizes, strict=True))
    widths = _each(share(config["width"]) for config in configs)
    nets = "the paper’s width" if widths == "1" else f"width {widths} of the paper’s"
    epochs = _each(f"{config['recipe']['epochs']:g}" for config in configs)
    recipes = _each(config["recipe"]["name"] for config in configs)
    numbers = sorted({run.seed for run in runs})
    seeds = f"seed{'s' * (len(numbers) > 1)} {_each(numbers)}"
    made = sorted(run.folder.status().get("heartbeat", 0) for run in runs)[-1]
    facts = [
        Fact(
            "Data",
            f"{_each(_set(config['data']) for config in configs)}: {classes} classes, {images} validation images",
        ),
        Fact("Nets", f"{nets}, crop {_values(config['crop'] for config in configs)} px (the paper: {PAPER_CROP_PX})"),
        Fact("Training", f"recipe {recipes}, {epochs} epochs at S = 256, {seeds}"),
        Fact("Made on", _each(filter(None, map(_machine, runs)))),
        Fact("Last run", f"{datetime.fromtimestamp(made, UTC):%d %B %Y}" if made else ""),
    ]
    return [fact for fact in facts if fact.value]


def _set(data: Mapping[str, Any]) -> str:
    """The set's name; of one's own images, which have none, their folder's."""
    return Path(data["root"]).name if data["name"] == data["source"] == "folder" else data["name"]


def _machine(run: ReportedRun) -> str:
    """The processor's or the GPU's name, and the arithmetic."""
    record = run.record
    segments = record.get("segments") or [{}]
    hardware = str(segments[-1].get("hardware", "")).partition(", features")[0]
    device = str(record.get("device_name") or "")
    names = [device] if hardware in device else [hardware, device]
    return ", ".join(filter(None, [*names, record.get("precision")]))


def _each(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _rows_of_paper(report: Contents) -> tuple[int, int]:
    """How many of Tables 3 to 6 are measured, of how many for all groups of settings."""
    frames = [frame for name, frame in report.frames.items() if name in ("3", "4", "5", "6")]
    groups = len(joined(report.sweeps)[["sweep", "settings"]].drop_duplicates())
    of_paper = sum(len(paper.rows(table)) for table in "345") + len(paper.fusions())
    return sum(int((frame["seeds"] > 0).sum()) for frame in frames), groups * of_paper


def _values(numbers: Iterable[int]) -> str:
    return " or ".join(f"{value:,}" for value in sorted(set(numbers)))


def _runs(report: Contents) -> list[ReportedRun]:
    return [run for sweep in report.sweeps for run in sweep.runs]


# --- Tables 1 and 2 ---


def net_grids(report: Contents) -> list[Grid]:
    """The nets of these runs: their columns, and what they cost at the paper's size and, where it differs, here."""
    first = {run.name: run for run in sorted(_runs(report), key=lambda run: run.name)}
    models = [Model(**run.config["model"]) for run in first.values()]
    config = next(iter(first.values())).config
    num_classes = int(report.sweeps[0].results["n_classes"].iloc[0])
    crop, width = config["crop"], config["width"]
    paper_size: dict[str, Any] = {"width": 1.0, "classes": PAPER_CLASSES, "crop": PAPER_CROP_PX}
    at_paper = describe(models, **paper_size, image_px=PAPER_CROP_PX, pool_ceil=True)
    here = describe(models, width=width, classes=num_classes, crop=crop, image_px=crop, pool_ceil=config["pool_ceil"])
    printed = paper.params_millions()
    rows = [
        net | {"params_at_paper": of_paper["params"], "printed": printed.get(net["config"])}
        for net, of_paper in zip(here, at_paper, strict=True)
    ]
    size = f"Here: width {share(width)}, {num_classes:,} classes, one image of {crop} px. "
    table2 = TextTable.of("table-2", "Table 2. Parameters, and costs", _TABLE2, rows, notes=[size + COUNTED])
    return [plain_grid(table1(models, num_classes, width), is_sortable=False), plain_grid(table2)]


def _millions(key: str, head: str, digits: int) -> Column:
    return number(key, head, digits, factor=1e-6, sign=",")


_TABLE2 = (
    text("config", "net"),
    number("weight_layers", "weight layers", 0),
    _millions("params_at_paper", "parameters (M)\nat the paper’s size", 1),
    number("printed", "paper", 0),
    _millions("params", "parameters (M)\nhere", 3),
    _millions("macs", "multiply-adds (M)\nhere", 1),
    _millions("activation_bytes", "activations (MB)\nhere", 2),
    number("receptive_field_px", "receptive\nfield (px)", 0),
)


# --- provenance ---


def provenance(report: Contents) -> Grid:
    """Versions, commit, machine and data of the runs, with how many runs share each."""
    rows = [
        {"what": what, "value": value, "runs": count} for (what, value), count in Counter(_made_with(report)).items()
    ]
    columns = [text("what"), text("value"), number("runs", "runs", 0)]
    return plain_grid(TextTable.of("made-with", "Made with", columns, rows))


def _made_with(report: Contents) -> Iterator[tuple[str, str]]:
    for run in (run for run in _runs(report) if run.record):
        record = run.record
        versions = record.get("versions", {})
        yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded"
        yield "commit", str(record.get("commit") or "not in a checkout")
        yield "machine", f"{record.get('device_name', 'not recorded')}, {record.get('precision', '')}".rstrip(", ")
    for sweep in report.sweeps:
        if sweep.bundle:
            yield f"{sweep.name} was read from", str(sweep.bundle)
        for run in (run for run in sweep.runs if run.is_scored):
            fingerprint = run.posteriors.manifest.get("data_fingerprint")
            yield f"data of {sweep.name}", f"{run.config['data']['name']}, fingerprint {fingerprint}"


def runs_grid(report: Contents) -> Grid:
    """Every run, and what it cost."""
    several = len(report.sweeps) > 1
    rows = [
        run.record
        | {
            "run": f"{sweep.name}/{run.folder.id}" if several else run.folder.id,
            "state": "scored" if run.is_scored else str(run.folder.status().get("state", "not started")),
            "commit": str(run.record.get("commit") or "")[:10],
        }
        for sweep in report.sweeps
        for run in sweep.runs
    ]
    return plain_grid(TextTable.of("runs", "Every run", _RUN_COLUMNS, rows))


_RUN_COLUMNS = (
    text("run"),
    text("state"),
    number("steps", "steps", 0, sign=","),
    number("train_seconds", "training (min)", factor=1 / 60, sign=","),
    number("score_seconds", "scoring (min)", factor=1 / 60, sign=","),
    number("peak_memory_bytes", "peak (MB)", 0, factor=1e-6, sign=","),
    text("device_name", "device"),
    text("precision"),
    text("commit"),
)


def commands_of(report: Contents) -> list[str]:
    """What makes these runs again."""
    seeds: dict[tuple[str, ...], list[int]] = {}
    for run in _runs(report)[:MAX_ROWS]:
        words = (f"protocol={run.config['protocol']['name']}", *run.overrides)
        seeds.setdefault((run.name, run.train_scale, *words), []).append(run.seed)
    return commands.merged(commands.multirun(*words, seeds=numbers) for words, numbers in seeds.items())
