/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder give each other, lowest first: a file calls only those above it. */
#ifndef UCMMU_UNICORN_VCPU_H
#define UCMMU_UNICORN_VCPU_H

#include "unicorn/state.h"
#include "unicorn/user_regs.h"

/* decode.c */
struct insn {
	u8 byte[MAX_INSN];
	u32 nr;	       /* bytes that could be read */
	u32 opcode_at; /* number of the first opcode byte: after the prefixes */
	u8 rep;	       /* 0xf2, 0xf3 or 0 */
	u8 rex;
	u8 segment; /* 0x64 FS, 0x65 GS, or 0 */
	bool operand16, address32, lock;
	bool both_reps;	     /* F2 and F3: the last counts, and is rep */
	bool segment_undone; /* FS or GS, and then a segment that 64-bit mode ignores */
};
void insn_parse(const u8 *code, u32 n, struct insn *insn);
u32 insn_length(const struct vcpu *v, const u8 *code, u32 n);
u8 insn_opcode(const struct insn *insn, u32 n);
bool insn_is_rmw(const struct insn *insn);
bool insn_is_rep(const struct insn *insn);

/* state.c */
struct vcpu *vcpu_alloc(const struct uc_api *api);
void clear_vcpu(struct vcpu *v);
void clear_run(struct vcpu *v);
void clear_insn(struct vcpu *v);
void forget_memos(struct vcpu *v);
u32 cpl(const struct vcpu *v);
void settle_result(struct vcpu *v);

/* private.c: Unicorn's private parts, each behind its bit of shared.private. */
void private_bind(struct vcpu *v, u32 allowed);
void *private_fill_hook(u32 private);
void *private_load_hook(u32 private, const struct load_target *target);
u64 private_asker(const struct vcpu *v);
void private_flush_page(struct vcpu *v, u64 va);
u64 private_rip(struct vcpu *v);
void private_set_page(struct vcpu *v, u64 va, u64 address, u32 perms);
u32 *private_env(const struct vcpu *v, enum env_word word);
const u64 *private_efer(const struct vcpu *v);

/* env.c, registers.c */
bool env_has(const struct vcpu *v, enum env_word word);
u32 env_get(struct vcpu *v, enum env_word word);
void env_set(struct vcpu *v, enum env_word word, u32 value);
void env_set_segment(struct vcpu *v, enum env_word which, u32 selector, u32 flags);
bool env_is_segment(const void *at, u32 selector, u32 flags);
void env_free(struct vcpu *v);
void sync_ac(struct vcpu *v);
void control_begin(struct vcpu *v);
void control_sync(struct vcpu *v);
void control_look(struct vcpu *v);
u32 control_load_cr3(struct vcpu *v);
u32 control_load_cr0_cr4(struct vcpu *v);
u32 control_refuse_cr0_cr4(struct vcpu *v);
void private_save_run(const struct vcpu *v, struct unicorn_run *run);
void private_restore_run(struct vcpu *v, const struct unicorn_run *run);
u8 *private_host(struct vcpu *v, u64 address, u64 size);
void private_hear_again(struct vcpu *v);
void private_drop_code(struct vcpu *v, u64 address, u64 size);

/* region.c, frame.c, bus.c */
struct region *region_of(struct vcpu *v, u64 pa);
u64 uc_address(struct vcpu *v, u64 pa);
int add_region(struct vcpu *v, const struct vcpu_region *region);
int remove_region(struct vcpu *v, u64 base, u64 size);
bool has_region(struct vcpu *v, u64 base, u64 size);
bool was_io(const struct regions *regions, u64 address);
void begin_regions(struct vcpu *v);
void free_regions(struct regions *regions);
bool open_frame(struct vcpu *v, u64 pa);
u32 *frame_flags(struct vcpu *v, u64 pa);
bool is_table(struct vcpu *v, u64 pa);
u64 *frame_owner(struct vcpu *v, u64 pa);
void for_each_code_frame(struct vcpu *v, void (*on_frame)(struct vcpu *v, u64 pa));
bool begin_owning(struct vcpu *v);
void clear_owners(struct vcpu *v);
void close_frames(struct vcpu *v, u64 base, u64 size);
void close_frames_without_memory(struct vcpu *v);
void free_frames(struct vcpu *v);
void connect_bus(struct vcpu *v);
void disconnect_bus(struct vcpu *v);

