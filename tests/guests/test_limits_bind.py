# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: resource limits can be lowered, then bind, and answer as on the host's kernel."""

from __future__ import annotations

import pytest

from cpu.cred import Cred
from tests.guests.machine import BUILD, run
from tests.guests.ordinary_user import UID, native


@pytest.mark.parametrize("engine", ["c", "python"])
def test_limits_answer_and_bind_as_the_host_s(engine: str) -> None:
    ours = run("limits", engine=engine, cred=Cred.of(UID, UID))
    assert ours.result.exit_code == 0
    assert ours.text.splitlines() == native(BUILD / "limits").splitlines()
    assert not ours.result.unknown_syscalls
