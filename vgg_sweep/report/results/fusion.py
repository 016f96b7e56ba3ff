"""Several nets as one: the mean of their posteriors (Sect. 4.4), for Table 6, for any names, and by greedy search."""

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.errors import ConfigError
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.means import Posteriors, Protocol, check_same_images, fused_posteriors, protocol_posteriors
from vgg_sweep.protocols.methods import BOTH
from vgg_sweep.protocols.metrics import truth_ranks
from vgg_sweep.report.results.errors import ReportedRun, Score, as_score, cached_errors, storable
from vgg_sweep.runs.naming import fitting, nearest, slug

_Member = tuple[Posteriors, Protocol]
"""The posteriors of a net, and what of them enters a fusion."""

_SEARCH_PROTOCOLS = (("multi", BOTH), ("multi", "dense"), ("single", "dense"))
"""What `best:N` compares nets under: the first that enough of them have."""


def fused_scores(
    sweep: Path, scores: Sequence[Score], fuse: Sequence[str], others: Sequence[ReportedRun] = ()
) -> list[Score]:
    """The fusions of Table 6 whose members are all there, and those asked for: `D-jitter + E-jitter`, or `best:N`. In
    these, names that no run of the sweep has stand for `others`, of sweeps beside it, as do SWEEP/D-jitter.

    Raises `ConfigError` for a name that fits no run, or several.
    """
    has = {(score.runs[0].id, score.rule, score.method) for score in scores}
    runs = list({score.runs[0].id: score.runs[0] for score in scores}.values())
    fused = _table6(sweep, runs, has)
    for spec in fuse:
        fused += _best(sweep, spec, scores) if spec.startswith("best:") else _named(sweep, spec, runs, others)
    return fused


def _table6(sweep: Path, runs: Sequence[ReportedRun], has: set[tuple[str, str, str]]) -> list[Score]:
    """Each row of Table 6, once for every seed (and settings) in which all its members are scored."""
    alike: dict[str, dict[str, ReportedRun]] = defaultdict(dict)
    for run in runs:
        alike[json.dumps([run.seed, run.settings])][run.slug] = run
    fused = []
    for by_slug in alike.values():
        for row in paper.fusions():
            members = [by_slug[net.slug] for net in row.members if net.slug in by_slug]
            if len(members) == len(row.members) and all((run.id, "multi", row.method) in has for run in members):
                fused.append(_fuse(sweep, members, "multi", row.method, row.group))
    return fused


def _named(sweep: Path, spec: str, runs: Sequence[ReportedRun], others: Sequence[ReportedRun]) -> list[Score]:
    """None if the first net is another sweep's, which shows the fusion."""
    members = [find_run(name.strip(), runs, others) for name in spec.split("+")]
    if members[0] not in runs:
        return []
    has = [{(rule, protocol.method) for rule, protocol in run.protocols()} for run in members]
    protocols = product(("single", "multi"), ("dense", "multi-crop", BOTH, "centre-crop", "ten-crop"))
    shared = [each for each in protocols if each in set.intersection(*has)]
    if not shared:
        raise ConfigError(
            f"the nets of --fuse '{spec}' share no protocol; score them under the same one, such as protocol=multi."
        )
    return [_fuse(sweep, members, rule, method, spec) for rule, method in shared]


def find_run(name: str, runs: Sequence[ReportedRun], others: Sequence[ReportedRun] = ()) -> ReportedRun:
    """The run called `name`, as `runs.naming.fitting` says, or else that of `others`; behind SWEEP/ one of that sweep.
    Raises `ConfigError` if not just one is.
    """
    sweep, _, last = name.rpartition("/")
    for candidates in (runs, others):
        there = [run for run in candidates if not sweep or f"/{run.sweep}".endswith(f"/{sweep}")]
        ids = fitting(last, (run.id for run in there))
        found = [run for run in there if run.id in ids]
        if len(found) == 1:
            return found[0]
        if found:
            names = [run.id if run in runs else f"{run.sweep}/{run.id}" for run in found]
            raise ConfigError(f"'{name}' in --fuse fits {len(found)} runs; name one of {', '.join(names)}.")
    by_id = [run.id for run in [*runs, *others]]
    near = list(dict.fromkeys(slug(id) for id in nearest(name, by_id)))
    known = sorted(map(slug, by_id))
    hint = f"did you mean {' or '.join(near)}?" if near else f"scored are {', '.join(dict.fromkeys(known))}."
    raise ConfigError(f"no scored run is called '{name}' (--fuse); {hint}")


