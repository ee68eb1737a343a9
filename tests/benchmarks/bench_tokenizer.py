"""Supervised speech tokenizers: encoding speed beside transformers' Whisper encoder, and what is known of learnt ones.

`python tests/benchmarks/bench_tokenizer.py [--root DIR] [--seconds 14] [--sounds 20] [--device cpu|gpu]`. Weights are
random (speed does not depend on them), the sound is noise. Below `--root`, every `recipe.json` of a learnt tokenizer
becomes a row.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # `data` and `tests` are no installed packages
from slm.machine import Machine
from slm.spec import EncoderSpec
from tests.benchmarks.timing import medians, show

WIDTH, HEADS, HIDDEN, LAYERS, POOLING, CODES, REPEATS = 384, 6, 1536, 4, 4, 16384, 5
"""Whisper tiny's sizes; pooling and codes of GLM-4-Voice's tokenizer."""


def saved(folder: Path) -> EncoderSpec:
    """A tokenizer with random weights in the layout that is released."""
    import torch
    from safetensors.torch import save_file

    from slm.speech.whisper_vq import Shape, VqEncoder
    from slm.store import checksum

    torch.manual_seed(0)
    shape = Shape(
        mels=80,
        width=WIDTH,
        heads=HEADS,
        hidden=HIDDEN,
        layers=LAYERS,
        quantised_after=LAYERS,
        pooling=POOLING,
        codes=CODES,
        block=200,
        positions=1500,
    )
    folder.mkdir()
    save_file(VqEncoder(shape).state_dict(), folder / "model.safetensors")
    config = {"num_mel_bins": 80, "d_model": WIDTH, "encoder_attention_heads": HEADS, "encoder_ffn_dim": HIDDEN}
    config |= {"max_source_positions": 1500, "activation_function": "gelu", "pooling_kernel_size": POOLING}
    config |= {"pooling_type": "avg", "pooling_position": LAYERS, "quantize_position": LAYERS}
    config |= {"quantize_vocab_size": CODES, "quantize_causal_block_size": 200, "encoder_causal_convolution": True}
    (folder / "config.json").write_text(json.dumps(config))
    digest = checksum(folder / "model.safetensors")
    return EncoderSpec(kind="whisper_vq", rate_hz=50 / POOLING, revision=digest, checkpoint=folder.name)


def speeds(sounds: list[np.ndarray], device: str) -> list[tuple[str, str]]:
    """Seconds of sound per second: this encoder with the nearest codes, and Whisper's as transformers runs it."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from slm.speech.kmeans import nearest
    from slm.speech.whisper_vq import WhisperVq

    with tempfile.TemporaryDirectory() as folder:
        spec = saved(Path(folder) / "tokenizer")
        ours = WhisperVq(spec, Machine(accelerator=device, models=Path(folder)))
    config = WhisperConfig(
        d_model=WIDTH, encoder_layers=LAYERS, encoder_attention_heads=HEADS, encoder_ffn_dim=HIDDEN, num_mel_bins=80
    )
    place = "cuda" if device == "gpu" else "cpu"
    theirs, extract = WhisperEncoder(config).to(place).eval(), WhisperFeatureExtractor(feature_size=80)
    codebook = ours.codebook

    def whisper() -> None:
        with torch.inference_mode():
            for sound in sounds:  # padded to 30 s, which it insists on
                mels = extract(sound, sampling_rate=16000, return_tensors="pt")["input_features"]
                theirs(mels.to(place)).last_hidden_state.cpu()

    def tokens() -> None:
        for states in ours.encode(sounds):
            nearest(states, codebook)

    found = medians(REPEATS, tokens=tokens, whisper=whisper, states=lambda: ours.encode(sounds))
    seconds = sum(map(len, sounds)) / 16000
    rows = [("sound", f"{len(sounds)} x {seconds / len(sounds):.0f} s, on {device}, {torch.get_num_threads()} threads")]
    rows += [(name, f"{seconds / took:.1f} x real time") for name, took in found.items()]
    return rows + [("tokens / whisper", f"{found['whisper'] / found['tokens']:.2f} times as fast")]


def learnt(root: Path) -> list[tuple[str, str]]:
    """Codes, rate, error rates and use of the codes of every tokenizer below a folder, by rate and codes."""
    told = [json.loads(path.read_bytes()) for path in root.rglob("recipe.json")]
    rows = []
    for each in sorted(
        (each for each in told if "held_out_wer" in each and "perplexity" in each),
        key=lambda each: (-each["encoder"]["rate_hz"], each["codes"]),
    ):
        name = f"{each['encoder']['rate_hz']:g} Hz, {each['codes']} codes"
        errors = f"WER {each['held_out_wer']:.1%}, CER {each['held_out_cer']:.1%}"
        used = f"{each['codes_used']} codes used, perplexity {each['perplexity']:.0f}"
        rows.append((name, f"{errors}, {used}, {each['training_seconds']:.0f} s to learn"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("out"))
    parser.add_argument("--seconds", type=float, default=14.0)
    parser.add_argument("--sounds", type=int, default=20)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    length = int(options.seconds * 16000)
    sounds = [random.normal(scale=0.05, size=length).astype(np.float32) for _ in range(options.sounds)]
    show("Whisper tiny's sizes", speeds(sounds, options.device))
    rows = learnt(options.root) or [("none", "prepare a store of their units")]
    show(f"learnt tokenizers below {options.root}", rows)


if __name__ == "__main__":
    main()
