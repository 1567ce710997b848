"""Call -> findings, best first. Runs only once something is wrong, or is asked for."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from safe_ce import probe
from safe_ce.causes import CATALOGUE
from safe_ce.causes.cause import WEIGHT
from safe_ce.contract import broken_clause
from safe_ce.findings import Confidence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safe_ce.call import Call
    from safe_ce.findings import Finding

SMALL = 2**26
"""Bytes of logits up to which native itself is run to hear what it says."""

# Explained by nothing but themselves: what silently spoils a number comes after what native raises for.
SILENT = ("softmax-applied", "log-softmax-applied", "sigmoid-applied", "relu-applied")


def findings_of(call: Call, ignore: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Every cause that fits a call, best first, but for those that are ignored by name or code."""
    ignored = frozenset(ignore)
    ranked = []
    for cause in CATALOGUE:
        if cause.name in ignored or cause.code in ignored:
            continue
        with probe.hidden():
            match = cause.check(call)
        if match is not None:
            explains = not (call.rejected and cause.name in SILENT)
            ranked.append(((explains, WEIGHT[match.confidence] + match.odds), cause.finding(call, match)))
    ranked.sort(key=lambda entry: entry[0], reverse=True)
    found = [finding for _, finding in ranked]
    # That a clause is broken says nothing beside a cause that explains it.
    return tuple(finding for finding in found if finding.cause != "contract-broken" or len(found) == 1)


def tellable(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings that may be raised or warned about on a call that native accepts."""
    return tuple(finding for finding in findings if finding.confidence is not Confidence.POSSIBLE)


def native_error(call: Call) -> Exception | None:
    """What native raises for a call, or None where it accepts it."""
    try:
        with warnings.catch_warnings(), probe.hidden():
            warnings.simplefilter("ignore")
            F.cross_entropy(
                call.input,
                call.target,
                weight=call.weight,
                ignore_index=call.ignore_index,
                reduction=call.reduction,
                label_smoothing=call.label_smoothing,
            )
    except Exception as error:
        return error
    return None


def may_ask_native(call: Call) -> bool:
    """Whether native may be run only to hear what it says.

    Not where that costs what an explanation must not; nor on an accelerator where it would read the labels, since
    one out of range ends the context.
    """
    if not call.tensors:
        return True
    reads = call.input.device.type != "cpu" and broken_clause(call) is None
    return not reads and call.input.numel() * call.input.element_size() <= SMALL


def _stand_ins(call: Call) -> dict[str, Any]:
    names = ("input", "target", "weight")
    return {
        name: torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
        for name in names
        if isinstance(value := getattr(call, name), Tensor)
    }
