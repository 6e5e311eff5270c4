# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever happens to the child, the parent lives, knows why, and leaves no process
behind.

Jobs that shall be cut short never end by themselves: a parent that waited for them would wait for
ever, and be found out by the limit that pytest sets each test.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import threading
import time

import pytest

from tests.children import children_of
from ucmmu import supervise as supervise_module
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.supervise import Limits, stops_noted, supervise


def report(**more):
    return {"exit_code": 0, "ended": "exit", **more}


def until_stopped(link):
    """A job that runs for ever but for a stop, and reports then."""
    stopped = threading.Event()
    link.on_stop(stopped.set)
    link.progress({"running": True})
    stopped.wait(60)
    return report(ended="stopped", figure=42)


def never_end():
    while True:
        time.sleep(3600)


@pytest.fixture(autouse=True)
def _leaves_no_child():
    before = set(children_of())  # of tests that ran here before: a pool's, a cluster's
    yield
    assert set(children_of()) <= before


def test_a_result_comes_back_whole():
    outcome = supervise(lambda link: report(exit_code=7, text="x" * 300_000), Limits())
    assert (outcome.code, outcome.error, outcome.ended) == (7, None, "done")
    assert len(outcome.result["text"]) == 300_000
    assert outcome.host_rss_peak > 1 << 20


def test_progress_arrives_in_order():
    seen = []

    def job(link):
        for number in range(5):
            link.progress({"number": number})
        return report()

    supervise(job, Limits(), watch=seen.append)
    assert seen == [{"number": number} for number in range(5)]


def test_what_is_done_meanwhile_is_done_here_while_the_child_runs():
    reader, writer = os.pipe()
    done_by = []

    def meanwhile():
        done_by.append(os.getpid())
        os.write(writer, b"x")

    outcome = supervise(
        lambda link: report(read=os.read(reader, 1).decode()),
        Limits(timeout=20),
        meanwhile=meanwhile,
    )
    os.close(reader), os.close(writer)
    assert (outcome.result["read"], done_by) == ("x", [os.getpid()])


def test_what_fails_meanwhile_ends_the_child():
    def fail():
        raise OSError("no table")

    with pytest.raises(OSError, match="no table"):
        supervise(until_stopped, Limits(), meanwhile=fail)


def test_a_failure_is_its_line_and_code():
    def job(link):
        raise Failure(ExitCode.NO_PROGRAM, "no such\nprogram")

    outcome = supervise(job, Limits())
    assert (outcome.code, outcome.error) == (ExitCode.NO_PROGRAM, "no such program")


