"""The table of a sweep: states as they are on disk, as wide as the terminal."""

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.stub import EVERY_STATE, make_every_state
from vgg_sweep.cli.status import picture, show_status
from vgg_sweep.errors import ConfigError
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.sweep.status import duration, read_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    make_every_state(tmp_path)
    return tmp_path


def test_every_run_is_read_with_its_state(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["run"]: row["state"] for row in read_sweep(sweep)} == EVERY_STATE
    show_status([sweep], as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert {row["run"]: row["state"] for row in rows} == EVERY_STATE
    [cut] = [row for row in rows if row["run"] == "cut"]
    assert cut["step"] == 30 and cut["loss"] == 1.25 and cut["sweep"] == str(sweep)


def test_a_run_at_work_is_told_from_one_whose_process_died(sweep: Path) -> None:
    with RunFolder(sweep / "cut").locked():
        assert {row["run"]: row["state"] for row in read_sweep(sweep)} == EVERY_STATE | {"cut": "running"}


def test_the_table_shows_how_far_and_why(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    show_status([sweep])
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "train 30/40, 75 %" in lines["cut"] and "1.250" in lines["cut"] and "40.0" in lines["cut"]
    assert "out of luck" in lines["bad"] and "second" not in text
    assert "1 of 7 done, 1 interrupted, 1 failed, 2 blocked" in text


ROW = {"run": "D-jitter-fc-s0-a9732f89", "state": "running", "stage": "train", "step": 12_000, "num_steps": 370_000,
       "loss": 6.25, "val_error": 98.5, "images_per_second": 1234.0, "eta_seconds": 1e6, "host": "node7.cluster.org",
       "device": "cuda", "gpus": ["0", "1"]}  # fmt: skip


def shown(rows: list[dict[str, object]], width: int, num_lines: int | None = None) -> str:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(picture(rows, screen, num_lines=num_lines))
    return screen.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_run_is_shown_with_its_host_and_gpus() -> None:
    header, line, _ = shown([ROW], 160).splitlines()
    assert header.split() == "run state at loss val % img/s left where".split()
    assert line.endswith("train 12000/370000, 3 %  6.250   98.5   1234  11 days 13 h  node7 GPU 0,1")
    assert "node7 CPU" in shown([{**ROW, "device": "cpu", "gpus": []}], 160)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_terminal_shows_fewer_columns_and_cuts_none(width: int) -> None:
    text = shown([ROW, {**ROW, "run": "A-256-s0-00000000", "state": "failed", "error": "e" * 30}], width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    assert text.splitlines()[1].startswith("D-jitter-fc-s0-a9732f89  running  train 12000/370000, 3 %")
    assert "11 days 13 h" in text


def test_settings_in_which_runs_differ_have_columns() -> None:
    rows = [{**ROW, "settings": {"recipe.lr": lr, "recipe.drop_fractions": [0.5, lr]}} for lr in (0.01, 0.02)]
    header, first, second, _ = shown(rows, 160).splitlines()
    assert header.split()[:4] == ["run", "recipe.drop_fractions", "recipe.lr", "state"]
    assert first.split()[1:3] == ["[0.5,0.01]", "0.01"] and second.split()[1:3] == ["[0.5,0.02]", "0.02"]


def test_what_nobody_has_reported_takes_no_column() -> None:
    assert shown([{"run": "A", "state": "new"}], 160).splitlines()[0].split() == ["run", "state"]


def test_a_long_sweep_shows_first_of_all_what_is_at_work_or_failed() -> None:
    states = ["done"] * 30 + ["new"] * 30 + ["failed"] + ["done"] * 30 + ["running"]
    rows: list[dict[str, object]] = [{"run": f"run{i}", "state": state} for i, state in enumerate(states)]
    lines = shown(rows, 100, num_lines=10).splitlines()
    assert len(lines) <= 10
    assert [line.split()[0] for line in lines[1:7]] == ["run30", "run31", "run32", "run33", "run60", "run91"]
    assert "60 of 92 done, 1 running, 1 failed" in lines[-1]


def test_a_run_at_work_that_says_nothing_is_shown_as_silent() -> None:
    assert "silent for 20 min" in shown([{**ROW, "heartbeat": time.time() - 1200}], 160)
    assert "silent" not in shown([{**ROW, "heartbeat": time.time() - 60}], 160)


def test_a_run_without_its_configuration_is_named(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "A-lost" / "posteriors").mkdir(parents=True)
    show_status([sweep])
    assert f"{sweep / 'A-lost'} has no config.yaml; put back a copy of it." in capsys.readouterr().err


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no runs"):
        show_status([tmp_path])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (3540, "59 min"),
        (3600, "1 h 00 min"),
        (12345, "3 h 26 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_folder_is_shown_by_its_whole_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets are no markup."""
    for name in ("[x] y", "a[", "[bold]z"):
        sweep = tmp_path / name if name != "a[" else tmp_path / "a[" / "b]"
        make_every_state(sweep)
        show_status([sweep])
        assert capsys.readouterr().out.replace("\n", "").startswith(str(sweep))
