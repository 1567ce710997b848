"""The path of every call: contract, provenance and probe, then native, and the mode's verdict.

A sound call passes through `guarded` and nothing else. Whatever builds a message lives in `safe_ce.verdict`,
which is imported the first time that something is wrong.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from safe_ce import contract, probe, provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from safe_ce.findings import Finding
    from safe_ce.modes import Mode

EARLIER = 4
SIGNATURES = 64


class Memory:
    """What a loss remembers of its calls: shapes, counts and names. Never a tensor."""

    __slots__ = ("announced", "earlier", "looks", "streaks")

    def __init__(self) -> None:
        self.earlier: deque[tuple[torch.Size, torch.Size]] = deque(maxlen=EARLIER)
        """The shapes of the last sound calls."""
        self.looks: dict[object, int] = {}
        """How many calls of each signature there were."""
        self.announced: set[str] = set()
        """The causes that were warned about."""
        self.streaks: dict[str, int] = {}
        """Of the causes that need patience: the looks in a row that found them."""

    def is_due(self, signature: object) -> bool:
        """Count a call, and say whether its values are looked at."""
        if len(self.looks) >= SIGNATURES and signature not in self.looks:
            self.looks.clear()
        calls = self.looks[signature] = self.looks.get(signature, 0) + 1
        return probe.is_due(calls)


def guarded(
    memory: Memory,
    mode: Mode,
    ignore: tuple[str, ...],
    on_finding: Callable[[Finding], object] | None,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    """Native's loss of a call, or what the mode does about its mistake."""
    call = (input, target, weight, ignore_index, reduction, label_smoothing)
    plain = probe.is_plain(input) and probe.is_plain(target) and not torch._C._is_tracing()
    if plain:
        if contract.is_broken(input, target, ignore_index):
            if mode != "warn":
                _verdict().of_broken(memory, ignore, on_finding, call)
        elif _is_suspicious(memory, mode, ignore, on_finding is not None, call):
            _verdict().of_suspicious(memory, mode, ignore, on_finding, call)
    try:
        loss = F.cross_entropy(
            input,
            target,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    except Exception as error:
        raised = _verdict().of_raised(memory, mode, ignore, on_finding, call, error)
        if raised is error:
            raise
    else:
        if plain:
            memory.earlier.append((input.shape, target.shape))
        return loss
    raise raised from None


def _is_suspicious(memory: Memory, mode: Mode, ignore: tuple[str, ...], told: bool, call: tuple[Any, ...]) -> bool:
    input = call[0]
    if input.grad_fn is not None:
        found = provenance.activation(input)
        if found is not None and found.cause not in ignore and (told or found.cause not in memory.announced):
            return True
    try:
        return _values_are_odd(memory, mode, call)
    except Exception as fault:
        _verdict().log_fault(fault)
        return False


def _values_are_odd(memory: Memory, mode: Mode, call: tuple[Any, ...]) -> bool:
    input, target, weight, ignore_index, _, label_smoothing = call
    strict = mode == "strict"
    if not strict and input.device.type != "cpu":
        return False  # to read a value there is to wait for the device
    if not strict and not memory.is_due((input.shape, target.shape, input.dtype, target.dtype, input.requires_grad)):
        return False
    if not probe.is_readable(input) or not probe.is_readable(target):
        return False
    if weight is not None and not probe.is_readable(weight):
        return False
    return probe.deserves_a_closer_look(input, target, weight, ignore_index, label_smoothing, strict)


def _verdict() -> Any:
    from safe_ce import verdict

    return verdict
