// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bytes of files, in the working directory: read, written, mapped, cut off, locked, copied, by
 * one process and by several. Each line is a call and its answer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define PAGE 4096L

static char buffer[1 << 17];
static void *volatile nowhere = (void *)8;

static long say(const char *what, long result)
{
	if (result == -1)
		printf("%s = -1 %s\n", what, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, result);
	fflush(stdout);
	return result;
}
#define SAY(call) say(#call, (long)(call))

static int begin(const char *part, const char *name)
{
	printf("-- %s\n", part);
	unlink(name);
	return SAY(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
}

static long size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

static unsigned long sum(const void *at, size_t n)
{
	const unsigned char *p = at;
	unsigned long h = 5381;

	while (n--)
		h = h * 33 + *p++;
	return h;
}

static void *map(int fd, int prot, int flags, size_t n, off_t offset)
{
	void *p = mmap(NULL, n, prot, flags, fd, offset);

	SAY(p == MAP_FAILED ? -1 : 0);
	return p;
}

static sigjmp_buf escape;

static void caught(int signo, siginfo_t *info, void *context)
{
	(void)context;
	siglongjmp(escape, signo * 100 + info->si_code);
}

/* The signal that touching a byte ends in, 0: none; signal * 100 + code. */
static int touch(volatile char *at, int write)
{
	int signo = sigsetjmp(escape, 1);

	if (signo)
		return signo;
	if (write)
		*at = 'w';
	else
		(void)*at;
	return 0;
}

static int wait_for(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static void plain(void)
{
	int fd = begin("read and write", "plain"), other, copy;
	struct iovec v[3] = { { "ab", 2 }, { "", 0 }, { "cde", 3 } }, two[2];

	SAY(write(fd, "0123456789", 10));
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(pwrite(fd, "XY", 2, 3));
	SAY(pread(fd, buffer, 20, 1));
	SAY(sum(buffer, 9));
	SAY(writev(fd, v, 3));
	SAY(pwritev(fd, v, 3, 20));
	SAY(size_of(fd));
	SAY(pread(fd, buffer, 100, 0));
	SAY(sum(buffer, 25));
	two[0] = (struct iovec){ buffer, 4 };
	two[1] = (struct iovec){ buffer + 100, 4 };
	SAY(preadv(fd, two, 2, 2));
	SAY(memcmp(buffer, "2XY5", 4));
	SAY(memcmp(buffer + 100, "6789", 4));
	SAY(pread(fd, buffer, 1, 1 << 20));
	SAY(pread(fd, buffer, 1, -1));
	SAY(read(fd, nowhere, 4));
	SAY(pread(fd, nowhere, 4, 0));
	SAY(pread(fd, nowhere, 4, 1 << 20));
	SAY(write(fd, nowhere, 4));
	SAY(write(fd, nowhere, 0));
	SAY(lseek(fd, 5, SEEK_END));
	SAY(write(fd, "z", 1));
	SAY(size_of(fd));
	SAY(lseek(fd, -1, SEEK_SET));
	SAY(lseek(fd, 1, 17));
	copy = dup(fd);
	SAY(lseek(copy, 3, SEEK_SET));
	SAY(lseek(fd, 0, SEEK_CUR));
	other = open("plain", O_RDONLY);
	SAY(lseek(other, 0, SEEK_CUR));
	SAY(write(other, "x", 1));
	SAY(pwrite(other, "x", 1, 0));
	SAY(ftruncate(other, 1));
	SAY(fallocate(other, 0, 0, 1));
	close(other);
	other = open("plain", O_WRONLY);
	SAY(read(other, buffer, 1));
	SAY(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, other, 0) == MAP_FAILED ? -1 : 0);
	close(other);
	other = open("plain", O_RDWR | O_APPEND);
	SAY(write(other, "end", 3));
	SAY(lseek(other, 0, SEEK_CUR));
	SAY(pwrite(other, "AT", 2, 0));
	SAY(size_of(other));
	SAY(pread(other, buffer, 5, size_of(other) - 5));
	SAY(memcmp(buffer, "endAT", 5));
	SAY(copy_file_range(fd, NULL, other, NULL, 1, 0));
	SAY(sendfile(other, fd, NULL, 1));
	close(other);
	SAY(syscall(SYS_preadv2, fd, two, 2L, 1L, 0L, 0));
	SAY(lseek(fd, 2, SEEK_SET));
	SAY(syscall(SYS_preadv2, fd, two, 2L, -1L, -1L, 0));
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(syscall(SYS_preadv2, fd, two, 2L, 0L, 0L, 1 << 20));
	SAY(syscall(SYS_pwritev2, fd, v, 3L, 0L, 0L, 0x10));
	SAY(size_of(fd));
	SAY(syscall(SYS_pwritev2, fd, v, 3L, 0L, 0L, 0x30));
	SAY(syscall(SYS_pwritev2, fd, v, 3L, 0L, 0L, 2 | 4));
	SAY(syscall(SYS_preadv, fd, two, -1L, 0L, 0L));
	SAY(syscall(SYS_preadv, fd, two, 2000L, 0L, 0L));
	SAY(fsync(fd));
	SAY(fdatasync(fd));
	SAY(syncfs(fd));
	SAY(sync_file_range(fd, 0, 10, 7));
	SAY(sync_file_range(fd, 0, 10, 64));
	SAY(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	SAY(posix_fadvise(fd, 0, 0, 77));
	SAY(readahead(fd, 0, 100));
	close(copy);
	close(fd);
}

/* A read that its place cannot hold, and a write that is only half there. */
static void half_there(void)
{
	int fd = begin("half there", "half");
	char *two =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(two, 'm', 2 * PAGE);
	SAY(munmap(two + PAGE, PAGE));
	SAY(write(fd, two + PAGE - 100, 200));
	SAY(size_of(fd));
	SAY(pwrite(fd, two + PAGE - 10, 20, 1000));
	memset(buffer, 'q', 5000);
	SAY(pwrite(fd, buffer, 5000, 0));
	SAY(pread(fd, two + PAGE - 100, 200, 0));
	SAY(lseek(fd, 0, SEEK_SET));
	SAY(read(fd, two + PAGE - 7, 200));
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(read(fd, two + PAGE, 200));
	SAY(lseek(fd, 0, SEEK_CUR));
	mprotect(two, PAGE, PROT_READ);
	SAY(pread(fd, two, 10, 0));
	SAY(pwrite(fd, two, 10, 0));
	mprotect(two, PAGE, PROT_NONE);
	SAY(pwrite(fd, two, 10, 0));
	munmap(two, PAGE);
	close(fd);
}

static void mapped(void)
{
	int fd = begin("mapped", "mapped"), ro, i;
	char *a, *b, *private, *third;

	for (i = 0; i < 5; i++) {
		memset(buffer, 'a' + i, PAGE);
		write(fd, buffer, PAGE);
	}
	SAY(ftruncate(fd, 4 * PAGE + 100));
	a = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 6 * PAGE, 0);
	b = map(fd, PROT_READ, MAP_SHARED, 5 * PAGE, 0);
	private = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 5 * PAGE, 0);
	SAY(a[0]);
	SAY(a[4 * PAGE + 99]);
	SAY(a[4 * PAGE + 100]);
	SAY(touch(a + 5 * PAGE, 0));
	SAY(touch(a + 5 * PAGE, 1));
	a[1] = 'S';
	SAY(b[1]);
	SAY(private[1]);
	SAY(pread(fd, buffer, 3, 0));
	SAY(buffer[1]);
	SAY(pwrite(fd, "WWW", 3, PAGE - 1));
	SAY(a[PAGE - 1] * 10000 + b[PAGE] * 100 + a[PAGE + 1]);
	SAY(private[PAGE]);
	private[2 * PAGE] = 'P';
	SAY(pwrite(fd, "ww", 2, 2 * PAGE));
	SAY(private[2 * PAGE]);
	SAY(b[2 * PAGE]);
	a[3 * PAGE + 5] = 'D';
	SAY(write(fd, a + 3 * PAGE, PAGE));
	SAY(msync(a, 6 * PAGE, MS_SYNC));
	a[3 * PAGE + 5] = 'E';
	SAY(pread(fd, buffer, PAGE, 3 * PAGE));
	SAY(buffer[5]);
	SAY(sum(buffer, PAGE));
	SAY(pwrite(fd, a, 2 * PAGE, 2 * PAGE));
	SAY(sum(b, 4 * PAGE));
	SAY(pread(fd, a + PAGE, PAGE, 0));
	SAY(sum(b, 4 * PAGE));
	SAY(ftruncate(fd, PAGE + 10));
	SAY(touch(a + 2 * PAGE, 0));
	SAY(touch(private + 2 * PAGE, 0));
	SAY(touch(a + PAGE + 500, 1));
	SAY(a[PAGE + 9]);
	SAY(ftruncate(fd, 3 * PAGE));
	SAY(a[PAGE + 500]);
	SAY(a[2 * PAGE]);
	SAY(b[2 * PAGE + 1]);
	SAY(touch(a + 2 * PAGE, 1));
	SAY(b[2 * PAGE]);
	ro = open("mapped", O_RDONLY);
	SAY(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED ? -1 : 0);
	third = map(ro, PROT_READ, MAP_SHARED, PAGE, 0);
	SAY(mprotect(third, PAGE, PROT_READ | PROT_WRITE));
	SAY(mprotect(b, PAGE, PROT_READ | PROT_WRITE));
	SAY(touch(b, 1));
	SAY(third[0]);
	close(ro);
	close(fd);
	SAY(third[0]);
	a[2] = 'n';
	munmap(b, 5 * PAGE);
	munmap(third, PAGE);
	SAY(munmap(a, 6 * PAGE));
	munmap(private, 5 * PAGE);
	fd = open("mapped", O_RDWR);
	SAY(pread(fd, buffer, 4, 0));
	SAY(buffer[0] * 10000 + buffer[1] * 100 + buffer[2]);
	SAY(size_of(fd));
	SAY(unlink("mapped"));
	a = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 3 * PAGE, 0);
	close(fd);
	SAY(touch(a, 1));
	SAY(a[0]);
	munmap(a, 3 * PAGE);
}

