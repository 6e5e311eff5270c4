// SPDX-License-Identifier: GPL-2.0-or-later
/* /proc/PID as programs use it, reading and writing: a line is a call and its answer. */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
static char text[1 << 16];

static long say(const char *what, long result)
{
	if (result == -1)
		printf("%s = -1 %s\n", what, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, result);
	return result;
}
#define SAY(call) say(#call, (long)(call))

static long slurp(const char *path)
{
	int fd = open(path, O_RDONLY);
	long n = 0, r;

	if (fd < 0)
		return -1;
	while (n < (long)sizeof(text) - 1 && (r = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += r;
	close(fd);
	text[n] = 0;
	return n;
}

static void put(const char *path, const char *what, size_t n)
{
	int fd = open(path, O_WRONLY);
	long done = fd < 0 ? -1 : write(fd, what, n);

	printf("%s <- \"%.*s\"", path, (int)n, what);
	say("", done);
	close(fd);
}
#define PUT(path, what) put(path, what, sizeof(what) - 1)

static void show(const char *path)
{
	if (slurp(path) < 0)
		strcpy(text, strerrorname_np(errno));
	printf("%s: %s", path, text);
	if (!*text || text[strlen(text) - 1] != '\n')
		putchar('\n');
}

static void settings(void)
{
	PUT("/proc/self/comm", "a name that is far too long");
	show("/proc/self/comm");
	PUT("/proc/self/comm", "short\n");
	show("/proc/thread-self/comm");
	prctl(PR_GET_NAME, text);
	puts(text);
	show("/proc/self/oom_score_adj");
	PUT("/proc/self/oom_score_adj", "500");
	show("/proc/self/oom_score_adj");
	show("/proc/self/oom_adj");
	PUT("/proc/self/oom_score_adj", " 17\n");
	PUT("/proc/self/oom_score_adj", "1001");
	PUT("/proc/self/oom_score_adj", "-1001");
	PUT("/proc/self/oom_score_adj", "x");
	PUT("/proc/self/oom_score_adj", "");
	PUT("/proc/self/oom_score_adj", "0x10");
	show("/proc/self/oom_score_adj");
	PUT("/proc/self/oom_score_adj", "-1");
	PUT("/proc/self/oom_score_adj", "0");
	PUT("/proc/self/oom_adj", "15");
	show("/proc/self/oom_score_adj");
	PUT("/proc/self/oom_adj", "3");
	show("/proc/self/oom_score_adj");
	PUT("/proc/self/oom_adj", "-18");
	PUT("/proc/self/oom_score_adj", "1000");
	fflush(stdout);
	if (!fork()) {
		show("/proc/self/oom_score_adj");
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	show("/proc/self/coredump_filter");
	PUT("/proc/self/coredump_filter", "0x17");
	show("/proc/self/coredump_filter");
	PUT("/proc/self/coredump_filter", "12345");
	show("/proc/self/coredump_filter");
	PUT("/proc/self/coredump_filter", "y");
	show("/proc/self/timerslack_ns");
	PUT("/proc/self/timerslack_ns", "70000");
	SAY(prctl(PR_GET_TIMERSLACK));
	show("/proc/self/personality");
	show("/proc/self/setgroups");
	show("/proc/self/uid_map");
	show("/proc/self/loginuid");
	show("/proc/self/sessionid");
	show("/proc/self/cpuset");
	show("/proc/self/timens_offsets");
	PUT("/proc/self/stat", "1");
	PUT("/proc/self/maps", "1");
	PUT("/proc/version", "1");
	SAY(open("/proc/self/comm", O_RDWR | O_CREAT | O_TRUNC, 0600) > 2);
}

static void reading(void)
{
	static char whole[8192], bytes[8192];
	int fd = open("/proc/self/limits", O_RDONLY), n = 0;
	long r = read(fd, whole, sizeof(whole));

	lseek(fd, 0, SEEK_SET);
	while (read(fd, bytes + n, 1) == 1)
		n++;
	SAY(n == r && !memcmp(whole, bytes, r));
	SAY(pread(fd, bytes, 20, 30));
	SAY(memcmp(bytes, whole + 30, 20));
	SAY(lseek(fd, 5, SEEK_SET));
	SAY(lseek(fd, 5, SEEK_CUR));
	SAY(lseek(fd, 0, SEEK_END));
	SAY(lseek(fd, -20, SEEK_CUR));
	SAY(lseek(fd, 1 << 20, SEEK_SET));
	SAY(read(fd, bytes, 10));
	SAY(pread(fd, bytes, 10, -1));
	close(fd);
	fd = open("/proc/self/status", O_RDONLY);
	r = read(fd, whole, sizeof(whole));
	prctl(PR_SET_NAME, "renamed");
	lseek(fd, 0, SEEK_SET);
	SAY(read(fd, whole, sizeof(whole)) > 100);
	printf("%.13s\n", whole);
	close(fd);
}

static void memory(void)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *s = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0), bytes[64];
	int fd = open("/proc/self/mem", O_RDWR);

	memcpy(p, "hello", 6);
	SAY(pread(fd, bytes, 6, (off_t)p));
	puts(bytes);
	SAY(pwrite(fd, "HELLO", 6, (off_t)p));
	puts(p);
	mprotect(p, PAGE, PROT_READ);
	SAY(pwrite(fd, "again", 6, (off_t)p));
	puts(p);
	mprotect(p + PAGE, PAGE, PROT_NONE);
	SAY(pwrite(fd, "none", 5, (off_t)(p + PAGE)));
	SAY(pread(fd, bytes, 5, (off_t)(p + PAGE)));
	puts(bytes);
	SAY(pwrite(fd, "shared", 7, (off_t)s));
	SAY(pread(fd, bytes, 4, (off_t)s));
	mprotect(p + 2 * PAGE, PAGE, PROT_READ);
	SAY(pread(fd, bytes, 4, (off_t)(p + 2 * PAGE)));
	SAY(pwrite(fd, "over", 5, (off_t)(p + 2 * PAGE)));
	puts(p + 2 * PAGE);
	munmap(p + 3 * PAGE, PAGE);
	mmap(p + 3 * PAGE, PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	SAY(pwrite(fd, text, 2 * PAGE, (off_t)(p + 2 * PAGE)));
	SAY(pread(fd, bytes, 8, (off_t)8));
	SAY(lseek(fd, (off_t)p, SEEK_SET) == (off_t)p);
	SAY(read(fd, bytes, 6));
	SAY(lseek(fd, 0, SEEK_CUR) == (off_t)p + 6);
	SAY(lseek(fd, 0, SEEK_END));
	SAY(read(fd, bytes, 0));
	/* Code too: the next call runs what was written. */
	unsigned char code[] = { 0xb8, 1, 0, 0, 0, 0xc3 };
	int (*f)(void) =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy((void *)f, code, sizeof(code));
	mprotect((void *)f, PAGE, PROT_READ | PROT_EXEC);
	SAY(f());
	code[1] = 2;
	SAY(pwrite(fd, code, sizeof(code), (off_t)f));
	SAY(f());
	close(fd);
	fd = open("/proc/self/mem", O_RDONLY);
	SAY(pwrite(fd, "x", 1, (off_t)p));
	close(fd);
}

static void *thread(void *ready)
{
	prctl(PR_SET_NAME, "second");
	write(((int *)ready)[1], "x", 1);
	pause();
	return NULL;
}

static void others(void)
{
	Elf64_auxv_t *at;
	pthread_t id;
	int ready[2], bad = 0, threads = 0;
	DIR *tasks;

	SAY(slurp("/proc/self/auxv") % 16);
	for (at = (void *)text; at->a_type; at++)
		bad += at->a_un.a_val != getauxval(at->a_type);
	SAY(bad);
	pipe(ready);
	pthread_create(&id, NULL, thread, ready);
	read(ready[0], text, 1);
	tasks = opendir("/proc/self/task");
	while (tasks && readdir(tasks))
		threads++;
	SAY(threads);
	snprintf(text, 64, "/proc/self/task/%d/children", getpid());
	char *path = strdup(text);
	pid_t child = fork();

	if (!child)
		pause();
	slurp(path);
	SAY(atoi(text) == child);
	snprintf(text, 64, "/proc/%d/comm", child);
	path = strdup(text);
	PUT("/proc/thread-self/comm", "mine");
	put("/proc/self/comm", "x", 1);
	int fd = open(path, O_WRONLY);
	SAY(write(fd, "his", 3));
	close(fd);
	kill(child, 9);
	SAY(waitpid(child, NULL, 0) == child);
	SAY(open(path, O_RDONLY));
	slurp("/proc/self/cgroup");
	SAY(strstr(text, "0::/") != NULL);
	SAY(readlink("/proc/self/ns/uts", text, sizeof(text)) > 5);
	SAY(strncmp(text, "uts:[", 5));
	SAY(open("/proc/self/ns/uts", O_RDONLY) > 2);
	fd = open("/proc/self/io", O_RDONLY);
	long counts[2][4];

	for (int i = 0; i < 2; i++) {
		memset(text, 0, sizeof(text));
		pread(fd, text, 4096, 0);
		sscanf(text, "rchar: %ld wchar: %ld syscr: %ld syscw: %ld", counts[i],
		       counts[i] + 1, counts[i] + 2, counts[i] + 3);
		write(ready[1], "four", 4);
		read(ready[0], text, 3);
	}
	printf("wchar %ld, syscr %ld, syscw %ld\n", counts[1][1] - counts[0][1],
	       counts[1][2] - counts[0][2], counts[1][3] - counts[0][3]);
	close(fd);
	SAY(slurp("/proc/self/schedstat") > 5);
	SAY(slurp("/proc/self/sched") > 100);
	SAY(slurp("/proc/self/numa_maps") > 50);
	SAY(strstr(text, " default ") != NULL && strstr(text, "heap") != NULL);
	SAY(slurp("/proc/self/wchan"));
	puts(text);
	slurp("/proc/self/stat");
	SAY(getpid() == atoi(text));
	slurp("/proc/sys/kernel/random/uuid");
	path = strdup(text);
	SAY(slurp("/proc/sys/kernel/random/uuid"));
	SAY(strcmp(path, text) != 0);
	slurp("/proc/sys/kernel/random/boot_id");
	path = strdup(text);
	SAY(slurp("/proc/sys/kernel/random/boot_id"));
	SAY(strcmp(path, text));
	SAY(open("/proc/sys/vm/overcommit_memory", O_WRONLY));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	settings();
	reading();
	memory();
	others();
	fflush(stdout);
	_exit(0);
}
