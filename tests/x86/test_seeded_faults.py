# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a fault in either engine is caught by the comparison of test_engines_agree.

Each test breaks one rule, in Python by replacing a function or a constant, in C by changing what it
is given or what it left behind, and expects the random sequences of the first seed to tell the
engines apart, in far fewer operations than test_engines_agree has. Without a fault they do not.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu._native import ffi
from mmu.twin import TWINS
from mmu.x86 import Geometry, caches, control, engine, invalidate, state, tlb, translate, walk
from mmu.x86.registers import CR3_NOFLUSH, CR4_PCIDE, EFER_LME
from mmu.x86.replacement import lru, random, tree
from mmu.x86.replacement.mru_plru import MruPlru
from mmu.x86.state import Unit
from mmu.x86.tlb import TLB_DIRTY, TLB_VALID
from mmu.x86.walk import Outcome
from tests.x86.hunt import Hunt
from tests.x86.twins import BASES, TORTURE, Mismatch, Twins, unit_bytes

Patch = Callable[[pytest.MonkeyPatch], None]


def _python(module: Any, name: str, wrong: Callable[[Any], Any]) -> Patch:
    """Replace a function of the Python engine by wrong(the right one)."""

    def patch(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, name, wrong(getattr(module, name)))
        if name in TWINS:
            _replace_twin(patch, name, wrong, native=False)

    return patch


def _c(name: str, wrong: Callable[[Any], Any]) -> Patch:
    """Replace a function of the C engine by wrong(the right one)."""
    return lambda patch: _replace_twin(patch, name, wrong, native=True)


def _replace_twin(
    patch: pytest.MonkeyPatch, name: str, wrong: Callable[[Any], Any], *, native: bool
) -> None:
    right = getattr(engine, name)
    wronged = wrong(right)
    patch.setattr(
        engine, name, lambda u, *args: (wronged if u.native is native else right)(u, *args)
    )


def _nothing(_right: Any) -> Any:
    return lambda *args: None


def _as(value: Any) -> Callable[[Any], Any]:
    """In place of a constant."""
    return lambda right: value


def _always(answer: Any) -> Callable[[Any], Any]:
    return lambda right: lambda *args, **options: answer


def _after(do: Callable[[Any], None]) -> Callable[[Any], Any]:
    """Let the right function run, then do something to its engine's state."""

    def wrong(right: Any) -> Any:
        def call(u: Unit, *args: Any) -> Any:
            answer = right(u, *args)
            do(u.c)
            return answer

        return call

    return wrong


def _entries(c: Any) -> list[Any]:
    return [e for e in (c.tlb.entry[i] for i in range(c.tlb.nr_entries)) if e.flags & TLB_VALID]


def _clear_dirty(c: Any) -> None:
    for entry in _entries(c):
        entry.flags &= ~TLB_DIRTY


def _swap_ages(c: Any) -> None:
    for entry in _entries(c)[:1]:
        entry.used += 1


def _without_pcid(right: Any) -> Any:
    return lambda entry, vpn, level, pcid, table: right(entry, vpn, level, entry.pcid, table)


def _most_recent(right: Any) -> Any:
    return lambda tlb, places: max(
        range(len(places)), key=lambda way: int(tlb.entry[places[way]].used)
    )


def _ignoring(**rights_as_if: Any) -> Callable[[Any], Any]:
    """permissions() that sees other rights than the page's."""
    return lambda right: (
        lambda u, rights, privilege: right(u, rights._replace(**rights_as_if), privilege)
    )


def _explicit(right: Any) -> Any:
    return lambda u, rights, privilege: right(u, rights, privilege & 1)


def _never_dirty(right: Any) -> Any:
    return lambda u, w, bits, mode: right(u, w, bits & ~0x40, mode)


