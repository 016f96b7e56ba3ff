"""The command line: parse and dispatch. Commands import heavy modules when they need them, so `--help` is quick."""

import sys

try:
    from vgg_sweep.cli import bench, data, exchange, features, logs, predict, prune, reports, runs, transfer  # noqa: F401
    from vgg_sweep.cli.app import app, main
except KeyboardInterrupt:
    print("Stopped before anything began.", file=sys.stderr)
    sys.exit(130)

__all__ = ["app", "main"]
