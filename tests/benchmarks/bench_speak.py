"""How fast a text-to-token model speaks: large batches with a cache, against transformers' `generate` one by one.

`PYTHONPATH=. python tests/benchmarks/bench_speak.py [RUN]` after `experiments train text-to-token --scale micro`; reads
`$SLM_ROOT`. Prints units a second of both in one run, and their ratio (wanted: 10).
"""

import sys
import time

import numpy as np
import torch

from data.mixed import TEMPERATURE
from data.stores import store_folder
from data.vocabulary import joint_ids
from slm.generate import Decoding, generate
from slm.machine import slm_root
from slm.runlog import RunLog
from slm.store import TokenStore
from slm.train import trained_model

SPANS, ONE_BY_ONE = 2000, 60
CACHE_TOKENS = 1 << 18


def main(name: str) -> None:
    log = RunLog(slm_root() / "runs" / "micro" / name)
    model, spec = trained_model(log), log.spec.mix[0].store
    ids, end = joint_ids(spec.tokenizer), spec.tokenizer.vocabulary - 1
    store = TokenStore(store_folder(slm_root(), "micro", f"stories-train-TS/joint-{name.rpartition('/')[2]}"))
    documents = [np.array(store.document(i), dtype=np.int64) for i in range(SPANS)]
    prompts = [document[: int(np.argmax(document == ids.mark("S"))) + 1] for document in documents]
    room = log.spec.model.context - max(map(len, prompts)) - 1
    begun = time.perf_counter()
    said = generate(
        model, prompts, end, end, ids.speech, Decoding(most_tokens=room, temperature=TEMPERATURE), CACHE_TOKENS
    )
    ours = sum(map(len, said)) / (time.perf_counter() - begun)
    begun, count = time.perf_counter(), 0
    for prompt in prompts[:ONE_BY_ONE]:
        given = torch.from_numpy(np.append(end, prompt))[None]
        told = {"do_sample": True, "temperature": TEMPERATURE, "top_k": 0, "max_new_tokens": room, "eos_token_id": end}
        count += (
            model.generate(given, attention_mask=torch.ones_like(given), pad_token_id=end, **told).shape[1]
            - given.shape[1]
        )
    theirs = count / (time.perf_counter() - begun)
    print(f"{name}: {ours:,.0f} units/s in batches of {SPANS:,} spans, {theirs:,.0f} one by one: {ours / theirs:.1f}x")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "text-to-token/vq25")