def _keep_restart(right: Any) -> Any:
    """Faults found behind a paging-structure cache are believed."""

    def wrong(u: Any, va: int, access: int, privilege: int, from_cr3: bool) -> Any:
        start, cached = (walk.start_at_cr3(u), None) if from_cr3 else caches.psc_start(u, va)
        if cached is None:
            return right(u, va, access, privilege, from_cr3)
        u.count(translate._WALK_CACHE_HITS)
        tlb.tlb_touch(u, cached)
        u.emit(translate._WALK_CACHE_HIT, va, cached.level)
        return walk.walk_from(u, va, access, privilege, walk.WalkMode.HARDWARE, start), start

    return wrong


def _with_option(**fixed: Any) -> Callable[[Any], Any]:
    return lambda right: lambda *args, **options: right(*args, **{**options, **fixed})


def _replacing(**fields: Any) -> Callable[[Any], Any]:
    return lambda right: lambda *args: right(*args)._replace(**fields)


def _masked(bits: Callable[[Unit], int]) -> Callable[[Any], Any]:
    """A register write that overlooks some bits of its operand."""
    return lambda right: lambda u, value: right(u, value & ~bits(u))


def _without_ps(right: Any) -> Any:
    """A PML5E with PS is taken for a table."""

    def wrong(entry: int, level: int, *args: Any, **options: Any) -> int:
        reserved: int = right(entry, level, *args, **options)
        return reserved & ~0x80 if level == 5 else reserved

    return wrong


def _at_every_level(right: Any) -> Any:
    """The PML4E of an address is where its PML5E is."""
    return lambda va, level: right(va, min(level, 4))


