# SPDX-License-Identifier: MIT
# What every shell test sources:
#
#   #!/bin/sh
#   . "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
#   need_mount
#   each_store body        # body runs once on file://, once on s3://
#
# A test has its own directory $work, its own mount namespace (need_mount) and
# its own bucket.  On the way out everything is unmounted, ended by pid and
# checked to be gone; $work is kept only when the test failed.  A test that
# can't run here calls skip.
#
# STORES="file s3" chooses the stores; SHAREDFS_RGW_ENV names the env file of
# a running gateway (./check has one for the whole suite), else a test starts
# its own; SHAREDFS_TEST_TIMEOUT is the limit of one test in seconds; KEEP=1
# keeps $work; SHAREDFS_QUICK=1 asks for small amounts of data.
set -eu

srcdir=$abs_srcdir
builddir=${abs_builddir:?use ./run}
# Debian's programs, not what a version manager has put before them: its python3
# takes ten times as long to start.
PATH=$builddir:$builddir/tests/bin:$srcdir/tests/lib:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export PATH
PYTHONPATH=$srcdir/tests/lib PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH PYTHONDONTWRITEBYTECODE
test_name=$(basename "$0" .sh)

# No test may hang the suite: the same script again under timeout(1).
if [ -z "${SHAREDFS_TEST_BEGAN-}" ]; then
	SHAREDFS_TEST_BEGAN=$(date +%s)
	export SHAREDFS_TEST_BEGAN
	exec timeout -k 60 "${SHAREDFS_TEST_TIMEOUT:-900}" "$0" "$@"
fi

skip()
{
	echo "SKIP: $*"
	exit 77
}

fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

need_root()
{
	[ "$(id -u)" = 0 ] || skip "needs root"
}

need_program()
{
	for p; do
		command -v "$p" >/dev/null || skip "$p is not installed"
	done
}

# need_faults: points of common/fault.h are armed by files in $SHAREDFS_FAULTS.
need_faults()
{
	grep -q '^#define SHAREDFS_DEV 1' "$builddir/config.h" ||
		skip "fault points are in --enable-dev builds"
	SHAREDFS_FAULTS=$work/faults
	export SHAREDFS_FAULTS
	mkdir "$SHAREDFS_FAULTS"
}

# need_passthrough: the test needs files that the kernel reads and writes by
# itself (6.9).
need_passthrough()
{
	case $(uname -r) in
	[1-5].*|6.[0-8].*|6.[0-8]-*) skip "the kernel is older than 6.9" ;;
	esac
}

# kill_worker PID: SIGKILL, at any moment; see tests/lib/kill-still.c.
kill_worker()
{
	${SHAREDFS_FAULTS_KILLER:-kill -KILL} "$1"
}

# kill_node DIR: supervisor and worker as one; each would start the other again.
kill_node()
{
	set -- "$(status_field "$1" supervisor_pid)" \
		"$(status_field "$1" worker_pid)"
	kill -STOP "$2"
	kill -KILL "$1" "$2"
}

# /dev/fuse and a private mount namespace, in which nothing that a test
# mounts can be seen or left behind.
need_mount()
{
	need_root
	[ -c /dev/fuse ] || skip "no /dev/fuse"
	[ -x "$builddir/sharedfs" ] || skip "sharedfs is not built"
	if [ -z "${SHAREDFS_TEST_NS-}" ]; then
		unshare -m --propagation private true 2>/dev/null ||
			skip "no private mount namespace (unshare -m)"
		SHAREDFS_TEST_NS=1
		export SHAREDFS_TEST_NS
		cleanup_files
		trap - EXIT
		exec unshare -m --propagation private "$0"
	fi
	# mount(8)'s table of this namespace alone.
	mkdir -p /run/mount
	mount -t tmpfs tmpfs /run/mount
}

# The gateway's variables (see rgw) and AWS_* in the environment.
need_rgw()
{
	[ -z "${RGW_DIR-}" ] || return 0
	if [ -n "${SHAREDFS_RGW_ENV-}" ]; then
		. "$SHAREDFS_RGW_ENV"
		return
	fi
	need_program radosgw ceph-mon ceph-osd python3 openssl curl
	rgw start "$work/rgw" >/dev/null
	own_rgw=$work/rgw
	. "$work/rgw/env"
}

# For tests that stop it: a gateway that no other test uses.
need_own_rgw()
{
	unset SHAREDFS_RGW_ENV RGW_DIR
	need_rgw
}

# Makes a bucket that goes away with the test; its name is in $bucket.
new_bucket()
{
	need_rgw
	bucket=t$(basename "$work" | tr A-Z a-z | tr -cd 'a-z0-9' | tail -c 40)
	bucket=$bucket-$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n')
	rgw bucket "$RGW_DIR" "$bucket"
	buckets="$buckets $bucket"
}

