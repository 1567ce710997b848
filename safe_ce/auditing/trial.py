"""The first batches through the model and the loss's own guard."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from safe_ce import memory
from safe_ce.auditing.batches import tensors_in
from safe_ce.causes.cause import CERTAIN, a, attribute
from safe_ce.findings import SafeCrossEntropyError
from safe_ce.loss import SafeCrossEntropyLoss
from safe_ce.patching import guarded
from safe_ce.probe import is_readable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.auditing.batches import Read
    from safe_ce.findings import Finding

BATCHES = 3
"""How many go through the model: the first, and the last as well where it has another size."""

_OF_SOUND_LOGITS = ("SCE101", "SCE102", "SCE103", "SCE104", "SCE108", "SCE2", "SCE4")
"""Codes of findings that leave no doubt where the classes of the logits are."""

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
"""Models that take whatever the one inside takes."""

Model = Callable[..., Any]


class Trial:
    """A model, and what its calls of the loss show.

    Attributes:
        classes: How many its output has, once that was seen of one that the loss takes.
        dtype: The dtype of its output, once that was seen.
        findings: What was found, each cause once, with the batches.
        finite: The numbers of the batches of which all logits were finite.
        notes: What else is to be known.
    """

    def __init__(self, model: Model, ignore_index: int, weight: Tensor | None) -> None:
        self.model = model
        self.classes: int | None = None
        self.dtype: torch.dtype | None = None
        self.findings: dict[str, tuple[Finding, list[int]]] = {}
        self.finite: set[int] = set()
        self.notes: dict[str, None] = {}
        parameters = iter(model.parameters()) if isinstance(model, nn.Module) else iter(())
        self._device = next((parameter.device for parameter in parameters), None)
        self._loss = SafeCrossEntropyLoss(weight, ignore_index=ignore_index, mode="strict", ignore=("weight-invalid",))
        self._loss = self._loss.to(self._device) if self._device is not None else self._loss

    def run(self, number: int, batch: Any, read: Read) -> None:
        """Send a batch through the model, whose parts are in the modes in which they were afterwards.

        Args:
            number: The number of the batch.
            batch: The batch.
            read: The same, read.
        """
        try:
            with torch.no_grad(), _evaluating(self.model):
                self._judge(number, *_copied(batch, read))
        except SafeCrossEntropyError as error:
            # The others are what else it might be.
            finding = error.findings[0]
            logits = next((operand.shape for operand in finding.operands if operand.name == "input"), None)
            unexplained = finding.cause == "contract-broken"
            if logits is not None and (finding.code.startswith(_OF_SOUND_LOGITS) or (unexplained and len(logits) == 2)):
                self._know_classes(logits)
            if unexplained:  # that a clause is broken is no guess
                finding = replace(finding, confidence=CERTAIN)
            self.findings.setdefault(finding.cause, (finding, []))[1].append(number)

    def _judge(self, number: int, batch: Any, read: Read) -> None:
        before = memory.stats().calls
        with guarded("strict", ignore=("one-hot-target",)):
            output = self._called(batch, read)
        inner = memory.stats().calls > before
        logits = output if isinstance(output, Tensor) else attribute(output, "logits")
        if logits is None and isinstance(output, Mapping):
            logits = output.get("logits")
        if not isinstance(logits, Tensor):
            self.notes[
                f"the model returned {a(output)}: model=lambda *inputs: ..., which returns the logits, has them judged"
            ] = None
            return
        self.dtype = logits.dtype
        if logits.is_floating_point() and is_readable(logits) and bool(logits.isfinite().all()):
            self.finite.add(number)
        target = self._moved(read.target)
        scores = tuple(logits.shape)
        if isinstance(target, Tensor) and logits.ndim > 2 and logits.shape[:-1] == target.shape:
            scores = (len(logits), logits.shape[-1])
            if not inner:
                self.notes[
                    f"scores of shape {tuple(logits.shape)} were judged as rows, as a loop gives them that flattens both:"
                    " the loss itself wants the classes in dim 1"
                ] = None
                logits, target = logits.flatten(0, -2), target.flatten()
        if not inner:  # else the loss in the model was guarded
            self._loss(logits, target)
        if len(scores) > 1 or (isinstance(target, Tensor) and not target.ndim):
            self._know_classes(scores)

    def _know_classes(self, shape: tuple[int, ...]) -> None:
        classes = shape[min(1, len(shape) - 1)] if shape else 1
        if self.classes is None and classes > 1:
            self.classes = classes

    def _called(self, batch: Any, read: Read) -> Any:
        inputs = {name: self._moved(value) for name, value in read.inputs.items()}
        if isinstance(batch, (tuple, list)) and not hasattr(batch, "_fields"):
            return self.model(*inputs.values())
        if not inputs:
            return self.model(self._moved(batch))
        inner = self.model.module if isinstance(self.model, _WRAPPERS) else self.model
        inner = getattr(inner, "_orig_mod", inner)  # of one that is compiled
        forward = inner.forward if isinstance(inner, nn.Module) else inner
        try:
            parameters = tuple(inspect.signature(forward).parameters.values())
        except ValueError:  # of what was traced and of what is not written in Python
            parameters = ()
        every = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        names = {parameter.name for parameter in parameters}
        given = {name: value for name, value in inputs.items() if every or name in names}
        if not given:
            return self.model(self._moved(read.source))
        # A model that takes labels computes its loss itself, or needs them to shift them.
        return self.model(**given, **({"labels": self._moved(read.target)} if "labels" in names else {}))

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


def _copied(batch: Any, read: Read) -> tuple[Any, Read]:
    """A batch that a model may write into, as some do: what the loader gave is looked at as it came."""
    tensors = tensors_in({"": [batch, *read]})
    # Of a slice, deepcopy would copy all that it was cut from.
    copies = {id(tensor): tensor.detach().clone() for _, tensor in tensors}
    try:
        return copy.deepcopy((batch, read), copies)
    except Exception:  # whatever is raised by what cannot be copied: the model gets the batch itself
        return batch, read


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
