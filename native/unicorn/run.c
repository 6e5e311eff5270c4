/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A run: Unicorn is started until it is over, and Python told why. */
#include "unicorn/vcpu.h"

#define RUNS_A_FLUSH 8192
#define LONGEST_WAIT 8192 /* instructions; more than a block has */

/* What Python left to be done before the guest goes on. */
static bool prepare(struct vcpu *v)
{
	if (!v->armed && !arm(v))
		return false;
	settle_result(v);
	vcpu_sync(v);
	if (v->deliver)
		forget_in_flight(v);
	forget_memos(v);
	v->user = cpl(v) == 3;
	return true;
}

/* Whether an attached instance has executed as many instructions as it was to. */
static bool is_counted_out(const struct vcpu *v)
{
	return v->run.count && v->shared.count - v->run.counted >= v->run.count;
}

/* Before each start of Unicorn: false if there is to be none. */
static bool get_ready(struct vcpu *v)
{
	if (unlikely(v->intercepts.nr_found))
		v->run.err = watch_found(v);
	if (v->run.err != UC_ERR_OK)
		end(v, STOP_ENGINE, NO_ADDRESS, DONE, AGAIN_NO);
	else if (v->pending.stop || is_late(v))
		end(v, STOP_ASKED, NO_ADDRESS, DONE, AGAIN_NO);
	else if (v->shared.count >= v->run.limit || is_counted_out(v))
		end(v, STOP_LIMIT, NO_ADDRESS, DONE, AGAIN_NO);
	return v->end.reason == STOP_NONE;
}

/* The first instruction from RIP on that needs the next page. */
static u64 first_behind_page(struct vcpu *v)
{
	u64 rip = reg_read(v, UC_X86_REG_RIP);

	return rip + insn_crossing(v, rip, PAGE_SIZE + 1);
}

/* Go on until an end leads back to Python. */
static void run_to_end(struct vcpu *v)
{
	enum again again = AGAIN_START;

	while (again != AGAIN_NO) {
		begin(v);
		if (get_ready(v)) {
			if (again == AGAIN_AHEAD)
				v->run.ahead = first_behind_page(v);
			if (again == AGAIN_START || again == AGAIN_AHEAD)
				start(v);
			else
				step(v, again == AGAIN_STEPS);
		}
		settle(v);
		if (v->insn.passed != NO_ADDRESS && v->end.reason != STOP_FAULT)
			settle_passed(v);
		if (v->end.reason == STOP_EMULATED)
			v->guest->finish_emulated(v);
		if (v->deliver)
			deliver(v);
		if (again != AGAIN_STEPS || v->end.again == AGAIN_NO)
			again = v->end.again;
	}
}

/* What Python is told, by reason; STOP_FAULT has told it already. */
static const u32 exit_reason[] = {
	[STOP_OUTSIDE] = EXIT_STOPPED,	   [STOP_ENGINE] = EXIT_ENGINE,
	[STOP_ASKED] = EXIT_STOPPED,	   [STOP_LIMIT] = EXIT_LIMIT,
	[STOP_UNTIL] = EXIT_STOPPED,	   [STOP_SYSCALL] = EXIT_SYSCALL,
	[STOP_EXCEPTION] = EXIT_EXCEPTION, [STOP_REFUSED] = EXIT_EXCEPTION,
	[STOP_INTERCEPT] = EXIT_EXCEPTION, [STOP_ABORTED] = EXIT_ABORTED,
	[STOP_SHUTDOWN] = EXIT_SHUTDOWN,
};

/* Tell Python why the run ended. */
static void leave(struct vcpu *v)
{
	struct vm_exit *exit = &v->shared.exit;

	exit->rip = v->end.progress == DONE ? reg_read(v, UC_X86_REG_RIP) : v->end.rip;
	exit->insn = v->end.rip == NO_ADDRESS ? exit->rip : v->end.rip;
	exit->intercept = INTERCEPT_NONE;
	if (v->end.reason == STOP_FAULT)
		return;
	exit->uc_err = v->run.err;
	exit->reason = exit_reason[v->end.reason];
	exit->address = 0;
	switch (v->end.reason) {
	case STOP_SYSCALL:
		finish_syscall(v);
		break;
	case STOP_REFUSED:
		exit->vector = VECTOR_GP;
		reg_write(v, UC_X86_REG_RIP, exit->rip);
		break;
	case STOP_INTERCEPT:
		finish_intercept(v);
		break;
	case STOP_OUTSIDE:
	case STOP_ENGINE:
	case STOP_ASKED:
		v->pending.stop = 0;
		break;
	default:
		break;
	}
}

/* The run that clear_run() and the caller have set up. */
static void run(struct vcpu *v)
{
	if (v->run.err == UC_ERR_OK && !prepare(v))
		v->run.err = UC_ERR_HOOK;
	run_to_end(v);
	leave(v);
	clear_run(v);
}

u32 vcpu_run(struct vcpu *v, u64 limit, u64 due)
{
	u64 late = due < NO_LIMIT - LONGEST_WAIT ? due + LONGEST_WAIT : NO_LIMIT;

	if (v->this_cpu)
		MMU(v, set_this_cpu, set_cpu)(v->this_cpu->kernel, v->this_cpu);
	v->run.exact = limit <= late;
	v->run.limit = v->run.exact ? limit : late;
	v->run.due = due;
	run(v);
	if (v->ring)
		v->ring->instruction = v->shared.count;
	return v->shared.exit.reason;
}

/*
 * Unicorn drops the code that it translated to end at until, by a look-up that is answered as
 * nobody's where the private parts do not tell it apart: do it in its place.
 */
static void forget_end(struct vcpu *v, u64 until)
{
	u64 pa;

	if (!private_has(v, PRIVATE_ASKER) && v->fidelity->probe(v, until, ACCESS_FETCH, &pa))
		drop_code_range(v, pa, 1);
}

/*
 * Unicorn translates code to the end of each run anew, and gives no room back before its buffer, a
 * GiB, is full: empty it from time to time.
 */
static void limit_code(struct vcpu *v)
{
	if (v->depth == 1 && ++v->runs % RUNS_A_FLUSH == 0)
		drop_all_code(v);
}

void vcpu_emu_start(struct vcpu *v, u64 begin, u64 until, u64 timeout_us, u64 count,
		    struct vm_exit *exit)
{
	struct level outer;

	enter_level(v, &outer);
	v->run.begin = begin;
	v->run.until = until;
	v->run.deadline = deadline_after(timeout_us);
	v->run.count = count;
	v->run.counted = v->shared.count;
	v->pending.deadline = v->depth > 1 && v->run.deadline;
	run(v);
	forget_end(v, until);
	limit_code(v);
	*exit = v->shared.exit;
	leave_level(v, &outer);
}
