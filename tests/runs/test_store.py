"""Files are whole or not there; a run has one worker at a time, and a dead one's lock is free."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import save_file

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.runs.files import atomic_path, read_json, write_json
from vgg_sweep.runs.folder import RunFolder, RunLocked, waiting_lock

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


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder of root's, in which the rest of the test, done as another user, may not write."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    with waiting_lock(tmp_path / "cache" / "index.lock"):
        write_json(tmp_path / "cache" / "index.json", {"classes": 3})
    os.seteuid(65534)
    yield tmp_path / "cache"
    os.seteuid(0)


def test_a_cache_of_another_user_can_be_read_and_a_refusal_says_what_to_do(shared: Path) -> None:
    with waiting_lock(shared / "index.lock"):
        assert read_json(shared / "index.json") == {"classes": 3}
    for name in ("index.lock", "new.lock"):
        with (
            pytest.raises(ConfigError, match=r"cache cannot be written \(Permission denied\); give another cache=DIR"),
            waiting_lock(shared / name),
        ):
            write_json(shared / "new.json", {})


def test_a_run_of_another_user_is_refused_in_a_sentence(shared: Path) -> None:
    with pytest.raises(RunError, match="cannot be written .*; give another out=DIR"), RunFolder(shared).locked():
        pass


def test_files_are_made_for_those_whom_the_umask_lets_write(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        write_json(tmp_path / "file.json", {})
        with waiting_lock(tmp_path / "lock"):
            pass
        save_file({"bias": torch.zeros(1)}, tmp_path / "of-a-library")
        with atomic_path(tmp_path / "weights") as temporary:
            save_file({"bias": torch.zeros(1)}, temporary)
        (tmp_path / "of-a-library").unlink()
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o664}


def test_what_a_killed_process_was_writing_is_removed_but_not_what_drivers_write(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "posteriors").mkdir()
    kept = {"status.json", ".config.yaml.0a1b2c3d", ".hidden", "posteriors"}
    for name in (*kept - {"posteriors"}, ".status.json.kuv98z6h", "posteriors/.dense.npy.0a1b2c3d"):
        (tmp_path / name).touch()
    folder.remove_leftovers()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == kept


def test_a_file_that_holds_no_object_is_named(tmp_path: Path) -> None:
    cure = "put back a copy of it, or remove only this file"
    for content in (b"[1]", b"\xff\xfe", b'"a"'):
        (tmp_path / "record.json").write_bytes(content)
        with pytest.raises(RunError, match=f"record.json cannot be read .*; {cure}"):
            RunFolder(tmp_path).record()


def test_a_refusal_takes_away_the_lock_that_it_made_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(ConfigError, match="no"), waiting_lock(tmp_path / "kept" / "new" / "cache" / "index.lock"):
        raise ConfigError("no")
    assert list(tmp_path.rglob("*")) == [tmp_path / "kept"]
    with waiting_lock(tmp_path / "index.lock"):
        pass
    with pytest.raises(ConfigError), waiting_lock(tmp_path / "index.lock"):
        raise ConfigError("no")
    assert (tmp_path / "index.lock").exists()


def test_who_waited_for_a_lock_that_was_taken_away_holds_the_next(tmp_path: Path) -> None:
    path, order = tmp_path / "cache" / "index.lock", []

    def wait() -> None:
        with waiting_lock(path):
            order.append("waited")
            assert path.exists()

    waiting = Thread(target=wait)
    with pytest.raises(ConfigError), waiting_lock(path):
        waiting.start()
        time.sleep(0.1)
        order.append("refused")
        raise ConfigError("no")
    waiting.join(timeout=10)
    assert order == ["refused", "waited"]
