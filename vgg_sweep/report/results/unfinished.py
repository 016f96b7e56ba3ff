"""What a sweep still lacks: which rows wait for runs, how far these are, and when to report again."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from vgg_sweep.plan.commands import command
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.runs.folder import RunFolder, find_nameless, find_runs

LOOK_EVERY_SECONDS = 2.0
BETWEEN_RUNS_SECONDS = 30.0
"""As long may pass between the end of a run and the start of another before a sweep counts as stopped."""

Waiting = dict[tuple[str, str, str], Counter[str]]
"""(sweep, label of settings, net) -> the states of its runs that are not scored."""


def mark(frame: pd.DataFrame, waiting: Waiting) -> pd.DataFrame:
    """A table of nets with `unfinished`: the states of those runs of each row that are not scored."""
    found = []
    for row in frame.to_dict("records"):
        nets = str(row["config"]).split(" + ") if "S" not in row else [f"{row['config']}-{row['train_scale']}"]
        if "boxes" in row:
            scales = str(row["train_scale"]).split(" + ")
            nets = [f"{row['config']}-{S} {row['boxes']} {row['trainable']}" for S in scales]
        states = sum((waiting.get((row["sweep"], row["settings"], net), Counter()) for net in nets), Counter[str]())
        found.append(", ".join(f"{count} {state}" for state, count in states.items()))
    return frame.assign(unfinished=found)


def waiting(sweep: Sweep) -> Waiting:
    """Of a sweep. A run is counted in the rows of those that share its settings; where there are none, it has no row to
    be missing in.
    """
    runs = [*sweep.runs, *sweep.localised.runs]
    keys = [json.dumps(run.group_settings) for run in runs]
    frames = [frame for frame in (sweep.results, sweep.localised.errors) if len(frame)]
    labels = {id: label for each in frames for id, label in zip(each["run_id"], each["settings"], strict=True)}
    label_of = {key: labels[run.id] for run, key in zip(runs, keys, strict=True) if run.id in labels}
    found: Waiting = defaultdict(Counter)
    for run, key in zip(runs, keys, strict=True):
        if not run.is_scored and key in label_of:
            found[sweep.name, label_of[key], run.row_name][state(run.folder)] += 1
    return found


def state(folder: RunFolder) -> str:
    return str(folder.status().get("state", "new"))


def how_far(folder: RunFolder) -> str:
    """The state of a run that is not scored, and where it is, such as "running, train 43 %"."""
    status = folder.status()
    share = f", {status['stage']} {100 * status['step'] / status['num_steps']:.0f} %" if status.get("num_steps") else ""
    return f"{status.get('state', 'not started')}{share}"


def progress_lines(sweep: Sweep) -> list[str]:
    """How many runs of a sweep are scored, which are not and why, and which did without some images."""
    without = [run for run in sweep.runs if not run.is_scored]
    nameless = find_nameless(sweep.folder)
    num_runs = len(sweep.runs) + len(nameless)
    scored = f"{len(sweep.runs) - len(without)} of {num_runs} runs scored." if num_runs else "no classification run."
    lines = [f"{sweep.name}: {scored}"]
    lines += [f"  not reported: {folder.id} has no config.yaml; put back a copy of it" for folder in nameless]
    lines += [f"  not scored: {run.id} ({how_far(run.folder)})" for run in without[:10]]
    if boxes := sweep.localised.runs:
        waiting = [run for run in boxes if not run.is_scored]
        lines.append(f"  {len(boxes) - len(waiting)} of {len(boxes)} localisation runs have predicted boxes.")
        lines += [f"  no boxes yet: {run.id} ({how_far(run.folder)})" for run in waiting[:10]]
    if len(without) > 10:
        lines.append(f"  and {len(without) - 10} more; see `{command('status', sweep.name)}`")
    for kind in ("train", "val"):
        bad = {run.id: images for run in sweep.runs if (images := run.record.get(f"bad_{kind}_images"))}
        if bad:
            most = max(bad.values(), key=len)
            lines.append(
                f"  {len(bad)} of its runs left out {kind} images that cannot be decoded, "
                f"up to {len(most)}, such as {most[0]} (data.on_bad_image)."
            )
    return lines


def refreshes(sweeps: Sequence[Path]) -> Iterator[None]:
    """Once, and again whenever a run has come further, until nothing has been at work for a while."""
    seen, at_work_at = None, time.monotonic()
    while True:
        now = {folder.path: _progress(folder) for sweep in sweeps for folder in find_runs(sweep)}
        if now != seen:
            yield
            seen = now
        states = Counter(state for state, *_ in now.values())
        if states["running"]:
            at_work_at = time.monotonic()
        elif not states["new"] or time.monotonic() - at_work_at > BETWEEN_RUNS_SECONDS:
            return
        time.sleep(LOOK_EVERY_SECONDS)


def _progress(folder: RunFolder) -> tuple[Hashable, ...]:
    """What changes with a run's state or stage, with every tenth of that, and when it is scored."""
    status = folder.status()
    tenths = int(10 * status["step"] / status["num_steps"]) if status.get("num_steps") else 0
    manifest = folder.posteriors / "manifest.json"
    scored = manifest.stat().st_mtime_ns if manifest.exists() else 0
    return status.get("state", "new"), status.get("stage"), tenths, scored
