// SPDX-License-Identifier: GPL-2.0-or-later
/* Signals between processes: SIGCHLD, stops and continues, groups, pipes, signalfd; a mode each. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t count;
static struct {
	volatile int step;
} *shared;

typedef void (*handler)(int, siginfo_t *, void *);

static void on(int signo, handler run, int flags)
{
	struct sigaction action = { .sa_sigaction = run, .sa_flags = SA_SIGINFO | flags };

	if (sigaction(signo, &action, NULL))
		printf("sigaction %d: %s\n", signo, strerror(errno));
}

static void block(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int take(int signo, siginfo_t *info)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	return sigwaitinfo(&set, info);
}

static pid_t child;

static void print_child(const char *what, const siginfo_t *info)
{
	printf("%s: signo %d code %d child %d status %d\n", what, info->si_signo, info->si_code,
	       info->si_pid == child, info->si_status);
}

static void wait_and_print(const char *what, int options)
{
	int status = 0;
	pid_t got = waitpid(child, &status, options);

	printf("%s: %d status %#x\n", what, got == child ? 1 : (int)got, status);
}

static pid_t spawn(void (*run)(void))
{
	fflush(stdout);
	child = fork();
	if (!child) {
		run();
		fflush(stdout);
		_exit(0);
	}
	return child;
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void exit_7(void)
{
	_exit(7);
}

static void die_of_fault(void)
{
	*(volatile int *)16 = 1;
}

/* SIGCHLD of each way to end, taken by sigwaitinfo(). */
static void endings(void)
{
	siginfo_t info;

	block(SIGCHLD);
	spawn(exit_7);
	take(SIGCHLD, &info);
	print_child("exit", &info);
	wait_and_print("wait", 0);
	spawn(sleep_for_ever);
	kill(child, SIGTERM);
	take(SIGCHLD, &info);
	print_child("term", &info);
	wait_and_print("wait", 0);
	spawn(die_of_fault);
	take(SIGCHLD, &info);
	print_child("fault", &info);
	wait_and_print("wait", 0);
	spawn(sleep_for_ever);
	kill(child, SIGKILL);
	take(SIGCHLD, &info);
	print_child("kill", &info);
	wait_and_print("wait", 0);
	wait_and_print("none", 0);
	printf("errno %d\n", errno);
}

static void continued(int signo, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	(void)signo;
	shared->step++;
}

static void stoppable(void)
{
	on(SIGCONT, continued, 0);
	setpgid(0, 0);
	shared->step++;
	while (shared->step < 6)
		usleep(1000);
}

static void until(int step)
{
	while (shared->step < step)
		usleep(1000);
}

/* Stops and continues, as a shell sees them. */
static void stopping(void)
{
	static const int signals[] = { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };
	siginfo_t info;

	block(SIGCHLD);
	spawn(stoppable);
	until(1);
	for (int i = 0; i < 4; i++) {
		kill(child, signals[i]);
		take(SIGCHLD, &info);
		print_child("stopped", &info);
		wait_and_print("nothing", WNOHANG);
		wait_and_print("wait", WUNTRACED);
		wait_and_print("again", WUNTRACED | WNOHANG);
		kill(child, SIGCONT);
		take(SIGCHLD, &info);
		print_child("continued", &info);
		wait_and_print("wait", WCONTINUED);
		wait_and_print("again", WCONTINUED | WNOHANG);
		until(i + 2);
	}
	shared->step++;
	take(SIGCHLD, &info);
	print_child("end", &info);
	wait_and_print("wait", 0);
	spawn(sleep_for_ever);
	kill(child, SIGSTOP);
	take(SIGCHLD, &info);
	print_child("stopped", &info);
	kill(child, SIGKILL);
	take(SIGCHLD, &info);
	print_child("killed while stopped", &info);
	wait_and_print("wait", WUNTRACED);
}

/* SA_NOCLDSTOP, SA_NOCLDWAIT and SIG_IGN. */
static void on_child(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	count++;
	printf("SIGCHLD code %d\n", info->si_code);
}

static void not_asked(void)
{
	siginfo_t info;

	on(SIGCHLD, on_child, SA_NOCLDSTOP | SA_RESTART);
	spawn(sleep_for_ever);
	kill(child, SIGSTOP);
	wait_and_print("stopped", WUNTRACED);
	printf("%d heard\n", count);
	kill(child, SIGKILL);
	wait_and_print("end", 0);
	printf("%d heard\n", count);
	on(SIGCHLD, on_child, SA_NOCLDWAIT | SA_RESTART);
	spawn(exit_7);
	wait_and_print("end", 0);
	printf("errno %d, %d heard\n", errno, count);
	signal(SIGCHLD, SIG_IGN);
	spawn(exit_7);
	wait_and_print("end", 0);
	printf("errno %d, %d heard\n", errno, count);
	memset(&info, 0, sizeof(info));
}

/* A child's mask and handlers are its parent's, what waits is not. */
static void inherited(void)
{
	sigset_t waiting, mask;

	sigpending(&waiting);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	printf("child: pending %d blocked %d\n", sigismember(&waiting, SIGUSR1),
	       sigismember(&mask, SIGUSR1));
	sigemptyset(&mask);
	raise(SIGUSR1);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	printf("child: %d\n", count);
}

static void counting(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
	count++;
}

