"""Which classes the best net takes for which: the most confused pairs, and the matrix of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.report.results.answers import answers, check_posteriors, in_words, most_common
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.table import Column, Table, number, text
from vgg_sweep.runs.printable import printable

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
            if images := int(wrong_KK[truth, answer]):
                of_class = int(found.count_KK[truth].sum())
                rows.append(
                    {"table": "confusions", "sweep": sweep.name, "run_id": found.net, "under": found.under}
                    | {"truth": found.classes[truth], "answer": found.classes[answer], "images": images}
                    | {"of": of_class, "share": 100 * images / of_class, "reverse": int(wrong_KK[answer, truth])}
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
    names = ["table", "run_id", "under", "truth", "images"]
    for name in classes:
        numbered = (f"{name} {number}" for number in count(2))
        names.append(next(each for each in chain([name], numbered) if each not in names))
    return names[5:]


def _answers(frame: pd.DataFrame) -> list[Column]:
    return [number(str(name), str(name), 0) for name in frame.columns[5 : 5 + MOST_CLASSES]]


def _whose(frame: pd.DataFrame) -> str:
    return f"Of {' and '.join(dict.fromkeys(frame['run_id']))}, the best net, under {frame['under'].iloc[0]}."


def _matrix_note(frame: pd.DataFrame) -> list[str]:
    num_classes = len(frame.columns) - 5
    more = f" The {MOST_CLASSES} of {num_classes} classes that are confused most; --format csv has all."
    about = f"{_whose(frame)} One row per class; across, what its images are taken for."
    return [about + more * (num_classes > MOST_CLASSES)]


CONFUSIONS = Table(
    "confusions",
    "The most confused pairs of classes",
    pairs,
    (
        *(text("truth", wrap=24), text("answer", "taken for", wrap=24), number("images", "images", 0)),
        *(number("of", "of", 0), number("share", "share (%)"), number("reverse", "the other way", 0)),
    ),
    (lambda frame: [f"{_whose(frame)} Share: of the class's images."],),
    of="answers",
    if_asked=True,
)

MATRIX = Table(
    "confusion",
    "Confusion matrix",
    matrix,
    (text("truth", wrap=16), number("images", "images", 0), _answers),
    (_matrix_note,),
    of="answers",
    if_asked=True,
)
