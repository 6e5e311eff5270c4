# SPDX-License-Identifier: GPL-2.0-or-later
"""Random scripts: lists of API calls, made from a seed, that JSON can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.oracles.attach.program import Program, build

PAGE = 0x1000
READ, WRITE, EXEC = 1, 2, 4
RW, ALL = READ | WRITE, READ | WRITE | EXEC
CODE = 0x400000
INNER = 0x480000
"""Programs of nested runs, which no other program's blocks lead through."""
STACK = 0x7F0000
LOW = 0x10000
HIGH = 0x7FFFF7FF0000
GIB = 1 << 30
GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
PERMS = (RW, RW, RW, RW, RW, RW, READ, READ, READ | EXEC, 0)
"""Of regions for data. A second RWX one would meet drops_other_code, one without READ without_read:
both in test_attach_differences.py."""

Op = list[Any]
Script = dict[str, Any]


@dataclass
class Limits:
    """What a script may have: each is a reason why some differences must be."""

    nested: bool = True
    far: bool = True
    events: bool = True


@dataclass
class World:
    """What the writer of a script believes of its instance."""

    pages: dict[int, int] = field(default_factory=dict)
    programs: list[Program] = field(default_factory=list)
    inner: list[Program] = field(default_factory=list)
    hooks: list[tuple[int, str]] = field(default_factory=list)
    saved: int = 0
    buffers: int = 0
    exits: bool = False
    attached: bool = False
    dirty: bool = True
    ends: object = None


