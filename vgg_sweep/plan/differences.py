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
    begun = {run.id: made for run in runs if (made := _made(run))}
    new = [run for run in runs if run.id not in begun]
    return [*_new_because(new, {run.id for run in runs}), *_made_otherwise(runs, begun)]


def _made(run: Run) -> dict[str, Any]:
    """What a run was begun with and, if it is trained, made with; empty for a new one."""
    return {**run.folder.status().get("made_with", {}), **run.folder.record()}


def _new_because(new: Iterable[Run], asked: set[str]) -> list[str]:
    beside = _Beside(asked)
    alike: dict[str, list[tuple[Run, str]]] = defaultdict(list)
    for run in new:
        others = ((_differing(run, config), id) for id, config in beside.configs(run))
        values, other = min(others, key=lambda found: len(found[0]), default=({}, None))
        if other is not None:
            alike[_listed(values)].append((run, other))
    return [
        f"New because of {reason}: {some([f'{run.id} (there is {other})' for run, other in pairs], 1)}."
        for reason, pairs in alike.items()
    ]


class _Beside:
    """Runs in the folders of a sweep that were not asked for now."""

    def __init__(self, asked: set[str]) -> None:
        self._asked, self._left = asked, READ_RUNS
        self._listed: dict[Path, dict[str, list[Path]]] = {}
        self._read: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}

    def configs(self, run: Run) -> list[tuple[str, Mapping[str, Any]]]:
        """The ids and config.yaml of the newest runs of the same net, train scale and seed as `run`."""
        slug, sweep = run.id.rpartition("-")[0], run.folder.path.parent
        if sweep not in self._listed:
            self._listed[sweep] = defaultdict(list)
            for file in sweep.glob("*/config.yaml"):
                if file.parent.name not in self._asked:
                    self._listed[sweep][file.parent.name.rpartition("-")[0]].append(file)
        if slug not in self._read:
            files = sorted(self._listed[sweep][slug], key=lambda file: file.stat().st_mtime)
            newest = files[-min(NEAREST_RUNS, self._left) :] if self._left else []
            self._left -= len(newest)
            self._read[slug] = [(file.parent.name, config_in(file)) for file in newest]
        return self._read[slug]


def _differing(run: Run, other: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `run` that are not those of the configuration `other`, by dotted name."""
    ours, theirs = _net_and_settings(asdict(run.config)), _net_and_settings(other)
    defaults = schema_defaults()
    return {
        name: ours.get(name, defaults.get(name))
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name, defaults.get(name)) != theirs.get(name, defaults.get(name))
    }


def _net_and_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    nets = flat({part: config[part] for part in ("model", "train_scale")})
    return nets | settings(config)


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
