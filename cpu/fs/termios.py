# SPDX-License-Identifier: GPL-2.0-or-later
"""How a terminal is set: struct termios (include/uapi/asm-generic/termbits.h, v6.18)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

ISTRIP, INLCR, IGNCR, ICRNL, IUCLC, IXON, IXANY, IXOFF, IMAXBEL, IUTF8 = (
    0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000,
)  # fmt: skip
PARMRK: Final = 0x8
OPOST, OLCUC, ONLCR, OCRNL, ONOCR, ONLRET = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
TABDLY = XTABS = 0x1800
CSIZE, CREAD, PARENB, CBAUD, CBAUDEX, CIBAUD = 0x30, 0x80, 0x100, 0x100F, 0x1000, 0x100F0000
B38400, CS8, BOTHER = 0xF, 0x30, 0x1000
ISIG, ICANON, XCASE, ECHO, ECHOE, ECHOK, ECHONL, NOFLSH, TOSTOP, ECHOCTL, ECHOPRT, ECHOKE = (
    0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800,
)  # fmt: skip
FLUSHO, IEXTEN, EXTPROC = 0x1000, 0x8000, 0x10000
(
    VINTR, VQUIT, VERASE, VKILL, VEOF, VTIME, VMIN, VSWTC, VSTART, VSTOP, VSUSP, VEOL, VREPRINT,
    VDISCARD, VWERASE, VLNEXT, VEOL2,
) = range(17)  # fmt: skip
NCCS: Final = 19
INIT_C_CC: Final = bytes(
    [3, 0o34, 0o177, 0o25, 4, 0, 1, 0, 0o21, 0o23, 0o32, 0, 0o22, 0o17, 0o27, 0o26, 0, 0, 0]
)
BAUD: Final = (
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600,
    115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000,
    3000000, 3500000, 4000000,
)  # fmt: skip
"""Bits a second of each code of CBAUD: from B57600 on CBAUDEX is set."""
_TERMIOS: Final = struct.Struct(f"<4IB{NCCS}s")
_TERMIOS2: Final = struct.Struct(f"<4IB{NCCS}sII")
TERMIOS_SIZE: Final = _TERMIOS.size
TERMIOS2_SIZE: Final = _TERMIOS2.size


@dataclass(frozen=True)
class Termios:
    """A struct ktermios: the flags of input, output, control and local modes, the line discipline,
    control characters, and speeds in bits a second.
    """

    iflag: int = ICRNL | IXON
    oflag: int = OPOST | ONLCR
    cflag: int = B38400 | CS8 | CREAD
    lflag: int = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN
    line: int = 0
    cc: bytes = INIT_C_CC
    ispeed: int = 38400
    ospeed: int = 38400

    @classmethod
    def of(cls, data: bytes) -> Termios:
        """From a struct termios, or a struct termios2 if it is as long."""
        if len(data) == TERMIOS2_SIZE:
            iflag, oflag, cflag, lflag, line, cc, ispeed, ospeed = _TERMIOS2.unpack(data)
            if cflag & CBAUD != BOTHER:
                ispeed = ospeed = _baud(cflag)
            return cls(iflag, oflag, cflag, lflag, line, cc, ispeed, ospeed)
        iflag, oflag, cflag, lflag, line, cc = _TERMIOS.unpack(data)
        return cls(iflag, oflag, cflag, lflag, line, cc, _baud(cflag), _baud(cflag))

    def pack(self) -> bytes:
        """As a struct termios."""
        return _TERMIOS.pack(self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc)

    def pack2(self) -> bytes:
        """As a struct termios2."""
        return self.pack() + struct.pack("<II", self.ispeed, self.ospeed)


def _baud(cflag: int) -> int:
    """tty_termios_baud_rate()."""
    code = cflag & CBAUD
    if code & CBAUDEX:
        code = (code & ~CBAUDEX) + 15
    return BAUD[code] if code < len(BAUD) else 0


RAW: Final = Termios(0, 0, B38400 | CS8 | CREAD, 0)
"""What a master's own side is."""
