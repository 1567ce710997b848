"""python -m benchmarks: measure, or print an earlier run's tables as Markdown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from benchmarks import alternatives, audits, gpu, inputs, looks, memory, overhead, picture, record, tables, trail
from benchmarks.record import Record
from benchmarks.timing import Effort

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL = Effort(rounds=400, seconds=40)
QUICK = Effort(rounds=40, seconds=2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and return the exit status: 0 whatever the figures are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures what the guard, its trail and the audit cost. Takes some fourteen minutes; leave the machine alone meanwhile.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under two minutes, and noisier")
    default = Path(__file__).parent / "results"
    parser.add_argument("--output", type=Path, default=default, metavar="DIR", help="where the files go: %(default)s")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="print the tables of an earlier run as Markdown")
    chosen = parser.parse_args(arguments)
    if chosen.markdown is not None:
        print(tables.markdown(record.read(chosen.markdown)))
        return 0
    torch.set_num_threads(1)  # more of them only add noise
    run = measure(quick=chosen.quick)
    print(tables.terminal(run))
    chosen.output.mkdir(parents=True, exist_ok=True)
    name = "quick" if chosen.quick else "full"
    record.write(run, chosen.output / f"{name}.json")
    print(f"\nwritten: {chosen.output / name}.json", end="")
    print(
        f" and {name}.svg"
        if picture.draw(run, chosen.output / f"{name}.svg")
        else "; no picture: matplotlib is not installed"
    )
    return 0


def measure(*, quick: bool) -> Record:
    """Measure everything."""
    effort = QUICK if quick else FULL
    overheads = []
    for case in overhead.cases():
        _say(f"{case.name}, {case.phase}")
        overheads += overhead.measure(case, effort)
    _say("looks")
    looked = [looks.measure(shape, effort) for shape in inputs.SIZES]
    grown = list(looks.grown(effort))
    _say("memory")
    held = list(memory.measure())
    _say("what else is put around a loss")
    others = list(alternatives.measure(effort))
    _say("the trail")
    trailed = list(trail.measure(effort))
    kept = list(trail.held(trail.QUICK if quick else trail.FULL))
    _say("audits")
    audited = list(audits.measure(effort))
    steps = list(gpu.measure())
    return Record(
        machine=record.machine(),
        quick=quick,
        overheads=overheads,
        looks=looked,
        growth=grown,
        memory=held,
        alternatives=others,
        trailed=trailed,
        kept=kept,
        audits=audited,
        gpu=steps,
    )


def _say(subject: str) -> None:
    print(f"{perf_counter() - _START:5.0f} s  {subject}", file=sys.stderr, flush=True)


_START = perf_counter()


if __name__ == "__main__":
    sys.exit(main())
