"""Recipes as canonical JSON: typed dataclasses to plain values and back, and their fingerprint.

In: frozen dataclasses. Out: JSON that is the same wherever it is made, 12 hex digits of it, and lines that tell two
recipes apart. What the recipes are is in `slm/spec.py`.
"""

import hashlib
import json
import math
import types
import typing
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, Literal


def later(default: Any) -> Any:
    """A field that recipes got after runs of them existed: at its default it is left out of their JSON and hash."""
    return field(default=default, metadata={"later": True})


class Recipe:
    """Base of the frozen types below: enforces the declared type of every field (1 and 1.0 differ)."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for each in fields(self):
            value = getattr(self, each.name)
            if not _fits(value, hints[each.name]):
                raise TypeError(f"{type(self).__name__}.{each.name} = {value!r} is not of type {hints[each.name]}")


def to_json(value: Any) -> Any:
    """Plain JSON values of a recipe; `TypeError` for anything else, NaN and infinity included."""
    if is_dataclass(value):
        told = [each.name for each in fields(value) if not _is_left_out(each, getattr(value, each.name))]
        return {name: to_json(getattr(value, name)) for name in told}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {key: to_json(item) for key, item in value.items()}
    if value is None or type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value)):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be part of a recipe")


def from_json(kind: type, value: Any) -> Any:
    """The recipe of type `kind` that `to_json` wrote; `ValueError` for unknown or missing fields."""
    hints = typing.get_type_hints(kind)
    needed = {each.name for each in fields(kind) if "later" not in each.metadata}
    unknown, missing = set(value) - set(hints), needed - set(value)
    if unknown or missing:
        raise ValueError(f"{kind.__name__}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}")
    return kind(**{name: _revive(item, hints[name]) for name, item in value.items()})


def fingerprint(recipe: Any) -> str:
    """First 12 hex digits of the SHA-256 of a recipe's canonical JSON."""
    text = json.dumps(to_json(recipe), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The fields in which two JSON values differ, as `path: old -> new` lines."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}".strip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line for i, (a, b) in enumerate(zip(old, new, strict=True)) for line in differences(a, b, f"{path}[{i}]")
        ]
    return [] if old == new and type(old) is type(new) else [f"{path}: {old!r} -> {new!r}"]


def _is_left_out(each: Field, value: Any) -> bool:
    return "later" in each.metadata and value == each.default


def _options(hint: Any) -> tuple:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    for option in _options(hint):
        origin = typing.get_origin(option)
        if origin is Literal:
            fits = value in typing.get_args(option)
        elif origin is tuple:
            fits = type(value) is tuple and all(_fits(item, typing.get_args(option)[0]) for item in value)
        else:
            fits = type(value) is option and (option is not float or math.isfinite(value))
        if fits:
            return True
    return False


def _revive(value: Any, hint: Any) -> Any:
    kinds = [option for option in _options(hint) if is_dataclass(option)]
    if isinstance(value, dict) and kinds:  # of several, the one whose fields these are
        return from_json(min(kinds, key=lambda kind: len({each.name for each in fields(kind)} ^ set(value))), value)
    for option in _options(hint):
        if isinstance(value, list) and typing.get_origin(option) is tuple:
            return tuple(_revive(item, typing.get_args(option)[0]) for item in value)
    return value
