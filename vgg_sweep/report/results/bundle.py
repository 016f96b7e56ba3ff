"""A bundle: one zip with what a reader needs to check the tables of some sweeps, and no weights.

    bundle.json                         format, version, names of the sweeps, fusions asked for, with posteriors or not
    0/<run id>/                         config.yaml, record.json, metrics.csv, status.json (the state alone)
    0/<run id>/posteriors/              manifest.json, and the posteriors; without them their errors.json
    0/<run id>/boxes/                   of a run that localises instead: manifest.json, and the boxes
    0/<run id>/transfer/<set>/          what probes found
    0/fusions/, 0/localised/            without posteriors and boxes: errors of the fusions, and of the boxes
    0/trials.csv                        the trials of a search, where there was one

With the posteriors a report of the bundle computes every error anew. The same runs give the same bytes.
"""

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.protocols.means import Posteriors
from vgg_sweep.report.results.errors import ReportedRun, as_file
from vgg_sweep.report.results.results import Bundle, Source, Sweep
from vgg_sweep.runs.files import atomic_path
from vgg_sweep.runs.printable import printable
from vgg_sweep.runs.trials import TRIALS_FILE
from vgg_sweep.transfer.records import record_files
from vgg_sweep.version import __version__

_FORMAT = 1
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a bundle, so that its bytes depend on the runs alone."""

_RUN_FILES = ("config.yaml", "record.json", "metrics.csv")

_EXPECTED = re.compile(
    r"bundle\.json"
    r"|\d+/((fusions|localised)/[0-9a-f]+\.json|trials\.csv)"
    r"|\d+/(?!\.)[^/\\]+/(config\.yaml|record\.json|metrics\.csv|status\.json"
    r"|(posteriors|boxes)/(?!\.)[^/\\]+\.(json|npy|npz)|transfer/(?!\.)[^/\\]+/(?!\.)[^/\\]+\.json)"
)
"""The names that a bundle may hold; none leads out of the folder it is unpacked into."""


# --- packing ---


def pack(file: Path, sweeps: Sequence[Sweep], fuse: Sequence[str], with_posteriors: bool) -> None:
    """Write a bundle of `sweeps`, whole or not at all. A report of it shows the fusions `fuse` too."""
    about = {
        "format": _FORMAT,
        "vgg_sweep": __version__,
        "sweeps": [sweep.name for sweep in sweeps],
        "fuse": list(fuse),
        "has_posteriors": with_posteriors,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w") as bundle:
        _add(bundle, "bundle.json", _as_json(about))
        for number, sweep in enumerate(sweeps):
            if (trials := sweep.folder / TRIALS_FILE).exists():
                _add(bundle, f"{number}/{TRIALS_FILE}", trials.read_bytes())
            for run in [*sweep.runs, *sweep.localised.runs]:
                _pack_run(bundle, f"{number}/{run.id}", run, with_posteriors)
            if not with_posteriors:
                kept = [score.kept_in for score in sweep.scores if score.kept_in]
                for path in sorted({*kept, *sweep.localised.kept_in}):
                    _add(bundle, f"{number}/{path.parent.name}/{path.name}", _kept(path))


def _pack_run(bundle: zipfile.ZipFile, inside: str, run: ReportedRun, with_posteriors: bool) -> None:
    there = [path for name in _RUN_FILES if (path := run.folder.path / name).exists()]
    for path in [*there, *record_files(run.folder)]:
        _add(bundle, f"{inside}/{path.relative_to(run.folder.path).as_posix()}", path.read_bytes())
    state = run.folder.status().get("state", "not started")
    _add(bundle, f"{inside}/status.json", _as_json({"state": "at work when packed" if state == "running" else state}))
    if not run.is_scored:
        return
    scored = run.scored
    inside = f"{inside}/{scored.folder.name}"
    _add(bundle, f"{inside}/manifest.json", (scored.folder / "manifest.json").read_bytes())
    if not with_posteriors:
        if isinstance(scored, Posteriors):
            _add(bundle, f"{inside}/errors.json", _as_json(as_file(run.posteriors.fingerprint, run.errors)))
        return
    if not run.has_posteriors:
        raise ConfigError("a bundle without posteriors can only be packed again with --errors-only.")
    for name in scored.file_names(scored.manifest):
        info = _info(f"{inside}/{name}", zipfile.ZIP_STORED)  # digits of floats hardly shrink
        with open(scored.folder / name, "rb") as source, bundle.open(info, "w", force_zip64=True) as target:
            shutil.copyfileobj(source, target)


def _kept(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(
            f"the errors of fusions cannot be kept in {path.parent}, which may only be read; "
            f"pack a bundle with posteriors, or a copy of the sweep."
        ) from error


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _add(bundle: zipfile.ZipFile, name: str, body: bytes) -> None:
    bundle.writestr(_info(name, zipfile.ZIP_DEFLATED), body, compresslevel=9)


def _info(name: str, compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _LONG_AGO)
    info.compress_type, info.external_attr, info.create_system = compression, 0o644 << 16, 3
    return info


# --- unpacking ---


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[list[Source]]:
    """The sweeps in folders and bundles, each path once; bundles are unpacked for as long as the block lasts.

    Raises `ConfigError` for a file that is no bundle, `RunError` for a damaged one or one that would write elsewhere.
    """
    with ExitStack() as stack:
        sources = []
        for path in dict.fromkeys(paths):
            if path.is_file():
                sources += _unpacked(path, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vgg-sweep-"))))
            else:
                sources.append(Source(path, printable(str(path))))
        names = [source.name for source in sources]
        for number, source in enumerate(sources):
            if source.bundle and names.count(source.name) > 1:  # say of two versions of the code
                sources[number] = replace(source, name=f"{source.name} ({source.bundle.file})")
        yield sources


def _unpacked(file: Path, folder: Path) -> list[Source]:
    try:
        with zipfile.ZipFile(file) as bundle:
            _check(file, bundle, folder)
            bundle.extractall(folder)
        about = json.loads((folder / "bundle.json").read_bytes())
        known = Bundle(file, str(about["vgg_sweep"]), bool(about["has_posteriors"]))
        fuse = tuple(map(str, about["fuse"]))
        if about["format"] != _FORMAT:
            raise RunError(
                f"{file} is a bundle of vgg-sweep {known.version}, which this version cannot read; update it."
            )
        return [Source(folder / str(number), str(name), fuse, known) for number, name in enumerate(about["sweeps"])]
    except zipfile.BadZipFile as error:
        if not zipfile.is_zipfile(file):
            raise ConfigError(f"{file} is neither the folder of a sweep nor a bundle of `report --bundle`.") from error
        raise RunError(f"{file} is damaged ({error}); get it again.") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, RunError | ConfigError):
            raise
        raise RunError(
            f"{file} cannot be read as a bundle ({error!r}); pack it again with `report --bundle`."
        ) from error


def _check(file: Path, bundle: zipfile.ZipFile, folder: Path) -> None:
    """That it holds what a bundle does, each file once, and that `folder` has room for it."""
    names = bundle.namelist()
    if "bundle.json" not in names:
        raise ConfigError(f"{file} is a zip but no bundle of `report --bundle`: it holds no bundle.json.")
    for name in names:
        if not _EXPECTED.fullmatch(name) or ".." in name.split("/"):
            raise RunError(f"{file} is not read: it holds {name!r}, which no bundle of `report --bundle` does.")
    if len(set(names)) != len(names):
        raise RunError(f"{file} is not read: it holds a file twice, which no bundle of `report --bundle` does.")
    needed, free = sum(info.file_size for info in bundle.infolist()), shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"{file} unpacks to {needed / 1e9:.1f} GB and {folder.parent} has {free / 1e9:.1f} GB free; "
            f"set TMPDIR to a folder with more."
        )
