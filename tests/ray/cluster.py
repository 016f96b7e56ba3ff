"""The depth sweep on a Ray cluster of two nodes, started here, with a worker killed: `make test-ray`.

It is started with snapshot=true in a copy of the program, which is broken while its runs are at work. It must end with
the same posteriors, to the bit, as the same sweep without Ray. Run it with a Python that has vgg-sweep[ray].
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.paths import ROOT

PORT = 6399
"""Not Ray's own, so that a cluster of the user's is left alone."""
RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")
SETTINGS = [
    *"sweep=depth crop=32 width=0.0625 device=cpu threads=1 workers=0 checkpoint_every_steps=1".split(),
    *"recipe=short recipe.batch_size=8 recipe.epochs=12 recipe.fine_tune_epochs=12".split(),
    *"data.fractals.num_classes=3 data.fractals.train_per_class=8 data.fractals.val_per_class=4".split(),
    *"data.fractals.side_px=80".split(),
]
ON_RAY = [
    *f"hydra/launcher=ray hydra.launcher.ray.init.address=127.0.0.1:{PORT}".split(),
    *"hydra.launcher.ray.remote.num_gpus=0 retries=1 snapshot=true".split(),
]


def main() -> None:
    # Ray puts sockets here, whose paths must be short, and its token into the home folder.
    place = Path(tempfile.mkdtemp(prefix="ray-"))
    os.environ |= {"HOME": str(place), "RAY_TMPDIR": str(place), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    try:
        with cluster(place):
            say("the sweep on the cluster")
            for name in ("vgg_sweep", "conf"):
                shutil.copytree(ROOT / name, place / "copy" / name)
            sweep = start("on-ray", place, *ON_RAY, code=place / "copy")
            victim, saw_two = kill_one(place / "on-ray")
            for module in ("sweep/work.py", "train/step.py"):
                (place / "copy" / "vgg_sweep" / module).write_text("raise SystemError('changed since')\n")
            say("its code is broken, all but the snapshot's")
            output, _ = sweep.communicate(timeout=900)
            print(output)
            assert sweep.returncode == 0, f"exit code {sweep.returncode}"
            assert saw_two, "two runs were never at work at the same time"
            assert "Ray reports WorkerCrashedError" in output, "the kill was not told"
            assert status(place / "on-ray" / victim)["attempt"] == 2, "Ray must not start a run again by itself"
            again = start("on-ray", place, *ON_RAY)
            assert "5 runs, 5 done, 0 to do" in again.communicate(timeout=300)[0]
        say("the same without Ray")
        alone = start("alone", place)
        output, _ = alone.communicate(timeout=900)
        errors = [path.read_text() for path in (place / "alone").glob("*/error.txt")]
        assert alone.returncode == 0, "\n".join([output, *errors])
        files = sorted(path.relative_to(place / "alone") for path in (place / "alone").glob("*/posteriors/*.npy"))
        assert len(files) >= 5
        for file in files:
            assert (place / "alone" / file).read_bytes() == (place / "on-ray" / file).read_bytes(), file
        say(f"{len(files)} files of posteriors are the same to the bit")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def say(text: str) -> None:
    print(f"--- {text}", flush=True)


@contextmanager
def cluster(place: Path) -> Iterator[None]:
    """Two nodes of one core each, as processes that end with this one."""
    every = ["--block", "--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000", "--disable-usage-stats"]
    head = [f"--port={PORT}", "--head", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for name, words in (("head", head), ("second", [f"--address=127.0.0.1:{PORT}"])):
            say(f"the {name} node starts")
            with open(place / f"{name}.txt", "wb") as log:
                nodes.append(
                    subprocess.Popen([*RAY, "start", *words, *every], stdout=log, stderr=log, start_new_session=True)
                )
            wait_until(lambda name=name: "Ray runtime started" in (place / f"{name}.txt").read_text(), 180)  # type: ignore[misc]
        yield
    finally:
        for node in reversed(nodes):
            node.terminate()  # which ends what the node has started
            with suppress(subprocess.TimeoutExpired):
                node.wait(timeout=30)
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
        say("the cluster is stopped")


def start(name: str, place: Path, *more: str, code: Path = ROOT) -> subprocess.Popen[str]:
    """The sweep into a folder of that name, by the program that lies in `code`."""
    words = ["-m", "vgg_sweep", "multirun", *SETTINGS, f"out={place / name}", f"cache={place / 'cache'}", *more]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=code)


def kill_one(sweep: Path) -> tuple[str, bool]:
    """Kill the worker of a net deeper than A while it trains. Returns its run, and whether two had been at work."""
    saw_two = [False]

    def victim() -> dict[str, Any] | None:
        at_work = [each for folder in sweep.glob("*") if (each := status(folder)).get("state") == "running"]
        saw_two[0] |= len(at_work) > 1
        deep = [each for each in at_work if each["run"][0] != "A" and each["stage"] == "train" and each["step"] > 3]
        return deep[0] if deep and saw_two[0] else None

    found = wait_until(victim, 600)
    os.kill(found["pid"], signal.SIGKILL)
    say(f"the worker of {found['run']} was killed at step {found['step']} of {found['num_steps']}")
    return found["run"], saw_two[0]


def status(folder: Path) -> dict[str, Any]:
    file = folder / "status.json"
    return {"run": folder.name} | (json.loads(file.read_text()) if file.exists() else {})


def wait_until(what: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


if __name__ == "__main__":
    main()
