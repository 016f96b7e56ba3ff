"""The wheel, away from the checkout: `conf/` must lie inside the package."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.paths import ROOT

TINY = ["crop=32", "width=0.03125", "threads=1", "recipe.batch_size=8", "recipe.epochs=1", "protocol=single"]
TINY += [f"data.fractals.{name}={value}" for name, value in
         {"num_classes": 3, "train_per_class": 8, "val_per_class": 4, "side_px": 64}.items()]  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources."""
    sources, wheels = (tmp_path_factory.mktemp(name) for name in ("sources", "wheels"))
    for name in ("vgg_sweep", "conf"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, sources)
    _python("-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, sources)
    [built] = wheels.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel is installed without what it depends on."""
    target = tmp_path_factory.mktemp("target")
    _python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def _python(*words: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LISTENER = """
import contextlib, io, json, sys
from vgg_sweep.cli import main
for line in sys.stdin:
    sys.argv, said, code = ["vgg-sweep", *json.loads(line)], io.StringIO(), None
    with contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code or 0, said.getvalue()]), flush=True)
"""
"""A process that works off command lines, a JSON list each, and answers with exit code and output: with the wheel's
modules, which take seconds, imported once.
"""


@pytest.fixture
def call(installed: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`call("train", "model=A")` runs that command line of the wheel in an empty folder. Returns what it says."""
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "errors", "w") as errors, subprocess.Popen(
        [sys.executable, "-c", LISTENER], cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
    ) as listener:  # fmt: skip
        assert listener.stdin is not None and listener.stdout is not None
        stdin, stdout = listener.stdin, listener.stdout

        def run(*words: str) -> str:
            print(json.dumps(words), file=stdin, flush=True)
            exit_code, said = json.loads(stdout.readline() or '[null, "the process has ended"]')
            assert exit_code == 0, said + (tmp_path / "errors").read_text()
            return str(said)

        yield run


def in_the_tree() -> dict[str, bytes]:
    """The files of the package, by their names in the wheel: those that git tracks, if this is a checkout of git."""
    listed = subprocess.run(["git", "ls-files", "-z", "vgg_sweep", "conf"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    else:
        paths = [path for top in ("vgg_sweep", "conf") for path in (ROOT / top).rglob("*") if path.is_file()]
        names = [path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts]
    return {name.replace("conf/", "vgg_sweep/conf/", name.startswith("conf/")): (ROOT / name).read_bytes()
            for name in names}  # fmt: skip


def test_the_wheel_has_every_file_of_the_tree_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    of_package = {name: content for name, content in packed.items() if ".dist-info/" not in name}
    expected = in_the_tree()
    assert sorted(of_package) == sorted(expected)
    assert [name for name, content in of_package.items() if content != expected[name]] == []
    assert {"vgg_sweep/py.typed", "vgg_sweep/conf/config.yaml", "vgg_sweep/bench/bench.py"} <= of_package.keys()


def test_the_wheel_composes_from_its_own_conf(installed: Path, tmp_path: Path) -> None:
    where = _python(
        "-c", "import vgg_sweep.config.options as c; print(c.conf_dir())", cwd=tmp_path, PYTHONPATH=str(installed)
    )
    assert Path(where.strip()) == installed / "vgg_sweep" / "conf"
    shown = _python("-m", "vgg_sweep", "train", "model=A", "--cfg", "job", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "name: A\n" in shown
    assert list(tmp_path.iterdir()) == []


def test_every_command_of_the_wheel_works_in_another_folder(call: Callable[..., str], tmp_path: Path) -> None:
    commands = set(re.findall(r"^  ([a-z]+)  ", call("--help"), re.MULTILINE))
    called = set()

    def works(command: str, *words: str) -> str:
        called.add(command)
        return call(command, *words)

    nets = json.loads(works("describe", "--json"))
    assert {net["config"] for net in nets} >= {"A", "A-LRN", "B", "C", "D", "E"}
    works("train", "model=A", *TINY, "out=runs")
    [run] = (tmp_path / "runs").glob("A-*")
    assert "1 done" in works("multirun", "model=A", *TINY, "out=runs", "--plan")
    assert json.loads(works("status", "runs", "--json"))[0]["state"] == "done"
    works("score", f"run={run}", "protocol=multi")
    works("report", "runs", "--format", "md,csv,json,latex,html", "--out", "tables")
    assert {path.suffix for path in (tmp_path / "tables").iterdir()} >= {".md", ".csv", ".json", ".tex", ".html"}
    for seed, (label, split) in enumerate(product("ab", ("train", "val"))):
        folder = tmp_path / "images" / split / label
        folder.mkdir(parents=True)
        noise_HWC = np.random.default_rng(seed).integers(0, 256, (80, 80, 3), np.uint8)
        Image.fromarray(noise_HWC).save(folder / f"{seed}.png")
    assert "image" in works("predict", str(run), "images/val/a/1.png", "--json")
    works("data", "check", "data=folder", "data.root=images")
    works("export", str(run), "--to", "torchvision", "--out", "net.pth")
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    order = ["imported.class_order=classes.txt", "crop=32", "data=folder", "out=imported", "preprocessing=torchvision"]
    assert "Imported: " in works("import", "net.pth", *order)
    rows = json.loads(works("bench", "train", "score", *TINY[:3], "data=fractals", "model=A", "--seconds=0", "--json"))
    assert {row["bench"] for row in rows} == {"train", "score"}
    probed = [f"data.fractals.{name}={value}" for name, value in
              {"seed": 1, "num_classes": 3, "train_per_class": 12, "side_px": 64}.items()]  # fmt: skip
    asked = ["data=fractals", *probed, "transfer.layers=[pool5]", "transfer.scales=[single]"]
    works("features", str(run), *asked)
    asked += ["transfer.train_per_class=8", "transfer.num_splits=1", "transfer.C=[1.0]", "transfer.controls=false"]
    assert "pool5" in works("transfer", str(run), *asked)
    assert "train" in works("logs", str(run))
    assert "Nothing has been removed" in works("prune", "runs", "--checkpoints", "--posteriors")
    assert called == commands


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_says_that_python_is_too_old(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(["make", "test", "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "vgg-sweep needs Python 3.11 or newer, and found none as: false." in done.stderr
    assert not (tmp_path / ".venv").exists()
