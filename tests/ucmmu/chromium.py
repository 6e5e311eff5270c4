# SPDX-License-Identifier: GPL-2.0-or-later
"""A page as a browser sees it: its elements, what it complained of, and what it asked for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
)
_OF_THE_BROWSER = "not an origin"


@dataclass(frozen=True)
class Seen:
    """The elements after the scripts ran, lines of the console, addresses that were asked for."""

    dom: str
    console: list[str]
    requests: list[str]


def look_at(page: Path, folder: Path, *options: str) -> Seen:
    """Open the page in headless Chromium; skips the test where there is none."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("needs chromium (Debian package chromium)")
    log = folder / "net.json"
    result = subprocess.run(
        [
            browser,
            *_OPTIONS,
            *options,
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    console = re.findall(r":CONSOLE[:(].*?\] (.*)", result.stderr)
    return Seen(result.stdout, console, _requests(log.read_text()))


def _requests(text: str) -> list[str]:
    """What pages asked for; the browser's own requests have no initiator."""
    try:
        log = json.loads(text)
    except ValueError:  # the browser was faster than its log
        log = json.loads(text.rstrip().rstrip(",") + "]}")
    start = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    starts = [event["params"] for event in log["events"] if event["type"] == start]
    return [
        params["url"]
        for params in starts
        if params.get("initiator", _OF_THE_BROWSER) != _OF_THE_BROWSER
    ]
