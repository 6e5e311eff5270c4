# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what a guest writes goes to a private layer and is gone at the end, whatever the end was,
but for what --writable and --keep save.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.upper import PREFIX, Upper, remove_tree, upper_layer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the layers of this test are."""
    folder = tmp_path / "layers"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def layers(place: Path) -> list[Path]:
    return list(place.glob(f"{PREFIX}*"))


def ucmmu(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ucmmu", "run", "--timeout", "40", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sh(script: str, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of busybox's or Debian's sh."""
    return ucmmu(*options, "/bin/sh", "-c", script, cwd=cwd)


def test_a_layer_is_private_and_goes(place: Path) -> None:
    with upper_layer(None) as upper:
        (private,) = layers(place)
        assert private.stat().st_mode & 0o7777 == 0o700
        assert Path(upper.path).parent == private and os.listdir(upper.path) == []
        Path(upper.path, "file").touch()
    assert layers(place) == []


def test_a_layer_goes_though_the_run_fails(place: Path) -> None:
    with pytest.raises(RuntimeError), upper_layer(None):
        raise RuntimeError
    assert layers(place) == []


def test_a_layer_goes_however_deep_and_whatever_its_modes(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    shm = Path(f"/dev/shm/{tmp_path.name}.{os.getpid()}")  # elsewhere it takes its time
    if os.access("/dev/shm", os.W_OK):
        shm.mkdir()
        monkeypatch.setenv("TMPDIR", str(shm))
    with upper_layer(None) as upper:
        fd = os.open(upper.path, os.O_RDONLY)
        os.symlink(outside, "link", dir_fd=fd)
        for _ in range(3000):
            os.mkdir("d", 0o700, dir_fd=fd)
            inner = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.symlink(outside, "link", dir_fd=inner)
            os.fchmod(fd, 0)
            os.close(fd)
            fd = inner
        os.close(fd)
    assert layers(place) == []
    if shm.exists():
        shm.rmdir()
    assert (outside / "file").exists()


def test_what_a_killed_run_left_goes_with_the_next(place: Path) -> None:
    left, young, held, others = (place / f"{PREFIX}{name}" for name in "abcd")
    for folder in (left, young, held, others):
        folder.mkdir(0o700)
        (folder / "file").touch()
        os.utime(folder, (0, 0))
    os.utime(young)
    others.chmod(0o755)
    fd = os.open(held, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with upper_layer(None):
        assert [folder.exists() for folder in (left, young, held, others)] == [False] + [True] * 3
    os.close(fd)


def test_a_link_of_that_name_is_not_followed(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "others"
    folder.mkdir(0o700)
    (folder / "file").touch()
    os.utime(folder, (0, 0))
    (place / f"{PREFIX}link").symlink_to(folder)
    with upper_layer(None):
        assert (folder / "file").exists()


def test_a_run_that_is_killed_leaves_no_layer_for_long(place: Path, tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "ucmmu", "run", "faults", "spin"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not layers(place):
        time.sleep(0.01)
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    (private,) = layers(place)
    for _ in range(200):  # until the child, too, has let go of the lock
        os.utime(private, (0, 0))
        with upper_layer(None):
            pass
        if not private.exists():
            break
        time.sleep(0.05)
    assert layers(place) == []


def test_keep_makes_the_layer_the_directory(tmp_path: Path) -> None:
    for target in (tmp_path / "new", tmp_path / "empty"):
        if target.name == "empty":
            target.mkdir()
        with upper_layer(str(target)) as upper:
            Path(upper.path, "file").write_text("kept")
            upper.keep(str(target))
        assert (target / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("keep", "why"),
    [
        ("", "names no directory"),
        ("full", "is no empty directory"),
        ("file", "Not a directory"),
        ("link", "is no empty directory"),
        ("nosuch/here", "No such file or directory"),
    ],
)
def test_keep_refuses_what_would_be_lost(
    keep: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    with pytest.raises(Failure, match=why) as failure, upper_layer(keep):
        pass
    assert failure.value.code == ExitCode.USAGE


def test_a_layer_without_a_place_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "mkdir", no_room)
    with pytest.raises(Failure, match="No space left") as failure, upper_layer(None):
        pass
    assert failure.value.code == ExitCode.NO_OUTPUT


def test_what_cannot_be_removed_is_no_error(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "nosuch"))
    folder = tmp_path / "folder"
    folder.mkdir()
    upper = Upper(str(folder))
    upper.remove()
    assert not folder.exists()


def test_writes_are_gone_kept_or_written_through(tmp_path: Path, place: Path) -> None:
    work, results = tmp_path / "work", tmp_path / "results"
    work.mkdir()
    results.mkdir()
    for name in ("removed", "changed", "left"):
        (work / name).write_text("host\n")
    script = (
        f"rm removed; echo guest >>changed; mkdir d; echo new >d/file; ln -s d link;"
        f" echo through >{results}/out; echo t >/tmp/t; cat changed"
    )
    done = sh(script, "--writable", str(results), "--keep", str(tmp_path / "kept"), cwd=work)
    assert (done.returncode, done.stdout) == (0, "host\nguest\n"), done.stderr
    assert sorted(path.name for path in work.iterdir()) == ["changed", "left", "removed"]
    assert {path.read_text() for path in work.iterdir()} == {"host\n"}
    assert (results / "out").read_text() == "through\n"
    kept = tmp_path / "kept" / work.relative_to("/")
    assert (kept / "changed").read_text() == "host\nguest\n"
    assert (kept / "d" / "file").read_text() == "new\n"
    assert os.readlink(kept / "link") == "d"
    assert (kept / ".wh.removed").exists() and not (kept / "left").exists()
    assert (tmp_path / "kept" / "tmp" / "t").read_text() == "t\n"
    assert not list((tmp_path / "kept").rglob("out"))
    done = sh(f"cat {tmp_path}/kept/tmp/t", "--read", str(tmp_path / "kept"), cwd=work)
    assert done.stdout == "t\n"
    assert layers(place) == []


def test_what_is_fresh_is_so_above_the_working_directory_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/tmp and the home are a user's to write to, though something given lies beneath them."""
    work = tmp_path / "home" / "work"
    work.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(work.parent))
    done = sh("echo y >~/y && cat ~/y; echo x >/tmp/x && cat /tmp/x", "--uid", "1000", cwd=work)
    assert done.stdout == "y\nx\n", done.stderr
    assert sorted(work.parent.iterdir()) == [work]


def test_root_is_the_whole_tree(tmp_path: Path) -> None:
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("no busybox: apt-get install busybox-static")
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(busybox.read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    (root / "bin" / "sh").symlink_to("busybox")
    (root / "out").symlink_to("/etc/passwd")
    done = ucmmu(
        *("--root", str(root), "/bin/sh", "-c", "busybox ls / | busybox tr '\\n' ' '; cat /out"),
        cwd=tmp_path,
    )
    names = set(done.stdout.split())
    assert {"bin", "out", "proc", "dev", "sys", "tmp"} <= names
    assert not names & {"usr", "etc", "home"} and "root:" not in done.stdout
    assert not (root / "tmp").exists()  # the guest's is in the upper layer
