# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls that are written in full: for each the kinds of its arguments (cpu.strace.kinds), and
after ``->`` what its result is, if that is no decimal number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from cpu.strace.kinds import Kind, kind

TABLE: Final = """
read              fd filled! size
write             fd buf:2 size
pread64           fd filled! size long
pwrite64          fd buf:2 size long
readv             fd iovout:2! int
writev            fd iov:2 int
preadv            fd iovout:2! int long
pwritev           fd iov:2 int long
open              path open openmode
openat            dirfd path open openmode
creat             path mode
close             fd
close_range       uint uint hex
stat              path stat_of!
lstat             path stat_of!
fstat             fd stat_of!
newfstatat        dirfd path stat_of! flags:at_flags
statx             dirfd path flags:at_flags flags:statx statx_of!
statfs            path ptr!
fstatfs           fd ptr!
access            path flags:access
faccessat         dirfd path flags:access
faccessat2        dirfd path flags:access flags:access_at_flags
lseek             fd long one:seek
getdents64        fd dirents! size
getcwd            text! size
chdir             path
fchdir            fd
mkdir             path mode
mkdirat           dirfd path mode
rmdir             path
unlink            path
unlinkat          dirfd path flags:at_flags
rename            path path
renameat          dirfd path dirfd path
renameat2         dirfd path dirfd path flags:rename
link              path path
linkat            dirfd path dirfd path flags:at_flags
symlink           path path
symlinkat         path dirfd path
readlink          path filled! size
readlinkat        dirfd path filled! size
mknod             path filemode dev
mknodat           dirfd path filemode dev
chmod             path mode
fchmod            fd mode
fchmodat          dirfd path mode
chown             path id id
lchown            path id id
fchown            fd id id
fchownat          dirfd path id id flags:at_flags
utimensat         dirfd path ptr flags:at_flags
truncate          path long
ftruncate         fd long
fallocate         fd hex long long
fsync             fd
fdatasync         fd
flock             fd flags:flock
umask             mode -> mode
dup               fd
dup2              fd fd
dup3              fd fd flags:pipe_flags
pipe              two_fds!
pipe2             two_fds! flags:pipe_flags
fcntl             fd one:fcntl fcntl! -> fcntl
ioctl             fd ioctl ioctlarg!
sendfile          fd fd ptr size
copy_file_range   fd ptr fd ptr size hex
fadvise64         fd long long int
mmap              ptr size prot map fd offset -> ptr
munmap            ptr size
mprotect          ptr size prot
pkey_mprotect     ptr size prot int
mremap            ptr size size flags:mremap mremapto -> ptr
madvise           ptr size one:madv
process_madvise   fd iov:2 size one:madv hex
mincore           ptr size ptr
msync             ptr size flags:msync
mlock             ptr size
mlock2            ptr size flags:mlock
munlock           ptr size
mlockall          flags:mcl
munlockall
mseal             ptr size hex
brk               ptr -> ptr
memfd_create      text flags:mfd
shmat             int ptr hex -> ptr
clone             clone
clone3            clone_args size
fork
vfork
execve            path argv envp
execveat          dirfd path argv envp flags:at_flags
exit              int
exit_group        int
wait4             int wait_status! flags:wait ptr!
waitid            int int ptr! flags:wait ptr!
getpid
getppid
gettid
getpgrp
getpgid           int
setpgid           int int
getsid            int
setsid
getuid
geteuid
getgid
getegid
getresuid         uid_at! uid_at! uid_at!
getresgid         uid_at! uid_at! uid_at!
setuid            id
setgid            id
setreuid          id id
setregid          id id
setresuid         id id id
setresgid         id id id
setfsuid          id
setfsgid          id
getgroups         int ptr!
setgroups         int ptr
capget            cap_header ptr!
capset            cap_header ptr
uname             utsname!
sethostname       buf:1 size
sysinfo           ptr!
personality       persona -> persona
prctl             one:prctl prctlarg prctlmore prctlmore prctlmore
arch_prctl        one:arch_prctl archarg!
set_tid_address   ptr
set_robust_list   ptr size
get_robust_list   int ptr! ptr!
rseq              ptr hex hex hex
futex             ptr futexop uint futextime futex2 futex3
membarrier        int hex
prlimit64         int one:rlimit rlimit rlimit!
getrlimit         one:rlimit rlimit!
setrlimit         one:rlimit rlimit
getrusage         one:rusage ptr!
getrandom         random! size flags:grnd
sched_yield
sched_getaffinity int size ptr!
sched_setaffinity int size ptr
getpriority       one:prio int
setpriority       one:prio int int
getcpu            int_at! int_at! ptr
kill              int sig
tkill             int sig
tgkill            int int sig
pidfd_open        int hex
pidfd_send_signal fd sig ptr hex
rt_sigaction      sig sigaction sigaction! size
rt_sigprocmask    one:sig_how sigset sigset! size
rt_sigpending     sigset! size
rt_sigreturn      sigframe
rt_sigsuspend     sigset size
rt_sigtimedwait   sigset ptr! timespec size -> sig
rt_sigqueueinfo   int sig ptr
sigaltstack       stack stack!
pause
alarm             uint
setitimer         one:itimers itimerval itimerval!
getitimer         one:itimers itimerval!
timer_create      one:clocks ptr int_at!
timer_settime     int flags:timer_flags itimerspec itimerspec!
timerfd_create    one:clocks flags:tfd
timerfd_settime   fd flags:timer_flags itimerspec itimerspec!
nanosleep         timespec ptr!
clock_gettime     one:clocks timespec!
clock_getres      one:clocks timespec!
clock_nanosleep   one:clocks flags:timer_flags timespec ptr!
gettimeofday      timeval! ptr
time              ptr
poll              polls:1 uint int -> poll
ppoll             polls:1 uint timespec sigset size -> poll
select            int fdset fdset fdset timeval -> ready
pselect6          int fdset fdset fdset timespec ptr -> ready
epoll_create1     flags:epoll_create
epoll_ctl         fd one:epoll_ops fd epoll_event
epoll_wait        fd epolls:result! int int
epoll_pwait       fd epolls:result! int int sigset size
eventfd2          uint flags:efd
signalfd4         fd sigset size flags:sfd
inotify_init1     hex
inotify_add_watch fd path hex
socket            one:families socktype int
socketpair        one:families socktype int two_fds!
bind              fd sockaddr:2 int
connect           fd sockaddr:2 int
listen            fd int
accept            fd ptr! ptr!
accept4           fd ptr! ptr! hex
getsockname       fd ptr! int_at!
getpeername       fd ptr! int_at!
setsockopt        fd one:sol one:so optval int
getsockopt        fd one:sol one:so optval! int_at!
shutdown          fd one:shutdown
sendto            fd buf:2 size flags:msg sockaddr:5 int
recvfrom          fd filled! size flags:msg ptr! ptr!
sendmsg           fd msghdr flags:msg
recvmsg           fd msghdrout! flags:msg
recvmmsg          fd ptr! uint flags:msg timespec
sendmmsg          fd ptr uint flags:msg
getdents          fd ptr! size
openat2           dirfd path ptr size
fchmodat2         dirfd path mode flags:at_flags
chroot            path
pivot_root        path path
mount             path path text hex ptr
umount2           path hex
setxattr          path text buf:3 size hex
lsetxattr         path text buf:3 size hex
fsetxattr         fd text buf:3 size hex
getxattr          path text filled! size
lgetxattr         path text filled! size
fgetxattr         fd text filled! size
listxattr         path filled! size
llistxattr        path filled! size
flistxattr        fd filled! size
removexattr       path text
lremovexattr      path text
fremovexattr      fd text
utime             path ptr
utimes            path ptr
futimesat         dirfd path ptr
sync
syncfs            fd
sync_file_range   fd long long hex
readahead         fd long size
preadv2           fd iovout:2! int long hex
pwritev2          fd iov:2 int long hex
splice            fd ptr fd ptr size hex
tee               fd fd size hex
vmsplice          fd iov:2 size hex
process_vm_readv  int ptr size iov:4 size hex
process_vm_writev int iov:2 size ptr size hex
process_mrelease  fd hex
remap_file_pages  ptr size prot size hex
pkey_alloc        hex hex
pkey_free         int
name_to_handle_at dirfd path ptr! int_at! hex
epoll_create      int
epoll_pwait2      fd epolls:result! int timespec sigset size
signalfd          fd sigset size
eventfd           uint
timerfd_gettime   fd itimerspec!
timer_gettime     int itimerspec!
timer_getoverrun  int
timer_delete      int
restart_syscall
unshare           flags:clone
setdomainname     buf:1 size
ptrace            one:ptrace int ptr ptr
pidfd_getfd       fd fd hex
rt_tgsigqueueinfo int int sig ptr
futex_waitv       ptr uint hex timespec one:clocks
times             ptr!
shmget            hex size hex
shmdt             ptr
shmctl            int hex ptr
mq_unlink         path
swapoff           path
acct              path
vhangup
ioprio_get        int int
ioprio_set        int int hex
semget            hex int hex
semop             int ptr size
semtimedop        int ptr size timespec
semctl            int int hex hex
msgget            hex hex
msgsnd            int ptr size hex
msgrcv            int ptr! size long hex
msgctl            int hex ptr
sched_setparam    int ptr
sched_getparam    int ptr!
sched_setscheduler int hex ptr
sched_getscheduler int
sched_get_priority_max int
sched_get_priority_min int
sched_rr_get_interval int timespec!
sched_setattr     int ptr hex
sched_getattr     int ptr! size hex
"""


@dataclass(frozen=True)
class Signature:
    """How a call is written: kinds of arguments, each with whether it is written at the end."""

    arguments: tuple[tuple[Kind, bool], ...]
    result: str = ""


@cache
def signatures() -> dict[str, Signature]:
    """The table, read."""
    found = {}
    for line in TABLE.strip().splitlines():
        words, _, result = line.partition("->")
        name, *arguments = words.split()
        found[name] = Signature(tuple(kind(word) for word in arguments), result.strip())
    return found


_HEX: Final = kind("hex")


def signature(name: str) -> Signature:
    """How the call is written; one that is not in the table: with all six words."""
    return signatures().get(name) or Signature((_HEX,) * 6)
