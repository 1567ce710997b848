"""SCE401 to SCE408: how the loss was built, and where its tensors are."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from safe_ce import contract, probe
from safe_ce.causes.cause import (
    CERTAIN,
    ERROR,
    LIKELY,
    WARNING,
    Match,
    a,
    cause,
    dtype_name,
    listed,
    plural,
)
from safe_ce.repair import attempt, is_accepted

if TYPE_CHECKING:
    from safe_ce.call import Call


@cause("SCE401", "loss-class-called-as-function", ERROR, construction=True)
def loss_class_called_as_function(call: Call) -> Match | None:
    """The logits and the target were given to the class, which only builds the loss.

    What happens
        Boolean value of Tensor with more than one value is ambiguous, from inside the constructor.
    Why it is wrong
        The constructor's arguments are options: the logits became the class weights.
    Example
        >>> criterion = lambda: SafeCrossEntropyLoss(torch.randn(4, 10), torch.tensor([3, 0, 9, 1]))
    Fix
        Build the loss once, criterion = SafeCrossEntropyLoss(), and call that: loss = criterion(output, target).

        >>> criterion = lambda: SafeCrossEntropyLoss()(torch.randn(4, 10), torch.tensor([3, 0, 9, 1]))
    How it is recognised, and when sound calls look alike
        A tensor where size_average goes. size_average is a bool or None in every sound call.
    """
    if call.stage != "construction" or not isinstance(call.target, Tensor):
        return None
    shape = f"a tensor of shape {tuple(call.input.shape)}" if isinstance(call.input, Tensor) else a(call.input)
    return Match(
        CERTAIN,
        "the loss class was called with logits and target; it only builds the loss",
        (f"the weight got {shape}, and size_average a tensor of shape {tuple(call.target.shape)}",),
        "build it once and call that: criterion = SafeCrossEntropyLoss(); loss = criterion(output, target)",
        odds=1.0,
    )


@cause("SCE402", "device-mismatch", ERROR)
def device_mismatch(call: Call) -> Match | None:
    """Input, target and weight are not on the same device.

    What happens
        Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu.
    Why it is wrong
        A kernel reads the memory of one device.
    Example
        >>> input = torch.randn(4, 10, device="meta")
        >>> target = torch.tensor([3, 0, 9, 1])
    Fix
        Move the target (or the weight, by criterion.to(device)) to the device of the logits.

        >>> target = target.to(input.device)
    How it is recognised, and when sound calls look alike
        The devices differ, whatever they are.
    """
    if not call.tensors or not call.rejected:
        return None
    home = call.input.device
    others = [
        (name, value)
        for name, value in (("target", call.target), ("weight", call.weight))
        if isinstance(value, Tensor) and value.device != home
    ]
    if not others:
        return None
    name, value = others[0]
    # A target that stays behind is moved by every repair.
    moves = [f"{n} = {n}.to(input.device)" for n, _ in others if n == "weight"]
    # Tensors on the meta device have no values that could be moved.
    hollow = any(value.device.type == "meta" for _, value in others)
    repaired = None if hollow else attempt(call, *moves)
    return Match(
        CERTAIN,
        f"the {name} is on {value.device}, the input is on {home}",
        (f"{' and '.join(n for n, _ in others)} must be moved to {home}",),
        "move the batch with the model: target.to(input.device); the weight moves with criterion.to(device)",
        fix=None if repaired is None else repaired.fix,
        odds=0.9 if repaired is not None else 0.5,
    )


@cause("SCE403", "weight-length-mismatch", ERROR)
def weight_length_mismatch(call: Call) -> Match | None:
    """There are not as many class weights as classes.

    What happens
        weight tensor should be defined either for all 10 classes or no classes but got weight tensor of shape: [8].
    Why it is wrong
        Entry c weighs class c. Weights computed from the labels that occur leave out the classes that do not.
    Example
        >>> input = torch.randn(4, 10)
        >>> target = torch.tensor([3, 0, 9, 1])
        >>> kwargs = dict(weight=torch.ones(8))
    Fix
        Give one weight per class: torch.bincount(labels, minlength=C) counts the missing ones as 0.

        >>> kwargs = dict(weight=torch.ones(10))
    How it is recognised, and when sound calls look alike
        The weight's shape is not (C,). A weight of C entries in another shape, (1, C) say, is flattened.
    """
    weight = call.weight
    if not call.tensors or not call.rejected or not isinstance(weight, Tensor) or not call.classes:
        return None
    if tuple(weight.shape) == (call.classes,):
        return None
    flat = weight.numel() == call.classes
    repaired = attempt(call, "weight = weight.reshape(-1)") if flat and weight.device == call.input.device else None
    fits = "one-dimensional, a weight per class" if flat else f"({call.classes},), one entry per class"
    return Match(
        CERTAIN,
        f"the weight has shape {tuple(weight.shape)}; it must be {fits}",
        (f"the input has {call.classes} outputs per target, the weight {weight.numel()}",),
        "give one weight per class, also for classes that do not occur, and check the number of the model's outputs",
        fix=None if repaired is None else repaired.fix,
        odds=0.8,
        input_marks=(call.class_dim,),
        weight_marks=tuple(range(weight.ndim)),
    )


@cause("SCE404", "weight-wrong-dtype", ERROR)
def weight_wrong_dtype(call: Call) -> Match | None:
    """The class weights have another dtype than the logits.

    What happens
        expected scalar type Float but found Double.
    Why it is wrong
        Weights made from NumPy are float64, counts are int64, and a half-precision model leaves the weight behind or
        takes it along.
    Example
        >>> input = torch.randn(4, 3)
        >>> target = torch.tensor([2, 0, 1, 1])
        >>> kwargs = dict(weight=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    Fix
        Make the weight float32, or the dtype of the logits: weight.to(logits.dtype).

        >>> kwargs = dict(weight=torch.tensor([1.0, 2.0, 3.0]))
    How it is recognised, and when sound calls look alike
        The dtypes differ and the target holds class ids. Under autocast, and with class probabilities, they may.
    """
    weight = call.weight
    if not call.tensors or not call.rejected or not isinstance(weight, Tensor) or weight.dtype is call.input.dtype:
        return None
    if call.input.dtype not in contract.FLOATS or call.same_shape or attempt(call) is not None:
        return None  # under autocast the dtypes may differ
    repaired = attempt(call, "weight = weight.to(input.dtype)")
    return Match(
        CERTAIN if repaired is not None else LIKELY,
        f"the weight is {dtype_name(weight)}, the logits are {dtype_name(call.input)}",
        ("native multiplies them without a cast",),
        "give the weight the dtype of the logits, or keep both in float32",
        fix=None if repaired is None else repaired.fix,
        odds=0.8 if repaired is not None else 0.3,
    )


@cause("SCE405", "weight-not-tensor", ERROR, construction=True)
def weight_not_tensor(call: Call) -> Match | None:
    """The class weights are a list or a NumPy array.

    What happens
        cannot assign 'list' object to buffer 'weight' (torch Tensor or None required).
    Why it is wrong
        The weight is a buffer of the module, saved and moved with it, and only tensors are.
    Example
        >>> criterion = lambda: SafeCrossEntropyLoss(weight=[0.2, 0.8])
    Fix
        Convert it to a float tensor: torch.tensor(weights, dtype=torch.float32).

        >>> criterion = lambda: SafeCrossEntropyLoss(weight=torch.tensor([0.2, 0.8]))
    How it is recognised, and when sound calls look alike
        The weight is neither a tensor nor None.
    """
    if call.weight is None or isinstance(call.weight, Tensor):
        return None
    help = "convert it to a float tensor"
    if isinstance(call.weight, str):
        help = (
            f"the first argument of the loss is the weight; the reduction goes by its name: reduction={call.weight!r}"
        )
    elif isinstance(call.weight, int):
        help = "the first argument of the loss is the weight; the number of classes is not among its arguments"
    return Match(
        CERTAIN,
        f"the weight is {a(call.weight)}, not a tensor",
        (),
        help,
        fix="weight = torch.as_tensor(weight, dtype=torch.float32)" if _is_numeric(call.weight) else None,
        odds=0.9,
    )


def _is_numeric(weight: object) -> bool:
    if isinstance(weight, (list, tuple)):
        return bool(weight) and all(isinstance(entry, (int, float)) for entry in weight)
    return type(weight).__module__ == "numpy" and getattr(getattr(weight, "dtype", None), "kind", "") in "fiu"


@cause("SCE406", "weight-invalid", WARNING, construction=True)
def weight_invalid(call: Call) -> Match | None:
    """A class weight is NaN, infinite or negative, or every class that occurs weighs 0.

    What happens
        The loss is NaN, or negative, or rises while it is minimised. Nothing is raised.
    Why it is wrong
        1 / count is infinite for a class that does not occur, and normalising makes it NaN. A mean divides by the
        weights of the targets, and those sum to 0.
    Example
        >>> input = torch.randn(4, 3)
        >>> target = torch.tensor([2, 0, 1, 1])
        >>> kwargs = dict(weight=torch.tensor([1.0, float("nan"), 1.0]))
    Fix
        Clamp the counts from below before dividing, 1 / counts.clamp(min=1), and keep weights non-negative.

        >>> kwargs = dict(weight=torch.tensor([1.0, 2.0, 1.0]))
    How it is recognised, and when sound calls look alike
        The values of the weight. A zero for some classes is how they are left out, and sound, as long as some target
        has a weight.
    """
    weight = call.weight
    if not isinstance(weight, Tensor) or call.rejected or not call.is_readable(weight) or not weight.numel():
        return None
    if weight.is_complex():
        return None
    with probe.unobserved():
        values = weight.detach().double().reshape(-1)
        finite = bool(values.isfinite().all())
        odd = (~values.isfinite() | (values < 0)).nonzero().reshape(-1).tolist()
        shown = tuple(f"class {place}: {values[place]:.4g}" for place in odd[:7])
        nothing = bool((values == 0).all())
    if odd:
        return Match(
            LIKELY if finite else CERTAIN,
            "class weights are NaN, infinite or negative: " + listed(shown),
            (f"{len(odd)} of {plural(weight.numel(), 'weight')} cannot be meant",),
            "clamp the counts from below before dividing, 1 / counts.clamp(min=1), and keep weights non-negative",
            odds=0.9,
        )
    if nothing and (call.stage == "construction" or call.averaged):
        return Match(CERTAIN, "every class weight is 0", (), "give the classes that occur a weight", odds=0.9)
    if call.stage == "construction" or not call.averaged or call.same_shape or call.labels is None:
        return None
    with probe.unobserved():
        counted = [int(label) for label in call.labels.distinct if 0 <= label < len(values) and label != call.ignored]
        if not call.labels.few or not counted or any(values[label] for label in counted):
            return None
    return Match(
        CERTAIN,
        "every class that occurs in the target has weight 0: the mean is 0 / 0",
        (f"the target holds {listed(tuple(counted))} alone",),
        "give the classes that occur a weight, or skip such batches",
        odds=0.9,
    )


@cause("SCE407", "invalid-option", ERROR, construction=True)
def invalid_option(call: Call) -> Match | None:
    """reduction, label_smoothing or ignore_index has a value that native refuses or misreads.

    What happens
        A bad reduction or label_smoothing above 1 raises at the first call, long after construction; label_smoothing
        below 0 or NaN counts as 0 in silence; an ignore_index of 0 or more raises with soft targets.
    Why it is wrong
        The option does not do what it says. With label_smoothing 1 the labels have no effect at all.
    Example
        >>> criterion = lambda: SafeCrossEntropyLoss(reduction="average")
    Fix
        Use reduction "mean", "sum" or "none", label_smoothing from 0 to under 1 (0.1 is usual), and the default
        ignore_index with soft targets.

        >>> criterion = lambda: SafeCrossEntropyLoss(reduction="mean")
    How it is recognised, and when sound calls look alike
        The values of the options alone; for ignore_index also that the target holds class probabilities.
    """
    return _reduction(call) or _smoothing(call) or _ignoring(call)


def _accepted(call: Call) -> bool:
    """Whether native accepts a call whose option was mended. A construction has no tensors to tell by."""
    return call.stage == "call" and is_accepted(call)


def _reduction(call: Call) -> Match | None:
    if isinstance(call.reduction, str) and call.reduction in contract.REDUCTIONS:
        return None
    return Match(
        CERTAIN,
        f"reduction is {call.reduction!r}; it must be 'mean', 'sum' or 'none'",
        (),
        'use reduction="mean", "sum" or "none"',
        fix='reduction = "mean"' if _accepted(replace(call, reduction="mean")) else None,
        odds=0.95,
    )


def _smoothing(call: Call) -> Match | None:
    given, value = call.label_smoothing, contract.smoothing_of(call)
    if value is not None and 0 <= value < 1:
        return None
    severity = WARNING if value == 1 else ERROR
    if value == 1:
        fact = "label_smoothing is 1: the labels have no effect on the loss"
    elif value is None or value > 1:
        fact = f"label_smoothing is {given!r}; it must be a float from 0 to under 1"
    else:
        fact = f"label_smoothing is {value:g}, which native silently takes for 0"
    percent = isinstance(given, (int, float)) and 1 < given < 100
    return Match(
        CERTAIN,
        fact,
        (f"in percent it would be {given / 100:g}",) if percent and given is not None else (),
        "use a value from 0 to under 1; 0.1 is usual",
        fix="label_smoothing = 0.1" if severity is ERROR and _accepted(replace(call, label_smoothing=0.1)) else None,
        severity=severity,
        odds=0.95,
    )


def _ignoring(call: Call) -> Match | None:
    try:
        wrong = isinstance(call.ignore_index, bool) or operator.index(call.ignore_index) not in contract.INT64
    except TypeError:
        wrong = True
    if wrong:
        return Match(
            CERTAIN,
            f"ignore_index is {call.ignore_index!r}; it must be an int",
            (),
            "leave it at -100 to ignore nothing that is a class",
            fix="ignore_index = -100" if _accepted(replace(call, ignore_index=-100)) else None,
            odds=0.95,
        )
    if not call.rejected or not call.same_shape or not call.target.is_floating_point() or (call.ignored or 0) < 0:
        return None
    repaired = attempt(call, "ignore_index = -100")
    if repaired is None:
        return None
    return Match(
        CERTAIN,
        f"ignore_index is {call.ignored}, and the target holds class probabilities, of which none can be ignored",
        ("the target has the input's shape and is floating point",),
        'leave ignore_index at its default, and mask what is not to be counted with reduction="none"',
        fix=repaired.fix,
        odds=0.8,
    )


@cause("SCE408", "weight-requires-grad", ERROR)
def weight_requires_grad(call: Call) -> Match | None:
    """The class weights require a gradient, which class-id targets cannot give.

    What happens
        The function 'nll_loss_forward' is not differentiable with respect to argument 'weight'.
    Why it is wrong
        The weights came out of a computation with parameters, or are an nn.Parameter; the loss treats them as
        constants.
    Example
        >>> input = torch.randn(4, 3)
        >>> target = torch.tensor([2, 0, 1, 1])
        >>> kwargs = dict(weight=torch.ones(3, requires_grad=True))
    Fix
        Pass weight.detach(). To learn weights, use reduction="none" and multiply yourself.

        >>> kwargs = dict(weight=torch.ones(3))
    How it is recognised, and when sound calls look alike
        weight.requires_grad with class ids, while gradients are recorded. With class probabilities it is sound.
    """
    weight = call.weight
    if not call.tensors or not call.rejected or not isinstance(weight, Tensor) or not weight.requires_grad:
        return None
    if call.same_shape or "require grad" not in (contract.broken_clause(call) or ""):
        return None
    return Match(
        CERTAIN,
        "the weight requires grad, and the loss of class ids has no gradient for it",
        ("every other clause of native's contract is met",),
        'detach the weight; to learn weights use reduction="none" and multiply yourself',
        fix="weight = weight.detach()" if _accepted(replace(call, weight=weight.detach())) else None,
        odds=0.9,
    )
