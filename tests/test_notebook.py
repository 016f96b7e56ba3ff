"""What docs/notebook.md says, run as it is written."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import vgg_sweep
from tests.paths import ROOT
from tests.sweeps import Spec, make_run, make_sweep
from tests.tiny import CLASSES, random_run
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.report.results.plain import COLUMNS
from vgg_sweep.report.results.results import read_results

DOCS = (ROOT / "docs" / "notebook.md").read_text()


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (90, 100, 3), np.uint8)


def test_the_blocks_of_the_page_run_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_sweep(Path("outputs/demo"), [("D", "256"), ("A", "256"), ("A", "384")], spec=Spec(20))
    random_run(tmp_path / "nets").path.rename("outputs/demo/D-jitter-s0")
    (tmp_path / "photos").mkdir()
    for n in range(2):
        Image.fromarray(noise(n)).save(f"photos/{n}.png")
    results, net = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(results, names)
    assert len(pd.read_parquet("demo.parquet")) == len(names["results"])  # type: ignore[arg-type]
    exec("import vgg_sweep\n" + net, names)


def test_what_the_package_offers() -> None:
    assert {"load", "load_results"} <= set(dir(vgg_sweep))


def test_the_columns_are_those_that_the_page_explains(tmp_path: Path) -> None:
    for lr in (0.01, 0.02):
        spec = Spec(20, settings={"recipe.lr": lr, "recipe.drop_fractions": [0.5, lr]})
        make_run(tmp_path, "A", "256", spec=spec)
    make_run(tmp_path, "A", "256", seed=1, spec=Spec(20))
    frame = vgg_sweep.load_results(tmp_path)
    assert frame["lrn_factor_spread"].dtype == float  # also where no net has LRN
    settings = [name for name in frame if name not in COLUMNS]
    assert settings == ["data.name", "data.source", "recipe.drop_fractions", "recipe.lr"]
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert re.findall(r"^\| `(\w+)` \|", DOCS, flags=re.MULTILINE) == list(COLUMNS)
    assert set(frame["recipe.drop_fractions"]) == {"0.5 0.01", "0.5 0.02", "0.5 0.75 0.9"}  # the last is the default


def test_values_are_plain_and_the_same_in_every_format(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("D", "jitter"), ("E", "jitter")], spec=Spec(20))
    frame, whole = vgg_sweep.load_results(tmp_path), read_results(tmp_path)
    for value in frame.to_numpy().ravel():
        assert pd.isna(value) or isinstance(value, str | int | float | bool | np.generic)
    frame.to_parquet(tmp_path / "r.parquet")
    assert pd.read_parquet(tmp_path / "r.parquet")["test_scales"].tolist() == frame["test_scales"].tolist()
    assert pd.read_csv(_csv(frame, tmp_path), dtype=str)["test_scales"].tolist() == frame["test_scales"].tolist()
    multi = frame[(frame["rule"] == "multi") & (frame["fusion"] == "")].iloc[0]
    assert (multi["test_scales"], multi["S"]) == ("73 110 146", "73 146")
    for text, misses in zip(frame["top1_wrong"], whole["top1_misses"], strict=True):
        assert list(map(int, text.split())) == np.flatnonzero(misses.unpack()).tolist()


def _csv(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_csv(folder / "r.csv")
    return folder / "r.csv"


def test_predict_has_the_posteriors_of_the_net(tmp_path: Path) -> None:
    """Dense, image and flip: the mean of the net's own posteriors of both, worked out with its plain forward."""
    net = vgg_sweep.load(random_run(tmp_path, "A").path)
    assert repr(net) == f"<A-256, seed 0: {len(CLASSES)} classes, Q = 73 px>"
    pixels_HWC = np.random.default_rng(3).integers(0, 256, (73, 80, 3), np.uint8)  # at Q already
    both_NCHW = np.stack([pixels_HWC, pixels_HWC[:, ::-1]]).transpose(0, 3, 1, 2)
    expected_K = net.posteriors(np.ascontiguousarray(both_NCHW)).numpy().mean(axis=0)
    found = net.predict(pixels_HWC, top=len(CLASSES))
    assert found["rank"].tolist() == list(range(1, len(CLASSES) + 1)) and set(found["image"]) == {0}
    order = np.argsort(-expected_K)
    assert found["answer"].tolist() == [CLASSES[k] for k in order]
    np.testing.assert_allclose(found["posterior"], expected_K[order], rtol=1e-4)
    Image.fromarray(pixels_HWC).save(tmp_path / "one.png")
    of_file = net.predict([tmp_path / "one.png", Image.fromarray(pixels_HWC)])
    assert of_file["image"].tolist() == [str(tmp_path / "one.png"), 1]
    assert of_file["posterior"].tolist() == pytest.approx([expected_K.max()] * 2, rel=1e-4)
    with pytest.raises(ConfigError, match="there is no protocol 'dense' to predict by; choose from single, multi"):
        net.predict(pixels_HWC, protocol="dense")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(RunError, match=r"bad.png cannot be read as an image"):
        net.predict(tmp_path / "bad.png")
