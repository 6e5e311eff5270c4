# SPDX-License-Identifier: GPL-2.0-or-later
"""Perfetto's packets: one sequence of them, with interned names, written as they are made.

Perfetto's messages and rules: https://perfetto.dev/docs/reference/synthetic-track-event, and
protos/perfetto/trace/track_event/track_event.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Final, Protocol

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackEvent
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

SEQUENCE: Final = 1
"""The number of our one sequence."""
_NEEDS_STATE = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
_CLEARED = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED

Value = int | str
"""An argument; what is an address or an entry comes as a Pointer."""


class Pointer(int):
    """A number that is shown in hexadecimal."""


class Packets:
    """Writes packets to ``out``; each raises OSError. Times are nanoseconds."""

    def __init__(self, out: BinaryIO) -> None:
        self._builder = StreamingTraceProtoBuilder(out)
        self._names: dict[str, int] = {}
        self._categories: dict[str, int] = {}
        self._arguments: dict[str, int] = {}
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
        packet = self._event(TrackEvent.TYPE_SLICE_BEGIN, track, time)
        self._fill(packet, name, category, arguments, flow, flow_ends)
        self._builder.write_packet(packet)

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
            packet = self._event(TrackEvent.TYPE_SLICE_END, track, time)
            if name is None or ended == name:
                self._annotate(packet, arguments)
                self._builder.write_packet(packet)
                return
            self._builder.write_packet(packet)

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
        packet = self._event(TrackEvent.TYPE_INSTANT, track, time)
        self._fill(packet, name, category, arguments, flow, flow_ends)
        self._builder.write_packet(packet)

    def counter(self, track: int, time: int, value: int | float) -> None:
        """A value from this time on."""
        packet = self._event(TrackEvent.TYPE_COUNTER, track, time)
        if isinstance(value, float):
            packet.track_event.double_counter_value = value
        else:
            packet.track_event.counter_value = value
        self._builder.write_packet(packet)

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

    def _event(self, kind: int, track: int, time: int) -> TracePacket:
        time = max(time, self._last.get(track, 0))
        self._last[track] = time
        self.end_time = max(self.end_time, time)
        packet = self._packet()
        packet.timestamp = time
        packet.sequence_flags = _NEEDS_STATE
        packet.track_event.type = kind
        packet.track_event.track_uuid = track
        return packet

    def _fill(
        self,
        packet: TracePacket,
        name: str,
        category: str,
        arguments: Mapping[str, Value] | None,
        flow: int | None,
        flow_ends: bool,
    ) -> None:
        interned = packet.interned_data
        event = packet.track_event
        event.name_iid = _intern(self._names, interned.event_names, name)
        event.category_iids.append(_intern(self._categories, interned.event_categories, category))
        self._annotate(packet, arguments)
        if flow is not None:
            (event.terminating_flow_ids if flow_ends else event.flow_ids).append(flow)

    def _annotate(self, packet: TracePacket, arguments: Mapping[str, Value] | None) -> None:
        for name, value in (arguments or {}).items():
            annotation = packet.track_event.debug_annotations.add()
            annotation.name_iid = _intern(
                self._arguments, packet.interned_data.debug_annotation_names, name
            )
            if isinstance(value, str):
                annotation.string_value = value
            elif isinstance(value, Pointer):
                annotation.pointer_value = value
            elif value < 0:
                annotation.int_value = value
            else:
                annotation.uint_value = value


class _Interned(Protocol):
    """A list of interned texts."""

    def add(self, *, iid: int, name: str) -> object:
        """Add one."""
        ...


def _intern(known: dict[str, int], told: _Interned, name: str) -> int:
    """The number of a text, which is told where it is first used."""
    number = known.get(name)
    if number is None:
        number = known[name] = len(known) + 1
        told.add(iid=number, name=name)
    return number
