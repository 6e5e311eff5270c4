// SPDX-License-Identifier: GPL-2.0-or-later
/* Ways out by names: what is outside is read, written, made or removed. */
#include "ways_out.h"

#define ROUNDS 20 /* of a race */

#include <dirent.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/time.h>

/* Reading. */

WAY(plain_path, HARMLESS)
{
	leak(key());
}

WAY(relative_path, HARMLESS)
{
	leak("../outside/key");
}

WAY(many_dotdots, HARMLESS)
{
	static char path[4096];

	for (int i = 0; i < 60; i++)
		strcat(path, "../");
	strcat(path, outside + 1);
	strcat(path, "/key");
	leak(path);
}

WAY(dots_and_slashes, HARMLESS)
{
	snprintf(path_buffer[0], 4096, "//.//..///.%s//./key", outside);
	leak(path_buffer[0]);
}

WAY(absolute_link, HARMLESS)
{
	leak("absolute");
}

WAY(relative_link, HARMLESS)
{
	leak("relative");
}

WAY(chain_of_links, HARMLESS)
{
	leak("chain0");
}

WAY(directory_link, HARMLESS)
{
	leak("directory/key");
}

WAY(links_in_what_is_given, HARMLESS)
{
	leak(join(given, "absolute"));
	leak(join(given, "relative"));
	leak(join(given, "directory/key"));
	leak(join(given, "sub/up/key"));
}

WAY(links_in_what_is_writable, HARMLESS)
{
	leak(join(writable, "absolute"));
	leak(join(writable, "relative"));
	leak(join(writable, "directory/key"));
}

WAY(links_of_ones_own, HARMLESS)
{
	const char *link = join(writable, "own_link");

	GOT(symlink(key(), link));
	leak(join(writable, "own_link"));
	GOT(symlink(outside, join(writable, "own_directory")));
	leak(join(writable, "own_directory/key"));
	GOT(symlink("../outside/key", join(writable, "own_relative")));
	leak(join(writable, "own_relative"));
	GOT(unlink(join(writable, "own_link")));
	GOT(unlink(join(writable, "own_directory")));
	GOT(unlink(join(writable, "own_relative")));
}

WAY(links_in_tmp, ONLY_HERE)
{
	GOT(symlink(key(), "/tmp/link"));
	leak("/tmp/link");
	GOT(symlink("/proc/self/root", "/tmp/root"));
	snprintf(path_buffer[0], 4096, "/tmp/root%s/key", outside);
	leak(path_buffer[0]);
}

WAY(links_in_here, ONLY_HERE)
{
	GOT(symlink(outside, "here"));
	leak("here/key");
	leak("here/../outside/key");
}

WAY(proc_1_root, HARMLESS)
{
	snprintf(path_buffer[0], 4096, "/proc/1/root%s/key", outside);
	leak(path_buffer[0]);
}

WAY(proc_self_root, HARMLESS)
{
	snprintf(path_buffer[0], 4096, "/proc/self/root%s/key", outside);
	leak(path_buffer[0]);
	snprintf(path_buffer[0], 4096, "/proc/self/root/..%s/key", outside);
	leak(path_buffer[0]);
}

WAY(proc_self_cwd, HARMLESS)
{
	leak("/proc/self/cwd/../outside/key");
	leak("/proc/thread-self/cwd/../outside/key");
}

WAY(proc_self_fd_of_a_directory, HARMLESS)
{
	int fd = open(".", O_PATH | O_DIRECTORY);

	snprintf(path_buffer[0], 4096, "/proc/self/fd/%d/../outside/key", fd);
	leak(path_buffer[0]);
	snprintf(path_buffer[0], 4096, "/dev/fd/%d/../outside/key", fd);
	leak(path_buffer[0]);
	close(fd);
}

