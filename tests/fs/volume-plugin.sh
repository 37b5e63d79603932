#!/bin/sh
# SPDX-License-Identifier: MIT
# The volume plugin, asked as dockerd asks (the sequence was recorded from
# dockerd 20.10): volumes are directories of one share, who uses them is a set
# of ids that outlives the plugin, and nothing leads out of the share.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program curl python3

sock=$work/p.sock state=$work/state
new_store file
O=$OPTS,cache_dir=$work/cache,log_file=$work/n.log

# start_plugin [ARGUMENT…]; its pid is in $plugin.
start_plugin()
{
	[ $# -gt 0 ] || set -- -o "$O" "$SOURCE"
	rm -f "$sock"
	docker-volume-sharedfs --socket "$sock" --state "$state" "$@" \
		2>>"$work/plugin.log" &
	plugin=$!
	test_pids="$test_pids $plugin"
	wait_until 30 "the socket" test -S "$sock"
}

stop_plugin()
{
	kill "-${1:-TERM}" "$plugin"
	wait "$plugin" || :
}

# ask CALL JSON: the reply's body.
ask()
{
	curl -s --max-time 120 --unix-socket "$sock" -H 'Host:' -X POST \
		-H 'Accept: application/vnd.docker.plugins.v1.2+json' \
		-d "$2" "http://plugin/$1"
}

# value REPLY PATH: one value, "" if it is not there.
value()
{
	printf '%s' "$1" | python3 -c '
import json, sys
v = json.load(sys.stdin)
for k in sys.argv[1].split("."):
    v = v.get(k, "") if isinstance(v, dict) else ""
print(v if not isinstance(v, bool) else str(v).lower())' "$2"
}

# good CALL JSON [PATH]: no Err; prints the value at PATH.
good()
{
	reply=$(ask "$1" "$2")
	[ -z "$(value "$reply" Err)" ] || fail "$1 $2: $reply"
	[ -z "${3-}" ] || value "$reply" "$3"
}

# bad WORDS CALL JSON: an Err with these words.
bad()
{
	reply=$(ask "$2" "$3")
	case $(value "$reply" Err) in
	*"$1"*) ;;
	*) fail "$2 $3: '$1' is not in '$reply'" ;;
	esac
}

mounted()
{
	grep -qF " $1 " /proc/self/mountinfo
}

note_pids()
{
	note_node "$state/share"
}

echo "== the recorded sequence: create, run, rm"
start_plugin
same "the socket is root's alone" "$(stat -c %a "$sock")" 600
good Plugin.Activate '' Implements | grep -q VolumeDriver || fail "no VolumeDriver"
same scope "$(good VolumeDriver.Capabilities '{}' Capabilities.Scope)" global
bad "no such volume" VolumeDriver.Get '{"Name":"up"}'
good VolumeDriver.Create '{"Name":"up","Opts":null}'
same "not mounted yet" "$(good VolumeDriver.Get '{"Name":"up"}' Volume.Mountpoint)" ""
M=$(good VolumeDriver.Mount '{"Name":"up","ID":"a1"}' Mountpoint)
note_pids
mounted "$M" || fail "nothing is mounted on $M"
echo hello >"$M/f"
same "a directory of the share" "$(cat "$store_dir/up/f")" hello
same "the same for the next container" \
	"$(good VolumeDriver.Mount '{"Name":"up","ID":"b2"}' Mountpoint)" "$M"
same users "$(good VolumeDriver.Get '{"Name":"up"}' Volume.Status.containers)" 2
same path "$(good VolumeDriver.Path '{"Name":"up"}' Mountpoint)" "$M"
good VolumeDriver.List '{}' Volumes | grep -q "'Name': 'up'" || fail "not listed"
good VolumeDriver.Unmount '{"Name":"up","ID":"a1"}'
same "the other still has it" "$(cat "$M/f")" hello
bad "used by 1 containers" VolumeDriver.Remove '{"Name":"up"}'

echo "== ids are a set: the same again, one that is not known"
good VolumeDriver.Mount '{"Name":"up","ID":"b2"}'
good VolumeDriver.Unmount '{"Name":"up","ID":"never"}'
same users "$(good VolumeDriver.Get '{"Name":"up"}' Volume.Status.containers)" 1

echo "== the plugin is killed and comes back"
stop_plugin KILL
same "without the plugin" "$(cat "$M/f")" hello
start_plugin
same users "$(good VolumeDriver.Get '{"Name":"up"}' Volume.Status.containers)" 1
same "mounted on the same place" \
	"$(good VolumeDriver.Mount '{"Name":"up","ID":"c3"}' Mountpoint)" "$M"
good VolumeDriver.Unmount '{"Name":"up","ID":"c3"}'
same "still there for b2" "$(cat "$M/f")" hello

echo "== the daemon is killed: the next mount heals"
for p in $nodes_pids; do
	kill -KILL "$p"
done
wait_gone
M=$(good VolumeDriver.Mount '{"Name":"up","ID":"d4"}' Mountpoint)
note_pids
same healed "$(cat "$M/f")" hello
good VolumeDriver.Unmount '{"Name":"up","ID":"d4"}'
good VolumeDriver.Unmount '{"Name":"up","ID":"b2"}'
mounted "$M" && fail "$M is still mounted"
mounted "$state/share" && fail "the share is still mounted"
wait_gone

