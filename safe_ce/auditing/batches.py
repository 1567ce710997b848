"""Reading a batch: which entry is the target, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from safe_ce import probe
from safe_ce.causes.cause import a, described, dtype_name, plural
from safe_ce.contract import FLOATS

TARGETS = ("labels", "label", "label_ids", "targets", "target", "y")
"""Names under which a batch holds the target, where it has names and exactly one of these is among them."""

INPUTS = (
    *("input_ids", "pixel_values", "input_values", "input_features", "inputs_embeds"),
    *("inputs", "input", "images", "image", "features", "x"),
)
"""Names of what a model reads first, in the order in which they are looked for."""

UNCHECKED = {"mask", "masks", "bias"}
"""Words in the names of inputs in which an infinity is meant."""

LISTED = 12
"""Entries of a batch that a message lists."""

Target = Hashable | Callable[[Any], Any]


class BadLoaderError(ValueError):
    """What was given cannot be looked through, or not so."""


class UnclearTargetError(BadLoaderError):
    """It is not clear which entry of a batch is the target; the text lists those that may be."""


class Read(NamedTuple):
    """A batch, read.

    Attributes:
        inputs: Its entries but for the target.
        name: That of what a model reads first.
        source: What a model reads first: a tensor, or a list, tuple or mapping of them.
        floats: The floating-point tensors among the inputs, by name.
        target: The target.
        keys: Where in the batch the last two are found; None where they are not found so.
    """

    inputs: dict[Any, Any]
    name: str
    source: Any
    floats: tuple[tuple[str, Tensor], ...]
    target: Any
    keys: tuple[Any, Any] | None = None


class Reader:
    """Reads batches of one loader. The first decides which entry is the target, unless that was said."""

    def __init__(self, target: Target | None) -> None:
        self.target = target
        self.pairs = False
        """Whether batches are pairs of an input and a target, as they are."""
        self._made_of: set[Any] | None = None
        """The entries that a callable makes the target of, and that are no inputs, once that is known."""

    def __call__(self, batch: Any) -> Read:
        if isinstance(batch, DataLoader):
            raise BadLoaderError("these are loaders, which have batches of their own: audit one of them")
        if batch is None:
            raise BadLoaderError(
                "a batch is None, as a collate_fn gives it that leaves out every sample:"
                " audit(batch for batch in loader if batch is not None) leaves out the batch"
            )
        found = entries(batch)
        if callable(self.target):
            target = self.target(batch)
            if self._made_of is None:
                self._made_of = _origins(found, target)
            return _read({key: value for key, value in found.items() if key not in self._made_of}, target)
        if not found:
            raise UnclearTargetError(
                f"a batch is {_shown_whole(batch)}: pass target=, a callable that picks the target out of it"
            )
        if self.target is None and _are_samples(batch):
            raise BadLoaderError(
                f"a batch is a list of {plural(len(batch), 'sample')}: a collate_fn makes tensors of them, such as"
                " torch.utils.data.default_collate"
            )
        if self.target is None:
            self.target = _key_of_target(batch, found)
        key = self._key(batch, found)
        if key not in found:
            raise UnclearTargetError(f"the batch has no entry {key!r}; it has {_listed(found)}")
        target = found[key]
        if isinstance(target, Mapping) or (isinstance(target, (list, tuple)) and _has_parts(target)):
            raise UnclearTargetError(f"the target is {a(target)}; pass target=, a callable: {_picked(key, target)}")
        self.pairs = list(found) == [0, 1] and key == 1
        read = _read({name: value for name, value in found.items() if name != key}, target)
        if isinstance(batch, (Mapping, list, tuple)) and not hasattr(batch, "_fields") and read.inputs:
            return read._replace(keys=(_name_of_source(read.inputs), key))
        return read

    def _key(self, batch: Any, found: dict[Any, Any]) -> Any:
        """The target's key; an index, which may count from the end, is one of a tuple with names too."""
        target = self.target
        if isinstance(target, int) and not isinstance(batch, Mapping) and -len(found) <= target < len(found):
            return list(found)[target]
        return target


