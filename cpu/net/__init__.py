# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets inside the machine (net/, v6.18); never the host's network."""
