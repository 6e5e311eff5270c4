# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of mmu._native; written by native/stubs.py from the headers: do not edit."""

from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, Literal, TypeVar, overload

from typing_extensions import Self

_T = TypeVar("_T")
_P = TypeVar("_P")
_F = TypeVar("_F", bound=Callable[..., Any])

class CData:
    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

class Struct(CData, Generic[_P]): ...

class Ptr(CData, Generic[_T]):
    @overload
    def __getitem__(self, index: int, /) -> _T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Array[_T]: ...
    @overload
    def __setitem__(self, index: int, value: _T, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: object, /) -> None: ...
    def __add__(self, n: int, /) -> Ptr[_T]: ...
    @overload
    def __sub__(self, other: int, /) -> Ptr[_T]: ...
    @overload
    def __sub__(self, other: Ptr[_T], /) -> int: ...
    def __lt__(self, other: Ptr[_T], /) -> bool: ...
    def __le__(self, other: Ptr[_T], /) -> bool: ...

class Array(Ptr[_T]):
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_T]: ...

class Buffer:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int | slice, /) -> bytes: ...
    def __setitem__(self, index: int | slice, value: Any, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class CType:
    cname: str
    kind: str
    item: CType
    length: int | None
    fields: list[tuple[str, Any]]
    args: list[CType]
    result: CType

_CData = CData
Integers = Literal[
    "u8[]",
    "u16[]",
    "u32[]",
    "u64[]",
    "s8[]",
    "s16[]",
    "s32[]",
    "s64[]",
    "uint8_t[]",
    "uint16_t[]",
    "uint32_t[]",
    "uint64_t[]",
    "int8_t[]",
    "int16_t[]",
    "int32_t[]",
    "int64_t[]",
]
IntegerPtr = Literal[
    "u8 *",
    "u16 *",
    "u32 *",
    "u64 *",
    "s8 *",
    "s16 *",
    "s32 *",
    "s64 *",
    "uint8_t *",
    "uint16_t *",
    "uint32_t *",
    "uint64_t *",
    "int8_t *",
    "int16_t *",
    "int32_t *",
    "int64_t *",
]

class BaseFFI:
    CData: type[_CData]
    NULL: Any
    errno: int
    def gc(self, cdata: _T, destructor: Callable[[_T], object] | None, size: int = ...) -> _T: ...
    def release(self, cdata: _CData, /) -> None: ...
    def string(self, cdata: _CData, maxlen: int = ...) -> bytes: ...
    def buffer(self, cdata: _CData, size: int = ...) -> Buffer: ...
    def memmove(self, dest: Any, src: Any, n: int) -> None: ...
    def sizeof(self, cdecl: str | _CData | CType, /) -> int: ...
    def offsetof(self, cdecl: str | CType, /, *fields: str | int) -> int: ...
    def typeof(self, cdecl: str | _CData, /) -> CType: ...
    def unpack(self, cdata: Ptr[_T], length: int) -> list[_T]: ...
    def new_handle(self, value: object, /) -> _CData: ...
    def from_handle(self, handle: _CData, /) -> Any: ...
    def from_buffer(self, cdecl: str, source: Any, require_writable: bool = ...) -> Any: ...
    def callback(self, cdecl: str, function: Callable[..., Any] = ...) -> Any: ...
    @overload
    def addressof(self, cdata: Struct[_P], /) -> _P: ...
    @overload
    def addressof(self, cdata: _CData, /, *fields: str | int) -> Any: ...
    @overload
    def addressof(self, library: object, name: str, /) -> Any: ...
    def def_extern(
        self,
        name: str = ...,
        error: Any = ...,
        onerror: Callable[..., Any] | None = ...,
    ) -> Callable[[_F], _F]: ...

class struct_event(Struct[struct_event_ptr]):
    id: int
    cpu: int
    site: int
    task: int
    instruction: int
    time: int
    a: int
    b: int
    c: int
    d: int

class struct_event_ptr(struct_event, Ptr[struct_event]): ...

class struct_event_desc(Struct[struct_event_desc_ptr]):
    name: Ptr[bytes]
    field: Array[Ptr[bytes]]
    meaning: Ptr[bytes]

class struct_event_desc_ptr(struct_event_desc, Ptr[struct_event_desc]): ...

class struct_counter_desc(Struct[struct_counter_desc_ptr]):
    name: Ptr[bytes]
    meaning: Ptr[bytes]

class struct_counter_desc_ptr(struct_counter_desc, Ptr[struct_counter_desc]): ...

class struct_event_ring(Struct[struct_event_ring_ptr]):
    enabled: int
    cpu: int
    task: int
    site: int
    instruction: int
    ahead_ns: int
    head: int
    tail: int
    capacity: int
    lost: int
    records: struct_event_ptr
    full: Callable[[struct_event_ring_ptr, CData], None]
    arg: CData
    unwanted: Array[int]
    sites: struct_site_table_ptr
    nr_sites: int
    caller: int

class struct_event_ring_ptr(struct_event_ring, Ptr[struct_event_ring]): ...
class struct_site_table(Struct[struct_site_table_ptr]): ...
class struct_site_table_ptr(struct_site_table, Ptr[struct_site_table]): ...

class struct_event_roles(Struct[struct_event_roles_ptr]):
    part: Array[int]
    role: Array[int]
    address: Array[int]
    pfn: Array[int]
    entry_pa: Array[int]

class struct_event_roles_ptr(struct_event_roles, Ptr[struct_event_roles]): ...
class struct_decoder(Struct[struct_decoder_ptr]): ...
class struct_decoder_ptr(struct_decoder, Ptr[struct_decoder]): ...

class struct_digest_set(Struct[struct_digest_set_ptr]):
    nr_bits: int
    bits: Array[int]

class struct_digest_set_ptr(struct_digest_set, Ptr[struct_digest_set]): ...

class struct_digest_cpu(Struct[struct_digest_cpu_ptr]):
    nr: int
    first: int
    last: int

class struct_digest_cpu_ptr(struct_digest_cpu, Ptr[struct_digest_cpu]): ...

class struct_digest(Struct[struct_digest_ptr]):
    first_time: int
    last_time: int
    kinds: Array[int]
    cpu: Array[struct_digest_cpu]
    nr_tasks: int
    tasks: Array[int]
    set: Array[struct_digest_set]

class struct_digest_ptr(struct_digest, Ptr[struct_digest]): ...

class struct_encoded_part(Struct[struct_encoded_part_ptr]):
    bytes: Ptr[int]
    size: int
    nr: int

class struct_encoded_part_ptr(struct_encoded_part, Ptr[struct_encoded_part]): ...
class struct_encoder(Struct[struct_encoder_ptr]): ...
class struct_encoder_ptr(struct_encoder, Ptr[struct_encoder]): ...

class struct_number_range(Struct[struct_number_range_ptr]):
    begin: int
    end: int

class struct_number_range_ptr(struct_number_range, Ptr[struct_number_range]): ...

class struct_event_filter(Struct[struct_event_filter_ptr]):
    kind: Array[int]
    cpu: Array[int]
    number: struct_number_range
    instruction: struct_number_range
    time: struct_number_range
    nr_tasks: int
    nr_addresses: int
    nr_frames: int
    nr_code: int
    task: Ptr[int]
    site: Ptr[int]
    address: struct_number_range_ptr
    frame: Ptr[int]
    code: struct_number_range_ptr
    by_code: bool
    in_code: Array[int]

class struct_event_filter_ptr(struct_event_filter, Ptr[struct_event_filter]): ...

class struct_segment(Struct[struct_segment_ptr]):
    records: struct_event_ptr
    nr: int
    nr_sites: int

class struct_segment_ptr(struct_segment, Ptr[struct_segment]): ...
class struct_recorder(Struct[struct_recorder_ptr]): ...
class struct_recorder_ptr(struct_recorder, Ptr[struct_recorder]): ...

class struct_bus(Struct[struct_bus_ptr]):
    self: CData
    read: Callable[[CData, int, CData, int], bool]
    exchange: Callable[[CData, int, int, int], int]
    host: Callable[[CData, int], Ptr[int]]
    flags: Callable[[CData, int], Ptr[int]]

class struct_bus_ptr(struct_bus, Ptr[struct_bus]): ...

class struct_memory(Struct[struct_memory_ptr]):
    ram: Ptr[int]
    pages: struct_page_ptr
    base: int
    size: int
    nr_pages: int
    frontier: int
    nr_free: int
    nr_free_min: int
    nr_dirty_free: int
    keep_dirty: int
    zero_pfn: int
    allocs: int
    frees: int
    tables_met: int
    fail_after: int
    free_head: Array[int]
    pcp_nr: int
    pcp: Array[int]
    nr_freed: Ptr[int]
    code_free: int
    lock: int
    bus: struct_bus_ptr
    ring: struct_event_ring_ptr

class struct_memory_ptr(struct_memory, Ptr[struct_memory]): ...

class struct_page(Struct[struct_page_ptr]):
    flags: int
    _refcount: int
    _mapcount: int
    ptl: int
    pte_refcount: int
    next: int
    prev: int
    pmd: int
    index: int

class struct_page_ptr(struct_page, Ptr[struct_page]): ...

class struct_tlb_entry(Struct[struct_tlb_entry_ptr]):
    vpn: int
    frame: int
    used: int
    table_gen: int
    pcid: int
    flags: int
    level: int
    pkey: int
    pat: int
    page_level: int
    array: int

class struct_tlb_entry_ptr(struct_tlb_entry, Ptr[struct_tlb_entry]): ...

class struct_tlb_array(Struct[struct_tlb_array_ptr]):
    kind: int
    sizes: int
    tables: int
    sets: int
    ways: int
    first: int
    first_set: int
    fold: int
    policy: int
    pcids: int
    nr_live: int
    live: Array[int]
    enters: Array[int]

class struct_tlb_array_ptr(struct_tlb_array, Ptr[struct_tlb_array]): ...

class struct_tlb(Struct[struct_tlb_ptr]):
    nr_arrays: int
    nr_entries: int
    clock: int
    random: int
    fragments: int
    entered: int
    pad: int
    split: int
    array: Array[struct_tlb_array]
    set: Array[int]
    entry: Array[struct_tlb_entry]

class struct_tlb_ptr(struct_tlb, Ptr[struct_tlb]): ...

class struct_soft_flush(Struct[struct_soft_flush_ptr]):
    all: int
    nr: int
    page: Array[int]

class struct_soft_flush_ptr(struct_soft_flush, Ptr[struct_soft_flush]): ...

class struct_mmu_unit(Struct[struct_mmu_unit_ptr]):
    ram: struct_memory_ptr
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int
    rflags: int
    pat: int
    pkru: int
    pkrs: int
    vendor: int
    features: int
    maxphyaddr: int
    cpu: int
    exact: int
    large: int
    table_gen: int
    soft: struct_soft_flush
    ring: struct_event_ring_ptr
    check: struct_tlb_check_ptr
    counter: Array[int]
    tlb: struct_tlb

class struct_mmu_unit_ptr(struct_mmu_unit, Ptr[struct_mmu_unit]): ...

class struct_tlb_check(Struct[struct_tlb_check_ptr]):
    now: struct_check_where
    kernel: struct_check_where
    store: Array[struct_check_where]
    nr_stores: int
    every_access: int
    changed: int
    nr_ranges: int
    nr_uses: int
    served: int
    nr_used: int
    nr_may: int
    lost: int
    operations: struct_check_operations_ptr
    use: Array[struct_stale_use]
    inside: struct_check_inside_ptr

class struct_tlb_check_ptr(struct_tlb_check, Ptr[struct_tlb_check]): ...

class struct_walk(Struct[struct_walk_ptr]):
    va: int
    pa: int
    entry: Array[int]
    entry_pa: Array[int]
    level: int
    top_level: int
    result: int
    error_code: int
    rights: int
    xd: int
    dirty: int
    shstk: int
    pkey: int

class struct_walk_ptr(struct_walk, Ptr[struct_walk]): ...

class struct_translation(Struct[struct_translation_ptr]):
    pa: int
    perms: int
    level: int
    memory_type: int
    result: int
    error_code: int

class struct_translation_ptr(struct_translation, Ptr[struct_translation]): ...

class struct_check_where(Struct[struct_check_where_ptr]):
    rip: int
    instruction: int
    detail: int
    by: int
    cpu: int
    operation: int

class struct_check_where_ptr(struct_check_where, Ptr[struct_check_where]): ...

class struct_check_operations(Struct[struct_check_operations_ptr]):
    nr: int
    pad: int
    number: Array[int]

class struct_check_operations_ptr(struct_check_operations, Ptr[struct_check_operations]): ...

class struct_stale_range(Struct[struct_stale_range_ptr]):
    va: int
    entry_pa: int
    old: int
    new: int
    changed: struct_check_where
    nr_freed: int
    next: int
    pcid: int
    level: int
    table: int
    told: int
    pad: Array[int]

class struct_stale_range_ptr(struct_stale_range, Ptr[struct_stale_range]): ...

class struct_stale_use(Struct[struct_stale_use_ptr]):
    range: struct_stale_range
    at: struct_check_where
    filled: struct_check_where
    va: int
    access: int
    privilege: int
    used: int
    freed: int

class struct_stale_use_ptr(struct_stale_use, Ptr[struct_stale_use]): ...
class struct_check_inside(Struct[struct_check_inside_ptr]): ...
class struct_check_inside_ptr(struct_check_inside, Ptr[struct_check_inside]): ...

class struct_vm_area_struct(Struct[struct_vm_area_struct_ptr]):
    vm_start: int
    vm_end: int
    vm_flags: int
    vm_pgoff: int
    vm_file: int
    vm_name: int
    anon_vma: int
    nr_anon_vma_chain: int
    vm_refcnt: int
    vm_lock_seq: int
    pad: int

class struct_vm_area_struct_ptr(struct_vm_area_struct, Ptr[struct_vm_area_struct]): ...

class struct_vma_facts(Struct[struct_vma_facts_ptr]):
    vm_start: int
    vm_end: int
    vm_flags: int
    vm_pgoff: int
    vm_file: int
    vm_name: int

class struct_vma_facts_ptr(struct_vma_facts, Ptr[struct_vma_facts]): ...

class struct_vma_index(Struct[struct_vma_index_ptr]):
    vma: Ptr[struct_vm_area_struct_ptr]
    nr: int
    max: int
    hint: int
    pad: int

class struct_vma_index_ptr(struct_vma_index, Ptr[struct_vma_index]): ...

class struct_rcu_state(Struct[struct_rcu_state_ptr]):
    head: int
    tail: int
    wait_head: int
    nr_pending: int
    gp_running: int
    lock: int
    qs_mask: int
    gp_seq: int
    gp_seq_needed: int

class struct_rcu_state_ptr(struct_rcu_state, Ptr[struct_rcu_state]): ...

class struct_rw_semaphore(Struct[struct_rw_semaphore_ptr]):
    count: int

class struct_rw_semaphore_ptr(struct_rw_semaphore, Ptr[struct_rw_semaphore]): ...

class struct_mmu_gather(Struct[struct_mmu_gather_ptr]):
    mm: struct_mm_struct_ptr
    cpu: struct_cpu_ptr
    start: int
    end: int
    freed_tables: int
    fullmm: int
    stride_shift: int
    nr: int
    max: int
    nr_tables: int
    delayed_rmap: int
    pfn: Array[int]
    table: Array[int]

class struct_mmu_gather_ptr(struct_mmu_gather, Ptr[struct_mmu_gather]): ...

class struct_kernel(Struct[struct_kernel_ptr]):
    ram: struct_memory_ptr
    ring: struct_event_ring_ptr
    this_cpu: struct_cpu_ptr
    policy: int
    free_levels: int
    bug_address: int
    bug: int
    pad: int
    rcu: struct_rcu_state
    nr_cpus: int
    invlpgb: int
    cpu: Array[struct_cpu_ptr]
    last_mm_ctx_id: int
    last_global_asid: int
    global_asid_available: int
    global_asid_used: Array[int]
    global_asid_freed: Array[int]
    counter: Array[int]
    wait_for_lock: Callable[[struct_kernel_ptr, Ptr[int], int], bool]
    run_calls: Callable[[struct_kernel_ptr, int], None]
    flush_others: Callable[[struct_mm_struct_ptr, struct_flush_tlb_info_ptr], None]
    sync_one: Callable[[struct_kernel_ptr], None]
    lockdep: Callable[[struct_kernel_ptr, int, int, int], None]

class struct_kernel_ptr(struct_kernel, Ptr[struct_kernel]): ...

class struct_mm_struct(Struct[struct_mm_struct_ptr]):
    kernel: struct_kernel_ptr
    ram: struct_memory_ptr
    cpu_bitmap: int
    ctx_id: int
    tlb_gen: int
    next_trim_cpumask: int
    global_asid: int
    asid_transition: int
    pgd: int
    pgtables_bytes: int
    hiwater_pgtables: int
    rss_stat: Array[int]
    hiwater_rss: int
    total_vm: int
    hiwater_vm: int
    locked_vm: int
    data_vm: int
    exec_vm: int
    stack_vm: int
    start_code: int
    end_code: int
    start_data: int
    end_data: int
    start_brk: int
    brk: int
    start_stack: int
    mmap_base: int
    task_size: int
    arg_start: int
    arg_end: int
    env_start: int
    env_end: int
    counter: Array[int]
    nr_anon_vmas: int
    mmap_lock: struct_rw_semaphore
    page_table_lock: int
    mm_lock_seq: int
    tlb_flush_pending: int
    vmas: struct_vma_index

class struct_mm_struct_ptr(struct_mm_struct, Ptr[struct_mm_struct]): ...

class struct_code_written(Struct[struct_code_written_ptr]):
    all: int
    nr: int
    page: Array[int]

class struct_code_written_ptr(struct_code_written, Ptr[struct_code_written]): ...

class struct_tlb_context(Struct[struct_tlb_context_ptr]):
    ctx_id: int
    tlb_gen: int

class struct_tlb_context_ptr(struct_tlb_context, Ptr[struct_tlb_context]): ...

class struct_cpu(Struct[struct_cpu_ptr]):
    kernel: struct_kernel_ptr
    mmu: struct_mmu_unit_ptr
    loaded_mm: struct_mm_struct_ptr
    gather: struct_mmu_gather_ptr
    id: int
    rcu_nesting: int
    rcu_watching: int
    irqs_disabled: int
    nr_calls: int
    is_lazy: int
    next_asid: int
    loaded_mm_asid: int
    current_pid: int
    gather_lock: int
    ahead_ns: int
    instructions: Ptr[int]
    ctxs: Array[struct_tlb_context]
    code_written: struct_code_written

class struct_cpu_ptr(struct_cpu, Ptr[struct_cpu]): ...

class struct_flush_tlb_info(Struct[struct_flush_tlb_info_ptr]):
    start: int
    end: int
    new_tlb_gen: int
    stride_shift: int
    freed_tables: int

class struct_flush_tlb_info_ptr(struct_flush_tlb_info, Ptr[struct_flush_tlb_info]): ...

class struct_vm_fault(Struct[struct_vm_fault_ptr]):
    mm: struct_mm_struct_ptr
    address: int
    table: int

class struct_vm_fault_ptr(struct_vm_fault, Ptr[struct_vm_fault]): ...

class struct_mem_size_stats(Struct[struct_mem_size_stats_ptr]):
    resident: int
    shared_clean: int
    shared_dirty: int
    private_clean: int
    private_dirty: int
    referenced: int
    anonymous: int
    lazyfree: int
    anonymous_thp: int
    pss: int
    pss_dirty: int
    pss_anon: int
    pss_file: int
    pss_shmem: int
    pss_locked: int
    nr_dirty: int
    nr_anon: int
    mapcount_max: int

class struct_mem_size_stats_ptr(struct_mem_size_stats, Ptr[struct_mem_size_stats]): ...

class struct_tables_problem(Struct[struct_tables_problem_ptr]):
    what: int
    level: int
    address: int
    value: int
    other: int

class struct_tables_problem_ptr(struct_tables_problem, Ptr[struct_tables_problem]): ...

class struct_tables_report(Struct[struct_tables_report_ptr]):
    pud_tables: int
    pmd_tables: int
    pte_tables: int
    huge_pmds: int
    entries: int
    pages: Array[int]
    nr_problems: int
    problem: Array[struct_tables_problem]

class struct_tables_report_ptr(struct_tables_report, Ptr[struct_tables_report]): ...

class struct_user_range(Struct[struct_user_range_ptr]):
    done: int
    nr: int
    result: int
    error_code: int
    pa: Array[int]
    size: Array[int]

class struct_user_range_ptr(struct_user_range, Ptr[struct_user_range]): ...

class FFI(BaseFFI):
    @overload
    def new(self, cdecl: Literal["struct event *"], init: object = ...) -> struct_event_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct event_desc *"], init: object = ...
    ) -> struct_event_desc_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct counter_desc *"], init: object = ...
    ) -> struct_counter_desc_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct event_ring *"], init: object = ...
    ) -> struct_event_ring_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct event_roles *"], init: object = ...
    ) -> struct_event_roles_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct digest_set *"], init: object = ...
    ) -> struct_digest_set_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct digest_cpu *"], init: object = ...
    ) -> struct_digest_cpu_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct digest *"], init: object = ...) -> struct_digest_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct encoded_part *"], init: object = ...
    ) -> struct_encoded_part_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct number_range *"], init: object = ...
    ) -> struct_number_range_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct event_filter *"], init: object = ...
    ) -> struct_event_filter_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct segment *"], init: object = ...) -> struct_segment_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct bus *"], init: object = ...) -> struct_bus_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct memory *"], init: object = ...) -> struct_memory_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct page *"], init: object = ...) -> struct_page_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct tlb_entry *"], init: object = ...
    ) -> struct_tlb_entry_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct tlb_array *"], init: object = ...
    ) -> struct_tlb_array_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct tlb *"], init: object = ...) -> struct_tlb_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct soft_flush *"], init: object = ...
    ) -> struct_soft_flush_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct mmu_unit *"], init: object = ...
    ) -> struct_mmu_unit_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct tlb_check *"], init: object = ...
    ) -> struct_tlb_check_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct walk *"], init: object = ...) -> struct_walk_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct translation *"], init: object = ...
    ) -> struct_translation_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct check_where *"], init: object = ...
    ) -> struct_check_where_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct check_operations *"], init: object = ...
    ) -> struct_check_operations_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct stale_range *"], init: object = ...
    ) -> struct_stale_range_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct stale_use *"], init: object = ...
    ) -> struct_stale_use_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct vm_area_struct *"], init: object = ...
    ) -> struct_vm_area_struct_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct vma_facts *"], init: object = ...
    ) -> struct_vma_facts_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct vma_index *"], init: object = ...
    ) -> struct_vma_index_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct rcu_state *"], init: object = ...
    ) -> struct_rcu_state_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct rw_semaphore *"], init: object = ...
    ) -> struct_rw_semaphore_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct mmu_gather *"], init: object = ...
    ) -> struct_mmu_gather_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct kernel *"], init: object = ...) -> struct_kernel_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct mm_struct *"], init: object = ...
    ) -> struct_mm_struct_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct code_written *"], init: object = ...
    ) -> struct_code_written_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct tlb_context *"], init: object = ...
    ) -> struct_tlb_context_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct cpu *"], init: object = ...) -> struct_cpu_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct flush_tlb_info *"], init: object = ...
    ) -> struct_flush_tlb_info_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct vm_fault *"], init: object = ...
    ) -> struct_vm_fault_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct mem_size_stats *"], init: object = ...
    ) -> struct_mem_size_stats_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct tables_problem *"], init: object = ...
    ) -> struct_tables_problem_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct tables_report *"], init: object = ...
    ) -> struct_tables_report_ptr: ...
    @overload
    def new(
        self, cdecl: Literal["struct user_range *"], init: object = ...
    ) -> struct_user_range_ptr: ...
    @overload
    def new(self, cdecl: Literal["struct event[]"], init: object = ...) -> Array[struct_event]: ...
    @overload
    def new(
        self, cdecl: Literal["struct event_desc[]"], init: object = ...
    ) -> Array[struct_event_desc]: ...
    @overload
    def new(
        self, cdecl: Literal["struct counter_desc[]"], init: object = ...
    ) -> Array[struct_counter_desc]: ...
    @overload
    def new(
        self, cdecl: Literal["struct event_ring[]"], init: object = ...
    ) -> Array[struct_event_ring]: ...
    @overload
    def new(
        self, cdecl: Literal["struct event_roles[]"], init: object = ...
    ) -> Array[struct_event_roles]: ...
    @overload
    def new(
        self, cdecl: Literal["struct digest_set[]"], init: object = ...
    ) -> Array[struct_digest_set]: ...
    @overload
    def new(
        self, cdecl: Literal["struct digest_cpu[]"], init: object = ...
    ) -> Array[struct_digest_cpu]: ...
    @overload
    def new(
        self, cdecl: Literal["struct digest[]"], init: object = ...
    ) -> Array[struct_digest]: ...
    @overload
    def new(
        self, cdecl: Literal["struct encoded_part[]"], init: object = ...
    ) -> Array[struct_encoded_part]: ...
    @overload
    def new(
        self, cdecl: Literal["struct number_range[]"], init: object = ...
    ) -> Array[struct_number_range]: ...
    @overload
    def new(
        self, cdecl: Literal["struct event_filter[]"], init: object = ...
    ) -> Array[struct_event_filter]: ...
    @overload
    def new(
        self, cdecl: Literal["struct segment[]"], init: object = ...
    ) -> Array[struct_segment]: ...
    @overload
    def new(self, cdecl: Literal["struct bus[]"], init: object = ...) -> Array[struct_bus]: ...
    @overload
    def new(
        self, cdecl: Literal["struct memory[]"], init: object = ...
    ) -> Array[struct_memory]: ...
    @overload
    def new(self, cdecl: Literal["struct page[]"], init: object = ...) -> Array[struct_page]: ...
    @overload
    def new(
        self, cdecl: Literal["struct tlb_entry[]"], init: object = ...
    ) -> Array[struct_tlb_entry]: ...
    @overload
    def new(
        self, cdecl: Literal["struct tlb_array[]"], init: object = ...
    ) -> Array[struct_tlb_array]: ...
    @overload
    def new(self, cdecl: Literal["struct tlb[]"], init: object = ...) -> Array[struct_tlb]: ...
    @overload
    def new(
        self, cdecl: Literal["struct soft_flush[]"], init: object = ...
    ) -> Array[struct_soft_flush]: ...
    @overload
    def new(
        self, cdecl: Literal["struct mmu_unit[]"], init: object = ...
    ) -> Array[struct_mmu_unit]: ...
    @overload
    def new(
        self, cdecl: Literal["struct tlb_check[]"], init: object = ...
    ) -> Array[struct_tlb_check]: ...
    @overload
    def new(self, cdecl: Literal["struct walk[]"], init: object = ...) -> Array[struct_walk]: ...
    @overload
    def new(
        self, cdecl: Literal["struct translation[]"], init: object = ...
    ) -> Array[struct_translation]: ...
    @overload
    def new(
        self, cdecl: Literal["struct check_where[]"], init: object = ...
    ) -> Array[struct_check_where]: ...
    @overload
    def new(
        self, cdecl: Literal["struct check_operations[]"], init: object = ...
    ) -> Array[struct_check_operations]: ...
    @overload
    def new(
        self, cdecl: Literal["struct stale_range[]"], init: object = ...
    ) -> Array[struct_stale_range]: ...
    @overload
    def new(
        self, cdecl: Literal["struct stale_use[]"], init: object = ...
    ) -> Array[struct_stale_use]: ...
    @overload
    def new(
        self, cdecl: Literal["struct vm_area_struct[]"], init: object = ...
    ) -> Array[struct_vm_area_struct]: ...
    @overload
    def new(
        self, cdecl: Literal["struct vma_facts[]"], init: object = ...
    ) -> Array[struct_vma_facts]: ...
    @overload
    def new(
        self, cdecl: Literal["struct vma_index[]"], init: object = ...
    ) -> Array[struct_vma_index]: ...
    @overload
    def new(
        self, cdecl: Literal["struct rcu_state[]"], init: object = ...
    ) -> Array[struct_rcu_state]: ...
    @overload
    def new(
        self, cdecl: Literal["struct rw_semaphore[]"], init: object = ...
    ) -> Array[struct_rw_semaphore]: ...
    @overload
    def new(
        self, cdecl: Literal["struct mmu_gather[]"], init: object = ...
    ) -> Array[struct_mmu_gather]: ...
    @overload
    def new(
        self, cdecl: Literal["struct kernel[]"], init: object = ...
    ) -> Array[struct_kernel]: ...
    @overload
    def new(
        self, cdecl: Literal["struct mm_struct[]"], init: object = ...
    ) -> Array[struct_mm_struct]: ...
    @overload
    def new(
        self, cdecl: Literal["struct code_written[]"], init: object = ...
    ) -> Array[struct_code_written]: ...
    @overload
    def new(
        self, cdecl: Literal["struct tlb_context[]"], init: object = ...
    ) -> Array[struct_tlb_context]: ...
    @overload
    def new(self, cdecl: Literal["struct cpu[]"], init: object = ...) -> Array[struct_cpu]: ...
    @overload
    def new(
        self, cdecl: Literal["struct flush_tlb_info[]"], init: object = ...
    ) -> Array[struct_flush_tlb_info]: ...
    @overload
    def new(
        self, cdecl: Literal["struct vm_fault[]"], init: object = ...
    ) -> Array[struct_vm_fault]: ...
    @overload
    def new(
        self, cdecl: Literal["struct mem_size_stats[]"], init: object = ...
    ) -> Array[struct_mem_size_stats]: ...
    @overload
    def new(
        self, cdecl: Literal["struct tables_problem[]"], init: object = ...
    ) -> Array[struct_tables_problem]: ...
    @overload
    def new(
        self, cdecl: Literal["struct tables_report[]"], init: object = ...
    ) -> Array[struct_tables_report]: ...
    @overload
    def new(
        self, cdecl: Literal["struct user_range[]"], init: object = ...
    ) -> Array[struct_user_range]: ...
    @overload
    def new(self, cdecl: Integers, init: object = ...) -> Array[int]: ...
    @overload
    def new(self, cdecl: IntegerPtr, init: object = ...) -> Ptr[int]: ...
    @overload
    def new(self, cdecl: str, init: object = ...) -> Any: ...
    @overload
    def cast(self, cdecl: Literal["struct event *"], value: object) -> struct_event_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct event_desc *"], value: object
    ) -> struct_event_desc_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct counter_desc *"], value: object
    ) -> struct_counter_desc_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct event_ring *"], value: object
    ) -> struct_event_ring_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct site_table *"], value: object
    ) -> struct_site_table_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct event_roles *"], value: object
    ) -> struct_event_roles_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct decoder *"], value: object) -> struct_decoder_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct digest_set *"], value: object
    ) -> struct_digest_set_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct digest_cpu *"], value: object
    ) -> struct_digest_cpu_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct digest *"], value: object) -> struct_digest_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct encoded_part *"], value: object
    ) -> struct_encoded_part_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct encoder *"], value: object) -> struct_encoder_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct number_range *"], value: object
    ) -> struct_number_range_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct event_filter *"], value: object
    ) -> struct_event_filter_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct segment *"], value: object) -> struct_segment_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct recorder *"], value: object) -> struct_recorder_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct bus *"], value: object) -> struct_bus_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct memory *"], value: object) -> struct_memory_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct page *"], value: object) -> struct_page_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct tlb_entry *"], value: object) -> struct_tlb_entry_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct tlb_array *"], value: object) -> struct_tlb_array_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct tlb *"], value: object) -> struct_tlb_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct soft_flush *"], value: object
    ) -> struct_soft_flush_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct mmu_unit *"], value: object) -> struct_mmu_unit_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct tlb_check *"], value: object) -> struct_tlb_check_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct walk *"], value: object) -> struct_walk_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct translation *"], value: object
    ) -> struct_translation_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct check_where *"], value: object
    ) -> struct_check_where_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct check_operations *"], value: object
    ) -> struct_check_operations_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct stale_range *"], value: object
    ) -> struct_stale_range_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct stale_use *"], value: object) -> struct_stale_use_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct check_inside *"], value: object
    ) -> struct_check_inside_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct vm_area_struct *"], value: object
    ) -> struct_vm_area_struct_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct vma_facts *"], value: object) -> struct_vma_facts_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct vma_index *"], value: object) -> struct_vma_index_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct rcu_state *"], value: object) -> struct_rcu_state_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct rw_semaphore *"], value: object
    ) -> struct_rw_semaphore_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct mmu_gather *"], value: object
    ) -> struct_mmu_gather_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct kernel *"], value: object) -> struct_kernel_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct mm_struct *"], value: object) -> struct_mm_struct_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct code_written *"], value: object
    ) -> struct_code_written_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct tlb_context *"], value: object
    ) -> struct_tlb_context_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct cpu *"], value: object) -> struct_cpu_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct flush_tlb_info *"], value: object
    ) -> struct_flush_tlb_info_ptr: ...
    @overload
    def cast(self, cdecl: Literal["struct vm_fault *"], value: object) -> struct_vm_fault_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct mem_size_stats *"], value: object
    ) -> struct_mem_size_stats_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct tables_problem *"], value: object
    ) -> struct_tables_problem_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct tables_report *"], value: object
    ) -> struct_tables_report_ptr: ...
    @overload
    def cast(
        self, cdecl: Literal["struct user_range *"], value: object
    ) -> struct_user_range_ptr: ...
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
    EVENT_ENTRY_SLOT_SHIFT: Final[int]
    EVENT_ENTRY_PCID_SHIFT: Final[int]
    EVENT_ENTRY_PAT_SHIFT: Final[int]
    EVENT_ENTRY_LEVEL_SHIFT: Final[int]
    EVENT_ENTRY_PAGE_LEVEL_SHIFT: Final[int]
    EVENT_ENTRY_PKEY_SHIFT: Final[int]
    EVENT_ENTRY_FLAGS_SHIFT: Final[int]
    EVENT_KINDS: Final[int]
    TRACE_PART_INSNS: Final[int]
    TRACE_PART_PROCESSOR: Final[int]
    TRACE_PART_KERNEL: Final[int]
    TRACE_PARTS: Final[int]
    TRACE_ROLE_NONE: Final[int]
    TRACE_ROLE_INSN: Final[int]
    TRACE_ROLE_ACCESS: Final[int]
    TRACE_ROLE_TLB_HIT: Final[int]
    TRACE_NO_FIELD: Final[int]
    DIGEST_TASKS: Final[int]
    DIGEST_SET_BITS: Final[int]
    DIGEST_SETS: Final[int]
    DIGEST_PAGES_INSNS: Final[int]
    DIGEST_PAGES: Final[int]
    DIGEST_FRAMES: Final[int]
    EXCHANGE_DONE: Final[int]
    EXCHANGE_CHANGED: Final[int]
    EXCHANGE_READ_ONLY: Final[int]
    PAGE_NONE: Final[int]
    PG_zero: Final[int]
    PG_buddy: Final[int]
    PG_table: Final[int]
    PG_code: Final[int]
    PG_reserved: Final[int]
    PG_anon: Final[int]
    PG_host: Final[int]
    PG_swapbacked: Final[int]
    PG_dirty: Final[int]
    PG_anon_exclusive: Final[int]
    PG_upper: Final[int]
    PG_locked: Final[int]
    PG_order_shift: Final[int]
    NR_PAGE_ORDERS: Final[int]
    PCP_MAX: Final[int]
    PF_P: Final[int]
    PF_WR: Final[int]
    PF_US: Final[int]
    PF_RSVD: Final[int]
    PF_ID: Final[int]
    PF_PK: Final[int]
    PF_SS: Final[int]
    X86_P: Final[int]
    X86_RW: Final[int]
    X86_US: Final[int]
    X86_PWT: Final[int]
    X86_PCD: Final[int]
    X86_A: Final[int]
    X86_D: Final[int]
    X86_PS: Final[int]
    X86_PAT: Final[int]
    X86_G: Final[int]
    X86_PK_SHIFT: Final[int]
    X86_XD: Final[int]
    X86_ADDR_MASK: Final[int]
    CR0_PE: Final[int]
    CR0_WP: Final[int]
    CR0_NW: Final[int]
    CR0_CD: Final[int]
    CR0_PG: Final[int]
    CR3_NOFLUSH: Final[int]
    CR3_PCID_MASK: Final[int]
    CR4_TSD: Final[int]
    CR4_PSE: Final[int]
    CR4_PAE: Final[int]
    CR4_PGE: Final[int]
    CR4_LA57: Final[int]
    CR4_PCIDE: Final[int]
    CR4_SMEP: Final[int]
    CR4_SMAP: Final[int]
    CR4_PKE: Final[int]
    CR4_CET: Final[int]
    CR4_PKS: Final[int]
    EFER_SCE: Final[int]
    EFER_LME: Final[int]
    EFER_LMA: Final[int]
    EFER_NXE: Final[int]
    EFER_TCE: Final[int]
    RFLAGS_AC: Final[int]
    PKR_AD: Final[int]
    PKR_WD: Final[int]
    VENDOR_INTEL: Final[int]
    VENDOR_AMD: Final[int]
    FEATURE_NX: Final[int]
    FEATURE_PAGE1GB: Final[int]
    FEATURE_PGE: Final[int]
    FEATURE_PCID: Final[int]
    FEATURE_INVPCID: Final[int]
    FEATURE_SMEP: Final[int]
    FEATURE_SMAP: Final[int]
    FEATURE_PKU: Final[int]
    FEATURE_PKS: Final[int]
    FEATURE_CET_SS: Final[int]
    FEATURE_LA57: Final[int]
    FEATURE_INVLPGB: Final[int]
    FEATURE_TCE: Final[int]
    MEMORY_UC: Final[int]
    MEMORY_WC: Final[int]
    MEMORY_WT: Final[int]
    MEMORY_WP: Final[int]
    MEMORY_WB: Final[int]
    MEMORY_UC_MINUS: Final[int]
    TLB_MAX_ARRAYS: Final[int]
    TLB_MAX_ENTRIES: Final[int]
    TLB_MAX_SETS: Final[int]
    TLB_MAX_PCIDS: Final[int]
    TLB_ANY_PCIDS: Final[int]
    TLB_ITLB: Final[int]
    TLB_DTLB_LOAD: Final[int]
    TLB_DTLB_STORE: Final[int]
    TLB_L2_ITLB: Final[int]
    TLB_L2_DTLB: Final[int]
    TLB_PSC: Final[int]
    TLB_VALID: Final[int]
    TLB_RW: Final[int]
    TLB_US: Final[int]
    TLB_XD: Final[int]
    TLB_DIRTY: Final[int]
    TLB_GLOBAL: Final[int]
    TLB_SHSTK: Final[int]
    TLB_TABLE: Final[int]
    TLB_RIGHTS: Final[int]
    SOFT_FLUSH_MAX: Final[int]
    ACCESS_READ: Final[int]
    ACCESS_WRITE: Final[int]
    ACCESS_FETCH: Final[int]
    ACCESS_SHSTK_READ: Final[int]
    ACCESS_SHSTK_WRITE: Final[int]
    ACCESS_RMW: Final[int]
    PRIVILEGE_SUPERVISOR: Final[int]
    PRIVILEGE_USER: Final[int]
    PRIVILEGE_IMPLICIT: Final[int]
    XLATE_OK: Final[int]
    XLATE_UD: Final[int]
    XLATE_GP: Final[int]
    XLATE_PF: Final[int]
    XLATE_BAD_TABLE: Final[int]
    XLATE_LEGACY: Final[int]
    PERM_R: Final[int]
    PERM_W: Final[int]
    PERM_X: Final[int]
    PERM_SHSTK: Final[int]
    WALK_PROBE: Final[int]
    WALK_QUIET: Final[int]
    WALK_HARDWARE: Final[int]
    CHECK_MAX_RANGES: Final[int]
    CHECK_MAX_USES: Final[int]
    CHECK_MAX_PCIDS: Final[int]
    CHECK_NR_STORES: Final[int]
    CHECK_NOWHERE: Final[int]
    CHECK_SPECULATION: Final[int]
    CHECK_BY_HOST: Final[int]
    CHECK_BY_STORE: Final[int]
    CHECK_BY_SYSCALL: Final[int]
    CHECK_BY_FAULT: Final[int]
    CHECK_MAX_OPERATIONS: Final[int]
    TLB_LRU: Final[int]
    TLB_FIFO: Final[int]
    TLB_RANDOM: Final[int]
    TLB_TREE_PLRU: Final[int]
    TLB_MRU_PLRU: Final[int]
    NR_REPLACEMENTS: Final[int]
    TLB_MRU_GROUPS: Final[int]
    VM_READ: Final[int]
    VM_WRITE: Final[int]
    VM_EXEC: Final[int]
    VM_SHARED: Final[int]
    VM_MAYREAD: Final[int]
    VM_MAYWRITE: Final[int]
    VM_MAYEXEC: Final[int]
    VM_GROWSDOWN: Final[int]
    VM_PFNMAP: Final[int]
    VM_LOCKED: Final[int]
    VM_DONTEXPAND: Final[int]
    VM_ACCOUNT: Final[int]
    VM_NORESERVE: Final[int]
    VM_DROPPABLE: Final[int]
    _PAGE_PROTNONE: Final[int]
    _PAGE_SPECIAL: Final[int]
    _PAGE_SAVED_DIRTY: Final[int]
    _PAGE_DIRTY_BITS: Final[int]
    _PAGE_TABLE: Final[int]
    PTE_GUARD_MARKER: Final[int]
    PTRS_PER_PTE: Final[int]
    PMD_SIZE: Final[int]
    TLB_SINGLE_PAGE_FLUSH_CEILING: Final[int]
    TLB_FLUSH_ALL: Final[int]
    TLB_NR_DYN_ASIDS: Final[int]
    MAX_ASID_AVAILABLE: Final[int]
    INIT_MM_CTX_ID: Final[int]
    TLB_FLUSH_ON_TASK_SWITCH: Final[int]
    TLB_REMOTE_SHOOTDOWN: Final[int]
    TLB_LOCAL_SHOOTDOWN: Final[int]
    TLB_LOCAL_MM_SHOOTDOWN: Final[int]
    TLB_REMOTE_SEND_IPI: Final[int]
    TLB_REMOTE_WRONG_CPU: Final[int]
    FREE_TABLES_NEVER: Final[int]
    FREE_TABLES_SCAN: Final[int]
    FREE_TABLES_REFCOUNT: Final[int]
    FREE_TABLES_REFCOUNT_PMDLOCK: Final[int]
    FREE_TABLES_OWN: Final[int]
    FREE_LEVELS_PTE: Final[int]
    FREE_LEVELS_PMD: Final[int]
    FREE_LEVELS_PUD: Final[int]
    MM_FILEPAGES: Final[int]
    MM_ANONPAGES: Final[int]
    MM_SWAPENTS: Final[int]
    MM_SHMEMPAGES: Final[int]
    NR_MM_RSS: Final[int]
    VM_FAULT_OOM: Final[int]
    VM_FAULT_SIGBUS: Final[int]
    VM_FAULT_MAJOR: Final[int]
    VM_FAULT_SIGSEGV: Final[int]
    VM_FAULT_NOPAGE: Final[int]
    VM_FAULT_RETRY: Final[int]
    VM_FAULT_FALLBACK: Final[int]
    BUG_NONE: Final[int]
    BUG_PTE_REF_UNDERFLOW: Final[int]
    BUG_PTE_REF_OVERFLOW: Final[int]
    BUG_PTE_REF_FROM_ZERO: Final[int]
    BUG_PTE_TABLE_NOT_EMPTY: Final[int]
    BUG_LOCK_HELD: Final[int]
    BUG_LOCK_NOT_HELD: Final[int]
    BUG_RSS_NEGATIVE: Final[int]
    BUG_PTE_TABLE_LEAKED: Final[int]
    BUG_GATHER_NESTED: Final[int]
    BUG_RCU_UNBALANCED: Final[int]
    BUG_WAIT_FAILED: Final[int]
    BUG_LOCK_ORDER: Final[int]
    BUG_LOCK_KEPT: Final[int]
    BUG_SLEEP_IN_ATOMIC: Final[int]
    BUG_RCU_STALL: Final[int]
    BUG_IPI_NEVER_ACKNOWLEDGED: Final[int]
    BUG_IPI_IRQS_OFF: Final[int]
    BUG_IRQS_UNBALANCED: Final[int]
    BUG_TABLE_REF_UNDERFLOW: Final[int]
    BUG_TABLE_REF_OVERFLOW: Final[int]
    BUG_TABLE_REF_FROM_ZERO: Final[int]
    BUG_TABLE_NOT_EMPTY: Final[int]
    BUG_TABLE_LEAKED: Final[int]
    BUG_PAGE_CACHE_MAPPED: Final[int]
    BUG_PTE_TABLE_DEPOSITED: Final[int]
    LOCK_PTE: Final[int]
    LOCK_PMD: Final[int]
    LOCK_PAGE_TABLE: Final[int]
    LOCK_MMAP: Final[int]
    LOCK_VMA: Final[int]
    LOCK_FOLIO: Final[int]
    LOCK_I_MMAP: Final[int]
    NR_LOCK_KINDS: Final[int]
    LOCK_NESTED: Final[int]
    LOCKDEP_ACQUIRE: Final[int]
    LOCKDEP_ACQUIRED: Final[int]
    LOCKDEP_TRYLOCK: Final[int]
    LOCKDEP_RELEASE: Final[int]
    LCB_F_SPIN: Final[int]
    LCB_F_READ: Final[int]
    LCB_F_WRITE: Final[int]
    TRYGET_SUCCEEDED: Final[int]
    TRYGET_FAILED_ZERO: Final[int]
    TRYGET_FAILED_NONE: Final[int]
    TRYGET_FAILED_HUGE_PMD: Final[int]
    VMA_LOCK_SUCCESS: Final[int]
    VMA_LOCK_ABORT: Final[int]
    VMA_LOCK_RETRY: Final[int]
    VMA_LOCK_MISS: Final[int]
    VMA_LOCK_OFFSET: Final[int]
    VMA_READER_NONE: Final[int]
    VMA_READER_ONE: Final[int]
    VMA_READER_LAST: Final[int]
    RCU_GP_START: Final[int]
    RCU_GP_CPUQS: Final[int]
    RCU_GP_END: Final[int]
    RWSEM_WRITER_LOCKED: Final[int]
    RWSEM_FLAG_WAITERS: Final[int]
    RWSEM_READER_BIAS: Final[int]
    NR_CPUS: Final[int]
    CODE_WRITTEN_MAX: Final[int]
    MMU_GATHER_BUNDLE: Final[int]
    MMU_GATHER_MAX: Final[int]
    ZAP_RECLAIM_PT: Final[int]
    ZAP_DROP_MARKER: Final[int]
    ZAP_KEEP_COWS: Final[int]
    PTE_ALLOC_OK: Final[int]
    PTE_ALLOC_OOM: Final[int]
    PTE_ALLOC_HUGE_PMD: Final[int]
    PSS_SHIFT: Final[int]
    TABLES_PROBLEMS_MAX: Final[int]
    TABLES_NO_TABLE: Final[int]
    TABLES_LARGE_PAGE: Final[int]
    TABLES_NOT_A_TABLE: Final[int]
    TABLES_REFERENCES: Final[int]
    TABLES_LOCKED: Final[int]
    TABLES_NO_PAGE: Final[int]
    USER_RANGE_MAX: Final[int]
    def ring_create(self, capacity: int, /) -> struct_event_ring_ptr: ...
    def ring_destroy(self, ring: struct_event_ring_ptr | Array[struct_event_ring], /) -> None: ...
    def ring_emit(
        self, ring: struct_event_ring_ptr | Array[struct_event_ring], id: int, value: Ptr[int], /
    ) -> None: ...
    def ring_read(
        self,
        ring: struct_event_ring_ptr | Array[struct_event_ring],
        out: struct_event_ptr | Array[struct_event],
        max: int,
        /,
    ) -> int: ...
    def ring_site(
        self, ring: struct_event_ring_ptr | Array[struct_event_ring], name: Ptr[bytes], /
    ) -> int: ...
    def ring_site_name(
        self, ring: struct_event_ring_ptr | Array[struct_event_ring], site: int, /
    ) -> Ptr[bytes]: ...
    def event_describe(self, id: int, /) -> struct_event_desc_ptr: ...
    def counter_describe(self, id: int, /) -> struct_counter_desc_ptr: ...
    def mm_counter_describe(self, id: int, /) -> struct_counter_desc_ptr: ...
    def kernel_counter_describe(self, id: int, /) -> struct_counter_desc_ptr: ...
    def decoder_create(self, max_records: int, /) -> struct_decoder_ptr: ...
    def decoder_destroy(self, decoder: struct_decoder_ptr, /) -> None: ...
    def decode_part(
        self,
        decoder: struct_decoder_ptr,
        roles: struct_event_roles_ptr | Array[struct_event_roles],
        part: int,
        bytes: Ptr[int],
        size: int,
        nr: int,
        total: int,
        scatter: bool,
        records: struct_event_ptr | Array[struct_event],
        positions: Ptr[int],
        /,
    ) -> bool: ...
    def digest_records(
        self,
        digest: struct_digest_ptr | Array[struct_digest],
        roles: struct_event_roles_ptr | Array[struct_event_roles],
        records: struct_event_ptr | Array[struct_event],
        nr: int,
        /,
    ) -> None: ...
    def digest_may_hold(self, bits: Ptr[int], nr_bits: int, first: int, last: int, /) -> bool: ...
    def encoder_create(self, max_records: int, /) -> struct_encoder_ptr: ...
    def encoder_destroy(self, encoder: struct_encoder_ptr, /) -> None: ...
    def encode_chunk(
        self,
        encoder: struct_encoder_ptr,
        roles: struct_event_roles_ptr | Array[struct_event_roles],
        records: struct_event_ptr | Array[struct_event],
        nr: int,
        part: struct_encoded_part_ptr | Array[struct_encoded_part],
        digest: struct_digest_ptr | Array[struct_digest],
        /,
    ) -> None: ...
    def filter_mask(
        self,
        filter: struct_event_filter_ptr | Array[struct_event_filter],
        roles: struct_event_roles_ptr | Array[struct_event_roles],
        records: struct_event_ptr | Array[struct_event],
        numbers: Ptr[int],
        nr: int,
        mask: Ptr[int],
        /,
    ) -> int: ...
    def filter_keep(
        self,
        records: struct_event_ptr | Array[struct_event],
        numbers: Ptr[int],
        nr: int,
        mask: Ptr[int],
        /,
    ) -> int: ...
    def filter_count(
        self,
        records: struct_event_ptr | Array[struct_event],
        nr: int,
        id: int,
        nth: int,
        place: Ptr[int],
        /,
    ) -> int: ...
    def recorder_create(
        self, ring: struct_event_ring_ptr | Array[struct_event_ring], nr: int, /
    ) -> struct_recorder_ptr: ...
    def recorder_destroy(self, recorder: struct_recorder_ptr, /) -> None: ...
    def recorder_begin(self, recorder: struct_recorder_ptr, /) -> None: ...
    def recorder_hand_over(self, recorder: struct_recorder_ptr, /) -> None: ...
    def recorder_drain(self, recorder: struct_recorder_ptr, /) -> None: ...
    def recorder_wait(self, recorder: struct_recorder_ptr, /) -> struct_segment_ptr: ...
    def recorder_done(self, recorder: struct_recorder_ptr, /) -> None: ...
    def recorder_stop(self, recorder: struct_recorder_ptr, /) -> None: ...
    def recorder_given(self, recorder: struct_recorder_ptr, /) -> int: ...
    def recorder_waits(self, recorder: struct_recorder_ptr, /) -> int: ...
    def memory_load(
        self, m: struct_memory_ptr | Array[struct_memory], pa: int, value: Ptr[int], /
    ) -> bool: ...
    def memory_exchange(
        self, m: struct_memory_ptr | Array[struct_memory], pa: int, old: int, value: int, /
    ) -> int: ...
    def memory_flags(self, m: struct_memory_ptr | Array[struct_memory], pa: int, /) -> Ptr[int]: ...
    def memory_words(
        self, m: struct_memory_ptr | Array[struct_memory], pa: int, copy: Ptr[int], /
    ) -> Ptr[int]: ...
    def memory_init(
        self, m: struct_memory_ptr | Array[struct_memory], size: int, base: int, /
    ) -> int: ...
    def memory_count_frees(self, m: struct_memory_ptr | Array[struct_memory], /) -> int: ...
    def memory_destroy(self, m: struct_memory_ptr | Array[struct_memory], /) -> None: ...
    def alloc_pages(
        self, m: struct_memory_ptr | Array[struct_memory], order: int, zero: bool, /
    ) -> int: ...
    def free_pages(
        self, m: struct_memory_ptr | Array[struct_memory], pfn: int, order: int, zero: bool, /
    ) -> None: ...
    def put_page(self, m: struct_memory_ptr | Array[struct_memory], pfn: int, /) -> None: ...
    def memory_take_code(self, m: struct_memory_ptr | Array[struct_memory], /) -> int: ...
    def memory_free_code(
        self, m: struct_memory_ptr | Array[struct_memory], pfn: int, /
    ) -> None: ...
    def memory_trim(self, m: struct_memory_ptr | Array[struct_memory], keep: int, /) -> int: ...
    def memory_release_if_zero(
        self, m: struct_memory_ptr | Array[struct_memory], pfn: int, /
    ) -> bool: ...
    def mmu_walk(
        self,
        u: struct_mmu_unit_ptr | Array[struct_mmu_unit],
        va: int,
        access: int,
        privilege: int,
        mode: int,
        w: struct_walk_ptr | Array[struct_walk],
        /,
    ) -> int: ...
    def mmu_translate(
        self,
        u: struct_mmu_unit_ptr | Array[struct_mmu_unit],
        va: int,
        access: int,
        privilege: int,
        t: struct_translation_ptr | Array[struct_translation],
        /,
    ) -> int: ...
    def mmu_refill(
        self,
        u: struct_mmu_unit_ptr | Array[struct_mmu_unit],
        va: int,
        access: int,
        privilege: int,
        t: struct_translation_ptr | Array[struct_translation],
        /,
    ) -> int: ...
    def mmu_page_fault(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], va: int, error_code: int, /
    ) -> None: ...
    def mmu_resident(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], va: int, access: int, /
    ) -> struct_tlb_entry_ptr: ...
    def mmu_hit(
        self,
        u: struct_mmu_unit_ptr | Array[struct_mmu_unit],
        va: int,
        access: int,
        privilege: int,
        /,
    ) -> struct_tlb_entry_ptr: ...
    def check_begin(self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], /) -> int: ...
    def check_end(self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], /) -> None: ...
    def check_sync(self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], /) -> None: ...
    def check_before(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], va: int, access: int, /
    ) -> None: ...
    def check_after(
        self,
        u: struct_mmu_unit_ptr | Array[struct_mmu_unit],
        va: int,
        access: int,
        privilege: int,
        t: struct_translation_ptr | Array[struct_translation],
        /,
    ) -> None: ...
    def mmu_translate_checked(
        self,
        u: struct_mmu_unit_ptr | Array[struct_mmu_unit],
        va: int,
        access: int,
        privilege: int,
        t: struct_translation_ptr | Array[struct_translation],
        /,
    ) -> int: ...
    def check_speculation(self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], /) -> None: ...
    def check_load(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], root: int, pcid: int, kept: int, /
    ) -> None: ...
    def check_table(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], table: int, level: int, va: int, /
    ) -> None: ...
    def check_set_ad(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], entry_pa: int, entry: int, /
    ) -> None: ...
    def check_filled(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], number: int, /
    ) -> None: ...
    def check_copied(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], number: int, from_: int, /
    ) -> None: ...
    def check_drop_page(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], va: int, pcid: int, what: int, /
    ) -> None: ...
    def check_drop_context(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], pcid: int, what: int, /
    ) -> None: ...
    def check_drop_tables(
        self,
        u: struct_mmu_unit_ptr | Array[struct_mmu_unit],
        va: int,
        only_va: int,
        pcid: int,
        what: int,
        /,
    ) -> None: ...
    def mmu_write_cr3(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], value: int, /
    ) -> int: ...
    def mmu_write_cr4(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], value: int, /
    ) -> int: ...
    def mmu_write_cr0(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], value: int, /
    ) -> int: ...
    def mmu_write_efer(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], value: int, /
    ) -> int: ...
    def mmu_write_pat(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], value: int, /
    ) -> int: ...
    def mmu_write_pkrs(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], value: int, /
    ) -> int: ...
    def mmu_write_pkru(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], value: int, /
    ) -> int: ...
    def mmu_invlpg(self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], va: int, /) -> None: ...
    def mmu_invpcid(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], type: int, pcid: int, va: int, /
    ) -> int: ...
    def mmu_invlpgb(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], rax: int, ecx: int, edx: int, /
    ) -> int: ...
    def mmu_flush_all(self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], /) -> None: ...
    def mmu_tables_changed(self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], /) -> None: ...
    def mmu_touch(
        self,
        u: struct_mmu_unit_ptr | Array[struct_mmu_unit],
        e: struct_tlb_entry_ptr | Array[struct_tlb_entry],
        /,
    ) -> None: ...
    def mmu_soft_flush(
        self, u: struct_mmu_unit_ptr | Array[struct_mmu_unit], va: int, nr_pages: int, /
    ) -> None: ...
    def set_this_cpu(
        self,
        kernel: struct_kernel_ptr | Array[struct_kernel],
        cpu: struct_cpu_ptr | Array[struct_cpu],
        /,
    ) -> None: ...
    def local_irq_save(self, cpu: struct_cpu_ptr | Array[struct_cpu], /) -> None: ...
    def local_irq_restore(self, cpu: struct_cpu_ptr | Array[struct_cpu], /) -> None: ...
    def note_code_written(
        self, kernel: struct_kernel_ptr | Array[struct_kernel], pa: int, /
    ) -> None: ...
    def note_code_stored(self, cpu: struct_cpu_ptr | Array[struct_cpu], pa: int, /) -> None: ...
    def note_code_fetched(self, cpu: struct_cpu_ptr | Array[struct_cpu], /) -> None: ...
    def take_freed_code(
        self,
        m: struct_memory_ptr | Array[struct_memory],
        kernel: struct_kernel_ptr | Array[struct_kernel],
        id: int,
        /,
    ) -> int: ...
    def find_vma(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, /
    ) -> struct_vm_area_struct_ptr: ...
    def vma_index_of(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, /
    ) -> int: ...
    def vma_start_read(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        vma: struct_vm_area_struct_ptr | Array[struct_vm_area_struct],
        /,
    ) -> bool: ...
    def lock_vma_under_rcu(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, /
    ) -> struct_vm_area_struct_ptr: ...
    def vma_end_read(
        self, vma: struct_vm_area_struct_ptr | Array[struct_vm_area_struct], /
    ) -> int: ...
    def vma_insert(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        vma: struct_vm_area_struct_ptr | Array[struct_vm_area_struct],
        /,
    ) -> int: ...
    def vma_remove(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], first: int, nr: int, /
    ) -> None: ...
    def vma_tell(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        out: struct_vma_facts_ptr | Array[struct_vma_facts],
        /,
    ) -> None: ...
    def vma_detach(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], first: int, nr: int, /
    ) -> None: ...
    def vma_free(
        self, vma: struct_vm_area_struct_ptr | Array[struct_vm_area_struct], /
    ) -> None: ...
    def do_anonymous_fault(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], address: int, write: int, /
    ) -> int: ...
    def mm_fast_fault(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], address: int, error_code: int, /
    ) -> bool: ...
    def change_protection(
        self,
        tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather],
        start: int,
        end: int,
        vm_flags: int,
        /,
    ) -> None: ...
    def copy_page_range(
        self,
        src: struct_mm_struct_ptr | Array[struct_mm_struct],
        dst: struct_mm_struct_ptr | Array[struct_mm_struct],
        start: int,
        end: int,
        vm_flags: int,
        /,
    ) -> bool: ...
    def free_pgd_range(
        self,
        tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather],
        addr: int,
        end: int,
        floor: int,
        ceiling: int,
        /,
    ) -> None: ...
    def mm_find_pmd(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, /
    ) -> Ptr[int]: ...
    def pmd_address(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], addr: int, /
    ) -> int: ...
    def set_pte_at(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        addr: int,
        pte: Ptr[int],
        value: int,
        /,
    ) -> None: ...
    def vm_page_prot(self, vm_flags: int, /) -> int: ...
    def add_mm_counter(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], member: int, nr: int, /
    ) -> None: ...
    def pte_lock(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], table: int, /
    ) -> None: ...
    def pte_lock_nested(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], table: int, /
    ) -> None: ...
    def pte_unlock(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], table: int, /
    ) -> None: ...
    def pmd_lock(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], /
    ) -> None: ...
    def pmd_trylock(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], /
    ) -> bool: ...
    def pmd_unlock(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], /
    ) -> None: ...
    def pmd_lock_nested(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], /
    ) -> None: ...
    def flush_tlb_mm_range(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        start: int,
        end: int,
        stride_shift: int,
        freed_tables: int,
        /,
    ) -> None: ...
    def flush_tlb_is_local(self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], /) -> bool: ...
    def ptep_clear_flush(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, pte: Ptr[int], /
    ) -> int: ...
    def tlb_gather_mmu(
        self,
        tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather],
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        fullmm: int,
        /,
    ) -> None: ...
    def tlb_finish_mmu(self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], /) -> None: ...
    def tlb_flush_mmu_tlbonly(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], /
    ) -> None: ...
    def tlb_flush_mmu(self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], /) -> None: ...
    def tlb_remove_page(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], pfn: int, /
    ) -> bool: ...
    def tlb_remove_tlb_entry(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], addr: int, /
    ) -> None: ...
    def table_free_tlb(
        self,
        tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather],
        pfn: int,
        addr: int,
        level: int,
        /,
    ) -> None: ...
    def pte_free_tlb(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], pfn: int, addr: int, /
    ) -> None: ...
    def mm_dec_nr_ptes(self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], /) -> None: ...
    def tlb_remove_tables(
        self, kernel: struct_kernel_ptr | Array[struct_kernel], table: Ptr[int], nr: int, /
    ) -> None: ...
    def flush_pte_table(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, /
    ) -> None: ...
    def flush_upper_table(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, level: int, /
    ) -> None: ...
    def tlb_gather_owed(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], addr: int, level: int, /
    ) -> None: ...
    def flush_freed_tables(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        entry: Ptr[int],
        addr: int,
        level: int,
        /,
    ) -> None: ...
    def flush_is_owed(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], entry: Ptr[int], /
    ) -> bool: ...
    def pmd_alloc(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, /
    ) -> Ptr[int]: ...
    def pud_alloc(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, /
    ) -> Ptr[int]: ...
    def pmd_tryget(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], addr: int, /
    ) -> Ptr[int]: ...
    def pmd_put(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], addr: int, /
    ) -> None: ...
    def pmd_put_tlb(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], pmd: Ptr[int], addr: int, /
    ) -> None: ...
    def pud_put(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pud: Ptr[int], addr: int, /
    ) -> None: ...
    def pmd_entry_set(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], /
    ) -> None: ...
    def pmd_entry_cleared(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], addr: int, /
    ) -> None: ...
    def pmd_entry_cleared_tlb(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], pmd: Ptr[int], addr: int, /
    ) -> None: ...
    def pte_ref_init(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        table: int,
        pmd: Ptr[int],
        count: int,
        /,
    ) -> None: ...
    def pte_get(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], table: int, /
    ) -> None: ...
    def pte_get_many(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], table: int, nr: int, /
    ) -> None: ...
    def pte_get_unless_zero(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], /
    ) -> bool: ...
    def pte_try_get(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], table: Ptr[int], /
    ) -> int: ...
    def pte_tryget_map(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], addr: int, /
    ) -> Ptr[int]: ...
    def pte_tryget_map_lock(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], addr: int, /
    ) -> Ptr[int]: ...
    def pte_relock(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], table: int, /
    ) -> int: ...
    def pte_alloc_get(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        pmd: Ptr[int],
        addr: int,
        table: Ptr[int],
        /,
    ) -> int: ...
    def pte_alloc_get_map(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        pmd: Ptr[int],
        addr: int,
        pte: Ptr[Ptr[int]],
        /,
    ) -> int: ...
    def pte_alloc_get_map_lock(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        pmd: Ptr[int],
        addr: int,
        pte: Ptr[Ptr[int]],
        /,
    ) -> int: ...
    def pmd_install(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        pmd: Ptr[int],
        addr: int,
        table: int,
        /,
    ) -> int: ...
    def pte_entries_set(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], table: int, nr: int, /
    ) -> None: ...
    def pte_put(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], table: int, addr: int, /
    ) -> None: ...
    def pte_put_many(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], table: int, addr: int, nr: int, /
    ) -> None: ...
    def pte_put_tlb(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], table: int, addr: int, /
    ) -> None: ...
    def pte_put_many_tlb(
        self,
        tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather],
        table: int,
        addr: int,
        nr: int,
        /,
    ) -> None: ...
    def free_pte_table(
        self, mm: struct_mm_struct_ptr | Array[struct_mm_struct], pmd: Ptr[int], addr: int, /
    ) -> None: ...
    def free_pte_table_tlb(
        self, tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather], pmd: Ptr[int], addr: int, /
    ) -> None: ...
    def pte_put_vmf(self, vmf: struct_vm_fault_ptr | Array[struct_vm_fault], /) -> None: ...
    def rcu_read_lock(self, kernel: struct_kernel_ptr | Array[struct_kernel], /) -> None: ...
    def rcu_read_unlock(self, kernel: struct_kernel_ptr | Array[struct_kernel], /) -> None: ...
    def call_rcu(self, kernel: struct_kernel_ptr | Array[struct_kernel], pfn: int, /) -> None: ...
    def free_table_frame(
        self, kernel: struct_kernel_ptr | Array[struct_kernel], pfn: int, /
    ) -> None: ...
    def rcu_report_qs(
        self, kernel: struct_kernel_ptr | Array[struct_kernel], id: int, /
    ) -> int: ...
    def rcu_process_callbacks(self, kernel: struct_kernel_ptr | Array[struct_kernel], /) -> int: ...
    def __anon_vma_prepare(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        vma: struct_vm_area_struct_ptr | Array[struct_vm_area_struct],
        /,
    ) -> None: ...
    def set_pte_range(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        pte: Ptr[int],
        addr: int,
        prot: int,
        nr: int,
        pfns: Ptr[int],
        /,
    ) -> int: ...
    def smap_gather_stats(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        start: int,
        end: int,
        stats: struct_mem_size_stats_ptr | Array[struct_mem_size_stats],
        /,
    ) -> None: ...
    def walk_tables(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        root: int,
        report: struct_tables_report_ptr | Array[struct_tables_report],
        address: Ptr[int],
        count: Ptr[int],
        max: int,
        /,
    ) -> None: ...
    def user_range(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        addr: int,
        n: int,
        access: int,
        r: struct_user_range_ptr | Array[struct_user_range],
        /,
    ) -> int: ...
    def unmap_page_range(
        self,
        tlb: struct_mmu_gather_ptr | Array[struct_mmu_gather],
        start: int,
        end: int,
        details: int,
        /,
    ) -> None: ...
    def event_ring_full(
        self, ring: struct_event_ring_ptr | Array[struct_event_ring], arg: CData, /
    ) -> None: ...
    def kernel_wait_for_lock(
        self, kernel: struct_kernel_ptr | Array[struct_kernel], lock: Ptr[int], kind: int, /
    ) -> bool: ...
    def kernel_run_calls(
        self, kernel: struct_kernel_ptr | Array[struct_kernel], cpu: int, /
    ) -> None: ...
    def kernel_flush_others(
        self,
        mm: struct_mm_struct_ptr | Array[struct_mm_struct],
        info: struct_flush_tlb_info_ptr | Array[struct_flush_tlb_info],
        /,
    ) -> None: ...
    def kernel_sync_one(self, kernel: struct_kernel_ptr | Array[struct_kernel], /) -> None: ...
    def kernel_lockdep(
        self, kernel: struct_kernel_ptr | Array[struct_kernel], what: int, lock: int, kind: int, /
    ) -> None: ...

ffi: FFI
lib: Lib
