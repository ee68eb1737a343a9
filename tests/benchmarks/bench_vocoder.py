"""Vocoders of a scale's units: time to learn and to speak, and the words that a transcriber loses to each of them.

`python tests/benchmarks/bench_vocoder.py [--scale micro] [--documents 20]`, on held-out stories below `$SLM_ROOT`. The
learnt vocoder, and the transcriber where it is missing, are learnt below `$SLM_ROOT/encoders`.
"""

import argparse
import time

import numpy as np
import torch

from data.centres import centres_folder
from data.stores import store_folder, stores
from data.transcripts import learnt_from, own_transcriber
from experiments.chat import spoken_documents, units_maker, vocoder_recipe
from slm.atomic import read_json
from slm.machine import CPU, slm_root
from slm.speech.encoder import SAMPLE_RATE
from slm.speech.unit_vocoder import learn_unit_vocoder, unit_vocoder_folder
from slm.speech.vocoder import CepstralVocoder, heard_again, mean_durations
from slm.store import TokenStore
from tests.benchmarks.timing import show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="micro")
    parser.add_argument("--documents", type=int, default=20)
    told, root = parser.parse_args(), slm_root()
    torch.set_num_threads(1)
    units = stores(told.scale)["stories-validation/units"].units
    learnt = TokenStore(store_folder(root, told.scale, learnt_from(told.scale, units)))
    recipe = vocoder_recipe(units, learnt)
    folder, start = unit_vocoder_folder(root, recipe), time.perf_counter()
    speakers = {"learnt": learn_unit_vocoder(folder, spoken_documents(learnt, None), recipe, CPU)}
    seconds, found = time.perf_counter() - start, read_json(folder / "recipe.json")
    speakers["centres"] = CepstralVocoder(
        units, centres_folder(root, units) / "centres.safetensors", mean_durations(learnt)
    )
    rows = [
        ("to learn, with the speech", f"{seconds:.0f} s"),
        ("held-out error", f"{found['held_out_error_db']:.1f} dB"),
        ("of the mean frames of units", f"{found['held_out_unit_mean_error_db']:.1f} dB"),
    ]
    held_out = TokenStore(store_folder(root, told.scale, "stories-validation/units"))
    documents = [np.array(held_out.document(i)) for i in range(told.documents)]
    texts = [row["text"] for row in held_out.rows("documents")[: told.documents]]
    transcribe, units_of = own_transcriber(root, told.scale, units, CPU), units_maker(units, root, CPU)
    for name, speak in speakers.items():
        start = time.perf_counter()
        samples = sum(len(speak(units)) for units in documents)
        spent = time.perf_counter() - start
        direct, again = heard_again(speak, units_of, transcribe, documents, texts)
        rows += [
            (f"{name}: sound per second", f"{samples / SAMPLE_RATE / spent:.0f} s"),
            (f"{name}: WER of the units, of their sound", f"{100 * direct.wer:.1f} %, {100 * again.wer:.1f} %"),
        ]
    show(f"Vocoders of {told.scale}'s units, {told.documents} held-out stories, one thread", rows)


if __name__ == "__main__":
    main()
