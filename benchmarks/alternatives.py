"""What else is put around a loss to find mistakes, measured beside the guard in the same run.

Each is asked for what it can check of a classification loss: shapes and dtypes, labels in range, or NaN gradients.
"""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import safe_ce
from benchmarks import inputs, timing
from benchmarks.record import Alternative
from safe_ce import SafeCrossEntropyLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.inputs import Case
    from benchmarks.timing import Contestant, Effort

SHAPES = ((32, 10), (128, 1000))


class Rival(NamedTuple):
    """What is timed with its check and without; the difference is its own time.

    Attributes:
        checked: With the check.
        plain: Without.
    """

    checked: Contestant
    plain: Contestant


def measure(effort: Effort) -> Iterator[Alternative]:
    """What each costs at each size, without a graph and with one."""
    for recorded in (False, True):
        for shape in SHAPES:
            yield from _of_case(inputs.of_shape(shape, recorded=recorded), effort)


def _of_case(case: Case, effort: Effort) -> Iterator[Alternative]:
    native = timing.whole(nn.CrossEntropyLoss(), case)
    contestants = {"native": native}
    versions = {}
    for name, (package, rival) in RIVALS.items():
        versions[name] = _version(package)
        if versions[name]:
            contestants[f"{name}: checked"], contestants[f"{name}: plain"] = rival(case)
    times = timing.interleaved(contestants, effort)
    native_us = timing.quiet(times["native"])
    for name, version in versions.items():
        own = None
        if version:
            own = timing.quiet(times[f"{name}: checked"]) - timing.quiet(times[f"{name}: plain"])
        ratio = None if own is None else 1 + own / native_us
        yield Alternative(name=name, version=version, case=case.name, phase=case.phase, own_us=own, ratio=ratio)


def _version(packages: str) -> str:
    """The versions of packages, or nothing where one is not installed."""
    try:
        return ", ".join(f"{package} {importlib.import_module(package).__version__}" for package in packages.split())
    except ImportError:
        return ""


def _native(input: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(input, target)


def _nothing(input: Tensor, target: Tensor) -> None:
    del input, target


def _default(case: Case) -> Rival:
    guarded = SafeCrossEntropyLoss(mode="default")
    timing.warm((guarded,), case)
    blocks = timing.in_blocks(case)
    return Rival(timing.own(guarded, case, blocks), timing.own(nn.CrossEntropyLoss(), case, blocks))


def _strict(case: Case) -> Rival:
    return Rival(timing.own(SafeCrossEntropyLoss(mode="strict"), case), timing.own(nn.CrossEntropyLoss(), case))


def _native_guarded(case: Case) -> Rival:
    native, number = nn.CrossEntropyLoss(), timing.in_blocks(case)
    return Rival(timing.whole(native, case, safe_ce.guarded, number), timing.whole(native, case, number=number))


def _annotated(case: Case) -> Rival:
    jaxtyping = importlib.import_module("jaxtyping")
    beartype = importlib.import_module("beartype")

    def loss(input: Any, target: Any) -> Any:
        return F.cross_entropy(input, target)

    loss.__annotations__ = {
        "input": jaxtyping.Float[Tensor, "batch classes"],
        "target": jaxtyping.Int64[Tensor, "batch"],
        "return": jaxtyping.Float[Tensor, ""],
    }
    return Rival(timing.own(jaxtyping.jaxtyped(loss, typechecker=beartype.beartype), case), timing.own(_native, case))


def _kornia(case: Case) -> Rival:
    check = importlib.import_module("kornia.core.check")

    def loss(input: Tensor, target: Tensor) -> Tensor:
        check.KORNIA_CHECK_IS_TENSOR(input)
        check.KORNIA_CHECK_IS_TENSOR(target)
        check.KORNIA_CHECK_SHAPE(input, ["B", "C"])
        check.KORNIA_CHECK_SHAPE(target, ["B"])
        check.KORNIA_CHECK_SAME_DEVICE(input, target)
        check.KORNIA_CHECK(input.shape[0] == target.shape[0], "input and target differ in length")
        check.KORNIA_CHECK(target.dtype == torch.int64, "target must be int64")
        return F.cross_entropy(input, target)

    return Rival(timing.own(loss, case), timing.own(_native, case))


def _torchmetrics(case: Case) -> Rival:
    # What multiclass_accuracy does more with validate_args=True than with False; of the metric's own time, a hundred
    # times as much, the difference would be noise.
    metric = importlib.import_module("torchmetrics.functional.classification.stat_scores")
    classes = case.pairs[0][0].shape[1]

    def validated(input: Tensor, target: Tensor) -> None:
        metric._multiclass_stat_scores_arg_validation(classes, 1, "macro", "global", None)
        metric._multiclass_stat_scores_tensor_validation(input, target, classes, "global", None)

    return Rival(timing.own(validated, case), timing.own(_nothing, case))


def _anomaly(case: Case) -> Rival:
    def detecting() -> AbstractContextManager[object]:
        return torch.autograd.set_detect_anomaly(True)

    native = nn.CrossEntropyLoss()
    return Rival(timing.whole(native, case, detecting), timing.whole(native, case, nullcontext))


RIVALS: dict[str, tuple[str, Callable[[Case], Rival]]] = {
    "safe_ce, default": ("safe_ce", _default),
    "safe_ce, strict": ("safe_ce", _strict),
    "safe_ce.guarded()": ("safe_ce", _native_guarded),
    "jaxtyping + beartype": ("jaxtyping beartype", _annotated),
    "kornia's checks": ("kornia", _kornia),
    "torchmetrics' validation": ("torchmetrics", _torchmetrics),
    "set_detect_anomaly": ("torch", _anomaly),
}
"""What is around a loss, the packages that it needs, and what is timed of it."""
