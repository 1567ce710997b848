"""The guard under torch.compile: an operator that the compiler leaves in its graph, where the values are.

Imported by the tracer, while it traces a call. There the operator's fake kernel sees shapes, and raises the report of a
call that they break; in compiled code its real kernel looks at values, as the guard does elsewhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from safe_ce import contract, guard, modes, probe
from safe_ce.findings import SafeCrossEntropyError

_LIBRARY = torch.library.Library("safe_ce", "DEF")
# An operator without a result or an effect would be dropped: this one is declared to change `kept`.
_LIBRARY.define(
    "look(Tensor input, Tensor target, Tensor? weight, int ignore_index, str reduction, float label_smoothing,"
    " str own_mode, str own_probe, str ignore, int loss, Tensor(a!) kept) -> ()"
)
_is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)


class _Owner(NamedTuple):
    """What the graph says of how a call is guarded, where it does not say by which loss."""

    probe: Any
    ignore: tuple[str, ...]
    on_finding: None = None


_MEMORY = guard.Memory()
"""What compiled calls of losses without a callback remember, together: a graph may serve many losses."""


def look(
    owner: Any, input: Any, target: Any, weight: Any, ignore_index: Any, reduction: Any, label_smoothing: Any
) -> None:
    """Leave the operator in the graph that is being traced, before a call of native's.

    Not where a graph is exported, which must run without this package, nor for what native refuses by its type, nor
    for subclasses of tensors.
    """
    plain = type(input) in (Tensor, nn.Parameter) and type(target) in (Tensor, nn.Parameter)
    typed = isinstance(ignore_index, int) and isinstance(reduction, str) and isinstance(label_smoothing, float)
    if owner.mode == "off" or not plain or not typed or _is_exporting():
        return
    torch.ops.safe_ce.look(
        input,
        target,
        weight,
        ignore_index,
        reduction,
        label_smoothing,
        owner.mode or "",
        owner.probe or "",
        ",".join(owner.ignore),
        # The id of a loss is one more thing that a graph would hold only for, so it is not asked for without need.
        id(owner) if owner.on_finding is not None and isinstance(owner, nn.Module) else 0,
        _kept_on(input.device.type),
    )


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _kept_on(device: str) -> Tensor:
    """What the operator is declared to change, on a device."""
    if device not in _kept:
        _kept[device] = torch.zeros(1, device=device)
    return _kept[device]


_kept: dict[str, Tensor] = {}


def _real(*arguments: Any) -> None:
    *call, own_mode, own_probe, ignore, loss, _ = arguments
    mode = modes.in_force(own_mode or None)
    if mode == "off":
        return
    owner = guard.LOSSES.get(loss)
    memory = _MEMORY if owner is None else owner._memory or owner._begin()
    if owner is None:
        owner = _Owner(own_probe or None, tuple(ignore.split(",")) if ignore else ())
    try:
        guard.look(memory, mode, owner, tuple(call))
    except SafeCrossEntropyError as error:
        raise error.with_traceback(None) from None


def _fake(*arguments: Any) -> None:
    input, target, weight, *options = arguments[:6]
    own_mode, _, ignore = arguments[6:9]
    if modes.in_force(own_mode or None) == "off":
        return
    try:
        if not contract.is_broken(input, target, options[0]):
            return
        with probe.hidden():
            tensors = [None if tensor is None else _stand_in(tensor) for tensor in (input, target, weight)]
    except Exception:  # noqa: S110 - sizes that only values tell: native, traced next, says what it can do with them
        return
    from safe_ce import verdict

    owner = _Owner("never", tuple(ignore.split(",")) if ignore else ())
    verdict.of_broken(guard.Memory(), guard.settings("default", owner), (*tensors, *options))


def _stand_in(tensor: Tensor) -> Tensor:
    return torch.zeros(1, dtype=tensor.dtype).expand([int(size) for size in tensor.shape])


_LIBRARY.impl("look", _real, "CompositeExplicitAutograd")
torch.library.register_fake("safe_ce::look", _fake, lib=_LIBRARY)
