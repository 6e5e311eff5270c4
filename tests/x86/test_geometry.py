# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a geometry file gives each figure a source and a confidence; a bad one is one line: file,
line, key, reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mmu.errors import MmuError
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, list_geometries, load_geometry
from mmu.x86.geometry import CONFIDENCES, FEATURES, Choice, Figure
from ucmmu.testing.tables import VA, Tables

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
KINDS = "dtlb, dtlb_loads, dtlb_stores, itlb, stlb, l2_itlb, l2_dtlb, psc"


def test_what_ships() -> None:
    assert list_geometries() == ["golden_cove", "skylake", "tiny", "zen2", "zen3", "zen4"]


@pytest.mark.parametrize("name", list_geometries())
def test_every_figure_has_a_source(name: str) -> None:
    geometry = load_geometry(name)
    assert geometry.name == name
    assert "\n" not in geometry.description
    for array in geometry.arrays:
        for figure in array.figures:
            assert figure.source
            assert figure.confidence in CONFIDENCES
            if name != "tiny":
                assert "what the file does not say" not in figure.source
        assert array.sets * array.ways.value == array.entries.value
    processor = geometry.processor
    assert processor.features <= set(FEATURES)
    assert processor.features_source and processor.features_confidence in CONFIDENCES
    assert processor.maxphyaddr.source and processor.maxphyaddr.confidence in CONFIDENCES


def published(name: str) -> dict[str, tuple[int, int, str]]:
    """Entries, ways and contents of the arrays that hold pages."""
    return {
        a.name: (a.entries.value, a.ways.value, a.holds)
        for a in load_geometry(name).arrays
        if a.kind != "psc"
    }


def test_skylakes_published_figures() -> None:
    assert published("skylake") == {
        "DTLB 4K": (64, 4, "4K"),
        "DTLB 2M": (32, 4, "2M"),
        "DTLB 1G": (4, 4, "1G"),
        "ITLB 4K": (128, 8, "4K"),
        "ITLB 2M": (8, 8, "2M"),
        "STLB": (1536, 12, "4K 2M"),
        "STLB 1G": (16, 4, "1G"),
    }
    arrays = {array.name: array for array in load_geometry("skylake").arrays}
    stlb = arrays["STLB"]
    assert (stlb.sets, stlb.fold, stlb.policy.name) == (128, 7, "mru_plru")
    assert [
        array.policy.name for name, array in arrays.items() if name[1:4] == "TLB" and name[0] != "S"
    ] == ["tree_plru"] * 5
    limits = {name: array.pcids.value for name, array in arrays.items() if array.pcids is not None}
    assert (limits["STLB"], limits["ITLB 4K"], limits["DTLB 4K"]) == (4, 1, 0)


def test_golden_coves_published_figures() -> None:
    assert published("golden_cove") == {
        "loads 4K": (96, 6, "4K"),
        "loads 2M": (32, 4, "2M"),
        "loads 1G": (8, 8, "1G"),
        "stores": (16, 16, "4K 2M 1G"),
        "ITLB 4K": (256, 8, "4K"),
        "ITLB 2M": (32, 8, "2M"),
        "STLB": (2048, 16, "4K 2M 1G"),
    }


@pytest.mark.parametrize(
    ("name", "l1_data", "l2_data", "ways"),
    [("zen2", 64, 2048, 16), ("zen3", 64, 2048, 16), ("zen4", 72, 3072, 24)],
)
def test_zens_published_figures(name: str, l1_data: int, l2_data: int, ways: int) -> None:
    assert published(name) == {
        "L1 DTLB": (l1_data, l1_data, "4K 2M 1G"),
        "L1 ITLB": (64, 64, "4K 2M 1G"),
        "L2 DTLB": (l2_data, ways, "4K 2M PDE"),
        "L2 ITLB": (512, 8, "4K 2M"),
    }
    for array in load_geometry(name).arrays:
        if array.name.startswith("L2"):
            assert array.enters == (0, 1, 2, 2)


def test_zen_2_says_that_its_published_ways_do_not_divide() -> None:
    l2 = next(array for array in load_geometry("zen2").arrays if array.name == "L2 DTLB")
    assert l2.ways.confidence == "chosen"
    assert "12 ways" in l2.ways.source


