"""The child that runs in the interpreter of textlesslib (Python 3.8 or newer); slm/speech/textless.py starts it.

In: arguments that name a model, then JSON lines {"id", "path"} on stdin. Out: JSON lines on stdout: a greeting that
says what was loaded, then {"id", "units", "durations"} or {"id", "error"} for each request, in order. What libraries
print goes to stderr. It ends at once when stdin is closed, so that it never outlives its parent.
"""

import argparse
import hashlib
import json
import os
import platform
import queue
import sys
import threading
from importlib import metadata

PROTOCOL = 1


def main():
    requests, answers = own_pipes()
    encoder, greeting = loaded(parsed_arguments())
    send(answers, greeting)
    while True:
        request = json.loads(requests.get().decode("utf-8"))
        try:
            answer = encoded(encoder, request["path"])
        except Exception as error:  # one bad file must not end the work on the others
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        send(answers, dict(answer, id=request["id"]))


def own_pipes():
    """(queue of request lines, file of answers); from here on descriptors 0 and 1 are not the parent's pipes."""
    lines = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    requests = queue.Queue()
    threading.Thread(target=listen, args=(lines, requests), daemon=True).start()
    return requests, answers


def listen(lines, requests):
    for line in lines:
        requests.put(line)
    os._exit(0)  # the parent is done or dead, whatever the main thread is at


def parsed_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dense", required=True, help="name of the dense model, as textlesslib has it")
    parser.add_argument("--clusters", type=int, required=True)
    parser.add_argument("--centres-sha256", required=True, help="of the file of the k-means centres")
    parser.add_argument("--accelerator", choices=("auto", "cpu", "gpu"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


def loaded(options):
    """(textlesslib's encoder, the greeting). What fails here ends the process, and stderr says why."""
    import textless
    import torch
    import torchaudio
    from textless.checkpoint_manager import CHECKPOINT_MANAGER
    from textless.data.speech_encoder import SpeechEncoder

    torch.set_num_threads(options.threads)
    has_gpu = torch.cuda.is_available()
    if options.accelerator == "gpu" and not has_gpu:
        sys.exit(f"accelerator gpu: torch {torch.__version__} finds no CUDA device here")
    quantizer = quantizer_name(textless, CHECKPOINT_MANAGER, options)
    encoder = SpeechEncoder.by_name(
        dense_model_name=options.dense,
        quantizer_model_name=quantizer,
        vocab_size=options.clusters,
        deduplicate=True,
        need_f0=False,
    ).to("cpu" if options.accelerator == "cpu" or not has_gpu else "cuda")
    weights = CHECKPOINT_MANAGER.get_by_name(textless.DENSE_MODELS[options.dense][1])
    centres = CHECKPOINT_MANAGER.get_by_name(f"{options.dense}-{quantizer}-{options.clusters}")
    greeting = {
        "protocol": PROTOCOL,
        "dense": options.dense,
        "quantizer": quantizer,
        "clusters": int(encoder.vocab_size),
        "rate_hz": encoder.expected_sample_rate / encoder.code_hop_size,
        "dense_sha256": sha256(weights),
        "centres_sha256": sha256(centres),
        "versions": {
            "python": platform.python_version(),
            "textless": version("textless"),
            "torch": str(torch.__version__),
            "torchaudio": str(torchaudio.__version__),
        },
    }
    return encoder, greeting


def quantizer_name(textless, manager, options):
    """Name of the quantizer whose centres have the wanted SHA-256, by textlesslib's own table of checkpoints."""
    if options.dense not in textless.DENSE_MODELS:
        sys.exit(f"no dense model {options.dense!r}, this textlesslib has {', '.join(sorted(textless.DENSE_MODELS))}")
    for name in textless.QUANTIZER_MODELS:
        entry = manager.storage.get(f"{options.dense}-{name}-{options.clusters}")
        if entry is not None and entry.sha256 == options.centres_sha256:
            return name
    near = {key: entry.sha256 for key, entry in sorted(manager.storage.items()) if key.startswith(options.dense + "-")}
    sys.exit(f"no {options.clusters} centres of SHA-256 {options.centres_sha256}, this textlesslib has {near}")


def encoded(encoder, path):
    import torchaudio

    waveform, rate = torchaudio.load(path)
    found = encoder(encoder.maybe_resample(waveform, rate).to(encoder.device))
    return {"units": found["units"].tolist(), "durations": found["durations"].tolist()}


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def sha256(path):
    digest = hashlib.sha256()
    with open(str(path), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def send(answers, message):
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
