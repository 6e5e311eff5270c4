# SPDX-License-Identifier: GPL-2.0-or-later
"""How ``cpu._engine`` reaches libunicorn, libcapstone and ``mmu._native``: tables of function
addresses.

The engine is linked with none of them. Unicorn's and capstone's functions come from the libraries
their Python packages loaded; the MMU's come from ``mmu._native``, or, with the Python engine, from
the callbacks below, which answer from the ``Mmu`` that owns the unit.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from unicorn.unicorn_py3 import unicorn as unicorn_binding

from cpu._engine import ffi, lib
from mmu._native import ffi as mmu_ffi
from mmu._native import lib as mmu_lib
from mmu.errors import MmuError

if TYPE_CHECKING:
    from mmu.x86 import Mmu, Translation

PRIVATE_VERSION: Final = 0x020104FF
"""uc_version() of 2.1.4, the one whose private parts native/unicorn/private.c knows."""
_ABORTED: Final = 65
"""A result of no XLATE_* value: the callback raised."""

_UC_FUNCTIONS: Final = (
    "open", "close", "emu_start", "emu_stop", "hook_add", "hook_del", "ctl", "reg_read",
    "reg_write", "reg_read_batch", "reg_write_batch", "mem_map", "mem_read", "mem_write",
    "context_alloc", "context_save", "context_restore", "context_free", "context_size",
    "context_reg_read", "context_reg_write", "context_reg_read_batch", "context_reg_write_batch",
)  # fmt: skip
_PRIVATE_FUNCTIONS: Final = (
    "tlb_flush_page", "tlb_set_page", "cpu_restore_state", "find_memory_mapping",
    "memory_region_get_ram_addr", "cpu_get_address_space", "address_space_map",
    "qemu_ram_addr_from_host", "tb_invalidate_phys_range",
)  # fmt: skip
_MMU_FUNCTIONS: Final = {
    "refill": "mmu_refill",
    "translate": "mmu_translate",
    "page_fault": "mmu_page_fault",
    "invlpg": "mmu_invlpg",
    "invpcid": "mmu_invpcid",
    "write_cr0": "mmu_write_cr0",
    "write_cr3": "mmu_write_cr3",
    "write_cr4": "mmu_write_cr4",
    "write_efer": "mmu_write_efer",
    "write_pkru": "mmu_write_pkru",
    "tables_changed": "mmu_tables_changed",
    "walk": "mmu_walk",
    "hit": "mmu_hit",
    "touch": "mmu_touch",
    "ring_emit": "ring_emit",
    "take_code": "take_freed_code",
    "free_code": "memory_free_code",
    "code_stored": "note_code_stored",
    "code_fetched": "note_code_fetched",
    "set_cpu": "set_this_cpu",
}
_CS_ARCH_X86: Final = 3
_CS_MODE_64: Final = 1 << 3
"""Of capstone.h, 5.0."""
_UNICORN: Any = unicorn_binding.uclib


def function_address(function: Any) -> Any:
    """A function of ctypes as C calls it."""
    return ffi.cast("void *", ctypes.cast(function, ctypes.c_void_p).value or 0)


def _version() -> int:
    return int(_UNICORN.uc_version(None, None))


def _libcapstone() -> Any:
    """The library, from where capstone's Python package would load it.

    The package itself takes longer to import than a short guest runs, so it is asked only where its
    library is not in the place that its wheels have it.
    """
    spec = importlib.util.find_spec("capstone")
    if spec is not None and spec.origin and "LIBCAPSTONE_PATH" not in os.environ:
        path = os.path.join(os.path.dirname(spec.origin), "lib", "libcapstone.so")
        if os.path.exists(path):
            return ctypes.CDLL(path)
    import capstone

    return capstone._cs


class Decoder:
    """A capstone handle for 64-bit code, and room for one instruction: for one instance, whose
    thread alone uses it. Raises MmuError.
    """

    def __init__(self) -> None:
        """Open the handle; it is closed with this object."""
        library = _capstone()
        handle = ctypes.c_size_t()
        error = library.cs_open(_CS_ARCH_X86, _CS_MODE_64, ctypes.byref(handle))
        if error:
            raise MmuError(f"capstone cannot decode x86-64 code: cs_open() returns {error}")
        insn = library.cs_malloc(handle)
        self.handle = handle.value
        self.insn = int(insn)
        weakref.finalize(self, _close_decoder, library, handle, insn).atexit = False


def _close_decoder(library: Any, handle: Any, insn: int) -> None:
    library.cs_free(insn, ctypes.c_size_t(1))
    library.cs_close(ctypes.byref(handle))


@cache
def _capstone() -> Any:
    """libcapstone, its functions told their types."""
    library = _libcapstone()
    library.cs_malloc.restype = ctypes.c_void_p
    library.cs_malloc.argtypes = [ctypes.c_size_t]
    library.cs_free.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


def api_with(decoder: Decoder) -> Any:
    """The ``struct uc_api`` for an instance that decodes with this."""
    api = ffi.new("struct uc_api *", uc_api()[0])
    api.cs_handle = decoder.handle
    api.cs_insn = ffi.cast("void *", decoder.insn)
    return api


@cache
def uc_api() -> Any:
    """The ``struct uc_api`` of this process, but for a decoder."""
    api = ffi.new("struct uc_api *")
    for name in _UC_FUNCTIONS:
        setattr(api, name, function_address(getattr(_UNICORN, f"uc_{name}")))
    if _version() == PRIVATE_VERSION:
        for name in ("vmem_translate", "mmio_map"):  # for the self-test
            setattr(api, name, function_address(getattr(_UNICORN, f"uc_{name}")))
        for name in _PRIVATE_FUNCTIONS:
            function = getattr(_UNICORN, f"{name}_x86_64", None)
            if function is not None:
                setattr(api, name, function_address(function))
    api.cs_disasm_iter = function_address(_capstone().cs_disasm_iter)
    return api


@cache
def private_parts() -> int:
    """PRIVATE_* bits that may be used: none with UCMMU_PRIVATE=0 or another Unicorn, else those
    that work.
    """
    api = uc_api()
    if os.environ.get("UCMMU_PRIVATE") == "0" or _version() != PRIVATE_VERSION:
        return 0
    if not all(getattr(api, name) for name in _PRIVATE_FUNCTIONS):
        return 0
    return int(lib.private_self_test(api, lib.PRIVATE_ALL))


@cache
def env_places() -> Any:
    """The ``struct env_places`` of this process; all unknown where private parts do without."""
    places = ffi.new("struct env_places *")
    if not private_parts() & lib.PRIVATE_ENV:
        lib.find_places(uc_api(), places)
    return places


def mmu_api(mmu: Mmu, *, fast_faults: bool) -> Any:
    """The ``struct mmu_api`` for this MMU's engine; with fast_faults, faults are resolved in the
    fill hook.
    """
    _check_layouts()
    api = ffi.new("struct mmu_api *")
    for field, name in _MMU_FUNCTIONS.items():
        setattr(api, field, _native(name))
    if mmu.check is not None:
        api.translate = _native("mmu_translate_checked")
    if fast_faults:
        api.fast_fault = _native("mm_fast_fault")
    if mmu.engine == "python":
        _mmus[int(mmu_ffi.cast("uintptr_t", mmu.c))] = mmu
        api.hit = api.touch = ffi.NULL
        for field in _PYTHON_FUNCTIONS:
            setattr(api, field, ffi.cast("void *", getattr(lib, f"python_{field}")))
    return api


def foreign(pointer: Any) -> Any:
    """A pointer of ``mmu._native`` as ``cpu._engine`` takes it: as void *."""
    return ffi.cast("void *", int(mmu_ffi.cast("uintptr_t", pointer)))


def _native(name: str) -> Any:
    return foreign(mmu_ffi.addressof(mmu_lib, name))


@cache
def _check_layouts() -> None:
    layout = ffi.new("struct layout *")
    for prefix, struct, last in (
        ("memory", "memory", "ring"),
        ("unit", "mmu_unit", "tlb"),
        ("ring", "event_ring", "arg"),
        ("mm", "mm_struct", "vmas"),
        ("cpu", "cpu", "code_written"),
        ("kernel", "kernel", "cpu"),
        ("translation", "translation", "error_code"),
    ):
        setattr(layout, f"{prefix}_size", mmu_ffi.sizeof(f"struct {struct}"))
        setattr(layout, f"{prefix}_{last}", mmu_ffi.offsetof(f"struct {struct}", last))
    mismatch = lib.layout_mismatch(layout)
    if mismatch != ffi.NULL:
        raise MmuError(
            f"cpu._engine and mmu._native disagree about {ffi.string(mismatch).decode()}:"
            " rebuild both"
        )


# What Python raises inside a callback.


_thread = threading.local()


def take_raised() -> BaseException | None:
    """What a callback raised during this thread's last run, once."""
    error: BaseException | None = getattr(_thread, "raised", None)
    _thread.raised = None
    return error


