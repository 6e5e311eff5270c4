# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of cpu._engine; written by native/stubs.py from the headers: do not edit."""

from typing import Any, Final, Literal, overload

from mmu._native import Array, BaseFFI, CData, IntegerPtr, Integers, Ptr, Struct

class struct_uc_api(Struct[struct_uc_api_ptr]):
    open: CData
    close: CData
    emu_start: CData
    emu_stop: CData
    hook_add: CData
    hook_del: CData
    ctl: CData
    reg_read: CData
    reg_write: CData
    reg_read_batch: CData
    reg_write_batch: CData
    mem_map: CData
    mem_read: CData
    mem_write: CData
    vmem_translate: CData
    context_alloc: CData
    context_save: CData
    context_restore: CData
    context_free: CData
    context_size: CData
    context_reg_read: CData
    context_reg_write: CData
    context_reg_read_batch: CData
    context_reg_write_batch: CData
    mmio_map: CData
    tlb_flush_page: CData
    tlb_set_page: CData
    cpu_restore_state: CData
    find_memory_mapping: CData
    memory_region_get_ram_addr: CData
    cpu_get_address_space: CData
    address_space_map: CData
    qemu_ram_addr_from_host: CData
    tb_invalidate_phys_range: CData
    cs_disasm_iter: CData
    cs_handle: int
    cs_insn: CData

class struct_uc_api_ptr(struct_uc_api, Ptr[struct_uc_api]): ...

class struct_mmu_api(Struct[struct_mmu_api_ptr]):
    refill: CData
    translate: CData
    page_fault: CData
    tables_changed: CData
    invlpg: CData
    invpcid: CData
    write_cr0: CData
    write_cr3: CData
    write_cr4: CData
    write_efer: CData
    write_pkru: CData
    walk: CData
    hit: CData
    touch: CData
    fast_fault: CData
    ring_emit: CData
    take_code: CData
    free_code: CData
    code_stored: CData
    code_fetched: CData
    set_cpu: CData

class struct_mmu_api_ptr(struct_mmu_api, Ptr[struct_mmu_api]): ...

class struct_layout(Struct[struct_layout_ptr]):
    memory_size: int
    memory_ring: int
    unit_size: int
    unit_tlb: int
    ring_size: int
    ring_arg: int
    mm_size: int
    mm_vmas: int
    cpu_size: int
    cpu_code_written: int
    kernel_size: int
    kernel_cpu: int
    translation_size: int
    translation_error_code: int

class struct_layout_ptr(struct_layout, Ptr[struct_layout]): ...

class struct_env_places(Struct[struct_env_places_ptr]):
    at: Array[int]

class struct_env_places_ptr(struct_env_places, Ptr[struct_env_places]): ...

class struct_vcpu_region(Struct[struct_vcpu_region_ptr]):
    base: int
    size: int
    perms: int

class struct_vcpu_region_ptr(struct_vcpu_region, Ptr[struct_vcpu_region]): ...

class struct_vcpu_config(Struct[struct_vcpu_config_ptr]):
    uc: CData
    mmu: CData
    mm: CData
    cpu: CData
    ring: CData
    fidelity: int
    count: int
    private: int
    attached: int
    identity: int
    on_fault: CData
    deliver: int
    settle_exit: CData
    places: struct_env_places

class struct_vcpu_config_ptr(struct_vcpu_config, Ptr[struct_vcpu_config]): ...

class struct_vm_exit(Struct[struct_vm_exit_ptr]):
    reason: int
    vector: int
    error_code: int
    access: int
    exact: int
    uc_err: int
    intercept: int
    length: int
    address: int
    rip: int
    insn: int
    nr: int
    arg: Array[int]
    rsp: int

class struct_vm_exit_ptr(struct_vm_exit, Ptr[struct_vm_exit]): ...

class struct_vcpu_shared(Struct[struct_vcpu_shared_ptr]):
    exit: struct_vm_exit
    count: int
    result: int
    has_result: int
    private: int
    repairs: int
    broken: int
    miscounts: int
    fills: int
    fast_faults: int
    syscall_hooks: int
    limits: int

