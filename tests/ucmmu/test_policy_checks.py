# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a policy of the user's own is refused for what can be seen of its class, with the file and
the line where it is set; what its methods do is told of them, and of nothing else.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from mmu.linux.policies import policy_of
from tests.ucmmu.test_policy_file import HEAD, POLICY, ucmmu, written
from ucmmu.exit_codes import Failure
from ucmmu.policy_checks import PolicyError
from ucmmu.policy_file import load_policy
from ucmmu.race.campaign import Search
from ucmmu.race.campaign import run as explore
from ucmmu.race.setting import Setting
from ucmmu.race.world import BASE, PAGE_SIZE, RaceWorld

CLASS = f"{HEAD}from mmu.errors import LinuxError, OutOfMemory\nclass Mine(FreeTablesPolicy):\n  "
NOT_PLAIN = "Mine.task_work must be a plain method: nobody would"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "def table_get(self, mm, table, nr, *, holder): 1",
            "not (self, mm, table, nr, *, holder)",
        ),
        ("kept = 3", "Mine.kept must be a method"),
        ("kept: int = 3", "Mine.kept must be a method"),
        ("kept = property(lambda self: 3)", "Mine.kept must be a method"),
        ("async def task_work(self): 1", f"{NOT_PLAIN} await it"),
        ("def task_work(self): yield", f"{NOT_PLAIN} run it"),
        (
            "counts = False",
            "Mine: counts is False, but table_get() is that of a policy that counts",
        ),
        ("def __init_subclass__(cls): raise ValueError('no')", "ValueError: no"),
    ],
)
def test_a_class_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    """The line names the file, and the line of it."""
    path = written(tmp_path, f"{CLASS}{text}\n")
    with pytest.raises(Failure) as caught:
        load_policy(f"{path}:Mine")
    assert caught.value.code == POLICY
    assert caught.value.line.startswith(f"--free-tables {path}, line 4: "), caught.value.line
    assert said in caught.value.line, caught.value.line


def test_a_base_class_in_another_file(tmp_path: Path) -> None:
    """It is that file which is named."""
    beside = written(tmp_path, f"{CLASS}def kept(self): return 0\n", "base_of_mine.py")
    path = written(tmp_path, "from base_of_mine import Mine as Base\nclass Mine(Base): pass\n")
    with pytest.raises(Failure) as caught:
        load_policy(f"{path}:Mine")
    assert f"{Path(beside).name}, line 4: Mine.kept must take (self, table)" in caught.value.line


RETURNS = [
    (
        "def install_new(self, mm, pmd, addr, table): pass",
        "install_new() must return a whole number",
    ),
    ("def table_get_unless_zero(self, mm, table): pass", "must return True or False, not None"),
    ("def pte_try_get(self, mm, pmd): return 1", "must return a TryGet and the PMD's value, not 1"),
    ("def get_named(self, mm, pmdval): pass", "must return a TryGet, not None"),
    ("def put_many(self, *_): raise LinuxError(14)", "in put_many(): LinuxError: EFAULT"),
    ("def put_many(self, *_): raise OutOfMemory('x')", "in put_many(): OutOfMemory: x"),
    ("def put_many(self, *_): raise type('Stop', (BaseException,), {})", "in put_many(): Stop"),
]


@pytest.mark.parametrize(("text", "said"), RETURNS)
def test_what_a_method_may_not_do(tmp_path: Path, text: str, said: str) -> None:
    """It would be taken for an error of the guest's or of ours, or be looked for again for ever."""
    world = RaceWorld(load_policy(f"{written(tmp_path, f'{CLASS}{text}')}:Mine"))
    with pytest.raises(PolicyError) as caught:
        world.write(BASE, BASE + PAGE_SIZE)()
    assert "mine.py, line 4" in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize("what", ["1.5", "True", "-5", "'odd'"])
def test_how_much_is_kept_is_a_number(tmp_path: Path, what: str) -> None:
    """As figures() is."""
    text = f"{CLASS}def memory_kept(self): return {what}\n"
    world = RaceWorld(load_policy(f"{written(tmp_path, text)}:Mine"))
    assert world.kernel.task_work is not None
    with pytest.raises((TypeError, PolicyError), match=r"memory_kept\(\) must return a whole num"):
        world.kernel.task_work()


def test_an_interrupt_is_the_users_where_it_can_be(tmp_path: Path) -> None:
    """Python's own handler raises it: it is passed on. Where ours has the signal, a method did."""
    text = f"{CLASS}def references(self, table): raise KeyboardInterrupt\n"
    policy = policy_of(RaceWorld(load_policy(f"{written(tmp_path, text)}:Mine")).kernel)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            policy.references(0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with pytest.raises(PolicyError, match=r"in references\(\): KeyboardInterrupt"):
            policy.references(0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_exception_without_a_text(tmp_path: Path) -> None:
    """The run and the race say which it was."""
    odd = "class Odd(Exception):\n  def __str__(self): return 1 / 0\n"
    written(tmp_path, f"{CLASS}def put_many(self, *_): raise Odd\n{odd}")
    said = "mine.py, line 4, in put_many(): Odd: (its text cannot be had: ZeroDivisionError)"
    run = ucmmu("run", "--free-tables", "mine.py:Mine", "hello", cwd=tmp_path)
    assert run.returncode == POLICY and said in run.stderr.splitlines()[-1], run.stderr
    failure = explore(Setting("fault-zap", f"{tmp_path}/mine.py:Mine"), Search(bound=0)).failure
    assert failure is not None and said.partition(", ")[2] in failure.text


def test_a_method_that_ends_the_process(tmp_path: Path) -> None:
    """Nothing was checked then, so nothing passed: in the run, and in one of several processes."""
    written(tmp_path, f"{CLASS}def references(self, table):\n    import os; os._exit(0)\n")
    run = ucmmu("run", "--free-tables", "mine.py:Mine", "hello", cwd=tmp_path)
    assert run.returncode == POLICY and "VmPTE" in run.stderr
    assert "under mine.py:Mine the process ended by itself" in run.stderr.splitlines()[-1]
    words = ["--jobs", "2", "--bound", "0", "--free-tables", "mine.py:Mine", "fault-zap"]
    run = ucmmu("race", *words, cwd=tmp_path)
    assert run.returncode == POLICY
    assert (
        run.stderr.startswith("ucmmu: a process that explored died") and run.stderr.count("\n") == 1
    )


def test_what_a_policy_prints_is_not_among_the_results(tmp_path: Path) -> None:
    """When its file is loaded, and in a race: stdout is JSON."""
    text = f"print('loaded')\n{CLASS}def task_work(self): print('works')\n"
    policy = ("--free-tables", f"{written(tmp_path, text)}:Mine")
    words = ["--json", "-", "--model", "sc", "--bound", "0", "--jobs", "1", "fault-zap"]
    run = ucmmu("race", *policy, *words, cwd=tmp_path)
    assert json.loads(run.stdout)[0]["result"] == "passed", run.stderr
    assert "loaded\n" in run.stderr
    run = ucmmu("run", *policy, "hello", cwd=tmp_path)
    assert "works" in run.stderr and "works" not in run.stdout
