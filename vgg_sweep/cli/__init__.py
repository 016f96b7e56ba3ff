"""The command line: parse and dispatch. Commands import heavy modules when they need them, so `--help` is quick."""

from vgg_sweep.cli import bench, data, exchange, features, logs, predict, prune, runs, shows, transfer  # noqa: F401
from vgg_sweep.cli.app import app, main

__all__ = ["app", "main"]
