// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the system calls answer, one line each, written so that the lines are the
 * same on every x86-64 Linux: ours and the host's are compared.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#include "guest.h"

/* Print one result, with errno's name if it is an error. */
static long say(const char *what, long result)
{
	printf("%s: %ld%s%s\n", what, result, result == -1 ? " " : "",
	       result == -1 ? strerrorname_np(errno) : "");
	return result;
}

static void *const BAD = (void *)0x1000;

static void files(const char *own)
{
	char text[64], first[8], second[8];
	struct iovec parts[] = { { first, 4 }, { second, 4 } };
	struct stat st;
	int fd = open(own, O_RDONLY), copy;

	say("own file opens", fd >= 3);
	say("read", read(fd, text, 4));
	say("magic", !memcmp(text, "\177ELF", 4));
	say("lseek", lseek(fd, 0, SEEK_SET));
	say("readv", readv(fd, parts, 2));
	say("pread", pread(fd, text, 3, 1));
	say("pread text", !memcmp(text, "ELF", 3));
	say("pread negative", pread(fd, text, 3, -1));
	say("position", lseek(fd, 0, SEEK_CUR));
	say("lseek before start", lseek(fd, -100, SEEK_CUR));
	say("lseek whence", lseek(fd, 0, 99));
	say("fstat", fstat(fd, &st));
	say("regular", S_ISREG(st.st_mode));
	say("size", st.st_size == lseek(fd, 0, SEEK_END));
	say("at end", read(fd, text, 4));
	say("read to a bad address", pread(fd, BAD, 4, 0));
	say("write to a read-only fd", write(fd, text, 1));
	copy = dup(fd);
	say("dup", copy == fd + 1);
	lseek(fd, 10, SEEK_SET);
	say("shared position", lseek(copy, 0, SEEK_CUR));
	say("F_GETFL", fcntl(fd, F_GETFL) & O_ACCMODE);
	say("F_GETFD", fcntl(fd, F_GETFD));
	say("F_SETFD", fcntl(fd, F_SETFD, FD_CLOEXEC));
	say("F_GETFD", fcntl(fd, F_GETFD));
	say("F_DUPFD", fcntl(fd, F_DUPFD, 20));
	say("ioctl", ioctl(fd, TCGETS, text));
	say("close", close(fd));
	say("close again", close(fd));
	say("read closed", read(fd, text, 1));
	say("dup2", dup2(copy, 7));
	say("dup2 same", dup2(7, 7));
	say("dup2 bad", dup2(99, 7));
	say("open nothing", open("/no/such/file", O_RDONLY));
	say("open directory entry of a file", open("/proc/self/status/x", O_RDONLY));
	say("open bad address", open(BAD, O_RDONLY));
	say("open empty", open("", O_RDONLY));
	say("stat nothing", stat("/no/such/file", &st));
	say("readlink", readlink("/proc/self/exe", text, sizeof(text)) > 0);
	say("readlink of no link", readlink("/proc/self/status", text, sizeof(text)));
	say("readlink nothing", readlink("/no/such/file", text, sizeof(text)));
}

static void output(void)
{
	struct iovec parts[] = { { "par", 3 }, { "ts\n", 3 } };

	fflush(stdout);
	say("writev", writev(1, parts, 2));
	say("writev nothing", writev(1, parts, 0));
	say("writev too many", syscall(SYS_writev, 1, parts, IOV_MAX + 1));
	say("writev bad", writev(1, BAD, 1));
	fflush(stdout);
	say("write bad", write(1, BAD, 5));
	say("write nothing", write(1, "", 0));
	say("write closed", write(77, "x", 1));
	say("writev closed", writev(77, parts, 2));
}

/* A write that runs into the unmapped second page ends there, or before. */
static void short_write(void)
{
	char *two = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	memset(two, 'x', PAGE_BYTES);
	two[PAGE_BYTES - 1] = '\n';
	munmap(two + PAGE_BYTES, PAGE_BYTES);
	say("munmap again", munmap(two + PAGE_BYTES, PAGE_BYTES));
	fflush(stdout);
	say("write across the end", write(2, two + PAGE_BYTES - 1, 8) < 2);
}

