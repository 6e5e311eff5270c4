// SPDX-License-Identifier: GPL-2.0-or-later
/* Random calls that make, take away and move names, in the current directory, which is empty: each
 * line is a call and its answer, the last ones are the tree that is left. Arguments: seed, calls,
 * "plain" for no files without names. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static uint64_t state;
static int plain;

static unsigned below(unsigned n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(state >> 33) % n;
}

static const char *name(void)
{
	static const char *const names[] = { "a", "b", "c", "d", "e" };

	return below(40) ? names[below(5)] : below(2) ? "." : "..";
}

static char *path(char *buffer)
{
	static const char *const ends[] = { "/", "/.", "//", "/.." };
	unsigned deep = 1 + below(3);

	strcpy(buffer, below(50) ? "" : "./");
	while (deep--) {
		strcat(buffer, name());
		if (deep)
			strcat(buffer, "/");
	}
	if (!below(15))
		strcat(buffer, ends[below(4)]);
	return buffer;
}

static void say(const char *call, const char *one, const char *other, long number, long result)
{
	if (result == -1)
		printf("%s %s %s %#lo: %s\n", call, one, other, number, strerrorname_np(errno));
	else
		printf("%s %s %s %#lo: %ld\n", call, one, other, number, result);
}

static void show(const char *at, const struct stat *s)
{
	int regular = S_ISREG(s->st_mode) || S_ISLNK(s->st_mode);

	printf("%s %06o %ld %u:%u %ld\n", at, s->st_mode,
	       S_ISDIR(s->st_mode) ? 0 : (long)s->st_nlink, s->st_uid, s->st_gid,
	       regular ? (long)s->st_size : 0);
}

static void look(const char *at)
{
	struct stat s;
	char text[256];
	long n;

	if (lstat(at, &s)) {
		say("lstat", at, "", 0, -1);
		return;
	}
	show(at, &s);
	n = readlink(at, text, sizeof(text));
	if (n > 0)
		printf("says %.*s\n", (int)n, text);
}

static void opened(char *at)
{
	static const int kinds[] = { O_RDONLY, O_WRONLY, O_RDWR };
	static const int extras[] = { 0,
				      O_CREAT,
				      O_CREAT | O_EXCL,
				      O_TRUNC,
				      O_CREAT | O_TRUNC,
				      O_DIRECTORY,
				      O_NOFOLLOW,
				      O_PATH,
				      O_APPEND | O_CREAT,
				      O_CREAT | O_DIRECTORY,
				      O_PATH | O_NOFOLLOW,
				      O_TMPFILE };
	int flags = kinds[below(3)] | extras[below(12 - plain)] | O_NONBLOCK;
	int mode = below(3) ? 0666 : below(010000);
	int fd = open(at, flags, mode);
	struct stat s;

	say("open", at, "", flags, fd < 0 ? -1 : 0);
	if (fd < 0)
		return;
	fstat(fd, &s);
	show("opened", &s);
	printf("flags %#o\n", fcntl(fd, F_GETFL));
	say("write", "", "", 0, write(fd, "0123456789", below(10)));
	if (!below(4))
		say("fchmod", "", "", 0, fchmod(fd, below(010000)));
	close(fd);
}

static void step(void)
{
	char one[64], other[64];
	static const int moves[] = { 0, 0, 0, 1, 2, 3 };
	int mode = below(4) ? 0777 : below(010000), flags;
	struct timespec times[2] = { { 1000, 5 }, { 2000, UTIME_OMIT } };

	path(one);
	path(other);
	switch (below(18)) {
	case 0:
	case 1:
		say("mkdir", one, "", mode, mkdir(one, mode));
		break;
	case 2:
		say("rmdir", one, "", 0, rmdir(one));
		break;
	case 3:
		say("unlink", one, "", 0, unlink(one));
		break;
	case 4:
	case 5:
	case 6:
		flags = moves[below(6)];
		say("rename", one, other, flags,
		    syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, flags));
		break;
	case 7:
		flags = below(2) ? AT_SYMLINK_FOLLOW : 0;
		say("link", one, other, flags, linkat(AT_FDCWD, one, AT_FDCWD, other, flags));
		break;
	case 8:
		strcpy(other, name());
		say("symlink", other, one, 0, symlink(other, one));
		break;
	case 9:
		say("symlink", other, one, 0, strstr(other, "..") ? 0 : symlink(other, one));
		break;
	case 10:
		flags = below(3) ? S_IFIFO : below(2) ? S_IFREG : S_IFDIR;
		say("mknod", one, "", flags | mode, mknod(one, flags | mode, 0));
		break;
	case 11:
		say("chmod", one, "", mode, chmod(one, mode));
		break;
	case 12:
		flags = below(2) ? AT_SYMLINK_NOFOLLOW : 0;
		say("chown", one, "", flags,
		    fchownat(AT_FDCWD, one, below(2) ? getuid() : 1234, getgid(), flags));
		break;
	case 13:
		say("access", one, "", mode & 7, access(one, mode & 7));
		break;
	case 14:
		say("truncate", one, "", mode, truncate(one, mode));
		break;
	case 15:
		say("utimens", one, "", 0, utimensat(AT_FDCWD, one, times, 0));
		break;
	default:
		opened(one);
	}
	look(one);
}

static int by_name(const struct dirent **one, const struct dirent **other)
{
	return strcmp((*one)->d_name, (*other)->d_name);
}

static void tree(const char *at)
{
	struct dirent **found;
	char below_it[4096];
	int n = scandir(at, &found, NULL, by_name);

	if (n < 0)
		return;
	for (int i = 0; i < n; i++) {
		const char *entry = found[i]->d_name;

		if (!strcmp(entry, ".") || !strcmp(entry, ".."))
			continue;
		snprintf(below_it, sizeof(below_it), "%s/%s", at, entry);
		printf("%d ", found[i]->d_type);
		look(below_it);
		if (found[i]->d_type == DT_DIR)
			tree(below_it);
	}
}

int main(int argc, char **argv)
{
	int calls = argc > 2 ? atoi(argv[2]) : 100;

	plain = argc > 3 && !strcmp(argv[3], "plain");
	state = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	for (int i = 0; i < 4; i++)
		if (mkdir("w", 0755) || chdir("w"))
			return 1;
	umask(below(3) ? 022 : below(01000));
	while (calls--)
		step();
	tree(".");
	return 0;
}
