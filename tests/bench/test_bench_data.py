"""What `bench data` reads and tells; how fast it is, is not for tests."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.bench import loaders
from tests.tiny import tiny_config
from vgg_sweep.bench import measures
from vgg_sweep.bench.measures import bench_data, files_in
from vgg_sweep.bench.timing import Effort
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError

THRICE = Effort(3, 0)


def config(tmp_path: Path, root: Path | None) -> Config:
    plain = tiny_config(tmp_path, train_scale="jitter")
    return replace(plain, data=replace(plain.data, root=None if root is None else str(root)))


def make_files(folder: Path) -> None:
    folder.mkdir()
    for index in range(3):
        Image.linear_gradient("L").resize((90, 60 + index)).save(folder / f"{index}.jpg")
    (folder / "notes.txt").write_text("no image")


def test_a_folder_and_a_tar_give_the_same_images_and_nothing_else(tmp_path: Path) -> None:
    make_files(tmp_path / "set")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(tmp_path / "set", "set")
    of_folder, of_tar = (files_in(str(tmp_path / name)) for name in ("set", "set.tar"))
    assert sorted(of_folder) == sorted(of_tar)
    assert [Image.open(io.BytesIO(data)).size for data in of_folder] == [(90, 60), (90, 61), (90, 62)]


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bench data needs data.root=PATH"):
        bench_data(config(tmp_path, None), THRICE, lambda what: None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="has no images; give a folder or a tar"):
        bench_data(config(tmp_path, tmp_path / "empty"), THRICE, lambda what: None)


def test_rows_are_images_a_second_a_core_beside_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and decoding are run; the loaders of processes are made and not started."""
    make_files(tmp_path / "set")
    monkeypatch.setattr(measures, "IMAGES_A_ROUND", 4)
    monkeypatch.setattr(loaders, "IMAGES_A_ROUND", 4)

    def take_turns(works: dict[str, Callable[[], object]], device: torch.device, effort: Effort) -> dict[str, float]:
        assert [works[what]() for what in ("ours",)] == [4]
        works["decoding alone"]()
        return {what: 4.0 if what == "torchvision" else 2.0 for what in works}

    monkeypatch.setattr(loaders, "take_turns", take_turns)
    rows = {
        row.what: row for row in loaders.bench_loaders(config(tmp_path, tmp_path / "set"), THRICE, lambda what: None)
    }
    assert {"ours", "torchvision", "decoding alone", "ours, 2 workers", "torchvision, 2 workers"} <= rows.keys()
    assert rows["ours"].speedup == 2 and rows["torchvision"].speedup == 1
    assert rows["ours"].images_per_second_per_core == 2 and rows["ours, 2 workers"].images_per_second_per_core == 1


def test_ours_is_measured_with_one_worker_and_with_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files(tmp_path / "set")
    monkeypatch.setattr(measures, "IMAGES_A_ROUND", 4)
    one, two = bench_data(config(tmp_path, tmp_path / "set"), Effort(1, 0), lambda what: None)
    assert (one.what, two.what) == ("ours", "ours, 2 workers")
    assert two.images_per_second == pytest.approx(4 / two.seconds)
    assert two.images_per_second_per_core == pytest.approx(2 / two.seconds)