def _origins(found: dict[Any, Any], target: Any) -> set[Any]:
    """The entries of a batch that a target is, in whatever shape and dtype; else those that usually are one.

    What a model reads is none: a language model's labels are its inputs as well, or a part of them.
    """
    if len(found) == 1:
        return set()
    others = {key: value for key, value in found.items() if key not in INPUTS}
    same = [key for key, value in others.items() if value is target]
    if same:
        return {key for key in same if key in TARGETS} or {same[-1]}
    for is_origin in (_is_view, _has_same_values):
        keys = [key for key, value in others.items() if is_origin(value, target)]
        if len(keys) == 1:
            return set(keys)
    if list(found) == [0, 1]:
        return set() if _shares_memory(found[0], target) else {1}
    return {key for key in found if key in TARGETS}


def _are_readable(value: Any, target: Any) -> bool:
    return all(isinstance(each, Tensor) and not each.is_nested and probe.is_readable(each) for each in (value, target))


def _shares_memory(value: Any, target: Any) -> bool:
    if not _are_readable(value, target):
        return False
    memory: int = target.untyped_storage().data_ptr()
    return memory != 0 and value.untyped_storage().data_ptr() == memory  # 0: that of a tensor of no values


def _is_view(value: Any, target: Any) -> bool:
    """Whether a target is an entry in another shape."""
    return _shares_memory(value, target) and value.data_ptr() == target.data_ptr() and value.numel() == target.numel()


def _has_same_values(value: Any, target: Any) -> bool:
    """Whether a target is an entry in another dtype. That all values are alike may be chance."""
    value = as_tensor(value)
    if not _are_readable(value, target) or value.is_complex() or value.numel() != target.numel() or not value.numel():
        return False
    values = value.reshape(-1).double().cpu()
    return bool((values != values[0]).any()) and torch.equal(values, target.reshape(-1).double().cpu())


def _read(inputs: dict[Any, Any], target: Any) -> Read:
    name = _name_of_source(inputs)
    shown = "input" if list(inputs) == [0] else f"input {name}" if isinstance(name, int) else str(name)
    named = {f"input {key}" if isinstance(key, int) else key: value for key, value in inputs.items()}
    named = {"input": inputs[0]} if list(inputs) == [0] else named
    floats = tuple((part, tensor) for part, tensor in tensors_in(named) if _is_checked(part, tensor))
    source = inputs.get(name)
    tensor = as_tensor(source)
    return Read(inputs, shown, source if tensor is None else tensor, floats, target)


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
    if isinstance(batch, Tensor) or not hasattr(batch, "__dict__"):
        return {}
    return {name: value for name, value in vars(batch).items() if not name.startswith("_")}


def _name_of_source(inputs: Mapping[Any, Any]) -> Any:
    """The name of what a model reads first, of the inputs of a batch; None where there is nothing."""
    for name in INPUTS:
        if name in inputs:
            return name
    tensors = {name: tensor for name, value in inputs.items() if (tensor := first_tensor(value)) is not None}
    # What is an integer for each sample is its number or its length, where there is something larger.
    larger = [name for name, each in tensors.items() if each.is_nested or each.ndim > 1 or each.is_floating_point()]
    return next(iter([*larger, *tensors, *inputs]), None)


def shown_tensor(tensor: Tensor) -> str:
    """``"int64 (32,)"``."""
    return f"{dtype_name(tensor)} {tuple(tensor.shape)}" if not tensor.is_nested else f"nested {dtype_name(tensor)}"


def _is_checked(name: str, tensor: Tensor) -> bool:
    """Whether an input's values are looked at."""
    return (
        tensor.dtype in FLOATS
        and not tensor.is_nested
        and probe.is_readable(tensor)
        and not set(name.split("_")) & UNCHECKED
    )


