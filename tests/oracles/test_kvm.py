# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an access ends as in a virtual machine: verdict, error code, CR2, A and D of every entry.

A virtual machine under /dev/kvm executes one instruction over tables and registers of the test's
making (kvm/). What the manual says of each rule is written here, and held against both the machine
and our MMU; random states are held against each other. Where a kind of KVM is known to be
different, kvm/reference.py lists how and why, and a test here makes sure that it still is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu.x86.entries import X86_A, X86_D, X86_G, X86_P, X86_PS, X86_RW, X86_US, X86_XD
from mmu.x86.faults import PF_ID, PF_P, PF_PK, PF_RSVD, PF_US, PF_WR
from mmu.x86.registers import (
    CR0_WP,
    CR4_LA57,
    CR4_PKE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_NXE,
    PKR_AD,
    PKR_WD,
    RFLAGS_AC,
    Feature,
    Vendor,
)
from tests.oracles.kvm import access, layout
from tests.oracles.kvm.access import (
    CALL,
    FETCH,
    LDT_READ,
    POP,
    PUSH,
    READ,
    READ8,
    READ_MODIFY_WRITE,
    READ_ONLY_ARITHMETIC,
    SUPERVISOR,
    USER,
    VA,
    WRITE,
    WRITE8,
    Instruction,
    State,
)
from tests.oracles.kvm.kind import Kind, find_kind
from tests.oracles.kvm.machine import NOTHING, Machine, Processor, Unavailable
from tests.oracles.kvm.random_states import random_state
from tests.oracles.kvm.reference import Deviation, Reference, agree

BATCH = 125
"""Random states in one example of Hypothesis: 5,000 in 40."""

PROCESSORS = {
    "offered": Processor(),
    "intel": Processor(Feature.SMEP | Feature.SMAP, Vendor.INTEL, 40),
    "amd": Processor(Feature.SMEP | Feature.SMAP, Vendor.AMD, 44),
}
"""As KVM offers it; and, where software walks the guest's tables, others that it obeys but does not
offer.
"""


@dataclass(frozen=True)
class Pair:
    """A virtual machine, and our MMU as the same processor."""

    machine: Machine
    reference: Reference
    deviations: frozenset[Deviation]

    def check(self, state: State) -> None:
        """The access ends alike in both."""
        placed, theirs = self.machine.execute(state)
        ours = self.reference.verdict(state, placed, self.deviations)
        alike = agree(self.machine.kind, placed, theirs, ours)
        assert alike, f"{state}\n  {self.machine}: {theirs}\n  ours: {ours}"

    def need(self, features: Feature) -> None:
        """Skip the test if the guest lacks a feature."""
        if missing := features & ~self.machine.features:
            pytest.skip(f"no {missing.name} in this guest: {self.machine}")


def _pair(processor: Processor, engine: str = "c") -> Pair:
    try:
        machine = Machine(processor)
    except Unavailable as reason:
        pytest.skip(str(reason))
    reference = Reference(machine.features, machine.vendor, machine.maxphyaddr, engine)
    deviations = frozenset(deviation for deviation in Deviation if deviation.occurs(machine.kind))
    return Pair(machine, reference, deviations)


def _close(pair: Pair) -> None:
    pair.machine.close()
    pair.reference.close()


