"""What every test starts from: nothing installed, no mode in force, a fixed seed, a guard without faults of its own."""

from __future__ import annotations

import logging

import pytest
import torch

import safe_ce
from safe_ce import modes, places, pytest_plugin


def pytest_addoption(parser):
    parser.addoption("--calls", type=int, default=20_000, help="generated calls of the contract's tests")


def pytest_configure(config):
    config.addinivalue_line("markers", pytest_plugin.MARKER)  # as the plugin does where it is installed
    # Threads of small calls only wait for one another; and of several bad labels native names the one met first.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_start(monkeypatch):
    monkeypatch.delenv(modes.VARIABLE, raising=False)
    safe_ce.set_mode(None)
    places.forget()  # what one test was warned of, the next is to hear again
    torch.manual_seed(0)
    yield
    safe_ce.uninstall()
    safe_ce.set_logging(False)
    safe_ce.set_mode(None)


@pytest.fixture(autouse=True)
def no_faults_of_the_guard(caplog, request):
    """The guard logs a fault of its own and lets training go on; a test must not."""
    caplog.set_level(logging.ERROR, "safe_ce")
    yield
    if "expects_faults" not in request.keywords:
        assert not [record.getMessage() for record in caplog.records if record.name == "safe_ce"]