WAY(proc_of_the_victim, HARMLESS)
{
	static const char *const names[] = { "environ", "fd/3", "root/../../%s", "cwd/key",
					     "cmdline" };

	for (int i = 0; i < 5; i++) {
		snprintf(path_buffer[0], 4096, "/proc/%d/%s", victim, names[i]);
		leak(path_buffer[0]);
	}
	snprintf(path_buffer[0], 4096, "/proc/%d/root%s/key", victim, outside);
	leak(path_buffer[0]);
}

WAY(proc_of_the_machine_s_process, ONLY_HERE)
{
	static const char *const names[] = { "environ", "maps", "fd/3", "fd/4", "fd/7", "mem" };

	for (int pid = 1; pid < 40; pid++)
		for (int i = 0; i < 6; i++) {
			snprintf(path_buffer[0], 4096, "/proc/%d/%s", pid, names[i]);
			int fd = open(path_buffer[0], O_RDONLY);

			if (fd >= 0)
				leak_fd(fd);
		}
}

WAY(openat_from_an_o_path, HARMLESS)
{
	int fd = open(".", O_PATH);

	leak_fd(openat(fd, "../outside/key", O_RDONLY));
	close(fd);
	fd = open(writable, O_PATH | O_DIRECTORY);
	leak_fd(openat(fd, "../outside/key", O_RDONLY));
	leak_fd(openat(fd, "directory/key", O_RDONLY));
	close(fd);
}

WAY(o_path_of_outside, HARMLESS)
{
	int fd = open(outside, O_PATH);

	got("open", fd);
	leak_fd(openat(fd, "key", O_RDONLY));
}

WAY(openat2_of_every_kind, HARMLESS)
{
	static const unsigned long long resolve[] = { 0, RESOLVE_IN_ROOT, RESOLVE_BENEATH,
						      RESOLVE_NO_XDEV };

	for (int i = 0; i < 4; i++) {
		struct open_how how = { .flags = O_RDONLY, .resolve = resolve[i] };

		leak_fd(syscall(SYS_openat2, AT_FDCWD, key(), &how, sizeof(how)));
		leak_fd(syscall(SYS_openat2, AT_FDCWD, "directory/key", &how, sizeof(how)));
	}
}

WAY(fchdir_and_up, HARMLESS)
{
	int here = open(".", O_RDONLY), fd = open(writable, O_RDONLY | O_DIRECTORY);

	GOT(fchdir(fd));
	leak("../outside/key");
	GOT(chdir(".."));
	leak("outside/key");
	GOT(chdir(outside));
	leak("key");
	GOT(fchdir(here));
	close(fd);
	close(here);
}

WAY(chroot_and_out, ONLY_HERE)
{
	int fd = open("/", O_RDONLY);

	GOT(mkdir("/tmp/jail", 0700));
	GOT(chroot("/tmp/jail"));
	GOT(fchdir(fd));
	for (int i = 0; i < 50; i++)
		(void)!chdir("..");
	GOT(chroot("."));
	leak(key());
	close(fd);
}

WAY(mounts, ONLY_HERE)
{
	int fd;

	GOT(mkdir("/tmp/mnt", 0700));
	GOT(mount(outside, "/tmp/mnt", NULL, MS_BIND, NULL));
	leak("/tmp/mnt/key");
	GOT(mount("/", "/tmp/mnt", NULL, MS_BIND | MS_REC, NULL));
	GOT(mount("proc", "/tmp/mnt", "proc", 0, NULL));
	snprintf(path_buffer[0], 4096, "/tmp/mnt/1/root%s/key", outside);
	leak(path_buffer[0]);
	GOT(mount("/dev/vda", "/tmp/mnt", "ext4", 0, NULL));
	GOT(mount("none", "/tmp", "tmpfs", 0, NULL));
	fd = syscall(SYS_open_tree, AT_FDCWD, outside, 1);
	got("open_tree", fd);
	leak_fd(openat(fd, "key", O_RDONLY));
	GOT(syscall(SYS_move_mount, fd, "", AT_FDCWD, "/tmp/mnt", 4));
	GOT(syscall(SYS_fsopen, "proc", 0));
	GOT(syscall(SYS_pivot_root, "/tmp/mnt", "/tmp/mnt"));
	GOT(umount2("/", MNT_DETACH));
}