@pytest.fixture(scope="module", params=PROCESSORS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A machine and our MMU, for each processor that KVM can make."""
    pair = _pair(PROCESSORS[request.param])
    machine = pair.machine
    try:
        if request.param != "offered" and not machine.kind.shadow:
            pytest.skip(f"{machine.kind}: no CPUID changes how the processor walks")
        optional = CR4_SMEP | CR4_SMAP if request.param != "offered" else 0
        verdict = machine.execute(State(bits={1: SUPERVISOR}, cr4=State().cr4 | optional))[1]
        if optional and verdict.text:
            pytest.skip(
                f"{machine.kind}: {verdict} with CR4.SMEP and SMAP, which it does not offer"
            )
        yield pair
    finally:
        _close(pair)


@pytest.fixture(scope="module")
def offered() -> Iterator[Pair]:
    """The processor that KVM offers."""
    pair = _pair(PROCESSORS["offered"])
    yield pair
    _close(pair)


@pytest.mark.parametrize("kind", [find_kind()], ids=str)
def test_which_kvm_this_is(offered: Pair, kind: Kind) -> None:
    """The report names the kind of KVM, and so whose walk is compared."""
    machine = offered.machine
    print(machine)
    assert machine.kind == kind
    _, verdict = machine.execute(State())
    assert (verdict.vector, verdict.text) == (None, ""), verdict


# What the manual says of each rule.


@dataclass(frozen=True)
class Rule:
    """One state, and how the access must end: the error code of its #PF, None if it is made."""

    name: str
    state: State
    error_code: int | None
    needs: Feature = NOTHING


NOT_PRESENT = {level: {level: USER & ~X86_P} for level in (4, 3, 2, 1)}
NO_WP = State().cr0 & ~CR0_WP
NO_NXE = State().efer & ~EFER_NXE
SMEP = State().cr4 | CR4_SMEP
SMAP = State().cr4 | CR4_SMAP
PKE = State().cr4 | CR4_PKE
KEY_3 = 3 << 59


def _rules() -> Iterator[Rule]:
    for level in (4, 3, 2, 1):
        yield from _rules_of_level(level)
    for leaf in (2, 3):
        yield from _rules_of_large_page(leaf)
    yield from _rules_of_registers()
    yield from _rules_of_smap()
    yield from _rules_of_keys()


def _rules_of_level(level: int) -> Iterator[Rule]:
    """Not present, read-only, supervisor and XD at any one level (SDM 4.6.1, 4.7)."""
    for cpl in (0, 3):
        who = PF_US if cpl else 0
        at = f"at level {level}, CPL {cpl}"
        absent, read_only = {level: USER & ~X86_P}, {level: USER & ~X86_RW}
        supervisor, xd = {level: USER & ~X86_US}, {level: USER | X86_XD}
        yield Rule(f"absent {at}, read", State(READ, cpl, bits=absent), who)
        yield Rule(f"absent {at}, write", State(WRITE, cpl, bits=absent), who | PF_WR)
        yield Rule(f"absent {at}, fetch", State(FETCH, cpl, bits=absent), who | PF_ID)
        yield Rule(f"read-only {at}, read", State(READ, cpl, bits=read_only), None)
        yield Rule(f"read-only {at}, write", State(WRITE, cpl, bits=read_only), PF_P | PF_WR | who)
        yield Rule(
            f"read-only {at}, write without WP",
            State(WRITE, cpl, bits=read_only, cr0=NO_WP),
            PF_P | PF_WR | PF_US if cpl else None,
        )
        denied = PF_P | PF_US if cpl else None
        yield Rule(f"supervisor {at}, read", State(READ, cpl, bits=supervisor), denied)
        yield Rule(
            f"supervisor {at}, fetch", State(FETCH, cpl, bits=supervisor), denied and denied | PF_ID
        )
        yield Rule(f"XD {at}, read", State(READ, cpl, bits=xd), None)
        yield Rule(f"XD {at}, fetch", State(FETCH, cpl, bits=xd), PF_P | PF_ID | who)
        yield Rule(
            f"XD {at} without NXE", State(READ, cpl, bits=xd, efer=NO_NXE), PF_P | PF_RSVD | who
        )
        yield Rule(
            f"XD {at} without NXE, fetch",
            State(FETCH, cpl, bits=xd, efer=NO_NXE),
            PF_P | PF_RSVD | who,
        )
    marks = 0xE00 | 0x7FF << 52
    yield Rule(f"software's bits at level {level}", State(WRITE, bits={level: USER | marks}), None)
    if level > 1:
        yield Rule(
            f"D in a table's entry at level {level}", State(WRITE, bits={level: USER | X86_D}), None
        )
    if level == 4:
        yield Rule("PS in a PML4E", State(READ, bits={4: USER | X86_PS}), PF_P | PF_RSVD)
    else:
        yield Rule(f"G in an entry at level {level}", State(READ, bits={level: USER | X86_G}), None)


def _rules_of_large_page(leaf: int) -> Iterator[Rule]:
    """Pages of 2 MiB and 1 GiB: PAT in bit 12, and each reserved bit below the page's address (SDM
    table 4-19).
    """
    needs = Feature.PAGE1GB if leaf == 3 else NOTHING
    page = State(leaf=leaf, bits={leaf: USER | X86_PS})
    yield Rule(f"large page at level {leaf}, read", page, None, needs)
    yield Rule(f"large page at level {leaf}, write", replace(page, instruction=WRITE), None, needs)
    yield Rule(f"large page at level {leaf}, fetch", replace(page, instruction=FETCH), None, needs)
    yield Rule(f"large page at level {leaf}, PAT", page.with_bits(leaf, set=1 << 12), None, needs)
    for bit in range(13, 12 + 9 * (leaf - 1)):
        state = replace(page.with_bits(leaf, set=1 << bit), instruction=WRITE, cpl=3)
        yield Rule(
            f"bit {bit} of a large page at level {leaf}",
            state,
            PF_P | PF_RSVD | PF_WR | PF_US,
            needs,
        )


def _rules_of_registers() -> Iterator[Rule]:
    """SMEP, and when a fetch is told apart (SDM 4.6.1, 4.7)."""
    fetch, read = State(FETCH), State(READ)
    yield Rule("fetch of a user page at CPL 0", fetch, None)
    yield Rule("the same under SMEP", replace(fetch, cr4=SMEP), PF_P | PF_ID, Feature.SMEP)
    yield Rule(
        "the same without NXE", replace(fetch, cr4=SMEP, efer=NO_NXE), PF_P | PF_ID, Feature.SMEP
    )
    yield Rule("user's fetch under SMEP", replace(fetch, cr4=SMEP, cpl=3), None, Feature.SMEP)
    yield Rule("SMEP and a read", replace(read, cr4=SMEP), None, Feature.SMEP)
    for level in (4, 3, 2, 1):
        state = replace(fetch, cr4=SMEP, bits={level: SUPERVISOR})
        yield Rule(
            f"SMEP and a page that level {level} makes a supervisor's", state, None, Feature.SMEP
        )
    absent = replace(fetch, bits=NOT_PRESENT[1])
    yield Rule("absent fetch without NXE", replace(absent, efer=NO_NXE), 0)
    yield Rule(
        "absent fetch without NXE, with SMEP",
        replace(absent, efer=NO_NXE, cr4=SMEP),
        PF_ID,
        Feature.SMEP,
    )


def _rules_of_smap() -> Iterator[Rule]:
    """SMAP and RFLAGS.AC, which implicit accesses do not heed (SDM 4.6.1)."""
    for instruction, write in ((READ, 0), (WRITE, PF_WR), (READ_MODIFY_WRITE[0], PF_WR)):
        state = State(instruction, cr4=SMAP)
        text = instruction.text
        yield Rule(f"SMAP: {text}", state, PF_P | write, Feature.SMAP)
        yield Rule(f"SMAP with AC: {text}", replace(state, rflags=RFLAGS_AC), None, Feature.SMAP)
        yield Rule(
            f"SMAP without WP: {text}", replace(state, cr0=NO_WP), PF_P | write, Feature.SMAP
        )
        yield Rule(f"SMAP at CPL 3: {text}", replace(state, cpl=3), None, Feature.SMAP)
        yield Rule(
            f"SMAP, supervisor page: {text}",
            replace(state, bits={3: SUPERVISOR}),
            None,
            Feature.SMAP,
        )
    yield Rule("SMAP and a fetch", State(FETCH, cr4=SMAP), None, Feature.SMAP)
    for cpl in (0, 3):
        for ac in (0, RFLAGS_AC):
            state = State(LDT_READ, cpl, cr4=SMAP, rflags=ac)
            yield Rule(f"SMAP, implicit, CPL {cpl}, AC {bool(ac)}", state, PF_P, Feature.SMAP)
        implicit = State(LDT_READ, cpl)
        yield Rule(f"implicit, CPL {cpl}", implicit, None)
        yield Rule(
            f"implicit, supervisor page, CPL {cpl}", replace(implicit, bits={1: SUPERVISOR}), None
        )
        yield Rule(f"implicit, absent, CPL {cpl}", replace(implicit, bits=NOT_PRESENT[1]), 0)


def _rules_of_keys() -> Iterator[Rule]:
    """PKRU (SDM 4.6.2)."""
    for cpl in (0, 3):
        who = PF_US if cpl else 0
        read = State(READ, cpl, cr4=PKE, bits={1: USER | KEY_3})
        write = replace(read, instruction=WRITE)
        denied = PF_P | PF_PK | who
        needs = Feature.PKU
        yield Rule(
            f"another key denied, CPL {cpl}",
            replace(write, pkru=~(3 << 6) & 0xFFFF_FFFF),
            None,
            needs,
        )
        yield Rule(f"AD, read, CPL {cpl}", replace(read, pkru=PKR_AD << 6), denied, needs)
        yield Rule(
            f"AD, fetch, CPL {cpl}", replace(read, instruction=FETCH, pkru=PKR_AD << 6), None, needs
        )
        yield Rule(f"WD, read, CPL {cpl}", replace(read, pkru=PKR_WD << 6), None, needs)
        yield Rule(f"WD, write, CPL {cpl}", replace(write, pkru=PKR_WD << 6), denied | PF_WR, needs)
        no_wp = replace(write, pkru=PKR_WD << 6, cr0=NO_WP)
        yield Rule(
            f"WD, write without WP, CPL {cpl}", no_wp, denied | PF_WR if cpl else None, needs
        )
        read_only = replace(write, pkru=PKR_WD << 6, bits={1: KEY_3 | USER & ~X86_RW})
        yield Rule(f"WD, read-only page, CPL {cpl}", read_only, denied | PF_WR, needs)


RULES = list(_rules())


@pytest.mark.parametrize("rule", RULES, ids=[rule.name.replace(" ", "-") for rule in RULES])
def test_the_manuals_rule(pair: Pair, rule: Rule) -> None:
    pair.need(rule.needs)
    _, verdict = pair.machine.execute(rule.state)
    if rule.error_code is None:
        assert (verdict.vector, verdict.text) == (None, ""), verdict
    else:
        assert (verdict.vector, verdict.error_code, verdict.cr2) == (
            14,
            rule.error_code,
            rule.state.va,
        ), verdict
    pair.check(rule.state)


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_bits_of_an_address_that_is_too_wide(pair: Pair, level: int) -> None:
    """Each of bits 51:MAXPHYADDR is reserved; the bits from 52 on are not (SDM table 4-19)."""
    width = pair.machine.maxphyaddr
    if width >= 52:
        pytest.skip(f"no such bits with MAXPHYADDR {width}: {pair.machine}")
    for bit in range(width, 52):
        state = State(bits={level: USER | 1 << bit})
        _, verdict = pair.machine.execute(state)
        assert (verdict.vector, verdict.error_code) == (14, PF_P | PF_RSVD), f"bit {bit}: {verdict}"
        pair.check(state)
    for bit in range(52, 63):
        state = State(bits={level: USER | 1 << bit})
        assert pair.machine.execute(state)[1].vector is None, f"bit {bit}"
        pair.check(state)


def test_ps_in_a_pdpte_without_pages_of_1_gib(pair: Pair) -> None:
    if Feature.PAGE1GB in pair.machine.features:
        pytest.skip(f"this guest has pages of 1 GiB: {pair.machine}")
    state = State(leaf=3, bits={3: USER | X86_PS})
    _, verdict = pair.machine.execute(state)
    assert (verdict.vector, verdict.error_code) == (14, PF_P | PF_RSVD), verdict
    pair.check(state)


def test_bit_8_of_a_pml4e(pair: Pair) -> None:
    """Ignored on Intel (SDM table 4-15), reserved on AMD (APM vol. 2 5.3.3); so of no other table's
    entry.
    """
    state = State(bits={4: USER | X86_G})
    _, verdict = pair.machine.execute(state)
    if pair.machine.vendor == Vendor.AMD:
        assert (verdict.vector, verdict.error_code) == (14, PF_P | PF_RSVD), verdict
    else:
        assert verdict.vector is None, verdict
    pair.check(state)


def test_five_levels(pair: Pair) -> None:
    pair.need(Feature.LA57)
    va = 0x0012_3456_0020_5128
    for level in (5, 4, 3, 2, 1):
        for bits in (USER, USER & ~X86_P, USER & ~X86_RW, USER | X86_XD, USER | 1 << 51):
            for instruction in (READ, WRITE, FETCH):
                pair.check(
                    State(instruction, va=va, bits={level: bits}, cr4=State().cr4 | CR4_LA57)
                )


# Addresses and instructions.


@pytest.mark.parametrize(
    "va", [0x0000_8000_0000_0000, 0x1234_5678_9ABC_D000, 0xFFFF_7FFF_FFFF_FFF8]
)
@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize("instruction", [READ, WRITE, FETCH, PUSH, POP], ids=lambda each: each.text)
def test_addresses_that_are_not_canonical(
    pair: Pair, va: int, cpl: int, instruction: Instruction
) -> None:
    """#GP, of the stack #SS, and no table is read (SDM vol. 1 3.3.7.1)."""
    state = State(instruction, cpl, va)
    _, verdict = pair.machine.execute(state)
    assert verdict.vector == (12 if instruction in (PUSH, POP) else 13), verdict
    assert verdict.accessed_dirty == (0,) * 4
    pair.check(state)


PAGE = VA & -0x1000
CROSSINGS = {
    "neither": ({1: USER & ~X86_P}, USER & ~X86_P, 0),
    "only the first": ({}, USER & ~X86_P, 1),
    "only the second": ({1: USER & ~X86_P}, USER, 0),
}


@pytest.mark.parametrize("which", CROSSINGS)
@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize(
    "instruction", [READ8, WRITE8, PUSH, CALL, POP], ids=lambda each: each.text
)
def test_cr2_of_an_access_that_crosses_into_the_next_page(
    pair: Pair, which: str, cpl: int, instruction: Instruction
) -> None:
    """The first address that cannot be accessed: in the second page, its first byte (SDM 4.7)."""
    bits, next_bits, page = CROSSINGS[which]
    va = PAGE + 0xFFD
    state = State(instruction, cpl, va, bits=bits, next_bits=next_bits)
    _, verdict = pair.machine.execute(state)
    assert (verdict.vector, verdict.cr2) == (14, PAGE + 0x1000 if page else va), verdict
    pair.check(state)


@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize("instruction", READ_MODIFY_WRITE, ids=lambda each: each.text)
def test_a_read_modify_write_is_a_write(pair: Pair, cpl: int, instruction: Instruction) -> None:
    """W/R is set even where the page is absent, and where the instruction would write nothing new
    (SDM 4.7).
    """
    who = PF_US if cpl else 0
    for bits, why in ((USER & ~X86_P, 0), (USER & ~X86_RW, PF_P)):
        state = State(instruction, cpl, bits={1: bits})
        _, verdict = pair.machine.execute(state)
        assert (verdict.vector, verdict.error_code) == (14, why | PF_WR | who), verdict
        pair.check(state)
    _, verdict = pair.machine.execute(State(instruction, cpl))
    assert verdict.accessed_dirty[-1] == X86_A | X86_D, verdict


@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize("instruction", READ_ONLY_ARITHMETIC, ids=lambda each: each.text)
def test_arithmetic_that_only_reads(pair: Pair, cpl: int, instruction: Instruction) -> None:
    who = PF_US if cpl else 0
    _, verdict = pair.machine.execute(State(instruction, cpl, bits={1: USER & ~X86_P}))
    assert (verdict.vector, verdict.error_code) == (14, who), verdict
    _, verdict = pair.machine.execute(State(instruction, cpl, bits={1: USER & ~X86_RW}))
    assert (verdict.vector, verdict.accessed_dirty) == (None, (X86_A,) * 4), verdict


@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize("instruction", [PUSH, CALL], ids=lambda each: each.text)
def test_a_stack_that_is_absent(pair: Pair, cpl: int, instruction: Instruction) -> None:
    state = State(instruction, cpl, bits={1: 0})
    _, verdict = pair.machine.execute(state)
    assert (verdict.vector, verdict.cr2) == (14, VA), verdict
    assert verdict.error_code == PF_WR | (PF_US if cpl else 0)
    pair.check(state)


@pytest.mark.parametrize("instruction", [READ, WRITE, FETCH], ids=lambda each: each.text)
def test_accessed_and_dirty(pair: Pair, instruction: Instruction) -> None:
    """A of every entry; D of the leaf, and only for a write; what was set stays (SDM 4.8)."""
    _, verdict = pair.machine.execute(State(instruction))
    dirty = X86_D if instruction is WRITE else 0
    assert verdict.accessed_dirty == (X86_A, X86_A, X86_A, X86_A | dirty), verdict
    _, verdict = pair.machine.execute(
        State(instruction, bits=dict.fromkeys((4, 3, 2, 1), USER | X86_D))
    )
    assert verdict.accessed_dirty == (X86_A | X86_D,) * 4, verdict


def test_what_is_written_arrives(pair: Pair) -> None:
    """The page is the one that the leaf names, of either size."""
    for leaf in (1, 2):
        state = State(WRITE8, leaf=leaf, bits={leaf: USER | layout.large(leaf)})
        pair.machine.clear_data(state)
        _, verdict = pair.machine.execute(state, keep_data=True)
        assert verdict.vector is None, verdict
        assert pair.machine.read_data(VA, 8) == layout.LDT_SELECTOR.to_bytes(8, "little")
        pair.machine.clear_data(state)


# The machine against our MMU.


@given(seed=st.integers(0, (1 << 32) - 1))
def test_random_states(pair: Pair, seed: int) -> None:
    random = Random(seed)
    for _ in range(BATCH):
        pair.check(random_state(random, pair.machine.features, pair.machine.maxphyaddr))


@pytest.mark.parametrize("seed", range(4))
def test_random_states_in_python(offered: Pair, seed: int) -> None:
    """The Python engine on a share of them."""
    machine = offered.machine
    reference = Reference(machine.features, machine.vendor, machine.maxphyaddr, engine="python")
    python = replace(offered, reference=reference)
    random = Random(seed)
    for _ in range(BATCH):
        python.check(random_state(random, machine.features, machine.maxphyaddr))
    reference.close()


@pytest.mark.parametrize("deviation", Deviation, ids=lambda each: each.name)
def test_a_listed_deviation_is_still_there(offered: Pair, deviation: Deviation) -> None:
    """Its example ends as listed; and it would not, were the deviation not taken into account."""
    if deviation not in offered.deviations:
        pytest.skip(f"not on {offered.machine.kind}: there our MMU's answer is compared as it is")
    state = deviation.example
    placed, theirs = offered.machine.execute(state)
    assert theirs == offered.reference.verdict(state, placed, offered.deviations), deviation.reason
    assert theirs != offered.reference.verdict(state, placed, offered.deviations - {deviation}), (
        deviation.reason
    )


# The runner itself.


def test_a_triple_fault_is_told(offered: Pair) -> None:
    """Without an IDT that can be read, the first fault ends the machine; the next state runs."""
    _, verdict = offered.machine.execute(State(bits={1: 0}), idt=PAGE)
    assert verdict.text == "triple fault"
    assert offered.machine.execute(State())[1].vector is None


def test_a_guest_without_end_is_ended(offered: Pair) -> None:
    endless = replace(access.READ, text="jmp $", code=b"\xeb\xfe")
    _, verdict = offered.machine.execute(State(endless), milliseconds=50)
    assert verdict.text == "no end"
    assert offered.machine.execute(State())[1].vector is None


def test_registers_that_kvm_refuses_are_told(offered: Pair) -> None:
    _, verdict = offered.machine.execute(State(cr4=1 << 40))
    assert verdict.text.startswith("registers refused")
    assert offered.machine.execute(State())[1].vector is None
