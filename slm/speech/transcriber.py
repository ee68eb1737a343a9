"""Units to text: what a transcriber is, and a small one of our own that is learnt from a store of units with texts.

In: collapsed units of documents. Out: lower-case text, so that generated speech can be judged as an answer. A stack of
dilated convolutions under CTC (Graves et al. 2006), read greedily: no lexicon and no language model corrects it.
B documents, T units, D width, S symbols of which the first is CTC's blank.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from slm.atomic import read_json, write_bytes, write_json
from slm.machine import Machine
from slm.spec import CorpusSpec, Recipe, UnitSpec, differences, fingerprint, from_json, to_json
from slm.store import TokenStore, checksum

_KERNEL, _DILATIONS = 3, (1, 2, 4, 8)  # of the convolutions, in turn: with 16 layers a symbol sees 60 units either side
_WARM_UP = 0.1  # of the updates; then the rate falls as a cosine
_CLIP = 1.0  # largest norm of the gradient
_BATCH_UNITS = 16384  # padded, of one batch that is only read: bounds memory
_SORTED = 32  # batches' worth of documents that are sorted by length, so that batches hold equal ones


class Transcriber(Protocol):
    """Units to text. The text of a document never depends on what it is transcribed with."""

    name: str
    """What is recorded beside a score that rests on it."""

    def __call__(self, documents: list[np.ndarray]) -> list[str]:
        """The text of each document of collapsed units (T_i,), whole numbers below the number of clusters."""
        ...


@dataclass(frozen=True, kw_only=True)
class TranscriberSpec(Recipe):
    """Recipe of a `UnitTranscriber`."""

    units: UnitSpec
    learnt_on: CorpusSpec
    """With texts."""
    held_out: int
    """Documents at the end of it that are not learnt from: the error rates are of these."""
    places: int = 2
    """For characters, per unit: so many times the units must be more than the characters and the doubled ones."""
    width: int = 128
    layers: int = 16
    updates: int = 1200
    batch_units: int = 1000
    """Of an update: so many documents of mean length, and at least one."""
    learning_rate: float = 3e-3
    """Peak."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """Edits that turn hypotheses into references, per word and per character of the references."""

    wer: float
    cer: float
    words: int
    characters: int


def plain_text(text: str) -> str:
    """Text in the transcriber's spelling: a-z, 0-9, apostrophes, single spaces.

    Lower case, without accents, typographic apostrophes as plain ones; any other character parts words.
    """
    letters = unicodedata.normalize("NFKD", text.lower().replace("\u2019", "'"))
    letters = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.sub(r"[^a-z0-9']", " ", letters).split())


def error_rates(references: list[str], hypotheses: list[str]) -> ErrorRates:
    """Word and character error rates over all pairs together, both sides as `plain_text`.

    `ValueError` for lists of unequal length and for references without a word.
    """
    from jiwer import process_characters, process_words

    if not references or len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} hypotheses: give one or more, in pairs")
    spoken, heard = ([plain_text(text) for text in texts] for texts in (references, hypotheses))
    if not all(spoken):
        raise ValueError(f"reference {spoken.index('')} has no words ({references[spoken.index('')]!r}): leave it out")
    words, characters = process_words(spoken, heard), process_characters(spoken, heard)
    return ErrorRates(
        wer=words.wer,
        cer=characters.cer,
        words=sum(len(text.split()) for text in spoken),
        characters=sum(map(len, spoken)),
    )


class UnitTranscriber:
    """A transcriber of one recipe of units; see `learn_transcriber` and `read_transcriber`."""

    def __init__(self, recipe: TranscriberSpec, symbols: str, machine: Machine) -> None:
        self.recipe, self.symbols = recipe, symbols
        self.name = f"transcriber@{fingerprint(recipe)}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = _Model(recipe, 1 + len(symbols))
        self.model.to(machine.place()).eval()

    @torch.inference_mode()
    def __call__(self, documents: list[np.ndarray]) -> list[str]:
        """See `Transcriber`; a document without units is an empty text. `ValueError` for units outside the recipe's."""
        found = [""] * len(documents)
        for rows in _batches_to_read(documents):
            for row, scores in zip(rows, self.log_probabilities([documents[i] for i in rows]), strict=True):
                found[row] = self._read(scores)
        return found

    def log_probabilities(self, documents: list[np.ndarray]) -> list[torch.Tensor]:
        """Of the symbols, the blank first, at each place of each document: (places T_i, S), on the model's device."""
        clusters = self.recipe.units.clusters
        for units in documents:
            if len(units) and not 0 <= int(units.min()) <= int(units.max()) < clusters:
                raise ValueError(f"{self.name} reads units 0 to {clusters - 1}, not {units.min()} to {units.max()}")
        padded, counts = _padded(documents, self.model.embedding.weight.device)
        scores = self.model(padded, counts).log_softmax(dim=-1)  # (B, places T, S)
        return [row[: self.recipe.places * len(units)] for row, units in zip(scores, documents, strict=True)]

    def _read(self, scores: torch.Tensor) -> str:
        """The best symbol of each place, equal neighbours as one, blanks left out."""
        best = torch.unique_consecutive(scores.argmax(dim=-1)).tolist()
        return " ".join("".join(self.symbols[symbol - 1] for symbol in best if symbol).split())


