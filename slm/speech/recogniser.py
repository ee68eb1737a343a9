"""The model of which a supervised tokenizer is the lower half: it reads characters through a quantiser.

In: log-mels, a recipe. Out: a module with an encoder, a codebook that follows its states, a CTC head and, where the
recipe has one, a decoder; fresh, or with the weights of a Whisper.
B documents, M mels, T frames at 50 Hz, P pooled frames, N live ones of a batch, D width, V codes, S symbols.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from slm.atomic import read_json
from slm.machine import Machine
from slm.spec import EncoderSpec
from slm.speech.codebook import RunningMeans
from slm.speech.hubert import check_revision, checkpoint_folder
from slm.speech.transcriber import Surroundings
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

PLACES_HZ = 50
"""Places for characters under CTC in a second, at every rate of tokens: fast speech has 20 (a choice)."""
_GAIN = 2.0  # of weights that let fresh attention look at neighbours (a choice: 1 takes longer to learn, at `micro`)
_DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8)  # of the CTC head's convolutions: a place sees 30 tokens either side


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
        if told.decoder_layers:
            config = whisper_config(shape)
            self.embedding = nn.Embedding(1 + len(symbols), shape.width)
            self.decoder = nn.ModuleList(WhisperDecoderLayer(config, layer) for layer in range(told.decoder_layers))
            self.decoder_norm = nn.LayerNorm(shape.width)

    def quantised(
        self, states: torch.Tensor, inside: torch.Tensor, counts: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States (B, P, D) by their codes, with the states' gradient, and their mean squared distance where live.

        In training the codes follow the states, unless these do not count.
        """
        vectors = states[inside]  # (N, D)
        if self.training:
            self.means.update(vectors if counts else vectors[:0])
        codes = self.means.codes[self.means.nearest(vectors)]
        found = torch.zeros_like(states)
        found[inside] = vectors + (codes - vectors).detach()
        return found, functional.mse_loss(vectors, codes)

    def heard(self, states: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Output (B, P, D) of the layers above the quantiser, and CTC's log-probabilities (B, places P, S)."""
        above = self.encoder.after(states, inside)
        hidden = above
        for block in self.around:
            hidden = block(hidden, inside[..., None])
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
    def read(self, sounds: list[np.ndarray]) -> tuple[list[str], np.ndarray]:
        """Texts of log-mels (2 T, M) by CTC's best symbol of each place, without the decoder; uses of codes (V,)."""
        texts, used = [], np.zeros(len(self.means.codes), np.int64)
        for sound in sounds:  # one at a time: none depends on the others
            mels, counts = padded_log_mels([sound])
            states, inside = self.encoder.before(
                mels.to(self.ctc[1].weight.device), counts.to(self.ctc[1].weight.device)
            )
            used += np.bincount(self.means.nearest(states[inside]).cpu().numpy(), minlength=len(used))
            _, scores = self.heard(self.quantised(states, inside)[0], inside)
            best = torch.unique_consecutive(scores[0].argmax(dim=-1)).tolist()
            texts.append(" ".join("".join(self.symbols[symbol - 1] for symbol in best if symbol).split()))
        return texts, used


def mels_of(spec: EncoderSpec, machine: Machine) -> int:
    """Log-mel bins that a tokenizer reads: those of the checkpoint that it starts from, or 80."""
    if spec.supervised.start is None:
        return 80
    return int(read_json(checkpoint_folder(_started(spec), machine) / "config.json")["num_mel_bins"])


def _started(spec: EncoderSpec) -> EncoderSpec:
    start = spec.supervised.start
    return replace(spec, checkpoint=start.checkpoint, revision=start.revision, supervised=None)


def begin(made: Recogniser, spec: EncoderSpec, machine: Machine) -> None:
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
