"""The four modes: what each does about findings, and where the one in force comes from."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss, SafeCrossEntropyWarning, modes
from tests import saying

TARGET = torch.tensor([0, 1, 2, 0])


def raw():
    return torch.randn(4, 3, requires_grad=True)


def softmaxed():  # severity error, accepted by native
    return raw().softmax(1)


def rectified():  # severity warning, accepted by native
    return raw().relu()


def said(criterion, input, target=TARGET):
    return saying.said(criterion, input, target)


def test_strict_raises_for_either_severity():
    criterion = SafeCrossEntropyLoss(mode="strict")
    assert said(criterion, softmaxed()).cause == "softmax-applied"
    assert said(criterion, rectified()).cause == "relu-applied"
    assert said(criterion, raw()) == []


@pytest.mark.parametrize("first", ["default", "warn"])
def test_strict_raises_for_what_was_warned_about_before(first):
    criterion = SafeCrossEntropyLoss()
    with safe_ce.mode(first):
        assert said(criterion, rectified()) == ["relu-applied"]
    with safe_ce.mode("strict"):
        assert said(criterion, rectified()).cause == "relu-applied"


def test_default_raises_for_errors_and_warns_once_of_the_rest():
    criterion = SafeCrossEntropyLoss()
    assert said(criterion, softmaxed()).cause == "softmax-applied"
    assert said(criterion, softmaxed()).cause == "softmax-applied"
    assert said(criterion, rectified()) == ["relu-applied"]
    assert said(criterion, rectified()) == []


def test_warn_never_raises_and_returns_native_s_loss():
    criterion = SafeCrossEntropyLoss(mode="warn")
    input = softmaxed()
    assert said(criterion, input) == ["softmax-applied"]
    assert said(criterion, rectified()) == ["relu-applied"]
    assert torch.equal(criterion(input, TARGET), torch.nn.functional.cross_entropy(input, TARGET))


def test_warn_leaves_native_s_exception_and_adds_the_diagnosis_as_a_note():
    error = said(SafeCrossEntropyLoss(mode="warn"), raw(), TARGET[:, None])
    assert type(error) is RuntimeError
    assert "target-extra-dim" not in str(error)
    assert "[SCE204]" in error.__notes__[0]
    assert "target = target.squeeze(1)" in error.__notes__[0]


def test_off_says_nothing():
    criterion = SafeCrossEntropyLoss(mode="off")
    assert said(criterion, softmaxed()) == []
    error = said(criterion, raw(), TARGET[:, None])
    assert type(error) is RuntimeError
    assert not hasattr(error, "__notes__")


def test_the_loss_s_own_mode_comes_first():
    with safe_ce.mode("strict"):
        assert said(SafeCrossEntropyLoss(mode="off"), softmaxed()) == []


def test_the_innermost_context_comes_before_the_process():
    safe_ce.set_mode("strict")
    with safe_ce.mode("warn"), safe_ce.mode("off"):
        assert said(SafeCrossEntropyLoss(), softmaxed()) == []
    assert isinstance(said(SafeCrossEntropyLoss(), rectified()), SafeCrossEntropyError)


def test_a_context_is_left_also_by_an_exception():
    with pytest.raises(ZeroDivisionError), safe_ce.mode("off"):
        raise ZeroDivisionError
    assert isinstance(said(SafeCrossEntropyLoss(), softmaxed()), SafeCrossEntropyError)


def test_a_context_is_a_decorator():
    @safe_ce.mode("off")
    def step():
        return said(SafeCrossEntropyLoss(), softmaxed())

    assert step() == []


def test_a_context_holds_for_its_own_thread():
    seen = []
    with safe_ce.mode("off"):
        thread = threading.Thread(target=lambda: seen.append(said(SafeCrossEntropyLoss(), softmaxed())))
        thread.start()
        thread.join()
    assert isinstance(seen[0], SafeCrossEntropyError)


def test_a_mode_may_change_under_a_loss():
    criterion = SafeCrossEntropyLoss()
    assert isinstance(said(criterion, softmaxed()), SafeCrossEntropyError)
    criterion.mode = "off"
    assert said(criterion, softmaxed()) == []


@pytest.mark.parametrize("set_it", [safe_ce.set_mode, lambda name: SafeCrossEntropyLoss(mode=name), modes.checked])
def test_a_bad_mode_is_an_error_that_lists_the_valid_ones(set_it):
    with pytest.raises(ValueError, match="'strict', 'default', 'warn', 'off'; got 'strickt'"):
        set_it("strickt")


def test_a_bad_context_is_an_error():
    with pytest.raises(ValueError, match="mode must be one of"), safe_ce.mode("loud"):
        pass


def test_the_environment_s_mode_is_read_by_the_process(monkeypatch):
    monkeypatch.setenv("SAFE_CE_MODE", "off")
    safe_ce.set_mode(None)
    assert said(SafeCrossEntropyLoss(), softmaxed()) == []


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_is_read_at_import():
    code = "import safe_ce; print(safe_ce.modes.in_force(None))"
    assert run(code, SAFE_CE_MODE="warn").stdout.strip() == "warn"
    assert run(code, SAFE_CE_MODE="").stdout.strip() == "default"


def test_a_bad_environment_is_an_error_at_import():
    done = run("import safe_ce", SAFE_CE_MODE="loud")
    assert done.returncode == 1
    assert "SAFE_CE_MODE must be one of 'strict', 'default', 'warn', 'off'; got 'loud'" in done.stderr


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_without_docstrings_the_guard_works_as_well(flag):
    code = (
        "import torch, warnings, safe_ce; warnings.simplefilter('always')\n"
        "criterion = safe_ce.SafeCrossEntropyLoss(mode='warn')\n"
        "criterion(torch.randn(4, 3).softmax(1), torch.tensor([0, 1, 2, 0]))\n"
        "try: safe_ce.SafeCrossEntropyLoss()(torch.randn(4, 3), torch.zeros(5).long())\n"
        "except safe_ce.SafeCrossEntropyError as error: print(error.cause)"
    )
    done = subprocess.run([sys.executable, flag, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "ragged-batch"
    assert "softmax-applied" in done.stderr


def test_a_warning_s_text_is_the_same_at_every_step():
    texts = set()
    for rows in (4, 7):
        with pytest.warns(SafeCrossEntropyWarning) as caught:
            SafeCrossEntropyLoss()(torch.randn(rows, 3, requires_grad=True).relu(), torch.zeros(rows).long())
        texts.add(str(caught[0].message))
    assert len(texts) == 1
    assert "python -m safe_ce explain SCE104" in texts.pop()


def test_a_warning_points_at_the_user_s_line():
    with pytest.warns(SafeCrossEntropyWarning) as caught:
        SafeCrossEntropyLoss()(rectified(), TARGET)
        torch.nn.Sequential()  # the line above is the one that is meant
        safe_ce.cross_entropy(rectified(), TARGET)
    assert [warning.filename for warning in caught] == [__file__, __file__]
    assert caught[1].lineno == caught[0].lineno + 2


def test_a_warning_that_is_made_an_error_is_one_in_warn_mode_too():
    with pytest.raises(SafeCrossEntropyWarning):
        SafeCrossEntropyLoss(mode="warn")(rectified(), TARGET)


class TestIgnore:
    def test_by_name_and_by_code(self):
        for key in ("softmax-applied", "SCE101"):
            assert said(SafeCrossEntropyLoss(mode="strict", ignore=[key]), softmaxed()) == []

    def test_what_native_rejects_still_comes_through(self):
        error = said(SafeCrossEntropyLoss(ignore=["target-extra-dim"]), raw(), TARGET[:, None])
        assert isinstance(error, RuntimeError)
        assert getattr(error, "cause", None) != "target-extra-dim"

    def test_a_name_that_is_none_is_an_error_that_lists_them(self):
        with pytest.raises(ValueError, match=r"'softmax'.*SCE101 softmax-applied"):
            SafeCrossEntropyLoss(ignore=["softmax"])
        with pytest.raises(TypeError, match="collection"):
            SafeCrossEntropyLoss(ignore="softmax-applied")


class TestOnFinding:
    def test_gets_every_finding(self):
        seen = []
        criterion = SafeCrossEntropyLoss(mode="warn", on_finding=seen.append)
        for _ in range(3):
            said(criterion, rectified())
        assert [finding.cause for finding in seen] == ["relu-applied"] * 3

    def test_gets_what_is_raised(self):
        seen = []
        said(SafeCrossEntropyLoss(on_finding=seen.append), raw(), TARGET[:, None])
        assert seen[0].cause == "target-extra-dim"

    def test_a_callback_that_raises_propagates(self):
        def broken(finding):
            raise KeyError(finding.cause)

        assert isinstance(said(SafeCrossEntropyLoss(on_finding=broken), rectified()), KeyError)

    @pytest.mark.expects_faults
    def test_a_callback_that_raises_does_not_stop_a_run_in_warn_mode(self, caplog):
        def broken(finding):
            raise KeyError("my own")

        assert said(SafeCrossEntropyLoss(mode="warn", on_finding=broken), rectified()) == ["relu-applied"]
        assert "my own" in caplog.text
