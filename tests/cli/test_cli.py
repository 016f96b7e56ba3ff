import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

import vgg_sweep
from tests.conftest import Outcome
from tests.sweeps import make_sweep
from tests.tiny import tiny_config, tiny_run
from vgg_sweep.cli import status
from vgg_sweep.cli.runs import train_config, train_job
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.progress import Interrupted
from vgg_sweep.sweep import work

Call = Callable[..., Outcome]

BAD_COMMAND_LINES = {
    "train modle=D": "modle is not a setting; did you mean model?",
    "train model=Z": "model=Z does not exist; choose one of A, B, C, D, E, F, G, A-BN, ",
    "train model=A,B": "model=A,B gives more than one configuration; `vgg-sweep multirun model=A,B` runs them all.",
    "train seed=abc": "seed=abc is not a whole number.",
    "train +sede=3": "sede is not a setting; did you mean seed?",
    "train ++sede=3": "sede is not a setting; did you mean seed?",
    "train lr=0.1": "lr is not a setting; did you mean recipe.lr?",
    "train qwxz=1": "qwxz is not a setting; `vgg-sweep train --cfg job` shows all settings.",
    "train +recipe={lrr:3}": "recipe.lrr is not a setting; did you mean recipe.lr?",
    "train data=folder": "data=folder needs data.root=DIR",
    "multirun data=folder data.root=nowhere": "data.root=nowhere is not a folder",
    "train device=cuda:99": "device=cuda:99 is not available here",
    "train crop=50": "crop=50 is not a multiple of 32, which five 2x2 poolings need; try crop=32 or crop=64.",
    "train model=null": "model=null chooses nothing; leave it out, or choose one of A, B, C, ",
    "train model=": "model= chooses nothing; leave it out, or choose one of A, B, C, D, E, F, G, A-BN, ",
    "train model=D=x": "model=D=x cannot be read; ",
    "train out=runs/a=b,c": "'out=\"runs/a=b,c\"'",
    "train seed": "'seed' is not of the form KEY=VALUE, such as model=D.",
    "train =3": "=3 ",
    "train recipe=7": "recipe=7 does not exist; choose one of fractals, he, modern, paper, short",
    "train classes=many": "classes=many is not a whole number or null.",
    "train train_scale.S=256": "train_scale.S=256 is not a list of whole numbers such as [1,2].",
    "train train_scale.S=[a,b]": "train_scale.S[0]=a is not a whole number.",
    "train seed=${sede}": "Interpolation key 'sede' not found.",
    "multirun model=A,Z": "model=Z does not exist; choose one of A, B, C, D, E, F, G, A-BN, ",
    "multirun sede=3": "sede is not a setting; did you mean seed?",
    "multirun crop=50": "crop=50 is not a multiple of 32",
    "multirun --plan hydra/sweeper=basic": "need the default sweeper; leave out hydra/sweeper=.",
    "multirun --force hydra/sweeper=optuna": "need the default sweeper; leave out hydra/sweeper=.",
    "multirun only=D-* hydra/sweeper=basic": "need the default sweeper; leave out hydra/sweeper=.",
    "multirun only=": "only= selects nothing; give a pattern such as only='D-*', or leave it out.",
    "multirun retry=fialed": "retry=fialed is not known; choose from failed, diverged, interrupted.",
    "multirun only=F-*": "only=F-* matches no run of the plan, whose runs are A-256, A-LRN-256, B-256 and 9 more.",
    "multirun model=A retry=failed": "retry=failed matches no run of the plan, whose run is A-256 (new).",
    "score model=Z": "model=Z does not exist",
    "describe modle=D": "modle is not a setting; did you mean model?",
    "describe crop=50": "crop=50 is not a multiple of 32",
    "train hydra.job.chdir=true": "hydra.job.chdir=true: paths are relative to where the command is given",
    "multirun hydra.job.chdir=true": "paths are relative to where the command is given; leave it out and give out=DIR.",
    "score model=A": "holds no trained net; run `vgg-sweep train` with the same settings first.",
    "score run=nowhere": "nowhere is neither the folder nor the name of a run: there is none under outputs/ yet",
    "score nowhere": "nowhere is neither the folder nor the name of a run: ",
    "train run=nowhere": "train takes the settings of a net, not run=",
    "multirun run=nowhere": "multirun takes the settings of a net, not run=",
    "predict nowhere .": "no images",
    "import nowhere.pth": "there is no file nowhere.pth.",
    "export nowhere --to onnx": "nowhere is neither the folder nor the name of a run",
    "data check data=folder data.root=/nonexistent": "data.root=/nonexistent is not a folder",
    "data prepare data=folder data.root=/nonexistent": "data.root=/nonexistent is not a folder",
    "data prepare data=imagenet data.root=/nonexistent": "data.root=/nonexistent is not a folder",
    "data check data=cifar10 data.root=/nonexistent": "/nonexistent",
    "data check data=imagenette data.root=/nonexistent": "/nonexistent",
    "train data=folder data.root=/nonexistent": "data.root=/nonexistent is not a folder",
    "bench data data=folder data.root=/nonexistent": "data.root=/nonexistent has no images",
    "logs": "logs needs a run, such as `vgg-sweep logs D-jitter`, or --failed.",
    "logs --failed --follow": "--failed shows runs that have ended; leave out --follow.",
    "logs nowhere": "nowhere is neither the folder nor the name of a run: ",
    "logs nowhere --failed": "nowhere holds no runs; name a sweep's folder, such as outputs/demo.",
    "report": "there is no run under outputs/ yet; start with `vgg-sweep multirun`, or name a sweep's folder.",
    "status": "there is no run under outputs/ yet; start with `vgg-sweep multirun`, or name a sweep's folder.",
}


