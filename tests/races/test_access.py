# SPDX-License-Identifier: GPL-2.0-or-later
"""What a step is said to touch is all that it touches: steps that touch nothing in common may be
swapped, and everything is as before.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mmu._native import ffi
from ucmmu.race.dpor import Dpor
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.program import Actor, Step, StepAccess
from ucmmu.race.run import replay
from ucmmu.race.setting import Setting
from ucmmu.race.structs import NOT_ACCESSES
from ucmmu.race.watched import WatchedMemory

SCENARIOS = [
    *("fault-zap", "zap-zap-fault", "fork-zap", "gup-zap", "lazy-zap-fault", "switch-zap"),
    *("load-zap", "mremap-visit", "munmap-fault", "exit-rcu-reader"),
]


def _numbers(c: Any) -> dict[str, object]:
    """The fields of a C struct, without pointers and what is no access."""
    return {
        name: bytes(ffi.buffer(ffi.addressof(c[0], name)))
        for name, field in ffi.typeof(c).item.fields
        if field.type.kind != "pointer" and name not in NOT_ACCESSES
    }


def _state(program: KernelProgram) -> dict[str, object]:
    """Everything there is: RAM, struct pages, structs, TLBs, what each actor comes to next."""
    memory, kernel = program.world.memory, program.kernel
    assert isinstance(memory, WatchedMemory) and program.watch is not None
    known = sorted(memory._allocated)
    fields = ("flags", "_refcount", "ptl", "pte_refcount", "next", "pmd")
    state: dict[str, object] = {
        "ram": {pfn: bytes(memory._bytes[pfn << 12 : pfn + 1 << 12]) for pfn in known},
        "pages": {pfn: [getattr(memory.c.pages[pfn], f) for f in fields] for pfn in known},
        "free": [list(frames) for frames in memory._freed],
        "buffers": [list(buffer) for buffer in program.watch.buffers],
        "kernel": {k: v for k, v in _numbers(kernel.c).items() if k != "cpu"},
        "enabled": sorted(map(str, program.enabled())),
        "at": {n: (actor.at, actor.ended) for n, actor in program._actors.items()},
        "hash": program.watch.state_hash,
    }
    for cpu in kernel.cpus:
        units = cpu.mmu.entries() + cpu.mmu.paging_structure_caches()
        state[f"cpu {cpu.id}"] = _numbers(cpu.c), sorted(map(str, units)), cpu.mmu.c.cr3
    for mm in kernel.mms:
        vmas = mm.c.vmas
        state[f"mm {mm.c.ctx_id}"] = (
            {k: v for k, v in _numbers(mm.c).items() if k != "vmas"},
            (mm.c.mmap_lock.count, mm.c.page_table_lock, mm.c.pgtables_bytes, list(mm.c.rss_stat)),
            [bytes(ffi.buffer(vma)) for vma in vmas.vma[0 : vmas.nr]],
        )
    return state


def _run(setting: Setting, schedule: Sequence[Actor]) -> tuple[list[Step], dict[str, object]]:
    """Take these steps, and say what there is then."""
    program = setting.program()
    try:
        return [program.step(actor) for actor in schedule], _state(program)
    finally:
        program.close()


def _at_random(setting: Setting, chance: random.Random) -> list[Step]:
    """A whole run, each step of which is chosen at random."""
    program, steps = setting.program(), list[Step]()
    last: Actor | None = None
    try:
        while not program.finished():
            able = list(program.enabled())
            go_on = last in able and chance.random() < 0.7
            last = last if go_on else chance.choice(able)
            assert last is not None
            steps.append(program.step(last))
    finally:
        program.close()
    return steps


def _may_be_swapped(step: Step, following: Step) -> bool:
    """Not what ends where its CPU waits for a drain."""
    return step.actor.cpu != following.actor.cpu or step.label != "store_buffer"


def _without_hints(step: Step) -> StepAccess:
    """What it touched but for references, for what else these are dependent on hangs on the count;
    and ends of operations, which an instruction is dependent on where anything at all is stale.
    """
    access = step.access
    hints = {
        what
        for what in access.reads | access.writes
        if isinstance(what, tuple)
        and (what[0] == "drop" or what[2:3] in (("pte_refcount",), ("operation_end",)))
    }
    return replace(access, reads=access.reads - hints, writes=access.writes - hints)


def swap_some(setting: Setting, seed: int, swaps: int) -> int:
    """Swap so many neighbours that are said to be independent; how many there were."""
    chance = random.Random(seed)
    steps = _at_random(setting, chance)
    schedule = [step.actor for step in steps]
    pairs = [
        i
        for i in range(len(steps) - 1)
        if steps[i].actor != steps[i + 1].actor
        and _may_be_swapped(steps[i], steps[i + 1])
        and not steps[i].access.conflicts_with(steps[i + 1].access)
    ]
    chosen = chance.sample(pairs, min(swaps, len(pairs)))
    for i in chosen:
        head = schedule[:i]
        there, before = _run(setting, [*head, schedule[i], schedule[i + 1]])
        said = f"{setting}, seed {seed}: steps {i} and {i + 1}, {there[-2:]}"
        try:
            back, after = _run(setting, [*head, schedule[i + 1], schedule[i]])
        except Exception as error:
            raise AssertionError(said) from error
        for key in {*before, *after}:
            assert before.get(key) == after.get(key), f"{said}: {key}"
        for one, other in ((there[-2], back[-1]), (there[-1], back[-2])):
            assert _without_hints(one) == _without_hints(other), f"{said}: {one} is {other}"
    return len(chosen)


def test_every_cpu_that_may_drop_the_last_reference_does() -> None:
    """Neither of two drops is the last until the other one is: each CPU frees the table once."""
    who = set()
    exploration = Dpor(Setting("zap-guard", "refcount").program)
    while (told := exploration.next_run()) is not None:
        assert told.run.failure is None
        who |= {step.actor.cpu for step in told.run.steps if step.label == "free_pte_table"}
    assert who == {0, 1}


@pytest.mark.parametrize("model", ["sc", "tso"])
@pytest.mark.parametrize("fine", [False, True])
def test_independent_steps_may_be_swapped(model: str, fine: bool) -> None:
    """RAM, struct pages, structs, TLBs, enabled actors and accesses are the same, either way."""
    chance = random.Random(f"{model} {fine}")
    swapped = 0
    for name in chance.sample(SCENARIOS, 3):
        setting = Setting(name, "refcount", model, fine=fine)
        swapped += swap_some(setting, chance.randrange(1 << 30), 2)
    assert swapped


@pytest.mark.fuzz
@pytest.mark.parametrize("model", ["sc", "tso"])
@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("policy", ["refcount", "refcount-pmdlock", "scan"])
def test_independent_steps_may_be_swapped_in_many_runs(model: str, fine: bool, policy: str) -> None:
    """As above, longer."""
    for name in SCENARIOS:
        setting = Setting(name, policy, model, fine=fine)
        if policy in [p.label for p in setting.found.policies]:
            for seed in range(3):
                swap_some(setting, seed, 10)


def test_a_lock_is_waited_for_though_it_is_dropped_in_the_same_step() -> None:
    """Else whoever holds it meanwhile is taken for somebody who could come later. Others that wait
    for it may be tried before that step: it takes and frees nothing.
    """
    run = replay(Setting("punch-munmap", "never").program, ())
    run.close()
    short = [step.access for step in run.steps if step.access.waits & step.access.writes]
    assert [access.waits for access in short] == [
        {("lock", "the mmap_lock of mm 0x7000", 0x7000, 1)}
    ]
    assert not any(access.waits & (access.takes | access.frees) for access in short)