FAULTS: dict[str, Patch] = {
    "Python: the tag ignores the PCID": _python(tlb, "matches", _without_pcid),
    "Python: the most recently used entry goes": _python(lru, "oldest", _most_recent),
    "Python: no bit is reserved": _python(walk, "reserved_bits", _always(0)),
    "Python: U/S is ignored": _python(walk, "permissions", _ignoring(user=True)),
    "Python: XD is ignored": _python(walk, "permissions", _ignoring(xd=False)),
    "Python: the walk never sets D": _python(walk, "_set_accessed_dirty", _never_dirty),
    "Python: AMD reserves no bit 8": _python(walk, "reserved_bits", _with_option(amd=False)),
    "Python: every processor has 1-GiB pages": _python(
        walk, "reserved_bits", _with_option(page1gb=True)
    ),
    "Python: fetches are not told in the error code": _python(
        walk, "fetches_are_told", _always(False)
    ),
    "Python: shadow-stack writes are not told as writes": _python(walk, "WRITES", _as((1,))),
    "Python: a key's fault is not told as such": _python(walk, "why_denied", _always(1)),
    "Python: every address is canonical": _python(Unit, "canonical", _always(True)),
    "Python: keys are ignored": _python(walk, "denied_by_key", _always(0)),
    "Python: user writes heed no WD": _python(walk, "PKR_WD", _as(0)),
    "Python: IA32_PKRS is ignored": _python(walk, "CR4_PKS", _as(0)),
    "Python: no page is global": _python(walk, "X86_G", _as(0)),
    "Python: every processor has everything": _python(Unit, "has", _always(True)),
    "Python: no page is a shadow stack": _python(
        walk, "permissions", _ignoring(shadow_stack=False)
    ),
    "Python: implicit accesses heed AC": _python(walk, "permissions", _explicit),
    "Python: Intel walks again before it faults": _python(translate, "_fault_of_entry", _always(0)),
    "Python: no entry is ever stale": _python(tlb, "is_stale", _always(False)),
    "Python: entries forget their key": _python(translate, "_entry_of_walk", _replacing(pkey=0)),
    "Python: entries forget their PAT": _python(translate, "_entry_of_walk", _replacing(pat=0)),
    "Python: the memory type is the next one's": _python(
        translate, "memory_type", lambda right: lambda u, index: right(u, index ^ 1)
    ),
    "Python: a walk's cache hit is not counted": _python(
        translate, "_WALK_CACHE_HITS", _as(translate._PAGE_FAULTS_HW)
    ),
    "Python: INVLPG keeps the paging-structure caches": _python(
        invalidate, "psc_drop_context", _nothing
    ),
    "Python: INVPCID 0 keeps the paging-structure caches": _python(
        invalidate, "psc_drop_address", _nothing
    ),
    "Python: a page fault keeps TLB entries": _python(translate, "tlb_drop_page", _nothing),
    "Python: a page fault keeps paging-structure caches": _python(
        translate, "psc_drop_address", _nothing
    ),
    "Python: walks never fill the caches": _python(translate, "psc_fill", _nothing),
    "Python: a cached walk's fault is believed": _python(
        translate, "_walk_for_miss", _keep_restart
    ),
    "Python: the soft-flush list loses pages": _python(tlb, "mmu_soft_flush", _nothing),
    "Python: TCE is ignored": _python(invalidate, "EFER_TCE", _as(0)),
    "Python: INVLPG forgets no large page's parts": _python(
        invalidate, "_forget_page_of", lambda right: lambda u, va: tlb.mmu_soft_flush(u, va, 1)
    ),
    "Python: INVPCID spares no global entry": _python(
        invalidate, "tlb_drop_context", lambda right: lambda u, pcid, what: right(u, pcid, what | 1)
    ),
    "Python: INVPCID heeds no PCIDE": _python(invalidate, "CR4_PCIDE", _as(-1)),
    "Python: INVLPGB takes any number of pages": _python(
        invalidate, "INVLPGB_COUNT_MAX", _as(1 << 16)
    ),
    "Python: INVLPGB takes any bit": _python(invalidate, "_INVLPGB_RESERVED", _as(0)),
    "Python: INVLPGB always takes the upper levels": _python(
        invalidate, "INVLPGB_FINAL_ONLY", _as(0)
    ),
    "Python: INVLPGB heeds no ASID": _python(invalidate, "INVLPGB_ASID", _as(0)),
    "Python: INVLPGB strides by 4 KiB only": _python(invalidate, "INVLPGB_STRIDE_2M", _as(0)),
    "Python: CR0 takes any value": _python(control, "_check_cr0", _always(Outcome.OK)),
    "Python: CR0.PG under legacy paging": _python(control, "EFER_LME", _as(-1)),
    "Python: CR0.PG leaves EFER.LMA": _python(control, "EFER_LMA", _as(0)),
    "Python: CR0.PG keeps entries": _python(control, "CR0_PG", _as(0)),
    "Python: CR3 takes any address": _python(control, "mmu_write_cr3", _masked(lambda u: 1 << 51)),
    "Python: CR3 takes bit 63 without PCIDE": _python(
        control, "mmu_write_cr3", _masked(lambda u: 0 if u.c.cr4 & CR4_PCIDE else CR3_NOFLUSH)
    ),
    "Python: CR4 takes any value": _python(control, "_check_cr4", _always(Outcome.OK)),
    "Python: CR4 takes what the processor lacks": _python(control, "cr4_legal", _always(-1)),
    "Python: CR4 leaves long mode": _python(control, "CR4_LA57", _as(0)),
    "Python: CR4.PGE keeps entries": _python(control, "CR4_PGE", _as(0)),
    "Python: CR4.PCIDE keeps entries": _python(control, "CR4_PCIDE", _as(0)),
    "Python: CR4.SMEP keeps entries": _python(control, "CR4_SMEP", _as(0)),
    "Python: CR4.PSE keeps AMD's entries": _python(control, "CR4_PSE", _as(0)),
    "Python: CR4.PAE keeps entries": _python(control, "CR4_PAE", _as(0)),
    "Python: EFER takes what the processor lacks": _python(control, "efer_legal", _always(-1)),
    "Python: EFER.LME goes under paging": _python(
        control, "mmu_write_efer", lambda right: lambda u, value: right(u, value | EFER_LME)
    ),
    "Python: PAT takes any byte": _python(control, "_MEMORY_TYPES", _as(frozenset(range(256)))),
    "Python: PKRU without CR4.PKE": _python(control, "CR4_PKE", _as(-1)),
    "Python: register writes reach no consumer": _python(control, "forget_everything", _nothing),
    "C: INVLPG does nothing": _c("mmu_invlpg", _nothing),
    "C: MOV CR3 always keeps entries": _c(
        "mmu_write_cr3", lambda right: lambda u, value: right(u, value | CR3_NOFLUSH)
    ),
    "C: MOV CR4 is forgotten": _c("mmu_write_cr4", _nothing),
    "C: WRPKRU is forgotten": _c("mmu_write_pkru", _nothing),
    "C: WRMSR of EFER is forgotten": _c("mmu_write_efer", _nothing),
    "C: WRMSR of IA32_PAT is forgotten": _c("mmu_write_pat", _nothing),
    "C: WRMSR of IA32_PKRS is forgotten": _c("mmu_write_pkrs", _nothing),
    "C: INVLPGB does nothing": _c("mmu_invlpgb", _nothing),
    "C: entries lose D": _c("mmu_translate", _after(_clear_dirty)),
    "C: one entry's age is off by one": _c("mmu_translate", _after(_swap_ages)),
    "C: an announced change is not counted": _c("mmu_tables_changed", _nothing),
    "C: supervisor accesses pass for the user's": _c(
        "mmu_translate", lambda right: lambda u, va, access, privilege: right(u, va, access, 1)
    ),
}


