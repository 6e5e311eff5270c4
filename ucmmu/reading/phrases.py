# SPDX-License-Identifier: GPL-2.0-or-later
"""What one event says, as a line of text: in order, aligned, each number with its meaning.

A kind without a phrase of its own is shown as ``field=value ...``. The phrases of walks leave out
the address if it is the one that the lines above them were about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cpu.syscalls.numbers import syscall_name
from mmu.linux.pgtable import TLB_FLUSH_ALL
from mmu.x86.entries import LEVEL_NAMES, SIZE_NAMES, X86_A, X86_D
from mmu.x86.faults import describe_error_code
from ucmmu.reading.names import (
    ACCESS,
    HOLDER,
    RSS_MEMBER,
    SET_LEVEL,
    TRYGET,
    EntryWord,
    Names,
    entry_text,
    error_name,
)

Fields = Mapping[str, int]
ALL_ADDRESSES: Final = (1 << 64) - 1
_ARGUMENTS: Final = ("arg0", "arg1", "arg2")


class Phrases:
    """The phrases of a trace's events; ``task_name`` gives a PID's ``comm-pid``."""

    def __init__(self, names: Names, task_name: Callable[[int], str]) -> None:
        self.names = names
        self.task_name = task_name
        self._about: int | None = None

    def forget(self) -> None:
        """The lines above are about something else."""
        self._about = None

    def phrase(self, event: str, fields: Fields, site: str = "") -> str:
        """The text of an event of that kind, without its name; ``site`` is the kernel function."""
        make = _PHRASES.get(event)
        try:
            text = self._plain(event, fields) if make is None else make(self, fields)
        except KeyError:
            text = self._plain(event, fields)
        if event in _SPANS:
            return _span(event, fields, site, text)
        self._about = fields.get("address", self._about)
        return f"{text}  {site}()" if site else text

    def _plain(self, event: str, fields: Fields) -> str:
        return " ".join(f"{name}={self._shown(event, name, fields[name])}" for name in fields)

    def _shown(self, event: str, field: str, value: int) -> str:
        number = self.names.number(event, field, value)
        meaning = self.names.meaning(event, field, value)
        return number if meaning is None else f"{number} ({meaning})"

    def _for(self, fields: Fields) -> str:
        address = fields["address"]
        return "" if address == self._about else f"  for {address:#x}"

    def _access(self, fields: Fields) -> str:
        size = fields["size"]
        what = f"{_access(fields)} {size} byte{'s' * (size != 1)} at {fields['address']:#x}"
        return f"{what}, pa {fields['pa']:#x}" if fields["pa"] else what

    def _tlb_hit(self, fields: Fields) -> str:
        where = self.names.place(fields["array"], fields["slot"])
        return f"{_access(fields)} {fields['address']:#x}: {where}"

    def _tlb_miss(self, fields: Fields) -> str:
        return f"{_access(fields)} {fields['address']:#x}"

    def _tlb_entry(self, fields: Fields) -> str:
        return f"{fields['address']:#x} -> {fields['pa']:#x}, {self._entry(fields)}"

    def _walk_cache_entry(self, fields: Fields) -> str:
        return f"{fields['address']:#x} -> table {fields['table']:#x}, {self._entry(fields)}"

    def _entry(self, fields: Fields) -> str:
        word = EntryWord.of(fields["entry"])
        return f"{self.names.place(fields['array'], word.slot)}: {word}"

    def _walk_cache_hit(self, fields: Fields) -> str:
        level = _level(fields["level"])
        slot = fields["slot"]
        array = self.names.array_of(slot)
        place = f"slot {slot}" if array is None else self.names.place(array, slot)
        text = f"{level:<5} cached in {place}: go on in table {fields['table']:#x}"
        return text + self._for(fields)

    def _walk_entry(self, fields: Fields) -> str:
        level, entry = fields["level"], fields["entry"]
        value = f"{_level(level):<5} at {fields['entry_pa']:<#9x} = {entry:#018x}"
        return f"{value}  {entry_text(entry, level)}{self._for(fields)}"

    def _walk_set_ad(self, fields: Fields) -> str:
        old, new = fields["old"], fields["entry"]
        bits = [name for bit, name in ((X86_A, "A"), (X86_D, "D")) if new & ~old & bit]
        change = f"at {fields['entry_pa']:#x}: {old:#018x} -> {new:#018x}"
        return f"{' and '.join(bits) or 'nothing'} {change}{self._for(fields)}"

    def _walk_done(self, fields: Fields) -> str:
        level = fields["level"]
        page = f"a {SIZE_NAMES[level]} page" if level in SIZE_NAMES else f"a leaf of level {level}"
        return f"{_access(fields)} {fields['address']:#x} -> {fields['pa']:#x}, {page}"

    def _page_fault(self, fields: Fields) -> str:
        code = fields["error_code"]
        return f"{fields['address']:#x}, error code {code:#x}: {describe_error_code(code)}"

    def _page_fault_user(self, fields: Fields) -> str:
        return f"{self._page_fault(fields)}; mm {fields['mm']:#x}"

    def _references(self, fields: Fields) -> str:
        old, new = fields["old"], fields["count"]
        holder = HOLDER.get(fields["holder"], f"holder {fields['holder']}")
        return f"table {fields['pfn']:#x}: {old} -> {new} ({new - old:+d}, {holder})"

    def _tryget(self, fields: Fields) -> str:
        result = TRYGET.get(fields["result"], f"result {fields['result']}")
        return f"table {fields['pfn']:#x}: {result}, count {fields['count']}"

    def _set_entry(self, level: int, fields: Fields) -> str:
        old, new = fields["old"], fields["new"]
        change = f"{_number(old)} -> {_number(new)}" + (
            f"  {entry_text(new, level)}" if new else ""
        )
        return f"at {fields['entry_pa']:#x}: {change}{self._for(fields)}"

    def _table_at(self, fields: Fields) -> str:
        place = next(name for name in ("pmd_pa", "pud_pa", "p4d_pa") if name in fields)
        entry = f"{place.removesuffix('_pa').upper()} entry at {fields[place]:#x}"
        where = f"of {fields['address']:#x}, {entry}"
        return f"table {fields['pfn']:#x} {where}; mm {fields['mm']:#x}"

    def _pte_alloc_one(self, fields: Fields) -> str:
        return f"table {fields['pfn']:#x}; mm {fields['mm']:#x}"

    def _flush_range(self, fields: Fields) -> str:
        tables = "; tables were freed" if fields["freed_tables"] else ""
        return f"{_range(fields)}{tables}; mm {fields['mm']:#x}"

    def _flush_func(self, fields: Fields) -> str:
        return f"{_range(fields)} for CPU {fields['initiating_cpu']}; mm {fields['mm']:#x}"

    def _tlb_flush(self, fields: Fields) -> str:
        pages = fields["pages"]
        count = "all" if pages == TLB_FLUSH_ALL else f"{pages} page{'s' * (pages != 1)}"
        return f"{count}, {self._shown('tlb_flush', 'reason', fields['reason'])}{_mm(fields)}"

    def _sys_enter(self, fields: Fields) -> str:
        arguments = ", ".join(f"{fields[name]:#x}" for name in _ARGUMENTS)
        return f"{syscall_name(fields['nr'])}({arguments}, ...)"

    def _sys_exit(self, fields: Fields) -> str:
        return f"{syscall_name(fields['nr'])} = {self._result('sys_exit', fields['ret'])}"

    def _result(self, event: str, value: int) -> str:
        name = error_name(value)
        return f"-{name}" if name else self.names.number(event, "ret", value)

    def _funcgraph_entry(self, fields: Fields) -> str:
        parts = [_range(fields)] if fields["start"] or fields["end"] else []
        parts += [f"mm {fields['mm']:#x}"] if fields["mm"] else []
        return ", ".join(parts)

    def _funcgraph_exit(self, fields: Fields) -> str:
        result = self._result("funcgraph_exit", fields["ret"])
        return f"{result}; mm {fields['mm']:#x}" if fields.get("mm") else result

    def _mmap_lock(self, fields: Fields) -> str:
        success = fields.get("success", 1)
        failed = "" if success == 1 else f", success {success}"
        how = {0: "reading", 1: "writing"}.get(fields["write"], f"write {fields['write']}")
        return f"for {how}{failed}; mm {fields['mm']:#x}"

    def _rss_stat(self, fields: Fields) -> str:
        member = RSS_MEMBER.get(fields["member"], f"member {fields['member']}")
        return f"{member} {_pages(fields)}; mm {fields['mm']:#x}"

    def _total_vm(self, fields: Fields) -> str:
        return f"{_pages(fields)}; mm {fields['mm']:#x}"

    def _sched_switch(self, fields: Fields) -> str:
        tasks = (self.task_name(fields[name]) for name in ("prev_pid", "next_pid"))
        return " ==> ".join(tasks)


def _span(event: str, fields: Fields, site: str, text: str) -> str:
    """How ftrace's function_graph shows where something begins and ends."""
    if event == "funcgraph_entry":
        return f"{site or '?'}({text}) {{"
    if event == "funcgraph_exit":
        return f"}} {site or '?'}() = {text}"
    by = f"  {site}()" if site else ""
    return f"{text} {{{by}" if event in BEGINS else f"}} {text}{by}"


