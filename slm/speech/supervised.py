"""How a supervised speech tokenizer is learnt: by transcribing, through its quantiser; and what it reports.

In: log-mels and texts of documents, in shards on disk. Out: a folder with weights and a `recipe.json` that tells the
error rates of held-out documents, the use of the codes and the losses on the way. A kill costs at most a hundredth of
the updates. B documents, M mels, T frames at 50 Hz, V codes.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Event, Thread

import lightning
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from safetensors.torch import save
from torch.multiprocessing import get_context
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from slm.atomic import write_bytes, write_json
from slm.checkpoint import AtomicCheckpointIO, read_checkpoint, verify
from slm.machine import Machine
from slm.spec import EncoderSpec, SupervisedSpec, to_json
from slm.speech.recogniser import PLACES_HZ, Recogniser, begin
from slm.speech.transcriber import batches_to_learn, error_rates
from slm.speech.whisper_vq import FRAME_HZ, padded_log_mels, shape_of
from slm.store import checksum

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no banner per training

HELD_OUT_DOCUMENTS = 50
"""At the end of the corpus, at most a fifth of it, whose error rates are told (a choice)."""
_COLLAPSED = 0.1  # of the codes: a lower perplexity is warned of (a choice)
_UNQUANTISED = 0.2  # of the updates come before the quantiser: codes start at states that mean something (a choice)
_WARM_UP = 0.1  # of the updates; then the rate falls as a cosine
_CLIP = 1.0  # largest norm of the gradient
_SORTED = 16  # batches' worth of documents that are sorted by length, so that batches hold equal ones
_SUMMARY = 20  # parts of the training whose mean losses are told
_SAVES = 100  # times that the state is saved
_STATE = "under-way.ckpt"


@dataclass(frozen=True, kw_only=True)
class OnDisk:
    """Rows [first, last) of an array (T, M) in a file, opened where it is read; other processes get the name alone."""

    path: Path
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), _opened(self.path).shape[1]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(_opened(self.path)[self.first : self.last], dtype, copy=copy)


@lru_cache(maxsize=256)
def _opened(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A document to learn from."""

    log_mels: np.ndarray | OnDisk
    """(2 T, M), as `slm.speech.whisper_vq.own_log_mels`; may be in float16."""
    text: str
    """As `slm.speech.transcriber.plain_text`."""


class _Learning(lightning.LightningModule):
    """Decoder's cross-entropy, weighted CTC and commitment losses; AdamW. `made` counts updates for other processes."""

    def __init__(self, model: Recogniser, told: SupervisedSpec, made) -> None:
        super().__init__()
        self.model, self.told, self.made = model, told, made
        self.losses: list[list[float]] = []
        self.seconds, self.begun = 0.0, time.monotonic()

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        model, told = self.model, self.told
        mels, counts, texts, lengths, weights = batch
        states, inside = model.encoder.before(mels, counts)
        commitment = states.new_zeros(())
        if self.global_step >= round(_UNQUANTISED * told.updates):
            states, commitment = model.quantised(states, inside, counts=bool(weights.any()))
        above, scores = model.heard(states, inside)
        nats = model.decoder_nats(above, inside, texts) if told.decoder_layers else states.new_zeros(())
        places = inside.sum(dim=1) * model.places
        ctc = functional.ctc_loss(scores.transpose(0, 1), texts.clamp(min=0), places, lengths)
        shares = torch.stack([nats, ctc, commitment]) * weights
        self.losses.append(self.trainer.strategy.reduce(shares.detach(), reduce_op="mean").tolist())
        self.made.value = len(self.losses)
        return shares[0] + told.ctc * shares[1] + told.commitment * shares[2]

    def configure_optimizers(self) -> dict:
        rate = self.told.learning_rate
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=self.told.updates + 1, pct_start=_WARM_UP, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["losses"] = self.losses
        checkpoint["seconds"] = self.seconds + time.monotonic() - self.begun

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.losses, self.seconds = checkpoint["losses"], checkpoint["seconds"]