static void sync_of_maps(void)
{
	int fd = begin("msync", "msync");
	char *a;

	ftruncate(fd, 4 * PAGE);
	a = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 4 * PAGE, 0);
	SAY(msync(a, 4 * PAGE, MS_ASYNC));
	SAY(msync(a, 4 * PAGE, MS_SYNC | MS_INVALIDATE));
	SAY(msync(a + 1, PAGE, MS_SYNC));
	SAY(msync(a, PAGE, MS_SYNC | MS_ASYNC));
	SAY(msync(a, PAGE, 64));
	SAY(msync(a, 0, MS_SYNC));
	SAY(munmap(a + PAGE, PAGE));
	a[0] = 'x';
	a[2 * PAGE] = 'y';
	SAY(msync(a, 4 * PAGE, MS_SYNC));
	SAY(msync(a, 4 * PAGE, MS_ASYNC));
	SAY(msync(a + PAGE, PAGE, MS_SYNC));
	SAY(mlock(a, PAGE));
	SAY(msync(a, PAGE, MS_INVALIDATE));
	SAY(msync(a, PAGE, MS_SYNC));
	SAY(msync((void *)-PAGE, 2 * PAGE, MS_SYNC));
	munlock(a, PAGE);
	munmap(a, 4 * PAGE);
	close(fd);
}

