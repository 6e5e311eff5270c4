// SPDX-License-Identifier: GPL-2.0-or-later
/* Signals and threads: who takes which, and where; a mode each. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* glibc's name */
#endif

#define NR_THREADS 3

static atomic_int ready, done, rounds;
static __thread int mine;
static __thread volatile sig_atomic_t heard;
static atomic_int heard_by[NR_THREADS + 1];

typedef void (*handler)(int, siginfo_t *, void *);

static void on(int signo, handler run, int flags)
{
	struct sigaction action = { .sa_sigaction = run, .sa_flags = SA_SIGINFO | flags };

	if (sigaction(signo, &action, NULL))
		printf("sigaction %d: %s\n", signo, strerror(errno));
}

static void mask(int how, int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	pthread_sigmask(how, &set, NULL);
}

static void count(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
	heard++;
	heard_by[mine]++;
}

static void until(atomic_int *number, int value)
{
	while (atomic_load(number) < value)
		sched_yield();
}

static pthread_t threads[NR_THREADS];

static void start(void *(*run)(void *))
{
	for (intptr_t i = 0; i < NR_THREADS; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)(i + 1)))
			exit(3);
}

static void join(void)
{
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* A thread that computes takes what is sent to it, and nobody else does. */
static void *spin(void *number)
{
	mine = (int)(intptr_t)number;
	ready++;
	while (heard < 2 * mine)
		;
	done++;
	return NULL;
}

static void directed(void)
{
	on(SIGUSR1, count, 0);
	start(spin);
	until(&ready, NR_THREADS);
	for (int round = 0; round < 2 * NR_THREADS; round++)
		for (int i = 0; i < NR_THREADS; i++)
			if (round < 2 * (i + 1)) {
				pthread_kill(threads[i], SIGUSR1);
				until(&heard_by[i + 1], round + 1);
			}
	join();
	for (int i = 0; i <= NR_THREADS; i++)
		printf("thread %d heard %d\n", i, heard_by[i]);
}

/* What is sent to the process is taken by the one thread that does not block it. */
static void *only_third(void *number)
{
	mine = (int)(intptr_t)number;
	if (mine == 3)
		mask(SIG_UNBLOCK, SIGUSR2);
	ready++;
	while (!atomic_load(&done))
		if (mine == 3)
			sched_yield();
		else
			usleep(100);
	return NULL;
}

static void undirected(void)
{
	on(SIGUSR2, count, SA_RESTART);
	mask(SIG_BLOCK, SIGUSR2);
	start(only_third);
	until(&ready, NR_THREADS);
	for (int i = 0; i < 5; i++) {
		kill(getpid(), SIGUSR2);
		until(&heard_by[3], i + 1);
	}
	done = 1;
	join();
	for (int i = 0; i <= NR_THREADS; i++)
		printf("thread %d heard %d\n", i, heard_by[i]);
}

/* A thread that waits for all signals, as servers have one. */
static void *waiter(void *unused)
{
	sigset_t all;
	int signo;

	(void)unused;
	sigfillset(&all);
	do {
		sigwait(&all, &signo);
		printf("sigwait: %d\n", signo);
		rounds++;
	} while (signo != SIGTERM);
	return NULL;
}

static void waited_for(void)
{
	static const int signals[] = { SIGUSR1, SIGHUP, 42, SIGALRM, SIGTERM };
	pthread_t thread;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_create(&thread, NULL, waiter, NULL);
	for (int i = 0; i < 5; i++) {
		kill(getpid(), signals[i]);
		until(&rounds, i + 1);
	}
	pthread_join(thread, NULL);
}

/* Every thread has pages of its own that fault, and a handler that mends them. */
#define PAGES 24
static __thread char *heap;

static void mend(int signo, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & -4096UL;

	(void)context;
	if (signo != SIGSEGV || page - (uintptr_t)heap >= PAGES * 4096)
		_exit(9);
	heard++;
	mprotect((void *)page, 4096, PROT_READ | PROT_WRITE);
}

static void *faulting(void *number)
{
	static char stacks[NR_THREADS][16384];
	stack_t stack = { .ss_sp = stacks[(intptr_t)number - 1], .ss_size = 16384 };
	unsigned int sum = 0;

	mine = (int)(intptr_t)number;
	if (mine == 2)
		sigaltstack(&stack, NULL);
	heap = mmap(NULL, PAGES * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < PAGES; i++)
			heap[i * 4096 + mine] += (char)(i + mine);
		mprotect(heap, PAGES * 4096, PROT_READ);
	}
	for (int i = 0; i < PAGES; i++)
		sum = sum * 31 + (unsigned char)heap[i * 4096 + mine];
	heard_by[mine] = heard;
	atomic_fetch_add(&rounds, (int)(sum & 0xffff));
	return NULL;
}

