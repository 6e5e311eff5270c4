# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as a ``trace.dat`` of version 6, which trace-cmd and KernelShark read.

The file (trace-cmd.dat.v6(5))::

    17 08 44 "tracing" "6" 0  little-endian 0  size of a long 8  size of a page u32
    "header_page" 0  size u64  text        "header_event" 0  size u64  text
    number of ftrace's own formats u32: 0
    number of systems u32, for each: name 0, number of formats u32, each: size u64, text
    size of kallsyms u32: 0                size of printk formats u32: 0
    size of task names u64, "PID comm" lines
    number of CPUs u32
    "options  " 0  option 0 (u16)
    "flyrecord" 0  for each CPU: offset u64, size u64
    pages of each CPU, aligned

A page of the ring buffer, and an event in it::

     time of the first event u64 | bytes of events u64 | events ...

    31            5 4        0
    +--------------+----------+
    |  time delta  | type_len |   type_len 0: then the event's size and 4, u32
    +--------------+----------+   type_len 30: the delta's upper bits follow, u32; no event

Each event begins with its format's ID (u16), flags, preemption count (u8 each) and PID (u32).
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Final

from ucmmu.reading.ftrace import FtraceEvents
from ucmmu.reading.outlet import Outlet
from ucmmu.reading.printing import Request, selected
from ucmmu.reading.selection import Progress
from ucmmu.reading.tracepoints import TEXT_SIZES, Tracepoint, Value
from ucmmu.text import printable

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile

_MAGIC: Final = b"\x17\x08\x44tracing6\0"
_PAGE: Final = 4096
_PAGE_HEADER: Final = 16
_FIRST_ID: Final = 100
_COMMON: Final = struct.Struct("<HBBI")
_MAX_DELTA: Final = 1 << 27
_EXTEND: Final = 30
_TEXT_SIZE: Final = 40
_COPY: Final = 1 << 20
_HEADER_PAGE: Final = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;
"""
_HEADER_EVENT: Final = """\
# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
"""
_COMMON_FIELDS: Final = """\
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
"""


class _Format:
    """How events of one tracepoint lie in the file."""

    def __init__(self, number: int, point: Tracepoint) -> None:
        self.id = number
        self.point = point
        self._fields = [
            (name, TEXT_SIZES.get(name, _TEXT_SIZE) if text else 8, text)
            for name, text in point.fields.items()
        ]
        self._layout = struct.Struct(
            "<" + "".join(f"{size}s" if text else "Q" for _, size, text in self._fields)
        )

    def description(self) -> str:
        """Its format file."""
        at, lines = _COMMON.size, []
        for name, size, text in self._fields:
            field = f"char {name}[{size}]" if text else f"unsigned long {name}"
            signed = int(text)
            lines.append(f"\tfield:{field};\toffset:{at};\tsize:{size};\tsigned:{signed};\n")
            at += size
        return (
            f"name: {self.point.name}\nID: {self.id}\nformat:\n{_COMMON_FIELDS}\n"
            f"{''.join(lines)}\nprint fmt: {self.point.print_fmt()}\n"
        )

    def pack(self, task: int, values: dict[str, Value]) -> bytes:
        """One event."""
        packed = (
            _c_text(str(values[name]), size) if text else values[name]
            for name, size, text in self._fields
        )
        return _COMMON.pack(self.id, 0, 0, task) + self._layout.pack(*packed)


def _c_text(text: str, size: int) -> bytes:
    return text.encode("utf-8", "backslashreplace")[: size - 1]


class _CpuBuffer:
    """The pages of one CPU, in a temporary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._page = bytearray()
        self._began = self._last = 0
        self.size = 0

    def add(self, time: int, event: bytes) -> None:
        """Add an event at a time that is not before the last one's."""
        time = max(time, self._last)
        event += b"\0" * (-len(event) % 4)
        if _PAGE_HEADER + len(self._page) + 16 + len(event) > _PAGE:
            self.flush()
        if not self._page:
            self._began = self._last = time
        delta = time - self._last
        if delta >= _MAX_DELTA:
            low, high = delta % _MAX_DELTA, delta // _MAX_DELTA
            self._page += struct.pack("<II", low << 5 | _EXTEND, high)
            delta = 0
        self._page += struct.pack("<II", delta << 5, len(event) + 4) + event
        self._last = time

    def flush(self) -> None:
        """Write the page."""
        if self._page:
            head = struct.pack("<QQ", self._began, len(self._page))
            self._file.write((head + self._page).ljust(_PAGE, b"\0"))
            self._page.clear()
            self.size += _PAGE

    def pieces(self) -> Iterator[bytes]:
        """All that was written."""
        self._file.seek(0)
        while piece := self._file.read(_COPY):
            yield piece


def write_trace_dat(
    trace: TraceFile, request: Request, out: Outlet, progress: Progress | None
) -> None:
    """Write the file. Raises OSError if there is no room for what is gathered for each CPU."""
    events = FtraceEvents(trace)
    formats = {
        (point.system, point.name): _Format(_FIRST_ID + number, point)
        for number, point in enumerate(events.points.all())
    }
    with ExitStack() as files:
        buffers: dict[int, _CpuBuffer] = {}
        for one in selected(trace, request, progress):
            if one is None:
                continue
            event = one.event
            point, values = events.of(one.number, event)
            data = formats[point.system, point.name].pack(event.task, values)
            buffer = buffers.get(event.cpu)
            if buffer is None:
                file = files.enter_context(tempfile.TemporaryFile(prefix="ucmmu-trace-dat-"))
                buffer = buffers[event.cpu] = _CpuBuffer(file)
            buffer.add(event.time, data)
        for buffer in buffers.values():
            buffer.flush()
        _write(out, list(formats.values()), _names(events, trace), buffers)


def _names(events: FtraceEvents, trace: TraceFile) -> str:
    """What each task was last called."""
    last = max((note.event for note in trace.notes), default=0)
    return "".join(
        f"{process.pid} {printable(process.comm)}\n" for process in events.history.processes(last)
    )


def _write(out: Outlet, formats: list[_Format], names: str, buffers: dict[int, _CpuBuffer]) -> None:
    parts = [_MAGIC, bytes([0, 8]), struct.pack("<I", _PAGE)]
    for name, text in (("header_page", _HEADER_PAGE), ("header_event", _HEADER_EVENT)):
        parts += [name.encode() + b"\0", struct.pack("<Q", len(text)), text.encode()]
    parts.append(struct.pack("<I", 0))
    systems = sorted({format.point.system for format in formats})
    parts.append(struct.pack("<I", len(systems)))
    for system in systems:
        texts = [f.description().encode() for f in formats if f.point.system == system]
        parts += [system.encode() + b"\0", struct.pack("<I", len(texts))]
        parts += [struct.pack("<Q", len(text)) + text for text in texts]
    parts += [struct.pack("<II", 0, 0), struct.pack("<Q", len(names.encode())), names.encode()]
    cpus = max(buffers, default=0) + 1
    parts += [struct.pack("<I", cpus), b"options  \0", struct.pack("<H", 0), b"flyrecord\0"]
    head = b"".join(parts)
    at = begin = _aligned(len(head) + 16 * cpus)
    for cpu in range(cpus):
        size = buffers[cpu].size if cpu in buffers else 0
        head += struct.pack("<QQ", at, size)
        at += size
    out.write(head.ljust(begin, b"\0"))
    for cpu in range(cpus):
        for piece in buffers[cpu].pieces() if cpu in buffers else ():
            out.write(piece)


def _aligned(size: int) -> int:
    return size + -size % _PAGE
