"""Generated calls of the loss: sound ones, broken ones, and the corners between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64)


@dataclass(frozen=True)
class Generated:
    """A call as its parts: tensors are built anew each time, so that gradients do not mix."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    target_shape: tuple[int, ...]
    target_dtype: torch.dtype
    labels: str
    weight: tuple[tuple[int, ...], torch.dtype, bool] | None
    options: dict[str, Any]
    grad: bool
    seed: int

    @property
    def classes(self) -> int:
        return self.shape[1] if len(self.shape) > 1 else self.shape[0] if self.shape else 1

    def variants(self) -> Iterator[Generated]:
        """This call, and four that differ from it in one respect each: drawing costs more than calling."""
        other_reduction = {"mean": "sum", "sum": "none", "none": "mean"}[self.options["reduction"]]
        other_smoothing = 0.0 if self.options["label_smoothing"] else 0.1
        yield self
        yield replace(self, seed=self.seed + 1, options={**self.options, "reduction": other_reduction})
        yield replace(self, seed=self.seed + 2, options={**self.options, "label_smoothing": other_smoothing})
        yield replace(self, labels="ids" if self.labels == "soft" else "soft")
        yield replace(self, grad=not self.grad, weight=None)

    def build(self) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        random = torch.Generator().manual_seed(self.seed)
        scores = torch.randn(self.shape, generator=random)
        input = scores.to(self.dtype) if self.dtype.is_floating_point else (scores * 3).round().to(self.dtype)
        if self.grad and input.is_floating_point():
            input.requires_grad_()
        target = self._target(random)
        options = dict(self.options)
        if self.weight is not None:
            size, dtype, grad = self.weight
            weight = (torch.rand(size, generator=random) + 0.5).to(dtype)
            options["weight"] = weight.requires_grad_() if grad and weight.is_floating_point() else weight
        return input, target, options

    def _target(self, random: torch.Generator) -> torch.Tensor:
        ids = torch.randint(0, max(self.classes, 1), self.target_shape, generator=random)
        if self.labels == "soft":
            dim = 1 if len(self.target_shape) > 1 else 0
            soft = torch.rand(self.target_shape, generator=random)
            soft = soft.softmax(dim) if self.target_shape else soft
            return soft.to(self.target_dtype)
        if ids.numel():
            flat = ids.view(-1)
            if self.labels == "ignored":
                ids.fill_(self.options["ignore_index"] if isinstance(self.options["ignore_index"], int) else 0)
            elif self.labels != "ids":
                flat[-1] = {"one too many": max(self.classes, 1), "negative": -1, "void": -100}[self.labels]
        return ids.to(self.target_dtype)


sizes = st.sampled_from((0, 1, 1, 2, 2, 3, 3, 4))
shapes = st.lists(sizes, min_size=0, max_size=5).map(tuple)


@st.composite
def calls(draw: st.DrawFn) -> Generated:
    """A call: three in four near a sound one, the rest anything."""
    shape = draw(shapes)
    fitting = shape[:1] + shape[2:] if len(shape) > 1 else ()
    target_shape = draw(
        st.sampled_from(("fits", "fits", "fits", "same", "extra", "other", "lone")).flatmap(
            lambda kind: {
                "fits": st.just(fitting),
                "same": st.just(shape),
                "extra": st.just((*fitting, 1)),
                "lone": st.just((1,)),
                "other": shapes,
            }[kind]
        )
    )
    soft = target_shape == shape
    dtype = draw(st.sampled_from(FLOATS * 4 + OTHERS))
    target_dtype = draw(st.sampled_from((torch.float32,) * 10 + FLOATS + OTHERS) if soft else _id_dtypes)
    labels = draw(st.sampled_from(("soft",) * 4 + ("ids",)) if soft else _labels)
    weight = draw(st.none() | st.none() | _weights(shape, dtype))
    return Generated(
        shape,
        dtype,
        target_shape,
        target_dtype,
        labels,
        weight,
        {
            "ignore_index": draw(st.sampled_from((-100, -100, -100, -1, 0, 1, 255))),
            "reduction": draw(st.sampled_from(("mean", "mean", "sum", "none"))),
            "label_smoothing": draw(st.sampled_from((0.0, 0.0, 0.0, 0.1, 1.0, 1.5, -0.5))),
        },
        draw(st.booleans()),
        draw(st.integers(0, 2**16)),
    )


_id_dtypes = st.sampled_from((torch.int64,) * 14 + FLOATS[:1] + OTHERS[1:] + (torch.uint8,))
_labels = st.sampled_from(("ids",) * 6 + ("one too many", "negative", "void", "ignored"))


def _weights(
    shape: tuple[int, ...], dtype: torch.dtype
) -> st.SearchStrategy[tuple[tuple[int, ...], torch.dtype, bool]]:
    classes = shape[1] if len(shape) > 1 else shape[0] if shape else 1
    sizes = st.sampled_from(((classes,),) * 6 + ((classes + 1,), (1, classes), (classes, 1), ()))
    dtypes = st.sampled_from((dtype,) * 6 + (torch.float64, torch.int64))
    return st.tuples(sizes, dtypes, st.sampled_from((False,) * 5 + (True,)))
