"""The config.yaml of many runs, read quickly: as it stands, with no check."""

import re
from functools import cache
from typing import Any

import yaml

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_config(text: str) -> dict[str, Any]:
    """The configuration in a config.yaml. A top-level part is parsed once for all runs that share it."""
    config: dict[str, Any] = {}
    for part in re.split(r"^(?=[^\s-])", text, flags=re.MULTILINE):
        config |= _parsed(part) or {}
    return config


@cache
def _parsed(yaml_text: str) -> Any:
    return yaml.load(yaml_text, Loader=_YAML)
