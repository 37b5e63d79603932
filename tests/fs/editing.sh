#!/bin/sh
# SPDX-License-Identifier: MIT
# How programs change files: sed -i, temporary file and rename, in place,
# append, truncate, copytree, mmap; each is seen on the other node.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

cat >"$work/map.py" <<'PY'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
m[4096:4100] = b"mmap"
m.flush()
os.fsync(fd)
m.close()
os.close(fd)
PY

body()
{
	mount_two
	seq 1 1000 >"$A/numbers"
	chmod 640 "$A/numbers"
	sed -i 's/^5/five/' "$A/numbers"
	same "sed -i" "$(grep -c five "$B/numbers")" 111
	same "mode after sed -i" "$(stat -c %a "$B/numbers")" 640

	echo new >"$A/.tmp" && mv -f "$A/.tmp" "$A/numbers"
	same "replaced" "$(cat "$B/numbers")" new
	same "names" "$(ls -A "$B")" numbers

	head -c 100000 /dev/urandom >"$work/model"
	cp "$work/model" "$A/file"
	for f in "$work/model" "$B/file"; do
		echo patched | dd of="$f" conv=notrunc bs=1 seek=54321 2>/dev/null
	done
	cmp "$work/model" "$A/file"
	for f in "$work/model" "$A/file"; do
		echo appended >>"$f"
	done
	cmp "$work/model" "$B/file"
	for f in "$work/model" "$B/file"; do
		truncate -s 70000 "$f"
		truncate -s 90000 "$f"
	done
	cmp "$work/model" "$A/file"
	for f in "$work/model" "$A/file"; do
		python3 "$work/map.py" "$f"
	done
	cmp "$work/model" "$B/file"

	# A file that is removed while it is open lives on in its descriptor.
	exec 4<"$A/file"
	rm "$A/file"
	cmp "$work/model" - <&4
	exec 4<&-

	python3 -c 'import shutil, sys; shutil.copytree(*sys.argv[1:], symlinks=True)' \
		"$srcdir/tests" "$A/tests"
	diff -r "$srcdir/tests" "$B/tests"
	python3 -c 'import shutil, sys; shutil.rmtree(sys.argv[1])' "$B/tests"
	wait_until 3 "the removal on A" test ! -e "$A/tests"
}
each_store body
