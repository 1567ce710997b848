"""A finding as text: one headline of fact, the tensors, what was observed, and the fix."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from safe_ce.findings import Confidence
from safe_ce.lines import Line

if TYPE_CHECKING:
    from safe_ce.findings import Blame, Finding, Operand

WIDTH = 100
SHOWN_BESIDE_THE_FIRST = 2
TRACE = "  trace: inside `with safe_ce.trail():`, or under `python -m safe_ce run`, the report names the line"


def render(findings: tuple[Finding, ...], native: str | None = None) -> str:
    """The full report: the first finding in full, at most two more in a line each; of a loader all in full."""
    first = findings[0]
    if any(finding.batches for finding in findings):
        return "\n\n".join(in_full(finding, WIDTH) for finding in findings)
    lines = [f"[{first.code}] {first.summary}", "", *_details(first, WIDTH)]
    others = findings[1:]
    if first.confidence is Confidence.CERTAIN:
        others = tuple(other for other in others if other.confidence is not Confidence.POSSIBLE)
    for other in others[:SHOWN_BESIDE_THE_FIRST]:
        label = "also" if other.confidence is Confidence.CERTAIN else "also possible"
        lines += labelled(label, f"[{other.code}] {other.summary}")
    if native is not None:
        # Unwrapped and whole: it is what people paste into a search box, and what tests match.
        lines.append(f"  native: {native}")
    if first.traceable:
        lines.append(TRACE)
    lines.append(f"  more: python -m safe_ce explain {first.code}")
    return "\n".join(lines)


def in_full(finding: Finding, width: int) -> str:
    """All of a finding about a loader, in lines of at most ``width`` columns."""
    lines = textwrap.wrap(f"[{finding.code}] {finding.summary}", width, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([*lines, *_details(finding, width), f"  more: python -m safe_ce explain {finding.code}"])


def _details(finding: Finding, width: int) -> list[str]:
    lines = _operands(finding.operands)
    told = None if finding.blame is None else _turned(finding.blame)
    for note in finding.evidence:
        if told is None or told not in note:
            lines += labelled("note", note, width)
    if finding.blame is not None:
        lines += _blamed(finding.blame)
    if finding.samples:
        lead = "  at: "
        for sample in finding.samples:
            lines += _wrapped(str(sample), width, lead)
            lead = " " * len(lead)
    lines += _place(finding)
    lines += labelled("help", finding.help, width)
    if finding.fix is not None:
        lines += [f"        {statement}" for statement in finding.fix.splitlines()]
    return lines


def headline(finding: Finding) -> str:
    """The text of a warning: nothing in it changes from step to step."""
    lines = [f"[{finding.code}] {finding.cause}: {finding.title}"]
    if finding.blame is not None:
        lines += labelled("note", place_of(finding.blame))
    lines += _place(finding)
    lines += labelled("help", finding.remedy)
    lines.append(f"  more: python -m safe_ce explain {finding.code}")
    return "\n".join(lines)


def place_of(blame: Blame) -> str:
    """The line that is to blame, and the layer: the same at every step of a run."""
    text = str(Line(blame.filename, blame.lineno, blame.function))
    if not blame.function.startswith("<"):
        text += f" in {blame.function}"
        if blame.called is not None:
            text += f" called at {Line(*blame.called, '')}"
    if blame.source:
        text += f": `{blame.source}`"
    if blame.module is not None and (" " in blame.module or blame.function != "forward"):
        text += f", by {blame.module}"
        if blame.built is not None:
            text += f" from {Line(*blame.built, '')}"
    return text


def _turned(blame: Blame) -> str | None:
    return None if blame.before is None else f"turned {blame.before} into {blame.after}"


def _blamed(blame: Blame) -> list[str]:
    """The line that is to blame, and for a mistake in a shape what it did, and the shape's way."""
    text = place_of(blame)
    turned = _turned(blame)
    if turned is not None:
        text += f" {turned}"
    lines = labelled("note", text)
    if len(blame.steps) > 2:
        lines += labelled("note", "the way of the shape, from where it was last right")
        places = [str(Line(step.filename, step.lineno, "")) for step in blame.steps]
        width, longest = max(map(len, places)), max(len(step.operation) for step in blame.steps)
        for place, step in zip(places, blame.steps, strict=True):
            lines.append(f"          {place:<{width}}  {step.operation:<{longest}}  {step.shape}")
    return lines


def _place(finding: Finding) -> list[str]:
    return [] if finding.rank is None else labelled("note", f"on rank {finding.rank}")


def labelled(label: str, text: str, width: int = WIDTH) -> list[str]:
    """A text after its label, in lines of at most ``width`` columns, the later ones under the first."""
    return _wrapped(text, width, f"  {label}: ")


def _wrapped(text: str, width: int, lead: str) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
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
