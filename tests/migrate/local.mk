shell_tests += \
	tests/migrate/bad-input.sh \
	tests/migrate/bulk.sh \
	$(NULL)
EXTRA_DIST += tests/migrate/tree.sh
