"""What was measured, as it is written to the JSON file and read from it."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import torch


class Machine(TypedDict):
    """Where and when it was measured."""

    cpu: str
    cores: int
    system: str
    python: str
    torch: str
    gpu: str | None
    date: str


class Overhead(TypedDict):
    """What one mode costs in one case.

    Attributes:
        ratio: 1 + own_us / native_us.
        paired: Of guarded / native as they are used, round by round: 10th percentile, median and 90th percentile.
        rounds: Of how many rounds.
    """

    case: str
    phase: str
    mode: str
    own_us: float
    native_us: float
    ratio: float
    paired: tuple[float, float, float]
    rounds: int


class Look(TypedDict):
    """What a call with logits of one shape costs in default mode, of the guard's own time.

    Attributes:
        ordinary_us: Between two looks.
        look_us: What one look costs above that.
        per_call_us: On average, with the look that falls on one call in `every`.
    """

    case: str
    elements: int
    ordinary_us: float
    look_us: float
    per_call_us: float
    every: int


class Growth(TypedDict):
    """The same as the logits grow: N alone, C alone, or both."""

    axis: str
    looks: list[Look]


class Held(TypedDict):
    """What a call allocates.

    Attributes:
        own_mib: What the guard holds at most at a time.
        over_native_mib: The call's peak above native's, forward and backward.
    """

    case: str
    call: str
    own_mib: float
    over_native_mib: float


class Alternative(TypedDict):
    """What something else that is around a loss costs; None where it is not installed."""

    name: str
    version: str
    case: str
    phase: str
    own_us: float | None
    ratio: float | None


class Trailed(TypedDict):
    """What a training step takes inside a trail.

    Attributes:
        plain_us: The same step without.
        ratio: trailed_us / plain_us.
        paired: Of inside / without, round by round: 10th percentile, median and 90th percentile.
        rounds: Of how many rounds.
        compared: Steps after which losses and parameters were the same to the bit.
    """

    case: str
    optimizer: str
    plain_us: float
    trailed_us: float
    ratio: float
    paired: tuple[float, float, float]
    rounds: int
    compared: int


class Kept(TypedDict):
    """What a trail holds after so many training steps.

    Attributes:
        records: Of tensors.
        python_kib: What Python's objects take, beyond what they took when the trail began.
    """

    steps: int
    records: int
    python_kib: float


class Step(TypedDict):
    """A step on the GPU: what it takes of the host and of the device, and how often the host waited."""

    case: str
    loss: str
    host_us: float
    device_us: float
    synchronisations: int
    steps: int


class Audited(TypedDict):
    """An epoch of a loader, alone and audited, in times a batch.

    Attributes:
        throughput: alone_us / audited_us.
        paired: The same of single epochs, round by round: 10th percentile, median and 90th percentile.
        rounds: Of how many rounds.
    """

    loader: str
    alone_us: float
    audited_us: float
    throughput: float
    paired: tuple[float, float, float]
    rounds: int


class Record(TypedDict):
    """One run."""

    machine: Machine
    quick: bool
    overheads: list[Overhead]
    looks: list[Look]
    growth: list[Growth]
    memory: list[Held]
    alternatives: list[Alternative]
    trailed: list[Trailed]
    kept: list[Kept]
    audits: list[Audited]
    gpu: list[Step]


def machine() -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def write(record: Record, file: Path) -> None:
    """Write a run to a file."""
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read(file: Path) -> Record:
    """Read a run that `write` wrote."""
    record: Record = json.loads(file.read_text(encoding="utf-8"))
    return record


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
