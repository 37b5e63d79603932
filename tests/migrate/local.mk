shell_tests += \
	tests/migrate/bad-input.sh \
	tests/migrate/bulk.sh \
	tests/migrate/collide.sh \
	tests/migrate/command.sh \
	tests/migrate/kill.sh \
	tests/migrate/kill-cutover.sh \
	tests/migrate/large.sh \
	tests/migrate/live.sh \
	tests/migrate/preflight.sh \
	tests/migrate/stalled.sh \
	tests/migrate/throttle.sh \
	tests/migrate/torn.sh \
	tests/migrate/undo.sh \
	tests/migrate/undo-full.sh \
	tests/migrate/undo-others.sh \
	$(NULL)
EXTRA_DIST += tests/migrate/tree.sh tests/migrate/counter.py \
	tests/migrate/manifest.py tests/migrate/stalled.py \
	tests/migrate/until.py \
	tests/migrate/writer.py
