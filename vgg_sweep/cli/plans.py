"""`--plan`: what a sweep or a scoring will do, how long that takes and how much disk it needs, as far as known; and
`--smoke`: each run takes a few steps and scores a few images, in a temporary folder.
"""

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vgg_sweep.cli.screen import plain_table, run_name, size
from vgg_sweep.cli.status import STYLES, value_text
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import counted
from vgg_sweep.plan import commands
from vgg_sweep.plan.passes import missing, passes
from vgg_sweep.plan.runs import Run
from vgg_sweep.plan.swept import settings_to_show
from vgg_sweep.protocols.passes import BYTES_PER_POSTERIOR, NPY_HEADER_BYTES, Pass
from vgg_sweep.runs.files import num_bytes, read_json
from vgg_sweep.score.cost import macs, macs_per_second, validation_set
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.forecast import Forecast, planned_states
from vgg_sweep.sweep.status import duration

LONG = 100
"""A plan of more runs leaves out those that are done."""


def plan_table(agenda: Agenda, forecast: Forecast, notes: Iterable[str] = ()) -> RenderableType:
    """The runs of a sweep in order, before it starts: settings in which they differ, parent, state, time each will take
    as far as known, disk: what it has, or will have when it is done. Of a long sweep those that are done are counted
    only.
    """
    recipes = [run.config.recipe.name for run in agenda.runs]
    differing = settings_to_show([commands.settings(asdict(run.config)) for run in agenda.runs], recipes)
    settings = dict(zip((run.id for run in agenda.runs), differing, strict=True))
    names = ("run", *(differing[0] if differing else ()), "parent", "state", "time", "disk")
    lines = plain_table(names, ("time", "disk"))
    states, short = planned_states(agenda), _short_names(agenda.runs)
    folders = sorted({str(run.folder.path.parent) for run in agenda.runs})
    used = {run.id: num_bytes(run.folder.path) for run in agenda.runs}
    is_long = len(agenda.runs) > LONG
    for run in (run for run in agenda.runs if not (is_long and states[run.id] == "done")):
        state, will_use = states[run.id], forecast.bytes[run.id]
        lines.add_row(
            run_name(run.id if len(folders) == 1 else str(run.folder.path)),
            *(Text(value_text(value)) for value in settings[run.id].values()),
            run_name(short.get(run.parent.id, run.parent.id) if run.parent else ""),
            Text(state, STYLES.get(state.partition(" ")[0], "")),
            duration(forecast.seconds[run.id]) if run.id in forecast.seconds else "-",
            size(used[run.id]) if state == "done" else f"~ {size(max(will_use, used[run.id]))}",
        )
    todo = [run for run in agenda.runs if states[run.id].partition(" ")[0] in ("new", "resume", "retry", "score")]
    count, num_done = len(agenda.runs), len(agenda.in_state("done"))
    summary = f"In {', '.join(folders)}: {counted(count, 'run')}, {num_done} done, {len(todo)} to do"
    if todo and all(run.id in forecast.seconds for run in todo):
        summary += f"; {duration(sum(forecast.seconds[run.id] for run in todo))} of work"
    texts = [Text(f"{summary}.")]
    if todo:
        more = sum(max(0, forecast.bytes[run.id] - used[run.id]) for run in todo)
        texts.append(_disk_line(more, forecast.working_bytes, agenda.runs[0].folder.path))
    return Group(*([lines] if lines.row_count else []), *texts, *(Text(note, "yellow") for note in notes))


def _disk_line(more: int, working: int, folder: Path) -> Text:
    free = shutil.disk_usage(next(path for path in folder.absolute().parents if path.exists())).free
    checkpoints = f", plus {size(working)} for the checkpoints of each active run" if working else ""
    return Text(
        f"They need about {size(more)} of disk space{checkpoints}; {size(free)} is free.",
        "red" * (more + working > free),
    )


def _short_names(runs: Sequence[Run]) -> dict[str, str]:
    """Ids without their hash where that is not needed to tell them apart."""
    slugs = {run.id: run.id.rpartition("-")[0] or run.id for run in runs}
    counts = Counter(slugs.values())
    return {id: slug if counts[slug] == 1 else id for id, slug in slugs.items()}


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
    numbers = ("Q", "views/image", "multiply-adds", "disk", "time")
    lines = plain_table(("method", "Q", "flip", "views/image", "state", *numbers[2:]), numbers)

    def costs(those: Sequence[Pass]) -> list[str]:
        total = sum(cost[each] for each in those)
        return [_short(total), f"{_short(len(those) * num_bytes)}B", duration(total / speed) if speed else "-"]

    for each in wanted:
        state = Text("to do") if each in todo else Text("done", "green")
        flip = "yes" if each.flip else "no"
        lines.add_row(each.method, str(each.Q), flip, str(each.views), state, *costs([each]))
    for name, those in (("total", wanted), ("to do", [each for each in wanted if each in todo])):
        lines.add_row(name, "", "", str(sum(each.views for each in those)), "", *costs(those), style="bold")
    trained = "" if run.folder.is_trained else " It is not trained yet; `vgg-sweep train` trains and scores it."
    return Group(lines, Text(f"{run.folder.path}: {len(todo)} of {len(wanted)} passes to do.{trained}"))


def _short(count: int) -> str:
    """12.5 G, 48.1 k, 0."""
    if count == 0:
        return "0"
    factor, prefix = next(((f, p) for f, p in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if count >= f), (1e3, "k"))
    return f"{count / factor:.1f} {prefix}"


FOLDER = ".smoke"
"""In the folder of the sweep."""
STEPS = 20


def smoke(config: Config) -> Config:
    """What is tried of `config`: a few steps of its training, on a sample of its images."""
    recipe = replace(config.recipe, max_steps=min(STEPS, config.recipe.max_steps))
    return replace(config, smoke=True, out=str(Path(config.out) / FOLDER), recipe=recipe)


def smoke_table(agenda: Agenda, whole: Iterable[Run]) -> Table:
    """What the runs of `agenda`, which were tried, measured, and how long the `whole` ones will train at that speed."""
    numbers = ("s/step", "whole run", "memory", "data wait")
    lines = plain_table(("run", "state", *numbers), numbers)
    for run, full in zip(agenda.runs, whole, strict=True):
        record, status, state = run.folder.record(), run.folder.status(), agenda.states[run.id]
        seconds = record.get("step_seconds")
        if seconds is None:
            lines.add_row(Text(run.id), state, "", "", "", "")
            continue
        wait = status.get("wait_share", 0.0)
        lines.add_row(
            Text(run.id),
            state,
            f"{seconds / max(1 - wait, 0.01):.2f}",
            duration(_num_steps(full, run) * seconds / max(1 - wait, 0.01)),
            f"{record['peak_memory_bytes'] / 1e9:.1f} GB",
            f"{wait:.0%}",
        )
    return lines


def _num_steps(full: Run, tried: Run) -> int:
    """Of a whole run; how many images there are the tried one has noted."""
    recipe, fractals = full.config.recipe, full.config.data.fractals
    drawn = fractals.num_classes * fractals.train_per_class
    num_images = drawn if full.config.data.source == "fractals" else read_json(tried.folder.origin)["num_train"]
    return min(recipe.max_steps, math.ceil(full.epochs * math.ceil(num_images / recipe.batch_size)))


def throw_away(tried: Sequence[Run]) -> None:
    """Remove the folders of runs that were tried."""
    for folder in {run.folder.path.parent for run in tried}:
        if folder.name == FOLDER:
            shutil.rmtree(folder, ignore_errors=True)
