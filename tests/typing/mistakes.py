"""What a type checker refuses: the lines that are marked, and no others."""

from __future__ import annotations

from typing import assert_type

import torch

import safe_ce
from safe_ce import Finding, SafeCrossEntropyLoss

input = torch.randn(4, 10)
target = torch.tensor([3, 0, 9, 1])
criterion = SafeCrossEntropyLoss()


def of_text(text: str) -> None:
    print(text)


SafeCrossEntropyLoss(mode="loud")  # error
SafeCrossEntropyLoss(probe="always")  # error
SafeCrossEntropyLoss(ignore=101)  # error
SafeCrossEntropyLoss(ignore=[101])  # error
SafeCrossEntropyLoss(on_finding="print")  # error
SafeCrossEntropyLoss(on_finding=of_text)  # error
SafeCrossEntropyLoss(reduction=None)  # error
SafeCrossEntropyLoss(reduction=1)  # error
SafeCrossEntropyLoss(ignore_index=None)  # error
SafeCrossEntropyLoss(label_smoothing="0.1")  # error
SafeCrossEntropyLoss([1.0, 2.0])  # error
SafeCrossEntropyLoss(smoothing=0.1)  # error
SafeCrossEntropyLoss(input, target)  # error
SafeCrossEntropyLoss(None, None, -100, None, "mean", 0.0, "strict")  # error

criterion.forward(input, [3, 0, 9, 1])  # error
criterion.mode = "loud"  # error
criterion.probe = "always"  # error
criterion.ignore = "SCE101"  # error
criterion.stats().calls = 0  # error
assert_type(criterion.forward(input, target), float)  # error

safe_ce.cross_entropy(input)  # error
safe_ce.cross_entropy(input, [3, 0, 9, 1])  # error
safe_ce.cross_entropy(input, target, reduction=None)  # error
safe_ce.cross_entropy(input, target, mode="loud")  # error

print(safe_ce.CrossEntropyLoss)  # error

safe_ce.mode()  # error
safe_ce.mode(None)  # error
safe_ce.mode("loud")  # error
safe_ce.guarded("loud")  # error
safe_ce.guarded(probe="always")  # error
safe_ce.install("strict")  # error
safe_ce.set_mode("loud")  # error


@safe_ce.guarded("strict")
def trained(epoch: int) -> str:
    return str(epoch)


trained("1")  # error
trained(1, 2)  # error


def blamed(finding: Finding) -> None:
    finding.code = "SCE101"  # error
    print(finding.message)  # error