# new_store file|s3: an empty store; sets $store, $SOURCE, $OPTS and, for
# file, $store_dir.
new_store()
{
	store=$1
	case $store in
	file)
		store_n=$((store_n + 1))
		store_dir=$work/store$store_n
		mkdir "$store_dir"
		SOURCE=file://$store_dir
		OPTS=log_level=info
		;;
	s3)
		new_bucket
		SOURCE=s3://$bucket
		# What is counted must not depend on how fast the machine is.
		OPTS=log_level=info,endpoint=$RGW_ENDPOINT,region=us-east-1,path_style,nohedge
		;;
	*) fail "unknown store $store" ;;
	esac
}

# start_proxy NAME TARGET [OPTION…]: a proxy of tests/lib/proxy.c in front of
# TARGET (host:port); its port is in $proxy_port, its requests in
# $work/NAME.requests.
start_proxy()
{
	name=$1 target=$2
	shift 2
	mkfifo "$work/$name.port"
	"$builddir/tests/bin/proxy" --target "$target" \
		--control "$work/$name.ctl" --log "$work/$name.requests" "$@" \
		>"$work/$name.port" &
	test_pids="$test_pids $!"
	read -r proxy_port <"$work/$name.port"
}

# proxy_do NAME COMMAND…: see tests/lib/proxy.c.
proxy_do()
{
	name=$1
	shift
	"$builddir/tests/bin/proxy" --send "$work/$name.ctl" "$@"
}

# proxy_count NAME CLASS: how many requests of that class went through.
proxy_count()
{
	proxy_do "$1" count | awk -v c="$2" '$1 == c { n = $2 } END { print n + 0 }'
}

# Small amounts of data are wanted (sanitizers, ./check --quick).
quick()
{
	[ -n "${SHAREDFS_QUICK-}" ]
}

# each_store FUNCTION: FUNCTION runs on a new store of each kind.
each_store()
{
	for kind in ${STORES:-file s3}; do
		new_store "$kind"
		echo "== on $kind"
		"$1"
		umount_all
	done
}

# mount_node NAME SOURCE DIR [OPTIONS]: a node is a daemon with a cache of its
# own ($work/cache-NAME); it logs to $work/NAME.log.
mount_node()
{
	mkdir -p "$3"
	sharedfs mount "$2" "$3" \
		-o "cache_dir=$work/cache-$1,log_file=$work/$1.log,${4:-$OPTS}"
	note_node "$3"
}

# note_node DIR: wait_gone waits for its daemon, too.
note_node()
{
	nodes_pids="$nodes_pids $(status_field "$1" supervisor_pid)"
	nodes_pids="$nodes_pids $(status_field "$1" worker_pid)"
}

umount_node()
{
	sharedfs umount "$1"
}

# kill_and_upgrade DIR SECONDS: that of DIR is killed every 0.2 to 2 s, each fourth
# time upgraded instead; $kills and $upgrades say how often.
kill_and_upgrade()
{
	end=$(($(date +%s) + $2)) kills=0 upgrades=0
	while [ "$(date +%s)" -lt "$end" ] || [ "$upgrades" = 0 ]; do
		# 0.2 to 2 seconds
		sleep "$(awk -v s="$(od -An -N2 -tu2 /dev/urandom)" \
			'BEGIN { print 0.2 + 1.8 * s / 65536 }')"
		w=$(status_field "$1" worker_pid) || continue
		if [ $(((kills + upgrades) % 4)) = 2 ]; then
			sharedfs upgrade "$1" >"$work/upgrade.out" ||
				fail "no upgrade"
			upgrades=$((upgrades + 1))
		elif kill_worker "$w" 2>/dev/null; then
			kills=$((kills + 1))
		fi
	done
}

# mount_two: nodes A and B of $SOURCE at $A and $B.
mount_two()
{
	A=$work/A B=$work/B
	mount_node A "$SOURCE" "$A" "$OPTS${1:+,$1}"
	mount_node B "$SOURCE" "$B" "$OPTS${1:+,$1}"
}

# Mounted directories below $work, the last one first.
our_mounts()
{
	awk -v w="$work/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo |
		sed 's/\\040/ /g' | sort -r
}

umount_all()
{
	our_mounts | while IFS= read -r m; do
		umount_node "$m" || fail "$m was not unmounted"
	done
	wait_gone
}

# All daemons of this test have ended.
wait_gone()
{
	for p in $nodes_pids; do
		wait_until 30 "the end of process $p" not_running "$p"
	done
	nodes_pids=
}

not_running()
{
	case $(ps -o stat= -p "$1" 2>/dev/null) in
	''|Z*) return 0 ;;
	esac
	return 1
}

# status_field DIR NAME: one value of `sharedfs status --json`.
status_field()
{
	sharedfs status --json "$1" | python3 -c '
import json, sys
v = json.load(sys.stdin)
for k in sys.argv[1].split("."):
    v = v[k]
print(v)' "$2"
}

