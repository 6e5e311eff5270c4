# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: ``--free-tables FILE.py:CLASS`` runs under that class, the mm in Python; what is wrong
with it is one line with file, line and reason, and exit code POLICY, the statistics still printed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.policy_file import find_policy, load_policy, policy_label

ROOT = Path(__file__).resolve().parents[2]
HEAD = "from mmu.linux.free_tables import FreeTablesPolicy\n"
POLICY = int(ExitCode.POLICY)
OF_THE_HOST = ("seconds", "host_rss_peak", "samples")


def written(tmp_path: Path, text: str, name: str = "mine.py") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def ucmmu(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ucmmu", *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (\n", ", line 1: SyntaxError: '(' was never closed"),
        ("import os\nraise OSError('no')\n", ", line 2: OSError: no"),
        ("raise SystemExit\n", ", line 1: SystemExit"),
        ("from . import beside\n", ", line 1: ImportError: it is in no package"),
        (HEAD + "class Mime(FreeTablesPolicy): pass\n", "it has Mime; did you mean 'Mime'?"),
        ("Mine = 3\n", "Mine is no subclass of mmu.linux.free_tables.FreeTablesPolicy"),
        ("", "no class 'Mine': it has no subclass of FreeTablesPolicy"),
        (
            HEAD + "class Mine(FreeTablesPolicy):\n  def table_get(self, mm, table, nr): pass\n",
            ", line 3: Mine.table_get must take (self, mm, table, nr, holder), not"
            " (self, mm, table, nr)",
        ),
        (HEAD + "class Mine(FreeTablesPolicy):\n  task_work = 3\n", "task_work must be a method"),
        (HEAD + "class Mine(FreeTablesPolicy):\n  counts = 'no'\n", "counts True or False"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    """One line, which begins with the file."""
    path = written(tmp_path, text)
    with pytest.raises(Failure) as caught:
        load_policy(f"{path}:Mine")
    assert caught.value.code == POLICY
    assert caught.value.line.startswith(f"--free-tables {path}")
    assert said in caught.value.line, caught.value.line


@pytest.mark.parametrize(
    ("place", "said"),
    [("nothing.py", "no such file"), ("", "is no regular file"), ("mine.txt", "no Python file")],
)
def test_a_place_that_holds_no_policy(tmp_path: Path, place: str, said: str) -> None:
    """Missing, a directory, a file of another kind."""
    written(tmp_path, "", "mine.txt")
    with pytest.raises(Failure, match=said):
        load_policy(f"{tmp_path / place}:Mine")


def test_a_file_is_executed_once_and_its_neighbours_are_found(tmp_path: Path) -> None:
    """Two classes of one file; it imports a module beside it."""
    written(tmp_path, "NAME = 'a neighbour'\n", "beside_it.py")
    text = f"import beside_it\n{HEAD}class A(FreeTablesPolicy): pass\nclass B(A): pass\n"
    path = written(tmp_path, text)
    first, second = load_policy(f"{path}:A"), load_policy(f"{path}:B")
    assert issubclass(second, first.__mro__[1]) and load_policy(f"{path}:A") is first
    assert policy_label(first) == f"{path}:A"


def test_folders_do_not_share_neighbours(tmp_path: Path) -> None:
    """Two files in two folders import a neighbour of the same name: each has its own, also in a
    method that is called later, and in a neighbour's function. What is ours is not found there.
    """
    text = (
        f"{HEAD}import beside_it, random\nfrom beside_it import NAME\nclass Mine(FreeTablesPolicy):"
    )
    text += (
        "\n  def kept(self, table):\n    import late\n    return late.name(), random.NAME, NAME\n"
    )
    made = []
    for name in ("old", "new"):
        (tmp_path / name / "mmu").mkdir(parents=True)
        for beside in ("beside_it.py", "random.py", "even_later.py"):
            written(tmp_path / name, f"NAME = {name!r}\n", beside)
        later = "def name():\n  from even_later import NAME\n  return NAME\n"
        written(tmp_path / name, later, "late.py")
        made.append(load_policy(f"{written(tmp_path / name, text, 'p.py')}:Mine"))
    for name, policy in zip(("old", "new"), made, strict=True):
        assert vars(policy.__mro__[1])["kept"](None, 0) == (name, name, name)
    assert random.random() < 1 and "beside_it" not in sys.modules
    assert str(tmp_path / "old") not in sys.path


def test_a_file_may_leave_sys_path_as_it_likes(tmp_path: Path) -> None:
    """Its folder is not looked for there; and attributes of the module are not asked for."""
    text = "import sys\nsys.path[:] = list(sys.path)\ndef __getattr__(name): return 1 // 0\n"
    with pytest.raises(Failure, match="no class 'Mine': it has no subclass"):
        load_policy(f"{written(tmp_path, text)}:Mine")


def test_a_neighbour_is_named_as_the_file_names_it(tmp_path: Path) -> None:
    """Not as we do."""
    written(tmp_path, "", "beside_it.py")
    path = written(tmp_path, "from beside_it import more\n")
    with pytest.raises(Failure, match="cannot import name 'more' from 'beside_it'"):
        load_policy(f"{path}:Mine")


def test_a_name_that_is_none_of_ours() -> None:
    """USAGE, with what it may have meant."""
    with pytest.raises(Failure, match="did you mean 'refcount'") as caught:
        find_policy("refcnt")
    assert caught.value.code == ExitCode.USAGE


def test_a_run_and_its_report(tmp_path: Path) -> None:
    """Counts at rest and at the end are checked; the report has the policy's own figures."""
    policy = f"{ROOT}/docs/policies/deferring.py:Deferring"
    words = ["--json", "a.json", "--free-tables", policy, "dontneed_loop", "2M", "1M"]
    run = ucmmu("run", *words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["free_tables"], report["engine"]) == (policy, "c")
    assert report["policy"]["empty tables kept at most"] >= 1
    assert report["pte_tables_allocated"] == report["pte_tables_freed"]
    assert "deferring.py:Deferring" in run.stderr and "Python engine" in run.stderr


def test_compare_has_a_column_of_it(tmp_path: Path) -> None:
    """Beside those of ours that are named."""
    words = ["--free-tables", "never", "--free-tables", "./percpu_ref.py:PerCpuRef", "hello"]
    run = ucmmu("compare", *words, cwd=ROOT / "docs/policies")
    assert run.returncode == 0, run.stderr
    head = next(line for line in run.stdout.splitlines() if "never" in line)
    assert head.split()[-2:] == ["never", "percpu_ref.py:PerCpuRef"]


RAISES = """class Mine(FreeTablesPolicy):
    def table_put(self, mm, table, nr, holder):
        return 1 // 0
"""
LEAKS = """class Mine(FreeTablesPolicy):
    def put_last(self, mm, tlb, table, addr, nr, holder):
        self.table_put(mm, table, nr - 1, holder)
"""
EXITS = """class Mine(FreeTablesPolicy):
    def table_put(self, mm, table, nr, holder):
        raise SystemExit(3)
"""
SAYS_NONSENSE = """class Mine(FreeTablesPolicy):
    def figures(self):
        return {"a": "b"}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (EXITS, "line 4, in table_put(): SystemExit: 3"),
        (SAYS_NONSENSE, "figures() must return whole numbers by name, not {'a': 'b'}"),
        (RAISES, "line 4, in table_put(): ZeroDivisionError: integer division or modulo by zero"),
        (LEAKS, "PTE_TABLE_LEAKED"),
    ],
)
def test_a_policy_that_fails_in_the_run(tmp_path: Path, text: str, said: str) -> None:
    """One line, the table before it, and the exit code."""
    written(tmp_path, HEAD + text)
    run = ucmmu("run", "--free-tables", "mine.py:Mine", "hello", cwd=tmp_path)
    assert run.returncode == POLICY, run.stderr
    assert "VmPTE" in run.stderr and "Traceback" not in run.stderr
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ucmmu: ") and "mine.py:Mine" in last and said in last


def test_compare_names_a_policy_that_fails_once(tmp_path: Path) -> None:
    """The line begins with it, and goes on with file, line and reason."""
    written(tmp_path, HEAD + RAISES)
    run = ucmmu("compare", *two("mine.py:Mine", "never"), "hello", cwd=tmp_path)
    assert run.returncode == POLICY
    line = next(line for line in run.stderr.splitlines() if line.startswith("ucmmu: "))
    assert line.startswith("ucmmu: mine.py:Mine: mine.py, line 4, in table_put(): ")


def two(*policies: str) -> list[str]:
    return [word for policy in policies for word in ("--free-tables", policy)]


def test_both_engines_say_the_same(tmp_path: Path) -> None:
    """The MMU in C or in Python, the mm in Python: the same figures and counters."""
    policy = f"{ROOT}/docs/policies/deferring.py:Impatient"
    reports = []
    for engine in ("c", "python"):
        words = ["--json", "a.json", "--engine", engine, "--fidelity", "exact"]
        run = ucmmu("run", *words, "--free-tables", policy, "hello", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        report = json.loads((tmp_path / "a.json").read_text())
        assert report.pop("engine") == engine
        reports.append({k: v for k, v in report.items() if k not in OF_THE_HOST})
    assert reports[0] == reports[1]
