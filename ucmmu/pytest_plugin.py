# SPDX-License-Identifier: GPL-2.0-or-later
"""The pytest plugin ``ucmmu``: fixtures and assertions for tests of MMU and mm operations.

Fixtures: ``ram``, guest RAM; ``mmu``, a processor's MMU on it; ``mm``, an address space on a kernel
of one or more CPUs; ``machine``, vCPUs with a kernel; ``guest``, programs on it. ``assert_walk``,
``assert_fault``, ``assert_refcounts``, ``assert_flushed`` and ``assert_events`` are the functions
of ucmmu.testing. The marker ``ucmmu`` says on which machines a test runs
(ucmmu.testing.options). A test that failed shows the walk, the tables, the TLBs and the last
events. docs/testing.md is the tutorial.

Nothing of ucmmu is loaded before a test that asks for one of these fixtures is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cpu.machine import Machine
    from mmu.memory import Memory
    from ucmmu.testing import MmUnderTest, MmuUnderTest
    from ucmmu.testing.guest import GuestMaker
    from ucmmu.testing.options import MachineOptions
    from ucmmu.testing.scene import Scene

_MARKER = (
    "ucmmu(engine, policy, cpus, seed, geometry, levels, fidelity, ram): the machines that a test"
    " runs on; each takes a value or a list of values"
)
_OPTIONS = "ucmmu_options"
_MACHINES = ["c/refcount", "python/refcount"]
_SHOWN = pytest.StashKey[bool]()
"""Whether the test's call failed, so that its machine need not be checked."""
_SCENE = pytest.StashKey["Scene"]()
_LATE: pytest.StashKey[Iterable[tuple[str, str]]] = pytest.StashKey()
"""Sections of a failure while the fixtures were taken down."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ini option for projects with a habit of their own."""
    parser.addini(
        "ucmmu_machines",
        "pairs engine/policy, as c/refcount, that tests run on whose marker ucmmu does not say",
        type="args",
        default=_MACHINES,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once on each machine that its marker, or the default, names."""
    if _OPTIONS not in metafunc.fixturenames:
        return
    from ucmmu.testing.options import WrongOption, default_pairs, ids, machines

    wanted: dict[str, Any] = {}
    names = metafunc.fixturenames
    try:
        for marker in reversed(list(metafunc.definition.iter_markers("ucmmu"))):
            if marker.args:
                raise WrongOption("values need a name, as in ucmmu(cpus=2)")
            wanted.update(marker.kwargs)
        made = machines(
            wanted,
            default_pairs(metafunc.config.getini("ucmmu_machines")),
            has_policy=bool({"mm", "machine"} & set(names)),
        )
        _check_fixtures(names, made)
    except WrongOption as error:
        wrong = f"marker ucmmu of {metafunc.definition.nodeid}: {error}"
    else:
        metafunc.parametrize(_OPTIONS, made, ids=ids(made), scope="function")
        return
    pytest.fail(wrong, pytrace=False)


def _check_fixtures(names: list[str], made: list[MachineOptions]) -> None:
    from ucmmu.testing.options import WrongOption

    if "machine" in names and {"mm", "mmu"} & set(names):
        raise WrongOption("a machine has MMUs and mms of its own: ask for mm or mmu, or for it")
    if any(one.levels == 5 for one in made) and {"mm", "machine"} & set(names):
        raise WrongOption("levels=5: the kernel's mm has 4 levels, ask for mmu alone")


@pytest.fixture
def ucmmu_options() -> MachineOptions:
    """The machine that the test runs on, as its markers and the default say."""
    raise AssertionError("every test that asks for it is parametrised")


@pytest.fixture
def ucmmu_scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """What the test has made, for assertions and for the report."""
    from ucmmu.testing.scene import begin_scene, end_scene

    scene = begin_scene()
    request.node.stash[_SCENE] = scene
    yield scene
    end_scene(scene)
    del request.node.stash[_SCENE]


@pytest.fixture
def ram(ucmmu_options: MachineOptions, ucmmu_scene: Scene) -> Iterator[Memory]:
    """Guest RAM from guest-physical 0 on, with frames to take: mmu.memory.Memory."""
    from mmu.memory import Memory

    memory = Memory(ucmmu_options.ram)
    ucmmu_scene.record(memory)
    yield memory
    memory.close()


@pytest.fixture
def mmu(
    request: pytest.FixtureRequest,
    ucmmu_options: MachineOptions,
    ucmmu_scene: Scene,
    ram: Memory,
) -> MmuUnderTest:
    """One processor's MMU, freshly reset, on ``ram``: ucmmu.testing.MmuUnderTest."""
    from ucmmu.testing.mmu import make_mmu

    check = "mm" in request.fixturenames and ucmmu_options.exact
    return make_mmu(ucmmu_options, ram, ucmmu_scene, check=check)


@pytest.fixture
def mm(
    request: pytest.FixtureRequest,
    ucmmu_options: MachineOptions,
    ucmmu_scene: Scene,
    mmu: MmuUnderTest,
) -> Iterator[MmUnderTest]:
    """An empty address space loaded into ``mmu``, CPU 0 of its kernel: ucmmu.testing.MmUnderTest.

    After a test that passed, no stale translation may have been used, the tables must agree with
    every counter, and tearing the mm down must leave nothing.
    """
    from ucmmu.testing.mm import mm_under_test
    from ucmmu.testing.sections import sections

    under_test = mm_under_test(ucmmu_options, ucmmu_scene, mmu)
    yield under_test.__enter__()
    if request.node.stash.get(_SHOWN, False):
        return
    try:
        under_test.__exit__(None, None, None)
    except Exception:
        request.node.stash[_LATE] = sections(ucmmu_scene)
        raise


@pytest.fixture
def machine(ucmmu_options: MachineOptions, ucmmu_scene: Scene, ram: Memory) -> Iterator[Machine]:
    """A machine of vCPUs over ``ram``, on which nothing runs yet: cpu.machine.Machine."""
    from ucmmu.testing.guest import machine_under_test

    with machine_under_test(ucmmu_options, ram, ucmmu_scene) as machine:
        yield machine


@pytest.fixture
def guest(machine: Machine, ucmmu_scene: Scene) -> Iterator[GuestMaker]:
    """Programs on ``machine``: ucmmu.testing.guest.GuestMaker."""
    from ucmmu.testing.guest import GuestMaker

    maker = GuestMaker(machine, ucmmu_scene)
    yield maker
    maker.close()


def _assertion(name: str) -> Any:
    def fixture(ucmmu_scene: Scene) -> Callable[..., Any]:
        import ucmmu.testing

        return getattr(ucmmu.testing, name)  # type: ignore[no-any-return]

    fixture.__doc__ = f"ucmmu.testing.{name}()."
    return pytest.fixture(name=name)(fixture)


assert_walk = _assertion("assert_walk")
assert_fault = _assertion("assert_fault")
assert_refcounts = _assertion("assert_refcounts")
assert_flushed = _assertion("assert_flushed")
assert_events = _assertion("assert_events")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the machine was like to the report of a test that failed."""
    report = yield
    if not report.failed:
        return report
    scene = item.stash.get(_SCENE, None)
    if report.when == "call" and scene is not None:
        from ucmmu.testing.sections import sections

        item.stash[_SHOWN] = True
        report.sections += sections(scene)
    elif report.when == "teardown":
        report.sections += item.stash.get(_LATE, [])
    return report
