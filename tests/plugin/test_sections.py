# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a test that fails shows the walk, the tables, the TLBs and the last events of what it made;
one that passes shows nothing.
"""

from __future__ import annotations

import pytest

SECTIONS = ["walk, CPU 0", "tables", "TLB of CPU 0", "last 30 events"]


def fail(pytester: pytest.Pytester, source: str) -> str:
    """What pytest prints of a test file whose test fails."""
    pytester.makepyfile(source)
    result = pytester.runpytest("-p", "no:cacheprovider")
    assert result.ret == 1
    return result.stdout.str()


def test_of_an_mm(pytester: pytest.Pytester) -> None:
    out = fail(
        pytester,
        """
        import pytest

        @pytest.mark.ucmmu(engine="c", cpus=2)
        def test_it(mm, assert_refcounts):
            mm.vma(0x1000000000, "8K")
            mm.touch(0x1000000000)
            assert_refcounts(mm, {0x1000000000: 2})
        """,
    )
    for title in [*SECTIONS, "walk, CPU 1"]:
        assert f" ucmmu: {title} -" in out, title
    for text in (
        "PTE table of 0x1000000000: 1 reference, not 2 references",
        "walk of 0x1000000000",
        "  0x1000000000  pfn",
        "1 entries    1 references",
        "PDE cache[0][0]",
        "pte_alloc ",
        "address=0x1000000000 pa=",
    ):
        assert text in out, text
    assert "1 failed" in out
    assert "error" not in out.splitlines()[-1], "the checks after a test that passed"


def test_of_tables_made_by_hand(pytester: pytest.Pytester) -> None:
    """A plain assert: the address shown is that of the last event."""
    out = fail(
        pytester,
        """
        import pytest
        from mmu.x86 import Outcome

        @pytest.mark.ucmmu(engine="python")
        def test_it(mmu):
            mmu.map(0xFFFF800000400000, pa=0x1000, rights="r")
            mmu.map(0x600000)
            mmu.access(0x600000)
            mmu.access(0xFFFF800000400000, user=False)
            assert mmu.access(0xFFFF800000400000, "write").result == Outcome.OK
        """,
    )
    for title in SECTIONS:
        assert f" ucmmu: {title} -" in out, title
    assert "walk of 0xffff800000400000" in out
    assert "0xffff800000400000 level 1: 0x8000000000001021  P A XD -> 4 KiB page 0x1000" in out
    assert "page_fault" in out


def test_of_a_guest(pytester: pytest.Pytester) -> None:
    out = fail(
        pytester,
        """
        import pytest

        @pytest.mark.ucmmu(engine="c")
        def test_it(guest):
            run = guest.asm("mov byte ptr [data], 1; 1: jmp 1b")
            run.step(3)
            assert run.reg("rax") == 1
        """,
    )
    for title in SECTIONS:
        assert f" ucmmu: {title} -" in out, title
    assert "insn " in out


def test_of_a_leak_found_after_the_test(pytester: pytest.Pytester) -> None:
    out = fail(
        pytester,
        """
        import pytest

        @pytest.mark.ucmmu(engine="c")
        def test_it(mm):
            mm.vma(0x1000000000, "8K")
            mm.touch(0x1000000000)
            mm.memory.page(mm.pte_table(0x1000000000)).pte_refcount += 1
        """,
    )
    assert "counts 2 references" in out
    assert " ucmmu: tables -" in out


def test_what_cannot_be_shown_hides_nothing(pytester: pytest.Pytester) -> None:
    out = fail(
        pytester,
        """
        import pytest

        @pytest.mark.ucmmu(engine="c")
        def test_it(mmu):
            mmu.map(0x600000)
            mmu.write_cr3(1 << 40)
            assert mmu.access(0x600000) == "this"
        """,
    )
    assert "== 'this'" in out or '== "this"' in out
    assert "lies outside guest RAM" in out


def test_one_that_passes_shows_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(mm): mm.vma(0x1000000000, 4096)")
    result = pytester.runpytest("-p", "no:cacheprovider", "-rA")
    result.assert_outcomes(passed=2)
    assert "ucmmu: " not in result.stdout.str()
