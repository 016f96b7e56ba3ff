"""The words of a command line: groups, their options and settings, read from `conf/` and the schema."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from vgg_sweep.config.options import conf_dir, own_folders
from vgg_sweep.config.roles import Rules
from vgg_sweep.config.schema import Config


def groups(config_dir: Path | None = None) -> dict[str, list[str]]:
    """Each group, a folder of `conf/` or of the user's `config_dir`, with its options, sorted."""
    options: dict[str, set[str]] = {}
    for folder in [conf_dir(), *([config_dir] if config_dir else own_folders())]:
        for file in folder.glob("*/**/*.yaml"):
            options.setdefault(str(file.parent.relative_to(folder)), set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(options.items())}


class SchemaField(NamedTuple):
    """A plain field of the schema."""

    kind: Any
    default: Any
    rules: Rules


@cache
def schema_fields(schema: type = Config, prefix: str = "") -> dict[str, SchemaField]:
    """Each plain field of the schema under its dotted name."""
    found: dict[str, SchemaField] = {}
    defaults, hints = schema(), get_type_hints(schema)
    for each in fields(schema):
        kind = hints[each.name]
        if is_dataclass(kind) and isinstance(kind, type):
            found |= schema_fields(kind, f"{prefix}{each.name}.")
        else:
            found[prefix + each.name] = SchemaField(kind, getattr(defaults, each.name), each.metadata["rules"])
    return found


def did_you_mean(word: str) -> str:
    """The end of a sentence: the known word most like `word`, in its group or elsewhere; else where to look."""
    known = [*groups(), *schema_fields()]
    prefix, _, last = word.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == prefix]
    for names in (siblings, known):
        by_last_part = {name.rpartition(".")[2]: name for name in reversed(names)}
        if near := get_close_matches(last, by_last_part, n=1):
            return f"did you mean {by_last_part[near[0]]}?"
    return "`vgg-sweep train --cfg job` shows all settings."


def complete(
    words: list[str], incomplete: str, own: Mapping[str, Sequence[str]], instead: Sequence[str] = ()
) -> list[str]:
    """What a shell may make of `incomplete` behind the whole `words`: of `mod` a key, of `model=` a value. `own` has
    the values of further keys; `instead`, what may stand in place of a key and its value.

    Bash splits words at `=`: it passes `model=D` as three and wants the last alone. Typer makes of a last `=` an
    empty word.
    """
    match words:
        case [*_, key, "="]:
            return _values(key, incomplete, own)
        case [*before, key] if not incomplete and before[-1:] != ["="] and key in {*groups(), *schema_fields(), *own}:
            return _values(key, "", own)
    if "=" in incomplete:
        key, _, value = incomplete.partition("=")
        return [f"{key}={option}" for option in _values(key, value, own)]
    keys = [*groups(), *(name for name in schema_fields() if "." in incomplete or "." not in name), *own]
    others = [word for word in instead if word.startswith(incomplete)]
    matching = [key for key in dict.fromkeys(keys) if key.startswith(incomplete)]
    if len(matching) == 1:  # as several words, or the shell puts a space behind the `=`
        return [*others, *(f"{matching[0]}={value}" for value in _values(matching[0], "", own) or ("", "VALUE"))]
    return [*others, *(f"{key}=" for key in matching)]


def _values(key: str, value: str, own: Mapping[str, Sequence[str]]) -> list[str]:
    """The options of a group, completing the last of a list such as `A,B,`; of a setting its choices or its default."""
    listed, comma, last = value.rpartition(",")
    options = [*own[key]] if key in own else groups().get(key, [])
    if not options and (known := schema_fields().get(key)):
        kind, default, rules = known
        numbers = [str(default)] if isinstance(default, int | float) else []
        options = ["true", "false"] if kind is bool else [*rules.choices] or numbers
    return [f"{listed}{comma}{option}" for option in options if option.startswith(last)]
