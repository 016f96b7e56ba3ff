"""The CPUs of this process. Needs no torch."""

import os


def num_cpus() -> int:
    """How many this process may use; where the system does not say, as on macOS and Windows, all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
