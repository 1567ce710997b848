"""A finding as text: one headline of fact, the tensors, what was observed, and the fix."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from safe_ce.findings import Confidence

if TYPE_CHECKING:
    from safe_ce.findings import Finding, Operand

WIDTH = 100
SHOWN_BESIDE_THE_FIRST = 2


def render(findings: tuple[Finding, ...], native: str | None = None) -> str:
    """The full report: the first finding in full, at most two more in a line each."""
    first = findings[0]
    lines = [f"[{first.code}] {first.summary}", ""]
    lines += _operands(first.operands)
    for note in first.evidence:
        lines += labelled("note", note)
    lines += _place(first)
    lines += labelled("help", first.help)
    if first.fix is not None:
        lines += [f"        {statement}" for statement in first.fix.splitlines()]
    others = findings[1:]
    if first.confidence is Confidence.CERTAIN:
        others = tuple(other for other in others if other.confidence is not Confidence.POSSIBLE)
    for other in others[:SHOWN_BESIDE_THE_FIRST]:
        label = "also" if other.confidence is Confidence.CERTAIN else "also possible"
        lines += labelled(label, f"[{other.code}] {other.summary}")
    if native is not None:
        # Unwrapped and whole: it is what people paste into a search box, and what tests match.
        lines.append(f"  native: {native}")
    lines.append(f"  more: python -m safe_ce explain {first.code}")
    return "\n".join(lines)


def headline(finding: Finding) -> str:
    """The text of a warning: nothing in it changes from step to step."""
    lines = [f"[{finding.code}] {finding.cause}: {finding.title}"]
    lines += _place(finding)
    lines += labelled("help", finding.remedy)
    lines.append(f"  more: python -m safe_ce explain {finding.code}")
    return "\n".join(lines)


def _place(finding: Finding) -> list[str]:
    return [] if finding.rank is None else labelled("note", f"on rank {finding.rank}")


def labelled(label: str, text: str, width: int = WIDTH) -> list[str]:
    """A text after its label, in lines of at most ``width`` columns, the later ones under the first."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"  {label}: ",
        subsequent_indent=" " * (len(label) + 4),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _operands(operands: tuple[Operand, ...]) -> list[str]:
    lines = []
    names = max((len(operand.name) for operand in operands), default=0)
    kinds = max((len(operand.kind) for operand in operands if operand.shape is not None), default=0)
    for operand in operands:
        if operand.shape is None:
            lines.append(f"  {operand.name:<{names}}  {operand.kind}")
            continue
        lead = f"  {operand.name:<{names}}  {operand.kind:<{kinds}}  "
        shape, carets = _marked(operand.shape, operand.marks)
        lines.append(lead + shape)
        if carets:
            lines.append(" " * len(lead) + carets)
    return lines


def _marked(shape: tuple[int, ...], marks: tuple[int, ...]) -> tuple[str, str]:
    """A shape as Python writes it, and a line of carets under the marked dimensions."""
    text, carets = "(", " "
    for dim, size in enumerate(shape):
        text += str(size)
        carets += ("^" if dim in marks else " ") * len(str(size))
        if dim < len(shape) - 1:
            text += ", "
            carets += "  "
    if not shape and marks:
        return "()", "^^"
    return text + (",)" if len(shape) == 1 else ")"), carets.rstrip()
