# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the same memory system calls end as on the host's kernel: results, errors, placing,
merging, rights.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu.linux.mm import Mm
from tests.linux.native import (
    Call,
    kernel_is_like_ours,
    native_program,
    pages,
    run_native,
    run_ours,
    shape,
)
from ucmmu.testing.mm import check_mm, make_mm
from ucmmu.testing.options import MachineOptions

ANON = 0x22
FIXED = 0x10
BASE = 0x20_0000_0000
PAGES = 24

CONFIG = MachineOptions(fidelity="fast")

page = st.integers(0, PAGES - 1).map(lambda n: BASE + n * 4096)
length = st.one_of(
    st.integers(1, PAGES).map(lambda n: n * 4096),
    st.sampled_from([0, 1, 4095, 4097, 1 << 47, (1 << 64) - 1]),
)
short = st.one_of(
    st.integers(0, PAGES).map(lambda n: n * 4096), st.sampled_from([1, 4097, (1 << 64) - 1])
)
prot = st.sampled_from([0, 1, 2, 3, 5, 7])

fixed_calls = st.one_of(
    st.tuples(st.just("mmap"), page, length, prot, st.just(ANON | FIXED), st.just(0), st.just(0)),
    st.tuples(
        st.just("mmap"), page, length, prot, st.just(ANON | 0x100000), st.just(0), st.just(0)
    ),
    st.tuples(
        st.just("mmap"),
        page,
        length,
        prot,
        st.just(2 | FIXED),
        st.integers(0, 3).map(lambda n: n * 4096),
        st.just(1),
    ),
    st.tuples(st.just("munmap"), page, length),
    st.tuples(
        st.just("mprotect"),
        page,
        length,
        st.sampled_from([0, 1, 3, 5, 7, 8, 0x10, 0x1000001, 0x2000001]),
    ),
    st.tuples(
        st.just("madvise"), page, short, st.sampled_from([*range(11), *range(14, 22), 24, 26, 50])
    ),
    st.tuples(st.just("munmap"), page.map(lambda addr: addr + 1), length),
    st.tuples(st.just("mprotect"), page.map(lambda addr: addr + 8), length, prot),
)
searching_calls = st.one_of(
    st.tuples(
        st.just("mmap"),
        st.sampled_from([0, 0, 0, 0, 1, BASE, BASE + 5, 0x7FFF_0000_0000, 1 << 47]),
        st.sampled_from(
            [1, 4096, 8192, 65536, 1 << 20, 2 << 20, (2 << 20) + 4096, 6 << 20, 5 << 30]
        ),
        prot,
        st.sampled_from(
            [
                ANON,
                ANON,
                ANON | 0x100,
                ANON | 0x40,
                ANON | 0x4000,
                ANON | 0x20000,
                0x21,
                0x2,
                0x3,
                0x20,
                0x28,
            ]
        ),
        st.just(0),
        st.sampled_from([0, 0, 1]),
    ),
    st.tuples(
        st.just("brk"), st.sampled_from([0, 1, 4096, 1 << 20, (1 << 64) - 1 << 12 & (1 << 64) - 1])
    ),
)


@pytest.fixture(autouse=True, scope="module")
def program() -> None:
    native_program()


def fresh() -> Mm:
    return make_mm(CONFIG)


def compare(calls: list[Call], *, whole_maps: bool = True) -> None:
    mm = fresh()
    mm.kernel.overcommit_memory = 1  # how much memory the host has decides nothing here
    native, native_maps = run_native(calls)
    ours, our_maps = run_ours(mm, calls)
    differing = [
        (call, hex(theirs), hex(mine))
        for call, theirs, mine in zip(calls, native, ours, strict=True)
        if theirs != mine
    ]
    assert not differing
    if whole_maps:
        assert shape(our_maps) == shape(native_maps)
    else:
        limits = (BASE, BASE + 2 * PAGES * 4096)
        assert pages(our_maps, *limits) == pages(native_maps, *limits)
    check_mm(mm)
    mm.exit_mmap()


def test_the_empty_program() -> None:
    """The oracle's own address space, rebuilt: bases, gaps and sizes are Linux's."""
    compare([])


@given(st.lists(fixed_calls, max_size=24))
def test_fixed_addresses(calls: list[Call]) -> None:
    """Overlapping mmap, munmap, mprotect, madvise: equal results, VMAs split and merged alike."""
    compare(calls, whole_maps=kernel_is_like_ours())


@given(st.lists(st.one_of(fixed_calls, st.tuples(st.just("touch"), page)), max_size=24), st.data())
def test_touched_memory(calls: list[Call], data: st.DataObject) -> None:
    """With pages faulted in between: equal results and rights, page by page."""
    mapped = [("mmap", BASE, PAGES * 4096, 3, ANON | FIXED, 0, 0)]
    compare(
        mapped + [call for call in calls if call[0] != "touch"][:8] + remap_touches(calls),
        whole_maps=False,
    )


def remap_touches(calls: list[Call]) -> list[Call]:
    """Each touch on a page just made writable, so that the oracle survives it; its rights then
    differ again.
    """
    result: list[Call] = []
    for call in calls:
        if call[0] == "touch":
            result.append(("mmap", call[1], 4096, 3, ANON | FIXED, 0, 0))
        result.append(call)
    return result


@settings(max_examples=25)
@given(st.lists(st.one_of(searching_calls, fixed_calls), max_size=16))
def test_searched_addresses(calls: list[Call]) -> None:
    """Addresses that the kernel chooses are the ones Linux chooses."""
    if not kernel_is_like_ours():
        pytest.skip("kernels before 6.13 place mappings otherwise")
    compare(calls)


remap_calls = st.one_of(
    st.tuples(
        st.just("mremap"),
        page,
        length,
        length,
        st.sampled_from([0, 1, 1, 1, 3, 4, 5, 7, 8]),
        st.one_of(page, st.sampled_from([65537, (1 << 47) - 4096, BASE + (PAGES + 8) * 4096])),
    ),
    st.tuples(
        st.just("mremap"),
        page,
        st.integers(1, PAGES).map(lambda n: n * 4096),
        st.sampled_from([4096, 65536, 1 << 20, 2 << 20, 6 << 20, (2 << 20) + 4096]),
        st.just(1),
        st.just(0),
    ),
)


@pytest.mark.skipif(not kernel_is_like_ours(), reason="mremap() is that of 6.17 and later")
@given(st.lists(st.one_of(fixed_calls, remap_calls, remap_calls), max_size=24))
def test_mremap(calls: list[Call]) -> None:
    """Growing, shrinking and moving, also to where the kernel finds room: equal results and
    VMAs.
    """
    compare([("mmap", BASE, PAGES * 4096, 3, ANON | FIXED, 0, 0), *calls])
