# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what a program reads in /proc has the host's lines and fields; what it writes there answers
as on the host; and the figures agree with each other.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cpu.cpuid import cpuid
from cpu.cred import Cred
from tests.guests.build import build
from tests.guests.machine import run
from tests.guests.ordinary_user import UID, native, require_linux_6_18

USER = Cred.of(UID, UID)


def cat(path: str, **options: object) -> str:
    done = run("faults", "cat", path, **options)
    assert done.result.exit_code == 0, done.stderr
    return done.text


def names(text: str) -> list[str]:
    """What stands before the colons."""
    return re.findall(r"^([\w()]+):", text, re.MULTILINE)


def kb(text: str, name: str) -> int:
    """The sum of the lines of that name, kB."""
    return sum(map(int, re.findall(rf"^{name}: +(\d+) kB", text, re.MULTILINE)))


@pytest.mark.parametrize("options", [{}, {"cpus": 2, "seed": 4}], ids=str)
def test_reading_and_writing_answer_as_the_host_s(options: dict[str, int]) -> None:
    require_linux_6_18()
    program = build("proc_calls.c", "-static", "-O1", "-pthread", "-w")
    ours = run(program, cred=USER, **options)
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])
    assert ours.text.splitlines() == native(program).splitlines()


@pytest.mark.parametrize("path", ["/proc/self/status", "/proc/self/smaps_rollup"])
def test_lines_are_the_host_s(path: str) -> None:
    require_linux_6_18()
    assert names(cat(path)) == names(Path(path).read_text())


def test_smaps_has_the_host_s_lines() -> None:
    require_linux_6_18()
    ours, host = (set(names(text)) for text in (cat("/proc/self/smaps"), _host_smaps()))
    assert ours == host - {"ProtectionKey"}, "which the guest's processor has not"


def _host_smaps() -> str:
    return Path("/proc/self/smaps").read_text()


def test_meminfo_has_the_host_s_lines() -> None:
    """But those that depend on the host's processor and options."""
    require_linux_6_18()
    text = cat("/proc/meminfo")
    host = [n for n in names(Path("/proc/meminfo").read_text()) if not n.startswith("DirectMap")]
    assert [n for n in host if n not in names(text)] == []
    assert [n for n in names(text) if n not in host] == []
    assert kb(text, "MemTotal") == 1 << 20
    parts = ("MemFree", "AnonPages", "Cached", "PageTables")
    assert sum(kb(text, name) for name in parts) == 1 << 20


def test_the_rollup_is_the_sum() -> None:
    maps, rollup = cat("/proc/self/smaps"), cat("/proc/self/smaps_rollup")
    for name in ("Rss", "Shared_Clean", "Private_Clean", "Private_Dirty", "Referenced"):
        assert kb(rollup, name) == kb(maps, name) > 0 or name == "Shared_Clean"
    assert abs(kb(rollup, "Pss") - kb(maps, "Pss")) <= len(re.findall("^Pss:", maps, re.MULTILINE))


def test_a_process_has_the_host_s_files() -> None:
    """All but what tells of parts of a kernel that are not here."""
    require_linux_6_18()
    program = build("proc_list.c", "-static", "-O1", "-w")
    ours = set(run(program, "/proc/self").text.split())
    missing = {"attr", "ksm_merging_pages", "ksm_stat", "patch_state", "stack", "syscall", "net"}
    assert set(os.listdir("/proc/self")) - ours <= missing
    assert ours - set(os.listdir("/proc/self")) == set()


def test_cpuinfo_says_what_cpuid_says() -> None:
    """The flags are those that a program finds by itself."""
    flags = re.search(r"^flags\t\t: (.*)$", cat("/proc/cpuinfo"), re.MULTILINE)
    assert flags is not None
    shown = set(flags[1].split())
    assert shown == set(cpuid().flags)
    assert {"sse4_2", "popcnt", "lm", "nx"} <= shown
    assert not shown & {"avx", "avx2", "movbe", "abm", "xsave", "rdrand"}


def test_every_file_can_be_read_to_its_end() -> None:
    """By a walk over /proc and /sys, in pieces of a few bytes too."""
    program = build("proc_list.c", "-static", "-O1", "-w")
    done = run(program, "--read", "/proc", "/sys", cpus=2)
    assert done.result.exit_code == 0
    assert len(done.text.splitlines()) > 200
    assert "failed" not in done.text, done.text


def test_only_root_changes_the_machine() -> None:
    program = build("proc_list.c", "-static", "-O1", "-w")
    arguments = ("--write", "/proc/sys/vm/overcommit_memory", "2")
    assert run(program, *arguments, cred=Cred.of(0, 0)).text == "1\n2\n"
    assert run(program, *arguments, cred=USER).text == "1\nEACCES\n"
    bad = ("--write", "/proc/sys/vm/overcommit_memory", "3")
    assert run(program, *bad, cred=Cred.of(0, 0)).text == "1\nEINVAL\n"
