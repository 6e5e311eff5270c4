# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of attached instances, by either door: ends, counts, stops and errors as without an MMU."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from unicorn import (
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_INSN,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_INTR,
    UC_HOOK_MEM_FETCH_UNMAPPED,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_READ_UNMAPPED,
    UC_HOOK_MEM_WRITE,
    UC_HOOK_MEM_WRITE_UNMAPPED,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
    UcError,
)
from unicorn.x86_const import UC_X86_INS_SYSCALL

import cpu
from cpu.attached import Attached, Fault
from mmu.errors import PageFault
from tests.cpu.assemble import assemble
from tests.cpu.attaching import (
    CODE,
    DATA,
    DOORS,
    FIDELITIES,
    HOLE,
    VIRTUAL,
    Start,
    get,
    load,
    new_instance,
    put,
    through,
)

WAYS = [(fidelity, door) for fidelity in FIDELITIES for door in DOORS]
LOOP = "mov ecx, 50; t: inc rax; add rbx, rax; dec ecx; jnz t; nop; nop; nop"
END = CODE + len(assemble(LOOP))
Script = Callable[[Uc, Start], Any]


def registers(uc: Uc) -> tuple[int, ...]:
    """What a run leaves."""
    return tuple(get(uc, name) for name in ("rip", "rax", "rbx", "rcx", "rdx", "eflags"))


def outcome(script: Script, uc: Uc, start: Start) -> Any:
    """What the script returns, or how it fails; and the registers."""
    try:
        return script(uc, start), registers(uc)
    except UcError as error:
        return error.errno, registers(uc)
    except BaseException as error:
        return repr(error), registers(uc)


def as_plain(script: Script) -> None:
    """The script ends alike on plain Unicorn and attached, whatever the fidelity and the door."""
    uc = new_instance()
    expected = outcome(script, uc, uc.emu_start)
    for fidelity, door in WAYS:
        uc = new_instance()
        with cpu.attach(uc, identity=True, fidelity=fidelity) as m:
            assert outcome(script, uc, through(door, uc, m)) == expected, (fidelity, door)
            assert m.shared.miscounts == 0


# Ends and counts.


def test_counts() -> None:
    def script(uc: Uc, start: Start) -> Any:
        load(uc, LOOP)
        seen = []
        for count in (1, 2, 3, 4, 5, 6, 7, 50, 199, 200, 203, 204, 205, 10**9, 1 << 63, -1):
            put(uc, rax=0, rbx=0, rcx=0)
            start(CODE, END, 0, count)
            seen.append(registers(uc))
        start(CODE, END, 0, 1)
        for turn in range(30):
            start(get(uc, "rip"), END, 0, turn % 7 + 1)
            seen.append(registers(uc))
        return seen

    as_plain(script)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_count_is_what_was_executed(fidelity: str) -> None:
    uc = new_instance()
    load(uc, LOOP)
    with cpu.attach(uc, identity=True, fidelity=fidelity) as m:
        for count in (1, 3, 4, 57, 199, 0):
            before = m.instructions
            uc.emu_start(CODE, END, 0, count)
            assert m.instructions is not None and before is not None
            assert m.instructions - before == (count or 204)


@pytest.mark.parametrize(
    "until",
    [
        -1,
        0,
        HOLE,
        CODE,
        CODE + 5,
        CODE + 6,
        CODE + 8,
        END - 1,
        END - 2,
        (1 << 64) - 1,
        0xFFFF << 47,
    ],
)
def test_until(until: int) -> None:
    """Also where nothing is mapped, and inside an instruction, where no run ends."""

    def script(uc: Uc, start: Start) -> None:
        load(uc, LOOP)
        start(CODE, until, 0, 300)

    as_plain(script)


