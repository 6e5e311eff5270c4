# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu list``: the names that other commands take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ucmmu.options import POLICIES, guests_directory, how_to_get_guests
from ucmmu.output import JsonOutput
from ucmmu.streams import STDOUT, say
from ucmmu.text import printable


def guests() -> dict[str, str]:
    """Built guests, by name: their paths."""
    where = guests_directory()
    if not where.is_dir():
        return {}
    return {path.name: str(path) for path in sorted(where.iterdir()) if _is_program(path)}


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def geometries() -> dict[str, str]:
    """TLB geometries, by name: one line on each."""
    from mmu.x86.geometry import list_geometries, load_geometry

    return {name: load_geometry(name).description for name in list_geometries()}


def list_all(*, json_target: str | None) -> int:
    """Print guests, geometries and policies; return the exit code."""
    names: dict[str, dict[str, str]] = {
        "guests": guests(),
        "geometries": geometries(),
        "policies": dict(POLICIES),
    }
    with JsonOutput(json_target) as output:
        output.write(names)
        if not output.to_stdout:
            say(STDOUT, _text(names))
    return 0


def _text(names: dict[str, dict[str, Any]]) -> str:
    from rich.table import Table
    from rich.text import Text

    from ucmmu.terminal import rendered

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for kind, entries in names.items():
        table.add_row(Text(kind, style="bold"))
        for name, text in entries.items():
            table.add_row(Text(f"  {printable(name)}"), Text(printable(text)))
        if not entries:
            table.add_row(Text("  none"), Text(how_to_get_guests()))
    return rendered(STDOUT, [table])
