#!/bin/sh
# SPDX-License-Identifier: MIT
# git on the mount: clone, commit, gc, fsck; the other node sees the same
# repository.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program git

HOME=$work/home
mkdir "$HOME"
export HOME
git config --global user.name tester
git config --global user.email tester@example.com
git config --global init.defaultBranch main
git config --global gc.auto 0
git init -q "$work/origin"
(
	cd "$work/origin"
	for i in 1 2 3 4 5; do
		mkdir -p "dir$i"
		for j in 1 2 3 4 5 6 7 8 9 10; do
			seq "$i" "$((i * j * 100))" >"dir$i/$j"
		done
		git add .
		git commit -qm "commit $i"
	done
)

body()
{
	mount_two
	git clone -q --no-local "$work/origin" "$A/clone"
	(
		cd "$A/clone"
		echo change >>dir1/1
		git mv dir2 moved
		git rm -q dir3/3
		git commit -qam "on the mount"
		git checkout -q -b branch
		echo branch >branch
		git add branch
		git commit -qm branch
		git checkout -q main
		git merge -q branch -m merge
		git gc -q
		git fsck --strict
	)
	git -C "$B/clone" fsck --strict
	same "status on B" "$(git -C "$B/clone" status --porcelain)" ""
	same "head on B" "$(git -C "$B/clone" rev-parse HEAD)" \
		"$(git -C "$A/clone" rev-parse HEAD)"
	echo from B >"$B/clone/b"
	git -C "$B/clone" add b
	git -C "$B/clone" commit -qm "from B"
	same "log on A" "$(git -C "$A/clone" log -1 --format=%s)" "from B"
	git -C "$A/clone" fsck --strict
}
each_store body