def _other_way(right: Any) -> Any:
    return lambda tree, ways: right(tree, ways) ^ 1


def _without_fold(right: Any) -> Any:
    return lambda array, vpn, level: int((vpn >> 9 * (level - 1)) % array.sets)


def _loads_are_stores(right: Any) -> Any:
    return lambda access: right(1 if access == 0 else access)


def _first_part(right: Any) -> Any:
    return lambda page, va, level: right(page, va, level)._replace(frame=page.frame)


def _by_first_loaded(right: Any) -> Any:
    """A PCID loaded again keeps its place."""

    def wrong(array: Any, pcid: int) -> int | None:
        live = [int(array.live[i]) for i in range(array.nr_live)]
        return None if pcid in live else right(array, pcid)

    return wrong


def _always_tick(right: Any) -> Any:
    def wrong(u: Any, entry: Any) -> None:
        if entry.used == u.c.tlb.clock:
            tlb._tick(u, entry)
        else:
            right(u, entry)

    return wrong


def _first_empty(right: Any) -> Any:
    def wrong(u: Any, array: Any, vpn: int, level: int) -> int:
        places = tlb.set_of(array, vpn, level)
        empty = [number for number in places if not u.c.tlb.entry[number].flags & TLB_VALID]
        return empty[0] if empty else right(u, array, vpn, level)

    return wrong


ARRAY_FAULTS: dict[str, Patch] = {
    "a tree points to the wrong leaf": _python(tree, "tree_victim", _other_way),
    "a use leaves the tree alone": _python(
        tree, "tree_use", lambda right: lambda tree, way, ways: tree
    ),
    "the group used last gives its own away": _python(
        MruPlru,
        "victim",
        lambda right: lambda self, tlb, places, state: right(self, tlb, places, state - (1 << 56)),
    ),
    "random draws nothing": _python(
        random, "next_random", lambda right: lambda tlb: int(tlb.random)
    ),
    "an XOR index is linear": _python(tlb, "set_number", _without_fold),
    "loads look among the stores": _python(translate, "first_level", _loads_are_stores),
    "a fetch looks in the second level for data": _python(
        translate, "second_level", lambda right: lambda access: right(0)
    ),
    "a fragment has its page's frame": _python(tlb, "part_of", _first_part),
    "fragments stay": _python(tlb, "_fragments_around", lambda right: lambda *args: iter(())),
    "a page is as good as a table": _python(
        tlb,
        "matches",
        lambda right: lambda e, vpn, level, pcid, table: right(e, vpn, level, pcid, e.flags & 0x80),
    ),
    "PCIDs are unlimited": _python(control, "tlb_switch_pcid", _nothing),
    "PCIDs go by first load": _python(tlb, "_make_live", _by_first_loaded),
    "a repeated use ticks": _python(translate, "tlb_touch", _always_tick),
    "the first empty place, whatever the tree says": _python(tlb, "place_in", _first_empty),
    "one answer for loads and stores": _python(
        translate, "_own_perms", lambda right: lambda u, access: 4 if access == 2 else 3
    ),
}


