# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a guest that does what it must not ends by Linux's signal, with a report that says where and why."""

from __future__ import annotations

import signal

import pytest

from tests.guests.machine import FIDELITIES, native, run

ENDS: dict[str, tuple[signal.Signals, str, list[str]]] = {
    # mode: signal, si_code, words of the report
    "nowhere": (signal.SIGSEGV, "SEGV_MAPERR", ["address 0x10000", "RIP 0x10000", "fetch", "PDE"]),
    "null": (signal.SIGSEGV, "SEGV_MAPERR", ["address 0x0", "mov eax, dword ptr [rax]", "read", "page walk"]),
    "noncanonical": (signal.SIGSEGV, "SI_KERNEL", ["byte ptr", "general protection"]),
    "noncanonical_stack": (signal.SIGBUS, "SI_KERNEL", ["push rax", "stack-segment fault"]),
    "kernel": (signal.SIGSEGV, "SEGV_MAPERR", ["address 0xffff888000000000", "read", "PML4E"]),
    "stack": (signal.SIGSEGV, "SEGV_MAPERR", ["address 0x7fffff7f", "write", "PTE"]),
    "text": (signal.SIGSEGV, "SEGV_ACCERR", ["write", "mov byte ptr [rip", "4 KiB page"]),
    "data_jump": (signal.SIGSEGV, "SEGV_ACCERR", ["fetch", "XD"]),
    "readonly": (signal.SIGSEGV, "SEGV_ACCERR", ["write", "4 KiB page"]),
    "file_end": (signal.SIGBUS, "BUS_ADRERR", ["read past the end of the mapped file"]),
    "div": (signal.SIGFPE, "FPE_INTDIV", ["div dword ptr", "divide error"]),
    "ill": (signal.SIGILL, "ILL_ILLOPN", ["ud2", "invalid opcode"]),
    "rdrand": (signal.SIGILL, "ILL_ILLOPN", ["rdrand rax"]),
    "hlt": (signal.SIGSEGV, "SI_KERNEL", ["hlt", "general protection"]),
    "int3": (signal.SIGTRAP, "SI_KERNEL", ["int3", "breakpoint"]),
    "sysenter": (signal.SIGILL, "ILL_ILLOPN", ["sysenter", "invalid opcode"]),
    "int0": (signal.SIGSEGV, "SI_KERNEL", ["int 0", "general protection"]),
    "int14": (signal.SIGSEGV, "SI_KERNEL", ["int 0xe", "general protection"]),
    "abort": (signal.SIGABRT, "SI_USER", ["sent by the guest itself"]),
    "handled": (signal.SIGSEGV, "SEGV_MAPERR", ["its handler at 0x", "was not run"]),
}


@pytest.mark.parametrize("mode", ENDS)
def test_signal_and_report(mode: str) -> None:
    ours = run("faults", mode)
    signo, code, words = ENDS[mode]
    report = ours.result.report
    assert report is not None
    assert (ours.result.ended, ours.result.exit_code) == ("signal", 128 + signo)
    assert (report.signo, report.code) == (signo, code)
    for word in words:
        assert word in str(report)
    assert "\n" not in report.line
    assert str(report) in ours.result.notes


@pytest.mark.parametrize("mode", sorted(ENDS.keys() - {"rdrand", "handled"}))
def test_the_host_sends_the_same_signal(mode: str) -> None:
    assert native("faults", mode)[0] == -ENDS[mode][0]


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    "mode", ["null", "text", "data_jump", "div", "noncanonical", "noncanonical_stack", "int3"]
)
def test_every_way_reports_the_same(mode: str, fidelity: str, engine: str) -> None:
    assert run("faults", mode, fidelity=fidelity, engine=engine).figures == run("faults", mode).figures


def test_stack_grows_to_its_limit_first() -> None:
    assert run("faults", "stack").result.vm["VmStk"] == 8192


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_exit_status_is_the_guest_s(status: int) -> None:
    ours = run("faults", "exit", str(status))
    assert (ours.result.ended, ours.result.exit_code, ours.result.report) == ("exit", status, None)


def test_killing_itself() -> None:
    assert run("faults", "kill", "15").result.exit_code == 143
    ignored = run("faults", "kill", "17")
    assert (ignored.result.exit_code, ignored.text) == (0, "survived signal 17\n")
    stopped = run("faults", "kill", "19")
    assert "nobody could continue it" in str(stopped.result.report)


def test_handlers_are_remembered() -> None:
    assert run("faults", "handlers").text == "handlers ok\n"


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("policy", ["never", "refcount"])
def test_out_of_memory(engine: str, policy: str) -> None:
    ours = run("faults", "oom", ram=6 << 20, engine=engine, policy=policy)
    assert ours.result.exit_code == 128 + signal.SIGKILL
    assert "out of memory" in str(ours.result.report)


def test_unknown_system_calls_are_listed_once_with_their_count() -> None:
    ours = run("faults", "syscall", "9999")
    (unknown,) = ours.result.unknown_syscalls
    assert ours.text == "-1\n-1\n-1\nerrno 38\n"
    assert (unknown.nr, unknown.name, unknown.count) == (9999, "syscall 9999", 3)
    assert f"at RIP {unknown.rip:#x}" in str(unknown)
    (known,) = run("faults", "syscall", "41").result.unknown_syscalls
    assert known.name == "socket"


@pytest.mark.parametrize("count", [True, False])
@pytest.mark.parametrize("fidelity", ["fast"])
def test_time_stamps_and_features(fidelity: str, count: bool) -> None:
    assert (
        run("faults", "clocks", fidelity=fidelity, count=count).text == "avx 0, rdrand 0, sse2 1, hwcap 1\n"
    )


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_time_stamps_alike_every_way(fidelity: str, engine: str) -> None:
    ours = run("faults", "clocks", fidelity=fidelity, engine=engine)
    assert ours.figures == run("faults", "clocks").figures