WAY(file_handles, HARMLESS)
{
	struct {
		struct file_handle handle;
		char bytes[128];
	} h = { .handle.handle_bytes = 128 };
	int id = 0, here;

	GOT(name_to_handle_at(AT_FDCWD, key(), &h.handle, &id, 0));
	here = open(".", O_RDONLY);
	leak_fd(open_by_handle_at(here, &h.handle, O_RDONLY));
	close(here);
}

WAY(handles_made_up, ONLY_HERE)
{
	struct {
		struct file_handle handle;
		unsigned int bytes[4];
	} h = { .handle = { 8, 1 } };
	int here = open(".", O_RDONLY);

	for (unsigned int inode = 2; inode < 20; inode++) {
		h.bytes[0] = inode;
		int fd = open_by_handle_at(here, &h.handle, O_RDONLY);

		if (fd >= 0)
			leak_fd(fd);
	}
	got("last", -1);
	close(here);
}

WAY(listing_above, HARMLESS)
{
	static const char *const names[] = {
		"..", "../..", "/", "/root", "/home", "/var", "/proc"
	};

	for (int i = 0; i < 7; i++) {
		DIR *dir = opendir(names[i]);
		struct dirent *entry;

		while (dir && (entry = readdir(dir)))
			printf(" %s", entry->d_name);
		if (dir)
			closedir(dir);
	}
}

WAY(what_stat_says, ONLY_HERE)
{
	struct stat info;
	struct statfs fs;

	GOT(stat(key(), &info));
	GOT(lstat(key(), &info));
	GOT(access(key(), F_OK));
	GOT(faccessat(AT_FDCWD, "directory/key", R_OK, AT_EACCESS));
	GOT(stat("directory/key", &info));
	GOT(statfs(key(), &fs));
	GOT(truncate(key(), 0));
	GOT(syscall(SYS_statx, AT_FDCWD, key(), 0, 0xfff, path_buffer[0]));
}

WAY(long_names, ONLY_HERE)
{
	static char name[1 << 16];

	memset(name, 'a', sizeof(name) - 1);
	GOT(open(name, O_RDONLY));
	GOT(open(name, O_WRONLY | O_CREAT, 0600));
	name[255] = 0;
	GOT(open(name, O_WRONLY | O_CREAT, 0600));
	name[255] = 'a';
	for (size_t i = 0; i + 3 < sizeof(name); i += 3)
		memcpy(name + i, "../", 3);
	GOT(open(name, O_RDONLY));
	name[4093] = 0;
	GOT(open(name, O_RDONLY));
	GOT(open("", O_RDONLY));
	GOT(syscall(SYS_open, NULL, O_RDONLY));
	GOT(syscall(SYS_open, -1L, O_RDONLY));
	GOT(open("\n\033[31m\xff\xfe", O_RDONLY));
	GOT(mkdir("/tmp/\n\033]0;x\a\xff", 0700));
}

WAY(programs_outside, HARMLESS)
{
	pid_t pid = fork();

	if (!pid) {
		execl(join(outside, "program"), "program", NULL);
		execl("directory/program", "program", NULL);
		syscall(SYS_execveat, open(outside, O_PATH), "program",
			(char *[]){ "program", NULL }, (char *[]){ NULL }, 0);
		_exit(9);
	}
	int status = 0;

	waitpid(pid, &status, 0);
	got("status", status);
}

WAY(setuid_programs, ONLY_HERE)
{
	/* by its effective user, a setuid program that were honoured could read it */
	pid_t pid;

	GOT(setresuid(1234, 1234, 1234));
	pid = fork();
	if (!pid) {
		execl("/usr/bin/su", "su", "-c", "id -u", NULL);
		_exit(9);
	}
	waitpid(pid, NULL, 0);
	leak("/etc/shadow");
}

