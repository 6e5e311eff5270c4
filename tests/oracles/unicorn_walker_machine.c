// SPDX-License-Identifier: GPL-2.0-or-later
/* Guest code, instances of Unicorn, and what they do. */
#include <stdlib.h>
#include <string.h>

#include "unicorn_walker_inside.h"

static const u8 sequence_kind[NR_SEQUENCE_KINDS] = { KIND_LOAD8, KIND_STORE8 };

u64 walker_ram(void)
{
	return RAM_SIZE;
}

const struct code instruction[NR_KINDS] = {
	[KIND_LOAD8] = { { 0x48, 0x8b, 0x03 }, 3 },
	[KIND_LOAD4] = { { 0x8b, 0x03 }, 2 },
	[KIND_LOAD1] = { { 0x0f, 0xb6, 0x03 }, 3 },
	[KIND_STORE8] = { { 0x48, 0x89, 0x03 }, 3 },
	[KIND_STORE1] = { { 0x88, 0x03 }, 2 },
	[KIND_ADD] = { { 0x48, 0x01, 0x03 }, 3 },
	[KIND_XADD] = { { 0xf0, 0x48, 0x0f, 0xc1, 0x03 }, 5 },
	[KIND_CMPXCHG] = { { 0xf0, 0x48, 0x0f, 0xb1, 0x0b }, 5 },
	[KIND_PUSH] = { { 0x50 }, 1 },
	[KIND_FETCH] = { { 0xff, 0xe3 }, 2 },
	[KIND_REP_STORE] = { { 0xf3, 0xa4 }, 2 },
	[KIND_REP_LOAD] = { { 0xf3, 0xa4 }, 2 },
	[KIND_DESCRIPTOR] = { { 0x41, 0x8e, 0xe2 }, 3 },
	[KIND_DESCRIPTOR_A] = { { 0x41, 0x8e, 0xe2 }, 3 },
};
static const struct code set_pkru = { { 0x0f, 0x01, 0xef }, 3 };
static const struct code set_registers = { { 0x4c, 0x89, 0xc0, 0x4c, 0x89, 0xc9 },
					   6 };		     /* RAX = R8, RCX = R9 */
static const struct code edit = { { 0x4d, 0x89, 0x23 }, 3 }; /* [R11] = R12 */
static const struct code flush[NR_FLUSHES] = {
	[FLUSH_INVLPG] = { { 0x0f, 0x01, 0x3b }, 3 },	 /* INVLPG [RBX] */
	[FLUSH_CR3] = { { 0x41, 0x0f, 0x22, 0xdd }, 4 }, /* CR3 = R13 */
	[FLUSH_PGE] = { { 0x41, 0x0f, 0x22, 0xe6, 0x41, 0x0f, 0x22, 0xe7 },
			8 }, /* CR4 = R14, then R15 */
};

static u32 put(u8 *page, u32 at, const struct code *code)
{
	memcpy(page + at, code->byte, code->n);
	return at + code->n;
}

static u32 sequence_at(u32 first, u32 how, u32 second)
{
	return SEQUENCE_AT +
	       ((first * NR_FLUSHES + how) * NR_SEQUENCE_KINDS + second) * SEQUENCE_SIZE;
}

static void write_sequence(struct walker *w, u8 *page, u32 first, u32 how, u32 second)
{
	u32 at = put(page, sequence_at(first, how, second), &set_pkru);

	at = put(page, at, &set_registers);
	w->sequence_insn[first][how][second][0] = at;
	at = put(page, at, &instruction[sequence_kind[first]]);
	at = put(page, at, &edit);
	at = put(page, at, &flush[how]);
	at = put(page, at, &set_registers);
	w->sequence_insn[first][how][second][1] = at;
	at = put(page, at, &instruction[sequence_kind[second]]);
	page[at] = INT3;
}

static void write_code(struct walker *w)
{
	static const u8 sysretq[] = { 0x48, 0x0f, 0x07 };
	u8 *page = w->ram + CODE_PA;

	for (u32 kind = 0; kind < NR_KINDS; kind++) {
		u32 at = put(page, kind * STUB_SIZE, &set_pkru);

		w->stub_insn[kind] = at = put(page, at, &set_registers);
		at = put(page, at, &instruction[kind]);
		page[at] = INT3;
	}
	for (u32 i = 0; i < NR_SEQUENCE_KINDS; i++)
		for (u32 how = 0; how < NR_FLUSHES; how++)
			for (u32 j = 0; j < NR_SEQUENCE_KINDS; j++)
				write_sequence(w, page, i, how, j);
	memcpy(page + ENTER_AT, sysretq, sizeof(sysretq));
	page[INT3_AT] = INT3;
	memset(w->ram + DATA_PA, 0x5a, PAGE_SIZE);
}

