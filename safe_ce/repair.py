"""Trying a repair: a shape cause is a hypothesis about a mistake, and a mistake has an inverse."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from safe_ce import probe
from safe_ce.call import labels_in_range
from safe_ce.contract import FLOATS, broken_clause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safe_ce.call import Call


@dataclass(frozen=True)
class Repair:
    """Statements that turn a rejected call into one that native accepts.

    Attributes:
        statements: The cause's own statements, and what else the call needed: a cast, a squeeze, a move.
        classes: The number of classes of the repaired call.
        labels_fit: Whether the target's values are ids of those classes; None where they cannot be read.
    """

    statements: str
    classes: int
    labels_fit: bool | None

    @property
    def fix(self) -> str | None:
        """The statements, unless the labels speak against them: then native would refuse the result too."""
        return None if self.labels_fit is False else self.statements


def executed(statements: Sequence[str], **names: Any) -> dict[str, Any] | None:
    """The names after running statements of a repair, or None where they do not even apply."""
    space = {"torch": torch, "F": F, **names}
    try:
        with probe.unobserved(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec("\n".join(statements), space)
    except Exception:
        return None  # whatever torch, or the object given, has to say of it
    return space


def is_accepted(call: Call) -> bool:
    """Whether native accepts a call, by its contract and its labels."""
    return broken_clause(call) is None and labels_in_range(call)


def attempt(call: Call, *statements: str, labels: Literal["kept", "made"] = "kept") -> Repair | None:
    """Try statements on stand-ins without values, and return the repair if the result meets the contract.

    A class-id target of the wrong dtype, with stray dimensions of size 1 or on another device than the logits
    is a second mistake that needs no second hypothesis: the statements that mend it are appended.

    Args:
        call: The rejected call.
        statements: Python that assigns ``input``, ``target``, ``weight`` or an option.
        labels: Whether the repaired target has the values of the old one (``"kept"``) or ids that fit by how they
            are made, as with an argmax (``"made"``).
    """
    names = executed(
        statements,
        input=_stand_in(call.input),
        target=_stand_in(call.target),
        weight=_stand_in(call.weight, grad=True),
        ignore_index=call.ignore_index,
    )
    if names is None:
        return None
    input, target = names["input"], names["target"]
    if not isinstance(input, Tensor) or not isinstance(target, Tensor) or not input.ndim:
        return None
    done = list(statements)
    ids = labels == "made" or _holds_ids(call)
    wanted = input.shape[:1] + input.shape[2:] if input.ndim > 1 else torch.Size()
    if ids and target.shape != input.shape:
        bare = [size for size in target.shape if size != 1] == [size for size in wanted if size != 1]
        if bare and target.ndim > len(wanted):
            target = target.reshape(wanted)
            done.append(f"target = target.reshape({_shape_source(tuple(wanted))})")
        if target.dtype is not torch.int64 and not (target.dtype is torch.uint8 and target.ndim < 2):
            target = target.long()
            done.append("target = target.long()")
    if isinstance(call.input, Tensor) and isinstance(call.target, Tensor) and call.input.device != call.target.device:
        if call.target.device.type == "meta":
            return None  # it has no values to move
        done.append("target = target.to(input.device)")
    weight = call.weight
    if isinstance(weight, Tensor) and isinstance(call.input, Tensor) and weight.device != call.input.device:
        if weight.device.type == "meta":
            return None
        if not any("weight.to(input.device)" in statement for statement in done):
            done.append("weight = weight.to(input.device)")
    mended = replace(
        call, input=input, target=target, weight=names["weight"], ignore_index=names["ignore_index"], rejected=False
    )
    if broken_clause(mended) is not None:
        return None
    classes = input.shape[1] if input.ndim > 1 else input.shape[0]
    fit: bool | None = True
    if labels == "kept" and target.shape != input.shape:
        fit = call.labels.fit(classes) if call.labels is not None else None
        if not target.numel():
            fit = True
    return Repair("\n".join(done), classes, fit)


def _holds_ids(call: Call) -> bool:
    target = call.target
    if not isinstance(target, Tensor) or target.is_complex():
        return False
    return target.dtype not in FLOATS or (call.labels is not None and call.labels.whole)


def _shape_source(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else str(shape)


def _stand_in(value: object, *, grad: bool = False) -> object:
    if not isinstance(value, Tensor):
        return value
    grad = grad and value.requires_grad
    return torch.empty(tuple(value.shape), dtype=value.dtype, device="meta", requires_grad=grad)
