# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as JSON lines: one object for each event.

``fields`` are the event's own: addresses, entries and other bit patterns as hexadecimal text, for
many JSON readers keep only 53 bits of a number; what is counted as numbers. ``words`` say what a
value means, where it has a meaning. An instruction also has its ``text`` and, where they are known,
``function`` and ``line``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ucmmu.reading.names import Names
from ucmmu.reading.text import Disassemble, insn_code

if TYPE_CHECKING:
    from mmu.events import Event
    from ucmmu.reading.symbols import History


class JsonLines:
    """Makes the lines of a trace's events."""

    def __init__(self, names: Names, history: History, disassemble: Disassemble) -> None:
        self._names = names
        self._history = history
        self._disassemble = disassemble

    def line(self, number: int, event: Event) -> str:
        """The line of one event."""
        return json.dumps(self.object(number, event), ensure_ascii=False)

    def object(self, number: int, event: Event) -> dict[str, Any]:
        """The same as an object."""
        fields = event.fields
        value: dict[str, Any] = {
            "number": number,
            "event": event.name,
            "cpu": event.cpu,
            "task": event.task,
            "instruction": event.instruction,
            "time_ns": event.time,
        }
        if event.site:
            value["site"] = event.site
        value["fields"] = {
            name: self._number(event.name, name, fields[name]) for name in event.desc.fields
        }
        words = {
            name: meaning
            for name in event.desc.fields
            if (meaning := self._names.meaning(event.name, name, fields[name])) is not None
        }
        if words:
            value["words"] = words
        if event.name == "insn":
            value |= self._instruction(number, event, fields)
        return value

    def _number(self, event: str, field: str, value: int) -> int | str:
        text = self._names.number(event, field, value)
        return text if text.startswith("0x") else int(text)

    def _instruction(self, number: int, event: Event, fields: dict[str, int]) -> dict[str, Any]:
        code, ip = insn_code(fields), fields["ip"]
        found: dict[str, Any] = {"bytes": code.hex()}
        if any(code):
            found["text"] = self._disassemble(code, ip)
        mm = self._history.mm_of(event.task, number)
        symbol = self._history.symbol(mm, ip, number)
        if symbol is not None:
            found["function"] = str(symbol)
        line = self._history.line(mm, ip, number)
        if line is not None:
            found["line"] = f"{line[0]}:{line[1]}"
        return found
