# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a function that is written twice is declared once, and called as its annotations say."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mmu._native import lib
from mmu.linux import engine, pte_ref
from mmu.linux.bug import Bug, MmBug
from mmu.linux.mm import Mm, boot
from mmu.linux.state import MmStruct
from mmu.memory import Memory
from mmu.twin import TWINS, EntryPa, Twin, TwinError
from mmu.x86 import Access, Mmu, Outcome
from mmu.x86 import engine as x86_engine

BASE = 1 << 30


@pytest.fixture(params=["c", "python"])
def mm(request: pytest.FixtureRequest) -> Mm:
    memory = Memory(16 << 20)
    mmu = Mmu(memory, engine=request.param, exact=True)
    mm = boot(memory, mmu, engine=request.param)
    mm.mmap(BASE, 1 << 21, 3, 0x32)
    return mm


def test_every_twin_of_an_engine_is_declared_once() -> None:
    declared = [*vars(x86_engine).items(), *vars(engine).items()]
    names = [name for name, value in declared if name in TWINS and callable(value)]
    assert sorted(names) == sorted(TWINS)
    assert all(callable(getattr(lib, name)) for name in TWINS)


def test_a_twin_has_its_python_functions_signature_and_words() -> None:
    for name, python in TWINS.items():
        twin = getattr(engine, name, None) or getattr(x86_engine, name)
        assert list(inspect.signature(twin).parameters) == list(
            inspect.signature(python).parameters
        )
        assert (twin.__name__, twin.__doc__) == (name, python.__doc__) and python.__doc__


def test_entries_enums_and_pairs(mm: Mm) -> None:
    """EntryPa goes in and comes out as an address, an enum as its member."""
    assert engine.mm_find_pmd(mm, BASE) is None
    pmd = engine.pmd_alloc(mm, BASE)
    assert pmd is not None and pmd == engine.mm_find_pmd(mm, BASE)
    result, pte = engine.pte_alloc_get_map(mm, pmd, BASE + 0x5000)
    assert result is pte_ref.PteAlloc.OK
    assert pte == (mm.memory.read_u64(pmd) & -4096 & ~(1 << 63)) + 5 * 8
    assert engine.pte_try_get(mm, pmd) == (pte_ref.TryGet.SUCCEEDED, pte >> 12)
    engine.pte_put_many(mm, pte >> 12, BASE, 2)
    assert engine.pte_tryget_map(mm, pmd, BASE) is None


def test_structs_come_through_an_argument(mm: Mm) -> None:
    mmu = mm.kernel.this_cpu.mmu
    walk = x86_engine.mmu_walk(mmu, BASE, Access.READ, 1, 0)
    assert (walk.result, walk.va) == (Outcome.PAGE_FAULT, BASE)
    answer = x86_engine.mmu_translate(mmu, BASE, Access.WRITE, 1)
    assert answer.result is Outcome.PAGE_FAULT and answer.error_code == 6
    assert x86_engine.mmu_write_pat(mmu, 0xFF) is Outcome.GENERAL_PROTECTION
    assert x86_engine.mmu_resident(mmu, BASE, Access.READ) is None


def test_a_state_is_made_and_filled_in(mm: Mm) -> None:
    """By position or by name, with the default or without."""
    for arguments, names, fullmm in (((), {}, 0), ((True,), {}, 1), ((), {"fullmm": True}, 1)):
        tlb = engine.tlb_gather_mmu(mm, *arguments, **names)
        assert (tlb.mm, tlb.c.mm, tlb.c.fullmm) == (mm, mm.c, fullmm)
        engine.tlb_finish_mmu(tlb)


def test_what_broke_is_raised_by_the_call_that_met_it(mm: Mm) -> None:
    pmd = engine.pmd_alloc(mm, BASE)
    assert pmd is not None
    _, table = engine.pte_alloc_get(mm, pmd, BASE)
    with pytest.raises(MmBug) as caught:
        engine.pte_put_many(mm, table, BASE, 9)
    assert caught.value.bug is Bug.PTE_REF_UNDERFLOW
    engine.pte_put(mm, table, BASE)


def test_the_python_function_alone_raises_nothing(mm: Mm) -> None:
    """Twins below the engine call each other; the check is the engine's."""
    pmd = engine.pmd_alloc(mm, BASE)
    assert pmd is not None
    _, table = pte_ref.pte_alloc_get(mm, pmd, BASE)
    pte_ref.pte_put_many(mm, table, BASE, 9)
    with pytest.raises(MmBug):
        mm.check()


def no_such_function(mm: MmStruct) -> None:
    """Not in C."""


def pte_get(mm: MmStruct, pmd: EntryPa, nr: int) -> None:
    """One argument too many."""


def rcu_read_lock(mm: MmStruct) -> dict[str, int]:
    """No C function returns that."""
    return {}


def pte_put(mm: MmStruct, pmd: EntryPa, addr: int) -> str | None:
    """Nor that."""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (no_such_function, "mmu._native has no function no_such_function"),
        (pte_get, "takes 2 arguments in C, 3 by its twin"),
        (rcu_read_lock, "returns dict"),
        (pte_put, "returns str | None"),
    ],
)
def test_annotations_that_say_nothing_are_refused(wrong: Any, words: str) -> None:
    before = dict(TWINS)
    with pytest.raises(TwinError, match=words.replace("|", r"\|")):
        Twin(wrong)
    assert before == TWINS
