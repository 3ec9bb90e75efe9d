"""A bar for input that takes long to read; nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.cli import output
from orchestrator.data.prepare import Located

SHOWN_FROM_BYTES = 5_000_000  # less is read before a bar could be seen


@contextmanager
def reading_bar(places: Located) -> Iterator[Callable[[int], None]]:
    """Gives what wants to hear how many more bytes were read."""
    if not sys.stderr.isatty() or output.quiet() or output.as_json():
        yield lambda count: None
        return
    sources = [*places.sources(held_out=False), *places.sources(held_out=True)]
    total = sum(source.size_bytes for source in sources)
    if total < SHOWN_FROM_BYTES:
        yield lambda count: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.messages(), transient=True) as progress:
        task = progress.add_task("reading", total=total)
        yield lambda count: progress.advance(task, count)
