# SPDX-License-Identifier: GPL-2.0-or-later
"""One virtual processor: a Unicorn instance whose every address goes through our MMU.

The work is done by the hooks of native/unicorn; here a run is started, and what ended it is told.
"""

from __future__ import annotations

from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import unicorn
from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn.x86_const import (
    UC_CPU_X86_WESTMERE,
    UC_X86_REG_FS_BASE,
    UC_X86_REG_GS_BASE,
    UC_X86_REG_RIP,
)

from cpu._engine import ffi, lib
from cpu.context import FXSAVE_SIZE, Context, fxsave_image
from cpu.in_flight import forget_exception
from cpu.linkage import (
    Decoder,
    api_with,
    env_places,
    foreign,
    mmu_api,
    private_parts,
    take_raised,
)
from mmu.c_words import words
from mmu.errors import BadTable, MmuError, StackFault
from mmu.units import MAX_INSTRUCTION, PAGE_SIZE, U64
from mmu.x86 import Access, Outcome

if TYPE_CHECKING:
    from mmu.events import EventRing
    from mmu.linux.mm import Mm
    from mmu.linux.state import Cpu
    from mmu.memory import Memory
    from mmu.x86 import Mmu

UC_TLB_VIRTUAL: Final = 1
CPU_MODEL: Final = UC_CPU_X86_WESTMERE
"""x86-64-v2 without AVX and RDRAND: later models of Unicorn's answer RDRAND with the host's random
numbers, which cannot be hooked."""


_PAGE_FAULT: Final = lib.EXIT_PAGE_FAULT
_EXCEPTION: Final = lib.EXIT_EXCEPTION
NR_FRAME: Final = 2 + lib.NR_SYSCALL_ARGS
SYSRETQ: Final = b"\x48\x0f\x07"


class EngineError(MmuError):
    """Unicorn refused something, or failed in a way that no guest can cause."""


class Fidelity(IntEnum):
    """How much of the processor is modelled; what the guest computes is the same in all three."""

    FAST = 0
    """Translations, A and D, faults and instruction counts are exact; no TLB."""
    EXACT = 1
    """Every fetch, load and store goes through the TLB model, which decides the translation."""
    TRACE = 2
    """Exact, and every instruction's events go to the ring."""

    @classmethod
    def from_label(cls, label: str) -> Fidelity:
        """The fidelity of that name; MmuError for any other word."""
        try:
            return cls[label.upper()]
        except KeyError:
            raise MmuError(
                f"no fidelity {label!r}: known are {', '.join(f.label for f in cls)}"
            ) from None

    @property
    def label(self) -> str:
        """Its name on the command line."""
        return self.name.lower()


class VmExit:
    """Why ``VCpu.run()`` came back; the fields are those of ``struct vm_exit``
    (native/unicorn/engine.h).
    """

    LIMIT: Final[int] = lib.EXIT_LIMIT
    """``instructions`` has reached the limit, exactly."""
    SYSCALL: Final[int] = lib.EXIT_SYSCALL
    """``nr`` and ``arg``; ``rip`` is after the instruction, rcx and r11 are set."""
    PAGE_FAULT: Final[int] = lib.EXIT_PAGE_FAULT
    """``address`` (CR2), ``error_code``, ``access``; ``rip`` is the instruction's, nothing of it
    happened.
    """
    EXCEPTION: Final[int] = lib.EXIT_EXCEPTION
    """``vector``; ``insn`` is the instruction that raised it, ``rip`` what the processor would
    push: ``insn`` too, or, after a trap, the next one's; ``address`` if a #GP, or on the stack a
    #SS, was about a non-canonical one; ``intercept`` and ``length`` of an instruction that never
    executes here (Intercept)."""
    STOPPED: Final[int] = lib.EXIT_STOPPED
    """``stop()`` was called, or the guest executed HLT."""


class Intercept(IntEnum):
    """Instructions before which a run stops: native/unicorn/intercept.c says which, and why."""

    NONE = lib.INTERCEPT_NONE
    UD = lib.INTERCEPT_UD
    """#UD: the processor modelled does not have it, or it is no instruction."""
    GP = lib.INTERCEPT_GP
    """#GP: I/O, and INT n but for 3 and 4."""
    INT1 = lib.INTERCEPT_INT1
    INT3 = lib.INTERCEPT_INT3
    INTO = lib.INTERCEPT_INTO
    """INT 4."""
    RDTSC = lib.INTERCEPT_RDTSC
    """#GP, since CR4.TSD is set; the caller may emulate it, and skip() its ``length``."""
    RDTSCP = lib.INTERCEPT_RDTSCP
    WRONG = lib.INTERCEPT_WRONG
    """#UD, which a processor would not raise: Unicorn would execute it with a wrong result."""


