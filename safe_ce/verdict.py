"""What a mode does about a mistake: raise, warn, tell a callback, or add a note to native's exception."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any

import torch

from safe_ce import diagnosis
from safe_ce.call import Call, labels_in_range
from safe_ce.causes import BY_NAME
from safe_ce.contract import broken_clause
from safe_ce.findings import Finding, SafeCrossEntropyError, SafeCrossEntropyWarning, Severity
from safe_ce.report import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from safe_ce.guard import Memory
    from safe_ce.modes import Mode

    OnFinding = Callable[[Finding], object] | None

log = logging.getLogger("safe_ce")
_faults: set[str] = set()

# Failures of the machine, not of the call.
NOT_THE_CALL = (torch.cuda.OutOfMemoryError, MemoryError)


def of_broken(memory: Memory, ignore: tuple[str, ...], on_finding: OnFinding, call: tuple[Any, ...]) -> None:
    """Raise for a call that breaks the contract. Returns if native, asked, accepts it: native is the judge."""
    record = _record(memory, call, rejected=True)
    native = None
    if diagnosis.may_ask_native(record):
        native = diagnosis.native_error(record)
        if native is None:
            return
    findings = _findings(record, ignore)
    if findings:
        _tell(on_finding, findings, "default")
        raise _error(findings, native) from None


def of_suspicious(
    memory: Memory, mode: Mode, ignore: tuple[str, ...], on_finding: OnFinding, call: tuple[Any, ...]
) -> None:
    """Raise or warn for a call of which provenance or a probe says that it may be a mistake."""
    record = _record(memory, call, rejected=False)
    try:
        clause, refused = broken_clause(record), not labels_in_range(record)
    except Exception as fault:
        log_fault(fault)
        return
    if clause is not None or (refused and mode == "warn"):
        return  # native will say so itself, and be explained
    if refused:
        # Said before the call: on an accelerator native would end the context, and on the CPU waste the memory.
        record = _record(memory, call, rejected=True)
    findings = _findings(record, ignore)
    if not refused:
        findings = diagnosis.tellable(findings)
    findings = _patient(memory, mode, findings)
    if not findings:
        return
    raised = tuple(
        finding
        for finding in findings
        if mode == "strict" or (mode == "default" and finding.severity is Severity.ERROR)
    )
    if raised:
        _tell(on_finding, findings, mode)
        order = raised + tuple(finding for finding in findings if finding not in raised)
        native = diagnosis.native_error(record) if diagnosis.may_ask_native(record) else None
        raise _error(order, native) from None
    new = tuple(finding for finding in findings if finding.cause not in memory.announced)
    if on_finding is not None:
        _tell(on_finding, findings, mode)
    for finding in new:
        memory.announced.add(finding.cause)
        warnings.warn(SafeCrossEntropyWarning(finding), stacklevel=_stacklevel())


def of_raised(
    memory: Memory,
    mode: Mode,
    ignore: tuple[str, ...],
    on_finding: OnFinding,
    call: tuple[Any, ...],
    error: Exception,
) -> Exception:
    """The exception to raise where native raised ``error``: a diagnosis, or native's own with a note."""
    if isinstance(error, (SafeCrossEntropyError, *NOT_THE_CALL)):
        return error
    findings = _findings(_record(memory, call, rejected=True), ignore)
    if not findings:
        return error
    _tell(on_finding, findings, mode)
    if mode == "warn":
        error.add_note(_note(findings))
        return error
    return _error(findings, error)


def of_construction(
    mode: Mode, ignore: tuple[str, ...], on_finding: OnFinding, record: Call, error: Exception | None
) -> None:
    """Raise or warn for what the constructor was given. ``error`` is what native's constructor raised, if it did."""
    findings = diagnosis.tellable(_findings(record, ignore, construction=True))
    if not findings:
        return
    _tell(on_finding, findings, mode)
    if mode == "warn":
        if error is not None:
            error.add_note(_note(findings))
            return
    elif error is not None or mode == "strict" or findings[0].severity is Severity.ERROR:
        raise _error(findings, error or _native_at_call(record)) from None
    for finding in findings:
        warnings.warn(SafeCrossEntropyWarning(finding), stacklevel=_stacklevel())


def _native_at_call(record: Call) -> Exception | None:
    """What native will raise at the first call of a loss with these options."""
    return diagnosis.native_error(
        Call(
            torch.zeros(1, 2),
            torch.zeros(1, dtype=torch.int64),
            None,
            record.ignore_index,
            record.reduction,
            record.label_smoothing,
        )
    )


CONSTRUCTION = ("loss-class-called-as-function", "weight-not-tensor", "weight-invalid", "invalid-option")


def _findings(record: Call, ignore: tuple[str, ...], construction: bool = False) -> tuple[Finding, ...]:
    """The findings of a call; none, and one line in the log, where the diagnosis itself fails."""
    others = (name for name in BY_NAME if name not in CONSTRUCTION) if construction else ()
    try:
        return diagnosis.findings_of(record, (*ignore, *others))
    except Exception as fault:
        log_fault(fault)
        return ()


def log_fault(fault: Exception) -> None:
    """Log a fault of the guard's own, once per kind: it must not stop anybody's training."""
    kind = f"{type(fault).__name__}: {fault}"
    if kind not in _faults:
        _faults.add(kind)
        log.error("safe_ce could not diagnose a call (%s); please report this", kind, exc_info=fault)


def _record(memory: Memory, call: tuple[Any, ...], rejected: bool) -> Call:
    earlier = tuple((tuple(shape), tuple(target)) for shape, target in memory.earlier)
    input, target, weight, ignore_index, reduction, label_smoothing = call
    return Call(input, target, weight, ignore_index, reduction, label_smoothing, earlier, rejected)


def _patient(memory: Memory, mode: Mode, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Leave out, outside strict mode, what has not been found often enough in a row."""
    if mode == "strict":
        return findings
    found = {finding.cause for finding in findings}
    kept = []
    for cause in memory.streaks.keys() - found:
        memory.streaks[cause] = -(2**62)  # a look that did not find it: it never was the whole program
    for finding in findings:
        patience = BY_NAME[finding.cause].patience
        if patience > 1:
            memory.streaks[finding.cause] = memory.streaks.get(finding.cause, 0) + 1
            if memory.streaks[finding.cause] < patience:
                continue
        kept.append(finding)
    return tuple(kept)


def _tell(on_finding: OnFinding, findings: tuple[Finding, ...], mode: Mode) -> None:
    if on_finding is None:
        return
    for finding in findings:
        try:
            on_finding(finding)
        except Exception as fault:
            if mode != "warn":
                raise
            log_fault(fault)


def _error(findings: tuple[Finding, ...], native: Exception | None) -> SafeCrossEntropyError:
    text = None
    if native is not None:
        first = (str(native).splitlines() or [""])[0]
        text = f"{type(native).__name__}: {first}"
    return SafeCrossEntropyError(findings, text)


def _note(findings: tuple[Finding, ...]) -> str:
    return f"\nsafe_ce: {render(findings)}"


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
