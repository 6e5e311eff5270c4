/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and directories as libc gives them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "libc_check.h"

static int file_with(const char *name, const char *text)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		give_up(name);
	return fd;
}

static const char *contents(const char *name)
{
	static char text[4096];
	int fd = open(name, O_RDONLY);
	ssize_t length = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[length < 0 ? 0 : length] = 0;
	return length < 0 ? outcome(-1) : text;
}

CHECK(file_open)
{
	int fd = file_with("file", "0123456789");

	say("exclusive %s", outcome(open("file", O_CREAT | O_EXCL | O_WRONLY, 0600)));
	say("directory %s", outcome(open("file", O_DIRECTORY)));
	say("below %s", outcome(open("file/x", O_RDONLY)));
	say("missing %s", outcome(open("missing", O_RDONLY)));
	say("writes . %s", outcome(open(".", O_WRONLY)));
	say("empty %s", outcome(open("", O_RDONLY)));
	say("seek %ld", (long)lseek(fd, -3, SEEK_END));
	say("before %s", outcome(lseek(fd, -30, SEEK_END)));
	say("beyond %ld", (long)lseek(fd, 20, SEEK_SET));
	say("write %s", outcome(write(fd, "end", 3)));
	say("size %ld", (long)lseek(fd, 0, SEEK_END));
	close(fd);
	fd = open("file", O_WRONLY | O_APPEND);
	lseek(fd, 0, SEEK_SET);
	say("append %s", outcome(write(fd, "!", 1)));
	say("position %ld", (long)lseek(fd, 0, SEEK_CUR));
	say("read %s", outcome(read(fd, &fd, 1)));
	say("truncate %s", outcome(truncate("file", 4)));
	say("contents %s", contents("file"));
	say("negative %s", outcome(truncate("file", -1)));
	say("closed %s", outcome(close(99)));
}

CHECK(file_vectors)
{
	int fd = file_with("file", "");
	volatile int many = -1;
	char first[4] = "", second[8] = "";
	struct iovec out[] = { { "abc", 3 }, { "", 0 }, { "defgh", 5 } };
	struct iovec in[] = { { first, 3 }, { second, 7 } };

	say("writev %zd", writev(fd, out, 3));
	say("pwritev %zd", pwritev(fd, out, 1, 8));
	say("preadv %zd %s %s", preadv(fd, in, 2, 1), first, second);
	say("pread %zd", pread(fd, first, 3, 100));
	say("position %ld", (long)lseek(fd, 0, SEEK_CUR));
	say("vectors %s", outcome(writev(fd, out, many)));
}

CHECK(file_descriptors)
{
	int fd = file_with("file", "text"), copy = dup(fd), moved;

	say("shared %ld", (long)(lseek(fd, 2, SEEK_SET), lseek(copy, 0, SEEK_CUR)));
	say("dup2 %d", dup2(fd, 50));
	say("same %d", dup2(50, 50));
	say("dup3 same %s", outcome(dup3(50, 50, 0)));
	moved = fcntl(fd, F_DUPFD_CLOEXEC, 60);
	say("from 60 %d %d", moved, fcntl(moved, F_GETFD));
	say("flags %o", fcntl(fd, F_GETFL) & ~O_LARGEFILE & 07777);
	fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK);
	say("flags of the copy %o", fcntl(copy, F_GETFL) & (O_APPEND | O_NONBLOCK));
	say("isatty %d", isatty(fd));
	say("error %s", outcome(-1));
	say("lowest %d", (close(1), dup(fd)) == 1);
}

