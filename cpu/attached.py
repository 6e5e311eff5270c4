# SPDX-License-Identifier: GPL-2.0-or-later
"""This MMU for a Unicorn instance that somebody else made: ``cpu.attach(uc)``.

The regions the instance has are guest-physical memory, each at its own address. From then on every
address the guest uses is virtual. Page tables are ours, in RAM of ours, or the guest's own, in the
instance's memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import unicorn
from unicorn import (
    UC_HOOK_CODE,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_READ_AFTER,
    UC_HOOK_MEM_WRITE,
    UC_PROT_ALL,
    UC_PROT_READ,
    Uc,
    UcError,
)
from unicorn.unicorn_py3.arch.intel import HOOK_INSN_SYSCALL_CFUNC
from unicorn.unicorn_py3.unicorn import HOOK_MEM_ACCESS_CFUNC, uccallback
from unicorn.x86_const import (
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
)

from cpu._engine import ffi, lib
from cpu.door import close_door, open_door
from cpu.guest_errors import GuestGeneralProtection, GuestPageFault, GuestStackFault
from cpu.in_flight import forget_exception
from cpu.instance import (
    Paging,
    check_instance,
    fidelity_of,
    geometry_of,
    identity_pieces,
    paging_of,
    place_of_ram,
    width_of,
)
from cpu.linkage import answer_faults, function_address, on_fault
from cpu.mode import MSR_EFER, ProcessorMode
from cpu.page_tables import LARGE_PAGE, PageTables, rights
from cpu.recorder import processor_head
from cpu.vcpu import UC_TLB_VIRTUAL, EngineError, Fidelity, Processor, foreign_address
from mmu.errors import GeneralProtection, MmuError, PageFault, StackFault, TripleFault
from mmu.events import EventRing
from mmu.memory import Memory
from mmu.units import PAGE_SIZE, U64
from mmu.x86 import Access, Geometry, Mmu, Outcome, TlbEntry, Translation, Walk
from mmu.x86.check import StaleUse
from mmu.x86.entries import X86_ADDR_MASK, X86_US
from mmu.x86.registers import (
    CR0_PG,
    CR0_WP,
    CR4_LA57,
    CR4_PAE,
    CR4_PGE,
    EFER_NXE,
)
from mmu.x86.translate import answer_of_walk

if TYPE_CHECKING:
    from mmu.trace.writer import TraceWriter

Fault = PageFault | GeneralProtection | StackFault
FaultHandler = Callable[[Fault], bool]
MemoryHook = Callable[[Uc, int, int, int, int, Any], object]

UC_TLB_CPU: Final = 0
_ACCESS_HOOKS: Final = UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE | UC_HOOK_MEM_READ_AFTER
DEFAULT_RAM: Final = 64 << 20


class Attached(Processor):
    """A Unicorn instance of yours, translating through this MMU until ``detach()``.

    ``paging`` says whose tables translate (Paging, or its value); without it those of the instance
    are taken if CR0.PG is set already and ``identity`` is not asked for. ``identity`` maps each
    region that the instance has, or gets, at its own address, with its permissions (a region
    without UC_PROT_READ stays absent: x86 has no such page); otherwise nothing is mapped until you
    map() it.

    ``ram`` bytes of RAM of ours, page tables included, start at ``base``, by default as high as the
    processor's physical addresses go. ``fidelity`` is a Fidelity or its name; ``engine``,
    ``geometry`` and ``ring`` as for Mmu. ``handler`` is told of each fault, inside the access.
    ``record`` has the events recorded from the beginning to detach(), in the file of that path or
    by a TraceWriter of yours, which is ``trace`` then: its note() adds what you know, symbols for
    instance. ``deliver`` sends exceptions through the guest's IDT. ``check_tlb`` looks after stale
    translations, for guests that change their own tables: ``stale_translations()`` tells them.

    The instance's own methods go on meaning what they mean in plain Unicorn: ``uc.emu_start()`` is
    this object's. The instance keeps this object alive; two instances have nothing in common.
    """

    def __init__(
        self,
        uc: Uc,
        *,
        identity: bool = False,
        paging: Paging | str | None = None,
        deliver: bool = False,
        ram: int = DEFAULT_RAM,
        base: int | None = None,
        fidelity: Fidelity | str = Fidelity.FAST,
        engine: str = "c",
        geometry: str | Geometry = "skylake",
        ring: EventRing | None = None,
        handler: FaultHandler | None = None,
        check_tlb: bool = False,
        record: str | os.PathLike[str] | TraceWriter | None = None,
    ) -> None:
        """Attach. MmuError, and nothing changed, if that cannot be."""
        self.uc = uc
        self.fidelity = fidelity_of(fidelity)
        self._handler = handler
        self.deliver = deliver
        self.counting = True
        self.ring = ring
        self.trace: TraceWriter | None = None
        """What records, if something does."""
        if record is not None and ring is not None:
            raise MmuError("record has a ring of its own: leave ring out")
        if handler is not None and not callable(handler):
            raise MmuError(f"handler is called for each fault, which {handler!r} cannot be")
        check_instance(uc)
        if check_tlb and self.fidelity is Fidelity.FAST:
            raise MmuError("check_tlb needs fidelity exact or trace: fast has no TLB")
        self.paging = paging_of(uc, paging, identity)
        self.identity = identity
        self._hooks: set[int] = set()
        self._guards: dict[int, int] = {}
        self._raised: BaseException | None = None
        self._ram_is_mapped = False
        with ExitStack() as undo:
            self._attach(undo, ram, base, engine, geometry, check_tlb, record)
            self._undo = undo.pop_all()

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

    def _attach(
        self,
        undo: ExitStack,
        ram: int,
        base: int | None,
        engine: str,
        geometry: str | Geometry,
        check_tlb: bool,
        record: str | os.PathLike[str] | TraceWriter | None,
    ) -> None:
        """Make everything, then change the instance; each change's inverse goes onto ``undo``."""
        uc = self.uc
        regions = list(uc.mem_regions())
        model = geometry_of(geometry)
        width = max(model.processor.maxphyaddr.value, width_of(regions))
        if base is not None:
            width = max(width, (base + ram - 1).bit_length())
        levels = 5 if self._reads(UC_X86_REG_CR4) & CR4_LA57 else 4
        if record is not None:
            head = processor_head(model, maxphyaddr=width, levels=levels)
            self._record(undo, record, {**head, "fidelity": self.fidelity.label, "cpus": 1})
        self.memory = Memory(ram, base=place_of_ram(regions, ram, base, width))
        undo.callback(self.memory.close)
        self.mmu = Mmu(
            self.memory,
            engine=engine,
            geometry=model,
            maxphyaddr=width,
            levels=levels,
            ring=self.ring,
            check=check_tlb,
        )
        self.tables = PageTables(self.memory, self.mmu)
        mode = ProcessorMode(uc)
        cr3 = uc.reg_read(UC_X86_REG_CR3)
        if self.identity:
            for begin, end, perms in regions:
                self._map_region(begin, end + 1 - begin, perms)
        undo.callback(self._unmap_ram)
        uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        undo.callback(uc.ctl_set_tlb_mode, UC_TLB_CPU)
        undo.callback(mode.restore, uc)
        undo.callback(uc.reg_write, UC_X86_REG_CR3, cr3)
        self._take_control()
        if self.deliver:
            forget_exception(uc)  # a fresh instance has #DE in flight, which would make #DF of #GP
        undo.callback(self._unhook)
        self._attach_hooks()
        open_door(uc, self)
        undo.callback(close_door, uc)
        if self.trace is not None:
            undo.callback(self.trace.ring.enable, False)

    def _record(
        self,
        undo: ExitStack,
        record: str | os.PathLike[str] | TraceWriter,
        head: Mapping[str, Any],
    ) -> None:
        from mmu.trace.writer import TraceWriter

        if isinstance(record, TraceWriter):
            self.trace = record
        else:
            self.trace = undo.enter_context(TraceWriter.open(os.fspath(record), head))
        self.ring = self.trace.ring
        self.ring.enable()

    def _reads(self, reg: int) -> int:
        return int(self.uc.reg_read(reg)) if self.paging is Paging.GUEST else 0

    def _map_ram(self) -> None:
        """Let the guest reach our RAM: pages of it are about to be mapped."""
        if self._ram_is_mapped:
            return
        try:
            Uc.mem_map_ptr(
                self.uc,
                self.memory.base,
                self.memory.size,
                UC_PROT_ALL,
                foreign_address(self.memory.c.ram),
            )
        except UcError as error:
            raise EngineError(
                f"our RAM cannot be mapped at {self.memory.base:#x}: {error}"
            ) from None
        self._ram_is_mapped = True

    def _unmap_ram(self) -> None:
        if self._ram_is_mapped:
            self.uc.mem_unmap(self.memory.base, self.memory.size)
        self._ram_is_mapped = False

    def _take_control(self) -> None:
        """With tables of ours, turn paging on over them, and let instance and MMU agree about the
        control registers; with the guest's, the MMU takes those over later.
        """
        uc, c = self.uc, self.mmu.c
        if self.paging is Paging.OWN:
            self._turn_paging_on()
        c.cr4 = uc.reg_read(UC_X86_REG_CR4)
        c.cr0 = uc.reg_read(UC_X86_REG_CR0)
        c.efer = uc.msr_read(MSR_EFER)
        self.mmu.write_cr3(uc.reg_read(UC_X86_REG_CR3))

    def _turn_paging_on(self) -> None:
        uc = self.uc
        uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PAE | CR4_PGE)
        uc.reg_write(UC_X86_REG_CR0, uc.reg_read(UC_X86_REG_CR0) | CR0_PG | CR0_WP)
        uc.msr_write(MSR_EFER, uc.msr_read(MSR_EFER) | EFER_NXE)
        uc.reg_write(UC_X86_REG_CR3, self.tables.root)

    def _attach_hooks(self) -> None:
        self._hook(
            mm=None,
            ring=self.ring,
            fast_faults=False,
            attached=True,
            identity=self.identity,
            deliver=self.deliver,
            on_fault=on_fault(),
        )
        answer_faults(self)
        self.handler = self._handler
        if self.paging is Paging.GUEST and lib.vcpu_take_controls(self.c):
            raise MmuError(
                "the instance's CR0, CR3, CR4 and EFER are not what a processor of this geometry"
                " can hold together in 64-bit mode"
            )
        if any(isinstance(hook, HOOK_MEM_ACCESS_CFUNC) for hook in self.uc._callbacks.values()):
            lib.vcpu_foreign_hooks(self.c)
        self._count_syscall_hooks()
        self._exit = ffi.new("struct vm_exit *")
        self._find_regions()

    def detach(self) -> None:
        """Give the instance back as it was: mode, control registers, TLB mode, methods; our hooks
        and RAM are gone.

        Other registers and memory keep what the guest made of them. MmuError inside a hook: the run
        under way needs the MMU. Harmless if it is detached already; whatever else is asked of this
        object then is an MmuError.
        """
        self._refuse_in_a_hook("detach()")
        for handle in list(self._hooks):
            self.hook_del(handle)
        for guard in self._guards.values():
            lib.vcpu_unguard_flags(self.c, guard)
        self._undo.close()
        self.__class__ = Detached

    def _refuse_in_a_hook(self, what: str) -> None:
        if lib.vcpu_depth(self.c):
            raise MmuError(f"{what} inside a hook: wait until the run is over")

    # What the script does through the instance's own methods (cpu.door).

    def region_added(self, address: int, size: int, perms: int) -> None:
        """The instance has one more region."""
        if lib.vcpu_add_region(self.c, address, size, perms):
            raise EngineError("no host memory to keep track of the instance's regions")
        if self.identity:
            self._map_region(address, size, perms)

    def regions_changed(self, address: int, size: int, perms: int | None) -> None:
        """Regions of [address, address + size) are gone (perms None), or have other permissions."""
        if perms is None:
            lib.vcpu_remove_region(self.c, address, size)
        else:
            self._find_regions()
        if not self.identity:
            return
        for va, pa, n in identity_pieces(address, size):
            if self._follow(va, pa, n, perms or 0):
                self._changed(va, n)

    def wrote(self, pa: int, size: int) -> None:
        """The host wrote guest-physical memory: code translated from there is dropped, and tables
        there have changed.
        """
        lib.vcpu_host_wrote(self.c, pa, size)

    def remove_code(self, begin: Any, end: Any) -> bool:
        """Drop code translated from virtual [begin, end) (ctypes numbers), as ctl_remove_cache()
        does; False if only that can. Its look-up would crash Unicorn in a hook of a store.
        """
        return bool(lib.vcpu_remove_code(self.c, begin.value, end.value))

    def restored(self) -> None:
        """The script has restored a context. One saved before attach() knows of no paging, one of
        an attachment that is over of tables that are gone: it comes back with that of attach().
        """
        if self.paging is Paging.OWN and not self._has_tables():
            self._turn_paging_on()
        self.sync()

    def _has_tables(self) -> bool:
        """Whether paging is on, with a root table that is there."""
        if not self.uc.reg_read(UC_X86_REG_CR0) & CR0_PG:
            return False
        root = self.uc.reg_read(UC_X86_REG_CR3) & X86_ADDR_MASK
        ours = self.memory.base <= root < self.memory.base + self.memory.size
        return ours or any(begin <= root <= end for begin, end, _ in self.uc.mem_regions())

    def jumping(self, rip: int) -> None:
        """The script is about to write RIP."""
        lib.vcpu_jump(self.c, rip & U64)

    def hook_added(self, handle: int, htype: int, begin: int, end: int) -> None:
        """The script has put a hook on [begin, end]."""
        if htype & _ACCESS_HOOKS:
            lib.vcpu_foreign_hooks(self.c)
        if htype & UC_HOOK_CODE:
            guard = int(lib.vcpu_guard_flags(self.c, begin & U64, end & U64))
            if not guard:
                raise EngineError("Unicorn refused our hook")
            self._guards[handle] = guard
        self._count_syscall_hooks()

    def _count_syscall_hooks(self) -> None:
        """While the script has any, SYSCALL is theirs, and is not delivered."""
        hooks = self.uc._callbacks.values()
        count = sum(isinstance(hook, HOOK_INSN_SYSCALL_CFUNC) for hook in hooks)
        self.shared.syscall_hooks = count

    def hook_gone(self, handle: int) -> None:
        """The script has removed a hook."""
        self._hooks.discard(handle)
        lib.vcpu_unwatch(self.c, handle)
        if guard := self._guards.pop(handle, 0):
            lib.vcpu_unguard_flags(self.c, guard)
        self._count_syscall_hooks()

    def check_not_ours(self, address: int, size: int) -> None:
        """MmuError if the range holds RAM of ours, which stays until detach()."""
        memory = self.memory
        if address < memory.base + memory.size and memory.base < address + size:
            raise MmuError(
                f"[{address:#x}, {address + size:#x}) holds RAM of the attached MMU,"
                f" {memory.size:#x} bytes at {memory.base:#x}: attach(base=...) puts it elsewhere"
            )

    def is_ours(self, address: int) -> bool:
        """Whether a region that begins there is RAM of ours."""
        return self._ram_is_mapped and address == self.memory.base

    def _find_regions(self) -> None:
        """Tell the engine of all the memory the instance has."""
        regions = list(self.uc.mem_regions())
        told = ffi.new(
            "struct vcpu_region[]",
            [(begin, end + 1 - begin, perms) for begin, end, perms in regions],
        )
        if lib.vcpu_set_regions(self.c, told, len(regions)):
            raise EngineError("no host memory to keep track of the instance's regions")

    # Page tables.

    def _map_region(self, address: int, size: int, perms: int) -> None:
        """Map a region at its own address; without UC_PROT_READ, or beyond what a physical address
        can be, it stays absent: without an MMU Unicorn does not reach it there either.
        """
        for va, pa, n in identity_pieces(address, size):
            self._follow(va, pa, n, perms)

    def _follow(self, va: int, pa: int, size: int, perms: int) -> bool:
        """Give pages of the identity mapping these permissions, but those that the script has
        mapped elsewhere; returns whether any translation changed.
        """
        changed = False
        for at, n, mapped in self.tables.pieces(va, size, pa):
            if not perms & UC_PROT_READ:
                changed |= self.tables.unmap(at, n) > 0
            elif mapped:
                self.tables.protect(at, n, perms)
                changed = True
            else:
                self._widen(pa + size - 1)
                self.tables.map(at, n, rights(perms) | X86_US, pa + at - va)
        return changed

    def _widen(self, pa: int) -> None:
        """Let physical addresses be as wide as pa."""
        c = self.mmu.c
        c.maxphyaddr = max(c.maxphyaddr, pa.bit_length())

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

        ``user`` lets CPL 3 in. MmuError, and nothing mapped, if part of the range is mapped
        otherwise already, perms lack UC_PROT_READ, or the addresses are impossible.
        """
        self._own_tables("map()")
        self._map_ram()
        self.tables.map(va, size, rights(perms) | (X86_US if user else 0), pa)
        self._changed(va, size)

    def unmap(self, va: int, size: int) -> None:
        """Take the pages of [va, va + size) out; those that map() allocated are freed."""
        self._own_tables("unmap()")
        self.tables.unmap(va, size)
        self._changed(va, size)

    def protect(self, va: int, size: int, perms: int) -> None:
        """Give mapped pages other permissions; MmuError if a page of the range is not mapped."""
        self._own_tables("protect()")
        self.tables.protect(va, size, perms)
        self._changed(va, size)

    def _own_tables(self, what: str) -> None:
        if self.paging is Paging.GUEST:
            raise MmuError(f"{what} changes tables of ours; with paging='guest' edit the guest's")

    def _changed(self, va: int, size: int) -> None:
        """Invalidate as a kernel would: page by page, or, for a large range, everything."""
        if size > LARGE_PAGE:
            self.mmu.flush_all()
        else:
            for page in range(va, va + size, PAGE_SIZE):
                self.mmu.invlpg(page)
        super().sync()

    def translate(
        self, va: int, access: int = Access.READ, *, cr3: int | None = None
    ) -> Translation:
        """What an access at the present privilege level would meet; changes nothing.

        With ``cr3`` by the tables under that value of CR3 instead, and by no TLB.
        """
        walk = self.walk(va, access, cr3=cr3)
        user = self.cpl == 3
        if cr3 is None and self.mmu.exact and self.resident(va, access):
            return self.mmu.refill(va, access, user=user)
        return answer_of_walk(self.mmu, walk, user)

    def walk(self, va: int, access: int = Access.READ, *, cr3: int | None = None) -> Walk:
        """The page walk for va, step by step, from CR3 or from ``cr3``; changes nothing."""
        self.sync()
        c = self.mmu.c
        present = c.cr3
        try:
            c.cr3 = present if cr3 is None else cr3
            return self.mmu.walk(va, access, user=self.cpl == 3)
        finally:
            c.cr3 = present

    def resident(self, va: int, access: int = Access.READ) -> TlbEntry | None:
        """The entry of the TLB model that an access to va would find first, in exact and trace."""
        self.sync()
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

    # Data by virtual address.

    def read(self, va: int, size: int, *, cr3: int | None = None) -> bytes:
        """Copy out of virtual memory, with the rights of a read at the present privilege level; no
        side effects.

        ``cr3`` as for translate(). PageFault or GeneralProtection if it may not be read; nothing is
        counted.
        """
        pieces = self._pieces(va, size, cr3)
        return b"".join(bytes(self.uc.mem_read(pa, n)) for pa, n in pieces)

    def write(self, va: int, data: bytes, *, cr3: int | None = None) -> None:
        """Copy into virtual memory, past W, as a debugger does; drop code translated from it."""
        at = 0
        for pa, n in self._pieces(va, len(data), cr3):
            self.uc.mem_write(pa, data[at : at + n])
            at += n

    def _pieces(self, va: int, size: int, cr3: int | None) -> list[tuple[int, int]]:
        pieces = []
        end = va + size
        while va < end:
            translation = self.translate(va, cr3=cr3)
            if not translation.ok:
                raise self._denied(translation, va)
            n = min(end - va, PAGE_SIZE - va % PAGE_SIZE)
            pieces.append((translation.pa, n))
            va += n
        return pieces

    def _denied(self, translation: Translation, va: int) -> MmuError:
        if translation.result == Outcome.PAGE_FAULT:
            return GuestPageFault(
                va, translation.error_code, None, access=Access.READ, walk=self.walk(va)
            )
        if translation.result == Outcome.GENERAL_PROTECTION:
            return GuestGeneralProtection(va)
        return self._bad_table(va, Access.READ, None)

    # Running.

    def emu_start(self, begin: int, until: int, timeout: int = 0, count: int = 0) -> None:
        """Run from begin until ``until``, ``timeout`` µs or ``count`` instructions, as
        Uc.emu_start() does, which is the same. It may be called in hooks: each level has its own
        end, count and stop.

        A fault goes to the handler; if that returns True the access is tried again (the whole
        instruction, if the handler changed registers), else the fault is raised: PageFault,
        GeneralProtection or StackFault, each also a UcError. Nothing of a faulting instruction has
        happened. A fault that comes back unchanged is raised. BadTable if a table lies where there
        is no memory; UcError for what Unicorn itself reports; what a hook raised.
        """
        uc = self.uc
        nested = lib.vcpu_depth(self.c)
        outer, uc._hook_exception = uc._hook_exception if nested else None, None
        if not nested and self.paging is Paging.OWN:
            self._map_ram()
        exit_ = ffi.new("struct vm_exit *") if nested else self._exit
        lib.vcpu_emu_start(self.c, begin & U64, until & U64, timeout & U64, count & U64, exit_)
        raised, uc._hook_exception = uc._hook_exception, outer
        if exit_.reason not in (lib.EXIT_STOPPED, lib.EXIT_LIMIT):
            raise self._error_of(exit_) from raised
        if raised is not None:
            raise raised

    def stop(self) -> None:
        """Uc.emu_stop(): end the innermost run under way; nothing if there is none. Safe in a
        signal handler.
        """
        lib.vcpu_emu_stop(self.c)

    emu_stop = stop

    def sync(self) -> None:
        """Let the MMU see the registers, and Unicorn forget what the MMU no longer says."""
        super().sync()

    def answer_fault(self) -> int:
        """Ask the handler about the fault in shared.exit; FAULT_*. Called inside the fill hook."""
        handler = self._handler
        if handler is None:
            return int(lib.FAULT_RAISED)
        try:
            fault = self._fault_of(self.exit)
            return int(lib.FAULT_RETRY if fault and handler(fault) else lib.FAULT_RAISED)
        except BaseException as error:
            self._raised = error
            return int(lib.FAULT_ABORT)

    @property
    def handler(self) -> FaultHandler | None:
        """Who is told of each fault, inside the access; may be set at any time."""
        return self._handler

    @handler.setter
    def handler(self, handler: FaultHandler | None) -> None:
        self._handler = handler
        lib.vcpu_handle_faults(self.c, handler is not None)

    def _error_of(self, exit_: Any) -> BaseException:
        """The exception for this exit."""
        error: BaseException
        if exit_.reason == lib.EXIT_ENGINE:
            error = UcError(exit_.uc_err)
            return error
        if exit_.reason == lib.EXIT_SHUTDOWN:
            return TripleFault(exit_.vector, exit_.error_code, exit_.insn)
        if exit_.reason == lib.EXIT_ABORTED and self._raised is not None:
            error, self._raised = self._raised, None
            return error
        fault = self._fault_of(exit_)
        if fault is None:
            error = UcError(unicorn.UC_ERR_INSN_INVALID)
            return error
        return fault

    def _fault_of(self, exit_: Any) -> Fault | None:
        """The fault of this exit, None if it is none; raises what no handler can do anything
        about.
        """
        self._settle(exit_)
        address, rip = exit_.address, exit_.rip
        if exit_.reason == lib.EXIT_PAGE_FAULT:
            access = Access(exit_.access)
            return GuestPageFault(
                address,
                exit_.error_code,
                rip,
                access=access,
                errno=exit_.uc_err,
                walk=self.walk(address, access),
            )
        access_or_none = Access(exit_.access) if address else None
        if exit_.vector == GeneralProtection.vector:
            return GuestGeneralProtection(address, rip, access_or_none, exit_.uc_err)
        if exit_.vector == StackFault.vector:
            return GuestStackFault(address, rip, access_or_none, exit_.uc_err)
        return None

    def settle_exit(self) -> None:
        """Complete the fault that is about to be delivered: its exact address, #SS or #GP."""
        self._settle(self.exit)

    def set_fidelity(self, fidelity: Fidelity | str) -> None:
        """Go on with another fidelity, a Fidelity or its name; the TLB model starts empty. MmuError
        inside a hook.
        """
        self._refuse_in_a_hook("set_fidelity()")
        self.fidelity = fidelity_of(fidelity)
        self.mmu.exact = self.fidelity is not Fidelity.FAST
        self.mmu.flush_all()
        if lib.vcpu_set_fidelity(self.c, int(self.fidelity)):
            raise EngineError("no host memory for that fidelity")

    # Hooks.

    def hook_add(
        self,
        htype: int,
        callback: Callable[..., Any],
        user_data: Any = None,
        begin: int = 1,
        end: int = 0,
        aux1: int = 0,
        aux2: int = 0,
    ) -> int:
        """Uc.hook_add(), but hooks of loads and stores, and their range, speak of virtual
        addresses; hook_del() takes the handle.

        Code that was translated before calls the hook too (Uc.hook_add() does not see to that).
        """
        if htype & _ACCESS_HOOKS and not htype & ~_ACCESS_HOOKS:
            handle = self._watch(htype, callback, user_data, begin, end)
        else:
            handle = self.uc.hook_add(htype, callback, user_data, begin, end, aux1, aux2)
        lib.vcpu_forget_code(self.c)
        self._hooks.add(handle)
        return handle

    def hook_del(self, handle: int) -> None:
        """Remove a hook that hook_add() put here; MmuError for another handle."""
        if handle not in self._hooks:
            raise MmuError(f"no hook {handle:#x} was put here by hook_add()")
        self.uc.hook_del(handle)

    def _serve_hooks(self) -> None:
        if lib.vcpu_serve_hooks(self.c):
            raise EngineError("no host memory to keep track of virtual addresses for hooks")

    def _watch(self, htype: int, callback: MemoryHook, user_data: Any, begin: int, end: int) -> int:
        """Put a hook on loads and stores, whose virtual range is tested in C."""

        def call(uc: Uc, access: int, va: int, size: int, value: int, _key: int) -> None:
            callback(uc, access, va, size, value, user_data)

        function = uccallback(self.uc, HOOK_MEM_ACCESS_CFUNC)(call)
        self._serve_hooks()
        handle = lib.vcpu_watch(self.c, htype, function_address(function), begin & U64, end & U64)
        if not handle:
            raise EngineError("Unicorn refused our hook, or the host has no memory for it")
        self.uc._callbacks[handle] = function
        return int(handle)


class Detached(Attached):
    """What detach() makes of an Attached: nothing is left to use, or to detach or stop."""

    def __getattribute__(self, name: str) -> Any:
        """MmuError for all that was the MMU's."""
        if name in _WITHOUT_MMU or name.startswith("__"):
            return object.__getattribute__(self, name)
        raise MmuError(f"{name}: this MMU is detached from its instance, attach() again")

    def detach(self) -> None:
        """It is detached."""

    def stop(self) -> None:
        """No run is under way."""

    emu_stop = stop


_WITHOUT_MMU: Final = frozenset(
    (
        "detach",
        "stop",
        "emu_stop",
        "uc",
        "handler",
        "_handler",
        "ring",
        "trace",
        "fidelity",
        "paging",
        "identity",
    )
)