/* code.c, operand.c */
bool probe_by_walk(struct vcpu *v, u64 va, u32 access, u64 *pa);
bool probe_by_model(struct vcpu *v, u64 va, u32 access, u64 *pa);
void insn_read(struct vcpu *v, u64 rip, struct insn *insn);
u32 insn_count(struct vcpu *v, u64 from, u64 to, u64 *last);
u32 insn_crossing(struct vcpu *v, u64 pc, u32 size);
bool insn_needs_page(struct vcpu *v, u64 rip, u64 page);
u64 insn_find(struct vcpu *v, u64 pc, u32 size, bool (*is)(const struct insn *insn));
bool insn_is_rmw_at(struct vcpu *v, u64 rip);
enum control control_of_block(struct vcpu *v, u64 pc, u32 size, u16 *offset);
u64 insn_gpr(const struct vcpu *v, u32 nr);
u64 insn_memory_operand(struct vcpu *v, const struct insn *insn, u64 rip, u32 modrm_at, u32 imm);

/* owner.c, soft.c, coherence.c; memory.c is above them. */
u64 other_owner(struct vcpu *v, u64 pa, u64 va);
void set_owner(struct vcpu *v, u64 pa, u64 va);
bool claim(struct vcpu *v, u64 pa, u64 va);
void disown_all(struct vcpu *v);
u64 owner_address(struct vcpu *v, u64 pa);
void forget_soft(struct vcpu *v);
void soft_drop_all(struct vcpu *v);
void soft_drop_page(struct vcpu *v, u64 va);
void soft_drop_later(struct vcpu *v, u64 va);
void soft_drain(struct vcpu *v);
void soft_drain_in_hook(struct vcpu *v);
void soft_drain_evicted(struct vcpu *v, u64 va, u64 va2);
void give_frame(struct vcpu *v, u64 pa, u64 va);
bool holds_code(struct vcpu *v, u64 pa);
void note_code(struct vcpu *v, u64 pa);
void note_code_store(struct vcpu *v, u64 pa, u64 va);
bool window_fill(struct vcpu *v, u64 page, uc_tlb_entry *entry);
void drop_code(struct vcpu *v, u64 pa);
void drop_all_code(struct vcpu *v);
void drop_code_range(struct vcpu *v, u64 pa, u64 size);
void drop_by_window(struct vcpu *v, u64 pa, u64 size);
void drop_forgotten(struct vcpu *v);

/* watchpoint.c */
void watch_frame(struct vcpu *v, u64 pa, u64 va);
void free_watchpoints(struct vcpu *v, bool all);

/* exits.c */
bool add_exit(struct vcpu *v, u64 address);
void publish_exits(struct vcpu *v);
void hide_exits(struct vcpu *v);
void show_exits(struct vcpu *v);
void remove_exit(struct vcpu *v, u64 address);
bool is_exit(struct vcpu *v, u64 address);
void suspend_exits(struct vcpu *v);
void resume_exits(struct vcpu *v);
uc_err start_ahead(struct vcpu *v, uc_err (*start_unicorn)(struct vcpu *v));

/* trace.c: the instructions' events; what of it is hot stands in trace.h. */
bool trace_prepare(struct vcpu *v);
void trace_begin(struct vcpu *v);
void trace_to(struct vcpu *v, u32 number);
bool trace_at(struct vcpu *v, u64 rip);
void trace_rest(struct vcpu *v);
void trace_cut(struct vcpu *v, u64 rip);
void trace_alone(struct vcpu *v, u64 rip, const struct insn *insn);
const struct traced_insn *trace_find(struct vcpu *v);
void trace_resume(struct vcpu *v, const struct trace_state *outer);
void clear_block(struct vcpu *v);

/* count.c */
void learn(struct vcpu *v, struct block *b, u64 pc, u32 size);
void uncount_from(struct vcpu *v, u64 rip);
u64 count_at(struct vcpu *v, u64 rip);