WAY(private_files_of_the_system, ONLY_HERE)
{
	static const char *const names[] = {
		"/etc/shadow",	     "/etc/gshadow",  "/etc/sudoers",	   "/etc/ssl/private/x",
		"/etc/shadow-",	     "/root/.bashrc", "/root/.ssh/id_rsa", "/root/.profile",
		"/var/log/dpkg.log", "/home",	      "/boot/vmlinuz",	   "/srv",
	};

	for (int i = 0; i < 12; i++)
		GOT(open(names[i], O_RDONLY));
}

/* Writing. */

WAY(write_outside, HARMLESS)
{
	spoil(key());
	spoil("directory/key");
	spoil("absolute");
	spoil("relative");
	GOT(open(join(outside, "new"), O_WRONLY | O_CREAT, 0644));
	GOT(open("../outside/new2", O_WRONLY | O_CREAT, 0644));
}

WAY(write_through_links_in_what_is_writable, HARMLESS)
{
	spoil(join(writable, "absolute"));
	spoil(join(writable, "relative"));
	spoil(join(writable, "directory/key"));
	GOT(open(join(writable, "absolute"), O_WRONLY | O_TRUNC));
	GOT(open(join(writable, "dangling"), O_WRONLY | O_CREAT, 0644));
	GOT(open(join(writable, "directory/made"), O_WRONLY | O_CREAT, 0644));
	GOT(mkdir(join(writable, "directory/made_too"), 0755));
	GOT(symlink("x", join(writable, "directory/link")));
	GOT(mknod(join(writable, "directory/fifo"), S_IFIFO | 0644, 0));
	GOT(truncate(join(writable, "absolute"), 1));
	GOT(chmod(join(writable, "absolute"), 0777));
	GOT(utimes(join(writable, "absolute"), NULL));
	GOT(chown(join(writable, "absolute"), 12, 13));
	GOT(unlink(join(writable, "directory/victim")));
	GOT(rmdir(join(writable, "directory/empty")));
}

WAY(names_that_lead_out_of_what_is_writable, HARMLESS)
{
	int fd = open(writable, O_PATH | O_DIRECTORY);

	spoil_fd(openat(fd, "../outside/key", O_WRONLY));
	spoil_fd(openat(fd, "../outside/at", O_WRONLY | O_CREAT, 0644));
	GOT(mkdirat(fd, "../outside/at_directory", 0755));
	GOT(symlinkat("x", fd, "../outside/at_link"));
	GOT(close(openat(fd, "own", O_WRONLY | O_CREAT, 0644)));
	GOT(renameat(fd, "own", fd, "../outside/moved"));
	GOT(renameat(fd, "own", fd, "directory/moved"));
	GOT(linkat(fd, "own", fd, "directory/linked", 0));
	GOT(unlinkat(fd, "../outside/victim2", 0));
	GOT(unlinkat(fd, "own", 0));
	close(fd);
}

WAY(move_outside_in, HARMLESS)
{
	GOT(rename(join(outside, "victim3"), join(writable, "stolen")));
	leak(join(writable, "stolen"));
	GOT(rename(outside, join(writable, "stolen_directory")));
	GOT(syscall(SYS_renameat2, AT_FDCWD, join(writable, "plain"), AT_FDCWD,
		    join(outside, "victim4"), 2));
	GOT(rename(join(writable, "stolen_directory"), outside));
}

WAY(hard_links_to_outside, HARMLESS)
{
	int fd = open(key(), O_PATH);

	GOT(link(key(), join(writable, "hard")));
	leak(join(writable, "hard"));
	spoil(join(writable, "hard"));
	GOT(linkat(fd, "", AT_FDCWD, join(writable, "hard2"), AT_EMPTY_PATH));
	GOT(linkat(AT_FDCWD, join(writable, "absolute"), AT_FDCWD, join(writable, "hard3"),
		   AT_SYMLINK_FOLLOW));
	spoil(join(writable, "hard3"));
	snprintf(path_buffer[0], 4096, "/proc/self/fd/%d", fd);
	GOT(linkat(AT_FDCWD, path_buffer[0], AT_FDCWD, "/tmp/hard4", AT_SYMLINK_FOLLOW));
	spoil("/tmp/hard4");
}

