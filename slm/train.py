"""RunSpec and Machine to a finished run folder.

In: a recipe, the opened stores it trains on, where to run. Out: `train.jsonl`, `val.jsonl`, a checkpoint, `done.json`.
Kill it anywhere: the next call continues, and the rows and weights equal those of an undisturbed run bit for bit on
CPU. Under wsd, runs that differ only in their token count share the constant-rate part (the trunk).
"""

import fcntl
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from slm.atomic import read_json, read_jsonl
from slm.batches import IGNORED, MicroBatches, Share, TrainingData, Updates, validation_batches
from slm.checkpoint import AtomicCheckpointIO, read_checkpoint, verify
from slm.execution import Execution, cluster_environment, lightning_strategy, rank, resolve
from slm.flops import flops_per_token, params_total
from slm.loss import next_token_nats
from slm.machine import CPU, Machine
from slm.model import build, skeleton
from slm.pretrained import ends, whole_model
from slm.recorder import STAY, Recorder, Wish
from slm.runlog import RunLog
from slm.spec import Published, RunSpec, TrainConfig
from slm.store import TokenStore
from slm.windows import restored

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
    """Next-token prediction: mean cross-entropy in nats over all targets of a batch.

    Where some tokens are not predicted, the sum over targets divided by all positions: every target weighs the same in
    every update, on any devices and in any micro-batch, and an update with few targets moves the weights little.
    """

    def __init__(self, run: RunSpec, execution: Execution, model) -> None:
        super().__init__()
        self.run, self.execution, self.model = run, execution, model
        self.is_masked = any(source.loss != "all" for source in run.mix)
        self.nats: list[torch.Tensor] = []
        self.grad_norm = torch.zeros(())

    def configure_model(self) -> None:
        """Compile, and under fsdp2 shard block by block; once, before the optimizer sees the weights."""
        for block in _blocks(self.model) if self.execution.compile else ():
            block.compile(dynamic=False)
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            mesh = self.device_mesh["data_parallel"]
            for block in _blocks(self.model):
                fully_shard(block, mesh=mesh)
            fully_shard(self.model, mesh=mesh)
            self.model.nats = lambda *given: next_token_nats(self.model, *given)
            register_fsdp_forward_method(self.model, "nats")

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        nats = getattr(self.model, "nats", None)  # where weights are sharded, fsdp2 gathers them around this method
        ids = restored(batch) if self.is_masked else batch  # (B, T + 1)
        targets = ids.where(batch >= 0, IGNORED) if self.is_masked else ids
        given = ids[:, :-1], targets[:, 1:], "sum" if self.is_masked else "mean"
        loss = nats(*given) if nats else next_token_nats(self.model, *given)
        if not self.is_masked:
            self.nats.append(loss.detach())
            return loss
        self.nats.append(torch.stack([loss.detach(), (given[1] != IGNORED).sum().to(loss.dtype)]))
        return loss / given[1].numel()

    def taken_nats(self) -> torch.Tensor:
        """Of the micro-batches since the last call, on the device: mean loss (1,), or nats and targets (2,)."""
        taken, self.nats = self.nats, []
        if self.is_masked:
            return torch.stack(taken).sum(0)
        return (torch.stack(taken).mean() if len(taken) > 1 else taken[0])[None]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; weight decay on matrices only, as in the released code of Cuervo & Marxer 2024."""
        train, weights = self.run.train, list(self.model.parameters())
        self.weights = weights  # to list them anew for every update takes longer than to clip them
        groups = [
            {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": train.weight_decay},
            {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=train.learning_rate, betas=(train.beta1, train.beta2), fused=True)

    def on_train_batch_start(self, batch: torch.Tensor, batch_idx: int) -> None:
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = learning_rate(self.run.train, self.trainer.global_step)

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.run.train.clip)
        self.grad_norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """With the recipe, the model's config, and moments numbered as the model orders its weights.

        PyTorch numbers them as the optimizer's groups do; fsdp2 reads and writes the model's order, so that a run of
        either can be continued by the other.
        """
        if not isinstance(self.trainer.strategy, ModelParallelStrategy):
            checkpoint["optimizer_states"] = [self._in_model_order(checkpoint["optimizer_states"][0])]
        checkpoint["recipe"] = {"run": self.run.fingerprint, "trunk": self.run.trunk}
        checkpoint["model_config"] = json.loads(self.model.config.to_json_string(use_diff=False))

    def _in_model_order(self, state: dict) -> dict:
        order = {id(weight): i for i, weight in enumerate(self.model.parameters())}
        ids = [order[id(weight)] for group in self.trainer.optimizers[0].param_groups for weight in group["params"]]
        groups = [group | {"params": [ids[k] for k in group["params"]]} for group in state["param_groups"]]
        return {"state": {ids[k]: moments for k, moments in state["state"].items()}, "param_groups": groups}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Lightning counts micro-batches, of which another execution may have more or fewer to an update."""
        batches = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        counters = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counted in ("total", "current"):
            counters[counted] = {key: batches for key in counters[counted]}


