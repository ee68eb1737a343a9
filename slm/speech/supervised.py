"""How a supervised speech tokenizer is learnt: by transcribing, through its quantiser; and what it reports.

In: log-mels and texts of documents, in shards on disk. Out: a folder with weights and a `recipe.json` that tells the
error rates of held-out documents, the use of the codes and the losses on the way.
B documents, M mels, T frames at 50 Hz, P pooled frames, N live ones of a batch, D width, V codes, S symbols.
"""

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from slm.atomic import read_json, write_bytes, write_json
from slm.machine import Machine
from slm.spec import EncoderSpec, SupervisedSpec, to_json
from slm.speech.codebook import RunningMeans
from slm.speech.hubert import check_revision, checkpoint_folder
from slm.speech.transcriber import error_rates
from slm.speech.whisper_vq import (
    FRAME_HZ,
    VqEncoder,
    block_causal,
    padded_log_mels,
    shape_of,
    sinusoids,
    whisper_config,
)
from slm.store import checksum

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no banner per training

HELD_OUT_DOCUMENTS = 50
"""At the end of the corpus, at most a fifth of it, whose error rates are told (a choice)."""
PLACES_HZ = 50
"""Places for characters under CTC in a second, at every rate of tokens: fast speech has 20 (a choice)."""
_COLLAPSED = 0.1  # of the codes: a lower perplexity is warned of (a choice)
_UNQUANTISED = 0.2  # of the updates come before the quantiser: codes start at states that mean something (a choice)
_GAIN = 2.0  # of weights that let fresh attention look at neighbours (a choice: 1 takes longer to learn, at `micro`)
_WARM_UP = 0.1  # of the updates; then the rate falls as a cosine
_DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8)  # of the CTC head's convolutions: a place sees 30 tokens either side
_CLIP = 1.0  # largest norm of the gradient
_SORTED = 16  # batches' worth of documents that are sorted by length, so that batches hold equal ones
_SUMMARY = 20  # parts of the training whose mean losses are told


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A document to learn from."""

    log_mels: np.ndarray
    """(2 T, M), as `slm.speech.whisper_vq.own_log_mels`; may lie on disk, and in float16."""
    text: str
    """As `slm.speech.transcriber.plain_text`."""


class Recogniser(nn.Module):
    """A Whisper that reads characters through the quantiser, with a CTC head beside its decoder.

    Character 0 is CTC's blank, and for the decoder the end of a text and what is before it. The decoder's positions are
    sinusoids (a choice: texts in characters are longer than the 448 positions of Whisper's). The CTC head is a stack of
    dilated convolutions (a choice: in short trainings attention finds its neighbours too late).
    """

    def __init__(self, spec: EncoderSpec, symbols: str, mels: int) -> None:
        super().__init__()
        from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer

        told, shape = spec.supervised, shape_of(spec, mels)
        self.symbols, self.places = symbols, PLACES_HZ * shape.pooling // FRAME_HZ
        self.encoder = VqEncoder(shape)
        self.means = RunningMeans(self.encoder.codebook, told.seed)
        self.around = nn.ModuleList(Surroundings(shape.width, dilation) for dilation in _DILATIONS)
        self.ctc = nn.Sequential(nn.LayerNorm(shape.width), nn.Linear(shape.width, self.places * (1 + len(symbols))))
        config = whisper_config(shape)
        self.embedding = nn.Embedding(1 + len(symbols), shape.width)
        self.decoder = nn.ModuleList(WhisperDecoderLayer(config, layer) for layer in range(told.decoder_layers))
        self.decoder_norm = nn.LayerNorm(shape.width)

    def quantised(self, states: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States (B, P, D) by their codes, with the states' gradient, and their mean squared distance where live."""
        vectors = states[inside]  # (N, D)
        if self.training:
            self.means.update(vectors)
        codes = self.means.codes[self.means.nearest(vectors)]
        found = torch.zeros_like(states)
        found[inside] = vectors + (codes - vectors).detach()
        return found, functional.mse_loss(vectors, codes)

    def heard(self, states: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Output (B, P, D) of the layers above the quantiser, and CTC's log-probabilities (B, places P, S)."""
        above = self.encoder.after(states, inside)
        hidden = above
        for block in self.around:
            hidden = block(hidden, inside)
        return above, self.ctc(hidden).view(len(hidden), hidden.shape[1] * self.places, -1).log_softmax(dim=-1)

    def decoder_nats(self, above: torch.Tensor, inside: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Mean nats of the characters of texts (B, L), padded by -1, and of their ends."""
        before, target = functional.pad(texts, (1, 0)), functional.pad(texts, (0, 1), value=-1)  # (B, L + 1)
        ends = (target < 0).int().cumsum(dim=1) == 1
        target = target.masked_fill(ends, 0)
        hidden = self.embedding(before.clamp(min=0)) + sinusoids(before.shape[1], above.shape[2]).to(above.device)
        causal = block_causal(torch.ones_like(before, dtype=torch.bool), 1)
        live = inside[:, None, None, :].expand(-1, -1, before.shape[1], -1)
        for layer in self.decoder:
            found = layer(hidden, attention_mask=causal, encoder_hidden_states=above, encoder_attention_mask=live)
            hidden = found[0] if isinstance(found, tuple) else found
        scores = functional.linear(self.decoder_norm(hidden), self.embedding.weight)  # (B, L + 1, S)
        return functional.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=-1)

    @torch.inference_mode()
    def read(self, documents: list[Heard]) -> tuple[list[str], np.ndarray]:
        """Texts by CTC's best symbol of each place, without the decoder; and how often each code occurs (V,)."""
        texts, used = [], np.zeros(len(self.means.codes), np.int64)
        for document in documents:  # one at a time: none depends on the others
            mels, counts = padded_log_mels([document.log_mels])
            states, inside = self.encoder.before(
                mels.to(self.ctc[1].weight.device), counts.to(self.ctc[1].weight.device)
            )
            used += np.bincount(self.means.nearest(states[inside]).cpu().numpy(), minlength=len(used))
            _, scores = self.heard(self.quantised(states, inside)[0], inside)
            best = torch.unique_consecutive(scores[0].argmax(dim=-1)).tolist()
            texts.append(" ".join("".join(self.symbols[symbol - 1] for symbol in best if symbol).split()))
        return texts, used


class Surroundings(nn.Module):
    """A residual convolution over the pooled frames; what is behind a document's end never reaches it."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.around = nn.Conv1d(width, width, kernel_size=3, dilation=dilation, padding=dilation)

    def forward(self, hidden: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        shown = self.norm(hidden) * inside[..., None]  # (B, P, D)
        return hidden + functional.relu(self.around(shown.transpose(1, 2))).transpose(1, 2)


class _Learning(lightning.LightningModule):
    """Decoder's cross-entropy, weighted CTC and commitment losses; AdamW."""

    def __init__(self, made: Recogniser, told: SupervisedSpec, report: Callable[[int, float], None]) -> None:
        super().__init__()
        self.made, self.told, self.report = made, told, report
        self.losses: list[tuple[float, float, float]] = []

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        made, told = self.made, self.told
        mels, counts, texts, lengths = batch
        states, inside = made.encoder.before(mels, counts)
        commitment = states.new_zeros(())
        if self.global_step >= round(_UNQUANTISED * told.updates):
            states, commitment = made.quantised(states, inside)
        above, scores = made.heard(states, inside)
        nats = made.decoder_nats(above, inside, texts) if told.decoder_layers else states.new_zeros(())
        places = inside.sum(dim=1) * made.places
        ctc = functional.ctc_loss(scores.transpose(0, 1), texts.clamp(min=0), places, lengths)
        self.losses.append((float(nats), float(ctc), float(commitment)))
        self.report(len(self.losses), float(ctc))
        return nats + told.ctc * ctc + told.commitment * commitment

    def configure_optimizers(self) -> dict:
        rate = self.told.learning_rate
        weights = [weight for weight in self.made.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=self.told.updates + 1, pct_start=_WARM_UP, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def learn_tokenizer(
    folder: Path,
    documents: list[Heard],
    spec: EncoderSpec,
    machine: Machine,
    report: Callable[[int, float], None] = lambda updates, loss: None,
) -> None:
    """Learn a tokenizer and write it into `folder`; `recipe.json` is written last, with the weights' SHA-256.

    On a CPU the same documents and recipe give the same weights: one thread is used. The last documents are held out
    (`HELD_OUT_DOCUMENTS`). Documents longer than what is read at once, without text, or with more characters than CTC
    has places, are left out and counted. A kill begins anew. `report` is told the updates made and the last one's CTC
    loss, in nats per character. `ValueError` where nothing is left to learn from or to hold out.
    """
    told = spec.supervised
    if told.ctc <= 0:
        raise ValueError(f"a CTC loss of weight {told.ctc}: held-out speech is read by CTC, give it some weight")
    first = len(documents) - min(HELD_OUT_DOCUMENTS, len(documents) // 5)
    kept, held_out = ([each for each in some if _fits(each, spec)] for some in (documents[:first], documents[first:]))
    if not kept or not held_out:
        raise ValueError(
            f"{len(kept)} of {first} documents fit, and {len(held_out)} of the {len(documents) - first} held out: a "
            f"tokenizer learns from sound of up to 30 s with transcripts; take more, or shorter ones"
        )
    symbols = "".join(sorted(set("".join(each.text for each in kept))))
    begun, threads = time.monotonic(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(told.seed)
        torch.set_num_threads(1)
        try:
            made = Recogniser(spec, symbols, kept[0].log_mels.shape[1])
            _begin(made, spec, machine)
            losses = _learn(made, kept, told, machine, report)
            seconds = time.monotonic() - begun
            found = _reported(made.to(machine.place()).eval(), held_out)
        finally:
            torch.set_num_threads(threads)
    counts = {"learnt_documents": len(kept), "unfit_documents": len(documents) - len(kept) - len(held_out)}
    counts["learnt_seconds"] = sum(len(each.log_mels) for each in kept) / 100
    weights = {name: weight.cpu().contiguous() for name, weight in made.state_dict().items()}
    write_bytes(folder / "model.safetensors", save(weights))
    identity = {"encoder": to_json(spec), "symbols": symbols, "sha256": checksum(folder / "model.safetensors")}
    write_json(folder / "recipe.json", identity | counts | {"training_seconds": round(seconds, 1)} | found | losses)


def _fits(document: Heard, spec: EncoderSpec) -> bool:
    frames, text = len(document.log_mels) // 2, document.text
    shape = shape_of(spec, document.log_mels.shape[1])
    needed = len(text) + sum(a == b for a, b in zip(text, text[1:], strict=False))
    return 0 < needed <= frames * PLACES_HZ // FRAME_HZ and frames <= shape.positions


def mels_of(spec: EncoderSpec, machine: Machine) -> int:
    """Log-mel bins that a tokenizer reads: those of the checkpoint that it starts from, or 80."""
    if spec.supervised.start is None:
        return 80
    return int(read_json(checkpoint_folder(_started(spec), machine) / "config.json")["num_mel_bins"])


def _started(spec: EncoderSpec) -> EncoderSpec:
    start = spec.supervised.start
    return replace(spec, checkpoint=start.checkpoint, revision=start.revision, supervised=None)


def _begin(made: Recogniser, spec: EncoderSpec, machine: Machine) -> None:
    """Fresh attention that begins by looking at neighbours, or the weights of a Whisper."""
    if spec.supervised.start is None:
        for layer in made.encoder.layers:
            _look_around(layer.self_attn)
        return
    folder = checkpoint_folder(_started(spec), machine)
    weights = load_file(folder / "model.safetensors")
    check_revision(_started(spec), folder, folder / "model.safetensors", checksum(folder / "model.safetensors"))
    theirs = {name.removeprefix("model."): weight.float() for name, weight in weights.items()}
    positions, own = theirs["encoder.embed_positions.weight"], made.state_dict()
    theirs |= {"encoder.embed_positions2.weight": positions}
    renamed = (("decoder.layers.", "decoder."), ("decoder.layer_norm.", "decoder_norm."))
    for before, after in renamed:
        theirs |= {name.replace(before, after): w for name, w in theirs.items() if name.startswith(before)}
    fresh = ("encoder.codebook.", "means.", "around.", "ctc.", "embedding.")
    for name in [name for name in own if not name.startswith(fresh)]:
        rows = theirs[name][: len(own[name])] if "positions" in name and name in theirs else theirs.get(name)
        if rows is None or rows.shape != own[name].shape:
            raise ValueError(
                f"{folder}: {name} is {'missing' if rows is None else tuple(rows.shape)}, the recipe wants "
                f"{tuple(own[name].shape)}: give width, heads, hidden and at most the layers of the checkpoint"
            )
        own[name].copy_(rows)


@torch.no_grad()
def _look_around(attention: nn.Module) -> None:
    """Let each head's scores peak at a neighbour: heads share out the odd offsets around 0 (a choice).

    Positions are pairs sin(wt), cos(wt). A head's keys take some pairs, its queries the same ones turned by the angle
    w d, so that their product, a sum of cos(w (t + d - s)), is largest at s = t + d. Without it short trainings spend
    most of their updates on finding out where the neighbours are.
    """
    width, heads = attention.embed_dim, attention.num_heads
    half, pairs = width // 2, width // heads // 2
    chosen = torch.arange(pairs) * min(half, 2 * pairs) // pairs  # frequencies
    rates = torch.exp(-math.log(10000) / (half - 1) * chosen)
    even, odd = 2 * torch.arange(pairs), 2 * torch.arange(pairs) + 1
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.mul_(0.5)
    for head in range(heads):
        queries, keys = (
            p.weight[2 * pairs * head : 2 * pairs * (head + 1)] for p in (attention.q_proj, attention.k_proj)
        )
        angles = rates * (2 * head - heads + 1)
        keys[even, chosen] += _GAIN
        keys[odd, half + chosen] += _GAIN
        queries[even, chosen] += _GAIN * angles.cos()
        queries[even, half + chosen] += _GAIN * angles.sin()
        queries[odd, half + chosen] += _GAIN * angles.cos()
        queries[odd, chosen] -= _GAIN * angles.sin()


def _learn(
    made: Recogniser, documents: list[Heard], told: SupervisedSpec, machine: Machine, report: Callable
) -> dict[str, list]:
    """Run the updates; their mean losses in parts."""
    module = _Learning(made, told, report)
    trainer = lightning.Trainer(
        accelerator=machine.accelerator,
        devices=1,
        max_steps=told.updates,
        max_epochs=-1,
        gradient_clip_val=_CLIP,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[LightningEnvironment()],
    )
    batches = torch.utils.data.DataLoader(_Batches(documents, made.symbols, told), batch_size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on loader workers
        trainer.fit(module, batches)
    parts = np.array_split(np.array(module.losses), min(_SUMMARY, told.updates))
    names = ("decoder_nats", "ctc_nats", "commitment")
    return {"losses": [dict(zip(names, part.mean(axis=0).round(5).tolist(), strict=True)) for part in parts]}


class _Batches(torch.utils.data.IterableDataset):
    """Documents of like length in batches, epoch after epoch in other orders.

    A batch is log-mels (B, M, 2 T), frames (B,), characters from 1 on (B, L) padded by -1, and their numbers (B,).
    """

    def __init__(self, documents: list[Heard], symbols: str, told: SupervisedSpec) -> None:
        self.documents, self.told = documents, told
        self.ids = {symbol: number for number, symbol in enumerate(symbols, start=1)}

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        lengths = [len(document.log_mels) for document in self.documents]
        size = max(1, round(self.told.batch_seconds * 100 / np.mean(lengths)))
        random = np.random.default_rng(self.told.seed)
        while True:
            order = random.permutation(len(lengths)).tolist()
            pools = [order[i : i + _SORTED * size] for i in range(0, len(order), _SORTED * size)]
            sorted_ = [sorted(pool, key=lambda row: lengths[row]) for pool in pools]
            batches = [pool[i : i + size] for pool in sorted_ for i in range(0, len(pool), size)]
            for batch in random.permutation(len(batches)).tolist():
                yield self._joined([self.documents[row] for row in batches[batch]])

    def _joined(self, batch: list[Heard]) -> tuple[torch.Tensor, ...]:
        texts = [torch.tensor([self.ids[symbol] for symbol in document.text]) for document in batch]
        lengths = torch.tensor([len(text) for text in texts])
        mels, counts = padded_log_mels([document.log_mels for document in batch])
        return mels, counts, pad_sequence(texts, batch_first=True, padding_value=-1), lengths


def _reported(made: Recogniser, documents: list[Heard]) -> dict:
    """Error rates of held-out documents, and how their tokens use the codes; a codebook that collapsed is warned of."""
    texts, used = made.read(documents)
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