class Processor:
    """A Unicorn instance with our hooks on it: what a vCPU and an attached one have in common."""

    uc: Uc
    memory: Memory
    mmu: Mmu
    fidelity: Fidelity
    counting: bool
    c: Any
    shared: Any
    exit: Any

    def _hook(
        self,
        *,
        mm: Mm | None,
        ring: EventRing | None,
        fast_faults: bool,
        cpu: Cpu | None = None,
        attached: bool = False,
        deliver: bool = False,
        identity: bool = False,
        on_fault: Any = ffi.NULL,
    ) -> None:
        """Make the ``struct vcpu`` and put its hooks on the instance."""
        config = ffi.new(
            "struct vcpu_config *",
            {
                "uc": ffi.cast("void *", self.uc._uch.value),
                "mmu": foreign(self.mmu.c),
                "mm": ffi.NULL if mm is None else foreign(mm.c),
                "cpu": ffi.NULL if cpu is None else foreign(cpu.c),
                "ring": ffi.NULL if ring is None else foreign(ring.c),
                "fidelity": int(self.fidelity),
                "count": self.counting,
                "private": private_parts(),
                "attached": attached,
                "deliver": deliver,
                "settle_exit": ffi.cast("void *", lib.settle_exit),
                "places": env_places()[0],
                "identity": identity,
                "on_fault": on_fault,
            },
        )
        self.mmu.exact = self.fidelity is not Fidelity.FAST
        decoder = Decoder()
        vcpu = lib.vcpu_create(
            config, api_with(decoder), mmu_api(self.mmu, fast_faults=fast_faults)
        )
        if vcpu == ffi.NULL:
            raise EngineError("Unicorn refused our hooks, or the host has no memory for them")
        self.c = ffi.gc(vcpu, lib.vcpu_free)
        if deliver and not lib.vcpu_can_deliver(self.c):
            raise EngineError("this Unicorn's state cannot be reached to deliver exceptions")
        self.uc._vcpu = (self.c, decoder)
        self.shared = lib.vcpu_shared(self.c)
        self.exit = self.shared.exit

    def _unhook(self) -> None:
        if self.c is not None:
            lib.vcpu_unhook(self.c)
            del self.uc._vcpu
            self.c = None

    def _settle(self, exit_: Any) -> None:
        """What C leaves to Python: errors, and the exact address of a fault where only its page is
        known.
        """
        reason = exit_.reason
        if reason == lib.EXIT_PAGE_FAULT and not exit_.exact:
            exit_.address = self._exact_address(exit_)
            exit_.exact = 1
            self._let_fault_happen(exit_)
            if exit_.access == Access.RMW:
                exit_.access = Access.WRITE
        elif reason == lib.EXIT_EXCEPTION and exit_.address:
            self._settle_address(exit_)
        elif reason == lib.EXIT_BAD_TABLE:
            raise self._bad_table(exit_.address, Access(exit_.access), exit_.rip)
        elif reason == lib.EXIT_ABORTED:
            raise take_raised() or EngineError("a callback of the Python engine failed")
        elif reason == lib.EXIT_ENGINE:
            raise EngineError(
                f"Unicorn stopped at RIP {exit_.rip:#x}: {unicorn.UcError(exit_.uc_err)}"
            )

    def _bad_table(self, va: int, access: Access, rip: int | None) -> BadTable:
        """The error for an address whose walk, or whose page, leads out of guest memory."""
        walk = self.mmu.walk(va, access, user=self.cpl == 3)
        what = "its page" if walk.result == Outcome.OK else f"its level-{walk.level} table"
        where = walk.pa if walk.result == Outcome.OK else walk.entry_pa[walk.level]
        at = "" if rip is None else f" at RIP {rip:#x}"
        return BadTable(
            f"{access.verb} of {va:#x}{at}: {what} at guest-physical {where:#x} lies outside guest"
            " memory",
            va,
            walk,
        )

    def _settle_address(self, exit_: Any) -> None:
        """An address that is not canonical is #GP, or, through the stack segment, #SS (SDM vol. 1
        3.3.7.1).
        """
        if not exit_.exact:
            exit_.address = self._exact_address(exit_)
        from cpu.disasm import through_stack_segment

        if exit_.access != Access.FETCH and through_stack_segment(self, exit_.rip, exit_.address):
            exit_.vector = StackFault.vector

    def _let_fault_happen(self, exit_: Any) -> None:
        """With the address known: in exact the model's part, which waited for it; else only CR2 is
        not right yet.
        """
        if self.fidelity is Fidelity.FAST:
            self.mmu.c.cr2 = exit_.address
            return
        exit_.error_code = self.mmu.translate(
            exit_.address, exit_.access, user=self.cpl == 3
        ).error_code

    def _exact_address(self, exit_: Any) -> int:
        from cpu.disasm import accessed_address

        return accessed_address(self, exit_.rip, exit_.address, exit_.access)

    def stop(self) -> None:
        """End the run that is under way, or the next one, at its next block. Safe in a signal
        handler.
        """
        if self.c is not None:
            lib.vcpu_stop(self.c)

    def sync(self) -> None:
        """Make Unicorn forget what the MMU no longer says; every run begins with it."""
        lib.vcpu_sync(self.c)

    def drop_code(self, pa: int) -> None:
        """The host wrote to pa's frame: code translated from it is no longer right."""
        lib.vcpu_drop_code(self.c, pa)

    # Looking and changing.

    @property
    def instructions(self) -> int | None:
        """Instructions executed: each element of a rep counts, and each rep's end. None if not
        counted.
        """
        return self.shared.count if self.counting else None

    @property
    def rip(self) -> int:
        """The instruction pointer."""
        return int(lib.vcpu_reg_read(self.c, UC_X86_REG_RIP))

    @property
    def cpl(self) -> int:
        """The current privilege level, 0 to 3."""
        return int(lib.vcpu_cpl(self.c))

    @property
    def fs_base(self) -> int:
        """Base of FS."""
        return self.read_reg(UC_X86_REG_FS_BASE)

    @fs_base.setter
    def fs_base(self, value: int) -> None:
        self.write_reg(UC_X86_REG_FS_BASE, value)

    @property
    def gs_base(self) -> int:
        """Base of GS."""
        return self.read_reg(UC_X86_REG_GS_BASE)

    @gs_base.setter
    def gs_base(self, value: int) -> None:
        self.write_reg(UC_X86_REG_GS_BASE, value)

    def read_reg(self, reg: int) -> int:
        """A register of at most 64 bits, by its UC_X86_REG_* number."""
        return int(lib.vcpu_reg_read(self.c, reg))

    def write_reg(self, reg: int, value: int) -> None:
        """Set a register of at most 64 bits, by its UC_X86_REG_* number."""
        lib.vcpu_reg_write(self.c, reg, value & U64)

    def peek(self, va: int, length: int = MAX_INSTRUCTION) -> bytes:
        """Up to ``length`` bytes of code at va, as a fetch would read them; no side effects."""
        buffer = ffi.new("u8[]", length)
        return bytes(ffi.buffer(buffer, lib.vcpu_peek(self.c, va, buffer, length)))


