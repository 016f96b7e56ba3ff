"""The learning curves, forwarded: `logger=tensorboard|wandb|mlflow|trackio`, each an extra to install, none by default.

Each package finds its server by its own settings (WANDB_MODE=offline, MLFLOW_TRACKING_URI, ...).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.runs import Run

Log = Callable[[Mapping[str, float]], object]
"""Takes a row of metrics.csv."""


@contextmanager
def open_logger(run: Run, first_step: int, is_first_rank: bool) -> Iterator[Log]:
    """What takes the rows of metrics.csv of `run` from `first_step` on. Raises `ConfigError` if its package is not
    installed.
    """
    name = run.config.logger
    makers = {"tensorboard": _tensorboard, "wandb": _wandb_like, "mlflow": _mlflow, "trackio": _wandb_like}
    if name == "none" or not is_first_rank:
        yield lambda row: None
        return
    try:
        log, close = makers[name](run, first_step)
    except ImportError as error:
        raise ConfigError(
            f"logger={name} needs a package that is not installed ({error}); pip install 'vgg-sweep[{name}]'."
        ) from error
    try:
        yield lambda row: log({name: value for name, value in row.items() if name != "step"}, int(row["step"]))
    finally:
        close()


_Logger = tuple[Callable[[dict[str, float], int], object], Callable[[], object]]
"""What logs the figures of a step, and what ends that."""


def _tensorboard(run: Run, first_step: int) -> _Logger:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(run.folder.path / "tensorboard", purge_step=first_step)

    def log(figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def _wandb_like(run: Run, first_step: int) -> _Logger:
    """wandb's, or that of trackio, which is called the same way."""
    project, package = Path(run.config.out).name, run.config.logger
    settings = {"id": run.id, "dir": run.folder.path} if package == "wandb" else {}
    opened = import_module(package).init(
        project=project, name=run.id, config=asdict(run.config), resume="allow", **settings
    )
    return lambda figures, step: opened.log(figures, step=step), opened.finish


def _mlflow(run: Run, first_step: int) -> _Logger:
    import mlflow

    mlflow.set_experiment(Path(run.config.out).name)
    mlflow.start_run(run_name=run.id)
    mlflow.log_params({"model": run.config.model.name, "train_scale": run.config.train_scale.name})
    return mlflow.log_metrics, mlflow.end_run
