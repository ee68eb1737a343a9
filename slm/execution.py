"""How a run is executed on a machine: resolved once, kept in `env.json`, reused when the run continues.

In: a recipe, a `Machine`, what an earlier start resolved. Out: an `Execution` and Lightning's pieces for it. The same
execution gives the same numbers bit for bit on a CPU; another one keeps the data order and the global batch.
"""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy, Strategy

from slm.flops import training_flops
from slm.machine import Machine
from slm.memory import windows_that_fit
from slm.peaks import peak_flops
from slm.spec import RunSpec

COMPILE_FLOPS = 1e17
"""Runs of fewer FLOPs are not compiled: they end within minutes on a GPU, and compiling takes one (a choice)."""
MEMORY_SHARE = 0.8
"""Of a device's memory that the estimate of a step may fill; it is good to 15 % (tests/benchmarks/bench_memory.py)."""
IDLE = timedelta(hours=6)
"""How long other devices wait for the first one, which measures validation losses alone."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What may change the last bits of a run, or its speed."""

    device: str
    """The accelerator's own name, `cpu` for a processor."""
    devices: int
    """All devices that train the run together."""
    strategy: str
    sharing: int
    """Runs that share a device."""
    threads: int
    micro_batch: int
    """Windows that a device holds at once."""
    compile: bool

    @property
    def world(self) -> tuple:
        """An execution resolved for another one of these is resolved anew."""
        return self.device, self.devices, self.strategy, self.sharing


def resolve(run: RunSpec, machine: Machine, earlier: dict | None) -> Execution:
    """The execution of a run here; settings that a start of it resolved for the same devices stay, unless asked."""
    device, devices = device_name(machine), machine.devices * machine.nodes
    strategy = machine.strategy if devices > 1 else "single"
    if machine.strategy not in ("ddp", "fsdp2"):
        raise ValueError(f"strategy {machine.strategy!r}: choose ddp or fsdp2")
    sharing = -(-machine.processes // torch.cuda.device_count()) if device not in ("cpu", "mps") else 1
    kept = Execution(**earlier) if earlier else None
    if kept and kept.world != (device, devices, strategy, sharing):
        kept = None
    micro_batch = machine.micro_batch or (kept and kept.micro_batch)
    long_enough = device != "cpu" and training_flops(run.model, run.train.tokens)["flops_6n"] >= COMPILE_FLOPS
    return Execution(
        device=device,
        devices=devices,
        strategy=strategy,
        sharing=sharing,
        threads=machine.threads or (kept.threads if kept else 1),
        micro_batch=micro_batch or _micro_batch(run, machine, devices, device, sharing),
        compile=machine.compile if machine.compile is not None else kept.compile if kept else long_enough,
    )


def device_name(machine: Machine) -> str:
    """`cpu`, `mps`, or the name that the driver gives to the GPU."""
    device = machine.device()
    return torch.cuda.get_device_name(machine.gpu) if device == "cuda" else device


def _micro_batch(run: RunSpec, machine: Machine, devices: int, device: str, sharing: int) -> int:
    """The most windows that fit into a device's memory; all of its rows on a CPU, where memory is the user's."""
    rows, left = divmod(run.train.batch_tokens // run.model.context, devices)
    if left:
        raise ValueError(
            f"run {run.name}: an update of {run.train.batch_tokens // run.model.context} windows cannot be shared by "
            f"{devices} devices: choose a number that divides it"
        )
    if device in ("cpu", "mps"):
        return rows
    memory = torch.cuda.get_device_properties(machine.gpu).total_memory * MEMORY_SHARE / sharing
    shards = devices if machine.strategy == "fsdp2" else 1
    return windows_that_fit(run.model, rows, run.train.precision, memory, shards)


def peak_of(execution: Execution, precision: str) -> float | None:
    """Peak FLOP/s of all devices of an execution together; None where it is not known."""
    peak = peak_flops(None if execution.device in ("cpu", "mps") else execution.device, precision)
    return peak * execution.devices if peak else None


def lightning_strategy(execution: Execution, machine: Machine) -> Strategy:
    """Lightning's strategy; each process of several devices was started by `srun` or `torchrun`."""
    if execution.devices == 1:
        device = machine.device()
        return SingleDeviceStrategy(torch.device(device, machine.gpu) if device == "cuda" else torch.device(device))
    if execution.strategy == "fsdp2":
        return ModelParallelStrategy(
            data_parallel_size=execution.devices,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            timeout=IDLE,
        )
    return DDPStrategy(gradient_as_bucket_view=True, timeout=IDLE)


def cluster_environment(devices: int) -> ClusterEnvironment:
    """How the processes of several devices find each other; `ValueError` where nothing started them.

    One device is one process, to which SLURM's variables mean nothing. On SLURM, requeueing is this suite's business.
    """
    if devices == 1:
        return LightningEnvironment()
    if os.environ.get("SLURM_NTASKS") == str(devices) and "SLURM_PROCID" in os.environ:
        return SLURMEnvironment(auto_requeue=False)
    if TorchElasticEnvironment.detect() and os.environ["WORLD_SIZE"] == str(devices):
        return TorchElasticEnvironment()
    raise ValueError(
        f"{devices} devices need a process each: use `python -m experiments launch` on SLURM, or start the command "
        f"with `torchrun --nproc-per-node {devices} -m experiments train …`"
    )


def rank(machine: Machine) -> int:
    """This process's place among those that train a run together."""
    devices = machine.devices * machine.nodes
    return cluster_environment(devices).global_rank() if devices > 1 else 0
