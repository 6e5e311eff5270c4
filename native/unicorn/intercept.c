/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that never execute in a vCPU of ours: those that the processor modelled does not
 * have and Unicorn executes all the same, or wrongly (VEX as the two-operand SSE form), and those
 * that enter the kernel.  The run stops before them.
 *
 *   on_edge()      Unicorn has translated a block: look for them in it; if there is one, stop
 * before the block watch_found()  put a CODE hook on it, drop the block, go on: translated anew,
 * the block calls the hook on_watched()   the guest is about to execute it: stop
 *
 * So a block that holds none costs nothing when it runs.  A guest that was attached to executes
 * what its own Unicorn does.
 */
#include <string.h>

#include "unicorn/vcpu.h"

#define MAX_BLOCK (PAGE_SIZE + MAX_INSN)

/* LOCK needs an instruction that changes its memory operand (SDM vol. 2 LOCK); shifts and rotates
 * are none of these. */
static bool is_lockable(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0), op2 = insn_opcode(insn, 1);

	if (!insn_is_rmw(insn))
		return false;
	if (op == 0x0f)
		return op2 != 0xa4 && op2 != 0xa5 && op2 != 0xac && op2 != 0xad;
	return op != 0xc0 && op != 0xc1 && !(op >= 0xd0 && op <= 0xd3);
}

/* INT n: user mode may use the gates of #BP and #OF; any other is #GP (SDM vol. 2 INT n; Linux's
 * IDT). */
static u32 intercept_of_int(u8 n)
{
	return n == VECTOR_BP ? INTERCEPT_INT3 : n == VECTOR_OF ? INTERCEPT_INTO : INTERCEPT_GP;
}

/* The opcode's bit in a set of four words. */
#define OP(op) (1ull << ((op) & 63))

/*
 * Opcodes of 0F xx that have a form with F3, and with F2 (SDM vol. 2 A.3, up to SSE4.2); of the
 * other vector opcodes, F2 and F3 make no instruction.
 */
static const u64 with_f3[4] = {
	OP(0x10) | OP(0x11) | OP(0x12) | OP(0x16) | OP(0x2a) | OP(0x2c) | OP(0x2d),
	OP(0x51) | OP(0x52) | OP(0x53) | OP(0x58) | OP(0x59) | OP(0x5a) | OP(0x5b) | OP(0x5c) |
		OP(0x5d) | OP(0x5e) | OP(0x5f) | OP(0x6f) | OP(0x70) | OP(0x7e) | OP(0x7f),
	0,
	OP(0xc2) | OP(0xd6) | OP(0xe6),
};
static const u64 with_f2[4] = {
	OP(0x10) | OP(0x11) | OP(0x12) | OP(0x2a) | OP(0x2c) | OP(0x2d),
	OP(0x51) | OP(0x58) | OP(0x59) | OP(0x5a) | OP(0x5c) | OP(0x5d) | OP(0x5e) | OP(0x5f) |
		OP(0x70) | OP(0x7c) | OP(0x7d),
	0,
	OP(0xc2) | OP(0xd0) | OP(0xd6) | OP(0xe6) | OP(0xf0),
};

static bool is_in(const u64 *set, u8 op)
{
	return set[op >> 6] & OP(op);
}

static bool has_form(u8 op, u8 rep)
{
	return is_in(rep == 0xf3 ? with_f3 : with_f2, op);
}

/* Whether 0F op is an MMX or SSE instruction, whose prefixes 66, F2 and F3 choose the form. */
static bool is_vector(u8 op)
{
	return (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f) ||
	       (op >= 0x50 && op <= 0x7f && op != 0x77) || op == 0xc2 ||
	       (op >= 0xc4 && op <= 0xc6) || (op >= 0xd0 && op != 0xff);
}

/* A vector opcode with F2 or F3, which win over 66 (SDM vol. 2 2.1.2); Unicorn lets 66 win, and
 * takes F2 and F3 for nothing. */