/* lookup.c, fetch.c, fault.c; what of them is hot stands in memo.h and fetch.h. */
bool hit(struct vcpu *v, u64 va, u64 pa, u64 page, u32 access);
u32 translate_as(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t);
u32 translate(struct vcpu *v, u64 va, u32 access, struct translation *t);
void tell_checker(struct vcpu *v);
bool fetch_in_full(struct vcpu *v, u64 va, struct translation *t) __attribute__((noinline));
void fetch_reached(struct vcpu *v, u64 rip);
void fetch_again_at(struct vcpu *v, u64 rip);
void fetch_cut_before(struct vcpu *v, u64 rip);
void describe_fault(struct vcpu *v, u64 va, u32 access, const struct translation *t);
bool let_fault_fast(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t);
bool let_fault_modelled(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t);
bool resolve_fault_as(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t);
bool resolve_fault(struct vcpu *v, u64 va, u32 access, struct translation *t);

/* implicit.c, linear.c */
bool is_implicit(struct vcpu *v, u64 va, u64 rip);
u32 linear_access(struct vcpu *v, u64 va, void *data, u32 n, u32 access, u32 privilege,
		  struct translation *t, u64 *at);

/* hook.c, flags.c, end.c, start.c, level.c */
bool add_hook(struct vcpu *v, int type, void *callback, int insn);
void del_last_hook(struct vcpu *v);
void restore_flags(struct vcpu *v, u64 rip);
void leave_guest(struct vcpu *v);
void begin(struct vcpu *v);
void end(struct vcpu *v, enum stop reason, u64 rip, enum progress progress, enum again again);
void end_by_fault(struct vcpu *v, u64 rip, u32 access);
void end_by_exception(struct vcpu *v, u32 vector, u64 rip, enum progress progress);
void end_from_outside(struct vcpu *v, uc_err err);
void settle(struct vcpu *v);
bool is_inside_block(const struct vcpu *v, u64 rip);
bool is_of_block(const struct vcpu *v, u64 rip);
u64 deadline_after(u64 timeout_us);
bool is_late(const struct vcpu *v);
void start(struct vcpu *v);
void enter_level(struct vcpu *v, struct level *outer);
void leave_level(struct vcpu *v, const struct level *outer);
void settle_jump(struct vcpu *v, u64 pc);

/* control.c: control registers that a guest of its own changes. */
bool control_carry_out(struct vcpu *v);

/* invpcid.c */
bool is_invpcid(const struct insn *insn);
void finish_invpcid(struct vcpu *v);
void look_at_privilege(struct vcpu *v);

/* asker.c: fills that are not the guest's. */
void learn_invalidator(struct vcpu *v);
bool guest_asks(const struct vcpu *v, u64 page, u32 access);
bool answer_unicorn(struct vcpu *v, u64 va, u32 access, uc_tlb_entry *entry);

/* handler.c: whose faults are handled where. */
enum answer raise_fault(struct vcpu *v, u64 va, u32 access, u32 faulting, struct translation *t,
			uc_tlb_entry *entry);
enum answer handle_fault(struct vcpu *v, u64 va, u32 access, u32 faulting, struct translation *t,
			 uc_tlb_entry *entry);
bool nothing_is_a_bad_table(struct vcpu *v, u64 va, u64 pa, u32 access, uc_tlb_entry *entry);
bool pass_nothing(struct vcpu *v, u64 va, u64 pa, u32 access, uc_tlb_entry *entry);
bool fetch_is_mended(struct vcpu *v, u64 pc, struct translation *t);
void settle_passed(struct vcpu *v);

/* access.c, fill.c, block.c, traps.c: the hooks. */
void on_load(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg);
void on_store(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg);
bool fill(void *arg, u64 page, u64 va, u32 access, uc_tlb_entry *entry);
bool fill_attached(void *arg, u64 page, u64 va, u32 access, uc_tlb_entry *entry);
void on_block_fast(uc_engine *uc, u64 pc, u32 size, void *arg);
void on_block_exact(uc_engine *uc, u64 pc, u32 size, void *arg);
void on_block_trace(uc_engine *uc, u64 pc, u32 size, void *arg);
void on_load_trace(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg);
void on_store_trace(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg);
void on_syscall(uc_engine *uc, void *arg);
void on_interrupt(uc_engine *uc, u32 vector, void *arg);
void finish_syscall(struct vcpu *v);

