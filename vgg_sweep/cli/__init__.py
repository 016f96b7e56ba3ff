"""The command line: parse and dispatch. What is heavy is imported by the commands that need it: `--help` is quick."""

from vgg_sweep.cli import runs, shows, logs, prune, data, exchange, predict, features, transfer, bench  # isort: skip  # each enters its commands, in this order
from vgg_sweep.cli.app import app, main

__all__ = [
    "app",
    "bench",
    "data",
    "exchange",
    "features",
    "logs",
    "main",
    "predict",
    "prune",
    "runs",
    "shows",
    "transfer",
]
