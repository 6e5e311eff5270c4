/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions and interrupts through the guest's IDT in 64-bit mode (SDM vol. 3A 6.12.1, 6.14; vol.
 * 2 INT n), and SYSCALL to where LSTAR points (vol. 2 SYSCALL). Unicorn only ends the run.
 */
#include "unicorn/vcpu.h"

#define GATE_SIZE 16
#define GATE_INTERRUPT 0xe /* 64-bit interrupt gate, which clears IF */
#define GATE_TRAP 0xf
#define TSS_RSP 4  /* RSP0 to RSP2 of the 64-bit TSS (SDM vol. 3A 8.7) */
#define TSS_IST 36 /* IST1 to IST7 */
#define SELECTOR_TI 0x4
#define SELECTOR_INDEX 0xfff8
#define SELECTOR_ERROR 0xfffc /* the part of a selector that error codes hold */
#define ERROR_EXT 1
#define ERROR_IDT 2

/* A descriptor's second dword (SDM vol. 3A 3.4.5). */
#define DESC_ACCESSED 0x100
#define DESC_CONFORMING 0x400
#define DESC_CODE 0x800
#define DESC_S 0x1000
#define DESC_DPL 13
#define DESC_P 0x8000
#define DESC_L 0x200000
#define DESC_D 0x400000
#define FLAGS_STACK 0xc09300 /* a flat writable data segment, DPL 0 */
#define FLAGS_CODE 0xa09b00  /* flat 64-bit code, DPL 0 */

#define RFLAGS_IF 0x200
#define RFLAGS_NT 0x4000
#define RFLAGS_RF 0x10000
#define RFLAGS_VM 0x20000
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084

#define VECTOR_DE 0
#define VECTOR_DF 8
#define VECTOR_TS 10
#define VECTOR_NP 11
#define VECTOR_SS 12
#define VECTOR_PF 14
#define VECTOR_AC 17
#define VECTOR_CP 21

/* One event that is delivered, or, in the course of that, the fault that comes of it. */
struct interruption {
	u32 vector, error_code;
	bool has_error_code;
	bool software; /* INT n, INT3: the gate's DPL counts, and error codes have no EXT */
	bool fault;    /* RF is set in what is pushed (SDM vol. 3B 17.3.1.1) */
	u64 rip;       /* pushed */
	u64 insn;      /* the instruction it is of, where a fault of its delivery stands */
};

/* Where an event goes: from its gate, the code segment and the TSS. */
struct target {
	u64 rip, rsp;
	u32 selector, flags; /* the code segment's, and its descriptor's second dword */
	u32 cpl;
	u32 ist;
	bool interrupt_gate, inner; /* inner: to more privilege, by another stack */
};

/* How far a delivery has come. */
enum outcome {
	DONE_WELL,
	FAULTED, /* the next event says by what */
	LOST,	 /* the walk leads out of memory, or a callback raised: shared.exit says it */
};

static enum outcome fail(struct interruption *next, u32 vector, u32 error_code)
{
	*next = (struct interruption){
		.vector = vector, .error_code = error_code, .has_error_code = true, .fault = true
	};
	return FAULTED;
}

static u32 ext_of(const struct interruption *e)
{
	return e->software ? 0 : ERROR_EXT;
}

/* Load or store n bytes; an address that is not canonical is a fault of this vector. */
static enum outcome transfer(struct vcpu *v, const struct interruption *e, u64 va, void *data,
			     u32 n, u32 access, u32 privilege, u32 not_canonical,
			     struct interruption *next)
{
	struct translation t;
	u64 at;

	switch (linear_access(v, va, data, n, access, privilege, &t, &at)) {
	case XLATE_OK:
		return DONE_WELL;
	case XLATE_PF:
		reg_write(v, UC_X86_REG_CR2, at);
		return fail(next, VECTOR_PF, t.error_code);
	case XLATE_GP:
		return fail(next, not_canonical, ext_of(e));
	default:
		describe_fault(v, at, access, &t);
		return LOST;
	}
}

