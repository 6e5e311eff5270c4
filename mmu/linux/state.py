# SPDX-License-Identifier: GPL-2.0-or-later
"""What everything in this package works on: the kernel, its CPUs, and address spaces.

::

    Kernel ── memory, event ring, policy, RCU, sysctls     what Linux keeps in global variables
      │
      ├── Cpu 0, 1, …  mmu, loaded mm, ASIDs, interrupts, RCU nesting, gather    per-CPU variables
      │
      └── MmStruct     page tables, VMAs, counters; the CPUs that may have it loaded (mm_cpumask)

An MmStruct names no CPU. Code that runs on a CPU finds it as ``kernel.this_cpu``, which whoever
makes a CPU run has set. Making an MmStruct loads nothing: ``switch_mm()`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import EVENT_ID, KERNEL_COUNTER_ID, KERNEL_COUNTERS
from mmu.linux.bug import Bug, MmBug
from mmu.linux.filemap import MappedFile
from mmu.linux.layout import TASK_SIZE, UNKNOWN, Hole, mmap_base
from mmu.linux.lockdep import Lockdep
from mmu.linux.mmap_lock import MmapLock, MmapLocked
from mmu.linux.policy import FreeLevels, FreeTables, check_free_levels, class_of
from mmu.linux.resource import Rlimits
from mmu.linux.rwsem import LockUse
from mmu.linux.sched import Alone, Scheduler, Sleep, WaitQueue
from mmu.linux.tracepoint import emit
from mmu.linux.user_stretches import UserRange
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmu._native import (
        Ptr,
        struct_kernel_ptr,
        struct_mm_struct_ptr,
        struct_vm_area_struct_ptr,
    )
    from mmu.events import EventRing
    from mmu.linux.filemap import AddressSpace
    from mmu.linux.rwsem import RwSemaphore
    from mmu.memory import Memory
    from mmu.x86 import Mmu

DEFAULT_MAX_MAP_COUNT: Final = 65530
DEFAULT_MMAP_MIN_ADDR: Final = 65536
OVERCOMMIT_GUESS: Final = 0
OVERCOMMIT_ALWAYS: Final = 1
OVERCOMMIT_NEVER: Final = 2
OVERCOMMIT_RATIO: Final = 50
"""Per cent of RAM that may be promised where overcommit_memory is 2 (vm.overcommit_ratio)."""

ENGINES: Final = ("c", "python")
"""Which twin does the work on entries: the functions of native/mm, or those of this package."""


LOADED_MM_SWITCHING: Final = 0
"""Cpu.loaded_mm_id of a CPU that is between two mms; no mm has this ctx_id."""

HZ: Final = 1000
"""Jiffies in a second of virtual time."""
NSEC_PER_SEC: Final = 1_000_000_000

CALL_FUNCTION_SINGLE_VECTOR: Final = 0xFB
CALL_FUNCTION_VECTOR: Final = 0xFC
"""The interrupts by which a CPU has functions called on another, on several
(arch/x86/include/asm/irq_vectors.h).
"""

_CALL_FUNCTION_ENTRY: Final = EVENT_ID["call_function_entry"]
_CALL_FUNCTION_EXIT: Final = EVENT_ID["call_function_exit"]
_CSD_ENTRY: Final = EVENT_ID["csd_function_entry"]
_CSD_EXIT: Final = EVENT_ID["csd_function_exit"]
_IRQ_CALL_COUNT: Final = KERNEL_COUNTER_ID["irq_call_count"]

_kernels: WeakValueDictionary[int, Kernel] = WeakValueDictionary()
_mms: WeakValueDictionary[int, MmStruct] = WeakValueDictionary()


def kernel_of(c: struct_kernel_ptr) -> Kernel:
    """The Kernel whose ``c`` this is: for functions that C calls back."""
    return _kernels[int(ffi.cast("uintptr_t", c))]


def mm_of(c: struct_mm_struct_ptr) -> MmStruct:
    """The MmStruct whose ``c`` this is: for functions that C calls back."""
    return _mms[int(ffi.cast("uintptr_t", c))]


@ffi.def_extern()
def kernel_run_calls(c: struct_kernel_ptr, number: int) -> None:
    """What C calls where it turned interrupts on again and calls wait for the CPU."""
    kernel = kernel_of(c)
    try:
        kernel.cpus[number].interrupt()
    except BaseException as error:
        kernel.keep_error(error)


class TablePolicy(Protocol):
    """What lies below mmu.linux.free_tables needs of a policy, which is a FreeTablesPolicy."""

    label: ClassVar[str]
    counts: ClassVar[bool]
    number: ClassVar[int]

    def __init__(self, kernel: Kernel) -> None: ...

    def tlb_remove_tables(self, tables: Sequence[int]) -> None:
        """See FreeTablesPolicy."""

    def frame_freed(self, table: int) -> None:
        """See FreeTablesPolicy."""

    def kept(self, table: int) -> int:
        """See FreeTablesPolicy."""

    def task_work(self) -> None:
        """See FreeTablesPolicy."""

    def memory_kept(self) -> int:
        """See FreeTablesPolicy."""

    def figures(self) -> dict[str, int]:
        """See FreeTablesPolicy."""


class Instrument(Protocol):
    """Who watches what CPUs share without a lock, as KCSAN does (include/linux/instrumented.h):
    the explorer of races. An ``owner`` is an MmStruct, a Cpu, or the Kernel.
    """

    def lock_prefix(self, *, spin_lock: bool = False) -> None:
        """The next read-modify-write of memory is one locked instruction; ``spin_lock``: which
        takes a lock that the CPU waits for.
        """

    def instrument_read(self, owner: object, field: str) -> None:
        """A field is read that another CPU may change meanwhile."""

    def instrument_write(self, owner: object, field: str) -> None:
        """A field is changed that another CPU may look at meanwhile, by a locked instruction."""

    def instrument_lock(
        self, lock: str, number: int, *, write: bool, use: LockUse = LockUse.TRIED
    ) -> None:
        """A lock of readers and a writer is tried, taken, given back or waited for."""

    def write_once(self, owner: object, field: str, value: int) -> None:
        """A plain store to a field: other CPUs may see it later."""

    def read_once(self, owner: object, field: str) -> int:
        """A plain load of such a field."""

    def peek(self, owner: object, field: str) -> int:
        """The newest store to such a field, by any CPU: no CPU's access."""

    def smp_mb(self) -> None:
        """What this CPU stored before is seen by all, before it goes on."""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Kernel:
    """What Linux keeps in global variables: memory, CPUs, RCU, how tables are freed, sysctls.

    ``policy`` says when empty PTE tables are freed: one of ours, or a subclass of FreeTablesPolicy;
    ``free_levels`` whether empty PMD and PUD tables are freed as well. ``engine`` says which twins
    are called, those in C for "c" (``native``), but those in Python for a policy in Python: the MMU
    may be in C all the same. ``ring`` takes the events, None records nothing. ``scheduler`` is
    asked wherever kernel code waits, ``on_point`` hears of each step that another CPU could see
    (tests switch there). ``now_ns`` tells the virtual time, nanoseconds since boot. ``c`` is the
    ``struct kernel *`` of native/mm that both engines work on. ``lockdep`` has every lock watched
    (mmu.linux.lockdep), at the cost of a call for each. ``max_map_count``, ``mmap_min_addr`` and
    ``overcommit_memory`` are the sysctls of those names (vm.*). ``mms`` are the address spaces that
    have not exited, oldest first; ``all_mms`` is the same, for who does not go through it as the
    kernel's code.
    Raises MmuError for an unknown engine, and for free_levels with a policy that does not count.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        policy: FreeTables | type[TablePolicy] = FreeTables.REFCOUNT,
        free_levels: FreeLevels = FreeLevels.PTE,
        engine: str = "c",
        ring: EventRing | None = None,
        lockdep: bool = False,
    ) -> None:
        if engine not in ENGINES:
            raise MmuError(f"there is no engine {engine!r}: choose one of {', '.join(ENGINES)}")
        label = policy.label if isinstance(policy, FreeTables) else policy.label or policy.__name__
        check_free_levels(label, policy_number(policy), free_levels)
        self.memory = memory
        self.policy = policy
        self.free_levels = free_levels
        self.task_work = None if isinstance(policy, FreeTables) else self._policys_work
        """Done where a task goes back to user mode, for a policy of one's own."""
        self.policy_memory_max = 0
        """Bytes that it kept at most (FreeTablesPolicy.memory_kept())."""
        self.engine = engine
        self.native = engine == "c" and isinstance(policy, FreeTables)
        self.ring = ring
        self.max_map_count = DEFAULT_MAX_MAP_COUNT
        self.mmap_min_addr = DEFAULT_MMAP_MIN_ADDR
        self.overcommit_memory = OVERCOMMIT_ALWAYS
        self.cpus: list[Cpu] = []
        self.nr_csds = 0
        """Functions that CPUs had called on others."""
        self.user_range = UserRange()
        """What a translation of a user's bytes is told in, until the next."""
        self.all_mms: list[MmStruct] = []
        self.shrinkers: list[Callable[[], int]] = []
        """Asked for frames when RAM is out: each gives some back and returns how many."""
        self.scheduler: Scheduler = Alone()
        self.on_point: Callable[[str], None] | None = None
        self.ready: Callable[[], bool] | None = None
        """What the step that comes next, at the last point, waits for; None: nothing."""
        self.sleeps_for = ""
        """The same in words, if the task sleeps meanwhile; "": it spins."""
        self.gp_kthread = False
        """Whether a grace period is ended by a thread (mmu.linux.rcu.rcu_gp_kthread()), which the
        scheduler runs, and not in the report of the last CPU. In Python alone.
        """
        self.instrument: Instrument | None = None
        """Hears of what CPUs share without a lock (Python engine)."""
        self.on_new_mm: Callable[[MmStruct], None] | None = None
        """Hears of each mm that is made, before anything is mapped in it."""
        self.now_ns: Callable[[], int] = _boot_time
        self.tables_change_for: object = None
        self.operations = ffi.new("struct check_operations *")
        self.nr_operations = 0
        self.c = ffi.new("struct kernel *")
        self.c.ram = memory.c
        self.c.ring = ffi.NULL if ring is None else ring.c
        self.c.policy = policy_number(policy)
        self.c.free_levels = free_levels.number
        self.c.rcu.head = self.c.rcu.tail = self.c.rcu.wait_head = lib.PAGE_NONE
        self.rcu_gp_wait = WaitQueue("grace periods")
        self.folio_wait = WaitQueue("folio locks")
        self.i_mmap_rwsems: WeakKeyDictionary[AddressSpace, RwSemaphore] = WeakKeyDictionary()
        """By file; see mmu.linux.i_mmap."""
        self.nr_i_mmap_rwsems = 0
        self.c.wait_for_lock = lib.kernel_wait_for_lock
        self.c.run_calls = lib.kernel_run_calls
        self.c.flush_others = lib.kernel_flush_others
        self.c.sync_one = lib.kernel_sync_one
        self.c.last_mm_ctx_id = lib.INIT_MM_CTX_ID
        self.c.invlpgb = 1
        self.c.last_global_asid = lib.MAX_ASID_AVAILABLE
        self.c.global_asid_available = lib.MAX_ASID_AVAILABLE - lib.TLB_NR_DYN_ASIDS - 1
        self.lockdep = Lockdep(self.c) if lockdep else None
        self.c.lockdep = lib.kernel_lockdep if lockdep else ffi.NULL
        self._error: BaseException | None = None
        _kernels[int(ffi.cast("uintptr_t", self.c))] = self

    @cached_property
    def free_tables(self) -> TablePolicy:
        """How tables are freed, under the Python engine; see mmu.linux.free_tables."""
        if isinstance(self.policy, FreeTables):
            return cast("TablePolicy", class_of(self.policy)(self))
        return self.policy(self)

    @property
    def policy_name(self) -> str:
        """The policy's label, or the name of its class."""
        policy = self.policy
        return policy.label if isinstance(policy, FreeTables) else policy.label or policy.__name__

    def policy_figures(self) -> dict[str, int]:
        """What a policy of one's own says of itself, and "memory kept at most, bytes"; of ours
        nothing. Raises TypeError if what it says is not names and whole numbers, or no number of
        bytes.
        """
        if self.task_work is None:
            return {}
        figures = self.free_tables.figures()
        if not isinstance(figures, dict) or not all(
            isinstance(name, str) and _is_whole(value) for name, value in figures.items()
        ):
            raise TypeError(f"figures() must return whole numbers by name, not {figures!r}")
        return {
            **figures,
            "memory kept at most, bytes": max(self.policy_memory_max, self._memory_kept()),
        }

    def _memory_kept(self) -> int:
        kept = self.free_tables.memory_kept()
        if not _is_whole(kept) or kept < 0:
            raise TypeError(f"memory_kept() must return a whole number of bytes, not {kept!r}")
        return kept

    def _policys_work(self) -> None:
        self.policy_memory_max = max(self.policy_memory_max, self._memory_kept())
        self.free_tables.task_work()

    def add_cpu(self, mmu: Mmu) -> Cpu:
        """Bring up a CPU with this MMU, and return it. The first one is ``this_cpu``.

        It begins with no mm: CR3 names init_mm's PGD, which maps nothing. Flushes are broadcast
        (INVLPGB) only if every CPU can. Raises MmuError beyond NR_CPUS.
        """
        if len(self.cpus) == lib.NR_CPUS:
            raise MmuError(f"a kernel has at most {lib.NR_CPUS} CPUs")
        cpu = Cpu(self, len(self.cpus), mmu)
        self.cpus.append(cpu)
        self.c.cpu[cpu.id] = cpu.c
        self.c.nr_cpus = len(self.cpus)
        self.c.invlpgb &= cpu.has_invlpgb()
        if cpu.id == 0:
            self.this_cpu = cpu
        return cpu

    def cpu_of(self, mmu: Mmu) -> Cpu:
        """Return the CPU with this MMU. Raises MmuError if there is none."""
        for cpu in self.cpus:
            if cpu.mmu is mmu:
                return cpu
        raise MmuError("no CPU of this kernel has this MMU: add_cpu() gives it one")

    @property
    def this_cpu(self) -> Cpu:
        """The CPU that kernel code runs on. Setting it also stamps later events with its number."""
        return self.cpus[int(self.c.this_cpu.id)]

    @this_cpu.setter
    def this_cpu(self, cpu: Cpu) -> None:
        lib.set_this_cpu(self.c, cpu.c)

    @property
    def swapper_pg_dir(self) -> int:
        """The guest-physical address of init_mm's PGD: the zero page, for nothing is mapped there.

        A CPU whose CR3 names it has no mm.
        """
        return self.memory.zero_pfn << PAGE_SHIFT

    @property
    def jiffies(self) -> int:
        """Ticks of HZ since the kernel was booted, of virtual time."""
        return self.now_ns() * HZ // NSEC_PER_SEC

    def point(
        self, name: str, ready: Callable[[], bool] | None = None, *, sleeps_for: str = ""
    ) -> None:
        """A step of this name comes next that another CPU could see; with ``ready``, which
        ``self.ready`` is then, it waits where that is not so: it spins, or ``sleeps_for`` what that
        says in words.
        """
        if self.on_point is not None:
            self.ready, self.sleeps_for = ready, sleeps_for
            self.on_point(name)

    @property
    def mms(self) -> list[MmStruct]:
        """The address spaces that have not exited, oldest first."""
        self.instrument_read(self, "mms")
        return self.all_mms

    def lock_prefix(self, *, spin_lock: bool = False) -> None:
        """The next read-modify-write of memory is one locked instruction; see Instrument."""
        if self.instrument is not None:
            self.instrument.lock_prefix(spin_lock=spin_lock)

    def instrument_read(self, owner: object, field: str) -> None:
        """See Instrument."""
        if self.instrument is not None:
            self.instrument.instrument_read(owner, field)

    def instrument_write(self, owner: object, field: str) -> None:
        """See Instrument."""
        if self.instrument is not None:
            self.instrument.instrument_write(owner, field)

    def instrument_lock(
        self, lock: str, number: int, *, write: bool, use: LockUse = LockUse.TRIED
    ) -> None:
        """See Instrument."""
        if self.instrument is not None:
            self.instrument.instrument_lock(lock, number, write=write, use=use)

    def write_once(self, owner: object, field: str, value: int) -> None:
        """WRITE_ONCE() of a field that other CPUs look at without a lock: a plain store, which they
        may see later than this CPU does, in the order of its stores.
        """
        if self.instrument is None:
            setattr(owner, field, value)
        else:
            self.instrument.write_once(owner, field, value)

    def read_once(self, owner: object, field: str) -> int:
        """READ_ONCE() of such a field: this CPU's own newest store, or what all see."""
        if self.instrument is None:
            return int(getattr(owner, field))
        return self.instrument.read_once(owner, field)

    def peek(self, owner: object, field: str) -> int:
        """The newest store to such a field, also one that only its own CPU sees yet: a look for
        reports, no CPU's access.
        """
        if self.instrument is None:
            return int(getattr(owner, field))
        return self.instrument.peek(owner, field)

    def smp_mb(self) -> None:
        """A full barrier: what this CPU stored is seen by all before it loads anything more."""
        if self.instrument is not None:
            self.instrument.smp_mb()

    def wait_event(
        self,
        queue: WaitQueue,
        ready: Callable[[], bool],
        what: str,
        *,
        sleep: Sleep = Sleep.UNINTERRUPTIBLE,
        timeout_ns: int | None = None,
    ) -> int:
        """Scheduler.wait_event(), with lockdep's look at what the sleeper holds."""
        if self.lockdep is None:
            return self.scheduler.wait_event(queue, ready, what, sleep=sleep, timeout_ns=timeout_ns)
        held = self.lockdep.sleep(what)
        try:
            return self.scheduler.wait_event(queue, ready, what, sleep=sleep, timeout_ns=timeout_ns)
        finally:
            self.lockdep.wake(held)

    def note_code_written(self, pa: int) -> None:
        """The kernel wrote to the frame at guest-physical pa, which instructions were fetched from:
        every CPU must drop what it translated from it.
        """
        lib.note_code_written(self.c, pa)

    def bug(self, bug: Bug, address: int = 0) -> None:
        """Keep the first broken invariant, for check() to raise."""
        if not self.c.bug:
            self.c.bug = bug
            self.c.bug_address = address

    def keep_error(self, error: BaseException) -> None:
        """An error came in a function that C called back: check() raises it when C has returned."""
        self._error = self._error or error
        self.bug(Bug.WAIT_FAILED)

    def check(self) -> None:
        """Raise MmBug if an invariant broke since the last check, and forget it; or the error of a
        wait (keep_error()).
        """
        if not self.c.bug:
            return
        bug, address = Bug(self.c.bug), self.c.bug_address
        self.c.bug = lib.BUG_NONE
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise MmBug(bug, address)

    def counters(self) -> dict[str, int]:
        """What the kernel counts for all its CPUs (KERNEL_COUNTER in events.def), by name."""
        return dict(zip(KERNEL_COUNTERS, self.c.counter, strict=True))


