"""`snapshot=true`: the runs of a sweep use the code as it was when the sweep started."""

import os
import shutil
import sys
from pathlib import Path

from vgg_sweep.config.options import conf_dir
from vgg_sweep.runs.files import temporary_path
from vgg_sweep.runs.provenance import made_with


def use_snapshot(sweep: Path) -> Path:
    """Copy this program into the folder of the sweep, unless it is there, and have all processes started from now on
    take it from there: those that have this one's environment, as Slurm's jobs do, or its `sys.path`, as joblib's.

    Returns the folder of the copy.
    """
    package = Path(__file__).resolve().parents[1]
    folder = (sweep / ".code" / str(made_with()["code"])).absolute()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        begun = temporary_path(folder)
        shutil.copytree(package, begun / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        if not conf_dir().is_relative_to(package):
            shutil.copytree(conf_dir(), begun / conf_dir().name)
        begun.rename(folder)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *others])
    os.environ["PYTHONSAFEPATH"] = "1"  # the folder in which a process starts does not come first: it may be a checkout
    return folder