/* What was mapped, written and closed is there for who comes later, also after sync(). */
static void closed(void)
{
	int fd = begin("closed", "closed"), i;
	char *a;

	for (i = 0; i < 3; i++) {
		ftruncate(fd, 2 * PAGE);
		a = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 2 * PAGE, 0);
		a[PAGE + i] = 'a' + i;
		munmap(a, 2 * PAGE);
		close(fd);
		if (i)
			sync();
		fd = open("closed", O_RDWR);
		SAY(pread(fd, buffer, 4, PAGE));
		SAY(memcmp(buffer, "abc", i + 1));
		SAY(pwrite(fd, "z", 1, PAGE + 3));
	}
	a = map(fd, PROT_READ, MAP_PRIVATE, 2 * PAGE, 0);
	SAY(memcmp(a + PAGE, "abcz", 4));
	close(fd);
	sync();
	SAY(memcmp(a + PAGE, "abcz", 4));
	munmap(a, 2 * PAGE);
	sync();
}

static void holes(void)
{
	int fd = begin("holes", "holes"), i;
	char *a;

	memset(buffer, 'h', sizeof buffer);
	SAY(pwrite(fd, buffer, 2 * PAGE, 8 * PAGE));
	SAY(lseek(fd, 0, SEEK_DATA));
	SAY(lseek(fd, 0, SEEK_HOLE));
	SAY(lseek(fd, 8 * PAGE, SEEK_HOLE));
	SAY(lseek(fd, 10 * PAGE, SEEK_DATA));
	SAY(lseek(fd, -1, SEEK_DATA));
	SAY(pread(fd, buffer, PAGE, 7 * PAGE));
	SAY(buffer[0]);
	SAY(ftruncate(fd, 1L << 32));
	SAY(size_of(fd));
	SAY(ftruncate(fd, -1));
	SAY(ftruncate(fd, 10 * PAGE));
	a = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 10 * PAGE, 0);
	for (i = 0; i < 10; i++)
		a[i * PAGE] = '0' + i;
	SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE + 1, 3 * PAGE));
	for (i = 0; i < 6; i++)
		SAY(a[i * PAGE]);
	SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE));
	SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9 * PAGE + 5, 100 * PAGE));
	SAY(a[9 * PAGE]);
	SAY(size_of(fd));
	SAY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20 * PAGE));
	SAY(size_of(fd));
	SAY(fallocate(fd, 0, 0, 12 * PAGE));
	SAY(size_of(fd));
	SAY(fallocate(fd, 0, -1, 1));
	SAY(fallocate(fd, 0, 0, 0));
	SAY(madvise(a + 8 * PAGE, PAGE, MADV_REMOVE));
	SAY(a[8 * PAGE]);
	SAY(pread(fd, buffer, 1, 8 * PAGE));
	SAY(buffer[0]);
	munmap(a, 10 * PAGE);
	close(fd);
}

