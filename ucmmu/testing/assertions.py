# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test says of one address: its walk, its fault, and that no translation of it is left.

Each is about the CPU that runs in the test, unless ``mmu`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmu._native import lib
from mmu.errors import MmuError
from mmu.linux.state import Cpu
from mmu.x86 import Access, Mmu, Outcome, TlbEntry, Translation, Walk
from mmu.x86.entries import X86_A, X86_ADDR_MASK, X86_RW, X86_US, level_size
from mmu.x86.faults import describe_error_code
from ucmmu.testing.scene import scene
from ucmmu.testing.units import access_of


@dataclass(frozen=True, slots=True)
class Attempt:
    """An access that assert_fault() makes."""

    va: int
    access: Access = Access.READ
    user: bool = True


def read(va: int, *, user: bool = True) -> Attempt:
    """A load of va, by the user or the supervisor."""
    return Attempt(va, Access.READ, user)


def write(va: int, *, user: bool = True) -> Attempt:
    """A store to va."""
    return Attempt(va, Access.WRITE, user)


def fetch(va: int, *, user: bool = True) -> Attempt:
    """An instruction fetch from va."""
    return Attempt(va, Access.FETCH, user)


def assert_walk(
    va: int,
    access: str | Access = "read",
    *,
    user: bool = True,
    mmu: Mmu | None = None,
    entries: Mapping[int, int] | None = None,
    rights: str | int | None = None,
    **expected: Any,
) -> Walk:
    """The page walk for va, past the TLB, ends in a translation that allows ``access``; returns it.

    ``access``: "read", "write" or "fetch", by the user or the supervisor. Nothing is changed.
    Besides, what is given must be so: ``pa``, that of va itself; ``level``, 1 for a page of 4 KiB,
    2 for 2 MiB, 3 for 1 GiB; ``rights``, letters of "rwxu", each of which holds or not;
    ``accessed`` and ``dirty``, A and D of the leaf; ``entries``, whole entries by level; and every
    other field of mmu.x86.Walk by its name. AssertionError shows the walk.
    """
    __tracebackhide__ = True
    check_address("assert_walk", va)
    here = scene()
    here.address = va
    walk = (mmu or here.this_mmu()).walk(va, access_of(access), user=user)
    for name in expected:
        if name not in ("accessed", "dirty") and not hasattr(walk, name):
            raise TypeError(f"assert_walk() knows no {name!r}")
    if walk.result != Outcome.OK:
        raise AssertionError(f"the walk for a {access_name(access)} does not succeed\n{walk}")
    if isinstance(rights, str):
        _compare("rights", _letters(walk), _sorted_letters(rights), walk)
    elif rights is not None:
        _compare("rights", walk.rights, rights, walk)
    for level, entry in (entries or {}).items():
        _compare(f"entry of level {level}", walk.entry[level], entry, walk)
    for name, value in expected.items():
        if name == "accessed":
            _compare(name, bool(walk.entry[walk.level] & X86_A), value, walk)
        else:
            _compare(name, getattr(walk, name), value, walk)
    return walk


def assert_fault(
    access: int | Attempt | Translation | Callable[[], Translation],
    kind: str | Access = "read",
    *,
    code: int | None = None,
    cr2: int | None = None,
    level: int | None = None,
    user: bool = True,
    mmu: Mmu | None = None,
) -> Walk:
    """An access ends in a page fault (#PF); it is made, and the processor sets CR2, but no kernel
    handles it. Returns the walk for the address in CR2.

    ``access`` is read(va), write(va) or fetch(va) of this module; or an address, with ``kind`` and
    ``user`` to say how; or a function that makes an access with mmu.translate() and returns the
    answer; or such an answer. What is given must be so: ``code``, the error code (SDM vol. 3A
    4.7); ``cr2``, by default the address; ``level`` at which the walk ends. AssertionError shows
    the walk.
    """
    __tracebackhide__ = True
    here = scene()
    unit = mmu or here.this_mmu()
    if isinstance(access, int):
        access = Attempt(access, access_of(kind), user)
    if isinstance(access, Attempt):
        attempt = access
        answer = unit.translate(attempt.va, attempt.access, user=attempt.user)
        cr2 = attempt.va if cr2 is None else cr2
    else:
        answer = access() if callable(access) else access
        if not isinstance(answer, Translation):
            raise TypeError(
                "assert_fault() begins with an access, as in assert_fault(write(0x400000)):"
                f" not with {answer!r}"
            )
        attempt = Attempt(int(unit.c.cr2), access_of(kind), user)
    here.address = attempt.va
    walk = unit.walk(attempt.va, attempt.access, user=attempt.user)
    if answer.result != Outcome.PAGE_FAULT:
        what = {Outcome.OK: f"it is translated to {answer.pa:#x}"}
        says = what.get(answer.result, str(answer.result.name))
        raise AssertionError(
            f"no page fault on a {attempt.access.verb} of {attempt.va:#x}: {says}\n{walk}"
        )
    if code is not None and answer.error_code != code:
        raise AssertionError(
            f"the error code is {answer.error_code:#x} ({describe_error_code(answer.error_code)}),"
            f" not {code:#x} ({describe_error_code(code)})\n{walk}"
        )
    if cr2 is not None and int(unit.c.cr2) != cr2:
        raise AssertionError(f"CR2 is {int(unit.c.cr2):#x}, not {cr2:#x}\n{walk}")
    if level is not None:
        _compare("level", walk.level, level, walk)
    return walk


def assert_flushed(cpu: int | Cpu | Mmu, va: int, *, tables: bool = True) -> None:
    """No TLB entry of that CPU translates va for the PCID in use, and no entry of its
    paging-structure caches leads there; nor does one, for whatever address, lead to a frame that is
    no paging structure any more.

    ``cpu``: its number, the kernel's Cpu, or its Mmu. ``tables=False``: paging-structure-cache
    entries for va may be there, as after an access to a page near by, if they agree with the tables
    in memory. AssertionError names what is left.
    """
    __tracebackhide__ = True
    check_address("assert_flushed", va)
    here = scene()
    here.address = va
    name, unit = here.cpu(cpu)
    left = [f"TLB {entry}" for entry in unit.entries() if _covers(unit, entry, va)]
    walk = unit.walk(va)
    for entry in unit.paging_structure_caches():
        if _covers(unit, entry, va):
            now = walk.entry[entry.level] & X86_ADDR_MASK if walk.entry_pa[entry.level] else None
            if now != entry.pa:
                left.append(f"stale {entry}")
            elif tables:
                left.append(str(entry))
        elif here.kernel is not None and _is_freed(unit, entry):
            left.append(f"freed table {entry}")
    if left:
        raise AssertionError(
            f"{name} still has {len(left)} {'entry' if len(left) == 1 else 'entries'}"
            f" for {va:#x}:\n" + "\n".join(f"  {line}" for line in left) + f"\n{walk}"
        )


def check_address(assertion: str, va: object) -> None:
    """Raises TypeError if ``va`` is no number."""
    if isinstance(va, bool) or not isinstance(va, int):
        calls = {
            "assert_walk": "assert_walk(0x400000, pa=0x1000); another MMU goes last, as mmu=",
            "assert_flushed": "assert_flushed(0, 0x400000)",
        }
        raise TypeError(f"an address is a number, as in {calls[assertion]}: not {va!r}")


def access_name(access: str | Access) -> str:
    """An access as the user names it."""
    return access if isinstance(access, str) else access.verb


def _compare(name: str, value: object, wanted: object, walk: Walk) -> None:
    __tracebackhide__ = True
    if value != wanted:
        raise AssertionError(f"{name} is {_shown(value)}, not {_shown(wanted)}\n{walk}")


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 9:
        return hex(value)
    return repr(value)


def _letters(walk: Walk) -> str:
    return "".join(
        letter
        for letter, holds in (
            ("r", True),
            ("w", walk.rights & X86_RW),
            ("x", not walk.xd),
            ("u", walk.rights & X86_US),
        )
        if holds
    )


def _sorted_letters(rights: str) -> str:
    if wrong := set(rights) - set("rwxu-"):
        raise MmuError(f"rights {rights!r}: no {min(wrong)!r}; known are r, w, x, u and -")
    return "".join(letter for letter in "rwxu" if letter in rights)


def _covers(unit: Mmu, entry: TlbEntry, va: int) -> bool:
    """Whether the processor would use the entry for va now."""
    used = entry.is_global or entry.pcid == unit.pcid
    return used and va & -level_size(entry.level) == entry.va


def _is_freed(unit: Mmu, entry: TlbEntry) -> bool:
    memory = unit.memory
    return memory.holds(entry.pa) and not memory.page(entry.pa >> 12).flags & lib.PG_table
