"""Completion as a person meets it: TAB in a real shell. Which words are offered is in tests/config/test_vocabulary."""

import os
import pty
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweeps import make_run

ROOT = Path(__file__).parents[2]
PROMPT = "READY>"
PATIENCE_SECONDS = 60
CODES = r"\x1b[\[\]()][0-9;?]*[A-Za-z]?|[\r\n\x07]"
CLEAR, SHOW = "\x15", "\x14"
"""Ctrl-U and Ctrl-T, which `SETUPS` bind to showing the line as the shell has it."""

SETUPS = {
    "bash": (
        "--norc --noprofile -i",
        """source <(vgg-sweep --show-completion); bind -x '"\\C-t": printf "<%s>" "$READLINE_LINE"'; PS1=READY\\>""",
    ),
    "zsh": (
        "-f -i",
        "autoload -Uz compinit; compinit -u; source <(vgg-sweep --show-completion); "
        'show() { print -n -- "<$BUFFER>" }; '
        "zle -N show; bindkey '^T' show; bindkey '^U' kill-whole-line; PS1=READY\\>",
    ),
    "fish": (
        "--no-config -i",
        "vgg-sweep --show-completion | source; bind \\ct 'printf \"<%s>\" (commandline -b)'; "
        "bind \\cu 'commandline \"\"'; function fish_prompt; echo READY\\>; end",
    ),
}
"""How each shell is started, and what it is told first."""

LINES = {
    "multirun model=A,A-L": "multirun model=A,A-LRN ",
    "train data.val_s": "train data.val_share=",
    "predict D-ji": "predict D-jitter-s",
}
"""What is typed behind the program's name, and what TAB makes of it: a space follows only a whole word."""


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, name: str, home: Path) -> None:
        options, setup = SETUPS[name]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {"HOME": str(home), "PATH": path, "TERM": "xterm", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execvpe(name, [name, *options.split()], kept)
        time.sleep(0.5)  # until it reads its terminal in its own way
        self.type(f"{setup}\n")
        self.read_until(PROMPT)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def read_until(self, pattern: str) -> str:
        """What is shown, up to something like `pattern`, which is returned; without the codes that move the cursor."""
        seen, end = "", time.monotonic() + PATIENCE_SECONDS
        while not (found := re.search(pattern, re.sub(CODES, "", seen))):
            assert select.select([self.terminal], [], [], end - time.monotonic())[0], f"no {pattern} in {seen!r}"
            seen += os.read(self.terminal, 65536).decode(errors="replace")
        return found[0]

    def completed(self, line: str) -> str:
        self.type(f"{CLEAR}{line}\t")
        self.type(SHOW)
        return self.read_until("<vgg-sweep [^<>]*>").strip("<>")


@pytest.fixture(params=SETUPS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    if not shutil.which(request.param) or not (Path(sys.executable).parent / "vgg-sweep").exists():
        pytest.skip(f"there is no {request.param}, or no vgg-sweep beside Python")
    for seed in (0, 1):
        make_run(tmp_path / "outputs" / "sweep", "D", "jitter", seed)
    started = Shell(request.param, tmp_path)
    yield started
    os.kill(started.pid, signal.SIGKILL)
    os.waitpid(started.pid, 0)


def test_tab_inserts_the_right_word(shell: Shell) -> None:
    made = {line: shell.completed(f"vgg-sweep {line}").removeprefix("vgg-sweep ") for line in LINES}
    assert made == LINES
