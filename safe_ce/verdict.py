"""What a mode does about a mistake: raise, warn, tell a callback, or add a note to native's exception."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from safe_ce import arrival, contract, deferred, diagnosis, modes, probe
from safe_ce.call import Call, labels_in_range
from safe_ce.causes import BY_NAME
from safe_ce.contract import broken_clause
from safe_ce.faults import log, log_fault
from safe_ce.findings import Finding, SafeCrossEntropyError, SafeCrossEntropyWarning, Severity
from safe_ce.memory import CONSTRUCTIONS, FIRST, Sighting
from safe_ce.repair import is_accepted
from safe_ce.report import render
from safe_ce.settings import GUARDED_ALREADY, here

if TYPE_CHECKING:
    from types import FrameType

    from safe_ce.deferred import Evidence
    from safe_ce.guard import Arguments, Settings
    from safe_ce.memory import Memory
    from safe_ce.modes import Mode

NEVER = -(2**62)
"""A streak that no number of looks makes long enough."""


def of_broken(memory: Memory, settings: Settings, seen: Arguments) -> None:
    """Raise for a call that breaks the contract. Returns if native, asked, accepts it: native is the judge."""
    call = _call(memory, seen, values=True, rejected=True)
    native = None
    if diagnosis.may_ask_native(call):
        native = diagnosis.native_error(call)
        if native is None:
            return
    findings = diagnosis.findings_of(call, settings.ignore)
    if findings:
        tell(memory, settings, findings, alternatives=True)
        raise _error(findings, native)


def of_unrefused(memory: Memory, settings: Settings, arguments: Arguments) -> None:
    """Warn of a call that native would refuse, and that a function in its place has taken."""
    seen = (probe.as_plain(arguments[0]), probe.as_plain(arguments[1]), *arguments[2:])
    if seen[0] is None or seen[1] is None or not contract.is_broken(seen[0], seen[1], arguments[3]):
        return
    call = _call(memory, seen, values=True, rejected=True)
    _judge(memory, settings, diagnosis.findings_of(call, settings.ignore)[:1], None)


def of_suspicious(memory: Memory, settings: Settings, seen: Arguments) -> None:
    """Raise or warn for a call of which provenance or a probe says that it may be a mistake."""
    values = settings.mode == "strict" or seen[0].device.type in deferred.AT_ONCE
    call = _call(memory, seen, values=values, rejected=False)
    try:
        broken, in_range = broken_clause(call) is not None, labels_in_range(call)
    except Exception as fault:
        log_fault(fault)
        return
    if broken or (not in_range and settings.mode == "warn" and not settings.compiled):
        return  # native will say so itself, and be explained
    if not in_range:
        # Said before the call: on an accelerator native would end the context, and on the CPU waste the memory.
        call = replace(call, rejected=True)
    findings = diagnosis.findings_of(call, settings.ignore)
    if in_range or settings.mode == "warn":
        _judge(memory, settings, findings, "accepts this call")
    elif findings:
        tell(memory, settings, findings, alternatives=True)
        raise _error(findings, diagnosis.native_error(call) if diagnosis.may_ask_native(call) else None)


def of_arrived(memory: Memory, settings: Settings, *, wait: bool = False) -> None:
    """Raise or warn for earlier calls whose values have arrived from an accelerator."""
    for evidence in deferred.arrived(memory, wait=wait):
        of_evidence(memory, settings, evidence)


def of_evidence(memory: Memory, settings: Settings, evidence: Evidence) -> None:
    """Raise or warn for an earlier call, by what was sent of its values."""
    try:
        if not arrival.is_odd(evidence):
            return
        call = arrival.call_of(evidence)
        findings = _dated(memory, diagnosis.findings_of(call, settings.ignore))
    except Exception as fault:
        log_fault(fault)
        return
    _judge(memory, settings, findings, None if call.rejected else "accepts this call")


def flush(memory: Memory, settings: Settings) -> None:
    """Wait for what is under way, and raise or warn for it."""
    of_arrived(memory, settings, wait=True)
    findings = _of_ended_context(memory, settings)
    if findings:
        _judge(memory, settings, findings, None)


def _dated(memory: Memory, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(arrival.dated(finding, memory.schedule.calls) for finding in findings)


def _judge(memory: Memory, settings: Settings, findings: tuple[Finding, ...], native: str | None) -> None:
    """Raise or warn for what was found of a call that native accepts, or whose refusal was not waited for."""
    mode = settings.mode
    findings = _patient(memory, mode, diagnosis.tellable(findings))
    if not findings:
        return
    raised = tuple(
        finding
        for finding in findings
        if mode == "strict" or (mode == "default" and finding.severity is Severity.ERROR)
    )
    tell(memory, settings, findings)
    if raised:
        order = raised + tuple(finding for finding in findings if finding not in raised)
        raise SafeCrossEntropyError(order, native)
    for finding in findings:
        if finding.cause not in memory.announced:
            memory.announced[finding.cause] = finding
            _announce(finding)


def of_raised(memory: Memory, settings: Settings, arguments: Arguments, error: Exception) -> None:
    """Raise a diagnosis where native raised ``error``, or in warn mode add it as a note.

    Returns where the call is one that native accepts: then the exception only passed through it, as those of
    memory, of checkpointing and of a user's own hooks do. On an accelerator it may be that of an earlier call.
    """
    try:
        # First, as in an ended context nothing can be asked of the tensors at hand.
        findings = _of_ended_context(memory, settings)
        if not findings:
            input = arguments[0]
            far = isinstance(input, torch.Tensor) and input.device.type not in deferred.AT_ONCE
            values = settings.mode == "strict" or not far
            call = _call(memory, arguments, values=values, rejected=True)
            if is_accepted(call):
                return
            findings = diagnosis.findings_of(call, settings.ignore)
    except Exception as fault:
        if str(fault) != str(error):  # a device that has failed says the same to all who ask
            log_fault(fault)
        return
    if not findings:
        return
    tell(memory, settings, findings, alternatives=True)
    if settings.mode != "warn":
        raise _error(findings, error)
    error.add_note(f"\nsafe_ce: {render(findings)}")


def _of_ended_context(memory: Memory, settings: Settings) -> tuple[Finding, ...]:
    """What there is to say of the call under way whose labels ended the device's context, if one did."""
    for evidence in deferred.survivors(memory):
        call = arrival.call_of(evidence)
        if call.rejected:
            return _dated(memory, diagnosis.findings_of(call, settings.ignore))
    return ()


