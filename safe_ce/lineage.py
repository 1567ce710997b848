"""How the dimensions of a tensor came from those of the tensors it was made from, by what a trail recorded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from safe_ce.recording import PARAMETER, Index

if TYPE_CHECKING:
    from collections.abc import Callable

    from safe_ce.recording import Operation

STEPS = 1000
"""Operations that are followed back, at most."""


VIEWS = frozenset(
    [
        "view",
        "view_as",
        "reshape",
        "reshape_as",
        "flatten",
        "unflatten",
        "ravel",
        "squeeze",
        "squeeze_",
        "unsqueeze",
        "unsqueeze_",
    ]
)

SELECTING = frozenset(
    [
        "__getitem__",
        "chunk",
        "gather",
        "index_select",
        "masked_select",
        "narrow",
        "select",
        "split",
        "take",
        "tensor_split",
        "unbind",
    ]
)

TRANSPOSED = frozenset({"T", "t", "mT", "transpose", "swapaxes", "permute"})

RECURRENT = ("gru", "lstm", "rnn_tanh", "rnn_relu")


class Origin(NamedTuple):
    """A dimension of what an operation made."""

    made: Operation
    dim: int


def origin(made: Operation, dim: int) -> Origin | None:
    """Where a dimension of what an operation made came from; None where that operation made it, or its size."""
    if not made.sources:
        return None
    rule = RULES.get(made.name, _kept_in_place)
    found = rule(made, dim)
    return found if found is not None and found.made.shape[found.dim] == made.shape[dim] else None


def way_of(made: Operation, dim: int) -> list[Origin]:
    """The operations that a dimension went through, from the one that made it, or its size, to the last."""
    way = [Origin(made, dim)]
    for _ in range(STEPS):
        found = origin(*way[0])
        if found is None:
            break
        way.insert(0, found)
    return way


def sources_of(made: Operation) -> tuple[Operation, ...]:
    """What an operation worked on; not the parameters that it worked with, unless there is nothing else."""
    return tuple(source for source in made.sources if source.name != PARAMETER) or made.sources


def main_source(made: Operation) -> Operation | None:
    """The source that an operation's result is mostly made of: the one of its own size, or the first."""
    sources = sources_of(made)
    if made.name in SELECTING:
        return sources[0] if sources else None
    size = math.prod(made.shape)
    return next((source for source in sources if math.prod(source.shape) == size), sources[0]) if sources else None


def _argument(made: Operation, position: int, *names: str, default: Any = None) -> Any:
    args, kwargs = made.arguments or ((), {})
    for name in names:
        if name in kwargs:
            return kwargs[name]
    return args[position] if position < len(args) else default


def _numbers(made: Operation, *names: str) -> list[int]:
    """Dimensions that are given one by one, or as one sequence."""
    args, kwargs = made.arguments or ((), {})
    given: Any = next((kwargs[name] for name in names if name in kwargs), args)
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = given[0]
    return [number for number in given if isinstance(number, int)]


def _moved(made: Operation, dim: int, order: list[int]) -> Origin | None:
    """A dimension of what only has another order of them."""
    source, ndim = sources_of(made)[0], len(made.shape)
    if len(source.shape) != ndim or sorted(number % ndim for number in order) != list(range(ndim)):
        return None
    return Origin(source, order[dim] % ndim)


def _permuted(made: Operation, dim: int) -> Origin | None:
    return _moved(made, dim, _numbers(made, "dims"))


def _exchanged(made: Operation, dim: int) -> Origin | None:
    ndim = len(made.shape)
    first = _argument(made, 0, "dim0", "axis0")
    second = _argument(made, 1, "dim1", "axis1")
    if not (isinstance(first, int) and isinstance(second, int) and ndim):
        return None
    order = list(range(ndim))
    order[first % ndim], order[second % ndim] = order[second % ndim], order[first % ndim]
    return _moved(made, dim, order)


def _reversed(made: Operation, dim: int) -> Origin | None:
    return _moved(made, dim, list(range(len(made.shape)))[::-1])


def _last_two_exchanged(made: Operation, dim: int) -> Origin | None:
    order = list(range(len(made.shape)))
    return _moved(made, dim, [*order[:-2], *order[:-3:-1]])


