"""What record.json says of the program."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from vgg_sweep.runs import provenance as module
from vgg_sweep.runs.provenance import provenance, typed


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """A process asks once, tests of several programs do so in one."""
    module.made_with.cache_clear()
    yield
    module.made_with.cache_clear()


def test_versions_are_those_installed() -> None:
    versions = provenance()["versions"]
    assert isinstance(versions, dict)
    assert versions["torch"] == version("torch") and versions["pillow"] == version("pillow")
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_says_if_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "vgg_sweep" / "runs" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("1")
    monkeypatch.setattr(module, "__file__", str(file))
    assert provenance()["commit"] is None
    module.made_with.cache_clear()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert provenance()["commit"] == head
    file.write_text("2")
    assert provenance()["commit"] == head, "what this process has imported"
    module.made_with.cache_clear()
    assert provenance()["commit"] == f"{head}-dirty"


def test_the_command_can_be_given_again(tmp_path: Path) -> None:
    code = "from vgg_sweep.runs.provenance import provenance; print(provenance()['command'])"
    done = subprocess.run([sys.executable, "-c", code, "a b"], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("'a b'")


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["python", "/venv/bin/vgg-sweep", "train", "data.root=my photos"], "vgg-sweep train 'data.root=my photos'"),
        (["python", "-m", "vgg_sweep", "multirun", "--force", "train_scale=384"], "vgg-sweep multirun train_scale=384"),
        (["torchrun", "-m", "vgg_sweep", "train"], "vgg-sweep train"),
        (["python", "-m", "vgg_sweep.sweep.work", "outputs/x/A"], ""),
        (["pytest", "vgg_sweep"], ""),
    ],
)
def test_a_command_is_kept_in_the_words_of_who_typed_it(
    argv: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", argv)
    assert typed() == command
    assert provenance()["command"] == (command or shlex.join(argv[1:]))
    assert provenance("vgg-sweep train seed=1")["command"] == "vgg-sweep train seed=1"
