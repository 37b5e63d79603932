#!/bin/sh
# SPDX-License-Identifier: MIT
# The installed binary takes over a mount that is in use [P6.4]: nothing fails,
# nothing is done twice.  What can't take over is refused, and the old worker
# goes on.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
new_store file
D=$work/mnt
install="$work/bin/sharedfs"
mkdir "$work/bin" "$D"
cp "$builddir/sharedfs" "$install"
"$install" mount "$SOURCE" "$D" \
	-o "cache_dir=$work/cache,log_file=$work/a.log,$OPTS"
nodes_pids="$(status_field "$D" supervisor_pid) $(status_field "$D" worker_pid)"

# Names that are made once and removed once, and bytes that are appended once.
python3 - "$D" "$work/stop" <<'EOP' &
import os, sys
d, stop = sys.argv[1:]
n = 0
log = os.open(d + '/log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
while not os.path.exists(stop):
    p = d + '/%d' % (n % 7)
    os.mkdir(p)
    fd = os.open(p + '/x', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(fd, b'%d' % n)
    os.close(fd)
    os.rename(p + '/x', p + '/y')
    with open(p + '/y', 'rb') as f:
        assert f.read() == b'%d' % n
    os.unlink(p + '/y')
    os.rmdir(p)
    os.write(log, b'%d\n' % n)
    n += 1
os.close(log)
with open(d + '/log', 'rb') as f:
    assert f.read() == b''.join(b'%d\n' % i for i in range(n)), 'log'
print(n, 'rounds')
EOP
p=$!
test_pids=$p

# The package manager puts another file there each time.
i=0
while [ $i -lt 4 ]; do
	old=$(status_field "$D" worker_pid)
	cp "$builddir/sharedfs" "$install.new"
	mv "$install.new" "$install"
	if [ $i = 1 ]; then
		kill -USR2 "$(status_field "$D" supervisor_pid)"
	else
		sharedfs upgrade "$D" || fail "upgrade $i"
	fi
	other_worker()
	{
		[ "$(status_field "$D" worker_pid)" != "$old" ]
	}
	wait_until 60 "the upgraded worker" other_worker
	not_running "$old" || wait_until 20 "the end of $old" not_running "$old"
	i=$((i + 1))
done
! grep -q 'was killed' "$work/a.log" || fail "a worker was killed"

# No sharedfs at all, and one that does not start.
w=$(status_field "$D" worker_pid)
cp /bin/false "$install.new"
mv "$install.new" "$install"
! sharedfs upgrade "$D" 2>"$work/words" || fail "/bin/false was taken"
grep -q "can't take over" "$work/words" || fail "$(cat "$work/words")"
same "the old worker" "$(status_field "$D" worker_pid)" "$w"
cp "$builddir/tests/bin/bad-worker" "$install.new"
mv "$install.new" "$install"
sharedfs upgrade "$D" >"$work/words" 2>&1 || fail "$(cat "$work/words")"
wait_until 20 "the old binary" grep -q "back to the old one" "$work/a.log"
touch "$work/stop"
wait $p || fail "see above"
grep -q . "$D/log" || fail "no round was done"
nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
umount_all
