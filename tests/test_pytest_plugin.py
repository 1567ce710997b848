"""The pytest plugin: a test suite whose cross entropies are guarded."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

import safe_ce

pytest_plugins = ["pytester"]

ROOT = Path(safe_ce.__file__).parents[1]

MODEL = """
import torch
from torch import nn

TARGET = torch.tensor([0, 1, 2, 0])

def raw():
    return torch.randn(4, 3, requires_grad=True)

def step(logits, target=TARGET):
    return nn.CrossEntropyLoss()(logits, target)

def softmaxed():  # an error
    return step(raw().softmax(1))

def rectified():  # a warning
    return step(raw().relu())
"""

FRAMES = re.compile(r"safe_ce[/\\]\w+\.py|nn[/\\]modules[/\\]\w+\.py")


@pytest.fixture
def project(pytester, monkeypatch):
    """A test suite of its own, to which only this plugin is loaded."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for variable in ("CI", "BUILD_NUMBER"):  # with them pytest prints each message a second time
        monkeypatch.delenv(variable, raising=False)
    pytester.makepyfile(model=MODEL)
    return pytester


def write(project, tests):
    project.makepyfile(test_it="import pytest\nimport safe_ce\n" + textwrap.dedent(tests))


def run(project, tests, *options):
    """Run a suite, and return its result."""
    write(project, tests)
    return project.runpytest_subprocess("-p", "safe_ce.pytest_plugin", *options)


def summary(result):
    """The lines of the summary's section."""
    lines = result.outlines
    start = next(number for number, line in enumerate(lines) if re.fullmatch("=+ safe_ce =+", line))
    end = next(number for number in range(start + 1, len(lines)) if lines[number].startswith("=="))
    return list(filter(None, lines[start + 1 : end]))


class TestTheMode:
    def test_without_one_the_plugin_does_nothing_and_imports_no_torch(self, project):
        result = run(
            project,
            """
            import sys

            @pytest.mark.safe_ce("loud", nothing="is looked at")
            def test_it():
                assert "torch" not in sys.modules
            """,
            "--strict-markers",
        )
        result.assert_outcomes(passed=1)
        assert "safe_ce" not in result.stdout.str()

    @pytest.mark.parametrize(
        ("given", "origin"),
        [("--safe-ce=loud", "--safe-ce"), ("--override-ini=safe_ce=loud", "the ini option safe_ce")],
    )
    def test_an_unknown_one_is_a_usage_error_that_lists_the_valid_ones(self, project, given, origin):
        result = run(project, "", given)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert list(filter(None, result.errlines)) == [
            f"ERROR: {origin} must be one of 'strict', 'default', 'warn', 'off'; got 'loud'"
        ]

    def test_may_be_given_where_only_the_entry_point_names_the_plugin(self, project, monkeypatch):
        entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
        installed = project.mkdir("site") / "safe_ce-0.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: safe-ce\nVersion: 0\n")
        lines = [f"{name} = {module}\n" for name, module in entries.items()]
        (installed / "entry_points.txt").write_text("[pytest11]\n" + "".join(lines))
        monkeypatch.setenv("PYTHONPATH", f"{installed.parent}:{ROOT}")
        monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
        result = project.runpytest_subprocess("--safe-ce=off")
        result.stdout.fnmatch_lines(["safe_ce: off"])


def test_a_finding_fails_the_test_that_made_the_call(project):
    project.makeini("[pytest]\nsafe_ce = off\n")
    result = run(
        project,
        """
        from model import *

        def test_softmaxed():
            softmaxed()

        def test_again():
            softmaxed()

        def test_sound():
            step(raw()).backward()

        def test_expects_native_s_error():
            with pytest.raises(ValueError):
                step(raw(), TARGET[:3])

        def test_in_a_thread():
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor() as pool, pytest.raises(safe_ce.SafeCrossEntropyError):
                pool.submit(rectified).result()
        """,
        "--safe-ce=strict",
    )
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(["safe_ce: strict", "FAILED test_it.py::test_softmaxed*", "FAILED *::test_again*"])
    assert summary(result) == [
        "calls guarded: 5, values looked at in 1",
        "findings: 4 (a test may expect them)",
        "  SCE101 softmax-applied: 2, first in test_it.py::test_softmaxed",
        "  SCE104 relu-applied: 1, first in test_it.py::test_in_a_thread",
        "  SCE301 ragged-batch: 1, first in test_it.py::test_expects_native_s_error",
    ]


SHORTENED = """
import unittest
from model import *

def test_function():
    softmaxed()

class TestIt(unittest.TestCase):
    def test_method(self):
        softmaxed()

@pytest.mark.safe_ce("default")
@pytest.mark.filterwarnings("error")
def test_warning():
    rectified()
"""