class Writer:
    """Writes one script."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.world = World()
        self.hook_ids = 0
        random = self.random
        self.events = random.choice((0.2, 0.5, 0.5, 6))
        self.arenas = [LOW, LOW, random.choice((0, LOW, HIGH, GIB, 0x600000))]

    # Memory.

    def _fresh(self) -> int:
        """A page-aligned address, mostly near what is mapped."""
        random = self.random
        if self.world.pages and random.random() < 0.5:
            return random.choice(list(self.world.pages)) + random.choice((-1, 1, 1, 2)) * PAGE
        return random.choice(self.arenas) + random.randrange(24) * PAGE

    def _mapped(self) -> int:
        pages = [page for page in self.world.pages if not CODE <= page < STACK + 0x10000]
        return self.random.choice(pages) if pages else LOW

    def _set(self, begin: int, size: int, perms: int | None) -> None:
        for page in range(begin, begin + size, PAGE):
            if perms is None:
                self.world.pages.pop(page, None)
            else:
                self.world.pages[page] = perms

    def _free(self, begin: int, size: int) -> bool:
        return begin >= 0 and not any(
            page in self.world.pages for page in range(begin, begin + size, PAGE)
        )

    def map(self) -> Op:
        random = self.random
        begin = max(self._fresh(), 0)
        size = random.choice((1, 1, 1, 2, 3, 8)) * PAGE
        perms = random.choice(PERMS)
        if begin + size > 1 << 64:
            size = PAGE
        if begin + size > 1 << 64:
            begin = LOW
        if self._free(begin, size):
            self._set(begin, size, perms)
        if random.random() < 0.15:
            self.world.buffers += 1
            return ["map_ptr", begin, size, perms, self.world.buffers - 1]
        if random.random() < 0.03:
            return ["mmio", begin, size, random.getrandbits(32)]
        if random.random() < 0.03:
            return [
                "map",
                begin + random.choice((0, 8)),
                size + random.choice((0, 4, -size)),
                perms,
            ]
        return ["map", begin, size, perms]

    def _range(self) -> tuple[int, int]:
        random = self.random
        begin = self._mapped() if random.random() < 0.95 else max(self._fresh(), 0)
        return begin, random.choice((1, 1, 1, 2, 3)) * PAGE

    def unmap(self) -> Op:
        begin, size = self._range()
        if all(page in self.world.pages for page in range(begin, begin + size, PAGE)):
            self._set(begin, size, None)
        return ["unmap", begin, size]

    def protect(self) -> Op:
        begin, size = self._range()
        perms = self.random.choice(PERMS)
        if self.random.random() < 0.1 and self.world.programs:
            begin, size = self.random.choice(self.world.programs).begin & -PAGE, PAGE
            perms = self.random.choice((ALL, READ | EXEC, READ, RW))
            self.world.dirty = True
        if all(page in self.world.pages for page in range(begin, begin + size, PAGE)):
            self._set(begin, size, perms)
        return ["protect", begin, size, perms]

    def targets(self) -> list[int]:
        """Pages for pointers: most may be read and written."""
        pages = [page for page in self.world.pages if not CODE <= page < STACK]
        good = [page for page in pages if self.world.pages[page] & RW == RW]
        inner = [page for page in good if self.world.pages.get(page + PAGE, 0) & RW == RW]
        some = [self.random.choice(pages), self._fresh() & (1 << 64) - 1]
        return [*good, *inner * 2, *some[: self.random.choice((0, 1, 2))]]

    def write(self) -> Op:
        random = self.random
        if random.random() < 0.3 and self.world.programs:
            return self.write_code()
        at = self._mapped() + random.choice((0, 8, 0xFF8, 0xFFD, random.randrange(PAGE)))
        return ["write", at, random.randbytes(random.choice((1, 4, 8, 16))).hex()]

    def write_code(self) -> Op:
        """Patch one instruction of a program, or write a new program over it."""
        random = self.random
        index = random.randrange(len(self.world.programs))
        program = self.world.programs[index]
        self.world.dirty = True
        if random.random() < 0.5:
            at = random.choice(program.marks[:-1])
            return ["write", at, random.choice(("90", "f4", "cc", "31c0", "b844332211"))]
        program = build(random, program.begin, random.randrange(2, 6), self.targets(), self.events)
        self.world.programs[index] = program
        return _code(program)

    def read(self) -> Op:
        at = self._mapped() + self.random.choice((0, 0xFF8, self.random.randrange(PAGE)))
        return ["read", at, self.random.choice((1, 8, 16, 64))]

    # Registers.

    def set_general(self) -> Op:
        """As set(), but no flags: plain Unicorn's are stale in memory hooks."""
        return ["set", self.random.choice(("rbx", "rsi", "rdi", "r12", "rax")), self._address()]

    def get_general(self) -> Op:
        return ["get", self.random.choice((*GENERAL, "rip", "xmm0"))]

    def set(self) -> Op:
        random = self.random
        choice = random.random()
        if choice < 0.75:
            name = random.choice(("rbx", "rbp", "rsi", "rdi", "r12", "r13", "r14", "rax", "rcx"))
            return ["set", name, self._address()]
        if choice < 0.83:
            return ["set", random.choice(GENERAL[:7]), random.getrandbits(random.choice((3, 64)))]
        if choice < 0.9:
            return ["set", "eflags", random.choice((0x2, 0x246, 0x602, 0x8D7))]
        if choice < 0.95:
            return ["set", random.choice(("fs_base", "gs_base")), self._address() & -8]
        return ["set", f"xmm{random.randrange(8)}", random.getrandbits(128)]

    def _address(self) -> int:
        at = self.random.choice(self.targets())
        return (at + self.random.choice((0, 0, 0x10, 0x100, 0xFF8, 0xFFC, 0xFFF))) & (1 << 64) - 1

    def get(self) -> Op:
        names = (*GENERAL, "rip", "eflags", "xmm0", "cs", "ss", "fs_base")
        return ["get", self.random.choice(names)]

    # Hooks.

    KINDS = (
        ("block", 5),
        ("code", 6),
        ("mem_read", 4),
        ("mem_write", 5),
        ("mem_read|mem_write", 3),
        ("mem_read_after", 0.2),
        ("mem_read_unmapped", 2),
        ("mem_write_unmapped", 2),
        ("mem_fetch_unmapped", 1),
        ("mem_read_unmapped|mem_write_unmapped|mem_fetch_unmapped", 3),
        ("mem_read_prot|mem_write_prot|mem_fetch_prot", 2),
        ("mem_read_prot", 1),
        ("mem_write_prot", 1),
        ("mem_fetch_prot", 1),
        (
            "mem_read_unmapped|mem_write_unmapped|mem_fetch_unmapped"
            "|mem_read_prot|mem_write_prot|mem_fetch_prot",
            3,
        ),
        ("intr", 2.5),
        ("insn:syscall", 2),
        ("insn:cpuid", 1),
        ("insn:in", 1),
        ("insn:out", 1),
        ("insn_invalid", 1.5),
    )

    EVENTS = ("intr", "insn:syscall", "insn:cpuid", "insn:in", "insn:out", "insn_invalid")

    def hook(self, kinds: tuple[str, ...] = (), *, inside: bool = False) -> Op:
        random = self.random
        every, weights = zip(*self.KINDS, strict=True)
        kind = random.choice(kinds) if kinds else random.choices(every, weights)[0]
        begin, end = self._hook_range(kind)
        self.hook_ids += 1
        ident = self.hook_ids
        doors = ["uc", "uc", "m"]
        if inside or (kind.startswith("mem_") and (begin <= end or "after" in kind)):
            doors = ["uc"]  # test_attach_open.py: those of m come later
        hook = {
            "id": ident,
            "kind": kind,
            "begin": begin,
            "end": end,
            "door": random.choice(doors),
            "look": random.random() < 0.4,
            "returns": [random.random() < 0.75 for _ in range(3)],
            "acts": [] if inside else self._acts(kind),
        }
        self.world.hooks.append((ident, kind))
        self.world.dirty = True
        return ["hook", hook]

    def unhook(self) -> Op:
        """Delete a hook; translated code may call a CODE or BLOCK hook on."""
        ident, kind = self.random.choice(self.world.hooks)
        self.world.dirty |= kind in ("code", "block")
        return ["unhook", ident]

    def _hook_range(self, kind: str) -> tuple[int, int]:
        random = self.random
        if random.random() < 0.6 or kind.startswith("insn") or kind == "intr":
            return 1, 0
        if kind in ("code", "block") and self.world.programs:
            marks = random.choice(self.world.programs).marks
            begin, end = sorted(random.choices(marks, k=2))
            return (begin, begin) if random.random() < 0.3 else (begin, end)
        begin = self._address()
        return begin, begin + random.choice((0, 7, 0xFF, 0xFFF, 0x4FFF))

    def _acts(self, kind: str) -> list[list[Any]]:
        """What the hook does at which of its calls."""
        random = self.random
        acts: list[list[Any]] = []
        faulty = "unmapped" in kind or "prot" in kind
        for _ in range(random.choice((0, 1, 1, 2, 3)) + faulty * 2):
            when = random.choice((0, 0, 1, 2, 3, 5, 9))
            acts.append([when, self._act(kind)])
        return acts

    def _act(self, kind: str) -> Op:
        random = self.random
        if "unmapped" in kind or "prot" in kind:
            return self._mend(kind)
        if kind in ("code", "block"):
            return self._act_of_code(kind)
        if kind.startswith("mem"):
            return self._act_of_memory("write" in kind)
        if kind.startswith("insn") or kind == "intr":
            acts = [self.set, self.set, self.get, self.read, self._stop, self._new, self.write_data]
            if kind not in ("insn:in", "insn:cpuid"):  # what these return then is by chance
                acts.append(self._raise)
            return random.choice(acts)()
        return self.get()

    def _mend(self, kind: str) -> Op:
        random = self.random
        choice = random.random()
        if choice < 0.45 and "unmapped" in kind:
            return [
                "map_here",
                random.choice((RW, RW, READ, READ | EXEC)),
                random.choice((1, 1, 2)),
            ]
        if choice < 0.75 and "prot" in kind:
            return ["protect_here", RW]
        if choice < 0.8:
            return self._raise()
        return random.choice((self.get_general, self.set_general, self._new))()

    def _act_of_code(self, kind: str) -> Op:
        random = self.random
        choice = random.random()
        if choice < 0.1:
            return self._stop()
        if choice < 0.16:
            return self._raise()
        if choice < 0.3 and kind == "code" and self.world.programs:
            return ["set", "rip", random.choice(random.choice(self.world.programs).marks)]
        if choice < 0.45 and self.world.inner:
            return self._nested()
        if choice < 0.5:
            self.world.saved += 1
            return ["save", self.world.saved - 1]
        if choice < 0.54 and (others := self._not_inlined()):
            return ["unhook", random.choice(others)]
        if choice < 0.57:
            return self.hook(("intr", "insn:syscall", "mem_read_unmapped"), inside=True)
        return random.choice(
            (
                self._new,
                self._new,
                self.protect_data,
                self.unmap_data,
                self.write_data,
                self.set,
                self.get,
                self.read,
                self.set,
            )
        )()

    def _not_inlined(self) -> list[int]:
        """Hooks that may be deleted in a run: a CODE or BLOCK hook is called on (calls_deleted)."""
        return [ident for ident, kind in self.world.hooks if kind not in ("code", "block")]

    def _act_of_memory(self, written: bool) -> Op:
        """Nothing that changes mappings in a write hook: that crashes plain Unicorn."""
        acts = [
            self.get_general,
            self.set_general,
            self.read,
            self.write_data,
            self._stop,
            self._raise,
        ]
        return self.random.choice(acts if written else [*acts, self._new])()

    def _new(self) -> Op:
        """A mapping; where it is in the way of nothing, mostly."""
        return self.map()

    def write_data(self) -> Op:
        at = self._mapped() + self.random.choice((0, 8, 0x100, 0xFF8))
        return ["write", at, self.random.randbytes(8).hex()]

    def protect_data(self) -> Op:
        begin, size = self._range()
        return ["protect", begin, size, self.random.choice(PERMS)]

    def unmap_data(self) -> Op:
        begin, size = self._range()
        return ["unmap", begin, size]

    def _nested(self) -> Op:
        program = self.random.choice(self.world.inner)
        return ["nest", program.begin, program.end, self.random.choice(("uc", "m"))]

    def _stop(self) -> Op:
        return ["stop"]

    def _raise(self) -> Op:
        return ["raise", self.random.randrange(100)]

    # Runs.

    def run(self) -> list[Op]:
        random, world = self.random, self.world
        program = random.choice(world.programs)
        begin = program.begin
        if random.random() < 0.3:
            begin = random.choice(program.marks)
        until, timeout, count = program.end, 0, 0
        choice = random.random()
        if choice < 0.15:
            until = random.choice(program.marks)
        elif choice < 0.22:
            until = random.choice((0, (1 << 64) - 1, program.end + 1, 0x123456789000))
        elif choice < 0.27:
            until = random.choice(program.marks) + 1
        if random.random() < 0.25 and not world.inner:
            count = random.choice((1, 2, 3, 10, 50, 1000))
        if random.random() < 0.06:
            timeout = 5_000_000
        ends = (until, bool(count), world.exits)
        before: list[Op] = []
        if world.dirty or ends != world.ends or random.random() < 0.1:
            before.append(["flush_tb"])
        world.dirty, world.ends = False, ends
        return [*before, ["run", begin, until, timeout, count, random.choice(("uc", "m"))]]

    def exits(self) -> list[Op]:
        """Turn multiple exits on, set them, or turn them off."""
        self.world.dirty = True
        if self.world.exits and self.random.random() < 0.7:
            self.world.exits = False
            return [["exits_off"]]
        marks = [mark for program in self.world.programs for mark in program.marks]
        exits = sorted(set(self.random.choices(marks, k=self.random.randrange(1, 4))))
        exits.append(self.world.programs[0].end)
        self.world.exits = True
        return [["exits_on"], ["set_exits", sorted(set(exits))]]

    # The whole.

    def start(self) -> list[Op]:
        """Regions, programs, a stack, registers."""
        random = self.random
        perms = random.choice((ALL, ALL, READ | EXEC))
        ops: list[Op] = [["map", CODE, 0x8000, perms]]  # first: see drops_other_code
        self._set(CODE, 0x8000, perms)
        ops.append(["map", STACK, 0x4000, RW])
        self._set(STACK, 0x4000, RW)
        low = LOW + random.randrange(24) * PAGE
        ops.append(["map", low, 0x3000, RW])
        self._set(low, 0x3000, RW)
        ops += [self.map() for _ in range(random.randrange(1, 6))]
        if random.random() < 0.04:
            ops += [["map", 0x2000000 + i * 2 * PAGE, PAGE, RW] for i in range(80)]
        ops += [
            ["fill", self._mapped(), 64, random.getrandbits(16)] for _ in range(random.randrange(3))
        ]
        for _ in range(random.randrange(1, 4)):
            begin = CODE + random.choice((0, 0x1000, 0x2000, 0x3F0, 0xFD0, 0x1FE8, 0x7000))
            if any(abs(begin - other.begin) < 0x300 for other in self.world.programs):
                continue
            program = build(random, begin, random.randrange(2, 9), self.targets(), self.events)
            self.world.programs.append(program)
            ops.append(_code(program))
        if random.random() < 0.5:
            ops += self.start_inner()
        for name in ("rbx", "rbp", "rsi", "rdi", "r12", "r13", "r14"):
            ops.append(["set", name, self._address()])
        ops.append(["set", "rsp", STACK + random.choice((0x2000, 0x2000, 0x3FF8, 0x1004, 0x18))])
        return ops

    def start_inner(self) -> list[Op]:
        random = self.random
        ops: list[Op] = [["map", INNER, 0x2000, ALL]]
        for i in range(random.randrange(1, 3)):
            program = build(
                random, INNER + i * PAGE, random.randrange(1, 3), self.targets(), self.events
            )
            self.world.inner.append(program)
            ops.append(_code(program))
        return ops

    def step(self) -> list[Op]:
        """One thing that a script does between two runs."""
        random, world = self.random, self.world
        choice = random.random()
        if choice < 0.3:
            return [self.hook()]
        if choice < 0.36 and world.hooks:
            return [self.unhook()]
        if choice < 0.42:
            world.saved += 1
            return [["save", world.saved - 1]]
        if choice < 0.47 and world.saved:
            return [["restore", random.randrange(world.saved)]]
        if choice < 0.5:
            return [
                random.choice(
                    (
                        ["remove_cache", CODE, CODE + 0x1000],
                        ["flush_tb"],
                        ["flush_tlb"],
                        ["regions"],
                    )
                )
            ]
        if choice < 0.54 or (world.exits and choice < 0.6):
            return self.exits()
        return [
            random.choice(
                (
                    self.map,
                    self.map,
                    self.unmap,
                    self.protect,
                    self.protect,
                    self.write,
                    self.write,
                    self.read,
                    self.set,
                    self.set,
                    self.get,
                )
            )()
        ]

    def script(self) -> Script:
        random = self.random
        ops = self.start()
        ops += [self.hook() for _ in range(random.choice((0, 0, 1, 2)))]
        if self.events > 1:
            ops += [self.hook(self.EVENTS) for _ in range(3)]
        if random.random() < 0.75:
            ops.append(["attach"])
            self.world.attached = True
        for _ in range(random.randrange(3, 9)):
            for _ in range(random.randrange(4)):
                ops += self.step()
            if not self.world.attached and random.random() < 0.4:
                ops.append(["attach"])
                self.world.attached = self.world.dirty = True
            elif self.world.attached and random.random() < 0.08:
                ops.append(["detach"])
                self.world.attached, self.world.dirty = False, True
            ops += self.run()
        return {"seed": self.seed, "ops": ops}


def _code(program: Program) -> Op:
    """The writing of a program, instruction by instruction for the sake of whoever minimises it."""
    return ["code", program.begin, [piece.hex() for piece in program.pieces]]


def write_script(seed: int) -> Script:
    """The script of this seed."""
    return Writer(seed).script()
