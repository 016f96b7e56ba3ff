"""The config.yaml of runs: written with its hash; for many runs read quickly, without checking values."""

import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from vgg_sweep.config.checks import not_whole
from vgg_sweep.config.schema import Config
from vgg_sweep.protocols.seals import sealed_yaml, unsealed_yaml
from vgg_sweep.runs.files import write_text


def write_config(file: Path, config: Config) -> None:
    """Write a config.yaml, whole or not at all."""
    write_text(file, sealed_yaml(OmegaConf.to_yaml(asdict(config))))


def config_in(file: Path) -> dict[str, Any]:
    """The configuration in a config.yaml. Raises `RunError` if it is not what was written, or no YAML."""
    try:
        return read_config(unsealed_yaml(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise not_whole(file, error) from error


def read_config(text: str) -> dict[str, Any]:
    """The configuration in a config.yaml. A top-level part is parsed once for all runs that share it."""
    config: dict[str, Any] = {}
    for part in re.split(r"^(?=[^\s-])", text, flags=re.MULTILINE):
        config |= _parsed(part) or {}
    return config


@cache
def _parsed(yaml_text: str) -> Any:
    return yaml.load(yaml_text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
