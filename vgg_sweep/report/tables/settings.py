"""How the runs of a report were made: where their settings differ from the paper's, and sweeps from one another."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from vgg_sweep.plan import commands
from vgg_sweep.protocols import paper
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.compare import two_names
from vgg_sweep.report.tables.table import Column, Table, text


def deviations(configs: Iterable[Mapping[str, Any]], num_classes: Iterable[int] = ()) -> pd.DataFrame:
    """The settings that differ from the paper's (the schema's defaults), with every value that occurs in `configs`."""
    defaults = commands.schema_defaults() | {"data": "imagenet", "classes": 1000}
    here: dict[str, list[Any]] = {}
    for config in configs:
        changed = {name: value for name, value in commands.settings(config).items() if not name.startswith("data.")}
        if (scale := paper.TRAIN_SCALES.get(config["train_scale"]["name"])) != tuple(config["train_scale"]["S"]):
            changed[f"S of {config['train_scale']['name']}"] = config["train_scale"]["S"]
            defaults[f"S of {config['train_scale']['name']}"] = scale
        for name, value in {"data": config["data"]["name"], **changed}.items():
            here.setdefault(name, []).append(value)
    here["classes"] = list(num_classes)
    rows = []
    for name, values in here.items():
        if distinct := [value for value in {str(value): value for value in values} if value != str(defaults[name])]:
            rows.append(
                {"table": "deviations", "setting": name, "paper": str(defaults[name]), "here": ", ".join(distinct)}
            )
    return pd.DataFrame(rows, columns=["table", "setting", "paper", "here"])


def differences(sweeps: Sequence[tuple[str, Sequence[ReportedRun]]]) -> pd.DataFrame:
    """What other sweeps do not have in common with the first, a row for each of settings, data, versions and machine.

    `value` lists what occurs in the first, `other_value` what in the other. Empty for one sweep.
    """
    changed = dict.fromkeys(name for _, runs in sweeps for run in runs for name in run.settings)
    (first, here), *others = ((sweep, _made_with(runs, changed)) for sweep, runs in sweeps)
    rows = [
        {"table": "differences", "setting": name, "sweep": first, "other_sweep": other}
        | {"value": _listed(here, name), "other_value": _listed(there, name)}
        for other, there in others
        for name in here | there
        if here.get(name, set()) != there.get(name, set())
    ]
    return pd.DataFrame(rows)


def _listed(values: Mapping[str, set[str]], name: str) -> str:
    return ", ".join(sorted(values.get(name, ())))


def _made_with(runs: Sequence[ReportedRun], settings: Iterable[str]) -> dict[str, set[str]]:
    """By name, the values that occur among `runs`."""
    defaults = commands.schema_defaults()
    values = {"data": {str(run.config["data"]["name"]) for run in runs}}
    values |= {name: {str(run.settings.get(name, defaults.get(name))) for run in runs} for name in settings}
    records = [run.record for run in runs]
    for name in ("commit", "device_name", "precision"):
        values[name] = {str(record[name]) for record in records if record.get(name)}
    values["data fingerprint"] = {run.data_fingerprint for run in runs if run.is_scored}
    for record in records:
        for package, version in record.get("versions", {}).items():
            values.setdefault(f"version of {package}", set()).add(str(version))
    return values


def _deviations(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    num_classes = dict.fromkeys(count for sweep in sweeps for count in sweep.results.get("n_classes", ()))
    return deviations([run.config for sweep in sweeps for run in sweep.runs], num_classes)


def _differences(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    return differences([(sweep.name, sweep.runs) for sweep in sweeps])


def _deviation_columns(frame: pd.DataFrame) -> list[Column]:
    return [text(key, wrap=40) for key in ("setting", "paper", "here")]


def _difference_columns(frame: pd.DataFrame) -> list[Column]:
    first, other = two_names(frame)
    return [text("setting", wrap=30), text("value", first, wrap=30), text("other_value", other, wrap=30)]


DEVIATIONS = Table("deviations", "Settings that differ from the paper's", _deviations, _deviation_columns, of="runs")
DIFFERENCES = Table("differences", "What differs between the sweeps", _differences, _difference_columns, of="runs")