def _moved_to(made: Operation, dim: int) -> Origin | None:
    ndim = len(made.shape)
    sources, destinations = _argument(made, 0, "source"), _argument(made, 1, "destination")
    pairs = [[number] if isinstance(number, int) else list(number or ()) for number in (sources, destinations)]
    given = {there % ndim: here % ndim for here, there in zip(*pairs, strict=False)}
    rest = (number for number in range(ndim) if number not in given.values())
    return _moved(made, dim, [given[place] if place in given else next(rest) for place in range(ndim)])


def _regrouped(made: Operation, dim: int) -> Origin | None:
    """A dimension of what was cut anew: one is the same as before where as much lies before it and in it."""
    source = sources_of(made)[0]
    if math.prod(source.shape) != math.prod(made.shape):
        return None
    before = math.prod(made.shape[:dim])
    for place, size in enumerate(source.shape):
        if size == made.shape[dim] and math.prod(source.shape[:place]) == before:
            return Origin(source, place)
    return None


def _stacked(made: Operation, dim: int) -> Origin | None:
    new = _argument(made, 0, "dim", default=0)
    new = new % len(made.shape) if isinstance(new, int) else 0
    return None if dim == new else Origin(sources_of(made)[0], dim - (dim > new))


def _joined(made: Operation, dim: int) -> Origin | None:
    along = _argument(made, 0, "dim", "axis", default=0)
    if isinstance(along, int) and dim == along % len(made.shape):
        # What nothing was added to is as it was.
        return Origin(sources_of(made)[0], dim) if len(sources_of(made)) == 1 else None
    return Origin(sources_of(made)[0], dim)


def _reduced(made: Operation, dim: int) -> Origin | None:
    """A dimension of what has lost some of them, or has only one entry left along them."""
    source = sources_of(made)[0]
    ndim = len(source.shape)
    along = _argument(made, 0, "dim", "axis")
    if made.name == "norm":
        along = _argument(made, 1, "dim")
    gone = {number % ndim for number in ([along] if isinstance(along, int) else along or range(ndim)) if ndim}
    if len(made.shape) == ndim:
        return None if dim in gone and source.shape[dim] != made.shape[dim] else Origin(source, dim)
    left = [number for number in range(ndim) if number not in gone]
    return Origin(source, left[dim]) if dim < len(left) else None


def _one_more(made: Operation, dim: int) -> Origin | None:
    new = _argument(made, 0, "dim", default=0) % len(made.shape)
    return None if dim == new else Origin(sources_of(made)[0], dim - (dim > new))


def _squeezed(made: Operation, dim: int) -> Origin | None:
    """A dimension of what has lost some of size 1."""
    source = sources_of(made)[0]
    ndim = len(source.shape)
    along = _argument(made, 0, "dim")
    asked = (
        range(ndim) if along is None else {number % ndim for number in ([along] if isinstance(along, int) else along)}
    )
    left = [number for number in range(ndim) if not (number in asked and source.shape[number] == 1)]
    return Origin(source, left[dim]) if dim < len(left) else None


def _selected(made: Operation, dim: int) -> Origin | None:
    """A dimension of what is one entry, along another dimension."""
    source = sources_of(made)[0]
    ndim = len(source.shape)
    gone = _argument(made, 0, "dim", default=0) % ndim
    return Origin(source, dim + (dim >= gone)) if ndim == len(made.shape) + 1 else None


def _taken_apart(made: Operation, dim: int) -> Origin | None:
    source = sources_of(made)[0]
    gone = _argument(made, 0, "dim", default=0) % len(source.shape)
    return Origin(source, dim + (dim >= gone))


def _indexed(made: Operation, dim: int) -> Origin | None:
    """A dimension of ``x[...]``."""
    source = sources_of(made)[0]
    index = _argument(made, 0)
    places = _places(index if isinstance(index, tuple) else (index,), len(source.shape))
    if places is None or len(places) != len(made.shape) or places[dim] is None:
        return None
    return Origin(source, places[dim])


def _places(index: tuple[Any, ...], ndim: int) -> list[Any] | None:
    """By the dimension of what an index makes: the one that it is of, or None where it is new; None if unclear."""
    consumed = sum(_consumed(item) for item in index)
    places: list[Any] = []
    place = 0
    gathered = False
    for item in index if any(item is ... for item in index) else (*index, ...):
        if item is None:
            places.append(None)
        elif item is ...:
            left = ndim - consumed
            places += range(place, place + left)
            place += left
        elif isinstance(item, slice):
            places.append(place)
            place += 1
        elif isinstance(item, int) and not isinstance(item, bool):
            place += 1
        elif isinstance(item, (Index, list)):
            mask = item.is_mask if isinstance(item, Index) else all(isinstance(part, bool) for part in item)
            if not gathered:  # all indices of this kind together make one group of dimensions
                places += [None] * (1 if mask or isinstance(item, list) else item.ndim)
            gathered = True
            place += _consumed(item)
        else:
            return None
    return places


