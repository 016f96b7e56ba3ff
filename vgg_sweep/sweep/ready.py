"""What can be known of the runs of a plan before anything is trained."""

from collections.abc import Iterable
from importlib.util import find_spec

from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.columns import parse_columns
from vgg_sweep.nets.inherited import check_inherits
from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.forecast import num_classes


def check_ready(runs: Iterable[Run]) -> None:
    """Raise `ConfigError` for a net that cannot be built, or that cannot take what its parent has to give; and for a
    logger whose package is not installed.
    """
    for run in runs:
        config, parent = run.config, run.parent
        if run.folder.is_trained or config.imported.sha256 is not None:
            continue
        if config.logger != "none" and find_spec(config.logger) is None:
            raise ConfigError(
                f"logger={config.logger} needs a package that is not installed; pip install "
                f"'vgg-sweep[{config.logger}]', or leave it out."
            )
        classes = num_classes(config)
        parse_columns(config.model.columns, width=config.width, classes=classes, crop=config.crop)
        if parent is not None and not run.fine_tunes and parent.config.model.name == config.model.parent:
            check_inherits(config, parent.config, classes)
