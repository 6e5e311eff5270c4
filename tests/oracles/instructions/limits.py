# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way in which an instruction is known to end differently here and on the host, with its
reason.

A difference that no entry explains fails a test, and so does an entry that explains none any more.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tests.oracles.instructions.encoding import Encoding
from tests.oracles.instructions.state import AC, CODE, DATA, DATA_SIZE, Case, Outcome, State


@dataclass(frozen=True)
class Difference:
    """One instruction that ended in two ways; ``parts`` as compare.differences() names them."""

    case: Case
    encoding: Encoding
    native: Outcome
    ours: Outcome
    parts: frozenset[str]

    @property
    def is_native_ud(self) -> bool:
        """The host raises #UD."""
        return self.native.signal[0] == signal.SIGILL

    @property
    def is_native_gp(self) -> bool:
        """The host raises #GP, or another exception that is SIGSEGV without an address."""
        return self.native.signal[:2] == (signal.SIGSEGV, "SI_KERNEL")

    @property
    def is_ours_ud(self) -> bool:
        """Here it is #UD."""
        return self.ours.signal[0] == signal.SIGILL


def _as_it_is(state: State) -> State:
    return state


def _with(
    *, rflags: int = 0, mxcsr: int | None = None, gpr: dict[int, int] | None = None
) -> Callable[[State], State]:
    """States with these flags besides, this MXCSR, these general registers."""

    def prepare(state: State) -> State:
        registers = tuple((gpr or {}).get(n, value) for n, value in enumerate(state.gpr))
        fp = state.fp if mxcsr is None else replace(state.fp, mxcsr=mxcsr)
        return replace(state, gpr=registers, rflags=state.rflags | rflags, fp=fp)

    return prepare


@dataclass(frozen=True)
class Limit:
    """One kind of difference: the processor does ``native``, ucmmu ``here``, ``why``.

    ``parts`` is what it explains, None for everything; ``example`` an encoding that shows it in
    some random state.
    """

    name: str
    native: str
    here: str
    why: str
    example: str
    matches: Callable[[Difference], bool]
    parts: frozenset[str] | None = None
    prepare: Callable[[State], State] = _as_it_is
    """Makes of a random state one in which the example may show the difference."""
    steered: bool = True
    """Whether the example's memory operands lead into data."""
    on_every_host: bool = True
    """False where the manuals leave it open, so that a host may do what is done here."""


def _is_misaligned(d: Difference) -> bool:
    e = d.encoding
    return (
        d.is_native_gp
        and e.map.startswith("0f")
        and not e.is_register_form
        and d.ours.signal[1] != "ILL_ILLOPN"
    )


def _is_near_branch(e: Encoding) -> bool:
    return e.map == "" and (e.op in (0xC2, 0xC3) or (e.op == 0xFF and e.reg in (2, 4)))


def _is_late_gp(d: Difference) -> bool:
    return _is_near_branch(d.encoding) and d.is_native_gp and d.ours.after.rip != CODE


def _is_sse_opcode(e: Encoding) -> bool:
    if e.map in ("0f38", "0f3a"):
        return True
    return e.map == "0f" and (
        0x10 <= e.op <= 0x17
        or 0x28 <= e.op <= 0x2F
        or 0x50 <= e.op <= 0x7F
        or e.op in (0xB8, 0xC2, 0xC4, 0xC5, 0xC6, 0xAE, 0xC3)
        or e.op >= 0xD0
    )


def _is_mixed_prefix(d: Difference) -> bool:
    return d.encoding.has66 and d.encoding.rep != 0 and _is_sse_opcode(d.encoding)


def _is_missing_form(d: Difference) -> bool:
    e = d.encoding
    return d.is_native_ud and (
        _is_sse_opcode(e)
        or e.is_0f(0x0F)
        or (e.is_0f(0xBA) and e.reg < 4)
        or (e.map == "" and e.op == 0xFF and e.reg == 7)
    )


def _is_crossing(d: Difference) -> bool:
    """Both fault, one of them in the next page."""
    a, b = d.native.signal, d.ours.signal
    return (a[1], b[1]) == ("SEGV_ACCERR", "SEGV_MAPERR") and (b[2] or 0) % PAGE == 0


