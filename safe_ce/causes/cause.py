"""What an entry of the catalogue is: a check, and a docstring that is its documentation."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from safe_ce.findings import Confidence, Finding, Operand, Severity
from safe_ce.ranks import rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from safe_ce.call import Call

HEADINGS = (
    "What happens",
    "Why it is wrong",
    "Example",
    "Fix",
    "How it is recognised, and when sound calls look alike",
)

CERTAIN, LIKELY, POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE
ERROR, WARNING = Severity.ERROR, Severity.WARNING
STANDING = {CERTAIN: 0.5, LIKELY: 0.25, POSSIBLE: 0.0}
"""What a confidence adds to the odds of a match: that is how matches are ranked."""


@dataclass(frozen=True)
class Match:
    """That a cause fits a call, in this call's own words and numbers.

    Attributes:
        confidence: How sure it is.
        summary: The fact in one line.
        evidence: What was observed, a sentence each.
        help: What to change.
        fix: Statements that mend the call, known to run; None where there are none.
        severity: Where it differs from the cause's own.
        odds: How common the mistake is among calls that look like this, between 0 and 1. With the confidence it
            ranks the matches.
        input_marks: Dimensions of the input at fault.
        target_marks: Dimensions of the target at fault.
        weight_marks: Dimensions of the weight at fault.
    """

    confidence: Confidence
    summary: str
    evidence: tuple[str, ...]
    help: str
    fix: str | None = None
    severity: Severity | None = None
    odds: float = 0.5
    input_marks: tuple[int, ...] = ()
    target_marks: tuple[int, ...] = ()
    weight_marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cause:
    """An entry of the catalogue.

    Attributes:
        code: ``"SCE101"``; never changes meaning.
        name: ``"softmax-applied"``.
        severity: What it usually is; a match may say otherwise.
        check: Call -> Match or None.
        documentation: The docstring: a title and the sections of `HEADINGS`.
        silent: Whether it never makes native raise, so that beside a broken clause it is a second mistake.
        construction: Whether the constructor's arguments alone can show it.
        patience: Outside strict mode, how many looks in a row must find it, with none that does not, before it
            is said: for what a sound program may show in single batches.
    """

    code: str
    name: str
    severity: Severity
    check: Callable[[Call], Match | None]
    documentation: str
    silent: bool = False
    construction: bool = False
    patience: int = 1

    @property
    def title(self) -> str:
        """The mistake in a line; its name where Python was told to drop docstrings (-OO)."""
        return self.documentation.splitlines()[0].rstrip(".") if self.documentation else self.name

    def section(self, heading: str) -> str:
        """The text under one of `HEADINGS`, dedented."""
        if heading not in HEADINGS:
            raise KeyError(heading)
        found = re.search(rf"^{re.escape(heading)}\n((?:    .*\n|\n)+)", self.documentation + "\n", re.MULTILINE)
        return inspect.cleandoc(found[1]) if found else ""

    @property
    def remedy(self) -> str:
        """The first paragraph of the section Fix, on one line."""
        return " ".join(self.section("Fix").split("\n\n")[0].split())

    def finding(self, call: Call, match: Match) -> Finding:
        """The finding that a match on a call amounts to."""
        return Finding(
            code=self.code,
            cause=self.name,
            severity=match.severity or self.severity,
            confidence=match.confidence,
            summary=match.summary,
            evidence=match.evidence,
            help=match.help,
            fix=match.fix,
            # What a constructor is given does not change from step to step.
            title=match.summary if call.stage == "construction" else self.title,
            remedy=self.remedy,
            operands=operands(call, match),
            call=call.number,
            rank=rank(),
        )


def cause(
    code: str,
    name: str,
    severity: Severity,
    *,
    silent: bool = False,
    construction: bool = False,
    patience: int = 1,
) -> Callable[[Callable[[Call], Match | None]], Cause]:
    """Make a check with a docstring an entry of the catalogue."""

    def decorate(check: Callable[[Call], Match | None]) -> Cause:
        return Cause(code, name, severity, check, inspect.getdoc(check) or "", silent, construction, patience)

    return decorate


def operands(call: Call, match: Match) -> tuple[Operand, ...]:
    """The arguments of a call as the report shows them."""
    given = [("input", call.input, match.input_marks), ("target", call.target, match.target_marks)]
    shown = [_operand(name, value, marks) for name, value, marks in given if call.stage == "call"]
    if call.weight is not None:
        shown.append(_operand("weight", call.weight, match.weight_marks))
    devices = {value.device for value in (call.input, call.target, call.weight) if isinstance(value, Tensor)}
    if len(devices) > 1:
        values = {"input": call.input, "target": call.target, "weight": call.weight}
        shown = [
            replace(operand, kind=f"{operand.kind} on {values[operand.name].device}")
            if isinstance(values[operand.name], Tensor)
            else operand
            for operand in shown
        ]
    return tuple(shown)


def _operand(name: str, value: Any, marks: tuple[int, ...]) -> Operand:
    if isinstance(value, Tensor) and value.is_nested:
        return Operand(name, f"nested {dtype_name(value)}", None)
    if isinstance(value, Tensor):
        return Operand(name, dtype_name(value), tuple(value.shape), marks)
    return Operand(name, described(value), None)


def dtype_name(tensor: Tensor) -> str:
    """``"int64"`` for torch.int64."""
    return str(tensor.dtype).removeprefix("torch.")


def attribute(value: Any, name: str) -> Any:
    """An attribute of any object, or None; output classes raise KeyError and worse for names they lack."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None


def described(value: Any) -> str:
    """What a thing that is not a tensor is, in a few words."""
    kind = type(value).__name__
    shape, dtype = attribute(value, "shape"), attribute(value, "dtype")
    if isinstance(shape, tuple) and dtype is not None:
        return f"numpy.{kind}" if kind == str(dtype) else f"{kind} {dtype} {shape}"
    if isinstance(value, (tuple, list, dict, set)):
        return f"{kind} of {len(value)}"
    if value is None or isinstance(value, (bool, int, float, str)):
        text = repr(value)
        return text if len(text) <= 40 else f"{kind} {text[:36]}..."
    return kind


def a(value: Any) -> str:
    """`described`, with an article where it is a kind of thing: ``"a tuple of 2"``, ``"None"``."""
    text = described(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return text
    return f"{'an' if text.startswith((*'aeiouAEIO', 'ndarray')) else 'a'} {text}"


def plural(count: int, noun: str) -> str:
    """``"1 row"``, ``"2 rows"``."""
    if count == 1:
        return f"{count} {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"


def listed(values: tuple[Any, ...], most: int = 6) -> str:
    """A few values in a row, with an ellipsis where there are more."""
    shown = ", ".join(str(value) for value in values[:most])
    return shown + (", ..." if len(values) > most else "")
