# SPDX-License-Identifier: GPL-2.0-or-later
set -e
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z' HOME=$PWD
git init -q -b main repo; cd repo
git config user.name Somebody; git config user.email somebody@example.org; git config gc.auto 0
for i in 1 2 3; do echo "line $i" >>file; git add file; git commit -q -m "Add line $i"; done
git checkout -q -b side; mkdir dir; echo side >dir/side; git add .; git commit -q -m Side
git checkout -q main; echo main >>file; git commit -qam Main; git merge -q -m Merge side
git log --format='%h %s' --graph; git diff HEAD~2 --stat; git status --short; git tag v1; git show-ref
git blame -s file; git stash list; git rev-list --count HEAD; git ls-files -s; git fsck --strict
git gc -q; git count-objects -v; cd ..; git clone -q repo copy; cd copy; git log --oneline | wc -l
