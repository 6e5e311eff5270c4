# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: `ucmmu race` explores what it is asked for, says what came of it and how far it went, and
shows a failure as an order that can be run again.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode
from ucmmu.race import command
from ucmmu.race.campaign import Result, Task
from ucmmu.race.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
ONE = ("--free-tables", "refcount", "--model", "sc")
D1 = ("--variant", str(Path(__file__).with_name("variants.py")) + ":D1")


def race(*words: str) -> int:
    return main(["race", *words])


def results(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    code = race("--json", "-", *words)
    return code, json.loads(capfd.readouterr().out)


def test_the_list_names_every_scenario(capfd: pytest.CaptureFixture[str]) -> None:
    assert race("--list") == 0
    shown = capfd.readouterr().out
    assert all(name in shown for name in SCENARIOS)


def test_the_list_fits_in_80_columns(capfd: pytest.CaptureFixture[str]) -> None:
    assert race("--list") == 0
    assert max(map(len, capfd.readouterr().out.splitlines())) <= 80


def test_the_list_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert race("--list", "--json", "-", "fault-zap") == 0
    (scenario,) = json.loads(capfd.readouterr().out)
    assert scenario["operations"] == ["zap", "fault"] and "D2" in scenario["rules"]


def test_each_policy_and_model_has_a_row(capfd: pytest.CaptureFixture[str]) -> None:
    assert race("--bound", "0", "--jobs", "1", "gup-zap") == 0
    shown = capfd.readouterr().out
    assert shown.count("gup-zap") == 8 and "8 passed" in shown


def test_two_processes_say_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--bound", "0", "--model", "sc", "gup-zap", "fault-fault")
    one = results(capfd, "--jobs", "1", *words)[1]
    two = results(capfd, "--jobs", "2", *words)[1]
    assert [{**row, "seconds": 0} for row in one] == [{**row, "seconds": 0} for row in two]


def test_what_did_not_end_is_unfinished(capfd: pytest.CaptureFixture[str]) -> None:
    code, (row,) = results(capfd, *ONE, "--schedules", "3", "fault-zap")
    assert code == 2
    assert (row["result"], row["schedules"], row["complete"]) == ("UNFINISHED", 3, False)


def test_orders_at_random_are_as_many_as_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    words = (*ONE, "--seed", "3", "--schedules", "4", "zap-zap-fault")
    code, (row,) = results(capfd, *words)
    assert (code, row["schedules"], row["complete"]) == (0, 4, False)


def test_a_failure_is_shown_and_comes_again(capfd: pytest.CaptureFixture[str]) -> None:
    code, (row,) = results(capfd, *ONE, *D1, "fault-fault")
    failure = row["failure"]
    assert code == 1 and "the count is not what is there" in failure["reason"]
    command = shlex.split(failure["command"])
    assert main(command[1:]) == 1
    shown = capfd.readouterr().out
    assert "CPU 0: fault" in shown and "fails" in shown and failure["kind"] in shown


def test_a_failure_ends_with_1_and_columns(capfd: pytest.CaptureFixture[str]) -> None:
    assert race(*ONE, *D1, "fault-fault") == 1
    shown = capfd.readouterr().out
    assert "1 failed" in shown and "again: ucmmu race" in shown and "CPU 1: fault" in shown


def test_the_failing_order_is_a_trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trace = str(tmp_path / "race.trace")
    assert race(*ONE, *D1, "--trace", trace, "fault-fault") == 1
    capfd.readouterr()
    assert main(["trace", "--filter", "event=set_pmd", trace]) == 0
    assert "set_pmd" in capfd.readouterr().out


def test_an_order_that_passes(capfd: pytest.CaptureFixture[str]) -> None:
    assert race(*ONE, "--replay", "0*3,1*2", "fault-zap") == 0
    assert "it passes" in capfd.readouterr().out


BAD = [
    ((), "no NAME"),
    (("fault-zpa",), "did you mean 'fault-zap'"),
    (("--all", "fault-zap"), "it takes no NAME"),
    (("--bound", "x", "fault-zap"), "'x' is no number of preemptions"),
    (("--seconds", "0", "fault-zap"), "'0' is no number of seconds"),
    (("--jobs", "0", "fault-zap"), "'0' is no number of processes"),
    (("--seed", "1", "fault-zap"), "say how many"),
    (("--seed", "1", "--schedules", "1", "--bound", "0", "fault-zap"), "at random (--seed) have"),
    (("--free-tables", "nevr", "fault-zap"), "did you mean 'never'"),
    (("--free-tables", "never", "zap-visit"), "zap-visit is for refcount"),
    (("--variant", "nowhere.py:D1", "fault-zap"), "nowhere.py: no such file"),
    (("--variant", "x", "fault-zap"), "FILE.py:CLASS"),
    (("--replay", "0", "fault-zap"), "give one NAME"),
    ((*ONE, "--replay", "0*x", "fault-zap"), "a number of steps"),
    ((*ONE, "--replay", "7", "fault-zap"), "there is no such actor"),
    ((*ONE, "--replay", "0", "--seed", "1", "fault-zap"), "--replay runs one"),
    ((*ONE, "--bound", "0", "--trace", "-", "fault-zap"), "give a FILE"),
    ((*ONE, "--replay", "0", "--bound", "all", "fault-zap"), "--replay runs one"),
    ((*ONE, "--points", "a-b", "fault-zap"), "is no list of points"),
]


@pytest.mark.parametrize(("words", "line"), BAD)
def test_bad_input_is_one_line(
    words: tuple[str, ...], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert race(*words) == ExitCode.USAGE
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and line in err


def test_a_variant_that_does_not_load_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for text, line in (("raise ValueError('no')", "ValueError: no"), ("x = 1", "has no variant")):
        file = tmp_path / f"{len(text)}.py"
        file.write_text(text)
        assert race("--variant", f"{file}:X", "fault-zap") == ExitCode.USAGE
        assert line in capfd.readouterr().err


def test_a_trace_that_cannot_be_written(capfd: pytest.CaptureFixture[str]) -> None:
    """It is told before anything is run."""
    for more in (("--replay", "0"), ("--bound", "0")):
        words = (*ONE, *more, "--trace", "/nowhere/x.trace", "fault-zap")
        assert race(*words) == ExitCode.NO_OUTPUT
        out, err = capfd.readouterr()
        assert out == "" and "--trace /nowhere/x.trace: No such file" in err


def test_each_row_is_shown_as_soon_as_it_is_known(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    def slow(tasks: list[Task], *_: object) -> Iterator[Result]:
        for setting, search in tasks:
            yield Result(setting, 7, 0, search.bound, 0.1)
            shown.append(capfd.readouterr().out)

    monkeypatch.setattr(command, "run_all", slow)
    assert race(*ONE, "fault-zap", "zap-zap") == 0
    assert "fault-zap" in shown[0] and "zap-zap" in shown[1] and "schedules" in shown[0]
    assert all(text.endswith("passed\n") for text in shown)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_leaves_what_was_not_done_unfinished(tmp_path: Path, jobs: str) -> None:
    file = tmp_path / "races.json"
    words = ("race", "--jobs", jobs, "--json", str(file), "--model", "sc", "zap-zap", "fault-zap")
    with subprocess.Popen(
        [sys.executable, "-c", _TELLING, *words],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "begun\n" in iter(process.stdout.readline, "")
        os.killpg(process.pid, signal.SIGINT)
        shown = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGINT
    assert "UNFINISHED" in shown
    assert len(json.loads(file.read_text())) == 8


_TELLING = """
import sys
from ucmmu.cli import main
from ucmmu.race import command
run_all = command.run_all
def telling(*what):
    print("begun", flush=True)
    return run_all(*what)
command.run_all = telling
sys.exit(main(sys.argv[1:]))
"""


RAISES = """from mmu.linux.free_tables import FreeTablesPolicy

class Mine(FreeTablesPolicy):
    def table_get(self, mm, table, nr, holder):
        raise {error}
"""


@pytest.mark.parametrize("error", ["ValueError('no')", "SystemExit(0)"])
def test_a_policy_that_fails_before_the_race_is_a_row(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, error: str
) -> None:
    """The world cannot be made under it: it fails, with file, line and method; so does --replay."""
    (tmp_path / "mine.py").write_text(RAISES.format(error=error))
    words = ("--free-tables", f"{tmp_path}/mine.py:Mine", "--model", "sc", "fault-zap")
    for more in (("--bound", "0"), ("--replay", "0"), ("--bound", "0", "--trace", f"{tmp_path}/t")):
        assert race(*more, *words) == 1
        shown = capfd.readouterr().out
        assert "before the race: " in shown and "mine.py, line 5, in table_get(): " in shown


def test_a_variant_that_fails_before_the_race_is_shown(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = RAISES.format(error="ValueError('no')").replace("FreeTablesPolicy", "Variant")
    (tmp_path / "v.py").write_text(text.replace("mmu.linux.free_tables", "ucmmu.race.variant"))
    assert race(*ONE, "--bound", "0", "--variant", f"{tmp_path}/v.py:Mine", "fault-zap") == 1
    assert "ValueError: before the race: no" in capfd.readouterr().out


def test_a_variant_whose_file_exits_is_one_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "v.py").write_text("raise SystemExit(0)\n")
    words = ("--variant", f"{tmp_path}/v.py:Mine", "fault-zap")
    assert race(*ONE, *words) == ExitCode.USAGE
    assert "v.py, line 1: SystemExit: 0" in capfd.readouterr().err


def test_passing_without_a_point_that_was_asked_for_is_no_passing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No order came to it: it is misspelt, or the scenario does not lead there."""
    words = (*ONE, "--bound", "0", "fault-zap")
    assert race("--points", "pte_putt", *words) == ExitCode.USAGE
    assert "no order came to 'pte_putt'" in capfd.readouterr().err
    assert race("--points", "pte_put", *words) == 0


def test_a_variant_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The base class that the file imports is none of them."""
    file = tmp_path / "my.py"
    file.write_text(
        "from ucmmu.race.variant import Variant\nclass Mine(Variant):\n    '''Nothing.'''\n"
    )
    assert race("--variant", f"{file}:Other", "lazy-zap") == ExitCode.USAGE
    assert "has no variant 'Other'; it has Mine\n" in capfd.readouterr().err


NOTHING = """from mmu.linux import mmu_gather
from ucmmu.race.variant import Variant, replaces

class Mine(Variant):
    def put_mani(self, mm, tlb, table, addr, nr, holder):
        pass
"""


def test_a_variant_that_changes_nothing_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its only name is misspelt: all would pass."""
    file = tmp_path / "my.py"
    file.write_text(NOTHING)
    assert race("--variant", f"{file}:Mine", "lazy-zap") == ExitCode.USAGE
    assert "my.py: Mine changes nothing: " in capfd.readouterr().err


def test_passing_without_a_function_of_the_variant_is_no_passing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing moves in this scenario."""
    file = tmp_path / "my.py"
    file.write_text(NOTHING.replace("put_mani", "table_moved"))
    words = (*ONE, "--bound", "0", "--variant", f"{file}:Mine", "gup-zap")
    assert race(*words) == ExitCode.USAGE
    assert "no order came to table_moved()" in capfd.readouterr().err


def test_a_function_that_is_not_there_cannot_be_replaced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.py"
    file.write_text(f"{NOTHING}\n    @replaces(mmu_gather)\n    def tlb_gather_mm(): ...\n")
    assert race("--variant", f"{file}:Mine", "lazy-zap") == ExitCode.USAGE
    line = "no function 'tlb_gather_mm'; did you mean 'tlb_gather_mmu'?"
    assert f"my.py, line 8: AttributeError: mmu.linux.mmu_gather has {line}\n" in (
        capfd.readouterr().err
    )


COUNTS = """from ucmmu.race.variant import Variant

calls = []

class Mine(Variant):
    def put_many(self, mm, tlb, table, addr, nr, holder):
        calls.append(0)
        if len(calls) % 5 == 0:
            self.kernel.point("fifth")
        super().put_many(mm, tlb, table, addr, nr, holder)

class Raises(Variant):
    def detach(self, mm, pmd, addr):
        return {}[addr]
"""


def test_a_variant_that_remembers_the_order_before_is_told_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.py"
    file.write_text(COUNTS)
    assert race(*ONE, "--bound", "1", "--variant", f"{file}:Mine", "fault-zap") == 1
    shown = capfd.readouterr().out
    assert "NotDeterministic: the program is not deterministic" in shown
    assert "does it keep anything from run to run" in shown and "before the race" not in shown


def test_a_mistake_in_a_variant_is_told_with_its_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.py"
    file.write_text(COUNTS)
    assert race(*ONE, "--bound", "0", "--variant", f"{file}:Raises", "fault-zap") == 1
    assert "KeyError: 68719476736 (in detach(), my.py, line 14)" in capfd.readouterr().out


def test_the_variants_that_the_docs_write_fail(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    part = (ROOT / "docs/races.md").read_text().partition("## A change of your own")[2]
    blocks = re.findall(r"```(?:python|sh)\n(.*?)```", part, re.DOTALL)
    (tmp_path / "my.py").write_text(blocks[0])
    monkeypatch.chdir(tmp_path)
    shown = ("nobody freed it", "stale translation")
    for words, line in zip(blocks[1].splitlines(), shown, strict=True):
        assert main(shlex.split(words)[1:]) == 1
        assert line in capfd.readouterr().out


COLLECTS = """\
import gc
from mmu.linux.free_tables import FreeTablesPolicy

class Mine(FreeTablesPolicy):
    def __init__(self, kernel):
        super().__init__(kernel)
        assert gc.isenabled(), "garbage is not collected"
"""


def test_garbage_is_collected_between_orders(tmp_path: Path) -> None:
    """Each order has a world of its own, with 2 MiB of RAM: the command, which loads with the
    collector off, took all of the host's memory in minutes.
    """
    (tmp_path / "mine.py").write_text(COLLECTS)
    words = ["--free-tables", "mine.py:Mine", "--model", "sc", "--bound", "0", "fault-zap"]
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "race", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