def _blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of a decoder: the longest list of modules in it."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return list(max(lists, key=len))


def train(
    run: RunSpec,
    stores: list[TokenStore],
    validation: dict[str, TokenStore],
    runs_root: Path,
    machine: Machine,
    environment: dict,
    report: Callable[[float], None] = lambda flops: None,
    wish: Wish = STAY,
) -> RunLog:
    """Train a run to its end, or do nothing if it is done.

    `stores` are those of `run.mix`, in its order; the first entry of `validation` is the run's own held-out store,
    whose loss is *the* loss of the run. `environment` is stored as `env.json`; `report` is told the FLOPs of every
    update, shared ones included. `ValueError` if the folder holds another recipe, or another process trains there;
    `Leave`, with the state saved, soon after `wish` asks for it. Several devices call this once each.
    """
    first = rank(machine) == 0
    log = RunLog.open(runs_root, run)
    with _taken(log) if first else nullcontext():  # the first process holds the folder for all
        if log.is_done:
            return log
        if first:
            (log.folder / "error.json").unlink(missing_ok=True)
        for source, store in zip(run.mix, stores, strict=True):
            store.check_spec(source.store)
            if first:
                store.verify()
        trunk = Path(runs_root) / ".trunks" / run.trunk
        start, done = _start(log, run, trunk, first)
        updates = Updates(run, stores)
        execution = _execution(log, run, machine, environment, start, done, first)
        torch.set_num_threads(execution.threads)
        report(done["flops"])
        loggers = _loggers(log, machine, first)
        recorder = Recorder(log, run, updates, execution, machine, trunk, report, wish, loggers, done["time"])
        model = skeleton(run, read_checkpoint(start, mmap=True)) if start else build(run, machine.models, runs_root)
        module = LanguageModel(run, execution, model)
        _fit(module, updates, recorder, execution, machine, start)
        if first:
            validate(log, validation, machine)
            _finish(log, run, updates, validation)
    return log


class Taken(ValueError):
    """Another process trains in the folder."""


@contextmanager
def _taken(log: RunLog) -> Iterator[None]:
    """Hold the folder; wait a while for a killed worker to leave it, longer for the lock of a node that is gone."""
    seconds = 150 if "SLURM_JOB_ID" in os.environ else 10
    with open(log.folder / ".lock", "w") as lock:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"{log.folder} is being trained by another process: wait for it, or stop it"
                    raise Taken(message) from None
                time.sleep(0.2)
            except OSError as error:
                raise ValueError(
                    f"{log.folder}: this file system cannot lock files ({error.strerror}): have it mounted with locks "
                    f"(Lustre: -o flock), or choose another SLM_ROOT"
                ) from None
        yield


def _start(log: RunLog, run: RunSpec, trunk: Path, first: bool) -> tuple[Path | None, dict]:
    """The checkpoint to start from, the run's own or the trunk's furthest one, and the last row before it.

    The first process cuts or copies `train.jsonl` to match; `ValueError` if the checkpoint is of another recipe.
    """
    start, rows = None, []
    if log.checkpoint.exists():
        start, rows = log.checkpoint, log.rows("train")
    elif run.train.schedule == "wsd":
        stable = run.train.steps - run.train.decay_steps
        usable = [path for path in sorted(trunk.glob("step-*.ckpt")) if int(path.stem.split("-")[1]) <= stable]
        if usable:
            start, rows = usable[-1], read_jsonl(usable[-1].with_suffix(".jsonl"))
    step = 0
    if start:
        if first:
            verify(start)
        header = read_checkpoint(start, mmap=True)
        own, step = start == log.checkpoint, header["global_step"]
        if header.get("recipe", {}).get("run" if own else "trunk") != (run.fingerprint if own else run.trunk):
            raise ValueError(f"{start} is a checkpoint of another recipe: delete it and train again")
    rows = [row for row in rows if row["step"] <= step]
    if len(rows) != step:
        raise ValueError(f"{log.folder / 'train.jsonl'} lacks rows before step {step}: delete the folder, train anew")
    if first:
        log.write("train.jsonl", rows)
    return start, rows[-1] if rows else {"step": 0, "flops": 0.0, "time": 0.0}


def _execution(
    log: RunLog, run: RunSpec, machine: Machine, environment: dict, start: Path | None, done: dict, first: bool
) -> Execution:
    """The execution of this start; `env.json` gets a line for each that differs from the one before, trunk included."""
    path = log.folder / "env.json"
    known = read_json(path) if path.exists() else None
    lines = known["executions"] if known else []
    if start and start != log.checkpoint:
        lines = read_json(start.with_suffix(".json"))  # of the run that left this state of the trunk
    earlier = {k: v for k, v in lines[-1].items() if k != "from_step"} if lines else None
    execution = resolve(run, machine, earlier)
    if asdict(execution) != earlier:
        lines = lines + [{"from_step": done["step"]} | asdict(execution)]
    if first and (known is None or lines != known["executions"]):
        begun = known or environment | {"started_from": {key: done[key] for key in ("step", "flops", "time")}}
        log.write("env.json", begun | {"executions": lines})
    return execution


