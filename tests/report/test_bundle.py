import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.conftest import Outcome
from tests.report.localised import make_box_run
from tests.report.tables.test_transfer import write
from tests.sweeps import TABLE3, Spec, make_run, make_sweep
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.report.report import report
from vgg_sweep.report.results.bundle import opened
from vgg_sweep.runs.trials import Trial, add_trial

FORMATS = ["md", "csv", "json", "latex"]
FUSE = ["D-jitter + E-384", "best:2"]


def reported(*paths: Path, **options) -> str:
    console = Console(width=200, file=io.StringIO())
    settings = {"tables": None, "formats": None, "out": None, "fuse": []} | options
    report(paths, **settings, console=console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = make_sweep(tmp_path_factory.mktemp("made") / "here", TABLE3[-4:], spec=Spec(num_images=20))
    unscored = make_run(sweep, "A", "256")
    shutil.rmtree(unscored / "posteriors")
    (unscored / "status.json").write_text('{"state": "failed", "host": "my-laptop"}')
    (unscored / "weights.safetensors").write_bytes(b"weights")
    for number, lr in enumerate(("0.01", "0.02")):
        add_trial(sweep, Trial(number, "A-256-s0-00000000", 40.0 - number, (f"recipe.lr={lr}",)))
    return sweep


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("errors_only", [False, True])
def test_a_bundle_read_elsewhere_gives_the_same_tables_byte_for_byte(
    sweep: Path, tmp_path: Path, errors_only: bool
) -> None:
    bundle = tmp_path / "new" / "bundle.zip"
    here, there = tmp_path / "here", tmp_path / "there"
    reported(sweep, formats=FORMATS, out=here, fuse=FUSE, bundle=bundle, errors_only=errors_only)
    moved = shutil.move(bundle, tmp_path / "mailed.zip")
    hidden = sweep.rename(sweep.with_name("hidden"))
    try:
        reported(moved, formats=FORMATS, out=there)
    finally:
        hidden.rename(sweep)
    assert files(here) == files(there)
    assert {"report.md", "report.json", "report.tex", "table3.tex", "table3.csv", "fusion.csv", "trials.csv"} <= files(
        there
    ).keys()


@pytest.mark.parametrize("errors_only", [False, True])
def test_the_same_runs_give_the_same_bytes_wherever_they_lie(sweep: Path, tmp_path: Path, errors_only: bool) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    reported(sweep, bundle=first, errors_only=errors_only)
    reported(sweep, fuse=["E-384 + E-jitter"])  # leaves an error that no one asks for
    reported(first, bundle=second, errors_only=errors_only)
    assert first.read_bytes() == second.read_bytes()


def test_what_is_in_a_bundle(sweep: Path, tmp_path: Path) -> None:
    reported(sweep, bundle=tmp_path / "whole.zip")
    reported(sweep, bundle=tmp_path / "errors.zip", errors_only=True)
    whole, errors = (zipfile.ZipFile(tmp_path / name) for name in ("whole.zip", "errors.zip"))
    assert not any(name.endswith((".safetensors", "lock")) for name in whole.namelist())
    assert sum(name.endswith(".npy") for name in whole.namelist()) == len(list(sweep.rglob("*.npy"))) > 0
    assert not any("errors.json" in name or "fusions" in name for name in whole.namelist())  # computed anew
    assert not any(name.endswith(".npy") for name in errors.namelist())
    assert (tmp_path / "errors.zip").stat().st_size < (tmp_path / "whole.zip").stat().st_size
    assert b"my-laptop" not in b"".join(map(whole.read, whole.namelist()))


@pytest.mark.parametrize("errors_only", [False, True])
def test_probes_are_in_a_bundle(tmp_path: Path, errors_only: bool) -> None:
    sweep = make_sweep(tmp_path / "here", [("D", "jitter")], spec=Spec(num_images=20))
    (run,) = sweep.glob("D-jitter-*")
    write(sweep, [run.name], [[10], [20]])
    (run / "transfer" / "caltech101-ffffffff" / "lock").touch()
    here = reported(sweep, tables=["11"], formats=["json"], bundle=tmp_path / "b.zip", errors_only=errors_only)
    shutil.rmtree(sweep)
    there = reported(tmp_path / "b.zip", tables=["11"], formats=["json"])
    assert '"table": "11"' in there and here.startswith(there.rstrip()[:500])
    assert not any("lock" in name for name in zipfile.ZipFile(tmp_path / "b.zip").namelist())


def test_a_bundle_says_that_it_is_one(sweep: Path, tmp_path: Path) -> None:
    text = reported(sweep, bundle=tmp_path / "b.zip", errors_only=True)
    assert "Packed into" in text and "Read from" not in text
    assert "Read from the bundle" in reported(tmp_path / "b.zip")
    reported(tmp_path / "b.zip", formats=["html"], out=tmp_path)
    assert "was read from" in (tmp_path / "report.html").read_text()


def test_posteriors_changed_on_the_way_are_noticed(sweep: Path, tmp_path: Path) -> None:
    reported(sweep, bundle=tmp_path / "b.zip")
    rewritten(tmp_path / "b.zip", lambda name, body: body[:-1] + b"\x01" if name.endswith("flip0.npy") else body)
    with pytest.raises(RunError, match="is damaged .its sha256 is not that in manifest.json"):
        reported(tmp_path / "b.zip")


@pytest.mark.parametrize("errors_only", [False, True])
def test_a_bundle_has_the_boxes_of_runs_that_localise(tmp_path: Path, errors_only: bool) -> None:
    """Their errors by every merging too, of the nets together, and with guesses by a classifier."""
    spec = Spec(num_images=20, passes=("dense@multi",))
    sweep, bundle = make_sweep(tmp_path / "sweep", [("D", "256"), ("D", "384")], spec=spec), tmp_path / "b.zip"
    for S in ("256", "384"):
        make_box_run(sweep, S, spec=spec)
    tables = {"tables": ["8", "9", "10", "box-claims"], "formats": ["json"]}
    reported(sweep, bundle=bundle, errors_only=errors_only)
    assert any(name.endswith("/boxes/truth.npz") for name in zipfile.ZipFile(bundle).namelist()) is not errors_only
    expected = [reported(sweep, **tables, merge=merge) for merge in ("overfeat", "nms")]
    shutil.move(sweep, tmp_path / "hidden")
    assert [reported(bundle, **tables, merge=merge) for merge in ("overfeat", "nms")] == expected
    assert "top5" in expected[0] and expected[0] != expected[1]
    if errors_only:  # the page does without examples
        reported(bundle, formats=["html"], out=tmp_path / "page")
        assert "Boxes: right" not in (tmp_path / "page" / "report.html").read_text()


def rewritten(file: Path, change: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(file) as old:
        bodies = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(file, "w") as new:
        for name, body in bodies.items():
            new.writestr(name, change(name, body))


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "0/../../evil.npy",
        "0/run/posteriors/../../../evil.npy",
        "/tmp/evil.json",
        "0/../config.yaml",
        "0\\..\\evil",
        "C:/evil",
        "0/run/weights.safetensors",
        "0/.run/config.yaml",
        "0/run/posteriors/evil.npy\n",
    ],
)
def test_a_bundle_that_would_write_elsewhere_is_refused(sweep: Path, tmp_path: Path, name: str) -> None:
    reported(sweep, bundle=tmp_path / "b.zip", errors_only=True)
    with zipfile.ZipFile(tmp_path / "b.zip", "a") as bundle:
        bundle.writestr(name, "{}")
    with pytest.raises(RunError, match="which no bundle of `report --bundle` does"), opened([tmp_path / "b.zip"]):
        pass


