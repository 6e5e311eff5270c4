# SPDX-License-Identifier: GPL-2.0-or-later
"""What each policy of freeing page tables does for programs on the usual allocators."""
