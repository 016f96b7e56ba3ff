"""The scored runs of a sweep and their errors under every protocol that the posteriors on disk allow, computed once."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.errors import RunError
from vgg_sweep.plan import commands
from vgg_sweep.plan.words import from_here, own_words
from vgg_sweep.protocols.means import Posteriors, Protocol, mean, posteriors_at
from vgg_sweep.protocols.methods import BOTH, METHODS, test_scales
from vgg_sweep.protocols.metrics import Misses, top_k_misses, truth_ranks
from vgg_sweep.protocols.scored import Scored
from vgg_sweep.protocols.seals import unsealed
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.prune import are_pruned

_ERRORS_FORMAT = 1


@dataclass(frozen=True)
class ReportedRun:
    """A run folder as the report sees it: configuration, record, posteriors; no weights."""

    folder: RunFolder
    config: dict[str, Any]
    sweep: str
    """What its sweep is called: the folder's path, where it was made."""
    has_posteriors: bool = True
    """Whether the files are there that its manifest names; a bundle may hold their errors alone."""

    @property
    def id(self) -> str:
        return self.folder.id

    @property
    def name(self) -> str:
        return str(self.config["model"]["name"])

    @property
    def train_scale(self) -> str:
        return str(self.config["train_scale"]["name"])

    @property
    def slug(self) -> str:
        """Net and train scale, such as D-jitter."""
        return f"{self.name}-{self.train_scale}"

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    def test_scales(self, rule: str) -> tuple[int, ...]:
        """Q in pixels at this run's crop by the rule of Sect. 4.1 (`single`) or 4.2 (`multi`)."""
        return tuple(test_scales(self.config["train_scale"]["S"], rule, self.config["crop"]))

    def protocols(self) -> list[tuple[str, Protocol]]:
        """Every protocol that the posteriors allow, with its rule of Q: each Q alone, and those of the `multi` rule."""
        found = []
        for method in (*METHODS, BOTH):
            for Q in self.posteriors.test_scales(method):
                rule = "single" if (Q,) == self.test_scales("single") else "other"
                found.append((rule, Protocol(method, (Q,))))
            multi = Protocol(method, self.test_scales("multi"))
            if self.posteriors.has(multi):
                found.append(("multi", multi))
        return found

    @cached_property
    def errors(self) -> list[dict[str, Any]]:
        """Under each protocol, as `storable` writes them: computed once and then read from `posteriors/errors.json`."""
        posteriors = self.posteriors
        rows = _cached(posteriors.remembered, posteriors.fingerprint)
        newest_ns = posteriors.newest_ns
        if rows is not None and newest_ns > posteriors.remembered.get("newest_ns", newest_ns):
            rows = None  # a file was written since, perhaps not by scoring: all are read and hashed
        is_kept = posteriors.remembered.get("manifest_stat") == posteriors.manifest_stat
        if rows is None or not is_kept or "data_fingerprint" not in posteriors.remembered:
            rows = _evaluate(self) if rows is None else rows
            also = {
                "manifest_stat": posteriors.manifest_stat,
                "data_fingerprint": self.data_fingerprint,
                "newest_ns": newest_ns,
            }
            write_cached(posteriors.folder / "errors.json", posteriors.fingerprint, rows, **also)
        return rows

    @cached_property
    def data_fingerprint(self) -> str:
        """Of the content of the images that it was scored on."""
        kept = self.posteriors.remembered
        if kept.get("manifest_stat") != self.posteriors.manifest_stat or "data_fingerprint" not in kept:
            kept = self.posteriors.manifest
        return str(kept.get("data_fingerprint"))

    @cached_property
    def made_with(self) -> list[str]:
        """Arithmetic, versions and data, each in words: what may move an error between runs of the same settings."""
        versions = [f"{package} {version}" for package, version in self.record.get("versions", {}).items()]
        arithmetic = [str(self.record["precision"])] if self.record.get("precision") else []
        if self.record.get("tf32"):
            arithmetic.append("tf32")
        return [*arithmetic, *versions, f"data {self.data_fingerprint[:8]}"]

    @cached_property
    def record(self) -> dict[str, Any]:
        return self.folder.record()

    @cached_property
    def curve(self) -> pd.DataFrame:
        """The learning curve: the rows of metrics.csv that have a training error, with `epoch`, errors in percent, and
        `val_error`, missing where none was measured. Empty if nothing was written yet.

        Raises `RunError` if the file is damaged.
        """
        file, columns = self.folder.metrics, ("epoch", "error", "val_error")
        if not file.exists():
            return pd.DataFrame(columns=list(columns), dtype=float)
        self.folder.check_metrics()
        try:
            return pd.read_csv(file).astype(dict.fromkeys(columns, float)).dropna(subset="error")
        except (ValueError, KeyError) as error:  # of text, columns or numbers
            raise self.folder.metrics_damaged(error) from error

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the result besides net, train scale and seed, where it differs from the schema's defaults."""
        return commands.settings(self.config)

    @cached_property
    def overrides(self) -> list[str]:
        """The settings of this run on a command line: in the words of who asked for it, where they are known."""
        own = own_words(str(self.record.get("command", "")), self.config, self.sweep)
        words = commands.settings_overrides(self.config, self.sweep) if own is None else own
        return from_here(words, self.config, self.sweep)

    @property
    def net_words(self) -> tuple[str, ...]:
        """What tells it from the runs that share its settings, on a command line."""
        return f"model={self.name}", f"train_scale={self.train_scale}", f"seed={self.seed}"

    @property
    def row_name(self) -> str:
        """What a table calls the row that it is in."""
        return self.slug

    @property
    def group_settings(self) -> dict[str, Any]:
        """The settings that a table's rows are grouped by."""
        return self.settings

    @property
    def scored(self) -> Scored:
        """What scoring leaves of it."""
        return self.posteriors

    @property
    def is_scored(self) -> bool:
        return self.scored.are_there

    @cached_property
    def posteriors(self) -> Posteriors:
        passes = ",".join(self.config["protocol"]["passes"])
        redo = commands.command("score", *self.net_words, *self.overrides, f"protocol.passes=[{passes}]")
        return Posteriors(
            self.folder.posteriors,
            redo if self.has_posteriors or are_pruned(self.folder) else f"{redo}, and pack them in a bundle",
        )