def of_construction(settings: Settings, call: Call, error: Exception | None) -> None:
    """Raise or warn for what the constructor was given. ``error`` is what native's constructor raised, if it did."""
    mode = settings.mode
    findings = diagnosis.tellable(diagnosis.findings_of(call, settings.ignore))
    if not findings:
        return
    tell(CONSTRUCTIONS, settings, findings)
    if error is not None and mode == "warn":
        error.add_note(f"\nsafe_ce: {render(findings)}")
        return
    if error is not None or mode == "strict" or (mode == "default" and findings[0].severity is Severity.ERROR):
        raise _error(findings, error or _native_at_call(call))
    for finding in findings:
        _announce(finding)


def _native_at_call(call: Call) -> Exception | None:
    """What native will raise at the first call of a loss with these options."""
    input, target = torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)
    return diagnosis.native_error(Call(input, target, None, call.ignore_index, call.reduction, call.label_smoothing))


def _call(memory: Memory, arguments: Arguments, *, values: bool, rejected: bool) -> Call:
    earlier = tuple((tuple(shape), tuple(target)) for shape, target in memory.earlier)
    return Call(*arguments, earlier, rejected, "call", values, number=memory.schedule.calls)


def _patient(memory: Memory, mode: Mode, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Leave out, outside strict mode, what has not been found often enough in a row."""
    if mode == "strict":
        return findings
    found = {finding.cause for finding in findings}
    for cause in [cause for cause in tuple(memory.streaks) if cause not in found]:
        memory.streaks[cause] = NEVER  # a look that did not find it: it never was the whole program
    kept = []
    for finding in findings:
        patience = BY_NAME[finding.cause].patience
        if patience > 1:
            memory.streaks[finding.cause] = memory.streaks.get(finding.cause, 0) + 1
            if memory.streaks[finding.cause] < patience:
                continue
        kept.append(finding)
    return tuple(kept)


def again(memory: Memory, settings: Settings, known: Finding) -> None:
    """Tell of a mistake that was warned about, and that the graph of this call shows as well."""
    if known.cause not in settings.ignore:
        tell(memory, settings, (replace(known, call=memory.schedule.calls),))


def tell(memory: Memory, settings: Settings, findings: tuple[Finding, ...], *, alternatives: bool = False) -> None:
    """Count findings, and hand them to the callback, if there is one. In warn mode what it raises is logged.

    Of findings that explain one failure in different ways, the best alone is counted.
    """
    for finding in findings[:1] if alternatives else findings:
        memory.found[finding.cause] += 1
        if finding.cause not in FIRST:
            frame = _users_frame()[0]
            FIRST[finding.cause] = Sighting(finding, f"{frame.f_code.co_filename}:{frame.f_lineno}")
    if settings.on_finding is None:
        return
    for finding in findings:
        try:
            with here(GUARDED_ALREADY):  # a callback's own calls of native's function are not guarded in their turn
                settings.on_finding(finding)
        except Exception as fault:
            if settings.mode != "warn":
                raise
            log_fault(fault, "on_finding raised {}; training goes on")


def _error(findings: tuple[Finding, ...], native: Exception | None) -> SafeCrossEntropyError:
    return SafeCrossEntropyError(findings, None if native is None else diagnosis.first_line(native))


def _announce(finding: Finding) -> None:
    """Warn of a finding, or log it where that is what the user asked for."""
    if modes.logs:
        log.warning("%s", finding, extra={"finding": finding}, stacklevel=_users_frame()[1])
    else:
        warnings.warn(SafeCrossEntropyWarning(finding), stacklevel=_users_frame()[1])


def _users_frame() -> tuple[FrameType, int]:
    """The frame of the user's own call, past this package and torch's modules, and how far up the caller's stack."""
    frame = sys._getframe(1)
    level = 1
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("safe_ce.", "torch.nn.modules", "torch.nn.functional")):
            break
        frame = frame.f_back
        level += 1
    return frame, level
