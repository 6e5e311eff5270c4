# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: Bochs and our MMU do the same with the same instructions over the same tables (SDM vol. 3A
ch. 4).
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, Final

import pytest

from cpu._engine import lib as engine_lib
from cpu.linkage import private_parts
from mmu.x86.entries import X86_A, X86_D, X86_P, X86_RW, X86_US
from mmu.x86.registers import (
    CR0_WP,
    CR4_PGE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_NXE,
    RFLAGS_AC,
)
from tests.oracles.bochs import campaign, compare, deviations, kernels, layout, library, states
from tests.oracles.bochs.attached import Attached, KernelInstance
from tests.oracles.bochs.compare import (
    KernelLeg,
    KernelTally,
    Leg,
    Tally,
    describe,
    describe_kernel,
)
from tests.oracles.bochs.kernels import Kernel, KernelResult, Op
from tests.oracles.bochs.machine import Bochs
from tests.oracles.bochs.model import Model, Word
from tests.oracles.bochs.states import KINDS, Result, State
from tests.oracles.bochs.walk import Walk

SEED: Final = 1
STATES: Final = 20_000
PYTHON_STATES: Final = 1000
FAULT_STATES: Final = 2000
KERNELS: Final = 2000
FUZZ_STATES: Final = 10_000 * int(os.environ.get("HYPOTHESIS_EXAMPLES", "1000"))
FUZZ_KERNELS: Final = FUZZ_STATES // 10
PYTHON_KERNELS: Final = 60
FAULT_KERNELS: Final = 400
EVERY_CODE: Final = (
    0x0, 0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x9, 0xB, 0xD, 0xF,
    0x10, 0x11, 0x14, 0x15, 0x19, 0x1D,
)  # fmt: skip

needs_private = pytest.mark.skipif(
    private_parts() != engine_lib.PRIVATE_ALL,
    reason="without Unicorn's private parts a fault's exact address is not always told",
)
pytestmark = pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))


@pytest.fixture(scope="module")
def bochs() -> Iterator[Bochs]:
    with Bochs() as bochs:
        yield bochs


@pytest.fixture(scope="module")
def attached_every() -> int:
    """Attached instances get all cases, or none without Unicorn's private parts."""
    return 1 if private_parts() == engine_lib.PRIVATE_ALL else STATES + 1


@pytest.fixture(scope="module")
def some(bochs: Bochs) -> list[tuple[State, Result]]:
    """Some states, with Bochs' results."""
    cases = [states.random_state(SEED, index) for index in range(FAULT_STATES)]
    return list(zip(cases, bochs.run(cases), strict=True))


def judged(some: list[tuple[State, Result]], leg: Leg) -> Tally:
    tally = Tally()
    for state, result in some:
        tally.judge(state, result, leg)
    return tally


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    walk = Walk()
    yield walk
    walk.close()


def check(tally: Tally) -> None:
    if tally.failures:
        pytest.fail(
            f"{len(tally.failures)} of {tally.states} states differ; the first:\n"
            + describe(*tally.failures[0])
        )


def check_shares(tally: Tally) -> None:
    for deviation in deviations.ALL:
        assert tally.excused[deviation.name] <= deviation.limit * tally.states, deviation.name


@pytest.fixture(scope="module")
def tallies(bochs: Bochs, attached_every: int) -> dict[str, Tally]:
    """Random states by each of ours."""
    with ExitStack() as stack:
        legs = campaign.state_legs(stack, attached_every)
        found = compare.compare(bochs, legs, SEED, STATES)
    return {leg.name: tally for leg, tally in zip(legs, found, strict=True)}


def test_walk(tallies: dict[str, Tally]) -> None:
    """Each page that an instruction touches, asked of our walk."""
    tally = tallies["walk"]
    check(tally)
    check_shares(tally)
    assert tally.states == STATES
    assert min(tally.by_kind[kind] for kind in range(len(KINDS))) > STATES / len(KINDS) / 2
    assert min(tally.by_code[states.PAGE_FAULT, code] for code in EVERY_CODE) > STATES / 200
    assert tally.by_code[states.NO_VECTOR, 0] > STATES / 4
    assert tally.by_code[states.GENERAL_PROTECTION, 0] > STATES / 200
    assert tally.by_code[states.STACK_FAULT, 0] > STATES / 2000


@needs_private
@pytest.mark.parametrize("fidelity", campaign.FIDELITIES)
def test_attached(tallies: dict[str, Tally], fidelity: str) -> None:
    """The same states as guest code, over tables in the instance's memory."""
    tally = tallies[fidelity]
    check(tally)
    check_shares(tally)
    assert tally.states == STATES


def test_python_walk(bochs: Bochs) -> None:
    walk = Walk(engine="python")
    (tally,) = compare.compare(bochs, [Leg("walk", walk.run)], SEED + 1, PYTHON_STATES)
    check(tally)
    walk.close()


