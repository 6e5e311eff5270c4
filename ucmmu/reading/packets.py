# SPDX-License-Identifier: GPL-2.0-or-later
"""Perfetto's packets: one sequence of them, with interned names, written as they are made.

Perfetto's messages and rules: https://perfetto.dev/docs/reference/synthetic-track-event, and
protos/perfetto/trace/track_event/track_event.proto.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import BinaryIO, Final

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackEvent
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

from ucmmu.reading.packet_bytes import TrackEvents
from ucmmu.reading.packet_bytes import Value as Value

SEQUENCE: Final = 1
"""The number of our one sequence."""
_NEEDS_STATE = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
_CLEARED = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
_BEGIN, _END = int(TrackEvent.TYPE_SLICE_BEGIN), int(TrackEvent.TYPE_SLICE_END)
_INSTANT, _COUNTER = int(TrackEvent.TYPE_INSTANT), int(TrackEvent.TYPE_COUNTER)


class Packets:
    """Writes packets to ``out``; each raises OSError. Times are nanoseconds. ``pointers`` are the
    arguments that are shown in hexadecimal.
    """

    def __init__(self, out: BinaryIO, pointers: Collection[str] = ()) -> None:
        self._out = out
        self._builder = StreamingTraceProtoBuilder(out)
        self._events = TrackEvents(SEQUENCE, _NEEDS_STATE, pointers)
        self._last: dict[int, int] = {}
        self._open: dict[int, list[str]] = {}
        self.end_time = 0
        """The latest time so far."""
        packet = self._packet()
        packet.sequence_flags = _CLEARED
        packet.first_packet_on_sequence = True
        self._builder.write_packet(packet)

    def process(self, uuid: int, pid: int, name: str) -> None:
        """Describe the track of a process."""
        packet = self._packet()
        descriptor = packet.track_descriptor
        descriptor.uuid = uuid
        descriptor.process.pid = pid
        descriptor.process.process_name = name
        self._builder.write_packet(packet)

    def thread(self, uuid: int, pid: int, tid: int, name: str) -> None:
        """Describe the track of a task."""
        packet = self._packet()
        descriptor = packet.track_descriptor
        descriptor.uuid = uuid
        descriptor.thread.pid, descriptor.thread.tid = pid, tid
        descriptor.thread.thread_name = name
        self._builder.write_packet(packet)

    def track(self, uuid: int, name: str, parent: int = 0) -> None:
        """Describe another track."""
        packet = self._packet()
        self._describe(packet, uuid, name, parent)
        self._builder.write_packet(packet)

    def counter_track(self, uuid: int, name: str, unit: str, parent: int = 0) -> None:
        """Describe a track of values."""
        packet = self._packet()
        self._describe(packet, uuid, name, parent)
        packet.track_descriptor.counter.unit_name = unit
        self._builder.write_packet(packet)

    def begin(
        self,
        track: int,
        time: int,
        name: str,
        category: str,
        arguments: Mapping[str, Value] | None = None,
        *,
        flow: int | None = None,
        flow_ends: bool = False,
    ) -> None:
        """Begin a slice."""
        self._open.setdefault(track, []).append(name)
        fields = self._fields(name, category, arguments, flow, flow_ends)
        self._event(_BEGIN, track, time, fields)

    def end(
        self,
        track: int,
        time: int,
        name: str | None = None,
        arguments: Mapping[str, Value] | None = None,
    ) -> None:
        """End the slice of this name and those within it, None: the innermost; nothing happens if
        there is none.
        """
        names = self._open.get(track, [])
        if not names or (name is not None and name not in names):
            return
        while names:
            ended = names.pop()
            last = name is None or ended == name
            fields = self._events.annotated(arguments) if last and arguments else b""
            self._event(_END, track, time, fields)
            if last:
                return

    def instant(
        self,
        track: int,
        time: int,
        name: str,
        category: str,
        arguments: Mapping[str, Value] | None = None,
        *,
        flow: int | None = None,
        flow_ends: bool = False,
    ) -> None:
        """Something that happened at one time."""
        fields = self._fields(name, category, arguments, flow, flow_ends)
        self._event(_INSTANT, track, time, fields)

    def counter(self, track: int, time: int, value: int | float) -> None:
        """A value from this time on."""
        self._event(_COUNTER, track, time, self._events.value(value))

    def end_all(self, track: int, time: int) -> None:
        """End every slice of a track that is open."""
        while self._open.get(track):
            self.end(track, time)

    def close(self) -> None:
        """End every slice that is open."""
        for track in self._open:
            self.end_all(track, self.end_time)

    def _packet(self) -> TracePacket:
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = SEQUENCE
        return packet

    def _describe(self, packet: TracePacket, uuid: int, name: str, parent: int) -> None:
        packet.track_descriptor.uuid = uuid
        packet.track_descriptor.name = name
        if parent:
            packet.track_descriptor.parent_uuid = parent

    def _event(self, kind: int, track: int, time: int, fields: bytes) -> None:
        time = max(time, self._last.get(track, 0))
        self._last[track] = time
        if time > self.end_time:
            self.end_time = time
        self._out.write(self._events.packet(kind, track, time, fields))

    def _fields(
        self,
        name: str,
        category: str,
        arguments: Mapping[str, Value] | None,
        flow: int | None,
        flow_ends: bool,
    ) -> bytes:
        fields = self._events.named(name, category)
        if arguments:
            fields += self._events.annotated(arguments)
        if flow is not None:
            fields += self._events.flow(flow, ends=flow_ends)
        return fields
