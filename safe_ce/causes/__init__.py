"""The catalogue: every cause, in the order of its codes."""

from __future__ import annotations

from safe_ce.causes import (
    activations,
    dtypes,
    labels,
    layout,
    logits,
    masks,
    outputs,
    positions,
    probabilities,
    roles,
    rows,
    setup,
    target,
)
from safe_ce.causes.cause import HEADINGS, Cause

__all__ = ["BY_NAME", "CATALOGUE", "HEADINGS", "Cause"]

MODULES = (
    activations,
    outputs,
    logits,
    probabilities,
    target,
    dtypes,
    labels,
    masks,
    rows,
    positions,
    layout,
    roles,
    setup,
)

CATALOGUE: tuple[Cause, ...] = tuple(
    sorted(
        (entry for module in MODULES for entry in vars(module).values() if isinstance(entry, Cause)),
        key=lambda entry: entry.code,
    )
)

BY_NAME: dict[str, Cause] = {entry.name: entry for entry in CATALOGUE}
