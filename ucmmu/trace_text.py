# SPDX-License-Identifier: GPL-2.0-or-later
"""The plain text of a trace: each instruction, and under it what it made the MMU and kernel do.

::

      25 0x402a01  48 89 3d 18 b8 0a 00     mov qword ptr [rip + 0xab818], rdi
               tlb_miss            address=0x4ae220 access=write
               walk_entry          address=0x4ae220 entry_pa=0x68570 entry=0x0
               page_fault          address=0x4ae220 error_code=0x6 (user write: not-present page)
               pte_get             pfn=0x68 nr=1 count=18

Events come in the order of the ring.  A fetch is translated before its instruction is executed, so
the events of entering a page stand above the page's first instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from cpu.syscalls.numbers import syscall_name
from mmu.events import Event, EventRing
from mmu.linux.pgtable import TLB_FLUSH_ALL
from mmu.linux.pte_ref import TryGet
from mmu.linux.tlbflush import TlbFlushReason
from mmu.x86 import Access
from mmu.x86.faults import describe_error_code

RING_RECORDS = 1 << 12
"""Capacity of the ring that feeds a printer: small, so that text follows execution closely."""

_ACCESS = {int(access): access.label for access in Access}
_TRYGET = {int(result): result.name.lower().removeprefix("failed_") for result in TryGet}
_REASON = {int(reason): reason.label for reason in TlbFlushReason}
_DECIMAL = frozenset(
    {"nr", "count", "level", "order", "size", "global", "freed_tables", "array", "cpu"}
)
_INDENT = " " * 15


class Disassemble(Protocol):
    """Decodes one instruction: its bytes and its address give its text."""

    def __call__(self, code: bytes, address: int, /) -> str:
        """Return mnemonic and operands."""
        ...


class Out(Protocol):
    """What a trace is written to; each method may raise OSError."""

    def write(self, text: str, /) -> int:
        """Write a piece."""
        ...

    def writelines(self, lines: Iterable[str], /) -> None:
        """Write several pieces."""
        ...

    def flush(self) -> None:
        """Keep nothing back."""
        ...


class TracePrinter:
    """Prints the events of a ring as text: make the ring with ``on_full=printer.drain``; close() it
    last.

    ``read_code(address, size)`` gives the bytes of an instruction, fewer if they can no longer be
    read; it is asked when the ring is drained, up to :data:`RING_RECORDS` events after the fact,
    and must leave TLB, counters and A bits alone.  ``arrays`` names the TLB arrays by number.  An
    error of ``out`` is kept in ``error``, told to ``on_error`` once, ends the printing, and is left
    for the caller to raise: it cannot pass through the C code that fills the ring.
    """

    def __init__(
        self,
        out: Out,
        read_code: Callable[[int, int], bytes],
        disassemble: Disassemble,
        arrays: Iterable[str] = (),
        on_error: Callable[[], object] | None = None,
    ) -> None:
        self._out = out
        self._read_code = read_code
        self._disassemble = disassemble
        self._arrays = tuple(arrays)
        self._decoded: dict[tuple[int, bytes], str] = {}
        self._on_error = on_error
        self._cpu = 0
        self.error: OSError | None = None

    def drain(self, ring: EventRing) -> None:
        """Print every unread event."""
        events = ring.read()
        if self.error is not None:
            return
        try:
            self._out.writelines(self._on_its_cpu(event) + "\n" for event in events)
        except OSError as error:
            self.error = error
            if self._on_error is not None:
                self._on_error()

    def close(self, ring: EventRing) -> None:
        """Print what is left, and flush. Raises the OSError that stopped the printing, if one
        did.
        """
        self.drain(ring)
        if self.error is None:
            if ring.lost:
                self._out.write(f"({ring.lost} events were lost)\n")
            self._out.flush()
        else:
            raise self.error

    def _on_its_cpu(self, event: Event) -> str:
        """The event's line, below one that names its CPU if that is another than the last one's."""
        if event.cpu == self._cpu:
            return self.line(event)
        self._cpu = event.cpu
        return f"CPU {event.cpu}\n{self.line(event)}"

    def line(self, event: Event) -> str:
        """The text of one event."""
        if event.name == "insn":
            return self._instruction(event)
        fields = " ".join(
            f"{name}={self._value(event, name, value)}" for name, value in event.fields.items()
        )
        return f"{_INDENT}{event.name:<19} {fields}".rstrip()

    def _instruction(self, event: Event) -> str:
        ip, size = event["ip"], event["size"]
        code = self._read_code(ip, size)
        if len(code) < size:
            return f"{event.instruction:>8} {ip:#x}  (its page is gone)"
        key = ip, code
        text = self._decoded.get(key)
        if text is None:
            text = self._decoded[key] = self._disassemble(code, ip)
        return f"{event.instruction:>8} {ip:#x}  {code.hex(' '):<24} {text}"

    def _value(self, event: Event, field: str, value: int) -> str:
        if event.name in ("sys_enter", "sys_exit") and field == "nr":
            return syscall_name(value)
        if field == "error_code":
            return f"{value:#x} ({describe_error_code(value)})"
        if field == "access" and value in _ACCESS:
            return _ACCESS[value]
        if field == "result" and value in _TRYGET:
            return _TRYGET[value]
        if field == "reason" and value in _REASON:
            return _REASON[value]
        if field == "pages":
            return "all" if value == TLB_FLUSH_ALL else str(value)
        if field == "array" and value < len(self._arrays):
            return self._arrays[value]
        return str(value) if field in _DECIMAL else f"{value:#x}"