@pytest.mark.parametrize("line", BAD_COMMAND_LINES)
def test_a_bad_command_line_is_told_in_one_sentence(
    line: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "work", None)  # rather than train by mistake
    outcome = call(*line.split())
    assert outcome.exit_code == 2
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert BAD_COMMAND_LINES[line] in outcome.err
    assert outcome.out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_flag_is_told(call: Call) -> None:
    outcome = call("train", "--sede", "3")
    assert outcome.exit_code == 2
    assert "No such option: --sede" in outcome.err


def test_an_unknown_choice_is_told_in_typers_words_alone(call: Call) -> None:
    outcome = call("export", "D", "--to", "onxx")
    assert outcome.exit_code == 2
    assert "Error: Invalid value for '--to': 'onxx' is not one of 'torchvision', 'timm'," in outcome.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_to_be_stopped_before_the_work_begins_is_a_sentence(
    call: Call, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def stop(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(status, "show_status", stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        outcome = call("status", "outputs/a b")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.exit_code, outcome.out) == (130, "")
    assert outcome.err == "Stopped. To start again, or continue from what is saved: vgg-sweep status 'outputs/a b'\n"


def test_debug_adds_the_traceback(call: Call) -> None:
    outcome = call("--debug", "train", "modle=D")
    assert outcome.exit_code == 2
    assert outcome.err.startswith("Traceback")
    assert outcome.err.endswith("Error: modle is not a setting; did you mean model?\n")


def test_version(call: Call) -> None:
    assert call("--version") == Outcome(0, f"{vgg_sweep.__version__}\n", "")


def test_version_stands_alone(call: Call) -> None:
    for word in ("x", "train"):
        outcome = call("--version", word)
        assert (outcome.exit_code, outcome.out) == (2, "")
        assert word in outcome.err.splitlines()[-1]
    outcome = call("--debug")
    assert (outcome.exit_code, outcome.err.splitlines()[-1]) == (2, "Error: Missing command.")


@pytest.mark.parametrize("line", [["--help"], ["train", "--help"], ["train", "--cfg", "job"], ["describe", "--json"]])
def test_what_needs_no_torch_does_not_import_it(line: list[str], tmp_path: Path) -> None:
    heavy = {"torch"} | ({"pandas", "hydra", "rich", "numpy"} if "--help" in line else set())
    program = (
        "import sys, vgg_sweep.cli\n"
        f"sys.argv = ['vgg-sweep', *{line!r}]\n"
        "try:\n  vgg_sweep.cli.main()\n"
        "except SystemExit as end:\n  assert not end.code, end.code\n"
        f"assert not {heavy!r} & sys.modules.keys(), {heavy!r} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_windows_is_told_what_to_do(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['fcntl'] = None; from vgg_sweep.cli import main; sys.argv[1:] = ['status']; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    sentence = "Error: vgg-sweep needs Linux or macOS; on Windows install it inside WSL.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_flags_may_stand_behind_overrides(call: Call) -> None:
    outcome = call("train", "model=A", "--cfg", "job", "seed=7", "--package", "model")
    assert outcome.exit_code == 0
    assert "name: A\n" in outcome.out
    assert "seed" not in outcome.out


def test_train_works_on_parents_first(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_on: list[Run] = []
    monkeypatch.setattr(work, "work", lambda run, live: worked_on.append(run))
    outcome = call("train", "model=D", "train_scale=384", "out=runs")
    assert outcome.exit_code == 0
    assert [run.id.rpartition("-")[0] for run in worked_on] == ["A-256-s0", "D-256-s0", "D-384-s0"]
    assert outcome.out.count("A-256-s0") == 2  # shown as a run and as what D starts from
    assert outcome.out.endswith(f"Done: runs/{worked_on[-1].id}\nAll errors: vgg-sweep report runs\n")
    assert {run.folder.command for run in worked_on} == {"vgg-sweep train model=D train_scale=384 out=runs"}
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}  # nothing of Hydra's
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {run.id for run in worked_on}


def test_a_job_of_a_prepared_run_works_on_its_folder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []
    monkeypatch.setattr(work, "main", lambda folder: folders.append(folder) or int(folder.name == "bad"))
    train_config(Config(run="outputs/x/good"))
    with pytest.raises(RunError, match=r"^outputs/x/bad is not done; its error.txt says why\.$"):
        train_config(Config(run="outputs/x/bad"))
    assert folders == [Path("outputs/x/good"), Path("outputs/x/bad")]


@pytest.mark.parametrize(
    ("error", "exit_code", "sentence"),
    [
        (RunError("the disk is full."), 1, "Error: the disk is full.\n"),
        (
            Interrupted("stopped at step 3."),
            130,
            "Stopped at step 3; what was done is saved. To continue: vgg-sweep train model=A\n",
        ),
        (
            PermissionError(13, "Permission denied", "a/b"),
            1,
            "Error: a/b: Permission denied; the system refused it; check the path, its permissions and the disk.\n",
        ),
        (KeyError("x"), 1, "Error: KeyError: 'x' (`vgg-sweep --debug ...` shows where.)\n"),
    ],
)
def test_a_failing_run_has_an_exit_code_and_a_sentence(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception, exit_code: int, sentence: str
) -> None:
    def fail(run: Run, live: bool) -> None:
        raise error

    monkeypatch.setattr(work, "work", fail)
    outcome = call("train", "model=A")
    assert (outcome.exit_code, outcome.err) == (exit_code, sentence)


def test_multirun_by_itself_is_table_3(call: Call, tmp_path: Path) -> None:
    outcome = call("multirun", "--plan")
    assert outcome.exit_code == 0
    runs = [line.split()[0] for line in outcome.out.splitlines() if "-s0-" in line]
    assert sorted(run.rpartition("-s0")[0] for run in runs) == sorted(
        ["A-256", "A-LRN-256", "B-256"] + [f"{model}-{scale}" for model in "CDE" for scale in ("256", "384", "jitter")]
    )
    assert list(tmp_path.iterdir()) == []


def test_multirun_shows_one_configuration_at_a_time(call: Call) -> None:
    assert "\nseed: 7\n" in call("multirun", "seed=7", "--cfg", "job").out
    assert call("multirun", "model=A,B", "--cfg", "job").exit_code == 2


def test_score_needs_a_trained_net(call: Call) -> None:
    outcome = call("score", "model=A", "protocol=multi")
    assert outcome.exit_code == 2
    assert "holds no trained net; run `vgg-sweep train` with the same settings first." in outcome.err


def test_score_shows_and_makes_the_passes_that_are_missing(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_on: list[Run] = []
    monkeypatch.setattr(work, "work", lambda run, live: worked_on.append(run))
    call("train", "model=A")
    weights = worked_on.pop().folder.weights
    weights.touch()
    assert "6 of 6 passes to do." in call("score", "model=A", "protocol=multi", "--plan").out
    assert worked_on == []
    assert call("score", "model=A", "protocol=multi").exit_code == 0
    assert [run.folder.weights for run in worked_on] == [weights]
    assert worked_on[0].config.protocol.passes == ["dense@single", "dense@multi"]


def test_status_takes_the_sweep_written_last(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, sweep in enumerate(["newest", "older", "oldest"]):
        file = tmp_path / "outputs" / sweep / "run" / "status.json"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    shown: list[Path] = []
    monkeypatch.setattr(status, "show_status", lambda sweeps, watch, as_json: shown.extend(sweeps))
    assert call("status") == Outcome(0, "", "The most recent sweep: outputs/newest\n")
    assert call("status", "outputs/older") == Outcome(0, "", "")
    assert shown == [Path("outputs/newest"), Path("outputs/older")]


def test_describe_is_at_the_papers_size_unless_told_otherwise(call: Call) -> None:
    nets = json.loads(call("describe", "--json").out)
    assert {"config", "params", "macs", "activation_bytes"} <= nets[0].keys()
    params = {net["config"]: net["params"] for net in nets}
    assert {"A", "A-LRN", "B", "B-5x5", "C", "D", "E", "F", "G-BN-skip", "res-20"} <= params.keys()
    assert params["D"] == 138_357_544
    assert all(net["params"] < 2_000_000 for net in json.loads(call("describe", "--json", "data=fractals").out))


def test_describe_of_one_net_is_layer_by_layer(call: Call) -> None:
    [net] = json.loads(call("describe", "--json", "model=D", "classes=10").out)
    assert net["params"] == 138_357_544 - 990 * 4097
    assert net["params"] == sum(layer["params"] for layer in net["layers"])
    outcome = call("describe", "model=D")
    assert outcome.exit_code == 0
    assert "conv4_3" in outcome.out


def test_describe_fits_a_terminal_of_80_columns(call: Call) -> None:
    out = call("describe").out
    assert "27 C²" in out
    assert "138.358" in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_job_returns_its_validation_error_for_sweepers_that_look_for_the_lowest(tmp_path: Path) -> None:
    val_error = train_job(OmegaConf.structured(tiny_config(tmp_path)))
    assert val_error == tiny_run(tmp_path).folder.record()["val_error"] and 0 <= val_error <= 100


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_dashes_is_shown_all_the_same(encoding: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-m", "vgg_sweep", "describe"], cwd=tmp_path, capture_output=True, env=env)
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert "138.358" in done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_report_on_such_a_terminal_is_whole(encoding: str, tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep", [("A", "256")])
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "vgg_sweep", "report", "sweep"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "All runs, best first" in done.stdout.decode(encoding)


def test_what_is_refused_is_refused_without_assertions(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("- a\n")
    env = {**os.environ, "PYTHONOPTIMIZE": "1"}
    command = [sys.executable, "-m", "vgg_sweep", "score", "run=run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: run/config.yaml is not a whole configuration (it holds no settings)")


@pytest.mark.parametrize("command", ["train", "multirun", "data prepare", "data check"])
@pytest.mark.parametrize(
    ("images", "setting"),
    [
        (["train/cat/1.png", "train/dog/1.png", "val/cat/1.png"], ""),
        (["train/cat/1.png", "train/dog/1.txt", "val/cat/1.png", "val/dog/1.png"], ""),
        (["train/cat/1.png", "train/dog/1.png"], ""),
        (["cat/1.png", "cat/2.png", "dog/1.png"], "data.val_share=0.5"),
    ],
)
def test_a_refused_set_leaves_nothing_behind(
    call: Call, tmp_path: Path, command: str, images: list[str], setting: str
) -> None:
    """Not even a lock."""
    for name in images:
        file = tmp_path / "set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36)).save(file, format="PNG")
    outcome = call(*command.split(), "data=folder", "data.root=set", "crop=32", *setting.split())
    assert (outcome.exit_code, outcome.err.count("\n")) == (2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
