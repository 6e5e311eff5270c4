# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual machine that executes one access in a given state of tables and registers, and what it
is.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, Final

from mmu.x86.entries import X86_A, X86_D
from mmu.x86.registers import CR4_PKE, Feature, Vendor, is_canonical
from tests.oracles.kvm import layout
from tests.oracles.kvm.access import FETCH, Pointer, State, Verdict
from tests.oracles.kvm.build import load
from tests.oracles.kvm.kind import Kind, find_kind
from tests.oracles.kvm.layout import Placed

_FEATURE_BITS: Final = {
    Feature.PGE: (1, "edx", 13),
    Feature.PCID: (1, "ecx", 17),
    Feature.SMEP: (7, "ebx", 7),
    Feature.INVPCID: (7, "ebx", 10),
    Feature.SMAP: (7, "ebx", 20),
    Feature.PKU: (7, "ecx", 3),
    Feature.LA57: (7, "ecx", 16),
    Feature.NX: (0x8000_0001, "edx", 20),
    Feature.PAGE1GB: (0x8000_0001, "edx", 26),
}
"""Where CPUID says that a processor has a feature: leaf, register, bit (SDM vol. 2A, CPUID)."""
_VENDOR_WORDS: Final = {Vendor.INTEL: b"GenuineIntel", Vendor.AMD: b"AuthenticAMD"}
_CAP_SMALLER_MAXPHYADDR: Final = 185
_WRPKRU: Final = bytes.fromhex("31c931d20f01efb80f000000")
"""xor ecx, ecx; xor edx, edx; wrpkru; mov eax, LDT_SELECTOR"""


NOTHING: Final = Feature(0)


class Unavailable(Exception):
    """There is no KVM here, or it cannot make the machine asked for: why."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What CPUID is to say to the guest that KVM did not offer: more features, a vendor, a width of
    addresses.
    """

    extra: Feature = NOTHING
    vendor: Vendor | None = None
    maxphyaddr: int | None = None


