"""RunSpec and Machine to a finished run folder.

In: a recipe, the opened stores it trains on, where to run. Out: `train.jsonl`, `val.jsonl`, a checkpoint, `done.json`.
Kill it anywhere: the next call continues, and the rows and weights equal those of an undisturbed run bit for bit on
CPU. Under wsd, runs that differ only in their token count share the constant-rate part (the trunk).
"""

import fcntl
import logging
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.environments import LightningEnvironment

from slm.atomic import read_json, write_jsonl
from slm.batches import TrainingData, validation_batches
from slm.checkpoint import AtomicCheckpointIO, read_checkpoint
from slm.flops import flops_per_token
from slm.machine import Machine
from slm.model import build
from slm.runlog import RunLog
from slm.spec import RunSpec, TrainConfig
from slm.store import TokenStore

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no banner per run


def learning_rate(train: TrainConfig, step: int) -> float:
    """Rate of update `step`, counted from 0.

    Linear warm-up, then either half a cosine to `final_rate` of the peak (Cuervo & Marxer 2024, §3.1; ratio as in the
    released code, (step - warmup) / (steps - warmup - 1)), or constant and linear in the last `decay_steps` (wsd).
    """
    if step < train.warmup_steps:
        return train.learning_rate * (step + 1) / train.warmup_steps
    if train.schedule == "cosine":
        ratio = (step - train.warmup_steps) / max(1, train.steps - train.warmup_steps - 1)
        share = 0.5 * (1 + math.cos(math.pi * ratio))
    else:
        into_decay = step + 1 - (train.steps - train.decay_steps)
        share = 1 - max(0, into_decay) / train.decay_steps if train.decay_steps else 1.0
    return train.learning_rate * (train.final_rate + (1 - train.final_rate) * share)


class LanguageModel(lightning.LightningModule):
    """Next-token prediction: mean cross-entropy in nats over all targets of a batch."""

    def __init__(self, run: RunSpec) -> None:
        super().__init__()
        self.run = run
        self.model = build(run.model, run.train.seed)
        self.grad_norm = 0.0

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return next_token_nats(self.model, batch[:, :-1], batch[:, 1:], "mean")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; weight decay on matrices only, as in the released code of Cuervo & Marxer 2024."""
        train, weights = self.run.train, list(self.model.parameters())
        groups = [
            {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": train.weight_decay},
            {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=train.learning_rate, betas=(train.beta1, train.beta2), fused=True)

    def on_train_batch_start(self, batch: torch.Tensor, batch_idx: int) -> None:
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = learning_rate(self.run.train, self.trainer.global_step)

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        self.grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.run.train.clip)


def next_token_nats(model, inputs: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
    """Cross-entropy in nats of `targets` (B, T) given `inputs` (B, T)."""
    logits = model(input_ids=inputs).logits  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)


class _Recorder(lightning.Callback):
    """Writes the rows and the checkpoints of a run under way."""

    def __init__(self, runlog: RunLog, run: RunSpec, machine: Machine, trunk: Path, report: Callable[[float], None]):
        self.runlog, self.run, self.machine, self.trunk, self.report = runlog, run, machine, trunk, report
        self.flops = flops_per_token(run.model)["flops_6n"]
        self.branch_step = run.train.steps - run.train.decay_steps if run.train.schedule == "wsd" else None
        self.rows: list[dict] = []
        self.seconds_before = (runlog.rows("train") or [{"time": 0.0}])[-1]["time"]

    def on_train_start(self, trainer, module) -> None:
        self.started = self.saved = self.stepped = time.monotonic()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        step, tokens = trainer.global_step, trainer.global_step * self.run.train.batch_tokens
        nats, grad_norm, now = float(outputs["loss"]), float(module.grad_norm), time.monotonic()
        if not (math.isfinite(nats) and math.isfinite(grad_norm)):
            raise ValueError(
                f"run {self.run.name}: loss {nats}, gradient norm {grad_norm} at step {step}; the last good checkpoint "
                f"is {self.runlog.checkpoint}; lower the learning rate ({self.run.train.learning_rate}) in the recipe"
            )
        row = {"step": step, "tokens": tokens, "flops": tokens * self.flops, "nats": nats}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        row["grad_norm"] = grad_norm
        row["tokens_per_second"] = round(self.run.train.batch_tokens / (now - self.stepped), 1)
        row["mfu"] = None  # no peak is known for a CPU
        row["time"] = round(self.seconds_before + now - self.started, 3)
        self.rows.append(row)
        self.stepped = now
        self.report(self.run.train.batch_tokens * self.flops)
        if step == self.branch_step and not self._trunk_path(step).exists():
            self._flush()
            write_jsonl(self._trunk_path(step).with_suffix(".jsonl"), self.runlog.rows("train"))
            trainer.save_checkpoint(self._trunk_path(step))
        if now - self.saved > self.machine.checkpoint_seconds or step == self.run.train.steps:
            self._flush()
            trainer.save_checkpoint(self.runlog.checkpoint)
            self.saved = time.monotonic()

    def _trunk_path(self, step: int) -> Path:
        return self.trunk / f"step-{step:08d}.ckpt"

    def _flush(self) -> None:
        self.runlog.append("train", self.rows)
        self.rows = []


def train(
    run: RunSpec,
    stores: list[TokenStore],
    validation: dict[str, TokenStore],
    runs_root: Path,
    machine: Machine,
    environment: dict,
    report: Callable[[float], None] = lambda flops: None,
) -> RunLog:
    """Train a run to its end, or do nothing if it is done.

    `stores` are those of `run.mix`, in its order; the first entry of `validation` is the run's own held-out store,
    whose loss is *the* loss of the run. `environment` is stored as `env.json`; `report` is told the FLOPs of every
    update, shared ones included. `ValueError` if the folder holds another recipe, or another process trains there.
    """
    log = RunLog.open(runs_root, run)
    with open(log.folder / ".lock", "w") as lock:
        _take(lock, log)
        if log.is_done:
            return log
        for source, store in zip(run.mix, stores, strict=True):
            store.check_spec(source.store)
            store.verify()
        torch.set_num_threads(machine.threads)
        trunk = Path(runs_root) / ".trunks" / run.trunk
        started_from = _start_rows(log, run, trunk)
        done = log.rows("train")[-1] if started_from else {"step": 0, "flops": 0.0, "time": 0.0}
        if not (log.folder / "env.json").exists():
            log.write("env.json", environment | {"started_from": {key: done[key] for key in ("step", "flops", "time")}})
        report(done["flops"])
        module = LanguageModel(run)
        trainer = _trainer(run, machine, _Recorder(log, run, machine, trunk, report))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice on loader workers and on mid-epoch resuming
            trainer.fit(module, TrainingData(run, stores), ckpt_path=started_from)
        if trainer.interrupted:
            raise KeyboardInterrupt
        _validate(log, run, module.model.to(trainer.strategy.root_device), validation, machine)
        _finish(log, run, validation)
    return log


def _take(lock, log: RunLog) -> None:
    """Wait up to ten seconds for a killed sweep's last worker to leave the folder."""
    for _ in range(50):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.2)
    raise ValueError(f"{log.folder} is being trained by another process: wait for it, or stop it")


