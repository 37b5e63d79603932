# SPDX-License-Identifier: MIT
# A container engine of the test's own, for tests that source this behind
# lib.sh and need_mount: dockerd in a network namespace, and an image "test" made
# of busybox; no registry is asked.  What is mounted by the test is seen by the
# engine, and by nobody else.

# start_docker: the engine runs, and a container has run; else skips.
start_docker()
{
	need_program dockerd containerd docker nsenter curl
	busybox=$(command -v busybox) || skip "busybox is not installed"
	! ldd "$busybox" >/dev/null 2>&1 ||
		skip "busybox is not static (package busybox-static)"
	# Not below $work: what is mounted there is dockerd's to unmount.
	d=$work.docker
	mkdir -p "$d/run" "$work/root/bin"
	cat >"$d/containerd.toml" <<-TOML
	version = 2
	root = "$d/containerd"
	state = "$d/run/containerd"
	disabled_plugins = ["io.containerd.grpc.v1.cri"]
	[grpc]
	address = "$d/run/containerd.sock"
	TOML
	# dockerd looks for plugins there; nobody else's are to be seen.
	mkdir -p /run/docker
	mount -t tmpfs tmpfs /run/docker
	mkdir /run/docker/plugins
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
		--exec-root "$d/run/exec" -H "$DOCKER_HOST" \
		-p "$d/run/dockerd.pid" --bridge none --iptables=false \
		--ip-forward=false --storage-driver vfs >"$d/dockerd.out" 2>&1 &
	dockerd=$!
	test_pids="$dockerd $test_pids"
	trap 'code=$?; set +e; end_docker; (exit $code); cleanup' EXIT
	wait_until 60 dockerd docker_is_up
	! not_running "$dockerd" ||
		skip "dockerd does not run here: $(tail -n 1 "$d/dockerd.out")"
	cp "$busybox" "$work/root/bin/busybox"
	for p in sh cat cmp cp echo head id ls mkdir mv rm rmdir seq sleep sync \
		test; do
		ln -s busybox "$work/root/bin/$p"
	done
	tar -C "$work/root" -c . | docker import - test >/dev/null
	docker run --rm --network none test /bin/sh -c : 2>"$work/out" ||
		skip "no container runs here: $(tail -n 1 "$work/out")"
}

docker_is_up()
{
	not_running "$dockerd" && return 0
	docker version >/dev/null 2>&1
}

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

# in_new ARGUMENT…: docker run, gone when it ends.
in_new()
{
	docker run --rm --network none "$@"
}
