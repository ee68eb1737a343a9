"""Timing for the benchmarks: medians of several runs, alternatives taking turns, so that noise hits all of them."""

import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table


def medians(repeats: int, **alternatives: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each alternative; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(repeats):
        for name, work in alternatives.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def show(title: str, rows: list[tuple[str, str]]) -> None:
    """Print what was measured."""
    table = Table(title=title, show_header=False)
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