@dataclass(frozen=True)
class Score:
    """The errors of one net, or of several fused, under one protocol."""

    runs: tuple[ReportedRun, ...]
    rule: str
    """`single` or `multi` (the paper's rules of Q), or `other` for one Q of its own."""
    method: str
    test_scales: tuple[int, ...]
    """Every Q in pixels that was looked at."""
    num_classes: int
    top1: Misses
    top5: Misses | None
    scored_on: str
    """Fingerprint of images, labels and classes."""
    fusion: str = ""
    """What the fusion is called; empty for one net."""
    kept_in: Path | None = None
    """The file that keeps the errors of a fusion."""

    @property
    def members(self) -> list[tuple[Posteriors, Protocol]]:
        """The posteriors of each net, and the protocol that it is scored under."""
        scales = [self.test_scales if self.rule == "other" else run.test_scales(self.rule) for run in self.runs]
        return [(run.posteriors, Protocol(self.method, Q)) for run, Q in zip(self.runs, scales, strict=True)]


def scored_runs(every: Sequence[ReportedRun], sweep: str) -> list[ReportedRun]:
    """The runs that have posteriors. Raises `RunError` if there is none, or two that are alike."""
    runs = [run for run in every if run.is_scored]
    if not runs:
        raise RunError(
            f"no run in {sweep} has been scored yet; `vgg-sweep multirun` trains and scores, "
            f"`{commands.command('status', sweep)}` says what is going on."
        )
    seen: dict[str, ReportedRun] = {}
    for run in runs:
        same = json.dumps([run.slug, run.seed, run.settings])
        if (twin := seen.setdefault(same, run)) is not run:
            raise RunError(
                f"{twin.id} and {run.id} are both {run.slug} with seed {run.seed} and the same settings, "
                f"so their rows cannot be told "
                f"apart; move one of them to another sweep folder."
            )
    return runs


