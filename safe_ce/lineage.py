"""How the dimensions of a tensor came from those of the tensors it was made from, by what a trail recorded."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from safe_ce.operations import CONVOLUTIONS, PARAMETER, RECURRENT, SELECTING, VIEWS
from safe_ce.recording import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safe_ce.recording import Operation

STEPS = 1000
"""Operations that are followed back, at most."""


class Origin(NamedTuple):
    """A dimension of what an operation made."""

    made: Operation
    dim: int


def origin(made: Operation, dim: int) -> Origin | None:
    """Where a dimension of what an operation made came from; None where that operation made it, or its size."""
    if not made.sources:
        return None
    found = RULES.get(made.name, _kept_in_place)(made, dim)
    if found is None or found.made not in sources_of(made) or found.made.shape[found.dim] != made.shape[dim]:
        return None
    return found


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
    """The source that an operation's result is mostly made of: the first, or of several the one of its size and dtype."""
    sources = sources_of(made)
    if made.name in SELECTING or made.name in RULES:
        return sources[0] if sources else None
    size = math.prod(made.shape)
    return max(sources, key=lambda source: (math.prod(source.shape) == size, source.dtype is made.dtype), default=None)


def _argument(made: Operation, position: int, *names: str, default: Any = None) -> Any:
    args, kwargs = made.arguments or ((), {})
    for name in names:
        if name in kwargs:
            return kwargs[name]
    return args[position] if position < len(args) else default


def _numbers(given: Any) -> list[int]:
    """Dimensions that are given as one or as several; none where they are not all plain numbers."""
    numbers = given if isinstance(given, (tuple, list)) and not isinstance(given, Index) else (given,)
    return list(numbers) if all(isinstance(number, int) for number in numbers) else []


def _along(made: Operation, ndim: int, default: int | None = None, position: int = 0) -> list[int]:
    """The dimensions, of so many, that an operation was told to work along; none where that is not known."""
    return [number % ndim for number in _numbers(_argument(made, position, "dim", "axis", default=default))]


def _in_place(made: Operation, dim: int, sources: Iterable[Operation]) -> Origin | None:
    """The dimension at the same place, counted from the last one, of the first source that has it in the same size."""
    for source in sources:
        place = dim - len(made.shape) + len(source.shape)
        if place >= 0 and source.shape[place] == made.shape[dim]:
            return Origin(source, place)
    return None


def _kept_in_place(made: Operation, dim: int) -> Origin | None:
    """A dimension of what was computed element by element, or in a way that is not known but has as many of them."""
    if max(len(source.shape) for source in made.sources) != len(made.shape):
        return None
    return _in_place(made, dim, sources_of(made))


def _as_one(made: Operation, dim: int, which: int) -> Origin | None:
    """A dimension of what repeats one of its sources, or is looked up at the places that one says."""
    return _in_place(made, dim, made.sources[which : which + 1])


def _picked(made: Operation, dim: int, position: int = 0) -> Origin | None:
    """A dimension of what was picked along one of them, any number of times each."""
    along = _along(made, len(made.shape), position=position)
    return None if dim in (along or [dim]) else _kept_in_place(made, dim)


def _told_by_size(made: Operation, dim: int) -> Origin | None:
    """A dimension of what keeps some of its sources', it is not known which: the only one of that size."""
    found = [
        Origin(source, place)
        for source in made.sources
        for place, size in enumerate(source.shape)
        if size == made.shape[dim]
    ]
    return found[0] if len(found) == 1 else None


def _made_anew(*_: Any) -> None:
    """No dimension of what is of a shape of its own, or turned in a way that is not known."""


def _moved(made: Operation, dim: int, order: list[int]) -> Origin | None:
    """A dimension of what only has another order of them."""
    source, ndim = made.sources[0], len(made.shape)
    if len(source.shape) != ndim or sorted(number % ndim for number in order) != list(range(ndim)):
        return None
    return Origin(source, order[dim] % ndim)


def _permuted(made: Operation, dim: int) -> Origin | None:
    args, kwargs = made.arguments or ((), {})
    given = kwargs.get("dims", args)
    return _moved(made, dim, _numbers(given[0] if len(given) == 1 else given))


def _exchanged(made: Operation, dim: int) -> Origin | None:
    order = list(range(len(made.shape)))
    first = _numbers(_argument(made, 0, "dim0", "axis0"))
    second = _numbers(_argument(made, 1, "dim1", "axis1"))
    if not (first and second):
        return None
    order[first[0]], order[second[0]] = order[second[0]], order[first[0]]
    return _moved(made, dim, order)


def _reversed(made: Operation, dim: int) -> Origin | None:
    return _moved(made, dim, list(range(len(made.shape)))[::-1])


def _last_two_exchanged(made: Operation, dim: int) -> Origin | None:
    order = list(range(len(made.shape)))
    return _moved(made, dim, [*order[:-2], *order[:-3:-1]])


