"""What a mode does about a mistake: raise, warn, tell a callback, or add a note to native's exception."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import torch

from safe_ce import diagnosis
from safe_ce.call import Call, labels_in_range
from safe_ce.causes import BY_NAME
from safe_ce.contract import broken_clause
from safe_ce.diagnosis import log_fault
from safe_ce.findings import Finding, SafeCrossEntropyError, SafeCrossEntropyWarning, Severity
from safe_ce.repair import is_accepted
from safe_ce.report import render

if TYPE_CHECKING:
    from safe_ce.findings import OnFinding
    from safe_ce.guard import Arguments, Memory
    from safe_ce.modes import Mode

NEVER = -(2**62)
"""A streak that no number of looks makes long enough."""


def of_broken(memory: Memory, ignore: tuple[str, ...], on_finding: OnFinding, seen: Arguments) -> None:
    """Raise for a call that breaks the contract. Returns if native, asked, accepts it: native is the judge."""
    call = _call(memory, seen, values=True, rejected=True)
    native = None
    if diagnosis.may_ask_native(call):
        native = diagnosis.native_error(call)
        if native is None:
            return
    findings = diagnosis.findings_of(call, ignore)
    if findings:
        tell(on_finding, findings, "default")
        raise _error(findings, native)


def of_suspicious(memory: Memory, mode: Mode, ignore: tuple[str, ...], on_finding: OnFinding, seen: Arguments) -> None:
    """Raise or warn for a call of which provenance or a probe says that it may be a mistake."""
    values = mode == "strict" or seen[0].device.type == "cpu"
    call = _call(memory, seen, values=values, rejected=False)
    try:
        broken, in_range = broken_clause(call) is not None, labels_in_range(call)
    except Exception as fault:
        log_fault(fault)
        return
    if broken or (not in_range and mode == "warn"):
        return  # native will say so itself, and be explained
    if not in_range:
        # Said before the call: on an accelerator native would end the context, and on the CPU waste the memory.
        call = _call(memory, seen, values=values, rejected=True)
    findings = diagnosis.findings_of(call, ignore)
    if in_range:
        findings = _patient(memory, mode, diagnosis.tellable(findings))
    if not findings:
        return
    raised = tuple(
        finding
        for finding in findings
        if mode == "strict" or (mode == "default" and finding.severity is Severity.ERROR)
    )
    tell(on_finding, findings, mode)
    if raised:
        order = raised + tuple(finding for finding in findings if finding not in raised)
        if in_range:
            raise SafeCrossEntropyError(order, "accepts this call")
        raise _error(order, diagnosis.native_error(call) if diagnosis.may_ask_native(call) else None)
    for finding in findings:
        if finding.cause not in memory.announced:
            memory.announced[finding.cause] = finding
            warnings.warn(SafeCrossEntropyWarning(finding), stacklevel=_stacklevel())


def of_raised(
    memory: Memory,
    mode: Mode,
    ignore: tuple[str, ...],
    on_finding: OnFinding,
    arguments: Arguments,
    error: Exception,
) -> None:
    """Raise a diagnosis where native raised ``error``, or in warn mode add it as a note.

    Returns where the call is one that native accepts: then the exception only passed through it, as those of
    memory, of checkpointing and of a user's own hooks do.
    """
    call = _call(memory, arguments, values=True, rejected=True)
    try:
        accepted = is_accepted(call)
    except Exception as fault:
        log_fault(fault)
        return
    if accepted:
        return
    findings = diagnosis.findings_of(call, ignore)
    if not findings:
        return
    tell(on_finding, findings, mode)
    if mode != "warn":
        raise _error(findings, error)
    error.add_note(f"\nsafe_ce: {render(findings)}")


def of_construction(
    mode: Mode, ignore: tuple[str, ...], on_finding: OnFinding, call: Call, error: Exception | None
) -> None:
    """Raise or warn for what the constructor was given. ``error`` is what native's constructor raised, if it did."""
    findings = diagnosis.tellable(diagnosis.findings_of(call, ignore))
    if not findings:
        return
    tell(on_finding, findings, mode)
    if error is not None and mode == "warn":
        error.add_note(f"\nsafe_ce: {render(findings)}")
        return
    if error is not None or mode == "strict" or (mode == "default" and findings[0].severity is Severity.ERROR):
        raise _error(findings, error or _native_at_call(call))
    for finding in findings:
        warnings.warn(SafeCrossEntropyWarning(finding), stacklevel=_stacklevel())


def _native_at_call(call: Call) -> Exception | None:
    """What native will raise at the first call of a loss with these options."""
    input, target = torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)
    return diagnosis.native_error(Call(input, target, None, call.ignore_index, call.reduction, call.label_smoothing))


def _call(memory: Memory, arguments: Arguments, *, values: bool, rejected: bool) -> Call:
    earlier = tuple((tuple(shape), tuple(target)) for shape, target in memory.earlier)
    return Call(*arguments, earlier, rejected, "call", values)


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


def tell(on_finding: OnFinding, findings: tuple[Finding, ...], mode: Mode) -> None:
    """Hand findings to the callback, if there is one. In warn mode what it raises is logged."""
    if on_finding is None:
        return
    for finding in findings:
        try:
            on_finding(finding)
        except Exception as fault:
            if mode != "warn":
                raise
            log_fault(fault, "on_finding raised {}; training goes on")


def _error(findings: tuple[Finding, ...], native: Exception | None) -> SafeCrossEntropyError:
    if native is None:
        return SafeCrossEntropyError(findings)
    first = (str(native).splitlines() or [""])[0]
    return SafeCrossEntropyError(findings, f"{type(native).__name__}: {first}")


def _stacklevel() -> int:
    """How far up the stack the user's own line is: past this package and torch's module machinery."""
    frame = sys._getframe(1)
    level = 1
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("safe_ce.", "torch.nn.modules")):
            break
        frame = frame.f_back
        level += 1
    return level
