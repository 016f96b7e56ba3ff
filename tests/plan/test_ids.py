"""Run ids: those of older runs stay, and each field of the schema decides id and report alike."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest
from omegaconf import OmegaConf

from vgg_sweep.config.checks import checked
from vgg_sweep.config.options import load_option
from vgg_sweep.config.roles import Role
from vgg_sweep.config.schema import Config
from vgg_sweep.config.vocabulary import SchemaField, schema_fields
from vgg_sweep.plan.commands import settings
from vgg_sweep.plan.runs import plan

OLDER_IDS: dict[str, list[str]] = json.loads(Path(__file__).with_name("ids.json").read_text())
"""Net, train scale and settings -> the ids of the run's chain, as computed by the code of November 2026."""

REQUIRED = ("recipe.name=paper", "data.name=fractals", "data.source=fractals")
IMPORTED = ("imported.sha256=0123456789abcdef", "imported.source=caffe")
INHERITED = ("model.parent", "train_scale.parent")
"""Fields that say which run is the parent: another name makes another chain, or none."""


def composed(asked: str) -> Config:
    model, train_scale, *settings = asked.split()
    options = {group: load_option(group, name) for group, name in
               (("model", model), ("train_scale", train_scale), ("protocol", "single"))}  # fmt: skip
    raw = OmegaConf.structured(Config(**options))
    return checked(OmegaConf.merge(raw, OmegaConf.from_dotlist([*REQUIRED, *settings])))  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", OLDER_IDS)
def test_ids_of_older_runs_stay(asked: str) -> None:
    assert [run.id for run in plan([composed(asked)])] == OLDER_IDS[asked]


def another_value(name: str, field: SchemaField) -> Any:
    """A value that is allowed and is not the default."""
    special = {"crop": 96, "train_scale.S": [300, 400], "protocol.passes": ["dense@multi"], "jobs": "3",
               "model.columns": ["conv3-64", "maxpool"], "sweep.grids": [{"model": "A"}],
               "data.decode": "scaled"}  # fmt: skip
    if name in special or name in INHERITED:
        return special.get(name)
    if field.rules.choices:
        default = {"data.source": "fractals"}.get(name, field.default)
        return next(each for each in reversed(field.rules.choices) if each != default)
    if name == "transfer.shots":
        return [1, 2]
    kind = next(iter(get_args(field.kind) if None in [*get_args(field.kind)] else []), field.kind)
    if kind is bool:
        return not field.default
    if isinstance(field.default, int | float) or name in (
        "classes",
        "data.val_share",
        "transfer.train_per_class",
        "transfer.test_per_class",
    ):
        is_share = field.rules.below == 1 or name == "data.val_share"
        return 0.25 if is_share else 7
    if isinstance(field.default, list):
        return [0.3, 0.6, 0.7]
    return True if "mirrored" in name else "other"


@pytest.mark.parametrize("name", [name for name in schema_fields() if name != "start_from"])  # tests/plan/test_start.py
def test_a_field_decides_the_id_and_the_report_alike(name: str) -> None:
    """Alike means: what makes another run makes another row or another group of settings, and nothing else does."""
    field = schema_fields()[name]
    base = "D 384" if not name.startswith(("imported.", "preprocessing.")) else f"D 384 {' '.join(IMPORTED)}"
    if name == "boxes" or name.startswith("localise."):
        base = "D 384 task=localise"
    changed = OmegaConf.structured(composed(base))
    OmegaConf.update(changed, name, another_value(name, field))
    before, after = plan([composed(base)])[-1], plan([checked(changed)])[-1]
    assert asdict(before.config) != asdict(after.config)
    makes_another_run = before.id != after.id
    is_told_apart = field.rules.role is Role.NET or settings(asdict(before.config)) != settings(asdict(after.config))
    assert makes_another_run == is_told_apart == (field.rules.role in (Role.NET, Role.SETTING, Role.ARITHMETIC))


def test_images_packed_smaller_decide_and_other_caches_do_not() -> None:
    def both(cache: str) -> tuple[str, dict[str, Any]]:
        run = plan([composed(f"A 256 data.cache={cache}")])[-1]
        return run.id, {name: value for name, value in settings(asdict(run.config)).items() if "name" not in name}

    assert both("none") == both("memory") == both("auto")
    packed, settings_of_packed = both("packed")
    assert packed != both("auto")[0] and settings_of_packed["data.cache"] == "packed"


def test_every_field_says_what_it_decides() -> None:
    roles = {name: field.rules.role for name, field in schema_fields().items()}
    assert {name for name, role in roles.items() if role is Role.ARITHMETIC} == {"precision", "tf32", "deterministic"}
    work = {name for name, role in roles.items() if role is Role.WORK}
    assert {"data.cache", "data.download", "cache", "device", "threads", "workers"} <= work
