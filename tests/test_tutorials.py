"""Each page of docs/tutorials, run as it is written, in a folder with what the page says is there.

`make test-tutorials`: some nets are trained, which takes minutes.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.foreign import torchvision_net
from tests.paths import ROOT

trains = pytest.mark.skipif("VGG_SWEEP_TUTORIALS" not in os.environ, reason="make test-tutorials runs it")

PAGES = ROOT / "docs" / "tutorials"


def commands(page: str) -> list[list[str]]:
    """The indented command lines, continued where they end in a backslash."""
    text = re.sub(r"\\\n\s+", "", (PAGES / f"{page}.md").read_text())
    return [shlex.split(line) for line in re.findall(r"^    (vgg-sweep .*)$", text, flags=re.MULTILINE)]


def run(page: str, folder: Path) -> list[str]:
    """What each command printed. Fails with what the first one said that did not end well."""
    said = []
    for words in commands(page):
        done = subprocess.run(
            [sys.executable, "-m", "vgg_sweep", *words[1:]], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    return said


def photos(folder: Path, classes: int, each: int) -> None:
    """Plain pictures, a colour a class, with noise."""
    rng = np.random.default_rng(0)
    for k in range(classes):
        (folder / f"kind{k}").mkdir(parents=True)
        for n in range(each):
            noise_HWC = rng.integers(0, 80, (90, 100, 3)) + 60 * np.array([k == 0, k == 1, k == 2])
            Image.fromarray(noise_HWC.astype(np.uint8)).save(folder / f"kind{k}" / f"{n}.png")


def test_every_page_is_run() -> None:
    tested = {name.removeprefix("test_page_") for name in globals() if name.startswith("test_page_")}
    assert {path.stem for path in PAGES.glob("*.md")} == tested
    assert all(commands(page) for page in tested)


@trains
def test_page_photos(tmp_path: Path) -> None:
    photos(tmp_path / "photos", classes=3, each=12)
    (tmp_path / "new").mkdir()
    (tmp_path / "photos" / "kind0" / "0.png").rename(tmp_path / "new" / "one.png")
    *_, report, confusions, _, predicted = run("photos", tmp_path)
    assert "2 of 2 runs scored." in report and "All runs, best first" in report
    assert "answers.csv" in confusions and "kind" in predicted
    assert len((tmp_path / "outputs" / "photos" / "answers.csv").read_text().splitlines()) == 1 + 9
    assert (tmp_path / "outputs" / "photos" / "report" / "report.html").exists()


@trains
def test_page_rate(tmp_path: Path) -> None:
    _, by_rate, _, at_common = run("rate", tmp_path)
    for rate in ("0.002", "0.008", "0.03"):
        assert re.search(rf"^{rate} .* ± ", by_rate, flags=re.MULTILINE)
    assert "6 of 6 runs." in at_common
    assert {path.name for path in (tmp_path / "outputs" / "rate" / "report").iterdir()} >= {"pivot.csv"}


@trains
def test_page_net(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (PAGES / "net.md").read_text(), flags=re.DOTALL)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "small.yaml").write_text(text)
    described, _, report = run("net", tmp_path)
    assert "conv5_1" in described and re.search(r"^small ", report, flags=re.MULTILINE)


@trains
def test_page_published(tmp_path: Path) -> None:
    """With a narrow net for crops of 64 px in place of the real file, which says so in its shapes alone."""
    torch.save(torchvision_net("D").state_dict(), tmp_path / "vgg16-397923af.pth")
    photos(tmp_path / "new", classes=1, each=2)
    _, single, multi, _ = run("published", tmp_path)
    assert single != multi and "kind0" in single
    assert (tmp_path / "vgg16.safetensors").exists()


@trains
def test_page_cluster(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    text = (PAGES / "cluster.md").read_text()
    assert "--plan" in text
    (plan, *_) = commands("cluster")
    done = subprocess.run([sys.executable, "-m", "vgg_sweep", *plan[1:]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "36 runs, 0 done, 36 to do" in " ".join(done.stdout.split()), done.stderr
