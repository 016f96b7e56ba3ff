"""The command lines that would fill a gap in a report: the settings of a sweep, written as overrides."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from itertools import product
from typing import Any

from omegaconf import OmegaConf

from vgg_sweep.config.options import conf_dir
from vgg_sweep.config.schema import Config
from vgg_sweep.plan.runs import ARITHMETIC

DECIDING = ("crop", "width", "classes", "pool_ceil", "warm_start", "recipe", "data", *ARITHMETIC)
"""The parts of a configuration that all runs of a table share; model, train scale and seed tell its rows apart."""

_COVERS = {"multi": ("single",), "crops": ("single", "multi"), "centre": ("single",)}
"""The options of conf/protocol whose passes are among those of another."""

_NOT_A_SETTING = ("data.root", "data.source", "recipe.name")


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"recipe": {"lr": 1}} -> {"recipe.lr": 1}."""
    values: dict[str, Any] = {}
    for key, value in nested.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return values


@cache
def schema_defaults() -> dict[str, Any]:
    """The default of every setting, by dotted name: the paper's values."""
    return flat(asdict(Config()))


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, by dotted name, that differ from the schema's defaults and decide its result."""
    return _settings(_deciding(config))


def _deciding(config: Mapping[str, Any]) -> str:
    """As text, so that the many runs of a sweep that share these parts are looked at once."""
    return json.dumps({part: config[part] for part in DECIDING if part in config})


@cache
def _settings(deciding: str) -> dict[str, Any]:
    defaults = schema_defaults()
    return {
        name: value
        for name, value in flat(json.loads(deciding)).items()
        if name not in _NOT_A_SETTING and value != defaults.get(name)
    }


@cache
def _recipe_option(name: str) -> dict[str, Any]:
    path = conf_dir() / "recipe" / f"{name}.yaml"
    return flat(OmegaConf.to_container(OmegaConf.load(path)), "recipe.") if path.exists() else {}  # type: ignore[arg-type]


def settings_overrides(config: Mapping[str, Any], sweep: str) -> list[str]:
    """Overrides that ask for the settings of `config` again, except for model, train scale, seed and protocol."""
    return _overrides(_deciding(config), sweep)


@cache
def _overrides(deciding: str, sweep: str) -> list[str]:
    config = json.loads(deciding)
    recipe = config["recipe"]["name"]
    name, source = config["data"]["name"], config["data"]["source"]
    chosen = {"data": name, "recipe": recipe, "crop": config["crop"], "width": config["width"]}
    if not (conf_dir() / "data" / f"{name}.yaml").exists():  # the user's own name for a set of class folders
        chosen |= {"data": source, "data.name": name}
    if (root := config["data"].get("root")) is not None:
        chosen["data.root"] = root
    given = schema_defaults() | _recipe_option(recipe)
    for name, value in flat(config).items():
        if name not in (*_NOT_A_SETTING, "data.name", "crop", "width") and value != given.get(name):
            chosen[name] = value
    if sweep != f"outputs/{config['data']['name']}":
        chosen["out"] = sweep
    return [f"{name}={_value(value)}" for name, value in chosen.items()]


def _value(value: Any) -> str:
    """As Hydra reads it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def command(verb: str, *overrides: str) -> str:
    """A `vgg-sweep` command line that a shell takes as it is."""
    return shlex.join(["vgg-sweep", verb, *overrides])


def merged(commands: Iterable[str]) -> list[str]:
    """Fewer commands that do the same as `commands`, each of which may be several joined by `&&`.

    One under a protocol that another covers is dropped; those that differ only in `model`, then only in `train_scale`,
    become one.
    """
    apart = (words for joined in commands for line in joined.split(" && ") for words in _expanded(shlex.split(line)))
    lines = _without_covered([list(words) for words in dict.fromkeys(apart) if words])
    for key in ("model=", "train_scale="):
        groups: dict[tuple[str, ...], list[str]] = {}
        for words in lines:
            rest = tuple(key if word.startswith(key) else word for word in words)
            groups.setdefault(rest, []).extend(word.removeprefix(key) for word in words if word.startswith(key))
        lines = [
            [key + ",".join(dict.fromkeys(values)) if word == key else word for word in rest]
            for rest, values in groups.items()
        ]
    return [shlex.join(words) for words in lines]


def _expanded(words: list[str]) -> list[tuple[str, ...]]:
    """One command for each net and train scale of a `multirun`."""
    choices = [
        [f"{name}={value}" for value in values.split(",")] if name in ("model", "train_scale") else [word]
        for word in words
        for name, _, values in [word.partition("=")]
    ]
    return list(product(*choices))


def _without_covered(lines: list[list[str]]) -> list[list[str]]:
    """Drop a command if the same one is there with a protocol that covers its own."""
    wanted: dict[tuple[str, ...], set[str]] = {}
    for words in lines:
        wanted.setdefault(_without_protocol(words), set()).update(words)

    def is_covered(words: list[str]) -> bool:
        others = wanted[_without_protocol(words)]
        return any(
            f"protocol={narrow}" in words and f"protocol={wide}" in others
            for wide, narrow_ones in _COVERS.items()
            for narrow in narrow_ones
        )

    return [words for words in lines if not is_covered(words)]


def _without_protocol(words: list[str]) -> tuple[str, ...]:
    return tuple(word for word in words if not word.startswith("protocol="))