static void faults(void)
{
	on(SIGSEGV, mend, SA_ONSTACK);
	start(faulting);
	join();
	for (int i = 1; i <= NR_THREADS; i++)
		printf("thread %d mended %d\n", i, heard_by[i]);
	printf("sum %d\n", rounds);
}

/* One thread's fault ends all, wherever they wait. */
static void *waits(void *number)
{
	mine = (int)(intptr_t)number;
	ready++;
	if (mine == 1)
		pause();
	else if (mine == 2)
		sleep(1000);
	for (;;)
		;
	return NULL;
}

static void fatal(void)
{
	start(waits);
	until(&ready, NR_THREADS);
	puts("now");
	*(volatile int *)8 = 1;
}

static void fatal_sent(void)
{
	start(waits);
	until(&ready, NR_THREADS);
	puts("now");
	pthread_kill(threads[1], SIGTERM);
	for (;;)
		;
}

/* A stop stops all threads, a continue continues them. */
static struct {
	atomic_int begun;
	atomic_long counts[NR_THREADS];
} *shared;

static void *counting(void *number)
{
	shared->begun++;
	for (;;)
		shared->counts[(intptr_t)number - 1]++;
	return NULL;
}

static void stop(void)
{
	long before[NR_THREADS];
	int status, same = 1;
	pid_t child;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	child = fork();
	if (!child) {
		start(counting);
		join();
	}
	until(&shared->begun, NR_THREADS);
	for (int round = 0; round < 3; round++) {
		kill(child, SIGSTOP);
		waitpid(child, &status, WUNTRACED);
		for (int i = 0; i < NR_THREADS; i++)
			before[i] = shared->counts[i];
		usleep(2000);
		for (int i = 0; i < NR_THREADS; i++)
			same &= before[i] == shared->counts[i];
		printf("stopped %#x, all still %d\n", status, same);
		kill(child, SIGCONT);
		waitpid(child, &status, WCONTINUED);
		for (int i = 0; i < NR_THREADS; i++)
			while (before[i] == shared->counts[i])
				sched_yield();
		printf("continued %#x\n", status);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	printf("killed %#x\n", status);
}

/* A timer for one thread, and one that counts a thread's own time. */
static void *timed(void *number)
{
	struct itimerspec every = { { 0, 1000000 }, { 0, 1000000 } };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	timer_t timer;

	mine = (int)(intptr_t)number;
	event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	if (timer_create(mine == 2 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &every, NULL))
		_exit(4);
	while (heard < 4)
		;
	timer_delete(timer);
	return NULL;
}

static void timers(void)
{
	on(SIGUSR1, count, 0);
	start(timed);
	join();
	for (int i = 0; i <= NR_THREADS; i++)
		printf("thread %d heard %d\n", i, heard_by[i] >= 4);
}

/* Another thread's exit ends each call that waits. */
static void *in_a_call(void *number)
{
	sigset_t none, some;
	struct signalfd_siginfo info;
	siginfo_t told;

	sigemptyset(&none);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR1);
	ready++;
	switch ((intptr_t)number) {
	case 0:
		pause();
		break;
	case 1:
		sleep(1000);
		break;
	case 2:
		sigsuspend(&none);
		break;
	case 3:
		sigwaitinfo(&some, &told);
		break;
	case 4:
		if (read(signalfd(-1, &some, 0), &info, sizeof(info)) < 0)
			perror("read");
		break;
	}
	puts("back");
	return NULL;
}

static void leave(void)
{
	pthread_t thread;

	mask(SIG_BLOCK, SIGUSR1);
	for (intptr_t i = 0; i < 5; i++)
		pthread_create(&thread, NULL, in_a_call, (void *)i);
	until(&ready, 5);
	usleep(20000);
	exit(5);
}

/* For ever, with all blocked and ignored that can be: only the run's own end ends it. */
static void stay(void)
{
	sigset_t all;

	for (int signo = 1; signo < 65; signo++)
		signal(signo, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (intptr_t i = 0; i < 5; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, in_a_call, (void *)i);
	}
	puts("here");
	for (;;)
		;
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "directed", directed }, { "undirected", undirected }, { "waited_for", waited_for },
	{ "faults", faults },	  { "fatal", fatal },		{ "fatal_sent", fatal_sent },
	{ "stop", stop },	  { "timers", timers },		{ "leave", leave },
	{ "stay", stay },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	for (unsigned int i = 0; argc > 1 && i < sizeof(modes) / sizeof(*modes); i++)
		if (!strcmp(argv[1], modes[i].name)) {
			modes[i].run();
			return 0;
		}
	fprintf(stderr, "signal_threads: which mode?\n");
	return 2;
}
