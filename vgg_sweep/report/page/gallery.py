"""A sweep image by image: those that its nets get wrong, those on which two protocols disagree, and errors by class.

Axes: N images, K classes. Which images are wrong is known from the errors of the report; of the posteriors only the
rows of the images shown are read, so a large validation set costs no more than a small one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.protocols.means import Protocol, protocol_posteriors
from vgg_sweep.report.page.thumbnails import Draw, thumbnail
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.runs.printable import printable

NUM_EXAMPLES = 12
MAX_CLASSES = 30
MAX_NETS = 16

PAIRS = (
    (("multi", "dense"), ("multi", "multi-crop")),
    (("single", "dense"), ("multi", "dense")),
    (("single", "dense"), ("single", "centre-crop")),
)
"""The protocols, as (rule, method), whose disagreement is shown: the first pair that a net has been scored under."""

RULES = {"single": "one Q", "multi": "three Q"}


@dataclass(frozen=True)
class Guess:
    """One of the five best classes of an image."""

    name: str
    posterior: float
    """In percent."""
    is_true: bool


@dataclass(frozen=True)
class Example:
    image: str
    """Its id: the file's path within the data, or `val/<number>`."""
    truth: str
    note: str
    guesses: dict[str, list[Guess]]
    """Top-5 by protocol; empty where the posteriors are not at hand."""
    thumbnail: str | None
    """A data URI; None where the image is not at hand."""


@dataclass(frozen=True)
class Gallery:
    """Some images of one sweep, with the answers of one of its nets."""

    title: str
    note: str
    examples: list[Example]


@dataclass(frozen=True)
class ImageByImage:
    """The runs of one sweep that share their settings with its best net."""

    sweep: Sweep
    settings: str
    results: pd.DataFrame

    @property
    def single(self) -> pd.DataFrame:
        """Nets under dense evaluation at one scale, which every protocol of the paper includes."""
        return self.under(("single", "dense"))

    def under(self, protocol: tuple[str, str]) -> pd.DataFrame:
        nets = self.results[self.results["fusion"] == ""]
        return nets[(nets["rule"] == protocol[0]) & (nets["method"] == protocol[1])]

    def run(self, run_id: str) -> ReportedRun:
        return next(run for run in self.sweep.runs if run.folder.id == run_id)


def image_by_image(sweep: Sweep) -> ImageByImage:
    """The runs to look at closely: those of the settings under which the lowest top-1 error was reached."""
    groups = {str(settings): rows for settings, rows in sweep.results.groupby("settings", sort=False)}
    settings = min(groups, key=lambda name: groups[name]["top1_error"].min())
    return ImageByImage(sweep, settings, groups[settings])


# --- galleries ---


def galleries(close: ImageByImage) -> list[Gallery]:
    found = [_wrong(close), _disagreements(close)]
    return [gallery for gallery in found if gallery is not None and gallery.examples]


def _wrong(close: ImageByImage) -> Gallery | None:
    """The images that most nets get wrong, of those that the best net gets wrong: one a class."""
    nets = close.single
    if nets.empty:
        return None
    best = nets.iloc[int(nets["top1_error"].argmin())]
    run = close.run(best["run_id"])
    times_wrong_N = np.zeros(int(best["n_images"]), dtype=int)
    for misses in nets["top1_misses"]:
        times_wrong_N += misses.unpack()
    wrong_N = np.flatnonzero(best["top1_misses"].unpack())
    hardest = _one_a_class(wrong_N[np.argsort(-times_wrong_N[wrong_N], kind="stable")], run)
    protocols, num_images = _protocols(best), len(times_wrong_N)
    examples = _examples(run, protocols, hardest, lambda n: f"{times_wrong_N[n]} of {len(nets)} nets err")
    note = (
        f"{len(wrong_N)} of {num_images:,} images are wrong under {', '.join(protocols)}. Shown: those that most "
        f"nets get wrong, one per class{_with_top5(run)}."
    )
    return Gallery(f"What {run.slug}, the best net, gets wrong", note, examples)


def _disagreements(close: ImageByImage) -> Gallery | None:
    """Images of which one protocol is right and another wrong: of the best net that has both."""
    for pair in PAIRS:
        first, second = (close.under(protocol).set_index("run_id") for protocol in pair)
        both = first.index.intersection(second.index)
        if len(both):
            run_id = str(first.loc[both, "top1_error"].idxmin())
            rows = (protocol[protocol.index == run_id].iloc[0] for protocol in (first, second))
            return _disagreement(close.run(run_id), *rows)
    return None


