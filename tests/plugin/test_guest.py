# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the fixture guest runs a program to its end, or some instructions at a time; both see the
same.
"""

from __future__ import annotations

import pytest

from mmu.errors import MmuError
from ucmmu.testing import assert_events, assert_fault, assert_refcounts, assert_walk, write
from ucmmu.testing.guest import GuestMaker

pytestmark = pytest.mark.ucmmu(policy="refcount")

STORES = "mov byte ptr [data], 1\nnop\nmov byte ptr [data + 4096], 2\n"


def test_a_store_makes_a_page(guest: GuestMaker) -> None:
    run = guest.asm(STORES)
    data = run.symbol("data")
    assert run.step()
    assert_walk(data, "write", dirty=True)
    assert_fault(write(data + 4096), code=6)
    assert_refcounts(run.mm)
    before = run.rip
    assert run.step()
    assert run.rip == before + 1
    assert run.step()
    assert_walk(data + 4096, "write", dirty=True)
    assert run.run().exit_code == 0
    assert not run.step()


@pytest.mark.ucmmu(engine="c", fidelity=["fast", "exact", "trace"])
def test_steps_change_nothing(guest: GuestMaker) -> None:
    run = guest("hello")
    run.step(100)
    while run.step(997):
        assert_refcounts(run.mm)
    result = run.run()
    assert run.stdout.startswith("hello, world\n")
    assert (result.exit_code, result.problems) == (0, [])


def test_every_instruction_is_an_event(guest: GuestMaker) -> None:
    run = guest.asm("nop\nnop")
    assert run.run().instructions == 5
    assert_events(["insn"] * 5, among=["insn"])


@pytest.mark.ucmmu(engine="c", cpus=2, seed=[0, 1])
def test_c_with_arguments_and_input(guest: GuestMaker) -> None:
    run = guest.c(
        """
        #include <stdio.h>
        int main(int argc, char **argv) {
            fprintf(stderr, "%s %d", argv[1], getchar());
            return argc;
        }
        """,
        "word",
        stdin=b"A",
    )
    assert run.run().exit_code == 2
    assert run.stderr == "word 65"


@pytest.mark.ucmmu(engine="c")
def test_one_left_in_the_middle(guest: GuestMaker) -> None:
    """The fixture ends it: nothing is left, though it would go on for ever."""
    run = guest.asm("1: jmp 1b")
    run.step(10)
    assert run.reg("rip") == run.rip


@pytest.mark.ucmmu(engine="c")
def test_what_cannot_be(guest: GuestMaker) -> None:
    with pytest.raises(MmuError, match="no_such_program"):
        guest("no_such_program")
    with pytest.raises(ValueError, match=r"(?s)cannot be built:.*no such instruction"):
        guest.asm("frobnicate")
    run = guest.asm("nop")
    with pytest.raises(MmuError, match="one test, one guest"):
        guest.asm("nop")
    with pytest.raises(MmuError, match="no register 'eex'"):
        run.reg("eex")
    with pytest.raises(MmuError, match="has no symbol 'dta'"):
        run.symbol("dta")
    with pytest.raises(MmuError, match="at least one instruction"):
        run.step(0)


@pytest.mark.ucmmu(cpus=[1, 2])
def test_a_guest_without_end_is_given_up(guest: GuestMaker) -> None:
    """Not before so many instructions, and not long after."""
    loop = guest.asm("again: jmp again")
    with pytest.raises(AssertionError, match="has not ended after 10,000 instructions"):
        loop.run(instructions=10_000)
    assert 10_000 <= (loop.machine.progress()["instructions"] or 0) < 11_000
    with pytest.raises(AssertionError, match="after 5 instructions: it is at RIP 0x"):
        loop.run(instructions=5)


def test_a_limit_that_is_not_reached_changes_nothing(guest: GuestMaker) -> None:
    hello = guest("hello")
    result = hello.run(instructions=1_000_000)
    assert (result.exit_code, hello.run(instructions=1)) == (0, result)