static void between_processes(void)
{
	int fd = begin("between processes", "shared"), go[2], back[2], i;
	char *a, byte;
	pid_t pid;

	ftruncate(fd, 3 * PAGE);
	a = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 3 * PAGE, 0);
	a[0] = 'p';
	pipe(go);
	pipe(back);
	pid = fork();
	if (!pid) {
		int mine = open("shared", O_RDWR);
		char *b = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mine, 0);

		b[1] = b[0] + 1;
		a[PAGE] = 'c';
		write(back[1], "1", 1);
		read(go[0], &byte, 1);
		pwrite(mine, "child", 5, 2 * PAGE);
		b[PAGE + 1] = a[2] + 1;
		write(back[1], "2", 1);
		read(go[0], &byte, 1);
		ftruncate(mine, PAGE);
		write(back[1], "3", 1);
		read(go[0], &byte, 1);
		_exit(b[3]);
	}
	read(back[0], &byte, 1);
	SAY(a[1] * 1000 + a[PAGE]);
	a[2] = 'A';
	write(go[1], "1", 1);
	read(back[0], &byte, 1);
	SAY(a[PAGE + 1]);
	SAY(memcmp(a + 2 * PAGE, "child", 5));
	SAY(touch(a + 2 * PAGE, 1));
	write(go[1], "2", 1);
	read(back[0], &byte, 1);
	SAY(touch(a + PAGE, 0));
	SAY(size_of(fd));
	a[3] = 55;
	write(go[1], "3", 1);
	SAY(WEXITSTATUS(wait_for(pid)));
	for (i = 0; i < 2; i++) {
		close(go[i]);
		close(back[i]);
	}
	munmap(a, 3 * PAGE);
	close(fd);
}

