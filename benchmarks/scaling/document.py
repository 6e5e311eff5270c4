# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables in docs/performance.md, between markers, and the CSV files behind them.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``; the text around is written by
hand.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.endings import write_whole

Rows = Sequence[dict[str, Any]]
Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
"""Its heads, and its rows."""
_MARKED = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def chosen(rows: Rows, **wanted: Any) -> list[dict[str, Any]]:
    """The rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def settings_of(rows: Rows) -> list[tuple[str, str]]:
    """The patterns and VMAs of simulated rows, in their order."""
    return list(dict.fromkeys((row["pattern"], row["vmas"]) for row in rows))


def policy_name(policy: str) -> str:
    """A policy of a file without the folder."""
    return policy.rsplit("/", maxsplit=1)[-1]


def write_tables(results: dict[str, Any], folder: Path) -> None:
    """Write each part that has rows as CSV."""
    for name, rows in _flat(results):
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {
                key: round(value, 4) if isinstance(value, float) else value
                for key, value in row.items()
            }
            for row in rows
        )
        write_whole(folder / f"{name}.csv", text.getvalue())


def _flat(results: dict[str, Any]) -> Iterator[tuple[str, Rows]]:
    for name in ("agreement", "simulated", "published", "sensitivity", "pending"):
        if results.get(name):
            yield name, results[name]["rows"]
            yield "parameters", results[name]["parameters"]
    if results.get("guest"):
        yield "guest", [{**row, "free_ns": ""} for row in results["guest"]]
    if results.get("threads"):
        yield "threads", results["threads"]["pairs"]


def write_document(results: dict[str, Any], path: Path) -> None:
    """Put the tables of the results into the document; those without results stay."""
    if path.exists():
        text = path.read_text(encoding="utf-8")
        write_whole(path, with_tables(text, results))


def with_tables(text: str, results: dict[str, Any]) -> str:
    """The text with its tables made anew. ValueError for a marker that names none."""

    def table(match: re.Match[str]) -> str:
        head, name, tail = match.groups()
        if name not in TABLES:
            raise ValueError(f"docs/performance.md asks for a table {name}: there is none")
        try:
            heads, rows = TABLES[name](results)
        except KeyError:
            return match.group()
        return head + "\n".join(_markdown(heads, rows)) + "\n" + tail

    return _MARKED.sub(table, text)


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    listed = [list(row) for row in rows]
    left = [isinstance(value, str) for value in (listed[0] if listed else heads)]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "|".join("---" if each else "--:" for each in left) + "|"
    for row in listed:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{value:+.2f} %"


def _spread(row: dict[str, Any]) -> str:
    """How sure a measured figure is: half the distance of its quartiles."""
    return f"±{row['spread']:.1%}" + (" (noise)" if row["noisy"] else "")


def _parameters(results: dict[str, Any]) -> Table:
    rows = results["simulated"]["parameters"]
    spreads = {**results["host"]["spreads"], **results["threads"]["spreads"]}
    return ("parameter", "value", "spread", "from", "meaning"), [
        (
            f"`{row['name']}`",
            _cell(float(row["value"])),
            f"±{spreads[row['name']]:.0%}" if row["name"] in spreads else "",
            row["origin"],
            row["meaning"],
        )
        for row in rows
    ]


def _threads(results: dict[str, Any]) -> Table:
    heads = (
        "operation",
        "design",
        "CPUs",
        "ns",
        "spread",
        "million a second",
        "a line's way, ns",
        "line transfers",
        "lock waits",
    )
    named = {
        "atomic": "an atomic",
        "lookup_put": "lookup and put",
        "fault": "a fault's part",
    }
    where = {(1, True): "1", (1, False): "1", (2, True): "2, a table each"}
    return heads, [
        (
            named[row["pair"]],
            row["design"],
            where.get((row["threads"], row["own_tables"]), "2, one table"),
            row["ns"],
            _spread(row),
            row["operations_per_s"] / 1e6,
            row["distance"],
            row["transfers"],
            row["waits"],
        )
        for row in results["threads"]["pairs"]
    ]


def _change(results: dict[str, Any]) -> Table:
    rows = results["simulated"]["rows"]
    cpus = sorted({row["cpus"] for row in rows})
    found = []
    for pattern, vmas in settings_of(rows):
        for design in ("none", "pmd_lock", "RCU", "per-CPU"):
            its = chosen(rows, pattern=pattern, vmas=vmas, design=design)
            if design == "none":
                cells = [f"{row['faults_per_s'] / 1e6:.2f} M/s" for row in its]
            else:
                cells = [_percent(row["change"]) for row in its]
            found.append((f"{pattern}, {vmas}", design, *cells))
    return ("pattern", "design", *(f"{number} CPU{'s'[: number > 1]}" for number in cpus)), found


def _published(results: dict[str, Any]) -> Table:
    heads = ("threads", "published", "design", "if faults queue", "if all times stretch")
    rows = results["published"]["rows"]
    found = []
    for row in chosen(rows, reading="queue"):
        if row["design"] == "none":
            continue
        (other,) = chosen(rows, reading="stretch", threads=row["threads"], design=row["design"])
        found.append(
            (
                str(row["threads"]),
                _percent(row["published"]),
                row["design"],
                *(
                    f"{_percent(each['change'])} ({each['lowest']:+.2f} to {each['highest']:+.2f})"
                    for each in (row, other)
                ),
            )
        )
    return heads, found


def _atomics(results: dict[str, Any]) -> Table:
    """What one thread pays by the number of atomics in a fault: this host's costs in a fault of the
    publication.
    """
    heads = (
        "atomics a fault",
        "as in",
        "counting, ns",
        "a 512th of a table made and freed, ns",
        "of a published fault",
        "published",
    )
    values = {row["name"]: row["value"] for row in results["published"]["parameters"]}
    one = chosen(results["published"]["rows"], threads=1, design="RCU", reading="queue")[0]
    whole = 60e9 / one["published_without"]
    table = (values["table_alloc"] + values["table_free"]) / 512
    rows = []
    for number, where in ((1, "this code"), (3, "the publication")):
        ns = values["rcu_read"] + number * values["atomic"]
        change = _percent(-100 * (ns + table) / (whole + ns + table))
        rows.append((str(number), where, ns, table, change, _percent(one["published"])))
    return heads, rows


def _sensitivity(results: dict[str, Any]) -> Table:
    base, *rows = results["sensitivity"]["rows"]
    found = [("as it is", *(_percent(base[each]) for each in ("pmd_lock",) * 2 + ("RCU",) * 2))]
    for name in dict.fromkeys(row["parameter"] for row in rows):
        half, double = chosen(rows, parameter=name)
        found.append(
            (
                f"`{name}`",
                *(_percent(row[each]) for each in ("pmd_lock", "RCU") for row in (half, double)),
            )
        )
    return ("parameter", "pmd_lock, half", "double", "RCU, half", "double"), found


def _pending(results: dict[str, Any]) -> Table:
    heads = (
        "CPUs",
        "design",
        "tables freed a second",
        "a frame's wait since the count was 0, ms",
        "since its PMD was cleared, ms",
        "waiting, mean, kB",
        "most, kB",
    )
    return heads, [
        (
            str(row["cpus"]),
            row["design"],
            row["freed_per_s"],
            row["free_ns"] / 1e6,
            row["wait_ns"] / 1e6,
            row["pending_mean_kB"],
            row["pending_max_kB"],
        )
        for row in results["pending"]["rows"]
    ]


def _fault(results: dict[str, Any]) -> Table:
    return ("what", "ours", "unit", "spread", "bound", "goal met"), [
        (
            row["name"].replace("refcount_fault_", "").replace("_", ", "),
            float(row["ours"]),
            row["unit"],
            _spread(row) if "spread" in row else "exact",
            f"{row['ratio']:.2%} of {row['peer']:,.0f} ns; goal 1.2 %"
            if row["unit"] == "ns"
            else f"{row['peer']:.0f}",
            "yes" if row["met"] else "no",
        )
        for row in results["fault"]
    ]


def _refill_host(results: dict[str, Any]) -> Table:
    heads = ("pages", "table", "call, p50, µs", "p99", "p99.9", "next touch, p50, µs", "p99")
    return heads, [
        (
            str(row["pages"]),
            "freed" if row["freed"] else "kept",
            *(row["zap_ns"][each] / 1000 for each in ("p50", "p99", "p99.9")),
            *(row["touch_ns"][each] / 1000 for each in ("p50", "p99")),
        )
        for row in results["host"]["refill"]
    ]


def _agreement(results: dict[str, Any]) -> Table:
    heads = (
        "threads",
        "share",
        "a fault, ns",
        "a page given back, ns",
        "both, ns",
        "spread",
        "rounds",
        "a line's way, ns",
        "the model, ns",
        "off by",
        "without interrupts",
        "as in the table of parameters",
        "off by",
    )
    return heads, [
        (
            f"1, on CPU {row['first_cpu']}" if row["threads"] == 1 else str(row["threads"]),
            "" if row["threads"] == 1 else row["shares"],
            row["fault_ns"],
            row["zap_ns"],
            row["ns"],
            _spread(row),
            f"{row['rounds']} of {row['of']}",
            row["distance"],
            row["model"],
            f"{row['model'] / row['ns'] - 1:+.1%}",
            row["model_without_interrupts"],
            row["model_as_calibrated"],
            f"{row['model_as_calibrated'] / row['ns'] - 1:+.1%}",
        )
        for row in results["agreement"]["rows"]
    ]


def _refill_guest(results: dict[str, Any]) -> Table:
    heads = (
        "policy",
        "faults",
        "tables freed",
        "flushes a fault",
        "tables waiting, most",
        "free, p50, virtual ns",
        "p99",
        "VmPTE at the end, kB",
    )
    return heads, [
        (
            f"`{policy_name(row['policy'])}`",
            row["faults"],
            row["tables_freed"],
            row["flushes_per_fault"],
            row["pending_max"],
            *((row["free_ns"] or {}).get(each) for each in ("p50", "p99")),
            row["vmpte"],
        )
        for row in results["refill"]["guest"]
    ]


def _refill_instructions(results: dict[str, Any]) -> Table:
    return ("policy", "instructions", "under never", "ratio"), [
        (
            f"`{row['name'].removeprefix('refcount_refill_')}`",
            row["ours"],
            row["peer"],
            f"×{row['ratio']:.2f}",
        )
        for row in results["refill"]["instructions"]
    ]


def _guest(results: dict[str, Any]) -> Table:
    heads = (
        "vCPUs",
        "policy",
        "faults",
        "virtual ns a fault",
        "IPIs",
        "flushes",
        "full flushes",
        "lock waits",
        "tables freed",
        "tables waiting, most",
        "free, p50, virtual ns",
        "VmPTE at the end, kB",
    )
    return heads, [
        (
            str(row["cpus"]),
            f"`{policy_name(row['policy'])}`",
            row["faults"],
            row["virtual_ns_per_fault"],
            row["interrupts_per_fault"],
            row["flushes_per_fault"],
            row["full_flushes_per_fault"],
            row["lock_waits_per_fault"],
            row["tables_freed"],
            row["pending_max"],
            (row["free_ns"] or {}).get("p50"),
            row["vmpte"],
        )
        for row in results["guest"]
    ]


TABLES: Final[dict[str, Callable[[dict[str, Any]], Table]]] = {
    "parameters": _parameters,
    "threads": _threads,
    "change": _change,
    "published": _published,
    "atomics": _atomics,
    "sensitivity": _sensitivity,
    "pending": _pending,
    "fault": _fault,
    "refill-host": _refill_host,
    "agreement": _agreement,
    "refill-guest": _refill_guest,
    "refill-instructions": _refill_instructions,
    "guest": _guest,
}
"""By the names of the markers."""
