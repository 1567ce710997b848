"""Reading a batch: which entry is the target, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from safe_ce.causes.cause import a, described, dtype_name

TARGETS = ("labels", "label", "targets", "target", "y")
"""Names under which a batch holds the target, where it has names and exactly one of these is among them."""

INPUTS = (
    *("input_ids", "pixel_values", "input_values", "input_features", "inputs_embeds"),
    *("inputs", "input", "images", "image", "features", "x"),
)
"""Names of what a model reads first, in the order in which they are looked for."""

UNCHECKED = ("mask", "bias")
"""Parts of the names of inputs in which an infinity is meant."""

Target = Hashable | Callable[[Any], Any]


class BadLoaderError(ValueError):
    """What was given cannot be looked through."""


class UnclearTargetError(BadLoaderError):
    """It is not clear which entry of a batch is the target; the text lists those that may be."""


class Read(NamedTuple):
    """A batch, read.

    Attributes:
        source: What a model reads first: a tensor, or a list, tuple or mapping of them.
        floats: The floating-point tensors among the inputs, by name.
        target: The target.
    """

    source: Any
    floats: tuple[tuple[str, Tensor], ...]
    target: Any


class Reader:
    """Reads batches of one loader. The first decides which entry is the target, unless that was said."""

    def __init__(self, target: Target | None) -> None:
        self.target = target
        self.pairs = False
        """Whether batches are pairs of an input and a target."""

    def __call__(self, batch: Any) -> Read:
        if callable(self.target):
            target = self.target(batch)
            return self._read({key: value for key, value in entries(batch).items() if value is not target}, target)
        found = entries(batch)
        if not found:
            raise UnclearTargetError(f"a batch is {a(batch)}: pass target=, a callable that picks the target out of it")
        if self.target is None:
            self.target = _key_of_target(batch, found)
        key = self._key(batch, found)
        if key not in found:
            raise UnclearTargetError(f"the batch has no entry {key!r}; it has {_listed(found)}")
        self.pairs = list(found) == [0, 1] and key == 1
        target = found.pop(key)
        return self._read(found, target)

    def _key(self, batch: Any, found: dict[Any, Any]) -> Any:
        """The target's key; an index, which may count from the end, is one of a tuple with names too."""
        target = self.target
        if isinstance(target, int) and not isinstance(batch, Mapping) and -len(found) <= target < len(found):
            return list(found)[target]
        return target

    def inputs(self, batch: Any) -> dict[Any, Any]:
        """The entries of a batch but for the target."""
        found = entries(batch)
        if callable(self.target):
            target = self.target(batch)
            return {key: value for key, value in found.items() if value is not target}
        return {key: value for key, value in found.items() if key != self._key(batch, found)}

    @staticmethod
    def _read(inputs: dict[Any, Any], target: Any) -> Read:
        named = {"input": inputs[0]} if list(inputs) == [0] else inputs
        floats = tuple((name, tensor) for name, tensor in _tensors(named) if _is_checked(name, tensor))
        return Read(source_of(inputs), floats, target)


def entries(batch: Any) -> dict[Any, Any]:
    """The entries of a batch by index, key or name; none of what has neither."""
    if isinstance(batch, Mapping):
        return dict(batch)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return dict(zip(batch._fields, batch, strict=True))
    if isinstance(batch, (tuple, list)):
        return dict(enumerate(batch))
    if is_dataclass(batch) and not isinstance(batch, type):
        return {field.name: getattr(batch, field.name) for field in fields(batch)}
    if hasattr(batch, "keys") and hasattr(batch, "__getitem__"):
        return {key: batch[key] for key in batch.keys()}  # noqa: SIM118 - it may have keys and be no mapping
    return {}


def source_of(inputs: Mapping[Any, Any]) -> Any:
    """What a model reads first, of the inputs of a batch; None where there is nothing."""
    for name in INPUTS:
        if name in inputs:
            return inputs[name]
    return next((value for value in inputs.values() if _first_tensor(value) is not None), None)


def rows_of(source: Any, targets: int) -> int | None:
    """How many samples the inputs hold, or None where that cannot be told.

    Args:
        source: What a model reads first.
        targets: How many the target holds: a list of inputs may be a list of so many, or a list of parts of each.
    """
    if isinstance(source, PackedSequence):
        return int(source.batch_sizes[0])
    if isinstance(source, (list, tuple)) and len(source) == targets:
        return targets
    first = _first_tensor(source)
    return None if first is None or not first.ndim else first.size(0)


def shown_tensor(tensor: Tensor) -> str:
    """``"int64 (32,)"``."""
    return f"{dtype_name(tensor)} {tuple(tensor.shape)}" if not tensor.is_nested else f"nested {dtype_name(tensor)}"


def _is_checked(name: str, tensor: Tensor) -> bool:
    """Whether an input's values are looked at."""
    if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.is_meta:
        return False
    return not any(part in name for part in UNCHECKED)


def _key_of_target(batch: Any, found: dict[Any, Any]) -> Any:
    named = [name for name in TARGETS if name in found]
    if len(named) == 1:
        return named[0]
    if not named and isinstance(batch, (tuple, list)) and len(batch) == 2:
        return list(found)[1]
    raise UnclearTargetError(f"which entry is the target is not clear; pass target=, one of {_listed(found)}")


def _listed(found: dict[Any, Any]) -> str:
    return "; ".join(f"{key!r}: {_shown(value)}" for key, value in found.items()) or "none"


def _shown(value: Any) -> str:
    return shown_tensor(value) if isinstance(value, Tensor) else described(value)


def _first_tensor(value: Any) -> Tensor | None:
    return next((tensor for _, tensor in _tensors({"": value})), None)


def _tensors(values: Mapping[Any, Any]) -> list[tuple[str, Tensor]]:
    """The tensors among values, in lists, tuples and mappings too, by the name of the entry that they are in."""
    found = []
    for name, value in values.items():
        if isinstance(value, Tensor):
            found.append((str(name), value))
        elif isinstance(value, Mapping):
            found += _tensors(value)
        elif isinstance(value, (list, tuple)):
            found += [(str(name), tensor) for _, tensor in _tensors(dict(enumerate(value)))]
    return found
