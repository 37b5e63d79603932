#!/bin/sh
# SPDX-License-Identifier: MIT
# Keys and session tokens are seen nowhere: in no log at any level, in no file
# of the cache, argument, environment, answer or shared memory; and what was
# replaced is no longer in the worker's memory either ([I.8]).
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_mount
need_program python3
new_store s3
key=$AWS_ACCESS_KEY_ID secret=$AWS_SECRET_ACCESS_KEY
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
HOME=$work/home AWS_EC2_METADATA_DISABLED=true
export HOME AWS_EC2_METADATA_DISABLED
mkdir -p "$HOME/.aws"
dir=$work/dir
set -- $(rgw key "$RGW_DIR")
key1=$1 secret1=$2

# (The gateway takes no notice of a token that comes with a key of its own.)
token1=token1-$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
token=token2-$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')

# keys FILE KEY SECRET TOKEN
keys()
{
	printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n' \
		"$2" "$3" "$4" >"$1.new"
	mv "$1.new" "$1"
}

# (A sanitizer's memory is too much to be looked through.)
grep -q '^#define SHAREDFS_SANITIZED' "$builddir/config.h" && sanitized=1 ||
	sanitized=

# in_memory PID WORD…: those that are in what the process may write to.
in_memory()
{
	python3 - "$@" <<-'EOF'
	import re, sys
	pid, words = sys.argv[1], sys.argv[2:]
	found = set()
	with open(f"/proc/{pid}/maps") as maps, \
	     open(f"/proc/{pid}/mem", "rb", 0) as mem:
	    for line in maps:
	        m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
	        if not m:
	            continue
	        at, end = int(m[1], 16), int(m[2], 16)
	        tail = b""
	        while at < end:
	            n = min(1 << 20, end - at)
	            try:
	                mem.seek(at)
	                block = mem.read(n)
	            except OSError:
	                block = b""
	            for w in words:
	                if w.encode() in tail + block:
	                    found.add(w)
	            tail = block[-200:]
	            at += n
	print(*sorted(found))
	EOF
}

# Everything that a mount does, and what the store refuses.
load()
{
	for i in 1 2 3 4; do
		echo "$1 $i" >"$dir/$1-$i"
		cat "$dir/$1-$i" >/dev/null
	done
	[ "$1" != first ] || head -c 12000000 /dev/zero >"$dir/$1-large"
	chmod 600 "$dir/$1-1"
	mv "$dir/$1-1" "$dir/$1-moved"
	ls -l "$dir" >/dev/null
	rm "$dir/$1-2"
	touch "$dir/$1-long/none" 2>/dev/null || :
	setfattr -n user.a -v b "$dir/$1-3"
	sync -f "$dir"
}

# seen WHERE: neither of the secrets is in the standard input.
unseen()
{
	grep -aF -e "$secret" -e "$secret1" -e "$token" -e "$token1" \
		>"$work/seen" || return 0
	fail "in $1: $(head -c 300 "$work/seen")"
}

# worker, supervisor: their numbers.
processes()
{
	worker=$(status_field "$dir" worker_pid)
	supervisor=$(status_field "$dir" supervisor_pid)
}

keys "$HOME/.aws/credentials" "$key1" "$secret1" "$token1"
mount_node n "$SOURCE" "$dir" "$OPTS,log_level=debug,attr_delay=0"
processes
load first
# The test can see what is there.
[ "$sanitized" ] || {
	same "in memory, in use" "$(in_memory "$worker" "$secret1" "$token1")" \
		"$secret1 $token1"
	same "of the supervisor" \
		"$(in_memory "$supervisor" "$secret1" "$token1")" ""
}

echo "== replaced by reload"
keys "$HOME/.aws/credentials" "$key" "$secret" "$token"
sharedfs reload "$dir"
load second
rgw rmkey "$RGW_DIR" "$key1"
load third
[ "$sanitized" ] || {
	same "in memory, in use" "$(in_memory "$worker" "$secret" "$token")" \
		"$secret $token"
	same "in memory, replaced" \
		"$(in_memory "$worker" "$secret1" "$token1")" ""
}

echo "== refused by the store"
keys "$HOME/.aws/credentials" "$key" "x$secret1" "$token1"
sharedfs reload "$dir"
ls "$dir/second-3" >/dev/null 2>&1 || :
cat "$dir/nothing" >/dev/null 2>&1 || :
keys "$HOME/.aws/credentials" "$key" "$secret" "$token"
sharedfs reload "$dir"
cat "$dir/second-3" >/dev/null

echo "== seen from outside"
[ -s "$work/n.log" ] || fail "nothing was logged"
grep -q debug "$work/n.log" || fail "debug is not logged"
unseen "the log" <"$work/n.log"
for p in "$worker" "$supervisor"; do
	unseen "arguments of $p" <"/proc/$p/cmdline"
	unseen "the environment of $p" <"/proc/$p/environ"
done
find "$work/cache-n" -type f -exec cat {} + | unseen "the cache"
getfattr -R -d -m - "$work/cache-n" 2>/dev/null | unseen "attributes of the cache"
{
	sharedfs status --json "$dir"
	sharedfs status "$dir"
	sharedfs doctor "$dir" || :
	sharedfs doctor "$SOURCE" -o "$OPTS,log_level=debug" || :
	sharedfs recover list -o "cache_dir=$work/cache-n" || :
	cat /proc/self/mountinfo
	cat "/run/mount/utab" 2>/dev/null || :
} >"$work/answers" 2>&1
unseen "answers" <"$work/answers"
umount_all
