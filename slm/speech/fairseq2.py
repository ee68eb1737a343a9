"""Hidden states of fairseq2's wav2vec 2.0 models, as frames of speech; in an environment of its own (Makefile).

In: 16 kHz waveforms and a fairseq2 model card. Out: one layer's hidden states, the same in any batch: fairseq2's group
norm counts padding, so its front end runs on each waveform alone, and the transformer on padded batches under a mask.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from slm.machine import Machine
from slm.spec import EncoderSpec
from slm.speech.windows import CONTEXT_SECONDS, WINDOW_SECONDS, FrameGrid, encode_in_windows
from slm.store import checksum

_BATCH_SECONDS = 20.0  # padded, of one batch: bounds memory (a choice; `slm.speech.hubert` measured it for CPUs)
_VARIANCE_FLOOR = 1e-5  # added by torch's layer_norm, with which fairseq and fairseq2 bring waveforms to unit variance
_VERSION = 1  # of this file: part of the fingerprint


class Fairseq2:
    """An encoder of `slm.speech.encoder`: layer `spec.layer` of a model of fairseq2's `wav2vec2` family, in float32.

    `spec.checkpoint` names either a folder `<models>/<checkpoint>/` with a `model.yaml`, which is an asset card as
    fairseq2 writes them (`name`, `model_family`, `model_arch` or `model_config`, and `checkpoint`, the file of the
    weights), or an asset that fairseq2 knows and downloads. `spec.revision` is the SHA-256 of the file of the weights.

    Layer 0 is the input of the first transformer layer, l the output of layer l, without the norm that follows the last
    layer of some models. How long sound is cut and joined, `slm.speech.windows` says.
    """

    def __init__(self, spec: EncoderSpec, machine: Machine) -> None:
        """`ValueError` when fairseq2 or the checkpoint is missing, is not the one of the recipe, or is not whole."""
        model, config, digest = _load(spec, machine)
        layer = spec.layer
        if config.use_fbank:
            raise ValueError(f"{spec.checkpoint} reads filter banks, a model of waveforms is expected")
        if layer is None or not 0 <= layer <= config.num_encoder_layers:
            raise ValueError(f"{spec.checkpoint}: no hidden state {layer}, choose 0 to {config.num_encoder_layers}")
        self._device = torch.device(machine.device())
        self._normalise = spec.normalise
        _, kernels, strides = zip(*config.feature_extractor_layer_descs, strict=True)
        self._grid = FrameGrid.of(kernels, strides)
        self._width = config.model_dim
        self.rate_hz = self._grid.rate_hz
        self.fingerprint = "-".join(
            ["fairseq2", digest[:16], f"l{layer}", "normalised" if spec.normalise else "raw"]
            + [f"w{WINDOW_SECONDS:g}c{CONTEXT_SECONDS:g}", f"v{_VERSION}"]
        )
        self._front_end, self._transformer = model.encoder_frontend, model.encoder
        self._transformer.layers = self._transformer.layers[:layer]
        self._transformer.layer_norm = None
        for module in (self._front_end, self._transformer):
            module.to(self._device).eval()

    @torch.inference_mode()
    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """See `slm.speech.encoder.Encoder`; waveforms shorter than the first frame's reach give no frame."""
        floor = _VARIANCE_FLOOR if self._normalise else None
        return encode_in_windows(
            waveforms, self._grid, self._width, _BATCH_SECONDS, floor, self._features, self._contextual
        )

    def _features(self, samples: np.ndarray) -> torch.Tensor:
        """Input of the transformer for one waveform, (T, D)."""
        from fairseq2.nn import BatchLayout

        inputs = torch.from_numpy(samples.astype(np.float32, copy=False)).to(self._device)[None]
        features, _ = self._front_end(inputs, BatchLayout.of(inputs))
        return features[0]

    def _contextual(self, rows: list[torch.Tensor]) -> torch.Tensor:
        """Hidden states (B, T, D) of a batch; rows are valid up to their own lengths."""
        from fairseq2.nn import BatchLayout

        padded = pad_sequence(rows, batch_first=True)  # (B, T, D)
        return self._transformer(padded, BatchLayout.of(padded, [len(row) for row in rows]))


def _load(spec: EncoderSpec, machine: Machine) -> tuple[torch.nn.Module, Any, str]:
    """(model, configuration of its encoder, SHA-256 of its file of weights)."""
    try:
        import soundfile  # noqa: F401  first: it brings the libsndfile that fairseq2 would else want from the system
        from fairseq2.assets import get_asset_download_manager
        from fairseq2.models.wav2vec2 import get_wav2vec2_model_hub
    except (ImportError, OSError) as error:
        raise ValueError(
            f"fairseq2 cannot be imported here ({_reasons(error)}): it pins its own torch, so make it an environment "
            f"with `make .venv-fairseq2/.installed` and run with .venv-fairseq2/bin/python"
        ) from None
    card = _card(spec, machine)
    try:
        weights = get_asset_download_manager().download_model(card.field("checkpoint").as_uri())
    except Exception as error:  # fairseq2 and torch have one for each defect of a card or a file; the remedy is one
        raise _unloadable(spec, error) from None
    if not weights.is_file():
        raise ValueError(f"{spec.checkpoint}: no file of weights at {weights}; one file is read, not a folder")
    digest = checksum(weights)
    if digest != spec.revision:
        raise ValueError(f"{weights}: SHA-256 {digest}, the recipe wants {spec.revision}; fetch the right file")
    try:
        hub = get_wav2vec2_model_hub()
        model = hub.load_model(card, device=torch.device("cpu"), dtype=torch.float32)
        return model, hub.get_model_config(card).encoder_config, digest
    except Exception as error:
        raise _unloadable(spec, error) from None


def _card(spec: EncoderSpec, machine: Machine) -> Any:
    """fairseq2's asset card of a checkpoint: the one in its folder, else the one that fairseq2 knows."""
    from fairseq2.assets import AssetCard, FileAssetMetadataLoader, get_asset_store
    from fairseq2.runtime.dependency import get_dependency_resolver

    if not spec.checkpoint:
        raise ValueError(f"an encoder of kind {spec.kind!r} needs the name of a checkpoint")
    file = Path(machine.models or "DIR") / spec.checkpoint / "model.yaml"
    if not (machine.models and file.is_file()):
        card = get_asset_store().maybe_retrieve_card(spec.checkpoint)
        if card is None:
            raise ValueError(
                f"checkpoint {spec.checkpoint}: fairseq2 knows no such model, and {file} does not exist; put the "
                f"model's card and weights there" + ("" if machine.models else ", then give `--models DIR`")
            )
        return card
    try:
        found = get_dependency_resolver().resolve(FileAssetMetadataLoader).load(file)
        (name,) = found.asset_names
        return AssetCard(name.partition("@")[0], found.maybe_get_metadata(name))
    except Exception as error:
        raise ValueError(f"{file} is not one asset card of fairseq2 ({_reasons(error)}); write it anew") from None


def _unloadable(spec: EncoderSpec, error: Exception) -> ValueError:
    return ValueError(
        f"{spec.checkpoint}: fairseq2 cannot load this model ({_reasons(error)}); check its card, "
        f"fetch its weights again"
    )


def _reasons(error: BaseException | None) -> str:
    """First lines of an error and of what caused it: fairseq2 says in the causes what is wrong with weights."""
    reasons = []
    while error is not None:
        reasons.append(str(error).strip().partition("\n")[0] or type(error).__name__)
        error = error.__cause__
    return "; ".join(reasons)
