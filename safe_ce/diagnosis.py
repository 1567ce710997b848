"""Call -> findings, best first. Runs only once something is wrong, or is asked for."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from safe_ce import probe
from safe_ce.causes import CATALOGUE
from safe_ce.causes.cause import WEIGHT
from safe_ce.findings import Confidence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safe_ce.call import Call
    from safe_ce.findings import Finding

SMALL = 2**20
"""Elements up to which native itself is run to hear what it says."""

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
    """What native raises for a call, or None where it accepts it.

    Native itself is asked, with a small call's own tensors or else with stand-ins that hold no values: on an
    accelerator an id out of range would end the context, and a large call would cost what it is meant to save.
    """
    tensors = [value for value in (call.input, call.target, call.weight) if isinstance(value, Tensor)]
    small = all(tensor.device.type == "cpu" and tensor.numel() <= SMALL for tensor in tensors)
    asked = call if small or not call.tensors else replace(call, **_stand_ins(call))
    try:
        with warnings.catch_warnings(), probe.hidden():
            warnings.simplefilter("ignore")
            F.cross_entropy(
                asked.input,
                asked.target,
                weight=asked.weight,
                ignore_index=asked.ignore_index,
                reduction=asked.reduction,
                label_smoothing=asked.label_smoothing,
            )
    except Exception as error:
        return error
    return None


def _stand_ins(call: Call) -> dict[str, Any]:
    names = ("input", "target", "weight")
    return {
        name: torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
        for name in names
        if isinstance(value := getattr(call, name), Tensor)
    }
