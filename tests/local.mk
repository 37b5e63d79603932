# Every C test is one program under tests/bin; every shell test runs as is.
unit_tests =
shell_tests =
# What is not of the programs: one build is enough for these.
lint_tests =
# A skipped test prints why and exits 77.
TEST_EXTENSIONS = .sh
SH_LOG_COMPILER = $(builddir)/run
AM_TESTS_ENVIRONMENT = abs_srcdir='$(abs_srcdir)' abs_builddir='$(abs_builddir)'; \
	export abs_srcdir abs_builddir;

unit_ldadd = $(LIB_CACHE) $(LIBS_BACKENDS) $(CMOCKA_LIBS)

include $(srcdir)/tests/unit/local.mk
include $(srcdir)/tests/backends/local.mk
include $(srcdir)/tests/cache/local.mk
include $(srcdir)/tests/fs/local.mk
include $(srcdir)/tests/fault/local.mk
include $(srcdir)/tests/migrate/local.mk
include $(srcdir)/tests/model/local.mk
include $(srcdir)/tests/fuzz/local.mk
include $(srcdir)/tests/interop/local.mk
include $(srcdir)/tests/lint/local.mk
include $(srcdir)/tests/lib/local.mk

check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests) $(shell_tests) $(lint_tests)
EXTRA_DIST += $(shell_tests) $(lint_tests)

# The tests of the programs; the unit tests alone, and under valgrind.
check-programs:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(unit_tests) $(shell_tests)'
check-unit:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(unit_tests)'
check-valgrind:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(unit_tests)' \
		LOG_COMPILER=valgrind LOG_FLAGS='$(VALGRIND_FLAGS)'
VALGRIND_FLAGS = -q --error-exitcode=99 --leak-check=full \
	--show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite
.PHONY: check-programs check-unit check-valgrind