/* Tables of the addresses above STUB; A and D are set, so nothing of them changes. */
static void write_stub_tables(struct walker *w)
{
	const u64 user = X86_P | X86_RW | X86_US | X86_A | X86_D, supervisor = user & ~(u64)X86_US;
	u64 *pt = entry_at(w, table_pa(TABLE_STUB_1)), *pd = entry_at(w, table_pa(TABLE_STUB_2));

	*entry_at(w, table_pa(TABLE_5) + 511 * 8) = table_pa(TABLE_STUB_4) | user;
	*entry_at(w, table_pa(TABLE_STUB_4) + STUB_PML4 * 8) = table_pa(TABLE_STUB_3) | user;
	*entry_at(w, table_pa(TABLE_4A) + STUB_PML4 * 8) = table_pa(TABLE_STUB_3) | user;
	*entry_at(w, table_pa(TABLE_STUB_3)) = table_pa(TABLE_STUB_2) | user;
	pd[0] = table_pa(TABLE_STUB_1) | user;
	pd[1] = supervisor | X86_PS;
	pt[0] = CODE_PA | (supervisor & ~(u64)X86_RW);
	pt[1] = CODE_PA | (user & ~(u64)X86_RW);
	pt[2] = DATA_PA | supervisor;
	pt[3] = DATA_PA | user;
}

struct walker *walker_create(const struct unicorn_api *uc, const struct our_api *ours, void *unit)
{
	struct walker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->uc_api = *uc;
	w->ours = *ours;
	w->unit = unit;
	w->ram = w->unit->ram->ram - w->unit->ram->base;
	write_code(w);
	write_stub_tables(w);
	return w;
}

static void free_instance(struct walker *w, struct instance *i)
{
	if (i->base)
		UC(w, context_free)(i->base);
	if (i->loaded)
		UC(w, context_free)(i->loaded);
	if (i->now)
		UC(w, context_free)(i->now);
}

void walker_free(struct walker *w)
{
	for (u32 n = 0; n < NR_WHO * 4; n++)
		free_instance(w, &w->of[n / 4][n / 2 % 2][n % 2]);
	free(w);
}

/* One instance. */

static void set(struct walker *w, struct instance *i, int reg, u64 value)
{
	UC(w, reg_write)(i->uc, reg, &value);
}

static u64 get(struct walker *w, struct instance *i, int reg)
{
	u64 value = 0;

	UC(w, reg_read)(i->uc, reg, &value);
	return value;
}

static void set_msr(struct walker *w, struct instance *i, u32 nr, u64 value)
{
	uc_x86_msr msr = { .rid = nr, .value = value };

	UC(w, reg_write)(i->uc, UC_X86_REG_MSR, &msr);
}

/* Note the exception that ends a run. */
static void on_interrupt(uc_engine *uc, u32 vector, void *user)
{
	struct instance *i = user;

	i->vector = vector;
	UC(i->walker, emu_stop)(uc);
}

static uc_err start(struct walker *w, struct instance *i, u64 rip)
{
	i->vector = STOPPED_NOWHERE;
	return UC(w, emu_start)(i->uc, rip, 0, 0, 0);
}

static const char *prepare(struct walker *w, struct instance *i, u32 la57, u32 cpl)
{
	set_msr(w, i, MSR_EFER, EFER_ALWAYS);
	set_msr(w, i, MSR_STAR, 0x23ull << 48);
	set(w, i, UC_X86_REG_CR4, BASE_CR4(la57));
	set(w, i, UC_X86_REG_CR3, table_pa(la57 ? TABLE_5 : TABLE_4A));
	set(w, i, UC_X86_REG_CR0, CR0_ALWAYS);
	UC(w, ctl)(i->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1);
	if (!cpl)
		return NULL;
	set(w, i, UC_X86_REG_RCX, USER_STUB + INT3_AT);
	set(w, i, UC_X86_REG_R11, 2);
	if (start(w, i, STUB + ENTER_AT) != UC_ERR_OK || i->vector != VECTOR_BP)
		return "SYSRETQ does not lead to user mode";
	return NULL;
}