@pytest.mark.parametrize(
    ("source", "until"),
    [
        (f"mov eax, {HOLE:#x}; jmp rax", HOLE),
        (f"mov rax, {1 << 50:#x}; jmp rax", 1 << 50),
        ("push 0; ret", 0),
        ("inc rax; hlt; inc rax; nop", CODE + 8),
        ("nop; ud2", CODE + 9),
        ("nop; int3; nop", CODE + 9),
        ("xor ecx, ecx; div ecx; nop", CODE + 9),
        ("nop; syscall; nop", CODE + 3),
    ],
)
def test_other_ends(source: str, until: int) -> None:
    def script(uc: Uc, start: Start) -> None:
        load(uc, source)
        start(CODE, until)

    as_plain(script)


@pytest.mark.parametrize("perms", [None, UC_PROT_READ | UC_PROT_WRITE])
def test_a_begin_that_cannot_be_fetched_from(perms: int | None) -> None:
    def script(uc: Uc, start: Start) -> None:
        if perms is not None:
            uc.mem_map(HOLE, 0x1000, perms)
        start(HOLE, HOLE + 4)

    as_plain(script)


def test_the_scripts_exits() -> None:
    def script(uc: Uc, start: Start) -> Any:
        load(uc, LOOP)
        uc.ctl_exits_enabled(True)
        uc.ctl_set_exits([END - 1, END])
        start(CODE, 0)
        first = registers(uc)
        uc.ctl_exits_enabled(False)
        start(CODE, END)
        return first

    as_plain(script)


# Stops and exceptions in hooks.

BODY = f"""
    mov rsi, {DATA:#x}; mov ecx, 20
    t: mov rdx, [rsi]; mov [rsi], rdx; int 0x80; syscall; inc rax; add rbx, rax; dec ecx; jnz t
    nop; nop
"""
BODY_END = CODE + len(assemble(BODY))
KINDS: dict[str, int] = {
    "code": UC_HOOK_CODE,
    "block": UC_HOOK_BLOCK,
    "read": UC_HOOK_MEM_READ,
    "write": UC_HOOK_MEM_WRITE,
    "intr": UC_HOOK_INTR,
    "syscall": UC_HOOK_INSN,
}


def hooked(uc: Uc, kind: str, call: Callable[[], object]) -> None:
    """BODY, with this in hooks of the kind."""
    load(uc, BODY)
    for name, htype in KINDS.items():
        if name != kind and name not in ("intr", "syscall"):
            continue
        callback = (lambda *_: call()) if name == kind else (lambda *_: None)
        if name == "syscall":
            uc.hook_add(htype, callback, None, 1, 0, UC_X86_INS_SYSCALL)
        else:
            uc.hook_add(htype, callback)


@pytest.mark.parametrize("kind", KINDS)
def test_emu_stop_in_a_hook(kind: str) -> None:
    def script(uc: Uc, start: Start) -> Any:
        calls = []

        def call() -> None:
            calls.append(get(uc, "rip"))
            if len(calls) == 7:
                uc.emu_stop()

        hooked(uc, kind, call)
        start(CODE, BODY_END)
        stopped = registers(uc)
        start(get(uc, "rip"), BODY_END)
        return stopped, calls

    as_plain(script)


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, StopIteration])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_hook_raises_reaches_the_caller(kind: str, error: type[BaseException]) -> None:
    def script(uc: Uc, start: Start) -> Any:
        calls = []

        def call() -> None:
            calls.append(get(uc, "rip"))
            if len(calls) == 3:
                raise error("x")

        hooked(uc, kind, call)
        with pytest.raises(error):
            start(CODE, BODY_END)
        stopped = registers(uc)
        start(get(uc, "rip"), BODY_END)
        return stopped, calls

    as_plain(script)


