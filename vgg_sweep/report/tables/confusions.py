"""Which classes the best net takes for which: the most confused pairs, and the matrix of all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.report.results.answers import answers, check_posteriors, in_words, most_common
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.table import Column, Table, number, text
from vgg_sweep.runs.files import printable

MOST_PAIRS = 30
MOST_CLASSES = 12
"""The matrix as text has the classes that are confused most; as data it has all."""


@dataclass(frozen=True)
class Confusion:
    """What one net takes each class for. Axes: K classes."""

    net: str
    under: str
    classes: list[str]
    count_KK: NDArray[np.int64]
    """Images of the first class that it takes for the second."""

    @property
    def wrong_KK(self) -> NDArray[np.int64]:
        return self.count_KK - np.diag(np.diag(self.count_KK))


def confusion(sweep: Sweep) -> Confusion:
    """Of the net with the lowest top-1 error, under the protocol that most runs are scored under."""
    rule, method = most_common(sweep.results)
    scores = [score for score in sweep.scores if (score.rule, score.method, score.fusion) == (rule, method, "")]
    best = min(scores, key=lambda score: score.top1.error)
    check_posteriors(sweep, [best])
    posteriors = best.runs[0].posteriors
    answer_N, _ = answers(best)
    count_KK = np.zeros((posteriors.num_classes, posteriors.num_classes), dtype=np.int64)
    np.add.at(count_KK, (posteriors.labels_N, answer_N), 1)
    classes = list(map(printable, posteriors.manifest["classes"]))
    return Confusion(best.runs[0].id, in_words(rule, method), classes, count_KK)


def pairs(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """The pairs of classes that each sweep's best net confuses most: how many images of `truth` it takes for `answer`,
    what share of the class that is in percent, and how many it takes the other way.
    """
    rows = []
    for sweep in sweeps:
        found = confusion(sweep)
        wrong_KK = found.wrong_KK
        order = np.argsort(-wrong_KK, axis=None, kind="stable")[:MOST_PAIRS]
        for truth, answer in zip(*np.unravel_index(order, wrong_KK.shape), strict=True):
            if count := int(wrong_KK[truth, answer]):
                of_class = int(found.count_KK[truth].sum())
                rows.append(
                    {"table": "confusions", "sweep": sweep.name, "run_id": found.net, "under": found.under}
                    | {"truth": found.classes[truth], "answer": found.classes[answer], "images": count}
                    | {"of": of_class, "share": 100 * count / of_class, "reverse": int(wrong_KK[answer, truth])}
                )
    return pd.DataFrame(rows)


def matrix(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each class of the first sweep, those first that are in the most errors, as truth or as answer: how many
    of its images the best net takes for each class.
    """
    found = confusion(sweeps[0])
    wrong_KK = found.wrong_KK
    order = np.argsort(-(wrong_KK.sum(axis=0) + wrong_KK.sum(axis=1)), kind="stable")
    count_KK = found.count_KK[np.ix_(order, order)]
    classes = [found.classes[k] for k in order]
    columns = {name: count_K for name, count_K in zip(_distinct(classes), count_KK.T, strict=True)}
    about = {"table": "confusion", "run_id": found.net, "under": found.under, "truth": classes}
    return pd.DataFrame(about | {"images": count_KK.sum(axis=1)} | columns)


def _distinct(classes: Sequence[str]) -> list[str]:
    """Two classes may have one name (ILSVRC's "crane"); and "images" may be a class."""
    taken, names = {"table", "run_id", "under", "truth", "images"}, []
    for name in classes:
        number = 1
        while (distinct := name if number == 1 else f"{name} {number}") in taken:
            number += 1
        taken.add(distinct)
        names.append(distinct)
    return names


def _answers(frame: pd.DataFrame) -> list[Column]:
    return [number(str(name), str(name), 0) for name in frame.columns[5 : 5 + MOST_CLASSES]]


def _pair_notes(frame: pd.DataFrame) -> list[str]:
    nets = " and ".join(dict.fromkeys(frame["run_id"]))
    return [f"Of {nets}, the best net, under {frame['under'].iloc[0]}. Share: of the class's images."]


def _matrix_notes(frame: pd.DataFrame) -> list[str]:
    num_classes = len(frame.columns) - 5
    more = f" The {MOST_CLASSES} of {num_classes} classes that are confused most; --format csv has all."
    lines = (
        f"Of {frame['run_id'].iloc[0]}, the best net, under {frame['under'].iloc[0]}. One row per class; across, what "
    )
    return [f"{lines}its images are taken for.{more if num_classes > MOST_CLASSES else ''}"]


CONFUSIONS = Table(
    "confusions",
    "The most confused pairs of classes",
    pairs,
    (
        *(text("truth", wrap=24), text("answer", "taken for", wrap=24), number("images", "images", 0)),
        *(number("of", "of", 0), number("share", "share (%)"), number("reverse", "the other way", 0)),
    ),
    (_pair_notes,),
    of="answers",
    if_asked=True,
)

MATRIX = Table(
    "confusion",
    "Confusion matrix",
    matrix,
    (text("truth", wrap=16), number("images", "images", 0), _answers),
    (_matrix_notes,),
    of="answers",
    if_asked=True,
)
