# SPDX-License-Identifier: GPL-2.0-or-later
"""Who a task is: struct cred, and the rules by which it may become another (kernel/cred.c,
kernel/sys.c, kernel/groups.c, security/commoncap.c, v6.18).

A Cred never changes: whoever becomes another gets a new one. There is one user namespace, the
initial one, and no securebit but KEEP_CAPS.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import Final

from mmu.errors import LinuxError
from mmu.units import U32

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID = range(5)
CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_LINUX_IMMUTABLE = range(5, 10)
CAP_NET_BIND_SERVICE: Final = 10
CAP_IPC_LOCK, CAP_IPC_OWNER = 14, 15
CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 18, 19, 21
CAP_SYS_NICE, CAP_SYS_RESOURCE, CAP_SYS_TIME = 23, 24, 25
CAP_MKNOD: Final = 27
CAP_LAST_CAP: Final = 40
CAP_FULL_SET: Final = (1 << CAP_LAST_CAP + 1) - 1
CAP_FS_SET: Final = (
    1 << CAP_CHOWN
    | 1 << CAP_MKNOD
    | 1 << CAP_DAC_OVERRIDE
    | 1 << CAP_DAC_READ_SEARCH
    | 1 << CAP_FOWNER
    | 1 << CAP_FSETID
    | 1 << CAP_LINUX_IMMUTABLE
    | 1 << 32  # CAP_MAC_OVERRIDE
)
"""What a task has in its effective set only while its fsuid is 0."""
NGROUPS_MAX: Final = 65536
UNCHANGED: Final = U32
"""(uid_t)-1: an ID that stays as it is."""


@dataclass(frozen=True)
class Cred:
    """struct cred. IDs are 32 bits wide; bit n of a ``cap_*`` is capability n.

    ``groups`` are the supplementary ones, in increasing order. ``keep_caps`` is
    SECBIT_KEEP_CAPS.
    """

    uid: int
    gid: int
    suid: int
    sgid: int
    euid: int
    egid: int
    fsuid: int
    fsgid: int
    groups: tuple[int, ...] = ()
    cap_inheritable: int = 0
    cap_permitted: int = 0
    cap_effective: int = 0
    cap_bset: int = CAP_FULL_SET
    cap_ambient: int = 0
    keep_caps: bool = False

    @classmethod
    def of(cls, uid: int, gid: int, groups: tuple[int, ...] = ()) -> Cred:
        """One who logged in as ``uid``: all capabilities for 0, none for others."""
        full = 0 if uid else CAP_FULL_SET
        return cls(
            *(uid, gid) * 4,
            groups=tuple(sorted(set(groups))),
            cap_permitted=full,
            cap_effective=full,
        )

    def capable(self, cap: int) -> bool:
        """Whether the capability is in the effective set."""
        return bool(self.cap_effective >> cap & 1)

    def in_group_p(self, gid: int) -> bool:
        """Whether files of the group are its own: its fsgid or a supplementary group."""
        return gid == self.fsgid or gid in self.groups

    def in_egroup_p(self, gid: int) -> bool:
        """The same with the effective group."""
        return gid == self.egid or gid in self.groups

    def is_another(self, old: Cred) -> bool:
        """Whether whoever was ``old`` now acts as another, or may do more: nobody may look into its
        memory then (commit_creds()).
        """
        before = (old.euid, old.egid, old.fsuid, old.fsgid)
        now = (self.euid, self.egid, self.fsuid, self.fsgid)
        return before != now or bool(self.cap_permitted & ~old.cap_permitted)

    @property
    def is_setid(self) -> bool:
        """Whether it acts as another than it is."""
        return self.euid != self.uid or self.egid != self.gid

    @property
    def secureexec(self) -> bool:
        """Whether a program that it starts is told to trust nobody (AT_SECURE)."""
        return self.is_setid or not self.in_group_p(self.egid)

    def kill_ok(self, other: Cred) -> bool:
        """Whether it may send the other a signal (kill_ok_by_cred())."""
        mine, its = {self.euid, self.uid}, {other.suid, other.uid}
        return bool(mine & its) or self.capable(CAP_KILL)

    def may_trace(self, other: Cred) -> bool:
        """Whether it may look into the other's address space (__ptrace_may_access(), real
        credentials).
        """
        same = {other.euid, other.suid, other.uid} == {self.uid} and {
            other.egid,
            other.sgid,
            other.gid,
        } == {self.gid}
        allowed = other.cap_permitted & ~self.cap_effective == 0
        return (same and allowed) or self.capable(CAP_SYS_PTRACE)


def _wanted(value: int, old: int) -> int:
    return old if value == UNCHANGED else value


def setuid(cred: Cred, uid: int) -> Cred:
    """setuid(2): all IDs with CAP_SETUID; else the effective one, to the real or the saved. EINVAL:
    -1 is no ID; EPERM.
    """
    if uid == UNCHANGED:
        raise LinuxError(errno.EINVAL)
    if cred.capable(CAP_SETUID):
        new = replace(cred, uid=uid, suid=uid, euid=uid, fsuid=uid)
    elif uid in (cred.uid, cred.suid):
        new = replace(cred, euid=uid, fsuid=uid)
    else:
        raise LinuxError(errno.EPERM)
    return _fix_setuid(cred, new)


def setreuid(cred: Cred, ruid: int, euid: int) -> Cred:
    """setreuid(2). EPERM."""
    free = cred.capable(CAP_SETUID)
    if ruid != UNCHANGED and not free and ruid not in (cred.uid, cred.euid):
        raise LinuxError(errno.EPERM)
    if euid != UNCHANGED and not free and euid not in (cred.uid, cred.euid, cred.suid):
        raise LinuxError(errno.EPERM)
    effective = _wanted(euid, cred.euid)
    saved = ruid != UNCHANGED or (euid != UNCHANGED and euid != cred.uid)
    new = replace(
        cred,
        uid=_wanted(ruid, cred.uid),
        euid=effective,
        fsuid=effective,
        suid=effective if saved else cred.suid,
    )
    return _fix_setuid(cred, new)


def setresuid(cred: Cred, ruid: int, euid: int, suid: int) -> Cred:
    """setresuid(2). EPERM."""
    if (
        ruid in (UNCHANGED, cred.uid)
        and (euid == UNCHANGED or euid == cred.euid == cred.fsuid)
        and suid in (UNCHANGED, cred.suid)
    ):
        return cred
    mine = (cred.uid, cred.euid, cred.suid, UNCHANGED)
    if not cred.capable(CAP_SETUID) and any(one not in mine for one in (ruid, euid, suid)):
        raise LinuxError(errno.EPERM)
    effective = _wanted(euid, cred.euid)
    new = replace(
        cred,
        uid=_wanted(ruid, cred.uid),
        euid=effective,
        fsuid=effective,
        suid=_wanted(suid, cred.suid),
    )
    return _fix_setuid(cred, new)


def setfsuid(cred: Cred, uid: int) -> Cred:
    """setfsuid(2): nothing changes where it may not."""
    if uid == UNCHANGED or not (
        uid in (cred.uid, cred.euid, cred.suid, cred.fsuid) or cred.capable(CAP_SETUID)
    ):
        return cred
    effective = cred.cap_effective
    if cred.fsuid == 0 and uid != 0:
        effective &= ~CAP_FS_SET
    elif cred.fsuid != 0 and uid == 0:
        effective |= cred.cap_permitted & CAP_FS_SET
    return replace(cred, fsuid=uid, cap_effective=effective)


def setgid(cred: Cred, gid: int) -> Cred:
    """setgid(2): as setuid()."""
    if gid == UNCHANGED:
        raise LinuxError(errno.EINVAL)
    if cred.capable(CAP_SETGID):
        return replace(cred, gid=gid, sgid=gid, egid=gid, fsgid=gid)
    if gid in (cred.gid, cred.sgid):
        return replace(cred, egid=gid, fsgid=gid)
    raise LinuxError(errno.EPERM)


def setregid(cred: Cred, rgid: int, egid: int) -> Cred:
    """setregid(2). EPERM."""
    free = cred.capable(CAP_SETGID)
    if rgid != UNCHANGED and not free and rgid not in (cred.gid, cred.egid):
        raise LinuxError(errno.EPERM)
    if egid != UNCHANGED and not free and egid not in (cred.gid, cred.egid, cred.sgid):
        raise LinuxError(errno.EPERM)
    effective = _wanted(egid, cred.egid)
    saved = rgid != UNCHANGED or (egid != UNCHANGED and egid != cred.gid)
    return replace(
        cred,
        gid=_wanted(rgid, cred.gid),
        egid=effective,
        fsgid=effective,
        sgid=effective if saved else cred.sgid,
    )


def setresgid(cred: Cred, rgid: int, egid: int, sgid: int) -> Cred:
    """setresgid(2). EPERM."""
    if (
        rgid in (UNCHANGED, cred.gid)
        and (egid == UNCHANGED or egid == cred.egid == cred.fsgid)
        and sgid in (UNCHANGED, cred.sgid)
    ):
        return cred
    mine = (cred.gid, cred.egid, cred.sgid, UNCHANGED)
    if not cred.capable(CAP_SETGID) and any(one not in mine for one in (rgid, egid, sgid)):
        raise LinuxError(errno.EPERM)
    effective = _wanted(egid, cred.egid)
    return replace(
        cred,
        gid=_wanted(rgid, cred.gid),
        egid=effective,
        fsgid=effective,
        sgid=_wanted(sgid, cred.sgid),
    )


def setfsgid(cred: Cred, gid: int) -> Cred:
    """setfsgid(2): nothing changes where it may not."""
    if gid == UNCHANGED or not (
        gid in (cred.gid, cred.egid, cred.sgid, cred.fsgid) or cred.capable(CAP_SETGID)
    ):
        return cred
    return replace(cred, fsgid=gid)


def setgroups(cred: Cred, groups: tuple[int, ...]) -> Cred:
    """setgroups(2): EPERM without CAP_SETGID."""
    if not cred.capable(CAP_SETGID):
        raise LinuxError(errno.EPERM)
    return replace(cred, groups=tuple(sorted(groups)))


def capset(cred: Cred, effective: int, inheritable: int, permitted: int) -> Cred:
    """capset(2) of the caller (cap_capset()): nothing may be gained but in the inheritable set,
    what is permitted. EPERM.
    """
    gained = inheritable & ~(cred.cap_inheritable | cred.cap_permitted)
    if gained and not cred.capable(CAP_SETPCAP):
        raise LinuxError(errno.EPERM)
    if inheritable & ~(cred.cap_inheritable | cred.cap_bset):
        raise LinuxError(errno.EPERM)
    if permitted & ~cred.cap_permitted or effective & ~permitted:
        raise LinuxError(errno.EPERM)
    return replace(
        cred,
        cap_effective=effective,
        cap_inheritable=inheritable,
        cap_permitted=permitted,
        cap_ambient=cred.cap_ambient & permitted & inheritable,
    )


def of_exec(cred: Cred) -> Cred:
    """What execve() makes of it (begin_new_exec(), cap_bprm_creds_from_file()). Set-user-ID bits
    and capabilities of files count for nothing: every file system is mounted nosuid.
    """
    ambient = cred.cap_ambient if cred.in_group_p(cred.egid) else 0
    permitted = effective = ambient
    if 0 in (cred.uid, cred.euid):
        permitted = cred.cap_bset | cred.cap_inheritable
        permitted |= ambient
        effective = permitted if cred.euid == 0 else ambient
    return replace(
        cred,
        suid=cred.euid,
        fsuid=cred.euid,
        sgid=cred.egid,
        fsgid=cred.egid,
        cap_permitted=permitted,
        cap_effective=effective,
        cap_ambient=ambient,
        keep_caps=False,
    )


def _fix_setuid(old: Cred, new: Cred) -> Cred:
    """cap_emulate_setxuid(): capabilities go with the last of the IDs that is 0, and come back with
    the effective one.
    """
    permitted, effective, ambient = new.cap_permitted, new.cap_effective, new.cap_ambient
    root_before = 0 in (old.uid, old.euid, old.suid)
    if root_before and 0 not in (new.uid, new.euid, new.suid):
        if not old.keep_caps:
            permitted = effective = 0
        ambient = 0
    if old.euid == 0 and new.euid != 0:
        effective = 0
    if old.euid != 0 and new.euid == 0:
        effective = permitted
    return replace(new, cap_permitted=permitted, cap_effective=effective, cap_ambient=ambient)
