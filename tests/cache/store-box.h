/* SPDX-License-Identifier: MIT */
/* A store in a directory of its own, for each test of the store. */
#ifndef TESTS_CACHE_STORE_BOX_H
#define TESTS_CACHE_STORE_BOX_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "cache/store.h"

struct box {
	char dir[64];
	struct store *s;
};

int box_setup(void **state); /* instance "one", no limits */
int box_teardown(void **state);
struct store *box_store(const char *dir, const char *instance,
			uint64_t size_max, uint64_t free_min);
void box_remove_tree(const char *dir);

struct be_ver box_ver(const char *s);
/* n bytes that depend on the seed at every place; caller frees. */
char *box_bytes(size_t n, unsigned seed);

/* Much slower, and system calls are not only our own. */
bool box_under_valgrind(void);

#endif
