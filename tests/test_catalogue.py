"""The catalogue: every cause is distinct, documented, shown to fire, shown to stay silent, and shown to be mended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss, diagnose
from safe_ce.causes import CATALOGUE, HEADINGS
from tests.catalogue import SPECS
from tests.documented import documented_example, run_example

SPEC_OF = {spec.cause: spec for spec in SPECS}


@dataclass(frozen=True)
class Built:
    input: Any
    target: Any
    options: dict[str, Any]


def built(example):
    torch.manual_seed(0)
    input, target, *rest = example()
    return Built(input, target, rest[0] if rest else {})


def strict_findings(call):
    """What strict mode raises, or () where it returns native's loss."""
    try:
        SafeCrossEntropyLoss(mode="strict", **call.options)(call.input, call.target)
    except SafeCrossEntropyError as error:
        return error.findings
    return ()


def each(kind):
    return [
        pytest.param(spec.cause, example, id=f"{spec.cause}: {what}")
        for spec in SPECS
        for what, example in getattr(spec, kind).items()
    ]


every_cause = pytest.mark.parametrize("cause", CATALOGUE, ids=lambda cause: cause.name)


def test_codes_and_names_are_distinct():
    assert len({cause.code for cause in CATALOGUE}) == len(CATALOGUE)
    assert len({cause.name for cause in CATALOGUE}) == len(CATALOGUE)
    assert all(re.fullmatch(r"SCE[1-4]\d\d", cause.code) for cause in CATALOGUE)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", cause.name) for cause in CATALOGUE)


@every_cause
def test_every_cause_is_documented_under_the_fixed_headings(cause):
    assert 10 < len(cause.title) < 110
    found = [line for line in cause.documentation.splitlines()[1:] if line and not line.startswith(" ")]
    assert found == list(HEADINGS)
    assert all(cause.section(heading) for heading in HEADINGS)
    assert cause.remedy.endswith(".")
    assert ">>>" in cause.section("Example")
    assert ">>>" in cause.section("Fix")


@every_cause
def test_every_cause_is_specified(cause):
    spec = SPEC_OF[cause.name]
    assert spec.fires
    assert spec.silent


@every_cause
def test_the_documented_example_shows_the_cause_and_the_documented_fix_removes_it(cause):
    wrong, mended = documented_example(cause)
    assert run_example(wrong)[0].cause == cause.name
    assert run_example(mended) == ()


@pytest.mark.parametrize(("cause", "example"), each("fires"))
def test_it_fires_on(cause, example):
    findings = strict_findings(built(example))
    assert [finding.cause for finding in findings][:1] == [cause]


@pytest.mark.parametrize(("cause", "example"), each("beside"))
def test_it_is_among_the_findings_on(cause, example):
    call = built(example)
    assert cause in [finding.cause for finding in diagnose(call.input, call.target, **call.options)]


@pytest.mark.parametrize(("cause", "example"), each("silent"))
def test_it_stays_silent_on(cause, example):
    call = built(example)
    assert cause not in [finding.cause for finding in diagnose(call.input, call.target, **call.options)]


@pytest.mark.parametrize(("cause", "example"), each("fires"))
def test_a_fix_works_or_the_mended_call_is_given_for(cause, example):
    call = built(example)
    findings = strict_findings(call)
    fix = findings[0].fix
    if fix is None:
        assert SPEC_OF[cause].mended is not None, "no fix, and no example of the mended call"
        return
    names = {"torch": torch, "F": F, "input": call.input, "target": call.target, **call.options}
    exec(fix, names)
    options = {
        name: names[name] for name in ("weight", "ignore_index", "reduction", "label_smoothing") if name in names
    }
    nn.CrossEntropyLoss(**options)(names["input"], names["target"])
    after = diagnose(names["input"], names["target"], **options)
    assert cause not in [finding.cause for finding in after if finding.confidence != "possible"]


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.mended], ids=lambda spec: spec.cause)
def test_the_mended_call_is_sound(spec):
    assert strict_findings(built(spec.mended)) == ()
