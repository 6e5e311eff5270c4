# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: processes that fork end as on the host's kernel: VmPTE, resident pages, VMAs and bytes of
each, under the policy that is the host's (scan).
"""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux import procfs
from mmu.linux.filemap import MappedFile
from mmu.linux.mm import Mm
from mmu.linux.pgtable import SPECIAL, entry_pfn, pte_present
from mmu.linux.policy import FreeTables
from tests.linux.native import kernel_is_like_ours
from tests.linux.processes import check_processes, pte, run
from ucmmu.testing.mm import make_mm
from ucmmu.testing.options import MachineOptions

SOURCE = Path(__file__).with_name("native_fork.c")
PAGE = 4096
TABLE = 512 * PAGE
BASE = 0x200_0000_0000
END = BASE + 32 * TABLE
HEAP = 0x5555_0000_0000
ANON, FILE, SHARED = 0x32, 0x12, 0x31
FILE_BYTES = b"".join(bytes([n + 1]) * PAGE for n in range(16))

Step = tuple[str, ...]
CONFIG = MachineOptions(policy="scan", fidelity="fast")


@functools.cache
def native_program() -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("the native oracle needs gcc on x86-64")
    if not kernel_is_like_ours():
        pytest.skip("the host's kernel is older than the one that ours follows")
    program = Path(tempfile.mkdtemp(prefix="native_fork.")) / "native_fork"
    built = subprocess.run(
        [compiler, "-O1", "-static", "-o", program, SOURCE], capture_output=True, text=True
    )
    if built.returncode:
        pytest.skip(f"the native oracle does not build: {built.stderr}")
    return program


def natively(script: str) -> list[str]:
    done = subprocess.run(
        [native_program()], input=script, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done
    return done.stdout.splitlines()


class Ours:
    """The same processes on mms of ours."""

    def __init__(self, config: MachineOptions = CONFIG) -> None:
        mm = make_mm(config)
        mm.kernel.overcommit_memory = 1
        mm.c.start_brk = mm.c.brk = HEAP - PAGE
        mm.brk(HEAP)
        mm.copy_to_user(HEAP - PAGE, b"x")
        self.base_pte = mm.vm_stats()["VmPTE"]
        self.file = MappedFile(FILE_BYTES)
        self.mms: dict[str, Mm] = {"a": mm}
        self.kernel = mm.kernel

    def act(self, who: str, what: str, *arguments: str) -> list[str]:
        mm = run(self.mms[who])
        if what == "fork":
            self.mms[arguments[0]] = mm.dup_mm()
            return ["0"]
        numbers = [int(argument, 16) for argument in arguments]
        if what == "report":
            return report(mm, self.base_pte, *numbers)
        try:
            return [f"{self.call(mm, what, *numbers):x}"]
        except LinuxError as error:
            return [f"{error.errno << 56:x}"]

    def call(self, mm: Mm, what: str, *v: int) -> int:
        if what == "mmap":
            return mm.mmap(*v[:4], self.file if v[4] else None)
        if what == "brk":
            return mm.brk(HEAP + v[0]) - HEAP
        if what == "write":
            mm.copy_to_user(v[0], bytes([v[1]]))
            return 1
        if what == "read":
            return mm.copy_from_user(v[0], 1)[0]
        if what == "exit":
            mm.exit_mmap()
            self.mms = {name: other for name, other in self.mms.items() if other is not mm}
            return 0
        result = getattr(mm, what)(*v)
        return int(result or 0)

    def end(self) -> None:
        check_processes(self.kernel)
        for mm in self.mms.values():
            mm.exit_mmap()
        assert self.kernel.memory.frames_in_use == 0


def report(mm: Mm, base_pte: int, start: int, end: int) -> list[str]:
    stats = mm.vm_stats()
    lines = [f"pte {stats['VmPTE'] - base_pte} lck {stats['VmLck']}"]
    for vma, line in zip(
        mm.c.vmas.vma[0 : mm.c.vmas.nr], procfs.maps(mm).splitlines(), strict=True
    ):
        extent = (int(vma.vm_start), int(vma.vm_end))
        ptes = [pte(mm, addr) for addr in range(*extent, PAGE)]
        frames = [entry_pfn(n) for n in ptes if pte_present(n) and not n & SPECIAL]
        anonymous = sum(bool(mm.memory.page(n).flags & lib.PG_anon) for n in frames)
        if extent[1] > HEAP:
            lines.append(f"heap {max(extent[0] - HEAP, 0):x} {extent[1] - HEAP:x}")
        elif extent[0] >= start and extent[1] <= end:
            lines.append(
                f"{extent[0]:x} {extent[1]:x} {line.split()[1]} {4 * len(frames)} {4 * anonymous}"
            )
    return [*lines, "."]


def compare(steps: list[Step]) -> None:
    """Run the steps on both, with a report of each living process at the end."""
    ours = Ours()
    answers = []
    for step in steps:
        answers.append((step, ours.act(*step)))
    reports = [(who, "report", f"{BASE:x}", f"{END:x}") for who in ours.mms]
    answers += [(step, ours.act(*step)) for step in reports]
    ours.end()
    native = iter(natively("".join(" ".join(step) + "\n" for step, _ in answers)))
    for step, mine in answers:
        theirs = [next(native) for _ in mine]
        assert mine == theirs, f"{' '.join(step)}: ours {mine}, the host's {theirs}"
    assert list(native) == []


def steps(text: str) -> list[Step]:
    """A script for people: sizes as 3p (pages) and 2t (tables of pages), addresses as an offset of
    these from BASE, flags and numbers as they are.
    """
    names = {"ANON": ANON, "FILE": FILE, "SHARED": SHARED, "BASE": BASE}
    units = {"p": PAGE, "t": TABLE}

    def number(word: str) -> str:
        total = 0
        for part in word.split("+"):
            if part in names:
                total += names[part]
            elif part[-1] in units:
                total += int(part[:-1]) * units[part[-1]]
            else:
                total += int(part)
        return f"{total:x}"

    lines = [line.split() for line in text.strip().splitlines()]
    return [
        (who, what, *(words if what == "fork" else map(number, words)))
        for who, what, *words in lines
    ]


def case(text: str) -> list[Step]:
    return steps(text)


CASES = {
    "anonymous memory": """
        a mmap BASE 4t 3 ANON 0
        a write BASE+1p 1
        a write BASE+1t 2
        a write BASE+3t+5p 3
        a fork b
        a write BASE+1p 4
        b read BASE+1p
        b write BASE+1t 5
        a read BASE+1t""",
    "file-only ranges are not copied": """
        a mmap BASE 16p 1 FILE 1
        a mmap BASE+2t 16p 1 FILE 1
        a mmap BASE+4t 16p 3 FILE 1
        a read BASE
        a read BASE+2t
        a read BASE+4t
        a write BASE+4t+1p 9
        a fork b
        b read BASE
        b read BASE+4t+1p""",
    "shared memory": """
        a mmap BASE 1t 3 SHARED 0
        a write BASE 1
        a write BASE+9p 1
        a fork b
        b write BASE 7
        a read BASE""",
    "zero pages and PROT_NONE": """
        a mmap BASE 8p 3 ANON 0
        a read BASE
        a write BASE+1p 1
        a write BASE+2p 1
        a mprotect BASE+2p 1p 0
        a fork b
        b write BASE 1
        b mprotect BASE+2p 1p 3
        b read BASE+2p
        b write BASE+2p 8
        a mprotect BASE+2p 1p 1
        a read BASE+2p""",
    "memory only read has nothing to copy": """
        a mmap BASE 1t 3 ANON 0
        a read BASE
        a fork b""",
    "an emptied table is copied too": """
        a mmap BASE 3t 3 ANON 0
        a write BASE 1
        a write BASE+1t 1
        a madvise BASE+1t 1p 4
        a write BASE+2t 1
        a madvise BASE+2t 1t 4
        a fork b""",
    "upper tables without a PTE table": """
        a mmap BASE 1t 3 ANON 0
        a write BASE 1
        a madvise BASE 1t 4
        a fork b""",
    "guard regions": """
        a mmap BASE 1t 3 ANON 0
        a madvise BASE+3p 2p 102
        a mmap BASE+2t 16p 1 FILE 1
        a read BASE+2t
        a madvise BASE+2t+1p 1p 102
        a fork b
        b read BASE+3p
        b read BASE+2t
        b read BASE+2t+1p""",
    "DONTFORK and WIPEONFORK": """
        a mmap BASE 8p 3 ANON 0
        a write BASE 1
        a write BASE+1p 1
        a write BASE+4p 1
        a madvise BASE 1p 10
        a madvise BASE+4p 1p 18
        a fork b
        b read BASE
        b read BASE+1p
        b read BASE+4p
        b madvise BASE+4p 1p 19
        b write BASE+4p 2
        b fork c
        c read BASE+4p""",
    "locked memory": """
        a mmap BASE 8p 3 ANON 0
        a mlock BASE 3p
        a fork b
        b mlock BASE+1p 1p""",
    "a child's VMA does not grow": """
        a mmap BASE 2p 3 ANON 0
        a write BASE 1
        a fork b
        a mmap BASE+2p 2p 3 ANON 0
        b mmap BASE+2p 2p 3 ANON 0
        b write BASE+2p 1
        b mmap BASE+4p 1p 3 ANON 0""",
    "nor downwards": """
        a mmap BASE+4p 2p 3 ANON 0
        a write BASE+4p 1
        a fork b
        a mmap BASE+2p 2p 3 ANON 0
        b mmap BASE+2p 2p 3 ANON 0""",
    "parts that a child cuts do not join again": """
        a mmap BASE 6p 3 ANON 0
        a write BASE 1
        a fork b
        b mprotect BASE+2p 2p 1
        b mprotect BASE+2p 2p 3
        a mprotect BASE+2p 2p 1
        a mprotect BASE+2p 2p 3""",
    "parts that a parent cut are strangers in the child": """
        a mmap BASE 6p 3 ANON 0
        a write BASE 1
        a mprotect BASE+2p 2p 1
        a fork b
        b mprotect BASE+2p 2p 3
        a mprotect BASE+2p 2p 3""",
    "a neighbour that was not written": """
        a mmap BASE 2p 3 ANON 0
        a mmap BASE+2p 2p 1 ANON 0
        a write BASE 1
        a fork b
        b mprotect BASE+2p 2p 3
        a mprotect BASE+2p 2p 3""",
    "a neighbour's anon_vma is not taken": """
        a mmap BASE 2p 3 ANON 0
        a mmap BASE+2p 2p 7 ANON 0
        a write BASE 1
        a fork b
        b write BASE+2p 1
        b mprotect BASE+2p 2p 3
        a write BASE+2p 1
        a mprotect BASE+2p 2p 3""",
    "what the child maps itself merges": """
        a mmap BASE 2p 3 ANON 0
        a fork b
        b write BASE 1
        b mmap BASE+2p 2p 3 ANON 0
        b write BASE+2p 1
        b mprotect BASE+1p 1p 1
        b mprotect BASE+1p 1p 3""",
    "a child's heap": """
        a brk 2p
        a brk 4p
        a fork b
        b brk 6p
        a brk 6p""",
    "the last owner writes": """
        a mmap BASE 4p 3 ANON 0
        a write BASE 1
        a write BASE+1p 2
        a fork b
        a write BASE 3
        b write BASE 4
        b exit
        a write BASE+1p 5
        a read BASE
        a read BASE+1p""",
    "the parent ends first": """
        a mmap BASE 4p 3 ANON 0
        a write BASE 1
        a fork b
        b fork c
        b munmap BASE 4p
        c write BASE 3
        c fork d
        c mmap BASE+4p 1p 3 ANON 0
        d read BASE""",
    "MADV_FREE": """
        a mmap BASE 4p 3 ANON 0
        a write BASE 1
        a write BASE+1p 2
        a fork b
        a madvise BASE 2p 8
        b madvise BASE 1p 8
        b read BASE
        a read BASE
        a write BASE 5
        b read BASE""",
    "COLD and PAGEOUT leave shared pages alone": """
        a mmap BASE 4p 3 ANON 0
        a write BASE 1
        a fork b
        a madvise BASE 1p 20
        a madvise BASE 1p 21
        a read BASE
        b read BASE""",
    "REMOVE reaches every process": """
        a mmap BASE 4p 3 SHARED 0
        a write BASE 1
        a write BASE+1p 2
        a fork b
        b write BASE+1p 3
        b write BASE+2p 4
        b read BASE
        a madvise BASE+1p 2p 9
        b read BASE+1p
        b read BASE+2p
        b read BASE""",
    "mremap of whole tables": """
        a mmap BASE 4t 3 ANON 0
        a write BASE 1
        a write BASE+1t+5p 2
        a write BASE+3t 3
        a mremap BASE 4t 4t 3 BASE+8t
        a read BASE+8t
        a read BASE+9t+5p
        a read BASE""",
    "mremap misaligned": """
        a mmap BASE 4t 3 ANON 0
        a write BASE 1
        a write BASE+1t+5p 2
        a write BASE+3t 3
        a mremap BASE 4t 4t 3 BASE+8t+16p
        a read BASE+8t+16p
        a read BASE+9t+21p""",
    "mremap misaligned alike": """
        a mmap BASE+16p 3t 3 ANON 0
        a write BASE+16p 1
        a write BASE+1t+5p 2
        a mremap BASE+16p 3t 3t 3 BASE+8t+16p
        a read BASE+8t+16p""",
    "mremap that leaves the old range": """
        a mmap BASE 2t 3 ANON 0
        a write BASE 1
        a write BASE+1t 2
        a mlock BASE 1t
        a mremap BASE 2t 2t 7 BASE+8t
        a mremap BASE+1t 1t 1t 7 BASE+8t
        a read BASE
        a read BASE+8t
        a mmap BASE+4t 2t 3 ANON 0
        a write BASE+4t 9
        a mremap BASE+4t 2t 2t 7 BASE+12t
        a write BASE+4t 8
        a read BASE+12t""",
    "mremap grows and shrinks in place": """
        a mmap BASE 4p 3 ANON 0
        a write BASE 1
        a mremap BASE 4p 1t 0 0
        a write BASE+100p 2
        a mremap BASE 1t 2p 0 0
        a mmap BASE+8p 1p 3 ANON 0
        a mremap BASE 2p 8p 0 0
        a mremap BASE 8p 9p 0 0
        a mremap BASE 9p 10p 0 0
        a mremap BASE+1p 1p 4p 0 0""",
    "mremap of a part": """
        a mmap BASE 8p 3 ANON 0
        a write BASE+3p 1
        a mremap BASE+2p 2p 4p 3 BASE+16p
        a read BASE+17p
        a mremap BASE+4p 2p 1p 3 BASE+2p
        a mremap BASE+16p 4p 4p 3 BASE+20p
        a write BASE+19p 1""",
    "mremap of shared memory and files": """
        a mmap BASE 8p 3 SHARED 0
        a write BASE 1
        a mremap BASE 0p 8p 3 BASE+16p
        a read BASE+16p
        a mmap BASE+32p 8p 3 FILE 1
        a read BASE+32p
        a write BASE+33p 9
        a mremap BASE+32p 8p 8p 3 BASE+1t
        a read BASE+1t+1p
        a mremap BASE+1t 8p 20p 0 0
        a read BASE+1t+15p
        a read BASE+1t+16p""",
    "mremap errors": """
        a mmap BASE 8p 3 ANON 0
        a mremap BASE 8p 0p 0 0
        a mremap BASE+1 8p 9p 0 0
        a mremap BASE 8p 9p 2 BASE+16p
        a mremap BASE 8p 9p 5 BASE+16p
        a mremap BASE 8p 8p 3 BASE+4p
        a mremap BASE 8p 8p 8 0
        a mremap BASE 0p 8p 3 BASE+16p
        a mremap BASE+16p 1p 1p 0 0
        a mremap BASE+16p 1p 2p 0 0
        a mremap BASE 9p 10p 0 0
        a mremap BASE 9p 1p 0 0
        a mremap BASE 8p 8p 3 1""",
    "mremap over several": """
        a mmap BASE 2p 3 ANON 0
        a mmap BASE+4p 2p 1 ANON 0
        a mmap BASE+6p 2p 3 FILE 1
        a write BASE+1p 1
        a mremap BASE 10p 10p 3 BASE+1t
        a read BASE+1t+1p
        a mremap BASE+1t+2p 8p 8p 3 BASE+2t
        a mmap BASE+3t 3p 3 ANON 0
        a mmap BASE+3t+1p 1p 3 SHARED 0
        a mremap BASE+3t 3p 3p 3 BASE+4t""",
    "mremap merges": """
        a mmap BASE 2p 3 ANON 0
        a mmap BASE+4p 2p 3 ANON 0
        a mremap BASE+4p 2p 2p 3 BASE+2p
        a write BASE 1
        a mmap BASE+8p 2p 3 ANON 0
        a write BASE+8p 2
        a mremap BASE+8p 2p 2p 3 BASE+4p
        a mmap BASE+1t 4p 3 ANON 0
        a mremap BASE+1t+2p 2p 2p 3 BASE+1t+4p
        a mremap BASE+1t+4p 2p 2p 3 BASE+1t+2p""",
    "mremap after fork": """
        a mmap BASE 2t 3 ANON 0
        a write BASE 1
        a write BASE+1t 2
        a fork b
        a mremap BASE 2t 2t 3 BASE+8t
        a write BASE+8t 3
        b read BASE
        b mremap BASE 1t 1t 3 BASE+8t+1p
        b write BASE+8t+1p 4
        a read BASE+8t
        b mremap BASE+1t 1p 3p 0 0""",
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    compare(case(CASES[name].replace("exit", "exit 0")))


WINDOW = 3 * 512
page = st.sampled_from([0, 1, 2, 3, 5, 509, 510, 511, 512, 513, 514, 1023, 1024, 1025])
length = st.sampled_from([1, 2, 3, 4, 6, 511, 512, 513, 1024])
who = st.sampled_from("abc")


def at(number: int) -> str:
    return f"{BASE + number * PAGE:x}"


def pages(number: int) -> str:
    return f"{number * PAGE:x}"


mappings = st.sampled_from([ANON, ANON, SHARED, FILE])
random_step = st.one_of(
    st.tuples(who, st.just("write"), page.map(at), st.sampled_from("123456789")),
    st.tuples(who, st.just("write"), page.map(at), st.sampled_from("123456789")),
    st.tuples(who, st.just("read"), page.map(at)),
    st.tuples(who, st.just("munmap"), page.map(at), length.map(pages)),
    st.tuples(who, st.just("mprotect"), page.map(at), length.map(pages), st.sampled_from("013")),
    st.tuples(
        who,
        st.just("madvise"),
        page.map(at),
        length.map(pages),
        st.sampled_from([4, 8, 9, 10, 11, 18, 19, 20, 21, 102, 103]).map(lambda n: f"{n:x}"),
    ),
    st.builds(
        lambda process, where, size, prot, flags: (
            process,
            "mmap",
            at(where),
            pages(min(size, 6) if flags == FILE else size),
            prot,
            f"{flags:x}",
            str(int(flags == FILE)),
        ),
        who,
        page,
        length,
        st.sampled_from("133"),
        mappings,
    ),
    st.builds(
        lambda process, where, old, new, flags, to: (
            process,
            "mremap",
            at(where),
            pages(old),
            pages(new),
            flags,
            at(to),
        ),
        who,
        page,
        length,
        length,
        st.sampled_from("00337"),
        st.one_of(page, page.map(lambda n: n + 4 * 512)),
    ),
    st.tuples(who, st.just("fork"), st.just("")),
    st.tuples(who, st.just("exit"), st.just("0")),
)


def made_possible(drawn: list[Step]) -> list[Step]:
    """The steps that living processes can make; up to three of them live, the first for ever."""
    alive, letters, possible = ["a"], iter("bcdefghijklmnopqrstuvwxyz"), []
    for process, what, *arguments in drawn:
        actor = alive["abc".index(process) % len(alive)]
        if what == "exit":
            if actor == "a":
                continue
            alive.remove(actor)
        elif what == "fork":
            if len(alive) == 3:
                continue
            alive.append(next(letters))
            arguments = alive[-1:]
        possible.append((actor, what, *arguments))
    return possible


FIRST: list[Step] = [
    ("a", "mmap", at(0), pages(WINDOW), "3", f"{ANON:x}", "0"),
    ("a", "write", at(1), "1"),
    ("a", "write", at(513), "2"),
    ("a", "fork", ""),
]


@given(st.lists(random_step, max_size=30))
def test_random_processes(drawn: list[Step]) -> None:
    compare(made_possible([*FIRST, *drawn]))


def answers_of(steps: list[Step], config: MachineOptions) -> list[list[str]]:
    """What our processes return and report, all but VmPTE, which is the policy's."""
    ours = Ours(config)
    answers = [ours.act(*step) for step in steps]
    for who in list(ours.mms):
        answers.append(ours.act(who, "report", f"{BASE:x}", f"{END:x}")[1:])
    ours.end()
    return answers


OTHERS = [
    MachineOptions(engine, policy.label)
    for engine, policy in [
        ("c", FreeTables.REFCOUNT),
        ("python", FreeTables.REFCOUNT),
        ("c", FreeTables.REFCOUNT_PMDLOCK),
        ("python", FreeTables.NEVER),
    ]
]


@settings(max_examples=8 if settings().max_examples < 1000 else settings().max_examples)
@given(st.lists(random_step, min_size=6, max_size=20))
def test_random_processes_on_other_engines_and_policies(drawn: list[Step]) -> None:
    """What processes see does not depend on how empty tables are freed, nor on the engine."""
    steps = made_possible([*FIRST, *drawn])
    expected = answers_of(steps, CONFIG)
    for config in OTHERS:
        assert answers_of(steps, config) == expected, f"{config.engine} {config.policy}"
