"""The first batches through the model and the loss's own guard."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from safe_ce import memory
from safe_ce.auditing.batches import source_of
from safe_ce.causes.cause import a, attribute
from safe_ce.findings import SafeCrossEntropyError
from safe_ce.loss import SafeCrossEntropyLoss
from safe_ce.patching import guarded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.findings import Finding

BATCHES = 3
"""How many go through the model: the first, and the last as well where it is smaller."""

Model = Callable[..., Any]


class Trial:
    """A model, and what its calls of the loss show.

    Attributes:
        classes: How many its output has, once that was seen.
        findings: What was found, each cause once, with the number of its first batch.
        note: Why its output could not be judged.
    """

    def __init__(self, model: Model, ignore_index: int, weight: Tensor | None) -> None:
        self.model = model
        self.classes: int | None = None
        self.findings: dict[str, tuple[Finding, int]] = {}
        self.note = ""
        parameters = iter(model.parameters()) if isinstance(model, nn.Module) else iter(())
        self._device = next((parameter.device for parameter in parameters), None)
        self._loss = SafeCrossEntropyLoss(weight, ignore_index=ignore_index, mode="strict", ignore=("weight-invalid",))
        self._loss = self._loss.to(self._device) if self._device is not None else self._loss

    def run(self, number: int, batch: Any, inputs: Mapping[Any, Any], target: Any) -> None:
        """Send a batch through the model, which is left as it was.

        Args:
            number: The number of the batch.
            batch: The batch.
            inputs: Its entries but for the target.
            target: Its target.
        """
        try:
            with torch.no_grad(), _evaluating(self.model):
                self._judge(batch, self._moved(inputs), self._moved(target))
        except SafeCrossEntropyError as error:
            for finding in error.findings:
                logits = next((operand.shape for operand in finding.operands if operand.name == "input"), None)
                if self.classes is None and logits and len(logits) > 1 and logits[1] > 1:
                    self.classes = logits[1]
                # What is wrong with the target the audit itself tells, of all batches.
                if not finding.code.startswith("SCE2") and finding.confidence != "possible":
                    self.findings.setdefault(finding.cause, (finding, number))

    def _judge(self, batch: Any, inputs: Mapping[Any, Any], target: Any) -> None:
        before = memory.stats().calls
        with guarded("strict", ignore=("one-hot-target",)):
            output = self._called(batch, inputs, target)
        inner = memory.stats().calls > before
        logits = output if isinstance(output, Tensor) else attribute(output, "logits")
        if logits is None and isinstance(output, Mapping):
            logits = output.get("logits")
        if not isinstance(logits, Tensor):
            self.note = (
                f"the model returned {a(output)}: model=lambda *inputs: ..., which returns the logits, has them judged"
            )
            return
        last = isinstance(target, Tensor) and logits.ndim > 2 and logits.shape[:-1] == target.shape
        if self.classes is None and logits.ndim:
            classes = logits.shape[-1] if last or logits.ndim == 1 else logits.shape[1]
            self.classes = classes if classes > 1 else None
        if inner:
            return  # the loss in the model was guarded
        if last:  # scores of tokens, which are flattened before the loss
            logits, target = logits.flatten(0, -2), target.flatten()
        self._loss(logits, target)

    def _called(self, batch: Any, inputs: Mapping[Any, Any], target: Any) -> Any:
        if isinstance(batch, (tuple, list)) and not hasattr(batch, "_fields"):
            return self.model(*inputs.values())
        forward = self.model.forward if isinstance(self.model, nn.Module) else self.model
        parameters = inspect.signature(forward).parameters.values()
        every = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        names = {parameter.name for parameter in parameters}
        given = {name: value for name, value in inputs.items() if every or name in names}
        if not given:
            return self.model(source_of(inputs))
        # A model that takes labels computes its loss itself, or needs them to shift them.
        return self.model(**given, **({"labels": target} if "labels" in names else {}))

    def _moved(self, value: Any) -> Any:
        """A value on the device of the model."""
        if self._device is None:
            return value
        if isinstance(value, Tensor):
            return value.to(self._device)
        if isinstance(value, dict):
            return {key: self._moved(entry) for key, entry in value.items()}
        if type(value) in (tuple, list):
            return type(value)(self._moved(entry) for entry in value)
        return value


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Have a model evaluate, so that no batch leaves a trace in it, and every part of it as it was afterwards."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.training = training
