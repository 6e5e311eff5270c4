/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The run stops before instructions that are intercepted:
 *
 *   on_edge()      Unicorn has translated a block: look for them in it; if there is one, stop
 * before the block watch_found()  put a CODE hook on it, drop the block, go on: translated anew,
 * the block calls the hook on_watched()   the guest is about to execute it: stop
 *
 * So a block that holds none costs nothing when it runs.
 */

#include "unicorn/trace.h"

#define MAX_BLOCK (PAGE_SIZE + MAX_INSN)

/* x87 instructions that Unicorn computes to 53 bits: F2XM1 to FPATAN, FYL2XP1, FSINCOS, FSIN, FCOS.
 */
static bool is_imprecise_x87(u8 op, u8 modrm)
{
	return op == 0xd9 && modrm >= 0xf0 && 1u << (modrm - 0xf0) & 0xca0f;
}

/* LIMIT_* that the instruction meets: Unicorn executes it, but not as a processor does. */
static u32 limit_of(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0), modrm = insn_opcode(insn, 2);

	if (is_imprecise_x87(op, insn_opcode(insn, 1)))
		return LIMIT_X87_PRECISION;
	if (op == 0x0f && insn_opcode(insn, 1) == 0xae && modrm < 0xc0 && (modrm >> 3 & 6) == 2)
		return LIMIT_MXCSR; /* LDMXCSR, STMXCSR */
	return 0;
}

static bool is_watched(const struct vcpu *v, const struct watch *w)
{
	for (u32 i = 0; i < v->intercepts.nr; i++)
		if (v->intercepts.watch[i].begin <= w->begin &&
		    w->end <= v->intercepts.watch[i].end)
			return true;
	return false;
}

/*
 * The first of [pc, pc + size) that is to be watched, and is not; false: there is none.  Behind an
 * instruction before which a run always stops nothing of the block executes.  Of what follows an
 * instruction that capstone does not know all is watched: Unicorn may know it.
 */
static bool find_unwatched(struct vcpu *v, u64 pc, u32 size, struct watch *found)
{
	u8 code[MAX_BLOCK];
	u32 n = vcpu_peek(v, pc, code, size < MAX_BLOCK ? size : MAX_BLOCK);
	u32 at = 0;

	if (n == size && !is_suspect(code, n))
		return false;
	while (at < n) {
		u32 length = insn_length(v, code + at, n - at);
		struct insn insn;

		insn_parse(code + at, n - at, &insn);
		if (intercept_of(&insn)) {
			*found = (struct watch){ .begin = pc + at, .end = pc + at };
			if (!is_watched(v, found))
				return true;
			if (stops_before(&insn))
				return false;
		}
		v->shared.limits |= limit_of(&insn);
		if (!length)
			break;
		at += length;
	}
	*found = (struct watch){ .begin = pc + at, .end = pc + size - 1 };
	return at < size && !is_watched(v, found);
}

/* New code was translated: what is known may be about what stood there before. */
void on_edge_attached(uc_engine *uc, uc_tb *now, uc_tb *before, void *arg)
{
	struct vcpu *v = arg;

	(void)uc, (void)before;
	block_slot(v, now->pc)->key = 0;
}

/* The same, and the code may hold what must be intercepted. */
void on_edge(uc_engine *uc, uc_tb *now, uc_tb *before, void *arg)
{
	struct vcpu *v = arg;
	struct watch found;

	on_edge_attached(uc, now, before, arg);
	if (!find_unwatched(v, now->pc, now->size, &found))
		return;
	v->intercepts.found = found;
	v->intercepts.nr_found++;
	end(v, STOP_FOUND, now->pc, DONE, AGAIN_START);
}

/* Bytes of immediate behind a rotate's operand, and of the operand itself. */
static u32 rotate_imm(const struct insn *insn)
{
	return insn_opcode(insn, 0) < 0xd0;
}

static u32 rotate_size(const struct insn *insn)
{
	if (!(insn_opcode(insn, 0) & 1))
		return 1;
	return insn->rex & 8 ? 8 : insn->operand16 ? 2 : 4;
}

/* If a store of this read-modify-write would fault, let it do so now. False: that is described. */
static bool make_storable(struct vcpu *v, u64 va)
{
	struct translation t;

	if (MMU(v, mmu_refill, refill)(v->mmu, va, ACCESS_RMW, cpl(v) == 3, &t) == XLATE_OK ||
	    resolve_fault(v, va, ACCESS_RMW, &t))
		return true;
	describe_fault(v, va, ACCESS_RMW, &t);
	v->shared.exit.exact = 1;
	v->shared.exit.access = ACCESS_WRITE;
	return false;
}

