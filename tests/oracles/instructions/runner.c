// SPDX-License-Identifier: GPL-2.0-or-later
/* See runner.h.  Text, and data with stack, are shared with the child by a memfd each. */
#include "runner.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define RFLAGS_ID (1 << 21) /* ptrace can neither set nor clear it */
#define USER_END 0x7ffffffff000
#define LOWEST 0x10000 /* vm.mmap_min_addr */

struct native {
	struct layout layout;
	int text_fd, memory_fd;
	uint8_t *text, *memory,
		*live; /* memory: as instructions find it; live: as the child sees it */
	size_t memory_size;
	pid_t child;
};

/* SYSCALL; INT3: each of the child's last system calls is made from its text. */
static const uint8_t syscall_int3[] = { 0x0f, 0x05, 0xcc };

static bool map_fixed(uint64_t at, uint64_t size, int prot, int fd, uint64_t offset)
{
	void *want = (void *)(uintptr_t)at;

	return mmap(want, size, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == want;
}

/* The child: its memory at its places, then it waits to be traced. Calls nothing that needs more
 * than its stack. */
static void become_child(const struct native *n)
{
	const struct layout *l = &n->layout;
	uint64_t writable = l->data_size - l->read_only;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!map_fixed(l->text, l->text_size, PROT_READ | PROT_EXEC, n->text_fd, 0) ||
	    !map_fixed(l->data, writable, PROT_READ | PROT_WRITE, n->memory_fd, 0) ||
	    !map_fixed(l->data + writable, l->read_only, PROT_READ, n->memory_fd, writable) ||
	    !map_fixed(l->stack, l->stack_size, PROT_READ | PROT_WRITE, n->memory_fd,
		       l->data_size) ||
	    ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(1);
	raise(SIGSTOP);
	_exit(1);
}

static bool stopped_by(pid_t child, int signo)
{
	int status;

	return waitpid(child, &status, __WALL) == child && WIFSTOPPED(status) &&
	       WSTOPSIG(status) == signo;
}

/* Have the child make a system call. False if it did not come back from it. */
static bool inject(const struct native *n, uint64_t nr, uint64_t a, uint64_t b)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, n->child, 0, &regs))
		return false;
	regs.rip = n->layout.text;
	regs.rax = nr;
	regs.orig_rax = (uint64_t)-1;
	regs.rdi = a;
	regs.rsi = b;
	return !ptrace(PTRACE_SETREGS, n->child, 0, &regs) &&
	       !ptrace(PTRACE_CONT, n->child, 0, 0) && stopped_by(n->child, SIGTRAP);
}

/* Take away all of the child's memory but text, data and stack, which are in this order. */
static bool strip(const struct native *n)
{
	const struct layout *l = &n->layout;
	const uint64_t kept[] = { LOWEST,
				  l->text,
				  l->text + l->text_size,
				  l->data,
				  l->data + l->data_size,
				  l->stack,
				  l->stack + l->stack_size,
				  USER_END };
	uint8_t head[sizeof(syscall_int3)];
	bool ok = true;

	memcpy(head, n->text, sizeof(head));
	memcpy(n->text, syscall_int3, sizeof(head));
	for (size_t i = 0; ok && i < sizeof(kept) / sizeof(*kept); i += 2)
		ok = inject(n, SYS_munmap, kept[i], kept[i + 1] - kept[i]);
	memcpy(n->text, head, sizeof(head));
	return ok;
}

static void reap(struct native *n)
{
	if (n->child <= 0)
		return;
	kill(n->child, SIGKILL);
	waitpid(n->child, NULL, __WALL);
	n->child = 0;
}

/* rseq would have the kernel write to memory that the child has no longer: forget it where it is
 * registered. */
static void forget_rseq(void)
{
#ifdef SYS_rseq
	extern const ptrdiff_t __rseq_offset __attribute__((weak));
	extern const unsigned int __rseq_size __attribute__((weak));

	if (&__rseq_offset == NULL)
		return;
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
	const unsigned int sizes[] = { 32, __rseq_size, (__rseq_size + 31) & ~31u };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		if (!syscall(SYS_rseq, area, sizes[i], 1, 0x53053053))
			return;
#endif
}

static bool spawn(struct native *n, const char **stage)
{
	*stage = "fork()";
	n->child = fork();
	if (n->child < 0)
		return false;
	if (!n->child) {
		forget_rseq();
		become_child(n);
	}
	*stage = "tracing a child";
	if (!stopped_by(n->child, SIGSTOP))
		return false;
	*stage = "unmapping the child's memory";
	return strip(n);
}

static uint8_t *share(const char *name, size_t size, int *fd)
{
	void *at;

	*fd = memfd_create(name, MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, (off_t)size))
		return NULL;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	return at == MAP_FAILED ? NULL : at;
}

void native_close(struct native *n)
{
	reap(n);
	if (n->text)
		munmap(n->text, n->layout.text_size);
	if (n->live)
		munmap(n->live, n->memory_size);
	if (n->text_fd >= 0)
		close(n->text_fd);
	if (n->memory_fd >= 0)
		close(n->memory_fd);
	free(n->memory);
	free(n);
}

struct native *native_open(const struct layout *layout, const char **stage)
{
	struct native *n = calloc(1, sizeof(*n));
	int error;

