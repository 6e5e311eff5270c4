# SPDX-License-Identifier: GPL-2.0-or-later
"""Random instructions executed by both, compared, and each difference explained or told."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random
from typing import Final

from tests.cpu.world import FAST, How
from tests.oracles.instructions.compare import differences, undefined_flags
from tests.oracles.instructions.encoding import Encoding, for_host, is_denied
from tests.oracles.instructions.encodings import Coverage, Generator, left_out, random_state, steer
from tests.oracles.instructions.here import our_processor
from tests.oracles.instructions.limits import LIMITS, Difference, Limit, explain
from tests.oracles.instructions.native import NativeProcessor
from tests.oracles.instructions.state import CODE, Case, Outcome, random_memory

_UD: Final = (signal.SIGILL, "ILL_ILLOPN", CODE)


@dataclass
class Report:
    """What came of a campaign."""

    seed: int
    cases: int = 0
    same: int = 0
    denied: int = 0
    """Of them, what the host has and CPUID here denies: #UD."""
    explained: Counter[str] = field(default_factory=Counter)
    """Differences by the name of the limit that explains them."""
    unexplained: list[Difference] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def unmet(self) -> list[str]:
        """Limits that explained nothing."""
        return [limit.name for limit in LIMITS if not self.explained[limit.name]]

    def tell(self, shown: int = 40) -> str:
        """The unexplained differences, a line each, and the seed that replays them."""
        lines = [describe(d) for d in self.unexplained[:shown]]
        more = len(self.unexplained) - len(lines)
        tail = [f"... and {more} more"] if more > 0 else []
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.unexplained)} of {self.cases} differ unexplained",
                *lines,
                *tail,
            ]
        )


def describe(d: Difference) -> str:
    """One line: bytes, instruction, both ends, parts."""
    insn = d.encoding.insn
    text = f"{insn.mnemonic} {insn.op_str}".rstrip() if insn is not None else "(bad)"
    parts = ", ".join(sorted(d.parts))
    return f"  {d.case.code.hex()} {text}: natively {_end(d.native)}, here {_end(d.ours)}: {parts}"


def _end(outcome: Outcome) -> str:
    signo, code, address = outcome.signal
    if outcome.ended != "signal":
        return f"{outcome.ended} at {outcome.after.rip:#x}"
    name = signal.Signals(signo).name if signo else "no signal"
    at = "" if address is None else f" of {address:#x}"
    return f"{name} ({code}){at} at {outcome.after.rip:#x}"


def run_cases(
    report: Report, memory: bytes, cases: Sequence[Case], how: How = FAST, *, stepped: bool = False
) -> list[Difference]:
    """Execute the cases natively and here; adds to the report, and returns all that differ."""
    encodings = [Encoding.of(case.code) for case in cases]
    for_native = [replace(case, code=for_host(e)) for case, e in zip(cases, encodings, strict=True)]
    with NativeProcessor(memory) as native:
        theirs = native.execute(for_native)
    with our_processor(memory, how, stepped=stepped) as processor:
        ours = [processor.execute(case) for case in cases]
    found = []
    for case, encoding, expected, outcome in zip(cases, encodings, theirs, ours, strict=True):
        report.cases += 1
        if is_denied(encoding) and expected.signal[0] != signal.SIGILL:
            report.denied += 1
            expected = Outcome("signal", case.before, _UD)
        parts = differences(expected, outcome, undefined_flags(encoding))
        if not parts:
            report.same += 1
            continue
        difference = Difference(case, encoding, expected, outcome, parts)
        found.append(difference)
        _judge(report, difference)
    return found


def _judge(report: Report, difference: Difference) -> None:
    limits = explain(difference)
    report.explained.update(limit.name for limit in limits)
    if not limits:
        report.unexplained.append(difference)


def run(seed: int, nr: int, how: How = FAST, *, stepped: bool = False) -> Report:
    """``nr`` random cases of a seed."""
    generator = Generator(seed)
    report = Report(seed, coverage=generator.coverage)
    run_cases(
        report, random_memory(Random(seed)), list(islice(generator, nr)), how, stepped=stepped
    )
    return report


def examples(limit: Limit, seed: int, nr: int) -> Iterable[Case]:
    """A limit's example from ``nr`` random states that are prepared for it."""
    rng, code = Random(seed), bytes.fromhex(limit.example)
    for _ in range(nr):
        insn = Encoding.of(code).insn
        state = limit.prepare(random_state(rng))
        steered, state = (
            steer(rng, insn, code, state) if insn is not None and limit.steered else (code, state)
        )
        if not left_out(steered):
            yield Case(steered, state, "example")


def still_met(limits: Iterable[Limit], seed: int, nr: int) -> set[str]:
    """Names of the limits whose examples still differ in one of ``nr`` random states."""
    report = Report(seed)
    cases = [case for limit in limits for case in examples(limit, seed, nr)]
    run_cases(report, random_memory(Random(seed)), cases)
    return set(report.explained)
