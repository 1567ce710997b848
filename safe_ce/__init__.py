"""safe_ce guards PyTorch's cross-entropy loss: a drop-in that names the likely cause of a mistaken call."""

from safe_ce.findings import Confidence, Finding, SafeCrossEntropyError, SafeCrossEntropyWarning, Severity
from safe_ce.loss import SafeCrossEntropyLoss, cross_entropy, diagnose, flush
from safe_ce.modes import mode, set_mode

__all__ = [
    "Confidence",
    "Finding",
    "SafeCrossEntropyError",
    "SafeCrossEntropyLoss",
    "SafeCrossEntropyWarning",
    "Severity",
    "cross_entropy",
    "diagnose",
    "flush",
    "mode",
    "set_mode",
]

__version__ = "0.1.0"
