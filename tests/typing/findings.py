"""What is raised, warned of and handed to a callback."""

from __future__ import annotations

from typing import assert_type

from safe_ce import Confidence, Finding, SafeCrossEntropyError, SafeCrossEntropyWarning, Severity, diagnose

for finding in diagnose(None, None):
    assert_type(finding, Finding)
    assert_type(finding.code, str)
    assert_type(finding.cause, str)
    assert_type(finding.severity, Severity)
    assert_type(finding.confidence, Confidence)
    assert_type(finding.summary, str)
    assert_type(finding.evidence, tuple[str, ...])
    assert_type(finding.help, str)
    assert_type(finding.fix, str | None)
    assert_type(finding.call, int | None)
    assert_type(finding.operands[0].shape, tuple[int, ...] | None)


def reported(error: SafeCrossEntropyError, warning: SafeCrossEntropyWarning) -> UserWarning:
    assert_type(error.cause, str)
    assert_type(error.findings, tuple[Finding, ...])
    assert_type(error.native, str | None)
    assert_type(warning.finding, Finding)
    return warning


def handled_as_native_s(error: ValueError | IndexError | TypeError | NotImplementedError) -> RuntimeError | None:
    return error if isinstance(error, SafeCrossEntropyError) else None