static u32 intercept_of_vector(const struct insn *insn, bool exists)
{
	u8 op = insn_opcode(insn, 1);

	if (op == 0x78 || op == 0x79) /* SSE4A's EXTRQ and INSERTQ */
		return INTERCEPT_UD;
	if (!insn->rep)
		return INTERCEPT_NONE;
	if (!exists)
		return INTERCEPT_UD;
	return insn->operand16 ? INTERCEPT_WRONG : INTERCEPT_NONE;
}

/* MOV to and from a control or debug register that does not exist is #UD, which comes before #GP
 * (SDM vol. 2 MOV). */
static u32 intercept_of_mov_cr(const struct insn *insn)
{
	u8 reg = (insn_opcode(insn, 2) >> 3 & 7) | (insn->rex & 4) << 1;
	bool debug = insn_opcode(insn, 1) & 1, exists;

	exists = debug ? reg < 8 : reg == 0 || (reg >= 2 && reg <= 4) || reg == 8;
	return exists ? INTERCEPT_NONE : INTERCEPT_UD;
}

/* An MMX instruction of 0F38 or 0F3A with REX bits, which it ignores: Unicorn takes memory behind
 * MM7 for a register. */
static bool spoils_mmx(const struct insn *insn)
{
	bool reg_form = insn_opcode(insn, 3) >= 0xc0;

	return !insn->operand16 && (insn->rex & 4 || (reg_form && insn->rex & 1));
}

static u32 intercept_of_0f38(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 2);
	bool mmx = op <= 0x0b || (op >= 0x1c && op <= 0x1e);

	if (op >= 0xf0) /* CRC32 and MOVBE go by F2 */
		return INTERCEPT_NONE;
	if (insn->rep)
		return INTERCEPT_UD;
	if (mmx && spoils_mmx(insn))
		return INTERCEPT_WRONG;
	return is_emulated(insn) ? INTERCEPT_EMULATED : INTERCEPT_NONE;
}

static u32 intercept_of_0f(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 1), modrm = insn_opcode(insn, 2);

	if (is_vector(op))
		return intercept_of_vector(insn, has_form(op, insn->rep));
	switch (op) {
	case 0x01:
		return modrm == 0xf9 ? INTERCEPT_RDTSCP : INTERCEPT_NONE;
	case 0x0f: /* 3DNow!: Unicorn loads the operand, and takes the x87 registers, first */
		return INTERCEPT_UD;
	case 0x20:
	case 0x21:
	case 0x22:
	case 0x23:
		return intercept_of_mov_cr(insn);
	case 0x31:
		return INTERCEPT_RDTSC;
	case 0x33: /* RDPMC: CR4.PCE is 0 */
		return INTERCEPT_GP;
	case 0x34: /* SYSENTER: for 32-bit code only, as on AMD (APM vol. 3) */
		return INTERCEPT_UD;
	case 0x38:
		return intercept_of_0f38(insn);
	case 0x3a: /* PALIGNR of MMX registers */
		return modrm == 0x0f && spoils_mmx(insn) ? INTERCEPT_WRONG
							 : intercept_of_vector(insn, false);
	case 0xa4:
	case 0xac: /* SHLD, SHRD by an immediate: Unicorn's RIP-relative operand lies a byte too low
		    */
		return (modrm & 0xc7) == 0x05 ? INTERCEPT_WRONG : INTERCEPT_NONE;
	case 0xae: /* LDMXCSR, STMXCSR */
		return modrm < 0xc0 && (modrm >> 3 & 6) == 2 ? intercept_of_vector(insn, false)
							     : INTERCEPT_NONE;
	case 0xb8: /* POPCNT */
		return insn->rep == 0xf3 && insn->operand16 && insn->rex & 8 ? INTERCEPT_WRONG
									     : INTERCEPT_NONE;
	case 0xba: /* BT and its kin are /4 to /7 */
		return modrm >> 3 & 4 ? INTERCEPT_NONE : INTERCEPT_UD;
	default:
		return INTERCEPT_NONE;
	}
}

