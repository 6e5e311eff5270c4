# SPDX-License-Identifier: GPL-2.0-or-later
"""What a task sees of the tree, and what it does there by name (struct fs_struct, v6.18)."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from cpu.fs import namespace
from cpu.fs.files import O_PATH, O_RDONLY, OpenFile
from cpu.fs.node import Dentry, Node, d_path
from cpu.fs.open import OpenFlags, path_openat
from cpu.fs.permission import MAY_EXEC, MAY_WRITE, inode_permission
from cpu.fs.tree import FileSystem
from cpu.fs.walk import Nameidata
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.cred import Cred

__all__ = ["FileSystem", "FsStruct", "base_of"]


def base_of(file: OpenFile) -> Dentry:
    """The directory that paths start from which are relative to an open file; ENOTDIR."""
    if not isinstance(file.dentry, Dentry) or not file.dentry.node.is_dir:
        raise LinuxError(errno.ENOTDIR)
    return file.dentry


class FsStruct:
    """A struct fs_struct: where a task's paths start in ``tree``, and its umask.

    ``users`` are the tasks that have it (CLONE_FS). Paths start at ``base``, None: the working
    directory. Whoever's task runs is asked for its rights. Every method raises LinuxError.
    """

    def __init__(self, tree: FileSystem, cwd: str | Dentry = "/", umask: int = 0o22) -> None:
        self.tree = tree
        self.root = self.pwd = tree.root
        self.umask = umask
        self.users = 1
        self.pwd = cwd if isinstance(cwd, Dentry) else self.lookup(cwd)

    def share(self) -> FsStruct:
        """One more task that has it (CLONE_FS)."""
        self.users += 1
        return self

    def copy(self) -> FsStruct:
        """One of its own (copy_fs_struct())."""
        other = FsStruct(self.tree, self.pwd, self.umask)
        other.root = self.root
        return other

    def put(self) -> None:
        """One task less (exit_fs())."""
        self.users -= 1

    @property
    def cwd(self) -> str:
        """The working directory's path."""
        return d_path(self.pwd, self.root)

    def nameidata(
        self, base: Dentry | None = None, resolve: int = 0, cred: Cred | None = None
    ) -> Nameidata:
        """A walk that is about to start."""
        tree = self.tree
        return Nameidata(
            tree.cache, cred or tree.cred(), self.root, self.pwd if base is None else base, resolve
        )

    # Looking.

    def lookup(
        self,
        path: str,
        base: Dentry | None = None,
        *,
        follow: bool = True,
        cred: Cred | None = None,
    ) -> Dentry:
        """What ``path`` leads to; without ``follow`` a link itself."""
        return self.nameidata(base, cred=cred).lookup(path, follow=follow)

    def stat(self, path: str, base: Dentry | None = None, *, follow: bool = True) -> bytes:
        """Struct stat of what ``path`` names; without ``follow`` of a link itself."""
        return self.lookup(path, base, follow=follow).getattr().pack()

    def readlink(self, path: str, base: Dentry | None = None) -> str:
        """What the symbolic link at ``path`` says; EINVAL if it is none."""
        return self.lookup(path, base, follow=False).node.readlink()

    # Opening.

    def open(
        self,
        path: str,
        flags: int,
        base: Dentry | None = None,
        *,
        mode: int = 0,
        resolve: int = 0,
    ) -> OpenFile:
        """Open what ``path`` leads to, or make it; may wait, for a FIFO."""
        how = OpenFlags.of(flags, mode)
        tree, cred = self.tree, self.tree.cred()
        nd = self.nameidata(base, resolve, cred)
        return path_openat(tree.cache, nd, path, how, cred, self.umask)

    def open_exec(self, path: str, base: Dentry | None = None, *, follow: bool = True) -> OpenFile:
        """Open a program to run (do_open_execat()); EACCES if it is none that may be executed."""
        return self._exec_dentry(self.nameidata(base).lookup(path, follow=follow))

    def exec_file(self, file: OpenFile) -> OpenFile:
        """The same of an open file, which may be opened with O_PATH: that one has a file of its
        own.
        """
        if isinstance(file.dentry, Dentry):
            opened = self._exec_dentry(file.dentry)
            if file.flags & O_PATH:
                return opened
            opened.close()
        elif not stat.S_ISREG(file.mode) or not file.mode & 0o111:
            raise LinuxError(errno.EACCES)
        return file

    def _exec_dentry(self, dentry: Dentry) -> OpenFile:
        if stat.S_ISLNK(dentry.node.mode):
            raise LinuxError(errno.ELOOP)
        if not stat.S_ISREG(dentry.node.mode):
            raise LinuxError(errno.EACCES)
        inode_permission(dentry.node, MAY_EXEC, self.tree.cred())
        file = dentry.node.open_at(dentry, O_RDONLY)
        if file.dentry is None:
            file.dentry = dentry
        return file

    # Changing.

    def mkdir(self, path: str, mode: int, base: Dentry | None = None) -> None:
        """Make a directory."""
        cache, cred = self.tree.cache, self.tree.cred()
        namespace.mkdir(cache, self.nameidata(base), path, mode, self.umask, cred)

    def mknod(self, path: str, mode: int, base: Dentry | None = None) -> None:
        """Make a regular file or a FIFO."""
        cache, cred = self.tree.cache, self.tree.cred()
        namespace.mknod(cache, self.nameidata(base), path, mode, self.umask, cred)

    def symlink(self, target: str, path: str, base: Dentry | None = None) -> None:
        """Make a symbolic link that says ``target``."""
        namespace.symlink(self.tree.cache, self.nameidata(base), path, target, self.tree.cred())

    def unlink(self, path: str, base: Dentry | None = None) -> None:
        """Take a name away."""
        namespace.unlink(self.tree.cache, self.nameidata(base), path, self.tree.cred())

    def rmdir(self, path: str, base: Dentry | None = None) -> None:
        """Take an empty directory away."""
        namespace.rmdir(self.tree.cache, self.nameidata(base), path, self.tree.cred())

    def link(self, old: Dentry, path: str, base: Dentry | None = None) -> None:
        """Give what ``old`` stands for one more name."""
        namespace.link(self.tree.cache, old, self.nameidata(base), path, self.tree.cred())

    def rename(
        self,
        path: str,
        new: str,
        flags: int = 0,
        *,
        base: Dentry | None = None,
        new_base: Dentry | None = None,
    ) -> None:
        """Move what ``path`` names to ``new``; ``flags`` are RENAME_*."""
        source, target = (self.nameidata(base), path), (self.nameidata(new_base), new)
        namespace.rename(self.tree.cache, source, target, flags, self.tree.cred())

    def chdir(self, path: str) -> None:
        """Have relative paths start at ``path``; ENOTDIR if it is no directory."""
        self.set_pwd(self.lookup(path))

    def set_pwd(self, dentry: Dentry) -> None:
        """Have relative paths start there; ENOTDIR, EACCES."""
        self.may_enter(dentry)
        self.pwd = dentry

    def may_enter(self, dentry: Dentry) -> None:
        """ENOTDIR, EACCES for what cannot be a working directory."""
        if not dentry.node.is_dir:
            raise LinuxError(errno.ENOTDIR)
        inode_permission(dentry.node, MAY_EXEC, self.tree.cred())

    # Sockets' names.

    def bind_socket(self, path: str) -> Node:
        """Make the name of a socket (unix_bind_bsd()); EEXIST, EACCES. What it stands for is the
        node: the same whatever name it gets.
        """
        mode, cred = stat.S_IFSOCK | 0o777, self.tree.cred()
        cache, nd = self.tree.cache, self.nameidata()
        return namespace.mknod(cache, nd, path, mode, self.umask, cred).node

    def find_socket(self, path: str) -> Node | None:
        """What bind_socket() made, found by a name of it; None if that is no socket
        (unix_find_bsd()). ENOENT, EACCES if it may not be written.
        """
        node = self.lookup(path).node
        inode_permission(node, MAY_WRITE, self.tree.cred())
        return node if stat.S_ISSOCK(node.mode) else None
