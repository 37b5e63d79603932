check_PROGRAMS += tests/bin/conformance
tests_bin_conformance_SOURCES = \
	tests/backends/conformance.c tests/backends/conformance.h \
	tests/backends/conf-names.c \
	tests/backends/conf-data.c \
	tests/backends/conf-cond.c \
	$(NULL)
tests_bin_conformance_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_conformance_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)

shell_tests += \
	tests/backends/conformance-mem.sh \
	tests/backends/conformance-file.sh \
	tests/backends/conformance-s3.sh \
	tests/backends/s3-bad-keys.sh \
	tests/backends/s3-misconfig.sh \
	tests/backends/s3-old-uploads.sh \
	$(NULL)

unit_tests += tests/bin/credentials-test
tests_bin_credentials_test_SOURCES = tests/backends/credentials-test.c \
	tests/lib/standin.c tests/lib/standin.h
tests_bin_credentials_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) \
	$(MICROHTTPD_CFLAGS)
tests_bin_credentials_test_LDADD = $(unit_ldadd) $(MICROHTTPD_LIBS)

unit_tests += tests/bin/s3-reply-test
tests_bin_s3_reply_test_SOURCES = tests/backends/s3-reply-test.c \
	tests/backends/s3-toy.c tests/backends/s3-toy.h
tests_bin_s3_reply_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_s3_reply_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)

unit_tests += tests/bin/file-test
tests_bin_file_test_SOURCES = tests/backends/file-test.c
tests_bin_file_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_file_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)