@pytest.mark.parametrize(
    ("name", "vendor", "width", "has", "has_not"),
    [
        ("skylake", "intel", 39, {"pcid", "invpcid", "smap"}, {"pku", "la57", "tce"}),
        ("golden_cove", "intel", 46, {"pku", "pks", "cet_ss"}, {"la57", "invlpgb"}),
        ("zen2", "amd", 43, {"tce", "smap"}, {"pcid", "invpcid", "pku", "pks"}),
        ("zen3", "amd", 48, {"pcid", "invpcid", "pku", "cet_ss", "invlpgb"}, {"pks", "la57"}),
        ("zen4", "amd", 52, {"la57", "invlpgb", "tce"}, {"pks"}),
        ("tiny", "intel", 46, set(FEATURES), set()),
    ],
)
def test_processors(name: str, vendor: str, width: int, has: set[str], has_not: set[str]) -> None:
    processor = load_geometry(name).processor
    assert (processor.vendor, processor.maxphyaddr.value) == (vendor, width)
    assert has <= processor.features
    assert not has_not & processor.features


@pytest.mark.parametrize("name", list_geometries())
def test_arrays_lie_side_by_side(memory: Memory, name: str) -> None:
    tlb = Mmu(memory, geometry=name).c.tlb
    end = end_of_sets = 0
    for i in range(tlb.nr_arrays):
        assert (tlb.array[i].first, tlb.array[i].first_set) == (end, end_of_sets)
        end += tlb.array[i].sets * tlb.array[i].ways
        end_of_sets += tlb.array[i].sets
    assert tlb.nr_entries == end
    assert tlb.split == (name == "golden_cove")


@pytest.mark.parametrize("name", list_geometries())
def test_every_page_size_and_table_has_its_place(memory: Memory, name: str) -> None:
    """Pages of each size are translated for each kind of access, and again from the TLB where it
    holds them.
    """
    mmu = Mmu(memory, geometry=name, exact=True)
    tables = Tables(mmu)
    tables.load()
    for level in (1, 2, 3):
        va = VA - (level << 39)
        tables.map(va, 0, level=level)
        for access in (Access.READ, Access.WRITE, Access.FETCH):
            assert mmu.translate(va + 0x123, access).ok
            before = mmu.counters()["page_walker_loads"]
            assert mmu.translate(va + 0x124, access).ok
            again = mmu.counters()["page_walker_loads"] - before
            assert not again or (name == "tiny" and level == 3)
    assert {entry.level for entry in mmu.paging_structure_caches()} >= (
        {2, 3} if name != "tiny" else {2}
    )


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


OPTIONS = """
seed = 7
[smash]
"1G" = "2M"
[processor]
vendor = "amd"
features = { value = ["nx", "tce"], source = "book", confidence = "documented" }
maxphyaddr = { value = 48, source = "book", confidence = "measured" }
"""


def with_options(kind: str = "dtlb") -> str:
    """A file that says all there is to say."""
    head, rest = GOOD.split("[[array]]")
    seed, tables = OPTIONS.split("[smash]")
    figure = 'source = "book", confidence = "chosen" }'
    more = (
        f'index = {{ value = "xor", {figure}\nreplacement = {{ value = "random", {figure}\n'
        f'pcids = {{ value = 3, {figure}\nsmash = {{ "2M" = "4K" }}\n'
    )
    head = head.replace("[sources]", seed + "[sources]")
    return f"{head}[smash]{tables}[[array]]{rest.replace('dtlb', kind)}{more}"


