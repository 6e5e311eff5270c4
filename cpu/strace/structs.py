# SPDX-License-Identifier: GPL-2.0-or-later
"""How strace writes the structs that system calls take and give."""

from __future__ import annotations

import socket
import stat
import struct
from typing import Final

from cpu.strace import flags as f
from cpu.strace.call import Call, s32, s64
from cpu.strace.flags import signal_name, sigset
from cpu.strace.text import flags, limit, octal, one_of, pointer, quoted
from mmu.units import U32

_STAT: Final = struct.Struct("<QQQIIIIQQqqQ")
_STATX_MODE: Final = struct.Struct("<IIQIIIH2xQQ")
_PAIR: Final = struct.Struct("<qq")
_TWO_INTS: Final = struct.Struct("<ii")
_INT: Final = struct.Struct("<i")
_LONG: Final = struct.Struct("<Q")
_RLIMIT: Final = struct.Struct("<QQ")
_POLLFD: Final = struct.Struct("<iHH")
_IOVEC: Final = struct.Struct("<QQ")
_EPOLL_EVENT: Final = struct.Struct("<IQ")
_SIGACTION: Final = struct.Struct("<QQQQ")
_STACK: Final = struct.Struct("<QiIQ")
_CLONE_ARGS: Final = struct.Struct("<8Q")
_FLOCK: Final = struct.Struct("<hhiqqi")
_WINSIZE: Final = struct.Struct("<HHHH")
_MSGHDR: Final = struct.Struct("<QIIQQQQi")
_CAP_HEADER: Final = struct.Struct("<Ii")
_FILE_TYPES: Final = {
    stat.S_IFREG: "S_IFREG", stat.S_IFDIR: "S_IFDIR", stat.S_IFLNK: "S_IFLNK",
    stat.S_IFCHR: "S_IFCHR", stat.S_IFBLK: "S_IFBLK", stat.S_IFIFO: "S_IFIFO",
    stat.S_IFSOCK: "S_IFSOCK",
}  # fmt: skip
_SPECIAL: Final = ((stat.S_ISUID, "S_ISUID"), (stat.S_ISGID, "S_ISGID"), (stat.S_ISVTX, "S_ISVTX"))


def file_mode(mode: int) -> str:
    """st_mode: the kind of file, special bits, rights."""
    kind = _FILE_TYPES.get(stat.S_IFMT(mode))
    words = [] if kind is None else [kind]
    words += [name for bit, name in _SPECIAL if mode & bit]
    return "|".join([*words, octal(mode & 0o777)])


def stat_of(call: Call, addr: int) -> str:
    """struct stat, abbreviated."""
    found = call.unpack(addr, _STAT)
    if found is None or call.failed:
        return pointer(addr)
    _, _, _, mode, _, _, _, rdev, size, *_ = found
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        major, minor = rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & 0xFFF00
        what = f"st_rdev=makedev({major:#x}, {minor:#x})"
    else:
        what = f"st_size={size}"
    return f"{{st_mode={file_mode(mode)}, {what}, ...}}"


def statx_of(call: Call, addr: int) -> str:
    """struct statx, abbreviated."""
    found = call.unpack(addr, _STATX_MODE)
    if found is None or call.failed:
        return pointer(addr)
    mask, _, attributes, _, _, _, mode, _, size = found
    return (
        f"{{stx_mask={flags(mask, f.STATX, 'STATX')}, stx_attributes={attributes},"
        f" stx_mode={file_mode(mode)}, stx_size={size}, ...}}"
    )


def timespec(call: Call, addr: int) -> str:
    """struct timespec."""
    found = call.unpack(addr, _PAIR)
    return pointer(addr) if found is None else f"{{tv_sec={found[0]}, tv_nsec={found[1]}}}"


def timeval(call: Call, addr: int) -> str:
    """struct timeval."""
    found = call.unpack(addr, _PAIR)
    return pointer(addr) if found is None else f"{{tv_sec={found[0]}, tv_usec={found[1]}}}"


def itimerval(call: Call, addr: int) -> str:
    """struct itimerval."""
    if call.unpack(addr, _PAIR) is None:
        return pointer(addr)
    return f"{{it_interval={timeval(call, addr)}, it_value={timeval(call, addr + 16)}}}"


def itimerspec(call: Call, addr: int) -> str:
    """struct itimerspec."""
    if call.unpack(addr, _PAIR) is None:
        return pointer(addr)
    return f"{{it_interval={timespec(call, addr)}, it_value={timespec(call, addr + 16)}}}"


def rlimit(call: Call, addr: int) -> str:
    """struct rlimit64."""
    found = call.unpack(addr, _RLIMIT)
    if found is None:
        return pointer(addr)
    return f"{{rlim_cur={limit(found[0])}, rlim_max={limit(found[1])}}}"


