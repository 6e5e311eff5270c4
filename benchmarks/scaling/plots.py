# SPDX-License-Identifier: GPL-2.0-or-later
"""The plots of docs/performance.md, each as SVG and PNG, the same bytes from the same results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.scaling.document import chosen, policy_name, settings_of

COLOURS: Final = {
    "none": "#707070",
    "pmd_lock": "#b03030",
    "RCU": "#206090",
    "per-CPU": "#308050",
}
STYLE: Final = {"svg.hashsalt": "ucmmu", "svg.fonttype": "none", "font.size": 8}


def write_plots(results: dict[str, Any], folder: Path) -> None:
    """Write the figures into ``folder``. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        if "simulated" in results:
            rows = results["simulated"]["rows"]
            _lines(rows, folder / "throughput", "faults_per_s", "million faults a second", 1e-6)
            _lines(rows, folder / "change", "change", "against no counting, %", 1.0)
        if "sensitivity" in results:
            _sensitivity(results["sensitivity"]["rows"], folder / "sensitivity")
        if "host" in results:
            _refill(results["host"]["refill"], folder / "refill")
        if "pending" in results:
            _pending(results["pending"]["rows"], folder / "pending")
        if results.get("refill", {}).get("instructions"):
            _policies(results["refill"], folder / "policies")


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    figure.savefig(path.with_suffix(".png"), dpi=100, metadata={"Software": None})
    plt.close(figure)


def _lines(rows: list[dict[str, Any]], path: Path, name: str, label: str, factor: float) -> None:
    """A plot for each pattern: ``name`` over CPUs, a line for each design."""
    from matplotlib import pyplot as plt

    settings = settings_of(rows)
    figure, axes = plt.subplots(1, len(settings), figsize=(11, 3), squeeze=False)
    for axis, (pattern, vmas) in zip(axes[0], settings, strict=True):
        for design, colour in COLOURS.items():
            its = chosen(rows, pattern=pattern, vmas=vmas, design=design)
            axis.plot(
                [each["cpus"] for each in its],
                [factor * each[name] for each in its],
                label=design,
                color=colour,
                marker=".",
                linewidth=1.2,
            )
        axis.set_xscale("log", base=2)
        axis.set_title(f"{pattern}, {vmas}", fontsize=8)
        axis.set_xlabel("CPUs, a thread each")
        axis.grid(alpha=0.3)
        if name == "faults_per_s":
            axis.set_yscale("log")
    axes[0][0].set_ylabel(label)
    axes[0][0].legend(fontsize=7)
    _save(figure, path)


def _sensitivity(rows: list[dict[str, Any]], path: Path) -> None:
    """A bar for each parameter: the changes at half of it and at twice."""
    from matplotlib import pyplot as plt

    base, *changed = rows
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True)
    for axis, design in zip(axes, ("pmd_lock", "RCU"), strict=True):
        names = list(dict.fromkeys(row["parameter"] for row in changed))
        for at, name in enumerate(names):
            values = [row[design] for row in chosen(changed, parameter=name)]
            axis.plot(values, [at] * len(values), color=COLOURS[design], linewidth=4)
        axis.axvline(base[design], color="#707070", linewidth=0.8)
        axis.set_yticks(range(len(names)), names)
        axis.set_title(f"{design}, {base['cpus']} CPUs: a parameter halved and doubled", fontsize=8)
        axis.set_xlabel("against no counting, %")
        axis.grid(alpha=0.3)
    _save(figure, path)


def _refill(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """The host's kernel: a call that frees the table beside one that does not."""
    from matplotlib import pyplot as plt

    rows = list(rows)
    pages = list(dict.fromkeys(row["pages"] for row in rows))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    for axis, name, title in zip(
        axes, ("zap_ns", "touch_ns"), ("MADV_DONTNEED", "the first touch after it"), strict=True
    ):
        for freed, colour in ((False, COLOURS["none"]), (True, COLOURS["pmd_lock"])):
            its = chosen(rows, freed=freed)
            for percentile, style in (("p50", "-"), ("p99", ":")):
                axis.plot(
                    range(len(pages)),
                    [row[name][percentile] / 1000 for row in its],
                    style,
                    color=colour,
                    marker=".",
                    label=f"table {'freed' if freed else 'kept'}, {percentile}",
                )
        axis.set_xticks(range(len(pages)), [str(each) for each in pages])
        axis.set_xlabel("pages given back")
        axis.set_ylabel("µs")
        axis.set_yscale("log")
        axis.set_title(f"{title}, the host's kernel", fontsize=8)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    _save(figure, path)


def _pending(rows: list[dict[str, Any]], path: Path) -> None:
    """Table memory that waits for grace periods over CPUs, and how long a frame waits."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    for axis, name, factor, label in zip(
        axes,
        ("pending_max_kB", "free_ns"),
        (1 / 1024, 1e-6),
        ("tables waiting, most, MiB", "mean wait of a frame, ms"),
        strict=True,
    ):
        for design in ("RCU", "per-CPU"):
            its = chosen(rows, design=design)
            axis.plot(
                [each["cpus"] for each in its],
                [factor * each[name] for each in its],
                label=design,
                color=COLOURS[design],
                marker=".",
                linewidth=1.2,
            )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel("CPUs, a thread each, single pages")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    _save(figure, path)


def _policies(refill: dict[str, Any], path: Path) -> None:
    """A range refilled at once under each policy: instructions, tables freed, VmPTE."""
    from matplotlib import pyplot as plt

    name = "refcount_refill_"
    executed = {row["name"].removeprefix(name): row["ours"] for row in refill["instructions"]}
    executed["never"] = refill["instructions"][0]["peer"]
    guest = {policy_name(row["policy"]): row for row in refill["guest"]}
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.6), sharey=True)
    for axis, label, values in zip(
        axes,
        (
            "calls of 4 KiB: instructions of C a refill",
            "calls of 2 MiB: tables freed",
            "calls of 2 MiB: VmPTE at the end, kB",
        ),
        (
            [executed.get(policy, 0) for policy in guest],
            [row["tables_freed"] for row in guest.values()],
            [row["vmpte"] for row in guest.values()],
        ),
        strict=True,
    ):
        axis.barh(list(guest), values, color=COLOURS["RCU"])
        axis.set_xlabel(label)
        axis.grid(alpha=0.3, axis="x")
    for at, policy in enumerate(guest):
        if policy not in executed:
            axes[0].text(0, at, "  not counted: it is in Python", va="center", fontsize=7)
    axes[0].invert_yaxis()
    _save(figure, path)