static void limited(void)
{
	int fd = begin("RLIMIT_FSIZE", "limit");
	struct rlimit old, limit;

	getrlimit(RLIMIT_FSIZE, &old);
	limit = (struct rlimit){ 500000, old.rlim_max };
	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_IGN);
	lseek(fd, 495000, SEEK_SET);
	SAY(write(fd, buffer, 4096));
	SAY(write(fd, buffer, 4096));
	SAY(write(fd, buffer, 4096));
	SAY(pwrite(fd, buffer, 10, 500000));
	SAY(pwrite(fd, buffer, 0, 600000));
	SAY(ftruncate(fd, 600000));
	SAY(fallocate(fd, 0, 0, 600000));
	SAY(size_of(fd));
	signal(SIGXFSZ, SIG_DFL);
	setrlimit(RLIMIT_FSIZE, &old);
	SAY(pwrite(fd, "x", 1, LONG_MAX));
	SAY(ftruncate(fd, LONG_MAX) ? 0 : 1);
	close(fd);
}

static void copies(void)
{
	int fd = begin("copies", "from"), to, p[2], q[2];
	off_t at, out;
	loff_t off;

	memset(buffer, 'c', 100000);
	memcpy(buffer, "0123456789", 10);
	SAY(write(fd, buffer, 100000));
	to = open("to", O_RDWR | O_CREAT | O_TRUNC, 0600);
	at = 5;
	SAY(sendfile(to, fd, &at, 20000));
	SAY(at);
	SAY(lseek(fd, 0, SEEK_SET));
	SAY(sendfile(to, fd, NULL, 1 << 20));
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(size_of(to));
	at = -1;
	SAY(sendfile(to, fd, &at, 1));
	at = 0;
	out = 3;
	SAY(copy_file_range(fd, &at, to, &out, 7, 0));
	SAY(at * 100 + out);
	SAY(pread(to, buffer, 12, 0));
	SAY(sum(buffer, 12));
	SAY(copy_file_range(fd, &at, to, &out, 7, 1));
	at = 100000;
	SAY(copy_file_range(fd, &at, to, &out, 7, 0));
	at = 0;
	out = 3;
	SAY(copy_file_range(fd, &at, fd, &out, 7, 0));
	out = 50;
	SAY(copy_file_range(fd, &at, fd, &out, 7, 0));
	pipe(p);
	pipe(q);
	SAY(copy_file_range(fd, NULL, p[1], NULL, 7, 0));
	SAY(sendfile(to, p[0], NULL, 1));
	off = 2;
	SAY(splice(fd, &off, p[1], NULL, 6, 0));
	SAY(off);
	SAY(tee(p[0], q[1], 4, 0));
	SAY(read(q[0], buffer, 10));
	SAY(memcmp(buffer, "2345", 4));
	SAY(splice(p[0], NULL, q[1], NULL, 3, 0));
	SAY(read(q[0], buffer, 10));
	off = 100;
	SAY(splice(p[0], NULL, to, &off, 100, 0));
	SAY(off);
	SAY(pread(to, buffer, 3, 100));
	SAY(memcmp(buffer, "567", 3));
	SAY(splice(p[0], NULL, to, NULL, 10, SPLICE_F_NONBLOCK));
	SAY(splice(fd, NULL, to, NULL, 10, 0));
	SAY(splice(p[0], &off, to, NULL, 10, 0));
	SAY(splice(p[0], NULL, p[1], NULL, 10, 0));
	SAY(splice(fd, NULL, p[1], NULL, 10, 64));
	SAY(splice(fd, NULL, p[1], NULL, 0, 0));
	SAY(vmsplice(p[1], &(struct iovec){ "vmsplice", 8 }, 1, 0));
	SAY(read(p[0], buffer, 100));
	SAY(memcmp(buffer, "vmsplice", 8));
	SAY(vmsplice(fd, &(struct iovec){ "vmsplice", 8 }, 1, 0));
	SAY(tee(p[0], q[1], 4, SPLICE_F_NONBLOCK));
	SAY(tee(p[0], p[1], 4, 0));
	SAY(tee(fd, p[1], 4, 0));
	close(p[1]);
	SAY(splice(p[0], NULL, to, NULL, 10, 0));
	close(p[0]);
	close(q[0]);
	SAY(splice(fd, NULL, q[1], NULL, 1, SPLICE_F_NONBLOCK));
	close(q[1]);
	close(to);
	close(fd);
}

static struct flock lock_of(short type, off_t start, off_t len)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len
	};
}