	*stage = "memory";
	errno = EINVAL;
	if (layout->data_size + layout->stack_size > MEMORY_SIZE || !n) {
		free(n);
		return NULL;
	}
	n->layout = *layout;
	n->text_fd = n->memory_fd = -1;
	n->memory_size = layout->data_size + layout->stack_size;
	n->memory = calloc(1, n->memory_size);
	n->text = share("text", layout->text_size, &n->text_fd);
	n->live = share("data and stack", n->memory_size, &n->memory_fd);
	if (n->memory && n->text && n->live && spawn(n, stage))
		return n;
	error = errno;
	native_close(n);
	errno = error;
	return NULL;
}

uint8_t *native_text(struct native *n)
{
	return n->text;
}

uint8_t *native_memory(struct native *n)
{
	return n->memory;
}

static bool load(const struct native *n, const struct cpu_state *s)
{
	struct user_regs_struct r;
	struct user_fpregs_struct fp;

	if (ptrace(PTRACE_GETREGS, n->child, 0, &r))
		return false;
	r.rax = s->gpr[0], r.rcx = s->gpr[1], r.rdx = s->gpr[2], r.rbx = s->gpr[3];
	r.rsp = s->gpr[4], r.rbp = s->gpr[5], r.rsi = s->gpr[6], r.rdi = s->gpr[7];
	r.r8 = s->gpr[8], r.r9 = s->gpr[9], r.r10 = s->gpr[10], r.r11 = s->gpr[11];
	r.r12 = s->gpr[12], r.r13 = s->gpr[13], r.r14 = s->gpr[14], r.r15 = s->gpr[15];
	r.rip = s->rip, r.eflags = s->rflags;
	r.cs = s->cs, r.ss = s->ss, r.ds = s->ds, r.es = s->es, r.fs = s->fs, r.gs = s->gs;
	r.fs_base = s->fs_base, r.gs_base = s->gs_base;
	r.orig_rax = (uint64_t)-1;
	memcpy(&fp, s->fx, sizeof(fp));
	return !ptrace(PTRACE_SETREGS, n->child, 0, &r) &&
	       !ptrace(PTRACE_SETFPREGS, n->child, 0, &fp);
}

static bool save(const struct native *n, struct cpu_state *s)
{
	struct user_regs_struct r;
	struct user_fpregs_struct fp;

	if (ptrace(PTRACE_GETREGS, n->child, 0, &r) || ptrace(PTRACE_GETFPREGS, n->child, 0, &fp))
		return false;
	*s = (struct cpu_state){
		.gpr = { r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10,
			 r.r11, r.r12, r.r13, r.r14, r.r15 },
		.rip = r.rip,
		.rflags = r.eflags,
		.fs_base = r.fs_base,
		.gs_base = r.gs_base,
		.cs = r.cs,
		.ss = r.ss,
		.ds = r.ds,
		.es = r.es,
		.fs = r.fs,
		.gs = r.gs,
	};
	memcpy(s->fx, &fp, sizeof(s->fx));
	return true;
}

/* Note what the instruction did to memory, and undo it. */
static void settle_memory(struct native *n, struct outcome *out)
{
	size_t first = 0, last = n->memory_size;

	if (!memcmp(n->memory, n->live, n->memory_size))
		return;
	while (n->memory[first] == n->live[first])
		first++;
	while (n->memory[last - 1] == n->live[last - 1])
		last--;
	out->changed = (uint32_t)first;
	out->changed_length = (uint32_t)(last - first);
	memcpy(out->bytes, n->live + first, last - first);
	memcpy(n->live + first, n->memory + first, last - first);
}

/* Step once. False if the child is no more. */
static bool step(const struct native *n, struct outcome *out, int *signo)
{
	int status;
	siginfo_t info;

	if (ptrace(PTRACE_SINGLESTEP, n->child, 0, 0) ||
	    waitpid(n->child, &status, __WALL) != n->child || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_GETSIGINFO, n->child, 0, &info))
		return false;
	*signo = WSTOPSIG(status);
	out->signo = (uint32_t)*signo;
	out->code = info.si_code;
	out->address = (uint64_t)(uintptr_t)info.si_addr;
	return true;
}

/* One instruction, REP to its end. False if the child is no more. */
static bool execute(struct native *n, const struct instruction *in, struct outcome *out)
{
	uint8_t *code = n->text + (in->before.rip - n->layout.text), before[CODE_SIZE];
	struct user_regs_struct regs;
	bool alive;
	int signo = 0;

	memcpy(before, code, in->length);
	memcpy(code, in->code, in->length);
	alive = load(n, &in->before);
	out->ended = ENDED_LOOP;
	while (alive && out->ended == ENDED_LOOP && out->steps < MAX_STEPS) {
		out->steps++;
		alive = step(n, out, &signo) && !ptrace(PTRACE_GETREGS, n->child, 0, &regs);
		if (alive && (signo != SIGTRAP || out->code != TRAP_TRACE))
			out->ended = ENDED_SIGNAL;
		else if (alive && regs.rip != in->before.rip)
			out->ended = ENDED_DONE;
	}
	alive = alive && save(n, &out->after);
	memcpy(code, before, in->length);
	return alive;
}

int native_execute(struct native *n, const struct instruction *in, struct outcome *out, uint32_t nr)
{
	const char *stage;

	memcpy(n->live, n->memory, n->memory_size);
	for (uint32_t i = 0; i < nr; i++) {
		bool alive;

		out[i] = (struct outcome){ 0 };
		alive = execute(n, &in[i], &out[i]);
		if (!alive)
			out[i].ended = ENDED_DIED;
		settle_memory(n, &out[i]);
		if (alive && !(out[i].after.rflags & RFLAGS_ID))
			continue;
		reap(n);
		if (!spawn(n, &stage))
			return errno ? -errno : -ECHILD;
	}
	return 0;
}
