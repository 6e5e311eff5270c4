# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether what a file says of its run has the types and sizes that a recorder writes.

A checksum holds for a forged file too: what is checked here, readers need not doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Check = Callable[[Any], bool]
_MAX_CPUS: Final = 256
_MAX_RAM: Final = 1 << 44
_MAX_ENTRIES: Final = 1 << 20


def check_note(fields: Mapping[str, Any]) -> None:
    """Raise TypeError, with the field's name, if a note (with ``event`` and ``kind``) is not sound;
    KeyError if a field is missing without which it says nothing.
    """
    _check(fields, _NOTE)
    for name in ("event", "kind", *_NEEDED.get(fields["kind"], ())):
        if fields[name] is None:
            raise TypeError(name)


def check_head(head: Mapping[str, Any]) -> None:
    """Raise TypeError, with the field's name, if the parameters of a run are not sound."""
    _check(head, _HEAD)


def check_summary(summary: Mapping[str, Any]) -> None:
    """Raise TypeError, with the field's name, if counters of a report are no numbers."""
    _check(summary, _SUMMARY)


def _check(fields: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    for name, value in fields.items():
        check = checks.get(name)
        if value is not None and check is not None and not check(value):
            raise TypeError(name)


def _from_to(first: int, end: int) -> Check:
    return lambda value: type(value) is int and first <= value < end


def _text(value: Any) -> bool:
    return isinstance(value, str)


def plain(value: Any) -> bool:
    """Whether it is text that any terminal and any format can show as it is."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _all(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _row(*checks: Check) -> Check:
    def is_row(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) == len(checks)
            and all(check(part) for check, part in zip(checks, value, strict=True))
        )

    return is_row


def _array(value: Any) -> bool:
    if not isinstance(value, dict):
        return _text(value)
    texts, numbers = ("name", "kind"), ("first", "sets", "ways")
    return all(_text(value.get(name, "")) for name in texts) and all(
        _from_to(0, _MAX_ENTRIES)(value.get(name, 0)) for name in numbers
    )


def _counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_from_to(-(1 << 63), 1 << 64), value.values()))


_PID: Final = _from_to(0, 1 << 31)
_ADDRESS: Final = _from_to(0, 1 << 64)
_NOTE: Final[Mapping[str, Check]] = {
    "event": _from_to(0, 1 << 63),
    "kind": _text,
    "pid": _PID,
    "tgid": _PID,
    "parent": _PID,
    "comm": _text,
    "exe": _text,
    "args": _all(_text),
    "mm": _ADDRESS,
    "start": _ADDRESS,
    "end": _ADDRESS,
    "offset": _ADDRESS,
    "flags": _ADDRESS,
    "bias": _from_to(-(1 << 64), 1 << 64),
    "prot": plain,
    "file": _text,
    "name": _text,
    "code": _from_to(-(1 << 31), 1 << 32),
    "signal": _from_to(0, 1 << 16),
    "functions": _all(_row(_ADDRESS, _ADDRESS, _text)),
    "lines": _all(_row(_ADDRESS, _text, _from_to(0, 1 << 32))),
}
_NEEDED: Final[Mapping[str, Sequence[str]]] = {
    "process": ("pid",),
    "exec": ("pid",),
    "comm": ("pid", "comm"),
    "exit": ("pid",),
    "map": ("mm", "start", "end"),
    "unmap": ("mm", "start", "end"),
    "symbols": ("file",),
}
_HEAD: Final[Mapping[str, Check]] = {
    "program": _text,
    "args": _all(_text),
    "filter": _all(_text),
    "free_tables": _text,
    "free_levels": _text,
    "fidelity": _text,
    "engine": _text,
    "tlb": _text,
    "vendor": _text,
    "arrays": _all(_array),
    "levels": _from_to(4, 6),
    "maxphyaddr": _from_to(32, 53),
    "cpus": _from_to(1, _MAX_CPUS + 1),
    "ram": _from_to(0, _MAX_RAM),
}
_SUMMARY: Final[Mapping[str, Check]] = {
    "counters": _counts,
    "kernel_counters": _counts,
    "mm_counters": _counts,
}
