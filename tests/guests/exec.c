/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * execve(): the program calls itself in several ways; what is left of the old one is told by the
 * new one. Called without arguments it is the first, as "exec-child WHAT ..." one of the others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static const char *self = "/proc/self/exe";

static void tell(const char *what, long result)
{
	printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "",
	       result < 0 ? strerrorname_np(errno) : "");
}

static void on_signal(int signo)
{
	(void)signo;
}

static int child(int argc, char **argv)
{
	char name[16];
	stack_t altstack;
	struct sigaction usr1, usr2;
	sigset_t blocked;

	printf("argc %d:", argc);
	for (int i = 0; i < argc; i++)
		printf(" %.20s", argv[i]);
	printf("\nenvironment:");
	for (char **one = environ; *one; one++)
		printf(" %.20s", *one);
	prctl(PR_GET_NAME, name);
	printf("\nexecfn %s, name %s\n", (char *)getauxval(AT_EXECFN), name);
	sigaction(SIGUSR1, NULL, &usr1);
	sigaction(SIGUSR2, NULL, &usr2);
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	sigaltstack(NULL, &altstack);
	printf("handler kept %d, ignored kept %d, blocked kept %d, altstack off %d\n",
	       usr1.sa_handler != SIG_DFL, usr2.sa_handler == SIG_IGN,
	       sigismember(&blocked, SIGHUP), altstack.ss_flags == SS_DISABLE);
	printf("fd 10 %s, fd 11 %s\n", fcntl(10, F_GETFD) < 0 ? "closed" : "open",
	       fcntl(11, F_GETFD) < 0 ? "closed" : "open");
	printf("threads: %s\n", getpid() == gettid() ? "the leader" : "another");
	fflush(stdout);
	return argc;
}

static void prepare(void)
{
	static char stack[65536];
	stack_t altstack = { .ss_sp = stack, .ss_size = sizeof(stack) };
	sigset_t mask;

	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	sigaltstack(&altstack, NULL);
	dup2(1, 10);
	dup3(1, 11, O_CLOEXEC);
}

static void run(const char *what, char **argv, char **envp)
{
	int status = 0;

	printf("-- %s\n", what);
	fflush(stdout);
	if (!fork()) {
		prepare();
		execve(self, argv, envp);
		_exit(100);
	}
	wait(&status);
	printf("status %#x\n", status);
}

static void *spin(void *arg)
{
	for (;;)
		sched_yield();
	return arg;
}

static void *wait_for_ever(void *arg)
{
	pause();
	return arg;
}

static void *exec_it(void *arg)
{
	char *argv[] = { "exec-child", "by-a-thread", NULL }, *envp[] = { NULL };

	(void)arg;
	execve(self, argv, envp);
	_exit(100);
}

static void by_threads(int by_leader)
{
	int status;

	printf("-- threads, by %s\n", by_leader ? "the leader" : "another");
	fflush(stdout);
	if (!fork()) {
		pthread_t thread;

		pthread_create(&thread, NULL, spin, NULL);
		pthread_create(&thread, NULL, wait_for_ever, NULL);
		if (by_leader)
			exec_it(NULL);
		pthread_create(&thread, NULL, exec_it, NULL);
		pthread_join(thread, NULL);
	}
	wait(&status);
	printf("status %#x\n", status);
}

static void by_vfork(void)
{
	char *argv[] = { "exec-child", "vfork", NULL }, *envp[] = { NULL };
	volatile int before = 1;
	int status;

	printf("-- vfork\n");
	fflush(stdout);
	pid_t pid = vfork();

	if (!pid) {
		before = 2;
		execve(self, argv, envp);
		_exit(100);
	}
	waitpid(pid, &status, 0);
	printf("written in the child: %d\n", before);
	printf("status %#x\n", status);
}

static void errors(void)
{
	char *argv[] = { "exec-child", NULL }, *envp[] = { NULL }, *huge[3000];
	char *text = malloc(200000), *volatile bad = (char *)1;

	memset(text, 'x', 200000);
	text[199999] = 0;
	tell("no file", execve("/no/such/file", argv, envp));
	tell("a directory", execve("/proc/self", argv, envp));
	tell("not executable", execve("/proc/self/status", argv, envp));
	tell("bad path", execve(bad, argv, envp));
	tell("bad argv", execve(self, (char **)bad, envp));
	huge[0] = text;
	huge[1] = NULL;
	tell("long argument", execve(self, huge, envp));
	text[2000] = 0;
	for (int i = 0; i < 2999; i++)
		huge[i] = text;
	huge[2999] = NULL;
	tell("long list", execve(self, huge, envp));
	tell("execveat, flags", syscall(SYS_execveat, AT_FDCWD, self, argv, envp, 0x80));
	tell("execveat, empty", syscall(SYS_execveat, 1, "", argv, envp, 0));
	tell("execveat, a pipe", syscall(SYS_execveat, 1, "", argv, envp, AT_EMPTY_PATH));
	tell("execveat, bad fd", syscall(SYS_execveat, 99, "", argv, envp, AT_EMPTY_PATH));
	free(text);
}

static void by_fd(void)
{
	char *argv[] = { "exec-child", "by-fd", NULL }, *envp[] = { "A=1", NULL };
	int status;

	printf("-- execveat\n");
	fflush(stdout);
	if (!fork()) {
		int fd = open(self, O_RDONLY);

		dup2(fd, 20);
		syscall(SYS_execveat, 20, "", argv, envp, AT_EMPTY_PATH);
		_exit(100);
	}
	wait(&status);
	printf("status %#x\n", status);
}

int main(int argc, char **argv)
{
	if (argc && !strcmp(argv[0], "exec-child"))
		return child(argc, argv);

	char *some[] = { "exec-child", "one", "two", "", NULL }, *none[] = { NULL };
	char *env[] = { "PATH=/bin", "no-equals-sign", "EMPTY=", NULL };

	run("arguments and environment", some, env);
	run("no environment", some, none);
	errors();
	by_vfork();
	by_threads(1);
	by_threads(0);
	by_fd();
	return 0;
}