def test_everything_that_a_file_may_say(tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    path.write_text(with_options())
    geometry = load_geometry(str(path))
    array = geometry.arrays[0]
    assert (array.fold, array.policy.name, array.enters) == (1, "random", (0, 1, 1, 1))
    assert array.pcids == Figure(3, "a book", "chosen")
    assert array.index == Choice("xor", "a book", "chosen")
    assert geometry.seed == 7
    processor = geometry.processor
    assert (processor.vendor, processor.features) == ("amd", {"nx", "tce"})
    assert processor.maxphyaddr == Figure(48, "a book", "measured")
    assert (processor.features_source, processor.features_confidence) == ("a book", "documented")


def test_what_a_file_leaves_out(tmp_path: Path) -> None:
    """Linear, LRU, any number of PCIDs, nothing smashed; a processor that can do everything."""
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    geometry = load_geometry(str(path))
    array = geometry.arrays[0]
    assert (array.fold, array.policy.name, array.pcids, array.enters) == (
        0,
        "lru",
        None,
        (0, 1, 0, 0),
    )
    assert geometry.processor.features == set(FEATURES)


@pytest.mark.parametrize(
    ("arrays", "enters"),
    [
        ([("dtlb", ["4K"])], [(0, 1, 1, 1)]),
        ([("dtlb", ["4K", "2M"])], [(0, 1, 2, 2)]),
        ([("dtlb", ["4K"]), ("dtlb", ["2M"])], [(0, 1, 0, 0), (0, 0, 2, 2)]),
        ([("dtlb", ["4K"]), ("dtlb", ["1G"])], [(0, 1, 1, 0), (0, 0, 0, 3)]),
        ([("dtlb", ["4K"]), ("stlb", ["1G"])], [(0, 1, 1, 1), (0, 0, 0, 3)]),
        ([("dtlb_loads", ["2M"]), ("dtlb", ["4K"])], None),
    ],
)
def test_the_files_own_smash(
    tmp_path: Path, arrays: list[tuple[str, list[str]]], enters: list[tuple[int, ...]] | None
) -> None:
    """It applies where an array holds the smaller size, and no other of its kind takes the larger
    one.
    """
    text = GOOD[: GOOD.index("[[array]]")] + '[smash]\n"1G" = "2M"\n"2M" = "4K"\n'
    for i, (kind, holds) in enumerate(arrays):
        words = ", ".join(f'"{word}"' for word in holds)
        text += SECOND.replace("L1", f"L{i}").replace('"dtlb"', f'"{kind}"').replace('"4K"', words)
    path = tmp_path / "smash.toml"
    path.write_text(text)
    got = [array.enters for array in load_geometry(str(path)).arrays]
    assert got == (enters or [(0, 0, 2, 2), (0, 1, 0, 0)])


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def complaint(tmp_path: Path, text: str | bytes) -> str:
    """What is said of a file, without its name."""
    path = tmp_path / "bad.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MmuError) as caught:
        load_geometry(str(path))
    said = str(caught.value)
    assert said.startswith(f"{path}:")
    assert "\n" not in said
    return said.removeprefix(f"{path}:")


NUMBER = "must be a whole number from "


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ('name = "good"', "name = 3", "name", "must be one line of text"),
        ('name = "good"', 'name = """a\nb"""', "name", "must be one line of text"),
        (
            '"one line"',
            '"one line"\ncolour = 1',
            "colour",
            "is unknown; known here are array, description, name",
        ),
        ("[sources]", "[[sources]]", "sources", "must be a table of texts"),
        ('"a book"', "7", "sources.book", "must be one line of text"),
        ("[[array]]", "[array]", "array", "must be a list of tables"),
        ('kind = "dtlb"', 'kind = "utlb"', "array[0].kind", f"must be one of {KINDS}, not 'utlb'"),
        ('kind = "dtlb"', "kind = 1", "array[0].kind", "must be one line of text"),
        ('["4K"]', "[]", "array[0].holds", "must be a list of some of 4K, 2M, 1G"),
        ('["4K"]', '"4K"', "array[0].holds", "must be a list of some of 4K, 2M, 1G"),
        ('["4K"]', '["8K"]', "array[0].holds[0]", "'8K' is none of 4K, 2M, 1G"),
        ('["4K"]', '["PDE"]', "array[0].holds[0]", "'PDE' is none of 4K, 2M, 1G"),
        ('["4K"]', "[[]]", "array[0].holds[0]", "[] is none of"),
        ('["4K"]', '["4K", "4K"]', "array[0].holds[1]", "'4K' is there twice"),
        ("{ value = 4,", "{ value = 0,", "array[0].entries.value", NUMBER + "1 to 8192"),
        ("{ value = 4,", "{ value = 4.0,", "array[0].entries.value", NUMBER),
        ("{ value = 4,", "{ value = true,", "array[0].entries.value", NUMBER),
        ("{ value = 4,", "{ value = 9000,", "array[0].entries.value", NUMBER),
        ("{ value = 4,", "{ ", "array[0].entries.value", "is missing"),
        (
            "{ value = 4,",
            "{ value = 5,",
            "array[0].ways",
            "5 entries cannot be split into 2 ways; give a divisor",
        ),
        ("{ value = 4,", "{ value = 4, size = 1,", "array[0].entries.size", "is unknown"),
        (
            '"book", confidence = "doc',
            '"web", confidence = "doc',
            "array[0].entries.source",
            "'web' is not listed",
        ),
        (
            '"documented"',
            '"sure"',
            "array[0].entries.confidence",
            "must be one of documented, measured",
        ),
        (', confidence = "chosen"', "", "array[0].ways.confidence", "is missing"),
        (
            '{ value = 2, source = "book", confidence = "chosen" }',
            "2",
            "array[0].ways",
            "must be a table",
        ),
    ],
)
def test_a_bad_file(tmp_path: Path, old: str, new: str, key: str, reason: str) -> None:
    assert old in GOOD
    said = complaint(tmp_path, GOOD.replace(old, new, 1))
    line = line_of(GOOD, old)
    if key == "colour" or "value = 5" in new:
        line += 1
    if key == "sources":
        line = line_of(GOOD, "[sources]")
    assert said.startswith(f"{line}: {key}: ")
    assert reason in said


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("seed = 7", "seed = 0", "seed", NUMBER + f"1 to {2**64 - 1}"),
        ('"1G" = "2M"', '"1G" = "1G"', "smash.1G", "'1G' is not smaller than '1G'"),
        ('"1G" = "2M"', '"8K" = "4K"', "smash.8K", "'8K' is none of 4K, 2M, 1G"),
        ('"1G" = "2M"', '"1G" = "8K"', "smash.1G", "must be one of 4K, 2M, 1G, not '8K'"),
        ('"1G" = "2M"', '"1G" = 2', "smash.1G", "must be one line of text"),
        ('"amd"', '"via"', "processor.vendor", "must be one of intel, amd, not 'via'"),
        ('vendor = "amd"', 'vendor = "amd"\nmodel = 3', "processor.model", "is unknown"),
        (
            '["nx", "tce"]',
            '["nx", "sse"]',
            "processor.features.value[1]",
            "'sse' is none of nx, page1gb",
        ),
        ('["nx", "tce"]', '["nx", "nx"]', "processor.features.value[1]", "'nx' is there twice"),
        (
            '["nx", "tce"]',
            '"nx"',
            "processor.features.value",
            "must be a list of some of nx, page1gb",
        ),
        ("value = 48", "value = 53", "processor.maxphyaddr.value", NUMBER + "32 to 52"),
        ('"measured"', '"rumoured"', "processor.maxphyaddr.confidence", "must be one of"),
        ('"xor"', '"modulo"', "array[0].index.value", "must be one of linear, xor, not 'modulo'"),
        (
            '"random"',
            '"plru"',
            "array[0].replacement.value",
            "must be one of lru, fifo, random, tree_plru, mru_plru",
        ),
        ("value = 3", "value = 17", "array[0].pcids.value", NUMBER + "0 to 16"),
        ('"2M" = "4K"', '"4K" = "4K"', "array[0].smash.4K", "'4K' is not smaller than '4K'"),
        (
            '"2M" = "4K"',
            '"1G" = "2M"',
            "array[0].smash.1G",
            "leads to no size that the array holds",
        ),
        ('smash = { "2M" = "4K" }', "smash = 2", "array[0].smash", "must be a table of page sizes"),
    ],
)
def test_a_bad_option(tmp_path: Path, old: str, new: str, key: str, reason: str) -> None:
    good = with_options()
    assert old in good
    said = complaint(tmp_path, good.replace(old, new, 1))
    line = line_of(good, old) + (key == "processor.model")
    assert said.startswith(f"{line}: {key}: ")
    assert reason in said


