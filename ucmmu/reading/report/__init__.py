# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu report``: a page about one or more runs, from their traces."""
