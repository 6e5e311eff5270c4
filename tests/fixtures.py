# SPDX-License-Identifier: GPL-2.0-or-later
"""A pytest plugin for unit tests of MMU and mm operations.

Fixtures: ``mmu``, a processor's MMU; ``mm``, an address space on it; ``assert_walk``,
``assert_fault`` and ``assert_refcounts``, what a test says of them; ``touch``, an access as the
processor makes it.

A test that asks for ``mm`` or ``mmu`` runs on both engines, and with ``mm`` under each policy of
freeing tables (refcount-pmdlock on C only, unless it is asked for); the marker ``mmu`` narrows that
and sizes the machine::

    @pytest.mark.mmu(engines=["c"], policies=["refcount"], ram=16 << 20, exact=True)
    def test_a_written_page(mm, touch, assert_walk, assert_refcounts):
        addr = mm.mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS)
        assert touch(addr, "write") is None
        assert_walk(addr, "write", dirty=True)
        assert_refcounts({addr: 1})

When a test has passed, its mm is torn down and must leave nothing: no table, no frame, no count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from mmu.errors import LinuxError
from mmu.events import EventRing
from mmu.linux.fault import Segv
from mmu.linux.mm import Mm, boot
from mmu.linux.policy import FreeTables
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, Outcome, Walk

ACCESS = {"read": Access.READ, "write": Access.WRITE, "fetch": Access.FETCH}
_MARKER = (
    "mmu(engines, policies, ram, exact, geometry): which machines a test of an MMU or mm operation"
    " runs on"
)
_ONLY_IF_ASKED_FOR = ("python", "refcount-pmdlock")
_DEFAULTS: dict[str, Any] = {
    "engines": ["c", "python"],
    "policies": [policy.label for policy in FreeTables],
    "ram": 64 << 20,
    "exact": True,
    "geometry": "tiny",
}


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """One machine a test runs on."""

    engine: str
    policy: FreeTables
    ram: int
    exact: bool
    geometry: str
    check: bool = False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every machine its marker, or the default, names."""
    if "machine_config" not in metafunc.fixturenames:
        return
    wanted: dict[str, Any] = dict(_DEFAULTS)
    for marker in reversed(list(metafunc.definition.iter_markers("mmu"))):
        if unknown := marker.kwargs.keys() - _DEFAULTS.keys():
            raise pytest.UsageError(f"marker mmu knows no {', '.join(sorted(unknown))}")
        wanted.update(marker.kwargs)
    policies = wanted["policies"] if "mm" in metafunc.fixturenames else ["refcount"]
    machines = [
        MachineConfig(
            engine,
            FreeTables.from_label(policy),
            wanted["ram"],
            wanted["exact"],
            wanted["geometry"],
            check="mm" in metafunc.fixturenames and wanted["exact"],
        )
        for engine in wanted["engines"]
        for policy in policies
        if policies is not _DEFAULTS["policies"] or (engine, policy) != _ONLY_IF_ASKED_FOR
    ]
    metafunc.parametrize(
        "machine_config", machines, ids=[f"{m.engine}-{m.policy.label}" for m in machines]
    )


def make_mm(config: MachineConfig, ring: EventRing | None = None) -> Mm:
    """An mm on a machine of its own, for tests that need more than one."""
    memory = Memory(config.ram)
    unit = Mmu(
        memory, geometry=config.geometry, engine=config.engine, exact=config.exact, ring=ring
    )
    return boot(memory, unit, policy=config.policy, engine=config.engine, ring=ring, lockdep=True)


@pytest.fixture
def mmu(machine_config: MachineConfig) -> Iterator[Mmu]:
    """One processor's MMU, freshly reset, on RAM of its own."""
    memory = Memory(machine_config.ram)
    yield Mmu(
        memory,
        geometry=machine_config.geometry,
        engine=machine_config.engine,
        exact=machine_config.exact,
        check=machine_config.check,
    )
    memory.close()


