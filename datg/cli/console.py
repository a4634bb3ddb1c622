"""What long work shows: a live line on a terminal, a plain line every 30 seconds elsewhere."""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from datg.runtime.progress import format_duration

STDERR = 2  # its file descriptor
COPIED = re.compile(r"://|\S/\S|\bdatg \w+ |--\w")  # in what a user may want to copy whole
LIVE_SECONDS = 0.5
PLAIN_SECONDS = 30.0
UNLIMITED = 10_000  # columns
PLAIN_WIDTH = 200  # columns of a log file: wide enough for a leaderboard


def console() -> Console:
    """Return where progress and messages go: standard error, so that results on standard output can be piped."""
    width = None if sys.stderr.isatty() else PLAIN_WIDTH
    return Console(file=sys.stderr, highlight=False, markup=False, width=width)


def say(out: Console, text: str) -> None:
    """Print text, on a terminal broken at spaces; a line with what may be copied (a command, a path, a link) stays a line."""
    for line in text.split("\n"):
        out.print(line, soft_wrap=not out.is_terminal or COPIED.search(line) is not None)


@contextmanager
def without_c_libraries() -> Iterator[None]:
    """Keep off the terminal, while the block runs, what libraries in C write to it, such as libtiff; a report names the file.

    Python's own standard error goes where it went; a :func:`console` for the block is made inside it.
    """
    python = sys.stderr
    if python is None:  # it was closed before this program began
        yield
        return
    python.flush()
    terminal = os.dup(STDERR)
    with (
        Path(os.devnull).open("wb") as nowhere,
        os.fdopen(os.dup(terminal), "w", buffering=1, encoding=python.encoding, errors=python.errors) as kept,
    ):
        os.dup2(nowhere.fileno(), STDERR)
        sys.stderr = kept
        try:
            yield
        finally:
            sys.stderr = python
            os.dup2(terminal, STDERR)
            os.close(terminal)


@contextmanager
def show_status(text: Callable[[], str], out: Console) -> Iterator[None]:
    """Show ``text()`` while the block runs."""
    done = threading.Event()

    def show_live() -> None:
        with Live(Text(text()), console=out, transient=True, auto_refresh=False) as live:
            while not done.wait(LIVE_SECONDS):
                live.update(Text(text()), refresh=True)

    def show_plain() -> None:
        while not done.wait(PLAIN_SECONDS):
            say(out, text())

    thread = threading.Thread(target=show_live if out.is_terminal else show_plain, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def progress_bar(out: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yield ``show(what, done, total)``; a bar on a terminal, a line every 30 seconds elsewhere."""
    if not out.is_terminal:
        yield _plain_progress(out)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show


def _plain_progress(out: Console) -> Callable[[str, int, int], None]:
    last: float | None = None
    began: dict[str, tuple[float, int]] = {}

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        start, before = began.setdefault(what, (now, done))
        if last is None or now - last >= PLAIN_SECONDS:
            last = now
            rate = (done - before) / (now - start) if now > start else 0.0
            left = (
                f", {rate:.3g} a second, about {format_duration((total - done) / rate)} left" if total and rate else ""
            )
            out.print(f"{what}: {done}" + (f" of {total}" if total else "") + left)

    return show


def print_rows(rows: list[dict[str, Any]], out: Console) -> None:
    """Print a table of equal mappings: a value and its ``ci95`` share a column, and so do all dotted keys.

    Where that is too wide the dotted keys follow in a table of their own, so that a row stays a line.
    """
    compact = [_compact(row) for row in rows]
    table = _table(compact)
    wanted = Measurement.get(out, out.options.update(max_width=UNLIMITED), table).maximum
    if "setting" not in (compact[0] if compact else ()) or wanted <= out.width:
        out.print(table)
        return
    out.print(_table([{key: cell for key, cell in row.items() if key != "setting"} for row in compact]))
    out.print()
    out.print(_table([_setting(row) for row in rows]))


def _table(rows: list[dict[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for key in rows[0] if rows else ():
        table.add_column(key, justify="left" if key == "setting" else "right", no_wrap=key != "setting")
    for row in rows:
        table.add_row(*row.values())
    return table


def _compact(row: dict[str, Any]) -> dict[str, str]:
    cells = {key: _cell(value) for key, value in row.items() if "." not in key and not key.endswith(" ci95")}
    for key, value in row.items():
        if key.endswith(" ci95") and value is not None:
            cells[key.removesuffix(" ci95")] += f" ± {_cell(value)}"
    setting = [f"{key.rpartition('.')[2]} {_cell(value)}" for key, value in row.items() if "." in key]
    return {**cells, "setting": ", ".join(setting)} if setting else cells


def _setting(row: dict[str, Any]) -> dict[str, str]:
    """Return a row's dotted keys by their last part, after what names the row."""
    name = next(iter(row))
    return {name: _cell(row[name])} | {key.rpartition(".")[2]: _cell(value) for key, value in row.items() if "." in key}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"
    return "-" if value is None else str(value)
