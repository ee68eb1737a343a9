"""Hidden states of HuBERT, wav2vec2 and WavLM checkpoints of transformers, as frames of speech.

In: 16 kHz waveforms and a checkpoint on disk. Out: one layer's hidden states, the same in any batch: whatever mixes
over time without a mask runs on each waveform alone, the transformer runs on padded batches under a mask.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pad_sequence

from slm.machine import Machine
from slm.spec import EncoderSpec
from slm.speech.encoder import how_to_download, hub_revision
from slm.speech.windows import FrameGrid, encode_in_windows
from slm.store import checksum

_FAMILIES = ("hubert", "wav2vec2", "wavlm")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # transformers takes the first that is there
_VARIANCE_FLOOR = 1e-7  # that transformers' Wav2Vec2FeatureExtractor adds to the variance
_BATCH_SECONDS = 240.0  # padded, of one batch on a GPU: bounds memory (a choice; not measured)
_BATCH_SECONDS_CPU = 6.0  # on 2 cores 1.4 s long sounds gain a fifth over one at a time, 12 s ones lose 1 % at 20 s
_VERSION = 1  # of this file: part of the fingerprint


class Hubert:
    """An encoder of `slm.speech.encoder` whose frames are `hidden_states[layer]` of a transformers checkpoint.

    Layer 0 is the input of the first transformer layer, l the output of layer l. Layers above are not computed. The
    last layer of a model with `do_stable_layer_norm` is read before the final norm, as transformers 5 and fairseq do
    (transformers 4.57 gives it after). Weights are float32; on CUDA the transformer layers compute in bfloat16, while
    the convolutions, which read 16 bits, do not.

    Group norm in the first convolution and the positional convolution would see padding, so both run on one waveform
    at a time: that is exact, wastes nothing on padding and bounds the largest activations. How long
    sound is cut and joined, `slm.speech.windows` says.
    """

    def __init__(self, spec: EncoderSpec, machine: Machine) -> None:
        """`ValueError` when the checkpoint is missing, is not the one of the recipe, or is not whole."""
        folder = checkpoint_folder(spec, machine)
        weights = _weights(folder)
        digest = checksum(weights)
        check_revision(spec, folder, weights, digest)
        family = _family(folder)
        model = _load(folder)
        config, layer = model.config, spec.layer
        if layer is None or not 0 <= layer <= config.num_hidden_layers:
            raise ValueError(f"{spec.checkpoint}: no hidden state {layer}, choose 0 to {config.num_hidden_layers}")
        self._device = torch.device(machine.device())
        self._normalise = spec.normalise
        self._grid = FrameGrid.of(config.conv_kernel, config.conv_stride)
        self._width = config.hidden_size
        self.rate_hz = self._grid.rate_hz
        precision = "bf16" if self._device.type == "cuda" else "f32"
        self.fingerprint = "-".join(
            [family, digest[:16], checksum(folder / "config.json")[:8], f"l{layer}"]
            + ["normalised" if spec.normalise else "raw", precision, "w30c5", f"v{_VERSION}"]
        )
        self._convolutions, self._projection = model.feature_extractor, model.feature_projection
        self._positions, self._transformer = model.encoder.pos_conv_embed, model.encoder
        model.encoder.pos_conv_embed = _Added()
        model.encoder.layers = model.encoder.layers[:layer]
        if config.do_stable_layer_norm:
            model.encoder.layer_norm = torch.nn.Identity()
        if parametrize.is_parametrized(self._positions.conv):  # else the weight norm is computed again in every pass
            parametrize.remove_parametrizations(self._positions.conv, "weight")
        for module in (self._convolutions, self._projection, self._positions, self._transformer):
            module.to(self._device).eval()

    @torch.inference_mode()
    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """See `slm.speech.encoder.Encoder`; waveforms shorter than the first frame's reach give no frame."""
        limit = _BATCH_SECONDS_CPU if self._device.type == "cpu" else _BATCH_SECONDS
        floor = _VARIANCE_FLOOR if self._normalise else None
        return encode_in_windows(waveforms, self._grid, self._width, limit, floor, self._features, self._contextual)

    def _features(self, samples: np.ndarray) -> torch.Tensor:
        """Input of the transformer for one waveform: projected convolutional features plus positions, (T, D)."""
        inputs = torch.from_numpy(samples.astype(np.float32, copy=False)).to(self._device)[None]
        features = self._projection(self._convolutions(inputs).transpose(1, 2))
        features = features[0] if isinstance(features, tuple) else features  # wav2vec2 and WavLM give two
        return (features + self._positions(features))[0]

    def _contextual(self, rows: list[torch.Tensor]) -> torch.Tensor:
        """Hidden states (B, T, D) of a batch; rows are valid up to their own lengths."""
        lengths = torch.tensor([len(row) for row in rows], device=self._device)
        padded = pad_sequence(rows, batch_first=True)  # (B, T, D)
        mask = torch.arange(padded.shape[1], device=self._device) < lengths[:, None]  # (B, T)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._device.type == "cuda"):
            whole = len({len(row) for row in rows}) == 1
            return self._transformer(padded, attention_mask=None if whole else mask).last_hidden_state