@pytest.mark.parametrize(
    ("htype", "source"),
    [
        (UC_HOOK_MEM_READ_UNMAPPED, f"mov rax, {HOLE:#x}; mov rbx, [rax]; nop"),
        (UC_HOOK_MEM_WRITE_UNMAPPED, f"mov rax, {HOLE:#x}; mov [rax], rbx; nop"),
        (UC_HOOK_MEM_FETCH_UNMAPPED, f"mov rax, {HOLE:#x}; jmp rax; nop"),
        (UC_HOOK_INSN_INVALID, "nop; ud2; nop"),
    ],
)
def test_a_hook_of_an_error_that_raises(htype: int, source: str) -> None:
    """Unicorn's own error is told; the exception stands behind it."""

    def script(uc: Uc, start: Start) -> None:
        def hook(*_: Any) -> bool:
            raise KeyError("u")

        _begin, until = load(uc, source)
        uc.hook_add(htype, hook)
        start(CODE, until)

    as_plain(script)
    uc = new_instance()
    with cpu.attach(uc, identity=True), pytest.raises(UcError) as caught:
        script(uc, uc.emu_start)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("access", ["mov ebx, [rax]", "mov [rax], ebx"])
def test_a_device_that_raises(access: str) -> None:
    def script(uc: Uc, start: Start) -> None:
        def device(*_: Any) -> int:
            raise KeyError("io")

        uc.mmio_map(HOLE, 0x1000, device, None, device, None)
        _begin, until = load(uc, f"mov rax, {HOLE:#x}; {access}; nop; jmp x; x: nop")
        start(CODE, until)

    as_plain(script)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_what_a_handler_raises(fidelity: str, error: type[BaseException]) -> None:
    def handler(_fault: Fault) -> bool:
        raise error("h")

    uc = new_instance()
    begin, until = load(uc, f"mov rax, {VIRTUAL:#x}; mov rbx, [rax]; nop")
    with cpu.attach(uc, identity=True, fidelity=fidelity, handler=handler) as m:
        with pytest.raises(error, match="h"):
            m.emu_start(begin, until)
        assert get(uc, "rip") == begin + 10
        m.map(VIRTUAL, 0x1000)
        m.emu_start(get(uc, "rip"), until)
        assert m.instructions == 3


# Runs inside runs.

NEST = "inc rax; inc rax; nop; inc rbx; inc rbx; nop; inc rax"
NEST_SIZE = len(assemble(NEST))


def nest(uc: Uc, depth: int, at: int, inner: Callable[[int, int], None]) -> None:
    """Programs side by side: a hook inside each begins the next, once."""
    seen: set[int] = set()
    for level in range(depth + 1):
        load(uc, NEST, CODE + level * 0x1000)

    def hook(_uc: Uc, address: int, _size: int, _data: object) -> None:
        level = address - CODE >> 12
        if address & 0xFFF != at or level >= depth or level in seen:
            return
        seen.add(level)
        inner(level, CODE + (level + 1) * 0x1000)

    uc.hook_add(UC_HOOK_CODE, hook)


def test_nested_runs_end_as_in_plain() -> None:
    def script(uc: Uc, start: Start) -> Any:
        seen = []

        def inner(level: int, begin: int) -> None:
            (start if level & 1 else uc.emu_start)(begin, begin + NEST_SIZE)
            seen.append((level, registers(uc)))

        nest(uc, 5, 6, inner)
        start(CODE, CODE + NEST_SIZE)
        return seen

    as_plain(script)


