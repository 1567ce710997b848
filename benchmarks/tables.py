"""A run as tables: lines for the terminal, Markdown for the README."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks import bounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.record import Look, Record


class Table(NamedTuple):
    """A title, what is to be known of the figures, the headings and the rows."""

    title: str
    note: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


_TRAILED = ("model", "optimizer", "without", "inside", "ratio", "used", "10 to 90 %")
_AUDITED = ("loader", "alone, a batch", "audited", "throughput", "paired", "10 to 90 %")
_KEPT = ("training steps", "records", "Python's memory")


def terminal(record: Record) -> str:
    """The whole run, in lines of at most 100 columns."""
    lines = [_where(record)]
    for table in _tables(record):
        lines += ["", table.title, "-" * len(table.title), *table.note.splitlines()]
        rows = [table.headings, *table.rows] if table.rows else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(record: Record) -> str:
    """What a README has room for: the ratios, what else is put around a loss, the trail and the audit."""
    cells = {(row["case"], row["phase"], row["mode"]): row for row in record["overheads"]}
    modes = tuple(dict.fromkeys(mode for *_, mode in cells))
    rows = []
    for case, phase in dict.fromkeys((case, phase) for case, phase, _ in cells):
        found = [cells[case, phase, mode] for mode in modes]
        used = f"{cells[case, phase, 'strict']['paired'][1]:.2f}"
        ratios = (f"{row['ratio']:.2f}" if row["mode"] == "strict" else f"{row['ratio']:.3f}" for row in found)
        rows.append((case, phase, _time(found[0]["native_us"]), *ratios, used))
    lines = _piped(("logits", "phase", "native", *(f"`{mode}`" for mode in modes), "`strict`, as used"), rows)
    smallest = record["alternatives"][0]["case"]
    others = [row for row in _alternatives(record) if row[1] == smallest]
    lines += ["", *_piped(("what", "logits", "phase", "own time", "ratio", "version"), others)]
    for headings, cells_of in ((_TRAILED, _trailed), (_KEPT, _kept), (_AUDITED, _audited)):
        lines += ["", *_piped(headings, cells_of(record))]
    return "\n".join([*lines, "", _where(record)])


def _where(record: Record) -> str:
    machine = record["machine"]
    quick = ", a quick run" if record["quick"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, one thread; {machine['system']}, torch {machine['torch']}, "
        f"Python {machine['python']}, {machine['date']}{quick}"
    )


def _tables(record: Record) -> Iterator[Table]:
    every = record["looks"][0]["every"]
    yield Table(
        "The guard and native",
        "own: the guard's own time a call, native stubbed out. ratio: 1 + own / native. used: guarded over\n"
        "native as they are used, in pairs of blocks: the median, and the 10th to the 90th percentile.\n"
        f"Own times are of blocks of {every} calls, each with the one scheduled look that falls on so many;\n"
        "in strict mode every call is looked at. Times are means of the quiet fifth.",
        ("logits", "phase", "mode", "native", "own", "ratio", "used", "10 to 90 %", "pairs"),
        [
            (
                row["case"],
                row["phase"],
                row["mode"],
                _time(row["native_us"]),
                _time(row["own_us"]),
                f"{row['ratio']:.3f}",
                *_spread(row["paired"], 3),
                str(row["rounds"]),
            )
            for row in record["overheads"]
        ],
    )
    yield Table(
        "One scheduled look, in default mode",
        f"A look falls on one call in {every} at the latest. It is timed where every call is looked at.",
        ("logits", "between looks", "a look, more", "a look, by call", "a call in all"),
        [_look(row) for row in record["looks"]],
    )
    for growth in record["growth"]:
        looks = growth["looks"]
        first, last = looks[0], looks[-1]
        times = last["elements"] / first["elements"]
        calls, look = (last[name] / first[name] for name in ("per_call_us", "look_us"))
        yield Table(
            f"Growth with {growth['axis']}",
            f"{times:,.0f} times the scores: a call costs {calls:.2f} times as much, which is "
            f"{_doubled(calls)};\na look {look:.2f} times, {_doubled(look)}.",
            ("logits", "scores", "between looks", "a look, more", "a look, by call", "a call in all"),
            [(row["case"], f"{row['elements']:,}", *_look(row)[1:]) for row in looks],
        )
    yield Table(
        "Memory",
        "held: the most that the guard holds at a time, native stubbed out. over native: the peak of\n"
        "forward and backward above native's.",
        ("logits", "call", "held", "over native"),
        [
            (row["case"], row["call"], f"{row['own_mib']:.3f} MiB", f"{row['over_native_mib']:.3f} MiB")
            for row in record["memory"]
        ],
    )
    yield Table(
        "What else is put around a loss",
        "own: its time with the check less that without, the loss or the metric itself stubbed out but for\n"
        "anomaly detection, whose time is native's backward. ratio: 1 + own / native's loss.",
        ("what", "logits", "phase", "own", "ratio", "version"),
        _alternatives(record),
    )
    yield Table(
        "A training step inside a trail",
        "Forward, loss, backward and the optimizer's step, the guard around both. ratio: of the means of the\n"
        "quiet fifth. used: inside over without, in pairs: the median, and the 10th to the 90th percentile.\n"
        f"Losses and parameters were the same to the bit for {record['trailed'][0]['compared']} steps.",
        (*_TRAILED, "pairs"),
        [(*cells, str(row["rounds"])) for cells, row in zip(_trailed(record), record["trailed"], strict=True)],
    )
    yield Table(
        "What a trail holds",
        "Of a small recurrent model whose state is carried on, with Adam: Python's memory as tracemalloc\n"
        "counts it, from when the trail began.",
        _KEPT,
        _kept(record),
    )
    yield Table(
        "The audit",
        "An epoch of 60,000 images of (1, 28, 28) in batches of 128, of 5,000 rows of 128 tokens in batches of\n"
        "32, and of 1,000 masks of (64, 64) in batches of 16, all in memory: times a batch. throughput: alone /\n"
        "audited, of the quiet fifth. paired: of single epochs, the median, and the 10th to the 90th percentile.",
        (*_AUDITED, "pairs"),
        [(*cells, str(row["rounds"])) for cells, row in zip(_audited(record), record["audits"], strict=True)],
    )
    yield Table(
        "On a GPU",
        "" if record["gpu"] else "Skipped: there is no GPU here.",
        ("logits", "loss", "host, a step", "device, a step", "waits"),
        [
            (
                row["case"],
                row["loss"],
                _time(row["host_us"]),
                _time(row["device_us"]),
                f"{row['synchronisations']} in {row['steps']} steps",
            )
            for row in record["gpu"]
        ],
    )
    yield Table(
        "Bounds",
        "found: the ratio 1 + own / native, or what else is bounded; in strict mode the ratio as used must be\n"
        "within the bound too. Time on a shared machine is no proof, and nothing fails of it.",
        ("of", "bound", "found", "as used", ""),
        [
            (
                row.subject,
                f"{'at least' if row.least else 'at most'} {row.limit:g}{row.unit}",
                f"{row.found:.3f}{row.unit}",
                "" if row.used is None else f"{row.used:.3f}",
                "met" if row.met else "NOT MET",
            )
            for row in bounds.verdicts(record)
        ],
    )


def _look(row: Look) -> tuple[str, ...]:
    by_call = row["look_us"] / row["every"]
    return row["case"], *(_time(time) for time in (row["ordinary_us"], row["look_us"], by_call, row["per_call_us"]))


def _alternatives(record: Record) -> list[tuple[str, ...]]:
    return [
        (
            row["name"],
            row["case"],
            row["phase"],
            "not installed" if row["own_us"] is None else _time(row["own_us"]),
            "" if row["ratio"] is None else f"{row['ratio']:.3f}",
            row["version"],
        )
        for row in record["alternatives"]
    ]


def _trailed(record: Record) -> list[tuple[str, ...]]:
    return [
        (
            row["case"],
            row["optimizer"],
            _time(row["plain_us"]),
            _time(row["trailed_us"]),
            f"{row['ratio']:.2f}",
            *_spread(row["paired"], 2),
        )
        for row in record["trailed"]
    ]


def _kept(record: Record) -> list[tuple[str, ...]]:
    return [(f"{row['steps']:,}", f"{row['records']:,}", f"{row['python_kib']:,.0f} KiB") for row in record["kept"]]


def _audited(record: Record) -> list[tuple[str, ...]]:
    return [
        (
            row["loader"],
            _time(row["alone_us"]),
            _time(row["audited_us"]),
            f"{row['throughput']:.3f}",
            *_spread(row["paired"], 3),
        )
        for row in record["audits"]
    ]


def _spread(paired: tuple[float, float, float], digits: int) -> tuple[str, str]:
    """The median of ratios, and the 10th to the 90th percentile."""
    low, median, high = (f"{ratio:.{digits}f}" for ratio in paired)
    return median, f"{low} to {high}"


def _doubled(times: float) -> str:
    return "less than double" if times < bounds.GROWTH else "double or more"


def _time(microseconds: float) -> str:
    return f"{microseconds:.2f} us" if abs(microseconds) < 1000 else f"{microseconds / 1000:.2f} ms"


def _piped(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]
