# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn's own page walker against our MMU, on random states.

A state is control registers, paging structures with random flags, and one instruction at CPL 0 or
3. Unicorn executes it with its built-in walker (``UC_TLB_CPU``); what had to happen is told by our
engine, asked for each page that the instruction touches. Registers, vector, error code, CR2, RIP,
the data, and every table entry with its A and D must be equal. Part of the states are also executed
by Unicorn through our MMU, in fast and in exact. Some states are sequences: an access, a store to a
table entry, INVLPG, MOV CR3, two MOV CR4 or nothing, and another access. Where the architecture
leaves a choice (SDM 4.10.4.3), the old or the new translation is right, and nothing else.

The work is done in C (unicorn_walker.c). The error code is not public: it is looked for in what
``uc_context_save()`` writes, as the one word that holds the right code after each of several faults
about which there is no doubt.

DEVIATIONS lists every way to differ. A state that differs is excused only if it did just what these
deviations, and as few of them as possible, make of it: the judge is asked again with them on. How
many states each may excuse is bounded, and each has a test of its own that it still occurs.

CHOICES lists where both are right but Unicorn's walker always chooses the same.

To see one state again: ``python -m tests.oracles.unicorn_walker SEED INDEX``.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.unicorn_py3 import unicorn as binding
from unicorn.x86_const import (
    UC_CPU_X86_ICELAKE_SERVER,
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
)

from cpu._engine import ffi as engine_ffi
from cpu._engine import lib as engine_lib
from cpu.linkage import private_parts
from cpu.mode import MSR_EFER
from cpu.vcpu import UC_TLB_VIRTUAL, Fidelity, Processor
from mmu._native import ffi as mmu_ffi
from mmu._native import lib as mmu_lib
from mmu.memory import Memory
from mmu.x86 import Mmu
from native import cdef, on_demand

HERE: Final = Path(__file__).resolve().parent
WALKER, FAST, EXACT, ENGINE = range(4)
WHO: Final = ("Unicorn's walker", "our MMU, fast", "our MMU, exact", "the TLB model")
MAXPHYADDR: Final = 40
"""Of Unicorn's walker, whatever the processor model."""

_UNICORN: Any = binding.uclib
_UC = (
    "emu_start", "emu_stop", "hook_add", "hook_del", "ctl", "reg_read", "reg_write", "mem_map_ptr",
    "context_alloc", "context_save", "context_restore", "context_size", "context_free",
)  # fmt: skip
_MMU = ("walk", "translate", "refill", "flush_all", "invlpg", "write_cr3", "write_cr4")
_ENGINE = ("vcpu_emu_start", "vcpu_shared")


@dataclass(frozen=True)
class Deviation:
    """One way in which Unicorn is known not to do what the architecture says."""

    name: str
    """DEVIATION_* of unicorn_walker.h; judge() there does what it says."""
    who: tuple[int, ...]
    limit: float
    """The largest share of states that it may excuse."""
    reason: str


DEVIATIONS: Final = (
    Deviation(
        "RMW_READS_FIRST",
        (WALKER,),
        0.15,
        "Unicorn's walker translates a read-modify-write as a load and then a store. So a fault of"
        " its first half has W/R 0, and A may be set where only the store faults. On a processor"
        " it is a write (SDM 4.7).",
    ),
    Deviation(
        "CANONICAL_LATE",
        (WALKER, FAST, EXACT),
        0.01,
        "An access whose second page is not canonical: Unicorn translates the first page, with its"
        " A and D or its page fault, before it looks at the second one's address (in exact only"
        " the fault is left of that). Whether an operand is canonical comes before paging (SDM"
        " vol. 1 3.3.7.1).",
    ),
    Deviation(
        "STACK_IS_GP",
        (WALKER,),
        0.005,
        "A push to an address that is not canonical is #SS (SDM vol. 1 3.3.7.1). Unicorn's walker"
        " raises #GP: it is not told which segment is used. Our vCPU decodes the instruction.",
    ),
    Deviation(
        "JUMP_ARRIVES",
        (WALKER, FAST, EXACT),
        0.005,
        "A near jump to an address that is not canonical is #GP of the jump (SDM vol. 2 JMP)."
        " Unicorn jumps, and raises it when it fetches there: RIP is the target.",
    ),
    Deviation(
        "IMPLICIT_AC",
        (WALKER,),
        0.02,
        "SMAP takes no heed of AC for implicit supervisor accesses (SDM 4.6.1). Unicorn's walker"
        " does at CPL 0.",
    ),
    Deviation(
        "HUGE_ACCESSED",
        (WALKER,),
        0.05,
        "Unicorn's walker sets A of a 1 GiB page's entry before it checks rights and bits 29:13,"
        " so also if the access faults. Of pages of 4 KiB and 2 MiB it does not, as our engine.",
    ),
    Deviation(
        "SECOND_FIRST",
        (EXACT,),
        0.03,
        "In exact an access to two pages of which only the second faults leaves A and D of the"
        " first as they were: the fault comes before anything is counted. The architecture has no"
        " order of the two pages.",
    ),
    Deviation(
        "RMW_ASKED_AS_LOAD",
        (FAST,),
        0.05,
        "In fast Unicorn asks for the load of a read-modify-write as for any load, and only if"
        " that faults it is told as the store's. So A may be set where only the store faults; and"
        " if of two pages the first cannot be written and the second not be read, the second"
        " faults, where processors have been seen to let the first.",
    ),
)


