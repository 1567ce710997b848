"""SCE205 and SCE212: a mask that is still a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safe_ce import probe
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, Match, cause, listed, plural
from safe_ce.causes.evidence import bad_ids, class_id_form, fractions_of, has_id_shape, one_hot
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call


MOSTLY = 0.3
"""The share of whole values of an interpolated mask: all pixels but those near a boundary."""


@cause("SCE205", "color-mask-target", ERROR)
def color_mask_target(call: Call) -> Match | None:
    """The mask is still a colour image.

    What happens
        "only batches of spatial targets supported (3D tensors) but got targets of dimension: 4".
    Why it is wrong
        Each pixel needs the number of its class. A colour is a picture of that number.
    Example
        >>> palette = torch.tensor([[0, 0, 0], [128, 0, 0], [0, 128, 0]])
        >>> input = torch.randn(2, 3, 4, 4)
        >>> target = palette[torch.tensor([[0, 1, 2, 0]] * 8).view(2, 4, 4)]
    Fix
        Map each colour of the palette to its class id where the mask is read; for an indexed PNG read the indices
        (PIL mode "P") and do not convert to RGB.

        >>> target = (target == 128).long() @ torch.tensor([1, 2, 0])
    How it is recognised, and when sound calls look alike
        A dimension of size 3 or 4 where colours go, first or last behind the batch, whose values are not one-hot.
    """
    if not call.tensors or not call.rejected or len(call.shape) not in (3, 4) or call.labels is None:
        return None
    spatial, batch = call.shape[-2:], call.shape[:-3]
    target = call.target_shape
    if len(target) != len(call.shape):
        return None
    layouts = [(len(batch), "channels first"), (len(target) - 1, "channels last")]
    # Of two dimensions that could hold colours, the one beside which the sizes fit.
    layouts.sort(key=lambda layout: (target[: layout[0]] + target[layout[0] + 1 :])[-2:] != spatial)
    for dim, layout in layouts:
        if target[dim] not in (3, 4):
            continue
        rest = target[:dim] + target[dim + 1 :]
        if rest[: len(batch)] != batch or (rest[-2:] != spatial and call.labels.bounds[1] <= 1):
            continue
        rows = call.target_rows(dim)
        if rows is None or one_hot(rows):
            continue
        with probe.unobserved():
            gray = bool((rows[:, :1] == rows[:, :3]).all())
        low, high = call.labels.bounds
        if call.labels.whole and high < call.classes and not gray:
            continue  # class ids, in a shape that does not fit
        select = f"target = target.select({dim}, 0)"
        repaired = attempt(call, select) if gray else None
        return Match(
            CERTAIN if high > call.classes else LIKELY,
            f"the mask is a colour image, {target}, not class ids of shape {(*batch, *spatial)}",
            (
                f"dim {dim} has size {target[dim]}: {'RGBA' if target[dim] == 4 else 'RGB'}, {layout}",
                "all channels are equal: a gray mask that was converted to RGB"
                if gray
                else f"values from {low:g} to {high:g}, where class ids end at {call.classes - 1}",
            ),
            "map each colour to its class id where the mask is read" if not gray else "read the mask as one channel",
            fix=repaired.fix if repaired is not None else None,
            odds=0.9,
            target_marks=(dim,),
        )
    return None


@cause("SCE212", "mask-not-class-ids", ERROR)
def mask_not_class_ids(call: Call) -> Match | None:
    """The mask holds gray values, 0 and 255 or a palette's, instead of class ids.

    What happens
        IndexError: Target 255 is out of bounds.
    Why it is wrong
        An image file stores shades; the loss wants the number of a class in every pixel.
    Example
        >>> input = torch.randn(1, 2, 4, 4)
        >>> target = torch.tensor([0, 255, 255, 0] * 4).view(1, 4, 4)
    Fix
        Map each shade to its class id after reading the mask, and resize masks with nearest-neighbour interpolation, so
        that no shades arise in between.

        >>> target = (target > 0).long()
    How it is recognised, and when sound calls look alike
        Two or more widely spaced values of 0 to 255 that do not fit the classes, in an image; or only 0 and 255; or floats
        that are ids divided by 255, or interpolated between ids.
        Classes 0 to C - 1 beside a single 255 are a mask with a void id (SCE211).
    """
    scaled = _scaled_mask(call)
    if scaled is not None:
        return scaled
    bad = bad_ids(call)
    labels = call.labels
    if bad is None or labels is None or labels.kept is None or not labels.few:
        return None
    values = tuple(int(value) for value in labels.distinct if value != call.ignored)
    if values[0] < 0 or values[-1] > 255 or len(values) < 2:
        return None
    two = values in ((0, 32), (0, 64), (0, 128), (0, 255))
    image = len(call.target_shape) >= 3 or (len(call.target_shape) == 2 and min(call.target_shape) > 16)
    apart = (values[-1] - values[0]) / (len(values) - 1)
    if not two and not (image and len(bad.values) >= 2 and (apart >= 5 or values[-1] == 255)):
        return None
    plain = len(values) == 2 and values[0] == 0 and call.ignored not in labels.distinct
    binary = "target = (target > 0).long()"
    repaired = attempt(call, binary, labels="made", gives=class_id_form(call)) if plain else None
    return Match(
        LIKELY,
        f"the mask holds gray values, {listed(values)}, not the ids of {call.classes} classes",
        (
            f"{plural(len(values), 'distinct value')}, {apart:.0f} apart on average, where ids are next to each other",
            f"{bad.count} of {plural(bad.total, 'label')} out of range",
        ),
        "map each shade to its class id where the mask is read, and resize masks with nearest-neighbour interpolation",
        fix=None if repaired is None else repaired.statements,
        odds=0.9,
    )


def _scaled_mask(call: Call) -> Match | None:
    """The match for a floating-point mask that was divided by 255, or interpolated."""
    labels = call.labels
    if labels is None or not call.rejected or not call.target.is_floating_point() or not has_id_shape(call):
        return None
    fractions = fractions_of(call)
    if not fractions or len(call.target_shape) < 3:
        return None
    levels = tuple(value * 255 for value in labels.distinct)
    if labels.bounds[0] >= 0 and labels.bounds[1] <= 1 and all(abs(level - round(level)) < 1e-2 for level in levels):
        repaired = attempt(call, "target = (target * 255).round().long()", labels="made", gives=class_id_form(call))
        fits = repaired is not None and round(levels[-1]) < call.classes
        return Match(
            LIKELY,
            f"the mask was scaled to 0 to 1: its values are {listed(tuple(round(level) for level in levels))} out of 255",
            ("every value is a whole number divided by 255, as ToTensor divides images",),
            "read the mask without that transform: torch.as_tensor(numpy.array(mask)), int64",
            fix=repaired.statements if repaired is not None and fits else None,
            odds=0.9,
        )
    whole = sum(labels.share(value) for value in labels.distinct if not value % 1)
    if whole < MOSTLY:
        return None
    return Match(
        LIKELY,
        f"the mask was interpolated: {whole:.0%} of its values are ids, the others lie in between",
        (f"values between ids: {listed(tuple(f'{value:g}' for value in fractions), 4)}",),
        "resize masks with nearest-neighbour interpolation",
        odds=0.8,
    )