def test_replay() -> None:
    """A state depends on its seed and number only."""
    assert states.random_state(SEED, 77) == states.random_state(SEED, 77)
    assert states.random_state(SEED, 77) != states.random_state(SEED + 1, 77)


USER: Final = X86_P | X86_RW | X86_US | X86_A | X86_D
VA: Final = 0x40_0020_5000
BEFORE_THE_GAP: Final = 0x7FFF_FFFF_F000


def made(
    kind: str,
    *,
    va: int = VA,
    at: int = 0,
    cpl: int = 3,
    cr4: int = 0,
    rflags: int = 2,
    leaf: int = USER,
) -> State:
    """An access in the page at va, whose tables were not accessed before, not in the next one."""
    frames = layout.FRAMES[:4]
    data = layout.DATA[0][0]
    words = [
        (frames[i] + (va >> shift & 511) * 8, (frames[i + 1] if i < 3 else data) | flags)
        for i, (shift, flags) in enumerate(
            zip((39, 30, 21, 12), (*[USER & ~X86_A] * 3, leaf), strict=True)
        )
    ]
    number = next(i for i, known in enumerate(KINDS) if known.name == kind)
    registers = [0, va + at, states.LDT_SELECTOR, layout.CODE + layout.KERNEL_STACK, 0, 0]
    cells = [(data + at, min(8, layout.PAGE - at))]
    if KINDS[number].implicit:
        words.append((data, layout.READ_DESCRIPTOR))
        cells = []
    words.append((frames[0] + layout.CODE_SLOT * 8, layout.ROOT_ENTRY))
    return State(
        0, 0, number, cpl, states.CR0 | CR0_WP, frames[0], states.CR4 | cr4,
        states.EFER | EFER_NXE, rflags, tuple(registers), tuple(words), tuple(cells), va - 8,
    )  # fmt: skip


WITNESSES: Final = {
    "UPPER_ACCESSED": ("walk", made("mov [rbx], rax", leaf=USER & ~X86_RW)),
    "IMPLICIT_AC": ("walk", made("verr cx", cpl=0, cr4=CR4_SMAP, rflags=RFLAGS_AC | 2)),
    "RMW_ASKED_AS_LOAD": ("fast", made("add [rbx], rax", leaf=USER & ~(X86_RW | X86_A))),
    "SECOND_FIRST": ("exact", made("mov [rbx], rax", at=0xFFC, leaf=USER & ~X86_D)),
    "CANONICAL_LATE": ("fast", made("mov rax, [rbx]", va=BEFORE_THE_GAP, at=0xFFC, leaf=0)),
    "JUMP_ARRIVES": ("fast", made("jmp rbx", va=1 << 60)),
}
"""A state for each deviation, and by which of ours."""


def test_list_of_deviations_is_complete() -> None:
    assert WITNESSES.keys() == {deviation.name for deviation in deviations.ALL}


@pytest.fixture(scope="module")
def legs() -> Iterator[dict[str, Leg]]:
    with ExitStack() as stack:
        yield {leg.name: leg for leg in campaign.state_legs(stack)}


@pytest.mark.parametrize("name", WITNESSES)
def test_deviation_still_occurs(bochs: Bochs, legs: dict[str, Leg], name: str) -> None:
    """If this fails one of the two has changed: take the deviation off the list."""
    leg, state = WITNESSES[name]
    tally = Tally()
    tally.judge(state, bochs.run([state])[0], legs[leg])
    check(tally)
    assert tally.excused == {name: 1}


def test_witness_without_deviation(bochs: Bochs, walk: Walk) -> None:
    """What the deviations do not touch agrees: they are no blanket excuse."""
    for state in (made("mov [rbx], rax"), made("verr cx", cpl=0, rflags=RFLAGS_AC | 2)):
        tally = Tally()
        tally.judge(state, bochs.run([state])[0], Leg("walk", walk.run))
        check(tally)
        assert not tally.excused


Planted = Callable[[State], State]
PLANTED: Final[dict[str, Planted]] = {
    "SMEP": lambda s: s._replace(cr4=s.cr4 & ~CR4_SMEP),
    "SMAP": lambda s: s._replace(cr4=s.cr4 & ~CR4_SMAP),
    "WP": lambda s: s._replace(cr0=s.cr0 & ~CR0_WP),
    "NXE": lambda s: s._replace(efer=s.efer & ~EFER_NXE),
    "AC": lambda s: s._replace(rflags=s.rflags & ~RFLAGS_AC),
    "CPL": lambda s: s._replace(cpl=0),
}
"""Rules of ours broken: some state must tell, and nothing excuse it."""


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_caught(some: list[tuple[State, Result]], walk: Walk, name: str) -> None:
    def wrong(state: State) -> Result:
        return walk.run(PLANTED[name](state))

    assert len(judged(some, Leg("wrong", wrong)).failures) > 5


