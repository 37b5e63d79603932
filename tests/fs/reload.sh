#!/bin/sh
# SPDX-License-Identifier: MIT
# [R.1] to [R.5]: the config file, single options, credentials and the log file
# change under a live mount; what can't is said and nothing else happens.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

D=$work/mnt conf=$work/sharedfs.conf
mkdir "$D"
# The daemon of this test reads no environment of the machine's.
unset SHAREDFS_ACTIMEO SHAREDFS_LOG_LEVEL

option()
{
	status_field "$D" "options.$1"
}

is_option()
{
	[ "$(option "$1")" = "$2" ]
}

# refused WORDS ARGUMENTS…: `sharedfs reload` fails with these words.
refused()
{
	want=$1
	shift
	if sharedfs reload "$D" "$@" >"$work/out" 2>&1; then
		fail "was done: reload $*"
	fi
	grep -qF -e "$want" "$work/out" ||
		fail "'$want' is not in: $(cat "$work/out")"
}

live()
{
	printf 'actimeo = 3\nreadahead = 8M\n' >"$conf"
	mount_node n "$SOURCE" "$D" "config=$conf,$OPTS"
	worker=$(status_field "$D" worker_pid)
	supervisor=$(status_field "$D" supervisor_pid)
	exec 9>"$D/open"
	echo before >&9

	echo "-- the file"
	printf 'actimeo = 7\ncache_size = 5G\nsoft\ntimeo = 9\nlog_level = error\n' >"$conf"
	sharedfs reload "$D" >"$work/out"
	for line in 'actimeo=7 (was 3)' 'cache_size=5368709120 (was 10737418240)' \
	    'hard=no (was yes)' 'readahead=67108864 (was 8388608)'; do
		grep -qxF "$line" "$work/out" || fail "'$line' is not in: $(cat "$work/out")"
	done
	# The command line beats the file.
	same log_level "$(option log_level)" info
	same actimeo "$(option actimeo)" 7
	same "default again" "$(option readahead)" 67108864
	sharedfs reload "$D" >"$work/out"
	[ ! -s "$work/out" ] || fail "twice: $(cat "$work/out")"

	echo "-- SIGHUP, and a log file that was rotated"
	echo 'actimeo = 11' >"$conf"
	mv "$work/n.log" "$work/n.log.1"
	kill -HUP "$supervisor"
	wait_until 30 "SIGHUP" is_option actimeo 11
	wait_until 30 "the new log file" grep -qs 'actimeo=11 (was 7)' "$work/n.log"

	echo "-- what can't be changed, and nonsense"
	printf 'actimeo = 12\numask = 077\n' >"$conf"
	refused 'takes effect when the share is mounted again: umask=077 (is 022)'
	same "the rest was taken" "$(option actimeo)" 12
	printf 'actimeo = 13\numask = never\n' >"$conf"
	refused 'umask'
	same "nothing of a bad file" "$(option actimeo)" 12
	rm "$conf"
	refused "$conf"
	same "nothing of no file" "$(option actimeo)" 12
	refused "did you mean 'actimeo'" -o actimoe=1
	refused 'cannot be changed on a live mount: umask=077 (is 022)' \
		-o actimeo=14,umask=077
	same "all or nothing" "$(option actimeo)" 12

	echo "-- by name, beyond a worker's death and later reloads"
	sharedfs reload "$D" -o actimeo=15,negative_timeout=2 >/dev/null
	printf 'actimeo = 16\ncto = no\n' >"$conf"
	sharedfs reload "$D" >/dev/null
	same "what was named beats the file" "$(option actimeo)" 15
	same cto "$(option cto)" no
	same "the same worker" "$(status_field "$D" worker_pid)" "$worker"
	kill -KILL "$worker"
	echo after >&9
	exec 9>&-
	wait_until 30 "the next worker" sh -c "[ \"\$(sharedfs status --json '$D' |
		grep -c worker_pid)\" = 1 ]"
	worker=$(status_field "$D" worker_pid)
	nodes_pids="$nodes_pids $worker"
	same actimeo "$(option actimeo)" 15
	same negative_timeout "$(option negative_timeout)" 2
	same cto "$(option cto)" no
	# The next worker knows what came from the file.
	: >"$conf"
	sharedfs reload "$D" >/dev/null
	same "cto is the default again" "$(option cto)" yes
	same content "$(cat "$D/open")" "before
after"
}
each_store live

refused 'no sharedfs is mounted there'

# A handle that the daemon has: its lifetime in the kernel follows actimeo.
echo "== [R.2] a changed actimeo has effect"
new_store file
mount_node n "$SOURCE" "$D" "$OPTS,actimeo=600"
echo one >"$D/f"
stat "$D/f" >/dev/null
chmod 600 "$store_dir/f"
sharedfs reload "$D" -o actimeo=0 >/dev/null
echo new >"$D/g"
stat "$D/g" >/dev/null
chmod 600 "$store_dir/g"
same "mode of what was looked up after it" "$(stat -c %a "$D/g")" 600
umount_all

case " ${STORES:-file s3} " in
*" s3 "*) ;;
*) exit 0 ;;
esac
echo "== [R.3] keys that were replaced"
new_store s3
set -- $(rgw key "$RGW_DIR")
key=$1 secret=$2
keys=$work/keys
echo "$key:$secret" >"$keys"
chmod 600 "$keys"
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
mount_node n "$SOURCE" "$D" "$OPTS,passwd_file=$keys"
echo one >"$D/one"
set -- $(rgw key "$RGW_DIR")
echo "$1:$2" >"$keys"
sharedfs reload "$D"
rgw rmkey "$RGW_DIR" "$key"
before=$(status_field "$D" store.corrections)
echo two >"$D/two"
same "content with the new key" "$(cat "$D/two")" two
# Nothing was refused on the way: the new key was there before it was needed.
same "refused requests" "$(status_field "$D" store.corrections)" "$before"
umount_all
