# SPDX-License-Identifier: GPL-2.0-or-later
"""The paths a guest may see, and how they are walked (fs/namei.c, v6.18).

A guest sees the program, what we make up below /proc, /sys and /dev, and whatever host paths it was
given: all read-only. Everything else does not exist, and is looked up nowhere on the host.

A path is walked as Linux walks one, name by name, in the guest's own tree: each name is opened by
the host's kernel in the directory held open before it, and never followed if it is a link; a link's
text is walked in the guest's tree again. So no ``..``, no link, no magic link of the host's /proc
and no rename meanwhile leads out of what was given, and absolute links from one given directory
into another work.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from cpu.fs.files import (
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_LARGEFILE,
    O_NOCTTY,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    O_TRUNC,
    PIPE_BUF,
    Dirent,
    OpenFile,
    stat_bytes,
)
from cpu.fs.inode import InodeTable
from cpu.fs.pseudo_fs import Directory, Inode, Link, MagicLink
from cpu.fs.regular_files import DirectoryFile, HostFile, PathFile
from cpu.fs.view import Given, View, ViewError
from mmu.errors import LinuxError

_NOT_KEPT = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC
"""Flags of open() that F_GETFL does not say."""
MAX_LINKS = 40
"""Symbolic links that one path may lead through (include/linux/namei.h, MAXSYMLINKS)."""


@dataclass
class _Node:
    """Where a walk is: a path of the guest's tree, and what is there."""

    path: str
    fd: int | None = None
    """An O_PATH descriptor of the host's file, the node's own."""
    ours: Inode | None = None
    """What we make up. A directory of ours may lie over one of the host's."""
    public: bool = False
    """Files beneath it that not everybody may read do not exist."""

    @property
    def mode(self) -> int:
        """S_IFMT bits and rights; a directory if nothing but names of ours lie here."""
        if self.ours is not None:
            return self.ours.mode
        if self.fd is None:
            return stat.S_IFDIR | 0o555
        mode = os.fstat(self.fd).st_mode
        return stat.S_IFMT(mode) | _rights(mode)

    @property
    def kind(self) -> int:
        """S_IFMT bits."""
        return stat.S_IFMT(self.mode)

    @property
    def target(self) -> str:
        """What the symbolic link says."""
        if isinstance(self.ours, Link):
            return self.ours.target()
        return os.readlink("", dir_fd=self.fd)

    @property
    def inode(self) -> int:
        """st_ino."""
        if self.ours is not None:
            return self.ours.inode(self.path)
        return 1 if self.fd is None else os.fstat(self.fd).st_ino

    @property
    def size(self) -> int:
        """st_size."""
        kind = self.kind
        if kind == stat.S_IFDIR:
            return PIPE_BUF
        if kind == stat.S_IFLNK:
            return 64 if self.ours is not None else len(os.fsencode(self.target))
        if self.ours is not None:
            return self.ours.size
        return 0 if self.fd is None else os.fstat(self.fd).st_size

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def _rights(mode: int) -> int:
    """What a guest may do with a host file of this mode."""
    if stat.S_ISLNK(mode):
        return 0o777
    return 0o555 if stat.S_ISDIR(mode) else 0o444 | mode & 0o111


