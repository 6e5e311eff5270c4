# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of arguments that the table of calls is made of: how each is written.

A kind of the table is a word, ``name`` or ``name:parameter``; ``name!`` is written when the call
has returned, for what the call fills in.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from cpu.strace import flags as f
from cpu.strace import structs
from cpu.strace.call import Call, s32, s64
from cpu.strace.flags import Names, signal_name
from cpu.strace.text import flags, octal, one_of, pointer
from mmu.units import U32

Kind = Callable[[Call, int], str | None]
"""What is written for the value of an argument; None: nothing, the call does not take it."""

_POINTER: Final = struct.Struct("<Q")
_O_CREAT: Final = 0o100
_O_TMPFILE: Final = 0o20000000
_AT_FDCWD: Final = -100
_MAP_TYPE: Final = 0xF
_FUTEX_PRIVATE, _FUTEX_CLOCK_REALTIME = 128, 256
_UC_SIGMASK: Final = 296
"""Offset of uc_sigmask in struct ucontext."""
_SOCK_FLAGS: Final = 0o2004000


def _flags(names: Names, *, prefix: str) -> Kind:
    return lambda call, value: flags(value & U32, names, prefix)


def _prot(call: Call, value: int) -> str:
    return flags(value & U32, f.PROT, "PROT", none="PROT_NONE")


def _one_of(names: Names, *, prefix: str) -> Kind:
    return lambda call, value: one_of(s32(value), names, prefix)


def _dirfd(call: Call, value: int) -> str:
    return "AT_FDCWD" if s32(value) == _AT_FDCWD else structs.signed(value)


def _open_flags(call: Call, value: int) -> str:
    value &= U32
    mode = one_of(value & 3, f.OPEN_MODES, "O")
    rest = flags(value & ~3, f.OPEN_FLAGS, "O", none="")
    return f"{mode}|{rest}" if rest else mode


def _open_mode(call: Call, value: int) -> str | None:
    """Only where the flags before it say that a file may be made."""
    given = call.args[(call.name == "openat" and 2) or 1]
    made = given & _O_CREAT or given & _O_TMPFILE == _O_TMPFILE
    return octal(value & 0xFFFF) if made else None


def _map_flags(call: Call, value: int) -> str:
    kind = one_of(value & _MAP_TYPE, f.MAP_TYPES, "MAP")
    rest = flags(value & ~_MAP_TYPE & U32, f.MAP_FLAGS, "MAP", none="")
    return f"{kind}|{rest}" if rest else kind


def _offset(call: Call, value: int) -> str:
    return hex(value) if value else "0"


def _mremap_address(call: Call, value: int) -> str | None:
    return pointer(value) if call.args[3] & 2 else None


def _filled(call: Call, value: int, *, hexadecimal: bool = False) -> str:
    """A buffer of as many bytes as the call returned."""
    if call.failed or call.result is None:
        return pointer(value)
    return call.buffer(value, call.result, hexadecimal=hexadecimal)


def _signal(call: Call, value: int) -> str:
    return signal_name(s32(value)) if value else "0"


def _string_array(call: Call, value: int) -> str:
    """argv: its strings."""
    if not value:
        return "NULL"
    words: list[str] = []
    while (found := call.unpack(value + 8 * len(words), _POINTER)) is not None and found[0]:
        if len(words) == 32:
            words.append("...")
            break
        words.append(call.text(found[0]))
    return f"[{', '.join(words)}]"


def _environment(call: Call, value: int) -> str:
    """envp: how many strings."""
    if not value:
        return "NULL"
    count = 0
    while (found := call.unpack(value + 8 * count, _POINTER)) is not None and found[0]:
        count += 1
    return f"{value:#x} /* {count} var{'' if count == 1 else 's'} */"


def _dirents(call: Call, value: int) -> str:
    """How many entries getdents64() gave."""
    count, at, end = 0, value, value + (call.result or 0)
    while not call.failed and at < end:
        head = call.read(at + 16, 2)
        if head is None:
            break
        at += int.from_bytes(head, "little")
        count += 1
    entries = "entry" if count == 1 else "entries"
    return pointer(value) if call.failed else f"{pointer(value)} /* {count} {entries} */"


def _futex_op(call: Call, value: int) -> str:
    value &= U32
    name = one_of(value & 0x7F, f.FUTEX_OPS, "FUTEX")
    name += "_PRIVATE" if value & _FUTEX_PRIVATE else ""
    return name + ("|FUTEX_CLOCK_REALTIME" if value & _FUTEX_CLOCK_REALTIME else "")


def _futex_timeout(call: Call, value: int) -> str | None:
    operation = call.args[1] & 0x7F
    if operation in (0, 6, 9, 11, 13):
        return structs.timespec(call, value)
    return structs.signed(value) if operation in (3, 4, 5, 12) else None


def _futex_third(call: Call, value: int) -> str | None:
    operation = call.args[1] & 0x7F
    if operation in (9, 10):
        return "FUTEX_BITSET_MATCH_ANY" if value & U32 == U32 else hex(value & U32)
    return structs.hex_or_zero(value & U32) if operation in (4, 5, 12) else None


