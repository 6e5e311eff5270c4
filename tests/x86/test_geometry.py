# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a geometry file gives each number a source and a confidence, and a bad file is one line: file, key, reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmu.errors import MmuError
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, list_geometries, load_geometry
from mmu.x86.geometry import CONFIDENCES
from tests.x86.tables import VA, Tables

GOOD = """
name = "good"
description = "one line"
[sources]
book = "a book"
[[array]]
name = "L1"
kind = "dtlb"
holds = ["4K"]
entries = { value = 4, source = "book", confidence = "documented" }
ways = { value = 2, source = "book", confidence = "chosen" }
"""
SECOND = GOOD[GOOD.index("[[array]]") :]


def test_what_ships() -> None:
    assert list_geometries() == ["skylake", "tiny"]


@pytest.mark.parametrize("name", list_geometries())
def test_every_number_has_a_source(name: str) -> None:
    geometry = load_geometry(name)
    assert geometry.name == name
    assert "\n" not in geometry.description
    for array in geometry.arrays:
        for figure in (array.entries, array.ways):
            assert figure.source
            assert figure.confidence in CONFIDENCES
        assert array.sets * array.ways.value == array.entries.value


def test_skylakes_published_numbers() -> None:
    shapes = {
        a.name: (a.entries.value, a.ways.value) for a in load_geometry("skylake").arrays if a.kind != "psc"
    }
    assert shapes == {
        "DTLB 4K": (64, 4),
        "DTLB 2M": (32, 4),
        "DTLB 1G": (4, 4),
        "ITLB 4K": (128, 8),
        "ITLB 2M": (8, 8),
        "STLB": (1536, 12),
        "STLB 1G": (16, 4),
    }


@pytest.mark.parametrize("name", list_geometries())
def test_arrays_lie_side_by_side(memory: Memory, name: str) -> None:
    tlb = Mmu(memory, geometry=name).c.tlb
    end = 0
    for i in range(tlb.nr_arrays):
        assert tlb.array[i].first == end
        end += tlb.array[i].sets * tlb.array[i].ways
    assert tlb.nr_entries == end


def test_a_file_of_ones_own(tmp_path: Path, memory: Memory) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    geometry = load_geometry(str(path))
    assert [(a.name, a.sets, a.entries.source) for a in geometry.arrays] == [("L1", 2, "a book")]
    assert "L1" in str(geometry)
    mmu = Mmu(memory, geometry=str(path), exact=True)
    tables = Tables(mmu)
    tables.load()
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    assert [entry.array for entry in mmu.entries()] == ["L1"]


def test_no_array_at_all(tmp_path: Path, memory: Memory) -> None:
    """Then every access walks."""
    path = tmp_path / "none.toml"
    path.write_text(GOOD[: GOOD.index("[sources]")] + "array = []\n[sources]\n")
    mmu = Mmu(memory, geometry=str(path), exact=True)
    tables = Tables(mmu)
    tables.load()
    tables.map(VA)
    for _ in range(2):
        assert mmu.translate(VA, Access.READ).ok
    assert mmu.counters()["dtlb_load_misses.miss_causes_a_walk"] == 2


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ('name = "good"', "", "name", "is missing"),
        ('name = "good"', "name = 3", "name", "must be one line of text"),
        ("description", "discription", "description", "is missing"),
        ('"one line"', '"one line"\ncolour = 1', "colour", "is unknown"),
        ("[sources]", "[[sources]]", "sources", "must be a table of texts"),
        ('"a book"', "7", "sources.book", "must be one line of text"),
        ("[[array]]", "[array]", "array", "must be a list of tables"),
        ('kind = "dtlb"', 'kind = "utlb"', "array[0].kind", "must be one of dtlb, itlb, stlb, psc"),
        ('kind = "dtlb"', "kind = 1", "array[0].kind", "must be one line of text"),
        ('["4K"]', "[]", "array[0].holds", "must be a list of some of 4K, 2M, 1G"),
        ('["4K"]', '["8K"]', "array[0].holds", "'8K' is none of 4K, 2M, 1G"),
        ('["4K"]', '["PDE"]', "array[0].holds", "'PDE' is none of"),
        ('["4K"]', "[[]]", "array[0].holds", "[] is none of"),
        ('["4K"]', '["4K", "4K"]', "array[0].holds", "twice"),
        ("{ value = 4,", "{ value = 0,", "array[0].entries.value", "must be a whole number from 1 to 8192"),
        ("{ value = 4,", "{ value = 4.0,", "array[0].entries.value", "must be a whole number"),
        ("{ value = 4,", "{ value = true,", "array[0].entries.value", "must be a whole number"),
        ("{ value = 4,", "{ value = 9000,", "array[0].entries.value", "must be a whole number"),
        ("{ value = 4,", "{ ", "array[0].entries.value", "is missing"),
        ("{ value = 4,", "{ value = 5,", "array[0].ways", "5 entries cannot be split into 2 ways"),
        ("{ value = 4,", "{ value = 4, size = 1,", "array[0].entries.size", "is unknown"),
        (
            'source = "book", confidence = "doc',
            'source = "web", confidence = "doc',
            "array[0].entries.source",
            "'web'",
        ),
        ('"documented"', '"sure"', "array[0].entries.confidence", "'sure' is none of documented"),
        (', confidence = "chosen"', "", "array[0].ways.confidence", "is missing"),
        ('{ value = 2, source = "book", confidence = "chosen" }', "2", "array[0].ways", "must be a table"),
    ],
)
def test_a_bad_file(tmp_path: Path, old: str, new: str, key: str, reason: str) -> None:
    path = tmp_path / "bad.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(MmuError) as caught:
        load_geometry(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: {key}: ")
    assert reason in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (SECOND, "array[1].name: 'L1' is there twice"),
        (SECOND.replace("L1", "L2"), "array[1].holds: 'L1' already is the dtlb for 4K"),
        (
            "".join(
                SECOND.replace("L1", f"L{i}").replace("4,", "8192,").replace("dtlb", kind)
                for i, kind in enumerate(("itlb", "stlb"), 2)
            ),
            "array: 16388 entries in all are more than 8192",
        ),
        ("".join(SECOND.replace("L1", f"A{i}") for i in range(12)), "array: 13 arrays are more than 12"),
    ],
)
def test_arrays_that_do_not_fit_together(tmp_path: Path, more: str, reason: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(GOOD + more)
    with pytest.raises(MmuError) as caught:
        load_geometry(str(path))
    assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file or directory"),
        (b"name = ", "is not valid TOML: "),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"", "array: is missing"),
    ],
)
def test_no_geometry_at_all(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MmuError, match=reason) as caught:
        load_geometry(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(MmuError, match="is a directory"):
        load_geometry(f"{tmp_path}/")


def test_an_unknown_name() -> None:
    with pytest.raises(
        MmuError, match="no TLB geometry 'zen9': known are skylake, tiny, or give a file's path"
    ):
        load_geometry("zen9")
