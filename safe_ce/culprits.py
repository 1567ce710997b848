"""Looking for the operation that made a mistake, among those that made a tensor.

What a search returns is a way: the operation that it found, and those after it up to the tensor of the call. It is None
where the trail does not show the culprit.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from safe_ce.lineage import main_source, origin, sources_of, way_of
from safe_ce.operations import (
    ADJUSTING,
    CASTS,
    COMPILED,
    COUNTED,
    MOVING,
    PARAMETER,
    RECURRENT,
    SCORING,
    SELECTING,
    VIEWS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safe_ce.lineage import Origin
    from safe_ce.recording import Operation

STEPS = 1000
"""Operations that are followed back, at most."""


class Sought(NamedTuple):
    """Among what is looked for.

    Attributes:
        made: What made the tensor at fault.
        marks: Its dimensions at fault.
        other: What made the tensor that it does not fit to.
        other_marks: The dimensions of that.
        earlier: The shapes of the two in the last sound call, if there was one.
    """

    made: Operation | None
    marks: tuple[int, ...] = ()
    other: Operation | None = None
    other_marks: tuple[int, ...] = ()
    earlier: tuple[tuple[int, ...], tuple[int, ...]] | None = None


Way: TypeAlias = "list[Operation]"
Search: TypeAlias = "Callable[[Sought], Way | None]"


def is_known(made: Operation) -> bool:
    """Whether it is known what an operation was, and where."""
    return made.name not in ("", PARAMETER) and bool(made.scene.place or made.scene.within)


def back(made: Operation, through: frozenset[str]) -> Iterator[Way]:
    """The ways from a tensor back through some operations, to those included that are none of them."""
    ways = [[made]]
    for _ in range(STEPS):
        if not ways:
            return
        way = ways.pop()
        yield way
        if way[0].name in through:
            ways += [[source, *way] for source in reversed(_values(way[0]))]


def _values(made: Operation) -> tuple[Operation, ...]:
    """The sources that an operation's values are of, and not the masks and indices it was told by."""
    sources = sources_of(made)
    if made.name in SELECTING:
        return sources[:1]
    same = tuple(source for source in sources if source.dtype.is_floating_point == made.dtype.is_floating_point)
    return same or sources[:1]


def made_by(names: frozenset[str], through: frozenset[str] = MOVING) -> Search:
    """Search for the last operation of one of these names, or a compiled region, behind such as only pass values on."""
    names |= {COMPILED}

    def search(sought: Sought) -> Way | None:
        if sought.made is None:
            return None
        found = (way for way in back(sought.made, through) if way[0].name in names and is_known(way[0]))
        return next(found, None)

    return search


def of_values(sought: Sought) -> Way | None:
    """Search for what the values came from: the last operation that did not only pass them on.

    What brings an array into torch no mode is told of; often it is on one line with the cast that follows.
    """
    if sought.made is None:
        return None
    way = next((way for way in back(sought.made, MOVING) if way[0].name not in MOVING), None)
    was_cast = way is not None and len(way) > 1 and not way[0].name and way[1].name in CASTS
    return way[1:] if way is not None and was_cast else way


def of_size(sought: Sought) -> Way | None:
    """Search for what gave one of the dimensions at fault its size."""
    sized = _sized(sought.made, sought.marks)
    return None if sized is None else [step.made for step in sized]


def _sized(made: Operation | None, marks: tuple[int, ...]) -> list[Origin] | None:
    if made is None:
        return None
    ways = (way_of(made, dim) for dim in marks if dim < len(made.shape))
    return next((way for way in ways if is_known(way[0].made) and not _is_of_a_batch(way[0].made)), None)


def _is_of_a_batch(made: Operation) -> bool:
    """Whether a data loader put samples together, the number of which is nobody's mistake."""
    return made.scene.loaded and made.name in ("stack", "tensor")


def of_other_size(sought: Sought) -> Way | None:
    """Search on the other side for what gave one of its dimensions at fault its size."""
    return of_size(Sought(sought.other, sought.other_marks))


def of_departure(sought: Sought) -> Way | None:
    """Search on both sides for what was given a size that the other side still has, and made another one of it."""
    return _the_one(sought, lambda way, other, _: _departs(way[0].made, other))


def of_either_size(sought: Sought) -> Way | None:
    """Search on both sides for what gave a dimension at fault its size. Of two, the first criterion that tells decides."""
    return (
        of_departure(sought)
        or _the_one(sought, lambda way, _, before: way[-1].made.shape[:1] == before[:1])
        or _the_one(sought, lambda way, *_: way[0].made.name in COUNTED)
        or _the_one(sought, lambda *_: True)
    )