static int lock(int fd, int command, short type, off_t start, off_t len)
{
	struct flock l = lock_of(type, start, len);

	return fcntl(fd, command, &l);
}

/* What another process is told of [start, start + len): type, start, len. */
static void test_lock(int fd, const char *what, int command, off_t start, off_t len)
{
	struct flock l = lock_of(F_WRLCK, start, len);
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		fcntl(fd, command, &l);
		printf("%s: %d %ld %ld %d\n", what, l.l_type, (long)l.l_start, (long)l.l_len,
		       l.l_pid == getppid() ? 1 : l.l_pid);
		fflush(stdout);
		_exit(0);
	}
	wait_for(pid);
}

static void record_locks(void)
{
	int fd = begin("record locks", "locks"), other, p[2], status;
	struct flock l;
	char byte;
	pid_t pid;

	SAY(lock(fd, F_SETLK, F_RDLCK, 0, 10));
	SAY(lock(fd, F_SETLK, F_WRLCK, 20, 10));
	test_lock(fd, "all", F_GETLK, 0, 0);
	test_lock(fd, "from 10", F_GETLK, 10, 0);
	test_lock(fd, "10 to 20", F_GETLK, 10, 10);
	SAY(lock(fd, F_SETLK, F_RDLCK, 10, 10));
	test_lock(fd, "joined", F_GETLK, 5, 1);
	SAY(lock(fd, F_SETLK, F_UNLCK, 3, 4));
	test_lock(fd, "split", F_GETLK, 0, 0);
	test_lock(fd, "hole", F_GETLK, 3, 4);
	test_lock(fd, "after", F_GETLK, 3, 5);
	SAY(lock(fd, F_SETLK, F_RDLCK, 22, 2));
	test_lock(fd, "weaker", F_GETLK, 22, 2);
	SAY(lock(fd, F_SETLK, F_WRLCK, 100, 0));
	test_lock(fd, "to the end", F_GETLK, 1000000, 5);
	l = lock_of(F_WRLCK, 50, -10);
	SAY(fcntl(fd, F_SETLK, &l));
	test_lock(fd, "backwards", F_GETLK, 0, 49);
	test_lock(fd, "backwards", F_GETLK, 35, 10);
	SAY(lock(fd, F_SETLK, F_WRLCK, -5, 1));
	SAY(lock(fd, F_SETLK, F_WRLCK, 5, -10));
	SAY(lock(fd, F_SETLK, 7, 0, 0));
	SAY(lock(fd, F_GETLK, F_UNLCK, 0, 0));
	SAY(lock(fd, F_SETLK, F_WRLCK, LONG_MAX, 2));
	other = open("locks", O_RDONLY);
	SAY(lock(other, F_SETLK, F_WRLCK, 0, 1));
	SAY(lock(other, F_SETLK, F_RDLCK, 0, 1));
	fflush(stdout);
	if (!(pid = fork())) {
		SAY(lock(fd, F_SETLK, F_WRLCK, 0, 1));
		SAY(lock(fd, F_SETLK, F_RDLCK, 0, 1));
		SAY(lock(fd, F_SETLK, F_WRLCK, 60, 1));
		_exit(0);
	}
	wait_for(pid);
	SAY(lock(fd, F_SETLK, F_WRLCK, 60, 1));
	SAY(close(other));
	test_lock(fd, "after close of another", F_GETLK, 0, 0);
	SAY(fcntl(fd, F_SETLK, nowhere));
	pipe(p);
	SAY(lock(fd, F_SETLK, F_WRLCK, 0, 10));
	fflush(stdout);
	if (!(pid = fork())) {
		write(p[1], "x", 1);
		_exit(lock(fd, F_SETLKW, F_WRLCK, 5, 10) ? errno : 0);
	}
	read(p[0], &byte, 1);
	usleep(20000);
	SAY(waitpid(pid, NULL, WNOHANG));
	SAY(lock(fd, F_SETLK, F_UNLCK, 0, 10));
	SAY(WEXITSTATUS(wait_for(pid)));
	SAY(lock(fd, F_SETLK, F_WRLCK, 0, 10));
	fflush(stdout);
	if (!(pid = fork())) {
		SAY(lock(fd, F_SETLK, F_WRLCK, 20, 10));
		write(p[1], "x", 1);
		status = lock(fd, F_SETLKW, F_WRLCK, 0, 10);
		_exit(status ? errno : 0);
	}
	read(p[0], &byte, 1);
	usleep(50000);
	SAY(lock(fd, F_SETLKW, F_WRLCK, 20, 10));
	SAY(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	SAY(WEXITSTATUS(wait_for(pid)));
	close(p[0]);
	close(p[1]);
	close(fd);
}

static void open_file_locks(void)
{
	int fd = begin("locks of open files", "ofd"), other = open("ofd", O_RDWR), copy = dup(fd);
	struct flock l = lock_of(F_WRLCK, 0, 10);

	SAY(fcntl(fd, F_OFD_SETLK, &l));
	SAY(fcntl(other, F_OFD_SETLK, &l));
	SAY(fcntl(copy, F_OFD_SETLK, &l));
	SAY(fcntl(fd, F_SETLK, &l));
	SAY(fcntl(other, F_OFD_GETLK, &l));
	printf("%d %ld %ld %d\n", l.l_type, (long)l.l_start, (long)l.l_len, l.l_pid);
	l = lock_of(F_WRLCK, 0, 10);
	l.l_pid = 1;
	SAY(fcntl(other, F_OFD_SETLK, &l));
	test_lock(fd, "from another process, same file", F_OFD_GETLK, 0, 10);
	SAY(close(fd));
	l = lock_of(F_WRLCK, 0, 10);
	SAY(fcntl(other, F_OFD_SETLK, &l));
	SAY(close(copy));
	SAY(fcntl(other, F_OFD_SETLK, &l));
	close(other);
}

static void nothing(int signo)
{
	(void)signo;
}

static void whole_files(void)
{
	int fd = begin("flock", "flock"), other = open("flock", O_RDWR), p[2], directory;
	char byte;
	pid_t pid;

	SAY(flock(fd, LOCK_SH));
	SAY(flock(other, LOCK_SH | LOCK_NB));
	SAY(flock(fd, LOCK_EX | LOCK_NB));
	SAY(flock(other, LOCK_EX | LOCK_NB));
	SAY(flock(fd, LOCK_SH | LOCK_NB));
	SAY(flock(other, LOCK_UN));
	SAY(flock(fd, LOCK_SH | LOCK_NB));
	SAY(flock(fd, LOCK_UN));
	SAY(flock(fd, 77));
	SAY(flock(-1, LOCK_SH));
	SAY(flock(fd, LOCK_EX));
	SAY(lock(other, F_SETLK, F_WRLCK, 0, 0));
	pipe(p);
	fflush(stdout);
	if (!(pid = fork())) {
		int mine = open("flock", O_RDONLY);

		SAY(flock(mine, LOCK_EX | LOCK_NB));
		SAY(flock(fd, LOCK_EX | LOCK_NB));
		write(p[1], "x", 1);
		_exit(flock(mine, LOCK_SH) ? errno : 0);
	}
	read(p[0], &byte, 1);
	usleep(20000);
	SAY(waitpid(pid, NULL, WNOHANG));
	SAY(flock(fd, LOCK_UN));
	SAY(WEXITSTATUS(wait_for(pid)));
	SAY(flock(fd, LOCK_EX));
	fflush(stdout);
	if (!(pid = fork())) {
		struct sigaction action = { .sa_handler = nothing };
		int mine = open("flock", O_RDONLY);

		sigaction(SIGALRM, &action, NULL);
		ualarm(20000, 0);
		SAY(flock(mine, LOCK_EX));
		_exit(0);
	}
	wait_for(pid);
	SAY(close(fd));
	SAY(flock(other, LOCK_EX | LOCK_NB));
	directory = open(".", O_RDONLY | O_DIRECTORY);
	SAY(flock(directory, LOCK_EX | LOCK_NB));
	close(directory);
	SAY(flock(p[0], LOCK_EX | LOCK_NB));
	close(p[0]);
	close(p[1]);
	close(other);
}

static void sealed(void)
{
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING), plain_fd = memfd_create("plain", 0);
	char *a;

	puts("-- seals");
	SAY(fcntl(plain_fd, F_GET_SEALS));
	SAY(fcntl(plain_fd, F_ADD_SEALS, F_SEAL_GROW));
	SAY(fcntl(fd, F_GET_SEALS));
	SAY(ftruncate(fd, 2 * PAGE));
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	SAY(ftruncate(fd, 3 * PAGE));
	SAY(pwrite(fd, "x", 1, 2 * PAGE));
	SAY(pwrite(fd, "xy", 2, 2 * PAGE - 1));
	SAY(ftruncate(fd, PAGE));
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	SAY(ftruncate(fd, 0));
	a = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, PAGE, 0);
	a[0] = 'a';
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	munmap(a, PAGE);
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	SAY(pwrite(fd, "x", 1, 0));
	SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	SAY(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	a = map(fd, PROT_READ, MAP_SHARED, PAGE, 0);
	SAY(a[0]);
	SAY(mprotect(a, PAGE, PROT_READ | PROT_WRITE));
	SAY(fcntl(fd, F_ADD_SEALS, 1 << 10));
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	SAY(fcntl(fd, F_GET_SEALS));
	close(fd);
	close(plain_fd);
}

