"""The agenda of a sweep: which runs of a plan are meant, what became of each, and which may start now.

It is read from the runs' folders, so that several drivers share the work and a driver that died can be restarted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.passes import missing
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.naming import listed, slug

FAILED = ("failed", "diverged")
"""Ends that the same command does not repeat, because the same would happen again."""

SETTLED = ("done", *FAILED, "interrupted", "blocked")
"""An agenda has no more to do with these; the rest is `waiting`, `running` or `stopping` here, or `elsewhere`."""


def found_state(run: Run) -> str:
    """What a run's folder says: new, running, interrupted, failed, diverged, or done with all its protocol's passes; if
    it is only to be started from, done once it is trained.
    """
    if run.is_at_hand:
        return "done"
    state: str = run.folder.status().get("state", "new")
    if state == "done" and not (run.folder.is_trained and not missing(run.folder, run.config)):
        return "interrupted"
    return state


class Agenda:
    """The runs of a sweep, parents first, and their states.

    `on_start(run)` is called before a run begins in a process of ours, `on_change(run, state)` when a state changes.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        retries: int = 0,
        on_start: Callable[[Run], object] = lambda run: None,
        on_change: Callable[[Run, str], None] = lambda run, state: None,
    ) -> None:
        self.runs = list(runs)
        self.states = {run.id: "done" if found_state(run) == "done" else "waiting" for run in runs}
        self.retries, self.on_start, self.on_change = retries, on_start, on_change
        self._retries_left = dict.fromkeys(self.states, retries)

    def ready(self) -> Iterator[Run]:
        """The runs that may start now, in order, each looked up on disk: another process may have done it."""
        return (run for run in self.runs if self._may_start(run))

    def starts(self, run: Run) -> None:
        """`run` begins in a process of ours."""
        self.on_start(run)
        if found_state(run) in FAILED:
            self._retries_left[run.id] -= 1
        self._change(run, "running")

    def ends(self, run: Run) -> None:
        """The process of ours that had `run` is gone; its folder says how that ended."""
        state = found_state(run)
        if state == "running":
            self._change(run, "elsewhere")
        elif state == "new":
            self._change(run, "interrupted")
        else:
            self._change(run, state)
            if state in FAILED and self._retries_left[run.id] > 0:
                self._change(run, "waiting")

    def stops(self, run: Run) -> None:
        """The process of ours that has `run` was asked to save and stop."""
        self._change(run, "stopping")

    def gives_back(self, run: Run) -> None:
        """The process of ours that had `run` ended through no fault of the run, which waits again."""
        self._change(run, "waiting")

    @property
    def is_settled(self) -> bool:
        return all(state in SETTLED for state in self.states.values())

    def in_state(self, *states: str) -> list[Run]:
        return [run for run in self.runs if self.states[run.id] in states]

    def culprit(self, run: Run) -> Run:
        """The run whose end blocked `run`."""
        while self.states[run.id] == "blocked" and run.parent is not None:
            run = run.parent
        return run

    def _may_start(self, run: Run) -> bool:
        if self.states[run.id] not in ("waiting", "elsewhere"):
            return False
        if run.parent is not None and (parent := self.states[run.parent.id]) != "done":
            if parent in SETTLED:
                self._change(run, "blocked")
            return False
        state = found_state(run)
        if state == "running":
            self._change(run, "elsewhere")
            return False
        if state == "done" or (state in FAILED and self._retries_left[run.id] <= 0):
            self._change(run, state)
            return False
        return True

    def _change(self, run: Run, state: str) -> None:
        if self.states[run.id] != state:
            self.states[run.id] = state
            self.on_change(run, state)


RETRIED = ("failed", "diverged", "interrupted")
"""The states in which a run can be picked to be tried again."""


@dataclass(frozen=True)
class Selection:
    """Which runs of a plan are selected; all by default."""

    only: Sequence[str] = ()
    """Patterns such as D-* of which one must fit a run's net and train scale, with its seed or not, or its id."""
    excluded: Sequence[str] = ()
    """Patterns of which none may fit."""
    retry: Sequence[str] = ()
    """The states of the runs that are meant."""

    def __post_init__(self) -> None:
        if unknown := [state for state in self.retry if state not in RETRIED]:
            raise ConfigError(f"retry={unknown[0]} is not known; choose from {', '.join(RETRIED)}.")

    def of(self, runs: Sequence[Run]) -> list[Run]:
        """Those of `runs` that are meant. Raises `ConfigError` if there is none."""
        picked = [run for run in runs if self._fits(run)]
        if not picked:
            parts = {"only": self.only, "except": self.excluded, "retry": self.retry}
            asked = " ".join(f"{name}={','.join(words)}" for name, words in parts.items() if words)
            state = " ({})" if self.retry else ""
            names = dict.fromkeys(slug(run.id) + state.format(found_state(run)) for run in runs)
            whose = "run is" if len(names) == 1 else "runs are"
            raise ConfigError(f"{asked} matches no run of the plan, whose {whose} {listed(names, 'and')}.")
        return picked

    def _fits(self, run: Run) -> bool:
        names = (slug(run.id), run.id.rpartition("-")[0], run.id)
        is_only, is_excluded = (
            any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
            for patterns in (self.only, self.excluded)
        )
        return (is_only or not self.only) and not is_excluded and (not self.retry or found_state(run) in self.retry)


def with_parents(picked: Sequence[Run], runs: Sequence[Run]) -> list[Run]:
    """The `picked` ones of `runs` and all that these start from, in order."""
    wanted = {run.id for run in picked}
    for run in reversed(runs):  # children first
        if run.id in wanted and run.parent is not None:
            wanted.add(run.parent.id)
    return [run for run in runs if run.id in wanted]