def policy_number(policy: FreeTables | type[TablePolicy]) -> int:
    """FREE_TABLES_* of a policy: of one's own, OWN if it counts, else NEVER."""
    if isinstance(policy, FreeTables):
        return policy.number
    return int(lib.FREE_TABLES_OWN if policy.counts else lib.FREE_TABLES_NEVER)


@dataclass(slots=True)
class CallSingleData:
    """call_single_data_t: a function that one CPU has called on another; ``done`` when it was.

    ``number`` tells it from others in events.
    """

    func: Callable[[object], None]
    info: object
    number: int = 0
    src: int = 0
    """The CPU that has it called, and waits."""
    done: bool = False


class Cpu:
    """One CPU's own state: what Linux keeps in per-CPU variables.

    ``mmu`` is its MMU, ``loaded_mm`` the mm whose tables its CR3 names, None for init_mm.
    ``c`` is the ``struct cpu *`` of native/mm.
    """

    def __init__(self, kernel: Kernel, number: int, mmu: Mmu) -> None:
        self.kernel = kernel
        self.id = number
        self.mmu = mmu
        self.loaded_mm: MmStruct | None = None
        self.loaded_mm_id: int = lib.INIT_MM_CTX_ID
        """What other CPUs see of loaded_mm, by read_once(): its ctx_id, or LOADED_MM_SWITCHING
        between two, when it is asked to flush whatever it had.
        """
        self._counter: object = None
        self.call_single_queue: list[CallSingleData] = []
        self.call_vector = 0
        self.irq_call_count = 0
        """Function-call interrupts that it handled."""
        self.irq_tlb_count = 0
        """TLB flushes that it did for other CPUs."""
        self.c = ffi.new("struct cpu *")
        self.c.kernel = kernel.c
        self.c.mmu = mmu.c
        self.c.id = mmu.c.cpu = number
        self._initialize_tlbstate()

    def __repr__(self) -> str:
        """Number and mm, for people."""
        return f"<Cpu {self.id}, loaded: {self.loaded_mm!r}>"

    def _initialize_tlbstate(self) -> None:
        """cr4_init() and initialize_tlbstate_and_flush(): PCIDs on, init_mm loaded as ASID 0."""
        mmu, c = self.mmu, self.c
        if mmu.c.features & lib.FEATURE_PCID and not mmu.c.cr4 & lib.CR4_PCIDE:
            mmu.write_cr3(mmu.c.cr3 & ~lib.CR3_PCID_MASK)
            mmu.write_cr4(mmu.c.cr4 | lib.CR4_PCIDE)
        c.next_asid = 1
        c.ctxs[0].ctx_id = lib.INIT_MM_CTX_ID
        mmu.write_cr3(self.build_cr3(self.kernel.swapper_pg_dir, 0))

    def build_cr3(self, pgd: int, asid: int) -> int:
        """The value of CR3 for tables and an ASID, whose PCID is one more: 0 is nobody's."""
        return pgd | asid + 1 if self.mmu.c.cr4 & lib.CR4_PCIDE else pgd

    def has_invlpgb(self) -> bool:
        """Whether it can broadcast invalidations, and has PCIDs to name them by."""
        return bool(self.mmu.c.features & lib.FEATURE_INVLPGB and self.mmu.c.cr4 & lib.CR4_PCIDE)

    @property
    def is_lazy(self) -> int:
        """1: loaded_mm stays loaded, but nothing here uses it. For write_once() and read_once()."""
        return int(self.c.is_lazy)

    @is_lazy.setter
    def is_lazy(self, value: int) -> None:
        self.c.is_lazy = value

    @property
    def current_pid(self) -> int:
        """The PID of the task that it runs, 0: it is idle."""
        return int(self.c.current_pid)

    def run_task(self, pid: int, ahead_ns: int) -> None:
        """The task ``pid``, 0 for the idle task, runs here from now on, and the CPU's virtual time
        is ``ahead_ns`` more than its instructions: later events say so.
        """
        self.c.current_pid, self.c.ahead_ns = pid, ahead_ns
        if self.kernel.this_cpu is self:
            self.kernel.this_cpu = self

    def count_instructions(self, address: int, owner: object) -> None:
        """Events are stamped with the 64-bit count at that address, which ``owner`` keeps; 0:
        nobody counts.
        """
        self.c.instructions = cast("Ptr[int]", ffi.cast("const u64 *", address))
        self._counter = owner

    def interrupt(self) -> None:
        """Run the calls that other CPUs left for this one (mmu.linux.smp), if interrupts are on.

        sysvec_call_function(), flush_smp_call_function_queue(). They run with interrupts off, and
        may not wait.
        """
        if self.c.irqs_disabled or not self.call_single_queue:
            return
        kernel = self.kernel
        interrupted = kernel.this_cpu
        kernel.this_cpu = self
        self.c.irqs_disabled += 1
        kernel.c.counter[_IRQ_CALL_COUNT] += 1
        self.irq_call_count += 1
        emit(kernel, _CALL_FUNCTION_ENTRY, self.call_vector)
        kernel.instrument_write(self, "queue")
        try:
            while self.call_single_queue:
                call = self.call_single_queue.pop(0)
                self.c.nr_calls -= 1
                emit(kernel, _CSD_ENTRY, call.number)
                call.func(call.info)
                kernel.instrument_write(kernel.cpus[call.src], "csd")
                call.done = True
                emit(kernel, _CSD_EXIT, call.number)
        finally:
            emit(kernel, _CALL_FUNCTION_EXIT, self.call_vector)
            self.c.irqs_disabled -= 1
            kernel.this_cpu = interrupted


