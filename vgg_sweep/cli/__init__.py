"""The command line: parse and dispatch. What is heavy is imported by the commands that need it: `--help` is quick."""

from vgg_sweep.cli import bench, exchange, predict, runs, shows  # each enters its commands, in the order of `--help`
from vgg_sweep.cli.app import app, main

__all__ = ["app", "main", "runs", "shows"]
