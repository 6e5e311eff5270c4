# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: long work shows a line on a terminal, which is gone before the guest's first byte;
elsewhere there is none.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys

UCMMU = [sys.executable, "-m", "ucmmu"]


def on_a_terminal(*args):
    """Run the command with a terminal for all streams; its exit code and what the terminal got."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*UCMMU, *args], stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        shown = bytearray()
        while select.select([leader], [], [], 60)[0]:
            try:
                shown += os.read(leader, 1 << 16)
            except OSError:
                break
    os.close(leader)
    return process.returncode, shown.decode()


def test_an_endless_run_shows_how_far_it_is():
    code, shown = on_a_terminal("run", "--timeout", "3", "faults", "spin")
    assert code == 124
    assert re.search(
        r"faults: [\d,]+ M instructions, VmRSS [\d,]+ kB, VmPTE [\d,]+ kB, \d s", shown
    )
    assert shown.endswith("ucmmu: stopped after 3 s (--timeout)\r\n")


def test_the_line_is_gone_when_the_guest_speaks():
    code, shown = on_a_terminal("run", "dontneed_loop", "12G")
    assert code == 0
    before, _, after = shown.partition("end: VmSize")
    assert "M instructions" in before
    assert before.endswith("\x1b[2K")
    assert "M instructions" not in after


def test_a_comparison_names_the_policy_under_way():
    _, shown = on_a_terminal("compare", "--timeout", "2", "faults", "spin")
    for policy in ("never", "scan", "refcount", "refcount-pmdlock"):
        assert f"faults ({policy}): " in shown


def test_a_pipe_gets_no_line():
    done = subprocess.run(
        [*UCMMU, "run", "--timeout", "2", "faults", "spin"], capture_output=True, text=True
    )
    assert "M instructions" not in done.stderr
