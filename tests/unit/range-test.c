/* SPDX-License-Identifier: MIT */
/* common/range.c against a byte map: 20,000 random operations. */
#include <config.h>

#include "common/range.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/unit.h"

#define SPAN 256

static void
agrees(const struct rangeset *s, const char *map)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < s->n; i++) {
		assert_true(s->v[i].len > 0);
		if (i) /* disjoint, and never adjacent */
			assert_true(s->v[i - 1].off + s->v[i - 1].len <
				    s->v[i].off);
	}
	for (unsigned i = 0; i < SPAN; i++) {
		assert_int_equal(rangeset_has(s, i, 1), map[i]);
		bytes += map[i];
	}
	assert_int_equal(rangeset_bytes(s), bytes);
}

static void
random_operations(void **state)
{
	struct rangeset s = RANGESET_INIT, copy = RANGESET_INIT;
	char map[SPAN] = { 0 };

	srand(7);
	for (int i = 0; i < 20000; i++) {
		unsigned off = rand() % SPAN;
		unsigned len = rand() % (SPAN - off + 1);
		int set = rand() % 2;
		struct range r;

		if (set)
			rangeset_add(&s, off, len);
		else
			rangeset_del(&s, off, len);
		memset(map + off, set, len);
		agrees(&s, map);
		if (rangeset_gap(&s, 0, SPAN, &r)) {
			for (unsigned j = 0; j < r.off; j++)
				assert_true(map[j]);
			for (unsigned j = 0; j < r.len; j++)
				assert_false(map[r.off + j]);
		}
		if (rangeset_first(&s, off, len, &r)) {
			for (unsigned j = off; j < r.off; j++)
				assert_false(map[j]);
			for (unsigned j = 0; j < r.len; j++)
				assert_true(map[r.off + j]);
		}
	}
	rangeset_copy(&copy, &s);
	agrees(&copy, map);
	rangeset_release(&copy);
	rangeset_release(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