class VCpu(Processor):
    """A processor over ``memory``, translating through ``mmu``; ``mm`` is whose faults may be
    resolved at once, until set_mm() says otherwise; ``cpu`` the kernel's CPU that it is, by default
    the one with this MMU in the mm's kernel.

    ``fidelity`` as in Fidelity; ``engine`` is the MMU's: the Python engine takes every fill and
    fault to Python. ``count=False`` (fast only) leaves instructions uncounted.
    ``fast_faults=False`` brings every page fault to the caller. ``ring`` gets the events of
    ``trace``. EngineError if Unicorn refuses.

    Use as a context manager, or close() it: the instance holds host memory.
    """

    def __init__(
        self,
        memory: Memory,
        mmu: Mmu,
        mm: Mm | None = None,
        *,
        cpu: Cpu | None = None,
        fidelity: Fidelity = Fidelity.FAST,
        engine: str | None = None,
        count: bool = True,
        fast_faults: bool = True,
        ring: EventRing | None = None,
    ) -> None:
        """Make the Unicorn instance and put our hooks on it."""
        if engine is not None and engine != mmu.engine:
            raise MmuError(f"the vCPU's engine is {engine!r} but its MMU's is {mmu.engine!r}")
        self.memory = memory
        self.mmu = mmu
        self.mm = mm
        self.fidelity = Fidelity(fidelity)
        self.counting = count
        self.ring = ring if ring is not None else mmu.ring
        self.uc = _new_instance(memory)
        self.cpu = mm.kernel.cpu_of(mmu) if cpu is None and mm is not None else cpu
        """The kernel's CPU that this is, if it runs under one."""
        in_c = mmu.engine == "c" and (self.cpu is None or self.cpu.kernel.native)
        self._hook(mm=mm, cpu=self.cpu, ring=self.ring, fast_faults=fast_faults and in_c)
        self._run = lib.vcpu_run
        if self.cpu is not None and count:
            address = ffi.cast("uintptr_t", ffi.addressof(self.shared, "count"))
            self.cpu.count_instructions(int(address), self.c)
        self.count = words(ffi, self.shared, "count")
        """Instructions executed, if counted, as a view of one number."""
        self.syscall_frame = words(ffi, ffi.addressof(self.exit), "insn", NR_FRAME)
        """What VmExit.SYSCALL tells, as words: ``insn``, ``nr``, and the six of ``arg``."""
        self._result = words(ffi, self.shared, "result", 2)

    def __enter__(self) -> VCpu:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the instance; nothing of this vCPU may be used afterwards."""
        if self.cpu is not None and self.c is not None:
            self.cpu.count_instructions(0, None)
        self._unhook()

    def run(self, limit: int | None = None) -> Any:
        """Run until something of VmExit, at the latest when ``instructions`` is ``limit``; returns
        the exit.

        The exit is one struct, overwritten by the next run. Raises BadTable if a paging structure
        lies outside guest memory, EngineError if Unicorn failed, and what a callback raised.
        """
        self.enter(U64 if limit is None else limit)
        return self.exit

    def enter(self, limit: int, due: int = U64) -> int:
        """As run(), but returns the exit's reason alone; a ``limit`` of U64 is none.

        From the count ``due`` on the caller wants to look, before anything changes that it may see:
        no fault is resolved at once, and some thousand instructions later it is VmExit.LIMIT.
        """
        reason: int = self._run(self.c, limit, due)
        if reason >= _PAGE_FAULT:
            if reason == _EXCEPTION and not self.exit.intercept:
                forget_exception(self.uc)
            self._settle(self.exit)
        return reason

    # The program that it runs.

    def set_mm(self, mm: Mm | None) -> None:
        """The program that runs next has this address space: its faults may be resolved at once.

        Which translations the CPU uses, its MMU's CR3 says (switch_mm()), not this. None: a kernel
        thread, or nothing, which has no faults.
        """
        if mm is self.mm:
            return
        self.mm = mm
        lib.vcpu_set_mm(self.c, ffi.NULL if mm is None else foreign(mm.c))

    def save_context(self, context: Context | None = None) -> Context:
        """Put the registers of the program that ran last into ``context``, or a new one, with the
        result of its system call; returns it.
        """
        if context is None:
            context = Context(self)
        lib.vcpu_context_save(self.c, context.c)
        return context

    def load_context(self, context: Context) -> None:
        """Go on with that program: all registers, and its privilege level, also on a vCPU that has
        run nothing yet.
        """
        lib.vcpu_context_load(self.c, context.c)

    def get_regs(self) -> Any:
        """All integer registers, a new ``struct user_regs`` (native/unicorn/user_regs.h); a pending
        set_result() is in ax.
        """
        regs = ffi.new("struct user_regs *")
        lib.vcpu_get_regs(self.c, regs)
        return regs

    def set_regs(self, regs: Any) -> None:
        """Set all integer registers from a ``struct user_regs``; a pending set_result() is gone."""
        lib.vcpu_set_regs(self.c, regs)

    def fxsave(self) -> bytes:
        """x87 and SSE state as FXSAVE64 stores it: FXSAVE_SIZE bytes, those from 416 on are 0."""
        image = ffi.new("u8[]", FXSAVE_SIZE)
        lib.vcpu_fxsave(self.c, image)
        return bytes(ffi.buffer(image))

    def fxrstor(self, image: bytes) -> None:
        """Set x87 and SSE state as FXRSTOR64 loads it, but that reserved bits of MXCSR are ignored.

        Raises MmuError unless the image has FXSAVE_SIZE bytes.
        """
        lib.vcpu_fxrstor(self.c, fxsave_image(image))

    def set_result(self, value: int) -> None:
        """The next run begins with this in rax: a system call's result, 64 bits."""
        result = self._result
        result[0] = value
        result[1] = 1

    def skip(self, length: int) -> None:
        """Step over the instruction at RIP, ``length`` bytes long, which was emulated: it counts as
        executed.
        """
        lib.vcpu_skip(self.c, length)

    def enter_user(self, rip: int, rsp: int) -> None:
        """Begin a program: CPL 3 at rip with this stack, every other register as Linux's exec
        leaves it.

        Source: start_thread() and fpu_flush_thread(), v6.18. By a SYSRETQ of the processor's own,
        with the MMU's CR0.
        """
        error = lib.vcpu_enter_user(self.c, rip, rsp)
        if error:
            raise EngineError(f"could not enter user mode: {unicorn.UcError(error)}")


def _new_instance(memory: Memory) -> Uc:
    """A Unicorn instance that has guest RAM at its guest-physical place, behind it SYSRETQ, which
    no page table of a guest leads to, and asks hooks for translations.
    """
    try:
        uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(CPU_MODEL)
        uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        uc.mem_map_ptr(memory.base, memory.size, UC_PROT_ALL, int(foreign_address(memory.c.ram)))
        uc.mem_map(memory.base + memory.size, PAGE_SIZE)
        uc.mem_write(memory.base + memory.size, SYSRETQ)
    except unicorn.UcError as error:
        raise EngineError(f"Unicorn cannot be set up: {error}") from None
    return uc


def foreign_address(pointer: Any) -> int:
    """A pointer of mmu._native as a number."""
    return int(ffi.cast("uintptr_t", foreign(pointer)))
