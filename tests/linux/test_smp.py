# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a function that is called on other CPUs runs there, once, with interrupts off, when they
can; who waits for it waits with interrupts on (kernel/smp.c, v6.18).
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.smp import (
    local_irqs_off,
    on_each_cpu,
    on_each_cpu_cond_mask,
    on_each_cpu_mask,
    smp_call_function,
    smp_call_function_single,
)
from mmu.linux.state import CALL_FUNCTION_SINGLE_VECTOR, CALL_FUNCTION_VECTOR, Cpu
from tests.linux.cpus import Cpus, Late


@pytest.fixture
def m() -> Cpus:
    return Cpus(nr=4)


@pytest.fixture
def ran(m: Cpus) -> list[int]:
    """The CPUs on which note(m, ran) was called."""
    return []


def note(m: Cpus, ran: list[int]):  # type: ignore[no-untyped-def]
    def func(info: object) -> None:
        assert info == "info" and m.kernel.this_cpu.c.irqs_disabled == 1
        ran.append(m.kernel.this_cpu.id)

    return func


def test_each_form_reaches_its_cpus(m: Cpus, ran: list[int]) -> None:
    func = note(m, ran)
    forms = {
        (1, 2, 3): lambda: smp_call_function(m.kernel, func, "info"),
        (0, 1, 2, 3): lambda: on_each_cpu(m.kernel, func, "info"),
        (0, 2): lambda: on_each_cpu_mask(m.kernel, 0b0101, func, "info"),
        (3,): lambda: smp_call_function_single(m.kernel, m.kernel.cpus[3], func, "info"),
        (0,): lambda: smp_call_function_single(m.kernel, m.kernel.cpus[0], func, "info"),
        (): lambda: on_each_cpu_mask(m.kernel, 0, func, "info"),
    }
    for expected, call in forms.items():
        ran.clear()
        call()
        assert tuple(sorted(ran)) == expected
        assert m.kernel.this_cpu.id == 0


def test_the_condition_is_asked_of_each_cpu(m: Cpus, ran: list[int]) -> None:
    def odd(cpu: Cpu, info: object) -> bool:
        assert info == "info"
        return cpu.id % 2 == 1

    on_each_cpu_cond_mask(m.kernel, odd, note(m, ran), "info", 0b0111)
    assert ran == [1]


def test_one_target_gets_the_vector_for_one(m: Cpus, ran: list[int]) -> None:
    m.events()
    smp_call_function_single(m.kernel, m.kernel.cpus[2], note(m, ran), "info")
    assert [(e.name, e.values[0], e.cpu) for e in m.events()] == [
        ("csd_queue_cpu", 2, 0),
        ("ipi_send_cpu", 2, 0),
        ("call_function_entry", CALL_FUNCTION_SINGLE_VECTOR, 2),
        ("csd_function_entry", 1, 2),
        ("csd_function_exit", 1, 2),
        ("call_function_exit", CALL_FUNCTION_SINGLE_VECTOR, 2),
    ]


def test_several_targets_get_one_mask(m: Cpus, ran: list[int]) -> None:
    m.events()
    on_each_cpu_mask(m.kernel, 0b1010, note(m, ran), "info")
    assert [(e.name, e.values[0], e.cpu) for e in m.events()] == [
        ("csd_queue_cpu", 1, 0),
        ("csd_queue_cpu", 3, 0),
        ("ipi_send_cpumask", 0b1010, 0),
        ("call_function_entry", CALL_FUNCTION_VECTOR, 1),
        ("csd_function_entry", 1, 1),
        ("csd_function_exit", 1, 1),
        ("call_function_exit", CALL_FUNCTION_VECTOR, 1),
        ("call_function_entry", CALL_FUNCTION_VECTOR, 3),
        ("csd_function_entry", 2, 3),
        ("csd_function_exit", 2, 3),
        ("call_function_exit", CALL_FUNCTION_VECTOR, 3),
    ]


def test_calls_that_wait_need_one_interrupt(m: Cpus, ran: list[int]) -> None:
    """They run in the order in which they came."""
    order: list[str] = []
    m.kernel.scheduler = late = Late()
    m.events()
    for name in ("first", "second"):
        smp_call_function_single(
            m.kernel, m.kernel.cpus[1], lambda _, name=name: order.append(name), wait=False
        )
    assert not order and len(late.kicked) == 1
    assert m.kernel.cpus[1].c.nr_calls == 2
    late.kicked[0].interrupt()
    assert order == ["first", "second"] and m.kernel.cpus[1].c.nr_calls == 0
    assert len(m.events("call_function_entry")) == 1
    assert m.kernel_counter("irq_call_count") == 1


