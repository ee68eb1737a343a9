"""What a run under way writes: its rows, its checkpoints, and why it stopped.

In: Lightning's hooks. Out: `train.jsonl`, `checkpoints/last.ckpt`, states of the trunk. Losses stay on the device until
they are written, about once a second, so that no update waits for the host.
"""

import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
from torch import distributed

from slm.atomic import read_json, write_json, write_jsonl
from slm.batches import Updates
from slm.execution import Execution, peak_of
from slm.flops import flops_per_token
from slm.machine import Machine
from slm.runlog import RunLog
from slm.spec import RunSpec

FLUSH_SECONDS = 1.0
STALL = 0.01
"""Largest share of the time that writing checkpoints may take."""
AGREE_EVERY = 16
"""At most so many updates pass before several devices agree on what to write; agreeing waits for the slowest. Slow
updates agree more often, about once a second."""


class Leave(Exception):
    """The run saved its state and left because it was asked to."""


class Wish:
    """Set by a signal handler, read after every update: leave once the state is saved."""

    value = False


STAY = Wish()
"""For runs that nobody asks to leave."""


class Recorder(lightning.Callback):
    """Writes the rows and the checkpoints of a run under way. Every process has one, the first one writes."""

    def __init__(
        self,
        runlog: RunLog,  # Lightning claims the name `log`
        run: RunSpec,
        updates: Updates,
        execution: Execution,
        machine: Machine,
        trunk: Path,
        report: Callable[[float], None],
        wish: Wish,
        loggers: list,
        seconds_before: float,
    ) -> None:
        self.runlog, self.run, self.updates, self.trunk = runlog, run, updates, trunk
        self.report, self.wish, self.loggers = report, wish, loggers
        self.checkpoint_seconds = self.interval = machine.checkpoint_seconds
        self.world = execution.devices
        self.flops = flops_per_token(run.model)
        self.peak = peak_of(execution, run.train.precision)
        self.branch_step = run.train.steps - run.train.decay_steps if run.train.schedule == "wsd" else None
        self.agree_every = 1
        self.pending: list[tuple] = []
        self.seconds_before = seconds_before
        self.on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer, module) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_sigterm)  # Lightning's own handler broadcasts in mid-step
        trainer._signal_connector.received_sigterm = False  # if it came before this: ours was called too
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # which waits for every micro-batch
        self.step = self.agreed_step = trainer.global_step
        if self.world > 1 and trainer.strategy.broadcast(self.step) != self.step:
            raise RuntimeError(f"devices start from different updates ({self.step} here): start the run again")
        self.started = self.saved = self.flushed = self.agreed_at = time.monotonic()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            return  # a micro-batch within an update
        self.step = step = trainer.global_step
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.pending.append((step, rate, module.taken_nats(), module.grad_norm, time.monotonic()))
        self.report(self.run.train.batch_tokens * self.flops["flops_6n"])
        due = step in (self.branch_step, self.run.train.steps)
        if self.world > 1 and step % self.agree_every and not due:
            return
        flush, save, leave = self._agreed(module.device)
        if flush or save or leave or due:
            self._flush(trainer, module.device)
        if step == self.branch_step and not trainer.strategy.broadcast(self._trunk_path(step).exists()):
            self._save_trunk(trainer, step)
        if save or leave or step == self.run.train.steps:
            self._save(trainer)
        if leave and step < self.run.train.steps:
            raise Leave

    def _agreed(self, device: torch.device) -> tuple[bool, bool, bool]:
        """Whether to write rows, to save, to leave: as soon as any process wants it, all do."""
        now = time.monotonic()
        wanted = now - self.flushed > FLUSH_SECONDS, now - self.saved > self.interval, bool(self.wish.value)
        if self.world == 1:
            return wanted
        pace = (now - self.agreed_at) / max(1, self.step - self.agreed_step)  # seconds an update
        votes = torch.tensor([*wanted, pace], dtype=torch.float32, device=device)
        distributed.all_reduce(votes, distributed.ReduceOp.MAX)
        *wanted, pace = votes.tolist()
        self.agree_every = min(AGREE_EVERY, max(1, int(FLUSH_SECONDS / max(pace, 1e-6))))
        self.agreed_at, self.agreed_step = now, self.step
        return tuple(map(bool, wanted))

    def _flush(self, trainer, device: torch.device) -> None:
        """Fetch what the device has, refuse what is not finite, append the rows."""
        if not self.pending:
            return
        steps, rates, nats, norms, times = zip(*self.pending, strict=True)
        pairs = zip(nats, norms, strict=True)
        fetched = torch.stack([torch.cat([taken, norm[None]]) for taken, norm in pairs], dim=1)  # (2 or 3, updates)
        if self.world > 1:  # a loss is the mean over devices; the norm is that of all devices already
            distributed.all_reduce(fetched.div_(self.world))
        *taken, norms = fetched.tolist()
        now = time.monotonic()
        speed = len(steps) * self.run.train.batch_tokens / (now - self.flushed)
        mfu = speed * self.flops["flops_with_attention"] / self.peak if self.peak else None
        rows = []
        for step, rate, loss, norm, at in zip(steps, rates, _losses(*taken), norms, times, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self._diverged(step, loss, norm)
            tokens = step * self.run.train.batch_tokens
            row = {"step": step, "tokens": tokens, "flops": tokens * self.flops["flops_6n"], "nats": loss}
            row |= {"lr": rate, "grad_norm": norm, "tokens_per_second": round(speed, 1)}
            row |= {"mfu": mfu and round(mfu, 4), "time": round(self.seconds_before + at - self.started, 3)}
            rows.append(row)
        self.pending, self.flushed = [], now
        if trainer.is_global_zero:
            self.runlog.append("train", rows)
            for logger in self.loggers:
                for row in rows:
                    logger.log_metrics({k: v for k, v in row.items() if k != "step" and v is not None}, row["step"])

    def _diverged(self, step: int, loss: float, norm: float) -> ValueError:
        documents = self.updates.documents(step - 1)
        shown = ", ".join(documents[:5]) + (f" and {len(documents) - 5} more" if len(documents) > 5 else "")
        saved = self.runlog.checkpoint
        good = f"the last good checkpoint is {saved}" if saved.exists() else "no checkpoint was saved yet"
        return ValueError(
            f"run {self.run.name}: loss {loss}, gradient norm {norm} at step {step}, whose batch holds documents "
            f"{shown}; {good}; lower the learning rate ({self.run.train.learning_rate}) in the recipe"
        )

    def _save_trunk(self, trainer, step: int) -> None:
        if trainer.is_global_zero:
            told = read_json(self.runlog.folder / "env.json")["executions"]
            write_json(self._trunk_path(step).with_suffix(".json"), told)
            write_jsonl(self._trunk_path(step).with_suffix(".jsonl"), self.runlog.rows("train"))
        trainer.save_checkpoint(self._trunk_path(step))

    def _save(self, trainer) -> None:
        before = time.monotonic()
        if trainer.is_global_zero:
            self.runlog.sync("train")  # a state is never newer than its rows
        trainer.save_checkpoint(self.runlog.checkpoint)
        self.saved = self.flushed = time.monotonic()
        if self.checkpoint_seconds:
            self.interval = max(self.checkpoint_seconds, (self.saved - before) / STALL)

    def _trunk_path(self, step: int) -> Path:
        return self.trunk / f"step-{step:08d}.ckpt"


def _losses(nats: list[float], targets: list[float] | None = None) -> list[float]:
    """Nats a target: given as means, or as sums with numbers of targets; 0.0 for an update that held none."""
    return nats if targets is None else [a and a / max(n, 1e-9) for a, n in zip(nats, targets, strict=True)]
