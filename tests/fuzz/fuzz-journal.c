/* SPDX-License-Identifier: MIT */
/* Journal records as a predecessor or a bad disk left them.  What is accepted
 * is sound, and the same after it was written and read again. */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <unistd.h>

#include "cache/journal.h"
#include "cache/store.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

static char dir[] = "/tmp/sharedfs-fuzz-XXXXXX";
static struct store *store;

static int
drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
clean_up(void)
{
	store_free(store);
	nftw(dir, drop, 16, FTW_DEPTH | FTW_PHYS);
}

static void
put(const char *name, const void *p, size_t n)
{
	_cleanup_free_ char *path =
		xasprintf("%s/v1/mounts/one/%s", dir, name);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC |
						    O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0 && write(fd, p, n) == (ssize_t)n);
}

static void
set_up(void)
{
	struct store_config cfg = {
		.dir = dir,
		.instance = "one",
		.store_id = "s3://b",
	};

	log_set_level(LOG_LEVEL_ERROR);
	FUZZ_CHECK(mkdtemp(dir));
	FUZZ_CHECK(store_new(&cfg, &store, NULL) == 0);
	put("files/1", "", 0);
	atexit(clean_up);
}

static void
check(const struct journal_rec *r)
{
	uint64_t end = 0;

	FUZZ_CHECK(r->path && path_ok(r->path));
	FUZZ_CHECK(memchr(r->opid.s, 0, sizeof(r->opid.s)));
	FUZZ_CHECK(r->base.len <= BE_VER_MAX && r->cond.ver.len <= BE_VER_MAX);
	for (size_t i = 0; i < r->ndirty; i++) {
		FUZZ_CHECK(r->dirty[i].off >= end && r->dirty[i].len > 0);
		end = r->dirty[i].off + r->dirty[i].len;
		FUZZ_CHECK(end > r->dirty[i].off && end <= r->size);
	}
}

/* The first call takes the record, the second compares with it. */
static void
seen(void *arg, const char *name, struct journal_rec *r)
{
	struct journal_rec *first = arg;

	check(r);
	if (!first->path) {
		*first = *r;
		memset(r, 0, sizeof(*r));
		return;
	}
	FUZZ_CHECK(strcmp(first->path, r->path) == 0);
	FUZZ_CHECK(strcmp(first->opid.s, r->opid.s) == 0);
	FUZZ_CHECK(first->state == r->state && first->size == r->size);
	FUZZ_CHECK(first->cond.pre == r->cond.pre);
	FUZZ_CHECK(first->ngroups == r->ngroups && first->mask == r->mask);
	FUZZ_CHECK(first->uid == r->uid && first->gid == r->gid);
	FUZZ_CHECK(first->whole == r->whole && first->error == r->error);
	FUZZ_CHECK(first->ndirty == r->ndirty);
	FUZZ_CHECK(!r->ndirty || memcmp(first->dirty, r->dirty,
					r->ndirty * sizeof(*r->dirty)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_rec first = { 0 };

	if (!store)
		set_up();
	put("journal/1.j", data, size);
	journal_scan(store, seen, &first);
	if (first.path) {
		FUZZ_CHECK(journal_put(store, "1", &first, NULL) == 0);
		FUZZ_CHECK(journal_scan(store, seen, &first) == 0);
	}
	journal_rec_release(&first);
	return 0;
}
