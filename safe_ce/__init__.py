"""safe_ce guards PyTorch's cross-entropy loss: a drop-in that names the likely cause of a mistaken call.

PYTEST_DONT_REWRITE: pytest, which knows of the plugin, need not warn where the package was imported before.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safe_ce.findings import (
    Blame,
    Confidence,
    Finding,
    Operand,
    SafeCrossEntropyError,
    SafeCrossEntropyWarning,
    Sample,
    Severity,
    Step,
)
from safe_ce.memory import Stats, stats
from safe_ce.modes import mode, set_logging, set_mode

if TYPE_CHECKING:
    from safe_ce.auditing import Audit, audit
    from safe_ce.loss import SafeCrossEntropyLoss, cross_entropy, diagnose, flush
    from safe_ce.patching import guarded, install, uninstall
    from safe_ce.recording import trail

__all__ = [
    "Audit",
    "Blame",
    "Confidence",
    "Finding",
    "Operand",
    "SafeCrossEntropyError",
    "SafeCrossEntropyLoss",
    "SafeCrossEntropyWarning",
    "Sample",
    "Severity",
    "Stats",
    "Step",
    "audit",
    "cross_entropy",
    "diagnose",
    "flush",
    "guarded",
    "install",
    "mode",
    "set_logging",
    "set_mode",
    "stats",
    "trail",
    "uninstall",
]

__version__ = "0.1.0"

_WITH_TORCH = {
    "safe_ce.auditing": ("Audit", "audit"),
    "safe_ce.loss": ("SafeCrossEntropyLoss", "cross_entropy", "diagnose", "flush"),
    "safe_ce.patching": ("guarded", "install", "uninstall"),
    "safe_ce.recording": ("trail",),
}


if not TYPE_CHECKING:  # to a type checker a module that has this has every name

    def __getattr__(name: str) -> Any:
        """Import what needs torch when it is first asked for: the pytest plugin and the command line may never do."""
        for module, names in _WITH_TORCH.items():
            if name in names:
                value = globals()[name] = getattr(import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
