"""Worker processes that start clean and never outlive the command that started them.

In: a number of processes. Out: an executor. Spawned, not forked, so that a worker has imported nothing that its own
work does not need; each watches its parent and leaves when that is gone, however it went.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection


def worker_pool(workers: int, prepare: Callable[..., None] | None = None, arguments: tuple = ()) -> ProcessPoolExecutor:
    """An executor of `workers` spawned processes; each calls `prepare(*arguments)` once, first."""
    return ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(prepare, arguments)
    )


def stop(pool: ProcessPoolExecutor) -> None:
    """End the workers at once, whatever they are doing; Ctrl-C meanwhile is heeded afterwards."""
    pressed: list[int] = []
    heeded = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
    except RuntimeError:  # Ctrl-C came while the pool was starting, so there is nothing to wait for
        pass
    finally:
        signal.signal(signal.SIGINT, heeded)
    if pressed:
        raise KeyboardInterrupt


def _start(prepare: Callable[..., None] | None, arguments: tuple) -> None:
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):  # Ctrl-C and SLURM are the parent's business
        signal.signal(asked, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    if prepare:
        prepare(*arguments)


def _follow_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
