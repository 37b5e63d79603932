#!/bin/sh
# SPDX-License-Identifier: MIT
# Real containers: a bind of a subdirectory and a volume of the plugin on two
# nodes, while the daemon dies under them.  Its own dockerd, in a network
# namespace, with an image made here; no registry is asked.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
. "$srcdir/tests/lib/docker.sh"
start_docker

bind()
{
	mount_two
	mkdir "$A/uploads"
	chown 1000 "$A/uploads"
	echo "-- node A writes, node B reads, both through a bind of a subdirectory"
	in_new -u 1000 -v "$A/uploads:/up" test sh -c 'echo from A >/up/f'
	same content "$(in_new -u 1001 -v "$B/uploads:/up:ro" test cat /up/f)" "from A"

	echo "-- the worker is killed under a running container"
	docker run -d --name long --network none -v "$A/uploads:/up" test \
		sh -c 'exec 3>/up/open; while :; do echo . >&3; sleep 1; done' \
		>/dev/null
	wait_until 30 "the container" test -e "$A/uploads/open"
	for i in 1 2 3; do
		old=$(status_field "$A" worker_pid)
		kill -KILL "$old"
		docker exec long sh -c "echo $i >/up/after" ||
			fail "the container has noticed"
		nodes_pids="$nodes_pids $(status_field "$A" worker_pid)"
		same "on node B" "$(cat "$B/uploads/after")" $i
	done
	same "still the first" "$(docker inspect -f '{{.State.Running}}' long)" true
	docker rm -f long >/dev/null
	# [I.7]
	echo "-- a container that starts without the share"
	umount_all
	if in_new --mount "type=bind,src=$A/uploads,dst=/up" test true \
		2>"$work/out"; then
		fail "started on the bare directory"
	fi
	grep -q "does not exist" "$work/out" || fail "$(cat "$work/out")"
}
! quick || STORES=file
each_store bind

echo "== volumes of the plugin"
new_store file
docker-volume-sharedfs --state "$work/state" \
	-o "$OPTS,cache_dir=$work/cache-p,log_file=$work/p.log" "$SOURCE" \
	2>>"$work/plugin.log" &
plugin=$!
test_pids="$plugin $test_pids"
wait_until 30 "the plugin's socket" test -S /run/docker/plugins/sharedfs.sock
docker volume create -d sharedfs -o subdir=shop/uploads uploads >/dev/null
if docker volume create -d sharedfs -o size=10G other 2>"$work/out"; then
	fail "an option that nobody knows was taken"
fi
grep -q "unknown option 'size'" "$work/out" || fail "$(cat "$work/out")"
in_new -v uploads:/up test sh -c 'echo one >/up/f'
same "in the share" "$(cat "$store_dir/shop/uploads/f")" one
docker run -d --name long --network none -v uploads:/up test sleep 100000 \
	>/dev/null
nodes_pids=$(status_field "$work/state/share" supervisor_pid)
worker=$(status_field "$work/state/share" worker_pid)
kill -KILL "$plugin" "$worker"
same "without the plugin and the worker" "$(docker exec long cat /up/f)" one
nodes_pids="$nodes_pids $(status_field "$work/state/share" worker_pid)"
rm -f /run/docker/plugins/sharedfs.sock
docker-volume-sharedfs --state "$work/state" \
	-o "$OPTS,cache_dir=$work/cache-p,log_file=$work/p.log" "$SOURCE" \
	2>>"$work/plugin.log" &
test_pids="$! $test_pids"
wait_until 30 "the plugin's socket" test -S /run/docker/plugins/sharedfs.sock
same "a second container" "$(in_new -v uploads:/up test cat /up/f)" one
if docker volume rm uploads 2>"$work/out"; then
	fail "a volume in use was removed"
fi
docker rm -f long >/dev/null
docker volume rm uploads >/dev/null
same "data after docker volume rm" "$(cat "$store_dir/shop/uploads/f")" one
wait_gone
