# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a fault in either engine is caught by the comparison of test_engines_agree.

Each test breaks one rule, in Python by replacing a function, in C by changing what it is given or what it
left behind, and expects random sequences to tell the engines apart. Without a fault they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mmu._native import ffi
from mmu.x86 import Geometry, caches, control, invalidate, tlb, translate, unit, walk
from mmu.x86.registers import CR3_NOFLUSH
from mmu.x86.state import Unit
from mmu.x86.tlb import TLB_DIRTY, TLB_VALID
from tests.x86.twins import TORTURE, Mismatch, Twins, scripts, unit_bytes

Patch = Callable[[pytest.MonkeyPatch], None]


def _python(module: Any, name: str, wrong: Callable[[Any], Any]) -> Patch:
    """Replace a function of the Python engine by wrong(the right one)."""
    return lambda patch: patch.setattr(module, name, wrong(getattr(module, name)))


def _c(name: str, wrong: Callable[[Any], Any]) -> Patch:
    """Replace a call of the C engine by wrong(the right one)."""
    return lambda patch: patch.setattr(unit._C, name, wrong(getattr(unit._C, name)))


def _nothing(_right: Any) -> Any:
    return lambda *args: None


def _after(do: Callable[[Any], None]) -> Callable[[Any], Any]:
    """Let the right function run, then do something to its engine's state."""

    def wrong(right: Any) -> Any:
        def call(engine: Any, *args: Any) -> Any:
            answer = right(engine, *args)
            do(engine._c)
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
    return lambda u, array, places: max(places, key=lambda n: int(u.c.tlb.entry[n].used))


def _ignoring(**rights_as_if: Any) -> Callable[[Any], Any]:
    """permissions() that sees other rights than the page's."""
    return lambda right: lambda u, rights, privilege: right(u, rights._replace(**rights_as_if), privilege)


def _explicit(right: Any) -> Any:
    return lambda u, rights, privilege: right(u, rights, privilege & 1)


def _write(register: str, wrong: Callable[[Any], Any]) -> Patch:
    """Replace the C engine's write of one register."""

    def patched(right: Any) -> Any:
        def write(engine: Any, name: str, value: int) -> Any:
            return wrong(right)(engine, name, value) if name == register else right(engine, name, value)

        return write

    return _c("write", patched)


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


FAULTS: dict[str, Patch] = {
    "Python: the tag ignores the PCID": _python(tlb, "matches", _without_pcid),
    "Python: the most recently used entry goes": _python(tlb, "victim_of", _most_recent),
    "Python: no bit is reserved": _python(walk, "reserved_bits", lambda right: lambda *args, **options: 0),
    "Python: U/S is ignored": _python(walk, "permissions", _ignoring(user=True)),
    "Python: XD is ignored": _python(walk, "permissions", _ignoring(xd=False)),
    "Python: the walk never sets D": _python(walk, "_set_accessed_dirty", _never_dirty),
    "Python: fetches are not told in the error code": _python(
        walk, "fetches_are_told", lambda right: lambda *args: False
    ),
    "Python: every address is canonical": _python(Unit, "canonical", lambda right: lambda unit, va: True),
    "Python: keys are ignored": _python(walk, "denied_by_key", lambda right: lambda *args: 0),
    "Python: no page is a shadow stack": _python(walk, "permissions", _ignoring(shadow_stack=False)),
    "Python: implicit accesses heed AC": _python(walk, "permissions", _explicit),
    "Python: Intel walks again before it faults": _python(
        translate, "_fault_of_entry", lambda right: lambda *args: 0
    ),
    "Python: no entry is ever stale": _python(tlb, "is_stale", lambda right: lambda *args: False),
    "Python: INVLPG keeps the paging-structure caches": _python(invalidate, "psc_drop_context", _nothing),
    "Python: INVPCID 0 keeps the paging-structure caches": _python(invalidate, "psc_drop_address", _nothing),
    "Python: a page fault keeps TLB entries": _python(translate, "tlb_drop_page", _nothing),
    "Python: a page fault keeps paging-structure caches": _python(translate, "psc_drop_address", _nothing),
    "Python: walks never fill the caches": _python(translate, "psc_fill", _nothing),
    "Python: a cached walk's fault is believed": _python(translate, "_walk_for_miss", _keep_restart),
    "Python: the soft-flush list loses pages": _python(tlb, "mmu_soft_flush", _nothing),
    "C: INVLPG does nothing": _c("invlpg", _nothing),
    "C: MOV CR3 always keeps entries": _write(
        "cr3", lambda right: lambda e, name, value: right(e, name, value | CR3_NOFLUSH)
    ),
    "C: MOV CR4 is forgotten": _write("cr4", _nothing),
    "C: WRPKRU is forgotten": _write("pkru", _nothing),
    "C: WRMSR of EFER is forgotten": _write("efer", _nothing),
    "C: WRMSR of IA32_PAT is forgotten": _write("pat", _nothing),
    "C: WRMSR of IA32_PKRS is forgotten": _write("pkrs", _nothing),
    "C: INVLPGB does nothing": _c("invlpgb", _nothing),
    "C: entries lose D": _c("translate", _after(_clear_dirty)),
    "C: one entry's age is off by one": _c("translate", _after(_swap_ages)),
    "C: an announced change is not counted": _c("tables_changed", _nothing),
    "C: supervisor accesses pass for the user's": _c(
        "translate", lambda right: lambda e, va, access, privilege: right(e, va, access, 1)
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
    "a tree points to the wrong leaf": _python(tlb, "tree_victim", _other_way),
    "a use leaves the tree alone": _python(tlb, "tree_use", lambda right: lambda tree, way, ways: tree),
    "the group used last gives its own away": _python(
        tlb, "_mru_plru_victim", lambda right: lambda state, ways: right(state - (1 << 56), ways)
    ),
    "random draws nothing": _python(tlb, "_next_random", lambda right: lambda u: int(u.c.tlb.random)),
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


def _campaign(geometry: str | Geometry = "tiny") -> None:
    """Look for a sequence that tells the engines apart; the first one raises Mismatch."""

    @settings(
        max_examples=400, phases=[Phase.generate], database=None, derandomize=True, report_multiple_bugs=False
    )
    @given(scripts)
    def campaign(script: Any) -> None:
        base, operations = script
        twins = Twins(base, geometry)
        try:
            twins.run(operations)
        finally:
            twins.close()

    campaign()


@pytest.mark.parametrize("fault", FAULTS)
def test_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](monkeypatch)
    with pytest.raises(Mismatch):
        _campaign()


@pytest.mark.parametrize("fault", ARRAY_FAULTS)
def test_caught_by_arrays_of_every_kind(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ARRAY_FAULTS[fault](monkeypatch)
    with pytest.raises(Mismatch):
        _campaign(TORTURE)


@given(st.data())
def test_one_flipped_bit(data: st.DataObject) -> None:
    """Any one bit of the C engine's registers, counters or resident TLB is seen."""
    twins = Twins()
    try:
        raw = unit_bytes(twins.mmus[0])
        spared = {ffi.offsetof("struct mmu_unit", name) + i for name in ("ram", "ring") for i in range(8)}
        at = data.draw(st.integers(0, len(raw) - 1).filter(lambda at: at not in spared))
        raw[at] = bytes([raw[at][0] ^ 1 << data.draw(st.integers(0, 7))])
        with pytest.raises(Mismatch):
            twins.check("after the flip")
    finally:
        twins.close()
