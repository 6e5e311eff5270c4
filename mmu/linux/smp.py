# SPDX-License-Identifier: GPL-2.0-or-later
"""Having functions called on other CPUs: interprocessor interrupts (kernel/smp.c, v6.18).

::

    on_each_cpu_cond_mask()             those CPUs of a mask for which a condition holds
      smp_call_function_many_cond()
        CallSingleData → call_single_queue of each target     queued; the first one raises the IPI
        scheduler.kick(target)                                it handles it when it can:
                                                              Cpu.interrupt(), at mmu.linux.state
        the function, here, with interrupts off
        scheduler.spin_until(all are done)

A target handles the interrupt at once if it is idle or waits with interrupts on, else when it turns
interrupts on (local_irq_restore()), or, in user mode, at the end of its slice. A set of CPUs is a
mask of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux.bug import Bug
from mmu.linux.state import (
    CALL_FUNCTION_SINGLE_VECTOR,
    CALL_FUNCTION_VECTOR,
    CallSingleData,
    Cpu,
    Kernel,
)
from mmu.linux.tracepoint import emit

if TYPE_CHECKING:
    SmpCallFunc = Callable[[object], None]
    SmpCondFunc = Callable[[Cpu, object], bool]

_CSD_QUEUE: Final = EVENT_ID["csd_queue_cpu"]
_IPI_SEND_CPU: Final = EVENT_ID["ipi_send_cpu"]
_IPI_SEND_CPUMASK: Final = EVENT_ID["ipi_send_cpumask"]


@contextmanager
def local_irqs_off(kernel: Kernel) -> Iterator[None]:
    """Run the body with this CPU's interrupts off: local_irq_save(), local_irq_restore()."""
    cpu = kernel.this_cpu
    kernel.instrument_write(cpu, "irqs")
    lib.local_irq_save(cpu.c)
    try:
        yield
    finally:
        kernel.instrument_write(cpu, "irqs")
        kernel.instrument_read(cpu, "queue")
        lib.local_irq_restore(cpu.c)


def smp_mb(kernel: Kernel) -> None:
    """A full barrier: what this CPU stored is seen by all before it loads anything more."""
    kernel.smp_mb()


def cpumask(kernel: Kernel) -> int:
    """The mask of all CPUs: cpu_online_mask."""
    return (1 << len(kernel.cpus)) - 1


def smp_call_function_many_cond(
    kernel: Kernel,
    mask: int,
    func: SmpCallFunc,
    info: object = None,
    *,
    wait: bool = True,
    run_local: bool = False,
    cond: SmpCondFunc | None = None,
) -> None:
    """Call ``func(info)`` on the CPUs of mask for which ``cond(cpu, info)`` holds, on this one only
    if ``run_local``.

    With ``wait`` it returns when all have. Interrupts are on, or waiting is the bug IPI_IRQS_OFF:
    two CPUs could wait for each other for ever. That no target will ever handle its interrupt is
    the bug IPI_NEVER_ACKNOWLEDGED.
    """
    this_cpu = kernel.this_cpu
    if wait and this_cpu.c.irqs_disabled:
        kernel.bug(Bug.IPI_IRQS_OFF, this_cpu.id)
    local = run_local and mask >> this_cpu.id & 1 and (cond is None or cond(this_cpu, info))
    targets = [
        cpu
        for cpu in kernel.cpus
        if mask >> cpu.id & 1 and cpu is not this_cpu and (cond is None or cond(cpu, info))
    ]
    calls = _queue(kernel, targets, func, info)
    if local:
        with local_irqs_off(kernel):
            func(info)
    if wait and calls:
        _csd_lock_wait(kernel, calls)


def _queue(
    kernel: Kernel, targets: list[Cpu], func: SmpCallFunc, info: object
) -> dict[Cpu, CallSingleData]:
    """Queue one call with each target, and interrupt those whose queue was empty."""
    calls = {}
    idle = []
    for cpu in targets:
        kernel.nr_csds += 1
        calls[cpu] = CallSingleData(func, info, kernel.nr_csds, kernel.this_cpu.id)
        emit(kernel, _CSD_QUEUE, cpu.id, kernel.nr_csds)
        kernel.instrument_write(cpu, "queue")
        if not cpu.call_single_queue:
            idle.append(cpu)
        cpu.call_single_queue.append(calls[cpu])
        cpu.c.nr_calls += 1
    vector = CALL_FUNCTION_SINGLE_VECTOR
    if len(idle) == 1:
        emit(kernel, _IPI_SEND_CPU, idle[0].id)
    elif idle:
        vector = CALL_FUNCTION_VECTOR
        emit(kernel, _IPI_SEND_CPUMASK, sum(1 << cpu.id for cpu in idle))
    for cpu in idle:
        kernel.instrument_write(cpu, "nr_calls")
        cpu.call_vector = vector
        kernel.scheduler.kick(cpu)
    return calls


def _csd_lock_wait(kernel: Kernel, calls: dict[Cpu, CallSingleData]) -> None:
    """Wait until every call is done."""

    def ready() -> bool:
        kernel.instrument_read(kernel.this_cpu, "csd")
        return all(call.done for call in calls.values())

    names = ", ".join(str(cpu.id) for cpu in calls)
    while not ready():
        if not kernel.scheduler.spin_until(ready, f"an interrupt to be handled by CPU {names}"):
            missing = sum(1 << cpu.id for cpu, call in calls.items() if not call.done)
            kernel.bug(Bug.IPI_NEVER_ACKNOWLEDGED, missing)
            return


def on_each_cpu_cond_mask(
    kernel: Kernel,
    cond: SmpCondFunc | None,
    func: SmpCallFunc,
    info: object,
    mask: int,
    *,
    wait: bool = True,
) -> None:
    """Call ``func(info)`` on those CPUs of mask, this one too, for which ``cond(cpu, info)``."""
    smp_call_function_many_cond(kernel, mask, func, info, wait=wait, run_local=True, cond=cond)


def on_each_cpu_mask(
    kernel: Kernel, mask: int, func: SmpCallFunc, info: object = None, *, wait: bool = True
) -> None:
    """Call ``func(info)`` on each CPU of mask, this one too."""
    on_each_cpu_cond_mask(kernel, None, func, info, mask, wait=wait)


def on_each_cpu(
    kernel: Kernel, func: SmpCallFunc, info: object = None, *, wait: bool = True
) -> None:
    """Call ``func(info)`` on every CPU."""
    on_each_cpu_mask(kernel, cpumask(kernel), func, info, wait=wait)


def smp_call_function(
    kernel: Kernel, func: SmpCallFunc, info: object = None, *, wait: bool = True
) -> None:
    """Call ``func(info)`` on every CPU but this one."""
    smp_call_function_many_cond(kernel, cpumask(kernel), func, info, wait=wait)


def smp_call_function_single(
    kernel: Kernel, cpu: Cpu, func: SmpCallFunc, info: object = None, *, wait: bool = True
) -> None:
    """Call ``func(info)`` on one CPU, which may be this one."""
    smp_call_function_many_cond(kernel, 1 << cpu.id, func, info, wait=wait, run_local=True)