@pytest.mark.skipif(
    os.environ.get("UCMMU_PRIVATE") == "0", reason="Unicorn keeps one count for all levels"
)
@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("door", DOORS)
def test_ten_levels_each_count_for_themselves(fidelity: str, door: str) -> None:
    uc = new_instance()
    seen = []
    m = cpu.attach(uc, identity=True, fidelity=fidelity)

    def inner(level: int, begin: int) -> None:
        (uc if level & 1 else m).emu_start(begin, begin + NEST_SIZE, 0, 3 + (level & 1))
        seen.append((level, get(uc, "rip") - begin))

    nest(uc, 10, 3, inner)
    through(door, uc, m)(CODE, CODE + NEST_SIZE, 0, 5)
    assert seen == [(level, 10 if level & 1 else 7) for level in range(9, -1, -1)]
    assert get(uc, "rip") == CODE + 13
    assert m.instructions == 5 + sum(3 + (level & 1) for level in range(10))


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("how", ["stop", "raise", "fault", "timeout"])
def test_how_an_inner_run_ends_is_its_own_matter(fidelity: str, how: str) -> None:
    """The outer goes on; what it catches is over (plain Unicorn stops, and raises it once more)."""
    uc = new_instance()
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    load(uc, "nop; t: jmp t", CODE + 0x100000)
    seen: list[str] = []

    def inner(level: int, begin: int) -> None:
        try:
            if how == "fault":
                uc.emu_start(HOLE, HOLE + 1)
            elif how == "timeout":
                uc.emu_start(CODE + 0x100000, 0, 2000)
            else:
                uc.emu_start(begin, begin + NEST_SIZE)
        except (KeyError, PageFault) as error:
            seen.append(type(error).__name__)
        if level == 2 and how == "stop":
            uc.emu_stop()
        if level == 2 and how == "raise":
            raise KeyError

    nest(uc, 3, 6, inner)
    m.emu_start(CODE, CODE + NEST_SIZE)
    assert get(uc, "rip") == CODE + NEST_SIZE
    assert (
        seen == {"stop": [], "raise": ["KeyError"], "fault": ["GuestPageFault"], "timeout": []}[how]
    )


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("kind", ["read", "write", "syscall", "handler"])
def test_a_run_inside_any_hook(fidelity: str, kind: str) -> None:
    """Code that never ran before, whose translation has Unicorn forget all its pages."""
    if kind == "write" and os.environ.get("UCMMU_PRIVATE") == "0":
        pytest.skip("crashes Unicorn, which loses the page that is stored to")
    uc = new_instance()
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    begin, until = load(
        uc,
        f"""mov rsi, {DATA:#x}; mov rdi, [rsi]; mov [rsi + 8], rdi; syscall
        mov r8, {VIRTUAL:#x}; mov r9, [r8]; inc rax; jmp x; x: nop""",
    )
    first, last = load(uc, "inc r15; nop", CODE + 0x40000)
    busy: list[int] = []

    def run(*_: Any) -> None:
        if busy:
            return
        busy.append(1)
        rip = get(uc, "rip")
        m.emu_start(first, last)
        put(uc, rip=rip)

    def handler(fault: Fault) -> bool:
        if kind == "handler":
            run()
        m.map(fault.address & -4096, 0x1000)
        return True

    m.handler = handler
    if kind in ("read", "write"):
        m.hook_add(KINDS[kind], run)
    uc.hook_add(
        UC_HOOK_INSN, run if kind == "syscall" else lambda *_: None, None, 1, 0, UC_X86_INS_SYSCALL
    )
    m.emu_start(begin, until)
    assert (get(uc, "rip"), get(uc, "rax"), get(uc, "r15")) == (until, 1, 1)
    assert m.instructions == 9 + 2


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_what_a_hook_before_raised_outlives_a_run_inside(fidelity: str) -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    begin, until = load(uc, "nop; nop; jmp x; x: nop")
    first, last = load(uc, "nop; nop", CODE + 0x40000)

    def fails(*_: Any) -> None:
        raise KeyError("first")

    uc.hook_add(UC_HOOK_CODE, fails, None, begin + 1, begin + 1)
    uc.hook_add(UC_HOOK_CODE, lambda *_: m.emu_start(first, last), None, begin + 1, begin + 1)
    with pytest.raises(KeyError, match="first"):
        m.emu_start(begin, until)


# Time.


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("door", DOORS)
def test_one_clock_over_many_faults(fidelity: str, door: str) -> None:
    """Each fault is mended, and the guest runs into the next one for ever."""
    timeouts = (10_000, 100_000, 1_000_000)  # a host that is busy needs more
    assert any(len(faults_within(us, fidelity, door)) > 1 for us in timeouts)


