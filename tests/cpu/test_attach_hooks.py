# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts do inside hooks: as without an MMU, and never a crash. A process for each case."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
from collections.abc import Callable
from typing import Any

import pytest
from unicorn import (
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_INSN,
    UC_HOOK_INTR,
    UC_HOOK_MEM_FETCH_UNMAPPED,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_READ_UNMAPPED,
    UC_HOOK_MEM_WRITE,
    UC_HOOK_MEM_WRITE_UNMAPPED,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_READ,
    Uc,
    UcError,
)
from unicorn.x86_const import UC_X86_INS_SYSCALL

import cpu
from cpu.attached import Attached
from mmu.errors import MmuError
from tests.cpu.assemble import assemble
from tests.cpu.attaching import (
    CODE,
    DATA,
    DOORS,
    FIDELITIES,
    HOLE,
    SIZE,
    VIRTUAL,
    get,
    new_instance,
    one_line,
    put,
    through,
)

DEVICE = 0x3000000
EXTRA = 0x4000000
LATE = 0x6000000
PROGRAM = assemble(
    f"""
    mov r15d, 3
top:
    mov rbx, {DATA:#x}; mov [rbx], rax; mov rcx, [rbx + 8]; inc qword ptr [rbx + 16]
    call function
    int 0x80
    syscall
    mov rsi, {HOLE:#x}; mov rdx, [rsi]; add rdx, [rsi + 8]
    mov rdi, {HOLE + 0x1000:#x}; mov [rdi], rdx
    mov rbp, {DEVICE:#x}; mov [rbp], rdx; mov r8, [rbp + 8]; lea r9, [r8 + rcx]
    mov r10, {EXTRA:#x}; mov r11, [r10]; add qword ptr [r10 + 8], 3
    mov r12, {HOLE + 0x3000:#x}; call r12
    add rax, r9; dec r15d; jnz top
    nop; nop; jmp end
function:
    inc r14; ret
end:
    nop
    """
)
END = CODE + len(PROGRAM)
NAMES = ("rip", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11")
NAMES += ("r12", "r14", "r15")
HOOKS = ("code", "block", "read", "write", "intr", "syscall", "no read", "no write", "no fetch")
HOOKS += ("device read", "device write")
Action = Callable[["Case"], object]


class Case:
    """PROGRAM, with an action in the hook of one kind when it is called for the n-th time."""

    def __init__(self, hook: str, nth: int, action: Action) -> None:
        self.hook, self.nth, self.action = hook, nth, action
        self.calls = 0
        self.log: list[Any] = []
        self.handle = 0
        self.uc = new_instance()
        self.uc.mem_write(CODE, PROGRAM)
        self.uc.mem_map(EXTRA, 0x4000)
        self._attached: Attached | None = None

    @property
    def m(self) -> Attached:
        """The MMU; there is one when it is asked for."""
        assert self._attached is not None
        return self._attached

    def _fire(self, kind: str) -> None:
        self.calls += kind == self.hook
        if kind != self.hook or self.calls != self.nth:
            return
        try:
            self.log.append(self.action(self))
        except UcError as error:
            self.log.append(error.errno)
        except MmuError as error:
            self.log.append(one_line(error))

    def _mend(self, kind: str, access: int, address: int, size: int) -> bool:
        self.log.append((kind, access, address, size))
        self.uc.mem_map(address & -0x1000, 0x1000)
        if kind == "no fetch":
            self.uc.mem_write(address & -0x1000, b"\xc3" * 8)
        self._fire(kind)
        return True

    def _hooks(self, target: Uc | Attached) -> None:
        uc, fire = self.uc, self._fire

        def read(_uc: Uc, _offset: int, _size: int, _data: object) -> int:
            fire("device read")
            return 7

        uc.mmio_map(DEVICE, 0x1000, read, None, lambda *_: fire("device write"), None)
        kinds = {"code": UC_HOOK_CODE, "block": UC_HOOK_BLOCK}
        kinds |= {"read": UC_HOOK_MEM_READ, "write": UC_HOOK_MEM_WRITE}
        if self.hook in kinds:
            self.handle = target.hook_add(kinds[self.hook], lambda *_: fire(self.hook))
        uc.hook_add(UC_HOOK_INTR, lambda *_: fire("intr"))
        uc.hook_add(UC_HOOK_INSN, lambda *_: fire("syscall"), None, 1, 0, UC_X86_INS_SYSCALL)
        for kind, htype in (
            ("no read", UC_HOOK_MEM_READ_UNMAPPED),
            ("no write", UC_HOOK_MEM_WRITE_UNMAPPED),
            ("no fetch", UC_HOOK_MEM_FETCH_UNMAPPED),
        ):
            uc.hook_add(
                htype,
                lambda _uc, access, address, size, _value, _data, kind=kind: self._mend(
                    kind, access, address, size
                ),
            )

    def run(self, fidelity: str | None, door: str) -> list[Any]:
        """What happened, and that the instance still works."""
        uc = self.uc
        if fidelity is not None:
            self._attached = cpu.attach(uc, identity=True, fidelity=fidelity)
        self._hooks(self.m if door == "m" else uc)
        start = uc.emu_start if fidelity is None else through(door, uc, self.m)
        for _ in range(2):
            try:
                start(CODE, END, 0, 400)
            except UcError as error:
                self.log.append(error.errno)
            except ZeroDivisionError as error:
                self.log.append(repr(error))
            self.log.append([get(uc, name) for name in NAMES])
        self.log.append(sorted(region for region in uc.mem_regions() if region[0] < 1 << 32))
        uc.mem_map(LATE + 0x100000, 0x1000)
        uc.mem_write(LATE + 0x100000, b"\x90" * 8)
        start(LATE + 0x100000, LATE + 0x100002)
        self.log.append(get(uc, "rip"))
        if self._attached is not None:
            self._attached.detach()
        return self.log


@pytest.fixture(scope="module", autouse=True)
def _attached_once() -> None:
    """What the first attach() finds out about Unicorn is found out here, not in each fork."""
    cpu.attach(new_instance(), identity=True).detach()


def apart(case: Case, fidelity: str | None = None, door: str = "uc") -> list[Any] | None:
    """Run it in a fork; None if that crashes, or hangs."""
    inside, outside = os.pipe()
    pid = os.fork()
    if not pid:
        faulthandler.disable()
        signal.setitimer(signal.ITIMER_PROF, 20)
        try:
            result = case.run(fidelity, door)
        except BaseException as error:
            result = [repr(error)]
        os.write(outside, pickle.dumps(result))
        os._exit(0)
    os.close(outside)
    with os.fdopen(inside, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    return None if status else list(pickle.loads(answer))


def protect(address: int, perms: int) -> Action:
    return lambda case: case.uc.mem_protect(address, 0x1000, perms)


def unmap(address: int) -> Action:
    return lambda case: case.uc.mem_unmap(address, 0x1000)


def jump(rip: int) -> Action:
    return lambda case: put(case.uc, rip=rip)


def fails(_case: Case) -> None:
    raise ZeroDivisionError


def context(case: Case) -> None:
    case.uc.context_restore(case.uc.context_save())


AS_PLAIN: dict[str, Action] = {
    "unmap what is free": unmap(CODE + 0x1F0000),
    "unmap what is used": unmap(EXTRA),
    "unmap nothing": unmap(LATE),
    "protect from stores": protect(EXTRA, UC_PROT_READ),
    "protect from all": protect(EXTRA, 0),
    "protect the code": protect(CODE, UC_PROT_READ | UC_PROT_EXEC),
    "protect the code from nothing": protect(CODE, UC_PROT_ALL),
    "read": lambda case: bytes(case.uc.mem_read(EXTRA, 8)),
    "write data": lambda case: case.uc.mem_write(EXTRA, b"\5\0\0\0"),
    "write the code": lambda case: case.uc.mem_write(CODE, PROGRAM),
    "write registers": lambda case: case.uc.reg_write_batch([(111, 77)]),
    "jump to the loop": jump(CODE + 6),
    "jump to the end": jump(END - 1),
    "jump to where it is": lambda case: put(case.uc, rip=get(case.uc, "rip")),
    "hook code": lambda case: bool(case.uc.hook_add(UC_HOOK_CODE, lambda *_: None)),
    "hook loads": lambda case: bool(case.uc.hook_add(UC_HOOK_MEM_READ, lambda *_: None)),
    "hook and unhook": lambda case: case.uc.hook_del(
        case.uc.hook_add(UC_HOOK_BLOCK, lambda *_: None)
    ),
    "unhook itself": lambda case: case.handle and case.uc.hook_del(case.handle),
    "save and restore": context,
    "stop": lambda case: case.uc.emu_stop(),
    "drop code": lambda case: case.uc.ctl_remove_cache(CODE, CODE + 0x100),
    "drop code of data": lambda case: case.uc.ctl_remove_cache(DATA, DATA + 0x1000),
    "raise": fails,
}
UNSAFE_IN_AN_ACCESS = ("unmap", "protect")
"""What has Unicorn flush its soft TLB: in the hook of an access, to whose entry it keeps a pointer,
plain Unicorn crashes too: always in a store, else if it sizes that TLB anew, every 100 ms or so.
"""


def ways(number: int, stress: bool) -> tuple[str, ...]:
    """All fidelities, or one, in turn."""
    return FIDELITIES if stress else (FIDELITIES[number % 3],)


EXTENT = [pytest.param(False, id="in turn"), pytest.param(True, id="all", marks=pytest.mark.stress)]


@pytest.mark.parametrize("stress", EXTENT)
@pytest.mark.parametrize("hook", HOOKS)
def test_what_is_safe_in_plain_does_the_same_here(hook: str, stress: bool) -> None:
    for number, (name, action) in enumerate(AS_PLAIN.items(), HOOKS.index(hook)):
        if hook.endswith(("read", "write")) and name.startswith(UNSAFE_IN_AN_ACCESS):
            continue
        nth = (1, 2, 4)[number % 3]
        plain = apart(Case(hook, nth, action))
        for fidelity in ways(number // 3, stress) if plain is not None else ():
            assert apart(Case(hook, nth, action), fidelity) == plain, (name, nth, fidelity)


OURS: dict[str, Action] = {
    "map": lambda case: case.m.map(VIRTUAL, 0x2000),
    "map again": lambda case: case.m.map(CODE, 0x2000, pa=CODE),
    "unmap": lambda case: case.m.unmap(EXTRA, 0x1000),
    "unmap the code": lambda case: case.m.unmap(CODE, 0x1000),
    "unmap what is stored to": lambda case: case.m.unmap(DATA, 0x1000),
    "unmap everything": lambda case: case.m.unmap(CODE, SIZE),
    "protect the code": lambda case: case.m.protect(CODE, 0x1000, UC_PROT_READ),
    "protect what is stored to": lambda case: case.m.protect(DATA, 0x1000, UC_PROT_READ),
    "write the code": lambda case: case.m.write(CODE, PROGRAM),
    "read": lambda case: case.m.read(EXTRA, 8),
    "look": lambda case: bool((case.m.walk(CODE), case.m.translate(CODE))),
    "sync": lambda case: case.m.sync(),
    "hook loads": lambda case: bool(case.m.hook_add(UC_HOOK_MEM_READ, lambda *_: None)),
    "hook stores": lambda case: bool(case.m.hook_add(UC_HOOK_MEM_WRITE, lambda *_: None)),
    "hook code": lambda case: bool(case.m.hook_add(UC_HOOK_CODE, lambda *_: None)),
    "detach": lambda case: case.m.detach(),
    "set_fidelity": lambda case: case.m.set_fidelity("exact"),
    "stop": lambda case: case.m.stop(),
    "attach": lambda case: bool(cpu.attach(case.uc)),
}
REFUSED = {"detach": "inside a hook", "set_fidelity": "inside a hook", "attach": "already"}


@pytest.mark.parametrize("stress", EXTENT)
@pytest.mark.parametrize("hook", HOOKS)
def test_our_own_methods_inside_hooks(hook: str, stress: bool) -> None:
    """They work, or say in one line that they do not."""
    for number, (name, action) in enumerate(OURS.items(), HOOKS.index(hook)):
        for fidelity in ways(number, stress):
            nth = 1 if name in REFUSED else 1 + number // 2 % 2
            log = apart(Case(hook, nth, action), fidelity, DOORS[number // 3 % 2])
            assert log is not None, (name, fidelity)
            if name in REFUSED:
                lines = [line for line in log if isinstance(line, str)]
                assert any(REFUSED[name] in line for line in lines), (name, fidelity)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("hook", ["read", "write", "no read", "no write"])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_jump_from_a_memory_hook_is_made_once(hook: str, mapped: bool, fidelity: str) -> None:
    """Also where Unicorn asks for the page again behind the hook, and puts RIP back for that."""
    if mapped and hook.startswith("no"):
        pytest.skip("nothing is missing then")
    access = "mov rcx, [rdi]" if hook.endswith("read") else "mov [rdi], rcx"
    source = f"mov rdi, {HOLE:#x}; {access}; inc rax; inc rax; jmp x; x: inc rbx; nop"
    code = assemble(source)

    def run(attach: bool) -> tuple[list[str], int, int, int]:
        uc, calls = new_instance(), []
        uc.mem_write(CODE, code)
        if attach:
            cpu.attach(uc, identity=True, fidelity=fidelity)
        if mapped:
            uc.mem_map(HOLE, 0x1000)

        def note(kind: str) -> None:
            calls.append(f"{kind} at {get(uc, 'rip'):#x}")
            if kind == hook:
                put(uc, rip=CODE + len(code) - 1)

        def mend(kind: str) -> bool:
            uc.mem_map(HOLE, 0x1000)
            note(kind)
            return True

        uc.hook_add(UC_HOOK_MEM_READ, lambda *_: note("read"))
        uc.hook_add(UC_HOOK_MEM_WRITE, lambda *_: note("write"))
        uc.hook_add(UC_HOOK_MEM_READ_UNMAPPED, lambda *_: mend("no read"))
        uc.hook_add(UC_HOOK_MEM_WRITE_UNMAPPED, lambda *_: mend("no write"))
        uc.emu_start(CODE, CODE + len(code))
        return calls, get(uc, "rip"), get(uc, "rax"), get(uc, "rbx")

    assert run(True) == run(False)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_hook_of_a_store_may_have_pages_forgotten(fidelity: str) -> None:
    """Put on by m.hook_add(); plain Unicorn, with paging on, crashes."""
    if os.environ.get("UCMMU_PRIVATE") == "0":
        pytest.skip("wants a private part")
    log = apart(Case("write", 1, lambda case: put(case.uc, cr3=get(case.uc, "cr3"))), fidelity, "m")
    assert log is not None
    assert log[-1] == LATE + 0x100002