def _key_of_target(batch: Any, found: dict[Any, Any]) -> Any:
    named = [name for name in TARGETS if name in found]
    if len(named) == 1:
        return named[0]
    if not named and isinstance(batch, (tuple, list)) and len(batch) == 2:
        return list(found)[1]
    raise UnclearTargetError(f"which entry is the target is not clear; pass target=, one of {_listed(found)}")


def _picked(key: Any, target: Any) -> str:
    """A callable that picks the target out of an entry that holds several tensors, and what there is to be picked."""
    if isinstance(target, (list, tuple)) and all(isinstance(each, Mapping) for each in target):
        parts = _listed(entries(target[0]))
        return f"lambda batch: torch.cat([each[...] for each in batch[{key!r}]]), each of {parts}"
    return f"lambda batch: batch[{key!r}][...], of {_listed(entries(target))}"


def _listed(found: dict[Any, Any]) -> str:
    shown = [f"{key!r}: {_shown(value)}" for key, value in islice(found.items(), LISTED)]
    return "; ".join([*shown, *(["..."] if len(found) > LISTED else [])]) or "none"


def _shown(value: Any) -> str:
    return shown_tensor(value) if isinstance(value, Tensor) else described(value)


def _shown_whole(batch: Any) -> str:
    return f"one tensor, {shown_tensor(batch)}" if isinstance(batch, Tensor) else a(batch)


def _has_parts(target: list[Any] | tuple[Any, ...]) -> bool:
    """Whether there are tensors in a list, and not only labels, one by one."""
    return first_tensor(target) is not None and not all(map(is_single, target))


def is_single(target: Any) -> bool:
    """Whether it is what one sample has, without a dimension: a number, a name, a tensor or an array."""
    tensor = as_tensor(target)
    if tensor is None:
        return isinstance(target, str) or not hasattr(target, "__len__")
    return not tensor.is_nested and not tensor.ndim


def count_of(target: Any) -> int:
    """How many targets there are."""
    if is_single(target):
        return 1
    return target.size(0) if isinstance(target, Tensor) else len(target)


def _are_samples(batch: Any) -> bool:
    """Whether a batch is a list of samples as a data set gives them, each with its label."""
    if not isinstance(batch, (list, tuple)) or hasattr(batch, "_fields") or len(batch) < 2:
        return False
    kinds = {tuple((key, _kind(value)) for key, value in entries(sample).items()) for sample in batch}
    first = entries(batch[0]).values()
    return len(kinds) == 1 and first_tensor(batch[0]) is not None and any(map(is_single, first))


def _kind(value: Any) -> object:
    tensor = as_tensor(value)
    return type(value) if tensor is None else (tensor.dtype, tensor.is_nested or tensor.ndim)


def as_tensor(value: Any) -> Tensor | None:
    """A tensor, or an array of NumPy's as one; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if (
        not hasattr(value, "__array_interface__")
        or getattr(value, "dtype", None) is None
        or value.dtype.kind not in "biuf"
    ):
        return None
    with probe.unwarned():  # of an array that cannot be written to
        try:
            return torch.as_tensor(value)
        except ValueError:  # it runs backwards, or in another byte order
            return torch.as_tensor(value.astype(value.dtype.newbyteorder("="), order="C"))
        except TypeError:  # there is no such dtype
            return None


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in a value, or None."""
    return next((tensor for _, tensor in tensors_in({"": value})), None)


def tensors_in(values: Mapping[Any, Any]) -> list[tuple[str, Tensor]]:
    """The tensors among values, in lists, tuples and mappings too, by the name of the entry that they are in."""
    found = []
    for name, value in values.items():
        tensor = as_tensor(value)
        if tensor is not None:
            found.append((str(name), tensor))
        elif isinstance(value, Mapping):
            found += tensors_in(value)
        elif isinstance(value, (list, tuple)):
            found += [(str(name), tensor) for _, tensor in tensors_in(dict(enumerate(value)))]
    return found