const char *walker_prepare(struct walker *w, void *uc, u32 la57, u32 cpl)
{
	struct instance *i = &w->preparing;
	const char *error;
	uc_hook hook;

	*i = (struct instance){ .uc = uc, .walker = w };
	if (UC(w, mem_map_ptr)(uc, 0, RAM_SIZE, UC_PROT_ALL, w->ram) != UC_ERR_OK)
		return "guest RAM cannot be mapped";
	if (UC(w, hook_add)(uc, &hook, UC_HOOK_INTR, (void *)on_interrupt, i, (u64)1, (u64)0) !=
	    UC_ERR_OK)
		return "the interrupt hook is refused";
	error = prepare(w, i, la57, cpl);
	UC(w, hook_del)(uc, hook);
	return error;
}

const char *walker_add(struct walker *w, u32 who, u32 la57, u32 cpl, void *uc, void *vcpu,
		       void *unit)
{
	struct instance *i = &w->of[who][la57][cpl == 3];
	uc_hook hook;

	*i = (struct instance){ .uc = uc, .vcpu = vcpu, .unit = unit, .walker = w };
	if (UC(w, hook_add)(uc, &hook, UC_HOOK_INTR, (void *)on_interrupt, i, (u64)1, (u64)0) !=
	    UC_ERR_OK)
		return "the interrupt hook is refused";
	if (UC(w, context_alloc)(uc, &i->base) != UC_ERR_OK ||
	    UC(w, context_alloc)(uc, &i->now) != UC_ERR_OK ||
	    UC(w, context_alloc)(uc, &i->loaded) != UC_ERR_OK ||
	    UC(w, context_save)(uc, i->base) != UC_ERR_OK)
		return "no context";
	return NULL;
}

/* What did happen. */

/* The error code that the last exception left. */
static u32 error_code(struct walker *w, struct instance *i)
{
	u32 code;

	UC(w, context_save)(i->uc, i->now);
	memcpy(&code, (u8 *)i->now + w->error_code_at, sizeof(code));
	return code;
}

/* All registers of a state. */
static void load_instance(struct walker *w, struct instance *i, const struct state *s,
			  u64 descriptor_table)
{
	uc_x86_mmr gdtr = { .base = descriptor_table, .limit = 0xf };
	struct outcome before;

	outcome_before(s, &before);
	UC(w, context_restore)(i->uc, i->base);
	set_msr(w, i, MSR_EFER, s->efer);
	set(w, i, UC_X86_REG_CR4, s->cr4);
	set(w, i, UC_X86_REG_CR0, s->cr0);
	set(w, i, UC_X86_REG_CR2, CR2_BEFORE);
	set(w, i, UC_X86_REG_CR3, s->cr3);
	set(w, i, UC_X86_REG_EFLAGS, s->rflags);
	set(w, i, UC_X86_REG_RAX, s->pkru);
	set(w, i, UC_X86_REG_RCX, 0);
	set(w, i, UC_X86_REG_RDX, 0);
	set(w, i, UC_X86_REG_RBX, s->va);
	set(w, i, UC_X86_REG_RSP, before.rsp);
	set(w, i, UC_X86_REG_RSI, before.rsi);
	set(w, i, UC_X86_REG_RDI, before.rdi);
	set(w, i, UC_X86_REG_R8, s->rax);
	set(w, i, UC_X86_REG_R9, s->rcx);
	if (s->kind == KIND_DESCRIPTOR || s->kind == KIND_DESCRIPTOR_A) {
		set(w, i, UC_X86_REG_R10, 0xb);
		UC(w, reg_write)(i->uc, UC_X86_REG_GDTR, &gdtr);
	}
	if (!s->sequence)
		return;
	set(w, i, UC_X86_REG_R11, TABLE_WINDOW + s->entry_pa[s->edited]);
	set(w, i, UC_X86_REG_R12, s->new_entry);
	set(w, i, UC_X86_REG_R13, s->reload);
	set(w, i, UC_X86_REG_R14, s->cr4 ^ CR4_PGE);
	set(w, i, UC_X86_REG_R15, s->cr4);
}