def run_scores(run: ReportedRun) -> list[Score]:
    """The errors of one run under all its protocols."""
    return [as_score((run,), row) for row in run.errors]


def _evaluate(run: ReportedRun) -> list[dict[str, Any]]:
    """Errors under all of the run's protocols; every file is read once, some rows at a time."""
    posteriors, protocols = run.posteriors, run.protocols()
    ranks_of: list[list[NDArray[np.int64]]] = [[] for _ in protocols]
    for rows in posteriors.chunks():
        at = {
            (method, Q): posteriors_at(posteriors, method, Q, rows)
            for method in METHODS
            for Q in posteriors.test_scales(method)
        }
        at |= {(BOTH, Q): mean([at["dense", Q], at["multi-crop", Q]]) for Q in posteriors.test_scales(BOTH)}
        for (_, protocol), ranks_N in zip(protocols, ranks_of, strict=True):
            posteriors_NK = mean(at[protocol.method, Q] for Q in protocol.test_scales)
            ranks_N.append(truth_ranks(posteriors_NK, posteriors.labels_N[rows]))
    return [
        {"rule": rule, "method": protocol.method, "test_scales": protocol.test_scales}
        | storable(np.concatenate(ranks_N), posteriors)
        for (rule, protocol), ranks_N in zip(protocols, ranks_of, strict=True)
    ]


def storable(ranks_N: NDArray[np.int64], posteriors: Posteriors) -> dict[str, Any]:
    """Top-1 and top-5 misses as JSON."""
    num_classes = posteriors.num_classes
    misses = {"top1": top_k_misses(ranks_N, 1, num_classes), "top5": top_k_misses(ranks_N, 5, num_classes)}
    named = {name: wrong and asdict(wrong) for name, wrong in misses.items()}
    return {"num_classes": num_classes, "scored_on": posteriors.scored_on} | named


def as_score(
    runs: tuple[ReportedRun, ...], row: dict[str, Any], fusion: str = "", kept_in: Path | None = None
) -> Score:
    """The score of `runs` from a row that `storable` made."""
    top1, top5 = Misses(**row["top1"]), Misses(**row["top5"]) if row["top5"] else None
    protocol = (row["rule"], row["method"], tuple(row["test_scales"]))
    return Score(runs, *protocol, row["num_classes"], top1, top5, row["scored_on"], fusion, kept_in)


def cached_errors(
    folder: Path, asked: Sequence[Any], computed: Callable[[], list[dict[str, Any]]]
) -> tuple[Path, list[dict[str, Any]]]:
    """The file in `folder` that keeps the errors of what is `asked`, and those errors: read from it, or else computed
    and kept if there are any.
    """
    fingerprint = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    path = folder / f"{fingerprint[:16]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        if (found := _cached(unsealed(path.read_bytes()), fingerprint)) is not None:
            return path, found
    if rows := computed():
        write_cached(path, fingerprint, rows)
    return path, rows


def _cached(file: dict[str, Any], fingerprint: str) -> list[dict[str, Any]] | None:
    if (file.get("format"), file.get("fingerprint")) == (_ERRORS_FORMAT, fingerprint):
        return list(file["errors"])
    return None


def write_cached(path: Path, fingerprint: str, errors: list[dict[str, Any]], **also: Any) -> None:
    """Keep errors for the next report; a sweep that may only be read is reported all the same."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        write_json(path, as_file(fingerprint, errors) | also)


def as_file(fingerprint: str, errors: list[dict[str, Any]]) -> dict[str, Any]:
    """What `cached_errors` reads."""
    return {"format": _ERRORS_FORMAT, "fingerprint": fingerprint, "errors": errors}
