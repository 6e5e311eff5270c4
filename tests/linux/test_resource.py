# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a limit may be lowered, its soft part raised up to the hard one; the soft limits of memory
bind the mm.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mmu.errors import LinuxError
from mmu.linux.resource import RLIM_INFINITY, Resource, Rlimit, Rlimits


def refused(limits, resource, new, **kwargs):
    with pytest.raises(LinuxError) as caught:
        limits.do_prlimit(resource, new, **kwargs)
    return caught.value.errno


def test_lower_and_raise():
    limits = Rlimits()
    assert limits.do_prlimit(Resource.FSIZE, Rlimit(1, 9)) == (RLIM_INFINITY, RLIM_INFINITY)
    assert limits.do_prlimit(Resource.FSIZE, Rlimit(9, 9)) == (1, 9)
    assert refused(limits, Resource.FSIZE, Rlimit(10, 9)) == errno.EINVAL
    assert refused(limits, Resource.FSIZE, Rlimit(9, 10)) == errno.EPERM
    assert limits.do_prlimit(Resource.FSIZE, Rlimit(9, 10), capable=True) == (9, 9)
    assert limits.do_prlimit(Resource.FSIZE, None) == (9, 10)
    assert refused(limits, 16, None) == errno.EINVAL


def test_open_files_have_a_limit_of_their_own():
    limits = Rlimits()
    limits.set_nofile(1024)
    assert refused(limits, Resource.NOFILE, Rlimit(5, 1025), capable=True) == errno.EPERM
    limits.do_prlimit(Resource.NOFILE, Rlimit(5, 1024))
    assert limits[Resource.NOFILE] == (5, 1024)


def test_memory_s_soft_limits_bind():
    limits = Rlimits()
    for resource, name in {
        Resource.AS: "address_space",
        Resource.DATA: "data",
        Resource.STACK: "stack",
        Resource.MEMLOCK: "memlock",
    }.items():
        limits.do_prlimit(resource, Rlimit(12345, 54321))
        assert getattr(limits, name) == 12345


def test_proc_limits_has_the_host_s_form():
    path = Path("/proc/self/limits")
    if not path.exists():
        pytest.skip("the host has no /proc/self/limits")
    theirs, ours = path.read_text().splitlines(), Rlimits().proc_limits().splitlines()
    assert len(ours) == len(theirs)
    for our_line, their_line in zip(ours, theirs, strict=True):
        assert (our_line[:26], our_line[68:]) == (their_line[:26], their_line[68:])
        assert len(our_line) == len(their_line)
