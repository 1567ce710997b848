"""python -m safe_ce run: a program runs as Python runs it, and what is wrong with its losses is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

NOTHING = "safe_ce: no call of the cross-entropy loss was guarded\n"

TRAINING = """
import torch
from torch import nn

torch.manual_seed(0)
{head}
model = nn.Sequential(nn.Linear(4, 3), *head)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range({steps}):
    loss = criterion(model(torch.randn(8, 4)), torch.randint({labels}, (8,)){target})
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
"""


def training(head="head = []", steps=5, labels=3, target=""):
    return TRAINING.format(head=head, steps=steps, labels=labels, target=target)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the files of a program to the folder that the test runs in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))

    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/', 1) if not name.startswith('__') else name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return write


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120)


def guarded(*arguments):
    return python("-m", "safe_ce", "run", *arguments)


AS_PYTHON_DOES = {
    "arguments and names": (
        "import sys\nprint(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__, __doc__, __builtins__)",
        ["-x", "--mode", "off", "--", "y"],
    ),
    "its module": ("import sys, __main__\nx = 3\nprint(__main__.x, sys.modules['__main__'].__file__)", []),
    "an exception": ("def f():\n    raise KeyError('lost')\n\nf()", []),
    "a chain of exceptions": ("try:\n    1 / 0\nexcept Exception as error:\n    raise ValueError('x') from error", []),
    "a syntax error": ("def f(:\n    pass", []),
    "an exit status": ("import sys\nsys.exit(7)", []),
    "an exit message": ("import sys\nsys.exit('no data')", []),
    "a broken pipe of its own": ("raise BrokenPipeError('peer')", []),
    "a hook of its own": ("import sys\nsys.excepthook = lambda kind, *_: print('hook', kind)\nraise KeyError(1)", []),
    "what it does at exit": ("import atexit\natexit.register(print, 'at exit')\nraise KeyError(1)", []),
    "an interruption": ("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\ninput()", []),
    "being killed": ("import os, signal\nprint('on', flush=True)\nos.kill(os.getpid(), signal.SIGTERM)\ninput()", []),
    "a fork": (
        "import os, sys\nif os.fork() == 0:\n    print('child', flush=True)\n    sys.exit(3)\nprint(os.wait()[1] >> 8)",
        [],
    ),
    "a fork of a fork, whose descriptors are its own": (
        "import os\nif os.fork() == 0:\n    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]\n"
        "    if os.fork() == 0:\n        for number in held:\n            os.fstat(number)\n"
        "        print('grandchild', flush=True)\n        os._exit(0)\n"
        "    os._exit(os.wait()[1] >> 8)\nprint(os.wait()[1] >> 8)",
        [],
    ),
    "a thread that goes on": (
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('done'))).start()",
        [],
    ),
    "pickles of its own classes": (
        "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A, A.__module__)",
        [],
    ),
    "annotations": ("x: int = 3\nprint(__annotations__)", []),
    "a cycle of exceptions": (
        "a = ValueError('a')\nb = ValueError('b')\na.__cause__ = b\nb.__cause__ = a\nraise a",
        [],
    ),
    "streams of its own": (
        "import io, sys\nsys.stderr = io.TextIOWrapper(sys.stderr.detach())\n"
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint('out')\nprint('err', file=sys.stderr)",
        [],
    ),
    "a folder that goes": (
        "import os, tempfile\nwith tempfile.TemporaryDirectory() as folder:\n    os.chdir(folder)",
        [],
    ),
    "what is planned for the end, and a child that is not waited for": (
        "import atexit, time\natexit.register(print, 'last')\nimport multiprocessing\n"
        "def work():\n    time.sleep(0.5)\n    print('child', flush=True)\n"
        "if __name__ == '__main__':\n    multiprocessing.get_context('fork').Process(target=work).start()",
        [],
    ),
    "a child that cannot import the guard": (
        "import multiprocessing, os\ndef work():\n    print('child', flush=True)\n"
        "if __name__ == '__main__':\n    open('safe_ce.py', 'w').close()\n"
        "    child = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    child.start()\n    child.join()\n    print(child.exitcode)\n    os.remove('safe_ce.py')",
        [],
    ),
    "a pool of processes": (
        "import multiprocessing\ndef f(x):\n    return x * x\nif __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n        print(pool.map(f, [1, 2]))",
        [],
    ),
}


@pytest.mark.parametrize("name", AS_PYTHON_DOES)
def test_a_program_without_the_loss_runs_as_python_runs_it(write, name):
    program, arguments = AS_PYTHON_DOES[name]
    write(program=program)
    alone, ours = python("program.py", *arguments), guarded("program.py", *arguments)
    assert (ours.returncode, ours.stdout) == (alone.returncode, alone.stdout)
    assert ours.stderr == alone.stderr + (NOTHING if name != "being killed" else "")


class TestPrograms:
    def test_a_module(self, write):
        write(package____init__="", package__tool="import sys\nprint(sys.argv, __name__, __package__, __spec__.name)")
        alone, ours = python("-m", "package.tool", "a", "-m"), guarded("-m", "package.tool", "a", "-m")
        assert (ours.stdout, ours.stderr, ours.returncode) == (alone.stdout, NOTHING, 0)

    def test_a_package_with_a_main(self, write):
        write(package____init__="", package____main__="import sys\nprint(sys.argv, __package__, __file__)")
        assert guarded("-m", "package", "a").stdout == python("-m", "package", "a").stdout != ""
        assert guarded("package", "a").stdout == python("package", "a").stdout != ""

    def test_a_zip_file(self, write, tmp_path):
        with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
            archive.writestr("__main__.py", "import sys, other\nprint(sys.argv, sys.path[0], __file__, other.x)")
            archive.writestr("other.py", "x = 3")
        write()
        assert guarded("program.zip", "a").stdout == python("program.zip", "a").stdout != ""

    def test_a_package_that_fails_on_the_way_to_its_module(self, write):
        write(package____init__="import nothing_like_it", package__tool="")
        done = guarded("-m", "package.tool")
        assert done.returncode == 1
        assert "ModuleNotFoundError: No module named 'nothing_like_it'" in done.stderr
        assert "safe_ce/" not in done.stderr

    def test_torch_is_not_imported_for_it(self, write):
        write(program="import sys\nprint('torch' in sys.modules)")
        assert guarded("program.py").stdout == "False\n"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["nowhere.py"], "cannot read the script nowhere.py: No such file or directory"),
            (["."], "the folder . has no __main__.py"),
            (["-m", "no_such_module"], "there is no module no_such_module"),
            (["-m", "package.no_such_module"], "there is no module package.no_such_module"),
            (["-m", "package"], "package is a package without a __main__ module"),
            (["-m", "sys"], "sys has no code that could be run"),
            (
                ["--mode", "loud", "program.py"],
                "invalid choice: 'loud' (choose from 'strict', 'default', 'warn', 'off')",
            ),
            (["--ignore", "loudness", "program.py"], "'loudness'; the causes are SCE101 softmax-applied, SCE102"),
            ([], "SCRIPT"),
        ],
    )
    def test_bad_use_is_said_in_one_line(self, write, arguments, said):
        write(program="print('ran')", package____init__="")
        done = guarded(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert said in done.stderr


class TestLosses:
    def test_a_sound_program_prints_what_it_prints_alone(self, write):
        write(program=training())
        alone, ours = python("program.py"), guarded("--mode", "strict", "program.py")
        assert (ours.returncode, ours.stdout) == (0, alone.stdout)
        assert ours.stderr == (
            "safe_ce: guarded 5 calls of the cross-entropy loss, looked at the values of 5; nothing found\n"
        )

    def test_a_mistake_ends_it_as_an_exception_of_its_own_does(self, write):
        write(program=training("head = [nn.Softmax(dim=1)]"))
        done = guarded("program.py")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith('Traceback (most recent call last):\n  File "')
        assert "safe_ce.SafeCrossEntropyError: [SCE101] softmax was applied" in done.stderr
        assert os.sep + "safe_ce" + os.sep not in done.stderr
        assert done.stderr.splitlines()[-1].startswith(
            "  SCE101 softmax-applied  once in call 1 at program.py:11, made at program"
        )

    def test_in_warn_mode_it_goes_on(self, write):
        write(program=training("head = [nn.Softmax(dim=1)]"))
        alone, ours = python("program.py"), guarded("--mode", "warn", "program.py")
        assert (ours.returncode, ours.stdout) == (0, alone.stdout)
        assert ours.stderr.count("SafeCrossEntropyWarning: [SCE101]") == 1
        assert ours.stderr.splitlines()[-1].startswith(
            "  SCE101 softmax-applied  5 times, first in call 1 at program.py:11"
        )

    def test_native_s_exception_has_none_of_the_guard_s_frames(self, write):
        write(program=training(target="[:, None]").replace("(8,))[:, None])", "(8, 1)))"))
        done = guarded("--mode", "warn", "program.py")
        assert done.returncode == 1
        assert "RuntimeError: 0D or 1D target tensor expected" in done.stderr
        assert "safe_ce: [SCE204]" in done.stderr
        assert os.sep + "safe_ce" + os.sep not in done.stderr

    def test_a_cause_may_be_ignored_and_the_guard_be_off(self, write):
        write(program=training("head = [nn.Softmax(dim=1)]"))
        assert guarded("--ignore", "SCE101", "program.py").returncode == 0
        done = guarded("--mode", "off", "program.py")
        assert (done.returncode, done.stderr) == (0, NOTHING)

    def test_the_model_may_be_in_another_file(self, write):
        write(
            model=(
                "from torch import nn\nfrom torch.nn.functional import cross_entropy\n\n\n"
                "class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                "        self.layer = nn.Linear(4, 3)\n\n    def forward(self, x, y):\n"
                "        return cross_entropy(self.layer(x).relu(), y)\n"
            ),
            program="import torch\nfrom model import Model\nModel()(torch.randn(8, 4), torch.randint(3, (8,)))",
        )
        done = guarded("program.py")
        assert done.returncode == 0
        assert (
            done.stderr.splitlines()[-1]
            == "  SCE104 relu-applied  once in call 1 at model.py:11, made at model.py:11 in forward"
        )

    def test_the_line_that_made_the_mistake_is_named_and_the_one_that_built_the_layer(self, write):
        write(program=training("head = [\n    nn.ReLU(),\n]"))
        done = guarded("--json", "program.py")
        blame = json.loads(done.stdout.splitlines()[-1])["findings"][0]["blame"]
        assert (blame["filename"], blame["lineno"]) == (str(Path("program.py").absolute()), 13)
        assert (blame["operation"], blame["module"]) == ("relu", "1 (ReLU)")
        assert blame["built"] == [str(Path("program.py").absolute()), 7]

    def test_results_are_those_of_the_program_alone(self, write):
        write(program=training(steps=20))
        assert guarded("program.py").stdout == python("program.py").stdout

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_data_loader_may_have_workers(self, write, workers):
        write(
            program="""
            import torch
            from torch import nn
            from torch.utils.data import DataLoader, TensorDataset

            data = TensorDataset(torch.randn(8, 4), torch.randint(3, (8,)))
            for x, y in DataLoader(data, batch_size=4, num_workers=WORKERS):
                nn.CrossEntropyLoss()(nn.Linear(4, 3)(x), y.unsqueeze(1))
            """.replace("\n            ", "\n").replace("WORKERS", str(workers))
        )
        done = guarded("--json", "program.py")
        blame = json.loads(done.stdout.splitlines()[-1])["findings"][0]["blame"]
        assert (blame["lineno"], blame["operation"]) == (8, "unsqueeze")

    def test_who_asks_where_torch_is_before_importing_it_changes_nothing(self, write):
        write(program="import importlib.util\nimportlib.util.find_spec('torch')\n" + training("head = [nn.ReLU()]"))
        assert guarded("program.py").stderr.splitlines()[-1].startswith("  SCE104 relu-applied  5 times")

    def test_json_is_the_last_line_of_standard_output(self, write):
        write(program=training("head = [nn.ReLU()]"))
        done = guarded("--json", "program.py")
        counts = json.loads(done.stdout.splitlines()[-1])
        (finding,) = counts.pop("findings")
        assert counts == {"mode": "default", "calls": 5, "probes": counts["probes"]}
        assert finding["code"] == "SCE104"
        assert (finding["cause"], finding["count"], finding["call"]) == ("relu-applied", 5, 1)
        assert finding["place"].endswith("program.py:11")
        assert "safe_ce:" not in done.stderr

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_the_processes_that_it_starts_are_guarded_and_counted(self, write, method):
        write(
            program=f"""
import torch.multiprocessing

def work(rank):
    for _ in range(3):
        logits = torch.randn(8, 3, requires_grad=True).relu()
        torch.nn.functional.cross_entropy(logits, torch.randint(3, (8,)))

if __name__ == "__main__":
    torch.multiprocessing.start_processes(work, nprocs=2, start_method={method!r})
"""
        )
        done = guarded("program.py")
        assert done.returncode == 0
        assert done.stderr.count("SafeCrossEntropyWarning: [SCE104]") == 2
        assert done.stderr.splitlines()[-2].startswith("safe_ce: guarded 6 calls")
        assert done.stderr.splitlines()[-1].startswith(
            "  SCE104 relu-applied  6 times, first in call 1 at program.py:7"
        )

    def test_each_rank_says_which_it_is(self, write, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        write(program=training())
        assert guarded("program.py").stderr.startswith("safe_ce, rank 1: guarded 5 calls")