/* Read a system data structure (SDM vol. 3A 4.6.1). */
static enum outcome read_table(struct vcpu *v, const struct interruption *e, u64 va, void *data,
			       u32 n, struct interruption *next)
{
	return transfer(v, e, va, data, n, ACCESS_READ, PRIVILEGE_IMPLICIT, VECTOR_GP, next);
}

static uc_x86_mmr read_mmr(const struct vcpu *v, int reg)
{
	uc_x86_mmr table = { .base = 0 };

	UC(v, reg_read)(v->uc, reg, &table);
	return table;
}

/* The event's gate in the IDT. */
static enum outcome read_gate(struct vcpu *v, const struct interruption *e, struct target *target,
			      struct interruption *next)
{
	uc_x86_mmr idt = read_mmr(v, UC_X86_REG_IDTR);
	u32 at = e->vector * GATE_SIZE, error_code = e->vector * 8 + ERROR_IDT, gate[4], type;
	enum outcome outcome;

	if (at + GATE_SIZE - 1 > idt.limit)
		return fail(next, VECTOR_GP, error_code + ext_of(e));
	outcome = read_table(v, e, idt.base + at, gate, sizeof(gate), next);
	if (outcome != DONE_WELL)
		return outcome;
	type = gate[1] >> 8 & 0x1f;
	if ((type != GATE_INTERRUPT && type != GATE_TRAP) ||
	    (e->software && (gate[1] >> DESC_DPL & 3) < cpl(v)))
		return fail(next, VECTOR_GP, error_code + ext_of(e));
	if (!(gate[1] & DESC_P))
		return fail(next, VECTOR_NP, error_code + ext_of(e));
	target->rip = (u64)gate[2] << 32 | (gate[1] & 0xffff0000) | (gate[0] & 0xffff);
	target->selector = gate[0] >> 16;
	target->ist = gate[1] & 7;
	target->interrupt_gate = type == GATE_INTERRUPT;
	return DONE_WELL;
}

/* Mark a descriptor as accessed, if it is not. */
static enum outcome mark_accessed(struct vcpu *v, const struct interruption *e, u64 va, u32 flags,
				  struct interruption *next)
{
	u8 byte = (u8)((flags | DESC_ACCESSED) >> 8);

	if (flags & DESC_ACCESSED)
		return DONE_WELL;
	return transfer(v, e, va + 5, &byte, 1, ACCESS_RMW, PRIVILEGE_IMPLICIT, VECTOR_GP, next);
}

/* The gate's code segment: 64-bit, and of no less privilege than that of now. */
static enum outcome read_segment(struct vcpu *v, const struct interruption *e,
				 struct target *target, struct interruption *next)
{
	u32 selector = target->selector, index = selector & SELECTOR_INDEX, now = cpl(v);
	u32 error_code = (selector & SELECTOR_ERROR) + ext_of(e), descriptor[2], dpl;
	uc_x86_mmr table = read_mmr(v, selector & SELECTOR_TI ? UC_X86_REG_LDTR : UC_X86_REG_GDTR);
	enum outcome outcome;

	if (!(selector & SELECTOR_ERROR))
		return fail(next, VECTOR_GP, ext_of(e));
	if (index + 7 > table.limit)
		return fail(next, VECTOR_GP, error_code);
	outcome = read_table(v, e, table.base + index, descriptor, sizeof(descriptor), next);
	if (outcome != DONE_WELL)
		return outcome;
	target->flags = descriptor[1];
	dpl = target->flags >> DESC_DPL & 3;
	if (!(target->flags & DESC_S) || !(target->flags & DESC_CODE) || dpl > now)
		return fail(next, VECTOR_GP, error_code);
	if (!(target->flags & DESC_P))
		return fail(next, VECTOR_NP, error_code);
	if (!(target->flags & DESC_L) || target->flags & DESC_D)
		return fail(next, VECTOR_GP, error_code);
	target->inner = !(target->flags & DESC_CONFORMING) && dpl < now;
	target->cpl = target->inner ? dpl : now;
	return mark_accessed(v, e, table.base + index, target->flags, next);
}

