# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: status, maps and statm are what Linux prints, byte for byte in their form, true in their
figures.
"""

from __future__ import annotations

import re
import subprocess

import pytest

from mmu.linux import procfs
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from mmu.linux.procfs import TaskInfo

PAGE = 4096
BASE = 0x40_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED

pytestmark = pytest.mark.ucmmu(engine="c", policy="refcount")


@pytest.fixture
def program(mm, touch):
    """A program's shape: text, data, bss, heap, stack."""
    file = MappedFile(bytes(8 * PAGE), path="/bin/program", device=(0xFE, 0), inode=2164539)
    mm.mmap(BASE, 4 * PAGE, 5, MAP_PRIVATE | MAP_FIXED, file, 0)
    mm.mmap(BASE + 4 * PAGE, 2 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, file, 4)
    mm.vm_brk_flags(BASE + 6 * PAGE, PAGE)
    mm.c.start_code, mm.c.end_code = BASE, BASE + 3 * PAGE + 100
    mm.c.start_brk = mm.c.brk = BASE + 7 * PAGE
    mm.brk(BASE + 9 * PAGE)
    mm.setup_arg_pages(100)
    touch(BASE, "read")
    touch(BASE + 4 * PAGE)
    touch(0x7FFFFFFFEFF8)
    return mm


def test_maps(program):
    assert procfs.maps(program) == (
        "00400000-00404000 r-xp 00000000 fe:00 2164539                            /bin/program\n"
        "00404000-00406000 rw-p 00004000 fe:00 2164539                            /bin/program\n"
        "00406000-00407000 rw-p 00000000 00:00 0 \n"
        "00407000-00409000 rw-p 00000000 00:00 0                                  [heap]\n"
        "7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0                          [stack]\n"
    )


def test_a_shared_mapping_says_s(mm):
    mm.mmap(BASE, PAGE, 1, MAP_SHARED | MAP_FIXED, MappedFile(b"", path="/file"))
    assert "r--s" in procfs.maps(mm)


def test_statm(program):
    stats = program.vm_stats()
    fields = [int(field) for field in procfs.statm(program).split()]
    assert fields == [42, stats["VmRSS"] // 4, stats["RssFile"] // 4, 4, 0, 2 + 1 + 2 + 33, 0]


def test_status_figures(program):
    stats = program.vm_stats()
    assert stats == {
        "VmPeak": 168,
        "VmSize": 168,
        "VmLck": 0,
        "VmPin": 0,
        "VmHWM": 24,
        "VmRSS": 24,
        "RssAnon": 8,
        "RssFile": 16,
        "RssShmem": 0,
        "VmData": 20,
        "VmStk": 132,
        "VmExe": 16,
        "VmLib": 0,
        "VmPTE": 24,
        "VmSwap": 0,
        "VmPTE_peak": 24,
    }


def test_status_has_the_hosts_form(program):
    """Each Vm and Rss line stands in the host's order and columns."""
    ours = procfs.status(program, TaskInfo(name="a-name-that-is-too-long", pid=42))
    memory = r"(?:Vm|Rss)\w+:\t *\d+ kB"
    small = subprocess.run(
        ["cat", "/proc/self/status"], capture_output=True, text=True, check=True
    ).stdout
    host = re.findall(memory, small)  # this process may have mapped more than eight digits of kB
    assert [re.sub(r" *\d+", "N", line) for line in re.findall(memory, ours)] == [
        re.sub(r" *\d+", "N", line) for line in host
    ]
    assert all(
        len(line) == len(theirs)
        for line, theirs in zip(re.findall(memory, ours), host, strict=True)
    )
    assert ours.startswith("Name:\ta-name-that-is-\nUmask:\t0022\nState:\tR (running)\nTgid:\t42\n")


def test_peaks_stay(mm, touch):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    touch(BASE, pages=8)
    mm.munmap(BASE, 8 * PAGE)
    stats = mm.vm_stats()
    assert (stats["VmPeak"], stats["VmSize"], stats["VmHWM"], stats["VmRSS"]) == (32, 0, 32, 0)
    assert (stats["VmPTE_peak"], stats["VmPTE"]) == (12, 0)
