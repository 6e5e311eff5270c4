/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signals as libc gives them: actions, masks, queues, stacks, jumps, timers. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "libc_check.h"

static volatile sig_atomic_t caught;
static sigjmp_buf back;

static void count(int number)
{
	(void)number;
	caught++;
}

static void act(int number, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	sigaction(number, &action, NULL);
}

CHECK(signal_reset)
{
	struct sigaction now;

	act(SIGUSR1, count, SA_RESETHAND);
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &now);
	say("caught %d, default %d", caught, now.sa_handler == SIG_DFL);
	raise(SIGUSR1);
}

CHECK(signal_mask)
{
	sigset_t mask, waiting;

	act(SIGUSR1, count, 0);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	raise(SIGUSR1);
	raise(SIGUSR1);
	sigpending(&waiting);
	say("caught %d, waits %d", caught, sigismember(&waiting, SIGUSR1));
	sigemptyset(&mask);
	say("suspend %s", outcome(sigsuspend(&mask)));
	say("caught %d", caught);
}

static void tell(int number, siginfo_t *info, void *context)
{
	(void)context;
	say("signal %d code %d value %d", number - SIGRTMIN, info->si_code,
	    info->si_value.sival_int);
}

CHECK(signal_queue)
{
	struct sigaction action = { .sa_sigaction = tell, .sa_flags = SA_SIGINFO };
	struct timespec none = { 0, 0 };
	union sigval value;
	siginfo_t info;
	sigset_t mask;

	sigemptyset(&mask);
	for (int i = 0; i < 3; i++) {
		sigaction(SIGRTMIN + i, &action, NULL);
		sigaddset(&mask, SIGRTMIN + i);
	}
	sigprocmask(SIG_BLOCK, &mask, NULL);
	for (int i = 0; i < 6; i++) {
		value.sival_int = i;
		sigqueue(getpid(), SIGRTMIN + 2 - i % 3, value);
	}
	say("first %d", sigtimedwait(&mask, &info, &none) - SIGRTMIN);
	say("value %d", info.si_value.sival_int);
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
	say("none %s", outcome(sigtimedwait(&mask, &info, &none)));
}

static void on_stack(int number)
{
	stack_t stack;
	char here;

	(void)number;
	sigaltstack(NULL, &stack);
	say("on the stack %d", stack.ss_flags == SS_ONSTACK && &here > (char *)stack.ss_sp);
	say("cannot change %s", outcome(sigaltstack(&stack, NULL)));
}

CHECK(signal_stack)
{
	stack_t stack = { .ss_sp = malloc(SIGSTKSZ * 4), .ss_size = SIGSTKSZ * 4 };

	say("set %s", outcome(sigaltstack(&stack, NULL)));
	act(SIGUSR2, on_stack, SA_ONSTACK);
	raise(SIGUSR2);
	stack.ss_size = 1;
	say("small %s", outcome(sigaltstack(&stack, NULL)));
}

static void jump(int number, siginfo_t *info, void *context)
{
	(void)context;
	siglongjmp(back, number * 100 + info->si_code);
}

CHECK(signal_jump)
{
	struct sigaction action = { .sa_sigaction = jump, .sa_flags = SA_SIGINFO };
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile int zero = 0;
	int why;

	for (int number = 1; number < 32; number++)
		if (number != SIGKILL && number != SIGSTOP)
			sigaction(number, &action, NULL);
	why = sigsetjmp(back, 1);
	if (!why)
		*(volatile char *)page = 1;
	say("store to a page that is read-only: %d", why);
	why = sigsetjmp(back, 1);
	if (!why)
		*(volatile int *)16 = 1;
	say("store to nothing: %d", why);
	why = sigsetjmp(back, 1);
	if (!why)
		zero = 1 / zero + caught;
	say("division by zero: %d", why);
	why = sigsetjmp(back, 1);
	if (!why)
		__builtin_trap();
	say("trap: %d", why);
	why = sigsetjmp(back, 1);
	if (!why)
		raise(SIGTERM);
	say("raised: %d", why);
}

static void aborted(int number)
{
	say("handler of %d", number);
}