def _start_rows(log: RunLog, run: RunSpec, trunk: Path) -> Path | None:
    """The checkpoint to start from, its own or the trunk's furthest one, with `train.jsonl` cut or copied to match."""
    if log.checkpoint.exists():
        log.keep("train", read_checkpoint(log.checkpoint)["global_step"])
        return log.checkpoint
    log.keep("train", 0)
    if run.train.schedule == "wsd" and trunk.exists():
        stable = run.train.steps - run.train.decay_steps
        usable = [path for path in sorted(trunk.glob("step-*.ckpt")) if int(path.stem.split("-")[1]) <= stable]
        if usable:
            log.copy_rows("train", usable[-1].with_suffix(".jsonl"))
            return usable[-1]
    return None


def _trainer(run: RunSpec, machine: Machine, recorder: lightning.Callback) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=machine.accelerator,
        devices=1,
        precision=run.train.precision,
        max_steps=run.train.steps,
        max_epochs=-1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[recorder],
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],  # one device: SLURM's variables mean nothing to it
        default_root_dir=recorder.runlog.folder,
    )


@torch.inference_mode()
def _validate(log: RunLog, run: RunSpec, model, validation: dict[str, TokenStore], machine: Machine) -> None:
    """One row per store: sums over every token of it, in float64."""
    model.eval()
    rows = []
    for name, store in validation.items():
        store.verify()
        nats = 0.0
        for inputs, targets in validation_batches(store, run.model.context, machine.score_tokens):
            inputs, targets = inputs.to(model.device), targets.to(model.device)
            nats += float(next_token_nats(model, inputs, targets, "none").double().sum())
        row = {"step": run.train.steps, "tokens": run.train.tokens}
        row["flops"] = run.train.tokens * flops_per_token(run.model)["flops_6n"]
        row |= {"store": name, "sum_nats": nats, "num_tokens": store.num_tokens}
        rows.append(row | {"num_units": store.num_units, "seconds": store.seconds})
    log.write("val.jsonl", rows)


def _finish(log: RunLog, run: RunSpec, validation: dict[str, TokenStore]) -> None:
    rows = log.rows("train")
    assert [row["step"] for row in rows] == list(range(1, run.train.steps + 1)), f"{log.folder}: rows are missing"
    start = read_json(log.folder / "env.json")["started_from"]
    log.finish(
        {
            "steps": run.train.steps,
            "tokens": run.train.tokens,
            "flops": rows[-1]["flops"],
            "flops_here": rows[-1]["flops"] - start["flops"],
            "seconds": round(rows[-1]["time"] - start["time"], 3),
            "validation": next(iter(validation)),
        }
    )


def trained_model(log: RunLog, accelerator: str = "cpu"):
    """The `LlamaForCausalLM` of a finished run, in evaluation mode."""
    run = log.spec
    model = build(run.model, run.train.seed)
    state = read_checkpoint(log.checkpoint)["state_dict"]
    model.load_state_dict({name.removeprefix("model."): weight for name, weight in state.items()})
    return model.to("cuda" if accelerator == "gpu" else accelerator).eval()
