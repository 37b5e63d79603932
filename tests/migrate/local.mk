shell_tests += \
	tests/migrate/bad-input.sh \
	tests/migrate/bulk.sh \
	tests/migrate/collide.sh \
	tests/migrate/kill.sh \
	tests/migrate/live.sh \
	tests/migrate/throttle.sh \
	$(NULL)
EXTRA_DIST += tests/migrate/tree.sh tests/migrate/writer.py