def test_interrupts_off_put_it_off(m: Cpus, ran: list[int]) -> None:
    cpu = m.kernel.cpus[1]
    lib.local_irq_save(cpu.c)
    lib.local_irq_save(cpu.c)
    smp_call_function_single(m.kernel, cpu, note(m, ran), "info", wait=False)
    cpu.interrupt()
    lib.local_irq_restore(cpu.c)
    assert not ran
    lib.local_irq_restore(cpu.c)
    assert ran == [1]


def test_an_interrupt_without_a_call_is_nothing(m: Cpus) -> None:
    m.events()
    m.kernel.cpus[1].interrupt()
    assert not m.events() and m.kernel_counter("irq_call_count") == 0


def test_a_cpu_that_never_acknowledges_is_told(m: Cpus, ran: list[int]) -> None:
    cpu = m.kernel.cpus[1]
    lib.local_irq_save(cpu.c)
    on_each_cpu_mask(m.kernel, 0b0110, note(m, ran), "info")
    with pytest.raises(MmBug, match=r"mask 0x2\) have interrupts off") as caught:
        m.kernel.check()
    assert caught.value.bug == Bug.IPI_NEVER_ACKNOWLEDGED
    lib.local_irq_restore(cpu.c)
    assert sorted(ran) == [1, 2]


@pytest.mark.parametrize("name", ["c", "python"])
def test_a_flush_that_is_never_acknowledged_is_told_by_whoever_flushed(name: str) -> None:
    """Also if it was C that flushed."""
    m = Cpus(name)
    lib.local_irq_save(m.kernel.cpus[1].c)
    with pytest.raises(MmBug) as caught:
        m.flush()
    assert caught.value.bug == Bug.IPI_NEVER_ACKNOWLEDGED
    lib.local_irq_restore(m.kernel.cpus[1].c)
    m.close()


def test_waiting_with_interrupts_off_is_a_bug(m: Cpus, ran: list[int]) -> None:
    """Two CPUs that did so could wait for each other for ever."""
    with local_irqs_off(m.kernel):
        smp_call_function_single(m.kernel, m.kernel.cpus[1], note(m, ran), "info")
    with pytest.raises(MmBug) as caught:
        m.kernel.check()
    assert caught.value.bug == Bug.IPI_IRQS_OFF and "CPU 0x0 waited" in str(caught.value)


def test_without_waiting_interrupts_may_be_off(m: Cpus, ran: list[int]) -> None:
    with local_irqs_off(m.kernel):
        smp_call_function_single(m.kernel, m.kernel.cpus[1], note(m, ran), "info", wait=False)
    m.kernel.check()
    assert ran == [1]


def test_a_restore_without_a_save_is_a_bug(m: Cpus) -> None:
    lib.local_irq_restore(m.kernel.cpus[3].c)
    with pytest.raises(MmBug, match=r"CPU 0x3") as caught:
        m.kernel.check()
    assert caught.value.bug == Bug.IRQS_UNBALANCED


def test_interrupts_are_on_again_after_an_error(m: Cpus) -> None:
    def fails(info: object) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        smp_call_function_single(m.kernel, m.kernel.cpus[1], fails)
    assert m.kernel.cpus[1].c.irqs_disabled == 0 and m.kernel.this_cpu.id == 0
    m.close()


def test_an_error_of_a_call_that_c_ran_is_raised_by_check(m: Cpus) -> None:
    """local_irq_restore() is C; what it called back cannot raise through it."""

    def fails(info: object) -> None:
        raise ValueError("no")

    cpu = m.kernel.cpus[1]
    lib.local_irq_save(cpu.c)
    smp_call_function_single(m.kernel, cpu, fails, wait=False)
    lib.local_irq_restore(cpu.c)
    with pytest.raises(ValueError, match="no"):
        m.kernel.check()


@pytest.mark.parametrize("name", ["c", "python"])
def test_an_error_of_the_wait_leaves_the_flush(name: str) -> None:
    """A wait that the end of the run breaks off ends in its error, not in a flush half told."""
    m = Cpus(name)

    def stop() -> None:
        raise KeyboardInterrupt

    m.kernel.scheduler = Late(stop)
    with pytest.raises(KeyboardInterrupt):
        engine.flush_tlb_mm_range(m.mm, 0, 4096, 12, 0)
    m.kernel.check()