/* The stack: that of now, or of the TSS for more privilege or where the gate says so. */
static enum outcome find_stack(struct vcpu *v, const struct interruption *e, struct target *target,
			       struct interruption *next)
{
	uc_x86_mmr tss = read_mmr(v, UC_X86_REG_TR);
	u32 at = target->ist ? TSS_IST + (target->ist - 1) * 8 : TSS_RSP + target->cpl * 8;
	enum outcome outcome;

	target->rsp = reg_read(v, UC_X86_REG_RSP);
	if (target->ist || target->inner) {
		if (at + 7 > tss.limit)
			return fail(next, VECTOR_TS, (tss.selector & SELECTOR_ERROR) + ext_of(e));
		outcome = read_table(v, e, tss.base + at, &target->rsp, sizeof(target->rsp), next);
		if (outcome != DONE_WELL)
			return outcome;
	}
	target->rsp &= ~15ull;
	return DONE_WELL;
}

/* Push the frame that IRETQ takes, and the error code. */
static enum outcome push_frame(struct vcpu *v, const struct interruption *e, struct target *target,
			       struct interruption *next)
{
	u64 rflags = reg_read(v, UC_X86_REG_EFLAGS) | (e->fault ? RFLAGS_RF : 0);
	u64 frame[] = {
		reg_read(v, UC_X86_REG_SS),
		reg_read(v, UC_X86_REG_RSP),
		rflags,
		reg_read(v, UC_X86_REG_CS),
		e->rip,
		e->error_code,
	};
	u32 nr = e->has_error_code ? 6 : 5, privilege = target->cpl == 3;

	for (u32 i = 0; i < nr; i++) {
		enum outcome outcome = transfer(v, e, target->rsp -= 8, &frame[i], sizeof(frame[i]),
						ACCESS_WRITE, privilege, VECTOR_SS, next);

		if (outcome != DONE_WELL)
			return outcome;
	}
	return DONE_WELL;
}

/* Set the privilege level, and 64-bit code. */
static void set_privilege(struct vcpu *v, u32 level)
{
	u32 hflags = env_get(v, ENV_HFLAGS) & ~(u32)(3 | HF_ADDSEG);

	env_set(v, ENV_HFLAGS, hflags | HF_CS64 | HF_CS32 | HF_SS32 | level);
	v->user = level == 3;
}

/* Control is somewhere else, and nothing of before is under way there. */
static void go_to(struct vcpu *v, u64 rip)
{
	reg_write(v, UC_X86_REG_RIP, rip);
	clear_block(v);
	v->stream.next = NO_ADDRESS;
	v->stream.crossing = NO_ADDRESS;
	v->stream.denied = NO_ADDRESS;
	forget_memos(v);
	v->run.err = UC_ERR_OK;
	begin(v);
	end(v, STOP_DELIVERED, NO_ADDRESS, DONE, AGAIN_START);
}

/* The guest is in the handler, at its first instruction. */
static void enter_handler(struct vcpu *v, const struct target *target)
{
	u64 clear = RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM |
		    (target->interrupt_gate ? RFLAGS_IF : 0);

	reg_write(v, UC_X86_REG_EFLAGS, reg_read(v, UC_X86_REG_EFLAGS) & ~clear);
	reg_write(v, UC_X86_REG_RSP, target->rsp);
	env_set_segment(v, ENV_CS, (target->selector & SELECTOR_ERROR) | target->cpl,
			target->flags | DESC_ACCESSED);
	if (target->inner) /* a null selector (SDM vol. 3A 6.14.4) */
		env_set_segment(v, ENV_SS, target->cpl, target->cpl << DESC_DPL);
	set_privilege(v, target->cpl);
	go_to(v, target->rip);
}

/* Deliver the event, or say by what that faults. */
static enum outcome deliver_event(struct vcpu *v, const struct interruption *e,
				  struct interruption *next)
{
	struct target target;
	enum outcome outcome;

