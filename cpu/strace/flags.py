# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of flags and values, by what strace calls their set (include/uapi, v6.18).

Of flags the combined ones come first; of values each stands alone.
"""

from __future__ import annotations

import signal
import socket
from typing import Final

from mmu.linux.resource import Resource

Names = tuple[tuple[int, str], ...]


def _bits(text: str, first: int = 0) -> Names:
    """Names of single bits from bit ``first`` on; ``-`` stands for one without a name."""
    return tuple((1 << bit, name) for bit, name in enumerate(text.split(), first) if name != "-")


def _from(text: str, first: int = 0, prefix: str = "") -> Names:
    """Names of consecutive numbers."""
    return tuple(
        (number, prefix + name) for number, name in enumerate(text.split(), first) if name != "-"
    )


OPEN_FLAGS: Final[Names] = (
    (0o20200000, "O_TMPFILE"),
    (0o4010000, "O_SYNC"),
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10000, "O_DSYNC"),
    (0o40000, "O_DIRECT"),
    (0o100000, "O_LARGEFILE"),
    (0o400000, "O_NOFOLLOW"),
    (0o1000000, "O_NOATIME"),
    (0o2000000, "O_CLOEXEC"),
    (0o10000000, "O_PATH"),
    (0o200000, "O_DIRECTORY"),
    (0o20000, "O_ASYNC"),
)
OPEN_MODES: Final[Names] = _from("O_RDONLY O_WRONLY O_RDWR O_ACCMODE")
PIPE_FLAGS: Final[Names] = (
    (0o4000, "O_NONBLOCK"),
    (0o40000, "O_DIRECT"),
    (0o2000000, "O_CLOEXEC"),
)
TFD: Final[Names] = ((0o2000000, "TFD_CLOEXEC"), (0o4000, "TFD_NONBLOCK"))
SFD: Final[Names] = ((0o2000000, "SFD_CLOEXEC"), (0o4000, "SFD_NONBLOCK"))
PRIO: Final[Names] = _from("PRIO_PROCESS PRIO_PGRP PRIO_USER")
AT_FLAGS: Final[Names] = _bits(
    "AT_SYMLINK_NOFOLLOW AT_REMOVEDIR AT_SYMLINK_FOLLOW AT_NO_AUTOMOUNT AT_EMPTY_PATH"
    " AT_STATX_FORCE_SYNC AT_STATX_DONT_SYNC AT_RECURSIVE",
    8,
)
ACCESS_AT_FLAGS: Final[Names] = (
    (0x200, "AT_EACCESS"),
    *(pair for pair in AT_FLAGS if pair[0] != 0x200),
)
ACCESS: Final[Names] = ((4, "R_OK"), (2, "W_OK"), (1, "X_OK"))
RENAME: Final[Names] = _bits("RENAME_NOREPLACE RENAME_EXCHANGE RENAME_WHITEOUT")
STATX: Final[Names] = (
    (0xFFF, "STATX_ALL"),
    (0x7FF, "STATX_BASIC_STATS"),
    *_bits(
        "STATX_TYPE STATX_MODE STATX_NLINK STATX_UID STATX_GID STATX_ATIME STATX_MTIME STATX_CTIME"
        " STATX_INO STATX_SIZE STATX_BLOCKS STATX_BTIME STATX_MNT_ID STATX_DIOALIGN"
    ),
)
PROT: Final[Names] = (
    *_bits("PROT_READ PROT_WRITE PROT_EXEC"),
    (0x01000000, "PROT_GROWSDOWN"),
    (0x02000000, "PROT_GROWSUP"),
)
MAP_TYPES: Final[Names] = _from("MAP_SHARED MAP_PRIVATE MAP_SHARED_VALIDATE", 1)
MAP_FLAGS: Final[Names] = (
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x1000, "MAP_EXECUTABLE"),
    (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x10000, "MAP_NONBLOCK"),
    (0x20000, "MAP_STACK"),
    (0x40000, "MAP_HUGETLB"),
    (0x80000, "MAP_SYNC"),
    (0x100000, "MAP_FIXED_NOREPLACE"),
)
MREMAP: Final[Names] = _bits("MREMAP_MAYMOVE MREMAP_FIXED MREMAP_DONTUNMAP")
MSYNC: Final[Names] = ((4, "MS_SYNC"), (1, "MS_ASYNC"), (2, "MS_INVALIDATE"))
MCL: Final[Names] = _bits("MCL_CURRENT MCL_FUTURE MCL_ONFAULT")
MLOCK: Final[Names] = _bits("MLOCK_ONFAULT")
MADV: Final[Names] = (
    *_from("NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED", 0, "MADV_"),
    *_from(
        "FREE REMOVE DONTFORK DOFORK MERGEABLE UNMERGEABLE HUGEPAGE NOHUGEPAGE DONTDUMP DODUMP"
        " WIPEONFORK KEEPONFORK COLD PAGEOUT POPULATE_READ POPULATE_WRITE DONTNEED_LOCKED COLLAPSE",
        8,
        "MADV_",
    ),
    (100, "MADV_HWPOISON"),
    (102, "MADV_GUARD_INSTALL"),
    (103, "MADV_GUARD_REMOVE"),
)
CLONE: Final[Names] = (
    *_bits(
        "CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_PIDFD CLONE_PTRACE CLONE_VFORK"
        " CLONE_PARENT CLONE_THREAD CLONE_NEWNS CLONE_SYSVSEM CLONE_SETTLS CLONE_PARENT_SETTID"
        " CLONE_CHILD_CLEARTID CLONE_DETACHED CLONE_UNTRACED CLONE_CHILD_SETTID CLONE_NEWCGROUP"
        " CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET CLONE_IO"
        " CLONE_CLEAR_SIGHAND CLONE_INTO_CGROUP",
        8,
    ),
    (0x80, "CLONE_NEWTIME"),
)
FUTEX_OPS: Final[Names] = _from(
    "WAIT WAKE FD REQUEUE CMP_REQUEUE WAKE_OP LOCK_PI UNLOCK_PI TRYLOCK_PI WAIT_BITSET WAKE_BITSET"
    " WAIT_REQUEUE_PI CMP_REQUEUE_PI LOCK_PI2",
    0,
    "FUTEX_",
)
SA_FLAGS: Final[Names] = (
    (0x04000000, "SA_RESTORER"),
    (0x08000000, "SA_ONSTACK"),
    (0x10000000, "SA_RESTART"),
    (0x40000000, "SA_NODEFER"),
    (0x80000000, "SA_RESETHAND"),
    (1, "SA_NOCLDSTOP"),
    (2, "SA_NOCLDWAIT"),
    (4, "SA_SIGINFO"),
)
SIG_HOW: Final[Names] = _from("SIG_BLOCK SIG_UNBLOCK SIG_SETMASK")
SS_FLAGS: Final[Names] = ((1, "SS_ONSTACK"), (2, "SS_DISABLE"), (1 << 31, "SS_AUTODISARM"))
WAIT: Final[Names] = (
    *_bits("WNOHANG WSTOPPED WEXITED WCONTINUED"),
    (0x01000000, "WNOWAIT"),
    (0x20000000, "__WNOTHREAD"),
    (0x40000000, "__WALL"),
    (0x80000000, "__WCLONE"),
)
ARCH_PRCTL: Final[Names] = (
    *_from("SET_GS SET_FS GET_FS GET_GS", 0x1001, "ARCH_"),
    *_from("GET_CPUID SET_CPUID", 0x1011, "ARCH_"),
    (0x3001, "ARCH_CET_STATUS"),
    (0x5001, "ARCH_SHSTK_ENABLE"),
    (0x5002, "ARCH_SHSTK_DISABLE"),
    (0x5005, "ARCH_SHSTK_STATUS"),
)
RLIMIT: Final[Names] = tuple((resource.value, f"RLIMIT_{resource.name}") for resource in Resource)
RUSAGE: Final[Names] = ((0, "RUSAGE_SELF"), (-1, "RUSAGE_CHILDREN"), (1, "RUSAGE_THREAD"))
SEEK: Final[Names] = _from("SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE")
CLOCKS: Final[Names] = _from(
    "REALTIME MONOTONIC PROCESS_CPUTIME_ID THREAD_CPUTIME_ID MONOTONIC_RAW REALTIME_COARSE"
    " MONOTONIC_COARSE BOOTTIME REALTIME_ALARM BOOTTIME_ALARM - TAI",
    0,
    "CLOCK_",
)
TIMER_FLAGS: Final[Names] = _bits("TIMER_ABSTIME")
ITIMERS: Final[Names] = _from("ITIMER_REAL ITIMER_VIRTUAL ITIMER_PROF")
FCNTL: Final[Names] = (
    *_from("F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_SETOWN F_GETOWN"),
    *_from("F_SETSIG F_GETSIG", 10),
    *_from("F_SETOWN_EX F_GETOWN_EX", 15),
    *_from("F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW", 36),
    *_from("F_SETLEASE F_GETLEASE F_NOTIFY", 1024),
    *_from("F_DUPFD_CLOEXEC F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS", 1030),
)
LOCKS: Final[Names] = _from("F_RDLCK F_WRLCK F_UNLCK")
FLOCK: Final[Names] = ((4, "LOCK_NB"), (1, "LOCK_SH"), (2, "LOCK_EX"), (8, "LOCK_UN"))
POLL: Final[Names] = _bits(
    "POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDBAND POLLWRNORM POLLWRBAND"
    " POLLMSG - - POLLRDHUP"
)
EPOLL_OPS: Final[Names] = _from("EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD", 1)
EPOLL: Final[Names] = (
    *_bits(
        "EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLNVAL EPOLLRDNORM EPOLLRDBAND EPOLLWRNORM"
        " EPOLLWRBAND EPOLLMSG - - EPOLLRDHUP"
    ),
    *_bits("EPOLLEXCLUSIVE EPOLLWAKEUP EPOLLONESHOT EPOLLET", 28),
)
EFD: Final[Names] = ((1, "EFD_SEMAPHORE"), (0o2000000, "EFD_CLOEXEC"), (0o4000, "EFD_NONBLOCK"))
EPOLL_CREATE: Final[Names] = ((0o2000000, "EPOLL_CLOEXEC"),)
MFD: Final[Names] = _bits("MFD_CLOEXEC MFD_ALLOW_SEALING MFD_HUGETLB MFD_NOEXEC_SEAL MFD_EXEC")
GRND: Final[Names] = _bits("GRND_NONBLOCK GRND_RANDOM GRND_INSECURE")
PRCTL: Final[Names] = (
    *_from("SET_PDEATHSIG GET_PDEATHSIG GET_DUMPABLE SET_DUMPABLE", 1, "PR_"),
    *_from("GET_KEEPCAPS SET_KEEPCAPS", 7, "PR_"),
    *_from("SET_NAME GET_NAME", 15, "PR_"),
    *_from("GET_SECCOMP SET_SECCOMP CAPBSET_READ CAPBSET_DROP GET_TSC SET_TSC", 21, "PR_"),
    *_from("GET_SECUREBITS SET_SECUREBITS SET_TIMERSLACK GET_TIMERSLACK", 27, "PR_"),
    *_from("SET_CHILD_SUBREAPER GET_CHILD_SUBREAPER SET_NO_NEW_PRIVS GET_NO_NEW_PRIVS", 36, "PR_"),
    *_from("GET_TID_ADDRESS SET_THP_DISABLE GET_THP_DISABLE", 40, "PR_"),
    (47, "PR_CAP_AMBIENT"),
    (0x53564D41, "PR_SET_VMA"),
    (0x59616D61, "PR_SET_PTRACER"),
)
IOCTLS: Final[Names] = (
    *_from("TCGETS TCSETS TCSETSW TCSETSF", 0x5401),
    (0x5413, "TIOCGWINSZ"),
    (0x5414, "TIOCSWINSZ"),
    (0x540F, "TIOCGPGRP"),
    (0x5410, "TIOCSPGRP"),
    (0x541B, "FIONREAD"),
    (0x5421, "FIONBIO"),
    (0x5450, "FIONCLEX"),
    (0x5451, "FIOCLEX"),
    (0x540E, "TIOCSCTTY"),
    (0x80045430, "TIOCGPTN"),
    (0x40045431, "TIOCSPTLCK"),
    (0x5441, "TIOCGPTPEER"),
    (0x40049409, "FICLONE"),
)
FAMILIES: Final[Names] = tuple(
    (number, f"AF_{name}")
    for number, name in ((1, "UNIX"), (2, "INET"), (10, "INET6"), (16, "NETLINK"), (0, "UNSPEC"))
)
SOCKET_TYPES: Final[Names] = tuple(
    (int(kind), kind.name)
    for kind in socket.SocketKind
    if kind.name.startswith("SOCK_") and kind.value < 16
)
SOCKET_FLAGS: Final[Names] = ((0o2000000, "SOCK_CLOEXEC"), (0o4000, "SOCK_NONBLOCK"))
MSG: Final[Names] = tuple(
    (int(flag), flag.name) for flag in socket.MsgFlag if flag.name and flag > 0
)
SHUTDOWN: Final[Names] = _from("SHUT_RD SHUT_WR SHUT_RDWR")
SOL: Final[Names] = (
    (1, "SOL_SOCKET"), (0, "SOL_IP"), (6, "SOL_TCP"), (17, "SOL_UDP"), (41, "SOL_IPV6"),
)  # fmt: skip
SO: Final[Names] = tuple(
    (value, name)
    for name, value in vars(socket).items()
    if name.startswith("SO_") and isinstance(value, int)
)
PTRACE: Final[Names] = (
    *_from("TRACEME PEEKTEXT PEEKDATA PEEKUSER POKETEXT POKEDATA POKEUSER CONT KILL", 0, "PTRACE_"),
    *_from("SINGLESTEP - - GETREGS SETREGS GETFPREGS SETFPREGS ATTACH DETACH", 9, "PTRACE_"),
    (24, "PTRACE_SYSCALL"),
    *_from("SETOPTIONS GETEVENTMSG GETSIGINFO SETSIGINFO GETREGSET SETREGSET", 0x4200, "PTRACE_"),
    *_from("SEIZE INTERRUPT LISTEN", 0x4206, "PTRACE_"),
)
PERSONALITY: Final[Names] = (
    (0x0040000, "ADDR_NO_RANDOMIZE"),
    (0x0100000, "MMAP_PAGE_ZERO"),
    (0x0200000, "ADDR_COMPAT_LAYOUT"),
    (0x0400000, "READ_IMPLIES_EXEC"),
    (0x8000000, "ADDR_LIMIT_3GB"),
)
SIGNALS: Final[dict[int, str]] = {int(one): one.name for one in signal.Signals}


def signal_name(number: int) -> str:
    """A signal as strace calls it: SIGRT_1 and so on from 33."""
    if 32 <= number <= 64:
        return "SIGRTMIN" if number == 32 else f"SIGRT_{number - 32}"
    return SIGNALS.get(number, str(number))


def sigset(mask: int) -> str:
    """A set of signals: what is in it, or, if that is most, what is not."""
    nr = mask.bit_count()
    if nr >= 64 * 2 // 3:
        return f"~[{' '.join(_short(n) for n in range(1, 65) if not mask >> n - 1 & 1)}]"
    return f"[{' '.join(_short(n) for n in range(1, 65) if mask >> n - 1 & 1)}]"


def _short(number: int) -> str:
    name = signal_name(number)
    return name.removeprefix("SIG")
