# SPDX-License-Identifier: GPL-2.0-or-later
"""The race explorer: kernel operations over one page table, under every order of their steps."""
