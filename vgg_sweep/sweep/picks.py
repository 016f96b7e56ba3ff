"""Some of the runs of a plan: by pattern, or by what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.naming import listed, slug
from vgg_sweep.sweep.agenda import found_state

RETRIED = ("failed", "diverged", "interrupted")
"""The states in which a run can be picked to be tried again."""


@dataclass(frozen=True)
class Picks:
    """Which runs of a plan are meant: all where nothing is said."""

    only: Sequence[str] = ()
    """Patterns such as D-* of which one must fit a run's net and train scale, with its seed or not, or its id."""
    excluded: Sequence[str] = ()
    """Patterns of which none may fit."""
    retry: Sequence[str] = ()
    """The states of the runs that are meant."""

    def __post_init__(self) -> None:
        if unknown := [state for state in self.retry if state not in RETRIED]:
            raise ConfigError(f"retry={unknown[0]} is not known; choose among {', '.join(RETRIED)}.")

    def of(self, runs: Sequence[Run]) -> list[Run]:
        """Those of `runs` that are meant. Raises `ConfigError` if there is none."""
        picked = [run for run in runs if self._fits(run)]
        if not picked:
            parts = {"only": self.only, "except": self.excluded, "retry": self.retry}
            asked = " ".join(f"{name}={','.join(words)}" for name, words in parts.items() if words)
            names = dict.fromkeys(slug(run.id) for run in runs)
            whose = "run is" if len(names) == 1 else "runs are"
            raise ConfigError(f"{asked} picks none of the plan, whose {whose} {listed(names, 'and')}.")
        return picked

    def _fits(self, run: Run) -> bool:
        return (
            (not self.only or _matches(run, self.only))
            and not _matches(run, self.excluded)
            and (not self.retry or found_state(run) in self.retry)
        )


def with_parents(picked: Sequence[Run], runs: Sequence[Run]) -> list[Run]:
    """The `picked` ones of `runs` and all that these start from, in order."""
    wanted = set()
    for run in picked:
        each: Run | None = run
        while each is not None:
            wanted.add(each.id)
            each = each.parent
    return [run for run in runs if run.id in wanted]


def _matches(run: Run, patterns: Sequence[str]) -> bool:
    names = (slug(run.id), run.id.rpartition("-")[0], run.id)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
