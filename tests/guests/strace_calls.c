// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls of many kinds, good and bad, for a look at how they are written down. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALL(name, ...) syscall(SYS_##name, ##__VA_ARGS__)

static char buffer[8192];
static int word;

static void handler(int signo)
{
	(void)signo;
}

static void memory(void)
{
	char *at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE, -1, 0);

	CALL(mprotect, at, 4096, PROT_NONE);
	CALL(mprotect, at + 1, 4096, PROT_READ | PROT_EXEC | 0x100);
	CALL(madvise, at, 8192, MADV_DONTNEED);
	CALL(madvise, at, 8192, 77);
	CALL(mremap, at, 1 << 20, 2 << 20, MREMAP_MAYMOVE);
	CALL(mremap, at + 7, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, 0x1234567UL);
	CALL(munmap, 0x1234567UL, 4096);
	CALL(mlock, at + (4 << 20), 4096);
	CALL(munlock, buffer, 100);
	CALL(msync, buffer + 1, 100, MS_SYNC | MS_INVALIDATE);
	CALL(mincore, buffer + 1, 100, buffer);
	CALL(mmap, 0, 0, PROT_READ, MAP_SHARED | MAP_FIXED, 5, 0x3000);
	CALL(munmap, mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 4096);
	CALL(brk, 0);
}

static void descriptors(void)
{
	struct iovec iov[2] = { { "one", 3 }, { "two\n\377", 5 } };
	struct pollfd fds[3] = { { 0, POLLIN | POLLPRI, 0 }, { -1, 0, 0 }, { 1, POLLOUT, 0 } };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 9 };
	struct timespec quick = { 0, 1000 };
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data = { .u64 = 7 } };
	fd_set set;
	int fd[2], epoll;

	CALL(pipe2, fd, O_CLOEXEC | O_NONBLOCK);
	CALL(write, fd[1], "0123456789012345678901234567890123456789", 40);
	CALL(read, fd[0], buffer, 33);
	CALL(writev, fd[1], iov, 2);
	iov[0].iov_base = buffer;
	iov[0].iov_len = 9;
	CALL(readv, fd[0], iov, 1);
	CALL(read, fd[0], buffer, sizeof(buffer));
	CALL(read, fd[0], buffer, sizeof(buffer));
	CALL(write, 99, buffer, 3);
	CALL(write, fd[1], 16, 3);
	CALL(dup, fd[0]);
	CALL(dup3, fd[0], 20, O_CLOEXEC);
	CALL(dup2, 20, 21);
	CALL(fcntl, 20, F_GETFD);
	CALL(fcntl, 21, F_SETFD, FD_CLOEXEC);
	CALL(fcntl, 21, F_GETFL);
	CALL(fcntl, 21, F_SETFL, O_RDONLY | O_NONBLOCK);
	CALL(fcntl, 21, F_DUPFD_CLOEXEC, 30);
	CALL(fcntl, 21, F_SETLK, &lock);
	CALL(fcntl, 77, F_GETOWN);
	CALL(close, 21);
	CALL(lseek, fd[0], -5, SEEK_CUR);
	CALL(fstat, fd[0], buffer);
	CALL(poll, fds, 1, 0);
	fds[0].fd = fd[1];
	fds[0].events = POLLOUT;
	CALL(poll, fds, 2, 5);
	CALL(ppoll, fds, 0, &quick, 0, 8);
	FD_ZERO(&set);
	FD_SET(fd[0], &set);
	CALL(pselect6, 0, 0, 0, 0, &quick, 0);
	epoll = CALL(epoll_create1, EPOLL_CLOEXEC);
	CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, fd[0], &event);
	CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, 99, &event);
	CALL(epoll_pwait, epoll, buffer, 4, 0, 0, 8);
	CALL(eventfd2, 3, EFD_SEMAPHORE | EFD_NONBLOCK);
	CALL(timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC);
	CALL(memfd_create, "name", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CALL(ioctl, fd[0], TCGETS, buffer);
	CALL(ioctl, fd[0], FIONREAD, &word);
}

