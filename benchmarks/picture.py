"""A run as a picture: what the guard adds to native in each mode, and how its cost grows."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from benchmarks import bounds

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.record import Record

COLORS = {"strict": "#c44e52", "default": "#1f5fa8", "warn": "#e08e1b", "off": "#8a8a8a"}
CHEAP = ("default", "warn", "off")
LINES = {"N": "-", "C": "--", "N and C": ":"}


def draw(record: Record, file: Path) -> bool:
    """Draw a run as SVG. Returns whether matplotlib is installed, without which nothing is drawn."""
    try:
        figure = importlib.import_module("matplotlib.figure").Figure(figsize=(12, 7.5), layout="constrained")
    except ImportError:
        return False
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1))
    _near_native(figure.add_subplot(grid[:, 0]), record)
    _strict(figure.add_subplot(grid[0, 1]), record)
    _growth(figure.add_subplot(grid[1, 1]), record)
    machine = record["machine"]
    figure.suptitle(f"{machine['cpu']}, one thread, torch {machine['torch']}, Python {machine['python']}", fontsize=9)
    figure.savefig(file, metadata={"Date": None})
    return True


def _near_native(axes: Any, record: Record) -> None:
    rows = _rows(axes, record)
    for offset, mode in zip((-0.2, 0.0, 0.2), CHEAP, strict=True):
        found = [row for row in record["overheads"] if row["mode"] == mode]
        places = [rows[row["case"], row["phase"]] + offset for row in found]
        ratios = [row["ratio"] for row in found]
        axes.hlines(places, 1, ratios, color=COLORS[mode], linewidth=2.5)
        axes.plot(ratios, places, "o", color=COLORS[mode], label=mode, markersize=6)
    _limits(axes, rows, "default")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_title("default, warn and off: 1 + the guard's own time / native's")
    axes.legend(loc=(0.65, 0.58), framealpha=1)  # between the bounds


def _strict(axes: Any, record: Record) -> None:
    rows = _rows(axes, record)
    found = [row for row in record["overheads"] if row["mode"] == "strict"]
    places = [rows[row["case"], row["phase"]] for row in found]
    color = COLORS["strict"]
    axes.plot([row["ratio"] for row in found], places, "o", color=color, label="1 + own / native")
    axes.plot([row["paired"][1] for row in found], places, "o", color=color, fillstyle="none", label="as used, median")
    _limits(axes, rows, "strict")
    axes.set_xlim(left=1)
    axes.set_title("strict: every value is read in every call")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(loc="lower right", framealpha=1)


def _growth(axes: Any, record: Record) -> None:
    for growth in record["growth"]:
        scores = [row["elements"] for row in growth["looks"]]
        style = {"linestyle": LINES[growth["axis"]], "marker": ".", "label": f"{growth['axis']} growing"}
        axes.plot(scores, [row["look_us"] for row in growth["looks"]], color=COLORS["warn"], **style)
        axes.plot(scores, [row["per_call_us"] for row in growth["looks"]], color=COLORS["default"], **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.1)
    axes.set_xlabel("scores in the logits, N x C")
    axes.set_ylabel("microseconds")
    axes.grid(color="#e4e4e4")
    every = record["looks"][0]["every"]
    axes.set_title(f"default: a look (orange), and a call\nwith its share of one look in {every} (blue)")
    handles = [handle for handle in axes.get_lines() if handle.get_color() == COLORS["default"]]
    axes.legend(handles=handles, loc="center right", framealpha=1)


def _rows(axes: Any, record: Record) -> dict[tuple[str, str], int]:
    """The place of each case on the vertical axis, which is labelled."""
    cases = list(dict.fromkeys((row["case"], row["phase"]) for row in record["overheads"]))
    axes.set_yticks(range(len(cases)), [f"{case} {phase}" for case, phase in cases], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e4e4e4")
    axes.set_axisbelow(True)
    return {case: place for place, case in enumerate(cases)}


def _limits(axes: Any, rows: dict[tuple[str, str], int], mode: str) -> None:
    found = [(limit, rows[case, phase]) for (of, phase, case), limit in bounds.RATIOS.items() if of == mode]
    for limit, place in found:
        axes.vlines(limit, place - 0.4, place + 0.4, color=COLORS[mode], linestyle="--", linewidth=1.2)
    axes.plot([], [], "--", color=COLORS[mode], linewidth=1.2, label=f"bound of {mode}")
