# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: every call that takes a name answers as the host's kernel does on a tmpfs, with every error
that it has; as root and as an ordinary user.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.build import build
from tests.guests.scratch import USER, assert_same, here, natively


@pytest.mark.parametrize("uid", [0, USER])
def test_every_call_answers_as_the_host_s(uid: int, tmp_path: Path) -> None:
    program = build("names_calls.c", "-static", "-O1", "-w")
    host = natively(program, uid=uid)
    assert_same(here(program, uid=uid, tmp_path=tmp_path), host, f"uid {uid}")
