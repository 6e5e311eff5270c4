# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours of a trace's text: by what an event is about. Plain where nobody sees them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

_STYLES: Final = {
    "number": "dim",
    "label": "bold cyan",
    "context": "bold reverse",
    "insn": "bold",
    "fault": "bold red",
    "miss": "yellow",
    "hit": "green",
    "walk": "blue",
    "drop": "yellow",
    "count": "magenta",
    "table": "bold magenta",
    "kernel": "cyan",
    "plain": "none",
}
_GROUPS: Final = {
    "access": "plain",
    "tlb_hit": "hit",
    "tlb_miss": "miss",
    "tlb_fill": "hit",
    "tlb_evict": "drop",
    "tlb_drop": "drop",
    "page_fault": "fault",
    "page_fault_user": "fault",
    "pte_get": "count",
    "pte_put": "count",
    "pte_tryget": "count",
    "pte_alloc_one": "table",
    "pte_alloc": "table",
    "pte_free": "table",
    **dict.fromkeys(("pmd_get", "pmd_put", "pud_get", "pud_put"), "count"),
    **dict.fromkeys(("pmd_alloc", "pmd_free", "pud_alloc", "pud_free"), "table"),
    "rcu_callback": "table",
    "rcu_invoke_callback": "table",
    "set_pte": "count",
}

Paint = Callable[[str, str], str]
"""A style's name and a text give the text in that style."""


def style_of(event: str) -> str:
    """The style of an event of that kind."""
    return _GROUPS.get(event) or ("walk" if event.startswith("walk_") else "kernel")


def plain(style: str, text: str) -> str:
    """The text as it is."""
    del style
    return text


def painter(*, always: bool = False) -> Paint:
    """Colours as the terminal has them, none with NO_COLOR unless they are asked for ``always``."""
    import rich.color
    import rich.console
    import rich.style

    console = rich.console.Console(file=io.StringIO(), force_terminal=True)
    system = rich.color.ColorSystem
    if console.no_color or console.color_system is None:
        if not always:
            return plain
        colours = system.STANDARD
    else:
        names = {"standard": system.STANDARD, "256": system.EIGHT_BIT}
        colours = names.get(console.color_system, system.TRUECOLOR)
    around: dict[str, tuple[str, str]] = {}
    for name, words in _STYLES.items():
        before, _, after = (
            rich.style.Style.parse(words).render("\0", color_system=colours).partition("\0")
        )
        around[name] = before, after

    def paint(style: str, text: str) -> str:
        before, after = around[style]
        return f"{before}{text}{after}"

    return paint
