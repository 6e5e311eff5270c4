# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a server and its clients run in one machine, over its own loopback: redis, Python's."""

from __future__ import annotations

import pytest

from tests.programs.harness import Scratch, require, source


def test_redis(scratch: Scratch) -> None:
    require("redis-server", "redis-cli")
    scratch.files["redis.sh"] = source("redis.sh")
    scratch.same("sh", "redis.sh", without=("log", "dump.rdb"))


@pytest.mark.stress
def test_http(scratch: Scratch) -> None:
    require("/usr/bin/python3", "curl")
    scratch.files |= {"http.sh": source("http.sh"), "served/file": "served\n" * 100}
    scratch.same("sh", "http.sh")