def _loggers(log: RunLog, machine: Machine, first: bool) -> list:
    """Loggers that the machine wants beside the JSON lines, of the first process."""
    made = {
        "tensorboard": lambda: TensorBoardLogger(log.folder, name="tensorboard", version=""),
        "wandb": lambda: WandbLogger(save_dir=log.folder, name=log.spec.name, id=log.spec.fingerprint, resume="allow"),
    }
    unknown = set(machine.loggers) - set(made)
    if unknown:
        raise ValueError(f"no logger {sorted(unknown)}: choose from {', '.join(made)}")
    try:
        return [made[name]() for name in machine.loggers] if first else []
    except ModuleNotFoundError as error:
        raise ValueError(
            f"a logger is not installed ({error}): pip install 'slm[tensorboard]' or 'slm[wandb]'"
        ) from None


def _fit(
    module: LanguageModel, updates: Updates, recorder: Recorder, execution: Execution, machine: Machine, start
) -> None:
    share = Share(rank=rank(machine), world=execution.devices, micro_batch=execution.micro_batch)
    batches = MicroBatches(updates, share)
    trainer = lightning.Trainer(
        accelerator=machine.accelerator,
        strategy=lightning_strategy(execution, machine),
        devices=machine.devices,
        num_nodes=machine.nodes,
        precision=module.run.train.precision,
        max_steps=module.run.train.steps,
        max_epochs=-1,
        accumulate_grad_batches=batches.per_update,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[recorder],
        plugins=[AtomicCheckpointIO(), cluster_environment(execution.devices)],
        default_root_dir=recorder.runlog.folder,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice on loader workers and on mid-epoch resuming
            trainer.fit(module, TrainingData(batches, prefetch=execution.device not in ("cpu", "mps")), ckpt_path=start)
    finally:
        for logger in recorder.loggers:
            logger.finalize("success")
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()  # or the next run of this process would log into this one


@torch.inference_mode()
def validate(log: RunLog, validation: dict[str, TokenStore], machine: Machine) -> None:
    """Write rows of `val.jsonl`, one per store: sums over all tokens, in float64, under the weights that were saved.

    Windows are as long as the model's context. A published model is given its own end of a document for the store's.
    Where no source of the run predicts all tokens, a store with parts is measured on those that some source predicts:
    `sum_nats` and `num_tokens` are of these, `num_units` and `seconds` of all of the store.
    """
    run, model, rows = log.spec, trained_model(log, machine), []
    losses = frozenset(source.loss for source in run.mix)
    end = ends(run, machine.models)[1] if isinstance(run.train, Published) else None
    for name, store in validation.items():
        store.verify()
        nats, counted = torch.zeros((), dtype=torch.float64), 0
        masks = losses if "parts.bin" in store.manifest["files"] and "all" not in losses else frozenset()
        for inputs, targets in validation_batches(store, run.model.context, machine.tokens_at_once, end, masks):
            counted += int((targets != IGNORED).sum())
            inputs, targets = inputs.to(model.device), targets.to(model.device)
            nats += next_token_nats(model, inputs, targets, "none").cpu().double().sum()
        row = {"step": run.train.steps, "tokens": run.train.tokens}
        row["flops"] = run.train.tokens * flops_per_token(run.model)["flops_6n"]
        row |= {"store": name, "sum_nats": float(nats), "num_tokens": counted}
        rows.append(row | {"num_units": store.num_units, "seconds": store.seconds})
    log.write("val.jsonl", [row for row in log.rows("val") if row["store"] not in validation] + rows)


def _finish(log: RunLog, run: RunSpec, updates: Updates, validation: dict[str, TokenStore]) -> None:
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
            "sources": updates.usage(),
            "validation": next(iter(validation)),
        }
    )


def trained_model(log: RunLog, machine: Machine = CPU):
    """The model of a finished run, in evaluation mode, on the machine's device."""
    run = log.spec
    if isinstance(run.train, Published):
        model = whole_model(run.init, machine.models)
        counted = sum(weight.numel() for weight in model.parameters())
        assert counted == params_total(run.model), f"{counted} parameters, {log.folder} says {params_total(run.model)}"
    else:
        saved = read_checkpoint(log.checkpoint)
        verify(log.checkpoint)
        model = skeleton(run, saved)
        model.load_state_dict({name.removeprefix("model."): weight for name, weight in saved["state_dict"].items()})
    return model.to(machine.place()).eval()