/* RCL or RCR of memory: it changes CF before its store, and could not begin anew behind a fault. */
static void store_first(struct vcpu *v, const struct insn *insn, u64 pc)
{
	u64 va = insn_memory_operand(v, insn, pc, 1, rotate_imm(insn)),
	    last = va + rotate_size(insn) - 1;

	if (make_storable(v, va) &&
	    (page_of(last) == page_of(va) || make_storable(v, page_of(last))))
		return;
	save_flags(v, pc);
	end_by_fault(v, pc, ACCESS_WRITE);
}

/* The instruction at rip is intercepted: it does not execute. */
void end_by_intercept(struct vcpu *v, const struct insn *insn, u64 rip, enum progress progress)
{
	if (!trace_at(v, rip)) {
		trace_finish(v);
		trace_alone(v, rip, insn);
	}
	if (intercept_of(insn) == INTERCEPT_EMULATED)
		end(v, STOP_EMULATED, rip, progress, AGAIN_START);
	else
		end(v, STOP_INTERCEPT, rip, progress, AGAIN_NO);
}

/* The guest is about to execute code that is watched. */
static void on_watched(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	struct insn insn;

	(void)uc, (void)size;
	if (v->end.reason != STOP_NONE)
		return;
	insn_read(v, pc, &insn);
	switch (intercept_of(&insn)) {
	case INTERCEPT_NONE:
		return; /* the code is another now, or not all of the range is intercepted */
	case INTERCEPT_STORE_FIRST:
		store_first(v, &insn, pc);
		return;
	}
	save_flags(v, pc);
	end_by_intercept(v, &insn, pc, FETCHED);
}

/* Unicorn has reached the exit at rip: code that it cannot translate, if it still is. */
bool end_at_exit(struct vcpu *v, u64 rip)
{
	struct insn insn;
	u64 pa;

	if (!is_exit(v, rip))
		return false;
	insn_read(v, rip, &insn);
	if (stops_before(&insn)) {
		end_by_intercept(v, &insn, rip, DONE);
		return true;
	}
	remove_exit(v, rip);
	for (u64 at = rip - 1; at != rip + 1; at++) /* blocks that end there, and begin */
		if (v->fidelity->probe(v, at, ACCESS_FETCH, &pa))
			drop_code(v, pa);
	end(v, STOP_FOUND, rip, DONE, AGAIN_START);
	return true;
}

/* STOP_EMULATED: carry the instruction at RIP out. */
void finish_emulated(struct vcpu *v)
{
	struct insn insn;

	insn_read(v, v->end.rip, &insn);
	emulate(v, &insn);
	vcpu_skip(v, insn_length(v, insn.byte, insn.nr));
}

/* Take every watch off; code translated with them would execute what it must not. */
void unwatch_all(struct vcpu *v)
{
	while (v->intercepts.nr)
		UC(v, hook_del)(v->uc, v->intercepts.watch[--v->intercepts.nr].hook);
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
}

/* Drop code translated from [begin, end]. */
static void drop_watched(struct vcpu *v, u64 begin, u64 end)
{
	for (u64 va = begin, next; va <= end; va = next) {
		u64 pa;

		next = page_of(va) + PAGE_SIZE;
		if (v->fidelity->probe(v, va, ACCESS_FETCH, &pa))
			drop_code_range(v, pa, (next <= end ? next : end + 1) - va);
	}
}

/* Watch what on_edge() found, and have its code translated anew. The guest stands still. */
uc_err watch_found(struct vcpu *v)
{
	struct intercepts *all = &v->intercepts;
	struct watch *w;
	uc_err err;

	if (all->nr == NR_WATCHES || all->nr_found > 1)
		unwatch_all(v); /* what was found before the last is found again */
	all->nr_found = 0;
	w = &all->watch[all->nr];
	*w = all->found;
	err = UC(v, hook_add)(v->uc, &w->hook, UC_HOOK_CODE, (void *)on_watched, v, w->begin,
			      w->end);
	if (err != UC_ERR_OK)
		return err;
	all->nr++;
	drop_watched(v, w->begin, w->end);
	return UC_ERR_OK;
}

/* The run ended before the instruction at RIP: say which exception it raises. A trap's RIP is
 * behind it. */
void finish_intercept(struct vcpu *v)
{
	struct vm_exit *exit = &v->shared.exit;
	struct insn insn;

	insn_read(v, exit->insn, &insn);
	exit->reason = EXIT_EXCEPTION;
	exit->intercept = intercept_of(&insn);
	exit->length = insn_length(v, insn.byte, insn.nr);
	exit->vector = vector_of_intercept(exit->intercept);
	exit->address = 0;
	if (exit->intercept < INTERCEPT_INT1 || exit->intercept > INTERCEPT_INTO)
		return;
	vcpu_skip(v, exit->length);
	exit->rip += exit->length;
}