class Machine:
    """A virtual machine with one processor, ready to execute. Raises Unavailable."""

    def __init__(self, processor: Processor = Processor()) -> None:
        kind = find_kind()
        if not os.path.exists("/dev/kvm"):
            raise Unavailable("there is no /dev/kvm")
        if kind is None:
            raise Unavailable("/dev/kvm is there, but none of kvm_intel, kvm_amd and kvm_pvm")
        self.kind: Kind = kind
        module = load()
        self._ffi, self._lib = module.ffi, module.lib
        self._c = self._ffi.new("struct kvm_machine *")
        stage = self._ffi.new("const char **")
        error = self._lib.machine_open(self._c, layout.RAM, stage)
        try:
            if error:
                step = self._ffi.string(stage[0]).decode()
                raise Unavailable(f"{kind.module}: {step}: {os.strerror(-error)}")
            self._set_cpuid(processor)
        except Unavailable:
            self._lib.machine_close(self._c)
            raise
        self._ram = memoryview(self._ffi.buffer(self._c.ram, layout.RAM)).cast("B")
        self._words = self._ram.cast("Q")
        self._state = self._ffi.new("struct kvm_state *")
        self._ending = self._ffi.new("struct kvm_ending *")
        self._window = layout.WINDOWS
        for pa, data in layout.fixed_bytes():
            self._ram[pa : pa + len(data)] = data

    def close(self) -> None:
        """End the machine."""
        self._words.release()
        self._ram.release()
        self._lib.machine_close(self._c)

    def __str__(self) -> str:
        names = "+".join(feature.name or "" for feature in Feature if feature in self.features)
        return f"{self.kind}; guest: {self.vendor.name}, MAXPHYADDR {self.maxphyaddr}, {names}"

    def _set_cpuid(self, processor: Processor) -> None:
        leaves = self._ffi.new("struct kvm_cpuid_leaf[256]")
        nr = self._lib.machine_supported_cpuid(self._c, leaves, 256)
        if nr < 0:
            raise Unavailable(f"{self.kind.module}: KVM_GET_SUPPORTED_CPUID: {os.strerror(-nr)}")
        by_function = {leaf.function: leaf for leaf in leaves[0:nr] if leaf.index == 0}
        self.offered = _features(by_function)
        """The features that KVM says it supports."""
        _adapt(by_function, processor)
        if (
            processor.maxphyaddr
            and self._lib.machine_extension(self._c, _CAP_SMALLER_MAXPHYADDR) != 1
        ):
            raise Unavailable(
                f"{self.kind.module} has no guest with fewer physical addresses than its host"
            )
        error = self._lib.machine_set_cpuid(self._c, leaves, nr)
        if error:
            raise Unavailable(f"{self.kind.module}: KVM_SET_CPUID2: {os.strerror(-error)}")
        self.features = _features(by_function)
        self.maxphyaddr = int(by_function[0x8000_0008].eax & 0xFF)
        self.vendor = (
            Vendor.AMD
            if _vendor_word(by_function[0]) != _VENDOR_WORDS[Vendor.INTEL]
            else Vendor.INTEL
        )

    def execute(
        self,
        state: State,
        *,
        idt: int = layout.CODE + layout.IDT,
        milliseconds: int = 2000,
        keep_data: bool = False,
    ) -> tuple[Placed, Verdict]:
        """Execute the state's instruction; where its tables lay, and how it ended.

        ``idt`` is IDTR's base. What the instruction wrote is undone, unless ``keep_data``.
        """
        placed = layout.place(state, self._next_window())
        for pa, word in placed.words():
            self._words[pa >> 3] = word
        self._put_data(state)
        end = self._load(state, placed)
        self._state.idt_base = idt
        self._lib.machine_execute(self._c, self._state, milliseconds, self._ending)
        verdict = self._verdict(state, placed, end)
        for pa, _ in placed.words():
            self._words[pa >> 3] = 0
        if not keep_data:
            self.clear_data(state)
        return placed, verdict

    def read_data(self, va: int, size: int) -> bytes:
        """The bytes that a leaf for va leads to."""
        pa = layout.data_of(va)
        return bytes(self._ram[pa : pa + size])

    def _next_window(self) -> int:
        """A window that KVM has seen no tables in."""
        window = self._window
        self._window += layout.WINDOW
        if self._window + layout.WINDOW > layout.RAM:
            self._window = layout.WINDOWS
            error = self._lib.machine_forget(self._c)
            assert error == 0, os.strerror(-error)
        return window

    def _put_data(self, state: State) -> None:
        if state.instruction.pointer is Pointer.LDTR:
            pa = layout.data_of(state.va)
            self._ram[pa : pa + 8] = struct.pack("<Q", layout.DESCRIPTOR)

    def clear_data(self, state: State) -> None:
        """Put back what lay where the state's access goes."""
        pa = layout.data_of(state.va)
        self._ram[pa : pa + 8] = bytes([layout.HLT]) * 8

    def _load(self, state: State, placed: Placed) -> int:
        """Set the processor up; the address of the HLT that follows the access."""
        s, instruction, va = self._state, state.instruction, state.va
        start = layout.CODE_CPL3 if state.cpl else layout.CODE_CPL0
        code = (_WRPKRU if state.cr4 & CR4_PKE else b"") + instruction.code
        self._ram[start : start + len(code) + 1] = code + bytes([layout.HLT])
        s.cr0, s.cr3, s.cr4, s.efer = state.cr0, placed.cr3, state.cr4, state.efer
        s.rip, s.rflags, s.cpl = layout.CODE + start, state.rflags, state.cpl
        s.rsi, s.rcx = va, 0
        s.rax = state.pkru if state.cr4 & CR4_PKE else layout.LDT_SELECTOR
        s.rsp = layout.CODE + layout.STACK
        if instruction.pointer is Pointer.RSP:
            s.rsp = va + 8 & (1 << 64) - 1 if instruction.pushes else va
        s.ldt_base = va - 8 & (1 << 64) - 1 if instruction.pointer is Pointer.LDTR else layout.CODE
        s.gdt_base, s.tss_base = layout.CODE + layout.GDT, layout.CODE + layout.TSS
        return va if instruction is FETCH else layout.CODE + start + len(code)

    def _verdict(self, state: State, placed: Placed, end: int) -> Verdict:
        e = self._ending
        bits = tuple(self._words[pa >> 3] & (X86_A | X86_D) for pa, _ in placed.entries)
        if e.how != self._lib.ENDED_HLT:
            return Verdict(None, accessed_dirty=bits, text=self._describe_ending())
        vector, place = divmod(e.rip - 1 - layout.CODE - layout.HANDLERS, 16)
        if place or not 0 <= vector < 32:
            text = "" if e.rip - 1 == end else f"HLT at {e.rip - 1:#x}, not at {end:#x}"
            return Verdict(None, accessed_dirty=bits, text=text)
        frame = e.rsp - layout.CODE
        error_code, rip = self._words[frame >> 3], self._words[(frame >> 3) + 1]
        if vector == 13 and state.cpl == 3 and rip == end and is_canonical(end, state.levels):
            return Verdict(None, accessed_dirty=bits)
        if vector == 14:
            return Verdict(14, error_code, e.cr2, bits)
        return Verdict(vector, error_code, accessed_dirty=bits)

    def _describe_ending(self) -> str:
        e, lib = self._ending, self._lib
        names = {
            lib.ENDED_SHUTDOWN: "triple fault",
            lib.ENDED_TIMEOUT: "no end",
            lib.ENDED_OTHER: f"exit {e.exit_reason}",
            lib.ENDED_REFUSED: f"registers refused: {os.strerror(e.exit_reason)}",
        }
        return names[e.how]


def _vendor_word(leaf: Any) -> bytes:
    return struct.pack("<3I", leaf.ebx, leaf.edx, leaf.ecx)


def _features(by_function: dict[int, Any]) -> Feature:
    found = Feature(0)
    for feature, (function, register, bit) in _FEATURE_BITS.items():
        if function in by_function and getattr(by_function[function], register) >> bit & 1:
            found |= feature
    return found


def _adapt(by_function: dict[int, Any], processor: Processor) -> None:
    """Have the leaves say what the processor is to be."""
    for feature, (function, register, bit) in _FEATURE_BITS.items():
        if feature in processor.extra:
            leaf = by_function[function]
            setattr(leaf, register, getattr(leaf, register) | 1 << bit)
    if processor.vendor is not None:
        for function in (0, 0x8000_0000):
            leaf = by_function[function]
            leaf.ebx, leaf.edx, leaf.ecx = struct.unpack("<3I", _VENDOR_WORDS[processor.vendor])
    if processor.maxphyaddr is not None:
        leaf = by_function[0x8000_0008]
        leaf.eax = leaf.eax & ~0xFF | processor.maxphyaddr
