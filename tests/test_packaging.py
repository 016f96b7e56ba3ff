"""The wheel, away from the checkout: `conf/` must lie inside the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel, built from a copy of the sources, is installed without what it depends on."""
    sources, wheels, target = (tmp_path_factory.mktemp(name) for name in ("sources", "wheels", "target"))
    for name in ("vgg_sweep", "conf"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, sources)
    _python("-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, sources)
    [wheel] = wheels.glob("*.whl")
    _python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def _python(*words: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_has_every_file_that_is_not_python(installed: Path) -> None:
    def files(folder: Path) -> set[Path]:
        kinds = (".yaml", ".json", ".typed", ".html", ".css", ".js")
        return {
            path.relative_to(folder) for path in folder.rglob("*") if path.suffix in kinds or path.name == "py.typed"
        }

    assert files(installed / "vgg_sweep" / "conf") == files(ROOT / "conf")
    assert files(ROOT / "vgg_sweep") <= files(installed / "vgg_sweep")


def test_the_wheel_composes_from_its_own_conf(installed: Path, tmp_path: Path) -> None:
    where = _python(
        "-c", "import vgg_sweep.config.options as c; print(c.conf_dir())", cwd=tmp_path, PYTHONPATH=str(installed)
    )
    assert Path(where.strip()) == installed / "vgg_sweep" / "conf"
    shown = _python("-m", "vgg_sweep", "train", "model=A", "--cfg", "job", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "name: A\n" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_describes_the_nets(installed: Path, tmp_path: Path) -> None:
    nets = json.loads(_python("-m", "vgg_sweep", "describe", "--json", cwd=tmp_path, PYTHONPATH=str(installed)))
    assert {net["config"] for net in nets} >= {"A", "A-LRN", "B", "C", "D", "E"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_says_that_python_is_too_old(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(["make", "test", "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "vgg-sweep needs Python 3.11 or newer, and found none as: false." in done.stderr
    assert not (tmp_path / ".venv").exists()