/* INTERCEPT_* of an instruction of which at least the opcode and its ModRM byte are there. */
static u32 intercept_of(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0), next = insn_opcode(insn, 1);

	if (insn->opcode_at == insn->nr)
		return INTERCEPT_NONE;
	if (insn->lock && !is_lockable(insn))
		return INTERCEPT_UD;
	if (insn->both_reps || insn->segment_undone)
		return INTERCEPT_WRONG; /* Unicorn takes F2, and forgets FS and GS */
	switch (op) {
	case 0x0f:
		return intercept_of_0f(insn);
	case 0x62: /* EVEX (SDM vol. 2 2.7) */
	case 0xc4: /* VEX: LES and LDS do not exist in 64-bit mode (SDM vol. 2 2.3) */
	case 0xc5:
		return INTERCEPT_UD;
	case 0x8f: /* XOP (APM vol. 3 1.2.6); POP is /0 */
		return next >> 3 & 7 ? INTERCEPT_UD : INTERCEPT_NONE;
	case 0xcf: /* IRET of 16 and 32 bits: Unicorn would enter virtual-8086 mode */
		return insn->rex & 8 ? INTERCEPT_NONE : INTERCEPT_WRONG;
	case 0x9e:
	case 0x9f: /* SAHF, LAHF: with REX Unicorn takes SPL for AH */
		return insn->rex ? INTERCEPT_WRONG : INTERCEPT_NONE;
	case 0x6c:
	case 0x6d:
	case 0x6e:
	case 0x6f: /* INS, OUTS */
	case 0xe4:
	case 0xe5:
	case 0xe6:
	case 0xe7: /* IN, OUT: no I/O permission map (SDM vol. 1 19.5) */
	case 0xec:
	case 0xed:
	case 0xee:
	case 0xef:
		return INTERCEPT_GP;
	case 0xc0:
	case 0xc1:
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3: /* RCL, RCR: CF is lost where the store faults */
		return next < 0xc0 && (next >> 3 & 6) == 2 ? INTERCEPT_STORE_FIRST : INTERCEPT_NONE;
	case 0xc2: /* RET imm16, which Unicorn takes as signed */
		return insn_opcode(insn, 2) & 0x80 ? INTERCEPT_WRONG : INTERCEPT_NONE;
	case 0xc6:
	case 0xc7: /* XABORT, XBEGIN; MOV is /0 */
		return (next >> 3 & 7) == 7 ? INTERCEPT_UD : INTERCEPT_NONE;
	case 0xcc:
		return INTERCEPT_INT3;
	case 0xcd:
		return intercept_of_int(next);
	case 0xd9: /* FPREM, FPREM1 */
		return is_emulated(insn) ? INTERCEPT_EMULATED : INTERCEPT_NONE;
	case 0xf1:
		return INTERCEPT_INT1;
	case 0xf6:
	case 0xf7: /* LOCK NEG, of whose flags Unicorn gets SF and PF wrong */
		return insn->lock && (next >> 3 & 7) == 3 ? INTERCEPT_WRONG : INTERCEPT_NONE;
	default:
		return INTERCEPT_NONE;
	}
}

/* Whether a run stops before the instruction, always. */
bool stops_before(const struct insn *insn)
{
	u32 intercept = intercept_of(insn);

	return intercept != INTERCEPT_NONE && intercept != INTERCEPT_STORE_FIRST;
}

/* LOCK BT, BTS, BTR or BTC of a register: Unicorn's translator calls abort(). */
static bool aborts(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 1), modrm = insn_opcode(insn, 2);

	if (insn_opcode(insn, 0) != 0x0f || modrm < 0xc0)
		return false;
	return op == 0xa3 || op == 0xab || op == 0xb3 || op == 0xbb ||
	       (op == 0xba && (modrm >> 3 & 4));
}

