"""What all commands print alike: the terminal, plain tables, sizes, and the progress of a long task."""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from textwrap import wrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

PAGE_WIDTH = 160
PLAIN_LINE_EVERY_SECONDS = 10.0
PATIENCE_SECONDS = 2.0
"""What may take longer shows then how far it is."""


def console() -> Console:
    """The terminal, or a wide page without one, so that lines sent to a file or a program are not broken."""
    return Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)


def plain_table(
    names: Iterable[str], numbers: Collection[str], *, whole: Collection[str] = (), title: str | None = None
) -> Table:
    """A table without lines and rows. `numbers` are the columns set to the right; they, the first and the `whole` ones
    are never wrapped.
    """
    table = Table(
        title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False, header_style="dim"
    )
    for index, name in enumerate(names):
        justify, no_wrap = "right" if name in numbers else "left", index == 0 or name in (*numbers, *whole)
        table.add_column(name, justify=justify, no_wrap=no_wrap)  # type: ignore[arg-type]
    return table


def run_name(name: str) -> Text:
    """What a run is called, on several lines where it would take more than two fifths of the terminal."""
    return Text("\n".join(wrap(name, 2 * console().width // 5)))


def size(num_bytes: float) -> str:
    """12 kB, 5.2 MB, 1.1 GB."""
    factor, unit = next(((f, u) for f, u in ((1e9, "GB"), (1e6, "MB")) if num_bytes >= 0.95 * f), (1e3, "kB"))
    value = num_bytes / factor
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"


@contextmanager
def shown_progress(
    word: str, screen: Console | None = None, *, after_seconds: float = 0.0
) -> Iterator[Callable[[int, int], None]]:
    """Takes how many are done, and of how many: a bar with the time left, where `screen` is a terminal and once it has
    taken so long. By default on stderr, so that stdout is for results, and without a terminal a line now and then.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    says_lines = screen is None
    screen = screen or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=screen, transient=True, redirect_stdout=not screen.stderr)
    task = bar.add_task(word, total=None)
    began = said_at = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said_at
        now = time.monotonic()
        bar.update(task, completed=done, total=total)
        if screen.is_terminal and now - began >= after_seconds:
            bar.start()
        elif says_lines and not screen.is_terminal and now - said_at >= PLAIN_LINE_EVERY_SECONDS and done:
            said_at = now
            left = (now - began) / done * (total - done)
            screen.print(f"{word} {done:,} of {total:,}, {left:.0f} s left", highlight=False)

    try:
        yield tell
    finally:
        if bar.live.is_started:
            bar.stop()
