"""The faces: SafeCrossEntropyLoss for nn.CrossEntropyLoss, cross_entropy for F.cross_entropy, and diagnose."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from safe_ce import contract, guard, modes, places, schedule, settings
from safe_ce.findings import SafeCrossEntropyError
from safe_ce.memory import LOSSES, Memory, Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safe_ce.findings import Finding, OnFinding
    from safe_ce.modes import Mode
    from safe_ce.schedule import Probe


class SafeCrossEntropyLoss(nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` that names the likely cause of a mistaken call.

    A sound call returns native's own loss, bit for bit. A mistaken one raises `SafeCrossEntropyError`, or warns,
    depending on the mode, with the cause, the evidence and the fix.

    Args:
        weight: Class weights, ``(C)``, of the logits' dtype.
        size_average: Deprecated, as in native.
        ignore_index: The class id that is not counted; only for targets that hold class ids.
        reduce: Deprecated, as in native.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: From 0 to under 1.
        mode: ``"strict"``, ``"default"``, ``"warn"`` or ``"off"`` for this loss; None takes the mode in force
            (see `safe_ce.mode`).
        probe: On which calls values are looked at: ``"every"``, ``"scheduled"`` (the first calls of a kind, then ever
            more rarely) or ``"never"``; None is ``"every"`` in strict mode and ``"scheduled"`` in the others.
        ignore: Names or codes of causes that are not to be reported.
        on_finding: Called with every `Finding`, for metrics and logs.

    Shapes and dtypes of a call are native's: ``input`` ``(C)``, ``(N, C)`` or ``(N, C, d1, ...)``, floating point;
    ``target`` either int64 class ids of shape ``()``, ``(N)`` or ``(N, d1, ...)``, or class probabilities of the
    input's own shape. See https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html.

    Raises:
        SafeCrossEntropyError: The call, or one of these arguments, is broken; in strict mode also for findings of
            severity warning. It is a ValueError, IndexError, TypeError, NotImplementedError and RuntimeError, the
            classes that native raises.
        ValueError: ``mode`` is not a mode, ``probe`` none of its values, or ``ignore`` names a cause that there is not.
        TypeError: ``ignore`` is a string, or ``on_finding`` is not callable.

    Example:
        >>> import torch
        >>> from safe_ce import SafeCrossEntropyLoss
        >>> criterion = SafeCrossEntropyLoss()
        >>> loss = criterion(torch.randn(4, 10, requires_grad=True), torch.tensor([3, 0, 9, 1]))
        >>> loss.backward()
    """

    # Defaults on the class: a native instance's state is a valid state of this one. TorchScript reads a class's
    # annotations at run time and knows none of these types, so it sees none.
    if TYPE_CHECKING:
        mode: Mode | None
        probe: Probe | None
        ignore: tuple[str, ...]
        on_finding: OnFinding
        _memory: Memory | None
    else:
        mode = None
        probe = None
        ignore = ()
        on_finding = None
        _memory = None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        mode: Mode | None = None,
        probe: Probe | None = None,
        ignore: Iterable[str] = (),
        on_finding: OnFinding = None,
    ) -> None:
        if _is_traced():
            # What a compiled graph builds is native's in all but what it is told: it is checked where it is called.
            super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
            self.mode, self.probe, self.ignore, self.on_finding = mode, probe, tuple(ignore), on_finding
            return
        in_force = modes.in_force(mode)
        schedule.checked(probe)
        ignored = settings.checked_causes(ignore)
        # The deprecated arguments override `reduction`, whatever it is.
        options = (ignore_index, reduction if size_average is None and reduce is None else "mean", label_smoothing)
        settings.checked_callback(on_finding)
        failure: Exception | None = None
        try:
            super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        except Exception as error:
            failure = error
        try:
            if in_force != "off":
                how = guard.Settings(in_force, "never", ignored, on_finding)
                _check_construction(how, weight, size_average, options, failure)
            if failure is not None:
                raise failure
        except SafeCrossEntropyError as error:
            raise error.with_traceback(None) from None
        finally:
            del failure  # its traceback holds this frame, and so the arguments
        if mode is not None:
            self.mode = mode
        if probe is not None:
            self.probe = probe
        if ignored:
            self.ignore = ignored
        if on_finding is not None:
            self.on_finding = on_finding
        self._begin()

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        check = None if _is_traced() else settings.CHECKS.get(name)
        if check is not None:
            value = check(value)
            if self._memory is not None:
                # What was found out under the old setting says nothing of the new one.
                self._memory.sound.clear()
                self._memory.schedule.begin_again()
        super().__setattr__(name, value)

    @override
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if _is_traced():
            return self._traced(input, target)
        try:
            weight = self._buffers["weight"]  # where it is found without a search
        except KeyError:
            weight = self.weight
        native = F.cross_entropy
        native = _ALONE if native is _ORIGINAL else contract.unguarded(native)  # which nobody guards once more
        mode = self.mode or modes.innermost() or modes.process  # as modes.in_force, without a call
        if mode == "off":
            return native(
                input,
                target,
                weight=weight,
                ignore_index=self.ignore_index,
                reduction=self.reduction,
                label_smoothing=self.label_smoothing,
            )
        try:
            return guard.guarded(
                native,
                self._memory or self._begin(),
                mode,
                self,
                input,
                target,
                weight,
                self.ignore_index,
                self.reduction,
                self.label_smoothing,
            )
        except SafeCrossEntropyError as error:
            # The guard's own frames say nothing to the reader of a traceback.
            __tracebackhide__ = True
            raise error.with_traceback(None) from None

    # TorchScript compiles the source of what a function wraps: here native's.
    forward.__wrapped__ = nn.CrossEntropyLoss.forward  # type: ignore[attr-defined]

    def _begin(self) -> Memory:
        LOSSES[id(self)] = self
        memory = self.__dict__["_memory"] = Memory()
        return memory

    def _traced(self, input: Tensor, target: Tensor) -> Tensor:
        from safe_ce import compiled

        options = (self.weight, self.ignore_index, self.reduction, self.label_smoothing)
        return compiled.guarded(self, contract.traced, input, target, *options)

    def flush(self) -> None:
        """Wait for what is under way of earlier calls' values on an accelerator, and raise or warn for it.

        On an accelerator the guard never waits by itself: what it finds in the values of a call is said by a later
        one. Call this after the last step. On the CPU nothing is ever under way.

        Raises:
            SafeCrossEntropyError: As a call would.

        Example:
            >>> from safe_ce import SafeCrossEntropyLoss
            >>> criterion = SafeCrossEntropyLoss()
            >>> criterion.flush()
        """
        if self._memory is not None and self._memory.under_way:
            _flush(self._memory, guard.settings(modes.in_force(self.mode), self))

    def stats(self) -> Stats:
        """Count the calls of this loss, those of which values were looked at, and what was found in them.

        Returns:
            The counts so far, for a metrics exporter; `safe_ce.stats` has those of the whole process.

        Example:
            >>> from safe_ce import SafeCrossEntropyLoss
            >>> criterion = SafeCrossEntropyLoss()
            >>> criterion.stats()
            Stats(calls=0, probes=0, findings={})
        """
        return (self._memory or self._begin()).stats

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A callback belongs to its owner, a logger say, which a copy of the loss must not copy.
        memo[id(self.on_finding)] = self.on_finding
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # What it remembers of its calls belongs to this run, not to a checkpoint or a copy.
        return {name: value for name, value in self.__dict__.items() if name != "_memory"}

    @override
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._begin()


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    mode: Mode | None = None,
    probe: Probe | None = None,
    ignore: Iterable[str] = (),
    on_finding: OnFinding = None,
) -> Tensor:
    """`torch.nn.functional.cross_entropy` that names the likely cause of a mistaken call.

    Args:
        input: The logits: ``(C)``, ``(N, C)`` or ``(N, C, d1, ...)``, floating point.
        target: int64 class ids, ``()``, ``(N)`` or ``(N, d1, ...)``; or class probabilities of the input's shape.
        weight: Class weights, ``(C)``, of the logits' dtype.
        size_average: Deprecated, as in native.
        ignore_index: The class id that is not counted.
        reduce: Deprecated, as in native.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: From 0 to under 1.
        mode: As in `SafeCrossEntropyLoss`.
        probe: As in `SafeCrossEntropyLoss`.
        ignore: As in `SafeCrossEntropyLoss`.
        on_finding: As in `SafeCrossEntropyLoss`.

    Returns:
        Native's own loss.

    Raises:
        SafeCrossEntropyError: As in `SafeCrossEntropyLoss`.

    Example:
        >>> import torch, safe_ce
        >>> loss = safe_ce.cross_entropy(torch.randn(4, 10), torch.tensor([3, 0, 9, 1]))
    """
    if (size_average is not None or reduce is not None) and not _is_traced():
        nn._reduction.legacy_get_string(size_average, reduce)  # which warns that they are deprecated
    reduction = contract.reduction_of(size_average, reduce, reduction)
    owner = settings.caller(mode, probe, ignore, on_finding)
    if _is_traced():
        from safe_ce import compiled

        return compiled.guarded(owner, contract.traced, input, target, weight, ignore_index, reduction, label_smoothing)
    in_force = owner.mode or modes.innermost() or modes.process
    if in_force == "off":
        return contract.native(input, target, weight, ignore_index, reduction, label_smoothing)
    try:
        return guard.guarded(
            contract.alone,
            places.memory_at(sys._getframe(), owner.probe),
            in_force,
            owner,
            input,
            target,
            weight,
            ignore_index,
            reduction,
            label_smoothing,
        )
    except SafeCrossEntropyError as error:
        __tracebackhide__ = True
        raise error.with_traceback(None) from None


