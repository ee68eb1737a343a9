"""What every builder of stores needs: where things are, who may work, and how work is spread over processes.

In: the options of the command. Out: one frozen value, passed along.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from data.stores import store_folder
from slm.machine import Machine
from slm.spec import StoreSpec
from slm.workers import stop, worker_pool


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where things are, and how many processes may work."""

    root: Path
    corpora: Path | None
    workers: int
    machine: Machine
    progress: Progress
    scale: str
    table: dict[str, StoreSpec]

    def folder(self, name: str) -> Path:
        return store_folder(self.root, self.scale, name)

    def spread(self, work: Callable, jobs: Iterable[tuple], total: int, title: str) -> Iterator[Any]:
        """`work(*job)` of each job in worker processes, in order, with a progress bar; few results wait at a time."""
        task = self.progress.add_task(title, total=total)
        pool = worker_pool(max(1, min(self.workers, total)))
        waiting: deque = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(work, *job))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
                    self.progress.advance(task)
            while waiting:
                yield waiting.popleft().result()
                self.progress.advance(task)
        except BrokenProcessPool:
            raise ValueError(
                f"{title}: a worker process died, for want of memory as a rule: take fewer --workers"
            ) from None
        finally:
            stop(pool)