class FileSystem:
    """The tree that all tasks of a machine see.

    ``mounts`` are the things of ours by their absolute paths; ``view`` says what of the host's
    there is; ``inodes`` has those of the host's files that are open. The directories above its working directory exist, so that paths can be walked from
    there. close() it. Raises ViewError.
    """

    def __init__(self, mounts: Mapping[str, Inode], view: View, inodes: InodeTable) -> None:
        self._inodes = inodes
        self._mounts = dict(mounts)
        self._mounts.update({path: _link(target) for path, target in view.links})
        self._given: dict[str, int] = {}
        self._public: set[int] = set()
        self._held: list[int] = []
        try:
            for given in view.given:
                self._give(given)
        except ViewError:
            self.close()
            raise
        self._above = _directories_above([*self._mounts, *self._given, os.path.join(view.cwd, ".")])

    def close(self) -> None:
        """Give the host's descriptors back."""
        self._given.clear()
        while self._held:
            os.close(self._held.pop())

    def _give(self, given: Given) -> None:
        """Let the guest see the host's file or directory."""
        try:
            fd = os.open(given.host, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ViewError(given.host, why) from None
        self._held.append(fd)
        self._given[given.path] = fd
        if given.public_only:
            self._public.add(fd)

    def open(self, path: str, flags: int, base: str = "/") -> OpenFile:
        """Open what ``path``, from ``base`` on, leads to. EROFS for what would write, ENOENT for
        what the guest may not see.
        """
        try:
            with self.walk(path, base, follow=not flags & O_NOFOLLOW) as node:
                file = self._open(node, flags)
        except LinuxError as error:
            if error.errno == errno.ENOENT and path and flags & O_CREAT:
                raise LinuxError(errno.EROFS) from None
            raise
        if not flags & O_PATH:
            file.flags = flags & ~_NOT_KEPT | O_LARGEFILE
        return file

    def stat(self, path: str, base: str = "/", *, follow: bool = True) -> bytes:
        """Struct stat of what ``path`` names; without ``follow`` of a link itself, as lstat()."""
        with self.walk(path, base, follow=follow) as node:
            return stat_bytes(node.mode, node.inode, node.size)

    def readlink(self, path: str, base: str = "/") -> str:
        """What the symbolic link at ``path`` says; EINVAL if it is none."""
        with self.walk(path, base, follow=False) as node:
            if node.kind != stat.S_IFLNK:
                raise LinuxError(errno.EINVAL)
            return node.target

    def directory(self, path: str, base: str = "/") -> str:
        """The absolute path, without links, of the directory that ``path`` leads to; ENOTDIR."""
        with self.walk(path, base, follow=True) as node:
            if node.kind != stat.S_IFDIR:
                raise LinuxError(errno.ENOTDIR)
            return node.path

    def _open(self, node: _Node, flags: int) -> OpenFile:
        kind = node.kind
        if kind == stat.S_IFLNK and not flags & O_PATH:
            raise LinuxError(errno.ELOOP)
        if flags & O_DIRECTORY and kind != stat.S_IFDIR:
            raise LinuxError(errno.ENOTDIR)
        if flags & O_PATH:
            return PathFile(node.path, node.mode, node.inode, node.size, flags & O_PATH)
        if kind == stat.S_IFDIR:
            return self._open_directory(node, flags)
        writes = flags & (O_ACCMODE | O_TRUNC) != O_RDONLY
        if node.ours is not None:
            if writes and not node.ours.writable:
                raise LinuxError(errno.EROFS)
            return node.ours.open(node.path, flags)
        if kind != stat.S_IFREG or node.fd is None:
            raise LinuxError(errno.EACCES)
        if writes:
            raise LinuxError(errno.EROFS)
        return self._open_host(node.path, node.fd, flags)

    def _open_host(self, path: str, place: int, flags: int) -> HostFile:
        """Open the host's regular file that ``place``, an O_PATH descriptor, stands for."""
        try:
            fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None
        return HostFile(self._inodes.iget(os.fstat(fd), upper=False), fd, flags, path)

    def _open_directory(self, node: _Node, flags: int) -> OpenFile:
        if flags & (O_ACCMODE | O_CREAT):
            raise LinuxError(errno.EISDIR)
        if flags & O_TRUNC:
            raise LinuxError(errno.EROFS)
        path = node.path
        return DirectoryFile(path, node.mode, node.inode, lambda: self._listing(path))

    def _listing(self, path: str) -> list[Dirent]:
        """What can be reached from the directory, by name."""
        with self.walk(path, "/", follow=True) as node:
            if node.kind != stat.S_IFDIR:
                return []
            names = dict.fromkeys(node.ours.names() if isinstance(node.ours, Directory) else ())
            prefix = path.rstrip("/") + "/"
            for place in sorted([*self._mounts, *self._given, *self._above]):
                rest = place.removeprefix(prefix)
                if place != rest and rest and "/" not in rest:
                    names[rest] = None
            if node.fd is not None and node.ours is None:
                names.update(dict.fromkeys(sorted(_host_names(node.fd))))
            entries = []
            for name in names:
                try:
                    child = self._child(node, name, followed=False)
                except LinuxError:
                    continue
                entries.append(Dirent(name, child.inode, child.kind))
                child.close()
            return entries

    # The walk (link_path_walk()).

    @contextmanager
    def walk(self, path: str, base: str, *, follow: bool) -> Iterator[_Node]:
        """Where ``path`` leads from ``base`` on, held open meanwhile; a link at its end is followed
        only if ``follow``.
        """
        if not path:
            raise LinuxError(errno.ENOENT)
        trail: list[_Node] = [self._root()]
        try:
            self._follow(os.path.join(base, path), follow or path.endswith("/"), trail)
            node = trail[-1]
            if path.endswith(("/", "/.")) and node.kind != stat.S_IFDIR:
                raise LinuxError(errno.ENOTDIR)
            yield node
        finally:
            for node in trail:
                node.close()

    def _follow(self, path: str, follow: bool, trail: list[_Node]) -> None:
        """Walk ``path`` from the root on; ``trail`` holds the directories passed and ends where it
        leads.
        """
        names = deque(path.split("/"))
        links = 0
        while names:
            name = names.popleft()
            if name in ("", "."):
                continue
            if name == "..":
                if len(trail) > 1:
                    trail.pop().close()
                continue
            node = self._child(trail[-1], name, followed=links > 0)
            trail.append(node)
            if node.kind != stat.S_IFLNK or not (follow or any(names)):
                continue
            links += 1
            if links > MAX_LINKS:
                raise LinuxError(errno.ELOOP)
            if isinstance(node.ours, MagicLink):
                node.ours = node.ours.leads_to()
                continue
            target = node.target
            trail.pop().close()
            if target.startswith("/"):
                while len(trail) > 1:
                    trail.pop().close()
            names.extendleft(reversed(target.split("/")))

    def _root(self) -> _Node:
        fd = self._given.get("/")
        return _Node("/") if fd is None else self._given_node("/", fd)

    def _given_node(self, path: str, fd: int) -> _Node:
        return _Node(path, os.dup(fd), public=fd in self._public)

    def _child(self, parent: _Node, name: str, *, followed: bool) -> _Node:
        """The entry ``name`` of a directory: what is ours comes before what was given, and that
        before the host's.

        ENOENT if the guest may not see it, but EACCES if it was a link that led there.
        """
        if parent.kind != stat.S_IFDIR:
            raise LinuxError(errno.ENOTDIR)
        path = f"{parent.path.rstrip('/')}/{name}"
        if isinstance(parent.ours, Directory):
            inode = parent.ours.lookup(name)
            if inode is not None:
                return _Node(path, ours=inode)
        if path in self._mounts:
            return _Node(path, self._beneath(parent, name), self._mounts[path])
        if path in self._given:
            return self._given_node(path, self._given[path])
        above = path in self._above
        if parent.fd is None:
            if above:
                return _Node(path)
            hidden = followed and not isinstance(parent.ours, Directory)
            raise LinuxError(errno.EACCES if hidden else errno.ENOENT)
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
        except OSError as error:
            if above:
                return _Node(path)
            raise LinuxError(error.errno or errno.EIO) from None
        node = _Node(path, fd, public=parent.public)
        if above and node.kind != stat.S_IFDIR:
            node.close()
        elif parent.public and _is_private(fd):
            node.close()
            raise LinuxError(errno.ENOENT)
        return node

    def _beneath(self, parent: _Node, name: str) -> int | None:
        """The host's directory that lies under one of ours, if it was given."""
        if parent.fd is None or not isinstance(
            self._mounts[f"{parent.path.rstrip('/')}/{name}"], Directory
        ):
            return None
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            return os.open(name, flags, dir_fd=parent.fd)
        except OSError:
            return None


class FsStruct:
    """A struct fs_struct: where a task's relative paths start, and its umask, over ``tree``.

    ``users`` are the tasks that have it (CLONE_FS).
    """

    def __init__(self, tree: FileSystem, cwd: str = "/", umask: int = 0o22) -> None:
        self.tree = tree
        self.cwd = cwd
        self.umask = umask
        self.users = 1

    def share(self) -> FsStruct:
        """One more task that has it (CLONE_FS)."""
        self.users += 1
        return self

    def copy(self) -> FsStruct:
        """One of its own (copy_fs_struct())."""
        return FsStruct(self.tree, self.cwd, self.umask)

    def put(self) -> None:
        """One task less (exit_fs())."""
        self.users -= 1

    def open(self, path: str, flags: int, base: str | None = None) -> OpenFile:
        """Open ``path``, from ``base``, else from the working directory on; see FileSystem."""
        return self.tree.open(path, flags, self.cwd if base is None else base)

    def open_exec(self, path: str, base: str | None = None, *, follow: bool = True) -> OpenFile:
        """Open a program to run (do_open_execat()); EACCES if it is none that may be executed."""
        flags = O_RDONLY if follow else O_NOFOLLOW
        file = self.open(path, flags, base)
        if stat.S_ISREG(file.mode) and file.mode & 0o111:
            return file
        if not file.users:
            file.close()
        raise LinuxError(errno.EACCES)

    def stat(self, path: str, base: str | None = None, *, follow: bool = True) -> bytes:
        """Struct stat of what ``path`` names; without ``follow`` of a link itself."""
        return self.tree.stat(path, self.cwd if base is None else base, follow=follow)

    def readlink(self, path: str, base: str | None = None) -> str:
        """What the symbolic link at ``path`` says; EINVAL if it is none."""
        return self.tree.readlink(path, self.cwd if base is None else base)

    def chdir(self, path: str) -> None:
        """Have relative paths start at ``path``; ENOTDIR if it is no directory."""
        self.cwd = self.tree.directory(path, self.cwd)


def _link(target: str) -> Link:
    return Link(lambda: target)


def _is_private(fd: int) -> bool:
    """Whether the host's file is one that not everybody may read."""
    mode = os.fstat(fd).st_mode
    return not stat.S_ISLNK(mode) and not mode & stat.S_IROTH


def _host_names(fd: int) -> list[str]:
    """The entries of the host's directory at an O_PATH descriptor."""
    try:
        return os.listdir(f"/proc/self/fd/{fd}")
    except OSError:
        return []


def _directories_above(paths: Iterable[str]) -> frozenset[str]:
    """Every directory that one of the paths lies in."""
    above = set()
    for path in paths:
        while path not in ("/", ""):
            path = os.path.dirname(path)
            above.add(path)
    return frozenset(above)