contract.GUARDS[cross_entropy] = contract.alone
places.PASSED.add(cross_entropy.__code__.co_filename)


def flush() -> None:
    """Wait for what is under way of the values that the function was given on an accelerator.

    That is `safe_ce.cross_entropy`, and native's own, by whoever calls it, where `install` or `guarded` guards it.

    Raises:
        SafeCrossEntropyError: As a call would (see `SafeCrossEntropyLoss.flush`, which does this for one loss).

    Example:
        >>> import safe_ce
        >>> safe_ce.flush()
    """
    for memory in places.memories():
        if memory.under_way:
            _flush(memory, memory.under_way[0].settings)


def diagnose(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: Any = -100,
    reduction: Any = "mean",
    label_smoothing: Any = 0.0,
) -> tuple[Finding, ...]:
    """Say what is likely wrong with a call of the cross-entropy loss, without making it.

    Never raises for a bad call, whatever the arguments are. Values are read synchronously.

    Args:
        input: The logits, ``(C)``, ``(N, C)`` or ``(N, C, d1, ...)``, or whatever was passed for them.
        target: Class ids, int64, ``()``, ``(N)`` or ``(N, d1, ...)``; or class probabilities of the input's shape.
        weight: Class weights, ``(C)``, or None.
        ignore_index: As in `torch.nn.CrossEntropyLoss`.
        reduction: As in `torch.nn.CrossEntropyLoss`.
        label_smoothing: As in `torch.nn.CrossEntropyLoss`.

    Returns:
        The findings, best first, the merely possible ones included. Empty where nothing fits, which is no proof that
        the call is sound.

    Example:
        >>> import torch, safe_ce
        >>> findings = safe_ce.diagnose(torch.randn(4, 10), torch.tensor([[3], [0], [9], [1]]))
        >>> findings[0].cause, findings[0].fix
        ('target-extra-dim', 'target = target.squeeze(1)')
    """
    from dataclasses import replace

    from safe_ce.call import Call
    from safe_ce.diagnosis import findings_of
    from safe_ce.repair import is_accepted

    call = Call(input, target, weight, ignore_index, reduction, label_smoothing)
    return findings_of(replace(call, rejected=not is_accepted(call)))


_ORIGINAL: Callable[..., Tensor] = contract.original
_ALONE: Callable[..., Tensor] = contract.alone
_is_traced = torch.compiler.is_dynamo_compiling


def _flush(memory: Memory, how: guard.Settings) -> None:
    from safe_ce import verdict

    try:
        verdict.flush(memory, how)
    except SafeCrossEntropyError as error:
        raise error.with_traceback(None) from None


def _check_construction(
    how: guard.Settings,
    weight: Any,
    size_average: Any,
    options: tuple[Any, Any, Any],
    error: Exception | None,
) -> None:
    """Raise or warn for arguments of the constructor that no call can be sound with."""
    ignore_index, reduction, label_smoothing = options
    if error is None and weight is None and not isinstance(size_average, Tensor) and type(ignore_index) is int:
        plain = type(label_smoothing) is float and 0.0 <= label_smoothing < 1.0
        if plain and ignore_index in contract.INT64 and reduction in ("mean", "sum", "none"):
            return
    from safe_ce import verdict
    from safe_ce.call import Call

    called = isinstance(size_average, Tensor)
    record = Call(
        input=weight if called else None,
        target=size_average if called else None,
        weight=None if called else weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        stage="construction",
    )
    verdict.of_construction(how, record, error)
