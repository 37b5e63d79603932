/* SPDX-License-Identifier: MIT */
/* See units.h. */
#include <config.h>

#include "common/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/xalloc.h"

/* Digits of base at *s, at least one; *s moves behind them. */
static int
digits(const char **s, unsigned base, uint64_t *out)
{
	const char *p = *s;
	uint64_t v = 0;

	for (; *p >= '0' && *p < (char)('0' + base); p++) {
		if (__builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	}
	if (p == *s)
		return -EINVAL;
	*s = p;
	*out = v;
	return 0;
}

static int
number(const char *s, unsigned base, uint64_t *out)
{
	uint64_t v;
	int rc;

	rc = digits(&s, base, &v);
	if (rc < 0)
		return rc;
	if (*s)
		return -EINVAL;
	*out = v;
	return 0;
}

int
units_uint(const char *s, uint64_t *out)
{
	return number(s, 10, out);
}

int
units_octal(const char *s, uint64_t *out)
{
	return number(s, 8, out);
}

int
units_size(const char *s, uint64_t *out)
{
	static const char letters[] = "KMGT";
	const char *letter;
	uint64_t v;
	int rc;

	rc = digits(&s, 10, &v);
	if (rc < 0)
		return rc;
	if (*s) {
		letter = *s == ' ' ? NULL : strchr(letters, *s & ~0x20);
		if (letter) {
			for (; letter >= letters; letter--)
				if (__builtin_mul_overflow(v, 1024u, &v))
					return -ERANGE;
			s++;
			if (*s == 'i')
				s++;
		}
		if (*s == 'B' || *s == 'b')
			s++;
		if (*s)
			return -EINVAL;
	}
	*out = v;
	return 0;
}

static const struct {
	const char *name;
	int64_t ns;
} time_units[] = {
	{"", NSEC_PER_SEC},	    {"ms", NSEC_PER_MSEC},
	{"s", NSEC_PER_SEC},	    {"sec", NSEC_PER_SEC},
	{"m", 60 * NSEC_PER_SEC},   {"min", 60 * NSEC_PER_SEC},
	{"h", 3600 * NSEC_PER_SEC}, {"d", 86400 * NSEC_PER_SEC},
};

int
units_duration(const char *s, int64_t *ns)
{
	uint64_t whole;
	int64_t unit = 0, total, scale;
	const char *frac = NULL;
	size_t i;
	int rc;

	rc = digits(&s, 10, &whole);
	if (rc < 0)
		return rc;
	if (*s == '.') {
		frac = ++s;
		while (*s >= '0' && *s <= '9')
			s++;
		if (s == frac)
			return -EINVAL;
	}
	for (i = 0; i < sizeof(time_units) / sizeof(time_units[0]); i++)
		if (strcasecmp(s, time_units[i].name) == 0)
			unit = time_units[i].ns;
	if (unit == 0)
		return -EINVAL;
	if (__builtin_mul_overflow(whole, unit, &total))
		return -ERANGE;
	for (scale = unit / 10; frac && *frac >= '0' && *frac <= '9' && scale;
	     frac++, scale /= 10)
		if (__builtin_add_overflow(total, (*frac - '0') * scale,
					   &total))
			return -ERANGE;
	*ns = total;
	return 0;
}

char *
units_size_text(uint64_t bytes)
{
	static const char letters[] = "KMGT";
	const char *l = NULL;

	while (bytes && bytes % 1024 == 0 && l != letters + 3) {
		bytes /= 1024;
		l = l ? l + 1 : letters;
	}
	return l ? xasprintf("%" PRIu64 "%c", bytes, *l)
		 : xasprintf("%" PRIu64, bytes);
}

char *
units_duration_text(int64_t ns)
{
	int64_t frac;
	int width = 9;

	if (ns % NSEC_PER_SEC == 0)
		return xasprintf("%" PRId64, ns / NSEC_PER_SEC);
	if (ns % NSEC_PER_MSEC == 0)
		return xasprintf("%" PRId64 "ms", ns / NSEC_PER_MSEC);
	for (frac = ns % NSEC_PER_SEC; frac % 10 == 0; frac /= 10)
		width--;
	return xasprintf("%" PRId64 ".%0*" PRId64, ns / NSEC_PER_SEC, width,
			 frac);
}