def _is_nan(bits: int, width: int) -> bool:
    mantissa = 23 if width == 32 else 52
    return bits >> mantissa & (1 << width - 1 - mantissa) - 1 == (
        1 << width - 1 - mantissa
    ) - 1 and bool(bits & (1 << mantissa) - 1)


def _lanes_are_nans(a: int, b: int, width: int) -> bool:
    """Lanes of this width that differ are NaN in both."""
    lanes = [(x >> at & (1 << width) - 1) for at in range(0, 128, width) for x in (a, b)]
    return all(
        x == y or (_is_nan(x, width) and _is_nan(y, width))
        for x, y in zip(lanes[::2], lanes[1::2], strict=True)
    )


def _differ_in_nans(d: Difference) -> bool:
    pairs = [
        (a, b) for a, b in zip(d.native.after.fp.xmm, d.ours.after.fp.xmm, strict=True) if a != b
    ]
    return bool(pairs) and any(
        all(_lanes_are_nans(a, b, width) for a, b in pairs) for width in (32, 64)
    )


def _with_nans(state: State) -> State:
    first, second = (
        int.from_bytes(nan * 4, "little") for nan in (b"\x01\0\xc0\x7f", b"\x02\0\xc0\x7f")
    )
    return replace(state, fp=replace(state.fp, xmm=(first, second, *state.fp.xmm[2:])))


def _is_zero_source(d: Difference) -> bool:
    return d.encoding.is_0f(0xBC, 0xBD) and d.native.after.gpr != d.ours.after.gpr


def _has_dropped_segment(d: Difference) -> bool:
    prefixes = d.encoding.prefixes
    last = max((prefixes.rfind(byte) for byte in b"\x64\x65"), default=-1)
    return last >= 0 and any(byte in b"\x26\x2e\x36\x3e" for byte in prefixes[last + 1 :])


def _pops_sign(d: Difference) -> bool:
    e = d.encoding
    return e.map == "" and e.op == 0xC2 and bool(e.rest[1] & 0x80)


_X87 = frozenset(
    {
        "fcw",
        "tags",
        "st",
        "st.exponent",
        *(
            f"fsw.{n}"
            for n in ["IE", "DE", "ZE", "OE", "UE", "PE", "SF", "ES", "TOP", "C0", "C1", "C2", "C3"]
        ),
    }
)
_MMX_STATE = frozenset({"tags", "st", "st.exponent", "fsw.TOP"})
PAGE: Final = 4096
_SYSTEM_REGISTERS: Final = ("sgdt", "sidt", "sldt", "str", "smsw")