RESULTS: Final[dict[str, Callable[[Result], Result]]] = {
    "accessed": lambda r: r._replace(words=tuple(word & ~X86_A for word in r.words)),
    "dirty": lambda r: r._replace(words=tuple(word & ~X86_D for word in r.words)),
    "too much accessed": lambda r: r._replace(words=tuple(word | X86_A for word in r.words)),
    "error code": lambda r: r._replace(error=r.error & ~2),
    "CR2": lambda r: r._replace(cr2=r.cr2 & -layout.PAGE),
    "RIP": lambda r: r._replace(rip=r.rip & ~1),
    "data": lambda r: r._replace(cells=tuple(bytes(len(cell)) for cell in r.cells)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_wrong_result_is_caught(some: list[tuple[State, Result]], walk: Walk, name: str) -> None:
    def wrong(state: State) -> Result:
        return RESULTS[name](walk.run(state))

    assert len(judged(some, Leg("wrong", wrong)).failures) > 5


def test_minimised_state_still_differs(
    bochs: Bochs, some: list[tuple[State, Result]], walk: Walk
) -> None:
    """A difference is shown by a state with few unusual bits."""

    def wrong(state: State) -> Result:
        return walk.run(PLANTED["SMEP"](state))

    def differs(state: State) -> bool:
        tally = Tally()
        tally.judge(state, bochs.run([state])[0], Leg("wrong", wrong))
        return bool(tally.failures)

    state = compare.minimised(judged(some, Leg("wrong", wrong)).failures[0][0], differs)
    assert differs(state)
    assert state.cr4 & CR4_SMEP
    assert not state.cr4 & CR4_SMAP


# Kernels.


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.close()


def check_kernels(tally: KernelTally) -> None:
    if tally.failures:
        pytest.fail(
            f"{len(tally.failures)} of {tally.kernels} kernels differ; the first:\n"
            + describe_kernel(*tally.failures[0])
        )


@pytest.fixture(scope="module")
def kernel_tallies(bochs: Bochs, attached_every: int) -> dict[str, KernelTally]:
    """Random kernels by each of ours."""
    with ExitStack() as stack:
        legs = campaign.kernel_legs(stack, attached_every)
        found = compare.compare_kernels(bochs, legs, SEED, KERNELS)
    return {leg.name: tally for leg, tally in zip(legs, found, strict=True)}


def test_kernels_by_the_model(kernel_tallies: dict[str, KernelTally]) -> None:
    """Each operation and the pages that it touches, asked of the TLB model."""
    tally = kernel_tallies["model"]
    check_kernels(tally)
    assert tally.kernels == KERNELS
    rare = {name: n for name, n in tally.ops.items() if n < KERNELS / 10}
    assert not rare
    assert tally.ops["invpcid"] > KERNELS


@needs_private
@pytest.mark.parametrize("fidelity", campaign.FIDELITIES)
def test_attached_kernels(kernel_tallies: dict[str, KernelTally], fidelity: str) -> None:
    """The same kernels, executed: exceptions through their IDT, in their own tables."""
    tally = kernel_tallies[fidelity]
    check_kernels(tally)
    assert tally.kernels == KERNELS
    assert sum(tally.excused.values()) < KERNELS / 5


@needs_private
@pytest.mark.parametrize(
    ("fidelity", "options", "n"),
    [
        ("fast", {"mapped": True}, 40),
        ("exact", {"mapped": True}, 40),
        ("trace", {"mapped": True}, 40),
        ("fast", {"engine": "python"}, 10),
        ("exact", {"engine": "python"}, 2),
    ],
)
def test_other_instances(
    bochs: Bochs, walk: Walk, model: Model, fidelity: str, options: dict[str, Any], n: int
) -> None:
    """``mapped``: memory by mem_map(), read and written by the instance's own methods; other tests
    give it pointers.
    """
    known = "fast" if fidelity == "fast" else "exact"
    with (
        closing(Attached(fidelity, **options)) as attached,
        closing(KernelInstance(fidelity, **options)) as kernel_instance,
    ):
        leg = Leg(known, attached.run, True, 1, walk)
        (tally,) = compare.compare(bochs, [leg], SEED + 2, 5 * n)
        kernel_leg = KernelLeg(known, kernel_instance.run, 1, model)
        (kernel_tally,) = compare.compare_kernels(bochs, [kernel_leg], SEED + 2, n)
    check(tally)
    check_kernels(kernel_tally)


@pytest.mark.parametrize(("engine", "geometry"), [("python", "skylake"), ("c", "tiny")])
def test_kernels_by_other_models(bochs: Bochs, engine: str, geometry: str) -> None:
    other = Model(engine=engine, geometry=geometry)
    (tally,) = compare.compare_kernels(
        bochs, [KernelLeg("model", other.run)], SEED + 1, PYTHON_KERNELS
    )
    check_kernels(tally)
    other.close()


@pytest.fixture(scope="module")
def some_kernels(bochs: Bochs) -> list[tuple[Kernel, KernelResult]]:
    """Some kernels, with Bochs' results."""
    cases = [kernels.random_kernel(SEED, index) for index in range(FAULT_KERNELS)]
    return list(zip(cases, bochs.run(cases), strict=True))


def test_kernels_do_what_they_are_for(some_kernels: list[tuple[Kernel, KernelResult]]) -> None:
    """Accesses are allowed about as often as not, and each kind of fault happens."""
    logged = [value for _, result in some_kernels for value in result.log]
    codes = {code for vector, code in itertools.pairwise(logged) if vector == states.PAGE_FAULT}
    assert codes >= {0x0, 0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x9, 0xB, 0xD, 0xF, 0x11, 0x15}
    accesses = sum(
        op.name in ("load", "store", "user", "sysret")
        for case, _ in some_kernels
        for op in case.ops
    )
    assert accesses / 4 < logged.count(states.PAGE_FAULT) < accesses


Told = tuple[tuple[str, int], ...]


def without(name: str, model: Model) -> compare.KernelRunner:
    """The model without one invalidation."""

    class Broken(Model):
        def invlpg(self, op: Op) -> Word:
            return None if name == "invlpg" and not self.user else super().invlpg(op)

        def invpcid(self, op: Op) -> Word:
            return None if name == f"invpcid {op.rbx}" else super().invpcid(op)

        def cr3(self, op: Op) -> Word:
            return super().cr3(op._replace(rbx=op.rbx | 1 << 63) if name == "cr3" else op)

        def cr4(self, op: Op) -> Word:
            if name == "cr4" and op.rbx ^ self.mmu.c.cr4 == CR4_PGE:
                self.mmu.c.cr4 = op.rbx
            return super().cr4(op)

    broken = Broken.__new__(Broken)
    broken.__dict__.update(model.__dict__)
    return broken.run


@pytest.mark.parametrize(
    "name", ["invlpg", "invpcid 0", "invpcid 1", "invpcid 2", "invpcid 3", "cr3", "cr4"]
)
def test_missing_invalidation_is_caught(
    some_kernels: list[tuple[Kernel, KernelResult]], model: Model, name: str
) -> None:
    """Not by its event alone: what it should have dropped is used."""
    broken = without(name, model)
    tally = KernelTally()
    for kernel, result in some_kernels:
        told = [event for event in result.invalidations if event[0] in compare.COMPARED_EVENTS]

        def runner(kernel: Kernel, told: Told = tuple(told)) -> KernelResult:
            return broken(kernel)._replace(invalidations=told)

        tally.judge(kernel, result, KernelLeg("broken", runner))
    assert tally.failures


def test_minimised_kernel(
    bochs: Bochs, some_kernels: list[tuple[Kernel, KernelResult]], model: Model
) -> None:
    """A difference is shown by few operations, whose outcome is defined."""
    broken = without("invlpg", model)

    def differs(kernel: Kernel) -> bool:
        return bool(compare.kernel_differences(kernel, bochs.run([kernel])[0], broken(kernel)))

    kernel = next(
        kernel
        for kernel, result in some_kernels
        if broken(kernel).log != model.run(kernel).log and differs(kernel)
    )
    small = compare.minimised_kernel(kernel, differs)
    assert differs(small)
    assert kernels.is_defined(small)
    assert len(small.ops) <= 6


def test_stale_access_is_not_defined() -> None:
    """A kernel whose invalidations are taken out is told from one that the architecture defines."""
    told = []
    for index in range(20):
        kernel = kernels.random_kernel(SEED, index)
        assert kernels.is_defined(kernel)
        ops = tuple(op for op in kernel.ops if op.name not in ("invlpg", "invpcid", "cr3", "cr4"))
        told.append(kernels.is_defined(kernel._replace(ops=ops)))
    assert not all(told)


@pytest.mark.fuzz
@pytest.mark.parametrize(("n_states", "n_kernels"), [(FUZZ_STATES, 0), (0, FUZZ_KERNELS)])
def test_many(n_states: int, n_kernels: int, capfd: pytest.CaptureFixture[str]) -> None:
    """10,000 states and 1,000 kernels for each example that `make fuzz` asks for, from a new seed;
    one in 32 attached too.
    """
    seed = random.SystemRandom().getrandbits(31)
    with capfd.disabled():
        found = campaign.run(seed, n_states, n_kernels, attached_every=32, progress=os.isatty(2))
        os.write(2, f"\nBochs: {found.text()}\n".encode())
    assert not found.failed, found.text()