class _Model(torch.nn.Module):
    """Units to scores of symbols; what lies behind a document's end never reaches it."""

    def __init__(self, recipe: TranscriberSpec, symbols: int) -> None:
        super().__init__()
        width = recipe.width
        self.embedding = torch.nn.Embedding(recipe.units.clusters, width)
        dilations = [_DILATIONS[layer % len(_DILATIONS)] for layer in range(recipe.layers)]
        self.blocks = torch.nn.ModuleList(Surroundings(width, dilation) for dilation in dilations)
        self.norm = torch.nn.LayerNorm(width)
        self.places, self.head = recipe.places, torch.nn.Linear(width, recipe.places * symbols)

    def forward(self, units: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Scores (B, places T, S) of padded units (B, T), of which `counts` (B,) are real."""
        inside = (torch.arange(units.shape[1], device=units.device) < counts[:, None])[..., None]  # (B, T, 1)
        hidden = self.embedding(units)  # (B, T, D)
        for block in self.blocks:
            hidden = block(hidden, inside)
        return self.head(self.norm(hidden)).view(len(units), units.shape[1] * self.places, -1)


class Surroundings(torch.nn.Module):
    """A residual convolution over (B, T, D); what lies behind a document, not `inside` (B, T, 1), never reaches it."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.around = torch.nn.Conv1d(width, width, _KERNEL, dilation=dilation, padding=_KERNEL // 2 * dilation)

    def forward(self, hidden: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        shown = self.norm(hidden) * inside  # (B, T, D)
        return hidden + functional.relu(self.around(shown.transpose(1, 2))).transpose(1, 2)


def learn_transcriber(
    folder: Path,
    store: TokenStore,
    recipe: TranscriberSpec,
    machine: Machine,
    report: Callable[[int, float], None] = lambda updates, loss: None,
) -> UnitTranscriber:
    """Learn a transcriber and write it into `folder`; `recipe.json` is written last and tells its held-out error rates.

    On a CPU the same store and recipe give the same weights: one thread is used. `report` is told the number of
    updates made and the last one's loss, in nats per character. `ValueError` for a store of another recipe, documents
    without text, and where none is long enough to hold its text (`unfit_documents`, which are left out).
    """
    units, texts = _documents(store, recipe)
    first = len(units) - recipe.held_out
    kept = [i for i in range(first) if texts[i] and _fits(recipe.places * len(units[i]), texts[i])]
    if not kept:
        raise ValueError(
            f"{store.folder}: no document has a text and {recipe.places} x units enough for its characters"
        )
    symbols = "".join(sorted(set("".join(texts[i] for i in kept))))
    with one_thread():
        made = UnitTranscriber(recipe, symbols, machine)
        _learn(made, [units[i] for i in kept], [texts[i] for i in kept], report)
        told = {"learnt_documents": len(kept), "unfit_documents": first - len(kept)}
        told |= _held_out(made, units[first:], texts[first:])
    write_bytes(folder / "model.safetensors", save({name: w.cpu() for name, w in made.model.state_dict().items()}))
    sha256 = checksum(folder / "model.safetensors")
    write_json(folder / "recipe.json", {"recipe": to_json(recipe), "symbols": symbols, "sha256": sha256} | told)
    return made


def _held_out(made: UnitTranscriber, units: list[np.ndarray], texts: list[str]) -> dict:
    """Error rates of the documents that have a text, with their counts."""
    rows = [row for row, text in enumerate(texts) if text]
    rates = error_rates([texts[row] for row in rows], made([units[row] for row in rows]))
    found = {"documents": len(rows), "words": rates.words, "characters": rates.characters}
    return {f"held_out_{name}": value for name, value in (found | {"wer": rates.wer, "cer": rates.cer}).items()}


def transcriber_folder(root: Path, recipe: TranscriberSpec) -> Path:
    """Where the transcriber of a recipe lies below the folder of everything that the suite writes."""
    return root / "encoders" / f"transcriber-{fingerprint(recipe)}"


def read_transcriber(folder: Path, units: UnitSpec, machine: Machine) -> UnitTranscriber:
    """The transcriber in a folder; `ValueError` if none is there, it is torn, or it reads other units than `units`."""
    if not (folder / "recipe.json").exists():
        raise ValueError(f"no transcriber in {folder}: learn one from a store of the units with texts")
    try:
        told = read_json(folder / "recipe.json")
        recipe, symbols = from_json(TranscriberSpec, told["recipe"]), told["symbols"]
        if checksum(folder / "model.safetensors") != told["sha256"]:
            raise ValueError("the weights differ from their checksum")
        found = UnitTranscriber(recipe, symbols, machine)
        found.model.load_state_dict(load_file(folder / "model.safetensors"))
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{folder}: no readable transcriber ({reason}); delete the folder and learn it anew") from None
    if recipe.units != units:
        lines = "; ".join(differences(to_json(recipe.units), to_json(units)))
        raise ValueError(f"{folder} reads other units ({lines}): learn a transcriber from a store of these")
    return found


def _documents(store: TokenStore, recipe: TranscriberSpec) -> tuple[list[np.ndarray], list[str]]:
    """Units and plain texts of all documents of the recipe's store."""
    spec = store.spec
    wanted = {"corpus": to_json(recipe.learnt_on), "units": to_json(recipe.units)}
    lines = differences({"corpus": to_json(spec.corpus), "units": to_json(spec.units)}, wanted)
    if lines or spec.tokenizer.kind != "units":
        made = "; ".join(lines) or f"tokens of kind {spec.tokenizer.kind!r}"
        raise ValueError(f"{store.folder} is not what the transcriber is learnt from ({made}): give the store of units")
    if not 0 < recipe.held_out < len(store):
        raise ValueError(f"{recipe.held_out} of {len(store)} documents held out: hold out at least 1 and leave some")
    rows = store.rows("documents")
    silent = next((row["id"] for row in rows if row.get("text") is None), None)
    if len(rows) != len(store) or silent is not None:
        raise ValueError(f"{store.folder}: document {silent} has no text to learn from; take a corpus with transcripts")
    return [np.array(store.document(i), np.int64) for i in range(len(store))], [plain_text(r["text"]) for r in rows]


def _fits(places: int, text: str) -> bool:
    """Whether CTC has a place for each character, and for a blank between equal neighbours."""
    return len(text) + sum(a == b for a, b in zip(text, text[1:], strict=False)) <= places


def _learn(
    made: UnitTranscriber, units: list[np.ndarray], texts: list[str], report: Callable[[int, float], None]
) -> None:
    recipe, model = made.recipe, made.model.train()
    device = model.embedding.weight.device
    ids = {symbol: number for number, symbol in enumerate(made.symbols, start=1)}
    targets = [np.array([ids[symbol] for symbol in text]) for text in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.updates + 1, pct_start=_WARM_UP, cycle_momentum=False
    )
    counted = [len(document) for document in units]
    size = max(1, round(recipe.batch_units / np.mean(counted)))
    batches = batches_to_learn(counted, size, _SORTED, recipe.seed)
    for update in range(1, recipe.updates + 1):
        rows = next(batches)
        padded, counts = _padded([units[i] for i in rows], device)
        symbols, lengths = _padded([targets[i] for i in rows], device)
        scores = model(padded, counts).log_softmax(dim=-1).transpose(0, 1)  # (places T, B, S)
        loss = functional.ctc_loss(scores, symbols, recipe.places * counts, lengths)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        schedule.step()
        report(update, float(loss.detach()))
    model.eval()


def batches_to_learn(lengths: list[int], size: int, pooled: int, seed: int) -> Iterator[list[int]]:
    """Rows of `size` documents of like length, sorted within `pooled` batches, epoch after epoch in other orders."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(lengths)).tolist()
        pools = [order[i : i + pooled * size] for i in range(0, len(order), pooled * size)]
        sorted_ = [sorted(pool, key=lambda row: lengths[row]) for pool in pools]
        batches = [pool[i : i + size] for pool in sorted_ for i in range(0, len(pool), size)]
        yield from (batches[number] for number in random.permutation(len(batches)).tolist())


def _batches_to_read(documents: list[np.ndarray]) -> Iterator[list[int]]:
    """Rows of the documents that have units, by length, at most `_BATCH_UNITS` padded ones together."""
    batch: list[int] = []
    for row in sorted((row for row, units in enumerate(documents) if len(units)), key=lambda row: len(documents[row])):
        if batch and (len(batch) + 1) * len(documents[row]) > _BATCH_UNITS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _padded(rows: list[np.ndarray], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids as one matrix (B, T), and their lengths (B,)."""
    tensors = [torch.from_numpy(np.asarray(row, np.int64)) for row in rows]
    counts = torch.tensor([len(row) for row in rows])
    return pad_sequence(tensors, batch_first=True).to(device), counts.to(device)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums on the CPU in one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
