"""What nets answer, image by image: for `report --images` and for confusions. Axes: N images, K classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.errors import ConfigError
from vgg_sweep.protocols.means import fused_posteriors
from vgg_sweep.protocols.methods import BOTH
from vgg_sweep.report.results.errors import Score
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.runs.printable import printable

PREFERRED = (("single", "dense"), ("multi", "dense"), ("multi", BOTH), ("multi", "multi-crop"),
             ("single", "centre-crop"), ("single", "ten-crop"), ("single", "multi-crop"), ("single", BOTH))  # fmt: skip
"""Protocols, rule of Q and method: where no other is the one of most runs, the first of these that they have."""


def most_common(nets: pd.DataFrame) -> tuple[str, str]:
    """The rule and method under which most of the runs in `nets` are scored."""
    scored = nets[(nets["rule"] != "other") & (nets["fusion"] == "")].groupby(["rule", "method"])["run_id"].nunique()
    known = {protocol: int(scored.get(protocol, 0)) for protocol in PREFERRED}
    return max(known, key=lambda protocol: known[protocol])


def in_words(rule: str, method: str) -> str:
    return f"{method} evaluation at {'one test scale' if rule == 'single' else 'three test scales'}"


def answers(score: Score) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class of the highest posterior, the first of several, and that posterior: [N] and [N]."""
    first = score.runs[0].posteriors
    parts = (fused_posteriors(score.members, rows) for rows in first.chunks())
    best = [(part_NK.argmax(axis=1), part_NK.max(axis=1)) for part_NK in parts]
    answer_N, posterior_N = map(np.concatenate, zip(*best, strict=True))
    return answer_N, posterior_N


def image_table(sweeps: Sequence[Sweep]) -> tuple[pd.DataFrame, str]:
    """A row for each validation image: its id and truth, and each net's answer and the posterior of it, under the
    protocol that most runs are scored under; and that protocol in words.

    Raises `ConfigError` for sweeps that keep no posteriors, as bundles of errors alone.
    """
    results = pd.concat([sweep.results for sweep in sweeps])
    rule, method = most_common(results)
    frames = [_images(sweep, rule, method) for sweep in sweeps]
    return pd.concat(frames, ignore_index=True), in_words(rule, method)


def _images(sweep: Sweep, rule: str, method: str) -> pd.DataFrame:
    scores = [score for score in sweep.scores if (score.rule, score.method) == (rule, method)]
    check_posteriors(sweep, scores)
    by_set: dict[str, dict[str, Any]] = {}
    for score, name in zip(scores, _names(scores), strict=True):
        manifest = score.runs[0].posteriors.manifest
        classes = np.array(list(map(printable, manifest["classes"])), dtype=object)
        images, truth = list(map(printable, manifest["images"])), classes[score.runs[0].posteriors.labels_N]
        columns = by_set.setdefault(score.scored_on, {"sweep": sweep.name, "image": images, "truth": truth})
        answer_N, posterior_N = answers(score)
        columns |= {f"{name} answer": classes[answer_N], f"{name} posterior": posterior_N}
    return pd.concat([pd.DataFrame(columns) for columns in by_set.values()], ignore_index=True)


def check_posteriors(sweep: Sweep, scores: Sequence[Score]) -> None:
    """Raise `ConfigError` where the answers of nets are not known."""
    if not all(run.has_posteriors for score in scores for run in score.runs):
        raise ConfigError(
            f"{sweep.name} comes from a bundle without posteriors, so the answers of its nets are unknown; "
            "pack it without --errors-only."
        )


def _names(scores: Sequence[Score]) -> list[str]:
    """As short as tells the nets apart: D-jitter, with its seed, or the run's id."""
    first = [(score, score.runs[0]) for score in scores]
    short = [score.fusion or run.slug for score, run in first]
    longer = [score.fusion or f"{run.slug}-s{run.seed}" for score, run in first]
    ids = [" + ".join(run.id for run in score.runs) for score in scores]
    return next(names for names in (short, longer, ids) if names is ids or len(set(names)) == len(scores))
