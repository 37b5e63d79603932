check_PROGRAMS += tests/bin/model
tests_bin_model_SOURCES = \
	tests/model/faults.c \
	tests/model/model.c \
	tests/model/ops.c \
	tests/model/run.c tests/model/run.h \
	tests/model/tree.c tests/model/tree.h \
	$(NULL)
tests_bin_model_LDADD = $(unit_ldadd)

shell_tests += \
	tests/model/model-faults.sh \
	tests/model/model-file.sh \
	tests/model/model-mem.sh \
	tests/model/model-s3.sh \
	$(NULL)
