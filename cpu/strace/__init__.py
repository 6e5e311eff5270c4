# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls as strace(1) prints them: ``ucmmu run --strace``."""
