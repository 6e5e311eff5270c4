# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of one table, event by event, from its frame's allocation to the end of the grace
period after it was unhooked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mmu.events import Event
from mmu.trace.counts import ENTRIES, POLICY
from mmu.trace.lives import (
    LEVELS,
    PTE,
    Level,
    Life,
    Stay,
    hooks_of,
    life_at,
    lives_of,
    stays_at,
    table_of,
)
from mmu.trace.where import Where
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.reading.moment import space_of
from ucmmu.reading.names import HOLDER, TRYGET, entry_text
from ucmmu.reading.palette import Paint, plain, style_of
from ucmmu.text import printable

if TYPE_CHECKING:
    from mmu.trace.reader import Numbered, TraceFile
    from ucmmu.reading.symbols import History

_AROUND_FREE: Final = ("flush_tlb_mm_range", "tlb_flush", "rcu_grace_period")
"""What is told of the time between the table's unhooking and its end, though it names no table."""
_GRACE_PERIOD: Final = ("begins", "has passed this CPU", "ends")


@dataclass(frozen=True)
class Chosen:
    """The table's stay that is told, which of so many it is (from 1), all of them, and the level of
    the table.
    """

    stay: Stay
    number: int
    stays: list[Stay]
    level: Level = PTE


def stays(trace: TraceFile, va: int, mm: int | None, level: Level = PTE) -> list[Stay]:
    """The stays of tables of a level at an address, of one mm or of all. Raises Failure (USAGE):
    there is none.
    """
    found = [one for one in stays_at(trace, va, level) if mm is None or one.mm in (None, mm)]
    if not found:
        whose = "" if mm is None else f" in the mm at {mm:#x}"
        line = f"{trace.path}: no {level.name} table was ever installed for {va:#x}{whose}"
        raise Failure(ExitCode.USAGE, line)
    return found


def stays_of_frame(trace: TraceFile, pfn: int, level: Level = PTE) -> list[Stay]:
    """The lives of a frame as a table of a level, as stays. Raises Failure (USAGE): it was never
    one, or of another level, which the line says.
    """
    found = [_as_stay(life) for life in lives_of(trace, pfn, level)]
    if found:
        return found
    others = [name for name, other in LEVELS.items() if any(lives_of(trace, pfn, other))]
    hint = f": --level {others[0]} shows it as one" if others else ""
    line = f"{trace.path}: frame {pfn:#x} was never a {level.name} table{hint}"
    raise Failure(ExitCode.USAGE, line)


def _as_stay(life: Life) -> Stay:
    level, stay = life.level, Stay(life.pfn, 0, 0, begin=life.events[0].number)
    for one in life.events:
        if one.event.name == level.alloc:
            stay.begin = one.number
        if one.event.name in (level.alloc, level.free):
            stay.address, stay.mm = one.event["address"], one.event["mm"]
            stay.entry_pa = one.event[level.place]
        if one.event.name == level.free:
            stay.end = one.number
    return stay


def choose(found: list[Stay], life: int | None, level: Level = PTE) -> Chosen:
    """The one that ``--life`` names, from 1; the last if it names none. Raises Failure (USAGE)."""
    number = len(found) if life is None else life
    if not 1 <= number <= len(found):
        line = f"argument --life: there are lives 1 to {len(found)}, no {number}"
        raise Failure(ExitCode.USAGE, line)
    return Chosen(found[number - 1], number, found, level)


def table_report(trace: TraceFile, history: History, chosen: Chosen) -> dict[str, Any]:
    """The life that was chosen, and the list of all, as JSON: docs/looking.md names each part."""
    stay = chosen.stay
    at = stay.begin if stay.begin is not None else stay.end or 0
    life = life_at(trace, stay.pfn, at, chosen.level)
    others = [*hooks_of(trace, life, stay.address), *_around_free(trace, life, stay)]
    events = sorted([*life.events, *others], key=lambda one: one.number)
    return {
        "level": chosen.level.name,
        "pfn": stay.pfn,
        "address": stay.address,
        "mm": stay.mm,
        "whose": None if stay.mm is None else str(space_of(trace, history, stay.mm, at)),
        "life": chosen.number,
        "lives": [
            {"life": n, "pfn": one.pfn, "address": one.address, "mm": one.mm, "begin": one.begin}
            | {"end": one.end}
            for n, one in enumerate(chosen.stays, 1)
        ],
        "events": [_told(trace, history, one, life) for one in events],
        "check": _check(life),
    }


