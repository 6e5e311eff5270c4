# SPDX-License-Identifier: GPL-2.0-or-later
"""The C extension built by native/build_engine.py; native/unicorn/*.h say what it declares."""

from typing import Any

ffi: Any
lib: Any