def _disagreement(run: ReportedRun, first: pd.Series, second: pd.Series) -> Gallery:
    wrong_N, also_wrong_N = first["top1_misses"].unpack(), second["top1_misses"].unpack()
    only_second, only_first = np.flatnonzero(wrong_N & ~also_wrong_N), np.flatnonzero(also_wrong_N & ~wrong_N)
    chosen = [n for right in (only_second, only_first) for n in _one_a_class(right, run)[: NUM_EXAMPLES // 2]]
    protocols = _protocols(first, second)
    names = list(protocols)
    examples = _examples(run, protocols, chosen, lambda n: f"only {names[int(wrong_N[n])]} is right")
    note = (
        f"{len(only_first)} images are right under {names[0]} alone, and {len(only_second)} under {names[1]} alone. "
        f"Shown: some of each{_with_top5(run)}."
    )
    return Gallery(f"Where two protocols disagree: {run.slug}", note, examples)


def _with_top5(run: ReportedRun) -> str:
    if run.has_posteriors:
        return f", with the five classes that {run.slug} thinks most likely"
    return ". The bundle has no posteriors, so which classes it took them for is not known"


def _protocols(*rows: pd.Series) -> dict[str, Protocol]:
    """Those of some results, by name."""
    return {f"{row['method']}, {RULES[row['rule']]}": Protocol(row["method"], row["test_scales"]) for row in rows}


def _one_a_class(images: NDArray[np.integer], run: ReportedRun) -> list[int]:
    """The first of each class, up to `NUM_EXAMPLES`."""
    first_of_class: dict[int, int] = {}
    for n in images:
        first_of_class.setdefault(int(run.posteriors.labels_N[n]), int(n))
    return list(first_of_class.values())[:NUM_EXAMPLES]


def _examples(
    run: ReportedRun, protocols: Mapping[str, Protocol], images: Sequence[int], note: Callable[[int], str]
) -> list[Example]:
    def of(n: int) -> Example:
        guesses = {name: top5 for name, protocol in protocols.items() if (top5 := _top5(run, protocol, n))}
        return example(run, run.posteriors.manifest, n, note(n), guesses)

    return list(map(of, images))


def example(
    run: ReportedRun, manifest: Mapping[str, Any], n: int, note: str, guesses: dict[str, list[Guess]], *draw: Draw
) -> Example:
    """Image `n` of a manifest, with its picture."""
    image, truth = manifest["images"][n], manifest["classes"][manifest["labels"][n]]
    return Example(printable(image), printable(truth), note, guesses, thumbnail(run, manifest, n, *draw))


def _top5(run: ReportedRun, protocol: Protocol, n: int) -> list[Guess]:
    """Empty where the posteriors are not at hand, as in a bundle of errors."""
    if not run.has_posteriors:
        return []
    posteriors_K = protocol_posteriors(run.posteriors, protocol, slice(n, n + 1))[0]
    classes, label = run.posteriors.manifest["classes"], run.posteriors.manifest["labels"][n]
    best = np.argsort(-posteriors_K, kind="stable")[:5]
    return [Guess(printable(classes[k]), 100 * float(posteriors_K[k]), bool(k == label)) for k in best]


# --- errors by class ---


def class_errors(close: ImageByImage) -> pd.DataFrame:
    """Top-1 error in percent under dense evaluation at one scale: a row a class, hardest first, a column a net.

    Means over seeds. `images` counts the class's images, `mean` is the mean over nets. At most `MAX_NETS` nets, the
    first of the table; every class that has images.
    """
    if close.single.empty:
        return pd.DataFrame(columns=["class", "images", "mean"])
    posteriors = close.run(close.results["run_id"].iloc[0]).posteriors
    counts_K = np.bincount(posteriors.labels_N, minlength=posteriors.num_classes)
    there = counts_K > 0
    columns: dict[str, NDArray[np.float64]] = {}
    for slug, rows in list(close.single.groupby("members", sort=False))[:MAX_NETS]:
        wrong_K = sum(
            np.bincount(posteriors.labels_N, weights=misses.unpack(), minlength=posteriors.num_classes)
            for misses in rows["top1_misses"]
        )
        columns[str(slug)] = 100 * np.asarray(wrong_K)[there] / (counts_K[there] * len(rows))
    frame = pd.DataFrame(columns)
    names = np.array(list(map(printable, posteriors.manifest["classes"])), dtype=object)[there]
    about = pd.DataFrame({"class": names, "images": counts_K[there], "mean": frame.mean(axis=1)})
    return pd.concat([about, frame], axis=1).sort_values("mean", ascending=False, kind="stable", ignore_index=True)
