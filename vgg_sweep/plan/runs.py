"""Configurations to runs: what each starts from, in which order, and under which id."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from vgg_sweep.config.localise import Localise
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.start import check_trainable, runs_to_start_from
from vgg_sweep.runs.folder import RunFolder


@dataclass(frozen=True)
class Run:
    """One net to be trained and scored."""

    id: str
    config: Config
    parent: "Run | None"

    @property
    def folder(self) -> RunFolder:
        return RunFolder(Path(self.config.out) / self.id)

    @property
    def fine_tunes(self) -> bool:
        """Whether the run goes on from another train scale of its own net, or from the run that it was told to."""
        alike = self.parent is not None and self.parent.config.model.name == self.config.model.name
        return alike or self.config.start_from is not None

    @property
    def trainable(self) -> str:
        return self.config.train_scale.trainable if self.config.trainable == "all" else self.config.trainable

    @property
    def is_at_hand(self) -> bool:
        """Whether it is only to be started from, and can be."""
        return not self.config.protocol.passes and self.folder.is_trained

    @property
    def epochs(self) -> float:
        recipe = self.config.recipe
        if self.config.task == "localise":
            return self.config.localise.epochs
        return recipe.fine_tune_epochs if self.fine_tunes else recipe.epochs

    @property
    def lr(self) -> float:
        """Initial learning rate: not lowered for layers copied from A, lowered when starting from another scale (Sect.

        3.1).
        """
        recipe = self.config.recipe
        if self.config.task == "localise":
            return self.config.localise.lr
        return recipe.fine_tune_lr if self.fine_tunes else recipe.lr


def plan(configs: Iterable[Config], *, are_known: bool = False) -> list[Run]:
    """All runs that `configs` ask for and start from, parents first, each once.

    A configuration asked for under several protocols becomes one run with the passes of all. A parent that nobody asked
    for is scored under `protocol=single`. Raises `ConfigError` for an unknown parent or a cycle of parents; runs that
    `are_known`, being on disk, may have lost what they start from.
    """
    runs: dict[str, Run] = {}
    for config in configs:
        chain = _chain(config, is_known=are_known)
        for run in chain[:-1]:
            _check_same_data(runs.setdefault(run.id, run), run)
        asked = chain[-1]
        if (known := runs.get(asked.id)) is not None:
            _check_same_data(known, asked)
            asked = replace(asked, config=with_passes(asked.config, known.config.protocol.passes))
        runs[asked.id] = asked
    return list(runs.values())


def _check_same_data(known: Run, asked: Run) -> None:
    """Raise `ConfigError` if one run is asked for with two folders of the data, on which its id does not depend."""
    there, here = known.config.data, asked.config.data
    if there != here and not asked.is_at_hand:
        raise ConfigError(
            f"data.root={there.root} and data.root={here.root} would be one run, {asked.id}, as a run's id does not "
            "depend on where its images lie; use two commands, each with its own data.name=NAME."
        )


def _chain(config: Config, *, is_known: bool) -> list[Run]:
    """The run of `config` behind everything that it starts from and that is still to do."""
    if config.start_from is not None:
        before = runs_to_start_from(config, partial(_chain, is_known=True), is_known=is_known)
        return [*before, _run(replace(config, start_from=str(before[-1].folder.path)), before[-1])]
    line = [config]
    while (parent := _parent_config(line[0])) is not None:
        if any(_net(parent) == _net(child) for child in line):
            cycle = " -> ".join(_net(each) for each in [parent, *line])
            raise ConfigError(
                f"the runs {cycle} start from one another; change `parent` in one of their model or train_scale files."
            )
        line.insert(0, parent)
    chain: list[Run] = []
    for each in line:
        chain.append(_run(each, chain[-1] if chain else None))
    check_trainable(config, has_parent=len(chain) > 1)
    return chain


def _parent_config(config: Config) -> Config | None:
    if config.warm_start == "none" or config.imported.sha256 is not None:
        return None
    single = load_option("protocol", "single")
    config = replace(config, trainable="all")
    if config.task == "localise":
        return replace(config, task="classify", boxes=Config.boxes, localise=Localise(), protocol=single)
    for group in ("train_scale", "model"):
        own = getattr(config, group)
        try:
            if own.parent is not None:
                return replace(config, **{group: load_option(group, own.parent)}, protocol=single)
        except ConfigError as error:
            start = f"`parent: {own.parent}`; with `parent: null` from random weights"
            raise ConfigError(f"{group}={own.name} starts from {own.parent} ({start}), but {error}") from error
    return None


def _net(config: Config) -> str:
    return f"{config.model.name}/{config.train_scale.name}{'' if config.task == 'classify' else '/' + config.task}"


def _run(config: Config, parent: Run | None) -> Run:
    nameless = Run("", config, parent)
    digest = hashlib.sha256(json.dumps(_deciding(nameless), sort_keys=True).encode()).hexdigest()[:8]
    which = f"s{config.seed}" if config.imported.sha256 is None else config.imported.sha256[:8]
    from_run = f"-from-{parent.id.rpartition('-')[0]}" if config.start_from is not None and parent is not None else ""
    what = f"-{config.boxes}{from_run}" if config.task == "localise" else from_run
    slug = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{config.model.name}-{config.train_scale.name}{what}-{which}")
    return replace(nameless, id=f"{slug}-{digest}")


def with_passes(config: Config, passes: list[str]) -> Config:
    """`config` with `passes` before those that its protocol has, each once."""
    together = list(dict.fromkeys([*passes, *config.protocol.passes]))
    return replace(config, protocol=replace(config.protocol, passes=together))


def _deciding(run: Run) -> dict[str, Any]:
    """What decides the run's weights and posteriors, where it differs from the schema's defaults.

    What a run starts from is in its parent's id. Of the two budgets and rates it uses one.
    """
    config = run.config
    data = _changed(config.data) | (_changed(config.data.fractals) if config.data.source == "fractals" else {})
    shape = {"columns": config.model.columns, "S": config.train_scale.S}
    top = _changed(config, "warm_start", "start_from") | shape | {"data": data}
    if config.imported.sha256 is not None:
        return top | {"imported": _changed(config.imported), "preprocessing": _changed(config.preprocessing)}
    unused: tuple[str, ...] = ("epochs", "lr") if run.fine_tunes else ("fine_tune_epochs", "fine_tune_lr")
    if config.start_from is not None:
        unused = ("epochs",)  # its copied and its new layers have a rate each
    if config.task == "localise":
        top["localise"] = _changed(config.localise)
        unused = ("epochs", "lr", "fine_tune_epochs", "fine_tune_lr")
    return top | {
        "trainable": run.trainable,
        "recipe": _changed(config.recipe, *unused),
        "parent": run.parent.id if run.parent else None,
    }


def _changed(settings: Any, *unused: str) -> dict[str, Any]:
    """The plain fields of a dataclass that decide a result and differ from its defaults."""
    defaults = type(settings)()
    return {
        each.name: value
        for each in fields(settings)
        if each.metadata
        and each.name not in unused
        and each.metadata["rules"].decides(value := getattr(settings, each.name))
        and value != getattr(defaults, each.name)
    }