CHECK(signal_abort)
{
	act(SIGABRT, aborted, 0);
	abort();
}

CHECK(signal_alarm)
{
	struct itimerval timer = { .it_interval = { 0, 5000 }, .it_value = { 0, 5000 } };

	act(SIGALRM, count, 0);
	setitimer(ITIMER_REAL, &timer, NULL);
	while (caught < 5)
		pause();
	timer.it_value.tv_usec = 0;
	setitimer(ITIMER_REAL, &timer, NULL);
	say("caught %d at least", 5);
	alarm(100);
	say("remaining %u", alarm(0));
}

CHECK(signal_timer)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec when = { .it_value = { 0, 3000000 }, .it_interval = { 0, 3000000 } };
	timer_t timer;

	event.sigev_value.sival_int = 42;
	act(SIGUSR1, count, 0);
	say("create %s", outcome(timer_create(CLOCK_MONOTONIC, &event, &timer)));
	timer_settime(timer, 0, &when, NULL);
	while (caught < 3)
		pause();
	say("delete %s", outcome(timer_delete(timer)));
	say("deleted %s", outcome(timer_settime(timer, 0, &when, NULL)));
}

static void notified(union sigval value)
{
	say("notified %d", value.sival_int);
	caught++;
}

CHECK(signal_timer_thread)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = notified };
	struct itimerspec when = { .it_value = { 0, 3000000 } };
	timer_t timer;

	event.sigev_value.sival_int = 9;
	timer_create(CLOCK_REALTIME, &event, &timer);
	timer_settime(timer, 0, &when, NULL);
	while (!caught)
		usleep(1000);
}

CHECK(signal_pipe)
{
	int fds[2];

	if (pipe(fds))
		give_up("pipe");
	close(fds[0]);
	signal(SIGPIPE, SIG_IGN);
	say("ignored %s", outcome(write(fds[1], "x", 1)));
	signal(SIGPIPE, SIG_DFL);
	say("default %s", outcome(write(fds[1], "x", 1)));
}

CHECK(signal_restart)
{
	struct itimerval timer = { .it_value = { 0, 20000 } };
	int fds[2];
	char byte;

	if (pipe(fds))
		give_up("pipe");
	act(SIGALRM, count, 0);
	setitimer(ITIMER_REAL, &timer, NULL);
	say("read %s", outcome(read(fds[0], &byte, 1)));
	act(SIGALRM, count, SA_RESTART);
	setitimer(ITIMER_REAL, &timer, NULL);
	if (!fork()) {
		usleep(60000);
		_exit(write(fds[1], "r", 1) != 1);
	}
	say("read %s", outcome(read(fds[0], &byte, 1)));
	say("%c, caught %d", byte, caught);
}

static void child(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	say("SIGCHLD code %d status %d", info->si_code, info->si_status);
	caught++;
}

CHECK(signal_child)
{
	struct sigaction action = { .sa_sigaction = child, .sa_flags = SA_SIGINFO };
	sigset_t mask, old;
	int status;
	pid_t pid;

	sigaction(SIGCHLD, &action, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, &old);
	pid = fork();
	if (!pid) {
		raise(SIGSTOP);
		usleep(100000);
		_exit(3);
	}
	waitpid(pid, &status, WUNTRACED);
	sigsuspend(&old);
	say("stopped %d", WIFSTOPPED(status));
	kill(pid, SIGCONT);
	sigsuspend(&old);
	waitpid(pid, &status, WCONTINUED);
	say("continued %d", WIFCONTINUED(status));
	while (caught < 3)
		sigsuspend(&old);
	waitpid(pid, &status, 0);
	say("exit %d", WEXITSTATUS(status));
}

CHECK(signal_names)
{
	for (int number = 1; number < 32; number++)
		say("%d %s", number, strsignal(number));
	say("kill %s", outcome(kill(getpid(), 65)));
	say("nobody %s", outcome(kill(0x3ffffff, 0)));
	say("action %s",
	    outcome(sigaction(SIGKILL, &(struct sigaction){ .sa_handler = count }, NULL)));
}