def _keep(_kind: type[BaseException], error: BaseException, _traceback: Any) -> None:
    _thread.raised = error


# Faults of attached instances.


class Answering(Protocol):
    """Who is asked about the faults of an instance: cpu.attached.Attached."""

    c: Any

    def answer_fault(self) -> int:
        """What becomes of the fault in the vCPU's exit: FAULT_*."""

    def settle_exit(self) -> None:
        """Complete the fault in the vCPU's exit: its exact address, #SS or #GP."""


_attached: weakref.WeakValueDictionary[int, Answering] = weakref.WeakValueDictionary()


def on_fault() -> Any:
    """What C calls for a fault in an attached instance."""
    return ffi.cast("void *", lib.attached_fault)


def answer_faults(attached: Answering) -> None:
    """Faults of this instance go to its answer_fault() from now on."""
    _attached[int(ffi.cast("uintptr_t", attached.c))] = attached


@ffi.def_extern(onerror=_keep, error=lib.FAULT_ABORT)
def attached_fault(vcpu: Any) -> int:
    """A guest's fault, inside the fill hook."""
    return _attached[int(ffi.cast("uintptr_t", vcpu))].answer_fault()


@ffi.def_extern(onerror=_keep)
def settle_exit(vcpu: Any) -> None:
    """Before a fault is delivered of which C does not know all."""
    _attached[int(ffi.cast("uintptr_t", vcpu))].settle_exit()


