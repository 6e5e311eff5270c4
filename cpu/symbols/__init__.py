# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a program stood when it crashed: functions, source lines, callers."""