/* intercept.c, suspect.c, unsafe.c, emulate.c, fprem.c, watch.c */
u32 intercept_of(const struct insn *insn);
u32 vector_of_intercept(u32 intercept);
bool stops_before(const struct insn *insn);
bool has_form(u8 op, u8 rep);
bool is_suspect(const u8 *code, u32 n);
bool may_translate(struct vcpu *v, u64 page);
bool is_emulated(const struct insn *insn);
void emulate(struct vcpu *v, const struct insn *insn);
void fprem(struct vcpu *v, bool nearest);
void on_edge(uc_engine *uc, uc_tb *now, uc_tb *before, void *arg);
void on_edge_attached(uc_engine *uc, uc_tb *now, uc_tb *before, void *arg);
void end_by_intercept(struct vcpu *v, const struct insn *insn, u64 rip, enum progress progress);
uc_err watch_found(struct vcpu *v);
void unwatch_all(struct vcpu *v);
bool end_at_exit(struct vcpu *v, u64 rip);
void finish_intercept(struct vcpu *v);
void finish_emulated(struct vcpu *v);

/* deliver.c */
void deliver(struct vcpu *v);
void forget_in_flight(struct vcpu *v);

/* user_regs.c: registers by Unicorn's functions on many at once, of an instance or a context. */
struct registers {
	void *read, *write; /* uc_reg_read_batch() or its kin */
	void *of;
};
void get_regs(const struct registers *r, struct user_regs *regs);
void set_regs(const struct registers *r, const struct user_regs *regs);
void fxsave(const struct registers *r, u8 *image);
void fxrstor(const struct registers *r, const u8 *image);

/* step.c, vcpu.c, start_thread.c */
void step(struct vcpu *v, bool on);
bool may_step_on(struct vcpu *v);
bool arm(struct vcpu *v);
void start_thread(struct vcpu *v, u64 rip, u64 rsp);
void enter_user_mode(struct vcpu *v);
void forget_program(struct vcpu *v);

/* places.c: what the self-test asks for too. */
bool test_private_env(const struct uc_api *api);

static inline u64 reg_read(const struct vcpu *v, int reg)
{
	u64 value = 0;

	UC(v, reg_read)(v->uc, reg, &value);
	return value;
}

static inline void reg_write(const struct vcpu *v, int reg, u64 value)
{
	UC(v, reg_write)(v->uc, reg, &value);
}

static inline bool private_has(const struct vcpu *v, u32 what)
{
	return v->shared.private & what;
}

/* Until the next stop, memory hooks find RIP stale (or, again, exact); without effect where that is
 * not known. */
static inline void skip_pc(struct vcpu *v, bool skip)
{
	*v->skip_pc = skip;
}

static inline u64 block_key(const struct vcpu *v, u32 size)
{
	return v->epoch << 16 | size;
}

static inline struct block *block_slot(struct vcpu *v, u64 pc)
{
	return &v->blocks[(pc ^ pc >> 12) & (NR_BLOCKS - 1)];
}

/* Is *b what is known of the block at pc? */
static inline bool is_known(const struct vcpu *v, const struct block *b, u64 pc, u32 size)
{
	return b->pc == pc && b->key == block_key(v, size);
}

/* Whether anything must be done before the next block. */
static inline bool busy(const struct vcpu *v)
{
	const struct soft_flush *soft = &v->mmu->soft;

	return soft->all | soft->nr | v->pending.any;
}

/* The block goes into the count as a whole, if the limit allows it. */
static inline bool enter(struct vcpu *v, struct block *b)
{
	if (unlikely(b->insns > v->run.limit - v->shared.count))
		return false;
	v->shared.count += b->insns;
	v->block.known = b;
	v->pending.control = b->control;
	return true;
}

/* The guest-physical address of what the instance has at that address: see region.c. */
static inline u64 guest_physical(u64 address)
{
	return address & GUEST_PHYSICAL;
}

static inline u64 page_of(u64 va)
{
	return va & PAGE_MASK;
}

/* A CODE hook is about to return to the instruction at pc: see restore_flags(). */
static inline void save_flags(struct vcpu *v, u64 pc)
{
	v->insn.flags_rip = pc;
	v->insn.rflags = reg_read(v, UC_X86_REG_EFLAGS);
	v->insn.rcx = reg_read(v, UC_X86_REG_RCX);
}

/* Whether a store at va is that of a read-modify-write whose load was left to it. */
static inline bool is_denied_rmw(const struct vcpu *v, u64 va)
{
	return v->insn.rmw_denied != NO_ADDRESS && page_of(v->insn.rmw_denied) == page_of(va);
}

#endif
