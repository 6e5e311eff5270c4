# SPDX-License-Identifier: GPL-2.0-or-later
"""One order run again: with what each step did in words, or into a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from cpu.recorder import processor_head
from mmu.events import EVENTS
from mmu.linux.contention import LOCK_NAMES
from mmu.linux.pgtable import PS, P, entry_pfn
from mmu.linux.pte_ref import TryGet
from mmu.trace.format import TraceError
from mmu.trace.writer import TraceWriter
from mmu.units import PAGE_SHIFT
from mmu.x86.geometry import load_geometry
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.race import run as runs
from ucmmu.race.campaign import MAX_STEPS, before_the_race
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.program import Actor, Step
from ucmmu.race.setting import Setting
from ucmmu.race.world import BASE
from ucmmu.streams import prints_to_stderr
from ucmmu.text import printable

FAILS: Final = "fails"
"""The label of a step that does not come to its end."""
_MAX_NOTES: Final = 6
"""What is said of one step."""

Fields = dict[str, int]


@prints_to_stderr()
def annotated(
    setting: Setting, schedule: Sequence[Actor]
) -> tuple[list[Step], runs.Failure | None]:
    """The steps of an order, each with what it did, and what failed. The step that did not come to
    its end has the label FAILS. No steps: it failed before the race. Raises Impossible.
    """
    notes: list[str] = []

    def make() -> KernelProgram:
        program = setting.program()
        program.world.new_records()
        program.on_step = lambda: notes.append("; ".join(_notes(program.world.new_records())))
        return program

    try:
        run = runs.replay(make, schedule, max_steps=MAX_STEPS)
    except runs.Impossible:
        raise
    except runs.FAILURES as error:
        failure = before_the_race(setting, error)
        if failure is None:
            raise
        return [], failure
    run.close()
    steps = [*run.steps]
    if len(run.schedule) > len(steps):
        steps.append(Step(run.schedule[-1], FAILS))
    told = [replace(step, note=note) for step, note in zip(steps, notes, strict=True)]
    return told, run.failure


@prints_to_stderr()
def recorded(path: str, setting: Setting, schedule: Sequence[Actor]) -> None:
    """Run an order into a trace. Raises Failure (NO_OUTPUT)."""
    scenario = setting.found
    head: dict[str, Any] = {
        "program": "race",
        "args": [scenario.name],
        "free_tables": setting.policy,
        "fidelity": "exact",
        "engine": "python",
        "tlb": "tiny",
        **processor_head(load_geometry("tiny")),
        "cpus": scenario.cpus,
    }
    try:
        with TraceWriter.open(path, head) as writer:
            try:
                make = partial(setting.program, writer.ring)
                runs.replay(make, schedule, max_steps=MAX_STEPS).close()
            except runs.FAILURES as error:
                if before_the_race(setting, error) is None:
                    raise
            writer.ring.enable(False)
    except TraceError as error:
        raise Failure(ExitCode.NO_OUTPUT, f"--trace {printable(str(error))}") from None


def _notes(records: Any) -> list[str]:
    words = []
    for record in records:
        desc = EVENTS[int(record["id"])]
        if desc.name in _WORDS:
            values = (int(record[name]) for name in "abcd")
            words.append(_WORDS[desc.name](dict(zip(desc.fields, values, strict=False))))
    words = [word for word in words if word]
    if len(words) > _MAX_NOTES:
        words = [*words[: _MAX_NOTES - 1], f"and {len(words) - _MAX_NOTES + 1} more"]
    return words


def _page(address: int) -> str:
    """An address as one of the scenario: BASE, BASE+1 (page), ..."""
    pages = address - BASE >> PAGE_SHIFT
    if not 0 <= pages < 8 * 512:
        return f"{address:#x}"
    slot, page = divmod(pages, 512)
    return f"{slot}:{page}"


def _set_pte(fields: Fields) -> str:
    what = "is cleared" if not fields["new"] else "is set" if not fields["old"] else "is changed"
    return f"PTE {_page(fields['address'])} {what}"


def _set_pmd(fields: Fields) -> str:
    new, pfn = fields["new"], entry_pfn(fields["new"])
    if new & PS:
        says = f"huge page {pfn:#x}" if new & P else "huge, not present"
    else:
        says = f"table {pfn:#x}" if new else "none"
    return f"PMD {_page(fields['address'])} := {says}"


def _count(name: str) -> Callable[[Fields], str]:
    return lambda fields: f"{name} {fields['pfn']:#x}: {fields['old']} -> {fields['count']}"


def _tryget(fields: Fields) -> str:
    result = TryGet(fields["result"])
    return "" if result == TryGet.SUCCEEDED else f"pte_try_get: {result.name.lower()}"


def _freed(fields: Fields) -> str:
    return f"frame {fields['pfn']:#x} is free"


_WORDS: Final[dict[str, Callable[[Fields], str]]] = {
    "page_fault_user": lambda fields: f"page fault at {_page(fields['address'])}",
    "set_pte": _set_pte,
    "set_pmd": _set_pmd,
    "pte_get": _count("get"),
    "pte_put": _count("put"),
    "pte_tryget": _tryget,
    "mm_page_free": _freed,
    "contention_begin": lambda fields: f"waits for the {LOCK_NAMES[fields['kind']]}",
    "tlb_flush": lambda fields: "TLB flush",
}
