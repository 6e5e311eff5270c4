# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: floating-point results are those of a native run, bit by bit, but for the functions that a
limit touches.

The limits are docs/engine_limits.md's: long double functions made of x87 instructions of 53 bits,
and glibc's fma() (flags of MXCSR). The native side is told to leave AVX and FMA alone, so that
glibc chooses the same variants of its functions on both sides: those with FMA round otherwise,
rightly. Without musl-gcc its half is skipped.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import run

TUNABLES = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F,-AVX_Usable,-AVX2_Usable,"
    "-FMA_Usable"
}
X87 = {
    "acosl", "atan2l", "atanl", "coshl", "erfcl", "erfl", "exp2l", "expl", "expm1l", "lgammal",
    "log10l", "log1pl", "log2l", "logl", "sinhl", "tanhl", "tgammal",
}  # fmt: skip
LIMITED = {
    "gcc": X87 | {"powl", "logbl", "fma_sticky"},
    "musl-gcc": X87 | {"asinl"},
}
"""Functions that differ for some argument; each still must."""


@cache
def _program(compiler: str) -> Path:
    flags = (
        "-O1",
        "-static",
        "-no-pie",
        "-fno-builtin",
        "-frounding-math",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-lm",
    )
    return build("floating_point.c", *flags, compiler=compiler)


@cache
def _native(compiler: str, *args: str) -> list[str]:
    return run_natively(_program(compiler), *args, env=TUNABLES).decode().splitlines()


def _function(line: str) -> str:
    """The function of a line, without its rounding mode."""
    return line.split()[0].partition("-")[0]


def _differing(native: list[str], ours: list[str]) -> list[tuple[str, str]]:
    assert len(native) == len(ours)
    return [(a, b) for a, b in zip(native, ours, strict=True) if a != b]


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
def test_vectors_are_native_but_for_listed_functions(compiler: str) -> None:
    result = run(_program(compiler))
    assert result.result.exit_code == 0
    differing = _differing(_native(compiler), result.text.splitlines())
    assert {_function(a) for a, _ in differing} == LIMITED[compiler]
    assert "about 53 of their 64 bits" in "\n".join(result.result.notes)


def test_fma_is_off_in_the_last_bit_only() -> None:
    differing = _differing(_native("gcc"), run(_program("gcc")).text.splitlines())
    narrow = [(a, b) for a, b in differing if _function(a) == "fma_sticky"]
    assert narrow
    for native, ours in narrow:
        pairs = zip(native.split()[-3:], ours.split()[-3:], strict=True)
        off = [abs(int(a, 16) - int(b, 16)) for a, b in pairs if a != b]
        assert off and max(off) == 1, native


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
@pytest.mark.parametrize(
    "how", [{"fidelity": "exact"}, {"engine": "python"}], ids=["exact", "python"]
)
def test_fidelity_and_engine_do_not_matter(compiler: str, how: dict[str, str]) -> None:
    """A smaller set of vectors: the same lines as in fast."""
    assert run(_program(compiler), "small", **how).text == run(_program(compiler), "small").text
