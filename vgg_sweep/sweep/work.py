"""One run from lock to done: train it if it is not trained, score what is not scored, and leave its state on disk."""

import errno
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.sets.boxes import check_boxes
from vgg_sweep.images.sets.sources import check_classes, check_source, folder_for, is_here, refuse_dropped
from vgg_sweep.machine.launch import is_first_process, launch, num_processes
from vgg_sweep.plan.folders import read_named
from vgg_sweep.plan.passes import missing
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.printable import printable
from vgg_sweep.runs.progress import Diverged, Interrupted, Reporter
from vgg_sweep.runs.provenance import changes, made_with

EXIT_CODES = {"done": 0, "failed": 1, "diverged": 1, "interrupted": 130}


def check(config: Config) -> None:
    """Raise `ConfigError` if the data or the device that `config` asks for is not here; nothing is written."""
    refuse_dropped(config.data)
    if config.data.download and not is_here(config.data):
        folder_for(config.data)
    else:
        check_source(config.data, val_alone=config.imported.sha256 is not None)
        check_classes(config)
    if config.task == "localise":
        check_boxes(config.data)
    if config.device not in ("auto", "cpu"):
        from vgg_sweep.machine.hardware import choose_hardware

        choose_hardware(config)


def work(run: Run, *, live: bool) -> None:
    """Train and score `run`, whose parent is trained, unless that is done. `live` shows progress on the terminal.

    With `devices` of more than 1 it is done by as many processes, unless torchrun has started these already.

    Raises `RunLocked` if another process works on it, `Interrupted`, `Diverged`, or whatever went wrong, after
    status.json and error.txt say so.
    """
    if run.config.devices > 1 and num_processes() == 1:
        _work_in_processes(run, live=live)
        return
    folder, is_first = run.folder, is_first_process()
    reporter = Reporter(folder, live, mute=not is_first)
    with folder.locked() if is_first else nullcontext():
        try:
            if is_first:
                _begin(reporter)
            with reporter.running(), _counted_warnings(reporter):
                _attempt(run, reporter)
            if is_first:
                folder.error.unlink(missing_ok=True)
                folder.update_status(state="done", stage="done", eta_seconds=0)
        except (Interrupted, KeyboardInterrupt) as stopped:
            if is_first:
                folder.update_status(state="interrupted", error=str(stopped))
            raise
        except BaseException as error:
            with suppress(OSError):  # a full disk; the state is then found from the lock that nobody holds
                _write_down(error, reporter)
            if _is_of_full_disk(error):
                raise RunError(_sentence(error)) from error
            raise


def _begin(reporter: Reporter) -> None:
    """Clear away what a kill has left, and look whether the rest is whole. Write down that the run is at work and with
    what, and if it goes on with other code or versions than before.
    """
    folder = reporter.folder
    folder.remove_leftovers()
    folder.check_files()
    before, now = folder.status(), made_with()
    begun, queued = before.get("made_with"), before.get("queued_with", now)
    if not folder.is_trained and (changed := changes(begun or queued, now)):
        since = "continues with other versions or code" if begun else "the code or versions changed since it was queued"
        reporter.note(f"{since}: {'; '.join(changed)}")
        folder.update_record(begun_with=[*folder.record().get("begun_with", []), begun or queued])
    attempt = int(before.get("attempt", 0)) + 1
    folder.update_status(
        state="running", stage="start", attempt=attempt, started=time.time(), error=None, made_with=now
    )


def _attempt(run: Run, reporter: Reporter) -> None:
    if run.folder.is_trained and not missing(run.folder, run.config):
        for scored in (run.folder.posteriors, run.folder.boxes):
            shutil.rmtree(scored / "parts", ignore_errors=True)  # if killed before they were removed
        return
    from vgg_sweep.sweep.attempt import train_and_score  # a plan is made and a sweep driven without its torch

    train_and_score(run, reporter)


@contextmanager
def _counted_warnings(reporter: Reporter) -> Iterator[None]:
    """Say each kind of warning that images raise once, and put into the record how often it came."""
    from vgg_sweep.images.decode import counted_warnings  # imports numpy, which a plan does without

    with counted_warnings(reporter.note) as kinds:
        yield
    if kinds and is_first_process():
        reporter.folder.update_record(image_warnings=dict(kinds))


def _write_down(error: BaseException, reporter: Reporter) -> None:
    """Leave the state and what went wrong on disk. Of several processes the first to fail does so: the others fail for
    want of it.
    """
    folder = reporter.folder
    if folder.status().get("state") == "failed":
        return
    state = "diverged" if isinstance(error, Diverged) else "failed"
    folder.fail(_sentence(error), traceback.format_exc(), state=state)
    reporter.note(f"failed: {_sentence(error)}")


def _work_in_processes(run: Run, *, live: bool) -> None:
    folder = run.folder
    code = launch(folder.path, folder.log, run.config.devices, live=live)
    status = folder.status()
    if code == 0:
        return
    match status.get("state"):
        case "interrupted":
            raise Interrupted(status.get("error") or "stopped")
        case "diverged":
            raise Diverged(status["error"])
        case "failed":
            raise RunError(status["error"])
    raise RunError(f"the processes of {run.id} ended with exit code {code}; {folder.log} has what they said.")


def _is_of_full_disk(error: BaseException) -> bool:
    """Some libraries raise errors of their own with the system's words in them."""
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def _sentence(error: BaseException) -> str:
    if isinstance(error, RunError | ConfigError | Diverged):
        return str(error)
    if _is_of_full_disk(error):
        return f"the disk is full ({error}); free some space; the same command then continues from the last checkpoint."
    return f"{type(error).__name__}: {error}"


def main(folder: Path, *, live: bool = False) -> int:
    """Work on a prepared run folder in this process: what a sweep starts for each run. Returns the exit code."""
    run = read_named(RunFolder(folder), as_asked=True)
    try:
        work(run, live=live)
    except (Interrupted, KeyboardInterrupt):
        return EXIT_CODES["interrupted"]
    except Exception as error:
        print(printable(f"{run.id}: {_sentence(error)}"), file=sys.stderr)
        return EXIT_CODES["failed"]
    return EXIT_CODES["done"]


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), live="--live" in sys.argv)
    if num_processes() > 1:  # threads of the process group may abort a process that ends by way of Python's own end
        os._exit(code)
    sys.exit(code)
