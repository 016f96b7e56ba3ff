"""The two ways in which a request fails, each with a sentence for the user, and how such sentences list things."""

from collections.abc import Iterable


class ConfigError(ValueError):
    """The request is wrong; the message says what was given, what is allowed and what to do. Exit code 2."""


class RunError(RuntimeError):
    """A well-formed request failed; the message says where and how to continue. Exit code 1."""


def counted(number: int, noun: str) -> str:
    """1 run, 1,200 runs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some(names: Iterable[object], most: int = 3) -> str:
    """a, b, c and 4 more."""
    words = [str(name) for name in names]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
