# SPDX-License-Identifier: GPL-2.0-or-later
"""What CPUID answers a guest, and what Linux calls the features (SDM vol. 2A CPUID;
arch/x86/include/asm/cpufeatures.h, v6.18).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Final

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import (
    UC_X86_REG_EAX,
    UC_X86_REG_EBX,
    UC_X86_REG_ECX,
    UC_X86_REG_EDX,
    UC_X86_REG_RAX,
    UC_X86_REG_RCX,
)

from cpu.vcpu import CPU_MODEL

_CODE: Final = 0x1000
_CPUID: Final = b"\x0f\xa2"
_EAX, _EBX, _ECX, _EDX = range(4)

_FEATURES: Final = (
    (
        *(1, _EDX),
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts"
        " acpi mmx fxsr sse sse2 ss ht tm ia64 pbe",
    ),
    (
        *(0x80000001, _EDX),
        "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp -"
        " lm 3dnowext 3dnow",
    ),
    (
        *(1, _ECX),
        "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm -"
        " pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand"
        " hypervisor",
    ),
    (
        *(0x80000001, _ECX),
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop"
        " skinit wdt - lwp fma4 tce",
    ),
    (
        *(7, _EBX),
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f"
        " avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd"
        " sha_ni avx512bw avx512vl",
    ),
)
"""Of each leaf and register the names of its bits, from 0 on; -: not shown."""
_LINUX: Final = "constant_tsc rep_good nopl nonstop_tsc cpuid"
"""What Linux finds out otherwise: the time-stamp counter runs evenly, and kernel code is its own
affair.
"""


@dataclass(frozen=True)
class CpuId:
    """The processor's name and numbers."""

    vendor: str
    family: int
    model: int
    stepping: int
    brand: str
    level: int
    """The highest basic leaf."""
    flags: tuple[str, ...]
    physical_bits: int
    virtual_bits: int
    clflush_size: int


@cache
def cpuid() -> CpuId:
    """What the modelled processor says of itself."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.ctl_set_cpu_model(CPU_MODEL)
    uc.mem_map(_CODE, 0x1000)
    uc.mem_write(_CODE, _CPUID)

    @cache
    def ask(leaf: int) -> tuple[int, int, int, int]:
        uc.reg_write(UC_X86_REG_RAX, leaf)
        uc.reg_write(UC_X86_REG_RCX, 0)
        uc.emu_start(_CODE, _CODE + len(_CPUID))
        registers = (UC_X86_REG_EAX, UC_X86_REG_EBX, UC_X86_REG_ECX, UC_X86_REG_EDX)
        a, b, c, d = (int(uc.reg_read(register)) for register in registers)
        return a, b, c, d

    level, b, c, d = ask(0)
    signature, sizes = ask(1)[_EAX], ask(0x80000008)[_EAX]
    family, model = signature >> 8 & 15, signature >> 4 & 15
    if family in (6, 15):
        model |= signature >> 12 & 0xF0
    if family == 15:
        family += signature >> 20 & 0xFF
    brand = b"".join(struct.pack("<4I", *ask(0x80000002 + part)) for part in range(3))
    words = [
        [
            name
            for bit, name in enumerate(names.split())
            if name != "-" and ask(leaf)[reg] >> bit & 1
        ]
        for leaf, reg, names in _FEATURES
    ]
    flags = [*words[0], *words[1], *_LINUX.split(), *words[2], *words[3], *words[4]]
    return CpuId(
        vendor=struct.pack("<3I", b, d, c).decode("ascii"),
        family=family,
        model=model,
        stepping=signature & 15,
        brand=brand.rstrip(b"\0").decode("ascii").strip(),
        level=level,
        flags=tuple(flags),
        physical_bits=sizes & 0xFF,
        virtual_bits=sizes >> 8 & 0xFF,
        clflush_size=(ask(1)[_EBX] >> 8 & 0xFF) * 8,
    )