def _fuse(sweep: Path, runs: Sequence[ReportedRun], rule: str, method: str, name: str) -> Score:
    """The score of a fusion, computed once and then read from the sweep's `fusions/`."""
    members = [(run.posteriors, Protocol(method, run.test_scales(rule))) for run in runs]

    def computed() -> list[dict[str, Any]]:
        return [_row(members, rule, method) | storable(_ranks(members), members[0][0])]

    path, rows = cached_errors(sweep / "fusions", _asked(members), computed)
    return as_score(tuple(runs), rows[0], name, path)


def _asked(members: Sequence[_Member]) -> list[list[Any]]:
    """What tells these members from others, in one order."""
    return sorted([posteriors.fingerprint, protocol.method, protocol.test_scales] for posteriors, protocol in members)


def _row(members: Sequence[_Member], rule: str, method: str) -> dict[str, Any]:
    """What names a fusion's errors: its protocol and every Q that one of its nets looks at."""
    scales = sorted({Q for _, protocol in members for Q in protocol.test_scales})
    return {"rule": rule, "method": method, "test_scales": scales}


def _ranks(members: Sequence[_Member]) -> NDArray[np.int64]:
    check_same_images([posteriors for posteriors, _ in members])
    first = members[0][0]
    each = (truth_ranks(fused_posteriors(members, rows), first.labels_N[rows]) for rows in first.chunks())
    return np.concatenate([*each])


def _best(sweep: Path, spec: str, scores: Sequence[Score]) -> list[Score]:
    """`best:N`: nets added one by one, each time the one that lowers the top-1 error most on a random half of the
    images.

    A score for each size up to N, on the other half, which had no say in the choice. The halves are the same in every
    report.
    """
    number = spec.removeprefix("best:")
    if not number.isdigit() or number == "0":
        raise ConfigError(f"--fuse {spec} is not understood; write best:N with the number of nets, such as best:2.")
    rule, method, candidates = _candidates(spec, int(number), scores)
    runs = {score.runs[0].id: score.runs[0] for score in candidates}
    members = [(run.posteriors, Protocol(method, run.test_scales(rule))) for run in runs.values()]

    def searched() -> list[dict[str, Any]]:
        return _searched(spec, int(number), list(runs), members, rule, method)

    path, rows = cached_errors(sweep / "fusions", [*_asked(members), *runs, spec], searched)
    return [as_score(tuple(runs[id] for id in row["runs"]), row, row["name"], path) for row in rows]


def _searched(
    spec: str, number: int, ids: Sequence[str], members: Sequence[_Member], rule: str, method: str
) -> list[dict[str, Any]]:
    check_same_images([posteriors for posteriors, _ in members])
    num_images = members[0][0].num_images
    if num_images < 2:
        raise ConfigError(f"--fuse {spec} needs two halves of a validation set, which has {num_images} image.")
    chosen_on_N = np.zeros(num_images, dtype=bool)
    chosen_on_N[np.random.default_rng(0).permutation(num_images)[: num_images // 2]] = True
    chosen: list[int] = []
    found = []
    for size in range(1, number + 1):
        errors = _errors_with_each(members, chosen, chosen_on_N)
        chosen.append(min((index for index in range(len(ids)) if index not in chosen), key=errors.__getitem__))
        picked = [members[index] for index in chosen]
        measured_N = _ranks(picked)[~chosen_on_N]
        name = (
            f"best {size} of {len(ids)}, chosen on {chosen_on_N.sum()} images, measured on the other {len(measured_N)}"
        )
        found.append(
            {"name": name, "runs": [ids[index] for index in chosen]}
            | _row(picked, rule, method)
            | storable(measured_N, members[0][0])
        )
    return found


def _candidates(spec: str, number: int, scores: Sequence[Score]) -> tuple[str, str, list[Score]]:
    most = 0
    for rule, method in _SEARCH_PROTOCOLS:
        candidates = [score for score in scores if (score.rule, score.method) == (rule, method)]
        if len(candidates) >= number:
            return rule, method, candidates
        most = max(most, len(candidates))
    raise ConfigError(
        f"--fuse {spec} needs {number} nets scored alike, and there are {most}; ask for fewer or score more."
    )


def _errors_with_each(members: Sequence[_Member], chosen: Sequence[int], on_N: NDArray[np.bool_]) -> list[int]:
    """Top-1 errors on some images of the `chosen` nets fused with each of all. A sum ranks classes as the mean does."""
    errors = [0] * len(members)
    first = members[0][0]
    for rows in first.chunks():
        labels_N, some_N = first.labels_N[rows], on_N[rows]
        chosen_NK = sum((protocol_posteriors(*members[index], rows) for index in chosen), start=np.zeros(1))
        for index, member in enumerate(members):
            fused_NK = chosen_NK + protocol_posteriors(*member, rows)
            errors[index] += int((truth_ranks(fused_NK, labels_N)[some_N] > 0).sum())
    return errors
