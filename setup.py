# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the two C extensions; everything else is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["native/build_mmu.py:ffi", "native/build_engine.py:ffi"])