@dataclass(frozen=True)
class Choice:
    """A sequence whose second access may use the old translation: Unicorn's walker never does."""

    name: str
    reason: str


CHOICES: Final = (
    Choice(
        "global", "MOV CR3 keeps global translations (SDM 4.10.4.1); Unicorn's walker drops them."
    ),
    Choice("pcid", "Unicorn's walker has no PCIDs: MOV CR3 drops everything, bit 63 set or not."),
)

CR3_BIT_63: Final = (
    "Unicorn leaves bit 63 in CR3, and with five levels takes it for part of the PML5 table's"
    " address: the next walk goes astray. So no random state sets it with CR4.LA57;"
    " test_bit_63_of_cr3_with_five_levels shows it."
)


@functools.cache
def load() -> Any:
    """The compiled driver, with ``ffi`` and ``lib``."""
    return on_demand.load(
        "ucmmu_unicorn_walker",
        [HERE / "unicorn_walker.h"],
        sorted(HERE.glob("unicorn_walker*.c")),
        [cdef.unicorn_include()],
    )


class Through(Processor):
    """An instance that translates through our MMU and owns its control registers."""

    def __init__(self, uc: Uc, memory: Memory, mmu: Mmu, fidelity: Fidelity) -> None:
        self.uc, self.memory, self.mmu, self.fidelity = uc, memory, mmu, fidelity
        self.counting = False
        mmu.c.efer = uc.msr_read(MSR_EFER)
        self._hook(mm=None, ring=None, fast_faults=False, attached=True)

    def settle(self) -> None:
        """What C leaves to Python of the last exit."""
        self._settle(self.exit)


class Walker:
    """Instances of each kind over one RAM, and the driver that runs states on them."""

    def __init__(self) -> None:
        module = load()
        self.ffi, self.lib = module.ffi, module.lib
        self.memory = Memory(int(self.lib.walker_ram()))
        self.unit = self._mmu()
        self._kept: list[Uc] = []
        self._through: dict[int, Through] = {}
        self.c = self.lib.walker_create(
            self._unicorn(), self._ours(), self._foreign(mmu_ffi, self.unit.c)
        )
        assert self.c != self.ffi.NULL
        for five in (0, 1):
            for cpl in (0, 3):
                for who in (WALKER, FAST, EXACT):
                    self._add(who, five, cpl)
        self._check(self.lib.walker_find_error_code(self.c))

    def __enter__(self) -> Walker:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.lib.walker_free(self.c)
        self._through.clear()
        self._kept.clear()
        self.memory.close()

    def _mmu(self) -> Mmu:
        return Mmu(self.memory, geometry="tiny", maxphyaddr=MAXPHYADDR)

    def _foreign(self, ffi: Any, pointer: Any) -> Any:
        return self.ffi.cast("void *", int(ffi.cast("uintptr_t", pointer)))

    def _unicorn(self) -> Any:
        api = self.ffi.new("struct unicorn_api *")
        for name in _UC:
            address = ctypes.cast(getattr(_UNICORN, f"uc_{name}"), ctypes.c_void_p).value
            setattr(api, name, self.ffi.cast("void *", address))
        return api

    def _ours(self) -> Any:
        api = self.ffi.new("struct our_api *")
        self._settle = self.ffi.callback("void(void *)", self._settle_exit)
        api.settle = self.ffi.cast("void *", self._settle)
        for name in _MMU:
            setattr(api, name, self._foreign(mmu_ffi, mmu_ffi.addressof(mmu_lib, f"mmu_{name}")))
        for name in _ENGINE:
            setattr(api, name, self._foreign(engine_ffi, engine_ffi.addressof(engine_lib, name)))
        return api

    def _settle_exit(self, vcpu: Any) -> None:
        self._through[int(self.ffi.cast("uintptr_t", vcpu))].settle()

    def _check(self, error: Any) -> None:
        if error != self.ffi.NULL:
            raise AssertionError(self.ffi.string(error).decode())

    def _add(self, who: int, five: int, cpl: int) -> None:
        uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(UC_CPU_X86_ICELAKE_SERVER)
        handle = self.ffi.cast("void *", uc._uch.value)
        self._check(self.lib.walker_prepare(self.c, handle, five, cpl))
        vcpu = unit = self.ffi.NULL
        if who != WALKER:
            through = self._make_through(uc, who)
            vcpu, unit = self._foreign(engine_ffi, through.c), self._foreign(mmu_ffi, through.mmu.c)
            self._through[int(self.ffi.cast("uintptr_t", vcpu))] = through
        self._check(self.lib.walker_add(self.c, who, five, cpl, handle, vcpu, unit))
        self._kept.append(uc)

    def _make_through(self, uc: Uc, who: int) -> Through:
        uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        mmu = self._mmu()
        mmu.c.cr0, mmu.c.cr3, mmu.c.cr4 = (uc.reg_read(reg) for reg in _CONTROL_REGISTERS)
        return Through(uc, self.memory, mmu, Fidelity.FAST if who == FAST else Fidelity.EXACT)

    def state(self, seed: int, index: int) -> Any:
        """State number index of a seed."""
        state = self.ffi.new("struct state *")
        self.lib.walker_state(self.c, seed, index, state)
        return state

    def run(self, seed: int, states: int, *, first: int = 0, vcpu_every: int = 0) -> Any:
        """Run that many states; the tally. Our MMU only with Unicorn's private parts, which tell it
        exact addresses.
        """
        tally = self.ffi.new("struct tally *")
        every = vcpu_every if private_parts() == engine_lib.PRIVATE_ALL else 0
        self.lib.walker_run(self.c, seed, first, states, every, tally)
        return tally

    def attempt(self, state: Any, *, vcpu: bool = False) -> Any:
        """Run one given state; the tally."""
        tally = self.ffi.new("struct tally *")
        self.lib.walker_try(self.c, state, vcpu, tally)
        return tally

    def plant(self, wrong: int = 0, bit: int = 0) -> None:
        """Plant a fault in our engine's answers (WRONG_*), or take it out again."""
        self.lib.walker_plant(self.c, wrong, bit)

    def names(self, prefix: str) -> dict[str, int]:
        """The constants of unicorn_walker.h that begin so, without the prefix."""
        return {
            name.removeprefix(prefix): getattr(self.lib, name)
            for name in dir(self.lib)
            if name.startswith(prefix)
        }


