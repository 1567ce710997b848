"""Call -> findings, best first. Runs only once something is wrong, or is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safe_ce import contract, probe
from safe_ce.blame import blame_of, is_traceable
from safe_ce.causes import CATALOGUE
from safe_ce.causes.cause import STANDING
from safe_ce.faults import log_fault
from safe_ce.findings import Confidence
from safe_ce.interruptions import interrupts
from safe_ce.recording import active, is_compiled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safe_ce.call import Call
    from safe_ce.findings import Finding

OPAQUE = "a compiled region made the input: a trail does not see into it"

SMALL = 2**26
"""Bytes of logits up to which native itself is run to hear what it says."""


def findings_of(call: Call, ignore: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Every cause that fits a call, best first, but for those whose names are ignored."""
    ignored = frozenset(ignore)
    asked = [cause for cause in CATALOGUE if cause.name not in ignored and (call.stage == "call" or cause.construction)]
    ranked = []
    with probe.hidden():
        for cause in asked:
            try:
                match = cause.check(call)
            except Exception as fault:
                log_fault(fault)
                continue
            if match is not None:
                explains = not (call.rejected and cause.silent)
                ranked.append(((explains, STANDING[match.confidence] + match.odds), cause.finding(call, match)))
    ranked.sort(key=lambda entry: entry[0], reverse=True)
    found = [_blamed(finding, call) for _, finding in ranked]
    # That a clause is broken says nothing beside a cause that explains it.
    return tuple(finding for finding in found if finding.cause != "contract-broken" or len(found) == 1)


def _blamed(finding: Finding, call: Call) -> Finding:
    """A finding with the operation that made the mistake, where a trail shows it."""
    if not is_traceable(finding.cause):
        return finding
    if active() is None:
        return replace(finding, traceable=call.number is not None)
    try:
        blame = blame_of(finding, call)
        opaque = blame is None and is_compiled(call.input)
        return replace(finding, blame=blame, evidence=(*finding.evidence, OPAQUE) if opaque else finding.evidence)
    except Exception as fault:
        log_fault(fault)
        return finding


def tellable(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings that may be raised or warned about on a call that native accepts."""
    return tuple(finding for finding in findings if finding.confidence is not Confidence.POSSIBLE)


def native_error(call: Call) -> Exception | None:
    """What native raises for a call, or None where it accepts it."""
    try:
        with probe.unwarned(), probe.hidden():
            contract.native(
                call.input, call.target, call.weight, call.ignore_index, call.reduction, call.label_smoothing
            )
    except Exception as error:
        if interrupts(error):
            raise
        return error.with_traceback(None)  # its frames hold the tensors
    return None


def first_line(error: Exception) -> str:
    """An exception's class and the first line of what it says, as a report quotes native."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def may_ask_native(call: Call) -> bool:
    """Whether native may be run only to hear what it says.

    Not where that costs what an explanation must not; nor on an accelerator where it would read the labels, since
    one out of range ends the context.
    """
    if not call.tensors:
        return True
    reads = call.input.device.type != "cpu" and contract.broken_clause(call) is None
    return not reads and call.input.numel() * call.input.element_size() <= SMALL
