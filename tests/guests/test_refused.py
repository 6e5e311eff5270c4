# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: calls that change the machine for all are refused with the host's error."""

from __future__ import annotations

from cpu.cred import Cred
from tests.guests.build import build
from tests.guests.machine import run
from tests.guests.ordinary_user import UID, native


def test_refusals_are_the_host_s() -> None:
    program = build("refused.c", "-static", "-O1", "-w")
    ours = run(program, cred=Cred.of(UID, UID))
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])
    assert ours.text.splitlines() == native(program).splitlines()
