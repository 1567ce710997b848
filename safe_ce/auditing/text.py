"""An audit as text for a terminal, and as plain data."""

from __future__ import annotations

import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from safe_ce.causes.cause import listed
from safe_ce.commands import fields
from safe_ce.report import WIDTH, in_full, labelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.auditing.result import Audit

SHOWN = 24
"""Classes that are shown one by one."""

EXTREMES = 8
"""Of more classes, how many of the most frequent and of the rarest are shown."""

LONGEST = 40
"""Columns of the longest bar."""

UNBALANCED = 3
"""How many times as frequent as the rarest class the most frequent is, where that is said."""

PARTS = " ▏▎▍▌▋▊▉█"


def report(audit: Audit) -> str:
    """The whole audit, in lines as wide as the terminal or `WIDTH` columns: the findings last, where the eye is."""
    width = min(shutil.get_terminal_size((WIDTH, 0)).columns, WIDTH)
    parts = [textwrap.wrap(_headline(audit), width, subsequent_indent="  "), list(_about(audit, width))]
    if any(audit.counts):
        parts.append(list(_histogram(audit, width)))
    if audit.notes:
        parts.append([line for note in audit.notes for line in labelled("note", note, width)])
    told = ["\n".join(lines) for lines in parts]
    return "\n\n".join([*told, *(in_full(finding, width) for finding in audit.findings)])


def as_dict(audit: Audit) -> dict[str, Any]:
    """The whole audit as plain data."""
    weights = audit.class_weights
    own = {name: value for name, value in vars(audit).items() if name != "findings"}
    return {
        "ok": audit.ok,
        "findings": [
            fields(finding) | {"batches": finding.batches, "samples": [asdict(sample) for sample in finding.samples]}
            for finding in audit.findings
        ],
        **{name: list(value) if isinstance(value, tuple) else value for name, value in own.items()},
        "targets": dict(audit.targets),
        "missing": list(audit.missing),
        "class_weights": None if weights is None else weights.tolist(),
    }


def _headline(audit: Audit) -> str:
    seen = f"{_counted(audit.samples, 'sample', 'samples')} in {_counted(audit.batches, 'batch', 'batches')}"
    if audit.interrupted:
        seen = f"stopped after {seen}"
    elif not audit.complete:
        seen = f"the first {seen}"
    found = _counted(len(audit.findings), "finding", "findings") if audit.findings else "nothing wrong"
    return f"safe_ce.audit: {seen}: {found}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _about(audit: Audit, width: int) -> Iterator[str]:
    facts = [("input", audit.input)]
    for shown, batches in audit.targets.items():
        part = "" if len(audit.targets) == 1 else f" in {_counted(batches, 'batch', 'batches')}"
        facts.append(("target", shown + part))
    last = f"; the last of {audit.last_batch:,}" if audit.complete and audit.last_batch != audit.batch_size else ""
    facts.append(("batches", f"of {audit.batch_size:,}{last}" if audit.batch_size is not None else "none"))
    if audit.ignored:
        facts.append(("ignored", f"{audit.ignored:,} of {audit.labels:,} labels, {audit.ignored / audit.labels:.1%}"))
    if any(audit.counts) and audit.missing:
        facts.append(("never", f"{len(audit.missing):,} of {len(audit.counts):,} classes: {listed(audit.missing, 12)}"))
    for name, fact in facts:
        yield from textwrap.wrap(fact, width, initial_indent=f"  {name:<7}  ", subsequent_indent=" " * 11)


def _histogram(audit: Audit, width: int) -> Iterator[str]:
    """The classes as bars."""
    counts = audit.counts
    total, largest = sum(counts), max(counts)
    present = sorted((label for label, count in enumerate(counts) if count), key=lambda label: -counts[label])
    rows = list(range(len(counts))) if len(counts) <= SHOWN else present
    left_out = len(rows) - 2 * EXTREMES if len(rows) > SHOWN else 0
    if left_out:
        rows = rows[:EXTREMES] + rows[-EXTREMES:]
    names = max(len("class"), *(len(str(label)) for label in rows))
    numbers = max(len("labels"), len(f"{largest:,.0f}"))
    room = min(width - names - numbers - 14, LONGEST)
    yield f"  {'class':>{names}}  {'labels':>{numbers}}   share"
    for place, label in enumerate(rows):
        if left_out and place == EXTREMES:
            more = f"{left_out:,} classes more, from the most frequent to the rarest"
            indent = " " * (names + 4)
            yield from textwrap.wrap(more, width, initial_indent=f"  {'...':>{names}}  ", subsequent_indent=indent)
        share = f"{counts[label] / total:>6.1%}"
        yield f"  {label:>{names}}  {counts[label]:>{numbers},.0f}  {share}  {_bar(counts[label] / largest, room)}".rstrip()
    ratio = counts[present[0]] / counts[present[-1]]
    if ratio >= UNBALANCED and not left_out:
        text = f"class {present[0]} is {ratio:,.3g} times as frequent as class {present[-1]}"
        yield from labelled("note", f"{text}; .class_weights would balance them", width)


def _bar(share: float, room: int) -> str:
    """A bar, to an eighth of a column where the terminal has such characters."""
    eighths = round(share * room * 8)
    if not eighths and share:
        eighths = 1
    try:
        PARTS.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return "#" * max(round(eighths / 8), min(eighths, 1))
    return "█" * (eighths // 8) + PARTS[eighths % 8].strip()
