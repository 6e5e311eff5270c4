# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: no way out of the machine succeeds, as root and not, with the host kernel's walls and
without: no secret is read, nothing outside changes, no process or server outside is reached.

Each way that is harmless succeeds natively, so it is a way.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guests.build import build
from tests.isolation.host import Host, make_host, run

ESCAPED = re.compile(r"CANARY-[0-9a-f]+")


def program(name: str) -> Path:
    header = (Path(__file__).parent / "ways_out.h").read_bytes()
    key = f"-DHEADER={hashlib.sha256(header).hexdigest()[:8]}"
    return build(f"../isolation/ways_by_{name}.c", "-static", "-O1", "-w", "-pthread", key)


def copy_of(path: Path, host: Host) -> str:
    """The program, put where the guest sees it."""
    return shutil.copy(path, host.work / path.name)


IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="we are no root, who may become a user")


@pytest.mark.parametrize(
    ("walls", "as_user"),
    [
        pytest.param(True, False, id="walls"),
        pytest.param(False, True, id="no_walls_as_user", marks=needs_root),
        pytest.param(False, False, id="no_walls", marks=pytest.mark.stress),
        pytest.param(True, True, id="walls_as_user", marks=[needs_root, pytest.mark.stress]),
    ],
)
@pytest.mark.parametrize("name", ["path", "call"])
def test_no_way_out_succeeds(name: str, walls: bool, as_user: bool) -> None:
    with make_host(as_user=as_user) as host:
        guest = copy_of(program(name), host)
        before, kernel = host.untouched(), _kernel()
        with host.swapping():
            done = run(host, guest, *host.arguments, walls=walls)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == len(_ways(name)), lines[-1]
        assert not [line for line in lines if host.secret in line]
        assert host.secret not in done.stderr
        assert host.untouched() == before
        assert host.special_files() == []
        assert (host.greetings(), host.victim_says()) == (0, "")
        assert _kernel() == kernel


def _ways(name: str) -> list[str]:
    text = (Path(__file__).parent / f"ways_by_{name}.c").read_text()
    return re.findall(r"^WAY\((\w+), ", text, re.MULTILINE)


def _kernel() -> list[str]:
    """What of the host's kernel guests try to change."""
    return [
        Path("/proc/sys", name).read_text()
        for name in ("kernel/core_pattern", "kernel/hostname", "vm/overcommit_memory")
    ]


def test_there_are_sixty_ways() -> None:
    assert len(_ways("path") + _ways("call")) >= 60


READS = (
    "plain_path relative_path many_dotdots dots_and_slashes absolute_link relative_link"
    " chain_of_links directory_link links_in_what_is_given links_in_what_is_writable"
    " links_of_ones_own proc_self_root proc_self_cwd proc_self_fd_of_a_directory"
    " proc_of_the_victim openat_from_an_o_path o_path_of_outside openat2_of_every_kind"
    " fchdir_and_up file_handles listing_above"
)
WRITES = (
    "write_outside write_through_links_in_what_is_writable"
    " names_that_lead_out_of_what_is_writable move_outside_in hard_links_to_outside"
    " hard_links_to_what_is_given write_what_is_given map_what_is_given open_again_to_write"
    " copy_to_what_is_given"
)


@needs_root
def test_the_harmless_ways_succeed_natively() -> None:
    with make_host() as host:
        told = _natively(host, "path", *READS.split())
        leaked = {line.partition(":")[0] for line in told if ESCAPED.search(line)}
        assert set(READS.split()) - leaked == set()
    for way in WRITES.split():
        with make_host() as host:
            before = host.untouched()
            _natively(host, "path", way)
            assert host.untouched() != before, way
    for way in ("signal_a_process", "pidfd_of_a_process"):
        with make_host() as host:
            _natively(host, "call", way)
            assert "signalled" in _wait_for_word(host), way
    for way in ("tcp_to_the_host", "unix_sockets_of_the_host"):
        with make_host() as host:
            _natively(host, "call", way)
            assert host.greetings() > 0, way


def _wait_for_word(host: Host) -> str:
    assert host.victim.stdout is not None
    return host.victim.stdout.readline()


def _natively(host: Host, name: str, *ways: str) -> list[str]:
    done = subprocess.run(
        [copy_of(program(name), host), *host.arguments, *ways],
        cwd=host.work,
        env={},
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=60,
        check=False,
    )
    return done.stdout.splitlines()