def _access(fields: Fields) -> str:
    return ACCESS.get(fields["access"], f"access {fields['access']}")


def _level(level: int) -> str:
    return LEVEL_NAMES.get(level, f"level {level}")


def _range(fields: Fields) -> str:
    start, end = fields["start"], fields["end"]
    if end == ALL_ADDRESSES:
        return "all" if start == 0 else f"[{start:#x}, end)"
    return f"[{start:#x}, {end:#x})"


def _pages(fields: Fields) -> str:
    return f"{fields['pages']} page{'s' * (fields['pages'] != 1)}"


def _mm(fields: Fields) -> str:
    return f"; mm {fields['mm']:#x}" if fields.get("mm") else ""


def _number(entry: int) -> str:
    return f"{entry:#x}" if entry else "none"


def _setter(level: int) -> Callable[[Phrases, Fields], str]:
    return lambda phrases, fields: phrases._set_entry(level, fields)


ENDS: Final = {
    "sys_enter": "sys_exit",
    "funcgraph_entry": "funcgraph_exit",
    "call_function_entry": "call_function_exit",
    "csd_function_entry": "csd_function_exit",
}
"""Kinds that begin something that takes time, and those that end it."""
BEGINS: Final = frozenset(ENDS)
_SPANS: Final = BEGINS | frozenset(ENDS.values())