class _Saves(lightning.Callback):
    """Saves the state after every hundredth of the updates, and after the last."""

    def __init__(self, path: Path, updates: int) -> None:
        self.path, self.updates, self.every = path, updates, max(1, updates // _SAVES)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == self.updates:
            trainer.save_checkpoint(self.path)


def learn_tokenizer(
    folder: Path,
    documents: list[Heard],
    spec: EncoderSpec,
    machine: Machine,
    report: Callable[[int], None] = lambda updates: None,
) -> None:
    """Learn a tokenizer and write it into `folder`; `recipe.json` is written last, with the weights' SHA-256.

    On a CPU the same documents and recipe give the same weights, killed and continued or not: one thread is used.
    Several devices share every batch by documents, and learn the same but for the last bits. The last documents are
    held out (`HELD_OUT_DOCUMENTS`). Documents longer than what is read at once, without text, or with more characters
    than CTC has places, are left out and counted. `report` is told the updates made, about once a second.
    `ValueError` where nothing is left to learn from or to hold out.
    """
    told = spec.supervised
    if told.ctc <= 0:
        raise ValueError(f"a CTC loss of weight {told.ctc}: held-out speech is read by CTC, give it some weight")
    kept, held_out = _parted(documents, spec)
    symbols = "".join(sorted(set("".join(each.text for each in kept))))
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(told.seed)
        torch.set_num_threads(1)
        try:
            model = Recogniser(spec, symbols, kept[0].log_mels.shape[1])
            begin(model, spec, machine)
            losses = _learn(model, kept, told, machine, folder / _STATE, report)
            found = _reported(model.to(machine.place()).eval(), held_out)
        finally:
            torch.set_num_threads(threads)
    counts = {"learnt_documents": len(kept), "unfit_documents": len(documents) - len(kept) - len(held_out)}
    counts["learnt_seconds"] = sum(len(each.log_mels) for each in kept) / 100
    weights = {name: weight.cpu().contiguous() for name, weight in model.state_dict().items()}
    write_bytes(folder / "model.safetensors", save(weights))
    identity = {"encoder": to_json(spec), "symbols": symbols, "sha256": checksum(folder / "model.safetensors")}
    write_json(folder / "recipe.json", identity | counts | found | losses)
    (folder / _STATE).unlink()


def _parted(documents: list[Heard], spec: EncoderSpec) -> tuple[list[Heard], list[Heard]]:
    """The documents that fit: those to learn from, and those held out."""
    first = len(documents) - min(HELD_OUT_DOCUMENTS, len(documents) // 5)
    kept, held_out = ([each for each in some if _fits(each, spec)] for some in (documents[:first], documents[first:]))
    if not kept or not held_out:
        raise ValueError(
            f"{len(kept)} of {first} documents fit, and {len(held_out)} of the {len(documents) - first} held out: a "
            f"tokenizer learns from sound of up to 30 s with transcripts; take more, or shorter ones"
        )
    return kept, held_out


def _fits(document: Heard, spec: EncoderSpec) -> bool:
    frames, text = len(document.log_mels) // 2, document.text
    shape = shape_of(spec, document.log_mels.shape[1])
    needed = len(text) + sum(a == b for a, b in zip(text, text[1:], strict=False))
    return 0 < needed <= frames * PLACES_HZ // FRAME_HZ and frames <= shape.positions


def _learn(
    model: Recogniser, documents: list[Heard], told: SupervisedSpec, machine: Machine, state: Path, report: Callable
) -> dict:
    """Run the updates that `state` does not hold yet; their mean losses in parts, and what they took."""
    if state.exists():
        verify(state)
    made = get_context("spawn").Value("q", 0)
    module, several = _Learning(model, told, made), machine.devices > 1
    trainer = lightning.Trainer(
        accelerator=machine.accelerator,
        devices=machine.devices,
        strategy="ddp_spawn" if several else "auto",
        max_steps=told.updates,
        max_epochs=-1,
        gradient_clip_val=_CLIP,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[_Saves(state, told.updates)],
        plugins=[LightningEnvironment(), AtomicCheckpointIO()],
    )
    with warnings.catch_warnings(), _watched(made, report):
        warnings.simplefilter("ignore")  # Lightning's advice on loader workers
        trainer.fit(module, _Documents(documents, model, told), ckpt_path=state if state.exists() else None)
    done = read_checkpoint(state)
    module.load_state_dict(done["state_dict"])
    parts = np.array_split(np.array(done["losses"]), min(_SUMMARY, len(done["losses"])))
    names = ("decoder_nats", "ctc_nats", "commitment")
    told = {"training_seconds": round(done["seconds"], 1)}
    return told | {"losses": [dict(zip(names, part.mean(axis=0).round(5).tolist(), strict=True)) for part in parts]}


@contextmanager
def _watched(made, report: Callable[[int], None]) -> Iterator[None]:
    """Report once a second how many updates are made, be it in this process or in others."""
    ended = Event()

    def watch() -> None:
        while not ended.wait(1.0):
            report(made.value)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Documents(lightning.LightningDataModule):
    """Feeds a `Trainer` from its own `global_step` on, which is what makes resuming exact."""

    def __init__(self, documents: list[Heard], model: Recogniser, told: SupervisedSpec) -> None:
        super().__init__()
        self.documents, self.told, self.symbols = documents, told, model.symbols
        self.pooling = model.encoder.shape.pooling

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        """The share of this device in every batch; see `_Batches`."""
        return torch.utils.data.DataLoader(_Batches(self, self.trainer), batch_size=None)


class _Batches(torch.utils.data.IterableDataset):
    """Documents of like length in batches, epoch after epoch in other orders; every device takes its documents of each.

    A batch is log-mels (B, M, 2 T), frames (B,), characters from 1 on (B, L) padded by -1, their numbers (B,), and the
    share of this device in the characters, documents and tokens of the joined batch, times the devices (3,): 1 alone. A
    device for which no document is left takes one that counts nothing.
    """

    def __init__(self, data: _Documents, trainer: lightning.Trainer) -> None:
        self.documents, self.told, self.pooling = data.documents, data.told, 2 * data.pooling  # log-mels of a token
        self.ids = {symbol: number for number, symbol in enumerate(data.symbols, start=1)}
        self.first, self.rank, self.world = trainer.global_step, trainer.global_rank, trainer.world_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        for update, batch in enumerate(self._rows()):
            if update >= self.first:
                yield self._share([self.documents[row] for row in batch])

    def _rows(self) -> Iterator[list[int]]:
        lengths = [len(document.log_mels) for document in self.documents]
        size = max(1, round(self.told.batch_seconds * 100 / np.mean(lengths)))
        return batches_to_learn(lengths, size, _SORTED, self.told.seed)

    def _share(self, batch: list[Heard]) -> tuple[torch.Tensor, ...]:
        mine = batch[self.rank :: self.world]
        sizes = [np.sum([self._sizes(one) for one in some], axis=0) if some else np.zeros(3) for some in (mine, batch)]
        return *self._joined(mine or batch[:1]), torch.tensor(sizes[0] / sizes[1] * self.world, dtype=torch.float32)

    def _sizes(self, document: Heard) -> tuple[int, int, int]:
        return len(document.text) + 1, 1, -(-len(document.log_mels) // self.pooling)

    def _joined(self, batch: list[Heard]) -> tuple[torch.Tensor, ...]:
        texts = [torch.tensor([self.ids[symbol] for symbol in document.text]) for document in batch]
        lengths = torch.tensor([len(text) for text in texts])
        mels, counts = padded_log_mels([document.log_mels for document in batch])
        return mels, counts, pad_sequence(texts, batch_first=True, padding_value=-1), lengths


def _reported(model: Recogniser, documents: list[Heard]) -> dict:
    """Error rates of held-out documents, and how their tokens use the codes; a codebook that collapsed is warned of."""
    texts, used = model.read([document.log_mels for document in documents])
    rates = error_rates([document.text for document in documents], texts)
    found = {"wer": rates.wer, "cer": rates.cer, "documents": len(documents), "words": rates.words}
    told = {f"held_out_{name}": value for name, value in found.items()}
    perplexity, codes = perplexity_of(used), len(used)
    if perplexity < _COLLAPSED * codes:
        warnings.warn(
            f"the codebook collapsed: perplexity {perplexity:.1f} of {codes} codes; take fewer codes or more updates",
            stacklevel=2,
        )
    told |= {"read_by": "greedy CTC on the layers above the quantiser, without the decoder"}
    return told | {"codes": codes, "codes_used": int((used > 0).sum()), "perplexity": perplexity}


def perplexity_of(counts: np.ndarray) -> float:
    """exp of the entropy of how often codes occur (V,): as many codes, equally used, are as varied."""
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
