"""How a sweep differs from runs that exist already: new because of a setting, or made with other versions."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vgg_sweep.config.roles import Role
from vgg_sweep.config.vocabulary import schema_fields
from vgg_sweep.errors import some
from vgg_sweep.plan.commands import flat, schema_defaults, settings
from vgg_sweep.plan.configs import config_in
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.naming import folders_in
from vgg_sweep.runs.provenance import changes, made_with

NEAREST_RUNS = 3
"""How many runs of other settings, the newest of a net, train scale and seed, are compared with a new one."""
READ_RUNS = 60
"""How many are read in all, which takes a moment each."""
NAMED_SETTINGS = 4
LONGEST_VALUE = 24


def notes(runs: Sequence[Run]) -> list[str]:
    """Sentences to read before a sweep begins.

    Why runs are new although one of the same net, train scale and seed exists; and which of those that have begun, or
    are done, were made with other versions, code, arithmetic or parents than would be used now.
    """
    runs = [run for run in runs if not run.is_at_hand]
    made = {run.id: {**run.folder.status().get("made_with", {}), **run.folder.record()} for run in runs}
    begun = {id: with_what for id, with_what in made.items() if with_what}
    new = [run for run in runs if run.id not in begun]
    return [*_new_because(new, {run.id for run in runs}), *_made_otherwise(runs, begun)]


def _new_because(new: Sequence[Run], asked: set[str]) -> list[str]:
    beside = _beside(new, asked)
    alike: dict[str, list[tuple[Run, str]]] = defaultdict(list)
    for run in new:
        others = ((_differing(run, config), folder) for folder, config in beside[run.id.rpartition("-")[0]])
        near = (each for each in others if len(each[0]) == 1 or each[1].parent == run.folder.path.parent)
        values, other = min(near, key=lambda each: len(each[0]), default=({}, None))
        if other is not None:
            is_sibling = other.parent != run.folder.path.parent
            alike[_listed(values)].append((run, str(other) if is_sibling else other.name))
    return [
        f"New because of {reason}: {some([f'{run.id} (there is {other})' for run, other in pairs], 1)}."
        for reason, pairs in alike.items()
    ]


def _beside(new: Sequence[Run], asked: set[str]) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
    """For each net, train scale and seed of the `new` runs the folders and config.yaml of the newest that lie beside
    them, or, if these are few, in sweeps beside theirs, and were not asked for now.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    sweeps = {run.folder.path.parent for run in new}
    siblings = {each for sweep in sweeps for each in folders_in(sweep.parent) if not each.is_symlink()}  # seen once
    for sweep in sweeps | siblings:
        for file in sweep.glob("*/config.yaml"):
            if file.parent.name not in asked:
                files[file.parent.name.rpartition("-")[0]].append(file)
    found, num_left = {}, READ_RUNS
    for slug in dict.fromkeys(run.id.rpartition("-")[0] for run in new):
        in_turn = sorted(files[slug], key=lambda file: (file.parents[1] not in sweeps, -file.stat().st_mtime))
        newest = in_turn[: min(NEAREST_RUNS, num_left)]
        num_left -= len(newest)
        found[slug] = [(file.parent, config_in(file)) for file in reversed(newest)]
    return found


def _differing(run: Run, other: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `run` that are not those of the configuration `other`, by dotted name."""
    ours, theirs = (
        schema_defaults() | flat({part: config[part] for part in ("model", "train_scale")}) | settings(config)
        for config in (asdict(run.config), other)
    )
    return {name: ours[name] for name in ours if ours[name] != theirs[name]}


def _listed(values: Mapping[str, Any]) -> str:
    """recipe.lr=0.02, crop=64 and 3 other settings."""
    if not values:
        return "what it starts from"
    texts = [f"{name}={value}" if len(str(value)) <= LONGEST_VALUE else name for name, value in values.items()]
    return some(texts, NAMED_SETTINGS)


def _made_otherwise(runs: Iterable[Run], begun: Mapping[str, Mapping[str, Any]]) -> list[str]:
    now = made_with()
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for run in runs:
        if run.id in begun:
            made = begun[run.id]
            alike[(*changes(made, now), *_other_arithmetic(run, made), *_other_parent(run, made))].append(run.id)
    return [f"Made differently: {'; '.join(changed)}: {some(ids, 2)}." for changed, ids in alike.items() if changed]


def _other_arithmetic(run: Run, record: Mapping[str, Any]) -> list[str]:
    """Where it is asked for by name, or always where it does not make another run."""
    config = asdict(run.config)
    return [
        f"{name} {record[name]}, now {config[name]}"
        for name, (_, default, rules) in schema_fields().items()
        if rules.role is Role.ROUNDING or (rules.role is Role.ARITHMETIC and config[name] != default)
        if config[name] != record.get(name, config[name])
    ]


def _other_parent(run: Run, record: Mapping[str, Any]) -> list[str]:
    """Whether the weights that the run started from have since been trained anew."""
    started_from = record.get("parent_weights_sha256")
    if run.parent is None or started_from is None:
        return []
    scored = read_json(run.parent.folder.posteriors / "manifest.json")
    there = scored.get("weights_fingerprint", started_from)
    return [] if there == started_from else [f"started from other weights than {run.parent.id} has now"]
