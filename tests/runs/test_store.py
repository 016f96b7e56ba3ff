"""Files are whole or not there; a run has one worker at a time, and a dead one's lock is free."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vgg_sweep.errors import RunError
from vgg_sweep.runs.files import atomic_path, read_json, write_json
from vgg_sweep.runs.folder import RunFolder, RunLocked

HOLD = """
import sys, time
from pathlib import Path
from vgg_sweep.runs.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
with folder.locked():
    folder.update_status(state="running")
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    write_json(file, {"old": 1})
    with pytest.raises(KeyError), atomic_path(file) as temporary:
        temporary.write_text('{"ne')
        raise KeyError
    assert read_json(file) == {"old": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_a_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": ')
    with pytest.raises(RunError, match="status.json cannot be read"):
        RunFolder(tmp_path).status()


def test_one_worker_a_run_until_it_dies(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert folder.is_locked() and folder.status()["state"] == "running"
        with (
            pytest.raises(RunLocked, match=f"process {holder.pid} on"),
            folder.locked(),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
    assert not folder.is_locked()
    assert folder.status()["state"] == "interrupted", "a dead run is not running"
    with folder.locked():
        assert folder.is_locked()


def test_a_run_is_trained_when_its_weights_are_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.is_trained
    folder.weights.touch()
    assert folder.is_trained