	if ((outcome = read_gate(v, e, &target, next)) != DONE_WELL ||
	    (outcome = read_segment(v, e, &target, next)) != DONE_WELL ||
	    (outcome = find_stack(v, e, &target, next)) != DONE_WELL)
		return outcome;
	if (!va_is_canonical(target.rip, v->mmu->cr4 & CR4_LA57 ? 5 : 4))
		return fail(next, VECTOR_GP, ext_of(e));
	if ((outcome = push_frame(v, e, &target, next)) == DONE_WELL)
		enter_handler(v, &target);
	return outcome;
}

/* Exceptions that make a double fault of a second one (SDM vol. 3A table 6-5). */
static bool is_contributory(u32 vector)
{
	return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP) ||
	       vector == VECTOR_CP;
}

static bool is_double_fault(const struct interruption *first, const struct interruption *second)
{
	if (first->software)
		return false;
	if (first->vector == VECTOR_PF)
		return second->vector == VECTOR_PF || is_contributory(second->vector);
	return is_contributory(first->vector) && is_contributory(second->vector);
}

/* The processor would shut down: the run ends, and says what began it. */
static bool shut_down(struct vcpu *v, const struct interruption *first)
{
	begin(v);
	v->shared.exit.vector = first->vector;
	v->shared.exit.error_code = first->error_code;
	end(v, STOP_SHUTDOWN, first->insn, FETCHED, AGAIN_NO);
	return false;
}

static bool lose(struct vcpu *v, const struct interruption *e)
{
	begin(v);
	end_by_fault(v, e->insn, ACCESS_READ);
	return false;
}

/*
 * Deliver an event, and the faults that come of it, until a handler is entered. False: the run
 * ends.
 */
static bool deliver_all(struct vcpu *v, const struct interruption *first)
{
	struct interruption now = *first, next;

	for (;;) {
		switch (deliver_event(v, &now, &next)) {
		case DONE_WELL:
			return true;
		case LOST:
			return lose(v, first);
		case FAULTED:
			break;
		}
		if (now.vector == VECTOR_DF)
			return shut_down(v, first);
		if (is_double_fault(&now, &next))
			next = (struct interruption){ .vector = VECTOR_DF, .has_error_code = true };
		next.rip = next.insn = first->insn;
		now = next;
	}
}

static u64 read_msr(const struct vcpu *v, u32 nr)
{
	uc_x86_msr msr = { .rid = nr };

	UC(v, reg_read)(v->uc, UC_X86_REG_MSR, &msr);
	return msr.value;
}

/* SYSCALL at rip was executed: enter the kernel, or #UD where that is switched off. */
static bool enter_syscall(struct vcpu *v, u64 rip)
{
	u64 next = reg_read(v, UC_X86_REG_RIP), rflags = reg_read(v, UC_X86_REG_EFLAGS);
	u32 selector = (u32)(read_msr(v, MSR_STAR) >> 32) & SELECTOR_ERROR;
	struct interruption ud = { .vector = VECTOR_UD, .fault = true, .rip = rip, .insn = rip };

	if (!(v->seen.efer & EFER_SCE))
		return deliver_all(v, &ud);
	rflags &= ~(u64)RFLAGS_RF;
	reg_write(v, UC_X86_REG_RCX, next);
	reg_write(v, UC_X86_REG_R11, rflags);
	reg_write(v, UC_X86_REG_EFLAGS, rflags & ~read_msr(v, MSR_FMASK));
	env_set_segment(v, ENV_CS, selector, FLAGS_CODE);
	env_set_segment(v, ENV_SS, selector + 8, FLAGS_STACK);
	set_privilege(v, 0);
	go_to(v, read_msr(v, MSR_LSTAR));
	return true;
}

static bool has_error_code(u32 vector)
{
	return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) ||
	       vector == VECTOR_AC || vector == VECTOR_CP;
}

/* INT n or INT3 ends at rip: its length; 0: there is none. */
static u32 software_interrupt_before(struct vcpu *v, u32 vector, u64 rip)
{
	u8 code[2];

	if (env_has(v, ENV_IS_INT) && !env_get(v, ENV_IS_INT))
		return 0;
	if (vector == VECTOR_BP && vcpu_peek(v, rip - 1, code, 1) == 1 && code[0] == 0xcc)
		return 1;
	return vcpu_peek(v, rip - 2, code, 2) == 2 && code[0] == 0xcd && code[1] == vector ? 2 : 0;
}