def of_length(sought: Sought) -> Way | None:
    """Search on both sides for what gave sequences their length, also where they were flattened since.

    Where both were cut from longer ones, the target is the one that is cut wrong: the shift by one is made there.
    """
    made, other = _before_it_was_flattened(sought.made), _before_it_was_flattened(sought.other)
    if made is not None and other is not None:
        sought = Sought(made, (1,), other, (1,))
    found = of_either_size(sought)
    if found is not None:
        return found
    cut = of_other_size(sought)
    return cut if cut is not None and cut[0].name in SELECTING else None


def _before_it_was_flattened(made: Operation | None) -> Operation | None:
    source = main_source(made) if made is not None and made.name in VIEWS else None
    return source if source is not None and made is not None and len(source.shape) > len(made.shape) else None


def _the_one(
    sought: Sought, criterion: Callable[[list[Origin], Operation | None, tuple[int, ...]], bool]
) -> Way | None:
    """The way on the one side that a criterion is true of; None if it is true of none or both."""
    own, others = sought.earlier or ((), ())
    sides = (
        (_sized(sought.made, sought.marks), sought.other, own),
        (_sized(sought.other, sought.other_marks), sought.made, others),
    )
    told = [way for way, other, before in sides if way is not None and criterion(way, other, before)]
    return [step.made for step in told[0]] if len(told) == 1 else None


def _departs(made: Operation, other: Operation | None) -> bool:
    source = main_source(made)
    if source is None or other is None:
        return False
    return bool(Counter(source.shape) & (Counter(other.shape) - Counter(made.shape)))


def of_classes(sought: Sought) -> Way | None:
    """Search for what made the scores."""
    return made_by(SCORING, MOVING | ADJUSTING)(sought)


def of_time(sought: Sought) -> Way | None:
    """Search for what put time first: an exchange of the first two dimensions, or what pads; else a recurrent layer.

    Without any of these: for what picked a sample, where dim 0 was taken for time.
    """
    way = [] if sought.made is None else [sought.made]
    recurrent = picked = None
    for _ in range(STEPS):
        source = main_source(way[0]) if way else None
        if source is None:
            break
        is_plane = len(way[0].shape) > 1
        if way[0].name == "pad_sequence" or (
            is_plane and origin(way[0], 0) == (source, 1) and origin(way[0], 1) == (source, 0)
        ):
            return way
        if way[0].name in RECURRENT and recurrent is None:
            recurrent = way
        if (
            way[0].name in SELECTING
            and is_plane
            and len(source.shape) > len(way[0].shape)
            and origin(way[0], 0) == (source, 1)
        ):
            picked = picked or way
        way = [source, *way]
    return recurrent or picked


def of_fewer_dimensions(sought: Sought) -> Way | None:
    """Search for what dropped a dimension last."""
    way = [] if sought.made is None else [sought.made]
    for _ in range(STEPS):
        source = main_source(way[0]) if way else None
        if source is None:
            return None
        if len(source.shape) > len(way[0].shape):
            return way
        way.insert(0, source)
    return None


def of_view(sought: Sought) -> Way | None:
    """Search for the first of the views in a row that made a tensor."""
    way = None
    made = sought.made
    while made is not None and made.name in VIEWS:
        way = [made, *(way or [])]
        made = main_source(made)
    return way


def of_dtype(sought: Sought) -> Way | None:
    """Search for what gave values their dtype."""
    way = [] if sought.made is None else [sought.made]
    for _ in range(STEPS):
        same = [source for source in sources_of(way[0]) if source.dtype is way[0].dtype] if way else []
        if not same:
            break
        way.insert(0, same[0])
    return way or None


def of_a_column(sought: Sought) -> Way | None:
    """Search for what picked one column of a table."""
    if sought.made is None:
        return None
    for way in back(sought.made, MOVING):
        source = main_source(way[0]) if way[0].name in SELECTING else None
        if source is not None and len(source.shape) == len(way[0].shape) + 1:
            return way
    return None


def of_conversion(sought: Sought) -> Way | None:
    """Search for what converted values to the dtype that they have."""
    way = of_dtype(sought)
    return way if way is not None and way[0].sources else None


def of_changed_values(sought: Sought) -> Way | None:
    """Search for what computed values from others."""
    way = of_values(sought)
    return way if way is not None and sources_of(way[0]) else None


def first(*searches: Search) -> Search:
    """Search in several ways, up to the first that finds a known operation."""

    def search(sought: Sought) -> Way | None:
        found = (way for each in searches if (way := each(sought)) is not None and is_known(way[0]))
        return next(found, None)

    return search
