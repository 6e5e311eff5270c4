# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays a script on a Unicorn instance, plain or attached, and logs all that a script can see."""

from __future__ import annotations

import ctypes
import mmap
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import unicorn
from unicorn import (
    UC_ARCH_X86,
    UC_CTL_IO_WRITE,
    UC_CTL_TLB_FLUSH,
    UC_ERR_READ_PROT,
    UC_ERR_WRITE_PROT,
    UC_HOOK_INSN,
    UC_HOOK_MEM_READ_AFTER,
    UC_MEM_FETCH_PROT,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_READ_PROT,
    UC_MEM_WRITE,
    UC_MEM_WRITE_PROT,
    UC_MODE_64,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
    UcError,
    x86_const,
)

import cpu
from mmu.errors import PageFault
from tests.oracles.attach import differences
from tests.oracles.attach.differences import ENDS_HERE, FLAGS
from tests.oracles.attach.script import GENERAL, HIGH, PAGE, Op, Script

LogEntry = tuple[Any, ...]
Log = list[LogEntry]
TOO_LONG = 4000
"""So many entries in a log stop every further run: loops through hooks end."""


@dataclass(frozen=True)
class How:
    """Plain, without a fidelity; or attached."""

    fidelity: str | None = None
    engine: str = "c"

    def __str__(self) -> str:
        return "plain" if self.fidelity is None else f"{self.fidelity}, engine {self.engine}"


class HookError(Exception):
    """Raised by a script's hook."""


def _register(name: str) -> int:
    return int(getattr(x86_const, f"UC_X86_REG_{name.upper()}"))


_SEEN = (
    "eflags",
    *GENERAL,
    "rip",
    *(f"xmm{i}" for i in range(8)),
    "cs",
    "ss",
    "ds",
    "fs_base",
    "gs_base",
    "mxcsr",
    "fpcw",
    "fpsw",
    "fptag",
)
_SEEN_IDS = [_register(name) for name in _SEEN]
_GLANCE_IDS = [_register(name) for name in ("rip", "rsp", "rax", "rcx", "rdi", "rsi")]
_INSN = {
    "syscall": x86_const.UC_X86_INS_SYSCALL,
    "cpuid": x86_const.UC_X86_INS_CPUID,
    "in": x86_const.UC_X86_INS_IN,
    "out": x86_const.UC_X86_INS_OUT,
}


_NO_CHANGES = (UC_MEM_READ_PROT, UC_MEM_FETCH_PROT)
"""Plain Unicorn crashes where hooks of these change regions or W and return True."""
_CHANGES = ("map", "map_here", "map_ptr", "mmio", "unmap", "protect")
_INC_R8_HLT = b"\x49\xff\xc0\xf4"


def _hook_type(kind: str) -> int:
    if kind.startswith("insn:"):
        return UC_HOOK_INSN
    if kind == "mem_read_after":
        return int(UC_HOOK_MEM_READ_AFTER)
    return sum(int(getattr(unicorn, f"UC_HOOK_{name.upper()}")) for name in kind.split("|"))


