# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever dies first, an instance, what attach() returned, a context, a hook's callback, an error:
nothing that is still used goes with it.

Objects are made, used and dropped in random orders, with and without detach(), in rings that only
the collector of garbage finds. ``make sanitize`` runs this under AddressSanitizer.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from typing import Any

import pytest
from unicorn import UC_ARCH_X86, UC_HOOK_CODE, UC_HOOK_MEM_READ, UC_MODE_64, Uc, UcError
from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RDI

import cpu
from cpu.attached import Detached
from mmu.errors import PageFault
from tests.cpu.assemble import assemble

CODE = 0x400000
DATA = 0x600000
SOURCE = "mov rax, [rdi]; inc rax; mov [rdi], rax"
ROUNDS = 40


class Zoo:
    """Objects that know each other, by name."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.objects: dict[str, Any] = {}
        self.number = 0
        self.code = assemble(SOURCE)

    def add(self, kind: str, thing: Any) -> Any:
        """Keep an object under a new name."""
        self.number += 1
        self.objects[f"{kind}{self.number}"] = thing
        return thing

    def some(self, kind: str) -> Any:
        """A random object of a kind that still lives; None if there is none."""
        names = [name for name in self.objects if name.startswith(kind)]
        return self.objects[self.random.choice(names)] if names else None

    def instance(self) -> None:
        uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.mem_map(CODE, 0x1000)
        uc.mem_map(DATA, 0x1000)
        uc.mem_write(CODE, self.code)
        uc.reg_write(UC_X86_REG_RDI, DATA)
        self.add("uc", uc)

    def attach(self) -> None:
        uc = self.some("uc")
        if uc is None or hasattr(uc, "_ucmmu"):
            return
        fidelity = self.random.choice(("fast", "exact", "trace"))
        mmu = cpu.attach(uc, identity=True, fidelity=fidelity)
        if self.random.random() < 0.6:
            self.add("mmu", mmu)

    def detach(self) -> None:
        mmu = self.some("mmu")
        if mmu is not None:
            mmu.detach()

    def run(self) -> None:
        uc = self.some("uc")
        if uc is None:
            return
        before = int.from_bytes(uc.mem_read(DATA, 8), "little")
        uc.reg_write(UC_X86_REG_RDI, DATA)
        uc.emu_start(CODE, CODE + len(self.code))
        assert uc.reg_read(UC_X86_REG_RAX) == before + 1

    def fault(self) -> None:
        uc = self.some("uc")
        if uc is None:
            return
        uc.reg_write(UC_X86_REG_RDI, 0x12345000)
        with pytest.raises(UcError) as caught:
            uc.emu_start(CODE, CODE + len(self.code))
        assert isinstance(caught.value, PageFault) == hasattr(uc, "_ucmmu")
        self.add("error", caught.value)

    def hook(self) -> None:
        target = self.some(self.random.choice(("uc", "mmu")))
        if target is None or isinstance(target, Detached):
            return
        ring: list[Any] = [target]
        kind = self.random.choice((UC_HOOK_CODE, UC_HOOK_MEM_READ))
        ring.append(target.hook_add(kind, lambda *_: ring.append(None) if not ring else None))

    def context(self) -> None:
        uc = self.some("uc")
        if uc is not None:
            self.add("context", (uc if self.random.random() < 0.5 else None, uc.context_save()))

    def restore(self) -> None:
        uc, saved = self.some("uc"), self.some("context")
        if uc is not None and saved is not None and saved[0] is uc and hasattr(uc, "_ucmmu"):
            uc.context_restore(saved[1])

    def drop(self) -> None:
        if self.objects:
            del self.objects[self.random.choice(list(self.objects))]

    def collect(self) -> None:
        gc.collect()

    def play(self) -> None:
        """One random thing."""
        things: list[Callable[[], None]] = [
            self.instance, self.attach, self.attach, self.detach, self.run, self.run, self.fault,
            self.hook, self.context, self.restore, self.drop, self.drop, self.collect,
        ]  # fmt: skip
        self.random.choice(things)()


@pytest.mark.parametrize("seed", range(12))
def test_objects_die_in_any_order(seed: int) -> None:
    zoo = Zoo(seed)
    for _ in range(ROUNDS):
        zoo.play()
    names = list(zoo.objects)
    zoo.random.shuffle(names)
    for name in names:
        del zoo.objects[name]
        if zoo.random.random() < 0.3:
            gc.collect()
    gc.collect()
