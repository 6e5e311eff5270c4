// SPDX-License-Identifier: GPL-2.0-or-later
/* Lists a directory; --read: reads all files below directories; --write FILE TEXT: shows, writes,
 * shows again. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char text[1 << 16];

static int visit(const char *path, const struct stat *s, int kind, struct FTW *where)
{
	long n, all = 0, size = sizeof(text);
	int fd;

	if (kind == FTW_SL) {
		printf("%s link %zd\n", path, readlink(path, text, sizeof(text)));
		return 0;
	}
	if (kind != FTW_F)
		return 0;
	fd = open(path, O_RDONLY);
	if (fd < 0) {
		printf("%s %s\n", path, errno == EACCES ? "EACCES" : "failed");
		return 0;
	}
	if (strstr(path, "/mem") && !strstr(path, "/mem"
						  "info"))
		size = 0;
	if (strstr(path, "/pagemap"))
		size = 0;
	while (size && (n = read(fd, text, size)) > 0) {
		all += n;
		size = 7 + all % 1000;
	}
	printf("%s %ld%s\n", path, all, size && n < 0 ? " failed" : "");
	close(fd);
	return 0;
}

static void show(const char *path)
{
	int fd = open(path, O_RDONLY);
	long n = read(fd, text, sizeof(text));

	printf("%.*s", (int)n, text);
	close(fd);
}

int main(int argc, char **argv)
{
	if (!strcmp(argv[1], "--read")) {
		for (int i = 2; i < argc; i++)
			nftw(argv[i], visit, 20, FTW_PHYS);
		return 0;
	}
	if (!strcmp(argv[1], "--write")) {
		int fd;

		show(argv[2]);
		fd = open(argv[2], O_WRONLY);
		if (fd < 0 || write(fd, argv[3], strlen(argv[3])) < 0)
			puts(strerrorname_np(errno));
		else
			show(argv[2]);
		return 0;
	}
	DIR *dir = opendir(argv[1]);

	for (struct dirent *one; dir && (one = readdir(dir));)
		if (one->d_name[0] != '.')
			puts(one->d_name);
	return 0;
}