/*
 * Do bytes of this page, at whatever address, make an instruction that must not even be translated?
 * Such a page is executed step by step, so that each instruction is looked at first; bytes that do
 * so by chance are met once in a million pages.
 */
bool is_unsafe_page(struct vcpu *v, u64 page)
{
	u8 code[MAX_INSN + PAGE_SIZE + MAX_INSN], *at = code, *end = code;

	if (page)
		end += vcpu_peek(v, page - MAX_INSN, code, MAX_INSN);
	end += vcpu_peek(v, page, end, PAGE_SIZE + MAX_INSN);
	while ((at = memchr(at, 0xf0, (size_t)(end - at)))) {
		struct insn insn;

		insn_parse(at, (u32)(end - at), &insn);
		if (aborts(&insn))
			return true;
		at++;
	}
	return false;
}

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

/* One-byte opcodes that intercept_of() looks at, and LOCK. */
static const u64 suspects[4] = {
	0,
	OP(0x62) | OP(0x6c) | OP(0x6d) | OP(0x6e) | OP(0x6f),
	OP(0x8f) | OP(0x9e) | OP(0x9f),
	OP(0xc2) | OP(0xc4) | OP(0xc5) | OP(0xcc) | OP(0xcd) | OP(0xcf) | OP(0xe4) | OP(0xe5) |
		OP(0xe6) | OP(0xe7) | OP(0xec) | OP(0xed) | OP(0xee) | OP(0xef) | OP(0xf0) |
		OP(0xf1),
};

/* Opcodes of 0F xx that it, or limit_of(), looks at without a prefix F2 or F3. */
static const u64 suspects_0f[4] = {
	OP(0x01) | OP(0x0f) | OP(0x20) | OP(0x21) | OP(0x22) | OP(0x23) | OP(0x31) | OP(0x33) |
		OP(0x34) | OP(0x38) | OP(0x3a),
	OP(0x78) | OP(0x79),
	OP(0xa4) | OP(0xac) | OP(0xae) | OP(0xb8) | OP(0xba),
	0,
};

/* Two bytes that may begin what intercept_of() or limit_of() looks at. */
static bool is_suspect_pair(u8 op, u8 next)
{
	switch (op) {
	case 0x0f:
		return is_in(suspects_0f, next);
	case 0xc0:
	case 0xc1:
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3:
		return next < 0xc0 && (next >> 3 & 6) == 2;
	case 0xc6:
	case 0xc7:
		return (next >> 3 & 7) == 7;
	case 0x64:
	case 0x65: /* with another prefix behind */
		return next == 0x26 || next == 0x2e || next == 0x36 || next == 0x3e ||
		       (next >= 0x64 && next <= 0x67);
	case 0xd9:
		return next >= 0xf0;
	default:
		return false;
	}
}

/* F2 or F3 at *p, in code that begins at begin: is it the prefix of an instruction of a common kind
 * that is none of ours? */
static bool is_common_rep(const u8 *p, const u8 *begin, const u8 *end)
{
	static const u8 prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
				       0x66, 0x67, 0xf0, 0xf2, 0xf3 };
	const u8 *op = p + 1;

	if (p > begin && memchr(prefixes, p[-1], sizeof(prefixes)))
		return false;
	if (op < end && (*op & 0xf0) == 0x40)
		op++;
	if (end - op < 2)
		return false;
	if (*op == 0x0f)
		return has_form(op[1], *p) || op[1] == 0x1e; /* 1E: ENDBR64 */
	return (*op >= 0xa4 && *op <= 0xaf) || *op == 0x90 || *op == 0xc3;
}

/*
 * Whether code may hold an instruction that is intercepted, or meets a limit: a byte like one's
 * opcode, wherever it stands.  Most blocks hold none, and need no decoding.
 */
