unit_tests += tests/bin/range-test
tests_bin_range_test_SOURCES = tests/unit/range-test.c
tests_bin_range_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_range_test_LDADD = $(LIB_COMMON) $(LIBS_COMMON) $(CMOCKA_LIBS)

unit_tests += tests/bin/path-test
tests_bin_path_test_SOURCES = tests/unit/path-test.c
tests_bin_path_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_path_test_LDADD = $(LIB_COMMON) $(LIBS_COMMON) $(CMOCKA_LIBS)

unit_tests += tests/bin/s3-sign-test
tests_bin_s3_sign_test_SOURCES = tests/unit/s3-sign-test.c
tests_bin_s3_sign_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_s3_sign_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)

unit_tests += tests/bin/options-test
tests_bin_options_test_SOURCES = tests/unit/options-test.c
tests_bin_options_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_options_test_LDADD = $(LIB_OPTIONS) $(LIB_COMMON) $(LIBS_COMMON) \
	$(CMOCKA_LIBS)

unit_tests += tests/bin/pool-test
tests_bin_pool_test_SOURCES = tests/unit/pool-test.c
tests_bin_pool_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_pool_test_LDADD = libfs.a $(LIB_COMMON) $(LIBS_COMMON) $(CMOCKA_LIBS)

unit_tests += tests/bin/table-test
tests_bin_table_test_SOURCES = tests/unit/table-test.c
tests_bin_table_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_table_test_LDADD = libfs.a $(LIB_COMMON) $(LIBS_COMMON) $(CMOCKA_LIBS)

unit_tests += tests/bin/mountinfo-test
tests_bin_mountinfo_test_SOURCES = tests/unit/mountinfo-test.c
tests_bin_mountinfo_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_mountinfo_test_LDADD = $(LIB_COMMON) $(LIBS_COMMON) $(CMOCKA_LIBS)

unit_tests += tests/bin/wrap-test
tests_bin_wrap_test_SOURCES = tests/unit/wrap-test.c
tests_bin_wrap_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_wrap_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)

unit_tests += tests/bin/file-errno-test
tests_bin_file_errno_test_SOURCES = tests/unit/file-errno-test.c
tests_bin_file_errno_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_file_errno_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) \
	$(CMOCKA_LIBS)

unit_tests += tests/bin/s3-xml-test
tests_bin_s3_xml_test_SOURCES = tests/unit/s3-xml-test.c
tests_bin_s3_xml_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_s3_xml_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)

unit_tests += tests/bin/s3-meta-test
tests_bin_s3_meta_test_SOURCES = tests/unit/s3-meta-test.c
tests_bin_s3_meta_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_s3_meta_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)

unit_tests += tests/bin/s3-error-test
tests_bin_s3_error_test_SOURCES = tests/unit/s3-error-test.c
tests_bin_s3_error_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_s3_error_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)

unit_tests += tests/bin/s3-send-test
tests_bin_s3_send_test_SOURCES = tests/unit/s3-send-test.c
tests_bin_s3_send_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_s3_send_test_LDADD = $(LIB_BACKENDS) $(LIBS_BACKENDS) $(CMOCKA_LIBS)