static void other_commands(void)
{
	int fd = begin("other commands of fcntl and ioctl", "other"), to = open("other", O_RDWR),
	    p[2];
	struct f_owner_ex owner = { F_OWNER_PID, 0 };
	unsigned long hint = 3;
	long size;
	int number;

	pipe(p);
	SAY(fcntl(fd, F_GETOWN));
	SAY(fcntl(p[0], F_SETOWN, getpid()));
	SAY(fcntl(p[0], F_GETOWN) == getpid());
	SAY(fcntl(p[0], F_GETOWN_EX, &owner));
	SAY(owner.type * 10 + (owner.pid == getpid()));
	SAY(fcntl(p[0], F_SETOWN, 1 << 30));
	SAY(fcntl(p[0], F_SETOWN, -(1L << 31)));
	owner = (struct f_owner_ex){ 9, 0 };
	SAY(fcntl(p[0], F_SETOWN_EX, &owner));
	SAY(fcntl(p[0], F_SETOWN, 0));
	SAY(fcntl(p[0], F_GETOWN));
	SAY(fcntl(p[0], F_GETSIG));
	SAY(fcntl(p[0], F_SETSIG, 40));
	SAY(fcntl(p[0], F_GETSIG));
	SAY(fcntl(p[0], F_SETSIG, 65));
	SAY(fcntl(fd, F_GETLEASE));
	SAY(fcntl(fd, F_SETLEASE, F_UNLCK));
	SAY(fcntl(fd, F_SETLEASE, 77));
	SAY(fcntl(p[0], F_SETLEASE, F_RDLCK));
	SAY(fcntl(fd, F_NOTIFY, 1));
	SAY(fcntl(fd, F_NOTIFY, 0x80000000L));
	SAY(fcntl(fd, F_GET_RW_HINT, &hint));
	SAY(hint);
	hint = 77;
	SAY(fcntl(fd, F_SET_RW_HINT, &hint));
	SAY(fcntl(fd, 1027, fd));
	SAY(fcntl(fd, 1027, to));
	SAY(fcntl(fd, 99));
	SAY(ioctl(fd, FICLONE, to));
	SAY(ioctl(fd, FICLONE, 99));
	SAY(ioctl(fd, FIGETBSZ, &number));
	SAY(number);
	write(fd, "12345", 5);
	SAY(ioctl(fd, FIOQSIZE, &size));
	SAY(ioctl(p[0], FIOQSIZE, &size));
	SAY(ioctl(fd, FIONREAD, &number));
	SAY(number);
	SAY(ioctl(fd, TCGETS, buffer));
	close(p[0]);
	close(p[1]);
	close(to);
	close(fd);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	plain();
	half_there();
	mapped();
	sync_of_maps();
	closed();
	holes();
	between_processes();
	limited();
	copies();
	record_locks();
	open_file_locks();
	whole_files();
	sealed();
	other_commands();
	return 0;
}
