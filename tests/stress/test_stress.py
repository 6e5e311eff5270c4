# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: threads that fault, zap, look up and read on the same tables lose no count, free each table
exactly once and never see one that is freed (docs/stress.md); and the sanitizers see no race.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from native.cdef import ROOT
from tests.stress import __main__ as command
from tests.stress import policy
from tests.stress.native import FORMS, STRESS, Died, Form, Run, stress
from tests.stress.policy import PolicyRun, settings_of, stress_policy
from tests.stress.variants import SCAN, VARIANTS, Variant
from ucmmu.race.scenarios import SCENARIOS

SECONDS = float(os.environ.get("UCMMU_STRESS_SECONDS", "30"))
"""Of all forms together."""
SANITIZERS = ("thread", "address,undefined")


def assert_sound(report: dict[str, Any]) -> None:
    assert report["defect"] is None, report
    assert report["lost_counts"] == 0
    assert report["tables_allocated"] == report["tables_freed"] > 100
    for operation in ("fault", "fast", "access", "zap", "lock", "gup", "move"):
        assert report["operations"][operation] > 0, operation
    assert report["flushes_for_others"] + report["broadcasts"] > 0
    assert report["tables_moved"] > 0
    assert report["rests"] > 0


def test_real_threads_lose_no_count_and_free_each_table_once() -> None:
    for form in FORMS:
        report = stress(Run(form, seconds=SECONDS / len(FORMS), seed=os.getpid()))
        assert_sound(report)
        assert (report["broadcasts"] > 0) == form.invlpgb
        if form.free_tables == "refcount":
            assert report["grace_periods"] > 0
            assert report["operations"]["read"] > 0


def test_a_program_that_dies_is_told_by_signal_and_seed() -> None:
    variant = Variant("it dies", SCAN, "mm/rcu.c", "	rcu->gp_seq++;", "	abort();")
    changed = {file: f"#include <stdlib.h>\n{text}" for file, text in variant.changed().items()}
    with pytest.raises(Died, match="under scan, seed 3: it died of SIGABRT"):
        stress(Run(SCAN, seconds=2, seed=3), changed)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("0x6b6b6b6067", "followed an entry of a table that was freed"),
        ("0x6b6b000067", "died of Segmentation fault"),
    ],
)
def test_a_crash_is_told_in_one_line(entry: str, said: str) -> None:
    was = "	page = pfn_to_page(mm->ram, entry_pfn(old));\n"
    page = f"	page = pfn_to_page(mm->ram, entry_pfn({entry}));\n"
    variant = Variant("it crashes", SCAN, "mm/zap.c", was, page)
    report = stress(Run(SCAN, seconds=2, seed=3), variant.changed())
    assert said in report["defect"]
    assert "\n" not in report["defect"]


def test_no_thread_is_interrupted_before_it_runs() -> None:
    """More threads than cores begin one after the other, and the first ones flush at once."""
    for seed in range(20):
        report = stress(Run(SCAN, threads=6, seconds=0.02, seed=seed + 1))
        assert report["operations"]


@pytest.mark.parametrize("sanitize", SANITIZERS)
def test_sanitizers_find_nothing(sanitize: str) -> None:
    runs = [Run(form, seconds=0.6, sanitize=sanitize, stall_ms=60_000) for form in FORMS]
    for run in runs:
        report = stress(run)
        assert report["defect"] is None, report
        assert report["operations"]["total"] > 0


@pytest.mark.stress
@pytest.mark.parametrize("threads", [3, 8])
@pytest.mark.parametrize("form", [*FORMS, Form("never")], ids=lambda form: form.name)
def test_more_threads_than_cores(form: Form, threads: int) -> None:
    report = stress(Run(form, threads=threads, seconds=10, pages=16, tables=8))
    assert report["defect"] is None, report


SURE = (
    *("D1 ", "D2", "D3", "D8", "D12,", "a table is freed", "a grace", "a gather"),
    *("BROADCAST", "MOVE: the old address of a moved table"),
)
"""Variants that are found within a fraction of a second."""


def found(variant: Variant) -> str:
    """What the threads say of it; "" if they find nothing. Died: they cannot say it."""
    for seed in range(1, 4):
        run = Run(variant.form, seconds=20, stall_ms=10_000, seed=seed)
        report = stress(run, variant.changed())
        if report["defect"]:
            return str(report["defect"])
    return ""