def test_a_manifest_that_points_elsewhere_is_refused(sweep: Path, tmp_path: Path) -> None:
    def pointed(name: str, body: bytes) -> bytes:
        return body.replace(b"dense-Q73-flip0.npy", b"../../../secret.npy")

    reported(sweep, bundle=tmp_path / "b.zip")
    rewritten(tmp_path / "b.zip", lambda name, body: pointed(name, body) if name.endswith("manifest.json") else body)
    with pytest.raises(RunError, match=r"secret.npy' is in another folder"):
        reported(tmp_path / "b.zip")


def test_files_that_are_no_bundles_are_refused(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("hello", "hello")
    reported(sweep, bundle=tmp_path / "b.zip")
    body = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(body[: len(body) // 2])
    (tmp_path / "spoilt.zip").write_bytes(body[:200] + bytes([body[200] ^ 255]) + body[201:])
    for name, kind, message in (
        ("text", ConfigError, "neither the folder of a sweep nor a bundle"),
        ("cut.zip", ConfigError, "neither the folder of a sweep nor a bundle"),
        ("other.zip", ConfigError, "is a zip but no bundle"),
        ("spoilt.zip", RunError, "is damaged|cannot be read as a bundle"),
    ):
        with pytest.raises(kind, match=message):
            reported(tmp_path / name)


def test_a_newer_format_is_refused(sweep: Path, tmp_path: Path) -> None:
    reported(sweep, bundle=tmp_path / "b.zip", errors_only=True)

    def newer(name: str, body: bytes) -> bytes:
        return json.dumps(json.loads(body) | {"format": 2}).encode() if name == "bundle.json" else body

    rewritten(tmp_path / "b.zip", newer)
    with pytest.raises(RunError, match="this version cannot read; update it"):
        reported(tmp_path / "b.zip")


def test_what_errors_alone_cannot_do_is_said(sweep: Path, tmp_path: Path) -> None:
    reported(sweep, bundle=tmp_path / "b.zip", errors_only=True)
    with pytest.raises(RunError, match="is missing; make it again: .* and pack them in a bundle"):
        reported(tmp_path / "b.zip", fuse=["D-jitter + E-384"])
    with pytest.raises(ConfigError, match="without posteriors can only be packed again with --errors-only"):
        reported(tmp_path / "b.zip", bundle=tmp_path / "c.zip")
    assert not (tmp_path / "c.zip").exists()


def test_two_bundles_of_one_name_are_told_apart(sweep: Path, tmp_path: Path) -> None:
    reported(sweep, bundle=tmp_path / "a.zip", errors_only=True)
    shutil.copy(tmp_path / "a.zip", tmp_path / "b.zip")
    text = reported(tmp_path / "a.zip", tmp_path / "b.zip", tables=["differences"])
    assert "was made with the settings and versions of" in " ".join(text.split())
    rows = json.loads(reported(tmp_path / "a.zip", tmp_path / "b.zip", tables=["3"], formats=["json"]))
    assert {row["sweep"] for row in rows} == {f"{sweep} ({tmp_path / name})" for name in ("a.zip", "b.zip")}


def test_the_command_packs_and_reads(call: Callable[..., Outcome], sweep: Path, tmp_path: Path) -> None:
    assert call("report", str(sweep), "--bundle", "b.zip", "--errors-only").exit_code == 0
    assert "4 of 5 runs scored" in call("report", "b.zip").out
    wrong = call("report", "b.zip", "--errors-only")
    assert wrong.exit_code == 2 and "--bundle FILE" in wrong.err