/* Run an instance of UC_TLB_CPU from rip, and look. */
static void run_walker(struct walker *w, struct instance *i, u64 rip, struct outcome *o)
{
	uc_err err = start(w, i, rip);

	o->vector = err ? STOPPED_NOWHERE - err : i->vector;
	o->cr2 = get(w, i, UC_X86_REG_CR2);
	if (o->vector == XLATE_PF)
		o->code = error_code(w, i);
}

/* Run an attached instance from RIP until something ends it; vcpu_shared() has the exit. */
static void run_attached(struct walker *w, struct instance *i)
{
	u64 rip = get(w, i, UC_X86_REG_RIP);
	struct vm_exit exit;

	OURS(w, vcpu_emu_start, vcpu_emu_start)(i->vcpu, rip, NEVER, 0, 0, &exit);
}

/*
 * CR4.PCIDE is set only while CR3[11:0] is 0 (SDM vol. 3A 4.10.1), and our MMU looks at the
 * registers when something is fetched: let it see both with PCID 0.
 */
static void enable_pcids(struct walker *w, struct instance *i, const struct state *s)
{
	OURS(w, mmu_flush_all, flush_all)(i->unit);
	set(w, i, UC_X86_REG_CR3, s->cr3 & ~(u64)CR3_PCID_MASK);
	set(w, i, UC_X86_REG_RIP, stub_of(s) + INT3_AT);
	run_attached(w, i);
	set(w, i, UC_X86_REG_CR3, s->cr3);
}

static void load_vcpu(struct walker *w, struct instance *i, const struct state *s)
{
	struct mmu_unit *u = i->unit;

	u->cr2 = CR2_BEFORE;
	u->rflags = s->rflags;
	u->maxphyaddr = MAXPHYADDR;
	u->features = ALL_FEATURES;
	if (s->cr4 & CR4_PCIDE)
		enable_pcids(w, i, s);
	OURS(w, mmu_flush_all, flush_all)(u);
}

/* The same of an instance that translates through our MMU. */
static void run_vcpu(struct walker *w, struct instance *i, u64 rip, struct outcome *o)
{
	const struct vm_exit *exit = &OURS(w, vcpu_shared, vcpu_shared)(i->vcpu)->exit;

	set(w, i, UC_X86_REG_RIP, rip);
	i->vector = STOPPED_NOWHERE;
	run_attached(w, i);
	o->cr2 = i->unit->cr2;
	switch (exit->reason) {
	case EXIT_PAGE_FAULT:
		o->vector = XLATE_PF;
		o->code = exit->error_code;
		break;
	case EXIT_EXCEPTION:
		if (exit->address)
			((void (*)(void *))w->ours.settle)(i->vcpu);
		o->vector = exit->vector;
		break;
	case EXIT_STOPPED:
		o->vector = i->vector;
		break;
	default:
		o->vector = 0x10000 + exit->reason;
	}
}

/* Our MMU has the control registers of the state: none was refused. */
static bool has_registers(const struct mmu_unit *u, const struct state *s)
{
	return u->cr0 == s->cr0 && u->cr3 == s->cr3 && u->cr4 == s->cr4;
}

static void run(struct walker *w, struct instance *i, const struct state *s, u64 rip,
		struct outcome *o)
{
	memset(o, 0, sizeof(*o));
	if (i->vcpu)
		run_vcpu(w, i, rip, o);
	else
		run_walker(w, i, rip, o);
	o->rip = get(w, i, UC_X86_REG_RIP);
	o->rax = get(w, i, UC_X86_REG_RAX);
	o->rcx = get(w, i, UC_X86_REG_RCX);
	o->rsp = get(w, i, UC_X86_REG_RSP);
	o->rsi = get(w, i, UC_X86_REG_RSI);
	o->rdi = get(w, i, UC_X86_REG_RDI);
	if (o->vector == VECTOR_BP)
		o->vector = 0;
	if (i->vcpu && !has_registers(i->unit, s))
		o->vector = REGISTERS_REFUSED;
	look_at_cells(w, o);
}

void execute(struct walker *w, struct instance *i, const struct state *s, struct outcome *o)
{
	u64 stub = stub_of(s) + s->kind * STUB_SIZE;

	load_instance(w, i, s, s->va - 8);
	if (i->vcpu)
		load_vcpu(w, i, s);
	run(w, i, s, s->cr4 & CR4_PKE ? stub : stub + SKIP_PKRU, o);
}

