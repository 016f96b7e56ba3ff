"""metrics.csv: running means, rows of steps that are taken again, rows that were cut."""

import csv
import math
from pathlib import Path

import pytest

from vgg_sweep.train.curves import COLUMNS, Window, append_row, begin_rows


def test_running_means_begin_with_the_first_step_and_forget_slowly() -> None:
    window = Window()
    window.add(loss=2.0, error=80.0, S_px=73, num_images=32, wait_seconds=1.0, seconds=4.0)
    assert (window.loss, window.error, window.S_px, window.images_per_second, window.wait_share) == (2, 80, 73, 8, 0.25)
    window.add(loss=1.0, error=60.0, S_px=73, num_images=32, wait_seconds=0.0, seconds=2.0)
    assert window.loss == pytest.approx(1.95) and window.error == pytest.approx(79)
    assert window.images_per_second == pytest.approx(8.4) and window.wait_share == pytest.approx(0.2375)


def test_chance_is_the_log_of_the_number_of_classes() -> None:
    window = Window()
    window.add(math.log(20) - 0.01, 95, 73, 32, 0, 1)
    assert window.is_at_chance(20)
    window.add(0.0, 0, 73, 32, 0, 1)
    assert not window.is_at_chance(20)


def row(step: int) -> dict[str, float]:
    window = Window()
    window.add(2.0, 80.0, 73, 32, 1.0, 4.0)
    return window.row(step, step / 4, 0.01, val_error=50.0 if step % 4 == 0 else None)


def test_rows_after_a_step_and_cut_rows_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    for step in range(1, 9):
        append_row(path, row(step))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "1", "2,0.5"]))
    begin_rows(path, 6, "")
    append_row(path, row(7))
    with open(path) as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [int(each["step"]) for each in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [each["val_error"] for each in rows] == ["", "", "", "50", "", "", ""]
    assert rows[0] | {"step": "3", "epoch": "0.75"} == rows[2]


def test_without_rows_there_is_nothing_to_forget(tmp_path: Path) -> None:
    begin_rows(tmp_path / "metrics.csv", 3, "")
    assert not (tmp_path / "metrics.csv").exists()


def test_damaged_rows_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    for step in range(1, 5):
        append_row(path, row(step))
    lines = path.read_bytes().splitlines()
    lines[2] = lines[2].replace(b".", b"\xff")
    path.write_bytes(b"\n".join(lines))
    begin_rows(path, 3, "")
    with open(path) as file:
        assert [each["step"] for each in csv.DictReader(file)] == ["1", "3"]