FIVE_LEVEL_FAULTS: dict[str, Patch] = {
    "the walk begins at the PML4": _python(Unit, "top_level", _as(property(lambda u: 4))),
    "addresses have 48 bits": _python(
        state, "is_canonical", lambda right: lambda va, levels: right(va, 4)
    ),
    "a PML5E is found by the PML4 index": _python(walk, "entry_offset", _at_every_level),
    "a PML5E may have PS": _python(walk, "reserved_bits", _without_ps),
    "no cache of PML5Es": _python(
        caches,
        "tlb_find_table",
        lambda right: lambda u, va, level: None if level == 5 else right(u, va, level),
    ),
}

WORLDS: dict[str, tuple[str | Geometry, int, dict[str, Patch]]] = {
    "tiny": ("tiny", 4, FAULTS),
    "five levels": ("tiny", 5, FIVE_LEVEL_FAULTS),
    "arrays of every kind": (TORTURE, 4, ARRAY_FAULTS),
}
LOOK = 60_000
"""Operations at most; most faults show in the first hundred."""


@pytest.fixture(scope="module")
def hunts() -> Iterator[dict[str, Hunt]]:
    """The sequences of each world, made before anything is broken."""
    hunts = {name: Hunt(0, geometry, levels) for name, (geometry, levels, _) in WORLDS.items()}
    yield hunts
    for hunt in hunts.values():
        hunt.close()


@pytest.mark.parametrize(
    ("world", "fault"),
    [(world, fault) for world, (_, _, faults) in WORLDS.items() for fault in faults],
)
def test_caught(
    world: str, fault: str, hunts: dict[str, Hunt], monkeypatch: pytest.MonkeyPatch
) -> None:
    WORLDS[world][2][fault](monkeypatch)
    assert hunts[world].first_failing(LOOK) is not None


def test_a_failure_tells_how_little_it_takes(
    hunts: dict[str, Hunt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report names seed and sequence, the first wrong operation, and a script that shows the
    fault by itself.
    """
    FAULTS["Python: CR4.SMEP keeps entries"](monkeypatch)
    number = hunts["tiny"].first_failing(LOOK)
    assert number is not None
    report = hunts["tiny"].report(number)
    assert f"Hunt(0, 'tiny', 4, least=30, most=140).report({number})" in report
    script = [
        ast.literal_eval(line.strip().rstrip(","))
        for line in report.splitlines()
        if line[:5] == "    ("
    ]
    assert 0 < len(script) <= 8 and script[-1][0] == "cr4"
    twins = Twins(BASES[number % len(BASES)])
    try:
        with pytest.raises(Mismatch, match=r"^afterwards the unit") as caught:
            twins.run(script)
        assert caught.value.number == len(script) - 1
        monkeypatch.undo()
        twins.reset()
        twins.run(script)
    finally:
        twins.close()


@given(st.data())
def test_one_flipped_bit(data: st.DataObject) -> None:
    """Any one bit of the C engine's registers, counters or resident TLB is seen."""
    twins = Twins()
    try:
        raw = unit_bytes(twins.mmus[0])
        spared = {
            ffi.offsetof("struct mmu_unit", name) + i for name in ("ram", "ring") for i in range(8)
        }
        at = data.draw(st.integers(0, len(raw) - 1).filter(lambda at: at not in spared))
        raw[at] = bytes([raw[at][0] ^ 1 << data.draw(st.integers(0, 7))])
        with pytest.raises(Mismatch):
            twins.check("after the flip")
    finally:
        twins.close()
