# SPDX-License-Identifier: GPL-2.0-or-later
"""ioctl() of terminals (drivers/tty/tty_io.c, tty_ioctl.c, tty_jobctrl.c, pty.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_ACCMODE, O_CLOEXEC, O_WRONLY
from cpu.fs.poll import WRITABLE
from cpu.fs.pty import PtyMaster, PtySlave
from cpu.fs.termios import TERMIOS2_SIZE, TERMIOS_SIZE, Termios
from cpu.fs.tty import SIGTTOU, WINSIZE, Tty, TtyFile
from cpu.syscalls.io import blocking
from cpu.syscalls.registry import s32
from cpu.tty_jobctrl import disassociate_ctty, set_ctty
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Process, Task

TCGETS, TCSETS, TCSETSW, TCSETSF = 0x5401, 0x5402, 0x5403, 0x5404
TCSBRK, TCXONC, TCFLSH, TIOCEXCL, TIOCNXCL, TIOCSCTTY = range(0x5409, 0x540F)
TIOCGPGRP, TIOCSPGRP, TIOCOUTQ, TIOCSTI, TIOCGWINSZ, TIOCSWINSZ = range(0x540F, 0x5415)
TIOCPKT, TIOCNOTTY, TIOCSETD, TIOCGETD, TCSBRKP, TIOCGSID = (
    0x5420, 0x5422, 0x5423, 0x5424, 0x5425, 0x5429,
)  # fmt: skip
TCGETS2, TCSETS2, TCSETSW2, TCSETSF2 = 0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D
TIOCGPTN, TIOCSPTLCK, TIOCGPTLCK, TIOCGPKT, TIOCGEXCL = (
    0x80045430, 0x40045431, 0x80045439, 0x80045438, 0x80045440,
)  # fmt: skip
TIOCGPTPEER: Final = 0x5441
TCIFLUSH, TCOFLUSH, TCIOFLUSH = 0, 1, 2
TCOOFF, TCOON, TCIOFF, TCION = range(4)
CAP_SYS_ADMIN: Final = 21
_GETS: Final = {TCGETS: TERMIOS_SIZE, TCGETS2: TERMIOS2_SIZE}
_SETS: Final = {
    TCSETS: TERMIOS_SIZE,
    TCSETSW: TERMIOS_SIZE,
    TCSETSF: TERMIOS_SIZE,
    TCSETS2: TERMIOS2_SIZE,
    TCSETSW2: TERMIOS2_SIZE,
    TCSETSF2: TERMIOS2_SIZE,
}
_FLUSHING: Final = (TCSETSF, TCSETSF2)
_WAITING: Final = (TCSETSW, TCSETSF, TCSETSW2, TCSETSF2, TCSBRK, TCSBRKP)


def tty_ioctl(task: Task, file: TtyFile | PtyMaster, request: int, argument: int) -> int:
    """ENOTTY for what there is not; EIO once it has hung up. A master's are its slave's."""
    master = isinstance(file, PtyMaster)
    tty: Tty = file.slave if isinstance(file, PtyMaster) else file.tty
    if not master and tty.hung_up:
        raise LinuxError(errno.ENOTTY if request == TIOCSPGRP else errno.EIO)
    if isinstance(file, PtyMaster):
        answer = _master_ioctl(task, file, request, argument)
        if answer is not None:
            return answer
    call = _CALLS.get(request)
    if call is not None:
        return call(task, file, tty, argument)
    if request in _GETS:
        data = tty.termios.pack2() if request == TCGETS2 else tty.termios.pack()
        task.mm.copy_to_user(argument, data)
        return 0
    if request in _SETS:
        return _set_termios(task, file, tty, request, argument)
    if request in (TCSBRK, TCSBRKP):
        _change(tty)
        _drain(task, file, tty)
        return 0
    raise LinuxError(errno.ENOTTY)


def _change(tty: Tty) -> None:
    """Who changes it must be in the foreground."""
    tty.jobs.check_change(tty, SIGTTOU)


def _put_int(task: Task, argument: int, value: int) -> int:
    task.mm.copy_to_user(argument, struct.pack("<i", value))
    return 0


def _get_int(task: Task, argument: int) -> int:
    (value,) = struct.unpack("<i", task.mm.copy_from_user(argument, 4))
    return int(value)


def _drain(task: Task, file: TtyFile | PtyMaster, tty: Tty) -> None:
    """tty_wait_until_sent(): a pseudo-terminal has sent all that was taken."""
    if isinstance(file, TtyFile) and not isinstance(tty, PtySlave):
        blocking(task, file, WRITABLE, lambda: None)


def _set_termios(
    task: Task, file: TtyFile | PtyMaster, tty: Tty, request: int, argument: int
) -> int:
    """set_termios()."""
    _change(tty)
    new = Termios.of(task.mm.copy_from_user(argument, _SETS[request]))
    if request in _FLUSHING:
        tty.flush_input()
    if request in _WAITING:
        _drain(task, file, tty)
    tty.set_termios(new)
    return 0


def _exclusive(on: bool) -> Callable[[Task, TtyFile | PtyMaster, Tty, int], int]:
    def call(_task: Task, _file: TtyFile | PtyMaster, tty: Tty, _argument: int) -> int:
        tty.exclusive = on
        return 0

    return call


def _flow(_task: Task, _file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    """TCXONC."""
    _change(tty)
    if s32(argument) == TCOOFF:
        tty.ldisc.stop()
    elif s32(argument) == TCOON:
        tty.start()
    elif s32(argument) not in (TCIOFF, TCION):
        raise LinuxError(errno.EINVAL)
    return 0


def _flush(_task: Task, _file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    """TCFLSH."""
    _change(tty)
    which = s32(argument)
    if which not in (TCIFLUSH, TCOFLUSH, TCIOFLUSH):
        raise LinuxError(errno.EINVAL)
    if which != TCOFLUSH:
        tty.flush_input()
    if which != TCIFLUSH:
        tty.drop_output()
    return 0


def _get_winsize(task: Task, _file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    task.mm.copy_to_user(argument, tty.winsize)
    return 0


def _set_winsize(task: Task, _file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    tty.resized(task.mm.copy_from_user(argument, WINSIZE.size))
    return 0


def _outq(task: Task, file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    master = isinstance(file, PtyMaster)
    return _put_int(task, argument, 0 if master else tty.nr_output())


def _sti(_task: Task, _file: TtyFile | PtyMaster, _tty: Tty, _argument: int) -> int:
    """TIOCSTI, as with dev.tty.legacy_tiocsti=0."""
    raise LinuxError(errno.EIO)


def _getd(task: Task, _file: TtyFile | PtyMaster, _tty: Tty, argument: int) -> int:
    return _put_int(task, argument, 0)


def _setd(task: Task, _file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    """There is N_TTY."""
    _change(tty)
    if _get_int(task, argument):
        raise LinuxError(errno.EINVAL)
    return 0


# Sessions and groups.


def _is_controlling(task: Task, file: TtyFile | PtyMaster, tty: Tty) -> None:
    if isinstance(file, TtyFile) and task.process.tty is not tty:
        raise LinuxError(errno.ENOTTY)


def _get_pgrp(task: Task, file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    _is_controlling(task, file, tty)
    return _put_int(task, argument, tty.pgrp)


def _set_pgrp(task: Task, _file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    try:
        _change(tty)
    except LinuxError as error:
        raise LinuxError(errno.ENOTTY if error.errno == errno.EIO else error.errno) from None
    process = task.process
    if process.tty is not tty or tty.session != process.session:
        raise LinuxError(errno.ENOTTY)
    pgrp = _get_int(task, argument)
    if pgrp < 0:
        raise LinuxError(errno.EINVAL)
    members = [other for other in task.system.alive() if other.pgrp == pgrp]
    if not members:
        raise LinuxError(errno.ESRCH)
    if members[0].session != process.session:
        raise LinuxError(errno.EPERM)
    tty.used()
    tty.pgrp = pgrp
    return 0


def _get_sid(task: Task, file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    _is_controlling(task, file, tty)
    if not tty.session:
        raise LinuxError(errno.ENOTTY)
    return _put_int(task, argument, tty.session)


def _set_ctty(task: Task, file: TtyFile | PtyMaster, tty: Tty, argument: int) -> int:
    """tiocsctty()."""
    process, admin = task.process, task.cred.capable(CAP_SYS_ADMIN)
    leader = process.session == process.pid
    if leader and tty.session == process.session:
        return 0
    if not leader or process.tty is not None:
        raise LinuxError(errno.EPERM)
    if tty.session:
        if argument != 1 or not admin:
            raise LinuxError(errno.EPERM)
        _take_from(task, tty)
    if file.flags & O_ACCMODE == O_WRONLY and not admin:
        raise LinuxError(errno.EPERM)
    set_ctty(tty, process)
    return 0


def _take_from(task: Task, tty: Tty) -> None:
    other: Process
    for other in task.system.alive():
        if other.tty is tty:
            other.tty = None


def _no_tty(task: Task, _file: TtyFile | PtyMaster, tty: Tty, _argument: int) -> int:
    """TIOCNOTTY: the process has none any more; of a leader the whole session."""
    process = task.process
    if process.tty is not tty:
        raise LinuxError(errno.ENOTTY)
    if process.session == process.pid:
        disassociate_ctty(process, on_exit=False)
    process.tty = None
    return 0


_CALLS: Final[dict[int, Callable[[Task, TtyFile | PtyMaster, Tty, int], int]]] = {
    TIOCEXCL: _exclusive(True),
    TIOCNXCL: _exclusive(False),
    TIOCGEXCL: lambda task, _, tty, argument: _put_int(task, argument, tty.exclusive),
    TCXONC: _flow,
    TCFLSH: _flush,
    TIOCGWINSZ: _get_winsize,
    TIOCSWINSZ: _set_winsize,
    TIOCOUTQ: _outq,
    TIOCSTI: _sti,
    TIOCGETD: _getd,
    TIOCSETD: _setd,
    TIOCGPGRP: _get_pgrp,
    TIOCSPGRP: _set_pgrp,
    TIOCGSID: _get_sid,
    TIOCSCTTY: _set_ctty,
    TIOCNOTTY: _no_tty,
}


# The master's.


def _master_ioctl(task: Task, file: PtyMaster, request: int, argument: int) -> int | None:
    """What only a master has; None: ask the slave."""
    slave = file.slave
    if request == TIOCGPTN:
        return _put_int(task, argument, slave.index)
    if request == TIOCSPTLCK:
        slave.locked = bool(_get_int(task, argument))
        return 0
    if request == TIOCGPTLCK:
        return _put_int(task, argument, slave.locked)
    if request == TIOCPKT:
        slave.packet = bool(_get_int(task, argument))
        return 0
    if request == TIOCGPKT:
        return _put_int(task, argument, slave.packet)
    if request == TIOCGPTPEER:
        peer = task.fs.open(slave.name, argument & U32)
        return task.files.install(peer, cloexec=bool(argument & O_CLOEXEC))
    return None
