"""A run that is killed before any of its file operations and given again: its folder is as if nothing had happened."""

import csv
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import RECIPE, tiny_run
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.work import work

OPERATIONS = ("open", "replace", "rename", "unlink", "mkdir", "rmdir")
"""Of `os`, by which all else makes, renames and removes files."""
TIMES = {"images_per_second", "wait_share"}


@contextmanager
def copied_before_operations(folder: Path, copies: Path) -> Iterator[list[str]]:
    """Before each file operation in `folder` it is copied to `copies`/0, 1, ..., which is what a SIGKILL would leave
    there; yields the operations.
    """
    done: list[str] = []
    one_at_a_time = threading.RLock()

    def watched(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            is_write = name != "open" or (arguments and arguments[0] & os.O_CREAT)
            is_ours = folder in Path(os.fsdecode(path)).parents or "dir_fd" in options
            with one_at_a_time:
                if is_write and is_ours and (name != "unlink" or "dir_fd" in options or os.path.lexists(path)):
                    shutil.copytree(folder, copies / str(len(done)))
                    done.append(f"{name} {path}")
                return operation(path, *arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        yield done


def finished(run: Run) -> None:
    prepare(run)
    work(run, live=False)


def content(folder: Path) -> dict[str, object]:
    """What is in every file, without times and what depends on them."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        match path.suffix:
            case ".json":
                found[name] = sorted(json.loads(path.read_text()))
            case ".csv":
                rows = csv.DictReader(path.read_text().splitlines())
                found[name] = [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
            case _:
                found[name] = None if name in ("log.txt", "lock") else path.read_bytes()
    return found


def test_a_run_killed_before_any_file_operation_comes_out_the_same(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, recipe=replace(RECIPE, epochs=2.0))
    folder, copies = run.folder.path, tmp_path / "copies"
    with copied_before_operations(folder, copies) as operations:
        finished(run)
    expected = content(folder)
    assert len(operations) > 30
    for number, operation in enumerate(operations):
        shutil.rmtree(folder)
        shutil.copytree(copies / str(number), folder)
        finished(run)
        assert content(folder) == expected, f"killed before {operation}"
