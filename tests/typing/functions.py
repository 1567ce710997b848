"""The functions of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import torch
import torch.nn.functional as F
from torch import Tensor

import safe_ce
from safe_ce import Finding, Stats

if TYPE_CHECKING:
    from collections.abc import Callable

input = torch.randn(4, 10)
target = torch.tensor([3, 0, 9, 1])

assert_type(F.cross_entropy(input, target), Tensor)
assert_type(safe_ce.cross_entropy(input, target), Tensor)
assert_type(safe_ce.cross_entropy(input, target, torch.ones(10), None, -1, None, "none", 0.1), Tensor)
assert_type(safe_ce.cross_entropy(input, target, mode="warn", probe="every", ignore=["SCE101"]), Tensor)

in_place_of_native: list[Callable[[Tensor, Tensor], Tensor]] = [F.cross_entropy, safe_ce.cross_entropy]

assert_type(safe_ce.diagnose(input, target), tuple[Finding, ...])
assert_type(safe_ce.diagnose(None, "whatever", weight=3), tuple[Finding, ...])

assert_type(safe_ce.stats(), Stats)
assert_type(safe_ce.stats().calls, int)
assert_type(safe_ce.stats().probes, int)
assert_type(safe_ce.stats().findings, dict[str, int])

found = safe_ce.audit([(input, target)], 10, ignore_index=-1, weight=torch.ones(10), target=1, batches=3)
assert_type(found, safe_ce.Audit)
assert_type(found.findings, tuple[Finding, ...])
assert_type(found.findings[0].samples, tuple[safe_ce.Sample, ...])
assert_type(found.class_weights, Tensor | None)
safe_ce.audit(iter([{"x": input, "y": target}]), model=torch.nn.Linear(10, 10), target=lambda batch: batch["y"])

safe_ce.install()
safe_ce.install(probe="never", ignore=("SCE101",), on_finding=print)
safe_ce.uninstall()
safe_ce.flush()
safe_ce.set_mode("strict")
safe_ce.set_mode(None)
safe_ce.set_logging()
safe_ce.set_logging(False)