def _around_free(trace: TraceFile, life: Life, stay: Stay) -> Iterator[Numbered]:
    """The flush of its addresses that follows its unhooking, and the grace periods up to its
    end.
    """
    begin = life.number_of(life.level.free)
    if begin is None:
        return
    freed = life.number_of("rcu_invoke_callback") or life.number_of("mm_page_free")
    queued = life.number_of("rcu_callback")
    end = freed if freed is not None else trace.nr_events
    flushed = False
    for one in trace.events(Where(events=frozenset(_AROUND_FREE), begin=begin, end=end)):
        if not _concerns(one.event, stay, life.level):
            continue
        if one.event.name == "rcu_grace_period":
            if queued is not None and one.number > queued:
                yield one
        elif not flushed:
            flushed = one.event.name == "flush_tlb_mm_range" and bool(one.event["freed_tables"])
            yield one


def _concerns(event: Event, stay: Stay, level: Level) -> bool:
    if event.name == "rcu_grace_period":
        return event["event"] != 1
    if stay.mm is not None and event["mm"] != stay.mm:
        return False
    if event.name == "tlb_flush":
        return True
    reach = stay.address + level.size
    return event["start"] < reach and stay.address < event["end"]


def _told(trace: TraceFile, history: History, one: Numbered, life: Life) -> dict[str, Any]:
    event = one.event
    process = history.process(event.task, one.number)
    return {
        "event": one.number,
        "kind": event.name,
        "instruction": event.instruction,
        "time": event.time,
        "cpu": event.cpu,
        "task": event.task,
        "comm": None if process is None else process.comm,
        "site": event.site or None,
        "fields": event.fields,
        "text": _words(event, life),
    }


def _words(event: Event, life: Life) -> str:
    """What happened, in words."""
    level, name = life.level, event.name
    if name in level.changes:
        return _count(event)
    if name == level.entries:
        return _entry(event, event["old"], event["new"], level)
    if name == "walk_set_ad":
        return _entry(event, event["old"], event["entry"], level)
    if name == level.hook:
        verb = "now" if table_of(event["new"]) == life.pfn else "no longer"
        return f"{_hook(level, event)} refers to it {verb}"
    if name == level.alloc:
        return f"installed for {event['address']:#x}: count 1, its installer's"
    if name == level.free:
        return f"unhooked from {_hook(level, event)}"
    tell = _WORDS.get(name)
    return tell(event) if tell else ""


def _hook(level: Level, event: Event) -> str:
    """The entry that refers to the table."""
    return f"the {level.place.removesuffix('_pa').upper()} entry of {event['address']:#x}"


def _count(event: Event) -> str:
    old, count = event["old"], event["count"]
    nr = abs(count - old)
    if event["holder"] == ENTRIES:
        what = "of entries" if nr == 1 else f"of {nr} entries"
    elif event["holder"] == POLICY:
        what = "the policy's"
    else:
        what = f"a {HOLDER[0]}'s" if nr == 1 else f"{nr} of {HOLDER[0]}s"
    return f"{old} -> {count}, {what}"


def _entry(event: Event, old: int, new: int, level: Level) -> str:
    index, number = event["entry_pa"] >> 3 & 511, level.number
    change = f"{entry_text(old, number)} => {entry_text(new, number)}"
    return f"entry {index} ({event['address']:#x}): {change}"


def _flush(event: Event) -> str:
    what = "all" if event["end"] == (1 << 64) - 1 else f"{event['start']:#x}-{event['end']:#x}"
    return f"flush of {what}" + (", tables were freed" if event["freed_tables"] else "")