def test_a_report_is_whole_and_without_frames_that_are_not_the_user_s(project):
    write(project, SHORTENED)
    done = project.runpython_c(
        "import pytest, torch.nn.functional as F, safe_ce.modes\n"
        "native = [F.cross_entropy]  # by a name of its own it would be guarded, too\n"
        "safe_ce.set_mode('warn')\n"
        "for options in ['--tb=auto', '--tb=long', '--tb=short', '--tb=line', '--tb=native', '--full-trace']:\n"
        "    print('RUN')\n"
        "    pytest.main(['-p', 'safe_ce.pytest_plugin', '--safe-ce=strict', options])\n"
        "assert F.cross_entropy is native[0] and safe_ce.modes.process == 'warn'\n"
    )
    assert done.ret == 0, done.stderr.str()
    *short, full = done.stdout.str().split("RUN\n")[1:]
    for output in short:
        assert not FRAMES.search(output)
        for told, times in (("native: accepts this call", 2), ("more: python -m safe_ce explain SCE104", 1)):
            assert output.count(told) == times
        assert "model.py:10: " in output or 'model.py", line 10' in output
        assert "SCE101 softmax-applied: 2, first in test_it.py::test_function" in output
    assert FRAMES.search(full)


@pytest.mark.parametrize("mode", ["strict", "default"])
def test_in_strict_mode_each_test_has_a_trail_of_its_own(project, mode):
    result = run(
        project,
        """
        from model import *
        from safe_ce import recording

        @pytest.fixture
        def logits():
            return raw().softmax(1)  # in the fixture

        earlier = []

        def test_first():
            earlier.append(raw().softmax(1).detach())
            assert (recording.active() is not None) == IS_STRICT

        def test_softmaxed(logits):
            step(logits)

        def test_of_another_test_s_tensor():
            step(earlier[0])
        """.replace("IS_STRICT", str(mode == "strict")),
        f"--safe-ce={mode}",
    )
    result.assert_outcomes(passed=1, failed=2)
    lines = result.stdout.lines
    assert sum("note: test_it.py:" in line and "`return raw().softmax(1)" in line for line in lines) == (
        mode == "strict"
    )


class TestAMarker:
    def test_says_what_is_done_in_setup_call_and_teardown(self, project):
        result = run(
            project,
            """
            from model import *

            pytestmark = pytest.mark.safe_ce("default")

            @pytest.fixture
            def around():
                softmaxed()
                yield
                softmaxed()

            @pytest.mark.safe_ce("off")
            def test_off(around):
                softmaxed()

            @pytest.mark.safe_ce(ignore=["softmax-applied", "SCE104"])
            def test_ignored(around):
                softmaxed()
                rectified()

            @pytest.mark.safe_ce("strict", ignore=["softmax-applied"])
            class TestIt:
                def test_the_class_s(self, around):
                    with pytest.raises(safe_ce.SafeCrossEntropyError):
                        rectified()

                @pytest.mark.safe_ce("default")
                def test_the_nearest(self, around):
                    with pytest.warns(safe_ce.SafeCrossEntropyWarning):
                        rectified()

                @pytest.mark.safe_ce(ignore=())
                def test_the_nearest_ignore(self):
                    softmaxed()  # FAILS

            def test_the_module_s():
                with pytest.warns(safe_ce.SafeCrossEntropyWarning):
                    rectified()
            """,
            "--safe-ce=off",
            "--strict-markers",
        )
        result.assert_outcomes(passed=5, failed=1)
        result.stdout.fnmatch_lines([">       softmaxed()  # FAILS", "E  *SCE101*"])

    def test_that_says_anything_else_is_an_error_of_its_test(self, project):
        result = run(
            project,
            """
            @pytest.mark.parametrize("_", [
                pytest.param(0, marks=pytest.mark.safe_ce("loud")),
                pytest.param(0, marks=pytest.mark.safe_ce(None)),
                pytest.param(0, marks=pytest.mark.safe_ce(ignore=["softmax"])),
                pytest.param(0, marks=pytest.mark.safe_ce(ignore="softmax-applied")),
                pytest.param(0, marks=pytest.mark.safe_ce()),
                pytest.param(0, marks=pytest.mark.safe_ce("off", "strict")),
                pytest.param(0, marks=pytest.mark.safe_ce("off", mode="strict")),
                pytest.param(0, marks=pytest.mark.safe_ce(probe="every")),
                pytest.param(1, marks=pytest.mark.safe_ce(mode="off")),
            ])
            def test_it(_):
                assert _
            """,
            "--safe-ce=strict",
        )
        result.assert_outcomes(errors=8, passed=1)
        said = [line for line in result.outlines if line.startswith("pytest.mark.safe_ce: ")]
        valid = "takes a mode (strict, default, warn, off), ignore=[causes], or both; got "
        assert [re.sub("the causes are SCE101 softmax-applied.*", "...", line[21:]) for line in said] == [
            "mode must be one of 'strict', 'default', 'warn', 'off'; got 'loud'",
            "mode must be one of 'strict', 'default', 'warn', 'off'; got None",
            "ignore names no cause: 'softmax'; ...",
            "ignore must be a collection of cause names or codes, such as ('softmax-applied',)",
            f"{valid}()",
            f"{valid}('off', 'strict')",
            f"{valid}('off', mode='strict')",
            f"{valid}(probe='every')",
        ]
        assert "During handling" not in result.stdout.str()


