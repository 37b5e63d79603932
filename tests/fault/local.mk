EXTRA_DIST += tests/fault/disk-faults.py \
	tests/fault/kill-storm.py tests/fault/power-loss.py

shell_tests += \
	tests/fault/disk-faults.sh \
	tests/fault/ghost.sh \
	tests/fault/kill-storm.sh \
	tests/fault/outage.sh \
	tests/fault/power-loss.sh \
	tests/fault/recover.sh \
	tests/fault/restart.sh \
	tests/fault/sent-killed.sh \
	tests/fault/stale.sh \
	tests/fault/storm.sh \
	$(NULL)