LIMITS: Final = (
    Limit(
        "late #GP",
        "#GP at RET, JMP or CALL to an address that is not canonical; nothing has changed",
        "RIP, and RSP, are as after the branch",
        "Unicorn branches without looking; the fetch is what fails",
        "c3",
        _is_late_gp,
    ),
    Limit(
        "66 with F2 or F3",
        "F2 or F3 chooses the instruction, 66 is ignored",
        "#UD",
        "Unicorn's decoder looks for 66 first: stopped before it",
        "66f30f58c1",
        _is_mixed_prefix,
    ),
    Limit(
        "no such form",
        "#UD: the opcode has no such form with F2, F3, 66, a register or memory",
        "executed as the form without",
        "Unicorn's decoder does not look",
        "0f5000",
        _is_missing_form,
    ),
    Limit(
        "LAHF, SAHF with REX",
        "AH is meant",
        "#UD",
        "Unicorn's decoder lets REX make it SPL: stopped before it",
        "489f",
        lambda d: d.encoding.map == "" and d.encoding.op in (0x9E, 0x9F) and d.encoding.rex != 0,
    ),
    Limit(
        "TEST, other encoding",
        "F6 /1 and F7 /1 are TEST",
        "#UD",
        "Unicorn's decoder knows /0 only",
        "f6c801",
        lambda d: d.encoding.map == "" and d.encoding.op in (0xF6, 0xF7) and d.encoding.reg == 1,
    ),
    Limit(
        "MOV C6, C7 with REX.R",
        "REX.R is ignored",
        "#UD",
        "Unicorn's decoder takes it for part of the opcode",
        "44c6c001",
        lambda d: (
            d.encoding.map == ""
            and d.encoding.op in (0xC6, 0xC7)
            and d.encoding.rex & 4 != 0
            and d.is_ours_ud
        ),
    ),
    Limit(
        "CMPPS and its like, predicate above 7",
        "bits 7:3 of the immediate are ignored",
        "#UD",
        "Unicorn's decoder looks at them",
        "0fc2c109",
        lambda d: d.encoding.is_0f(0xC2) and d.encoding.code[-1] > 7 and d.is_ours_ud,
    ),
    Limit(
        "INT1",
        "a trap, TRAP_BRKPT; under KVM, RIP may be INT1's own",
        "a trap, RIP behind it",
        "SDM vol. 3A 6.15; the host is a virtual machine",
        "f1",
        lambda d: d.encoding.map == "" and d.encoding.op == 0xF1,
        frozenset({"signal", "rip", "si_addr"}),
        on_every_host=False,
    ),
    Limit(
        "ENTER",
        "the stack's new top is checked for a write; #SS of a frame that is not canonical",
        "not checked; #GP",
        "Unicorn's ENTER has no check",
        "c8007001",
        lambda d: d.encoding.map == "" and d.encoding.op == 0xC8,
    ),
    Limit(
        "MMX and the x87 exponent",
        "the register written gets the exponent FFFF",
        "keeps the exponent",
        "Unicorn's MMX writes the mantissa alone",
        "0ffcc1",
        lambda d: d.encoding.uses_mmx,
        frozenset({"st.exponent"}),
    ),
    Limit(
        "MMX and the x87 stack",
        "an MMX instruction that completes sets TOP to 0 and all tags to valid; no other does",
        "SSSE3's do not, and one that faults or is #UD does",
        "Unicorn does it before the instruction, and not for all",
        "0f3804c1",
        lambda d: d.encoding.uses_mmx,
        _MMX_STATE,
    ),
    Limit(
        "MMX with REX in 0F 38 and 0F 3A",
        "REX.R and REX.B are ignored",
        "#UD",
        "Unicorn's decoder numbers MMX registers up to 15: stopped before it",
        "470f381ee8",
        lambda d: (
            d.encoding.map in ("0f38", "0f3a")
            and d.encoding.uses_mmx
            and d.encoding.rex & 5 != 0
            and d.is_ours_ud
        ),
    ),
    Limit(
        "misaligned SSE operand",
        "#GP where 16 bytes are not aligned",
        "done",
        "Unicorn does not look",
        "0f58046b",
        _is_misaligned,
    ),
    Limit(
        "alignment check",
        "with RFLAGS.AC, #AC where an operand is not aligned",
        "done",
        "Unicorn does not look",
        "480107",
        lambda d: bool(d.case.before.rflags & AC) and d.native.signal[1] == "BUS_ADRALN",
        prepare=_with(rflags=AC),
    ),
    Limit(
        "IRET",
        "#GP",
        "#UD",
        "Unicorn believes EFLAGS.VM that was popped: stopped before it",
        "cf",
        lambda d: d.encoding.map == "" and d.encoding.op == 0xCF,
    ),
    Limit(
        "MASKMOVQ, MASKMOVDQU",
        "a page that may not be written faults whatever the mask says; CR2 is the first byte",
        "only bytes that are written fault",
        "Unicorn stores byte by byte; the manual leaves it open",
        "0ff7ca",
        lambda d: d.encoding.is_0f(0xF7),
    ),
    Limit(
        "MXCSR",
        "SSE operations set exception flags, and raise #XM for those that are not masked",
        "never",
        "Unicorn does not",
        "0f58c1",
        lambda d: d.encoding.map.startswith("0f"),
        frozenset({"mxcsr"}),
    ),
    Limit(
        "#XM",
        "an SSE exception that is not masked is SIGFPE",
        "never raised",
        "Unicorn does not",
        "0f58c1",
        lambda d: d.encoding.map.startswith("0f") and d.native.signal[0] == signal.SIGFPE,
        prepare=_with(mxcsr=0),
    ),
    Limit(
        "MXCSR.FZ and DAZ",
        "denormal results and operands are 0",
        "FZ changes nothing, DAZ not MAX and MIN",
        "Unicorn sets FZ in the wrong place",
        "0f59c1",
        lambda d: d.encoding.map.startswith("0f") and bool(d.case.before.fp.mxcsr & 0x8040),
        frozenset({"xmm", "mxcsr"}),
        prepare=_with(mxcsr=0x9FC0),
    ),
    Limit(
        "CMPXCHG of a 32-bit register, unequal",
        "AMD leaves the destination alone",
        "its upper half is cleared",
        "another vendor",
        "0fb1f1",
        lambda d: d.encoding.is_0f(0xB1) and d.encoding.is_register_form,
    ),
    Limit(
        "CMPS with two faults",
        "either operand may fault first",
        "the other",
        "the manual leaves it open",
        "f3a6",
        lambda d: (
            d.encoding.map == "" and d.encoding.op in (0xA6, 0xA7) and d.native.ended == "signal"
        ),
        frozenset({"si_addr", "signal"}),
        steered=False,
        on_every_host=False,
    ),
    Limit(
        "LOCK MOV CR0",
        "AMD's MOV CR8: #GP",
        "#UD",
        "another vendor",
        "f00f20c0",
        lambda d: d.encoding.is_0f(0x20, 0x22) and 0xF0 in d.encoding.prefixes,
    ),
    Limit(
        "FXSAVE",
        "reserved bytes are written; MXCSR_MASK has AMD's bit 17",
        "they are not; it has not",
        "another model; Unicorn leaves them",
        "0fae07",
        lambda d: d.encoding.is_0f(0xAE) and d.encoding.reg == 0,
        frozenset({"memory"}),
    ),
    Limit(
        "x87",
        "flags, stack faults, results and unmasked exceptions by the manual",
        "no PE and C1, no stack faults, 53 bits in some functions",
        "Unicorn's x87",
        "d9f1",
        lambda d: d.encoding.is_x87,
    ),
    Limit(
        "PREFETCH",
        "0F 0D /0 is #UD on this host",
        "does nothing, as on Intel",
        "another vendor",
        "0f0d00",
        lambda d: d.encoding.is_0f(0x0D) and d.is_native_ud,
    ),
    Limit(
        "segments",
        "LAR, LSL and loads of segment registers find the kernel's descriptors",
        "there is no GDT: none",
        "a process sees no descriptor table here",
        "0f02c1",
        lambda d: (
            d.encoding.is_0f(0x02, 0x03, 0xB2, 0xB4, 0xB5, 0xA1, 0xA9, 0x00)
            or (d.encoding.map == "" and d.encoding.op in (0x8C, 0x8E))
        ),
        prepare=_with(gpr={1: 0x2B}),
    ),
    Limit(
        "CVTPS2PI of memory",
        "8 bytes are read",
        "16 are",
        "Unicorn's decoder",
        "0f2d07",
        lambda d: d.encoding.is_0f(0x2C, 0x2D) and not d.encoding.is_register_form,
    ),
    Limit(
        "read-modify-write across pages",
        "the page that is checked first is open",
        "another",
        "the manual leaves it open",
        "48d3a0fa0f0000",
        _is_crossing,
        prepare=_with(gpr={0: DATA + DATA_SIZE - PAGE + 1}),
        steered=False,
    ),
    Limit(
        "SHLD, SHRD with an immediate, relative to RIP",
        "the address is relative to the instruction's end",
        "#UD",
        "Unicorn's decoder forgets the immediate: stopped before it",
        "0fa40d0004200005",
        lambda d: d.encoding.is_0f(0xA4, 0xAC) and d.encoding.modrm & 0xC7 == 5 and d.is_ours_ud,
    ),
    Limit(
        "which NaN",
        "of two NaN operands the first is the result",
        "the one with the larger significand",
        "Unicorn uses x87's rule for SSE",
        "0f58c1",
        _differ_in_nans,
        frozenset({"xmm", "mxcsr"}),
        prepare=_with_nans,
    ),
    Limit(
        "LOCK NEG",
        "done",
        "#UD",
        "Unicorn gets SF and PF wrong: stopped before it",
        "f0f618",
        lambda d: (
            d.encoding.map == ""
            and d.encoding.op in (0xF6, 0xF7)
            and d.encoding.reg == 3
            and 0xF0 in d.encoding.prefixes
            and d.is_ours_ud
        ),
    ),
    Limit(
        "FXRSTOR",
        "ES follows from the other bits, reserved bits are dropped",
        "taken as they are in memory",
        "Unicorn loads what it finds",
        "0fae0f",
        lambda d: d.encoding.is_0f(0xAE) and d.encoding.reg == 1,
    ),
    Limit(
        "approximations",
        "RCP and RSQRT by the host's tables",
        "exact, rounded",
        "the manual bounds the error only",
        "0f53c1",
        lambda d: d.encoding.is_0f(0x52, 0x53),
        frozenset({"xmm"}),
    ),
    Limit(
        "BSF, BSR of 0",
        "the destination is left alone (the manual: undefined)",
        "its upper half is cleared",
        "undefined",
        "0fbdd2",
        _is_zero_source,
        prepare=_with(gpr={2: 0x1234 << 32}),
    ),
    Limit(
        "SHLD, SHRD by more than 16",
        "of a 16-bit operand: undefined",
        "another value",
        "undefined",
        "660fa4c811",
        lambda d: d.encoding.is_0f(0xA4, 0xA5, 0xAC, 0xAD) and d.encoding.has66,
    ),
    Limit(
        "RETF",
        "AMD reads the stack's parts in another order: #PF before #GP",
        "#GP first",
        "another vendor",
        "ca0030",
        lambda d: d.encoding.map == "" and d.encoding.op in (0xCA, 0xCB),
    ),
    Limit(
        "F2 and F3",
        "the last of them counts",
        "#UD",
        "Unicorn takes F2: stopped before it",
        "f2f3ae",
        lambda d: 0xF2 in d.encoding.prefixes and 0xF3 in d.encoding.prefixes and d.is_ours_ud,
    ),
    Limit(
        "LOOPcc with F2 or F3",
        "this AMD processor takes ZF's value from the prefix; the manual: reserved",
        "the prefix is ignored",
        "reserved",
        "f2e110",
        lambda d: d.encoding.map == "" and d.encoding.op in (0xE0, 0xE1) and d.encoding.rep != 0,
    ),
    Limit(
        "RET imm16 of 32768 and more",
        "RSP grows by it",
        "#UD",
        "Unicorn takes it for negative: stopped before it",
        "c20090",
        _pops_sign,
    ),
    Limit(
        "FS or GS and another segment prefix",
        "the other is ignored",
        "#UD",
        "Unicorn ignores FS and GS then: stopped before it",
        "643e8b03",
        _has_dropped_segment,
    ),
    Limit(
        "hint NOPs",
        "0F 18 to 0F 1F do nothing in all their forms",
        "#UD, or memory is accessed",
        "Unicorn's decoder takes them for MPX or does not know them",
        "0f18d8",
        lambda d: d.encoding.is_0f(*range(0x18, 0x20)),
    ),
    Limit(
        "SGDT and its like",
        "the kernel emulates them where the processor has UMIP",
        "executed; a Westmere has no UMIP",
        "another model",
        "0f01e0",
        lambda d: d.encoding.is_0f(0x00, 0x01) and d.encoding.mnemonic in _SYSTEM_REGISTERS,
    ),
    Limit(
        "time and identity",
        "the host's",
        "virtual",
        "not deterministic",
        "0f31",
        lambda d: d.encoding.mnemonic in ("rdtsc", "rdtscp", "cpuid"),
        frozenset({"rax", "rbx", "rcx", "rdx"}),
    ),
    Limit(
        "bit offset far from its operand",
        "#SS if the stack segment is used",
        "#GP",
        "the address is found from the operand, without the bit offset",
        "480fab4424f8",
        lambda d: (
            d.encoding.is_0f(0xA3, 0xAB, 0xB3, 0xBB)
            and d.native.signal[:2] == (signal.SIGBUS, "SI_KERNEL")
        ),
    ),
)


def explain(d: Difference) -> list[Limit]:
    """The entries that explain the difference between them; empty if they leave a part of it
    unexplained.
    """
    found = [limit for limit in LIMITS if limit.matches(d)]
    whole = [limit for limit in found if limit.parts is None]
    if whole:
        return whole[:1]
    left, used = set(d.parts), []
    for limit in found:
        if limit.parts is not None and left & limit.parts:
            left -= limit.parts
            used.append(limit)
    return [] if left else used
