"""Two drivers with different protocols on one sweep: both end with all their passes."""

import subprocess
import sys
import time
from pathlib import Path

from tests.paths import ROOT
from tests.stub import lines
from vgg_sweep.plan.folders import read_run
from vgg_sweep.plan.passes import missing
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.folder import find_runs


def multirun(sweep: Path, protocol: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.stub", "multirun", f"out={sweep}", f"cache={sweep}-cache"]
    command += ["model=A,B", f"protocol={protocol}", "jobs=1"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_the_second_protocol_comes_while_the_first_is_scored(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    planned = [sys.executable, "-m", "tests.stub", "multirun", f"out={sweep}", "model=A,B", "protocol=centre"]
    subprocess.run(planned, cwd=ROOT, check=True, capture_output=True)  # so that the folders are known
    for folder in find_runs(sweep):
        folder.weights.unlink()
        folder.update_status(state="interrupted")
        write_json(folder.path / "orders.json", {"after": "the_test", "ends": ["done"]})
    first = multirun(sweep, "centre")
    deadline = time.monotonic() + 60
    while len(lines(sweep, "began")) == 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    second = multirun(sweep, "multi")
    assert second.stdout is not None and any("elsewhere" in line for line in second.stdout)
    with open(sweep / "work.log", "a") as log:
        log.write("the_test done\n")
    for driver in (first, second):
        output, _ = driver.communicate(timeout=120)
        assert driver.returncode == 0, output
    for folder in find_runs(sweep):
        config = read_run(folder).config
        assert set(config.protocol.passes) >= {"centre-crop@single", "dense@multi"}
        assert missing(folder, config) == []
