# SPDX-License-Identifier: GPL-2.0-or-later
"""How a path is walked (fs/namei.c, v6.18).

A path is walked name by name in the guests' own tree, whose nodes ask the host, if at all, for one
name in a directory that is held open, and never to follow a link: a link's text is walked in the
guests' tree again. So no ``..``, no link, no magic link of the host's /proc and no rename meanwhile
leads out of what was given.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from cpu.fs.node import Dentry
from cpu.fs.permission import may_exec_directory
from cpu.fs.pseudo_fs import MagicLink
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.cred import Cred
    from cpu.fs.dcache import DentryCache

NAME_MAX: Final = 255
MAXSYMLINKS: Final = 40
"""Symbolic links that one path may lead through (include/linux/namei.h)."""
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x01, 0x02, 0x04
RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_CACHED = 0x08, 0x10, 0x20


class Nameidata:
    """A struct nameidata: one walk, by ``cred``, from ``base`` on, below ``root``. ``resolve`` are
    openat2()'s RESOLVE_* bits.

    After parent(), ``at`` is the directory of the last name, and ``trailing`` says whether a slash
    follows it.
    """

    def __init__(
        self, cache: DentryCache, cred: Cred, root: Dentry, base: Dentry, resolve: int = 0
    ) -> None:
        self._cache = cache
        self._cred = cred
        self._start = base
        self._root = base if resolve & RESOLVE_IN_ROOT else root
        self._resolve = resolve
        self._names: list[str] = []
        self._links = 0
        self.at = base
        self.name = ""
        """The last name."""
        self.trailing = False

    def lookup(self, path: str, *, follow: bool) -> Dentry:
        """What ``path`` leads to; a link at its end is followed only if ``follow``, or if a slash
        comes after it (path_lookupat()).
        """
        dentry = self.last(self.parent(path), follow=follow)
        if dentry is None:
            raise LinuxError(errno.ENOENT)
        return dentry

    def parent(self, path: str) -> str:
        """Walk up to the last name and return it: "" where the path is the root (path_parentat(),
        link_path_walk()).
        """
        if not path:
            raise LinuxError(errno.ENOENT)
        if path.startswith("/"):
            self._to_root()
        self._push(path)
        return self._to_last()

    def last(self, name: str, *, follow: bool, creating: bool = False) -> Dentry | None:
        """What the last name stands for, None: nothing. ENOTDIR if a slash follows and it is no
        directory; EISDIR if a slash follows at all, and the file is to be made if it is not there.
        """
        while True:
            if name in ("", ".", ".."):
                if name == "..":
                    self._up()
                dentry = self.at
                break
            if creating and self.trailing:
                raise LinuxError(errno.EISDIR)
            found = self._cache.lookup(self.at, name)
            if found is None:
                return None
            if found.node.kind != stat.S_IFLNK or not (follow or self.trailing):
                self._same_mount(found)
                dentry = found
                break
            self._follow(found)
            name = self._to_last()
        if self.trailing and not dentry.node.is_dir:
            raise LinuxError(errno.ENOTDIR)
        return dentry

    def find(self, name: str) -> Dentry | None:
        """What a name stands for in the directory of the last one, links as they are."""
        return self._cache.lookup(self.at, name)

    def _push(self, path: str) -> None:
        names = [name for name in path.split("/") if name]
        if not self._names:
            self.trailing = path.endswith("/") and bool(names)
        self._names += reversed(names)

    def _to_last(self) -> str:
        while len(self._names) > 1:
            self._step(self._names.pop())
        self.name = self._names.pop() if self._names else ""
        if self.name:
            self._check(self.name)
        return self.name

    def _check(self, name: str) -> None:
        """Whether the name may be looked up here (may_lookup())."""
        node = self.at.node
        if not node.is_dir:
            raise LinuxError(errno.ENOTDIR)
        may_exec_directory(node, self._cred)
        if len(name) > NAME_MAX // 4 and len(os.fsencode(name)) > NAME_MAX:
            raise LinuxError(errno.ENAMETOOLONG)

    def _step(self, name: str) -> None:
        """Walk through a directory or a link (walk_component())."""
        self._check(name)
        if name == ".":
            return
        if name == "..":
            self._up()
            return
        found = self._cache.lookup(self.at, name)
        if found is None:
            raise LinuxError(errno.ENOENT)
        if found.node.kind == stat.S_IFLNK:
            self._follow(found)
        else:
            self._same_mount(found)
            self.at = found

    def _up(self) -> None:
        """``..`` (follow_dotdot())."""
        if self.at is self._root:
            return
        if self._resolve & RESOLVE_BENEATH and self.at is self._start:
            raise LinuxError(errno.EXDEV)
        self._same_mount(self.at.parent)
        self.at = self.at.parent

    def _to_root(self) -> None:
        if self._resolve & RESOLVE_BENEATH:
            raise LinuxError(errno.EXDEV)
        self._same_mount(self._root)
        self.at = self._root

    def _same_mount(self, dentry: Dentry) -> None:
        if self._resolve & RESOLVE_NO_XDEV and dentry.node.sb is not self.at.node.sb:
            raise LinuxError(errno.EXDEV)

    def _follow(self, link: Dentry) -> None:
        """Go on where the link leads (pick_link())."""
        self._links += 1
        if self._links > MAXSYMLINKS or self._resolve & RESOLVE_NO_SYMLINKS:
            raise LinuxError(errno.ELOOP)
        node = link.node
        if isinstance(node, MagicLink):
            self._jump(node)
            return
        text = node.readlink()
        if not text:
            raise LinuxError(errno.ENOENT)
        if text.startswith("/"):
            self._to_root()
        self._push_link(text)

    def _push_link(self, text: str) -> None:
        """A link at the end may end with a slash itself."""
        trailing = self.trailing
        self._push(text)
        self.trailing = self.trailing or trailing

    def _jump(self, link: MagicLink) -> None:
        """Go where a link of /proc leads (nd_jump_link())."""
        if self._resolve & RESOLVE_NO_MAGICLINKS:
            raise LinuxError(errno.ELOOP)
        if self._resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT):
            raise LinuxError(errno.EXDEV)
        target = link.leads_to()
        dentry = target if isinstance(target, Dentry) else Dentry(self.at, link.target(), target)
        if dentry is not target:
            dentry.node.found(dentry)
        self._same_mount(dentry)
        self.at = dentry
