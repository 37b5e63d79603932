#!/bin/sh
# SPDX-License-Identifier: MIT
# Real containers: a bind of a subdirectory and a volume of the plugin on two
# nodes, while the daemon dies under them.  Its own dockerd, in a network
# namespace, with an image made here; no registry is asked.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program dockerd containerd docker nsenter curl
busybox=$(command -v busybox) || skip "busybox is not installed"
grep -q . /proc/self/mountinfo && ! ldd "$busybox" >/dev/null 2>&1 ||
	skip "busybox is not static (package busybox-static)"

# Not below $work: what is mounted there is dockerd's to unmount.
d=$work.docker
mkdir -p "$d/run" "$work/root/bin"
cat >"$d/containerd.toml" <<END
version = 2
root = "$d/containerd"
state = "$d/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$d/run/containerd.sock"
END
# dockerd looks for plugins there; nobody else's are to be seen.
mkdir -p /run/docker
mount -t tmpfs tmpfs /run/docker
mkdir /run/docker/plugins
# A tree of its own: what is mounted here is seen by dockerd, not outside.
containerd -c "$d/containerd.toml" >"$d/containerd.out" 2>&1 &
test_pids="$test_pids $!"
unshare -n sleep 100000 &
net=$!
test_pids="$net $test_pids"
DOCKER_HOST=unix://$d/run/docker.sock
export DOCKER_HOST
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY
wait_until 60 containerd test -S "$d/run/containerd.sock"
nsenter --net="/proc/$net/ns/net" dockerd \
	--containerd "$d/run/containerd.sock" --data-root "$d/data" \
	--exec-root "$d/run/exec" -H "$DOCKER_HOST" -p "$d/run/dockerd.pid" \
	--bridge none --iptables=false --ip-forward=false \
	--storage-driver vfs >"$d/dockerd.out" 2>&1 &
dockerd=$!
test_pids="$dockerd $test_pids"

# dockerd ends before containerd, and takes its mounts along.
end_docker()
{
	docker ps -aq 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1 || :
	for p in $test_pids; do
		kill "$p" 2>/dev/null || :
		timeout 30 tail --pid="$p" -f /dev/null || :
	done
	awk -v d="$d/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo |
		sort -r | while IFS= read -r m; do
		umount -l "$m" || :
	done
	grep -qF " $d/" /proc/self/mountinfo ||
		rm -rf --one-file-system "$d"
}
trap 'code=$?; set +e; end_docker; (exit $code); cleanup' EXIT

docker_is_up()
{
	not_running "$dockerd" && return 0
	docker version >/dev/null 2>&1
}
wait_until 60 dockerd docker_is_up
! not_running "$dockerd" ||
	skip "dockerd does not run here: $(tail -n 1 "$d/dockerd.out")"
cp "$busybox" "$work/root/bin/busybox"
for p in sh cat echo ls sleep sync rm id; do
	ln -s busybox "$work/root/bin/$p"
done
tar -C "$work/root" -c . | docker import - test >/dev/null
docker run --rm --network none test /bin/sh -c : 2>"$work/out" ||
	skip "no container runs here: $(tail -n 1 "$work/out")"

in_new()
{
	docker run --rm --network none "$@"
}

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
