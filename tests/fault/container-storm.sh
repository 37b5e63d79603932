#!/bin/sh
# SPDX-License-Identifier: MIT
# A real container has a plain bind of a subdirectory of the share; the worker is
# killed again and again [P6.1], every fourth time upgraded instead [P6.4]: what
# runs in there never sees an error.
#   STORM_SECONDS=N tests/fault/container-storm.sh
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
. "$srcdir/tests/lib/docker.sh"
start_docker
seconds=15
quick && seconds=4
seconds=${STORM_SECONDS:-$seconds}

body()
{
	D=$work/$store-D
	mount_node "$store-D" "$SOURCE" "$D"
	mkdir "$D/box"
	docker run -d --name box --network none -v "$D/box:/up" -w /up \
		-v "$srcdir/tests/fault/boxed.sh:/boxed.sh:ro" --tmpfs /tmp \
		test sh /boxed.sh /tmp >/dev/null
	wait_until 30 "the container" test -s "$D/box/log"
	kill_and_upgrade "$D" "$seconds"
	touch "$D/box/stop"
	code=$(timeout 300 docker wait box)
	docker logs box 2>&1 | tail -n 5
	same "the end of the container" "$code" 0
	docker rm box >/dev/null
	echo "$kills kills, $upgrades upgrades"
	same pending "$(status_field "$D" pending_files)" 0
	nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
}
! quick || STORES=file
each_store body
