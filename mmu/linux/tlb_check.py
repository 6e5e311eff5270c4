# SPDX-License-Identifier: GPL-2.0-or-later
"""What the stale-translation checkers of all CPUs are told by the kernel (mmu.x86.check).

Each CPU has a checker of its own. A table that one CPU changes is every CPU's table, so all of them
hear on whose behalf it is changed; and a table that is freed may not be in reach of any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmu._native import lib
from mmu.linux.state import Kernel
from mmu.x86.check import ChangedBy


@dataclass(frozen=True, eq=False, slots=True)
class Operation:
    """One stay in the kernel, by whose end all that it changed must be flushed: for whom it is (as
    in ChangedBy), and where the guest is meanwhile. ``number`` is its own.
    """

    number: int
    by: ChangedBy
    detail: int
    rip: int
    instruction: int | None


def begin_operation(
    kernel: Kernel, by: ChangedBy, detail: int, rip: int, instruction: int | None
) -> Operation:
    """This CPU enters the kernel; tables change for the new operation from here on."""
    kernel.nr_operations += 1
    operation = Operation(kernel.nr_operations, by, detail, rip, instruction)
    listed = kernel.operations
    if listed.nr < lib.CHECK_MAX_OPERATIONS:
        listed.number[listed.nr] = operation.number
        listed.nr += 1
    tables_change_for(kernel, operation)
    return operation


def end_operation(kernel: Kernel, operation: Operation) -> None:
    """It is over: from here on whoever uses what it should have flushed is told."""
    listed = kernel.operations
    for i in range(listed.nr):
        if listed.number[i] == operation.number:
            listed.nr -= 1
            listed.number[i] = listed.number[listed.nr]
            return


def tables_change_for(kernel: Kernel, operation: Operation | None) -> None:
    """From here on tables change for this operation, on this CPU; None: for nobody new."""
    if operation is None or operation is kernel.tables_change_for:
        return
    kernel.tables_change_for = operation
    number = kernel.this_cpu.id
    for cpu in kernel.cpus:
        if cpu.mmu.check is not None:
            cpu.mmu.check.c.operations = kernel.operations
            cpu.mmu.check.enter(
                operation.by,
                operation.detail,
                operation.rip,
                operation.instruction,
                number,
                operation.number,
            )


def check_speculation_everywhere(kernel: Kernel) -> None:
    """Tables were freed: have every checker look whether its CPU may still walk through them."""
    for cpu in kernel.cpus:
        if cpu.mmu.c.check:
            kernel.instrument_read(cpu, "tlb")
            lib.check_speculation(cpu.mmu.c)