# The Python engine's side.

_PYTHON_FUNCTIONS: Final = (
    "refill", "translate", "page_fault", "invlpg", "invpcid", "write_cr0", "write_cr3",
    "write_cr4", "write_efer", "write_pkru", "tables_changed", "walk",
)  # fmt: skip
_mmus: weakref.WeakValueDictionary[int, Mmu] = weakref.WeakValueDictionary()


def _mmu(unit: Any) -> Mmu:
    return _mmus[int(ffi.cast("uintptr_t", unit))]


def _answer(out: Any, translation: Translation) -> int:
    t = mmu_ffi.cast("struct translation *", int(ffi.cast("uintptr_t", out)))
    t.pa, t.perms, t.level = translation.pa, translation.perms, translation.level
    t.result, t.error_code = int(translation.result), translation.error_code
    t.memory_type = translation.memory_type
    return int(translation.result)


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_refill(unit: Any, va: int, access: int, privilege: int, out: Any) -> int:
    """mmu_refill() of the Python engine."""
    return _answer(out, _mmu(unit).refill(va, access, user=privilege))


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_translate(unit: Any, va: int, access: int, privilege: int, out: Any) -> int:
    """mmu_translate() of the Python engine."""
    return _answer(out, _mmu(unit).translate(va, access, user=privilege))


@ffi.def_extern(onerror=_keep)
def python_page_fault(unit: Any, va: int, error_code: int) -> None:
    """mmu_page_fault() of the Python engine."""
    _mmu(unit).page_fault(va, error_code)


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_walk(unit: Any, va: int, access: int, privilege: int, mode: int, out: Any) -> int:
    """mmu_walk() of the Python engine, as far as a prober needs it: pa and result."""
    walk = _mmu(unit).walk(va, access, user=privilege, mode=mode)
    w = mmu_ffi.cast("struct walk *", int(ffi.cast("uintptr_t", out)))
    w.pa, w.result = walk.pa, int(walk.result)
    return int(walk.result)


@ffi.def_extern(onerror=_keep)
def python_invlpg(unit: Any, va: int) -> None:
    """mmu_invlpg() of the Python engine."""
    _mmu(unit).invlpg(va)


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_invpcid(unit: Any, kind: int, pcid: int, va: int) -> int:
    """mmu_invpcid() of the Python engine."""
    return int(_mmu(unit).invpcid(kind, pcid, va))


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_write_cr0(unit: Any, value: int) -> int:
    """mmu_write_cr0() of the Python engine."""
    return int(_mmu(unit).write_cr0(value))


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_write_cr3(unit: Any, value: int) -> int:
    """mmu_write_cr3() of the Python engine."""
    return int(_mmu(unit).write_cr3(value))


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_write_cr4(unit: Any, value: int) -> int:
    """mmu_write_cr4() of the Python engine."""
    return int(_mmu(unit).write_cr4(value))


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_write_efer(unit: Any, value: int) -> int:
    """mmu_write_efer() of the Python engine."""
    return int(_mmu(unit).write_efer(value))


@ffi.def_extern(onerror=_keep, error=_ABORTED)
def python_write_pkru(unit: Any, value: int) -> int:
    """mmu_write_pkru() of the Python engine."""
    return int(_mmu(unit).write_pkru(value))


@ffi.def_extern(onerror=_keep)
def python_tables_changed(unit: Any) -> None:
    """mmu_tables_changed() of the Python engine."""
    _mmu(unit).tables_changed()
