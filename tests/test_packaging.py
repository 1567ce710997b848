"""The package: what is in the wheel and the sdist, what the metadata say, and what importing it does and gives."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from importlib import import_module
from pathlib import Path

import pytest

import safe_ce
from tests.regenerate import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
SOURCE = ast.parse(Path(safe_ce.__file__).read_text()).body


def files_of(*folders):
    """The files of the tree that belong to the project, and are not left there by a run."""
    found = {path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    left = ("__pycache__", ".", "quick.")
    return {path.as_posix() for path in found if not any(part.startswith(left) for part in path.parts[1:])}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with ``tree``, which has the wheel that is built from the tree, and ``sdist``: the sdist and its wheel."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("built")
    for outdir, what in (("tree", ["--wheel"]), ("sdist", [])):
        command = [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", outdir, str(ROOT)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def wheel(built):
    """The wheel's text and data by their names in it."""
    (path,) = (built / "tree").iterdir()
    assert path.name == f"safe_ce-{safe_ce.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def about(wheel):
    """Reads a file of the wheel's own description."""
    return lambda name: wheel[f"safe_ce-{safe_ce.__version__}.dist-info/{name}"]


@pytest.fixture
def metadata(about):
    return message_from_string(about("METADATA").decode())


class TestTheWheel:
    def test_has_the_whole_package_and_nothing_else(self, wheel):
        packed = {name for name in wheel if ".dist-info/" not in name}
        assert packed == files_of("safe_ce")
        assert {"safe_ce/py.typed", "safe_ce/digits.gz", "safe_ce/causes/README.md", "safe_ce/causes/rows.py"} <= packed

    def test_is_the_same_from_the_sdist(self, built):
        (ours,), (theirs,) = (built / "tree").glob("*.whl"), (built / "sdist").glob("*.whl")
        assert ours.name == theirs.name
        assert ours.read_bytes() == theirs.read_bytes()

    def test_has_the_licence(self, metadata, about):
        assert metadata["License-Expression"] == PROJECT["license"]
        assert metadata.get_all("License-File") == PROJECT["license-files"] == ["LICENSE"]
        assert about("licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()

    def test_has_entry_points_that_lead_into_it(self, wheel, about):
        points = configparser.ConfigParser(delimiters="=")
        points.read_string(about("entry_points.txt").decode())
        assert {group: dict(points[group]) for group in points.sections()} == PROJECT["entry-points"]
        for group in points.sections():
            for module in points[group].values():
                assert f"{module.replace('.', '/')}.py" in wheel


class TestTheMetadata:
    def test_say_what_it_is(self, metadata):
        assert metadata["Name"] == PROJECT["name"]
        assert metadata["Version"] == safe_ce.__version__
        assert metadata["Summary"] == PROJECT["description"]
        assert metadata["Author"] == PROJECT["authors"][0]["name"]
        assert set(metadata["Keywords"].split(",")) == set(PROJECT["keywords"])

    def test_show_the_readme(self, metadata):
        assert metadata["Description-Content-Type"] == "text/markdown"
        assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()

    def test_name_no_address_as_there_is_none(self, metadata):
        assert not {"Home-page", "Download-URL", "Project-URL", "Author-email"} & set(metadata.keys())

    def test_have_the_classifiers(self, metadata):
        assert sorted(metadata.get_all("Classifier")) == sorted(PROJECT["classifiers"])
        assert "Typing :: Typed" in PROJECT["classifiers"]

    def test_say_what_it_needs(self, metadata):
        assert metadata["Requires-Python"] == PROJECT["requires-python"]
        needed = metadata.get_all("Requires-Dist")
        assert [line for line in needed if "extra ==" not in line] == PROJECT["dependencies"]

    @pytest.mark.parametrize("extra", EXTRAS)
    def test_say_what_an_extra_brings(self, extra, metadata):
        assert extra in metadata.get_all("Provides-Extra")
        condition = f"; extra == '{extra}'"
        brought = {line for line in metadata.get_all("Requires-Dist") if line.endswith(condition)}
        assert brought == {line + condition for line in in_full(extra)}


def in_full(extra):
    """What an extra brings, and what those bring that it takes in."""
    for line in EXTRAS[extra]:
        if line.startswith("safe-ce["):
            yield from in_full(line.removeprefix("safe-ce[").removesuffix("]"))
        else:
            yield line


def test_the_sdist_has_all_that_the_tests_and_benchmarks_need(built):
    (path,) = (built / "sdist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    about = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", ".gitignore", "PKG-INFO"}
    assert packed == about | files_of(".ci", "benchmarks", "safe_ce", "tests")


def run(code):
    """What a Python of its own prints that takes every warning for an error."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


class TestImporting:
    def test_warns_of_nothing_and_takes_no_torch(self):
        assert run("import safe_ce, sys; print('torch' in sys.modules)") == "False\n"

    def test_takes_torch_once_it_is_asked_for(self):
        code = "import safe_ce, sys; safe_ce.SafeCrossEntropyLoss; print('torch' in sys.modules)"
        assert run(f"import warnings; warnings.simplefilter('ignore'); {code}") == "True\n"

    def test_everything_after_torch_warns_of_nothing(self):
        code = "import torch, warnings; warnings.simplefilter('error'); from safe_ce import *; print(install.__name__)"
        assert run(f"import warnings; warnings.simplefilter('ignore'); {code}") == "install\n"

    def test_without_torch_says_that_torch_is_missing(self):
        code = (
            "import sys; sys.modules['torch'] = None\n"
            "import safe_ce; print(safe_ce.stats())\n"
            "try: safe_ce.SafeCrossEntropyLoss\n"
            "except ModuleNotFoundError as error: print(error.name)"
        )
        assert run(code).splitlines() == ["Stats(calls=0, probes=0, findings={})", "torch"]

    def test_lists_every_public_name_before_it_is_asked_for(self):
        code = "import safe_ce, sys; print(set(safe_ce.__all__) <= set(dir(safe_ce)), 'torch' in sys.modules)"
        assert run(code) == "True False\n"


def imported(statements):
    """The module that each name is imported from, of those of the package."""
    return {
        alias.name: statement.module
        for statement in statements
        if isinstance(statement, ast.ImportFrom) and statement.module.startswith("safe_ce.")
        for alias in statement.names
    }


class TestPublicNames:
    def test_come_from_where_type_checkers_see_them(self):
        (block,) = [part for part in SOURCE if isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING"]
        assert imported(block.body) == {name: module for module, names in safe_ce._WITH_TORCH.items() for name in names}
        assert {*imported(SOURCE), *imported(block.body)} == set(safe_ce.__all__)

    @pytest.mark.parametrize("name", safe_ce.__all__)
    def test_are_what_their_module_has(self, name):
        homes = {name: module for module, names in safe_ce._WITH_TORCH.items() for name in names} | imported(SOURCE)
        assert getattr(safe_ce, name) is getattr(import_module(homes[name]), name)

    def test_are_all_that_a_star_brings(self):
        space = {}
        exec("from safe_ce import *", space)
        assert space.keys() - {"__builtins__"} == set(safe_ce.__all__)

    @pytest.mark.parametrize("name", ["CrossEntropyLoss", "torch", "Mode"])
    def test_are_no_others(self, name):
        with pytest.raises(AttributeError, match=f"module 'safe_ce' has no attribute '{name}'"):
            getattr(safe_ce, name)
        with pytest.raises(ImportError, match=f"cannot import name '{name}' from 'safe_ce'"):
            exec(f"from safe_ce import {name}")
