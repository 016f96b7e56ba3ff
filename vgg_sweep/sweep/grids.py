"""The configurations of a sweep: from overrides in Hydra's syntax and unions of grids."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict

from vgg_sweep.config.checks import checked, valid
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.start import adopted

DEFAULT_SWEEP = "table3"
PICKS = ("model", "train_scale")
"""The groups that select cells of a sweep: named on the command line, they leave out cells with another option."""


def configurations(
    arguments: Sequence[str],
    loader: ConfigLoader,
    master: DictConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Config]:
    """The configurations that the command line `arguments` asks for: Hydra's sweeps crossed with the grids of `sweep=`.

    `model` and `train_scale` named on the command line select cells of the grids; anything else named there replaces
    what a grid says. With no sweep, model, train scale or start_from chosen, the grids are those of Table 3. `progress`
    is called with how many are composed, and of how many. Raises `ConfigError` if none is left.
    """
    composer = _Composer(loader, master)
    overrides = OverridesParser.create(loader).parse_overrides(list(arguments))
    named = {override.key_or_group for override in overrides}
    found = []
    crossed = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    for number, words in enumerate(crossed):
        progress(number, len(crossed))
        composed = composer.compose(words)
        if not composed.raw.sweep.grids and not named & {"sweep", "start_from", *PICKS}:
            words = [*words, f"sweep={DEFAULT_SWEEP}"]
            composed = composer.compose(words)
        if not composed.raw.sweep.grids:
            found.append(adopted(composed.config, named))
            continue
        picked = {group: composed.choices[group] for group in PICKS if group in named}
        all_cells = list(cells(OmegaConf.to_container(composed.raw.sweep.grids)))
        for index, cell in enumerate(all_cells):
            progress(number * len(all_cells) + index, len(crossed) * len(all_cells))
            if all(str(cell.get(group, choice)) == choice for group, choice in picked.items()):
                more = [composer.override(key, value) for key, value in cell.items() if key not in named]
                found.append(adopted(composer.compose([*words, *more]).config, named | cell.keys()))
    if not found:
        raise ConfigError(
            f"no run of the sweep matches {' '.join(arguments)}; "
            "to run that combination, leave out sweep= (and any experiment= that sets it)."
        )
    return found


def cells(grids: Any) -> Iterator[dict[str, Any]]:
    """The cells of a union of grids, each a dict from a group or setting to one option.

    A grid maps names to an option or a list of options.
    """
    for grid in grids:
        options = [values if isinstance(values, list) else [values] for values in grid.values()]
        for cell in itertools.product(*options):
            yield dict(zip(grid, cell, strict=True))


@dataclass
class _Composition:
    """What Hydra composed, which takes 0.15 s, for all cells that differ only in values."""

    raw: DictConfig
    choices: Mapping[str, str]
    """The option chosen of each group."""
    values: Mapping[str, Any]
    _config: Config | None = None

    def set(self, values: Mapping[str, Any]) -> None:
        """Change to the cell with these values."""
        for name, value in values.items():
            if repr(value) == repr(self.values[name]):
                continue
            OmegaConf.update(self.raw, name, value)
            is_plain = "." not in name and isinstance(value, int | float)
            if self._config is not None and is_plain and not self._has_interpolations:
                self._config = valid(replace(self._config, **{name: self.raw[name]}))
            else:
                self._config = None
        self.values = values

    @property
    def config(self) -> Config:
        """Typed, which OmegaConf takes 3 ms for; a seed more is exchanged in the last one."""
        if self._config is None:
            self._config = checked(self.raw)
        return self._config

    @cached_property
    def _has_interpolations(self) -> bool:
        return "${" in OmegaConf.to_yaml(self.raw)


class _Composer:
    """Composes cell after cell."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._composed: dict[tuple[str, ...], _Composition] = {}
        self._parse = cache(OverridesParser.create(loader).parse_override)
        self._is_group = cache(lambda key: bool(loader.get_group_options(key)))

    def compose(self, overrides: Sequence[str]) -> _Composition:
        """The configuration of a cell. Valid until the next call."""
        parsed = [self._parse(text) for text in overrides]
        values = {each.key_or_group: each.value() for each in parsed if self._only_sets_a_value(each)}
        chosen = [str(each.input_line) for each in parsed if not self._only_sets_a_value(each)]
        if (key := (*chosen, *values)) not in self._composed:
            self._composed[key] = _Composition(*self._composed_by_hydra(overrides), values)
        self._composed[key].set(values)
        return self._composed[key]

    def override(self, key: str, value: object) -> str:
        """`key=value` in Hydra's syntax, where the option of a group must look like text even if it is 256."""
        is_text = isinstance(value, str) or self._is_group(key)
        return f"{key}='{value}'" if is_text else f"{key}={json.dumps(value)}"

    def _composed_by_hydra(self, overrides: Sequence[str]) -> tuple[DictConfig, Mapping[str, str]]:
        raw = self._loader.load_sweep_config(self._master, list(overrides))
        choices = dict(raw.hydra.runtime.choices)
        with open_dict(raw):
            del raw["hydra"]
        return raw, choices

    def _only_sets_a_value(self, override: Override) -> bool:
        is_dict = isinstance(override.value(), dict)  # would be merged with that of the cell before
        return override.type == OverrideType.CHANGE and not is_dict and not self._is_group(override.key_or_group)
