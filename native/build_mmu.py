# SPDX-License-Identifier: GPL-2.0-or-later
"""Build ``mmu._native``: guest RAM, page walk, TLB, Linux mm and event ring, without Unicorn."""

from __future__ import annotations

import sys
from pathlib import Path

import cffi

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from native import cdef

FOLDERS = ("trace", "memory", "x86", "mm")
CALLBACKS = """
extern "Python" void event_ring_full(struct event_ring *ring, void *arg);
extern "Python" bool kernel_wait_for_lock(struct kernel *kernel, u32 *lock, u32 kind);
extern "Python" void kernel_run_calls(struct kernel *kernel, u32 cpu);
extern "Python" void kernel_flush_others(struct mm_struct *mm, const struct flush_tlb_info *info);
extern "Python" void kernel_sync_one(struct kernel *kernel);
extern "Python" void kernel_lockdep(struct kernel *kernel, u32 what, u64 lock, u32 kind);
"""

_headers = cdef.in_include_order(FOLDERS)
_sources = cdef.sources(*FOLDERS)
_cdef = cdef.table_sizes() + cdef.declarations(_headers)

cdef.require_defined(_cdef, _sources)

ffi = cffi.FFI()
ffi.cdef(_cdef + CALLBACKS)
ffi.set_source(
    "mmu._native",
    # as native/mm/site.h has it: Python calls the functions of the plain names
    "#define UCMMU_MM_PLAIN_NAMES\n" + cdef.includes(_headers),
    sources=_sources,
    depends=cdef.inputs(),
    include_dirs=["native"],
    define_macros=cdef.MACROS,
    extra_compile_args=cdef.COMPILE_ARGS,
    extra_link_args=cdef.LINK_ARGS,
)
