// SPDX-License-Identifier: GPL-2.0-or-later
/* Landlock (Documentation/userspace-api/landlock.rst, v6.18): which files may be opened at all. */
#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/walls.h"

#define SYS_LANDLOCK_CREATE_RULESET 444
#define SYS_LANDLOCK_ADD_RULE 445
#define SYS_LANDLOCK_RESTRICT_SELF 446
#define CREATE_RULESET_VERSION 1
#define RULE_PATH_BENEATH 1

#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_REMOVE_DIR (1ull << 4)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_DIR (1ull << 7)
#define FS_MAKE_REG (1ull << 8)
#define FS_MAKE_SYM (1ull << 12)
#define FS_REFER (1ull << 13)
#define FS_TRUNCATE (1ull << 14)
#define FS_ALL_OF_ABI_1 ((1ull << 13) - 1)
#define FS_IOCTL_DEV (1ull << 15)
#define NET_BIND_TCP (1ull << 0)
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ull << 0)
#define SCOPE_SIGNAL (1ull << 1)

#define FS_OF_FILES (FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE)
#define FS_READS (FS_READ_FILE | FS_READ_DIR)
#define FS_WRITES                                                                                \
	(FS_READS | FS_WRITE_FILE | FS_TRUNCATE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | \
	 FS_MAKE_REG | FS_MAKE_SYM | FS_REFER)

/* As of ABI 6: an older kernel is given what it knows of it. */
struct ruleset_attr {
	u64 handled_access_fs;
	u64 handled_access_net;
	u64 scoped;
};

struct path_beneath_attr {
	u64 allowed_access;
	s32 parent_fd;
} __attribute__((packed));

int host_landlock_abi(void)
{
	long abi = syscall(SYS_LANDLOCK_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);

	return abi < 0 ? -errno : (int)abi;
}

/* All that this version can deny; what it does not know would be EINVAL. */
static struct ruleset_attr ruleset_of(int abi)
{
	struct ruleset_attr attr = { .handled_access_fs = FS_ALL_OF_ABI_1 };

	if (abi >= 2)
		attr.handled_access_fs |= FS_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= FS_TRUNCATE;
	if (abi >= 4)
		attr.handled_access_net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (abi >= 5)
		attr.handled_access_fs |= FS_IOCTL_DEV;
	if (abi >= 6)
		attr.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
	return attr;
}

static size_t ruleset_size(int abi)
{
	if (abi < 4)
		return offsetof(struct ruleset_attr, handled_access_net);
	return abi < 6 ? offsetof(struct ruleset_attr, scoped) : sizeof(struct ruleset_attr);
}

/* Allow `access` beneath the directory, or of the file, that `fd` holds. */
static int add_rule(int ruleset, int fd, u64 access)
{
	struct path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
	struct stat info;

	if (fstat(fd, &info))
		return -errno;
	if (!S_ISDIR(info.st_mode))
		rule.allowed_access &= FS_OF_FILES;
	if (syscall(SYS_LANDLOCK_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0))
		return -errno;
	return 0;
}

int host_landlock(const int *fds, u32 readable, u32 count)
{
	int abi = host_landlock_abi(), ruleset, result = 0;

	if (abi < 0)
		return abi;
	struct ruleset_attr attr = ruleset_of(abi);

	ruleset = (int)syscall(SYS_LANDLOCK_CREATE_RULESET, &attr, ruleset_size(abi), 0);
	if (ruleset < 0)
		return -errno;
	for (u32 i = 0; i < count && !result; i++)
		result = add_rule(ruleset, fds[i],
				  (i < readable ? FS_READS : FS_WRITES) & attr.handled_access_fs);
	if (!result && syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0))
		result = -errno;
	close(ruleset);
	return result;
}