@pytest.mark.parametrize(
    ("entries", "ways", "key", "value", "reason"),
    [
        (6, 2, "index", "xor", "xor takes a power of two of sets, and 6 / 2 is 3"),
        (6, 3, "replacement", "tree_plru", "tree_plru takes 2, 4, 8 ... 64 ways, not 3"),
        (128, 128, "replacement", "tree_plru", "tree_plru takes 2, 4, 8 ... 64 ways, not 128"),
        (6, 6, "replacement", "mru_plru", "mru_plru takes a multiple of 4 up to 56 ways, not 6"),
        (60, 60, "replacement", "mru_plru", "mru_plru takes a multiple of 4 up to 56 ways, not 60"),
    ],
)
def test_what_does_not_fit_the_ways(
    tmp_path: Path, entries: int, ways: int, key: str, value: str, reason: str
) -> None:
    text = GOOD.replace("value = 4", f"value = {entries}").replace("value = 2", f"value = {ways}")
    text += f'{key} = {{ value = "{value}", source = "book", confidence = "chosen" }}\n'
    assert complaint(tmp_path, text) == f"{text.count(chr(10))}: array[0].{key}: {reason}"


def test_a_size_held_and_smashed(tmp_path: Path) -> None:
    text = GOOD.replace('["4K"]', '["4K", "2M"]') + 'smash = { "2M" = "4K" }\n'
    assert (
        complaint(tmp_path, text)
        == f"{text.count(chr(10))}: array[0].smash.2M: the array holds 2M whole"
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('name = "good"', "", 1, "name"),
        ("description", "discription", 1, "description"),
        ('name = "L1"', "", 6, "array[0].name"),
        ('source = "book", ', "", 10, "array[0].entries.source"),
    ],
)
def test_what_is_missing_is_missing_from_its_table(
    tmp_path: Path, old: str, new: str, line: int, key: str
) -> None:
    """The line is that of the table's head: of a figure, its own."""
    assert complaint(tmp_path, GOOD.replace(old, new, 1)) == f"{line}: {key}: is missing"


