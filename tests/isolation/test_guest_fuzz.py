# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever bytes run as code, whatever calls are made with whatever arguments: no traceback,
no failed check, no run past its time-out, and no file outside is touched.
"""

from __future__ import annotations

import json
import os
import random

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import run as run_guest
from tests.isolation.host import Host, make_host, run
from ucmmu.exit_codes import ExitCode

CAMPAIGN = 10_000
"""Cases of `make fuzz`, of each kind."""
AT_ONCE = 400
OWN_FAULTS = (ExitCode.INTERNAL, ExitCode.ENGINE_DIED, ExitCode.NO_RAM)


def fuzz(host: Host, kind: str, seed: int, cases: int, *options: str) -> None:
    """Run so many cases in one machine; what it must not do fails, and says the seed."""
    program = build("../isolation/fuzz.c", "-static", "-O1", "-w")
    guest = host.work / "fuzz"
    if not guest.exists():
        guest.symlink_to(program)
    before = host.untouched()
    report = host.top / "report.json"
    paths = [
        *(str(folder / name) for folder in (host.given, host.writable) for name in ("plain", ".")),
        *(str(host.outside / "key"), "data", "absolute", "directory/key", "/tmp", "/tmp/file"),
        *("/proc/self/mem", "/proc/self/exe", "/proc/self/fd/0", "/dev/null", "/dev/zero", ""),
    ]
    words = ["--max-processes", "200", "--disk-limit", "16M", "--max-files", "2000", *options]
    arguments = [kind, str(seed), str(cases), str(host.victim.pid), *paths]
    done = run(host, *words, "--read", str(program), "--json", str(report), guest, *arguments)
    where = f"{kind} seed {seed}: {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, where
    found = json.loads(report.read_text())
    assert found["exit_code"] not in OWN_FAULTS and not found.get("problems"), where
    assert found["ended"] == "exit", where
    assert f"{cases} cases" in done.stdout, where
    assert host.untouched() == before, where
    assert host.special_files() == [], where
    assert (host.greetings(), host.victim_says()) == (0, ""), where
    assert host.secret not in done.stdout + done.stderr, where


@pytest.mark.parametrize(
    ("kind", "cases", "options"),
    [("code", 40, []), ("calls", 40, []), ("calls", 20, ["--cpus", "2", "--uid", "1000"])],
    ids=["code", "calls", "calls_of_a_user_on_two_cpus"],
)
def test_nonsense_does_no_harm(kind: str, cases: int, options: list[str]) -> None:
    with make_host() as host:
        fuzz(host, kind, 11, cases, *options)


@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(CAMPAIGN // AT_ONCE))
@pytest.mark.parametrize("kind", ["code", "calls"])
def test_much_nonsense_does_no_harm(kind: str, part: int) -> None:
    seed = random.SystemRandom().getrandbits(48)
    options = [[], ["--cpus", "3"], ["--fidelity", "exact"], ["--uid", "1000"]][part % 4]
    with make_host(as_user=os.geteuid() == 0 and part % 2 == 1) as host:
        fuzz(host, kind, seed, AT_ONCE, "--timeout", "150", *options)


def test_what_was_found_answers_as_the_host_does() -> None:
    program = build("../isolation/found_by_fuzz.c", "-static", "-O1", "-w")
    assert run_guest(program).text == run_natively(program).decode()