def test_a_test_starts_anew_whatever_those_before_it_did(project):
    project.mkdir("with_a_hook")
    project.makepyfile(
        **{
            "with_a_hook/conftest": """
            from safe_ce import modes

            def pytest_runtest_setup():
                assert modes.process == "default"
            """,
            "with_a_hook/test_last": "def test_last(): pass",
        }
    )
    result = run(
        project,
        """
        from model import *
        from safe_ce import modes

        def test_sets_everything():
            safe_ce.set_mode("off")
            safe_ce.install(ignore=["softmax-applied"])
            with safe_ce.guarded("warn"):
                pass
            safe_ce.uninstall()

        @pytest.mark.parametrize("mode", ["default", "default", "strict"])
        def test_the_same_line(mode):
            assert modes.process == "default"
            safe_ce.set_mode(mode)
            if mode == "strict":
                with pytest.raises(safe_ce.SafeCrossEntropyError):
                    rectified()
            else:
                with pytest.warns(safe_ce.SafeCrossEntropyWarning):
                    rectified()
        """,
        "--safe-ce=default",
    )
    result.assert_outcomes(passed=5)


def test_warnings_are_in_pytest_s_own_summary(project):
    result = run(
        project,
        """
        from model import *

        rectified()  # as the module is imported

        def test_softmaxed():
            softmaxed()
        """,
        "--safe-ce=warn",
    )
    result.assert_outcomes(passed=1, warnings=2)
    result.stdout.fnmatch_lines(["test_it.py::test_softmaxed", "*SafeCrossEntropyWarning: ?SCE101? softmax-applied*"])
    assert summary(result)[2:] == [
        "  SCE101 softmax-applied: 1, first in test_it.py::test_softmaxed",
        f"  SCE104 relu-applied: 1, first in {project.path / 'model.py'}:10",
    ]


def test_a_suite_without_findings_is_told_so(project):
    result = run(project, "from model import *\n\ndef test_sound():\n    step(raw())\n", "--safe-ce=strict")
    assert summary(result) == ["calls guarded: 1, values looked at in 1", "findings: none"]


def test_what_an_accelerator_tells_late_fails_the_test_that_made_the_call(project):
    project.makeconftest(
        "from safe_ce import deferred\nfrom tests.standin import Queue\n"
        "deferred.QUEUES['cpu'], deferred.AT_ONCE = Queue(), ()\n"
    )
    result = run(
        project,
        """
        from model import *

        criterion = safe_ce.SafeCrossEntropyLoss()

        def test_several():
            step(raw().detach().softmax(1))
            criterion(raw().detach().softmax(1), TARGET)

        def test_sound():
            step(raw())
            criterion(raw(), TARGET)

        def test_loss():
            safe_ce.SafeCrossEntropyLoss()(raw().detach().softmax(1), TARGET)

        @pytest.mark.safe_ce(ignore=["softmax-applied"])
        def test_ignored():
            step(raw().detach().softmax(1))
        """,
        "--safe-ce=default",
        "-rA",
    )
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["PASSED *::test_sound", "PASSED *::test_ignored"])
    assert result.stdout.str().count("seen in call 1: on an accelerator") == 2
    assert not FRAMES.search(result.stdout.str())
    assert "interpreter exits" not in result.stderr.str()


def test_the_workers_of_xdist_guard_and_the_controller_adds_up(project):
    pytest.importorskip("xdist")
    project.makeconftest(
        "import sys\n"
        "def pytest_unconfigure(config):\n"
        "    if not hasattr(config, 'workerinput'):\n"
        "        print('torch was imported:', 'torch' in sys.modules)\n"
    )
    result = run(
        project,
        """
        @pytest.mark.parametrize("number", range(6))
        def test_softmaxed(number):
            from model import softmaxed

            softmaxed()
        """,
        "--safe-ce=strict",
        "-pxdist",
        "-n2",
    )
    result.assert_outcomes(failed=6)
    result.stdout.fnmatch_lines(["safe_ce: strict", "torch was imported: False"])
    calls, findings, cause = summary(result)
    assert calls == "calls guarded: 6, values looked at in 0"
    assert findings == "findings: 6 (a test may expect them)"
    assert re.fullmatch(r"  SCE101 softmax-applied: 6, first in test_it.py::test_softmaxed\[\d\]", cause)


def test_a_warning_travels_from_a_worker_of_xdist(project):
    pytest.importorskip("xdist")
    result = run(
        project,
        """
        @pytest.mark.parametrize("number", range(2))
        def test_softmaxed(number):
            from model import softmaxed

            softmaxed()
        """,
        "--safe-ce=warn",
        "-pxdist",
        "-n2",
    )
    result.assert_outcomes(passed=2, warnings=2)
    result.stdout.fnmatch_lines(["*SafeCrossEntropyWarning: ?SCE101? softmax-applied: *"])
