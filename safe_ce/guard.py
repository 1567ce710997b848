"""The path of every call: contract, provenance and probe, then native, and the mode's verdict.

A sound call passes through `guarded` and nothing else. Whatever builds a message lives in `safe_ce.verdict`,
which is imported the first time that something is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from safe_ce import contract, probe, provenance

if TYPE_CHECKING:
    from torch import Tensor

    from safe_ce.findings import Finding, OnFinding
    from safe_ce.modes import Mode

EARLIER = 4
SIGNATURES = 64

Arguments = tuple[Any, Any, Any, Any, Any, Any]
"""input, target, weight, ignore_index, reduction and label_smoothing."""


@dataclass(slots=True)
class Memory:
    """What a loss remembers of its calls: shapes, counts and findings. Never a tensor.

    Attributes:
        earlier: The shapes of input and target in the last sound calls; replaced and never changed, so that
            threads that share a loss may read it.
        looks: How many calls of each signature there were.
        announced: The findings that were warned about, by cause.
        streaks: Of the causes that need patience: the looks in a row that found them.
    """

    earlier: tuple[tuple[torch.Size, torch.Size], ...] = ()
    looks: dict[object, int] = field(default_factory=dict)
    announced: dict[str, Finding] = field(default_factory=dict)
    streaks: dict[str, int] = field(default_factory=dict)

    def is_due(self, signature: object) -> bool:
        """Count a call, and say whether its values are looked at."""
        if len(self.looks) >= SIGNATURES and signature not in self.looks:
            self.looks.clear()
        calls = self.looks[signature] = self.looks.get(signature, 0) + 1
        return probe.is_scheduled(calls)


def guarded(memory: Memory, mode: Mode, ignore: tuple[str, ...], on_finding: OnFinding, arguments: Arguments) -> Tensor:
    """Native's loss of a call, or what the mode does about its mistake."""
    input, target = arguments[:2]
    # A tracer records what it is asked, and must not be asked for shapes.
    plain_input = None if torch._C._is_tracing() else probe.as_plain(input)
    plain_target = None if plain_input is None else probe.as_plain(target)
    if plain_input is not None and plain_target is not None:
        seen = (plain_input, plain_target, *arguments[2:])
        if _is_broken(seen):
            if mode != "warn":
                _verdict().of_broken(memory, ignore, on_finding, seen)
        elif _is_suspicious(memory, mode, ignore, on_finding, seen):
            _verdict().of_suspicious(memory, mode, ignore, on_finding, seen)
    try:
        loss = contract.native(*arguments)
    except Exception as error:
        _verdict().of_raised(memory, mode, ignore, on_finding, arguments, error)
        raise
    if plain_input is not None and plain_target is not None and not plain_input.is_nested:
        memory.earlier = (*memory.earlier[1 - EARLIER :], (plain_input.shape, plain_target.shape))
    return loss


def _is_broken(seen: Arguments) -> bool:
    try:
        return contract.is_broken(seen[0], seen[1], seen[3])
    except RuntimeError:  # nested tensors of the strided kind have no shape
        return False


def _is_suspicious(memory: Memory, mode: Mode, ignore: tuple[str, ...], on_finding: OnFinding, seen: Arguments) -> bool:
    input = seen[0]
    if input.grad_fn is not None:
        found = provenance.activation(input)
        if found is not None and found.cause not in ignore:
            known = memory.announced.get(found.cause)
            if known is None:
                return True
            if on_finding is not None:
                _verdict().tell(on_finding, (known,), mode)
    try:
        return _values_are_odd(memory, mode, seen)
    except Exception as fault:
        _verdict().log_fault(fault)
        return False


def _values_are_odd(memory: Memory, mode: Mode, seen: Arguments) -> bool:
    input, target, weight, ignore_index, _, label_smoothing = seen
    strict = mode == "strict"
    if not strict:
        signature = (input.shape, target.shape, input.dtype, target.dtype, input.requires_grad)
        if not memory.is_due(signature):
            return False
    if provenance.scrambled_by(input) is not None:
        return True
    if not strict and input.device.type != "cpu":
        return False  # to read a value there is to wait for the device
    if not probe.is_readable(input) or not probe.is_readable(target):
        return False
    if weight is not None and not probe.is_readable(weight):
        return False
    return probe.deserves_a_closer_look(input, target, weight, ignore_index, label_smoothing, strict)


def _verdict() -> Any:
    from safe_ce import verdict

    return verdict
