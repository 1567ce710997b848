"""What an audit found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from safe_ce.findings import SafeCrossEntropyError

if TYPE_CHECKING:
    from torch import Tensor

    from safe_ce.findings import Finding


@dataclass(frozen=True, repr=False)
class Audit:
    """What `safe_ce.audit` saw of a loader. It holds counts and text, and no batch.

    Attributes:
        findings: What is wrong, by cause: each `Finding` has the catalogue's code, and in `.samples` the first samples
            that show it.
        notes: What is no mistake, and good to know.
        batches: How many were seen.
        samples: How many were in them.
        complete: Whether the loader was seen to its end.
        interrupted: Whether Ctrl-C ended it.
        batch_size: The samples of the first batch.
        last_batch: The samples of the last one.
        input: What a model reads first, as of the first batch: ``"float32 (128, 1, 28, 28)"``.
        targets: The forms that the targets have, as of the first of each, and in how many batches.
        num_classes: How many classes there are, or None where that was neither said nor seen.
        ignore_index: The `ignore_index`.
        counts: How often each class occurs, by id; of class probabilities the sums. To the largest id that occurs where
            `num_classes` is None, and empty where that is a million or more.
        labels: How many labels there are in all, ignored and bad ones too; rows, where they are class probabilities.
        ignored: How many of them are ignored.

    ``str(audit)`` is the report, and so is what a notebook shows.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    batches: int
    samples: int
    complete: bool
    interrupted: bool
    batch_size: int | None
    last_batch: int
    input: str
    targets: dict[str, int]
    num_classes: int | None
    ignore_index: int
    counts: tuple[float, ...]
    labels: int
    ignored: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def missing(self) -> tuple[int, ...]:
        """The ids of the classes that never occurred, but for one that is ignored."""
        return tuple(label for label, count in enumerate(self.counts) if not count and label != self.ignore_index)

    @property
    def class_weights(self) -> Tensor | None:
        """Weights for the loss that would balance the classes that occur, whose mean over all labels is 1; others get 1.

        A float32 tensor with one for each of `counts`, of shape ``(num_classes,)`` where that is known; None where there are
        no classes.
        """
        counts = torch.tensor(self.counts, dtype=torch.float64, device="cpu")
        present = counts > 0
        if not present.any():
            return None
        weights = counts.sum() / (present.sum() * counts)
        return torch.where(present, weights, torch.ones_like(weights)).float()

    def raise_if_broken(self) -> None:
        """Do nothing where nothing wrong was found.

        Raises:
            SafeCrossEntropyError: Something is; its `.findings` are the audit's.
        """
        if self.findings:
            raise SafeCrossEntropyError(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, as ``--json`` prints it."""
        from safe_ce.auditing.text import as_dict

        return as_dict(self)

    def plot(self) -> Any:
        """The classes as a bar chart: a `matplotlib.figure.Figure`, which notebooks show and `.savefig` writes.

        Raises:
            ModuleNotFoundError: matplotlib is not installed; ``pip install 'safe-ce[audit]'`` brings it.
        """
        from safe_ce.auditing.picture import drawn

        return drawn(self)

    def __repr__(self) -> str:
        from safe_ce.auditing.text import report

        return report(self)


Audit.__module__ = "safe_ce"