def test_defects_put_back_are_found() -> None:
    sure = [variant for variant in VARIANTS if variant.name.startswith(SURE)]
    assert len(sure) == len(SURE)
    with ThreadPoolExecutor(1) as pool:
        said = dict(zip((v.name for v in sure), pool.map(found, sure), strict=True))
    assert all(said.values()), said
    assert "unbounded wait" in said[next(name for name in said if name.startswith("D2"))]
    assert "freed table" in said[next(name for name in said if name.startswith("D3"))]


@pytest.mark.stress
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_defect_put_back_is_found(variant: Variant) -> None:
    assert found(variant)


def test_every_file_is_built() -> None:
    folder = Path(__file__).parent
    assert set(STRESS.sources) == {path.name for path in folder.glob("*.c")}


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.stress", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    path = tmp_path / "stress.json"
    done = run_command("-p", "refcount", "--seconds", "0.3", "--seed", "7", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "lost counts" in done.stdout and "seed 7" in done.stdout
    assert '"lost_counts": 0' in path.read_text()


def test_json_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    done = run_command("-p", "scan", "--seconds", "600", "--json", str(tmp_path / "no" / "s.json"))
    assert done.returncode == 73
    assert done.stderr.startswith("stress: --json ") and "No such file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("ends", "code", "nr"), [(Died("it died of SIGABRT"), 1, 2), (KeyboardInterrupt(), 130, 1)]
)
def test_forms_that_ended_are_not_lost(
    ends: BaseException,
    code: int,
    nr: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second form dies, or is interrupted: the first is in the table and in the JSON."""

    def run(what: Run) -> dict[str, Any]:
        if what.form.free_tables == "scan":
            raise ends
        return stress(what)

    monkeypatch.setattr(command, "stress", run)
    path = tmp_path / "stress.json"
    words = ["-p", "refcount", "-p", "scan", "--seconds", "0.4", "--seed", "7"]
    assert command.main([*words, "--sanitize", "address", "--json", str(path)]) == code
    reports = json.loads(path.read_text())
    assert len(reports) == nr and reports[0]["operations"]["total"] > 0
    said = capsys.readouterr().out
    assert "lost counts" in said
    if nr == 2:
        assert reports[1]["defect"] == "it died of SIGABRT"
        assert f"scan: it died of SIGABRT\n  again: {reports[1]['again']}" in said
        assert reports[1]["again"].endswith("--sanitize address --seconds 0.2 --seed 7")


def test_a_policy_of_ones_own_is_run_in_random_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed after the other until the time is over, or until an order fails."""
    monkeypatch.setattr(policy, "SCENARIOS", {"fault-zap": SCENARIOS["fault-zap"]})
    monkeypatch.setattr(policy, "MODELS", ("sc",))
    right = stress_policy(PolicyRun("docs/policies/percpu_ref.py:PerCpuRef", 0.1, 1, 1))
    assert right["defect"] is None, right
    assert right["orders"] == right["operations"]["zap"] == right["operations"]["fault"] > 0
    assert right["tables_allocated"] == right["tables_freed"] > 0
    wrong = stress_policy(PolicyRun("docs/policies/percpu_unstopped.py:Unstopped", 60, 1, 1))
    assert "PTE_REF_UNDERFLOW" in wrong["defect"]
    assert "--replay" in wrong["replay"]


def test_a_policy_of_ones_own_meets_every_scenario_that_is_for_it() -> None:
    settings = settings_of("docs/policies/percpu_ref.py:PerCpuRef")
    assert {setting.model for setting in settings} == {"sc", "tso"}
    assert {setting.fine for setting in settings} == {False, True}
    assert len({setting.scenario for setting in settings}) > 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds", "0"], "--seconds"),
        (["--threads", "33"], "--threads takes at most 32"),
        (["-p", "sometimes"], "invalid choice"),
        (["--seed", "x"], "--seed"),
        (["--invlpgb"], "--free-levels and --invlpgb go with --free-tables"),
        (["-p", "scan", "--free-levels", "pud"], "--free-levels pud is for refcount"),
        (["-p", "a.py:A", "--sanitize", "thread"], "--sanitize is for C code"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], said: str) -> None:
    done = run_command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


def test_a_policy_that_cannot_be_loaded_is_one_line() -> None:
    done = run_command("-p", "nowhere.py:Policy", "--seconds", "1")
    assert done.returncode == 78
    assert "nowhere.py: no such file" in done.stderr.splitlines()[-1]