class MmStruct:
    """An mm_struct: page tables in guest RAM, VMAs, counters.

    ``c`` is the ``struct mm_struct *`` that both engines work on. ``rlimit`` are the limits that
    bind it (the process's: whoever makes one for a process may replace them), ``def_flags`` the VMA
    flags that every new mapping gets (mlockall()), and ``fatal_signal_pending`` says whether the
    process is to end: long loops ask it and break off. ``can_lock_all`` says whether the task that
    runs has CAP_IPC_LOCK, so that RLIMIT_MEMLOCK does not bind. ``mm_users`` counts the tasks that
    use it, ``mm_count`` those who keep its PGD, all users together one of them
    (mmu.linux.mm_count).
    ``mmap_lock`` guards the VMAs. Raises OutOfMemory if RAM has no frame for the PGD.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.memory = kernel.memory
        self.native = kernel.native
        self.rlimit = Rlimits()
        self.def_flags = 0
        self.saved_auxv = b""
        """The auxiliary vector that exec() gave its program."""
        self.membarrier_state = 0
        """What membarrier() was registered for, as bits of its commands."""
        self.fatal_signal_pending: Callable[[], bool] = _never
        self.can_lock_all: Callable[[], bool] = _never
        self._files: list[MappedFile | None] = [None]
        self.mt_detach: list[struct_vm_area_struct_ptr] = []
        """VMAs of files that are in the index no more, and in their files' i_mmap still."""
        self.vm_hugepage = False
        """MMF_VM_HUGEPAGE: it has, or has had, a huge page."""
        self.pmd_huge_pte: dict[int, int] = {}
        """The PTE table that is deposited for each huge PMD, by the address that this maps."""
        self.unlinked_files: set[int] = set()
        """Files whose VMAs the end of the mm has taken out of their i_mmap."""
        self.mm_users = self.mm_count = 1
        self.c = ffi.gc(ffi.new("struct mm_struct *"), _free_vmas)
        self.c.kernel = kernel.c
        self.c.ram = kernel.memory.c
        self.c.task_size = TASK_SIZE
        self.c.mmap_base = mmap_base(self.rlimit.stack)
        pgd = self.memory.alloc_pages()
        self.memory.page(pgd).flags |= lib.PG_table
        self.c.pgd = pgd << PAGE_SHIFT
        kernel.c.last_mm_ctx_id += 1
        self.c.ctx_id = kernel.c.last_mm_ctx_id
        self.c.next_trim_cpumask = kernel.jiffies + HZ
        _mms[int(ffi.cast("uintptr_t", self.c))] = self
        self.mmap_lock = MmapLock(kernel, self.c)
        if kernel.on_new_mm is not None:
            kernel.on_new_mm(self)
        self.vma_writer_wait = WaitQueue("a VMA without readers")
        self.hole = Hole(UNKNOWN, self.c.mmap_base)
        kernel.all_mms.append(self)

    def __repr__(self) -> str:
        """Sizes and policy, for people."""
        return (
            f"<mm {self.c.total_vm << 2} kB in {self.c.vmas.nr} VMAs,"
            f" free tables: {self.kernel.policy_name}>"
        )

    @property
    def page_table_lock(self) -> int:
        """The number of the CPU that holds it and 1, else 0. For write_once() and read_once()."""
        return int(self.c.page_table_lock)

    @page_table_lock.setter
    def page_table_lock(self, value: int) -> None:
        self.c.page_table_lock = value

    def check(self) -> None:
        """Raise MmBug if an invariant broke since the last check; see Kernel.check()."""
        if self.kernel.c.bug:
            self.kernel.check()

    @property
    def cpus(self) -> list[Cpu]:
        """mm_cpumask(): the CPUs that may hold translations of it, and must hear of its flushes.

        One that loaded another mm stays in it until a flush takes it out; Cpu.loaded_mm is exact.
        """
        self.kernel.instrument_read(self, "cpu_bitmap")
        mask = self.c.cpu_bitmap
        return [cpu for cpu in self.kernel.cpus if mask >> cpu.id & 1]

    def rss(self) -> int:
        """Resident pages: get_mm_rss()."""
        rss = self.c.rss_stat
        return rss[lib.MM_FILEPAGES] + rss[lib.MM_ANONPAGES] + rss[lib.MM_SHMEMPAGES]

    # Locks.

    def mmap_write_lock(self, *, killable: bool = False) -> MmapLocked:
        """``with``: hold mmap_lock for writing, so that nobody else sees or changes VMAs.

        ``killable``: LinuxError EINTR if the process is to end first.
        """
        return MmapLocked(self.mmap_lock, True, killable=killable)

    def mmap_write_lock_nested(self) -> MmapLocked:
        """mmap_write_lock() of a child's mm, which nobody else knows yet, inside the parent's."""
        return MmapLocked(self.mmap_lock, True, subclass=1)

    def mmap_read_lock(self, *, killable: bool = False) -> MmapLocked:
        """``with``: hold mmap_lock for reading, so that no VMA changes. As mmap_write_lock()."""
        return MmapLocked(self.mmap_lock, False, killable=killable)

    # Files.

    def file(self, number: int) -> MappedFile:
        """Return the file that vm_file stands for."""
        file = self._files[number]
        if file is None:
            raise MmuError(f"no file has number {number} in this mm")
        return file

    @property
    def files(self) -> list[MappedFile]:
        """Every file that a VMA maps, or may map again."""
        return [file for file in self._files if file is not None]

    def numbered_files(self) -> list[tuple[int, MappedFile]]:
        """The same, each with its vm_file."""
        return [(number, file) for number, file in enumerate(self._files) if file is not None]

    def file_number(self, file: MappedFile | None) -> int:
        """Return the vm_file of a file, 0 for None; a file not yet known gets one, and the mm
        becomes one of its users.
        """
        if file is None:
            return 0
        for number, known in enumerate(self._files):
            if known is file:
                return number
        file.get()
        if None in self._files[1:]:
            number = self._files.index(None, 1)
            self._files[number] = file
        else:
            number = len(self._files)
            self._files.append(file)
        return number

    def dup_files(self, other: MmStruct) -> None:
        """Be a user of every file that the other mm uses, under the same numbers. This one has none
        yet.
        """
        self._files = list(other._files)
        for file in self.files:
            file.get()

    def put_unused_files(self, numbers: set[int]) -> None:
        """Let go of those of these files that no VMA maps any more."""
        used = (
            {vma.vm_file for vma in self.c.vmas.vma[0 : self.c.vmas.nr]}
            if numbers - {0}
            else numbers
        )
        for number in numbers - used - {0}:
            file, self._files[number] = self.file(number), None
            file.put()

    def put_all_files(self) -> None:
        """Let go of every file."""
        self.put_unused_files({number for number, file in enumerate(self._files) if file})


def _never() -> bool:
    return False


def _boot_time() -> int:
    return 0


def _free_vmas(c: struct_mm_struct_ptr) -> None:
    lib.vma_remove(c, 0, c.vmas.nr)
