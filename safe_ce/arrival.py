"""What was sent of a call on an accelerator, once it has arrived: the record that a diagnosis reads."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from safe_ce import probe
from safe_ce.call import Call, Labels, Sent, labels_in_range

if TYPE_CHECKING:
    from torch import Tensor

    from safe_ce.deferred import Evidence
    from safe_ce.findings import Finding


def is_odd(evidence: Evidence) -> bool:
    """Whether what has arrived may show a mistake. Errs towards yes, as a look on the CPU does."""
    (shape, dtype), _, _, ignore_index, _, label_smoothing = evidence.arguments
    labels, scores, weight = (evidence.parts.get(name) for name in ("labels", "scores", "weight"))
    with probe.unobserved():
        if "summary" in evidence.parts:
            counts, bad = evidence.parts["summary"].tolist()[4:]
            odd = bool(bad > 0 or counts == 0)
        else:
            odd = labels is not None and probe.odd_ids(labels, shape, ignore_index)
        if odd or scores is None:
            return odd
        rows = evidence.parts.get("target_rows")
        return probe.odd_values(shape, dtype, [scores], None if rows is None else [rows], 1, weight, label_smoothing)


def call_of(evidence: Evidence) -> Call:
    """The call, as far as it is known: shapes and dtypes in full, of the values what was sent."""
    with probe.hidden():
        return _call_of(evidence)


def _call_of(evidence: Evidence) -> Call:
    (shape, dtype), (target_shape, target_dtype), weighted, ignore_index, reduction, label_smoothing = (
        evidence.arguments
    )
    sent = evidence.parts
    weight = None if weighted is None else sent.get("weight", _stand_in(*weighted))
    labels = None
    if "summary" in sent:
        classes, total = shape[1 if len(shape) > 1 else 0], math.prod(target_shape)
        labels = Labels.summarised(sent["labels"], ignore_index, classes, tuple(sent["summary"].tolist()), total)
    elif "labels" in sent:
        labels = Labels(sent["labels"], ignore_index)
    call = Call(
        input=_stand_in(shape, dtype),
        target=_stand_in(target_shape, target_dtype),
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        values=False,
        sent=Sent(labels, sent.get("scores"), sent.get("target_rows"), sent.get("weight")),
        number=evidence.number,
    )
    return call if labels_in_range(call) else replace(call, rejected=True)


def _stand_in(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    return torch.zeros(1, dtype=dtype, device="cpu").expand(shape)


def dated(finding: Finding, calls: int) -> Finding:
    """A finding that says which call it is about, told in call number ``calls``."""
    assert finding.call is not None
    ago = calls - finding.call
    when = f"call {finding.call}" + (f", {ago} call{'s' * (ago > 1)} ago" if ago else "")
    note = f"seen in {when}: on an accelerator values are read once they have arrived"
    return replace(finding, evidence=(*finding.evidence, note))
