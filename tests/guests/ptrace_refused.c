// SPDX-License-Identifier: GPL-2.0-or-later
/* What a tracer begins with, and is not here: follows a child, as strace, or steps it, as gdb. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, long result)
{
	printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "ok");
}

int main(void)
{
	pid_t child = fork();
	int status;

	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(3);
	}
	tell("seize", ptrace(PTRACE_SEIZE, child, 0, 0));
	waitpid(child, &status, 0);
	tell("options", ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD));
	tell("step", ptrace(PTRACE_SINGLESTEP, child, 0, 0));
	tell("go on", ptrace(PTRACE_CONT, child, 0, 0));
	waitpid(child, &status, 0);
	printf("exit %d\n", WEXITSTATUS(status));
	return 0;
}