def faults_within(timeout: int, fidelity: str, door: str) -> list[int]:
    """Faults of a guest that has no others until its time is over."""
    uc = new_instance()
    begin, _ = load(uc, f"mov rax, {VIRTUAL:#x}; t: mov rbx, [rax]; jmp t")
    faults: list[int] = []

    def handler(fault: Fault) -> bool:
        faults.append(fault.address)
        m.map(fault.address & -4096, 0x1000)
        put(uc, rax=VIRTUAL + len(faults) % 512 * 0x1000)
        m.unmap(VIRTUAL + len(faults) % 512 * 0x1000, 0x1000)
        return True

    m = cpu.attach(uc, identity=True, fidelity=fidelity, handler=handler)
    through(door, uc, m)(begin, 0, timeout)
    return faults


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_handler_that_mends_nothing(fidelity: str) -> None:
    calls = []

    def handler(fault: Fault) -> bool:
        calls.append(fault.address)
        return True

    uc = new_instance()
    begin, until = load(uc, f"mov rax, {VIRTUAL:#x}; mov rbx, [rax]; nop")
    with (
        cpu.attach(uc, identity=True, fidelity=fidelity, handler=handler) as m,
        pytest.raises(PageFault),
    ):
        m.emu_start(begin, until)
    assert 1 <= len(calls) <= 2


def endless(fidelity: str) -> tuple[Uc, Attached]:
    """A guest that never ends, and that enters a hook now and then."""
    uc = new_instance()
    load(uc, "t: inc rax; jmp t")
    return uc, cpu.attach(uc, identity=True, fidelity=fidelity)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("door", DOORS)
def test_emu_stop_from_another_thread(fidelity: str, door: str) -> None:
    uc, m = endless(fidelity)

    over = threading.Event()

    def stop() -> None:
        while not over.wait(0.02):
            (uc if door == "uc" else m).emu_stop()

    thread = threading.Thread(target=stop)
    thread.start()
    through(door, uc, m)(CODE, 0, 20_000_000)
    over.set()
    thread.join()
    m.emu_start(CODE, 0, 0, 2)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_emu_stop_from_a_signal_handler(fidelity: str) -> None:
    """Python runs it where it runs: in a hook."""
    uc, m = endless(fidelity)
    uc.hook_add(UC_HOOK_BLOCK, lambda *_: None)
    before = signal.signal(signal.SIGALRM, lambda *_: uc.emu_stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        uc.emu_start(CODE, 0, 20_000_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert get(uc, "rax") > 0
    m.emu_start(CODE, 0, 0, 2)


def test_a_stop_before_a_run_is_forgotten() -> None:
    def script(uc: Uc, start: Start) -> None:
        load(uc, LOOP)
        uc.emu_stop()
        start(CODE, END)

    as_plain(script)


def grown(runs: int, attached: bool) -> int:
    """Bytes by which the process grew during so many short runs with ends that alternate. Unicorn
    translates anew for each, into a buffer that it fills before it begins again.
    """

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    uc = new_instance()
    load(uc, LOOP)
    if attached:
        cpu.attach(uc, identity=True)
    for turn in range(1000):
        uc.emu_start(CODE, CODE + (5, 8, 11, 13)[turn & 3])
    before = resident()
    for turn in range(runs):
        uc.emu_start(CODE, CODE + (5, 8, 11, 13)[turn & 3])
    return resident() - before


def test_short_runs_do_not_grow_more_than_in_plain() -> None:
    assert grown(20_000, True) < grown(20_000, False) * 3 // 2 + (4 << 20)


@pytest.mark.stress
def test_a_million_short_runs_do_not_grow_more_than_in_plain() -> None:
    assert grown(1_000_000, True) < grown(1_000_000, False) * 3 // 2 + (4 << 20)
