# SPDX-License-Identifier: GPL-2.0-or-later
"""RCU's upper half: who reports quiescent states, and who waits for grace periods
(kernel/rcu/tree.c, v6.18).

Whoever runs a CPU calls rcu_qs() for it: at each context switch, when it goes idle, and in user
mode at the end of a slice and on the way back from the kernel.
"""

from __future__ import annotations

from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.state import Cpu, Kernel


def rcu_qs(kernel: Kernel, cpu: Cpu, *, idle: bool = False) -> None:
    """``cpu`` is in a quiescent state: user mode, a context switch, or idle.

    rcu_note_context_switch(), rcu_sched_clock_irq(user), ct_idle_enter(). With ``idle`` it stays in
    it until the next call without; the grace-period thread, if there is one (Kernel.gp_kthread),
    finds that out, and is not told. A CPU for which this was never called is idle. Frames whose
    grace period this ends are freed, and who waits for it is woken. With lockdep on: MmBug
    LOCK_KEPT if the CPU holds a lock, is in a read section or has interrupts off.
    """
    if kernel.lockdep is not None:
        kernel.lockdep.quiescent(cpu.id)
    kernel.instrument_write(cpu, "rcu_watching")
    cpu.c.rcu_watching = not idle
    if idle and kernel.gp_kthread:
        return  # the thread finds out
    rcu = kernel.c.rcu
    kernel.instrument_read(cpu, "rcu_qs")
    if rcu.nr_pending or rcu.gp_seq_needed > rcu.gp_seq:
        _report(kernel, cpu.id)


def rcu_poll(kernel: Kernel) -> int:
    """The task that runs could sleep here (cond_resched()): a quiescent state of its CPU, as
    rcu_qs(). Returns how many frames were freed.
    """
    if kernel.lockdep is not None:
        kernel.lockdep.might_sleep("reports a quiescent state")
    kernel.instrument_read(kernel.this_cpu, "rcu_poll")
    return _report(kernel, kernel.this_cpu.id)


def _report(kernel: Kernel, number: int) -> int:
    before = kernel.c.rcu.gp_seq
    freed = engine.rcu_report_qs(kernel, number)
    if kernel.c.rcu.gp_seq != before:
        kernel.scheduler.wake_up(kernel.rcu_gp_wait)
    return freed


def synchronize_rcu(kernel: Kernel) -> None:
    """Sleep until every read section that is open now has been left: until a grace period that
    begins from now on has ended.

    The caller is in no read section and holds no spinlock. MmBug RCU_STALL if it can never end.
    """
    rcu = kernel.c.rcu
    kernel.instrument_read(kernel, "rcu_gp")
    kernel.instrument_write(kernel, "rcu_cblist")
    target = rcu.gp_seq + 1 + rcu.gp_running
    rcu.gp_seq_needed = max(rcu.gp_seq_needed, target)
    rcu_poll(kernel)
    what = f"grace period {target}"

    def ended() -> bool:
        kernel.instrument_read(kernel, "rcu_gp")
        return bool(rcu.gp_seq >= target)

    if kernel.wait_event(kernel.rcu_gp_wait, ended, what):
        cpus = [cpu.id for cpu in kernel.cpus if rcu.qs_mask >> cpu.id & 1]
        raise MmBug(Bug.RCU_STALL, 0, f"{what} waits for CPUs {cpus}")


def rcu_barrier(kernel: Kernel) -> None:
    """Sleep until everything that was handed to call_rcu() before has been freed; as
    synchronize_rcu().
    """
    kernel.instrument_read(kernel, "rcu_cblist")
    kernel.instrument_read(kernel, "rcu_gp")
    if kernel.c.rcu.nr_pending:
        synchronize_rcu(kernel)