def _futex_bitset_place(call: Call, value: int) -> str | None:
    """uaddr2, which FUTEX_WAIT_BITSET does not use but strace shows."""
    return pointer(value) if call.args[1] & 0x7F in (3, 4, 5, 9, 11, 12) else None


def _clone(call: Call, value: int) -> str:
    """All that clone() is given, in the order in which strace writes it."""
    signo = value & 0xFF
    words = flags(value & ~0xFF & U32, f.CLONE, "CLONE", none="")
    told = signal_name(signo) if signo else ""
    _, stack, parent, child, tls, _ = call.args
    parts = [f"child_stack={pointer(stack)}"]
    parts += ["flags=" + ("|".join(filter(None, (words, told))) or "0")]
    parts += [f"parent_tid={pointer(parent)}"] if value & 0x100000 else []
    parts += [f"tls={pointer(tls)}"] if value & 0x80000 else []
    parts += [f"child_tidptr={pointer(child)}"] if value & 0x1200000 else []
    return ", ".join(parts)


def _fcntl_arg(call: Call, value: int) -> str | None:
    command = s32(call.args[1])
    if command in (1, 3, 9, 11, 1025, 1032, 1034):
        return None
    if command == 2:
        return flags(value & U32, ((1, "FD_CLOEXEC"),), "FD")
    if command == 4:
        return _open_flags(call, value)
    if command in (5, 6, 7, 36, 37, 38):
        return structs.flock(call, value)
    return structs.signed(value) if command in (0, 1030, 8, 10, 1031) else hex(value)


def _ioctl(call: Call, value: int) -> str:
    return one_of(value & U32, f.IOCTLS, "IOCTL")


def _ioctl_arg(call: Call, value: int) -> str | None:
    command = call.args[1] & U32
    if command in (0x5450, 0x5451):
        return None
    if command in (0x5413, 0x5414):
        return structs.winsize(call, value)
    if command in (0x541B, 0x540F, 0x5410, 0x5421):
        return structs.int_at(call, value)
    return pointer(value)


def _prctl_first(call: Call, value: int) -> str | None:
    option = call.args[0] & U32
    if option == _PR_SET_NAME:
        return call.text(value)
    if option in _WITHOUT_ARGUMENT:
        return None
    return hex(value) if value > 9 else str(value)


def _prctl_more(call: Call, value: int) -> str | None:
    """The others, of options that want them to be 0."""
    return structs.hex_or_zero(value) if call.args[0] & U32 in _WITH_ALL else None


_PR_SET_NAME: Final = 15
_WITHOUT_ARGUMENT: Final = (3, 7, 21, 27, 30)
"""PR_GET_DUMPABLE and its like, whose result is the value."""
_WITH_ALL: Final = (38, 39, 42, 47)
"""PR_SET_NO_NEW_PRIVS and its like."""


def _arch_prctl_arg(call: Call, value: int) -> str:
    """ARCH_GET_*: what was written."""
    if call.args[0] in (0x1003, 0x1004) and not call.failed:
        found = call.unpack(value, _POINTER)
        return pointer(value) if found is None else f"[{pointer(found[0])}]"
    return pointer(value)


def _signal_frame(call: Call, value: int) -> str:
    """What rt_sigreturn() comes back to: the mask in the ucontext that RSP points to."""
    return f"{{mask={structs.sigset_at(call, call.task.vcpu.get_regs().sp + _UC_SIGMASK)}}}"


def _personality(call: Call, value: int) -> str:
    value &= U32
    if value == U32:
        return "0xffffffff"
    words = [one_of(value & 0xFF, ((0, "PER_LINUX"), (8, "PER_LINUX32")), "PER")]
    rest = flags(value & ~0xFF, f.PERSONALITY, "PER", none="")
    return "|".join([*words, *([rest] if rest else [])])


def _socket_type(call: Call, value: int) -> str:
    kind = one_of(value & 15, f.SOCKET_TYPES, "SOCK")
    rest = flags(value & _SOCK_FLAGS, f.SOCKET_FLAGS, "SOCK", none="")
    return f"{kind}|{rest}" if rest else kind


def _option_value(call: Call, value: int) -> str:
    return structs.int_at(call, value)


def _makedev(call: Call, value: int) -> str:
    return f"makedev({value >> 8 & 0xFFF:#x}, {value & 0xFF:#x})"