CHECK(file_links)
{
	struct stat st;
	char text[64];

	file_with("file", "text");
	say("link %s", outcome(link("file", "second")));
	stat("second", &st);
	say("links %ld", (long)st.st_nlink);
	say("link again %s", outcome(link("file", "second")));
	say("symlink %s", outcome(symlink("file", "soft")));
	say("readlink %zd %.4s", readlink("soft", text, sizeof(text)), text);
	say("not a link %s", outcome(readlink("file", text, sizeof(text))));
	say("nofollow %s", outcome(open("soft", O_NOFOLLOW)));
	symlink("loop", "loop");
	say("loop %s", outcome(open("loop", O_RDONLY)));
	symlink("nowhere", "dangling");
	say("dangling %s", outcome(stat("dangling", &st)));
	say("lstat %s", outcome(lstat("dangling", &st)));
	say("size %ld", (long)st.st_size);
	say("create through it %s", outcome(open("dangling", O_CREAT | O_WRONLY, 0600)));
	say("there now %s", outcome(access("nowhere", W_OK)));
	say("unlink %s", outcome(unlink("file")));
	say("second %s", contents("second"));
	say("soft %s", outcome(access("soft", F_OK)));
	say("realpath %d", realpath("./../file_links/second", NULL) != NULL);
	say("no realpath %s", outcome(realpath("soft", NULL) ? 0 : -1));
}

CHECK(file_directories)
{
	struct dirent **names;
	char path[PATH_MAX];
	int count, fd;
	long where;
	DIR *dir;

	say("mkdir %s", outcome(mkdir("d", 0755)));
	say("again %s", outcome(mkdir("d", 0755)));
	say("parent %s", outcome(mkdir("x/y", 0755)));
	for (int i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "d/name%d", i);
		close(open(path, O_CREAT | O_WRONLY, 0644));
	}
	say("not empty %s", outcome(rmdir("d")));
	say("unlink %s", outcome(unlink("d") ? -1 : 0));
	count = scandir("d", &names, NULL, alphasort);
	say("%d names: %s %s %s %s", count, names[0]->d_name, names[1]->d_name, names[2]->d_name,
	    names[count - 1]->d_name);
	dir = opendir("d");
	for (int i = 0; i < 100; i++)
		readdir(dir);
	where = telldir(dir);
	strcpy(path, readdir(dir)->d_name);
	while (readdir(dir))
		;
	seekdir(dir, where);
	say("seekdir %d", !strcmp(path, readdir(dir)->d_name));
	rewinddir(dir);
	for (count = 0; readdir(dir); count++)
		;
	say("rewound %d", count);
	fd = dirfd(dir);
	say("openat %s", outcome(openat(fd, "name7", O_RDONLY)));
	say("chdir %s", outcome(fchdir(fd)));
	say("name %s", strrchr(getcwd(path, sizeof(path)), '/'));
	say("small %s", outcome(getcwd(path, 3) ? 0 : -1));
	for (int i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "name%d", i);
		unlink(path);
	}
	say("rmdir . %s", outcome(rmdir(".")));
	say("rmdir %s", outcome(rmdir("../d")));
	say("getcwd %s", outcome(getcwd(path, sizeof(path)) ? 0 : -1));
	say("create %s", outcome(open("new", O_CREAT | O_WRONLY, 0600)));
}

