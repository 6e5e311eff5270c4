# SPDX-License-Identifier: GPL-2.0-or-later
"""This MMU for a Unicorn instance that somebody else made: ``cpu.attach(uc)``.

The regions the instance has become guest-physical memory, each at its own address. RAM of ours,
which holds the page tables, comes above them. From then on every address the guest uses is virtual.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

import unicorn
from unicorn import (
    UC_ARCH_X86,
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_READ_AFTER,
    UC_HOOK_MEM_WRITE,
    UC_MODE_64,
    UC_PROT_ALL,
    UC_QUERY_ARCH,
    UC_QUERY_MODE,
    Uc,
    UcError,
)
from unicorn.x86_const import UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4, UC_X86_REG_RIP

from cpu._engine import lib
from cpu.linkage import settle_exits
from cpu.page_tables import LARGE_PAGE, PageTables, rights
from cpu.vcpu import UC_TLB_VIRTUAL, EngineError, Fidelity, Processor, foreign_address
from mmu.errors import GeneralProtection, MmuError, PageFault, StackFault, TripleFault
from mmu.events import EventRing
from mmu.memory import Memory
from mmu.units import PAGE_SIZE, U64
from mmu.x86 import Access, Geometry, Mmu, Outcome, TlbEntry, Translation, Walk
from mmu.x86.check import StaleUse
from mmu.x86.entries import X86_US
from mmu.x86.registers import CR0_PG, CR0_WP, CR4_PAE, CR4_PGE

Fault = PageFault | GeneralProtection | StackFault
FaultHandler = Callable[[Fault], bool]
MemoryHook = Callable[[Uc, int, int, int, int, Any], object]

UC_TLB_CPU: Final = 0
UC_HOOK_MEM_ACCESS: Final = UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE | UC_HOOK_MEM_READ_AFTER
_FAULT_HOOKS: Final = 0x3F0
"""UC_HOOK_MEM_*_UNMAPPED and _PROT: with paging on, those are page faults."""
GIB: Final = 1 << 30
DEFAULT_RAM: Final = 64 << 20
_NO_ADDRESS: Final = U64


class Attached(Processor):
    """A Unicorn instance of yours, translating through this MMU until ``detach()``.

    ``identity`` maps each region it has at its own address, with its permissions; otherwise nothing
    is mapped until you map() it. ``ram`` bytes of RAM of ours, page tables included, start at
    ``base``, by default the lowest free 1 GiB-aligned address above your regions. ``fidelity`` is a
    Fidelity or its name; ``engine``, ``geometry`` and ``ring`` as for Mmu. ``handler`` is told of
    each fault. ``check_tlb`` looks after stale translations, for guests that change their own
    tables: ``stale_translations()`` tells them.

    The guest owns its control registers: CR0.PG, CR0.WP, CR4.PAE, CR4.PGE and CR3 are set here,
    what it writes to them counts, and so does its INVLPG. EFER is taken as it is in long mode with
    NXE. Use the instance's own ``emu_start`` and hooks if you like; only those given here translate
    and raise.
    """

    def __init__(
        self,
        uc: Uc,
        *,
        identity: bool = False,
        deliver: bool = False,
        ram: int = DEFAULT_RAM,
        base: int | None = None,
        fidelity: Fidelity | str = Fidelity.FAST,
        engine: str = "c",
        geometry: str | Geometry = "skylake",
        ring: EventRing | None = None,
        handler: FaultHandler | None = None,
        check_tlb: bool = False,
    ) -> None:
        """Attach; MmuError if the instance is not x86-64, ``base`` is in use, or check_tlb is asked
        of fast.
        """
        if uc.query(UC_QUERY_ARCH) != UC_ARCH_X86 or not uc.query(UC_QUERY_MODE) & UC_MODE_64:
            raise MmuError(
                "only an x86-64 instance, Uc(UC_ARCH_X86, UC_MODE_64), can be attached to"
            )
        self.uc = uc
        self.handler = handler
        self.deliver = deliver
        self.counting = True
        self.ring = ring
        self.fidelity = _fidelity(fidelity)
        if check_tlb and self.fidelity is Fidelity.FAST:
            raise MmuError("check_tlb needs fidelity exact or trace: fast has no TLB")
        self._hooks: list[int] = []
        self._until: int | None = None
        regions = list(uc.mem_regions())
        self.memory = Memory(ram, base=_place(regions, ram, base))
        self.mmu = Mmu(self.memory, engine=engine, geometry=geometry, ring=ring, check=check_tlb)
        self.tables = PageTables(self.memory)
        self._map_ram()
        self._take_control()
        self._attach_hooks()
        if identity:
            for begin, end, perms in regions:
                self.map(begin, end + 1 - begin, perms, pa=begin)

    def __enter__(self) -> Attached:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.detach()

    # Attaching and detaching.

    def _map_ram(self) -> None:
        try:
            self.uc.mem_map_ptr(
                self.memory.base, self.memory.size, UC_PROT_ALL, foreign_address(self.memory.c.ram)
            )
        except UcError as error:
            raise EngineError(
                f"our RAM cannot be mapped at {self.memory.base:#x}: {error}"
            ) from None

    def _take_control(self) -> None:
        """Switch to our translation, and let instance and MMU agree about the control registers."""
        uc, mmu = self.uc, self.mmu
        self._saved = {
            reg: uc.reg_read(reg) for reg in (UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4)
        }
        uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        uc.reg_write(UC_X86_REG_CR4, self._saved[UC_X86_REG_CR4] | CR4_PAE | CR4_PGE)
        uc.reg_write(UC_X86_REG_CR0, self._saved[UC_X86_REG_CR0] | CR0_PG | CR0_WP)
        uc.reg_write(UC_X86_REG_CR3, self.tables.root)
        mmu.c.cr4 = uc.reg_read(UC_X86_REG_CR4)
        mmu.c.cr0 = uc.reg_read(UC_X86_REG_CR0)
        mmu.write_cr3(self.tables.root)

    def _attach_hooks(self) -> None:
        self._hook(
            mm=None, ring=self.ring, fast_faults=False, attached=True, deliver=self.deliver
        )
        settle_exits(self)
        self._regions: set[tuple[int, int]] = set()
        self._find_regions()

    def _find_regions(self) -> bool:
        """Tell the engine of memory that was mapped since; whether there was any."""
        found = False
        for begin, end, _ in self.uc.mem_regions():
            if (begin, end) in self._regions or begin == self.memory.base:
                continue
            if lib.vcpu_add_region(self.c, begin, end + 1 - begin):
                raise EngineError("too many regions, or no host memory to keep track of them")
            self._regions.add((begin, end))
            found = True
        return found

    def detach(self) -> None:
        """Give the instance back: our hooks and RAM are gone, its registers and TLB mode as they
        were.
        """
        if self.c is None:
            return
        for handle in self._hooks:
            self.uc.hook_del(handle)
        self._hooks.clear()
        self._unhook()
        self.uc.ctl_set_tlb_mode(UC_TLB_CPU)
        for reg in (UC_X86_REG_CR3, UC_X86_REG_CR0, UC_X86_REG_CR4):
            self.uc.reg_write(reg, self._saved[reg])
        self.uc.mem_unmap(self.memory.base, self.memory.size)
        self.memory.close()

    # Page tables.

    def map(
        self,
        va: int,
        size: int,
        perms: int = UC_PROT_ALL,
        *,
        pa: int | None = None,
        user: bool = True,
    ) -> None:
        """Map virtual [va, va + size) with UC_PROT_* permissions to guest-physical ``pa`` on, or to
        new zeroed pages.

        ``user`` lets CPL 3 in. MmuError if part of the range is mapped already, or perms lack
        UC_PROT_READ.
        """
        self.tables.map(va, size, rights(perms) | (X86_US if user else 0), pa)
        self._changed(va, size)

    def unmap(self, va: int, size: int) -> None:
        """Take the pages of [va, va + size) out; those that map() allocated are freed."""
        self.tables.unmap(va, size)
        self._changed(va, size)

    def protect(self, va: int, size: int, perms: int) -> None:
        """Give mapped pages other permissions; MmuError if a page of the range is not mapped."""
        self.tables.protect(va, size, perms)
        self._changed(va, size)

    def _changed(self, va: int, size: int) -> None:
        """Invalidate as a kernel would: page by page, or, for a large range, everything."""
        if size > LARGE_PAGE:
            self.mmu.flush_all()
            return
        for page in range(va, va + size, PAGE_SIZE):
            self.mmu.invlpg(page)

    def translate(self, va: int, access: int = Access.READ) -> Translation:
        """What an access at the present privilege level would meet; changes nothing."""
        self._sync_privilege()
        return self.mmu.refill(va, access, user=self.cpl == 3)

    def walk(self, va: int, access: int = Access.READ) -> Walk:
        """The page walk for va, step by step; changes nothing."""
        self._sync_privilege()
        return self.mmu.walk(va, access, user=self.cpl == 3)

    def resident(self, va: int, access: int = Access.READ) -> TlbEntry | None:
        """The entry of the TLB model that an access to va would find first, in exact and trace."""
        self._sync_privilege()
        return self.mmu.resident(va, access)

    def counters(self) -> dict[str, int]:
        """Every counter of the MMU by its name in events.def; TLB counters count in exact and
        trace.
        """
        return self.mmu.counters()

    def stale_translations(self) -> list[StaleUse]:
        """Accesses by translations that memory no longer says, one of a kind for each changed entry
        (check_tlb).
        """
        return [] if self.mmu.check is None else self.mmu.check.uses()

    def _sync_privilege(self) -> None:
        lib.vcpu_sync(self.c)

    # Data by virtual address.

    def read(self, va: int, size: int) -> bytes:
        """Copy out of virtual memory, with the rights of a read at the present privilege level; no
        side effects.

        PageFault or GeneralProtection if it may not be read; nothing is counted.
        """
        return b"".join(
            bytes(self.uc.mem_read(pa, n)) for pa, n in self._pieces(va, size, Access.READ)
        )

    def write(self, va: int, data: bytes) -> None:
        """Copy into virtual memory, past W, as a debugger does; drop code translated from it."""
        at = 0
        for pa, n in self._pieces(va, len(data), Access.READ):
            self.uc.mem_write(pa, data[at : at + n])
            self.drop_code(pa)
            at += n

    def _pieces(self, va: int, size: int, access: int) -> list[tuple[int, int]]:
        pieces = []
        end = va + size
        while va < end:
            translation = self.translate(va, access)
            if not translation.ok:
                raise self._fault(translation.result, va, translation.error_code)
            n = min(end - va, PAGE_SIZE - va % PAGE_SIZE)
            pieces.append((translation.pa, n))
            va += n
        return pieces

    # Running.

    def emu_start(self, begin: int, until: int, timeout: int = 0, count: int = 0) -> None:
        """Run from begin until ``until``, ``timeout`` µs or ``count`` instructions, as
        Uc.emu_start() does.

        A fault goes to the handler; if that returns True the instruction is tried again, else the
        fault is raised: PageFault, GeneralProtection or StackFault with ``address`` and ``rip``.
        Nothing of a faulting instruction has happened. BadTable if a table lies outside our RAM;
        UcError for what Unicorn itself reports.
        """
        self.uc.reg_write(UC_X86_REG_RIP, begin)
        self._until = until
        limit = self.shared.count + count if count else U64
        while True:
            lib.vcpu_run_until(self.c, until, timeout, limit)
            exit_ = self.exit
            if exit_.reason in (lib.EXIT_STOPPED, lib.EXIT_LIMIT):
                return
            if exit_.reason == lib.EXIT_BAD_TABLE and self._find_regions():
                continue
            fault = self._fault_of(exit_)
            if self.handler is None or not self.handler(fault):
                raise fault

    def _fault_of(self, exit_: Any) -> Fault:
        """The exception for this exit; raises it here if no handler could do anything about it."""
        if exit_.reason == lib.EXIT_ENGINE:
            raise UcError(exit_.uc_err)
        if exit_.reason == lib.EXIT_SHUTDOWN:
            raise TripleFault(exit_.vector, exit_.error_code, exit_.insn)
        self._settle(exit_)
        if exit_.reason == lib.EXIT_PAGE_FAULT:
            return PageFault(exit_.address, exit_.error_code, exit_.rip)
        if exit_.vector == GeneralProtection.vector:
            return GeneralProtection(exit_.address, exit_.rip)
        if exit_.vector == StackFault.vector:
            return StackFault(exit_.address, exit_.rip)
        raise UcError(unicorn.UC_ERR_INSN_INVALID)

    def settle_exit(self) -> None:
        """Complete the fault that is about to be delivered: its exact address, #SS or #GP."""
        self._settle(self.exit)

    def _fault(self, result: Outcome, va: int, error_code: int) -> MmuError:
        if result == Outcome.PAGE_FAULT:
            return PageFault(va, error_code)
        if result == Outcome.GENERAL_PROTECTION:
            return GeneralProtection(va)
        return MmuError(f"{va:#x} leads outside guest memory: {self.walk(va)}")

    def set_fidelity(self, fidelity: Fidelity | str) -> None:
        """Go on with another fidelity, a Fidelity or its name; the TLB model starts empty."""
        count = self.shared.count
        self._unhook()
        self.fidelity = _fidelity(fidelity)
        self.mmu.flush_all()
        self._attach_hooks()
        self.shared.count = count
        if self._hooks:
            self._serve_hooks()
            lib.vcpu_guard_flags(self.c)

    # Hooks.

    def hook_add(
        self,
        htype: int,
        callback: Callable[..., Any],
        user_data: Any = None,
        begin: int = 1,
        end: int = 0,
        *args: int,
    ) -> int:
        """Uc.hook_add(), but memory hooks, and their range, speak of virtual addresses; hook_del()
        takes the handle.

        Faults are not told to UC_HOOK_MEM_*_UNMAPPED or _PROT hooks, which are refused: give a
        ``handler``.
        """
        if htype & _FAULT_HOOKS:
            raise MmuError(
                "with an MMU, accesses that may not be made are page faults: give a fault handler"
            )
        if htype & UC_HOOK_MEM_ACCESS:
            if htype & ~UC_HOOK_MEM_ACCESS:
                raise MmuError("add memory hooks and other hooks one by one")
            self._serve_hooks()
            handle = self.uc.hook_add(htype, self._translating(callback, begin, end), user_data)
        else:
            if htype & UC_HOOK_CODE and lib.vcpu_guard_flags(self.c):
                raise EngineError("Unicorn refused our hook")
            if htype & (UC_HOOK_CODE | UC_HOOK_BLOCK):
                callback = self._before_the_end(callback)
            handle = self.uc.hook_add(htype, callback, user_data, begin, end, *args)
        self.uc.ctl_flush_tb()
        self._hooks.append(handle)
        return int(handle)

    def hook_del(self, handle: int) -> None:
        """Remove a hook that hook_add() put here."""
        self._hooks.remove(handle)
        self.uc.hook_del(handle)

    def _serve_hooks(self) -> None:
        if lib.vcpu_serve_hooks(self.c):
            raise EngineError("no host memory to keep track of virtual addresses for hooks")

    def _translating(self, callback: MemoryHook, begin: int, end: int) -> MemoryHook:
        def with_virtual_address(
            uc: Uc, access: int, pa: int, size: int, value: int, data: Any
        ) -> None:
            va = int(lib.vcpu_hook_address(self.c, pa))
            address = pa if va == _NO_ADDRESS else va
            if begin > end or begin <= address <= end:
                callback(uc, access, address, size, value, data)

        return with_virtual_address

    def _before_the_end(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """Without the call for the end address, which our own way of stopping there would make."""

        def unless_at_end(uc: Uc, address: int, *rest: Any) -> None:
            if address != self._until:
                callback(uc, address, *rest)

        return unless_at_end


def _fidelity(fidelity: Fidelity | str) -> Fidelity:
    return Fidelity.from_label(fidelity) if isinstance(fidelity, str) else Fidelity(fidelity)


def _place(regions: list[tuple[int, int, int]], size: int, base: int | None) -> int:
    """Where our RAM goes: base if it is free there, or the lowest free GiB above all regions."""
    top = max((end + 1 for _, end, _ in regions), default=0)
    if base is None:
        return -(-max(top, 1) // GIB) * GIB
    for begin, end, _ in regions:
        if base <= end and begin < base + size:
            raise MmuError(
                f"base {base:#x}: the instance has a region at [{begin:#x}, {end + 1:#x})"
            )
    return base
