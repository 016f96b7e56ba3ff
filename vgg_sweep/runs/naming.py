"""How a person names a run: by its folder, its id, how that begins, or its net and train scale, in any sweep."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from vgg_sweep.errors import ConfigError, counted
from vgg_sweep.runs.folder import RunFolder, find_runs

OUTPUTS = Path("outputs")
"""Below which all sweeps are looked for."""
DEPTH = 3
"""How far below: outputs/flowers/second/D-jitter-s0-3f2a9c1b."""
NAMED = 4
"""As many runs are named where several fit."""
_ID = re.compile(r"(?P<slug>.+)-(?P<which>s-?\d+|[0-9a-f]{8})-[0-9a-f]{8}")


def slug(id: str) -> str:
    """D-jitter of D-jitter-s0-3f2a9c1b."""
    return found["slug"] if (found := _ID.fullmatch(id)) else id


def fitting(word: str, ids: Iterable[str]) -> list[str]:
    """The ids that `word` stands for: one that it is; else those of its net and train scale, D-jitter, or these and a
    seed, D-jitter-s0; else those that begin with it.
    """
    ids = list(dict.fromkeys(ids))
    nets = {id: (slug(id), id.rpartition("-")[0] if _ID.fullmatch(id) else id) for id in ids}
    exact = [id for id in ids if id == word] or [id for id in ids if word in nets[id]]
    return exact or [id for id in ids if word and id.startswith(word)]


def known_runs() -> list[RunFolder]:
    """The runs of all sweeps below outputs/, sorted."""
    return sorted(_below(OUTPUTS, DEPTH), key=lambda folder: folder.path)


def folders_in(folder: Path) -> list[Path]:
    """The folders in one, but hidden ones; none if it cannot be read."""
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."]
    except OSError:
        return []


def _below(folder: Path, depth: int) -> Iterator[RunFolder]:
    for child in folders_in(folder):
        if (run := RunFolder(child)).config.exists():
            yield run
        elif depth > 1:
            yield from _below(child, depth - 1)


def find_run(word: str, *, first: Path | None = None) -> RunFolder:
    """The run that `word` stands for.

    It is the run's folder, a file in it, or what `fitting` knows, looked for in every sweep below outputs/ and in
    `first`; behind SWEEP/ only in that sweep, a folder or its name below outputs/. Where several sweeps have a run of
    that name, that of `first` is meant. Raises `ConfigError` if there is none, naming the nearest, or several.
    """
    path = Path(word)
    folder = RunFolder(path.parent if path.is_file() else path)
    if folder.config.exists():
        return folder
    if str(path.parent) != ".":
        candidates = next((runs for at in (path.parent, OUTPUTS / path.parent) if (runs := find_runs(at))), [])
    else:
        candidates = known_runs()
        here = {folder.path.resolve() for folder in candidates}
        elsewhere = find_runs(first) if first is not None else []
        candidates += [folder for folder in elsewhere if folder.path.resolve() not in here]
    ids = fitting(path.name, (folder.id for folder in candidates))
    found = [folder for folder in candidates if folder.id in ids]
    if first is not None and len(found) > 1:
        found = [folder for folder in found if folder.path.parent.resolve() == first.resolve()] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{word} may be {listed(folder.path for folder in found)}; name one of them.")
    raise not_a_run(word, candidates or known_runs())


def not_a_run(word: str, candidates: Sequence[RunFolder]) -> ConfigError:
    """The error of a `word` that names none of the `candidates`, with what to name in its place."""
    if RunFolder(Path(word)).is_nameless:
        return ConfigError(
            f"{word} holds the weights or posteriors of a run, but no config.yaml; put back a copy of that file."
        )
    if runs := find_runs(Path(word)):
        instead = f"it holds the folders of {counted(len(runs), 'run')}; name one, such as {runs[0].path}."
    elif near := nearest(Path(word).name, (folder.id for folder in candidates)):
        paths = {folder.id: folder.path for folder in reversed(candidates)}
        instead = f"did you mean {listed(paths[id] for id in near)}?"
    elif candidates:
        instead = f"there are {listed([folder.path for folder in candidates], 'and')}."
    else:
        instead = f"there is none under {OUTPUTS}/ yet; start with `vgg-sweep multirun`, or name a run's folder."
    return ConfigError(f"{word} is neither the folder nor the name of a run: {instead}")


def listed(names: Iterable[object], joint: str = "or") -> str:
    """a, b or c; of many the first."""
    words = [str(name) for name in names]
    if len(words) > NAMED:
        words = [*words[: NAMED - 1], f"{len(words) - NAMED + 1} more"]
    return f" {joint} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def nearest(word: str, ids: Iterable[str], most: int = 3) -> list[str]:
    """Of `ids` those most like `word`, the nearest first: as a whole, or without hash and seed."""
    ids = list(dict.fromkeys(ids))
    names = {id: id for id in ids} | {slug(id): id for id in reversed(ids)}
    return list(dict.fromkeys(names[name] for name in get_close_matches(word, names, n=most, cutoff=0.5)))


def names() -> list[str]:
    """What completes a run's name: the ids of all known, and net and train scale where only one run has them."""
    ids = [folder.id for folder in known_runs()]
    slugs = [slug(id) for id in ids]
    return sorted({*(each for each in slugs if slugs.count(each) == 1), *ids})
