# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: our kernel forgets no flush: no guest, under any policy, meets a stale translation, or
might have.

And where a flush is taken away, `ucmmu run --check-tlb` says so, in words, in JSON and by its exit
code.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmu.linux import mmu_gather
from tests.cpu.assemble import assemble
from tests.guests.elf_builder import Elf, Load
from tests.guests.machine import HAS_JEMALLOC, POLICIES, run
from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode

GUESTS = {
    "hello": ("hello",),
    "loop 2M": ("dontneed_loop", "4M", "2M"),
    "loop 1M": ("dontneed_loop", "4M", "1M"),
    "sparse": ("sparse", "16M"),
    "sysabi": ("sysabi",),
}
if HAS_JEMALLOC:
    GUESTS["jemalloc"] = ("jemalloc_churn", "1", "159")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.parametrize("fidelity", ["exact", "trace"])
def test_no_flush_is_forgotten(guest: str, policy: str, fidelity: str) -> None:
    result = run(*GUESTS[guest], policy=policy, fidelity=fidelity, check_tlb=True).result
    assert result.stale_translations == []


def test_nor_by_the_python_engine() -> None:
    result = run(
        "dontneed_loop", "4M", "1M", fidelity="exact", engine="python", check_tlb=True
    ).result
    assert result.stale_translations == []


def test_checking_changes_nothing(policy: str = "refcount") -> None:
    """Counters and figures are those of a run that is not checked."""
    plain, checked = (
        run("sparse", "16M", policy=policy, fidelity="exact", check_tlb=check)
        for check in (False, True)
    )
    assert checked.result.counters == plain.result.counters
    assert {**checked.figures, "stale_translations": None} == plain.figures


@pytest.fixture
def use_after_free(tmp_path: Path) -> str:
    """A program that writes to a page, gives it back by MADV_DONTNEED, and writes again."""
    code = assemble(
        """
        mov eax, 9; xor edi, edi; mov esi, 0x1000; mov edx, 3; mov r10d, 0x22; mov r8, -1
        xor r9d, r9d; syscall
        mov rdi, rax; mov [rdi], al
        mov eax, 28; mov esi, 0x1000; mov edx, 4; syscall
        mov [rdi], al
        mov eax, 60; xor edi, edi; syscall
        """
    )
    path = tmp_path / "use_after_free"
    path.write_bytes(Elf(loads=[Load()], extra={0x800: code}).build())
    path.chmod(0o755)
    return str(path)


def test_a_forgotten_flush_is_told(
    use_after_free: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", lambda *_: None)
    out = tmp_path / "out.json"
    code = main(["run", "--check-tlb", "--engine", "python", "--json", str(out), use_after_free])
    assert code == ExitCode.STALE
    text = capfd.readouterr().err
    assert "stale translation used: write of" in text
    assert "whose frame was freed" in text
    assert "changed by system call 28" in text
    assert "ucmmu: --check-tlb: 1 stale translations were used" in text
    report = json.loads(out.read_text())
    (use,) = [use for use in report["stale_translations"] if use["kind"] == "used"]
    assert (use["kind"], use["freed"], use["changed"]["by"]) == ("used", True, "syscall")
    assert (
        report["ended"] == "exit" and report["fidelity"] == "exact" and report["check_tlb"] is True
    )


def test_with_its_flush_the_program_is_clean(use_after_free: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert main(["run", "--check-tlb", "--json", str(out), use_after_free]) == 0
    assert json.loads(out.read_text())["stale_translations"] == []


def test_fast_has_no_tlb(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--check-tlb", "--fidelity", "fast", "hello"]) == ExitCode.USAGE
    assert (
        "argument --check-tlb: fast has no TLB; use --fidelity exact or trace"
        in capfd.readouterr().err
    )


def test_unchecked_runs_say_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert main(["run", "--fidelity", "exact", "--json", str(out), "hello"]) == 0
    assert json.loads(out.read_text())["stale_translations"] is None
