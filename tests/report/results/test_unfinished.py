import io
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.report.localised import make_box_run
from tests.sweeps import Spec, make_run, make_sweep
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.report.report import report
from vgg_sweep.report.results import unfinished
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.folder import RunFolder

SPEC = Spec(num_images=20, passes=("dense@single",))


def unscored(sweep: Path, model: str, train_scale: str, seed: int = 0, **status: object) -> Path:
    run = make_run(sweep, model, train_scale, seed, SPEC)
    shutil.rmtree(run / "posteriors")
    write_json(run / "status.json", status)
    return run


def finish(run: Path, sweep: Path, model: str, train_scale: str, seed: int = 0) -> None:
    """As scoring would end it."""
    made = make_run(sweep.with_name("elsewhere"), model, train_scale, seed, SPEC)
    shutil.copytree(made / "posteriors", run / "posteriors")
    shutil.rmtree(sweep.with_name("elsewhere"))
    write_json(run / "status.json", {"state": "done"})


def reported(sweep: Path, **options) -> str:
    console = Console(width=200, file=io.StringIO())
    report([sweep], **{"tables": None, "formats": None, "out": None, "fuse": []} | options, console=console)
    return console.file.getvalue()


def test_rows_that_wait_for_runs_are_marked(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    make_run(sweep, "A", "256", 0, SPEC)
    unscored(sweep, "A", "256", 1, state="failed")
    unscored(sweep, "A", "256", 2)
    unscored(sweep, "B", "256", 0, state="interrupted", stage="train", step=43, num_steps=100)
    make_run(sweep, "E", "256", 0, SPEC)
    rows = json.loads(reported(sweep, tables=["3"], formats=["json"]))
    states = {row["config"]: row["unfinished"] for row in rows if row["train_scale"] == "256"}
    assert states["A"] == "1 failed, 1 new" and states["B"] == "1 interrupted"
    assert {states[config] for config in ("A-LRN", "C", "D")} == {""}
    text = reported(sweep, tables=["3"])
    assert "† Some runs of this row are not scored yet" in text
    assert [line.split()[0] for line in text.splitlines() if "†" in line and "Some" not in line] == ["A", "B"]
    assert "(interrupted, train 43 %)" in text and "2 of 5 runs scored" in text
    (sweep / "report").mkdir()
    reported(sweep, tables=["3"], formats=["latex"], out=sweep / "report")
    assert r"\textdagger{}" in (sweep / "report" / "table3.tex").read_text()


def test_rows_of_boxes_that_wait_for_runs_are_marked(tmp_path: Path) -> None:
    """A second seed of one net; another net is not begun, and the union of both waits for two runs."""
    spec = Spec(num_images=20, passes=("dense@multi",))
    sweep = make_sweep(tmp_path / "sweep", [("D", "256"), ("D", "384")], spec=spec)
    make_box_run(sweep, "256", spec=spec)
    make_box_run(sweep, "384", spec=spec)
    for seed, S, boxes in ((1, "384", "pcr"), (1, "256", "pcr"), (0, "384", "scr")):
        run = make_box_run(sweep, S, boxes, "fc" if boxes == "scr" else "all", seed, spec=spec)
        shutil.rmtree(run / "boxes")
        write_json(run / "status.json", {})
    rows = json.loads(reported(sweep, tables=["8", "9"], formats=["json"]))
    table8 = {(row["train_scale"], row["boxes"]): row["unfinished"] for row in rows if row["table"] == "8"}
    assert table8["384", "scr"] == "1 new" and table8["256", "pcr"] == "1 new" and table8[None, None] == ""
    table9 = {(row["train_scale"], row["rule"]): row["unfinished"] for row in rows if row["table"] == "9"}
    assert table9["384", "pair"] == "1 new" and table9["256 + 384", "fusion"] == "2 new"
    assert "† Some runs of this row" in reported(sweep, tables=["8"])


def test_a_whole_sweep_has_no_marks(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", 0, SPEC)
    assert "†" not in reported(tmp_path, tables=["3"])


def test_a_run_with_settings_of_its_own_is_no_part_of_another_row(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", 0, SPEC)
    run = make_run(tmp_path, "A", "256", 1, Spec(20, passes=SPEC.passes, settings={"recipe.lr": 0.5}))
    shutil.rmtree(run / "posteriors")
    assert "†" not in reported(tmp_path, tables=["3"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(unfinished, "BETWEEN_RUNS_SECONDS", 0.05)


def test_watching_ends_at_once_where_nothing_is_at_work(tmp_path: Path, quick: None) -> None:
    make_run(tmp_path, "A", "256", 0, SPEC)
    unscored(tmp_path, "B", "256", 0, state="failed")
    assert reported(tmp_path, tables=["3"], watch=True) == reported(tmp_path, tables=["3"])


def test_watching_waits_a_while_for_a_run_that_may_start(tmp_path: Path, quick: None) -> None:
    make_run(tmp_path, "A", "256", 0, SPEC)
    unscored(tmp_path, "B", "256", 0)
    assert list(unfinished.refreshes([tmp_path])) == [None]


def test_files_are_written_anew_as_runs_finish(tmp_path: Path, quick: None) -> None:
    sweep, out = tmp_path / "sweep", tmp_path / "out"
    waiting = unscored(sweep, "A", "256", 0, state="running")
    first = unscored(sweep, "B", "256", 0, state="done")
    seen: list[str] = []

    def work() -> None:
        with RunFolder(waiting).locked():
            locked.set()
            wait_for(lambda: "no run in" in console.file.getvalue())
            finish(first, sweep, "B", "256")
            wait_for(lambda: (out / "report.json").exists())
            seen.append((out / "report.json").read_text())
            finish(waiting, sweep, "A", "256")

    console, locked = Console(width=200, file=io.StringIO()), threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    locked.wait()
    options = {"tables": ["3"], "formats": ["json"], "out": out, "fuse": [], "console": console}
    report([sweep], **options, watch=True)
    worker.join()
    before, after = (
        {row["config"]: row for row in json.loads(text) if row["train_scale"] == "256"}
        for text in (seen[0], (out / "report.json").read_text())
    )
    assert (before["A"]["seeds"], before["A"]["unfinished"], before["B"]["seeds"]) == (0, "1 running", 1)
    assert (after["A"]["seeds"], after["A"]["unfinished"], after["B"]["seeds"]) == (1, "", 1)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_failure_at_the_end_is_raised(tmp_path: Path, quick: None) -> None:
    unscored(tmp_path, "A", "256", 0, state="failed")
    with pytest.raises(RunError, match="has been scored yet"):
        reported(tmp_path, watch=True)


def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    sweep, out = tmp_path / "sweep", tmp_path / "out"
    make_run(sweep, "A", "256", 0, SPEC)
    at_work = unscored(sweep, "B", "256", 0, state="running")
    with RunFolder(at_work).locked():
        words = [
            sys.executable,
            "-m",
            "vgg_sweep",
            "report",
            str(sweep),
            "--watch",
            "--format",
            "md",
            "--out",
            str(out),
        ]
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` ignores it
        )
        wait_for(lambda: (out / "report.md").exists())
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and errors == ""
    assert printed.rstrip().endswith("Stopped watching; the runs continue.")
    assert "†" in (out / "report.md").read_text()
    assert [path.name for path in out.iterdir()] == ["report.md"]


def test_watching_text_that_is_printed_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", 0, SPEC)
    with pytest.raises(ConfigError, match="--out DIR"):
        reported(tmp_path, formats=["json"], watch=True)


@pytest.mark.parametrize("damage", ["missing", "dangling"])
def test_a_run_without_its_configuration_is_counted_and_named(tmp_path: Path, damage: str) -> None:
    sweep = tmp_path / "sweep"
    make_run(sweep, "A", "256", 0, SPEC)
    lost = make_run(sweep, "B", "256", 0, SPEC)
    (lost / "config.yaml").unlink()
    if damage == "dangling":
        (lost / "config.yaml").symlink_to(tmp_path / "nowhere.yaml")
    text = reported(sweep)
    assert "1 of 2 runs scored" in text
    assert f"not reported: {lost.name} has no config.yaml; put back a copy of it" in text
    shutil.rmtree(next(sweep.glob("A-*")))
    with pytest.raises(RunError, match=f"no run with a config.yaml, but {lost.name} without; put back"):
        reported(sweep)


def test_a_damaged_metrics_file_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "sweep", "A", "256", 0, SPEC)
    for content in (b"step,epoch,erros,val_error\n1,1,5,\n", b"\xff\xfe", b"epoch,error,val_error\n1,5\x0e.1,\n"):
        (run / "metrics.csv").write_bytes(content)
        with pytest.raises(
            RunError, match=r"metrics.csv is damaged .*; put back a copy of it, or remove only this file"
        ):
            reported(tmp_path / "sweep", formats=["html"], out=tmp_path / "out")


def test_classes_whose_names_are_not_utf8_are_on_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "sweep", "A", "256", 0, SPEC)
    manifest = json.loads((run / "posteriors" / "manifest.json").read_text())
    manifest["classes"][0], manifest["images"][0] = "caf\udce9", "val/caf\udce9/fr\udcfc.jpg"
    (run / "posteriors" / "manifest.json").write_text(json.dumps(manifest))
    formats = ["md", "csv", "json", "latex", "html", "svg", "pdf"]
    reported(tmp_path / "sweep", formats=formats, out=tmp_path / "out")
    assert r"caf\xe9" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
