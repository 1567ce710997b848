"""The path of every call: what was sound before passes on to native, the rest is looked at first.

Whatever builds a message lives in `safe_ce.verdict`, which is imported the first time that something is wrong.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from safe_ce import contract, deferred, probe, provenance, recording
from safe_ce.memory import Signature
from safe_ce.schedule import is_scheduled
from safe_ce.settings import NOBODY, active

if TYPE_CHECKING:
    from collections.abc import Callable

    from safe_ce.findings import OnFinding
    from safe_ce.memory import Memory
    from safe_ce.modes import Mode
    from safe_ce.provenance import Activation
    from safe_ce.schedule import Probe

SMALL = 2**12
"""Logits in a call of which native costs so little that reading its loss every time would show."""

ALWAYS, NOW_AND_THEN, NEVER = 0, 1, 2
"""Which losses are read."""

_function_modes = torch._C._len_torch_function_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack

Arguments = tuple[Any, Any, Any, Any, Any, Any]
"""input, target, weight, ignore_index, reduction and label_smoothing."""


class Owner(Protocol):
    """What a call is guarded for: a loss, or one call of the function."""

    @property
    def probe(self) -> Probe | None: ...
    @property
    def ignore(self) -> tuple[str, ...]: ...
    @property
    def on_finding(self) -> OnFinding: ...


class Settings(NamedTuple):
    """How a call is guarded: the mode in force, what its owner says, and whether compiled code makes the call."""

    mode: Mode
    probe: Probe
    ignore: tuple[str, ...]
    on_finding: OnFinding
    compiled: bool = False


def guarded(
    native: Callable[..., Tensor],
    memory: Memory,
    mode: Mode,
    owner: Owner,
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: Any,
    reduction: Any,
    label_smoothing: Any,
) -> Tensor:
    """Native's loss of a call, or what the mode does about its mistake.

    A call of a signature that was sound before, on a CPU, between two looks, costs the comparisons below and one
    reading of the loss. benchmarks/ measures them: nothing is added here without.
    """
    usual = False
    modes = _function_modes()  # which see the shape of a tensor asked for, and are not to
    # While a graph is traced the sizes of a shape are tensors, and no such shape is known.
    if type(input) is Tensor and type(target) is Tensor and mode != "strict" and not modes:
        try:
            shape = input.shape
            signature = memory.sound.get(shape)
            if signature is not None:
                target_shape, dtype, target_dtype, _, recorded, node, reading = signature
                maker = input.grad_fn
                schedule = memory.schedule
                calls = schedule.calls + 1
                if (
                    calls < schedule.due
                    and target.shape == target_shape
                    and type(maker) is node
                    and (maker is not None or input.requires_grad is recorded)
                    and input.is_cpu
                    and input.dtype is dtype
                    and target.dtype is target_dtype
                ):
                    usual = True
                    schedule.calls = calls
                    memory.latest = shape
        except RuntimeError:  # nested tensors of the strided kind have no shape
            pass
    met = None
    if not usual:
        recorder = recording.active() if modes else None
        if recorder is not None and recorder.is_innermost:
            with recorder.aside():  # native and what looks at a call are not part of the trail, and see no mode
                return guarded(
                    native, memory, mode, owner, *(input, target, weight), ignore_index, reduction, label_smoothing
                )
        arguments = (input, target, weight, ignore_index, reduction, label_smoothing)
        if modes:
            with torch._C.DisableTorchFunction():
                met = _look_first(memory, settings(mode, owner), arguments)
        else:
            met = _look_first(memory, settings(mode, owner), arguments)
    try:
        loss = native(
            input,
            target,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    except Exception as error:
        arguments = (input, target, weight, ignore_index, reduction, label_smoothing)
        _verdict().of_raised(memory, settings(mode, owner), arguments, error)
        raise
    # A NaN tells at once of NaN logits and of a batch that is ignored whole, and an item of a CPU tensor costs less
    # than any look at the logits. Modes of the user's are not to see it.
    if usual:
        # Half of the calls, in an order (that of Thue and Morse) with which no program keeps step.
        if reading and (reading == NEVER or calls.bit_count() & 1):
            return loss
    elif met is None:
        if native is not contract.alone and mode == "warn":
            arguments = (input, target, weight, ignore_index, reduction, label_smoothing)
            _verdict().of_unrefused(memory, settings(mode, owner), arguments)
        return loss
    else:
        memory.remember(*met)
        if modes or met[1].reading == NEVER or not probe.is_readable(loss):
            return loss
    if type(loss) is Tensor and not loss.ndim and loss.is_cpu and not _dispatch_modes():
        try:
            value = loss.item()
        except RuntimeError:  # under vmap
            return loss
        if value != value:  # noqa: PLR0124 - NaN alone is not itself, and the question costs nothing
            _look_after(memory, mode, owner, (input, target, weight, ignore_index, reduction, label_smoothing))
    return loss


def look(memory: Memory, mode: Mode, owner: Owner, arguments: Arguments) -> None:
    """Look at a call that compiled code is about to make."""
    met = _look_first(memory, settings(mode, owner)._replace(compiled=True), arguments)
    if met is not None:
        memory.remember(*met)


def settings(mode: Mode, owner: Owner) -> Settings:
    """How a call is guarded for its owner in a mode; what it does not say itself, who guards native's callers does."""
    here = active() or NOBODY
    probe = owner.probe or ("every" if mode == "strict" else "scheduled")
    return Settings(mode, probe, (*owner.ignore, *here.ignore), owner.on_finding or here.on_finding)


