# SPDX-License-Identifier: GPL-2.0-or-later
"""A walk's report as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from mmu.x86.entries import X86_P, is_leaf
from ucmmu.reading.palette import Paint, plain
from ucmmu.text import printable

Report = dict[str, Any]

_FIELDS: Final = (
    # name, highest and lowest bit; the levels that have another name for it
    ("XD", 63, 63),
    ("PK", 62, 59),
    ("ignored", 58, 52),
    ("address", 51, 12),
    ("ign", 11, 9),
    ("G", 8, 8),
    ("PS", 7, 7),
    ("D", 6, 6),
    ("A", 5, 5),
    ("PCD", 4, 4),
    ("PWT", 3, 3),
    ("U/S", 2, 2),
    ("R/W", 1, 1),
    ("P", 0, 0),
)


def walk_text(report: Report, *, bits: bool = False, paint: Paint = plain) -> Iterator[str]:
    """The report as lines of text; with ``bits`` each entry is drawn bit by bit."""
    parts = (
        _head(report, paint),
        _entries(report, bits, paint),
        _answers(report, paint),
        _cached(report, paint),
        _table(report, paint),
    )
    first = True
    for part in parts:
        lines = list(part)
        if lines and not first:
            yield ""
        first = False
        yield from lines


def _head(report: Report, paint: Paint) -> Iterator[str]:
    symbol = f"  {printable(report['symbol'])}" if report["symbol"] else ""
    yield paint("label", f"{report['address']:#x}") + symbol
    mapping = report["mapping"]
    if mapping is not None:
        name = printable(mapping["name"]) or "anonymous"
        yield f"  in {mapping['start']:x}-{mapping['end']:x} {mapping['prot']} {name}"
    task = f"{printable(report['comm'])}-{report['task']}, " if report["task"] else ""
    yield f"  of {task}mm {report['mm']:#x}"
    if report["event"] is None:
        yield "  before the first event"
    else:
        yield (
            f"  after event {report['event']:,}: instruction {report['instruction']:,} of CPU"
            f" {report['cpu']}, {report['time']:,} ns"
        )


def _entries(report: Report, bits: bool, paint: Paint) -> Iterator[str]:
    yield paint("number", "level   index  entry at          value               last written")
    for entry in report["entries"]:
        value = entry["value"]
        if value is None:
            yield f"{entry['name']:<6} {entry['index']:>6}  {entry['address']:<#16x}  not known"
            yield "                 no event tells what it holds: recording began later"
            continue
        since = f"{entry['since']['kind']}, event {entry['since']['event']:,}"
        yield (
            f"{paint('label', format(entry['name'], '<6'))} {entry['index']:>6}"
            f"  {entry['address']:<#16x}  {value:#018x}  {paint('number', since)}"
        )
        yield f"                 {paint('walk', entry['text'])}"
        if bits:
            yield from (f"  {line}" for line in drawn(value, entry["level"]))


def drawn(value: int, level: int) -> list[str]:
    """An entry as the SDM draws it: the bits' numbers, their values, their names."""
    cells = [(_name(name, value, level), high, low) for name, high, low in _FIELDS]
    top, middle, bottom = [], [], []
    for name, high, low in cells:
        number = f"{high}" if high == low else f"{high}..{low}"
        field = value >> low & (1 << high - low + 1) - 1
        text = f"{field << 12:#x}" if low == 12 else f"{field:#x}" if high - low > 3 else f"{field}"
        width = max(len(number), len(name), len(text))
        top.append(number.center(width))
        middle.append(text.center(width))
        bottom.append(name.center(width))
    bar = "+" + "+".join("-" * len(text) for text in top) + "+"
    return [
        " " + " ".join(top),
        bar,
        "|" + "|".join(middle) + "|",
        bar,
        " " + " ".join(bottom),
    ]


def _name(name: str, value: int, level: int) -> str:
    """The field's name in that kind of entry (SDM figure 4-11)."""
    if not value & X86_P:
        return "P" if name == "P" else "ign"
    leaf = is_leaf(value, level)
    if name == "PS":
        return "PAT" if level == 1 else "rsvd" if level >= 4 else "PS"
    if not leaf and name in ("PK", "G", "D"):
        return "ign"
    return name


def _answers(report: Report, paint: Paint) -> Iterator[str]:
    rights, page = report["rights"], report["page"]
    if rights is not None:
        yield "rights of all levels together: " + ", ".join(
            [
                "user" if rights["user"] else "supervisor",
                "writable" if rights["writable"] else "read-only",
                "executable" if rights["executable"] else "not executable (XD)",
            ]
        )
    if page is not None:
        key = f", protection key {page['pkey']}" if page["pkey"] else ""
        yield (
            f"page: {page['size']} at {page['frame']:#x}, memory type {page['memory_type']}"
            f" (PAT index {page['pat_index']}){key}"
        )
    for access, answer in (report["answers"] or {}).items():
        style = "hit" if answer["result"] == "ok" else "fault"
        yield f"a user {access + ':':<6} {paint(style, _answer(answer))}"


def _answer(answer: Report) -> str:
    if answer["result"] == "ok":
        return f"{answer['pa']:#x}"
    if answer["result"] == "page_fault":
        return f"#PF, error code {answer['error_code']:#x} ({answer['meaning']})"
    return str(answer["result"]).replace("_", " ")


def _cached(report: Report, paint: Paint) -> Iterator[str]:
    for title, paging_structure in (("TLB", False), ("paging-structure caches", True)):
        found = [one for one in report["cached"] if one["paging_structure"] == paging_structure]
        if not found:
            yield f"{title}: nothing of this address on any CPU"
            continue
        yield f"{title}:"
        yield from (_line(one, paint) for one in found)


def _line(one: Report, paint: Paint) -> str:
    place = f"{one['array']}"
    if one["set"] is not None:
        place += f"[{one['set']}][{one['way']}]"
    if not one["ours"]:
        state = f"of {printable(one['whose'])}" if one["whose"] else "of another address space"
    else:
        stale = one["stale"]
        state = paint("fault", f"STALE: {stale}") if stale else paint("hit", "as the tables say")
    return (
        f"  CPU {one['cpu']}  {place:<18} {one['va']:#x} -> {one['pa']:#x}  {one['name']:<6}"
        f" {one['rights']} PCID {one['pcid']}  since event {one['since']:,}  {state}"
    )


def _table(report: Report, paint: Paint) -> Iterator[str]:
    table, frame = report["table"], report["frame"]
    if table is not None:
        since = "" if table["allocated"] is None else f", allocated by event {table['allocated']:,}"
        yield f"PTE table: frame {table['pfn']:#x}{since}; {table['entries']} of 512 entries set"
        if table["count"] is None:
            yield "  it is not counted, or no event tells its count"
        else:
            yield (
                f"  {paint('count', 'count ' + str(table['count']))}:"
                f" {table['references_of_entries']} of entries,"
                f" {len(table['visitors'])} of visitors"
            )
        for visitor in table["visitors"]:
            site = f"{visitor['site']}() of " if visitor["site"] else ""
            yield (
                f"  held by {site}task {visitor['task']} on CPU {visitor['cpu']} since event"
                f" {visitor['since']:,}"
            )
    if frame is not None:
        if frame["allocated"] is None:
            yield f"frame {frame['pfn']:#x}: no event tells who took it"
        else:
            site = f" in {frame['site']}()" if frame["site"] else ""
            yield (
                f"frame {frame['pfn']:#x}: taken by task {frame['task']}{site}, event"
                f" {frame['allocated']:,}"
            )
