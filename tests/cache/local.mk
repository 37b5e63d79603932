unit_tests += tests/bin/store-test
tests_bin_store_test_SOURCES = tests/cache/store-test.c \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_store_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_store_test_LDADD = $(unit_ldadd)
unit_tests += tests/bin/store-share-test
tests_bin_store_share_test_SOURCES = tests/cache/store-share-test.c \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_store_share_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_store_share_test_LDADD = $(unit_ldadd)
unit_tests += tests/bin/store-disk-test
tests_bin_store_disk_test_SOURCES = tests/cache/store-disk-test.c \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_store_disk_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_store_disk_test_LDADD = $(unit_ldadd)
unit_tests += tests/bin/journal-test
tests_bin_journal_test_SOURCES = tests/cache/journal-test.c \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_journal_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_journal_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/delay-test
tests_bin_delay_test_SOURCES = tests/cache/delay-test.c \
	tests/cache/gate.c tests/cache/gate.h \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_delay_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_delay_test_LDADD = $(unit_ldadd)
unit_tests += tests/bin/cache-names-test
tests_bin_cache_names_test_SOURCES = tests/cache/names-test.c \
	tests/cache/gate.c tests/cache/gate.h \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_cache_names_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_cache_names_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/basic-test
tests_bin_basic_test_SOURCES = tests/cache/basic-test.c \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_basic_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_basic_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/two-nodes-test
tests_bin_two_nodes_test_SOURCES = tests/cache/two-nodes-test.c \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_two_nodes_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_two_nodes_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/cache-test
tests_bin_cache_test_SOURCES = tests/cache/cache-test.c \
	tests/cache/gate.c tests/cache/gate.h \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_cache_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_cache_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/cache-data-test
tests_bin_cache_data_test_SOURCES = tests/cache/cache-data-test.c \
	tests/cache/gate.c tests/cache/gate.h \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_cache_data_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_cache_data_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/expose-test
tests_bin_expose_test_SOURCES = tests/cache/expose-test.c \
	tests/cache/gate.c tests/cache/gate.h \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_expose_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_expose_test_LDADD = $(unit_ldadd)
unit_tests += tests/bin/attr-table-test
tests_bin_attr_table_test_SOURCES = tests/cache/attr-table-test.c \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_attr_table_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_attr_table_test_LDADD = $(unit_ldadd)


unit_tests += tests/bin/late-test
tests_bin_late_test_SOURCES = tests/cache/late-test.c \
	tests/cache/gate.c tests/cache/gate.h \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_late_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_late_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/listing-test
tests_bin_listing_test_SOURCES = tests/cache/listing-test.c \
	tests/cache/gate.c tests/cache/gate.h \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_listing_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_listing_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/attr-memory-test
tests_bin_attr_memory_test_SOURCES = tests/cache/attr-memory-test.c \
	tests/cache/nodes.c tests/cache/nodes.h \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_attr_memory_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_attr_memory_test_LDADD = $(unit_ldadd)

unit_tests += tests/bin/publish-test
tests_bin_publish_test_SOURCES = tests/cache/publish-test.c \
	tests/cache/store-box.c tests/cache/store-box.h
tests_bin_publish_test_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_bin_publish_test_LDADD = $(unit_ldadd)