def test_an_unforeseen_exception_is_one_line(capfd):
    outcome = supervise(lambda link: 1 // 0, Limits())
    assert outcome.code == ExitCode.INTERNAL
    assert outcome.error.startswith("internal error: ZeroDivisionError")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_killed_child_is_an_engine_that_died(number):
    outcome = supervise(lambda link: os.kill(os.getpid(), number), Limits())
    assert outcome.code == ExitCode.ENGINE_DIED
    assert number.name in outcome.error


def test_death_after_the_report_keeps_it():
    def job(link):
        link.send({"result": report(figure=1)})
        os.kill(os.getpid(), signal.SIGSEGV)

    outcome = supervise(job, Limits())
    assert outcome.code == ExitCode.ENGINE_DIED
    assert outcome.result["figure"] == 1


def test_leaving_without_a_word_is_an_internal_error():
    outcome = supervise(lambda link: os._exit(0), Limits())
    assert outcome.code == ExitCode.INTERNAL


def test_leaving_after_the_figures_is_one_too():
    def job(link):
        link.figures(report(figure=1))
        os._exit(0)

    outcome = supervise(job, Limits())
    assert (outcome.code, outcome.ended) == (ExitCode.INTERNAL, "failed")
    assert outcome.result["figure"] == 1


def test_a_timeout_still_gives_the_statistics():
    outcome = supervise(until_stopped, Limits(timeout=0.2))
    assert (outcome.code, outcome.ended) == (ExitCode.TIMEOUT, "timeout")
    assert "0.2 s" in outcome.error
    assert outcome.result["figure"] == 42


def test_a_deaf_child_is_killed_after_the_grace(monkeypatch):
    monkeypatch.setattr(supervise_module, "GRACE", 0.2)
    outcome = supervise(lambda link: never_end(), Limits(timeout=0.2))
    assert outcome.code == ExitCode.TIMEOUT
    assert "statistics are lost" in outcome.error


def test_memory_is_watched():
    def job(link):
        hoard = bytearray(200 << 20)
        hoard[::4096] = b"x" * len(hoard[::4096])
        return until_stopped(link)

    outcome = supervise(job, Limits(memory=100 << 20))
    assert (outcome.code, outcome.ended) == (ExitCode.MEMORY_LIMIT, "memory")
    assert "100M" in outcome.error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_signals_end_the_run_with_its_statistics(number):
    def send(message):
        os.kill(os.getpid(), number)

    outcome = supervise(until_stopped, Limits(), watch=send)
    assert outcome.code == 128 + number
    assert number.name in outcome.error
    assert outcome.result["figure"] == 42
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_kills():
    def send_twice(message):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    def job(link):
        link.progress({})
        never_end()

    outcome = supervise(job, Limits(), watch=send_twice)
    assert outcome.code == 128 + signal.SIGINT


def test_a_run_that_ends_by_itself_as_the_stop_comes_is_not_called_stopped():
    def job(link):
        stopped = threading.Event()
        link.on_stop(stopped.set)
        link.progress({})
        stopped.wait()
        return report(exit_code=3)

    outcome = supervise(job, Limits(), watch=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert (outcome.code, outcome.ended) == (3, "done")


def test_limits_hold_in_the_child_only():
    def job(link):
        names = ["RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_FSIZE"]
        return report(
            limits={name: resource.getrlimit(getattr(resource, name))[0] for name in names}
        )

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    outcome = supervise(job, Limits(descriptors=100, file_size=1 << 20))
    assert outcome.result["limits"] == {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 100,
        "RLIMIT_FSIZE": 1 << 20,
    }
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_descriptors_can_be_exchanged(tmp_path):
    target = tmp_path / "out"
    with open(target, "wb") as out:

        def job(link):
            os.write(1, b"guest's output")
            return report()

        supervise(job, Limits(), redirect={1: out.fileno()})
    assert target.read_bytes() == b"guest's output"


def test_hush_is_answered_before_the_job_goes_on(tmp_path):
    seen = []
    order = tmp_path / "order"

    def watch(message):
        seen.append(message)
        if message is None:
            order.write_text("shown no more")

    def job(link):
        link.progress({"number": 1})
        link.hush()
        link.hush()
        return report(order=order.read_text())

    outcome = supervise(job, Limits(), watch=watch)
    assert seen == [{"number": 1}, None]
    assert outcome.result["order"] == "shown no more"


def test_figures_count_where_the_checks_are_not_finished(monkeypatch):
    monkeypatch.setattr(supervise_module, "PROMPT", 0.3)

    def job(link):
        stopped = threading.Event()
        link.on_stop(stopped.set)
        stopped.wait(60)
        link.figures(report(ended="stopped", figure=42))
        never_end()

    outcome = supervise(job, Limits(timeout=0.2))
    assert (outcome.code, outcome.error) == (ExitCode.TIMEOUT, "stopped after 0.2 s (--timeout)")
    assert (outcome.result["figure"], outcome.finished) == (42, False)


def test_a_job_that_cannot_end_is_looked_at(monkeypatch):
    monkeypatch.setattr(supervise_module, "PROMPT", 0.5)
    looks = []

    def look():
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("the job was just changing it")
        return report(ended="stopped", figure=len(looks))

    def job(link):
        link.on_look(look)
        never_end()

    outcome = supervise(job, Limits(timeout=0.2))
    assert outcome.code == ExitCode.TIMEOUT
    assert outcome.result["figure"] >= 2


def test_a_guest_that_ended_keeps_its_code_though_its_checks_are_cut_short(monkeypatch):
    monkeypatch.setattr(supervise_module, "PROMPT", 0.2)

    def job(link):
        link.figures(report(exit_code=7))
        never_end()

    outcome = supervise(job, Limits(timeout=0.3))
    assert (outcome.code, outcome.ended, outcome.finished) == (7, "done", False)


def test_a_signal_to_the_child_alone_is_a_stop_too():
    outcome = supervise(
        until_stopped, Limits(), watch=lambda _: os.kill(children_of()[-1], signal.SIGTERM)
    )
    assert outcome.code == 128 + signal.SIGTERM
    assert outcome.result["figure"] == 42


def test_two_signals_at_once_do_not_cost_the_figures():
    """A closed terminal sends SIGHUP twice: the kernel's and the shell's."""

    def twice(message):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)

    outcome = supervise(until_stopped, Limits(), watch=twice)
    assert (outcome.code, outcome.result["figure"]) == (128 + signal.SIGHUP, 42)


def test_signals_between_two_jobs_are_noted():
    with stops_noted() as stops:
        os.kill(os.getpid(), signal.SIGTERM)
        while not stops:
            time.sleep(0.001)
    assert stops == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\n",
        b"\xff\xfe\n",
        b"[1]\n",
        b'{"result": 5}\n',
        b'{"result": {"exit_code": 0}}\n',
        b'{"result": {"exit_code": 1000, "ended": "exit"}}\n',
        b'{"signal": 999}\n',
        b'{"failure": {"code": 1, "line": "x"}}\n',
        b"[" * 100_000 + b"\n",
        b'{"result": {"exit_code": Infinity, "ended": "exit"}}\n',
        pytest.param(b" " * (65 << 20), id="without_end"),
    ],
)
def test_a_child_that_is_not_itself_any_more_is_killed(data):
    """A guest that had broken out of the engine would speak for the child."""

    def job(link):
        left = memoryview(data)
        while left:
            left = left[os.write(link._pipe, left) :]
        never_end()

    outcome = supervise(job, Limits())
    assert (outcome.code, outcome.result) == (ExitCode.ENGINE_DIED, None)
    assert "no message" in outcome.error


def test_a_child_that_takes_no_orders_does_not_hold_the_parent_up(monkeypatch):
    """It asks for orders, which fill the pipe that it does not read."""

    def job(link):
        fcntl.fcntl(link._orders, fcntl.F_SETPIPE_SZ, 4096)
        while True:
            os.write(link._pipe, b'{"hush": true}\n' * 1000)

    monkeypatch.setattr("ucmmu.supervise.GRACE", 0.2)
    outcome = supervise(job, Limits(timeout=0.5))
    assert outcome.code == ExitCode.TIMEOUT