class _Added(torch.nn.Module):
    """In place of the positional convolution inside the transformer: positions were added before padding."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.new_zeros(1)


def checkpoint_folder(spec: EncoderSpec, machine: Machine) -> Path:
    """Folder of the checkpoint: `<models>/<its name>` where it lies there, else the hub's cache, else the hub."""
    from huggingface_hub import snapshot_download

    if not spec.checkpoint:
        raise ValueError(f"an encoder of kind {spec.kind!r} needs the name of a checkpoint")
    if machine.models and (machine.models / spec.checkpoint / "config.json").is_file():
        return machine.models / spec.checkpoint
    revision = hub_revision(spec)
    try:
        folder = Path(snapshot_download(spec.checkpoint, revision=revision, local_files_only=True))
        _weights(folder)
        return folder
    except (OSError, ValueError):
        pass  # not in the cache, or not all of it: the hub is asked
    try:
        for name in _WEIGHTS:
            wanted = ["config.json", name]
            folder = Path(snapshot_download(spec.checkpoint, revision=revision, allow_patterns=wanted))
            if (folder / name).is_file():
                break
        return folder
    except Exception as error:  # whatever the hub's client raises, the remedy is the same
        command = how_to_download(spec, Path(machine.models or "DIR") / spec.checkpoint)
        raise ValueError(
            f"checkpoint {spec.checkpoint} is not on this machine and did not come from the hub "
            f"({_first_line(error)}): get it with `{command}`"
            + ("" if machine.models else "; then give `--models DIR`")
        ) from None


def _weights(folder: Path) -> Path:
    """The file that transformers reads the weights from."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder}: neither {' nor '.join(_WEIGHTS)}; weights in parts are not read")


def check_revision(spec: EncoderSpec, folder: Path, weights: Path, digest: str) -> None:
    """`ValueError` unless folder and weights are the recipe's: by SHA-256, or by the commit that the hub's client
    records beside files of `--local-dir` (first line of its `.metadata`) and in the names of its cache."""
    if hub_revision(spec) is None:
        if digest != spec.revision:
            raise ValueError(f"{weights}: SHA-256 {digest}, the recipe wants {spec.revision}; fetch the right file")
        return
    record = folder / ".cache" / "huggingface" / "download" / f"{weights.name}.metadata"
    if folder.parent.name == "snapshots":
        commit, published = folder.name, digest
    elif record.is_file():
        commit, published, *_ = [*record.read_text().split(), "", ""]
    else:
        raise ValueError(
            f"{folder} does not say which revision it is: fetch it with `{how_to_download(spec, folder)}`, or let the "
            f"recipe name its weights' SHA-256, {digest}"
        )
    if commit != spec.revision:
        raise ValueError(
            f"{folder} is revision {commit}, the recipe wants {spec.revision}: fetch that with "
            f"`{how_to_download(spec, folder)}`"
        )
    if len(published) == 64 and published != digest:
        raise ValueError(f"{weights}: altered or torn, SHA-256 {digest}, published as {published}; fetch it again")


def _family(folder: Path) -> str:
    try:
        family = json.loads((folder / "config.json").read_bytes()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder / 'config.json'}: not readable ({error}); fetch the checkpoint again") from None
    if family not in _FAMILIES:
        raise ValueError(f"{folder}: a model of type {family!r}, one of {', '.join(_FAMILIES)} expected")
    return family


def _load(folder: Path) -> torch.nn.Module:
    """The model in float32; `ValueError` unless the file gave every weight that encoding uses."""
    from transformers import AutoModel

    try:
        model, report = AutoModel.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    except Exception as error:  # each version of transformers has its own for weights that are torn, missing or misfit
        raise ValueError(
            f"{folder}: transformers cannot load these weights ({_first_line(error)}); fetch them again"
        ) from None
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})  # that one serves training only
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} weights are missing, such as {missing[0]}, and random ones encode nothing; "
            f"fetch the whole checkpoint"
        )
    return model


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
