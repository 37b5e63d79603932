check_PROGRAMS += tests/bin/uploaders
tests_bin_uploaders_SOURCES = tests/fault/uploaders.c
tests_bin_uploaders_CFLAGS = $(AM_CFLAGS) $(CRYPTO_CFLAGS)
tests_bin_uploaders_LDADD = $(LIB_COMMON) $(LIBS_COMMON) $(CRYPTO_LIBS)

EXTRA_DIST += \
	tests/fault/boxed.sh \
	tests/fault/disk-faults.py \
	tests/fault/kill-storm.py \
	tests/fault/power-loss.py \
	tests/fault/truth.sh \
	tests/fault/uml-forward.py \
	$(NULL)

# By hand: see docs/reliability.md.
EXTRA_DIST += tests/fault/long-storm.sh tests/fault/proxy-faults.sh

shell_tests += \
	tests/fault/container-storm.sh \
	tests/fault/disk-faults.sh \
	tests/fault/drain.sh \
	tests/fault/ghost.sh \
	tests/fault/hang.sh \
	tests/fault/kill-storm.sh \
	tests/fault/outage.sh \
	tests/fault/power-loss.sh \
	tests/fault/random-kill.sh \
	tests/fault/recover.sh \
	tests/fault/restart.sh \
	tests/fault/sent-killed.sh \
	tests/fault/stale.sh \
	tests/fault/storm.sh \
	tests/fault/uml.sh \
	$(NULL)
