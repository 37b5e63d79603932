# Each fuzz target is a test: seeds and mutations by driver.c.  `make fuzz`
# builds the same targets with clang's libFuzzer below fuzz/ and lets each run
# for FUZZ_SECONDS.
fuzz_names = cred journal options path range record \
	s3-key s3-meta s3-reply s3-xml table volume
fuzz_ldadd = $(LIB_FS) $(LIB_CACHE) $(LIBS_BACKENDS)
fuzz_driver = tests/fuzz/driver.c tests/fuzz/fuzz.h

fuzz_tests = \
	tests/bin/fuzz-cred \
	tests/bin/fuzz-journal \
	tests/bin/fuzz-options \
	tests/bin/fuzz-path \
	tests/bin/fuzz-range \
	tests/bin/fuzz-record \
	tests/bin/fuzz-s3-key \
	tests/bin/fuzz-s3-meta \
	tests/bin/fuzz-s3-reply \
	tests/bin/fuzz-s3-xml \
	tests/bin/fuzz-table \
	tests/bin/fuzz-volume \
	$(NULL)
check_PROGRAMS += $(fuzz_tests)
TESTS += $(fuzz_tests)
tests_bin_fuzz_cred_SOURCES = tests/fuzz/fuzz-cred.c $(fuzz_driver)
tests_bin_fuzz_cred_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_journal_SOURCES = tests/fuzz/fuzz-journal.c $(fuzz_driver)
tests_bin_fuzz_journal_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_options_SOURCES = tests/fuzz/fuzz-options.c $(fuzz_driver)
tests_bin_fuzz_options_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_path_SOURCES = tests/fuzz/fuzz-path.c $(fuzz_driver)
tests_bin_fuzz_path_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_range_SOURCES = tests/fuzz/fuzz-range.c $(fuzz_driver)
tests_bin_fuzz_range_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_record_SOURCES = tests/fuzz/fuzz-record.c $(fuzz_driver)
tests_bin_fuzz_record_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_s3_key_SOURCES = tests/fuzz/fuzz-s3-key.c $(fuzz_driver)
tests_bin_fuzz_s3_key_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_s3_meta_SOURCES = tests/fuzz/fuzz-s3-meta.c $(fuzz_driver)
tests_bin_fuzz_s3_meta_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_s3_reply_SOURCES = tests/fuzz/fuzz-s3-reply.c $(fuzz_driver)
tests_bin_fuzz_s3_reply_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_s3_xml_SOURCES = tests/fuzz/fuzz-s3-xml.c $(fuzz_driver)
tests_bin_fuzz_s3_xml_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_table_SOURCES = tests/fuzz/fuzz-table.c $(fuzz_driver)
tests_bin_fuzz_table_LDADD = $(fuzz_ldadd)
tests_bin_fuzz_volume_SOURCES = tests/fuzz/fuzz-volume.c $(fuzz_driver) \
	mount-helpers/volume-set.c mount-helpers/volume-set.h
tests_bin_fuzz_volume_LDADD = $(fuzz_ldadd)
EXTRA_DIST += tests/fuzz/corpus

FUZZ_CC = clang
FUZZ_SECONDS = 60
FUZZ_FLAGS = -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
fuzz_sources = $(libcommon_a_SOURCES) $(libbackends_a_SOURCES) \
	$(libcache_a_SOURCES) $(liboptions_a_SOURCES) \
	$(filter fs/table%,$(libfs_a_SOURCES)) mount-helpers/volume-set.c
fuzz_objects = $(patsubst %.c,fuzz/%.o,$(filter %.c,$(fuzz_sources)))
fuzz_cc = $(FUZZ_CC) $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(CPPFLAGS) \
	$(AM_CFLAGS) $(FUZZ_FLAGS)

fuzz_headers = $(filter %.h %.def,$(fuzz_sources)) tests/fuzz/fuzz.h \
	mount-helpers/volume-set.h
fuzz/%.o: %.c $(fuzz_headers)
	$(AM_V_at)$(MKDIR_P) $(@D)
	$(AM_V_CC)$(fuzz_cc) -fsanitize=fuzzer-no-link -c -o $@ $<

fuzz/fuzz-%: fuzz/tests/fuzz/fuzz-%.o $(fuzz_objects)
	$(AM_V_CCLD)$(FUZZ_CC) $(AM_LDFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer \
		-o $@ $^ $(LIBS_BACKENDS) $(LIBS)

.PHONY: fuzz
.PRECIOUS: fuzz/%.o fuzz/fuzz-%
fuzz: $(patsubst %,fuzz/fuzz-%,$(fuzz_names))
	@for n in $(fuzz_names); do \
		$(MKDIR_P) fuzz/corpus/$$n || exit 1; \
		echo "fuzz-$$n: $(FUZZ_SECONDS) seconds"; \
		fuzz/fuzz-$$n -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
			-verbosity=0 -print_final_stats=0 \
			-artifact_prefix=fuzz/$$n- fuzz/corpus/$$n \
			'$(srcdir)'/tests/fuzz/corpus/$$n || exit 1; \
	done
clean-local-fuzz:
	rm -rf fuzz
