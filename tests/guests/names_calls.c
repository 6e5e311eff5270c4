// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls that take names, in the current directory, which is empty: each line is a call and its
 * answer. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static char text[1 << 16];
static void *volatile nowhere = (void *)8;

static long say(const char *what, long result)
{
	if (result == -1)
		printf("%s = -1 %s\n", what, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, result);
	return result;
}
#define SAY(call) say(#call, (long)(call))
/* Of a descriptor only whether there is one. */
#define HAS(call) say(#call, (long)(call) < 0 ? -1 : 0)

static void make(const char *name, const char *data)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (write(fd, data, strlen(data)) < 0)
		puts("cannot write");
	close(fd);
}

static void show(const char *name)
{
	struct stat s;

	if (lstat(name, &s)) {
		printf("%s: %s\n", name, strerrorname_np(errno));
		return;
	}
	printf("%s: %o %u:%u %ld %ld\n", name, s.st_mode, s.st_uid, s.st_gid,
	       S_ISDIR(s.st_mode) ? 0 : (long)s.st_nlink, S_ISDIR(s.st_mode) ? 0 : (long)s.st_size);
}

static void link_text(const char *name)
{
	long n = readlink(name, text, sizeof(text));

	if (n < 0)
		printf("%s: %s\n", name, strerrorname_np(errno));
	else
		printf("%s: %.*s\n", name, (int)n, text);
}

