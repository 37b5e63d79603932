# Programs that a shell test runs on a mount.
check_PROGRAMS += tests/bin/names-test tests/bin/bytes-test \
	tests/bin/bad-worker
tests_bin_bad_worker_SOURCES = tests/fs/bad-worker.c
tests_bin_names_test_SOURCES = tests/fs/names-test.c \
	tests/fs/posix.c tests/fs/posix.h
tests_bin_names_test_LDADD = $(LIB_COMMON) $(LIBS_COMMON)
tests_bin_bytes_test_SOURCES = tests/fs/bytes-test.c \
	tests/fs/posix.c tests/fs/posix.h
tests_bin_bytes_test_LDADD = $(LIB_COMMON) $(LIBS_COMMON)
check_PROGRAMS += tests/bin/random-io
tests_bin_random_io_SOURCES = tests/fs/random-io.c
tests_bin_random_io_LDADD = $(LIB_COMMON) $(LIBS_COMMON)

shell_tests += tests/fs/posix.sh tests/fs/interrupt.sh tests/fs/versions.sh
shell_tests += tests/fs/random-io.sh
shell_tests += \
	tests/fs/confined.sh \
	tests/fs/credentials.sh \
	tests/fs/dead.sh \
	tests/fs/doctor.sh \
	tests/fs/escape.sh \
	tests/fs/guard.sh \
	tests/fs/kill-kept.sh \
	tests/fs/kill-mapped.sh \
	tests/fs/kill-notify.sh \
	tests/fs/kill-points.sh \
	tests/fs/kill-reading.sh \
	tests/fs/kill-reader.sh \
	tests/fs/kill-unlinked.sh \
	tests/fs/kill-worker.sh \
	tests/fs/kill-writer.sh \
	tests/fs/mount.sh \
	tests/fs/store-down.sh \
	tests/fs/passthrough.sh \
	tests/fs/supervisor.sh \
	tests/fs/reload.sh \
	tests/fs/unsent.sh \
	tests/fs/systemd.sh \
	tests/fs/upgrade.sh \
	tests/fs/user.sh \
	tests/fs/volume-docker.sh \
	tests/fs/volume-plugin.sh \
	$(NULL)

EXTRA_DIST += tests/fs/kill-points.py tests/fs/kill-unlinked.py
EXTRA_DIST += tests/fs/beside-local.py

shell_tests += tests/fs/mount-helper.sh
shell_tests += tests/fs/bad-input.sh

# Two nodes, real programs.
shell_tests += \
	tests/fs/append-absent.sh \
	tests/fs/beside-local.sh \
	tests/fs/archives.sh \
	tests/fs/copy-inside.sh \
	tests/fs/copy-tree.sh \
	tests/fs/editing.sh \
	tests/fs/edit-large.sh \
	tests/fs/excl-race.sh \
	tests/fs/close-together.sh \
	tests/fs/git.sh \
	tests/fs/create-cost.sh \
	tests/fs/hedge.sh \
	tests/fs/https.sh \
	tests/fs/nginx.sh \
	tests/fs/open-replaced.sh \
	tests/fs/no-stall.sh \
	tests/fs/map-slow.sh \
	tests/fs/read-cold.sh \
	tests/fs/read-long.sh \
	tests/fs/requests.sh \
	tests/fs/requests-programs.sh \
	tests/fs/list-requests.sh \
	tests/fs/secrets.sh \
	tests/fs/seen-at-once.sh \
	tests/fs/sqlite.sh \
	tests/fs/upload.sh \
	$(NULL)