@pytest.fixture
def mm(mmu: Mmu, machine_config: MachineConfig) -> Iterator[Mm]:
    """An empty address space loaded into ``mmu``; after the test its tables are checked and it is
    torn down.
    """
    memory = mmu.memory
    before = memory.frames_in_use
    mm = boot(memory, mmu, policy=machine_config.policy, engine=machine_config.engine, lockdep=True)
    yield mm
    memory.c.fail_after = (1 << 64) - 1
    if mmu.check is not None:
        assert not mmu.check.uses(), "\n".join(map(str, mmu.check.uses()))
    if mm.c.pgd:
        check_mm(mm)
        mm.exit_mmap()
    assert memory.frames_in_use == before, f"{memory.frames_in_use - before} frames leaked"


def check_mm(mm: Mm) -> None:
    """Everything the tables say agrees with every counter."""
    report = mm.check_tables()
    assert report.ok, str(report)


def access_once(mm: Mm, addr: int, access: Access) -> Segv | None:
    """Make one access, its faults handled; return the signal it ends in, if any."""
    for _ in range(4):
        answer = mm.kernel.this_cpu.mmu.translate(addr, access)
        if answer.result == Outcome.OK:
            return None
        assert answer.result == Outcome.PAGE_FAULT, f"{addr:#x}: {answer.result!r}"
        segv = mm.handle_user_fault(addr, answer.error_code)
        if segv is not None:
            return segv
    raise AssertionError(f"{addr:#x} faults for ever")


@pytest.fixture
def touch(mm: Mm) -> Callable[..., Segv | None]:
    """touch(addr, "read" | "write" | "fetch", pages=1): access pages; return the first signal."""

    def touch(addr: int, access: str = "write", pages: int = 1) -> Segv | None:
        for page in range(addr, addr + (pages << 12), 1 << 12):
            segv = access_once(mm, page, ACCESS[access])
            if segv is not None:
                return segv
        return None

    return touch


@pytest.fixture
def assert_walk(mmu: Mmu) -> Callable[..., Walk]:
    """assert_walk(va, access, user=True, pa=…, level=…, dirty=…, xd=…): the walk of va allows it,
    and is like that.
    """

    def assert_walk(va: int, access: str = "read", *, user: bool = True, **expected: Any) -> Walk:
        walk = mmu.walk(va, ACCESS[access], user=user)
        assert walk.result == Outcome.OK, str(walk)
        for name, value in expected.items():
            assert getattr(walk, name) == value, (
                f"{name} is {getattr(walk, name)!r}, not {value!r}\n{walk}"
            )
        return walk

    return assert_walk


@pytest.fixture
def assert_fault(mmu: Mmu) -> Callable[..., Walk]:
    """assert_fault(va, access, user=True, error_code=…, level=…): the walk of va ends in a page
    fault like that.
    """

    def assert_fault(va: int, access: str = "read", *, user: bool = True, **expected: Any) -> Walk:
        walk = mmu.walk(va, ACCESS[access], user=user)
        assert walk.result == Outcome.PAGE_FAULT, str(walk)
        for name, value in expected.items():
            assert getattr(walk, name) == value, (
                f"{name} is {getattr(walk, name)!r}, not {value!r}\n{walk}"
            )
        return walk

    return assert_fault


@pytest.fixture
def assert_refcounts(mm: Mm) -> Callable[..., None]:
    """assert_refcounts({addr: n, …}): every table's count is its entries, and these tables, and
    only these, have n.

    Without an argument, or under a policy that does not count, only the first half, and entries
    instead of counts. 0 means that addr has no table.
    """

    def assert_refcounts(expected: dict[int, int] | None = None) -> None:
        check_mm(mm)
        if expected is None or not pte_ref_is_enabled(mm):
            return
        counts = mm.check_tables(references=True).references
        assert counts == {addr & -(1 << 21): n for addr, n in expected.items() if n}

    return assert_refcounts


@contextmanager
def _raises_errno(number: int) -> Iterator[None]:
    with pytest.raises(LinuxError) as caught:
        yield
    assert caught.value.errno == number, str(caught.value)


@pytest.fixture
def raises_errno() -> Callable[[int], AbstractContextManager[None]]:
    """with raises_errno(errno.EINVAL): the system call inside fails with just that."""
    return _raises_errno
