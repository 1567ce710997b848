"""Trying a repair: a shape cause is a hypothesis about a mistake, and a mistake has an inverse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from safe_ce import probe
from safe_ce.call import labels_in_range
from safe_ce.contract import FLOATS, broken_clause, index_target_shape
from safe_ce.interruptions import interrupts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safe_ce.call import Call


Form = tuple[tuple[int, ...], torch.dtype]


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
        with probe.unobserved(), probe.unwarned():
            exec("\n".join(statements), space)
    except Exception as error:
        if interrupts(error):
            raise
        return None  # whatever torch, or the object given, has to say of it
    return space


def is_accepted(call: Call) -> bool:
    """Whether native accepts a call, by its contract and its labels."""
    return broken_clause(call) is None and labels_in_range(call)


def attempt(
    call: Call,
    *statements: str,
    labels: Literal["kept", "made"] = "kept",
    gives: Mapping[str, Form] | None = None,
) -> Repair | None:
    """Try statements on stand-ins without values, and return the repair if the result meets the contract.

    A class-id target of the wrong dtype, with stray dimensions of size 1 or on another device than the logits
    is a second mistake that needs no second hypothesis: the statements that mend it are appended.

    Args:
        call: The rejected call.
        statements: Python that assigns ``input``, ``target``, ``weight`` or an option. Views are run as they are.
        labels: Whether the repaired target has the values of the old one (``"kept"``) or ids that fit by how they
            are made, as with an argmax (``"made"``).
        gives: The shape and dtype of a name that a statement computes, rather than views: to run it on a large
            tensor would cost what an explanation must not.
    """
    given = (call.input, call.target, call.weight)
    if any(isinstance(value, Tensor) and value.layout is not torch.strided for value in given):
        return None  # a stand-in cannot show what native makes of the layout
    assigned = {statement.split(" = ")[0] for statement in statements}
    gives = {name: form for name, form in (gives or {}).items() if name in assigned}
    names = executed(
        [statement for statement in statements if statement.split(" = ")[0] not in gives],
        input=_stand_in(call.input),
        target=_stand_in(call.target),
        weight=_stand_in(call.weight),
        ignore_index=call.ignore_index,
    )
    if names is None:
        return None
    names |= {name: _empty(*form) for name, form in gives.items()}
    input, target = names["input"], names["target"]
    if not isinstance(input, Tensor) or not isinstance(target, Tensor) or not input.ndim:
        return None
    done = list(statements)
    if labels == "made" or _holds_ids(call):
        target, more = _as_ids(target, tuple(input.shape))
        done += more
    moves = _moves(call, done)
    if moves is None:
        return None
    done += moves
    mended = replace(
        call,
        input=input,
        target=target,
        weight=names["weight"],
        ignore_index=names["ignore_index"],
        rejected=False,
        values=False,  # stand-ins have none
    )
    if broken_clause(mended) is not None:
        return None
    classes = input.shape[1] if input.ndim > 1 else input.shape[0]
    fit: bool | None = True
    if labels == "kept" and target.shape != input.shape and target.numel():
        fit = call.labels.fit(classes) if call.labels is not None else None
    return Repair("\n".join(done), classes, fit)


def _as_ids(target: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, list[str]]:
    """A stand-in for class ids with stray dimensions removed and of dtype int64, and the statements for that."""
    wanted = index_target_shape(shape)
    if tuple(target.shape) == shape:
        return target, []
    statements = []
    bare = [size for size in target.shape if size != 1] == [size for size in wanted if size != 1]
    if bare and target.ndim > len(wanted):
        target = target.reshape(wanted)
        # The next batch may be of another size.
        sizes = (-1, *wanted[1:]) if wanted and 0 not in wanted else wanted
        statements.append(f"target = target.reshape({', '.join(map(str, sizes)) if sizes else sizes})")
    if target.dtype is not torch.int64 and not (target.dtype is torch.uint8 and target.ndim < 2):
        target = _empty(tuple(target.shape), torch.int64)
        statements.append("target = target.long()")
    return target, statements


def _moves(call: Call, done: list[str]) -> list[str] | None:
    """The statements that bring target and weight to the logits' device; None where there is nothing to move."""
    if not isinstance(call.input, Tensor):
        return []
    moves = []
    for name, value in (("target", call.target), ("weight", call.weight)):
        if isinstance(value, Tensor) and value.device != call.input.device:
            if value.device.type == "meta":
                return None
            move = f"{name} = {name}.to(input.device)"
            moves += [move] if move not in done else []
    return moves


def _holds_ids(call: Call) -> bool:
    target = call.target
    if not isinstance(target, Tensor) or target.is_complex():
        return False
    return target.dtype not in FLOATS or (call.labels is not None and call.labels.whole)


def _stand_in(value: object) -> object:
    """A tensor's shape and dtype over a single element; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    stand_in = _empty(tuple(value.shape), value.dtype)
    return stand_in.requires_grad_() if value.requires_grad else stand_in


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    # Not on the meta device: many of its kernels are Python, which takes a second to import.
    return torch.zeros((), dtype=dtype, device="cpu").expand(shape)