def _look_first(memory: Memory, settings: Settings, arguments: Arguments) -> tuple[torch.Size, Signature] | None:
    """Look at a call before native does. Returns its signature, to be remembered if native accepts it."""
    # A tracer records what it is asked, and must not be asked for more.
    input = None if torch._C._is_tracing() else probe.as_plain(arguments[0])
    target = None if input is None else probe.as_plain(arguments[1])
    if input is None or target is None or input.is_nested or target.is_nested:
        memory.schedule.calls += 1
        return None
    if memory.under_way:
        _verdict().of_arrived(memory, settings)
    seen = (input, target, *arguments[2:])
    if contract.is_broken(input, target, arguments[3]):
        memory.schedule.calls += 1
        if settings.mode != "warn":
            _verdict().of_broken(memory, settings, seen)
        return None
    try:
        activation, signature = _from_the_graph(input, target, never=settings.probe == "never")
        due = _is_due(memory, settings, input.shape, signature)
        known = None if activation is None else memory.announced.get(activation.cause)
        severe = settings.mode == "strict" or (known is not None and known.severity == "error")
        told = known is not None and (settings.mode == "warn" or not severe)
        news = activation is not None and not told and activation.cause not in settings.ignore
        suspicious = news or _values_are_odd(memory, settings, seen, due=due)
    except Exception as fault:
        # What is wrong with a device native says, next.
        if input.device.type in deferred.AT_ONCE or not isinstance(fault, RuntimeError):
            _verdict().log_fault(fault)
        return None
    if suspicious:
        _verdict().of_suspicious(memory, settings, seen)
    elif known is not None:
        _verdict().again(memory, settings, known)
    return input.shape, signature


def _from_the_graph(input: Tensor, target: Tensor, *, never: bool) -> tuple[Activation | None, Signature]:
    node = input.grad_fn
    activation = None if node is None else provenance.activation(input)
    at_a_glance = activation is None and not provenance.is_passing(node) and input.device.type in deferred.AT_ONCE
    kind = (input.dtype, target.dtype, input.device, input.requires_grad)
    reading = NEVER if never else ALWAYS if math.prod(input.shape) > SMALL else NOW_AND_THEN
    return activation, Signature(target.shape, *kind, type(node) if at_a_glance else _NoNode, reading)


class _NoNode:
    """No autograd node is of this class: the graph of such a call is walked each time."""


def _is_due(memory: Memory, settings: Settings, shape: torch.Size, signature: Signature) -> bool:
    """Count a call, and say whether its values are looked at."""
    known = memory.sound.get(shape)
    if known is None or known[:5] != signature[:5]:
        memory.schedule.meet((len(shape), len(signature.target), *signature[1:5]))
    return memory.schedule.count(settings.probe)


def _values_are_odd(memory: Memory, settings: Settings, seen: Arguments, *, due: bool) -> bool:
    input, target, weight, ignore_index, _, label_smoothing = seen
    if due and provenance.scrambled_by(input) is not None:
        return True
    strict = settings.mode == "strict"
    at_once = strict or input.device.type in deferred.AT_ONCE
    labels_alone = at_once and not due
    if settings.probe == "never" or (labels_alone and not settings.compiled):
        return False  # on a CPU native itself tells of bad labels, but for compiled code
    if not all(probe.is_readable(tensor) for tensor in (input, target, weight) if tensor is not None):
        return False
    if labels_alone:
        return not probe.labels_fit(input, target, ignore_index)
    memory.probes += due
    if at_once:
        labels = strict or settings.compiled or not input.is_cpu
        return probe.deserves_a_closer_look(
            input, target, weight, ignore_index, label_smoothing, thorough=strict, labels=labels
        )
    deferred.send(memory, settings, seen, due=due)
    return False


def _look_after(memory: Memory, mode: Mode, owner: Owner, arguments: Arguments) -> None:
    """Look at a call whose loss is NaN. The first ones are diagnosed, then ever fewer."""
    memory.odd_losses += 1
    if not is_scheduled(memory.odd_losses):
        return
    seen = (probe.as_plain(arguments[0]), probe.as_plain(arguments[1]), *arguments[2:])
    if all(tensor is None or probe.is_readable(tensor) for tensor in seen[:3]):
        _verdict().of_suspicious(memory, settings(mode, owner), seen)


def _verdict() -> Any:
    from safe_ce import verdict

    return verdict