class struct_vcpu_shared_ptr(struct_vcpu_shared, Ptr[struct_vcpu_shared]): ...
class struct_vcpu(Struct[struct_vcpu_ptr]): ...
class struct_vcpu_ptr(struct_vcpu, Ptr[struct_vcpu]): ...

class struct_user_regs(Struct[struct_user_regs_ptr]):
    r15: int
    r14: int
    r13: int
    r12: int
    bp: int
    bx: int
    r11: int
    r10: int
    r9: int
    r8: int
    ax: int
    cx: int
    dx: int
    si: int
    di: int
    ip: int
    flags: int
    sp: int
    fs_base: int
    gs_base: int

class struct_user_regs_ptr(struct_user_regs, Ptr[struct_user_regs]): ...
class struct_vcpu_context(Struct[struct_vcpu_context_ptr]): ...
class struct_vcpu_context_ptr(struct_vcpu_context, Ptr[struct_vcpu_context]): ...

class FFI(BaseFFI):
    @overload
    def new(self, cdecl: Literal["struct uc_api *"], init: object = ...) -> struct_uc_api_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct mmu_api *"], init: object = ...) -> struct_mmu_api_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct layout *"], init: object = ...) -> struct_layout_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct env_places *"], init: object = ...
    ) -> struct_env_places_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct vcpu_region *"], init: object = ...
    ) -> struct_vcpu_region_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct vcpu_config *"], init: object = ...
    ) -> struct_vcpu_config_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct vm_exit *"], init: object = ...) -> struct_vm_exit_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct vcpu_shared *"], init: object = ...
    ) -> struct_vcpu_shared_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct user_regs *"], init: object = ...
    ) -> struct_user_regs_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct uc_api[]"], init: object = ...
    ) -> Array[struct_uc_api]: ...
    @overload
    def new(
        self, cdecl: Literal["struct mmu_api[]"], init: object = ...
    ) -> Array[struct_mmu_api]: ...
    @overload
    def new(
        self, cdecl: Literal["struct layout[]"], init: object = ...
    ) -> Array[struct_layout]: ...
    @overload
    def new(
        self, cdecl: Literal["struct env_places[]"], init: object = ...
    ) -> Array[struct_env_places]: ...
    @overload
    def new(
        self, cdecl: Literal["struct vcpu_region[]"], init: object = ...
    ) -> Array[struct_vcpu_region]: ...
    @overload
    def new(
        self, cdecl: Literal["struct vcpu_config[]"], init: object = ...
    ) -> Array[struct_vcpu_config]: ...
    @overload
    def new(
        self, cdecl: Literal["struct vm_exit[]"], init: object = ...
    ) -> Array[struct_vm_exit]: ...
    @overload
    def new(
        self, cdecl: Literal["struct vcpu_shared[]"], init: object = ...
    ) -> Array[struct_vcpu_shared]: ...
    @overload
    def new(
        self, cdecl: Literal["struct user_regs[]"], init: object = ...
    ) -> Array[struct_user_regs]: ...
    @overload
    def new(self, cdecl: Integers, init: object = ...) -> Array[int]: ...
    @overload
    def new(self, cdecl: IntegerPtr, init: object = ...) -> Ptr[int]: ...
    @overload
    def new(self, cdecl: str, init: object = ...) -> Any: ...
    @overload
    def cast(self, cdecl: Literal["struct uc_api *"], value: object) -> struct_uc_api_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct mmu_api *"], value: object) -> struct_mmu_api_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct layout *"], value: object) -> struct_layout_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct env_places *"], value: object
    ) -> struct_env_places_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct vcpu_region *"], value: object
    ) -> struct_vcpu_region_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct vcpu_config *"], value: object
    ) -> struct_vcpu_config_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct vm_exit *"], value: object) -> struct_vm_exit_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct vcpu_shared *"], value: object
    ) -> struct_vcpu_shared_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct vcpu *"], value: object) -> struct_vcpu_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct user_regs *"], value: object) -> struct_user_regs_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct vcpu_context *"], value: object
    ) -> struct_vcpu_context_ptr: ...
    @overload
    def cast(self, cdecl: IntegerPtr, value: object) -> Ptr[int]: ...
    @overload
    def cast(self, cdecl: Literal["char *"], value: object) -> Ptr[bytes]: ...
    @overload
    def cast(self, cdecl: str, value: object) -> CData: ...