# attrs_sent DIR: what was changed there and may wait is in the store ([A.1]).
attrs_sent()
{
	wait_until 60 "the attributes of $1" no_attrs_wait "$1"
}

no_attrs_wait()
{
	[ "$(status_field "$1" pending_attrs)" = 0 ]
}

# wait_until SECONDS WHAT COMMAND…: polls; for what is promised to come within
# that time on a machine that does nothing else.  No verdict on a time: a busy
# one gets six times that.
wait_until()
{
	limit=$(($(date +%s) + 6 * $1)) what=$2
	shift 2
	until "$@"; do
		[ "$(date +%s)" -lt "$limit" ] || fail "waited in vain for $what"
		sleep 0.05
	done
}

# same WHAT A B: two strings are equal.
same()
{
	[ "$2" = "$3" ] || fail "$1: '$2' is not '$3'"
}

# tree_list DIR: type, mode, owner, size, mtime and target of every name, to
# compare two trees; a directory's size and mtime are the store's own affair.
tree_list()
{
	(cd "$1" && find . -mindepth 1 \
		\( -type d -printf '%y %m %U %G - - %p\n' \) -o \
		\( -type l -printf '%y - %U %G - - %p -> %l\n' \) -o \
		-printf '%y %m %U %G %s %.10T@ %p\n' | LC_ALL=C sort -k 7)
}

# same_tree A B: names, bytes and attributes are equal.
same_tree()
{
	diff -r --no-dereference "$1" "$2" >"$work/diff.out" 2>&1 || {
		head -n 20 "$work/diff.out" >&2
		fail "$1 and $2 differ"
	}
	tree_list "$1" >"$work/list.1"
	tree_list "$2" >"$work/list.2"
	diff "$work/list.1" "$work/list.2" >"$work/diff.out" || {
		head -n 20 "$work/diff.out" >&2
		fail "attributes in $1 and $2 differ"
	}
}

cleanup_files()
{
	our_mounts | grep -q . && return
	rm -rf --one-file-system "$work"
}

cleanup()
{
	code=$?
	trap - EXIT
	trap '' INT TERM
	set +e
	left=$(our_mounts)
	if [ -n "$left" ]; then
		[ "$code" != 0 ] && [ "$code" != 77 ] || {
			echo "FAIL: still mounted: $left" >&2
			code=1
		}
		# A hung daemon must not hang the clean-up: -f aborts.
		our_mounts | while IFS= read -r m; do
			timeout -k 1 20 sharedfs umount "$m" ||
				{ timeout -k 1 5 umount -f "$m"; umount -l "$m"; }
		done >/dev/null 2>&1
	fi
	for p in $nodes_pids $test_pids; do
		not_running "$p" && continue
		kill -TERM "$p" 2>/dev/null
		timeout 5 tail --pid="$p" -f /dev/null 2>/dev/null
		not_running "$p" || kill -KILL "$p" 2>/dev/null
	done
	if ls "$work"/sanitizer.* >/dev/null 2>&1; then
		cat "$work"/sanitizer.* >&2
		code=1
	fi
	case $code in
	0|77) good=1 ;;
	*) good= ;;
	esac
	if [ "$good" ] && [ -z "$own_rgw" ] && [ -n "$buckets" ]; then
		rgw rmbucket "$RGW_DIR" $buckets
	fi
	[ -z "$own_rgw" ] || rgw stop "$own_rgw"
	if [ "$good" ] && [ -z "${KEEP-}" ]; then
		cleanup_files
	else
		echo "kept: $work"
		for log in "$work"/*.log; do
			[ -s "$log" ] || continue
			echo "--- end of $log"
			tail -n 15 "$log"
		done
		echo "again: ./run '$0'"
	fi
	echo "took $(($(date +%s) - SHAREDFS_TEST_BEGAN)) s"
	exit "$code"
}

nodes_pids= test_pids= own_rgw= buckets= store_n=0
work=$(mktemp -d "${TMPDIR:-/tmp}/sharedfs-$test_name.XXXXXX")
chmod 755 "$work"
trap cleanup EXIT
trap 'exit 130' INT
trap 'echo "FAIL: time limit or signal" >&2; exit 143' TERM
# A sanitizer's words go into files, since daemons have no terminal.
ASAN_OPTIONS=${ASAN_OPTIONS-}${ASAN_OPTIONS:+:}log_path=$work/sanitizer
UBSAN_OPTIONS=${UBSAN_OPTIONS-}${UBSAN_OPTIONS:+:}log_path=$work/sanitizer:print_stacktrace=1
TSAN_OPTIONS=${TSAN_OPTIONS-}${TSAN_OPTIONS:+:}log_path=$work/sanitizer
export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS
