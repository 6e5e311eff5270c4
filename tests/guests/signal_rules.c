// SPDX-License-Identifier: GPL-2.0-or-later
/* Signals of one thread: order, masks, nesting, stacks, restarts, timers; a mode each. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t count;
static sigjmp_buf back;

typedef void (*handler)(int, siginfo_t *, void *);

static void on(int signo, handler run, int flags, uint64_t mask)
{
	struct sigaction action = { .sa_sigaction = run, .sa_flags = SA_SIGINFO | flags };

	memcpy(&action.sa_mask, &mask, sizeof(mask));
	if (sigaction(signo, &action, NULL))
		printf("sigaction %d: %s\n", signo, strerror(errno));
}

static uint64_t bit(int signo)
{
	return 1ULL << (signo - 1);
}

static uint64_t mask_now(void)
{
	uint64_t mask = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8L);
	return mask;
}

static uint64_t pending_now(void)
{
	uint64_t mask = 0;

	syscall(SYS_rt_sigpending, &mask, 8L);
	return mask;
}

static void block(int how, uint64_t mask)
{
	syscall(SYS_rt_sigprocmask, how, &mask, NULL, 8L);
}

static void tell(int signo, siginfo_t *info, void *context)
{
	uint64_t old;

	memcpy(&old, &((ucontext_t *)context)->uc_sigmask, sizeof(old));
	printf("signal %d: code %d self %d value %d mask %#lx before %#lx\n", signo, info->si_code,
	       info->si_pid == getpid(), info->si_code == SI_QUEUE ? info->si_value.sival_int : 0,
	       mask_now(), old);
	count++;
}

/* Blocked signals wait; standard ones once, real-time ones each; the lowest number goes first. */
static void order(void)
{
	static const int sent[] = { 40, SIGUSR2, 35, SIGUSR1, SIGUSR1, 35, 34 };
	union sigval value;

	for (int signo = 34; signo <= 40; signo++)
		on(signo, tell, 0, 0);
	on(SIGUSR1, tell, 0, bit(SIGUSR2));
	on(SIGUSR2, tell, 0, 0);
	block(SIG_SETMASK, ~0ULL);
	printf("blocked %#lx\n", mask_now());
	for (unsigned int i = 0; i < sizeof(sent) / sizeof(*sent); i++) {
		value.sival_int = (int)i;
		sigqueue(getpid(), sent[i], value);
	}
	raise(SIGUSR2);
	printf("pending %#lx\n", pending_now());
	block(SIG_SETMASK, 0);
	printf("%d came, pending %#lx, mask %#lx\n", count, pending_now(), mask_now());
}

static void deeper(int signo, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	printf("in %d at depth %d, mask %#lx\n", signo, count, mask_now());
	if (++count < 6)
		raise(count & 1 ? SIGUSR2 : SIGUSR1);
	printf("out of %d, pending %#lx\n", signo, pending_now());
}

/* A handler's own signal is blocked in it, but with SA_NODEFER; SA_RESETHAND runs it once. */
static void nesting(void)
{
	struct sigaction now;

	on(SIGUSR1, deeper, 0, 0);
	on(SIGUSR2, deeper, 0, 0);
	raise(SIGUSR1);
	puts("nodefer");
	count = 0;
	on(SIGUSR1, deeper, SA_NODEFER, 0);
	on(SIGUSR2, deeper, SA_NODEFER, 0);
	raise(SIGUSR1);
	on(SIGURG, tell, SA_RESETHAND, 0);
	raise(SIGURG);
	raise(SIGURG);
	sigaction(SIGURG, NULL, &now);
	printf("reset: default %d flags %#x, came %d\n", now.sa_handler == SIG_DFL,
	       now.sa_flags & ~0x04000000, count);
}

static void tell_nothing(int signo)
{
	printf("signal %d\n", signo);
}

/* Ignored: dropped also when it waits already, but not if it is blocked and comes later. */
static void ignoring(void)
{
	on(SIGUSR1, tell, 0, 0);
	block(SIG_BLOCK, bit(SIGUSR1) | bit(SIGCHLD));
	raise(SIGUSR1);
	raise(SIGCHLD);
	printf("pending %#lx\n", pending_now());
	signal(SIGUSR1, SIG_IGN);
	printf("pending %#lx\n", pending_now());
	raise(SIGUSR1);
	printf("pending %#lx\n", pending_now());
	signal(SIGUSR1, tell_nothing);
	signal(SIGCHLD, SIG_DFL);
	printf("pending %#lx\n", pending_now());
	block(SIG_SETMASK, 0);
	for (int signo = 1; signo <= 64; signo++) {
		struct sigaction none = { .sa_handler = SIG_IGN };

		if (signo != 32 && signo != 33 && sigaction(signo, &none, NULL))
			printf("%d: errno %d\n", signo, errno);
	}
}

/* Alternate stacks. */
static char *stack_at;
static size_t stack_size;

static void print_stack(const char *what, const stack_t *stack)
{
	printf("%s: %s flags %#x size %zu\n", what, stack->ss_sp ? "set" : "null", stack->ss_flags,
	       stack->ss_size);
}

static void on_stack(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	stack_t now;
	char here;

	(void)info;
	sigaltstack(NULL, &now);
	printf("signal %d on alternate stack %d\n", signo,
	       &here >= stack_at && &here < stack_at + stack_size);
	print_stack("now", &now);
	print_stack("frame", &uc->uc_stack);
	now.ss_flags = SS_DISABLE;
	printf("change: %d\n", sigaltstack(&now, NULL) ? errno : 0);
	if (++count == 1)
		raise(SIGUSR2);
}

static void stacks(void)
{
	stack_t stack = { 0 }, was;

	stack_size = 16384;
	stack_at =
		mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaltstack(NULL, &was);
	print_stack("at first", &was);
	stack.ss_sp = stack_at;
	stack.ss_size = 2047;
	printf("too small: %d\n", sigaltstack(&stack, NULL) ? errno : 0);
	stack.ss_size = stack_size;
	stack.ss_flags = 4;
	printf("bad flags: %d\n", sigaltstack(&stack, NULL) ? errno : 0);
	stack.ss_flags = 0;
	printf("good: %d\n", sigaltstack(&stack, NULL) ? errno : 0);
	on(SIGUSR1, on_stack, SA_ONSTACK, 0);
	on(SIGUSR2, on_stack, SA_ONSTACK, 0);
	raise(SIGUSR1);
	on(SIGUSR1, on_stack, 0, 0);
	raise(SIGUSR1);
	puts("autodisarm");
	stack.ss_flags = (int)(1U << 31);
	count = 0;
	printf("good: %d\n", sigaltstack(&stack, NULL) ? errno : 0);
	on(SIGUSR1, on_stack, SA_ONSTACK, 0);
	raise(SIGUSR1);
	sigaltstack(NULL, &was);
	print_stack("after", &was);
	stack.ss_flags = SS_DISABLE;
	printf("disable: %d\n", sigaltstack(&stack, &was) ? errno : 0);
	sigaltstack(NULL, &was);
	print_stack("disabled", &was);
}

/* A stack overflow's SIGSEGV on the alternate stack. */
static void overflowed(int signo, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	intptr_t below = (char *)regs[REG_RSP] - (char *)info->si_addr;

	printf("overflow: signal %d code %d near rsp %d\n", signo, info->si_code,
	       below < 65536 && below > -65536);
	siglongjmp(back, 1);
}

__attribute__((noinline)) static int recurse(volatile char *above)
{
	volatile char here[1024];

	here[0] = *above;
	return here[0] ? recurse(here) + here[0] : 0;
}

static void overflow(void)
{
	static char other[16384];
	stack_t stack = { .ss_sp = other, .ss_size = sizeof(other) };
	volatile char top = 1;

	sigaltstack(&stack, NULL);
	on(SIGSEGV, overflowed, SA_ONSTACK, 0);
	for (int i = 0; i < 3; i++)
		if (!sigsetjmp(back, 1))
			recurse(&top);
	puts("survived");
}

/* A collector's write barrier: pages are read-only until they are written to. */
#define HEAP_PAGES 64
static char *heap;
static char dirty[HEAP_PAGES];

static void barrier(int signo, siginfo_t *info, void *context)
{
	size_t at = (size_t)((char *)info->si_addr - heap) / 4096;

	(void)context;
	if (at >= HEAP_PAGES || info->si_code != SEGV_ACCERR) {
		printf("signal %d code %d\n", signo, info->si_code);
		_exit(1);
	}
	dirty[at] = 1;
	mprotect(heap + at * 4096, 4096, PROT_READ | PROT_WRITE);
	count++;
}

static void write_barrier(void)
{
	unsigned int sum = 0;

	heap = mmap(NULL, HEAP_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	on(SIGSEGV, barrier, 0, 0);
	for (int round = 0; round < 8; round++) {
		mprotect(heap, HEAP_PAGES * 4096, PROT_READ);
		memset(dirty, 0, sizeof(dirty));
		for (unsigned int i = 0; i < 500; i++)
			heap[(i * 2654435761U) >> 14 & (HEAP_PAGES * 4096 - 1)] += (char)round;
		for (int i = 0; i < HEAP_PAGES; i++)
			sum = sum * 31 + (unsigned int)dirty[i];
	}
	for (int i = 0; i < HEAP_PAGES * 4096; i += 16)
		sum = sum * 31 + (unsigned char)heap[i];
	printf("%d barriers, sum %u\n", count, sum);
}

/* Calls that wait, and a timer's signal. */
static void alarmed(int signo, siginfo_t *info, void *context)
{
	(void)context;
	printf("signal %d code %d\n", signo, info->si_code);
	count++;
}

static void quietly(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
	count++;
}

static void after_us(long us, long interval)
{
	struct itimerval timer = { { 0, interval }, { 0, us } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

static void restarts(void)
{
	struct timespec wanted = { 0, 60000000 }, left = { 7, 7 };
	struct timespec until;
	int result;

	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		on(SIGALRM, alarmed, flags, 0);
		after_us(20000, 0);
		result = nanosleep(&wanted, &left);
		printf("nanosleep %d errno %d left %d\n", result, errno,
		       left.tv_sec == 0 && left.tv_nsec > 10000000 && left.tv_nsec <= 41000000);
		after_us(20000, 0);
		errno = 0;
		printf("pause %d", pause());
		printf(" errno %d\n", errno);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		after_us(20000, 0);
		result = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		printf("clock_nanosleep %d\n", result);
	}
	signal(SIGALRM, SIG_IGN);
	after_us(20000, 0);
	printf("ignored: nanosleep %d\n", nanosleep(&wanted, NULL));
}

static void waiting(void)
{
	uint64_t these = bit(SIGUSR1) | bit(40);
	struct timespec none = { 0, 0 }, some = { 0, 20000000 }, bad = { 0, 1000000000 };
	siginfo_t info;
	union sigval value = { .sival_int = 77 };
	sigset_t empty;
	long got;

	block(SIG_BLOCK, these | bit(SIGALRM));
	got = syscall(SYS_rt_sigtimedwait, &these, &info, &none, 8L);
	printf("none: %ld errno %d\n", got, errno);
	got = syscall(SYS_rt_sigtimedwait, &these, &info, &some, 8L);
	printf("time out: %ld errno %d\n", got, errno);
	got = syscall(SYS_rt_sigtimedwait, &these, &info, &bad, 8L);
	printf("bad time: %ld errno %d\n", got, errno);
	sigqueue(getpid(), 40, value);
	kill(getpid(), SIGUSR1);
	got = syscall(SYS_rt_sigtimedwait, &these, &info, NULL, 8L);
	printf("got %ld code %d self %d\n", got, info.si_code, info.si_pid == getpid());
	got = syscall(SYS_rt_sigtimedwait, &these, &info, NULL, 8L);
	printf("got %ld code %d value %d\n", got, info.si_code, info.si_value.sival_int);
	these = bit(SIGALRM);
	after_us(10000, 0);
	got = syscall(SYS_rt_sigtimedwait, &these, &info, NULL, 8L);
	printf("got %ld code %d\n", got, info.si_code);
	on(SIGALRM, alarmed, SA_RESTART, 0);
	sigemptyset(&empty);
	after_us(10000, 0);
	got = sigsuspend(&empty);
	printf("sigsuspend %ld errno %d mask %#lx\n", got, errno, mask_now());
	block(SIG_UNBLOCK, bit(SIGALRM));
	after_us(10000, 0);
	these = bit(SIGUSR1);
	got = syscall(SYS_rt_sigtimedwait, &these, &info, NULL, 8L);
	printf("another: %ld errno %d\n", got, errno);
}

static void timers(void)
{
	struct itimerval every = { { 0, 5000 }, { 0, 5000 } }, now, off = { { 0, 0 }, { 0, 0 } };
	struct itimerspec spec = { { 0, 2000000 }, { 0, 3000000 } }, was;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = 41 };
	struct timespec some = { 0, 21000000 };
	siginfo_t info;
	timer_t timer;
	uint64_t these = bit(41);
	long got;

	on(SIGALRM, quietly, SA_RESTART, 0);
	on(SIGVTALRM, quietly, 0, 0);
	on(SIGPROF, quietly, 0, 0);
	setitimer(ITIMER_REAL, &every, NULL);
	while (count < 4)
		pause();
	setitimer(ITIMER_REAL, &off, &now);
	printf("real %d interval %ld left %d\n", count >= 4, now.it_interval.tv_usec,
	       now.it_value.tv_usec <= 5000);
	count = 0;
	setitimer(ITIMER_VIRTUAL, &every, NULL);
	while (count < 3)
		;
	setitimer(ITIMER_VIRTUAL, &off, NULL);
	count = 0;
	setitimer(ITIMER_PROF, &every, NULL);
	while (count < 3)
		;
	setitimer(ITIMER_PROF, &off, &now);
	printf("virtual and profiling, interval %ld\n", now.it_interval.tv_usec);
	getitimer(ITIMER_PROF, &now);
	printf("off: %ld %ld\n", now.it_value.tv_usec, now.it_interval.tv_usec);
	printf("alarm %u", alarm(100));
	printf(" %u", alarm(7));
	printf(" %u\n", alarm(0));

	event.sigev_value.sival_int = 1234;
	block(SIG_BLOCK, these);
	printf("timer_create %d\n", timer_create(CLOCK_MONOTONIC, &event, &timer));
	printf("settime %d\n", timer_settime(timer, 0, &spec, &was));
	printf("was %ld %ld\n", was.it_value.tv_nsec, was.it_interval.tv_nsec);
	nanosleep(&some, NULL);
	got = syscall(SYS_rt_sigtimedwait, &these, &info, NULL, 8L);
	printf("got %ld code %d value %d overrun %d same %d\n", got, info.si_code,
	       info.si_value.sival_int, info.si_overrun >= 8,
	       info.si_overrun == timer_getoverrun(timer));
	timer_gettime(timer, &was);
	printf("left %d interval %ld\n",
	       was.it_value.tv_nsec > 0 && was.it_value.tv_nsec <= 2000000,
	       was.it_interval.tv_nsec);
	printf("delete %d", timer_delete(timer));
	printf(" %d", timer_delete(timer));
	printf(" errno %d pending %#lx\n", errno, pending_now() & these);
	event.sigev_signo = 65;
	printf("bad signal %d errno %d\n", timer_create(CLOCK_MONOTONIC, &event, &timer), errno);
	event.sigev_notify = SIGEV_NONE;
	printf("none %d\n", timer_create(CLOCK_REALTIME, &event, &timer));
	spec.it_interval.tv_nsec = 0;
	spec.it_value.tv_sec = 50;
	timer_settime(timer, 0, &spec, NULL);
	timer_gettime(timer, &was);
	printf("left %ld\n", was.it_value.tv_sec);
	printf("bad clock %d errno %d\n", timer_create(77, NULL, &timer), errno);
}

/* What is refused, and how. */
static void errors(void)
{
	struct itimerval bad = { { 0, 0 }, { 0, 1000000 } };
	siginfo_t info = { .si_code = SI_USER };
	uint64_t mask = 0;

#define SHOW(call)                                         \
	do {                                               \
		long result;                               \
		errno = 0;                                 \
		result = (long)(call);                     \
		printf(#call ": %ld %d\n", result, errno); \
	} while (0)
	SHOW(kill(getpid(), 65));
	SHOW(kill(getpid(), -1));
	SHOW(kill(getpid(), 0));
	SHOW(kill(999999, 0));
	SHOW(kill(999999, 65));
	SHOW(syscall(SYS_kill, 0x80000000L, 0L));
	SHOW(syscall(SYS_tkill, 0L, 0L));
	SHOW(syscall(SYS_tgkill, 0L, 1L, 0L));
	SHOW(syscall(SYS_tgkill, (long)getpid(), 999999L, 0L));
	SHOW(syscall(SYS_tgkill, (long)getpid(), (long)getpid(), 65L));
	SHOW(syscall(SYS_rt_sigqueueinfo, 999999L, 10L, &info));
	SHOW(syscall(SYS_rt_sigqueueinfo, (long)getpid(), 0L, &info));
	SHOW(syscall(SYS_rt_sigaction, 65L, NULL, NULL, 8L));
	SHOW(syscall(SYS_rt_sigaction, 0L, NULL, NULL, 8L));
	SHOW(syscall(SYS_rt_sigaction, 10L, NULL, NULL, 4L));
	SHOW(syscall(SYS_rt_sigaction, 10L, 8L, NULL, 8L));
	SHOW(syscall(SYS_rt_sigprocmask, 3L, &mask, NULL, 8L));
	SHOW(syscall(SYS_rt_sigprocmask, 3L, NULL, &mask, 8L));
	SHOW(syscall(SYS_rt_sigprocmask, 0L, 8L, NULL, 8L));
	SHOW(syscall(SYS_rt_sigsuspend, &mask, 4L));
	SHOW(syscall(SYS_rt_sigpending, &mask, 9L));
	SHOW(syscall(SYS_rt_sigtimedwait, &mask, NULL, NULL, 4L));
	SHOW(syscall(SYS_sigaltstack, 8L, NULL));
	SHOW(setitimer(ITIMER_REAL, &bad, NULL));
	SHOW(setitimer((__itimer_which_t)3, NULL, NULL));
	SHOW(syscall(SYS_restart_syscall));
	SHOW(syscall(SYS_timer_gettime, 5L, &bad));
}

/* As many real-time signals wait as RLIMIT_SIGPENDING says; kill() still comes through. */
static void limit(void)
{
	struct rlimit few = { 3, 3 };
	union sigval value;

	on(40, tell, 0, 0);
	on(41, tell, 0, 0);
	block(SIG_SETMASK, bit(40) | bit(41));
	printf("setrlimit %d\n", setrlimit(RLIMIT_SIGPENDING, &few));
	for (int i = 0; i < 5; i++) {
		value.sival_int = i;
		errno = 0;
		printf("sigqueue %d", sigqueue(getpid(), 40, value));
		printf(" errno %d\n", errno);
	}
	printf("kill %d\n", kill(getpid(), 41));
	block(SIG_SETMASK, 0);
	printf("%d came\n", count);
}

/* How a process ends: by a signal in its handler, by a bad frame, by a full stack. */
static void again(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
	puts("first");
	fflush(stdout);
	*(volatile int *)8 = 1;
}

static void in_handler(void)
{
	on(SIGSEGV, again, 0, 0);
	*(volatile int *)0 = 1;
}

static void blocked_fault(void)
{
	on(SIGSEGV, again, 0, 0);
	block(SIG_BLOCK, bit(SIGSEGV));
	*(volatile int *)0 = 1;
}

static void ignored_fault(void)
{
	signal(SIGSEGV, SIG_IGN);
	*(volatile int *)0 = 1;
}

static void bad_sp(void)
{
	on(SIGUSR1, tell, 0, 0);
	__asm__ volatile(
		"mov $0x1000, %%rsp; mov $39, %%eax; syscall; mov %%eax, %%edi; mov $10, %%esi;"
		"mov $62, %%eax; syscall"
		:
		:
		: "memory");
}

static void segv_bad_sp(void)
{
	on(SIGSEGV, again, 0, 0);
	__asm__ volatile("mov $0x1000, %%rsp; mov %%eax, 8" : : : "memory");
}

static void bad_return(void)
{
	__asm__ volatile("mov $0x1000, %%rsp; mov $15, %%eax; syscall" : : : "memory");
}

static void no_restorer(void)
{
	struct {
		void *run;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} action = { (void *)again, 0, NULL, 0 };

	syscall(SYS_rt_sigaction, (long)SIGUSR1, &action, NULL, 8L);
	raise(SIGUSR1);
}

static void edit_frame(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)info;
	if (signo == SIGUSR1)
		uc->uc_mcontext.fpregs->mxcsr |= 0x10000;
	else
		uc->uc_mcontext.fpregs = (void *)((char *)uc->uc_mcontext.fpregs + 8);
}

static void bad_mxcsr(void)
{
	on(SIGUSR1, edit_frame, 0, 0);
	raise(SIGUSR1);
	puts("not reached");
}

static void bad_fpstate(void)
{
	on(SIGUSR2, edit_frame, 0, 0);
	raise(SIGUSR2);
	puts("reached");
}

static void nested_overflow(int signo, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (count++ < 100)
		raise(signo);
}

static void full_altstack(void)
{
	static char other[8192];
	stack_t stack = { .ss_sp = other, .ss_size = sizeof(other) };

	sigaltstack(&stack, NULL);
	on(SIGUSR1, nested_overflow, SA_ONSTACK | SA_NODEFER, 0);
	raise(SIGUSR1);
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "order", order },
	{ "nesting", nesting },
	{ "ignoring", ignoring },
	{ "stacks", stacks },
	{ "overflow", overflow },
	{ "write_barrier", write_barrier },
	{ "restarts", restarts },
	{ "waiting", waiting },
	{ "timers", timers },
	{ "errors", errors },
	{ "limit", limit },
	{ "in_handler", in_handler },
	{ "blocked_fault", blocked_fault },
	{ "ignored_fault", ignored_fault },
	{ "bad_sp", bad_sp },
	{ "segv_bad_sp", segv_bad_sp },
	{ "bad_return", bad_return },
	{ "no_restorer", no_restorer },
	{ "bad_mxcsr", bad_mxcsr },
	{ "bad_fpstate", bad_fpstate },
	{ "full_altstack", full_altstack },
};

int main(int argc, char **argv)
{
	for (unsigned int i = 0; argc > 1 && i < sizeof(modes) / sizeof(*modes); i++)
		if (!strcmp(argv[1], modes[i].name)) {
			modes[i].run();
			return 0;
		}
	fprintf(stderr, "signal_rules: which mode?\n");
	return 2;
}