echo "== remove keeps the data, but with purge=yes"
good VolumeDriver.Remove '{"Name":"up"}'
bad "no such volume" VolumeDriver.Get '{"Name":"up"}'
same "data after remove" "$(cat "$store_dir/up/f")" hello
good VolumeDriver.Create '{"Name":"tmp","Opts":{"subdir":"a/b","purge":"yes"}}'
good VolumeDriver.Create '{"Name":"tmp","Opts":{"purge":"yes","subdir":"a/b"}}'
bad "other options" VolumeDriver.Create '{"Name":"tmp","Opts":{"subdir":"a/b"}}'
M=$(good VolumeDriver.Mount '{"Name":"tmp","ID":"1"}' Mountpoint)
note_pids
mkdir -p "$M/deep/er"
echo x >"$M/deep/er/x"
ln -s / "$M/deep/out"
good VolumeDriver.Unmount '{"Name":"tmp","ID":"1"}'
wait_gone
good VolumeDriver.Create '{"Name":"outer","Opts":{"subdir":"a"}}'
bad "also that of volume outer" VolumeDriver.Remove '{"Name":"tmp"}'
good VolumeDriver.Remove '{"Name":"outer"}'
good VolumeDriver.Remove '{"Name":"tmp"}'
[ -d "$store_dir/a" ] && [ ! -e "$store_dir/a/b" ] || fail "not purged: a/b"

echo "== what is refused"
for name in '' . .. a/b -x 'a b' "$(printf '%0200d' 0)"; do
	bad "can't be a volume's name" VolumeDriver.Create "{\"Name\":\"$name\"}"
done
for subdir in '' / /etc .. a/../b a//b ./a; do
	bad "a path inside the share" VolumeDriver.Create \
		"{\"Name\":\"v\",\"Opts\":{\"subdir\":\"$subdir\"}}"
done
bad "unknown option 'secret_key'" VolumeDriver.Create \
	'{"Name":"v","Opts":{"secret_key":"hunter2"}}'
case $reply in
*hunter2*) fail "the secret is repeated: $reply" ;;
esac
bad "yes or no" VolumeDriver.Create '{"Name":"v","Opts":{"purge":"maybe"}}'
bad "no JSON" VolumeDriver.Create '{"Name":'
bad "no JSON" VolumeDriver.Create '[1]'
bad "no such call" VolumeDriver.Format '{}'
head -c 100000 /dev/zero | tr '\0' x >"$work/long"
bad "too long" VolumeDriver.Create "@$work/long"
same "no volume of all that" "$(good VolumeDriver.List '{}' Volumes)" "[]"

echo "== a symlink in the share is not followed"
mkdir "$work/secret"
ln -s "$work/secret" "$store_dir/evil"
good VolumeDriver.Create '{"Name":"evil"}'
good VolumeDriver.Create '{"Name":"below","Opts":{"subdir":"evil/more"}}'
bad "symbolic link" VolumeDriver.Mount '{"Name":"evil","ID":"1"}'
note_pids
bad "symbolic link" VolumeDriver.Mount '{"Name":"below","ID":"1"}'
[ -z "$(ls "$work/secret")" ] || fail "made outside of the share"
good VolumeDriver.Remove '{"Name":"evil"}'
good VolumeDriver.Remove '{"Name":"below"}'

echo "== words of the mount; a state that makes no sense; a new boot"
sharedfs umount "$state/share"
wait_gone
good VolumeDriver.Create '{"Name":"up"}'
mv "$store_dir" "$store_dir.away"
bad "store1" VolumeDriver.Mount '{"Name":"up","ID":"1"}'
mv "$store_dir.away" "$store_dir"
same "not used" "$(good VolumeDriver.Get '{"Name":"up"}' Volume.Status.containers)" 0
good VolumeDriver.Mount '{"Name":"up","ID":"1"}'
note_pids
stop_plugin
sed -i 's/"boot": "[^"]*"/"boot": "another"/' "$state/volumes.json"
start_plugin
same "no users after a boot" \
	"$(good VolumeDriver.Get '{"Name":"up"}' Volume.Status.containers)" 0
good VolumeDriver.Unmount '{"Name":"up","ID":"1"}'
stop_plugin
cp "$state/volumes.json" "$work/good.json"
for s in '{' '{}' '{"boot":"x","volumes":{"../x":{}}}' \
    '{"boot":"x","volumes":{"x":{"subdir":"../..","purge":false,"created":"","ids":{}}}}'; do
	printf '%s' "$s" >"$state/volumes.json"
	if docker-volume-sharedfs --socket "$sock" --state "$state" "$SOURCE" \
		2>"$work/out"; then
		fail "started with $s"
	fi
	grep -q "is damaged" "$work/out" || fail "$(cat "$work/out")"
done
wait_gone

echo "== a share that somebody else mounts"
cp "$work/good.json" "$state/volumes.json"
mkdir "$work/mnt"
start_plugin --mounted "$work/mnt"
bad "no sharedfs is mounted" VolumeDriver.Mount '{"Name":"up","ID":"1"}'
mount_node n "$SOURCE" "$work/mnt"
M=$(good VolumeDriver.Mount '{"Name":"up","ID":"1"}' Mountpoint)
same content "$(cat "$M/f")" hello
good VolumeDriver.Unmount '{"Name":"up","ID":"1"}'
mounted "$work/mnt" || fail "another's mount was taken away"
stop_plugin
umount_all