def sigset_at(call: Call, addr: int) -> str:
    """A sigset_t of 8 bytes."""
    found = call.unpack(addr, _LONG)
    return pointer(addr) if found is None else sigset(found[0])


def sigaction(call: Call, addr: int) -> str:
    """struct sigaction, as the kernel has it."""
    found = call.unpack(addr, _SIGACTION)
    if found is None:
        return pointer(addr)
    handler, bits, restorer, mask = found
    shown = {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler, hex(handler))
    text = f"sa_handler={shown}, sa_mask={sigset(mask)}, sa_flags={flags(bits, f.SA_FLAGS, 'SA')}"
    return f"{{{text}, sa_restorer={restorer:#x}}}" if bits & 0x04000000 else f"{{{text}}}"


def stack(call: Call, addr: int) -> str:
    """stack_t."""
    found = call.unpack(addr, _STACK)
    if found is None:
        return pointer(addr)
    sp, bits, _, size = found
    return (
        f"{{ss_sp={pointer(sp)}, ss_flags={flags(bits & U32, f.SS_FLAGS, 'SS')}, ss_size={size}}}"
    )


def int_at(call: Call, addr: int) -> str:
    """An int that was written."""
    found = call.unpack(addr, _INT)
    return pointer(addr) if found is None or call.failed else f"[{found[0]}]"


def uid_at(call: Call, addr: int) -> str:
    """A uid_t or gid_t that was written."""
    found = call.unpack(addr, _INT)
    return pointer(addr) if found is None or call.failed else f"[{found[0] & U32}]"


def two_fds(call: Call, addr: int) -> str:
    """The descriptors of pipe() or socketpair()."""
    found = call.unpack(addr, _TWO_INTS)
    return pointer(addr) if found is None or call.failed else f"[{found[0]}, {found[1]}]"


def wait_status(call: Call, addr: int) -> str:
    """What wait4() tells of a child."""
    found = call.unpack(addr, _INT)
    if found is None or call.failed or not call.result:
        return pointer(addr)
    status = found[0] & U32
    low = status & 0x7F
    if low == 0x7F and status & 0xFF == 0x7F:
        text = f"WIFSTOPPED(s) && WSTOPSIG(s) == {signal_name(status >> 8 & 0xFF)}"
    elif status == 0xFFFF:
        text = "WIFCONTINUED(s)"
    elif low:
        dumped = " && WCOREDUMP(s)" if status & 0x80 else ""
        text = f"WIFSIGNALED(s) && WTERMSIG(s) == {signal_name(low)}{dumped}"
    else:
        text = f"WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}"
    return f"[{{{text}}}]"


def pollfds(call: Call, addr: int, count: int) -> str:
    """What poll() is asked."""

    def show(fd: int, events: int, _: int) -> str:
        if fd < 0:
            return f"{{fd={fd}}}"
        return f"{{fd={fd}, events={flags(events, f.POLL, 'POLL')}}}"

    return call.items(addr, count, _POLLFD, show)


def polled(call: Call, addr: int, count: int) -> str:
    """What poll() found."""
    told = []
    for number in range(count):
        found = call.unpack(addr + number * _POLLFD.size, _POLLFD)
        if found is not None and found[2]:
            told.append(f"{{fd={found[0]}, revents={flags(found[2], f.POLL, 'POLL')}}}")
    return f"[{', '.join(told)}]"


def iovec(call: Call, addr: int, count: int, most: int | None = None) -> str:
    """Buffers; of all only ``most`` bytes, those that were transferred."""
    left = [1 << 62 if most is None else most]

    def show(base: int, size: int) -> str:
        here = min(size, left[0])
        left[0] -= here
        return f"{{iov_base={call.buffer(base, here)}, iov_len={size}}}"

    return call.items(addr, count, _IOVEC, show)


def epoll_events(call: Call, addr: int, count: int) -> str:
    """An array of struct epoll_event."""
    return call.items(
        addr,
        count,
        _EPOLL_EVENT,
        lambda events, data: (
            f"{{events={flags(events, f.EPOLL, 'EPOLL')}, data={{u32={data & U32}, u64={data}}}}}"
        ),
    )


def epoll_event(call: Call, addr: int) -> str:
    """One of them."""
    text = epoll_events(call, addr, 1)
    return text[1:-1] if text.startswith("[") else text


