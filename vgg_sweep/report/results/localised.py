"""The localisation runs of a sweep and their errors (Appendix A): of a centre crop with the true class given (Table 8),
and dense, merged, with five guesses by the sweep's best classifier (Table 9).

Errors of merged boxes are of the images on which their threshold was not chosen. Axes: N images, g guesses.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.errors import RunError
from vgg_sweep.localise.evaluate import CONTROLS, NUM_GUESSES, answers, centre_boxes, counted, held_out, wrong
from vgg_sweep.localise.geometry import Floats
from vgg_sweep.localise.merging import THRESHOLDS
from vgg_sweep.localise.stored import Predictions
from vgg_sweep.plan import commands
from vgg_sweep.plan.swept import differing_settings
from vgg_sweep.protocols.means import fused_posteriors
from vgg_sweep.protocols.methods import scaled_px
from vgg_sweep.protocols.metrics import Misses, wilson
from vgg_sweep.report.results.errors import ReportedRun, Score, cached_errors

OF_TRUE_CLASS, TOP1, TOP5 = "true_class", "top1", "top5"
"""What is given or guessed: the true class; the best class; the five best."""
PAIR = "pair"
"""Rule of Q of the last rows of Table 9: S - 32 and S."""


class BoxRun(ReportedRun):
    """A run that predicts boxes."""

    @property
    def boxes(self) -> str:
        return str(self.config["boxes"])

    @property
    def trainable(self) -> str:
        return str(self.config.get("trainable", "all"))

    @property
    def row_name(self) -> str:
        return f"{self.slug} {self.boxes} {self.trainable}"

    @property
    def group_settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.settings.items() if name != "trainable"}

    @cached_property
    def overrides(self) -> list[str]:
        """Those beside what the rows of Tables 8 and 9 name."""
        return [word for word in super().overrides if word.partition("=")[0] not in ("task", "boxes", "trainable")]

    @cached_property
    def scored(self) -> Predictions:
        words = (*self.net_words, "task=localise", f"boxes={self.boxes}", f"trainable={self.trainable}")
        return Predictions(self.folder.path / "boxes", commands.command("train", *words, *self.overrides))

    @property
    def S(self) -> int:
        """At crop 224; of a jittered range the middle, where it is tested (Sect. 4.1)."""
        return int(sum(self.config["train_scale"]["S"])) // 2

    @property
    def S_px(self) -> int | tuple[int, ...]:
        smallest, largest = (scaled_px(px, self.crop) for px in self.config["train_scale"]["S"])
        return smallest if smallest == largest else (smallest, largest)

    @property
    def crop(self) -> int:
        return int(self.config["crop"])

    def scales(self, rule: str) -> tuple[int, ...]:
        """Q in pixels."""
        return scales_of([self.S], rule, self.crop)[0]

    def has(self, rule: str) -> bool:
        return set(self.scales(rule)) <= {Q for method, Q, _ in self.scored.files if method == "dense"}


@dataclass(frozen=True)
class Localised:
    """The localisation runs of a sweep."""

    runs: list[BoxRun]
    errors: pd.DataFrame
    """A row for each net or union of nets, what is given, rule of Q, merging and seed; empty without such runs.
    `labels_by` says whose five guesses are taken.
    """
    kept_in: list[Path]
    """The files that keep the errors."""


def localised(sweep: Path, name: str, runs: list[BoxRun], scores: Sequence[Score], merge: str) -> Localised:
    """The errors of the sweep's localisation runs, merged by each rule, of which `merge` is asked for.

    Raises `RunError` if predictions are damaged or of other images than those of their classifiers.
    """
    there = [run for run in runs if run.is_scored]
    differing = differing_settings([run.group_settings for run in there])
    labels = [", ".join(f"{setting}={value}" for setting, value in each.items()) for each in differing]
    settings = dict(zip((run.id for run in there), labels, strict=True))
    rows: list[dict[str, Any]] = []
    kept_in: list[Path] = []
    for members, rule in _tasks(there, settings):
        found, classifier, path = _kept(sweep, members, rule, classifiers(members[0], scores))
        about = {"sweep": name, "settings": settings[members[0].id], "rule": rule} | _names(members, rule)
        about["labels_by"] = "" if classifier is None else in_words(classifier)
        for row in found:
            misses = Misses(**row["misses"])
            low, high = wilson(misses.error, misses.num_images)
            error = {"n_images": misses.num_images, "error": misses.error, "low": low, "high": high}
            rows.append(about | row | {"misses": misses, "merge_asked": merge} | error)
        kept_in.append(path)
    return Localised(runs, pd.DataFrame(rows), kept_in)


def _tasks(runs: Sequence[BoxRun], settings: dict[str, str]) -> list[tuple[tuple[BoxRun, ...], str]]:
    """What errors are computed of: each run under each rule of Q, and the unions of S = 256 and S = 384 (Table 9)."""
    tasks: list[tuple[tuple[BoxRun, ...], str]] = [
        ((run,), rule) for run in runs for rule in ("centre", "single", PAIR) if rule == "centre" or run.has(rule)
    ]
    alike: dict[tuple[Any, ...], dict[str, BoxRun]] = {}
    for run in runs:
        kind = (run.name, run.boxes, run.trainable, run.seed, settings[run.id])
        alike.setdefault(kind, {})[run.train_scale] = run
    for by_scale in alike.values():
        if {"256", "384"} <= by_scale.keys() and by_scale["256"].has("single") and by_scale["384"].has(PAIR):
            tasks.append(((by_scale["256"], by_scale["384"]), "fusion"))
    return tasks


def _names(members: Sequence[BoxRun], rule: str) -> dict[str, Any]:
    first = members[0]
    return {
        "run_id": " + ".join(run.id for run in members),
        "config": first.name,
        "train_scale": " + ".join(run.train_scale for run in members),
        "S": tuple(run.S_px for run in members),
        "crop": first.crop,
        "test_scales": scales_of([run.S for run in members], rule, first.crop),
        "boxes": first.boxes,
        "trainable": first.trainable,
        "seed": first.seed,
        "overrides": tuple(first.overrides),
    }


def scales_of(S: Sequence[int], rule: str, crop: int) -> tuple[tuple[int, ...], ...]:
    """Q in pixels of each net of some S: S, or S - 32 and S; of two nets the former and the latter."""
    rules = ["single", PAIR] if rule == "fusion" else [rule]
    at_224 = [(px - 32, px) if each == PAIR else (px,) for px, each in zip(S, rules, strict=True)]
    return tuple(tuple(scaled_px(px, crop) for px in each) for each in at_224)


# --- the classifier whose guesses are taken ---


def classifiers(run: BoxRun, scores: Sequence[Score]) -> list[Score]:
    """The nets and fusions of the sweep that are scored on the run's images, of the same seed if there are any; first
    those that err least, top-5 and then top-1.
    """
    manifest = run.scored.manifest
    same = [
        score
        for score in scores
        if all(score.runs[0].posteriors.manifest[name] == manifest[name] for name in ("classes", "images", "labels"))
    ]
    own_seed = [score for score in same if {each.seed for each in score.runs} == {run.seed}]
    return sorted(own_seed or same, key=lambda score: ((score.top5 or score.top1).count, score.top1.count))


def in_words(score: Score) -> str:
    """A classifier in words, such as `D-384 + E-384, dense, Q = 110`."""
    nets = " + ".join(dict.fromkeys(run.slug for run in score.runs))
    return f"{nets}, {score.method}, Q = {', '.join(map(str, score.test_scales))}"


def guesses(score: Score) -> NDArray[np.int64]:
    """Its best classes [N, g], best first: five, or all of fewer."""
    first = score.runs[0].posteriors
    parts = (fused_posteriors(score.members, rows) for rows in first.chunks())
    return np.concatenate([np.argsort(-part_NK, axis=1, kind="stable")[:, :NUM_GUESSES] for part_NK in parts])


# --- errors ---


def _kept(
    sweep: Path, members: Sequence[BoxRun], rule: str, ranked: Sequence[Score]
) -> tuple[list[dict[str, Any]], Score | None, Path]:
    """The rows of one task, computed once and then read from the sweep's `localised/`; the best of the classifiers
    `ranked` whose posteriors are at hand, or were for these rows; the file that keeps them.
    """
    for classifier in [*ranked, None] if rule != "centre" else [None]:
        by = [run.posteriors.fingerprint for run in classifier.runs] if classifier else []
        asked = [by, classifier and in_words(classifier), rule, *(run.scored.fingerprint for run in members)]

        def computed(by: Score | None = classifier) -> list[dict[str, Any]]:
            if by and not all(run.has_posteriors for run in by.runs):
                return []
            return _centre(members[0]) if rule == "centre" else _merged(members, rule, by)

        path, rows = cached_errors(sweep / "localised", asked, computed)
        if rows:
            break
    return rows, classifier, path


def _centre(run: BoxRun) -> list[dict[str, Any]]:
    """Table 8: the box of the true class in the centre crop, and those that need no net."""
    predictions = run.scored
    labels_N1, truth = predictions.labels_N[:, None], predictions.truth
    passes = predictions.passes("centre-crop", run.scales("centre"))
    if passes is None:
        raise RunError(f"{predictions.folder} has no boxes of the centre crop; make them: {predictions.redo}")
    found_N14 = answers(passes, labels_N1, truth.boxes.sizes_N2, "best", [0.0])[0]
    is_counted_N = counted(truth, predictions.labels_N)
    _check_some(predictions, is_counted_N)
    controls = {name: centre_boxes(truth.boxes.sizes_N2, share)[:, None] for name, share in CONTROLS.items()}
    boxes = {"": found_N14} | controls
    return [
        _row(name, OF_TRUE_CLASS, "", None, wrong(labels_N1, each, truth.boxes, predictions.labels_N)[is_counted_N])
        for name, each in boxes.items()
    ]


def _merged(members: Sequence[BoxRun], rule: str, classifier: Score | None) -> list[dict[str, Any]]:
    """Table 9: boxes of all positions and scales, merged for the true class and for each guess."""
    predictions = members[0].scored
    for other in members[1:]:
        if any(other.scored.manifest[name] != predictions.manifest[name] for name in ("images", "labels")):
            raise RunError(
                f"{members[0].id} and {other.id} predict boxes of different images; score one of them again."
            )
    labels_N, truth = predictions.labels_N, predictions.truth
    passes = [
        each
        for run, scales in zip(members, scales_of([run.S for run in members], rule, members[0].crop), strict=True)
        for each in run.scored.passes("dense", scales) or []
    ]
    is_one_class = len(predictions.manifest["classes"]) == 1
    guesses_Ng = guesses(classifier) if classifier else np.zeros((len(labels_N), int(is_one_class)), np.int64)
    asked_Ng = np.concatenate([labels_N[:, None], guesses_Ng], axis=1)
    of = {OF_TRUE_CLASS: slice(0, 1)} | ({TOP1: slice(1, 2), TOP5: slice(1, None)} if guesses_Ng.size else {})
    is_counted_N, is_held_out_N = counted(truth, labels_N), held_out(len(labels_N))
    is_measured_N, is_chosen_on_N = is_counted_N & ~is_held_out_N, is_counted_N & is_held_out_N
    _check_some(predictions, is_measured_N)
    rows = []
    for name, thresholds in THRESHOLDS.items():
        boxes_TNg4 = answers(passes, asked_Ng, truth.boxes.sizes_N2, name, thresholds)

        def wrong_at(T: int, part: slice, boxes_TNg4: Floats = boxes_TNg4) -> NDArray[np.bool_]:
            return wrong(asked_Ng[:, part], boxes_TNg4[T][:, part], truth.boxes, labels_N)

        chosen_by = of[TOP5 if TOP5 in of else OF_TRUE_CLASS]
        errors_T = [int(wrong_at(T, chosen_by)[is_chosen_on_N].sum()) for T in range(len(thresholds))]
        best = int(np.argmin(errors_T))
        threshold = thresholds[best] if len(thresholds) > 1 else None
        rows += [_row("", what, name, threshold, wrong_at(best, part)[is_measured_N]) for what, part in of.items()]
    for name, share in CONTROLS.items():
        boxes_Ng4 = np.repeat(centre_boxes(truth.boxes.sizes_N2, share)[:, None], asked_Ng.shape[1], axis=1)
        for what, part in of.items():
            wrong_N = wrong(asked_Ng[:, part], boxes_Ng4[:, part], truth.boxes, labels_N)
            rows.append(_row(name, what, "", None, wrong_N[is_measured_N]))
    return rows


def _check_some(predictions: Predictions, is_measured_N: NDArray[np.bool_]) -> None:
    if not is_measured_N.any():
        raise RunError(
            f"{predictions.folder} has no validation image with a box of its class to measure errors on; give more "
            "boxes of val (data.boxes), and predict again."
        )


def _row(control: str, what: str, merge: str, threshold: float | None, wrong_N: NDArray[np.bool_]) -> dict[str, Any]:
    misses = asdict(Misses.pack(wrong_N))
    return {"control": control, "what": what, "merge": merge, "threshold": threshold, "misses": misses}