_PLAIN: Final[dict[str, Kind]] = {
    "int": lambda call, value: str(s32(value)),
    "fd": lambda call, value: str(s32(value)),
    "uint": lambda call, value: str(value & U32),
    "id": lambda call, value: str(s32(value)),
    "long": lambda call, value: str(s64(value)),
    "size": lambda call, value: str(value),
    "hex": lambda call, value: structs.hex_or_zero(value),
    "ptr": lambda call, value: pointer(value),
    "mode": lambda call, value: octal(value & 0xFFFF),
    "filemode": lambda call, value: structs.file_mode(value & 0xFFFF),
    "path": lambda call, value: call.path(value),
    "text": lambda call, value: call.text(value),
    "dirfd": _dirfd,
    "open": _open_flags,
    "openmode": _open_mode,
    "filled": lambda call, value: _filled(call, value),
    "random": lambda call, value: _filled(call, value, hexadecimal=True),
    "prot": _prot,
    "map": _map_flags,
    "offset": _offset,
    "mremapto": _mremap_address,
    "sig": _signal,
    "argv": _string_array,
    "envp": _environment,
    "dirents": _dirents,
    "futexop": _futex_op,
    "futextime": _futex_timeout,
    "futex2": _futex_bitset_place,
    "futex3": _futex_third,
    "fcntl": _fcntl_arg,
    "ioctl": _ioctl,
    "ioctlarg": _ioctl_arg,
    "prctlarg": _prctl_first,
    "prctlmore": _prctl_more,
    "archarg": _arch_prctl_arg,
    "persona": _personality,
    "socktype": _socket_type,
    "optval": _option_value,
    "dev": _makedev,
    "clone": _clone,
    "sigframe": _signal_frame,
    "msghdr": structs.msghdr,
    "msghdrout": lambda call, value: (
        pointer(value) if call.failed else structs.msghdr(call, value, call.result)
    ),
    "sigset": structs.sigset_at,
    "fdset": lambda call, value: structs.fd_set(call, value, s32(call.args[0])),
}
"""Kinds without a parameter."""
_STRUCTS: Final = (
    *("stat_of", "statx_of", "timespec", "timeval", "itimerval", "itimerspec", "rlimit"),
    *("sigaction", "stack", "int_at", "uid_at", "two_fds", "wait_status", "epoll_event"),
    *("clone_args", "utsname", "cap_header", "winsize"),
)
_PLAIN.update({name: getattr(structs, name) for name in _STRUCTS})

_OF_COUNT: Final[dict[str, Callable[[Call, int, int], str]]] = {
    "buf": lambda call, value, count: call.buffer(value, count),
    "iov": structs.iovec,
    "iovout": lambda call, value, count: structs.iovec(call, value, count, call.result),
    "epolls": structs.epoll_events,
    "polls": structs.pollfds,
    "sockaddr": structs.sockaddr,
}
"""Kinds whose parameter is the number of the argument that says how many."""

_SETS: Final[dict[str, tuple[Names, str]]] = {
    name: (getattr(f, name.upper()), prefix)
    for name, prefix in {
        "access": "?_OK", "at_flags": "AT", "access_at_flags": "AT", "rename": "RENAME",
        "statx": "STATX", "mremap": "MREMAP", "msync": "MS", "mcl": "MCL", "mlock": "MLOCK",
        "pipe_flags": "O", "wait": "W", "efd": "EFD", "epoll_create": "EPOLL", "mfd": "MFD",
        "grnd": "GRND", "clone": "CLONE", "timer_flags": "TIMER", "flock": "LOCK",
        "tfd": "TFD", "sfd": "SFD", "msg": "MSG",
    }.items()
}  # fmt: skip
"""Kinds that are flags: ``flags:NAME``."""
_VALUES: Final[dict[str, tuple[Names, str]]] = {
    name: (getattr(f, name.upper()), prefix)
    for name, prefix in {
        "madv": "MADV", "sig_how": "SIG", "arch_prctl": "ARCH", "rlimit": "RLIMIT",
        "rusage": "RUSAGE", "seek": "SEEK", "clocks": "CLOCK", "itimers": "ITIMER",
        "fcntl": "F", "epoll_ops": "EPOLL_CTL", "prctl": "PR", "families": "AF",
        "shutdown": "SHUT", "sol": "SOL", "so": "SO", "prio": "PRIO", "ptrace": "PTRACE",
    }.items()
}  # fmt: skip
"""Kinds that are one of several values: ``one:NAME``."""


def kind(word: str) -> tuple[Kind, bool]:
    """What a word of the table stands for, and whether it is written when the call has returned."""
    after = word.endswith("!")
    if after and (name := word[:-1]) not in _JUDGE_THEMSELVES:
        return _unless_failed(kind(name)[0]), after
    name, _, parameter = word.rstrip("!").partition(":")
    if name == "flags":
        names, prefix = _SETS[parameter]
        return _flags(names, prefix=prefix), after
    if name == "one":
        names, prefix = _VALUES[parameter]
        return _one_of(names, prefix=prefix), after
    if name in _OF_COUNT:
        show, number = _OF_COUNT[name], parameter
        if number == "result":
            return _of_result(show), after
        return (lambda call, value: show(call, value, call.args[int(number)])), after
    return _PLAIN[name], after


_JUDGE_THEMSELVES: Final = ("fcntl", "ioctlarg", "archarg")
"""Kinds that the call reads or fills in, whichever it is."""


def _unless_failed(show: Kind) -> Kind:
    """What a call that failed did not fill in is an address."""
    return lambda call, value: pointer(value) if call.failed else show(call, value)


def _of_result(show: Callable[[Call, int, int], str]) -> Kind:
    """As many as the call returned."""
    return lambda call, value: (
        pointer(value) if call.failed or call.result is None else show(call, value, call.result)
    )
