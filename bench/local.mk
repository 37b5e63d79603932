# How speed is measured; see bench/README.md.  The programs are built with the
# tests, so that they stay buildable.
check_PROGRAMS += bench/bin/load bench/bin/floor
bench_bin_load_SOURCES = bench/load.c
bench_bin_load_LDADD = $(LIB_COMMON) $(LIBS_COMMON)
bench_bin_floor_SOURCES = bench/floor.c fs/abi.h
bench_bin_floor_LDADD = $(LIB_FS) $(LIB_COMMON) $(LIBS_COMMON)

# What bench/run needs of a build tree.
bench-programs: sharedfs migrate-local-uploads bench/bin/load bench/bin/floor \
		tests/bin/proxy
bench: bench-programs
	$(builddir)/run $(srcdir)/bench/run
.PHONY: bench bench-programs

EXTRA_DIST += \
	bench/README.md \
	bench/bench.py \
	bench/migrate.py \
	bench/mounts.py \
	bench/raw.py \
	bench/report.py \
	bench/run \
	bench/store.py \
	bench/targets.py \
	bench/web.py \
	$(NULL)