/* INT1 is #DB, a trap (SDM vol. 3A 6.3.1), of which Unicorn knows nothing. */
static bool is_int1(struct vcpu *v, u64 rip)
{
	u8 code;

	return vcpu_peek(v, rip, &code, 1) == 1 && code == 0xf1;
}

/* What Unicorn, or the decoder, said of the exception that ended the run. */
static struct interruption exception_of(struct vcpu *v)
{
	struct interruption e = { .vector = v->shared.exit.vector, .fault = true };
	u32 length;

	e.insn = e.rip = v->end.rip == NO_ADDRESS ? reg_read(v, UC_X86_REG_RIP) : v->end.rip;
	if (v->end.progress == DONE) { /* a single step's trap */
		e.fault = false;
		return e;
	}
	if (e.vector == VECTOR_UD && is_int1(v, e.rip)) {
		e.vector = VECTOR_DB;
		e.fault = false;
		e.rip++;
		return e;
	}
	length = e.vector == VECTOR_UD ? 0 : software_interrupt_before(v, e.vector, e.rip);
	if (length) {
		e.software = true;
		e.fault = false;
		e.insn -= length;
		return e;
	}
	e.has_error_code = has_error_code(e.vector);
	if (e.has_error_code)
		e.error_code = env_get(v, ENV_ERROR_CODE);
	return e;
}

/* The fault in shared.exit: #PF with CR2, or #GP or #SS of an address that is not canonical. */
static struct interruption fault_of(struct vcpu *v)
{
	struct vm_exit *exit = &v->shared.exit;
	struct interruption e = {
		.has_error_code = true, .fault = true, .rip = v->end.rip, .insn = v->end.rip
	};

	exit->rip = v->end.rip;
	if (!exit->exact || exit->reason == EXIT_EXCEPTION)
		v->settle_exit(v);
	if (exit->reason == EXIT_PAGE_FAULT) {
		e.vector = VECTOR_PF;
		e.error_code = exit->error_code;
		reg_write(v, UC_X86_REG_CR2, exit->address);
	} else {
		e.vector = exit->vector;
	}
	return e;
}

/*
 * Unicorn remembers a contributory exception or page fault until it delivers it itself; also one
 * that it met when no guest ran, as in a look-up before attach(). The next would be #DF.
 */
void forget_in_flight(struct vcpu *v)
{
	if (env_get(v, ENV_IN_FLIGHT) != 0xffffffff)
		env_set(v, ENV_IN_FLIGHT, 0xffffffff);
}

/*
 * A start of Unicorn has ended, and is settled: if by what the guest's IDT or LSTAR is for, go
 * there. v->end says then how to go on.
 */
void deliver(struct vcpu *v)
{
	struct interruption e;

	switch (v->end.reason) {
	case STOP_FAULT:
		if (v->shared.exit.reason != EXIT_PAGE_FAULT &&
		    v->shared.exit.reason != EXIT_EXCEPTION)
			return;
		e = fault_of(v);
		break;
	case STOP_REFUSED:
		e = (struct interruption){ .vector = VECTOR_GP,
					   .has_error_code = true,
					   .fault = true,
					   .rip = v->end.rip,
					   .insn = v->end.rip };
		break;
	case STOP_EXCEPTION:
		forget_in_flight(v);
		if (v->pending.jump) { /* a script's hook has handled it */
			v->pending.jump = 0;
			go_to(v, reg_read(v, UC_X86_REG_RIP));
			return;
		}
		e = exception_of(v);
		break;
	case STOP_SYSCALL:
		control_sync(v);
		enter_syscall(v, v->end.rip);
		return;
	default:
		return;
	}
	control_sync(v);
	deliver_all(v, &e);
}

/* Whether what delivery needs of Unicorn's state can be reached. */
u32 vcpu_can_deliver(const struct vcpu *v)
{
	return env_has(v, ENV_HFLAGS) && env_has(v, ENV_CS) && env_has(v, ENV_SS) &&
	       env_has(v, ENV_IN_FLIGHT);
}
