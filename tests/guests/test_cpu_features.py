# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what CPUID, AT_HWCAP and AT_HWCAP2 advertise is executed, with a processor's results, so
that libraries may choose their code by them; what is not, is #UD, and the report says of what.
"""

from __future__ import annotations

import re

import pytest

from cpu.cpuid import cpuid
from cpu.disasm import feature_of
from cpu.exec import HWCAP
from tests.guests.build import HERE, build, run_natively
from tests.guests.machine import run

COMMON_NAMES = (
    "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2"
    " syscall nx lm constant_tsc rep_good nopl nonstop_tsc cpuid hypervisor"
)
COMMON = frozenset(COMMON_NAMES.split())
"""What every x86-64 processor has, or is the kernel's affair, or says only what machine it is."""


@pytest.mark.parametrize("engine", ["c", "python"])
def test_each_feature_computes_what_a_processor_does(engine: str) -> None:
    program = build("cpu_features.c", "-O1", "-static", "-march=westmere", "-maes")
    assert run(program, engine=engine).text == run_natively(program).decode()


def test_each_feature_that_is_advertised_is_tried() -> None:
    tried = set(re.findall(r'"(\w+)[ ",]', (HERE / "cpu_features.c").read_text()))
    assert set(cpuid().flags) - COMMON <= tried


def test_hwcap_is_cpuid() -> None:
    names = ("fpu", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "mmx", "fxsr", "sse", "sse2")
    bits = dict(zip(names, (0, 2, 3, 4, 5, 6, 7, 8, 23, 24, 25, 26), strict=True))
    for name, bit in bits.items():
        assert (HWCAP >> bit & 1) == (name in cpuid().flags), name


@pytest.mark.parametrize(
    ("code", "feature"),
    [
        ("0fc7f8", "RDSEED"),
        ("0fc7f0", "RDRAND"),
        ("660f38f6c1", "ADX"),
        ("0f38c8c1", "SHA"),
        ("0f38f000", "MOVBE"),
        ("c4e270f2c1", "BMI1"),
        ("f3480fbdc1", "LZCNT"),
        ("c5f058c1", "AVX"),
        ("c5f5fec1", "AVX2"),
        ("62f17c4858c1", "AVX-512"),
        ("f30faec0", "FSGSBASE"),
        ("0f01d0", "XSAVE"),
        ("0f01ee", "PKU"),
    ],
)
def test_what_a_report_calls_an_instruction_that_there_is_not(code: str, feature: str) -> None:
    assert feature_of(bytes.fromhex(code)) == feature