/* What was given to be read only: writes must stay in the upper layer. */

WAY(hard_links_to_what_is_given, HARMLESS)
{
	GOT(link(join(given, "data"), join(writable, "given_hard")));
	spoil(join(writable, "given_hard"));
	GOT(chmod(join(writable, "given_hard"), 0666));
	GOT(link("data", join(writable, "here_hard")));
	GOT(truncate(join(writable, "here_hard"), 0));
	GOT(link(join(given, "data2"), join(given, "data3")));
	spoil(join(given, "data3"));
	GOT(unlink(join(given, "data3")));
}

WAY(write_what_is_given, HARMLESS)
{
	int fd;

	spoil(join(given, "data"));
	spoil("data");
	GOT(truncate(join(given, "data2"), 0));
	GOT(chmod(join(given, "data2"), 0777));
	GOT(chown(join(given, "data2"), 5, 5));
	GOT(utimes(join(given, "data2"), NULL));
	GOT(open(join(given, "made"), O_CREAT | O_WRONLY, 0600));
	GOT(unlink(join(given, "data4")));
	GOT(rename(join(given, "data5"), join(given, "data6")));
	GOT(rename(join(given, "data7"), join(writable, "data7")));
	GOT(rename(join(writable, "plain"), join(given, "data8")));
	GOT(mkdir(join(given, "directory_made"), 0700));
	GOT(rmdir(join(given, "empty")));
	GOT(rename(join(given, "sub"), "/tmp/sub"));
	fd = open(join(given, "data9"), O_RDWR);
	got("open", fd);
	GOT(ftruncate(fd, 1));
	GOT(fallocate(fd, 3, 0, 4096));
	GOT(fchmod(fd, 0777));
	GOT(syscall(SYS_fsetxattr, fd, "user.x", "y", 1, 0));
	GOT(fsync(fd));
	close(fd);
}

WAY(map_what_is_given, HARMLESS)
{
	int fd = open(join(given, "mapped"), O_RDWR);
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	got("mmap", map == MAP_FAILED ? -1 : 0);
	if (map != MAP_FAILED) {
		memcpy(map, "SPOILT", 6);
		GOT(msync(map, 4096, MS_SYNC));
		GOT(munmap(map, 4096));
	}
	close(fd);
}

WAY(open_again_to_write, HARMLESS)
{
	int fd = open(join(given, "again"), O_RDONLY);

	snprintf(path_buffer[0], 4096, "/proc/self/fd/%d", fd);
	spoil_fd(open(path_buffer[0], O_RDWR));
	snprintf(path_buffer[0], 4096, "/dev/fd/%d", fd);
	spoil_fd(open(path_buffer[0], O_WRONLY | O_TRUNC));
	close(fd);
	fd = open(join(given, "again2"), O_PATH);
	snprintf(path_buffer[0], 4096, "/proc/self/fd/%d", fd);
	spoil_fd(open(path_buffer[0], O_WRONLY));
	GOT(chmod(path_buffer[0], 0777));
	GOT(truncate(path_buffer[0], 0));
	close(fd);
}

WAY(copy_to_what_is_given, HARMLESS)
{
	int from = open("data", O_RDONLY), to = open(join(given, "copied"), O_WRONLY), p[2];

	GOT(syscall(SYS_copy_file_range, from, NULL, to, NULL, 5, 0));
	GOT(syscall(SYS_sendfile, to, from, NULL, 5));
	GOT(pipe(p));
	GOT(write(p[1], "SPOILT", 6));
	GOT(syscall(SYS_splice, p[0], NULL, to, NULL, 6, 0));
	close(from);
	close(to);
}

/* Files that are more than bytes. */

