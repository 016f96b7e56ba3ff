"""`python -m tests.bench.verdicts`: how often a claim is decided that is not so, and how often one that is.

Nets are drawn, not trained: each seed of a net has an expected error of its own, images are hard or easy for all, and a
little harder for one net than for another. What is drawn goes through the report's own functions.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from vgg_sweep.protocols.statistics import ALPHA, holm
from vgg_sweep.report.tables.claims import Claim, verdict, weighed
from vgg_sweep.report.tables.paper_claims import paper_claims

SHARED, OWN = 2.0, 0.7
"""Standard deviations of an image's difficulty in logits: for all nets, and beside it for one net in all its seeds."""

LEAST_ERROR = 0.1
"""Percent: no seed is better."""

CLAIMS = {claim.sentence: claim for claim in paper_claims()}
DEPTH = CLAIMS["Error falls with depth, from A to E"]
LRN = CLAIMS["LRN does not help"]


@dataclass(frozen=True)
class Setting:
    num_images: int
    error: float
    """Mean over seeds, in percent."""
    deviation: float
    """Standard deviation of a net's error over seeds, in points."""
    points: float = 0.0
    """By how much the first net is worse than the second."""

    def __str__(self) -> str:
        return f"{self.num_images:,}, {self.error:g} %, {self.deviation:g} points"


SETTINGS = (Setting(500, 20, 2.0), Setting(1000, 4, 2.0), Setting(5000, 25, 0.3))
"""About the demo, about a real set that has become easy, and a larger one."""


class Nets:
    """Draws what pairs of nets get wrong in a setting."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, self.rng = setting, np.random.default_rng(seed)
        shares = (np.arange(400) + 0.5) / 400
        difficulties = np.hypot(SHARED, OWN) * ndtri(shares)
        self._levels = np.linspace(-16, 12, 600)
        self._errors = 100 * expit(self._levels[:, None] + difficulties).mean(axis=1)

    def differences(self, num_seeds: int) -> NDArray[np.int8]:
        """One pair of nets, [1, R, N]."""
        shared_N = SHARED * self.rng.normal(size=self.setting.num_images)
        wrong = [self._wrong(self.setting.error + points, num_seeds, shared_N) for points in (self.setting.points, 0.0)]
        return (wrong[0].astype(np.int8) - wrong[1])[None]

    def _wrong(self, error: float, num_seeds: int, shared_N: NDArray[np.floating]) -> NDArray[np.bool_]:
        spread = self.setting.deviation * self.rng.normal(size=num_seeds)
        level_R = np.interp(np.maximum(error + spread, LEAST_ERROR), self._errors, self._levels)
        logit_N = shared_N + OWN * self.rng.normal(size=shared_N.shape)
        return self.rng.random((num_seeds, len(shared_N))) < expit(level_R[:, None] + logit_N)


def decided(claim: Claim, setting: Setting, num_seeds: int, draws: int, seed: int = 0) -> dict[str, float]:
    """Percent of the draws in which one claim is decided, and in which it would be by images alone."""
    nets = Nets(setting, seed)
    found = [weighed(claim, nets.differences(num_seeds)) for _ in range(draws)]
    verdicts = [verdict(claim, num_seeds, values["points"], values["p"]) for values in found]
    shares = {said: 100 * verdicts.count(said) / draws for said in ("supported", "contradicted")}
    return shares | {"images alone": 100 * sum(values["p_images"] < ALPHA for values in found) / draws}


@dataclass(frozen=True)
class Family:
    """Of reports of ten claims, percent of those with a decided one, and percent of the claims that are decided."""

    reports: float
    claims: float


def families(setting: Setting, num_seeds: int, draws: int) -> tuple[Family, Family]:
    """Without Holm, and with."""
    nets = Nets(setting, 1)
    ps = [[weighed(DEPTH, nets.differences(num_seeds))["p"] for _ in range(10)] for _ in range(draws)]
    found = [np.array(each) < ALPHA for each in (ps, [holm(report) for report in ps])]
    plain, adjusted = (Family(100 * each.any(axis=1).mean(), 100 * each.mean()) for each in found)
    return plain, adjusted


def table(title: str, claim: Claim, settings: Sequence[Setting], draws: int) -> None:
    print(f"\n{title}: supported + contradicted, percent of {draws:,} draws\n")
    print("| images, error, deviation over seeds | points | 1 seed | 2 | 3 | 5 | 1, images alone |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for setting in settings:
        found = [decided(claim, setting, num_seeds, draws) for num_seeds in (1, 2, 3, 5)]
        cells = [f"{each['supported']:.1f} + {each['contradicted']:.1f}" for each in found]
        cells.append(f"{found[0]['images alone']:.1f}")
        print(f"| {setting} | {setting.points + 0:g} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--families", type=int, default=500, help="reports of ten claims")
    asked = parser.parse_args()
    start = time.perf_counter()
    without = [Setting(500, 20, 0.0), Setting(5000, 25, 0.0)]
    large = [Setting(50_000, 25, deviation) for deviation in (0.0, 0.3, 1.0)]
    table("Nothing differs", DEPTH, [*SETTINGS, *without], asked.draws)
    table("Nothing differs", DEPTH, large, asked.draws // 5)
    worse = [Setting(each.num_images, each.error, each.deviation, points) for each in SETTINGS for points in (1, 3)]
    table("The first net is worse", DEPTH, [*worse, Setting(5000, 25, 1.0, 3.0)], asked.draws)
    gains = [Setting(5000, 25, 0.3, 0.0 - points) for points in (0.0, 0.5, 1.0)]
    table("LRN does not help, and helps by so many points", LRN, gains, asked.draws)
    table("The same", LRN, [Setting(50_000, 25, 0.3, 0.0 - points) for points in (0.0, 0.5, 1.0)], asked.draws // 5)
    print(f"\nTen claims, without Holm and with, of {asked.families:,} reports\n")
    print("| images, error, deviation over seeds | points | seeds | reports with a decided claim | decided claims |")
    print("|---|---:|---:|---:|---:|")
    for setting in (Setting(500, 20, 0.0), SETTINGS[0], Setting(5000, 25, 1.0, 3.0)):
        for num_seeds in (3, 5, 10):
            plain, adjusted = families(setting, num_seeds, asked.families)
            reports, claims = (
                f"{plain.reports:.1f}, {adjusted.reports:.1f}",
                f"{plain.claims:.1f}, {adjusted.claims:.1f}",
            )
            print(f"| {setting} | {setting.points:g} | {num_seeds} | {reports} | {claims} |", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
