# SPDX-License-Identifier: GPL-2.0-or-later
"""TracePackets with one TrackEvent, as bytes: what a trace has most of, and protobuf's own classes
are slow at from Python. The numbers of fields are theirs (https://protobuf.dev, Encoding).

::

    field   +------------------------+----------------------------+
            | number << 3 | wire type | value                     |
            +------------------------+----------------------------+
    wire    0: varint, seven bits a byte, the lowest first, 0x80: more follow
    type    1: eight bytes, little-endian      2: length as varint, then so many bytes
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from struct import Struct
from typing import Final

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    DebugAnnotation,
    InternedData,
    Trace,
    TracePacket,
    TrackEvent,
)

Value = int | str
"""An argument."""

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_U64: Final = (1 << 64) - 1
_SMALL: Final = [bytes((n,)) for n in range(128)]
_U64_BYTES: Final = Struct("<Q").pack
_DOUBLE_BYTES: Final = Struct("<d").pack


def varint(v: int) -> bytes:
    """A number of 0 to 2^64 - 1."""
    if v < 1 << 7:
        return _SMALL[v]
    if v < 1 << 14:
        return bytes((v & 127 | 128, v >> 7))
    if v < 1 << 21:
        return bytes((v & 127 | 128, v >> 7 & 127 | 128, v >> 14))
    if v < 1 << 28:
        return bytes((v & 127 | 128, v >> 7 & 127 | 128, v >> 14 & 127 | 128, v >> 21))
    return _long_varint(v)


@lru_cache(1 << 14)
def _long_varint(value: int) -> bytes:
    """Mostly addresses, which come again and again."""
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(message: type, field: str, wire: int) -> bytes:
    number = message.DESCRIPTOR.fields_by_name[field].number  # type: ignore[attr-defined]
    return varint(number << 3 | wire)


def _sized(data: bytes) -> bytes:
    return varint(len(data)) + data


_PACKET: Final = _tag(Trace, "packet", _BYTES)
_TIMESTAMP: Final = _tag(TracePacket, "timestamp", _VARINT)
_TRACK_EVENT: Final = _tag(TracePacket, "track_event", _BYTES)
_INTERNED: Final = _tag(TracePacket, "interned_data", _BYTES)
_SEQUENCE: Final = _tag(TracePacket, "trusted_packet_sequence_id", _VARINT)
_FLAGS: Final = _tag(TracePacket, "sequence_flags", _VARINT)
_TYPE: Final = _tag(TrackEvent, "type", _VARINT)
_TRACK: Final = _tag(TrackEvent, "track_uuid", _VARINT)
_NAME: Final = _tag(TrackEvent, "name_iid", _VARINT)
_CATEGORY: Final = _tag(TrackEvent, "category_iids", _VARINT)
_ANNOTATION: Final = _tag(TrackEvent, "debug_annotations", _BYTES)
_FLOW: Final = _tag(TrackEvent, "flow_ids", _FIXED64)
_FLOW_ENDS: Final = _tag(TrackEvent, "terminating_flow_ids", _FIXED64)
_COUNTER: Final = _tag(TrackEvent, "counter_value", _VARINT)
_DOUBLE: Final = _tag(TrackEvent, "double_counter_value", _FIXED64)
_ANNOTATION_NAME: Final = _tag(DebugAnnotation, "name_iid", _VARINT)
_UINT: Final = _tag(DebugAnnotation, "uint_value", _VARINT)
_INT: Final = _tag(DebugAnnotation, "int_value", _VARINT)
_POINTER: Final = _tag(DebugAnnotation, "pointer_value", _VARINT)
_STRING: Final = _tag(DebugAnnotation, "string_value", _BYTES)


def _annotation(body: bytes) -> bytes:
    return _ANNOTATION + _sized(body)


_MAX_TEXTS: Final = 1 << 14


class TrackEvents:
    """Makes the packets of one sequence, each with the names that it is the first to use.

    ``pointers`` are the arguments that are shown in hexadecimal.
    """

    def __init__(self, sequence: int, flags: int, pointers: Collection[str]) -> None:
        self._constant = _SEQUENCE + varint(sequence) + _FLAGS + varint(flags)
        self._names: dict[str, bytes] = {}
        self._categories: dict[str, bytes] = {}
        self._pointers = pointers
        self._arguments: dict[str, tuple[bytes, bytes, bytes]] = {}
        self._texts: dict[tuple[str, str], bytes] = {}
        self._new = InternedData()
        self._nr_new = 0

    def named(self, name: str, category: str) -> bytes:
        """Fields of a TrackEvent: its name and category."""
        first, second = self._names.get(name), self._categories.get(category)
        if first is None:
            first = self._intern("event_names", self._names, _NAME, name)
        if second is None:
            second = self._intern("event_categories", self._categories, _CATEGORY, category)
        return first + second

    def _intern(self, field: str, known: dict[str, bytes], tag: bytes, name: str) -> bytes:
        iid = len(known) + 1
        known[name] = tag + varint(iid)
        self._tell(field, iid, name)
        return known[name]

    def _tell(self, field: str, iid: int, name: str) -> None:
        getattr(self._new, field).add(iid=iid, name=name)
        self._nr_new += 1

    def annotated(self, arguments: Mapping[str, Value]) -> bytes:
        """Fields of a TrackEvent: its arguments."""
        parts = []
        known = self._arguments
        for name, value in arguments.items():
            iid, head, body = known.get(name) or self._argument(name)
            if isinstance(value, str):
                parts.append(self._text(name, value, iid))
            elif value < 0:
                parts.append(_annotation(iid + _INT + varint(value & _U64)))
            elif value < 128:
                parts.append(head + _SMALL[value])
            else:
                body += varint(value)
                parts.append(_ANNOTATION + _SMALL[len(body)] + body)
        return b"".join(parts)

    def _text(self, name: str, value: str, iid: bytes) -> bytes:
        known = self._texts.get((name, value))
        if known is None:
            known = _annotation(iid + _STRING + _sized(value.encode("utf-8", "replace")))
            if len(self._texts) < _MAX_TEXTS:
                self._texts[name, value] = known
        return known

    def _argument(self, name: str) -> tuple[bytes, bytes, bytes]:
        """Its name; all of it but for its value, if that is a number below 128; the same without
        the length.
        """
        number = len(self._arguments) + 1
        self._tell("debug_annotation_names", number, name)
        iid = _ANNOTATION_NAME + varint(number)
        body = iid + (_POINTER if name in self._pointers else _UINT)
        self._arguments[name] = iid, _ANNOTATION + _SMALL[len(body) + 1] + body, body
        return self._arguments[name]

    @staticmethod
    def flow(number: int, *, ends: bool) -> bytes:
        """A field of a TrackEvent: the flow that goes on, or ends, there."""
        return (_FLOW_ENDS if ends else _FLOW) + _U64_BYTES(number)

    @staticmethod
    def value(value: int | float) -> bytes:
        """A field of a TrackEvent: the value of a counter."""
        if isinstance(value, float):
            return _DOUBLE + _DOUBLE_BYTES(value)
        return _COUNTER + varint(value & _U64)

    def packet(self, kind: int, track: int, time: int, fields: bytes) -> bytes:
        """A packet as it stands in the file: a TrackEvent of that kind, with these fields."""
        event = _TYPE + varint(kind) + _TRACK + varint(track) + fields
        body = _TIMESTAMP + varint(time) + _TRACK_EVENT + varint(len(event)) + event
        body += self._constant
        if self._nr_new:
            body += _INTERNED + _sized(self._new.SerializeToString())
            self._new.Clear()
            self._nr_new = 0
        return _PACKET + varint(len(body)) + body
