# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a test may ask for a policy of one's own, as a class or by its file; one that cannot be is
a WrongOption in one line.
"""

from __future__ import annotations

import os

import pytest

from mmu.linux.free_tables import FreeTablesPolicy
from mmu.linux.state import MmStruct
from ucmmu.testing.mm import make_mm
from ucmmu.testing.options import WrongOption, ids, machines

PAIRS = [("c", "refcount"), ("python", "refcount")]
DEFERRING = "docs/policies/deferring.py:Deferring"


class Mine(FreeTablesPolicy):
    """refcount by another name."""


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("policy", [Mine, DEFERRING])
def test_an_mm_under_it(policy: object, engine: str) -> None:
    """The mm is in Python, whichever the engine of the MMU; the test's name has the policy."""
    made = machines({"policy": ["never", policy], "engine": engine}, PAIRS, has_policy=True)
    label = policy.__name__ if isinstance(policy, type) else policy
    assert ids(made) == [f"{engine}-never", f"{engine}-{label}"]
    mm = make_mm(made[1])
    assert (mm.native, mm.kernel.this_cpu.mmu.native) == (False, engine == "c")
    assert mm.kernel.policy_name == (label if policy is DEFERRING else "Mine")
    assert isinstance(mm.kernel.free_tables, FreeTablesPolicy)


class WithoutHolder(FreeTablesPolicy):
    """Takes other arguments, which a type checker refuses too."""

    def table_get(self, mm: MmStruct, table: int, nr: int) -> None:  # type: ignore[override]
        """Nothing."""


@pytest.mark.parametrize(
    ("policy", "engine", "said"),
    [
        (
            WithoutHolder,
            "c",
            f"policy {os.path.relpath(__file__)}, line 41: WithoutHolder.table_get must take",
        ),
        (int, "python", "policy int is no subclass of FreeTablesPolicy"),
        ("nothing.py:Mine", "python", "--free-tables nothing.py: no such file"),
        ("refcnt", "python", "no policy 'refcnt'"),
    ],
)
def test_what_cannot_be(policy: object, engine: str, said: str) -> None:
    """Another class, no file, no such name."""
    with pytest.raises(WrongOption) as caught:
        machines({"policy": policy, "engine": engine}, PAIRS, has_policy=True)
    assert str(caught.value).startswith(said)
