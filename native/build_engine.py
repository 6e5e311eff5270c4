# SPDX-License-Identifier: GPL-2.0-or-later
"""Build ``cpu._engine``: Unicorn's hooks, and walls of the host's kernel, in C.

It is linked with neither libunicorn nor ``mmu._native``: it calls both through tables of
function pointers that Python fills, and shares only the layouts of their structs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cffi

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from native import cdef

CALLBACKS = """
extern "Python" u32 python_refill(void *unit, u64 va, u32 access, u32 privilege,
                                  void *translation);
extern "Python" u32 python_translate(void *unit, u64 va, u32 access, u32 privilege,
                                     void *translation);
extern "Python" void python_page_fault(void *unit, u64 va, u32 error_code);
extern "Python" u32 python_walk(void *unit, u64 va, u32 access, u32 privilege, u32 mode,
                                void *walk);
extern "Python" void python_invlpg(void *unit, u64 va);
extern "Python" u32 python_invpcid(void *unit, u32 type, u64 pcid, u64 va);
extern "Python" u32 python_write_cr0(void *unit, u64 value);
extern "Python" u32 python_write_cr3(void *unit, u64 value);
extern "Python" u32 python_write_cr4(void *unit, u64 value);
extern "Python" u32 python_write_efer(void *unit, u64 value);
extern "Python" u32 python_write_pkru(void *unit, u64 value);
extern "Python" void settle_exit(struct vcpu *vcpu);
extern "Python" void python_tables_changed(void *unit);
extern "Python" u32 attached_fault(struct vcpu *v);
"""

_headers = cdef.in_include_order(("host", "unicorn"))
_sources = cdef.sources("host", "unicorn")
_cdef = cdef.table_sizes() + cdef.declarations(_headers)

cdef.require_defined(_cdef, _sources)

ffi = cffi.FFI()
ffi.cdef(_cdef + CALLBACKS)
ffi.set_source(
    "cpu._engine",
    '#include "trace/ring.h"\n' + cdef.includes(_headers),
    sources=_sources,
    depends=cdef.inputs(),
    include_dirs=["native", cdef.unicorn_include()],
    define_macros=cdef.MACROS,
    extra_compile_args=cdef.COMPILE_ARGS,
    extra_link_args=cdef.LINK_ARGS,
)