def clone_args(call: Call, addr: int) -> str:
    """struct clone_args, as far as it says something."""
    found = call.unpack(addr, _CLONE_ARGS)
    if found is None:
        return pointer(addr)
    bits, pidfd, child, parent, signo, sp, size, tls = found
    parts = [f"flags={flags(bits, f.CLONE, 'CLONE')}"]
    parts += [f"pidfd={pointer(pidfd)}"] if bits & 0x1000 else []
    parts += [f"child_tid={pointer(child)}"] if bits & 0x1200000 else []
    parts += [f"parent_tid={pointer(parent)}"] if bits & 0x100000 else []
    parts += [f"exit_signal={signal_name(signo) if signo else 0}", f"stack={pointer(sp)}"]
    parts += [f"stack_size={size:#x}" if size else "stack_size=0"]
    parts += [f"tls={pointer(tls)}"] if bits & 0x80000 else []
    return f"{{{', '.join(parts)}}}"


def flock(call: Call, addr: int) -> str:
    """struct flock."""
    found = call.unpack(addr, _FLOCK)
    if found is None:
        return pointer(addr)
    kind, whence, _, start, length, pid = found
    owner = f", l_pid={pid}" if call.result is not None and call.args[1] == 5 else ""
    return (
        f"{{l_type={one_of(kind, f.LOCKS, 'F')}, l_whence={one_of(whence, f.SEEK, 'SEEK')},"
        f" l_start={start}, l_len={length}{owner}}}"
    )


def winsize(call: Call, addr: int) -> str:
    """struct winsize."""
    found = call.unpack(addr, _WINSIZE)
    if found is None or call.failed:
        return pointer(addr)
    names = ("ws_row", "ws_col", "ws_xpixel", "ws_ypixel")
    return "{" + ", ".join(f"{n}={v}" for n, v in zip(names, found, strict=True)) + "}"


def sockaddr(call: Call, addr: int, size: int) -> str:
    """A socket's address."""
    data = call.read(addr, min(size, 128)) if addr and size >= 2 else None
    if data is None:
        return pointer(addr)
    family = int.from_bytes(data[:2], "little")
    name = one_of(family, f.FAMILIES, "AF")
    if family == socket.AF_UNIX:
        path = data[2:]
        if not path:
            return f"{{sa_family={name}}}"
        if path[0] == 0:
            return f"{{sa_family={name}, sun_path=@{quoted(path[1:])}}}"
        return f"{{sa_family={name}, sun_path={quoted(path.split(bytes(1))[0])}}}"
    if family == socket.AF_INET and len(data) >= 8:
        port, address = int.from_bytes(data[2:4], "big"), socket.inet_ntoa(data[4:8])
        return f'{{sa_family={name}, sin_port=htons({port}), sin_addr=inet_addr("{address}")}}'
    return f"{{sa_family={name}, sa_data={quoted(data[2:], more=size > 128)}}}"


def msghdr(call: Call, addr: int, most: int | None = None) -> str:
    """struct msghdr."""
    found = call.unpack(addr, _MSGHDR)
    if found is None:
        return pointer(addr)
    name, name_len, _, iov, nr, control, control_len, bits = found
    who = sockaddr(call, name, name_len) if name else "NULL"
    told = f", msg_control={pointer(control)}" if control else ""
    return (
        f"{{msg_name={who}, msg_namelen={name_len}, msg_iov={iovec(call, iov, nr, most)},"
        f" msg_iovlen={nr}{told}, msg_controllen={control_len},"
        f" msg_flags={flags(bits & U32, f.MSG, 'MSG')}}}"
    )


def utsname(call: Call, addr: int) -> str:
    """struct utsname, abbreviated."""
    data = call.read(addr, 130)
    if data is None or call.failed:
        return pointer(addr)
    sysname, nodename = (data[i : i + 65].split(b"\0")[0] for i in (0, 65))
    return f"{{sysname={quoted(sysname)}, nodename={quoted(nodename)}, ...}}"


def fd_set(call: Call, addr: int, nfds: int) -> str:
    """A set of descriptors of select()."""
    data = call.read(addr, -(-min(nfds, 1024) // 64) * 8) if addr else None
    if data is None:
        return pointer(addr)
    bits = int.from_bytes(data, "little")
    return f"[{' '.join(str(fd) for fd in range(min(nfds, 1024)) if bits >> fd & 1)}]"


def cap_header(call: Call, addr: int) -> str:
    """struct __user_cap_header_struct."""
    found = call.unpack(addr, _CAP_HEADER)
    if found is None:
        return pointer(addr)
    version = {0x20080522: "_LINUX_CAPABILITY_VERSION_3"}.get(found[0], hex(found[0]))
    return f"{{version={version}, pid={found[1]}}}"


def signed(value: int) -> str:
    """An int."""
    return str(s32(value))


def hex_or_zero(value: int) -> str:
    """A number in hexadecimal, but 0."""
    return hex(value) if value else "0"


def long(value: int) -> str:
    """A long."""
    return str(s64(value))
