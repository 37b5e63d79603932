/* SPDX-License-Identifier: MIT */
/* common/range.c beside a plain array of booleans. */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <stdbool.h>

#include "common/range.h"

#define N 64

static void
compare(const struct rangeset *s, const bool *want)
{
	uint64_t bytes = 0;
	struct range r;

	for (size_t i = 0; i < s->n; i++) {
		FUZZ_CHECK(s->v[i].len > 0);
		FUZZ_CHECK(!i || s->v[i - 1].off + s->v[i - 1].len <
					 s->v[i].off);
	}
	for (uint64_t i = 0; i < N; i++) {
		bytes += want[i];
		FUZZ_CHECK(rangeset_has(s, i, 1) == want[i]);
		FUZZ_CHECK(rangeset_intersects(s, i, 1) == want[i]);
	}
	FUZZ_CHECK(rangeset_bytes(s) == bytes);
	for (uint64_t off = 0; off < N; off += 5) {
		uint64_t a = off, b;
		bool is = want[off];

		for (b = a; b < N && want[b] == is;)
			b++;
		FUZZ_CHECK((is ? rangeset_first(s, off, N - off, &r)
			       : rangeset_gap(s, off, N - off, &r)));
		FUZZ_CHECK(r.off == a && r.len == b - a);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rangeset s = RANGESET_INIT, copy = RANGESET_INIT;
	bool want[N] = { false };

	if (size > 300)
		size = 300;
	for (size_t i = 0; i + 2 < size; i += 3) {
		uint64_t off = data[i + 1] % N;
		uint64_t len = data[i + 2] % (N - off + 1);

		if (data[i] % 2)
			rangeset_add(&s, off, len);
		else
			rangeset_del(&s, off, len);
		for (uint64_t j = 0; j < len; j++)
			want[off + j] = data[i] % 2;
		compare(&s, want);
	}
	rangeset_copy(&copy, &s);
	compare(&copy, want);
	rangeset_release(&copy);
	rangeset_release(&s);
	return 0;
}
