"""Runs as tasks of a Ray cluster: each is handed over as soon as its parent is done, to a worker process of its own.

Hydra's launcher for Ray would wait for all tasks that it is given and tell of the first that failed only. So only its
settings are used.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import write_text
from vgg_sweep.sweep.agenda import FAILED, Agenda, found_state
from vgg_sweep.sweep.processes import POLL_SECONDS, Stopped, signals


def is_ray(launcher: Launcher) -> bool:
    """Whether Hydra was asked for `ray`, or a configuration made of it."""
    return type(launcher).__module__.startswith("hydra_plugins.hydra_ray_launcher.")


def by_tasks(agenda: Agenda, launcher: Launcher, *, fail_fast: bool = False) -> None:
    """Do every run of `agenda` as a Ray task, by the launcher's settings `ray.init` and `ray.remote`.

    Returns when all are settled; how is in `agenda`. After SIGINT or SIGTERM the runs save and stop, then `Stopped` is
    raised; a second one kills them. Raises `ConfigError` if there is no cluster, or no node of it is large enough.
    """
    import ray

    settings: Any = OmegaConf.to_container(launcher.ray_cfg, resolve=True)  # type: ignore[attr-defined]
    _connect(settings["init"], settings["remote"])
    attempt = ray.remote(**settings["remote"])(attempt_run)
    at_work: dict[Any, Run] = {}  # by the task's reference
    with signals() as came:
        while True:
            for task in ray.wait(list(at_work), num_returns=len(at_work), timeout=POLL_SECONDS)[0] if at_work else []:
                run = at_work.pop(task)
                if _is_to_be_done_again(run, task):
                    agenda.gives_back(run)
                else:
                    agenda.ends(run)
            stopping = bool(came) or (fail_fast and bool(agenda.in_state(*FAILED)))
            if stopping:
                for task, run in at_work.items():
                    if agenda.states[run.id] == "running" or len(came) > 1:
                        ray.cancel(task, force=len(came) > 1)
                    agenda.stops(run)
            else:
                for run in agenda.ready():
                    agenda.starts(run)
                    at_work[attempt.remote(str(run.folder.path), os.getcwd())] = run
            if not at_work and (stopping or agenda.is_settled):
                break
    if came:
        raise Stopped(came[0])


def attempt_run(folder: str, home: str) -> None:
    """What a worker does: the run in `folder`, seen from `home`, where the sweep was started."""
    from vgg_sweep.sweep.work import main

    if not (Path(home) / folder / "config.yaml").exists():
        raise RunError(f"{Path(home) / folder} is not on {os.uname().nodename}: all nodes have to see the same files.")
    os.chdir(home)
    main(Path(folder))


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


def _is_to_be_done_again(run: Run, task: Any) -> bool:
    """Write down why a run whose task has ended is not done, unless it has done so itself or its node was lost."""
    import ray

    try:
        ray.get(task)
    except ray.exceptions.TaskCancelledError:
        return False
    except ray.exceptions.NodeDiedError:
        return True
    except ray.exceptions.RayError as error:
        if found_state(run) in ("new", "interrupted"):
            message = _cause(error)
            write_text(run.folder.error, f"{message}\n{error}")
            run.folder.update_status(state="failed", error=message)
    return False


def _cause(error: Exception) -> str:
    """What Ray says of the end of a task, in a line."""
    first = next(iter(str(getattr(error, "cause", None) or error).splitlines()), "")
    return f"Ray reports {type(error).__name__}: {first}"
