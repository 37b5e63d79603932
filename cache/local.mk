noinst_LIBRARIES += libcache.a
libcache_a_SOURCES = \
	cache/ancestors.c \
	cache/asked.c \
	cache/attr.c \
	cache/attr-memory.c cache/attr-memory.h \
	cache/attr-pack.c cache/attr-pack.h \
	cache/attr-table.c cache/attr-table.h \
	cache/cache.c cache/cache.h cache/cache-priv.h \
	cache/commit.c cache/commit.h \
	cache/content.c cache/content-journal.c \
	cache/create.c \
	cache/delay.c cache/delay.h \
	cache/dirtimes.c \
	cache/early.c \
	cache/expose.c \
	cache/fetch.c \
	cache/foresee.c \
	cache/file.c \
	cache/journal.c cache/journal.h cache/journal-priv.h \
	cache/journal-log.c cache/journal-record.c \
	cache/kept.c cache/kept.h \
	cache/keys.c \
	cache/listing.c cache/listing-attrs.c cache/listing.h \
	cache/name.c \
	cache/names.c \
	cache/once.c \
	cache/open.c \
	cache/origin.c \
	cache/rename.c \
	cache/read-through.c \
	cache/rebase.c \
	cache/reclaim.c \
	cache/stage.c \
	cache/store.c cache/store.h cache/store-priv.h \
	cache/store-dead.c \
	cache/store-dir.c cache/store-publish.c \
	cache/store-recheck.c \
	cache/store-idle.c \
	cache/store-record.c cache/store-record.h \
	cache/store-verified.c \
	cache/store-take.c \
	cache/takeover.c \
	cache/uploads.c \
	$(NULL)
