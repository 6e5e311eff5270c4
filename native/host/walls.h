/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process that runs guests takes away from itself, by the host's kernel.  Each function
 * returns 0 or a negative errno; what it took cannot be had again.
 */
#ifndef UCMMU_HOST_WALLS_H
#define UCMMU_HOST_WALLS_H

#include "types.h"

/* cffi-begin */
/* No execve() gives the calling thread a right any more (PR_SET_NO_NEW_PRIVS). */
int host_no_new_privs(void);

/* The process's network and System V IPC become its own, and empty; it has the right as root. */
int host_leave_namespaces(void);

/* Root keeps of its capabilities those over files: CAP_DAC_OVERRIDE and CAP_FOWNER. */
int host_drop_capabilities(void);

/* The version of the kernel's Landlock, or a negative errno if it has none. */
int host_landlock_abi(void);

/*
 * From now on the calling thread may read what lies beneath the first `readable` descriptors of
 * `fds`, read, write, make and remove what lies beneath the others, up to `count`, and open nothing
 * else; nor may it bind() or connect() by TCP, or reach processes outside by a signal or an
 * abstract socket, as far as the kernel's Landlock can say so.
 */
int host_landlock(const int *fds, u32 readable, u32 count);

/*
 * From now on all threads of the process get EPERM for system calls that a machine of ours never
 * makes: programs, processes, networks, namespaces, tracing, owners, devices.
 */
int host_seccomp(void);
/* cffi-end */

#endif