WAY(devices, ONLY_HERE)
{
	GOT(mknod(join(writable, "null"), S_IFCHR | 0666, 0x103));
	GOT(mknod(join(writable, "mem"), S_IFCHR | 0666, 0x101));
	GOT(mknod(join(writable, "disk"), S_IFBLK | 0666, 0xfe00));
	leak(join(writable, "disk"));
	GOT(mknod("/tmp/disk", S_IFBLK | 0666, 0xfe00));
	leak("/tmp/disk");
	leak("/dev/mem");
	leak("/dev/kmsg");
	leak("/dev/port");
	leak("/dev/vda");
	leak("/dev/sda");
	leak("/dev/kvm");
	leak("/dev/fuse");
	leak("/dev/net/tun");
	leak("/dev/loop-control");
}

WAY(special_modes, ONLY_HERE)
{
	int fd = open(join(writable, "setuid"), O_CREAT | O_WRONLY, 06755);

	got("open", fd);
	GOT(fchmod(fd, 06777));
	close(fd);
	GOT(chmod(join(writable, "setuid"), 07777));
	GOT(mkdir(join(writable, "sticky"), 07777));
	GOT(chmod(join(writable, "sticky"), 07777));
	GOT(chown(join(writable, "setuid"), 4242, 4242));
}

WAY(fifo_and_socket_of_the_hosts, ONLY_HERE)
{
	leak(join(writable, "fifo"));
	spoil(join(writable, "fifo"));
	spoil(join(given, "fifo"));
	leak(join(given, "socket"));
}

/* Races: a thread exchanges a directory and a link to outside, another goes through it. */

static volatile int race_over;

static void *exchange(void *unused)
{
	char one[4096], two[4096], aside[4096];

	snprintf(one, sizeof(one), "%s/race", writable);
	snprintf(two, sizeof(two), "%s/race_link", writable);
	snprintf(aside, sizeof(aside), "%s/race_aside", writable);
	while (!race_over) {
		syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, two, 2);
		rename(one, aside);
		symlink(outside, one);
		unlink(one);
		rename(aside, one);
		sched_yield();
	}
	return unused;
}

static void race(void (*go)(const char *path))
{
	pthread_t thread;

	mkdir(join(writable, "race"), 0755);
	GOT(symlink(outside, join(writable, "race_link")));
	race_over = 0;
	got("thread", pthread_create(&thread, NULL, exchange, NULL));
	for (int i = 0; i < ROUNDS; i++) {
		go(join(writable, "race/key"));
		sched_yield();
	}
	race_over = 1;
	pthread_join(thread, NULL);
}

static void read_quietly(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd >= 0)
		leak_fd(fd);
}

WAY(race_to_read, ONLY_HERE)
{
	race(read_quietly);
}

static void write_quietly(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);

	if (fd >= 0) {
		(void)!write(fd, "SPOILT", 6);
		close(fd);
	}
}

WAY(race_to_write, ONLY_HERE)
{
	race(write_quietly);
}

static void remove_quietly(const char *path)
{
	unlink(path);
	rename(path, "/tmp/raced");
	link(path, "/tmp/raced_link");
}

WAY(race_to_remove, ONLY_HERE)
{
	race(remove_quietly);
}

WAY(race_of_working_directories, ONLY_HERE)
{
	pthread_t thread;
	int here = open(".", O_RDONLY);

	race_over = 0;
	mkdir(join(writable, "race"), 0755);
	symlink(outside, join(writable, "race_link"));
	pthread_create(&thread, NULL, exchange, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		if (!chdir(join(writable, "race")))
			read_quietly("key");
		sched_yield();
	}
	race_over = 1;
	pthread_join(thread, NULL);
	GOT(fchdir(here));
}

WAY(race_with_the_host, ONLY_HERE)
{
	/* the host's side exchanges `swapped` for a link to outside, all the while */
	for (int i = 0; i < 10 * ROUNDS; i++) {
		read_quietly(join(writable, "swapped/key"));
		if (i % 4 == 0)
			write_quietly(join(writable, "swapped/key"));
	}
	got("last", 0);
}