static long renameat2_(const char *from, const char *to, unsigned int flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

CHECK(file_rename)
{
	file_with("a", "A");
	file_with("b", "B");
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	mkdir("f", 0755);
	say("over %s %s", outcome(rename("a", "b")), contents("b"));
	say("gone %s", outcome(rename("a", "c")));
	say("on directory %s", outcome(rename("b", "d")));
	say("directory on file %s", outcome(rename("d", "b")));
	say("into itself %s", outcome(rename("d", "d/e/g")));
	say("on empty %s", outcome(rename("d", "f")));
	say("inside %s", outcome(access("f/e", F_OK)));
	say("on full %s", outcome((mkdir("g", 0755), rename("g", "f"))));
	file_with("c", "C");
	say("noreplace %s", outcome(renameat2_("b", "c", 1)));
	say("exchange %s", outcome(renameat2_("b", "c", 2)));
	say("b is %s", contents("b"));
	say("c is %s", contents("c"));
}

static int visited(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	say("%s kind %d level %d", path, kind, at->level);
	return 0;
}

CHECK(file_trees)
{
	glob_t found;

	mkdir("t", 0755);
	mkdir("t/u", 0755);
	file_with("t/u/one", "");
	symlink("u", "v");
	nftw("t", visited, 8, FTW_PHYS | FTW_DEPTH);
	file_with("x1.c", "");
	file_with("x2.c", "");
	file_with(".x3.c", "");
	glob("x[0-9].[ch]", 0, NULL, &found);
	for (size_t i = 0; i < found.gl_pathc; i++)
		say("glob %s", found.gl_pathv[i]);
	say("none %d", glob("*.none", 0, NULL, &found) == GLOB_NOMATCH);
}

CHECK(file_attributes)
{
	struct timespec times[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
	struct stat st;
	int fd;

	umask(027);
	fd = open("file", O_CREAT | O_RDWR, 0666);
	fstat(fd, &st);
	say("mode %o, size %ld, links %ld", st.st_mode, (long)st.st_size, (long)st.st_nlink);
	say("mine %d", st.st_uid == geteuid());
	say("chmod %s", outcome(fchmod(fd, 01751)));
	say("times %s", outcome(futimens(fd, times)));
	stat("file", &st);
	say("mode %o, atime %ld.%09ld, mtime %ld.%09ld", st.st_mode, (long)st.st_atim.tv_sec,
	    st.st_atim.tv_nsec, (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_nsec = UTIME_NOW;
	utimensat(AT_FDCWD, "file", times, 0);
	stat("file", &st);
	say("atime kept %ld, mtime is now %d", (long)st.st_atim.tv_sec, st.st_mtime > 1200000000);
	say("changed after %d", st.st_ctime >= st.st_mtime);
	mkdir("d", 0777);
	stat("d", &st);
	say("directory %o, links %ld", st.st_mode, (long)st.st_nlink);
	say("fifo %s", outcome(mkfifo("fifo", 0666)));
	stat("fifo", &st);
	say("fifo %o", st.st_mode);
	say("chown to myself %s", outcome(chown("file", geteuid(), getegid())));
}

CHECK(file_locks)
{
	int fd = file_with("file", "0123456789"), status;

	say("lockf %s", outcome(lockf(fd, F_TLOCK, 5)));
	say("flock %s", outcome(flock(fd, LOCK_EX)));
	if (!fork()) {
		int other = open("file", O_RDWR);
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		say("child %s", outcome(lockf(other, F_TEST, 100)));
		fcntl(other, F_GETLK, &lock);
		say("holder %d, from %ld, %ld bytes", lock.l_pid == getppid(), (long)lock.l_start,
		    (long)lock.l_len);
		say("flock %s", outcome(flock(other, LOCK_SH | LOCK_NB)));
		lseek(other, 20, SEEK_SET);
		say("free part %s", outcome(lockf(other, F_TLOCK, 5)));
		lseek(other, 0, SEEK_SET);
		say("waited %s", outcome(lockf(other, F_LOCK, 1)));
		_exit(0);
	}
	usleep(30000);
	lseek(fd, 0, SEEK_SET);
	say("unlock %s", outcome(lockf(fd, F_ULOCK, 0)));
	wait(&status);
}

CHECK(file_mapped)
{
	int fd = file_with("file", "");
	char *shared, *private;

	ftruncate(fd, 10000);
	shared = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	strcpy(shared + 5000, "shared");
	say("seen %s", private + 5000);
	strcpy(private + 5000, "private");
	say("apart %s %s", shared + 5000, private + 5000);
	pwrite(fd, "written", 8, 9000);
	say("coherent %s", shared + 9000);
	if (!fork()) {
		strcpy(shared + 100, "by the child");
		_exit(0);
	}
	wait(NULL);
	say("%s", shared + 100);
	say("msync %s", outcome(msync(shared, 12288, MS_SYNC)));
	close(fd);
	fd = open("file", O_RDONLY);
	say("read only %s",
	    outcome(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0));
	if (!fork()) {
		shared[12287] = 1;
		say("the tail of the last page");
		truncate("file", 100);
		shared[5000] = 1;
	}
	wait(&fd);
	say("killed by %s", strsignal(WTERMSIG(fd)));
}

CHECK(file_space)
{
	int fd = file_with("file", ""), other = file_with("other", "");
	struct stat st;
	off_t from = 0;

	say("allocate %d", posix_fallocate(fd, 0, 65536));
	fstat(fd, &st);
	say("size %ld, blocks at least %d", (long)st.st_size, st.st_blocks >= 128);
	pwrite(fd, "data", 4, 40000);
	say("sendfile %zd", sendfile(other, fd, &from, 50000));
	say("copy %zd", copy_file_range(fd, &from, other, NULL, 10000, 0));
	fstat(other, &st);
	say("size %ld", (long)st.st_size);
	ftruncate(other, 0);
	ftruncate(other, 1 << 20);
	fstat(other, &st);
	say("hole %ld blocks", (long)st.st_blocks);
	say("data %s", outcome(lseek(other, 0, SEEK_DATA)));
	say("advise %d", posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	say("fsync %s, fdatasync %s", outcome(fsync(fd)), outcome(fdatasync(fd)));
}

CHECK(file_large)
{
	int fd = file_with("file", "");
	const off_t far = 0x180000000;
	struct stat st;
	char *page;

	say("write %zd", pwrite(fd, "far", 3, far));
	fstat(fd, &st);
	say("size %lld, blocks few %d", (long long)st.st_size, st.st_blocks < 100);
	say("seek %lld", (long long)lseek(fd, -1, SEEK_END));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, far);
	say("mapped %.3s", page == MAP_FAILED ? "not" : page);
	say("shrink %s", outcome(ftruncate(fd, far - 1)));
	unlink("file");
}

CHECK(file_temporary)
{
	char name[] = "nameXXXXXX", dir[] = "dirXXXXXX", bad[] = "badXXX";
	struct stat st;
	FILE *file;
	int fd;

	fd = mkstemp(name);
	fstat(fd, &st);
	say("mkstemp %o %zu", st.st_mode, strlen(name));
	say("mkdtemp %s", outcome(mkdtemp(dir) ? 0 : -1));
	say("rmdir %s", outcome(rmdir(dir)));
	say("bad %s", outcome(mkstemp(bad)));
	unlink(name);
	fstat(fd, &st);
	say("unlinked %ld, still %s", (long)st.st_nlink, outcome(write(fd, "x", 1)));
	file = tmpfile();
	if (!file)
		give_up("tmpfile");
	fprintf(file, "kept");
	rewind(file);
	say("tmpfile %c", fgetc(file));
}

CHECK(file_names)
{
	char name[300];
	struct statvfs st;

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	say("255 %s", outcome(open(name, O_CREAT | O_WRONLY, 0600)));
	name[255] = 'n';
	name[256] = 0;
	say("256 %s", outcome(open(name, O_CREAT | O_WRONLY, 0600)));
	say("odd %s", outcome(open("\n\x80\xff *", O_CREAT | O_WRONLY, 0600)));
	say("statvfs %s", outcome(statvfs(".", &st)));
	say("longest %ld", (long)st.f_namemax);
	say("pathconf %ld %ld", pathconf(".", _PC_NAME_MAX), pathconf(".", _PC_PATH_MAX));
}

CHECK(file_devices)
{
	char text[16] = "unchanged";
	int fd = open("/dev/full", O_RDWR);

	say("full %s", outcome(write(fd, "x", 1)));
	say("zeros %zd", read(fd, text, 4));
	say("sum %d", text[0] + text[3]);
	fd = open("/dev/null", O_RDWR);
	say("null %zd %zd", write(fd, "abc", 3), read(fd, text, 3));
	fd = open("/dev/urandom", O_RDONLY);
	say("random %zd", read(fd, text, sizeof(text)));
	fd = file_with("file", "through a descriptor");
	snprintf(text, sizeof(text), "/dev/fd/%d", fd);
	say("%s", contents(text));
}