static void memory(void)
{
	char *at = mmap(NULL, 4 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	char *end = sbrk(0);

	at[0] = 1;
	say("madvise", madvise(at, 4 * PAGE_BYTES, MADV_DONTNEED));
	say("zero", at[0]);
	say("madvise misaligned", madvise(at + 1, PAGE_BYTES, MADV_DONTNEED));
	say("madvise unknown", madvise(at, PAGE_BYTES, 9999));
	say("madvise nothing", madvise(at, 0, MADV_DONTNEED));
	say("mprotect", mprotect(at + PAGE_BYTES, PAGE_BYTES, PROT_READ));
	say("mprotect misaligned", mprotect(at + 1, PAGE_BYTES, PROT_READ));
	say("munmap hole", munmap(at + 2 * PAGE_BYTES, PAGE_BYTES));
	say("madvise over the hole", madvise(at, 4 * PAGE_BYTES, MADV_DONTNEED));
	say("mprotect over the hole", mprotect(at, 4 * PAGE_BYTES, PROT_READ));
	say("munmap misaligned", munmap(at + 1, PAGE_BYTES));
	say("munmap", munmap(at, 4 * PAGE_BYTES));
	say("mmap nothing", (long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	say("mmap no type", (long)mmap(NULL, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0));
	say("mmap closed fd", (long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 77, 0));
	say("mmap too much",
	    (long)mmap(NULL, 1ul << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	say("mmap misaligned offset", syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, 0, 1));
	say("noreplace", (long)mmap((void *)((size_t)end & ~4095ul) - 4096, 4096, PROT_READ,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	say("brk grows", sbrk(10000) == end);
	memset(end, 1, 10000);
	say("brk shrinks", sbrk(-10000) == end + 10000);
	say("brk nowhere", (long)sbrk((intptr_t)1 << 47));
}

static void process(void)
{
	struct rlimit limit;
	cpu_set_t cpus;
	struct utsname name;
	struct sysinfo info;
	char path[4096];
	stack_t stack = { .ss_sp = malloc(SIGSTKSZ), .ss_size = SIGSTKSZ }, was;
	int word = 5;

	say("pid is tid", getpid() == syscall(SYS_gettid));
	say("uid", getuid() == getauxval(AT_UID) && geteuid() == getauxval(AT_EUID));
	say("gid", getgid() == getauxval(AT_GID) && getegid() == getauxval(AT_EGID));
	say("secure", (long)getauxval(AT_SECURE));
	say("page size", (long)getauxval(AT_PAGESZ));
	say("platform", !strcmp((char *)getauxval(AT_PLATFORM), "x86_64"));
	say("random aligned", getauxval(AT_RANDOM) != 0);
	say("clktck", sysconf(_SC_CLK_TCK));
	say("uname", uname(&name));
	say("machine", !strcmp(name.machine, "x86_64") && !strcmp(name.sysname, "Linux"));
	say("uname bad", syscall(SYS_uname, BAD));
	say("prlimit", getrlimit(RLIMIT_STACK, &limit));
	say("stack limit", (long)(limit.rlim_cur >> 20));
	say("prlimit bad", syscall(SYS_prlimit64, 0, 99, NULL, &limit));
	say("affinity", sched_getaffinity(0, sizeof(cpus), &cpus));
	say("affinity size", syscall(SYS_sched_getaffinity, 0, 3, &cpus));
	say("yield", sched_yield());
	say("sysinfo", sysinfo(&info));
	say("memory unit", info.mem_unit);
	say("memory", info.totalram > info.freeram && info.freeram > 0);
	say("getcwd", getcwd(path, sizeof(path)) == path);
	say("getcwd small", syscall(SYS_getcwd, path, 1));
	say("sigaltstack", sigaltstack(&stack, NULL));
	say("sigaltstack tells", sigaltstack(NULL, &was) || was.ss_sp != stack.ss_sp);
	stack.ss_size = 1;
	say("sigaltstack small", sigaltstack(&stack, NULL));
	say("futex wait", syscall(SYS_futex, &word, FUTEX_WAIT, 4, NULL));
	say("futex wake", syscall(SYS_futex, &word, FUTEX_WAKE, 1));
	say("futex misaligned", syscall(SYS_futex, (char *)&word + 1, FUTEX_WAKE, 1));
	say("futex wait for no bit",
	    syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, word, NULL, NULL, 0));
	say("futex wake of no bit", syscall(SYS_futex, &word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
	say("futex wake of a bit", syscall(SYS_futex, &word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 4));
	say("futex wait bad time", syscall(SYS_futex, &word, FUTEX_WAIT, word, BAD));
	say("futex wake by realtime",
	    syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1));
	say("futex unknown", syscall(SYS_futex, &word, 99, 1));
	say("arch_prctl", syscall(SYS_arch_prctl, 0x9999, 0));
	say("kill nobody", kill(getpid(), 0));
	say("kill signal", kill(getpid(), 99));
	say("tgkill", syscall(SYS_tgkill, getpid(), getpid(), 0));
	say("sigaction bad", syscall(SYS_rt_sigaction, 99, NULL, NULL, 8));
	say("sigaction size", syscall(SYS_rt_sigaction, 1, NULL, NULL, 4));
	say("unknown", syscall(9999));
}

static void clocks(void)
{
	struct timespec first, second, pause = { .tv_nsec = 2000000 };
	struct timeval tv;
	char bytes[32] = { 0 };

	say("clock", clock_gettime(CLOCK_MONOTONIC, &first));
	say("nanosleep", nanosleep(&pause, NULL));
	clock_gettime(CLOCK_MONOTONIC, &second);
	say("slept", (second.tv_sec - first.tv_sec) * 1000000000 + second.tv_nsec - first.tv_nsec >=
			     2000000);
	pause.tv_nsec = 1000000000;
	say("nanosleep bad", nanosleep(&pause, NULL));
	say("clock bad", clock_gettime(99, &first));
	say("clock address", syscall(SYS_clock_gettime, CLOCK_REALTIME, BAD));
	say("gettimeofday", gettimeofday(&tv, NULL));
	say("time", time(NULL) - tv.tv_sec <= 1);
	say("getrandom", getrandom(bytes, sizeof(bytes), 0));
	say("getrandom flags", getrandom(bytes, 4, 0x100));
	say("getrandom bad", getrandom(BAD, 4, 0));
}

int main(int argc, char **argv)
{
	(void)argc;
	files(argv[0]);
	output();
	short_write();
	memory();
	process();
	clocks();
	return 0;
}
