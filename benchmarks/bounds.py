"""What the guard may cost, and whether it did. Nothing fails of it: time on a shared machine is no proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.audits import IN_ORDER, SHUFFLED
from benchmarks.inputs import BACKWARD, FORWARD, NEW_SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.record import Record

SMALL, MIDDLE, LARGE, IMAGES = "(32, 10)", "(128, 1000)", "(512, 32000)", "(8, 21, 128, 128)"

RATIOS = {
    ("default", FORWARD, SMALL): 1.15,
    ("default", BACKWARD, SMALL): 1.03,
    ("default", BACKWARD, MIDDLE): 1.01,
    ("default", BACKWARD, LARGE): 1.01,
    ("default", BACKWARD, IMAGES): 1.01,
    ("default", BACKWARD, NEW_SHAPES): 1.08,
    ("strict", BACKWARD, MIDDLE): 1.5,
    ("strict", BACKWARD, LARGE): 1.35,
}
OFF = 1.01
HELD = {"default": 1.0, "strict": 16.0}
"""MiB that a call holds at most beyond native's."""

GROWTH = 2.0
TRAIL = 1.6
FLAT = 1.05
"""What a trail holds later in training, over what it held before."""
THROUGHPUTS = {SHUFFLED: 0.95, IN_ORDER: 0.95}
"""Of a loader that is audited, at least, of its own."""


class Verdict(NamedTuple):
    """A bound, and what was measured.

    Attributes:
        subject: What is bounded.
        limit: The bound.
        found: What was measured.
        used: Of a ratio: guarded over native as they are used, the median.
        unit: "" for ratios, else what both are in.
        decides: Whether `used` must be within the bound too.
        least: Whether the bound is one from below.
    """

    subject: str
    limit: float
    found: float
    used: float | None = None
    unit: str = ""
    decides: bool = False
    least: bool = False

    @property
    def met(self) -> bool:
        if self.least:
            return self.found >= self.limit
        return self.found <= self.limit and not (self.decides and self.used is not None and self.used > self.limit)


def verdicts(record: Record) -> Iterator[Verdict]:
    """Every bound, with what a run found."""
    rows = {(row["mode"], row["phase"], row["case"]): row for row in record["overheads"]}
    for (mode, phase, case), limit in RATIOS.items():
        row = rows[mode, phase, case]
        subject = f"{mode}, {phase}, {case}"
        # Strict mode is not near 1, and its readings cost more between native's work than in a row of their own.
        yield Verdict(subject, limit, row["ratio"], row["paired"][1], decides=mode == "strict")
    dearest = max((row for row in record["overheads"] if row["mode"] == "off"), key=lambda row: row["ratio"])
    yield Verdict(
        f"off, the dearest case: {dearest['phase']}, {dearest['case']}", OFF, dearest["ratio"], dearest["paired"][1]
    )
    for mode, limit in HELD.items():
        held = max(row["own_mib"] for row in record["memory"] if row["call"].startswith(mode) and row["case"] == LARGE)
        yield Verdict(f"{mode}, held at {LARGE}", limit, held, unit=" MiB")
    for growth in record["growth"]:
        first, last = growth["looks"][0], growth["looks"][-1]
        subject = f"default, a call at {last['case']} over one at {first['case']}"
        yield Verdict(subject, GROWTH, last["per_call_us"] / first["per_call_us"], unit=" times")
    for step in record["trailed"]:
        subject = f"a trail, {step['case']}, {step['optimizer']}"
        yield Verdict(subject, TRAIL, step["ratio"], step["paired"][1], decides=True)
    early, late = record["kept"]
    steps = f"after {late['steps']:,} steps over {early['steps']:,}"
    yield Verdict(f"a trail, records {steps}", FLAT, late["records"] / early["records"], unit=" times")
    yield Verdict(f"a trail, memory {steps}", FLAT, late["python_kib"] / early["python_kib"], unit=" times")
    for audited in record["audits"]:
        least = THROUGHPUTS.get(audited["loader"])
        if least is not None:
            subject = f"audit, {audited['loader']}"
            yield Verdict(subject, least, audited["throughput"], audited["paired"][1], least=True)