static void files(void)
{
	CALL(open, "/nowhere/file", O_RDWR | O_CREAT | O_EXCL, 0640);
	CALL(openat, AT_FDCWD, "/nowhere", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CALL(openat, 55, "relative", O_WRONLY | O_TRUNC | O_APPEND);
	CALL(openat, AT_FDCWD, 3, O_PATH);
	CALL(access, "/nowhere", R_OK | W_OK);
	CALL(faccessat2, AT_FDCWD, "/nowhere", X_OK, AT_EACCESS);
	CALL(readlink, "/nowhere", buffer, 100);
	CALL(stat, "/nowhere", buffer);
	CALL(newfstatat, 55, "x", buffer, AT_SYMLINK_NOFOLLOW);
	CALL(getcwd, buffer, 100);
	CALL(chdir, "/nowhere");
	CALL(umask, 027);
	CALL(umask, 022);
}

static void who(void)
{
	struct rlimit limit = { 16, 64 }, was;
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };

	CALL(getuid);
	CALL(getegid);
	CALL(getresuid, &word, &word, &word);
	CALL(setuid, -1);
	CALL(setresgid, -1, -1, -1);
	CALL(getgroups, -1, 0);
	CALL(capget, &header, 0);
	CALL(prlimit64, 0, RLIMIT_NOFILE, &limit, 0);
	CALL(prlimit64, 0, RLIMIT_CORE, &(struct rlimit){ 0, 0 }, 0);
	CALL(getrlimit, RLIMIT_STACK, &was);
	CALL(setrlimit, 99, &limit);
	CALL(prctl, PR_SET_NAME, "a name");
	CALL(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	CALL(arch_prctl, 0x1003, &word);
	CALL(getpriority, PRIO_PROCESS, 0);
	CALL(sched_yield);
	CALL(personality, 0xffffffff);
	CALL(getpgid, 0);
	CALL(getpid);
	CALL(gettid);
}

static void times(void)
{
	struct timespec t = { 0, 5000 };
	struct itimerval timer = { { 0, 0 }, { 100, 7 } };

	CALL(clock_getres, CLOCK_MONOTONIC, &t);
	CALL(clock_getres, 77, &t);
	CALL(clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &t, 0);
	t.tv_nsec = 2000000000;
	CALL(nanosleep, &t, 0);
	CALL(setitimer, ITIMER_VIRTUAL, &timer, 0);
	CALL(alarm, 0);
	CALL(futex, &word, FUTEX_WAIT_PRIVATE, 3, 0);
	CALL(futex, &word, FUTEX_WAKE, 1);
	CALL(futex, &word, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &word, 0);
}

static void signals(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART | SA_NODEFER };
	sigset_t set;
	stack_t stack = { .ss_sp = NULL, .ss_flags = SS_DISABLE, .ss_size = 0 };

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGTERM);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGRTMIN, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGRTMIN + 1);
	CALL(rt_sigprocmask, SIG_BLOCK, &set, 0, 8);
	CALL(rt_sigprocmask, SIG_SETMASK, 0, &set, 8);
	CALL(rt_sigprocmask, 9, &set, 0, 8);
	CALL(rt_sigpending, &set, 8);
	CALL(sigaltstack, &stack, 0);
	CALL(kill, 0, 0);
	CALL(kill, 4000000, SIGKILL);
	raise(SIGUSR1);
	CALL(signalfd4, -1, &set, 8, SFD_CLOEXEC);
}

static void processes(void)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(3);
	CALL(wait4, child, &status, 0, 0);
	CALL(wait4, -1, &status, WNOHANG, 0);
	CALL(execve, "/nowhere", (char *[]){ "a", "b", NULL }, (char *[]){ "X=1", NULL });
}

int main(int argc, char **argv)
{
	(void)argv;
	memory();
	descriptors();
	files();
	who();
	times();
	signals();
	if (argc > 1)
		processes();
	CALL(kill, getpid(), SIGSEGV);
	return 0;
}
