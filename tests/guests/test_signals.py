# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a guest that does what it must not ends by Linux's signal, with a report that says where
and why.
"""

from __future__ import annotations

import signal

import pytest

from tests.guests.machine import FIDELITIES, native, run

ENDS: dict[str, tuple[signal.Signals, str, list[str]]] = {
    # mode: signal, si_code, words of the report
    "nowhere": (signal.SIGSEGV, "SEGV_MAPERR", ["address 0x10000", "RIP 0x10000", "fetch", "PDE"]),
    "null": (
        signal.SIGSEGV,
        "SEGV_MAPERR",
        ["address 0x0", "mov eax, dword ptr [rax]", "read", "page walk"],
    ),
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
    "abort": (signal.SIGABRT, "SI_TKILL", ["sent by the guest itself"]),
    "blocked": (
        signal.SIGSEGV,
        "SEGV_MAPERR",
        ["its handler at 0x", "was not run: the signal was blocked"],
    ),
}


CODE: dict[str, tuple[str, signal.Signals, str, int, list[str]]] = {
    # machine code: signal, si_code, RIP from its begin, words of the report
    "int1": ("90 f1", signal.SIGTRAP, "TRAP_BRKPT", 2, ["int1", "debug exception"]),
    "int3": ("90 cc", signal.SIGTRAP, "SI_KERNEL", 2, ["int3", "breakpoint"]),
    "int 3": ("90 cd03", signal.SIGTRAP, "SI_KERNEL", 3, ["int 3", "breakpoint"]),
    "int 4": ("90 cd04", signal.SIGSEGV, "SI_KERNEL", 3, ["int 4", "overflow"]),
    "int 0": ("90 cd00", signal.SIGSEGV, "SI_KERNEL", 1, ["int 0", "general protection"]),
    "int 6": ("90 cd06", signal.SIGSEGV, "SI_KERNEL", 1, ["int 6", "general protection"]),
    "int 14": ("90 cd0e", signal.SIGSEGV, "SI_KERNEL", 1, ["int 0xe", "general protection"]),
    "int 6 in an immediate, then ud2": ("b83412cd06 0f0b", signal.SIGILL, "ILL_ILLOPN", 5, ["ud2"]),
    "int 13 in an immediate, then hlt": ("b83412cd0d f4", signal.SIGSEGV, "SI_KERNEL", 5, ["hlt"]),
    "int 0 in an immediate, then div": (
        "31c9 b83412cd00 f7f1",
        signal.SIGFPE,
        "FPE_INTDIV",
        7,
        ["div ecx"],
    ),
    "hlt": ("f4", signal.SIGSEGV, "SI_KERNEL", 0, ["hlt", "general protection"]),
    "cli": ("fa", signal.SIGSEGV, "SI_KERNEL", 0, ["cli", "general protection"]),
    "in": ("90 e460", signal.SIGSEGV, "SI_KERNEL", 1, ["in al, 0x60", "general protection"]),
    "rep outsb": ("90 f36e", signal.SIGSEGV, "SI_KERNEL", 1, ["rep outsb", "general protection"]),
    "sysenter": ("90 0f34", signal.SIGILL, "ILL_ILLOPN", 1, ["sysenter", "invalid opcode"]),
    "lock nop": ("90 f090", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "lock mov": ("90 f08907", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "rdpmc": ("90 0f33", signal.SIGSEGV, "SI_KERNEL", 1, ["rdpmc", "general protection"]),
    "mov to cr1": ("90 0f22c8", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "mov from cr9": ("90 440f20c8", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "mov to cr3": (
        "90 0f22d8",
        signal.SIGSEGV,
        "SI_KERNEL",
        1,
        ["mov cr3, rax", "general protection"],
    ),
    "mov to dr8": ("90 440f23c0", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "pxor with f2": ("90 f20fefc1", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "paddd with 66 f3": ("90 66f30ffec1", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "pshufb with f3": ("90 f30f3800c2", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "palignr with f2": ("90 f20f3a0fc101", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "ldmxcsr with f3": ("90 f30fae17", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
    "lock cmp": ("90 f03907", signal.SIGILL, "ILL_ILLOPN", 1, ["invalid opcode"]),
}
LACKING: dict[str, tuple[str, str]] = {
    # machine code that a processor with the feature executes
    "AVX": ("c5f9fec2", "vpaddd xmm0, xmm0, xmm2"),
    "AVX2": ("c5f5fec2", "vpaddd ymm0, ymm1, ymm2"),
    "AVX-512": ("62f1754848fec2", ""),
    "RDRAND": ("480fc7f0", "rdrand rax"),
    "MOVBE": ("0f38f007", "movbe eax, dword ptr [rdi]"),
    "BMI1": ("c4e278f2c1", "andn eax, eax, ecx"),
    "XOP": ("8fe878c2c101", ""),
}
WRONG = ("66419f", "499e", "f3660f51da", "66f20f5afa", "662ef30f58c1", "66f3480fb8c1")
"""LAHF and SAHF with REX, SQRTSS and CVTSD2SS with 66, a 64-bit POPCNT with 66."""


@pytest.mark.parametrize("code", WRONG)
def test_what_unicorn_would_get_wrong_is_not_executed(code: str) -> None:
    """A limit, and a loud one: the host returns from it."""
    report = run("faults", f"code:90{code}").result.report
    assert report is not None
    assert (report.signo, report.rip % 4096) == (signal.SIGILL, 1)
    assert "Unicorn would with a wrong result" in report.line
    assert native("faults", f"code:90{code}") == (0, "returned\n")


@pytest.mark.parametrize("name", CODE)
def test_instruction_by_its_own_bytes(name: str) -> None:
    """Which exception it was is decided by the instruction that was executed; the host sends the
    same signal.
    """
    code, signo, si_code, rip, words = CODE[name]
    program = f"code:{code.replace(' ', '')}"
    ours = run("faults", program)
    report = ours.result.report
    assert report is not None
    assert (report.signo, report.code, report.rip % 4096) == (signo, si_code, rip)
    for word in words:
        assert word in report.line
    assert native("faults", program)[0] == -signo


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("count", [True, False])
def test_an_instruction_the_processor_lacks_says_so(name: str, count: bool) -> None:
    """CPUID denies it, so it is #UD, whatever Unicorn would do; the report names it and says what
    to do.
    """
    code, text = LACKING[name]
    ours = run("faults", f"code:90{code}", count=count)
    report = ours.result.report
    assert report is not None
    assert (report.signo, report.code, report.rip % 4096) == (signal.SIGILL, "ILL_ILLOPN", 1)
    assert (
        f"{text}: invalid opcode (vector 6): {name}, which the processor modelled does not have"
        in report.line
    )
    assert "gcc -march=x86-64-v2" in report.line


def figures_are_the_same_every_way(*words: str) -> None:
    """In each fidelity under the C engine, and under the Python engine, which every access asks in
    exact and none in fast: a report does not tell them apart.
    """
    usual = run("faults", *words).figures
    for fidelity, engine in [
        ("exact", "c"),
        ("trace", "c"),
        ("fast", "python"),
        ("exact", "python"),
    ]:
        ours = run("faults", *words, fidelity=fidelity, engine=engine).figures
        assert ours == usual, (fidelity, engine)


@pytest.mark.parametrize("code", ["90c5f9fec2", "90cd06", "90f1", "b83412cd060f0b"])
def test_every_way_stops_at_the_same_instruction(code: str) -> None:
    figures_are_the_same_every_way(f"code:{code}")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("d9e8d9feddd8", "x87"),
        ("d9ebd9e8d9f3ddd8", "x87"),
        ("d9ebd9e8d9f8ddd8ddd8", ""),
        ("0fae1f", "MXCSR"),
        ("d9e8ddd8", ""),
        ("0fae2f", ""),
    ],
)
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_limit_that_the_code_meets_is_noted(code: str, words: str, fidelity: str) -> None:
    """FSIN and FPATAN; STMXCSR. Not FPREM and FLD1, nor XRSTOR's kin."""
    notes = run("faults", f"code:{code}", fidelity=fidelity).result.notes
    assert [words in note for note in notes if "here" in note] == ([True] if words else [])