static u64 sequence_stub(const struct state *s)
{
	return STUB + sequence_at(s->way / NR_SEQUENCE_KINDS, s->flush, s->way % NR_SEQUENCE_KINDS);
}

void execute_sequence(struct walker *w, struct instance *i, const struct state *s,
		      struct outcome o[2])
{
	u64 fault = insn_of_step(w, s, 0);

	load_instance(w, i, s, 0);
	if (i->vcpu)
		load_vcpu(w, i, s);
	else
		UC(w, context_save)(i->uc, i->loaded);
	run(w, i, s, sequence_stub(s) + SKIP_PKRU, &o[0]);
	if (o[0].rip != fault || !o[0].vector) {
		o[1] = o[0];
		o[0].vector = 0;
		return;
	}
	if (i->vcpu)
		i->unit->cr2 = CR2_BEFORE;
	else
		UC(w, context_restore)(i->uc, i->loaded);
	run(w, i, s, fault + instruction[kind_of_step(s, 0)].n, &o[1]);
}

/* Where a context of Unicorn's holds the error code: no version says so. */

/* A page fault of which nobody doubts the error code. */
struct plain_fault {
	u32 cpl, kind;
	u64 flags; /* of the PTE */
	u32 code;
};

static const struct plain_fault plain[] = {
	{ 0, KIND_LOAD8, 0, 0 },
	{ 0, KIND_STORE8, 0, PF_WR },
	{ 3, KIND_LOAD8, 0, PF_US },
	{ 3, KIND_STORE8, 0, PF_WR | PF_US },
	{ 3, KIND_LOAD8, X86_P | X86_RW, PF_P | PF_US },
	{ 3, KIND_STORE8, X86_P | X86_US, PF_P | PF_WR | PF_US },
	{ 0, KIND_LOAD8, X86_P | 1ull << 45, PF_P | PF_RSVD },
	{ 3, KIND_FETCH, 0, PF_US | PF_ID },
	{ 3, KIND_FETCH, X86_P | X86_US | X86_XD, PF_P | PF_US | PF_ID },
};

/* The state that makes that fault. */
static struct state plain_state(const struct plain_fault *f)
{
	struct state s = {
		.kind = f->kind,
		.size = f->kind == KIND_FETCH ? 1 : 8,
		.cpl = f->cpl,
		.cr0 = CR0_ALWAYS | CR0_WP,
		.cr3 = table_pa(TABLE_4A),
		.cr4 = BASE_CR4(false),
		.efer = EFER_ALWAYS | EFER_NXE,
		.rflags = 2,
		.va = 0x400000,
		.nr_entries = 4,
	};

	for (u32 level = 4; level; level--) {
		u32 i = 4 - level;

		s.entry_level[i] = level;
		s.entry[i] = X86_P | X86_RW | X86_US | table_pa(TABLE_3A + 2 * i);
		s.entry_pa[i] =
			(i ? table_pa(TABLE_3A + 2 * (i - 1)) : s.cr3) + entry_offset(s.va, level);
	}
	s.entry[3] = f->flags | SMALL_PA;
	return s;
}

const char *walker_find_error_code(struct walker *w)
{
	size_t size = UC(w, context_size)(w->of[WHO_WALKER][0][0].uc);
	u8 *wrong = calloc(1, size);
	u32 nr = 0;

	if (!wrong)
		return "no memory";
	for (u32 n = 0; n < sizeof(plain) / sizeof(*plain); n++) {
		struct state s = plain_state(&plain[n]);
		struct instance *i = &w->of[WHO_WALKER][0][s.cpl == 3];
		struct outcome o;

		lay_out(w, &s);
		restore(w);
		execute(w, i, &s, &o);
		clear(w, &s);
		if (o.vector != XLATE_PF || o.cr2 != s.va) {
			free(wrong);
			return "a plain page fault is not told";
		}
		UC(w, context_save)(i->uc, i->now);
		for (u32 at = 0; at + sizeof(u32) <= size; at += sizeof(u32))
			wrong[at] |= memcmp((u8 *)i->now + at, &plain[n].code, sizeof(u32)) != 0;
	}
	for (u32 at = 0; at + sizeof(u32) <= size; at += sizeof(u32)) {
		if (wrong[at])
			continue;
		w->error_code_at = at;
		nr++;
	}
	free(wrong);
	return nr == 1 ? NULL : "the error code is in no place, or in several, of a context";
}