class Player:
    """One instance, and the log of what a script does to it."""

    def __init__(self, script: Script, how: How) -> None:
        self.script = script
        self.how = how
        self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self.m: Any = None
        self.log: Log = []
        self.over = False
        self.failure: int | None = None
        self.counted = False
        self.resumed = False
        self.stopped = False
        self.stopped_by_insn = False
        self.in_insn = False
        self.where = ""
        self.hooks: dict[int, tuple[int, str]] = {}
        self.calls: dict[int, int] = {}
        self.saved: dict[int, Any] = {}
        self.buffers: dict[int, mmap.mmap] = {}
        self.mmio: list[tuple[int, int]] = []
        self.access = self.address = 0
        self.depth = 0
        self.attached = False

    def play(self) -> Log:
        """Do all operations, and log the end of all."""
        for index, op in enumerate(self.script["ops"]):
            self.where = f"{index}"
            self.do(op)
            if self.over:
                return self.log
            if op[0] == "run":
                self.settle()
        self.where = "end"
        self.note_memory()
        return self.log

    def close(self) -> None:
        """Let the instance go, attached or not."""
        self.m = None
        del self.uc

    def settle(self) -> None:
        """Log the registers after a run, and leave what plain Unicorn may have wrong alike."""
        seen = list(self.registers())
        name = "registers"
        if self.failure is not None or self.stopped:
            name = differences.CUT_SHORT
            flags = seen[FLAGS] & ~differences.ARITHMETIC
            self.uc.reg_write(x86_const.UC_X86_REG_EFLAGS, flags)
            if self.counted:
                seen[FLAGS] = flags
        self.stopped = self.stopped_by_insn = False
        if self.failure in (UC_ERR_READ_PROT, UC_ERR_WRITE_PROT):
            self.op_flush_tlb()
        self.note(name, *seen)

    def note(self, *entry: Any) -> None:
        if not self.over:
            self.log.append((self.where, *entry))

    def end_here(self, difference: str) -> None:
        """A difference that must be: what plain Unicorn does from here on is its own affair."""
        if self.how.fidelity is None:
            self.end(difference)

    def end(self, difference: str) -> None:
        """The log ends."""
        self.note(ENDS_HERE, difference)
        self.over = True

    def do(self, op: Op) -> Any:
        """One operation; its result or its exception is logged."""
        self.failure = None
        try:
            result = getattr(self, f"op_{op[0]}")(*op[1:])
        except UcError as error:
            if op[0] in ("run", "nest") and error.errno in differences.FETCH_ERRORS:
                self.look_behind_fetch(None)
            if op[0] in ("run", "nest") and self.resumed:
                self.end_here("stale_rip")
            if differences.is_cut_to_52_bits(error):
                self.end("cut_to_52_bits")
            if isinstance(error, PageFault) and error.errno == UC_ERR_READ_PROT:
                self.look_before(error.address)
            self.note(op[0], "UcError", error.errno)
            if op[0] == "nest" and error.errno in (UC_ERR_READ_PROT, UC_ERR_WRITE_PROT):
                self.op_flush_tlb()  # or reads_again would be met
            self.failure = error.errno
        except HookError as error:
            self.note(op[0], "HookError", *error.args)
            if op[0] == "nest":
                raise
        else:
            self.note(op[0], result)

    # What is seen.

    def registers(self) -> tuple[Any, ...]:
        return tuple(self.uc.reg_read_batch(_SEEN_IDS))

    def regions(self) -> list[tuple[int, int, int]]:
        ours = self.m.memory.base if self.attached and self.m is not None else None
        return [(b, e, p) for b, e, p in sorted(self.uc.mem_regions()) if b != ours]

    def note_memory(self) -> None:
        for begin, end, perms in self.regions():
            if any(b <= begin < e for b, e in self.mmio):
                self.note("region", begin, end, perms)
                continue
            try:
                data = bytes(self.uc.mem_read(begin, end + 1 - begin))
            except UcError as error:
                self.note("region", begin, end, perms, error.errno)
                continue
            sums = [zlib.crc32(data[at : at + PAGE]) for at in range(0, len(data), PAGE)]
            self.note("region", begin, end, perms, *sums)
        for ident, buffer in self.buffers.items():
            self.note("buffer", ident, zlib.crc32(buffer[:]))

    # Memory.

    def op_map(self, begin: int, size: int, perms: int) -> None:
        self.uc.mem_map(begin, size, perms)

    def op_map_ptr(self, begin: int, size: int, perms: int, ident: int) -> None:
        buffer = self.buffers.setdefault(ident, mmap.mmap(-1, 16 * PAGE))
        at = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        self.uc.mem_map_ptr(begin, size, perms, at)

    def op_mmio(self, begin: int, size: int, value: int) -> None:
        def read(_uc: Uc, offset: int, width: int, _data: Any) -> int:
            self.note("mmio read", offset, width)
            return (value + offset) & (1 << 8 * width) - 1

        def write(_uc: Uc, offset: int, width: int, stored: int, _data: Any) -> None:
            self.note("mmio write", offset, width, stored)

        self.mmio.append((begin, begin + size))
        self.uc.mmio_map(begin, size, read, None, write, None)

    def op_unmap(self, begin: int, size: int) -> None:
        self.uc.mem_unmap(begin, size)

    def op_protect(self, begin: int, size: int, perms: int) -> None:
        self.uc.mem_protect(begin, size, perms)
        self.op_flush_tlb()  # plain Unicorn forgets it (stale_rights)

    def op_write(self, at: int, data: str) -> None:
        self.uc.mem_write(at, bytes.fromhex(data))

    def op_code(self, at: int, pieces: list[str]) -> None:
        self.uc.mem_write(at, bytes.fromhex("".join(pieces)))

    def op_fill(self, at: int, size: int, seed: int) -> None:
        self.uc.mem_write(at, Random(seed).randbytes(size))

    def op_read(self, at: int, size: int) -> str:
        return bytes(self.uc.mem_read(at, size)).hex()

    def op_regions(self) -> list[tuple[int, int, int]]:
        return self.regions()

    def op_map_here(self, perms: int, pages: int) -> str | None:
        if not (self.address < 1 << 31 or 0 <= self.address - HIGH < 64 * PAGE):
            return "left out"  # what plain Unicorn has left of a longer address
        self.uc.mem_map(self.address & -PAGE, pages * PAGE, perms)
        if self.access == UC_MEM_FETCH_UNMAPPED:  # not zeros: blocks have an end
            code = _INC_R8_HLT * (pages * PAGE // len(_INC_R8_HLT))
            self.uc.mem_write(self.address & -PAGE, code)
        return None

    def op_protect_here(self, perms: int) -> None:
        """Let the access pass; a read leaves the right to write as it is, for the sake of plain
        Unicorn, which crashes (differences.py).
        """
        page = self.address & -PAGE
        if self.access in _NO_CHANGES:
            begin, end, old = next(r for r in self.uc.mem_regions() if r[0] <= page <= r[1])
            self.uc.mem_protect(begin, end + 1 - begin, old & UC_PROT_WRITE | self.needed(0))
            return
        self.uc.mem_protect(page, PAGE, self.needed(perms))

    def needed(self, perms: int) -> int:
        """Permissions with which the access under way may be made."""
        if self.access == UC_MEM_FETCH_PROT:
            return UC_PROT_READ | UC_PROT_EXEC
        if self.access == UC_MEM_WRITE_PROT:
            executable = self.may(self.address, UC_PROT_EXEC)  # or stale_rights would be met
            if executable:
                self.end_here("drops_other_code")  # if the store is to the block under way
            return UC_PROT_READ | UC_PROT_WRITE | UC_PROT_EXEC * executable
        return perms | UC_PROT_READ

    # Registers and contexts.

    def op_set(self, name: str, value: int) -> None:
        self.uc.reg_write(_register(name), value)

    def op_get(self, name: str) -> Any:
        return self.uc.reg_read(_register(name))

    def op_save(self, ident: int) -> None:
        self.saved[ident] = self.attached, self.uc.context_save()

    def op_restore(self, ident: int) -> None:
        """Restore a context, but none of while it was attached when it is so no more."""
        attached, context = self.saved.get(ident, (False, None))
        if context is not None and attached <= self.attached:
            self.uc.context_restore(context)

    # Caches and exits.

    def op_remove_cache(self, begin: int, end: int) -> None:
        self.uc.ctl_remove_cache(begin, end)

    def op_flush_tb(self) -> None:
        self.uc.ctl_flush_tb()

    def op_flush_tlb(self) -> None:
        self.uc.ctl(UC_CTL_TLB_FLUSH, UC_CTL_IO_WRITE)

    def op_exits_on(self) -> None:
        self.uc.ctl_exits_enabled(True)

    def op_exits_off(self) -> None:
        self.uc.ctl_exits_enabled(False)

    def op_set_exits(self, exits: list[int]) -> None:
        self.uc.ctl_set_exits(exits)

    # Runs.

    def door(self, name: str) -> Any:
        return self.m if name == "m" and self.m is not None else self.uc

    def op_run(self, begin: int, until: int, timeout: int, count: int, door: str) -> None:
        self.resumed = False
        if count:
            self.counted = True
        if len(self.log) < TOO_LONG:
            self.door(door).emu_start(begin, until, timeout, count)

    def op_nest(self, begin: int, until: int, door: str) -> None:
        """A run inside a hook, which leaves the registers as they were."""
        if self.depth == 2 or self.stopped or len(self.log) >= TOO_LONG:
            return
        context = self.uc.context_save()
        self.depth += 1
        try:
            self.door(door).emu_start(begin, until)
        finally:
            self.depth -= 1
            seen = list(self.registers())
            seen[FLAGS] &= ~differences.ARITHMETIC
            self.note("nested", *seen)
            self.uc.context_restore(context)
            if self.stopped:
                self.end_here("inner_stop")
            self.stopped = self.stopped_by_insn = False

    def op_stop(self) -> None:
        self.stopped = True
        self.stopped_by_insn |= self.in_insn
        self.uc.emu_stop()

    def op_raise(self, number: int) -> None:
        raise HookError(number)

    # Attaching.

    def op_attach(self) -> None:
        self.attached = True
        if self.how.fidelity is not None and self.m is None:
            self.m = cpu.attach(
                self.uc, identity=True, fidelity=self.how.fidelity, engine=self.how.engine
            )

    def op_detach(self) -> None:
        """On plain Unicorn too this takes the hooks out that were put on through the attachment."""
        if not self.attached:
            return
        ours = [ident for ident, (_, door) in self.hooks.items() if door == "m"]
        for ident in ours:
            handle, _ = self.hooks.pop(ident)
            if self.m is None:
                self.uc.hook_del(handle)
        if self.m is not None:
            self.m.detach()
            self.m = None
        self.attached = False

    # Hooks.

    def op_hook(self, hook: dict[str, Any]) -> None:
        door = "m" if hook["door"] == "m" and self.attached else "uc"
        kind = hook["kind"]
        if kind == "code":
            self.counted = True
        extra = (_INSN[kind[5:]],) if kind.startswith("insn:") else ()
        handle = self.door(door).hook_add(
            _hook_type(kind), self.callback(hook), None, hook["begin"], hook["end"], *extra
        )
        self.hooks[hook["id"]] = handle, door

    def op_unhook(self, ident: int) -> None:
        if ident in self.hooks:
            handle, door = self.hooks.pop(ident)
            self.door(door).hook_del(handle)

    def callback(self, hook: dict[str, Any]) -> Callable[..., Any]:
        kind = hook["kind"]
        if kind == "insn:in":
            return lambda _uc, port, size, _data: self.called(hook, port, size) * 0x11
        if kind == "insn:cpuid":
            return lambda _uc, _data: int(self.called(hook) > 1)
        if "unmapped" in kind or "prot" in kind or kind == "insn_invalid":
            return lambda _uc, *rest: self.answer(hook, *rest[:-1])
        return lambda _uc, *rest: self.without_result(hook, *rest[:-1])

    def without_result(self, hook: dict[str, Any], *about: int) -> None:
        self.called(hook, *about)

    def answer(self, hook: dict[str, Any], *about: int) -> bool:
        number = self.called(hook, *about)
        if hook["kind"] == "insn_invalid":
            self.resumed = bool(hook["returns"][number % 3]) and number < 2 and self.skip()
            return self.resumed
        result = bool(hook["returns"][number % 3])
        prot = about and about[0] in (UC_MEM_READ_PROT, UC_MEM_WRITE_PROT)
        if prot and result and not self.may(about[1], UC_PROT_READ):
            self.end_here("reads_again")
        fetch = about and about[0] in (UC_MEM_FETCH_UNMAPPED, UC_MEM_FETCH_PROT)
        if fetch and result and not self.may(about[1], UC_PROT_EXEC):
            self.end_here("lets_fetches_pass")
        return result

    def skip(self) -> bool:
        """Go on behind an invalid instruction of two bytes."""
        self.uc.reg_write(_register("rip"), self.uc.reg_read(_register("rip")) + 2)
        return True

    def look_behind_fetch(self, address: int | None) -> None:
        if differences.reaches_ahead(self.uc, address):
            self.end_here("reaches_ahead")

    def look_before(self, address: int) -> None:
        """Plain Unicorn may have read from there, in a read that began on the page before."""
        if self.may((address & -PAGE) - 1, UC_PROT_READ):
            self.end("reads_again")

    def called(self, hook: dict[str, Any], *about: int) -> int:
        """Log a call, do what is to be done at it, and return its number."""
        ident = hook["id"]
        number = self.calls.get(ident, 0)
        self.calls[ident] = number + 1
        if self.over:
            self.uc.emu_stop()
            return number
        if len(about) == 4 and about[0] in (UC_MEM_FETCH_UNMAPPED, UC_MEM_FETCH_PROT):
            self.look_behind_fetch(about[1])
        if self.resumed and hook["kind"].startswith("mem_"):
            self.end_here("stale_rip")
        if self.stopped_by_insn:
            self.end_here("calls_after_stop")
        glance = self.uc.reg_read_batch(_GLANCE_IDS) if hook["look"] else ()
        self.note(f"hook {ident} {hook['kind']}", *about, *glance)
        outer = self.access, self.address
        self.in_insn = hook["kind"].startswith("insn:")
        if len(about) == 4:
            self.access, self.address = about[:2]
        try:
            for when, op in hook["acts"]:
                if when == number:
                    self.act(op)
        finally:
            self.access, self.address = outer
            self.in_insn = False
        if len(self.log) >= TOO_LONG or self.over:
            self.stopped = True
            self.uc.emu_stop()
        return number

    def crashes_plain(self, op: Op) -> bool:
        """Whether plain Unicorn crashes at this in the hook under way (unless it has luck)."""
        if self.access in _NO_CHANGES:
            return op[0] in _CHANGES
        if self.access == UC_MEM_WRITE:
            return op[0] in _CHANGES or (op[0] == "write" and not self.may(op[1], UC_PROT_WRITE))
        return False

    def may(self, at: int, perms: int) -> bool:
        return any(b <= at <= e and p & perms for b, e, p in self.uc.mem_regions())

    def act(self, op: Op) -> None:
        """An operation in a hook; its failure is logged, what it means to raise is raised."""
        if op[0] == "raise":
            self.stopped = True
            self.stopped_by_insn |= self.in_insn
            raise HookError(op[1])
        if self.crashes_plain(op):
            self.note("left out", op[0])
            return
        self.do(op)


def play(script: Script, how: How) -> Log:
    """The log of one script."""
    player = Player(script, how)
    try:
        return player.play()
    finally:
        player.close()
