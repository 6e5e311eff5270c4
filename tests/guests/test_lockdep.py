# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever guests do on several CPUs, the kernel takes its locks in one order, never sleeps
where it may not, and keeps nothing on the way to user mode.
"""

from __future__ import annotations

import pytest

from mmu.linux.lockdep import Lockdep
from tests.guests.machine import run

GUESTS = (("threads", "4", "100"), ("fork_tree", "2", "64K"), ("multi_fault",))


@pytest.mark.parametrize("policy", ["refcount", "refcount-pmdlock"])
@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest[0])
def test_lockdep_finds_nothing(
    guest: tuple[str, ...], policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    acquired = Lockdep.acquired
    monkeypatch.setattr(
        Lockdep, "acquired", lambda *args, **kwargs: (seen.append(1), acquired(*args, **kwargs))[1]
    )
    result = run(*guest, cpus=4, seed=5, quantum=500, policy=policy, lockdep=True)
    assert result.result.exit_code == 0
    assert len(seen) > 100, "it looked"
