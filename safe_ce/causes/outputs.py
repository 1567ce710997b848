"""SCE105, SCE107, SCE109 and SCE113: what was passed as logits are no scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from safe_ce import contract, probe
from safe_ce.causes.cause import (
    CERTAIN,
    ERROR,
    LIKELY,
    Match,
    a,
    attribute,
    cause,
    dtype_name,
)
from safe_ce.repair import attempt, executed, is_accepted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.call import Call


@cause("SCE105", "class-ids-as-logits", ERROR)
def class_ids_as_logits(call: Call) -> Match | None:
    """Predicted class ids, as argmax gives them, were passed instead of the scores.

    What happens
        Integer ids raise a dtype error. Ids cast to float, of the target's own shape, are taken for one row of scores
        and give a number.
    Why it is wrong
        The loss needs a score for every class. argmax also cuts the gradient: nothing can be learned through it.
    Example
        >>> input = torch.randn(6, 3).argmax(dim=1)
        >>> target = torch.tensor([2, 0, 1, 1, 0, 2])
    Fix
        Pass the model's scores, of shape (N, C), and keep argmax for the accuracy.

        >>> input = torch.randn(6, 3)
    How it is recognised, and when sound calls look alike
        The input has the target's shape (or a trailing dimension of size 1) and holds small whole numbers without a
        graph, while the target holds class ids. Integer scores of shape (N, C) are SCE109.
    """
    input, target = call.input, call.target
    if not call.tensors or input.is_complex() or input.grad_fn is not None or not call.shape:
        return None
    squeezed = call.shape[:-1] if call.shape[-1] == 1 and len(call.shape) > 1 else call.shape
    wanted = call.target_shape[:-1] if call.target_shape[-1:] == (1,) and len(call.target_shape) > 1 else None
    if squeezed not in (call.target_shape, wanted) and not _ids_against_probabilities(call):
        return None
    if input.dtype is torch.bool or input.numel() < 2:
        return None
    if input.is_floating_point():
        rows = call.scores(len(call.shape) - 1)
        if rows is None or call.labels is None or not call.labels.whole:
            return None
        with probe.unobserved():
            if not bool(((rows == rows.floor()) & (rows >= 0)).all()) or not bool((rows != rows.flatten()[0]).any()):
                return None
        if call.same_shape and len(call.shape) > 1:
            return None  # scores that happen to be whole, against class probabilities
        kept = call.labels.kept
        if kept is None or kept[0] < 0 or (not call.rejected and kept[1] < 2):
            return None
    elif call.same_shape and target.is_floating_point() and (_is_distribution(call) or not _holds_whole(call)):
        return None  # integer scores against class probabilities
    return Match(
        CERTAIN if not input.is_floating_point() else LIKELY,
        f"the input holds one {dtype_name(input)} per target, as argmax gives, not a score per class",
        (
            "every value of the input is a whole number, and no autograd graph leads back from it",
            f"scores for targets of shape {call.target_shape} have one dimension more, for the classes",
        ),
        "pass the model's scores, before argmax: one per class for every target",
        odds=0.9,
    )


def _holds_whole(call: Call) -> bool:
    return call.labels is None or call.labels.whole


def _is_distribution(call: Call) -> bool:
    rows = call.target_rows(call.class_dim)
    if rows is None or len(call.shape) < 2:
        return False
    with probe.unobserved():
        return bool(((rows.sum(1) - 1).abs() < 1e-2).all())


def _ids_against_probabilities(call: Call) -> bool:
    return (
        not call.input.is_floating_point()
        and call.target.is_floating_point()
        and len(call.target_shape) == len(call.shape) + 1
        and call.target_shape[0] == call.shape[0]
        and call.labels is not None
        and call.labels.distinct == (0, 1)
    )


@cause("SCE107", "output-not-tensor", ERROR)
def output_not_tensor(call: Call) -> Match | None:
    """The model returned a tuple, a dict or an output object, and the whole of it was passed as logits.

    What happens
        TypeError: argument 'input' must be Tensor, not tuple (or dict, or SequenceClassifierOutput ...).
    Why it is wrong
        The loss needs the one tensor of scores inside.
    Example
        >>> input = {"out": torch.randn(2, 5, 8, 8), "aux": torch.randn(2, 5, 8, 8)}
        >>> target = torch.zeros(2, 8, 8, dtype=torch.int64)
    Fix
        Pick the scores out of the output: output.logits, output["out"] or output[0].

        >>> input = input["out"]
    How it is recognised, and when sound calls look alike
        The input is not a tensor. The member that, by name and shape, goes with the target is the one suggested.
        Objects that implement __torch_function__ are not touched.
    """
    if isinstance(call.input, Tensor) or call.stage == "construction":
        return None
    kind = a(call.input)
    found = next(_fitting_members(call), None)
    if found is None:
        note, help = _of_no_tensor(call.input)
        return Match(CERTAIN, f"the input is {kind}, not a tensor of scores", note, help, odds=0.95)
    source, member = found
    return Match(
        CERTAIN,
        f"the input is {kind}, not a tensor of scores; {source} is likely the logits",
        (f"{source} has shape {tuple(member.shape)}, which goes with the target",),
        f"pass {source}",
        fix=f"input = {source}",
        odds=0.95,
    )


def _of_no_tensor(value: Any) -> tuple[tuple[str, ...], str]:
    """A note and the help for an input in which no tensor goes with the target."""
    if value is None:
        note = "a model or function without a return statement gives None"
        return (note,), "return the scores from the model"
    if isinstance(value, nn.Module):
        return ("it is a module itself, not what it computes",), "call the model: criterion(model(x), target)"
    if type(value).__module__ == "torch.return_types":
        note = f"{type(value).__name__}() with a dimension returns values and indices"
        return (note,), "pass the scores before the reduction"
    shapes = [f"{source} {tuple(member.shape)}" for source, member in _members(value)][:4]
    return (f"in it: {', '.join(shapes)}",) if shapes else (), "pass the tensor of scores that the model computes"


PREFERRED = ("logits", "out", "output", "outputs", "pred_logits", "cls_logits", "prediction_logits", "scores", "pred")


def _members(value: Any, source: str = "input", depth: int = 2) -> Iterator[tuple[str, Any]]:
    """The tensors inside an output, with the expression that picks each one."""
    if isinstance(value, Tensor):
        yield source, value
    elif depth:
        fields = _fields(value)
        names = [name for name in PREFERRED if name in fields] + [name for name in fields if name not in PREFERRED]
        for name in names:
            pick = f"[{name!r}]" if not isinstance(name, str) or _is_mapping_only(value, name) else f".{name}"
            yield from _members(fields[name], source + pick, depth - 1)


def _fields(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    names = attribute(type(value), "_fields")
    if isinstance(value, tuple) and isinstance(names, tuple) and len(names) == len(value):
        return dict(zip(names, value, strict=True))
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    return dict(attribute(value, "__dict__") or {})


def _is_mapping_only(value: Any, name: str) -> bool:
    return isinstance(value, Mapping) and attribute(value, name) is not value[name]


def _fitting_members(call: Call) -> Iterator[tuple[str, Tensor]]:
    """The tensors inside the input that native accepts as logits for the target, by likelihood."""
    value, members = call.input, list(_members(call.input))
    if type(value).__module__ == "numpy" and isinstance(attribute(value, "shape"), tuple) and value.dtype.kind in "fiu":
        try:
            members = [("torch.as_tensor(input)", torch.as_tensor(value))]
        except (TypeError, ValueError):
            members = []  # a byte order or a precision that torch does not have
    elif isinstance(value, (list, tuple)) and all(isinstance(item, Tensor) for item in value):
        stackable = len({(item.shape, item.dtype, item.device) for item in value}) == 1
        members += [("torch.stack(list(input))", torch.stack(list(value)))] if stackable else []
    for source, member in members:
        candidate = dataclasses.replace(call, input=member, rejected=False)
        lone = candidate.tensors and len(candidate.shape) == 1 and candidate.target_shape == (1,)
        if is_accepted(candidate) and not lone:
            yield source, member


@cause("SCE109", "logits-wrong-dtype", ERROR)
def logits_wrong_dtype(call: Call) -> Match | None:
    """The scores are integers, booleans or complex numbers.

    What happens
        NotImplementedError: "log_softmax_lastdim_kernel_impl" not implemented for 'Long'.
    Why it is wrong
        The loss differentiates through the scores, and only floating point can be differentiated. A cast to an integer
        cuts the gradient and throws the fractions away.
    Example
        >>> input = torch.tensor([[1, 5, 2], [4, 0, 0]])
        >>> target = torch.tensor([1, 0])
    Fix
        Remove the cast on the scores; it was likely meant for the target, which wants .long().

        >>> input = torch.tensor([[1.0, 5.0, 2.0], [4.0, 0.0, 0.0]])
    How it is recognised, and when sound calls look alike
        The dtype of the input is not floating point, and its shape is that of scores. Integers of the target's own
        shape are predicted ids (SCE105); a swapped pair of arguments is SCE311.
    """
    if not call.tensors or not call.rejected or call.input.dtype in contract.FLOATS:
        return None
    cast = "input.real" if call.input.is_complex() else "input.float()"
    repaired = attempt(call, f"input = {cast}", gives={"input": (call.shape, torch.float32)})
    if repaired is None:
        return None
    wanted = "wider than 8 bits" if call.input.is_floating_point() else "floating point"
    return Match(
        CERTAIN,
        f"the input is {dtype_name(call.input)}; scores must be {wanted}",
        (f"native takes scores of {', '.join(str(d).removeprefix('torch.') for d in contract.FLOATS)}",),
        "remove the cast on the scores, and let the model's own floats through",
        fix=repaired.fix,
        odds=0.7,
    )


@cause("SCE113", "unsupported-layout", ERROR)
def unsupported_layout(call: Call) -> Match | None:
    """The logits or the class ids are a nested, sparse or quantized tensor.

    What happens
        An error from deep inside: "Could not run 'aten::_log_softmax' with arguments from the 'SparseCPU' backend", or
        "log_softmax(): not supported when reducing along the ragged dimension for NestedTensor".
    Why it is wrong
        Native computes the loss of dense tensors alone.
    Example
        >>> input = torch.randn(4, 3).to_sparse()
        >>> target = torch.tensor([2, 0, 1, 1])
    Fix
        Pass dense tensors: to_dense() for sparse ones, values() on both sides for jagged nested ones, dequantize() for
        quantized ones.

        >>> input = input.to_dense()
    How it is recognised, and when sound calls look alike
        The layout of the tensors. Sparse class probabilities are accepted by native, and left alone.
    """
    given = {"input": call.input, "target": call.target}
    if not call.rejected or not all(isinstance(value, Tensor) for value in given.values()):
        return None
    fixes = {name: fix for name, value in given.items() if (fix := _densely(value)) is not None}
    if not fixes or ("input" not in fixes and call.same_shape and not call.target.is_quantized):
        return None
    kinds = " and ".join(f"the {name} is {_layout_name(given[name])}" for name in fixes)
    statements = tuple(f"{name} = {name}.{fix}" for name, fix in fixes.items())
    return Match(
        CERTAIN,
        f"{kinds}; native takes dense tensors",
        (),
        "pass dense tensors",
        fix=_if_accepted(call, statements),
        odds=0.95,
    )


def _densely(tensor: Tensor) -> str | None:
    """The call that makes a tensor dense, or None where it is."""
    if tensor.is_nested:
        return "values()"
    if tensor.is_quantized:
        return "dequantize()"
    return None if tensor.layout is torch.strided else "to_dense()"


def _layout_name(tensor: Tensor) -> str:
    return "nested" if tensor.is_nested else "quantized" if tensor.is_quantized else "sparse"


def _if_accepted(call: Call, statements: tuple[str, ...]) -> str | None:
    """The statements, if native accepts what they give; nested tensors of the old kind have no values()."""
    names = executed(statements, input=call.input, target=call.target)
    if names is None:
        return None
    mended = dataclasses.replace(call, input=names["input"], target=names["target"], rejected=False)
    return "\n".join(statements) if is_accepted(mended) else None
