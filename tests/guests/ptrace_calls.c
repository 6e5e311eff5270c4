// SPDX-License-Identifier: GPL-2.0-or-later
/* ptrace() as far as it looks: attach, wait, read, let go; what it refuses; TRACEME and exec(). */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile long word = 0x1122334455667788;
static volatile int go_on;

static const char *result(long value)
{
	return value < 0 ? strerrorname_np(errno) : "ok";
}

static long call(int request, pid_t pid, unsigned long addr, const void *data)
{
	return syscall(SYS_ptrace, (long)request, (long)pid, addr, data);
}

static void waited(pid_t pid, int options)
{
	int status = 0;
	pid_t got = waitpid(pid, &status, options);

	printf("wait: %s", got == pid ? "it" : got ? strerrorname_np(errno) : "nobody");
	if (got == pid && WIFSTOPPED(status))
		printf(" stopped by %s", sigabbrev_np(WSTOPSIG(status)));
	if (got == pid && WIFSIGNALED(status))
		printf(" killed by %s", sigabbrev_np(WTERMSIG(status)));
	if (got == pid && WIFEXITED(status))
		printf(" exited with %d", WEXITSTATUS(status));
	printf("\n");
}

static void handler(int signo)
{
	go_on = signo;
}

static void attach(void)
{
	struct user_regs_struct regs, again;
	struct user_fpregs_struct fp;
	struct iovec iov = { &again, sizeof(again) };
	siginfo_t info;
	pid_t child;
	volatile int *loops;
	long data = 0;

	loops = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signal(SIGUSR1, handler);
	child = fork();
	if (child == 0) {
		word = 42;
		asm volatile("mov $0x5566, %%r15d; movl $1, %1\n1: cmpl $0, %0; je 1b"
			     :
			     : "m"(go_on), "m"(*loops)
			     : "r15", "memory");
		_exit(go_on == SIGUSR1 ? 7 : 8);
	}
	printf("getregs before: %s\n", result(call(PTRACE_GETREGS, child, 0, &regs)));
	printf("attach self: %s\n", result(call(PTRACE_ATTACH, getpid(), 0, 0)));
	printf("attach nobody: %s\n", result(call(PTRACE_ATTACH, 4000000, 0, 0)));
	while (!*loops)
		usleep(1000);
	printf("attach: %s\n", result(call(PTRACE_ATTACH, child, 0, 0)));
	waited(child, __WALL);
	waited(child, WNOHANG | __WALL);
	printf("attach again: %s\n", result(call(PTRACE_ATTACH, child, 0, 0)));
	printf("peek: %s", result(call(PTRACE_PEEKDATA, child, (unsigned long)&word, &data)));
	printf(" %ld\n", data);
	printf("peek nothing: %s\n", result(call(PTRACE_PEEKDATA, child, 8, &data)));
	printf("getregs: %s", result(call(PTRACE_GETREGS, child, 0, &regs)));
	printf(" r15 %llx cs %llx ss %llx orig_rax %lld\n", regs.r15, regs.cs, regs.ss,
	       (long long)regs.orig_rax);
	memset(&again, 0xff, sizeof(again));
	printf("getregset: %s", result(call(PTRACE_GETREGSET, child, NT_PRSTATUS, &iov)));
	printf(" %zu bytes, %s\n", iov.iov_len,
	       memcmp(&regs, &again, offsetof(struct user_regs_struct, ds)) ? "other" : "equal");
	iov.iov_len = 16;
	printf("16 bytes of it: %s", result(call(PTRACE_GETREGSET, child, NT_PRSTATUS, &iov)));
	printf(" %zu\n", iov.iov_len);
	printf("no such set: %s\n", result(call(PTRACE_GETREGSET, child, 77, &iov)));
	printf("getfpregs: %s", result(call(PTRACE_GETFPREGS, child, 0, &fp)));
	printf(" %x %x\n", fp.cwd, fp.mxcsr & ~0x3fu);
	printf("getsiginfo: %s", result(call(PTRACE_GETSIGINFO, child, 0, &info)));
	printf(" %s\n", sigabbrev_np(info.si_signo));
	printf("cont with 99: %s\n", result(call(PTRACE_CONT, child, 0, (void *)99)));
	printf("cont: %s\n", result(call(PTRACE_CONT, child, 0, 0)));
	printf("getregs of one that runs: %s\n", result(call(PTRACE_GETREGS, child, 0, &regs)));
	kill(child, SIGUSR2);
	waited(child, __WALL);
	printf("cont without it: %s\n", result(call(PTRACE_CONT, child, 0, 0)));
	kill(child, SIGUSR1);
	waited(child, __WALL);
	printf("detach with it: %s\n", result(call(PTRACE_DETACH, child, 0, (void *)SIGUSR1)));
	printf("detach again: %s\n", result(call(PTRACE_DETACH, child, 0, 0)));
	waited(child, 0);
}

static void traceme(char **argv)
{
	pid_t child = fork();

	if (child == 0) {
		printf("traceme: %s\n", result(call(PTRACE_TRACEME, 0, 0, 0)));
		printf("traceme again: %s\n", result(call(PTRACE_TRACEME, 0, 0, 0)));
		fflush(stdout);
		raise(SIGSTOP);
		execv("/proc/self/exe", (char *[]){ argv[0], "end", NULL });
		_exit(99);
	}
	waited(child, 0);
	printf("cont: %s\n", result(call(PTRACE_CONT, child, 0, 0)));
	waited(child, 0);
	printf("cont: %s\n", result(call(PTRACE_CONT, child, 0, 0)));
	waited(child, 0);
}

static void tracer_ends(void)
{
	pid_t tracer, child = fork();

	if (child == 0) {
		while (!go_on)
			usleep(1000);
		_exit(go_on == SIGUSR1 ? 5 : 6);
	}
	tracer = fork();
	if (tracer == 0) {
		call(PTRACE_ATTACH, child, 0, 0);
		waitpid(child, NULL, __WALL);
		_exit(0);
	}
	waited(tracer, 0);
	kill(child, SIGUSR1);
	waited(child, 0);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1)
		return 3;
	attach();
	traceme(argv);
	tracer_ends();
	return 0;
}
