"""k-means centres on disk: those learnt here, tied to their encoder, and those that others published.

In: files. Out: float32 arrays (clusters, features). Published files are often pickles of scikit-learn objects; they are
read here as plain data: no name in them is ever imported, and nothing in them is ever called.
"""

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slm.atomic import write_bytes
from slm.store import checksum


@dataclass(frozen=True, kw_only=True)
class Centres:
    """Centres of the frames of one encoder."""

    array: np.ndarray
    """(clusters, features) float32."""
    encoder: str
    """Fingerprint of the encoder whose frames they divide."""


def save_centres(path: Path, centres: Centres) -> None:
    """Write a safetensors file in one step."""
    from safetensors.numpy import save

    assert centres.array.ndim == 2 and centres.array.dtype == np.float32
    tensors = {"centres": np.ascontiguousarray(centres.array)}
    write_bytes(path, save(tensors, metadata={"encoder": centres.encoder}))


def read_centres(path: Path, encoder_fingerprint: str) -> Centres:
    """The centres that `save_centres` wrote; `ValueError` when they are another encoder's, or the file is torn."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            encoder = (file.metadata() or {}).get("encoder")
            array = _checked(file.get_tensor("centres"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: no readable centres ({error}); delete the file and learn them again") from None
    if encoder != encoder_fingerprint:
        raise ValueError(
            f"{path}: centres of encoder {encoder}, but the frames are of {encoder_fingerprint}; learn centres on them"
        )
    return Centres(array=array, encoder=encoder)


def read_published(path: Path, sha256: str) -> np.ndarray:
    """Published centres (clusters, features) as float32, once the file's SHA-256 is the expected one.

    Reads `.npy`, safetensors with one matrix, and uncompressed joblib files (0.10 or newer) of scikit-learn's KMeans
    or MiniBatchKMeans, by content and not by suffix. `ValueError` names the file and what it is instead.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file of centres")
    found = checksum(path)
    if found != sha256:
        raise ValueError(f"{path}: SHA-256 {found}, {sha256} expected; fetch the right file")
    content = path.read_bytes()
    try:
        for begins, read in _READERS:
            if begins(content):
                return _checked(read(content))
        raise ValueError(f"not .npy, safetensors or an uncompressed joblib file ({_described(content)})")
    except Exception as error:  # a hostile or torn file can make any parser raise anything; all of it means: unreadable
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: no readable centres ({reason or type(error).__name__})") from None


