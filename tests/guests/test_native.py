# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the same binary ends with the tables that the host's kernel gives it, and gets the same
answers from it.

The host's kernel frees tables by a scan where it has CONFIG_PT_RECLAIM (6.14 on), and never where
it has not.
"""

from __future__ import annotations

from functools import cache

import pytest

from tests.guests.machine import HAS_JEMALLOC, native, run, vm_line

LOOP = ("dontneed_loop", "1G")


@cache
def host_policy() -> str:
    """The policy of the host's kernel, found by running the loop."""
    _, text = native("dontneed_loop", "64M", "2M")
    return "scan" if vm_line(text)["VmPTE"] < 32 * 4 else "never"


@pytest.fixture(autouse=True)
def _host_tells_vmpte() -> None:
    status, text = native("hello")
    if status or not vm_line(text)["VmPTE"]:
        pytest.skip("the host runs no guest, or its kernel (a sandbox's) tells no VmPTE")


GUESTS = [
    ("hello",),
    ("hello_pie",),
    (*LOOP, "2M"),
    (*LOOP, "1M"),
    (*LOOP, "64K"),
    ("sparse", "1G"),
    ("signals", "64M"),
]
if HAS_JEMALLOC:
    GUESTS.append(("jemalloc_churn", "40"))


@pytest.mark.parametrize("guest", GUESTS, ids=" ".join)
def test_tables_and_size_are_the_host_s(guest: tuple[str, ...]) -> None:
    status, text = native(*guest)
    ours = run(*guest, policy=host_policy())
    assert (ours.result.exit_code, status) == (0, 0)
    theirs, mine = vm_line(text), vm_line(ours.text)
    assert mine["VmPTE"] == theirs["VmPTE"]
    assert mine["VmSize"] == theirs["VmSize"]


def test_refcount_ends_no_worse_than_the_host() -> None:
    _, text = native(*LOOP, "1M")
    ours = vm_line(run(*LOOP, "1M").text)["VmPTE"]
    assert ours <= 48
    assert ours < vm_line(text)["VmPTE"]


def test_system_calls_answer_as_the_host_s() -> None:
    status, text = native("sysabi")
    ours = run("sysabi")
    assert (ours.result.exit_code, status) == (0, 0)
    assert ours.text.splitlines() == text.splitlines()
    assert [(call.nr, call.count) for call in ours.result.unknown_syscalls] == [(9999, 1)]


def test_handlers_barriers_and_jobs_print_what_they_print_on_the_host() -> None:
    """Its Vm lines too, at each step."""
    status, text = native("signals", "16M")
    ours = run("signals", "16M", policy=host_policy())
    assert (ours.result.exit_code, status) == (0, 0)
    assert ours.text.splitlines() == text.splitlines()