_PHRASES: Final[dict[str, Callable[[Phrases, Fields], str]]] = {
    "access": Phrases._access,
    "tlb_hit": Phrases._tlb_hit,
    "tlb_deny": Phrases._tlb_hit,
    "tlb_miss": Phrases._tlb_miss,
    "tlb_fill": Phrases._tlb_entry,
    "tlb_evict": Phrases._tlb_entry,
    "tlb_drop": Phrases._tlb_entry,
    "walk_cache_hit": Phrases._walk_cache_hit,
    "walk_cache_fill": Phrases._walk_cache_entry,
    "walk_cache_evict": Phrases._walk_cache_entry,
    "walk_cache_drop": Phrases._walk_cache_entry,
    "walk_entry": Phrases._walk_entry,
    "walk_set_ad": Phrases._walk_set_ad,
    "walk_done": Phrases._walk_done,
    "page_fault": Phrases._page_fault,
    "page_fault_user": Phrases._page_fault_user,
    "pte_alloc_one": Phrases._pte_alloc_one,
    "pte_alloc": Phrases._table_at,
    "pte_free": Phrases._table_at,
    **dict.fromkeys(("pmd_alloc", "pmd_free", "pud_alloc", "pud_free"), Phrases._table_at),
    **dict.fromkeys(("pmd_get", "pmd_put", "pud_get", "pud_put"), Phrases._references),
    "pte_tryget": Phrases._tryget,
    "pte_get": Phrases._references,
    "pte_put": Phrases._references,
    "flush_tlb_mm_range": Phrases._flush_range,
    "tlb_flush": Phrases._tlb_flush,
    "flush_tlb_func": Phrases._flush_func,
    "sys_enter": Phrases._sys_enter,
    "sys_exit": Phrases._sys_exit,
    "funcgraph_entry": Phrases._funcgraph_entry,
    "funcgraph_exit": Phrases._funcgraph_exit,
    "sched_switch": Phrases._sched_switch,
    "mmap_lock_start_locking": Phrases._mmap_lock,
    "mmap_lock_acquire_returned": Phrases._mmap_lock,
    "mmap_lock_released": Phrases._mmap_lock,
    "rss_stat": Phrases._rss_stat,
    "total_vm": Phrases._total_vm,
    **{event: _setter(level) for event, level in SET_LEVEL.items()},
}
