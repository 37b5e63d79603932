noinst_LIBRARIES += libcommon.a
libcommon_a_SOURCES = \
	common/buf.c common/buf.h \
	common/cleanup.h \
	common/clock.h \
	common/err.c common/err.h \
	common/fault.c common/fault.h \
	common/io.c common/io.h \
	common/log.c common/log.h \
	common/mountinfo.c common/mountinfo.h \
	common/nearest.c common/nearest.h \
	common/path.c common/path.h \
	common/range.c common/range.h \
	common/thread.c common/thread.h \
	common/units.c common/units.h \
	common/xalloc.c common/xalloc.h \
	$(NULL)
