# SPDX-License-Identifier: GPL-2.0-or-later
"""Single instructions executed by the host's processor, under ptrace, and here, and held against
each other.
"""
