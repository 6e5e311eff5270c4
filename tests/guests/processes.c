/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes: fork(), vfork(), wait4(), waitid(), groups and sessions. What is written does not
 * depend on numbers that the kernel gives, nor on the schedule.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <unistd.h>

static int data = 1;

static void tell(const char *what, long result)
{
	printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "",
	       result < 0 ? strerrorname_np(errno) : "");
}

static pid_t child_of(void (*body)(void))
{
	fflush(stdout);
	pid_t pid = fork();

	if (!pid) {
		body();
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

static void wait_and_tell(const char *what, pid_t pid)
{
	int status = -1;
	pid_t got = waitpid(pid, &status, 0);

	printf("%s: %s, status %#x\n", what, got == pid ? "it" : "another", status);
}

static void exit_7(void)
{
	data = 7;
	_exit(data);
}

static void die(void)
{
	raise(SIGKILL);
}

static void crash(void)
{
	volatile int *volatile nowhere = (int *)8;

	*nowhere = 1;
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void statuses(void)
{
	wait_and_tell("exit", child_of(exit_7));
	printf("data %d\n", data);
	wait_and_tell("SIGKILL", child_of(die));
	wait_and_tell("SIGSEGV", child_of(crash));
	tell("no child", waitpid(-1, NULL, 0));
	tell("not mine", waitpid(1, NULL, 0));
	tell("bad options", waitpid(-1, NULL, 0x1000));

	pid_t pid = child_of(sleep_for_ever);

	tell("WNOHANG", waitpid(pid, NULL, WNOHANG));
	kill(pid, SIGTERM);
	wait_and_tell("SIGTERM", pid);
}

static void tell_info(const char *what, int result, const siginfo_t *info, pid_t pid)
{
	printf("%s: %d, signo %d, code %d, status %d, %s\n", what, result, info->si_signo,
	       info->si_code, info->si_status, info->si_pid == pid ? "it" : "nobody");
}

static void waitids(void)
{
	siginfo_t info;
	pid_t pid = child_of(exit_7);

	memset(&info, 0, sizeof(info));
	int result = waitid(P_PID, pid, &info, WEXITED | WNOWAIT);

	tell_info("WNOWAIT", result, &info, pid);
	result = waitid(P_ALL, 0, &info, WEXITED);
	tell_info("P_ALL", result, &info, pid);
	tell("again", waitid(P_ALL, 0, &info, WEXITED));
	tell("nothing", waitid(P_ALL, 0, &info, 0));
	tell("P_PID 0", waitid(P_PID, 0, &info, WEXITED));

	pid = child_of(sleep_for_ever);
	result = waitid(P_PID, pid, &info, WEXITED | WNOHANG);
	tell_info("WNOHANG", result, &info, pid);
	kill(pid, SIGSTOP);
	result = waitid(P_PID, pid, &info, WSTOPPED);
	tell_info("stopped", result, &info, pid);
	kill(pid, SIGCONT);
	result = waitid(P_PID, pid, &info, WCONTINUED);
	tell_info("continued", result, &info, pid);

	int status;

	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	printf("WUNTRACED: %#x\n", status);
	kill(pid, SIGCONT);
	waitpid(pid, &status, WCONTINUED);
	printf("WCONTINUED: %#x\n", status);
	kill(pid, SIGKILL);
	result = waitid(P_PGID, getpgrp(), &info, WEXITED);
	tell_info("killed", result, &info, pid);
}

static void groups(void)
{
	pid_t pid = child_of(sleep_for_ever);

	tell("setpgid of the child", setpgid(pid, 0));
	printf("its own group: %d\n", getpgid(pid) == pid);
	tell("wait for my group", waitpid(0, NULL, WNOHANG));
	tell("wait for its group", waitpid(-pid, NULL, WNOHANG));
	tell("a group that is none", setpgid(0, 0x7ffffff));
	tell("setpgid of nobody", setpgid(0x7ffffff, 0));
	tell("negative", setpgid(0, -1));
	tell("killpg", kill(-pid, SIGTERM));
	wait_and_tell("its group", pid);
	tell("getsid of nobody", getsid(0x7ffffff));
}

static void new_session(void)
{
	pid_t sid = setsid();

	printf("session: %d, %d, %d\n", sid == getpid(), getpgrp() == sid, getsid(0) == sid);
	tell("again", setsid());
	tell("setpgid of a session's leader", setpgid(0, 0));
	fflush(stdout);
	_exit(3);
}

static int pipe_fds[2];

static void orphan(void)
{
	if (fork() == 0) {
		char c = 'x';

		while (getppid() != 1 && prctl(PR_GET_CHILD_SUBREAPER, 0) == 0 && c == 'x')
			sched_yield();
		write(pipe_fds[1], &c, 1);
		_exit(0);
	}
	_exit(5);
}

static void grandchild(void)
{
	if (fork() == 0)
		_exit(9);
	_exit(5);
}

static void reparenting(void)
{
	char c = 0;
	int status = 0, sum = 0;

	pipe(pipe_fds);
	wait_and_tell("parent of an orphan", child_of(orphan));
	close(pipe_fds[1]);
	printf("orphan: %zd", read(pipe_fds[0], &c, 1));
	printf(" %c\n", c);
	close(pipe_fds[0]);
	tell("not mine", waitpid(-1, NULL, 0));

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	child_of(grandchild);
	for (int i = 0; i < 2; i++) {
		wait(&status);
		sum += WEXITSTATUS(status);
	}
	printf("subreaper: %d\n", sum);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void write_h(int signo)
{
	write(pipe_fds[1], signo == SIGHUP ? "h" : "t", 1);
	_exit(0);
}

static void stopped_orphan(void)
{
	pid_t pid = fork();

	if (!pid) {
		signal(SIGHUP, write_h);
		setpgid(0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, WUNTRACED);
	_exit(0);
}

static void child_with_pdeathsig(void)
{
	int ready[2];
	char c;

	pipe(ready);
	if (!fork()) {
		signal(SIGTERM, write_h);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		write(ready[1], "r", 1);
		pause();
		_exit(0);
	}
	read(ready[0], &c, 1);
	_exit(0);
}

static void told_of_the_parent_s_end(const char *what, void (*body)(void))
{
	char c = 0;

	pipe(pipe_fds);
	wait_and_tell(what, child_of(body));
	close(pipe_fds[1]);
	read(pipe_fds[0], &c, 1);
	printf("heard of it: %c, then %zd\n", c, read(pipe_fds[0], &c, 1));
	close(pipe_fds[0]);
}

static void pidfds(void)
{
	siginfo_t info;
	pid_t pid = child_of(sleep_for_ever);
	int fd = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd one = { fd, POLLIN, 0 };
	char directory[32];
	int proc;

	tell("pidfd_open", fd >= 0);
	tell("of -1", syscall(SYS_pidfd_open, -1, 0));
	tell("of nobody", syscall(SYS_pidfd_open, 0x3fffffff, 0));
	tell("flags", syscall(SYS_pidfd_open, pid, 1));
	tell("poll", poll(&one, 1, 0));
	tell("read", read(fd, &info, 1));
	tell("not a pidfd", syscall(SYS_pidfd_send_signal, 1, 0, NULL, 0));
	tell("signal 0", syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	snprintf(directory, sizeof(directory), "/proc/%d", pid);
	proc = open(directory, O_RDONLY | O_DIRECTORY);
	tell("signal 0 by /proc", syscall(SYS_pidfd_send_signal, proc, 0, NULL, 0));
	tell("signal 99", syscall(SYS_pidfd_send_signal, fd, 99, NULL, 0));
	tell("waitid of no pidfd", waitid(P_PIDFD, 1, &info, WEXITED));
	tell("SIGTERM", syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	tell("poll", poll(&one, 1, -1));
	printf("events %#x\n", one.revents);
	int result = waitid(P_PIDFD, fd, &info, WEXITED);

	tell_info("waitid", result, &info, pid);
	tell("signal after its end", syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	tell("by /proc", syscall(SYS_pidfd_send_signal, proc, SIGTERM, NULL, 0));
	close(proc);
	close(fd);

	fflush(stdout);
	pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &fd, 0, 0);
	if (!pid)
		_exit(8);
	result = waitid(P_PIDFD, fd, &info, WEXITED);
	tell_info("CLONE_PIDFD", result, &info, pid);
	close(fd);
}

static void autoreap(void)
{
	struct sigaction action = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };

	signal(SIGCHLD, SIG_IGN);
	child_of(exit_7);
	tell("SIGCHLD ignored", waitpid(-1, NULL, 0));
	sigaction(SIGCHLD, &action, NULL);
	child_of(exit_7);
	tell("SA_NOCLDWAIT", waitpid(-1, NULL, 0));
	signal(SIGCHLD, SIG_DFL);
}

static void vforks(void)
{
	volatile int shared = 1;
	pid_t pid = vfork();

	if (!pid) {
		shared = 2;
		_exit(4);
	}
	printf("vfork: %d\n", shared);
	wait_and_tell("vfork", pid);
}

static char stack[65536] __attribute__((aligned(16)));

static int cloned(void *arg)
{
	*(int *)arg = 42;
	return 6;
}

static void clones(void)
{
	int value = 0, status = 0;
	pid_t pid = clone(cloned, stack + sizeof(stack), CLONE_VM, &value);

	tell("wait for a clone child without __WCLONE", waitpid(pid, &status, 0));
	tell("__WCLONE", waitpid(pid, &status, __WCLONE) == pid);
	printf("status %#x, value %d\n", status, value);
	pid = clone(cloned, stack + sizeof(stack), CLONE_VM | SIGCHLD, &value);
	wait_and_tell("CLONE_VM", pid);
	tell("THREAD without SIGHAND", syscall(SYS_clone, CLONE_THREAD | CLONE_VM, 0, 0, 0, 0));
	tell("SIGHAND without VM", syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0));
	tell("NEWNS with FS", syscall(SYS_clone, CLONE_NEWNS | CLONE_FS, 0, 0, 0, 0));
	tell("clone3, short", syscall(SYS_clone3, &value, 8));
	tell("clone3, long", syscall(SYS_clone3, &value, 100000));

	struct {
		unsigned long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size;
		unsigned long tls, set_tid, set_tid_size, cgroup, more;
	} args = { .exit_signal = SIGCHLD };

	fflush(stdout);
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (!pid)
		_exit(11);
	wait_and_tell("clone3", pid);
	args.more = 1;
	tell("clone3, unknown field", syscall(SYS_clone3, &args, sizeof(args)));
	args.more = 0;
	args.stack = 4096;
	tell("clone3, stack without size", syscall(SYS_clone3, &args, sizeof(args)));
	args.stack = 0;
	args.exit_signal = 65;
	tell("clone3, bad signal", syscall(SYS_clone3, &args, sizeof(args)));
	args.exit_signal = SIGCHLD;
	args.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
	tell("clone3, thread with a signal", syscall(SYS_clone3, &args, sizeof(args)));
}

static volatile sig_atomic_t caught;

static void on_signal(int signo)
{
	caught = signo;
}

static void interrupted(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	pid_t pid = child_of(sleep_for_ever);

	sigaction(SIGALRM, &action, NULL);
	ualarm(2000, 2000);
	tell("wait, interrupted", waitpid(pid, NULL, 0));
	ualarm(0, 0);
	kill(pid, SIGKILL);
	wait_and_tell("then", pid);
}

static void use_time(void)
{
	struct tms used;

	do {
		for (volatile int i = 0; i < 100000; i++)
			;
		times(&used);
	} while (used.tms_utime < 2);
}

static void usage(void)
{
	struct rusage used;
	struct tms before, after;
	int status;

	times(&before);
	pid_t pid = child_of(use_time);

	wait4(pid, &status, 0, &used);
	times(&after);
	printf("child's time: %d, of all: %d\n", used.ru_utime.tv_sec || used.ru_utime.tv_usec > 0,
	       after.tms_cutime > before.tms_cutime);
	printf("maxrss %d, faults %d\n", used.ru_maxrss > 0, used.ru_minflt > 0);
	tell("getrusage of nobody", getrusage(77, &used));
}

static void memory(void)
{
	size_t size = 4 << 20;
	char *private =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int sum = 0, status = 0;

	memset(private, 1, size);
	for (int i = 0; i < 4; i++)
		if (fork() == 0) {
			for (size_t at = i * 4096; at < size; at += 16384)
				private[at] = shared[at] = i + 2;
			_exit(private[i * 4096]);
		}
	for (int i = 0; i < 4; i++) {
		wait(&status);
		sum += WEXITSTATUS(status);
	}
	printf("children wrote: %d\n", sum);
	for (size_t at = sum = 0; at < size; at += 4096)
		sum += private[at];
	printf("private: %d\n", sum);
	for (size_t at = sum = 0; at < size; at += 4096)
		sum += shared[at];
	printf("shared: %d\n", sum);
}

int main(void)
{
	statuses();
	waitids();
	groups();
	wait_and_tell("session", child_of(new_session));
	reparenting();
	told_of_the_parent_s_end("orphaned, stopped group", stopped_orphan);
	told_of_the_parent_s_end("PR_SET_PDEATHSIG", child_with_pdeathsig);
	pidfds();
	autoreap();
	vforks();
	clones();
	interrupted();
	usage();
	memory();
	return 0;
}
