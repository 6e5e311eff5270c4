# SPDX-License-Identifier: GPL-2.0-or-later
"""Address families (include/linux/socket.h, v6.18)."""

from __future__ import annotations

AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 0, 1, 2, 10, 16
