# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables and programs in these pages that are made from the code: ``python -m docs.tables
[NAME]`` prints them.

With ``--write`` they go into the pages, each between the comment that names it and the next ``<!--
end -->``. The tests compare.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from mmu.events import COUNTER_DESCS, EVENTS, KERNEL_COUNTER_DESCS, MM_COUNTER_DESCS, EventDesc
from mmu.x86.geometry import (
    CONFIDENCES,
    Array,
    Choice,
    Figure,
    Geometry,
    list_geometries,
    load_geometry,
)

PAGES = Path(__file__).resolve().parent
RECIPES = sorted((PAGES / "recipes").glob("*.py"))
_MADE = re.compile(
    r"(<!-- made by: python -m docs\.tables (\w+) -->\n).*?(<!-- end -->)", re.DOTALL
)


class _Sources:
    """The sources of one processor, numbered as they come."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    def cite(self, value: object, source: str, confidence: str) -> str:
        """The value with the first letter of its confidence and the number of its source."""
        number = self._number.setdefault(source, len(self._number) + 1)
        return f"{value} {confidence[0]}{number}"

    def figure(self, figure: Figure | Choice | None) -> str:
        """The figure, cited; a dash for none."""
        return "–" if figure is None else self.cite(figure.value, figure.source, figure.confidence)

    def lines(self) -> list[str]:
        """The sources by number."""
        return [f"{number}. {source}" for source, number in self._number.items()]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def _smashed(array: Array) -> str:
    names = {1: "4K", 2: "2M", 3: "1G"}
    return "".join(f", {names[level]} as {names[into]}" for level, into in array.smash)


def _row(array: Array, sources: _Sources) -> list[object]:
    return [
        array.name,
        array.kind,
        array.holds + _smashed(array),
        sources.figure(array.entries),
        sources.figure(array.ways),
        array.sets,
        sources.figure(array.index),
        sources.figure(array.replacement),
        sources.figure(array.pcids),
    ]


def _geometry(geometry: Geometry) -> list[str]:
    sources, processor = _Sources(), geometry.processor
    features = " ".join(sorted(processor.features))
    head = ("array", "kind", "holds", "entries", "ways", "sets", "index", "replacement", "PCIDs")
    rows = [_row(array, sources) for array in geometry.arrays]
    return [
        f"### `{geometry.name}`",
        "",
        f"{geometry.description}.",
        "",
        *_table(head, rows),
        "",
        f"Vendor {processor.vendor}; MAXPHYADDR {sources.figure(processor.maxphyaddr)}; features"
        f" {sources.cite(features, processor.features_source, processor.features_confidence)}.",
        "",
        *sources.lines(),
        "",
    ]


def geometries() -> str:
    """Every figure of every processor that ships, with its confidence and its source."""
    letters = "; ".join(f"{word[0]} {word}: {meaning}" for word, meaning in CONFIDENCES.items())
    lines = [
        f"A figure's letter is its confidence ({letters}); its number is the source below the"
        " table.",
        "",
    ]
    for name in list_geometries():
        lines += _geometry(load_geometry(name))
    return "\n".join(wrapped for line in lines for wrapped in _wrapped(line))


def _wrapped(line: str) -> list[str]:
    """Prose, or an item of a numbered list, in lines of 100 columns; a row of a table as it is."""
    if not line or line.startswith("|"):
        return [line]
    indent = " " * len(match[0]) if (match := re.match(r"\d+\. ", line)) else ""
    return textwrap.wrap(
        line, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def counter_list() -> str:
    """Every counter of the processor with its sentence of events.def."""
    rows = [(f"`{counter.name}`", counter.meaning) for counter in COUNTER_DESCS]
    return "\n".join([*_table(("counter", "counts"), rows), ""])


def kernel_counter_list() -> str:
    """Every counter of an mm and of the kernel with its sentence of events.def."""
    rows = [
        (f"`{counter.name}`", of, counter.meaning)
        for of, descs in (("an mm", MM_COUNTER_DESCS), ("the kernel", KERNEL_COUNTER_DESCS))
        for counter in descs
    ]
    return "\n".join([*_table(("counter", "of", "counts"), rows), ""])


def events_of(first: str, end: str | None) -> str:
    """Every kind of event from ``first`` on, before ``end``: fields, meaning, and what tells it."""
    names = [desc.name for desc in EVENTS]
    kinds = EVENTS[names.index(first) : len(names) if end is None else names.index(end)]
    rows = [
        (
            f"`{desc.name}`",
            ", ".join(f"`{field}`" for field in desc.fields),
            desc.meaning,
            ", ".join(f"`{path}`" for path in told_by(desc)),
        )
        for desc in kinds
    ]
    return "\n".join([*_table(("event", "fields", "what happened", "told by"), rows), ""])


def told_by(desc: EventDesc) -> list[str]:
    """The files that tell the event, of C and of Python."""
    root, ident = PAGES.parent, _IDENTS.get(desc.name, desc.name)
    in_c = re.compile(rf"emit\w*\([^;]*?\b{ident},[^;]*;|\bEVENT_{ident}\b")
    in_python = f'EVENT_ID["{desc.name}"]'
    files = [
        *(path for path in (root / "native").rglob("*.[ch]") if in_c.search(path.read_text())),
        *(
            path
            for folder in ("mmu/x86", "mmu/linux", "cpu")
            for path in (root / folder).rglob("*.py")
            if in_python in path.read_text()
        ),
    ]
    return sorted(path.relative_to(root).as_posix() for path in files)


_IDENTS = {
    "mm_page_alloc": "page_alloc",
    "mm_page_free": "page_free",
    "rcu_callback": "rcu_callback_queued",
    "rcu_invoke_callback": "rcu_callback",
}


def deviations() -> str:
    """Where Unicorn's walker, Unicorn through our MMU, and kinds of KVM are known to do otherwise,
    and why.
    """
    from tests.oracles.kvm.reference import Deviation
    from tests.oracles.unicorn_walker import DEVIATIONS, WHO

    rows = [
        (f"`{one.name}`", "; ".join(WHO[who] for who in one.who), one.reason) for one in DEVIATIONS
    ]
    rows += [(f"`{one.name}`", "KVM", one.reason) for one in Deviation]
    return "\n".join([*_table(("deviation", "of", "what, and why"), rows), ""])


def race_scenarios() -> str:
    """The scenarios of `ucmmu race`."""
    from mmu.linux.policy import FreeTables
    from ucmmu.race.scenarios import SCENARIOS

    rows = []
    for one in SCENARIOS.values():
        everywhere = set(one.policies) == set(FreeTables)
        policies = "all" if everywhere else ", ".join(policy.label for policy in one.policies)
        rows.append((f"`{one.name}`", " ∥ ".join(one.operations), one.about, one.rules, policies))
    head = ("scenario", "operations", "what it is about", "rules", "policies")
    return "\n".join([*_table(head, rows), ""])


def recipe(path: Path) -> str:
    """A program, as a page shows it."""
    return f"```python\n{path.read_text()}```\n"


TABLES: dict[str, Callable[[], str]] = {
    "counters": counter_list,
    "deviations": deviations,
    "geometries": geometries,
    "kernel_counters": kernel_counter_list,
    "kernel_events": partial(events_of, "page_fault_user", None),
    "processor_events": partial(events_of, "insn", "page_fault_user"),
    "race_scenarios": race_scenarios,
    **{f"recipe_{path.stem}": partial(recipe, path) for path in RECIPES},
}


def renew(text: str) -> str:
    """A page with its tables made anew."""
    return _MADE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.tables", description="Make tables for the pages."
    )
    parser.add_argument(
        "name", nargs="*", choices=[*TABLES, []], help="which; all if none is named"
    )
    parser.add_argument(
        "--write", action="store_true", help="put them into the pages instead of printing"
    )
    options = parser.parse_args(arguments)
    if not options.write:
        print("\n".join(TABLES[name]() for name in options.name or TABLES))
        return 0
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(renew(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
