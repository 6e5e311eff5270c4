# SPDX-License-Identifier: GPL-2.0-or-later
"""Random states: most of them nearly allowed, so that each rule decides some."""

from __future__ import annotations

from random import Random
from typing import Final

from mmu.x86.entries import (
    X86_A,
    X86_D,
    X86_G,
    X86_P,
    X86_PCD,
    X86_PS,
    X86_PWT,
    X86_RW,
    X86_US,
    X86_XD,
)
from mmu.x86.registers import (
    CR0_WP,
    CR4_PGE,
    CR4_PKE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_NXE,
    RFLAGS_AC,
    Feature,
)
from tests.oracles.kvm import access, layout
from tests.oracles.kvm.access import Pointer, State

_CHANCES: Final = {
    X86_P: 0.95, X86_RW: 0.8, X86_US: 0.8, X86_PWT: 0.2, X86_PCD: 0.1,
    X86_A: 0.5, X86_D: 0.5, X86_G: 0.08,
    1 << 9: 0.2, 1 << 10: 0.2, 1 << 11: 0.2, X86_XD: 0.1,
}  # fmt: skip
_PS_CHANCES: Final = {4: 0.02, 3: 0.05, 2: 0.25, 1: 0.3}
_CR4_BITS: Final = {
    CR4_PGE: Feature.PGE, CR4_SMEP: Feature.SMEP, CR4_SMAP: Feature.SMAP, CR4_PKE: Feature.PKU,
}  # fmt: skip


def random_state(random: Random, features: Feature, maxphyaddr: int) -> State:
    """A state for a processor with these features and this width of addresses."""
    instruction = random.choice(access.ALL)
    base = State(instruction)
    cr4 = base.cr4 | sum(
        bit for bit, feature in _CR4_BITS.items() if feature in features and random.random() < 0.5
    )
    return State(
        instruction,
        cpl=random.choice((0, 3)),
        va=_random_address(random, instruction.size, instruction.pointer),
        bits={level: _random_bits(random, level, maxphyaddr) for level in (4, 3, 2, 1)},
        next_bits=_random_bits(random, 1, maxphyaddr),
        cr0=base.cr0 & ~(CR0_WP if random.random() < 0.5 else 0),
        cr4=cr4,
        efer=base.efer & ~(EFER_NXE if random.random() < 0.2 else 0),
        rflags=random.choice((0, RFLAGS_AC)),
        pkru=random.getrandbits(32),
    )


def _random_bits(random: Random, level: int, maxphyaddr: int) -> int:
    bits = sum(bit for bit, chance in _CHANCES.items() if random.random() < chance)
    if random.random() < _PS_CHANCES[level]:
        bits |= X86_PS
    if random.random() < 0.3:
        bits |= random.getrandbits(11) << 52
    if maxphyaddr < 52 and random.random() < 0.02:
        bits |= 1 << random.randrange(maxphyaddr, 52)
    if level > 1 and bits & X86_PS and random.random() < 0.3:
        bits |= 1 << random.randrange(12, 12 + 9 * (level - 1))
    return bits


def _random_address(random: Random, size: int, pointer: Pointer) -> int:
    """Anywhere but where the guest's own code is mapped; one in eight crosses into the following
    page.
    """
    slot = random.choice([slot for slot in range(512) if slot != layout.CODE_SLOT])
    page = slot << 39 | random.getrandbits(9) << 30 | 1 << 21 | random.randrange(511) << 12
    offset = random.randrange(0x1000 - 16)
    if size > 1 and random.random() < 0.125:
        offset = 0x1000 - random.randrange(1, size)
    if pointer is Pointer.LDTR or random.random() < 0.5:
        offset &= -8
    va = page | offset
    return va | 0xFFFF << 48 if va >> 47 else va