def _checked(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise ValueError(f"centres are a matrix of real numbers, this is {array.dtype} of shape {array.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        centres = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(centres).all():
        raise ValueError("some centres are not finite float32 numbers")
    return centres


def _npy(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError(f".npy of version {version}")
    shape, fortran, dtype = headers[version](file)
    return _array(content, file.tell(), dtype, shape, "F" if fortran else "C")


def _array(content: bytes, start: int, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    """An array inside the file's content, without a copy; its size is checked before anything is allocated."""
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which are not read")
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("an array whose shape makes no sense")
    count = math.prod(shape)
    if start + count * dtype.itemsize > len(content):
        raise ValueError(f"an array of {count * dtype.itemsize} bytes, {len(content) - start} are left: torn")
    return np.frombuffer(content, dtype, count, start).reshape(shape, order=order)


def _safetensors(content: bytes) -> np.ndarray:
    from safetensors.numpy import load

    tensors = load(content)
    if len(tensors) != 1:
        raise ValueError(f"{len(tensors)} tensors, one matrix of centres expected")
    return next(iter(tensors.values()))


def _is_safetensors(content: bytes) -> bool:
    return content[8:9] == b"{" and 8 + int.from_bytes(content[:8], "little") <= len(content)


def _described(content: bytes) -> str:
    kinds = {
        b"PK": "a zip archive, as torch.save writes",
        b"\x78": "zlib-compressed joblib",
        b"\x1f\x8b": "gzip-compressed",
        b"BZ": "bzip2-compressed",
        b"\xfd7zXZ": "xz-compressed",
        b"\x5d\x00": "lzma-compressed",
        b"\x04\x22\x4d\x18": "lz4-compressed",
    }
    return next((kind for start, kind in kinds.items() if content.startswith(start)), f"begins {content[:8]!r}")


# A pickle is a program for a stack machine. The machine below knows only the instructions that joblib's files of
# scikit-learn objects are made of, and where a pickle would import or call something it makes an inert record instead.


@dataclass(frozen=True)
class _Name:
    """A global that the pickle names."""

    text: str


@dataclass(eq=False)
class _Record:
    """What the pickle would have made by calling `maker` with `arguments` and giving the result a state."""

    maker: Any
    arguments: Any
    state: Any = None


_MARK = object()


def _joblib(content: bytes) -> np.ndarray:
    model = _unpickled(content)
    if not isinstance(model, _Record) or not isinstance(model.maker, _Name):
        raise ValueError("a pickle, but not of a scikit-learn object")
    if model.maker.text.rpartition(".")[2] not in ("KMeans", "MiniBatchKMeans"):
        raise ValueError(f"a pickled {model.maker.text[:80]}, scikit-learn's KMeans or MiniBatchKMeans expected")
    centres = model.state.get("cluster_centers_")
    if not isinstance(centres, np.ndarray):
        raise ValueError("a pickled k-means without cluster_centers_ as joblib writes arrays")
    return centres


def _unpickled(content: bytes) -> Any:
    """What a pickle with joblib's arrays between its instructions describes, as plain values and records."""
    file = io.BytesIO(content)
    stack: list = []
    memo: dict[int, Any] = {}
    for instruction, argument, _ in pickletools.genops(file):
        name = instruction.name
        if name == "STOP":
            return stack.pop()
        if name in _LITERALS:
            stack.append(_LITERALS[name](argument))
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](stack)
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"a pickle with the instruction {name}, which k-means of scikit-learn do not need")
        if name == "BUILD" and _is_array(stack[-1]):
            stack[-1] = _joblib_array(content, file, stack[-1].state)
    raise ValueError("a pickle without an end")


def _is_array(value: Any) -> bool:
    return isinstance(value, _Record) and value.maker == _Name("joblib.numpy_pickle.NumpyArrayWrapper")


def _joblib_array(content: bytes, file: io.BytesIO, state: dict) -> np.ndarray:
    """The array that follows the instructions of its wrapper; the file is left behind it.

    joblib 1.2 and newer write a byte with the length of a padding and the padding before the numbers, and say so by
    `numpy_array_alignment_bytes` (joblib/numpy_pickle.py, NumpyArrayWrapper).
    """
    dtype, shape, order = _dtype(state["dtype"]), state["shape"], state["order"]
    if type(shape) is not tuple or order not in ("C", "F"):
        raise ValueError("an array whose shape or order makes no sense")
    if state.get("numpy_array_alignment_bytes") is not None:
        file.seek(file.read(1)[0], io.SEEK_CUR)
    array = _array(content, file.tell(), dtype, shape, order)
    file.seek(array.nbytes, io.SEEK_CUR)
    return array


def _dtype(record: Any) -> np.dtype:
    """The dtype of numpy's reduced form: kind and size as `f8`, byte order second in the state."""
    if not isinstance(record, _Record) or record.maker != _Name("numpy.dtype"):
        raise ValueError("an array without a dtype")
    kind, order = record.arguments[0], record.state[1]
    if isinstance(kind, str) and kind.startswith("O"):
        raise ValueError("an array of Python objects, which are not read")
    if kind not in ("b1", *(f"{letter}{size}" for letter in "iuf" for size in (1, 2, 4, 8))):
        raise ValueError(f"an array of type {str(kind)[:20]}")
    if order not in ("<", ">", "|", "="):
        raise ValueError("an array whose byte order makes no sense")
    return np.dtype(order + kind)


def _marked(stack: list) -> list:
    """The values above the last mark, taken off with it."""
    place = len(stack) - 1 - next(i for i, value in enumerate(reversed(stack)) if value is _MARK)
    values = stack[place + 1 :]
    del stack[place:]
    return values


def _taken(stack: list, count: int) -> list:
    """The topmost `count` values, taken off."""
    if len(stack) < count:
        raise ValueError("a pickle that takes more than it has put")
    values = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return values


def _tuple_of(count: int) -> Callable[[list], None]:
    return lambda stack: stack.append(tuple(_taken(stack, count)))


def _record(stack: list) -> None:
    stack.append(_Record(*_taken(stack, 2)))


def _record_with_keywords(stack: list) -> None:
    stack.append(_Record(*_taken(stack, 3)[:2]))


def _name(stack: list) -> None:
    module, name = _taken(stack, 2)
    stack.append(_Name(f"{module}.{name}" if type(module) is type(name) is str else ""))


def _append(stack: list, values: list) -> None:
    if type(stack[-1]) is not list:
        raise ValueError("a pickle that appends to something else than a list")
    stack[-1].extend(values)


def _set_items(stack: list, values: list) -> None:
    keys = values[::2]
    if type(stack[-1]) is not dict or any(type(key) is not str for key in keys):
        raise ValueError("a pickle with other keys than strings")  # hashing nested tuples may take forever
    stack[-1].update(zip(keys, values[1::2], strict=True))


def _build(stack: list) -> None:
    (state,) = _taken(stack, 1)
    if not isinstance(stack[-1], _Record):
        raise ValueError("a pickle that gives a state to a plain value")
    stack[-1].state = state


_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_STRINGS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")

_LITERALS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys((*_NUMBERS, *_STRINGS, *_BYTES), lambda value: value),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "MARK": lambda _: _MARK,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "GLOBAL": lambda value: _Name(value.replace(" ", ".")),
}

_INSTRUCTIONS: dict[str, Callable[[list], None]] = {
    "TUPLE": lambda stack: stack.append(tuple(_marked(stack))),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": lambda stack: _append(stack, _taken(stack, 1)),
    "APPENDS": lambda stack: _append(stack, _marked(stack)),
    "SETITEM": lambda stack: _set_items(stack, _taken(stack, 2)),
    "SETITEMS": lambda stack: _set_items(stack, _marked(stack)),
    "STACK_GLOBAL": _name,
    "REDUCE": _record,
    "NEWOBJ": _record,
    "NEWOBJ_EX": _record_with_keywords,
    "BUILD": _build,
}

_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], np.ndarray]], ...] = (
    (_is_safetensors, _safetensors),
    (lambda content: content.startswith(b"\x93NUMPY"), _npy),
    (lambda content: content.startswith(b"\x80"), _joblib),
)