static void inheriting(void)
{
	on(SIGUSR1, counting, 0);
	block(SIGUSR1);
	raise(SIGUSR1);
	spawn(inherited);
	wait_and_print("wait", 0);
	printf("parent: %d\n", count);
}

/* kill() of a group, and of all. */
static void in_group(void)
{
	on(SIGUSR1, counting, 0);
	shared->step++;
	while (!count)
		usleep(1000);
	_exit(40 + count);
}

static void groups(void)
{
	pid_t children[3];
	int status;

	fflush(stdout);
	for (int i = 0; i < 3; i++) {
		children[i] = fork();
		if (!children[i]) {
			setpgid(0, i ? children[0] : 0);
			in_group();
		}
		setpgid(children[i], children[0]);
	}
	until(3);
	printf("kill %d\n", kill(-children[0], SIGUSR1));
	for (int i = 0; i < 3; i++) {
		child = children[i];
		wait_and_print("wait", 0);
	}
	printf("none left %d", kill(-children[0], 0));
	printf(" errno %d\n", errno);
	child = fork();
	if (!child) {
		setpgid(0, 0);
		kill(0, SIGTERM);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("own group: %#x\n", status);
}

/* A pipe that nobody reads. */
static void pipes(void)
{
	int ends[2];

	if (pipe(ends))
		return;
	close(ends[0]);
	on(SIGPIPE, counting, 0);
	printf("write %zd", write(ends[1], "x", 1));
	printf(" errno %d, %d signals\n", errno, count);
	signal(SIGPIPE, SIG_IGN);
	printf("write %zd", write(ends[1], "x", 1));
	printf(" errno %d\n", errno);
}

/* A call that waits, interrupted by another process: again, or EINTR. */
static int ends_of_pipe[2];
static pid_t parent;

static void interrupt_then_write(void)
{
	struct timespec some = { 0, 20000000 };

	nanosleep(&some, NULL);
	kill(parent, SIGUSR1);
	nanosleep(&some, NULL);
	if (write(ends_of_pipe[1], "x", 1) != 1)
		_exit(1);
}

static void interrupting(void)
{
	char byte = 0;
	ssize_t got;

	parent = getpid();
	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		if (pipe(ends_of_pipe))
			return;
		on(SIGUSR1, counting, flags);
		spawn(interrupt_then_write);
		errno = 0;
		got = read(ends_of_pipe[0], &byte, 1);
		printf("read %zd errno %d, %d signals\n", got, got < 0 ? errno : 0, count);
		while (waitpid(child, NULL, 0) < 0)
			puts("wait again");
		on(SIGUSR1, counting, flags);
		spawn(interrupt_then_write);
		got = waitpid(child, NULL, 0);
		printf("wait %d errno %d, %d signals\n", got == child, got < 0 ? errno : 0, count);
		while (waitpid(child, NULL, 0) > 0)
			;
		close(ends_of_pipe[0]);
		close(ends_of_pipe[1]);
	}
}

/* signalfd: reads take what waits; poll() tells of it. */
static void send_three(void)
{
	union sigval value = { .sival_int = 99 };

	kill(parent, SIGUSR1);
	kill(parent, SIGUSR1);
	sigqueue(parent, 40, value);
	_exit(3);
}

static void signal_file(void)
{
	struct signalfd_siginfo told[4];
	sigset_t set;
	struct pollfd poll_of = { .events = POLLIN };
	ssize_t got;
	int fd;

	parent = getpid();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, 40);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK);
	poll_of.fd = fd;
	got = read(fd, told, sizeof(told));
	printf("empty %zd errno %d", got, errno);
	printf(" poll %d\n", poll(&poll_of, 1, 0));
	got = read(fd, told, 100);
	printf("short %zd errno %d\n", got, errno);
	spawn(send_three);
	waitpid(child, NULL, 0);
	printf("poll %d", poll(&poll_of, 1, -1));
	printf(" %#x\n", (unsigned int)poll_of.revents);
	got = read(fd, told, sizeof(told));
	for (ssize_t i = 0; i < got / (ssize_t)sizeof(told[0]); i++)
		printf("signo %u code %d from child %d int %d status %d\n", told[i].ssi_signo,
		       told[i].ssi_code, told[i].ssi_pid == (uint32_t)child, told[i].ssi_int,
		       told[i].ssi_status);
	close(fd);
	fd = signalfd(-1, &set, 0);
	spawn(send_three);
	got = read(fd, told, sizeof(told[0]));
	printf("waited %zd signo %u\n", got / (ssize_t)sizeof(told[0]), told[0].ssi_signo);
	sigdelset(&set, SIGUSR1);
	printf("other mask %d\n", signalfd(fd, &set, 0) == fd);
	printf("not one %d", signalfd(1, &set, 0));
	printf(" errno %d\n", errno);
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "endings", endings },
	{ "stopping", stopping },
	{ "not_asked", not_asked },
	{ "inheriting", inheriting },
	{ "groups", groups },
	{ "pipes", pipes },
	{ "interrupting", interrupting },
	{ "signal_file", signal_file },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (unsigned int i = 0; argc > 1 && i < sizeof(modes) / sizeof(*modes); i++)
		if (!strcmp(argv[1], modes[i].name)) {
			modes[i].run();
			return 0;
		}
	fprintf(stderr, "signal_jobs: which mode?\n");
	return 2;
}
