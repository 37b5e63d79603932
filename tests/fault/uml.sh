#!/bin/sh
# SPDX-License-Identifier: MIT
# The tests of takeover on Linux 6.1 (Debian's User-mode Linux), which neither
# sends requests again nor has passthrough: what the killed worker had is
# answered from the shared memory [P6.1] [P6.2] [P6.4] [P6.5].
#   UML_LONG=1 SHAREDFS_TEST_TIMEOUT=7200 tests/fault/uml.sh
#       all points and all other tests of killed workers, on file and s3
#   UML_TESTS="tests/fs/upgrade.sh …" UML_STORES="file s3" tests/fault/uml.sh
# with small amounts of data; UML_QUICK= is with the usual ones.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_root
need_program linux.uml mkfs.ext4 python3 ip
! grep -q '^#define SHAREDFS_SANITIZED 1' "$builddir/config.h" ||
	skip "sanitizers need more address space than User-mode Linux has"
fuse=$(ls /usr/lib/uml/modules/*/kernel/fs/fuse/fuse.ko 2>/dev/null | tail -n 1)
[ -n "$fuse" ] || skip "no fuse module for linux.uml"
if [ "${UML_LONG-}" ]; then
	tests=${UML_TESTS:-tests/fs/kill-points.sh tests/fault/kill-storm.sh
		tests/fs/kill-worker.sh tests/fs/upgrade.sh
		tests/fs/supervisor.sh tests/fault/random-kill.sh
		tests/fs/kill-writer.sh tests/fs/kill-unlinked.sh
		tests/fs/kill-reader.sh tests/fs/kill-notify.sh
		tests/fault/sent-killed.sh}
	export STORM_SECONDS="${STORM_SECONDS:-60}"
	stores=${UML_STORES:-file s3} limit=7200
else
	tests=${UML_TESTS:-tests/fs/kill-points.sh}
	stores=${UML_STORES:-file} limit=600
	[ "${UML_TESTS-}" ] ||
		POINTS=${POINTS:-replay.read replay.answered file.made append.done}
fi

# A gateway of this machine is 10.99.0.1 in there.
net=
mkdir "$work/remote"
case " $stores " in
*" s3 "*)
	need_rgw
	ln -s . "$work/remote/d"
	echo "$work/remote" >"$work/remote/link"
	sed "s/127\.0\.0\.1/10.99.0.1/; s|^RGW_DIR=.*|RGW_DIR=$work/remote|" \
		"$RGW_DIR/env" >"$work/remote/env"
	net=vec0:transport=tap,ifname=tap0
	;;
esac
# There is no modprobe.
cat >"$work/load.py" <<'PY'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open(sys.argv[1], os.O_RDONLY)
if libc.syscall(313, fd, b"", 0) != 0:
    sys.exit("finit_module: " + os.strerror(ctypes.get_errno()))
PY
cat >"$work/init" <<SH
#!/bin/sh
PATH=$PATH
export PATH
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t ext4 /dev/ubda /mnt
python3 "$work/load.py" "$fuse"
ip link set lo up
if [ "$net" ]; then
	ip addr add 10.99.0.2/24 dev vec0
	ip link set vec0 up
	# For proxies.
	python3 "$srcdir/tests/fault/uml-forward.py" 127.0.0.1 \
		"${RGW_PORT-}" 10.99.0.1 >/dev/null &
fi
echo "kernel \$(uname -r)"
cd "$builddir"
export TMPDIR=/mnt STORES="$stores" SHAREDFS_TEST_TIMEOUT=$limit
export SHAREDFS_QUICK="${UML_QUICK-1}" STORM_SECONDS="${STORM_SECONDS-}"
export SHAREDFS_RGW_ENV="$work/remote/env" RGW_REMOTE=1
export POINTS="${POINTS-}"
# See tests/lib/kill-still.c.
export SHAREDFS_FAULTS_KILLER="$builddir/tests/bin/kill-still"
[ "\$POINTS" ] || unset POINTS
for t in $(echo $tests); do
	echo "-- \$t"
	./run "$srcdir/\$t"
	echo "result \$? \$t"
done
umount /mnt
echo o >/proc/sysrq-trigger
sleep 10
SH
chmod +x "$work/init"
# (Of the first GB nothing is used for clean files: cache_free.)
truncate -s 6G "$work/disk.img"
mkfs.ext4 -q -F "$work/disk.img"
# Its files are ours, read-only; it writes to its own disk.
cat >"$work/boot" <<SH
#!/bin/sh
if [ "$net" ]; then
	ip tuntap add tap0 mode tap
	ip addr add 10.99.0.1/24 dev tap0
	# No large frames: User-mode Linux loses them.
	ip link set tap0 up gso_max_segs 1
fi
# Its memory is a file; containers have a small /dev/shm.
room=\$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)
[ "\${room:-0}" -gt 1000000 ] || export TMPDIR="$work"
echo \$\$ >"$work/boot.pid"
exec linux.uml root=/dev/root rootfstype=hostfs hostfs=/ ro \
	"ubd0=$work/disk.img" mem=768M "init=$work/init" "uml_dir=$work/" \
	con=null con0=fd:0,fd:1 quiet $net
SH
chmod +x "$work/boot"
timeout -k 10 "$limit" unshare -n "$work/boot" </dev/null \
	>"$work/console" 2>&1 &
booted=$!
test_pids=$booted
if [ "$net" ]; then
	wait_until 30 "a tap device" test -s "$work/boot.pid"
	python3 "$srcdir/tests/fault/uml-forward.py" 10.99.0.1 "$RGW_PORT" \
		127.0.0.1 "$(cat "$work/boot.pid")" >"$work/forward.out" 2>&1 &
	test_pids="$test_pids $!"
	wait_until 30 "the way to the gateway" grep -q ready "$work/forward.out"
fi
wait $booted || :
tr -d '\r' <"$work/console" >"$work/out"
[ -z "$net" ] || buckets=$(sed -n "s/^left //p" "$work/out")
cat "$work/out"
grep -q '^kernel' "$work/out" || grep -q 'panic' "$work/out" ||
	skip "User-mode Linux does not start here: $(tail -n 1 "$work/out")"
grep -q '^kernel 6\.[0-8]\.' "$work/out" || fail "no old kernel has started"
for t in $tests; do
	grep -q "^result \(0\|77\) $t" "$work/out" ||
		fail "$t on $(sed -n 's/^kernel //p' "$work/out")"
done
grep -q '^result 0 ' "$work/out" || fail "all was skipped"