def _moved_to(made: Operation, dim: int) -> Origin | None:
    ndim = len(made.shape)
    sources, destinations = _numbers(_argument(made, 0, "source")), _numbers(_argument(made, 1, "destination"))
    if not (sources and destinations):
        return None
    given = {there % ndim: here % ndim for here, there in zip(sources, destinations, strict=True)}
    rest = (number for number in range(ndim) if number not in given.values())
    return _moved(made, dim, [given[place] if place in given else next(rest) for place in range(ndim)])


def _regrouped(made: Operation, dim: int) -> Origin | None:
    """A dimension of what was cut anew: one is the same as before where as much lies before it and in it."""
    source = made.sources[0]
    before = math.prod(made.shape[:dim])
    for place, size in enumerate(source.shape):
        if size == made.shape[dim] and math.prod(source.shape[:place]) == before:
            return Origin(source, place)
    return None


def _one_more(made: Operation, dim: int) -> Origin | None:
    source, new = sources_of(made)[0], _along(made, len(made.shape), default=0)
    if dim in (new or [dim]) or len(source.shape) != len(made.shape) - 1:
        return None
    return Origin(source, dim - (dim > new[0]))


def _without(made: Operation, dim: int, gone: Iterable[int]) -> Origin | None:
    """A dimension of what has lost some of them."""
    left = [place for place in range(len(made.sources[0].shape)) if place not in gone]
    return Origin(made.sources[0], left[dim]) if len(left) == len(made.shape) else None


def _squeezed(made: Operation, dim: int) -> Origin | None:
    shape = made.sources[0].shape
    asked = _along(made, len(shape)) or range(len(shape))
    return _without(made, dim, [place for place in asked if shape[place] == 1])


def _reduced(made: Operation, dim: int, default: int = -1, position: int = 0) -> Origin | None:
    """A dimension of what has lost some of them, or has only one entry left along them."""
    return _kept_in_place(made, dim) or _without(made, dim, _along(made, len(made.sources[0].shape), default, position))


def _indexed(made: Operation, dim: int) -> Origin | None:
    """A dimension of ``x[...]``."""
    source = made.sources[0]
    index = _argument(made, 0)
    places = _places(index if type(index) is tuple else (index,), len(source.shape))
    place = places[dim] if len(places) == len(made.shape) else None
    return None if place is None else Origin(source, place)


def _places(items: tuple[Any, ...], ndim: int) -> list[int | None]:
    """By the dimension of what an index makes: the one that it is of, or None where it is new."""
    told = [item if item is None or item is ... or isinstance(item, slice) else _index_of(item) for item in items]
    left = ndim - sum(_consumed(item) for item in told)
    places: list[int | None] = []
    place = width = 0
    for item in told if ... in told else (*told, ...):
        if item is None:
            places.append(None)
        elif item is ... or isinstance(item, slice):
            count = left if item is ... else 1
            places += range(place, place + count)
            place += count
        elif item == A_NUMBER:
            place += 1
        else:
            places += [GATHERED] * max(_consumed(item), 1)
            place += _consumed(item)
            width = max(width, 1 if item.is_mask else item.ndim)
    # All indices that gather make one group of dimensions: in their place, or first where others lie between them.
    count = places.count(GATHERED)
    start = places.index(GATHERED) if count else 0
    start *= places[start : start + count] == [GATHERED] * count
    rest = [place for place in places if place != GATHERED]
    return [*rest[:start], *[None] * width, *rest[start:]]


def _index_of(item: Any) -> Index:
    """What a number or a list in an index is like as a tensor."""
    if isinstance(item, Index):
        return item
    if isinstance(item, (list, tuple)):
        first = _index_of(item[0]) if item else A_NUMBER
        return Index(first.ndim + 1, first.is_mask)
    return Index(0, isinstance(item, bool))


def _consumed(item: Any) -> int:
    if item is None or item is ...:
        return 0
    return item.ndim if isinstance(item, Index) and item.is_mask else 1


def _projected(made: Operation, dim: int) -> Origin | None:
    """A dimension of a linear layer's result and the like: all but the last are as before."""
    return Origin(made.sources[0], dim) if dim < len(made.shape) - 1 else None


def _looked_up(made: Operation, dim: int) -> Origin | None:
    """A dimension of embedded ids."""
    ids = min(made.sources, key=lambda source: source.dtype.is_floating_point)
    return Origin(ids, dim) if dim < len(ids.shape) else None


def _multiplied(made: Operation, dim: int, operands: slice = slice(2)) -> Origin | None:
    """A dimension of a product of matrices: the last one is new, but where each row is compared with each other one."""
    pair = made.sources[operands]
    if len(pair) < 2:
        return None
    left, right = pair
    if len(right.shape) == 1:
        return Origin(left, dim)
    if dim == len(made.shape) - 1:
        return Origin(right, len(right.shape) - 1) if right.name in REORDERING else None
    return _in_place(made, dim, pair) if len(left.shape) > 1 else Origin(right, dim)