static bool is_suspect(const u8 *code, u32 n)
{
	const u8 *end = code + n;

	for (const u8 *p = code; p < end; p++) {
		if (is_in(suspects, *p))
			return true;
		if ((*p == 0xf2 || *p == 0xf3) && !is_common_rep(p, code, end))
			return true;
		if (p + 1 < end && is_suspect_pair(*p, p[1]))
			return true;
	}
	return false;
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
void on_edge(uc_engine *uc, uc_tb *now, uc_tb *before, void *arg)
{
	struct vcpu *v = arg;
	struct watch found;

	(void)before;
	block_slot(v, now->pc)->key = 0;
	if (v->attached || !find_unwatched(v, now->pc, now->size, &found))
		return;
	v->intercepts.found = found;
	v->intercepts.nr_found++;
	if (v->stop == STOP_NONE)
		v->stop = STOP_FOUND;
	UC(v, emu_stop)(uc);
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

/* If a store of this read-modify-write would fault, let it: false, and the run is to stop. */
static bool store_may_begin(struct vcpu *v, u64 va)
{
	struct translation t;

	if (MMU(v, mmu_refill, refill)(v->mmu, va, ACCESS_RMW, cpl(v) == 3, &t) == XLATE_OK ||
	    resolve_fault(v, va, ACCESS_RMW, &t))
		return true;
	deny(v, va, ACCESS_RMW, &t);
	v->shared.exit.exact = 1;
	v->shared.exit.access = ACCESS_WRITE;
	return false;
}

/* RCL or RCR of memory: it changes CF before its store, and could not begin anew behind a fault. */
static void stop_if_store_faults(struct vcpu *v, const struct insn *insn, u64 pc)
{
	u64 va = insn_memory_operand(v, insn, pc, 1, rotate_imm(insn)),
	    last = va + rotate_size(insn) - 1;

	if (store_may_begin(v, va) &&
	    (page_of(last) == page_of(va) || store_may_begin(v, page_of(last))))
		return;
	save_flags(v, pc);
	UC(v, emu_stop)(v->uc);
}

/* The guest is about to execute code that is watched. */
static void on_watched(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	struct insn insn;

	(void)size;
	if (v->stop != STOP_NONE)
		return;
	insn_read(v, pc, &insn);
	switch (intercept_of(&insn)) {
	case INTERCEPT_NONE:
		return; /* the code is another now, or not all of the range is intercepted */
	case INTERCEPT_STORE_FIRST:
		stop_if_store_faults(v, &insn, pc);
		return;
	}
	save_flags(v, pc);
	v->stop = STOP_INTERCEPT;
	UC(v, emu_stop)(uc);
}

/* The run stopped before an instruction that is carried out here: do so. False: it is to be told.
 */
bool emulate_intercepted(struct vcpu *v)
{
	u64 rip = reg_read(v, UC_X86_REG_RIP);
	struct insn insn;

	insn_read(v, rip, &insn);
	if (intercept_of(&insn) != INTERCEPT_EMULATED)
		return false;
	leave_intercepted(v, rip);
	emulate(v, &insn);
	vcpu_skip(v, insn_length(v, insn.byte, insn.nr));
	return true;
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
		if (probe(v, va, &pa))
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

static u32 vector_of(u32 intercept)
{
	switch (intercept) {
	case INTERCEPT_UD:
	case INTERCEPT_WRONG:
		return VECTOR_UD;
	case INTERCEPT_INT1:
		return VECTOR_DB;
	case INTERCEPT_INT3:
		return VECTOR_BP;
	case INTERCEPT_INTO:
		return VECTOR_OF;
	default:
		return VECTOR_GP;
	}
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
	exit->vector = vector_of(exit->intercept);
	exit->address = 0;
	if (exit->intercept < INTERCEPT_INT1 || exit->intercept > INTERCEPT_INTO)
		return;
	vcpu_skip(v, exit->length);
	exit->rip += exit->length;
}