class Lib:
    NR_EVENTS: Final[int]
    NR_COUNTERS: Final[int]
    NR_MM_COUNTERS: Final[int]
    NR_KERNEL_COUNTERS: Final[int]
    PAGE_SHIFT: Final[int]
    PAGE_SIZE: Final[int]
    FIDELITY_FAST: Final[int]
    FIDELITY_EXACT: Final[int]
    FIDELITY_TRACE: Final[int]
    EXIT_LIMIT: Final[int]
    EXIT_SYSCALL: Final[int]
    EXIT_PAGE_FAULT: Final[int]
    EXIT_EXCEPTION: Final[int]
    EXIT_BAD_TABLE: Final[int]
    EXIT_STOPPED: Final[int]
    EXIT_ABORTED: Final[int]
    EXIT_ENGINE: Final[int]
    EXIT_SHUTDOWN: Final[int]
    PRIVATE_FILL_ADDRESS: Final[int]
    PRIVATE_CPL: Final[int]
    PRIVATE_FLUSH_PAGE: Final[int]
    PRIVATE_SET_PAGE: Final[int]
    PRIVATE_SKIP_PC: Final[int]
    PRIVATE_LOAD_RIP: Final[int]
    PRIVATE_ASKER: Final[int]
    PRIVATE_RUN: Final[int]
    PRIVATE_HOST: Final[int]
    PRIVATE_ENV: Final[int]
    PRIVATE_CONTEXT: Final[int]
    PRIVATE_HEARING: Final[int]
    PRIVATE_ALL: Final[int]
    INTERCEPT_NONE: Final[int]
    INTERCEPT_UD: Final[int]
    INTERCEPT_GP: Final[int]
    INTERCEPT_INT1: Final[int]
    INTERCEPT_INT3: Final[int]
    INTERCEPT_INTO: Final[int]
    INTERCEPT_RDTSC: Final[int]
    INTERCEPT_RDTSCP: Final[int]
    INTERCEPT_WRONG: Final[int]
    INTERCEPT_EMULATED: Final[int]
    INTERCEPT_STORE_FIRST: Final[int]
    LIMIT_X87_PRECISION: Final[int]
    LIMIT_MXCSR: Final[int]
    FAULT_RAISED: Final[int]
    FAULT_RETRY: Final[int]
    FAULT_ABORT: Final[int]
    NR_SYSCALL_ARGS: Final[int]
    NO_LIMIT: Final[int]
    NR_ENV_WORDS: Final[int]
    REGION_MMIO: Final[int]
    FXSAVE_SIZE: Final[int]
    MXCSR_MASK: Final[int]
    def host_no_new_privs(self) -> int: ...
    def host_leave_namespaces(self) -> int: ...
    def host_drop_capabilities(self) -> int: ...
    def host_landlock_abi(self) -> int: ...
    def host_landlock(self, fds: Ptr[int], readable: int, count: int, /) -> int: ...
    def host_seccomp(self) -> int: ...
    def layout_mismatch(
        self, native: struct_layout_ptr | Array[struct_layout], /
    ) -> Ptr[bytes]: ...
    def private_self_test(
        self, api: struct_uc_api_ptr | Array[struct_uc_api], wanted: int, /
    ) -> int: ...
    def find_places(
        self,
        api: struct_uc_api_ptr | Array[struct_uc_api],
        places: struct_env_places_ptr | Array[struct_env_places],
        /,
    ) -> None: ...
    def private_context_mode(self, uc: CData, /) -> int: ...
    def vcpu_create(
        self,
        config: struct_vcpu_config_ptr | Array[struct_vcpu_config],
        uc: struct_uc_api_ptr | Array[struct_uc_api],
        mmu: struct_mmu_api_ptr | Array[struct_mmu_api],
        /,
    ) -> struct_vcpu_ptr: ...
    def vcpu_unhook(self, v: struct_vcpu_ptr, /) -> None: ...
    def vcpu_set_fidelity(self, v: struct_vcpu_ptr, fidelity: int, /) -> int: ...
    def vcpu_free(self, v: struct_vcpu_ptr, /) -> None: ...
    def vcpu_shared(self, v: struct_vcpu_ptr, /) -> struct_vcpu_shared_ptr: ...
    def vcpu_set_mm(self, v: struct_vcpu_ptr, mm: CData, /) -> None: ...
    def vcpu_run(self, v: struct_vcpu_ptr, limit: int, due: int, /) -> int: ...
    def vcpu_emu_start(
        self,
        v: struct_vcpu_ptr,
        begin: int,
        until: int,
        timeout_us: int,
        count: int,
        exit: struct_vm_exit_ptr | Array[struct_vm_exit],
        /,
    ) -> None: ...
    def vcpu_emu_stop(self, v: struct_vcpu_ptr, /) -> None: ...
    def vcpu_handle_faults(self, v: struct_vcpu_ptr, handled: int, /) -> None: ...
    def vcpu_depth(self, v: struct_vcpu_ptr, /) -> int: ...
    def vcpu_jump(self, v: struct_vcpu_ptr, rip: int, /) -> None: ...
    def vcpu_stop(self, v: struct_vcpu_ptr, /) -> None: ...
    def vcpu_sync(self, v: struct_vcpu_ptr, /) -> None: ...
    def vcpu_take_controls(self, v: struct_vcpu_ptr, /) -> int: ...
    def vcpu_flush(self, v: struct_vcpu_ptr, /) -> None: ...
    def vcpu_drop_code(self, v: struct_vcpu_ptr, pa: int, /) -> None: ...
    def vcpu_skip(self, v: struct_vcpu_ptr, length: int, /) -> None: ...
    def vcpu_enter_user(self, v: struct_vcpu_ptr, rip: int, rsp: int, /) -> int: ...
    def vcpu_add_region(self, v: struct_vcpu_ptr, base: int, size: int, perms: int, /) -> int: ...
    def vcpu_remove_region(self, v: struct_vcpu_ptr, base: int, size: int, /) -> int: ...
    def vcpu_set_regions(
        self,
        v: struct_vcpu_ptr,
        regions: struct_vcpu_region_ptr | Array[struct_vcpu_region],
        nr: int,
        /,
    ) -> int: ...
    def vcpu_host_wrote(self, v: struct_vcpu_ptr, address: int, size: int, /) -> None: ...
    def vcpu_remove_code(self, v: struct_vcpu_ptr, begin: int, end: int, /) -> int: ...
    def vcpu_serve_hooks(self, v: struct_vcpu_ptr, /) -> int: ...
    def vcpu_guard_flags(self, v: struct_vcpu_ptr, begin: int, end: int, /) -> int: ...
    def vcpu_unguard_flags(self, v: struct_vcpu_ptr, guard: int, /) -> None: ...
    def vcpu_hook_address(self, v: struct_vcpu_ptr, pa: int, /) -> int: ...
    def vcpu_watch(
        self, v: struct_vcpu_ptr, type: int, callback: CData, begin: int, end: int, /
    ) -> int: ...
    def vcpu_foreign_hooks(self, v: struct_vcpu_ptr, /) -> None: ...
    def vcpu_unwatch(self, v: struct_vcpu_ptr, hook: int, /) -> None: ...
    def vcpu_forget_code(self, v: struct_vcpu_ptr, /) -> None: ...
    def vcpu_peek(self, v: struct_vcpu_ptr, va: int, out: CData, n: int, /) -> int: ...
    def vcpu_reg_read(self, v: struct_vcpu_ptr, reg: int, /) -> int: ...
    def vcpu_reg_write(self, v: struct_vcpu_ptr, reg: int, value: int, /) -> None: ...
    def vcpu_can_deliver(self, v: struct_vcpu_ptr, /) -> int: ...
    def vcpu_cpl(self, v: struct_vcpu_ptr, /) -> int: ...
    def vcpu_context_alloc(self, v: struct_vcpu_ptr, /) -> struct_vcpu_context_ptr: ...
    def vcpu_context_free(self, c: struct_vcpu_context_ptr, /) -> None: ...
    def vcpu_context_copy(
        self, to: struct_vcpu_context_ptr, from_: struct_vcpu_context_ptr, /
    ) -> None: ...
    def vcpu_context_save(self, v: struct_vcpu_ptr, c: struct_vcpu_context_ptr, /) -> None: ...
    def vcpu_context_load(self, v: struct_vcpu_ptr, c: struct_vcpu_context_ptr, /) -> None: ...
    def vcpu_context_reg_read(self, c: struct_vcpu_context_ptr, reg: int, /) -> int: ...
    def vcpu_context_reg_write(
        self, c: struct_vcpu_context_ptr, reg: int, value: int, /
    ) -> None: ...
    def vcpu_get_regs(
        self, v: struct_vcpu_ptr, regs: struct_user_regs_ptr | Array[struct_user_regs], /
    ) -> None: ...
    def vcpu_set_regs(
        self, v: struct_vcpu_ptr, regs: struct_user_regs_ptr | Array[struct_user_regs], /
    ) -> None: ...
    def vcpu_context_get_regs(
        self, c: struct_vcpu_context_ptr, regs: struct_user_regs_ptr | Array[struct_user_regs], /
    ) -> None: ...
    def vcpu_context_set_regs(
        self, c: struct_vcpu_context_ptr, regs: struct_user_regs_ptr | Array[struct_user_regs], /
    ) -> None: ...
    def vcpu_fxsave(self, v: struct_vcpu_ptr, image: Ptr[int], /) -> None: ...
    def vcpu_fxrstor(self, v: struct_vcpu_ptr, image: Ptr[int], /) -> None: ...
    def vcpu_context_fxsave(self, c: struct_vcpu_context_ptr, image: Ptr[int], /) -> None: ...
    def vcpu_context_fxrstor(self, c: struct_vcpu_context_ptr, image: Ptr[int], /) -> None: ...
    def python_refill(
        self, unit: CData, va: int, access: int, privilege: int, translation: CData, /
    ) -> int: ...
    def python_translate(
        self, unit: CData, va: int, access: int, privilege: int, translation: CData, /
    ) -> int: ...
    def python_page_fault(self, unit: CData, va: int, error_code: int, /) -> None: ...
    def python_walk(
        self, unit: CData, va: int, access: int, privilege: int, mode: int, walk: CData, /
    ) -> int: ...
    def python_invlpg(self, unit: CData, va: int, /) -> None: ...
    def python_invpcid(self, unit: CData, type: int, pcid: int, va: int, /) -> int: ...
    def python_write_cr0(self, unit: CData, value: int, /) -> int: ...
    def python_write_cr3(self, unit: CData, value: int, /) -> int: ...
    def python_write_cr4(self, unit: CData, value: int, /) -> int: ...
    def python_write_efer(self, unit: CData, value: int, /) -> int: ...
    def python_write_pkru(self, unit: CData, value: int, /) -> int: ...
    def settle_exit(self, vcpu: struct_vcpu_ptr, /) -> None: ...
    def python_tables_changed(self, unit: CData, /) -> None: ...
    def attached_fault(self, v: struct_vcpu_ptr, /) -> int: ...

ffi: FFI
lib: Lib
