shell_tests += \
	tests/fault/ghost.sh \
	tests/fault/outage.sh \
	tests/fault/recover.sh \
	tests/fault/restart.sh \
	tests/fault/storm.sh \
	$(NULL)
