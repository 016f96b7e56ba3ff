"""Runs as tasks of a Ray cluster, each in a worker process of its own.

Hydra's Ray launcher would wait for all its tasks and report only the first failure. So only its settings are used.
"""

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.agenda import found_state
from vgg_sweep.sweep.driver import Executor


def is_ray(launcher: Launcher) -> bool:
    """Whether Hydra was asked for `ray`, or a configuration made of it."""
    return type(launcher).__module__.startswith("hydra_plugins.hydra_ray_launcher.")


class Tasks(Executor):
    """Ray's tasks, by the launcher's settings `ray.init` and `ray.remote`.

    Raises `ConfigError` if there is no cluster, or no node of it is large enough.
    """

    def __init__(self, launcher: Launcher) -> None:
        import ray

        settings: Any = OmegaConf.to_container(launcher.ray_cfg, resolve=True)  # type: ignore[attr-defined]
        _connect(settings["init"], settings["remote"])
        self._attempt = ray.remote(**settings["remote"])(worker_code())
        self._runs: dict[Any, Run] = {}  # by the task's reference

    def submit(self, ready: Iterable[Run]) -> Iterator[Run]:
        for run in ready:
            yield run
            self._runs[self._attempt.remote(str(run.folder.path), os.getcwd())] = run

    def poll(self) -> Iterable[tuple[Run, bool]]:
        import ray

        tasks = list(self._runs)
        for task in ray.wait(tasks, num_returns=len(tasks), timeout=0)[0] if tasks else []:
            run = self._runs.pop(task)
            yield run, _is_lost(run, task)

    def cancel(self, runs: Sequence[Run], *, at_once: bool) -> None:
        import ray

        for task in [task for task, run in self._runs.items() if run in runs]:
            ray.cancel(task, force=at_once)


def worker_code() -> Callable[[str, str], None]:
    """What a worker does, with code from where the environment of this process says, in a snapshot for example.

    Ray puts the folder in which the sweep was started before all others, and sends a function's name only, unless it is
    one within a function. So this one imports nothing of ours before it has put that right.
    """
    code = {name: os.environ[name] for name in ("PYTHONPATH", "PYTHONSAFEPATH") if name in os.environ}

    def attempt(folder: str, home: str) -> None:
        """The run in `folder`, seen from `home`, where the sweep was started."""
        if not os.path.exists(os.path.join(home, folder, "config.yaml")):
            missing = os.path.join(home, folder)
            raise FileNotFoundError(f"{missing} is not on {platform.node()}: all nodes have to see the same files.")
        os.chdir(home)
        os.environ.update(code)  # for the processes of devices=N
        sys.path[:0] = filter(None, code.get("PYTHONPATH", "").split(os.pathsep))
        from vgg_sweep.sweep.work import main

        main(Path(folder))

    return attempt


def _connect(init: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Join the cluster. Raises `ConfigError` if it is not there, or no node can take a run."""
    import ray

    try:
        ray.init(**init)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster is found at hydra.launcher.ray.init.address={init.get('address')} "
            f"({' '.join(str(error).split())}); start one with `ray start --head`, or name its address."
        ) from error
    asked = {"CPU": wanted.get("num_cpus", 1), "GPU": wanted.get("num_gpus", 0)}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(kind, 0) >= number for kind, number in asked.items()) for node in nodes):
        most = {kind: max(int(node.get(kind, 0)) for node in nodes) for kind in asked}
        raise ConfigError(
            f"a run asks for num_cpus={asked['CPU']} and num_gpus={asked['GPU']}, but no node of the cluster has more "
            f"than num_cpus={most['CPU']} and num_gpus={most['GPU']}; change them in hydra.launcher.ray.remote."
        )


def _is_lost(run: Run, task: Any) -> bool:
    """Whether the node of an ended task was lost. Else write down why its run is not done, unless it has done so."""
    import ray

    try:
        ray.get(task)
    except ray.exceptions.TaskCancelledError:
        return False
    except ray.exceptions.NodeDiedError:
        return True
    except ray.exceptions.RayError as error:
        if found_state(run) in ("new", "interrupted"):
            first = next(iter(str(getattr(error, "cause", None) or error).splitlines()), "")
            message = f"Ray reports {type(error).__name__}: {first}"
            run.folder.fail(message, f"{message}\n{error}")
    return False
