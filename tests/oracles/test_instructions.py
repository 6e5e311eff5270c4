# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an instruction ends here as on the host's processor: registers, flags and memory, or the
signal.

Random encodings of every opcode map and prefix are executed under ptrace and on a VCpu from the
same random state (instructions/). Flags that an instruction leaves undefined do not count;
instructions that CPUID here denies must be #UD. Every other difference stands in
instructions/limits.py with its reason, and is still met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random, SystemRandom

import pytest

from tests.cpu.world import EXACT, FAST, TRACE, How
from tests.oracles.instructions.campaign import Report, run, still_met
from tests.oracles.instructions.compare import differences
from tests.oracles.instructions.encoding import Encoding, is_denied
from tests.oracles.instructions.encodings import MAPS, Generator, left_out
from tests.oracles.instructions.limits import LIMITS
from tests.oracles.instructions.native import NativeProcessor, Unavailable
from tests.oracles.instructions.state import AC, CF, DATA, OF, Case, Outcome, random_memory

SEED = 2026
SAMPLE = 2000
PART = 250
"""Cases in each of the other ways to run."""
CAMPAIGN = 24000
CHUNK = 4000
"""Cases of one seed in a campaign."""
EXAMPLES = 40
"""Random states for each limit's example."""


@pytest.fixture(scope="module", autouse=True)
def _host() -> None:
    """Skip unless the host is what the limits were found on."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
        NativeProcessor(random_memory(Random(0))).close()
    except (Unavailable, OSError) as error:
        pytest.skip(f"no instruction can be executed natively: {error}")
    if "AuthenticAMD" not in cpuinfo:
        pytest.skip(
            "instructions/limits.py tells what an AMD processor does; this host has another"
        )


def check(report: Report) -> None:
    """Nothing is unexplained."""
    assert not report.unexplained, report.tell()


def test_sample_ends_as_on_the_host() -> None:
    """2,000 instructions; three in five, and more, end exactly alike."""
    report = run(SEED, SAMPLE)
    check(report)
    assert report.cases == SAMPLE
    assert report.same > SAMPLE * 3 // 5
    assert report.denied > 0


@pytest.mark.parametrize(
    ("how", "stepped"),
    [
        (FAST, True),
        (EXACT, False),
        (TRACE, False),
        (How(EXACT.fidelity, "python"), False),
        (TRACE, True),
    ],
    ids=["fast-stepped", "exact", "trace", "exact-python", "trace-stepped"],
)
def test_sample_in_other_ways_to_run(how: How, stepped: bool) -> None:
    """The same rule for every fidelity, both engines, and a limit of one instruction."""
    check(run(SEED + 1, PART, how, stepped=stepped))


def test_each_limit_is_still_met() -> None:
    """A limit whose example no longer differs was mended: it must leave the table."""
    limits = [limit for limit in LIMITS if limit.on_every_host]
    met = still_met(limits, SEED, EXAMPLES)
    assert [limit.name for limit in limits if limit.name not in met] == []


def test_the_docs_list_each_limit() -> None:
    page = (Path(__file__).parents[2] / "docs" / "engine_limits.md").read_text()
    for limit in LIMITS:
        assert (
            f"| {limit.name} | {limit.native} | {limit.here} | {limit.why} | `{limit.example}` |"
            in page
        )


def test_generator_covers_every_map_and_prefix() -> None:
    """A campaign's cases meet each opcode map, nearly each opcode of the large ones, and each
    legacy prefix.
    """
    generator = Generator(SEED)
    for _ in islice(generator, 6000):
        pass
    coverage = generator.coverage
    assert set(coverage.maps) == set(MAPS)
    opcodes = Counter(name for name, _ in coverage.opcodes)
    assert opcodes["x87"] == 8
    assert opcodes["one byte"] > 200 and opcodes["0f"] > 230
    assert {"66", "f2", "f3", "f0", "67", "64", "65", "2e", "36", "3e", "26", "rex", "none"} <= set(
        coverage.prefixes
    )
    assert coverage.undecoded * 4 < coverage.decoded


def test_same_seed_same_cases() -> None:
    """A seed replays a campaign."""
    assert list(islice(Generator(7), 50)) == list(islice(Generator(7), 50))


@pytest.mark.parametrize("code", ["0f05", "480f05", "cd80", "0f01d9", "0f01fb"])
def test_what_is_left_out(code: str) -> None:
    """System calls, hypercalls and waits are not executed."""
    assert left_out(bytes.fromhex(code))


def test_native_processor_goes_on_after_everything() -> None:
    """A fault, a lost stack and segment loads of one instruction do not reach the next."""
    memory = random_memory(Random(SEED))
    encodings = [(case, Encoding.of(case.code)) for case in islice(Generator(SEED), 600)]
    cases = [
        case
        for case, e in encodings
        if not is_denied(e) and e.mnemonic not in ("rdtsc", "rdtscp", "cpuid")
    ]
    with NativeProcessor(memory) as native:
        first = native.execute(cases)
        second = native.execute(cases[::-1])[::-1]
    assert all(not differences(a, b) for a, b in zip(first, second, strict=True))
    assert {"done", "signal"} <= {outcome.ended for outcome in first}


ALTERED: dict[str, Callable[[Outcome], Outcome]] = {
    "rax": lambda o: _registers(o, gpr=(o.after.gpr[0] ^ 1, *o.after.gpr[1:])),
    "rip": lambda o: _registers(o, rip=o.after.rip + 1),
    "CF": lambda o: _registers(o, rflags=o.after.rflags ^ CF),
    "AC": lambda o: _registers(o, rflags=o.after.rflags ^ AC),
    "fs_base": lambda o: _registers(o, fs_base=o.after.fs_base + 8),
    "ds": lambda o: _registers(o, segments=(*o.after.segments[:2], 0x2B, *o.after.segments[3:])),
    "xmm": lambda o: _fp(o, xmm=(*o.after.fp.xmm[:15], o.after.fp.xmm[15] ^ 1 << 127)),
    "mxcsr": lambda o: _fp(o, mxcsr=o.after.fp.mxcsr ^ 1),
    "tags": lambda o: _fp(o, tags=o.after.fp.tags ^ 1),
    "st": lambda o: _fp(o, st=((o.after.fp.st[0][0] ^ 1, o.after.fp.st[0][1]), *o.after.fp.st[1:])),
    "fsw.C1": lambda o: _fp(o, fsw=o.after.fp.fsw ^ 0x200),
    "memory": lambda o: replace(o, memory={**o.memory, DATA: 1}),
    "ended": lambda o: replace(o, ended="loop"),
    "signal": lambda o: replace(o, signal=(11, "SI_KERNEL", 0)),
}


@pytest.mark.parametrize("part", ALTERED)
def test_comparison_sees_each_part(part: str) -> None:
    """One bit that differs is a difference with its part's name; what is undefined is none."""
    with NativeProcessor(random_memory(Random(SEED))) as native:
        (outcome,) = native.execute([Case(b"\x90", next(Generator(SEED)).before)])
    assert differences(outcome, outcome) == frozenset()
    assert differences(outcome, ALTERED[part](outcome)) == {part}
    assert (
        differences(outcome, _registers(outcome, rflags=outcome.after.rflags ^ OF), undefined=OF)
        == frozenset()
    )


def _registers(outcome: Outcome, **changes: object) -> Outcome:
    return replace(outcome, after=replace(outcome.after, **changes))  # type: ignore[arg-type]


def _fp(outcome: Outcome, **changes: object) -> Outcome:
    return _registers(outcome, fp=replace(outcome.after.fp, **changes))  # type: ignore[arg-type]


@pytest.mark.fuzz
def test_campaign_ends_as_on_the_host() -> None:
    """24,000 instructions from new seeds; the message names the seed that replays a difference."""
    first = SystemRandom().getrandbits(31)
    reports = [run(seed, CHUNK) for seed in range(first, first + CAMPAIGN // CHUNK)]
    assert sum(report.cases for report in reports) == CAMPAIGN
    assert not any(report.unexplained for report in reports), "\n".join(
        report.tell() for report in reports
    )


@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("how", "stepped"),
    [(FAST, True), (EXACT, False), (TRACE, False)],
    ids=["fast-stepped", "exact", "trace"],
)
def test_campaign_in_other_ways_to_run(how: How, stepped: bool) -> None:
    """The same from new seeds, 3,000 in each way."""
    check(run(SystemRandom().getrandbits(31), 3000, how, stepped=stepped))