def _compared(made: Operation, dim: int) -> Origin | None:
    """A dimension of what compares each row with each other one."""
    left, right = made.sources[0], made.sources[-1]
    if len(left.shape) != len(made.shape):
        return None
    return Origin(right, len(right.shape) - 2) if dim == len(made.shape) - 1 else Origin(left, dim)


def _convolved(made: Operation, dim: int) -> Origin | None:
    """A dimension of a convolution's result: the channels are new, and the others may have another size."""
    spatial = int(made.name[-2])
    return None if dim == len(made.shape) - spatial - 1 else Origin(made.sources[0], dim)


def _sampled(made: Operation, dim: int) -> Origin | None:
    """A dimension of what was looked up in maps, at the places that a grid says."""
    return Origin(made.sources[0], dim) if dim < 2 else Origin(made.sources[-1], dim - 1)


def _recurrent(made: Operation, dim: int) -> Origin | None:
    """A dimension of a recurrent layer's outputs, of every step, or of its last states, of every layer.

    Which of the two it is only shapes tell: what they would say both is true.
    """
    source, *others = made.sources
    if len(source.shape) != 3 or dim == 2:
        return None
    said: set[int | None] = set()
    if made.shape[:2] == source.shape[:2]:
        said.add(dim)
    if made.shape in [other.shape for other in others]:
        batch = 0 if _argument(made, 7, "batch_first", default=False) else 1
        said.add(batch if dim == 1 else None)
    place = said.pop() if len(said) == 1 else None
    return None if place is None else Origin(source, place)


def _attended(made: Operation, dim: int) -> Origin | None:
    """A dimension of multi-head attention's outputs, or of its weights, which have the batch first."""
    query, ndim = made.sources[0], len(made.shape)
    unclear = ndim == 3 and query.shape[0] == query.shape[1]
    return None if unclear or len(query.shape) != ndim or dim == ndim - 1 else Origin(query, dim)


A_NUMBER = Index(0, is_mask=False)
GATHERED = -1

Rule: TypeAlias = "Callable[[Operation, int], Origin | None]"

REORDERING: dict[str, Rule] = {
    "permute": _permuted,
    **dict.fromkeys(("transpose", "transpose_", "swapaxes", "swapaxes_", "swapdims", "swapdims_"), _exchanged),
    **dict.fromkeys(("T", "t", "t_", "H"), _reversed),
    **dict.fromkeys(("mT", "mH", "adjoint"), _last_two_exchanged),
    **dict.fromkeys(("movedim", "moveaxis"), _moved_to),
}

RULES: dict[str, Rule] = {
    **REORDERING,
    **dict.fromkeys(VIEWS, _regrouped),
    **dict.fromkeys(("unsqueeze", "unsqueeze_", "stack"), _one_more),
    "squeeze": _squeezed,
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
            "nanmedian",
            "mode",
            "std",
            "std_mean",
            "var",
            "var_mean",
            "aminmax",
            "all",
            "any",
            "select",
        ],
        _reduced,
    ),
    "kthvalue": partial(_reduced, position=1),
    "unbind": partial(_reduced, default=0),
    "__getitem__": _indexed,
    **dict.fromkeys(("broadcast_to", "expand", "expand_as", "repeat", "tile"), partial(_as_one, which=0)),
    **dict.fromkeys(("gather", "searchsorted", "take", "take_along_dim"), partial(_as_one, which=1)),
    "index_select": _picked,
    "repeat_interleave": partial(_picked, position=1),
    **dict.fromkeys(
        [
            "linear",
            "bilinear",
            "one_hot",
            "multinomial",
            "unfold",
            "gru_cell",
            "lstm_cell",
            "rnn_tanh_cell",
            "rnn_relu_cell",
            "linalg_multi_dot",
        ],
        _projected,
    ),
    "embedding": _looked_up,
    **dict.fromkeys(("multi_head_attention_forward", "MultiheadAttention"), _attended),
    **dict.fromkeys(RECURRENT, _recurrent),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "linalg_matmul"), _multiplied),
    **dict.fromkeys(("addmm", "baddbmm"), partial(_multiplied, operands=slice(1, 3))),
    "scaled_dot_product_attention": partial(_multiplied, operands=slice(0, 3, 2)),
    **dict.fromkeys(("cdist", "inner"), _compared),
    **dict.fromkeys(("einsum", "tensordot"), _told_by_size),
    **dict.fromkeys(CONVOLUTIONS, _convolved),
    "grid_sample": _sampled,
    **dict.fromkeys(
        [
            "__rmatmul__",
            "argwhere",
            "as_strided",
            "bincount",
            "broadcast_tensors",
            "corrcoef",
            "cov",
            "embedding_bag",
            "histc",
            "new_empty",
            "new_full",
            "new_ones",
            "new_tensor",
            "new_zeros",
            "nonzero",
            "rot90",
            "unique",
        ],
        _made_anew,
    ),
}
"""By the name of an operation: where a dimension of its result came from. Others keep each in its place."""