_WORDS: Final[dict[str, Callable[[Event], str]]] = {
    "mm_page_alloc": lambda _e: "the frame is handed out",
    "pte_alloc_one": lambda _e: "zeroed, for a PTE table",
    "pte_tryget": lambda e: f"{TRYGET.get(e['result'], e['result'])}, count {e['count']}",
    "flush_tlb_mm_range": _flush,
    "tlb_flush": lambda _e: "this CPU's TLB is flushed, or others' are asked for",
    "rcu_callback": lambda e: f"queued for RCU, with {e['qlen']} waiting",
    "rcu_grace_period": lambda e: f"grace period {e['gp_seq']} {_GRACE_PERIOD[e['event']]}",
    "rcu_invoke_callback": lambda _e: "the grace period is over: freed",
    "mm_page_free": lambda _e: "the frame is free again",
}
"""Of the events that tell the same of a table of any level."""


def _check(life: Life) -> dict[str, Any]:
    """Whether the counts are one unbroken chain from 1 to 0, and what was counted."""
    names = [one.event.name for one in life.events]
    counts = life.counts
    return {
        "first": counts[0][0] if counts else None,
        "last": counts[-1][1] if counts else None,
        "changes": len(counts),
        "taken": _sum(life, up=True),
        "dropped": _sum(life, up=False),
        "breaks": life.breaks,
        "unhooked": life.level.free in names,
        "freed": "rcu_invoke_callback" in names or "mm_page_free" in names,
    }


def _sum(life: Life, *, up: bool) -> int:
    return sum(
        abs(count - old) for old, count in life.counts if (count > old) is up and count != old
    )


def table_text(report: dict[str, Any], *, paint: Paint = plain) -> Iterator[str]:
    """The report as lines of text."""
    whose = f" of {printable(report['whose'])}" if report["whose"] else ""
    lives = report["lives"]
    yield (
        f"{report['level']} table in frame {report['pfn']:#x}, for {report['address']:#x}{whose}:"
        f" life {report['life']} of {len(lives)}"
    )
    if len(lives) > 1:
        yield from _list(lives)
    yield ""
    yield f"{'event':>10}  {'instruction':>12}  CPU task{'':<12} what"
    for one in report["events"]:
        task = f"{printable(one['comm'] or '?')}-{one['task']}" if one["task"] else "-"
        site = f"{printable(one['site'])}(): " if one["site"] else ""
        yield (
            f"{one['event']:>10,}  {one['instruction']:>12,}  {one['cpu']:>3} {task:<16}"
            f" {paint(style_of(one['kind']), format(one['kind'], '<19'))} {site}{one['text']}"
        )
    yield ""
    verdict = _verdict(report["check"], report["level"])
    bad = report["check"]["breaks"] or "WRONG" in verdict
    yield paint("fault" if bad else "hit", verdict)


def _list(lives: Iterable[dict[str, Any]]) -> Iterator[str]:
    for one in lives:
        begin = "before the trace" if one["begin"] is None else f"event {one['begin']:,}"
        end = "the end of the trace" if one["end"] is None else f"event {one['end']:,}"
        yield f"  life {one['life']}: frame {one['pfn']:#x}, installed {begin}, until {end}"


def _verdict(check: dict[str, Any], level: str) -> str:
    if check["breaks"]:
        return f"BROKEN chain of counts: {'; '.join(check['breaks'])}"
    if not check["changes"]:
        why = "this policy counts no references"
        if level != PTE.name:
            why = f"{level} tables are counted with --free-levels {level.lower()}"
        return f"no count is told: {why}, or they were filtered out"
    told = f"{check['changes']} changes, {check['taken']} taken, {check['dropped']} dropped"
    chain = f"counts are one unbroken chain from {check['first']} to {check['last']}: {told}"
    if not check["unhooked"]:
        return f"{chain}; the table is in use at the end"
    if check["last"]:
        return f"{chain}; WRONG: the table was unhooked with references left"
    return chain + ("" if check["freed"] else "; its grace period is not over at the end")
