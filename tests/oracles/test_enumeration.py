# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the walk does what the manuals' tables say, whatever bits its entries and the registers
have (SDM 4.5-4.8).

A fixed sample of what `make enumerate` runs in full: more than ten million cases of the C engine,
every pair of bits for the Python engine, judged by an oracle that shares nothing with them. The
harness itself is tried on engines made wrong in one rule each.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest

from tests.oracles.enumerate import __main__ as command
from tests.oracles.enumerate.cases import PAGE_NAMES, Slice, slices, tlb_slices
from tests.oracles.enumerate.native import HERE, load
from tests.oracles.enumerate.pairs import Bench, pairs_of, sample
from tests.oracles.enumerate.run import Tally, World, run_slice

STRIDE, TLB_STRIDE, DEFECT_STRIDE = 61, 9973, 997
"""Primes: they meet every parent and every state of the registers."""


@functools.cache
def world() -> World:
    return World()


def test_the_oracle_has_one_row_of_rights_for_every_access() -> None:
    assert load().lib.oracle_ambiguities() == 0


def test_full_enumeration_is_of_the_promised_size() -> None:
    assert 10**8 <= sum(what.cases for what in slices()) <= 2 * 10**9


def test_the_walk_agrees_with_the_tables() -> None:
    total = Tally()
    for number, what in enumerate(slices()):
        total += run_slice(world(), what, stride=STRIDE if what.rows > 10_000 else 3, phase=number)
    assert not total.mismatches, "\n".join(total.shown)
    assert total.cases >= 10**7
    assert total.cases - total.faults > 10**6


def test_the_tlb_judges_as_the_walk_does() -> None:
    total = Tally()
    for number, what in enumerate(tlb_slices()):
        total += run_slice(world(), what, stride=TLB_STRIDE, phase=number, through_tlb=True)
    assert not total.mismatches, "\n".join(total.shown)
    assert total.cases - total.faults > 10**5


@pytest.mark.parametrize("leaf", PAGE_NAMES)
def test_both_engines_agree_on_every_pair_of_bits(leaf: int) -> None:
    pairs, rows = sample(leaf)
    covered = {pair for row in rows for pair in pairs_of(row)}
    assert pairs <= covered, sorted(map(str, pairs - covered))[:5]
    for engine in ("python", "c"):
        bench = Bench(World(engine=engine))
        for number, row in enumerate(rows):
            for judged in bench.judge(row, leaf, number):
                assert judged.got == judged.wanted, (engine, judged.what)
    print(f"{PAGE_NAMES[leaf]}: all {len(pairs):,} pairs in {len(rows)} rows")


def _defects() -> list[str]:
    """By their header: to collect the tests, nothing is built."""
    text = HERE.joinpath("enumerate.h").read_text()
    return [name for name in re.findall(r"^\t(DEFECT_\w+)", text, re.M) if name != "DEFECT_NONE"]


def test_every_defect_is_tried() -> None:
    assert len(_defects()) == load().lib.NR_DEFECTS - 1


@pytest.mark.parametrize("name", _defects())
def test_an_engine_with_one_rule_wrong_is_found_out(name: str) -> None:
    defect = getattr(load().lib, name)
    assert any(_differs(what, defect) for what in slices()), name


def _differs(what: Slice, defect: int) -> bool:
    tally = run_slice(
        world(), what, stride=DEFECT_STRIDE if what.rows > 10_000 else 7, defect=defect
    )
    assert bool(tally.mismatches) == bool(tally.shown)
    return tally.mismatches > 0


def test_a_mismatch_is_told_in_words() -> None:
    lib = load().lib
    found = (
        run_slice(world(), what, stride=DEFECT_STRIDE, defect=lib.DEFECT_WP_ALWAYS)
        for what in slices()
    )
    text = next(tally.shown[0] for tally in found if tally.shown)
    assert "supervisor write" in text and "oracle: allowed" in text and "engine: #PF" in text, text


def test_the_command_prints_and_writes_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "enumeration.json"
    assert command.main(["--every", "20011", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    printed = capsys.readouterr().out
    assert {row["mismatches"] for row in rows} == {0}
    assert (
        f"{sum(row['cases'] for row in rows):,}" in printed and "million cases a minute" in printed
    )


def test_the_command_fails_on_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = functools.partial(run_slice, defect=load().lib.DEFECT_CODE_PK)
    monkeypatch.setattr(command, "run_slice", wrong)
    monkeypatch.setattr(command, "python_sample", dict)
    assert command.main(["--every", "20011"]) == 1
