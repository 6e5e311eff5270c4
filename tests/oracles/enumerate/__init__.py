# SPDX-License-Identifier: GPL-2.0-or-later
"""Every case of the page walk that matters, judged by tables written from the manuals."""
