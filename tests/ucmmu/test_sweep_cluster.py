# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a Dask cluster runs a sweep as processes of this host do; a worker that is killed loses no
cell.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.children import children_of
from tests.ucmmu.test_sweep import LOOP, ROOT
from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode

SHORT = """\
import sys
import ucmmu.sweep.workers
ucmmu.sweep.workers.CONNECT = 1.0
from ucmmu.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def cluster():
    """A scheduler and two workers, each a process with one thread."""
    distributed = pytest.importorskip("distributed")
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as made:
            yield made
    finally:
        del os.environ["PYTHONPATH"]
        if path is not None:
            os.environ["PYTHONPATH"] = path


def kill_one_at_work(pids, killed):
    """Kill the first worker that has a cell whose guest runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for pid in pids:
            if any(children_of(cell) for cell in children_of(pid)):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
        time.sleep(0.01)


def test_a_worker_of_a_cluster_is_killed_midway(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text(f'[workloads]\nw = "{LOOP.format(1000)}"\n[matrix]\nseed = [1, 2]\n')
    killed: list[int] = []
    pids = [nanny.pid for nanny in cluster.workers.values()]
    killer = threading.Thread(target=kill_one_at_work, args=(pids, killed))
    killer.start()
    words = ["--cluster", cluster.scheduler_address, "--json", "s.json", "s.toml"]
    code = main(["sweep", *words])
    killer.join()
    value = json.loads(Path("s.json").read_text())
    assert code == 0 and len(killed) == 1
    assert value["counts"] == {"done": 2, "failed": 0, "missing": 0} and value["ran"] == 2
    assert value["worker_deaths"] is None
    assert len({cell["report"]["instructions"] for cell in value["cells"]}) == 1
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "sweep", "s.toml"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "(0 ran now; s.results)" in done.stdout, "cells here have the keys that they had there"


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "nonsense", "tcp://", "ucx://x:1"])
def test_a_cluster_that_is_not_there(tmp_path, monkeypatch, capfd, address):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ucmmu.sweep.workers.CONNECT", 0.3)
    Path("s.toml").write_text("[workloads]\nw = 'hello'\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        named = address.format(port=free.getsockname()[1])
        code = main(["sweep", "--cluster", named, "s.toml"])
    out, err = capfd.readouterr()
    assert code == ExitCode.USAGE and out == ""
    assert err.startswith(f"ucmmu: --cluster {named}: no Dask scheduler answers: ")
    assert err.count("\n") == 1, err


def test_a_peer_that_says_nothing_is_given_up(tmp_path, monkeypatch, capfd):
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ucmmu.sweep.workers.CONNECT", 0.5)
    Path("s.toml").write_text("[workloads]\nw = 'hello'\n")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        named = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["sweep", "--cluster", named, "s.toml"]) == ExitCode.USAGE
    line = f"ucmmu: --cluster {named}: no Dask scheduler answers: nothing in 0.5 s\n"
    assert capfd.readouterr().err == line


def test_a_scheduler_without_workers_dies(tmp_path):
    """One process is the scheduler; it ends as soon as the sweep has told that it has no worker."""
    pytest.importorskip("distributed")
    (tmp_path / "s.toml").write_text("[workloads]\nw = 'hello'\n[matrix]\nseed = [1, 2]\n")
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert scheduler.stderr is not None
    (address,) = next(filter(None, (re.findall(r"at: +(tcp://\S+)", x) for x in scheduler.stderr)))
    process = subprocess.Popen(
        [sys.executable, "-c", SHORT, "sweep", "--cluster", address, "--json=s.json", "s.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = f"ucmmu: the cluster has no worker yet: `dask worker {address}`\n"
    assert process.stderr.readline() == line
    time.sleep(0.3)
    scheduler.kill()
    scheduler.communicate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.ENGINE_DIED
    assert "missing" in out and "2 cells: 0 done, 0 failed, 2 missing" in out
    assert err == "ucmmu: the cluster is gone; 0 of 2 cells are kept: the same command goes on\n"
    value = json.loads((tmp_path / "s.json").read_text())
    assert value["counts"]["missing"] == 2
