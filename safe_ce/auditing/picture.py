"""An audit as a picture."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safe_ce.auditing.result import Audit


def drawn(audit: Audit) -> Any:
    """The classes as bars, and the findings above them; a `matplotlib.figure.Figure`."""
    try:
        module = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a plot needs matplotlib: pip install 'safe-ce[audit]'", name="matplotlib") from error
    figure = module.Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    labels = range(len(audit.counts))
    axes.bar(labels, audit.counts, width=0.9 if len(audit.counts) < 200 else 1.0, color="#1f5fa8")
    axes.set_xlabel("class")
    axes.set_ylabel("labels")
    axes.locator_params(axis="x", integer=True)
    found = [f"[{finding.code}] {finding.summary}" for finding in audit.findings] or ["nothing wrong"]
    axes.set_title("\n".join(found), fontsize=9, loc="left", color="#c44e52" if audit.findings else "black", wrap=True)
    return figure
