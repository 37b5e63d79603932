/* SPDX-License-Identifier: MIT */
/* See store-box.h. */
#include <config.h>

#include "tests/cache/store-box.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "common/xalloc.h"
#include "tests/lib/unit.h"

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void
box_remove_tree(const char *dir)
{
	nftw(dir, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

struct store *
box_store(const char *dir, const char *instance, uint64_t size_max,
	  uint64_t free_min)
{
	struct store_config cfg = {
		.dir = dir,
		.instance = instance,
		.store_id = "test-store",
		.size_max = size_max,
		.free_min = free_min,
	};
	_cleanup_err_ struct err err = ERR_INIT;
	struct store *s = NULL;

	if (store_new(&cfg, &s, &err) < 0)
		fail_msg("store_new: %s", err_words(&err));
	return s;
}

int
box_setup(void **state)
{
	struct box *b = xcalloc(1, sizeof(*b));

	snprintf(b->dir, sizeof(b->dir), "cache-dir.XXXXXX");
	if (!mkdtemp(b->dir))
		return -1;
	b->s = box_store(b->dir, "one", 0, 0);
	*state = b;
	return 0;
}

int
box_teardown(void **state)
{
	struct box *b = *state;

	store_free(b->s);
	box_remove_tree(b->dir);
	free(b);
	return 0;
}

struct be_ver
box_ver(const char *s)
{
	struct be_ver v;

	be_ver_set(&v, s, strlen(s));
	return v;
}

char *
box_bytes(size_t n, unsigned seed)
{
	char *p = xmalloc(n + 1);
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (char)x;
	}
	return p;
}

bool
box_under_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "vgpreload");
}
