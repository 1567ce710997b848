"""A pytest plugin: ``pytest --safe-ce=strict`` guards every cross entropy of a test run.

pytest loads it in every environment that has safe_ce, so it does nothing, and imports no torch, until it is given a mode.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import safe_ce
from safe_ce import memory, modes, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import TracebackType

    from safe_ce.modes import Mode

MARKER = "safe_ce(mode, ignore=[...]): the mode in which a test is guarded, and the causes that are not reported in it"

SETTINGS: dict[str, Callable[[Any], Any]] = {"mode": modes.checked, "ignore": settings.checked_causes}
"""What a marker may say, and how it is checked."""

OURS = (safe_ce.SafeCrossEntropyError, safe_ce.SafeCrossEntropyWarning)

UNSHOWN = ("safe_ce.", "torch.nn.modules.", "torch.nn.functional")
"""Modules whose frames say nothing to the reader of a failed test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    purpose = f"guard every cross entropy of the run, in mode {', '.join(modes.MODES)}"
    parser.getgroup("safe_ce").addoption("--safe-ce", metavar="MODE", help=purpose)
    parser.addini("safe_ce", f"{purpose}; --safe-ce comes first")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    mode, origin = config.getoption("safe_ce"), "--safe-ce"
    if mode is None:
        mode, origin = config.getini("safe_ce"), "the ini option safe_ce"
        if not mode:
            return
    try:
        config.pluginmanager.register(Run(config, modes.checked(mode, origin)))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


class Run:
    """A guarded run. Of pytest-xdist's processes the workers guard and count, and the controller adds up.

    Attributes:
        first: By cause: its code, and the first test in which this process found it.
        calls: Guarded calls, of all processes.
        probes: Those of which values were looked at.
        findings: By cause: its code, how often it was found, and the first test in which it was.
    """

    def __init__(self, config: pytest.Config, mode: Mode) -> None:
        self.config = config
        self.mode = mode
        self.before = memory.stats()
        self.first: dict[str, tuple[str, str]] = {}
        self.calls = self.probes = 0
        self.findings: dict[str, tuple[str, int, str]] = {}
        self._of_test = ExitStack()

    def pytest_report_header(self) -> str:
        return f"safe_ce: {self.mode}"

    def pytest_sessionstart(self) -> None:
        memory.FIRST.clear()
        if self.config.getoption("dist", "no") == "no":  # else this is the controller, which runs no test
            mode = modes.process
            self.config.add_cleanup(lambda: safe_ce.set_mode(mode))
            self.config.add_cleanup(safe_ce.uninstall)
            _guard(self.mode)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        said: dict[str, Any] = {}
        try:
            for marker in item.iter_markers("safe_ce"):
                said = _said_by(marker) | said  # the nearest comes first
        except (TypeError, ValueError) as error:
            raise pytest.fail.Exception(f"pytest.mark.safe_ce: {error}", pytrace=False) from None
        said = {"mode": self.mode} | said
        _guard(**said)
        if said["mode"] == "strict":
            self._of_test.enter_context(safe_ce.trail())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        with self._of_test:
            return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_call(self) -> None:
        from safe_ce import deferred, verdict

        try:
            for sender in deferred.unsaid():  # what an accelerator has yet to tell is of this test
                while sender.under_way:
                    verdict.flush(sender, sender.under_way[0].settings)
        except OURS as error:
            raise pytest.fail.Exception(f"safe_ce.{type(error).__name__}: {error}", pytrace=False) from None

    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        error = call.excinfo and call.excinfo.value
        if isinstance(error, OURS) and not self.config.getoption("fulltrace"):
            _shorten(error.__traceback__)
            call.excinfo = pytest.ExceptionInfo.from_exception(error)

    def pytest_runtest_logstart(self) -> None:
        self._note_first()  # what was found since the last test is of none

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._note_first(nodeid)

    def pytest_sessionfinish(self) -> None:
        self._note_first()
        now, before = memory.stats(), self.before
        findings = {
            cause: (code, now.findings[cause] - before.findings.get(cause, 0), test)
            for cause, (code, test) in self.first.items()
        }
        counts = now.calls - before.calls, now.probes - before.probes, findings
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["safe_ce"] = counts
        self._add(*counts)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        if "safe_ce" in getattr(node, "workeroutput", ()):  # a worker that crashed has left none
            self._add(*node.workeroutput["safe_ce"])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        found = sum(count for _, count, _ in self.findings.values())
        terminalreporter.section("safe_ce")
        terminalreporter.write_line(f"calls guarded: {self.calls}, values looked at in {self.probes}")
        terminalreporter.write_line(f"findings: {found} (a test may expect them)" if found else "findings: none")
        for cause, (code, count, first) in sorted(self.findings.items(), key=lambda entry: entry[1]):
            terminalreporter.write_line(f"  {code} {cause}: {count}, first in {first}")

    def _note_first(self, test: str | None = None) -> None:
        for cause, sighting in tuple(memory.FIRST.items()):
            self.first.setdefault(cause, (sighting.finding.code, test or sighting.place))

    def _add(self, calls: int, probes: int, findings: dict[str, tuple[str, int, str]]) -> None:
        self.calls += calls
        self.probes += probes
        for cause, (code, count, test) in findings.items():
            _, known, first = self.findings.get(cause, (code, 0, test))
            self.findings[cause] = code, known + count, first


def _guard(mode: Mode, ignore: Iterable[str] = ()) -> None:
    from safe_ce import deferred, places

    # What a test is told does not depend on those before it.
    places.forget()
    deferred.forget()
    safe_ce.install(ignore=ignore)
    safe_ce.set_mode(mode)


def _said_by(marker: pytest.Mark) -> dict[str, Any]:
    """What a marker says, by name. A ValueError or TypeError lists what it may say."""
    said = {**dict(zip(("mode",), marker.args, strict=False)), **marker.kwargs}
    if not said or len(said) < len(marker.args) + len(marker.kwargs) or not said.keys() <= SETTINGS.keys():
        given = ", ".join([*map(repr, marker.args), *(f"{name}={value!r}" for name, value in marker.kwargs.items())])
        raise TypeError(f"takes a mode ({', '.join(modes.MODES)}), ignore=[causes], or both; got ({given})")
    return {name: SETTINGS[name](value) for name, value in said.items()}


def _shorten(traceback: TracebackType | None) -> None:
    """Take out the frames of a traceback that say nothing to its reader."""
    while traceback is not None:
        below = traceback.tb_next
        if below is not None and below.tb_frame.f_globals.get("__name__", "").startswith(UNSHOWN):
            traceback.tb_next = below.tb_next
        else:
            traceback = below
