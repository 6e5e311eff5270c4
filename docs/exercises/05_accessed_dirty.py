# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 5, A and D: what the processor notes in entries, and when (SDM 4.8)."""

PAGE = 0x40_0000

# TODO: (A, D) of the leaf after each step, as pairs of True and False.
AFTER_A_READ = None
AFTER_A_WRITE = None
# TODO: after the write, software clears A and D in memory and flushes nothing; then it reads.
AFTER_CLEARING_AND_A_READ = None


def test_what_is_set(mmu, assert_walk):
    answers = (AFTER_A_READ, AFTER_A_WRITE, AFTER_CLEARING_AND_A_READ)
    assert None not in answers, "TODO: say what A and D are after each step"
    mmu.map(PAGE)
    mmu.access(PAGE, "read")
    assert_walk(PAGE, accessed=AFTER_A_READ[0], dirty=AFTER_A_READ[1])
    mmu.access(PAGE, "write")
    assert_walk(PAGE, accessed=AFTER_A_WRITE[0], dirty=AFTER_A_WRITE[1])
    mmu.change_entry(PAGE, 1, clear=1 << 5 | 1 << 6)
    mmu.access(PAGE, "read")
    left = AFTER_CLEARING_AND_A_READ
    assert_walk(PAGE, accessed=left[0], dirty=left[1])