static void opening(void)
{
	int fd;

	SAY(open("", O_RDONLY));
	SAY(open(nowhere, O_RDONLY));
	memset(text, 'x', 5000);
	text[5000] = 0;
	SAY(open(text, O_RDONLY));
	text[300] = 0;
	SAY(open(text, O_RDONLY | O_CREAT, 0600));
	text[255] = 0;
	HAS(open(text, O_RDONLY | O_CREAT, 0600));
	SAY(unlink(text));
	SAY(open("none", O_RDWR));
	SAY(open("none/x", O_RDWR | O_CREAT, 0600));
	HAS(fd = open("f", O_RDWR | O_CREAT | O_EXCL, 0640));
	SAY(open("f", O_RDWR | O_CREAT | O_EXCL, 0640));
	SAY(open("f/", O_RDONLY));
	SAY(open("f/x", O_RDONLY));
	SAY(open("f", O_RDONLY | O_DIRECTORY));
	SAY(open("new/", O_RDWR | O_CREAT, 0600));
	SAY(open(".", O_RDWR));
	SAY(open(".", O_RDONLY | O_CREAT, 0600));
	SAY(open(".", O_RDONLY | O_CREAT | O_DIRECTORY, 0600));
	SAY(open(".", O_RDONLY | O_TRUNC));
	SAY(openat(fd, "x", O_RDONLY));
	SAY(openat(99, "x", O_RDONLY));
	HAS(openat(99, "/", O_RDONLY));
	SAY(openat(fd, "", O_RDONLY));
	show("f");
	SAY(write(fd, "0123456789", 10));
	HAS(open("f", O_RDONLY | O_TRUNC));
	show("f");
	SAY(fcntl(fd, F_GETFL) & ~O_LARGEFILE);
	SAY(symlink("f", "l"));
	SAY(open("l", O_RDONLY | O_NOFOLLOW));
	SAY(open("l", O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
	SAY(open("l", O_RDWR | O_CREAT | O_EXCL, 0600));
	HAS(fd = open("l", O_PATH | O_NOFOLLOW));
	SAY(fcntl(fd, F_GETFL) & ~O_LARGEFILE);
	SAY(read(fd, text, 1));
	SAY(write(fd, text, 1));
	SAY(fchmod(fd, 0600));
	SAY(fchown(fd, -1, -1));
	SAY(ftruncate(fd, 0));
	SAY(ioctl(fd, FIONREAD, text));
	SAY(readlinkat(fd, "", text, 10));
	SAY(faccessat(fd, "", R_OK, AT_EMPTY_PATH));
	SAY(symlink("later", "dangling"));
	HAS(open("dangling", O_RDWR | O_CREAT, 0600));
	show("later");
	SAY(symlink("loop", "loop"));
	SAY(open("loop", O_RDONLY));
	SAY(open("loop", O_RDONLY | O_CREAT, 0600));
	HAS(open("loop", O_PATH | O_NOFOLLOW));
	SAY(open("f", O_TMPFILE | O_RDWR, 0600));
	SAY(open(".", O_TMPFILE | O_RDONLY, 0600));
	HAS(fd = open(".", O_TMPFILE | O_RDWR, 0600));
	SAY(write(fd, "tmp", 3));
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	SAY(linkat(AT_FDCWD, text, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	show("named");
	HAS(fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	SAY(linkat(AT_FDCWD, text, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
	SAY(creat("c", 0604));
	show("c");
	SAY(unlink("named"));
}

static long open_how(const char *name, long flags, long mode, long resolve, long size)
{
	struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };

	return syscall(SYS_openat2, AT_FDCWD, name, &how, size) < 0 ? -1 : 0;
}

static void resolving(void)
{
	SAY(mkdir("r", 0755));
	make("r/f", "x");
	SAY(symlink("../f", "r/up"));
	SAY(symlink("/", "r/root"));
	SAY(symlink("f", "r/in"));
	SAY(open_how("r/f", O_RDONLY, 0, 0, 24));
	SAY(open_how("r/f", O_RDONLY, 0, 0, 8));
	SAY(open_how("r/f", O_RDONLY, 0, 0, 9999));
	SAY(open_how("r/f", O_RDONLY, 0600, 0, 24));
	SAY(open_how("r/f", O_RDONLY, 0, 1 << 20, 24));
	SAY(open_how("r/f", O_RDONLY | O_PATH, 0, 0, 24));
	SAY(open_how("r/f", O_RDWR | O_PATH, 0, 0, 24));
	SAY(open_how("r/f", 1L << 40, 0, 0, 24));
	SAY(open_how("r/in", O_RDONLY, 0, RESOLVE_NO_SYMLINKS, 24));
	SAY(open_how("r/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS, 24));
	SAY(open_how("r/up", O_RDONLY, 0, RESOLVE_BENEATH, 24));
	SAY(open_how("r/../../f", O_RDONLY, 0, RESOLVE_BENEATH, 24));
	SAY(open_how("r/root", O_RDONLY, 0, RESOLVE_BENEATH, 24));
	SAY(open_how("/", O_RDONLY, 0, RESOLVE_BENEATH, 24));
	SAY(open_how("/r/root/r/f", O_RDONLY, 0, RESOLVE_IN_ROOT, 24));
	SAY(open_how("../../../r/f", O_RDONLY, 0, RESOLVE_IN_ROOT, 24));
	SAY(open_how("r/f", O_RDONLY, 0, RESOLVE_IN_ROOT | RESOLVE_BENEATH, 24));
	SAY(open_how("/proc/self/root", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS, 24));
	SAY(open_how("/proc/self/status", O_RDONLY, 0, RESOLVE_NO_XDEV, 24));
}

static void names(void)
{
	SAY(mkdir("d", 01777));
	show("d");
	SAY(mkdir("d", 0755));
	SAY(mkdir("d/", 0755));
	SAY(mkdir(".", 0755));
	SAY(mkdir("..", 0755));
	SAY(mkdir("/", 0755));
	SAY(mkdir("", 0755));
	SAY(mkdir("d/e/", 0755));
	SAY(mkdir("none/x", 0755));
	SAY(mkdir("f/x", 0755));
	SAY(mkdir("dangling", 0755));
	SAY(rmdir("d"));
	SAY(rmdir("."));
	SAY(rmdir("d/."));
	SAY(rmdir("d/.."));
	SAY(rmdir("/"));
	SAY(rmdir("f"));
	SAY(rmdir("none"));
	SAY(rmdir("d/e/"));
	SAY(rmdir("d"));
	SAY(unlink("."));
	SAY(unlink("/"));
	SAY(unlink("none"));
	SAY(unlink("f/"));
	SAY(mkdir("d", 0755));
	SAY(unlink("d"));
	SAY(unlink("d/"));
	SAY(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR | 1));
	SAY(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
	SAY(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	SAY(symlink("", "s"));
	SAY(symlink("x", ""));
	SAY(symlink("x", "f"));
	SAY(symlink("x", "s/"));
	SAY(symlink("f", "s"));
	link_text("s");
	link_text("f");
	link_text("none");
	SAY(readlink("s", text, 0));
	SAY(readlink("s", text, -1));
	SAY(link("f", "g"));
	SAY(link("f", "g"));
	SAY(link("f", "h/"));
	SAY(link("none", "h"));
	SAY(link(".", "h"));
	SAY(link("s", "h"));
	SAY(linkat(AT_FDCWD, "s", AT_FDCWD, "i", AT_SYMLINK_FOLLOW));
	SAY(linkat(AT_FDCWD, "s", AT_FDCWD, "j", 1));
	show("f");
	show("h");
	SAY(link("/proc/self/status", "j"));
	SAY(mknod("p", S_IFIFO | 0666, 0));
	SAY(mknod("p", S_IFIFO | 0666, 0));
	SAY(mknod("q", S_IFDIR | 0666, 0));
	SAY(mknod("q", S_IFLNK | 0666, 0));
	SAY(mknod("q", 0666, 0));
	SAY(mknod("q/", S_IFIFO | 0666, 0));
	SAY(mknod("so", S_IFSOCK | 0777, 0));
	show("p");
	show("q");
	show("so");
	SAY(open("so", O_RDONLY));
	HAS(open("so", O_PATH));
}

static void moving(void)
{
	SAY(mkdir("m", 0755));
	SAY(mkdir("m/n", 0755));
	make("m/n/x", "x");
	make("y", "yy");
	SAY(rename("none", "z"));
	SAY(rename("y", ""));
	SAY(rename("y", "none/z"));
	SAY(rename("y", "m"));
	SAY(rename("m", "y"));
	SAY(rename("m", "m/n/o"));
	SAY(rename("m/n/x", "m"));
	SAY(rename("m/n", "m"));
	SAY(rename(".", "z"));
	SAY(rename("y", "."));
	SAY(rename("m/..", "z"));
	SAY(rename("y", "z/"));
	SAY(rename("y/", "z"));
	SAY(rename("m", "z/"));
	SAY(rename("z/n/../n/x", "z/x"));
	SAY(rename("y", "y"));
	SAY(link("y", "y2"));
	SAY(rename("y", "y2"));
	show("y");
	SAY(renameat2(AT_FDCWD, "y", AT_FDCWD, "z", RENAME_NOREPLACE));
	SAY(renameat2(AT_FDCWD, "y", AT_FDCWD, "w", RENAME_NOREPLACE));
	SAY(renameat2(AT_FDCWD, "w", AT_FDCWD, "none", RENAME_EXCHANGE));
	SAY(renameat2(AT_FDCWD, "w", AT_FDCWD, "z", RENAME_EXCHANGE));
	show("w");
	show("z");
	show("w/x");
	SAY(renameat2(AT_FDCWD, "w", AT_FDCWD, "w/n", RENAME_EXCHANGE));
	SAY(renameat2(AT_FDCWD, "w", AT_FDCWD, "z", RENAME_EXCHANGE | RENAME_NOREPLACE));
	SAY(renameat2(AT_FDCWD, "w", AT_FDCWD, "z", 64));
	SAY(rename("z", "/proc/z"));
	SAY(rename("/proc/self/status", "z"));
	SAY(mkdir("empty", 0755));
	SAY(rename("w", "empty"));
	SAY(rename("empty", "w"));
	show("empty/x");
}

static void directories(void)
{
	char cwd[4096];
	DIR *d;
	struct dirent *e;
	long places[3], seen = 0;
	int fd, n;

	SAY(mkdir("dir", 0755));
	HAS(chdir("dir"));
	for (int i = 0; i < 3000; i++) {
		snprintf(text, sizeof(text), "entry-%d", i);
		n = open(text, O_CREAT | O_WRONLY, 0600);
		close(n);
	}
	d = opendir(".");
	while ((e = readdir(d)))
		seen++;
	SAY(seen);
	rewinddir(d);
	for (int i = 0; i < 3; i++) {
		places[i] = telldir(d);
		e = readdir(d);
		strcpy(text + 300 * i, e->d_name);
	}
	for (int i = 2; i >= 0; i--) {
		seekdir(d, places[i]);
		e = readdir(d);
		SAY(strcmp(e->d_name, text + 300 * i));
	}
	/* Everything that is there all the while is seen once. */
	rewinddir(d);
	seen = 0;
	while ((e = readdir(d))) {
		int number = -1;

		if (sscanf(e->d_name, "entry-%d", &number) == 1 && number % 2) {
			seen++;
			snprintf(text, sizeof(text), "entry-%d", number - 1);
			unlink(text);
		}
	}
	SAY(seen);
	closedir(d);
	HAS(fd = open(".", O_RDONLY | O_DIRECTORY));
	SAY(syscall(SYS_getdents64, fd, text, 8));
	SAY(syscall(SYS_getdents64, fd, nowhere, 4096));
	SAY(syscall(SYS_getdents64, 99, text, 4096));
	n = open("entry-1", O_RDONLY);
	SAY(syscall(SYS_getdents64, n, text, 4096));
	SAY(read(fd, text, 10));
	SAY(write(fd, text, 10));
	SAY(lseek(fd, 0, SEEK_SET));
	SAY(syscall(SYS_getdents, fd, text, 4096) > 0);
	for (int i = 0; i < 3000; i++) {
		snprintf(text, sizeof(text), "entry-%d", i);
		unlink(text);
	}
	SAY(chdir("none"));
	SAY(fchdir(n));
	SAY(fchdir(99));
	SAY(mkdir("gone", 0755));
	HAS(chdir("gone"));
	SAY(rename("../gone", "../elsewhere"));
	printf("%s\n", strrchr(getcwd(cwd, sizeof(cwd)), '/'));
	SAY(syscall(SYS_getcwd, text, 3));
	SAY(syscall(SYS_getcwd, nowhere, 4096));
	fd = open(".", O_RDONLY);
	SAY(rmdir("../elsewhere"));
	SAY(getcwd(cwd, sizeof(cwd)) ? 0 : -1);
	n = readlink("/proc/self/cwd", text, sizeof(text));
	text[n] = 0;
	printf("%s\n", strrchr(text, '/'));
	SAY(syscall(SYS_getdents64, fd, text, 4096));
	HAS(open("x", O_CREAT | O_WRONLY, 0600));
	SAY(mkdir("x", 0700));
	HAS(open(".", O_RDONLY));
	SAY(access("..", R_OK));
	HAS(chdir(".."));
	HAS(chdir(".."));
	SAY(rmdir("dir"));
}

static void rights(void)
{
	struct stat s;

	make("a", "aaa");
	SAY(chmod("a", 07777));
	show("a");
	SAY(chmod("none", 0));
	SAY(chmod("a/", 0));
	SAY(fchmodat(AT_FDCWD, "a", 0444, 0));
	SAY(syscall(SYS_fchmodat2, AT_FDCWD, "a", 0445, 0x8000));
	SAY(syscall(SYS_fchmodat2, AT_FDCWD, "s", 0445, AT_SYMLINK_NOFOLLOW));
	SAY(syscall(SYS_fchmodat2, AT_FDCWD, "a", 0445, AT_SYMLINK_NOFOLLOW));
	SAY(chown("a", -1, -1));
	SAY(chown("a", getuid(), getgid()));
	SAY(chown("a", 1, -1));
	SAY(lchown("s", getuid(), -1));
	SAY(fchownat(AT_FDCWD, "a", -1, -1, 1));
	show("a");
	SAY(chmod("a", 06777));
	SAY(chown("a", getuid(), -1));
	show("a");
	SAY(chmod("a", 0));
	HAS(open("a", O_RDONLY));
	HAS(open("a", O_WRONLY));
	SAY(access("a", F_OK));
	SAY(access("a", R_OK));
	SAY(access("a", W_OK));
	SAY(access("a", X_OK));
	SAY(access("a", 9));
	SAY(syscall(SYS_faccessat2, AT_FDCWD, "a", R_OK, AT_EACCESS));
	SAY(syscall(SYS_faccessat2, AT_FDCWD, "a", R_OK, 1));
	SAY(syscall(SYS_faccessat2, AT_FDCWD, "s", R_OK, AT_SYMLINK_NOFOLLOW));
	SAY(access("/proc/self/status", W_OK));
	SAY(mkdir("closed", 0));
	HAS(open("closed/x", O_CREAT | O_RDWR, 0600));
	HAS(open("closed", O_RDONLY));
	SAY(chmod("closed", 0600));
	SAY(access("closed/x", F_OK));
	HAS(chdir("closed"));
	if (!getuid())
		HAS(chdir(".."));
	SAY(rename("closed", "shut"));
	SAY(chmod("shut", 0500));
	SAY(mkdir("shut/x", 0700));
	SAY(unlink("shut/none"));
	SAY(chmod("shut", 02775));
	SAY(mkdir("shut/sub", 0755));
	show("shut/sub");
	SAY(truncate("none", 1));
	SAY(truncate("shut", 1));
	SAY(truncate("p", 1));
	SAY(truncate("f", -1));
	SAY(truncate("f", 5000));
	SAY(stat("f", &s) ? -1 : s.st_size);
	SAY(stat("f", nowhere));
	SAY(stat(nowhere, &s));
	SAY(stat("f/", &s));
	SAY(lstat("s/", &s));
	SAY(lstat("", &s));
	SAY(fstatat(AT_FDCWD, "", &s, AT_EMPTY_PATH));
	SAY(fstatat(AT_FDCWD, "f", &s, 1));
	SAY(fstatat(99, "f", &s, 0));
	SAY(umask(0777));
	make("masked", "");
	SAY(umask(022));
	show("masked");
}

static void times(void)
{
	struct timespec ts[2] = { { 1000000000, 123456789 }, { 1200000000, 987654321 } };
	struct timeval tv[2] = { { 5, 6 }, { 7, 1000000 } };
	struct utimbuf ub = { 11, 12 };
	struct statx x;
	struct stat s;

	make("t", "t");
	SAY(utimensat(AT_FDCWD, "t", ts, 0));
	stat("t", &s);
	printf("%ld.%ld %ld.%ld\n", s.st_atim.tv_sec, s.st_atim.tv_nsec, s.st_mtim.tv_sec,
	       s.st_mtim.tv_nsec);
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1].tv_nsec = 5;
	SAY(utimensat(AT_FDCWD, "t", ts, 0));
	ts[1].tv_nsec = 1000000000;
	SAY(utimensat(AT_FDCWD, "t", ts, 0));
	ts[1].tv_nsec = UTIME_OMIT;
	SAY(utimensat(AT_FDCWD, "none", ts, 0));
	ts[1].tv_nsec = 0;
	SAY(utimensat(AT_FDCWD, "none", ts, 0));
	SAY(utimensat(AT_FDCWD, "t", ts, 7));
	SAY(utimensat(AT_FDCWD, "t", nowhere, 0));
	SAY(utimensat(99, NULL, ts, 0));
	SAY(utimes("t", tv));
	tv[1].tv_usec = 8;
	SAY(utimes("t", tv));
	SAY(statx(AT_FDCWD, "t", 0, STATX_ALL, &x));
	printf("%lld.%u %lld.%u %d %d\n", (long long)x.stx_atime.tv_sec, x.stx_atime.tv_nsec,
	       (long long)x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec,
	       (x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS, x.stx_mode);
	SAY(utime("t", &ub));
	stat("t", &s);
	printf("%ld %ld\n", s.st_atime, s.st_mtime);
	SAY(utime("t", NULL));
	stat("t", &s);
	SAY(s.st_mtime == s.st_atime && s.st_mtime > 1000);
	SAY(statx(AT_FDCWD, "t", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, 0, &x));
	SAY(statx(AT_FDCWD, "t", 0, STATX__RESERVED, &x));
	SAY(statx(AT_FDCWD, "", AT_EMPTY_PATH, 0, &x));
	SAY(statx(AT_FDCWD, "", 0, 0, &x));
}

static void deleted(void)
{
	struct stat s;
	char at[64];
	int fd, again, ends[2];
	long n;

	make("open", "contents");
	fd = open("open", O_RDWR);
	SAY(unlink("open"));
	SAY(fstat(fd, &s) ? -1 : (long)s.st_nlink);
	snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
	n = readlink(at, text, sizeof(text));
	text[n] = 0;
	printf("%s\n", strrchr(text, '/'));
	HAS(again = open(at, O_RDWR));
	SAY(read(again, text, 100));
	SAY(write(again, "more", 4));
	SAY(pread(fd, text, 100, 0));
	HAS(open(at, O_RDONLY | O_TRUNC));
	SAY(pread(fd, text, 100, 0));
	SAY(linkat(AT_FDCWD, at, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
	HAS(open(at, O_RDONLY | O_NOFOLLOW));
	HAS(open(at, O_PATH | O_NOFOLLOW));
	close(fd);
	HAS(open(at, O_RDONLY));
	make("open", "1");
	fd = open("open", O_RDONLY);
	SAY(rename("open", "opened"));
	n = readlink(at, text, sizeof(text));
	text[n] = 0;
	printf("%s\n", strrchr(text, '/'));
	make("over", "2");
	SAY(rename("over", "opened"));
	n = readlink(at, text, sizeof(text));
	text[n] = 0;
	printf("%s\n", strrchr(text, '/'));
	SAY(read(fd, text, 5));
	SAY(pipe(ends) ? -1 : 0);
	fstat(ends[0], &s);
	printf("%o %u:%u\n", s.st_mode, s.st_uid, s.st_gid);
	snprintf(at, sizeof(at), "/proc/self/fd/%d", ends[0]);
	HAS(open(at, O_RDONLY));
	SAY(fchmod(ends[0], 0));
	HAS(open(at, O_RDONLY));
	SAY(fchown(ends[0], getuid(), 77));
	fstat(ends[1], &s);
	printf("%o %u:%u\n", s.st_mode, s.st_uid, s.st_gid);
}

static void attributes(void)
{
	make("x", "");
	SAY(getxattr("x", "user.a", text, 10));
	SAY(setxattr("x", "user.a", "value", 5, 0));
	SAY(setxattr("x", "user.a", "value", 5, XATTR_CREATE));
	SAY(setxattr("x", "user.b", "value", 5, XATTR_REPLACE));
	SAY(setxattr("x", "user.b", "", 0, 4));
	SAY(setxattr("x", "user.b", "", 0, 0));
	SAY(getxattr("x", "user.a", text, 2));
	SAY(getxattr("x", "user.a", text, 0));
	SAY(getxattr("x", "user.a", text, 10));
	SAY(setxattr("x", "strange.a", "v", 1, 0));
	SAY(setxattr("x", "", "v", 1, 0));
	SAY(setxattr("x", "user.", "v", 1, 0));
	SAY(lsetxattr("s", "user.a", "v", 1, 0));
	SAY(setxattr("p", "user.a", "v", 1, 0));
	SAY(removexattr("x", "user.c"));
	SAY(removexattr("x", "user.b"));
	SAY(listxattr("x", text, 0) >= 7);
	SAY(getxattr("none", "user.a", text, 10));
}

static void nothing(int signo)
{
	(void)signo;
}

static void fifos(void)
{
	struct pollfd one = { .events = POLLIN | POLLOUT };
	struct sigaction act = { .sa_handler = nothing };
	int r, w, status;

	SAY(mkfifo("fifo", 0600));
	SAY(open("fifo", O_WRONLY | O_NONBLOCK));
	HAS(r = open("fifo", O_RDONLY | O_NONBLOCK));
	one.fd = r;
	SAY(poll(&one, 1, 0));
	SAY(read(r, text, 10));
	HAS(w = open("fifo", O_WRONLY | O_NONBLOCK));
	SAY(read(r, text, 10));
	SAY(write(w, "hello", 5));
	SAY(read(r, text, 10));
	SAY(write(w, "lost", 4));
	close(w);
	SAY(poll(&one, 1, 0));
	printf("%#x\n", one.revents);
	close(r);
	HAS(r = open("fifo", O_RDWR));
	one.fd = r;
	SAY(poll(&one, 1, 0));
	printf("%#x\n", one.revents);
	close(r);
	if (!fork()) {
		w = open("fifo", O_WRONLY);
		_exit(write(w, "from the child", 14) != 14);
	}
	r = open("fifo", O_RDONLY);
	SAY(read(r, text, 100));
	SAY(read(r, text, 100));
	wait(&status);
	SAY(status);
	close(r);
	if (!fork()) {
		r = open("fifo", O_RDONLY);
		_exit(read(r, text, 100) != 7);
	}
	w = open("fifo", O_WRONLY);
	SAY(write(w, "to them", 7));
	wait(&status);
	SAY(status);
	signal(SIGPIPE, SIG_IGN);
	SAY(write(w, "x", 1));
	close(w);
	sigaction(SIGALRM, &act, NULL);
	ualarm(20000, 0);
	SAY(open("fifo", O_RDONLY));
	ualarm(20000, 0);
	SAY(open("fifo", O_WRONLY));
	SAY(open("fifo", O_WRONLY | O_NONBLOCK));
	SAY(unlink("fifo"));
}

static void roots(void)
{
	struct statfs s;
	int fd;

	SAY(statfs(".", &s));
	SAY(s.f_bsize);
	SAY(s.f_namelen);
	SAY(statfs("none", &s));
	SAY(statfs("/proc", &s));
	SAY(s.f_type);
	SAY(fstatfs(99, &s));
	fd = open("/proc/self/status", O_RDONLY);
	SAY(fstatfs(fd, &s) ? -1 : s.f_type);
	SAY(mkdir("/proc/x", 0755));
	SAY(open("/proc/x", O_CREAT | O_RDWR, 0600));
	SAY(unlink("/proc/self/status"));
	SAY(rmdir("/proc"));
	SAY(chroot("none"));
	if (getuid()) {
		SAY(chroot("."));
		return;
	}
	SAY(mkdir("jail", 0755));
	make("jail/inside", "in");
	SAY(chroot("f"));
	SAY(chroot("jail"));
	HAS(open("/inside", O_RDONLY));
	HAS(open("/../../inside", O_RDONLY));
	HAS(open("jail/inside", O_RDONLY));
	HAS(open("/proc/self/status", O_RDONLY));
	SAY(chdir("/"));
	printf("%s\n", getcwd(text, sizeof(text)));
	HAS(open("../inside", O_RDONLY));
}

int main(void)
{
	umask(022);
	opening();
	resolving();
	names();
	moving();
	directories();
	rights();
	times();
	deleted();
	attributes();
	fifos();
	roots();
	return 0;
}
