"""The loss has native's types, and those of its own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

import torch
from torch import Tensor, nn

from safe_ce import Finding, SafeCrossEntropyLoss, Stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from safe_ce.modes import Mode
    from safe_ce.schedule import Probe

input = torch.randn(4, 10)
target = torch.tensor([3, 0, 9, 1])

native = nn.CrossEntropyLoss(torch.ones(10), ignore_index=0, reduction="sum", label_smoothing=0.1)
criterion = SafeCrossEntropyLoss(torch.ones(10), ignore_index=0, reduction="sum", label_smoothing=0.1)
assert_type(criterion, SafeCrossEntropyLoss)

# A module's call is untyped in PyTorch; forward is typed.
assert_type(native(input, target), Any)
assert_type(criterion(input, target), Any)
assert_type(native.forward(input, target), Tensor)
assert_type(criterion.forward(input, target), Tensor)

assert_type(native.weight, Tensor | None)
assert_type(criterion.weight, Tensor | None)
assert_type(criterion.ignore_index, int)
assert_type(criterion.label_smoothing, float)
assert_type(criterion.reduction, str)
assert_type(criterion.to("cpu"), SafeCrossEntropyLoss)

SafeCrossEntropyLoss(mode="strict", probe="never", ignore=["SCE101"], on_finding=print)
SafeCrossEntropyLoss(mode=None, probe=None, ignore=iter(["SCE101"]), on_finding=None)


def chosen(mode: Mode, probe: Probe, on_finding: Callable[[Finding], None]) -> SafeCrossEntropyLoss:
    return SafeCrossEntropyLoss(mode=mode, probe=probe, on_finding=on_finding)


def is_serious(finding: Finding) -> bool:
    return finding.severity == "error"


SafeCrossEntropyLoss(on_finding=is_serious)
SafeCrossEntropyLoss(on_finding=lambda finding: print(finding.code, finding.cause))

criterion.mode = "off"
criterion.mode = None
criterion.probe = "every"
criterion.ignore = ("SCE101",)
criterion.on_finding = is_serious
assert_type(SafeCrossEntropyLoss().mode, "Mode | None")
assert_type(SafeCrossEntropyLoss().probe, "Probe | None")
assert_type(SafeCrossEntropyLoss().ignore, tuple[str, ...])
assert_type(SafeCrossEntropyLoss().on_finding, "Callable[[Finding], object] | None")

assert_type(criterion.stats(), Stats)
criterion.flush()


def train(criterion: nn.CrossEntropyLoss, step: Callable[[Tensor, Tensor], Tensor]) -> None:
    step(input, criterion(input, target))


train(criterion, criterion)