PREFIXED_TSC = ("0f31", "480f31", "660f31", "f30f31", "2e0f31", "0f01f9", "480f01f9", "f32e0f01f9")


@pytest.mark.parametrize("code", PREFIXED_TSC)
@pytest.mark.parametrize("count", [True, False])
def test_time_stamps_whatever_the_prefix(code: str, count: bool) -> None:
    assert run("faults", f"code:{code}", count=count).text == "returned\n"


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


@pytest.mark.parametrize("mode", ENDS)
def test_the_host_sends_the_same_signal(mode: str) -> None:
    assert native("faults", mode)[0] == -ENDS[mode][0]


@pytest.mark.parametrize(
    "mode", ["null", "text", "data_jump", "div", "noncanonical", "noncanonical_stack"]
)
def test_every_way_reports_the_same(mode: str) -> None:
    figures_are_the_same_every_way(mode)


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


def test_stopped_for_good() -> None:
    """Nobody is left to send SIGCONT: told as a deadlock, not waited for."""
    stopped = run("faults", "kill", "19")
    assert stopped.result.exit_code == 128 + signal.SIGKILL
    assert "waits for SIGCONT, after SIGSTOP" in str(stopped.result.report)


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
    (known,) = run("faults", "syscall", "250").result.unknown_syscalls
    assert known.name == "keyctl"


@pytest.mark.parametrize("count", [True, False])
@pytest.mark.parametrize("fidelity", ["fast"])
def test_time_stamps_and_features(fidelity: str, count: bool) -> None:
    assert (
        run("faults", "clocks", fidelity=fidelity, count=count).text
        == "avx 0, rdrand 0, sse2 1, hwcap 1\n"
    )


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_time_stamps_alike_every_way(fidelity: str, engine: str) -> None:
    ours = run("faults", "clocks", fidelity=fidelity, engine=engine)
    assert ours.figures == run("faults", "clocks").figures
