# SPDX-License-Identifier: GPL-2.0-or-later
"""prctl(2): what a thread or a process says of itself (kernel/sys.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_LAST_CAP, CAP_SETPCAP
from cpu.fork import valid_signal
from cpu.syscalls.registry import s32, syscall
from cpu.task import TASK_COMM_LEN
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE = 1, 2, 3, 4
PR_GET_KEEPCAPS, PR_SET_KEEPCAPS, PR_SET_NAME, PR_GET_NAME = 7, 8, 15, 16
PR_GET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_GET_TSC = 21, 23, 24, 25
PR_GET_SECUREBITS, PR_SET_SECUREBITS = 27, 28
PR_SET_TIMERSLACK, PR_GET_TIMERSLACK = 29, 30
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_GET_TID_ADDRESS = 40
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_IS_SET, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_LOWER = 1, 2, 3
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
PR_TSC_ENABLE: Final = 1
SECBIT_KEEP_CAPS: Final = 1 << 4
DEFAULT_TIMER_SLACK_NS: Final = 50_000

_Option = Callable[["Task", int, int, int, int], int]
_OPTIONS: Final[dict[int, _Option]] = {}


def _option(number: int) -> Callable[[_Option], _Option]:
    def register(function: _Option) -> _Option:
        _OPTIONS[number] = function
        return function

    return register


@syscall("prctl")
def sys_prctl(task: Task, option: int, arg2: int, arg3: int, arg4: int, arg5: int, *_: int) -> int:
    """prctl(2); EINVAL for what this kernel has not."""
    function = _OPTIONS.get(s32(option))
    if function is None:
        raise LinuxError(errno.EINVAL)
    return function(task, arg2, arg3, arg4, arg5)


def _put_int(task: Task, addr: int, value: int) -> int:
    task.mm.copy_to_user(addr, struct.pack("<i", value))
    return 0


@_option(PR_SET_NAME)
def _set_name(task: Task, addr: int, *_: int) -> int:
    task.set_comm(task.mm.strncpy_from_user(addr, TASK_COMM_LEN)[: TASK_COMM_LEN - 1])
    return 0


@_option(PR_GET_NAME)
def _get_name(task: Task, addr: int, *_: int) -> int:
    task.mm.copy_to_user(addr, task.comm.ljust(TASK_COMM_LEN, b"\0"))
    return 0


@_option(PR_SET_PDEATHSIG)
def _set_pdeathsig(task: Task, signo: int, *_: int) -> int:
    if not valid_signal(signo):
        raise LinuxError(errno.EINVAL)
    task.pdeath_signal = signo
    return 0


@_option(PR_GET_PDEATHSIG)
def _get_pdeathsig(task: Task, addr: int, *_: int) -> int:
    return _put_int(task, addr, task.pdeath_signal)


@_option(PR_GET_DUMPABLE)
def _get_dumpable(task: Task, *_: int) -> int:
    return task.process.dumpable


@_option(PR_SET_DUMPABLE)
def _set_dumpable(task: Task, dumpable: int, *_: int) -> int:
    if dumpable not in (0, 1):
        raise LinuxError(errno.EINVAL)
    task.process.dumpable = dumpable
    return 0


@_option(PR_SET_CHILD_SUBREAPER)
def _set_child_subreaper(task: Task, value: int, *_: int) -> int:
    task.process.is_child_subreaper = bool(value)
    return 0


@_option(PR_GET_CHILD_SUBREAPER)
def _get_child_subreaper(task: Task, addr: int, *_: int) -> int:
    return _put_int(task, addr, task.process.is_child_subreaper)


@_option(PR_SET_NO_NEW_PRIVS)
def _set_no_new_privs(task: Task, value: int, *more: int) -> int:
    if value != 1 or any(more):
        raise LinuxError(errno.EINVAL)
    task.no_new_privs = True
    return 0


@_option(PR_GET_NO_NEW_PRIVS)
def _get_no_new_privs(task: Task, *more: int) -> int:
    if any(more):
        raise LinuxError(errno.EINVAL)
    return int(task.no_new_privs)


@_option(PR_GET_TID_ADDRESS)
def _get_tid_address(task: Task, addr: int, *_: int) -> int:
    task.mm.copy_to_user(addr, struct.pack("<Q", task.clear_child_tid))
    return 0


@_option(PR_SET_TIMERSLACK)
def _set_timerslack(task: Task, slack: int, *_: int) -> int:
    task.timer_slack_ns = slack if 0 < slack < 1 << 63 else DEFAULT_TIMER_SLACK_NS
    return 0


@_option(PR_GET_TIMERSLACK)
def _get_timerslack(task: Task, *_: int) -> int:
    return task.timer_slack_ns


@_option(PR_GET_KEEPCAPS)
def _get_keepcaps(task: Task, *_: int) -> int:
    return int(task.cred.keep_caps)


@_option(PR_SET_KEEPCAPS)
def _set_keepcaps(task: Task, value: int, *_: int) -> int:
    if value > 1:
        raise LinuxError(errno.EINVAL)
    task.cred = replace(task.cred, keep_caps=bool(value))
    return 0


@_option(PR_GET_SECUREBITS)
def _get_securebits(task: Task, *_: int) -> int:
    return SECBIT_KEEP_CAPS if task.cred.keep_caps else 0


@_option(PR_SET_SECUREBITS)
def _set_securebits(task: Task, bits: int, *_: int) -> int:
    """Of the bits only SECBIT_KEEP_CAPS can be set here."""
    if bits & ~SECBIT_KEEP_CAPS or not task.cred.capable(CAP_SETPCAP):
        raise LinuxError(errno.EPERM)
    task.cred = replace(task.cred, keep_caps=bool(bits & SECBIT_KEEP_CAPS))
    return 0


@_option(PR_GET_SECCOMP)
def _none(_task: Task, *_: int) -> int:
    return 0


def _bit(capability: int) -> int:
    if capability > CAP_LAST_CAP:
        raise LinuxError(errno.EINVAL)
    return 1 << capability


@_option(PR_CAPBSET_READ)
def _capbset_read(task: Task, capability: int, *_: int) -> int:
    return int(bool(task.cred.cap_bset & _bit(capability)))


@_option(PR_CAPBSET_DROP)
def _capbset_drop(task: Task, capability: int, *_: int) -> int:
    if not task.cred.capable(CAP_SETPCAP):
        raise LinuxError(errno.EPERM)
    task.cred = replace(task.cred, cap_bset=task.cred.cap_bset & ~_bit(capability))
    return 0


@_option(PR_CAP_AMBIENT)
def _cap_ambient(task: Task, what: int, capability: int, arg4: int, arg5: int) -> int:
    cred = task.cred
    if what == PR_CAP_AMBIENT_CLEAR_ALL:
        if capability or arg4 or arg5:
            raise LinuxError(errno.EINVAL)
        task.cred = replace(cred, cap_ambient=0)
        return 0
    if arg4 or arg5:
        raise LinuxError(errno.EINVAL)
    bit = _bit(capability)
    if what == PR_CAP_AMBIENT_IS_SET:
        return int(bool(cred.cap_ambient & bit))
    if what == PR_CAP_AMBIENT_RAISE:
        if not cred.cap_permitted & cred.cap_inheritable & bit:
            raise LinuxError(errno.EPERM)
        task.cred = replace(cred, cap_ambient=cred.cap_ambient | bit)
    elif what == PR_CAP_AMBIENT_LOWER:
        task.cred = replace(cred, cap_ambient=cred.cap_ambient & ~bit)
    else:
        raise LinuxError(errno.EINVAL)
    return 0


@_option(PR_GET_TSC)
def _get_tsc(task: Task, addr: int, *_: int) -> int:
    return _put_int(task, addr, PR_TSC_ENABLE)