_CONTROL_REGISTERS: Final = (UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4)


def describe_state(walker: Walker, s: Any) -> str:
    """A state, for people."""
    names = {value: name for name, value in walker.names("KIND_").items()}
    fields = ["cr0", "cr3", "cr4", "efer", "rflags", "pkru", "va", "rax", "rcx"]
    lines = [
        f"seed {s.seed} index {s.index}: {names[s.kind]} of {s.size} bytes ({s.second} in a second"
        f" page) at CPL {s.cpl}, engine way {s.way}",
        " ".join(f"{name}={getattr(s, name):#x}" for name in fields),
    ]
    if s.sequence:
        lines.append(
            f"sequence: entry {s.edited} becomes {s.new_entry:#x}, flush {s.flush}, reload"
            f" {s.reload:#x}, {'defined' if s.defined else 'undefined'}"
        )
    for i in range(s.nr_entries):
        lines.append(f"  [{i}] level {s.entry_level[i]} at {s.entry_pa[i]:#x}: {s.entry[i]:#018x}")
    return "\n".join(lines)


def _difference(expected: Any, found: Any, nr_entries: int) -> list[str]:
    registers = ["vector", "code", "cr2", "rip", "rax", "rcx", "rsp", "rsi", "rdi"]
    lines = [
        f"  {name}: {getattr(found, name):#x}, not {getattr(expected, name):#x}"
        for name in registers
        if getattr(found, name) != getattr(expected, name)
    ]
    for i, (right, wrong) in enumerate(
        zip(map(bytes, expected.cell), map(bytes, found.cell), strict=True)
    ):
        if right != wrong:
            what = f"entry [{i}]" if i < nr_entries else f"data {i - nr_entries}"
            lines.append(
                f"  {what}: {wrong[::-1].hex()}, not {right[::-1].hex()} (highest byte first)"
            )
    return lines


def describe_failure(walker: Walker, tally: Any) -> str:
    """The first state that nothing excuses, and how to see it again."""
    s = tally.failed
    step = f", access {tally.failed_step}" if tally.failed_step else ""
    return "\n".join(
        [
            f"{tally.failures} of {tally.states} states differ; the first,"
            f" {WHO[tally.failed_who]}{step}:",
            describe_state(walker, s),
            *_difference(tally.expected, tally.found, s.nr_entries),
            f"see it again: python -m tests.oracles.unicorn_walker {s.seed} {s.index}",
        ]
    )


def main() -> int:
    """Run one state of a seed again, through everything, and print it."""
    seed, index = (int(word, 0) for word in sys.argv[1:])
    with Walker() as walker:
        print(describe_state(walker, walker.state(seed, index)))
        tally = walker.run(seed, 1, first=index, vcpu_every=1)
        if tally.failures:
            print(describe_failure(walker, tally))
        for number, deviation in enumerate(DEVIATIONS):
            for who in deviation.who:
                if tally.excused[who][number]:
                    print(f"{WHO[who]} is excused: {deviation.name}")
        return int(tally.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
