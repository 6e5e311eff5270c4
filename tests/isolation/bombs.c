// SPDX-License-Identifier: GPL-2.0-or-later
/* Programs that take all they can get: each says what it had when it was refused, or goes on. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int say(const char *what, long count)
{
	printf("%s %ld %s\n", what, count, strerrorname_np(errno));
	fflush(stdout);
	return 0;
}

/* Children that do nothing but be there. */
static int forks(void)
{
	long count = 0;
	pid_t pid;

	while ((pid = fork()) >= 0) {
		if (!pid) {
			pause();
			_exit(0);
		}
		count++;
	}
	say("forks", count);
	signal(SIGTERM, SIG_IGN);
	return kill(0, SIGTERM);
}

/* Children that make children. */
static int explosion(void)
{
	for (;;)
		fork();
}

static void *idle(void *unused)
{
	pause();
	return unused;
}

static int threads(void)
{
	long count = 0;
	pthread_t thread;

	while (!(errno = pthread_create(&thread, NULL, idle, NULL)))
		count++;
	return say("threads", count);
}

/* Children that nobody waits for, one after the other. */
static int zombies(void)
{
	long count = 0;
	pid_t pid;

	while ((pid = fork()) >= 0) {
		if (!pid)
			_exit(0);
		count++;
	}
	return say("zombies", count);
}

static int memory(void)
{
	for (;;) {
		char *at = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);

		if (at == MAP_FAILED)
			return say("memory", 0);
		memset(at, 1, 16 << 20);
	}
}

static int file(void)
{
	static char data[1 << 16];
	int fd = open("/tmp/bomb", O_CREAT | O_RDWR, 0600);
	long size = 0, n;

	while ((n = write(fd, data, sizeof(data))) > 0)
		size += n;
	return say("file", size);
}

static int files(void)
{
	char name[64];

	for (long count = 0;; count++) {
		snprintf(name, sizeof(name), "/tmp/bomb.%ld", count);
		if (close(open(name, O_CREAT | O_RDWR, 0600)) && mkdir(name, 0700))
			return say("files", count);
	}
}

static int directories(void)
{
	long depth = 0;

	if (chdir("/tmp"))
		return 1;
	while (!mkdir("d", 0700) && !chdir("d"))
		depth++;
	return say("directories", depth);
}

/* Descriptors of several processes, each as many as it may. */
static int descriptors(void)
{
	struct rlimit limit;
	long count = 0;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	while (open("/proc/self/exe", O_RDONLY) >= 0)
		count++;
	return say("descriptors", count);
}

static volatile long signals_taken;

static void take(int number)
{
	signals_taken++;
	if (signals_taken < 100000)
		raise(number);
}

/* A handler that sends its own signal again: there is always one more. */
static int signals(void)
{
	struct sigaction action = { .sa_handler = take, .sa_flags = SA_NODEFER };
	union sigval value = { 0 };
	long count = 0;

	sigaction(SIGUSR2, &action, NULL);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	while (!sigqueue(getpid(), SIGRTMIN, value))
		count++;
	say("signals", count);
	raise(SIGUSR2); /* until the stack is full */
	return 0;
}

static int pipes(void)
{
	static char data[1 << 16];
	int p[2];
	long count = 0;

	while (!pipe2(p, O_NONBLOCK)) {
		while (write(p[1], data, sizeof(data)) > 0)
			;
		count++;
	}
	return say("pipes", count);
}

static int maps(void)
{
	long count = 0;

	while (mmap(NULL, 4096, count & 1 ? PROT_READ : PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
		count++;
	return say("maps", count);
}

/* Names that would steer a terminal, wherever they are shown. */
static int names(void)
{
	prctl(PR_SET_NAME, "\033[31m\n\a\xff");
	(void)!write(2, "", 0);
	syscall(9999);
	*(volatile int *)0 = 0;
	return 0;
}

static const struct {
	const char *name;
	int (*go)(void);
} bombs[] = {
	{ "forks", forks },
	{ "explosion", explosion },
	{ "threads", threads },
	{ "zombies", zombies },
	{ "memory", memory },
	{ "file", file },
	{ "files", files },
	{ "directories", directories },
	{ "descriptors", descriptors },
	{ "signals", signals },
	{ "pipes", pipes },
	{ "maps", maps },
	{ "names", names },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(bombs) / sizeof(bombs[0]); i++)
		if (!strcmp(argv[1], bombs[i].name))
			return bombs[i].go();
	return 2;
}
