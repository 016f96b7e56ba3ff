"""The command lines that would fill a gap in a report: the settings of a sweep, written as overrides."""

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import groupby, product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vgg_sweep.config.options import conf_dir
from vgg_sweep.config.roles import Role, Rules
from vgg_sweep.config.vocabulary import schema_fields

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./@-]*( [A-Za-z0-9_./@-]+)*")
"""Text that Hydra reads as it stands, unless it is a word such as `null`."""
OF_BOXES = "localise."
"""What the settings that only a run of task=localise has begin with."""


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"recipe": {"lr": 1}} -> {"recipe.lr": 1}."""
    values: dict[str, Any] = {}
    for key, value in nested.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return values


@cache
def schema_defaults() -> dict[str, Any]:
    """The default of every setting, by dotted name: the paper's values."""
    return {name: each.default for name, each in schema_fields().items()}


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the result of a run beside net, train scale and seed, by dotted name, where it is no default; of one
    that localises all that says how.
    """
    return _settings(_shared(config), config.get("task", "classify"))


def _shared(config: Mapping[str, Any]) -> str:
    """The parts of `config` that a table's runs share, as text, so that they are looked at once for many runs."""
    shared = (Role.SETTING, Role.ARITHMETIC)
    parts = dict.fromkeys(name.split(".")[0] for name, each in schema_fields().items() if each.rules.role in shared)
    return json.dumps({part: config[part] for part in parts if part in config})


@cache
def _settings(shared: str, task: str) -> dict[str, Any]:
    known, values = schema_fields(), flat(json.loads(shared))
    unused = "data.fractals." if values.get("data.source") != "fractals" else "?"
    if values.get("start_from") is not None:
        values["start_from"] = Path(values["start_from"]).name  # wherever that run lies now
    return {
        name: value
        for name, value in values.items()
        if name in known and known[name].rules.decides(value)
        if value != known[name].default or (task == "localise" and name.startswith(OF_BOXES))
        if not name.startswith(unused)
    }


@cache
def _option(group: str, name: str, prefix: str = "") -> dict[str, Any]:
    """What the file of an option of `conf/` sets, with the options of its group that it builds on; nothing if it is the
    user's own.
    """
    path = conf_dir() / group / f"{name}.yaml"
    if not path.exists():
        return {}
    settings: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[assignment]
    bases = [base for base in settings.pop("defaults", []) if isinstance(base, str) and base != "_self_"]
    return {k: v for base in bases for k, v in _option(group, base, prefix).items()} | flat(settings, prefix)


def settings_overrides(config: Mapping[str, Any], sweep: str) -> list[str]:
    """Overrides that ask for the settings of `config` again, except for model, train scale, seed and protocol."""
    return _overrides(_shared(config), sweep)


@cache
def _overrides(shared: str, sweep: str) -> list[str]:
    values, known = flat(json.loads(shared)), schema_fields()
    recipe, data = values["recipe.name"], values["data.name"]
    chosen = {"data": data, "recipe": recipe, "crop": values["crop"], "width": values["width"]}
    if not _option("data", data):  # the user's own name for a set of class folders
        chosen |= {"data": values["data.source"], "data.name": data}
    given = schema_defaults() | _option("data", chosen["data"]) | _option("recipe", recipe, "recipe.")
    for name, value in values.items():
        rules = known[name].rules if name in known else Rules(Role.REQUEST)
        if name not in {"data.source", "data.name", *chosen} and value != given.get(name):
            if rules.role is Role.DATA or rules.decides(value):
                chosen[name] = value
    if sweep != f"outputs/{data}":
        chosen["out"] = sweep
    return [override(name, value) for name, value in chosen.items()]


def override(name: str, value: Any) -> str:
    """`name=value` as Hydra reads it back: text that is not plain in quotes, of which a shell's are the outer ones."""
    if not isinstance(value, str):
        return f"{name}={json.dumps(value, separators=(',', ':'))}"
    if _PLAIN.fullmatch(value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return f"{name}={value}"
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # no interpolation
    quoted = re.sub(r"(\\+)\Z", r"\1\1", re.sub(r'(\\*)"', r'\1\1\\"', literal))
    return f'{name}="{quoted}"'


def command(verb: str, *overrides: str) -> str:
    """A `vgg-sweep` command line that a shell takes as it is."""
    return shlex.join(["vgg-sweep", verb, *overrides])


def multirun(model: str, train_scale: str, *words: str, seeds: Iterable[Any]) -> str:
    """The command that makes a net, in each of some seeds; 0 alone, which is the default, is not named."""
    numbers = sorted({int(seed) for seed in seeds if seed is not None})
    named = [f"seed={','.join(map(str, numbers))}"] if numbers != [0] else []
    return command("multirun", f"model={model}", f"train_scale={train_scale}", *words, *named)


def merged(commands: Iterable[str]) -> list[str]:
    """Fewer commands that do the same as `commands`, each of which may be several joined by `&&`.

    One under a protocol that another covers is dropped; those that differ only in `model`, then only in `train_scale`,
    become one.
    """
    apart = [
        words
        for joined in commands
        for is_end, line in groupby(shlex.split(joined), "&&".__eq__)
        if not is_end
        for words in _expanded(list(line))
    ]
    lines = _without_covered(list(dict.fromkeys(apart)))
    for key in ("model=", "train_scale="):
        groups: dict[tuple[str, ...], list[str]] = {}
        for words in lines:
            rest = tuple(key if word.startswith(key) else word for word in words)
            groups.setdefault(rest, []).extend(word.removeprefix(key) for word in words if word.startswith(key))
        lines = [
            tuple(key + ",".join(dict.fromkeys(values)) if word == key else word for word in rest)
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


def _without_covered(lines: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Drop a command if the same one is there with a protocol that has all of its passes and more."""
    protocols = [next((word[9:] for word in words if word.startswith("protocol=")), "") for words in lines]
    others = [tuple(word for word in words if not word.startswith("protocol=")) for words in lines]
    asked = defaultdict(set)
    for other, protocol in zip(others, protocols, strict=True):
        asked[other].add(protocol)
    return [
        words
        for words, other, protocol in zip(lines, others, protocols, strict=True)
        if not any(covers(wide, protocol) for wide in asked[other])
    ]


def covers(wide: str, narrow: str) -> bool:
    """Whether an option of `conf/protocol` has all passes of another, and more."""
    return set(_option("protocol", narrow).get("passes", "?")) < set(_option("protocol", wide).get("passes", ""))