def _consumed(item: Any) -> int:
    if item is None or item is ...:
        return 0
    return item.ndim if isinstance(item, Index) and item.is_mask else 1


def _projected(made: Operation, dim: int) -> Origin | None:
    """A dimension of a linear layer's result, or of embedded ids: all but the last are as before."""
    return Origin(sources_of(made)[0], dim) if dim < len(made.shape) - 1 else None


def _multiplied(made: Operation, dim: int) -> Origin | None:
    """A dimension of a product of matrices: the last one is new, but where each row is compared with each other one."""
    left, right = (*sources_of(made), *sources_of(made))[:2]
    last = len(made.shape) - 1
    if dim == last:
        return Origin(right, len(right.shape) - 1) if right.name in TRANSPOSED else None
    place = dim - len(made.shape) + len(left.shape)
    return Origin(left, place) if place >= 0 else None


def _convolved(made: Operation, dim: int) -> Origin | None:
    """A dimension of a convolution's result: the channels are new, and the others may have another size."""
    source = sources_of(made)[0]
    offset = len(made.shape) - len(source.shape)
    channels = 1 if offset == 0 and len(made.shape) > 2 else 0
    return None if dim == channels or offset else Origin(source, dim)


def _recurrent(made: Operation, dim: int) -> Origin | None:
    """A dimension of what a recurrent layer gives: its outputs, of every step, or its last states, of every layer."""
    source = sources_of(made)[0]
    if len(source.shape) != 3 or len(made.shape) != 3 or dim == 2:
        return None
    if made.shape[:2] == source.shape[:2]:
        return Origin(source, dim)
    batch_first = _argument(made, 7, "batch_first", default=False)
    return Origin(source, 0 if batch_first else 1) if dim == 1 else None


def _kept_in_place(made: Operation, dim: int) -> Origin | None:
    """A dimension of what was computed element by element, or in a way that is not known: counted from the last one."""
    ndim = len(made.shape)
    for source in sources_of(made):
        place = dim - ndim + len(source.shape)
        if (
            place >= 0
            and source.shape[place] == made.shape[dim]
            and (len(source.shape) == ndim or not _is_larger(made))
        ):
            return Origin(source, place)
    return None


def _is_larger(made: Operation) -> bool:
    return any(len(source.shape) == len(made.shape) for source in sources_of(made))


RULES: dict[str, Callable[[Operation, int], Origin | None]] = {
    **dict.fromkeys(("permute",), _permuted),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "transpose_"), _exchanged),
    **dict.fromkeys(("T", "t", "H", "adjoint_"), _reversed),
    **dict.fromkeys(("mT", "mH", "adjoint"), _last_two_exchanged),
    **dict.fromkeys(("movedim", "moveaxis"), _moved_to),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "view_as", "reshape_as", "ravel"), _regrouped),
    **dict.fromkeys(("unsqueeze", "unsqueeze_"), _one_more),
    **dict.fromkeys(("squeeze", "squeeze_"), _squeezed),
    "stack": _stacked,
    **dict.fromkeys(("cat", "concat", "concatenate"), _joined),
    **dict.fromkeys(
        [
            "sum",
            "mean",
            "max",
            "min",
            "amax",
            "amin",
            "argmax",
            "argmin",
            "logsumexp",
            "prod",
            "nansum",
            "norm",
            "median",
            "mode",
            "std",
            "var",
        ],
        _reduced,
    ),
    "select": _selected,
    "unbind": _taken_apart,
    "__getitem__": _indexed,
    **dict.fromkeys(("linear", "embedding", "one_hot"), _projected),
    **dict.fromkeys(RECURRENT, _recurrent),
    **dict.fromkeys(("matmul", "mm", "bmm", "__matmul__", "__rmatmul__"), _multiplied),
    **dict.fromkeys(
        [f"conv{transposed}{dims}d" for transposed in ("", "_transpose") for dims in (1, 2, 3)], _convolved
    ),
}
"""By the name of an operation: where a dimension of its result came from. Others keep each in its place."""
