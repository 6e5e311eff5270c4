# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mincore(), mseal(), remap_file_pages(), process_madvise(), process_mrelease(), protection
keys, smaps, pagemap and clear_refs answer as the host's kernel does, call by call.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from cpu.cred import Cred
from tests.guests.build import build
from tests.guests.machine import run
from tests.guests.ordinary_user import (
    UID,
    native,
    require_linux_6_18,
    require_no_protection_keys,
)

PARTS = ("mincore", "mseal", "file_pages", "advice", "proc", "numa")


def program() -> Path:
    return build("memory_calls.c", "-static", "-O1")


@cache
def host(part: str) -> list[str]:
    """The host's lines. Later kernels of the 6.18 series mark VMAs that may have guards (gu)."""
    return native(program(), part).replace(" gu ", " ").splitlines()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("engine", ["c", "python"])
def test_every_call_answers_as_the_host_s(part: str, engine: str) -> None:
    require_linux_6_18()
    if part in ("advice", "proc"):
        require_no_protection_keys()
    ours = run(program(), part, engine=engine, policy="scan", cred=Cred.of(UID, UID))
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])
    assert ours.text.splitlines() == host(part)


@pytest.mark.parametrize("policy", ["refcount", "never"])
def test_no_policy_shows_in_them(policy: str) -> None:
    """What frees tables changes none of these answers."""
    for part in PARTS:
        ours = run(program(), part, policy=policy, cpus=2, cred=Cred.of(UID, UID))
        scan = run(program(), part, policy="scan", cred=Cred.of(UID, UID))
        assert ours.text == scan.text, part
