/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes as libc gives them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "libc_check.h"

extern char **environ;

CHECK(process_ends)
{
	for (int i = 0; i < 4; i++) {
		siginfo_t info;
		pid_t pid = fork();

		if (!pid) {
			if (i == 0)
				exit(300);
			if (i == 1)
				raise(SIGKILL);
			if (i == 2)
				execl("/nowhere", "nowhere", NULL);
			_exit(i);
		}
		say("wait %s", outcome(waitid(P_PID, pid, &info, WEXITED | WNOWAIT)));
		say("code %d status %d mine %d", info.si_code, info.si_status, info.si_pid == pid);
		say("again %d", waitpid(pid, NULL, 0) == pid);
	}
	say("nobody %s", outcome(wait(NULL)));
	say("not yet %d",
	    (fork() || (usleep(50000), _exit(0), 0)) ? waitpid(-1, NULL, WNOHANG) : 1);
}

CHECK(process_exec)
{
	char *arguments[] = { "sh", "-c", "echo $NAME $0 $1; exit 4", "zero", "one", NULL };
	char *environment[] = { "NAME=given", NULL };
	int status;

	if (!fork())
		execve("/bin/sh", arguments, environment);
	wait(&status);
	say("status %d", WEXITSTATUS(status));
	setenv("PATH", "/nowhere:/bin", 1);
	if (!fork())
		execlp("sh", "sh", "-c", "exit 5", NULL);
	wait(&status);
	say("status %d", WEXITSTATUS(status));
	say("missing %s", outcome(execvp("no-such-program", arguments)));
	say("directory %s", outcome(execv("/", arguments)));
	close(open("empty", O_CREAT | O_WRONLY, 0755));
	say("empty %s", outcome(execv("./empty", arguments)));
	chmod("empty", 0644);
	say("not executable %s", outcome(execv("./empty", arguments)));
}

CHECK(process_scripts)
{
	FILE *file = fopen("script", "w");
	int status;

	fprintf(file, "#!/bin/sh -e\necho script $# $1\nfalse\necho not reached\n");
	fclose(file);
	chmod("script", 0755);
	if (!fork())
		execl("./script", "name", "argument", NULL);
	wait(&status);
	say("status %d", WEXITSTATUS(status));
}

CHECK(process_spawn)
{
	char *arguments[] = { "sh", "-c", "cat; echo error >&2; exit 6", NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char text[100];
	int status;
	pid_t pid;
	FILE *file = fopen("in", "w");

	fputs("from a file\n", file);
	fclose(file);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "in", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "out", O_CREAT | O_WRONLY, 0644);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
	say("spawn %d", posix_spawn(&pid, "/bin/sh", &actions, &attributes, arguments, environ));
	waitpid(pid, &status, 0);
	say("status %d", WEXITSTATUS(status));
	file = fopen("out", "r");
	while (fgets(text, sizeof(text), file))
		say("%s", strtok(text, "\n"));
	say("missing %d", posix_spawnp(&pid, "no-such-program", NULL, NULL, arguments, environ));
}

CHECK(process_groups)
{
	int status;

	say("setsid %s", outcome(setsid()));
	say("leader %d %d", getsid(0) == getpid(), getpgrp() == getpid());
	say("again %s", outcome(setsid()));
	if (!fork()) {
		say("setpgid %s", outcome(setpgid(0, 0)));
		say("group %d", getpgrp() == getpid());
		say("session %s", outcome(getsid(getppid()) == getsid(0) ? 0 : -1));
		_exit(0);
	}
	wait(&status);
	say("nobody %s", outcome(setpgid(0x3fffff, 0)));
}

static void at_exit(void)
{
	say("atexit");
}

#ifdef __GLIBC__
static void on_exit_(int status, void *text)
{
	say("on_exit %d %s", status, (char *)text);
}
#endif

CHECK(process_exit)
{
	atexit(at_exit);
#ifdef __GLIBC__
	on_exit(on_exit_, "text");
#endif
	atexit(at_exit);
	exit(9);
}

CHECK(process_vfork)
{
	volatile int shared = 0;
	int status;
	pid_t pid = vfork();

	if (!pid) {
		shared = 1;
		_exit(8);
	}
	waitpid(pid, &status, 0);
	say("shared %d status %d", shared, WEXITSTATUS(status));
}

CHECK(process_limits)
{
	struct rlimit limit;
	struct rusage usage;
	struct tms times_;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 20;
	say("nofile %s", outcome(setrlimit(RLIMIT_NOFILE, &limit)));
	for (int i = 3; i < 20; i++)
		dup2(0, i);
	say("open %s", outcome(open("/dev/null", O_RDONLY)));
	limit.rlim_cur = limit.rlim_max + 1;
	if (limit.rlim_cur)
		say("above %s", outcome(setrlimit(RLIMIT_NOFILE, &limit)));
	say("priority %d", getpriority(PRIO_PROCESS, 0));
	say("nice %d", nice(5));
	say("usage %s", outcome(getrusage(RUSAGE_SELF, &usage)));
	say("resident %d", usage.ru_maxrss > 100);
	say("times %d", times(&times_) != -1);
}

CHECK(process_file_size)
{
	struct rlimit limit = { 1000, 1000 };
	int fd = open("file", O_CREAT | O_WRONLY, 0644);
	char block[700] = "";

	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_IGN);
	say("%zd", write(fd, block, 700));
	say("%zd", write(fd, block, 700));
	say("beyond %zd", write(fd, block, 700));
	say("error %d", errno);
	signal(SIGXFSZ, SIG_DFL);
	write(fd, block, 700);
}

static jmp_buf back;

static void jump(int levels)
{
	if (levels)
		jump(levels - 1);
	longjmp(back, 12);
}

#ifdef __GLIBC__
static ucontext_t contexts[2];
static volatile int steps;

static void coroutine(int a, int b)
{
	for (int i = 0; i < 3; i++) {
		say("coroutine %d", a * b + i);
		steps++;
		swapcontext(&contexts[1], &contexts[0]);
	}
}
#endif

CHECK(process_jumps)
{
	int value = setjmp(back);

	if (!value)
		jump(10);
	say("longjmp %d", value);
#ifdef __GLIBC__
	getcontext(&contexts[1]);
	contexts[1].uc_stack.ss_sp = malloc(65536);
	contexts[1].uc_stack.ss_size = 65536;
	contexts[1].uc_link = &contexts[0];
	makecontext(&contexts[1], (void (*)(void))coroutine, 2, 6, 7);
	while (steps < 3)
		swapcontext(&contexts[0], &contexts[1]);
	say("steps %d", steps);
#endif
}

CHECK(process_users)
{
	struct passwd *root = getpwnam("root");
	struct group *group = getgrgid(0);
	struct utsname names;

	say("root %d %s", root ? (int)root->pw_uid : -1, root ? root->pw_dir : "");
	say("group %s", group ? group->gr_name : "none");
	say("nobody %d", getpwnam("no-such-user") == NULL);
	say("uname %s", outcome(uname(&names)));
	say("machine %s", names.machine);
	say("ids %d %d", getuid() == geteuid(), getgid() == getegid());
	say("host %s", outcome(gethostname(names.nodename, sizeof(names.nodename))));
	say("page %ld, ticks %ld", sysconf(_SC_PAGESIZE), sysconf(_SC_CLK_TCK));
}