@pytest.mark.parametrize(
    ("more", "line", "reason"),
    [
        (SECOND, 13, "array[1].name: 'L1' is there twice"),
        (SECOND.replace("L1", "L2"), 15, "array[1].holds: 'L1' already is the dtlb for 4K"),
        (
            SECOND.replace("L1", "L2").replace("dtlb", "dtlb_stores"),
            15,
            "array[1].holds: 'L1' already is the dtlb for 4K",
        ),
        (
            SECOND.replace("L1", "L2").replace('["4K"]', '["2M"]')
            + 'smash = { "1G" = "2M" }\n'
            + SECOND.replace("L1", "L3").replace('["4K"]', '["1G"]'),
            22,
            "array[2].holds: 'L2' already is the dtlb for 1G",
        ),
        (
            SECOND.replace("L1", "L2").replace('"dtlb"', '"psc"').replace("4K", "PDE")
            + SECOND.replace("L1", "L3").replace('"dtlb"', '"stlb"').replace('"4K"', '"4K", "PDE"'),
            21,
            "array[2].holds: 'L2' already holds PDE",
        ),
        (
            "".join(
                SECOND.replace("L1", f"L{i}")
                .replace("= 4", "= 8192")
                .replace("= 2", "= 64")
                .replace("dtlb", kind)
                for i, kind in enumerate(("itlb", "stlb"), 2)
            ),
            6,
            "array: 16388 entries in all are more than 8192",
        ),
        (
            SECOND.replace("L1", "L2").replace("4,", "8188,").replace("dtlb", "itlb"),
            6,
            "array: 4096 sets in all are more than 2048",
        ),
        (
            "".join(SECOND.replace("L1", f"A{i}") for i in range(16)),
            6,
            "array: 17 arrays are more than 16",
        ),
    ],
)
def test_arrays_that_do_not_fit_together(tmp_path: Path, more: str, line: int, reason: str) -> None:
    assert complaint(tmp_path, GOOD + more) == f"{line}: {reason}"


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b'name = "x"\nkind = \n', 2, "is not valid TOML: Invalid value (column 8)"),
        (b'name = "x"\n\nkind = [1,\n', 3, "is not valid TOML: "),
        (b'name = "x"\nname = "y"\n', 2, "is not valid TOML: Cannot overwrite a value"),
        (b'a = 1\nname = "\xff"\n', 2, "is not UTF-8 text"),
        (b"", 1, "array: is missing"),
        (b"# nothing\r\n\r\ncolour = 1\r\n", 1, "array: is missing"),
    ],
)
def test_no_geometry_at_all(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    assert complaint(tmp_path, content).startswith(f"{line}: {reason}")


def test_no_file(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(MmuError) as caught:
        load_geometry(str(path))
    assert str(caught.value) == f"{path}: no such file or directory"


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(MmuError, match="is a directory"):
        load_geometry(f"{tmp_path}/")


def test_an_unknown_name() -> None:
    known = ", ".join(list_geometries())
    with pytest.raises(
        MmuError, match=f"no TLB geometry 'zen9': known are {known}, or give a file's path"
    ):
        load_geometry("zen9")


@pytest.mark.parametrize(
    "text",
    [
        "seed = " + "9" * 5000,
        "name = " + "{a=" * 3000 + "1" + "}" * 3000,
        "name = " + "[" * 5000 + "]" * 5000,
    ],
    ids=["digits", "tables", "lists"],
)
def test_what_the_parser_itself_cannot_take(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(MmuError, match=r"own\.toml: has .* too (many|deep)"):
        load_geometry(str(path))


def test_a_path_with_a_nul() -> None:
    with pytest.raises(MmuError, match="null byte"):
        load_geometry("a\0/b.toml")
