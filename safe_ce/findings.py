"""What a diagnosis says: findings, and the error and the warning that carry them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Severity(StrEnum):
    """How bad the mistake is.

    ``error``: native raises, or its number means nothing whatever the intent.
    ``warning``: native computes what it was asked, and it is very likely not what was meant.
    """

    ERROR = "error"
    WARNING = "warning"


class Confidence(StrEnum):
    """How sure a finding is.

    ``certain``: proved by shapes, values or the autograd graph.
    ``likely``: no sound call looks like this, or nearly none.
    ``possible``: it fits, but sound calls look like this too; never raised on a call that native accepts.
    """

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


@dataclass(frozen=True)
class Operand:
    """One argument as the report shows it: its name, what it is, its shape and the dimensions at fault."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """One operation on the way to a tensor: where it is, what it was, and the shape that it made.

    Attributes:
        filename: The file of the program.
        lineno: The line in it.
        operation: As torch calls it, ``"view"``.
        shape: What it made.
    """

    filename: str
    lineno: int
    operation: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Blame:
    """The operation that made the mistake, as a trail shows it. It holds text and shapes, never a tensor.

    Attributes:
        filename: The file of the program that led to the operation.
        lineno: The line in it, from 1.
        function: The function that the line is in, ``"<module>"`` outside of any.
        operation: What was done there, as torch calls it: ``"view"``, ``"softmax"``.
        module: The layer that did it, with its path in the model that was called: ``"head.2 (Softmax)"``; None outside of
            models.
        source: The line, as it is written; empty where the file cannot be read.
        before: The shape of what the operation was given, for a mistake in a shape; None where it is not known.
        after: The shape that it made, for a mistake in a shape.
        called: The file and line that called the function, ``("train.py", 40)``, unless torch did.
        built: The file and line that built the layer, ``("net.py", 12)``, where that was inside the trail too.
        steps: For a mistake in a shape, its way from where it was last right, six steps at most; the second is this
            operation's.
    """

    filename: str
    lineno: int
    function: str
    operation: str
    module: str | None = None
    source: str = ""
    before: tuple[int, ...] | None = None
    after: tuple[int, ...] | None = None
    called: tuple[str, int] | None = None
    built: tuple[str, int] | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A sample that an audit names, or a whole batch. Batches and positions count from 0.

    Attributes:
        batch: The number of the batch.
        position: Where in the batch, or None for the batch as a whole.
        index: Its index in the loader's data set, or None where the sampler does not tell.
        seen: What was seen there.

    ``str(sample)`` is the place as the report shows it.
    """

    batch: int
    position: int | None = None
    index: int | None = None
    seen: str = ""

    def __str__(self) -> str:
        parts = [f"batch {self.batch}"]
        parts += [] if self.position is None else [f"position {self.position}"]
        parts += [] if self.index is None else [f"dataset[{self.index}]"]
        return ", ".join(parts) + (f": {self.seen}" if self.seen else "")


@dataclass(frozen=True)
class Finding:
    """One catalogued mistake that fits one call. It holds text and shapes, never a tensor.

    Attributes:
        code: The catalogue's code, ``"SCE101"``. Codes never change meaning.
        cause: The mistake's name, ``"softmax-applied"``.
        severity: ``"error"`` or ``"warning"`` (see :class:`Severity`).
        confidence: ``"certain"``, ``"likely"`` or ``"possible"`` (see :class:`Confidence`).
        summary: The fact in one line, with this call's own numbers.
        evidence: What was observed, a sentence each.
        help: What to change, as prose.
        fix: Python statements that assign ``input``, ``target``, ``weight`` or an option and so mend this
            very call, or None where the tensors alone cannot be mended.
        blame: The operation and the line that made the mistake, where a trail shows it (see `safe_ce.trail`).
        title: The mistake in general words, the same at every step of a run.
        remedy: The catalogue's advice in general words, the same at every step of a run.
        operands: The call's arguments as the report shows them.
        call: Which call of its loss it is about, from 1; None for a constructor's, and from `safe_ce.diagnose`.
        rank: The rank of the process in a distributed run, or None.
        traceable: Whether a trail could have shown the operation, and none was recorded.
        samples: The first samples of a loader that show it, from `safe_ce.audit`; else empty.
        batches: How many batches of the loader show it; else 0.

    ``str(finding)`` is the full report.
    """

    code: str
    cause: str
    severity: Severity
    confidence: Confidence
    summary: str
    evidence: tuple[str, ...]
    help: str
    fix: str | None
    blame: Blame | None = None
    title: str = ""
    remedy: str = ""
    operands: tuple[Operand, ...] = ()
    call: int | None = None
    rank: int | None = None
    traceable: bool = False
    samples: tuple[Sample, ...] = ()
    batches: int = 0

    def __str__(self) -> str:
        from safe_ce.report import render

        return render((self,))


class SafeCrossEntropyError(ValueError, IndexError, TypeError, NotImplementedError):
    """A cross-entropy call that is broken, or whose number means nothing; its text is the report.

    It derives from ValueError, IndexError, TypeError and NotImplementedError (and so from RuntimeError), the
    classes that native raises, so that ``except`` clauses written for native keep working.

    Attributes:
        findings: What was found, best first. Empty in an error that was rebuilt from its text, as `nn.DataParallel` does
            with those of its threads, and a data loader with those of its workers.
        cause: The name of the first finding's cause.
        native: The class and first line of what native raises for the same call, or that it accepts it; None where
            it was not asked, because it would cost too much.
    """

    def __init__(self, findings: tuple[Finding, ...] | str, native: str | None = None) -> None:
        from safe_ce.report import render

        super().__init__(findings if isinstance(findings, str) else render(findings, native))
        self.findings: tuple[Finding, ...] = () if isinstance(findings, str) else findings
        self.native = native

    @property
    def cause(self) -> str:
        if self.findings:
            return self.findings[0].cause
        from safe_ce.causes import CATALOGUE

        return next((cause.name for cause in CATALOGUE if f"[{cause.code}]" in str(self)), "")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.findings or str(self), self.native)


class SafeCrossEntropyWarning(UserWarning):
    """A finding that does not stop the call.

    Its text carries no number of the call, so that it is the same at every step and Python's filters show it
    once; ``.finding`` has this call's own numbers.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding

    def __str__(self) -> str:
        from safe_ce.report import headline

        return headline(self.finding)


# The public name is what a traceback should show.
for _public in (
    Severity,
    Confidence,
    Operand,
    Step,
    Blame,
    Sample,
    Finding,
    SafeCrossEntropyError,
    SafeCrossEntropyWarning,
):
    _public.__module__ = "safe_ce"
del _public

if TYPE_CHECKING:
    OnFinding = Callable[[Finding], object] | None
