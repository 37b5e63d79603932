dist_man_MANS += \
	docs/migrate-local-uploads.8 \
	docs/docker-volume-sharedfs.8 \
	docs/mount.sharedfs.8 \
	docs/sharedfs.8 \
	$(NULL)
EXTRA_DIST += \
	CONTRIBUTING.md \
	docs/architecture.md \
	docs/cache-format.md \
	docs/containers.md \
	docs/errno.md \
	docs/locking.md \
	docs/migration.md \
	docs/reliability.md \
	docs/semantics.md \
	examples/docker-compose/app.conf \
	examples/docker-compose/docker-compose.yml \
	examples/docker-compose/volume-plugin.yml \
	examples/docker-compose/web.conf \
	examples/kubernetes/daemonset.yaml \
	examples/kubernetes/pod.yaml \
	examples/sidecar/Dockerfile \
	examples/docker.service.d-sharedfs.conf \
	examples/fstab \
	examples/sharedfs-health.service \
	examples/sharedfs-health.timer \
	examples/sharedfs.conf \
	$(NULL)
