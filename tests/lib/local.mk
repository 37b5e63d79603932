# A proxy between a node and its server; see tests/lib/proxy.c.
check_PROGRAMS += tests/bin/proxy
tests_bin_proxy_SOURCES = \
	tests/lib/proxy.c \
	tests/lib/proxy-conn.c tests/lib/proxy-conn.h \
	tests/lib/proxy-fault.c tests/lib/proxy-fault.h \
	tests/lib/proxy-http.c tests/lib/proxy-http.h \
	$(NULL)
tests_bin_proxy_LDADD = $(LIB_COMMON) $(LIBS_COMMON)

unit_tests += tests/bin/proxy-http-test
tests_bin_proxy_http_test_SOURCES = \
	tests/lib/proxy-http-test.c \
	tests/lib/proxy-fault.c tests/lib/proxy-fault.h \
	tests/lib/proxy-http.c tests/lib/proxy-http.h \
	$(NULL)
tests_bin_proxy_http_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_proxy_http_test_LDADD = $(LIB_COMMON) $(LIBS_COMMON) $(CMOCKA_LIBS)

shell_tests += tests/lib/proxy.sh

# One backend call from the shell.
check_PROGRAMS += tests/bin/be-tool
tests_bin_be_tool_SOURCES = tests/lib/be-tool.c
tests_bin_be_tool_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS)

# SIGKILL where a kernel without get_user_pages_fast has nothing half copied.
check_PROGRAMS += tests/bin/kill-still
tests_bin_kill_still_SOURCES = tests/lib/kill-still.c
tests_bin_kill_still_LDADD = $(LIB_COMMON) $(LIBS_COMMON)

# A disk that loses power.
check_PROGRAMS += tests/bin/disk
tests_bin_disk_SOURCES = tests/lib/disk.c
tests_bin_disk_LDADD = $(LIB_COMMON) $(LIBS_COMMON) $(FUSE_LIBS)

EXTRA_DIST += \
	tests/fresh \
	tests/lib/docker.sh \
	tests/lib/killer.py \
	tests/lib/lib.sh \
	tests/lib/packages.sh \
	tests/lib/rgw \
	tests/lib/s3req \
	tests/lib/s3many \
	tests/lib/unit.h \
	$(NULL)
