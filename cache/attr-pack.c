/* SPDX-License-Identifier: MIT */
/* Attributes in few bytes: a word of what is as usual, then the rest. */
#include <config.h>

#include "cache/attr-pack.h"

#include <string.h>

enum usual {
	ONE_LINK = 1 << 0,
	BLOCKS_BY_SIZE = 1 << 1,
	NO_RDEV = 1 << 2,
	LARGE_INO = 1 << 3,  /* 8 bytes, else as many as it takes */
	WHOLE_MTIME = 1 << 4, /* no nanoseconds */
	CTIME_AS_MTIME = 1 << 5,
	WHOLE_CTIME = 1 << 6,
	ATIME_AS_MTIME = 1 << 7,
	ATIME_AS_CTIME = 1 << 8,
	WHOLE_ATIME = 1 << 9,
	HEX_VER = 1 << 10, /* lower case, two digits a byte */
	NO_AVER = 1 << 11,
	NO_FLAGS = 1 << 12,
	USUAL_ALL = (1 << 13) - 1,
};

struct out {
	unsigned char *p;
};

static void
put_fixed(struct out *o, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		*o->p++ = v >> (8 * i);
}

static void
put_number(struct out *o, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*o->p++ = 0x80 | (v & 0x7f);
	*o->p++ = v;
}

/* Small ones of both signs are short. */
static void
put_signed(struct out *o, int64_t v)
{
	put_number(o, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static void
put_time(struct out *o, struct timespec t, struct timespec from, bool whole)
{
	put_signed(o, (int64_t)((uint64_t)t.tv_sec - (uint64_t)from.tv_sec));
	if (!whole)
		put_fixed(o, t.tv_nsec, 4);
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
	       c >= 'a' && c <= 'f' ? c - 'a' + 10 :
				      -1;
}

static bool
is_hex(const struct be_ver *v)
{
	for (unsigned i = 0; i < v->len; i++)
		if (hex_digit(v->b[i]) < 0)
			return false;
	return v->len % 2 == 0;
}

static bool
same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static unsigned
usual(const struct be_attr *a)
{
	unsigned u = 0;

	u |= a->nlink == 1 ? ONE_LINK : 0;
	u |= a->blocks == a->size / 512 + !!(a->size % 512) ? BLOCKS_BY_SIZE :
							      0;
	u |= a->rdev == 0 ? NO_RDEV : 0;
	u |= a->ino >> 49 ? LARGE_INO : 0;
	u |= a->mtime.tv_nsec == 0 ? WHOLE_MTIME : 0;
	u |= same_time(a->ctime, a->mtime) ? CTIME_AS_MTIME : 0;
	u |= a->ctime.tv_nsec == 0 ? WHOLE_CTIME : 0;
	u |= same_time(a->atime, a->mtime) ? ATIME_AS_MTIME :
	     same_time(a->atime, a->ctime) ? ATIME_AS_CTIME :
					     0;
	u |= a->atime.tv_nsec == 0 ? WHOLE_ATIME : 0;
	u |= is_hex(&a->ver) ? HEX_VER : 0;
	u |= a->aver == 0 ? NO_AVER : 0;
	u |= a->flags == 0 ? NO_FLAGS : 0;
	return u;
}

size_t
attr_pack(const struct be_attr *a, unsigned char out[ATTR_PACK_MAX])
{
	const struct timespec zero = { 0 };
	struct out o = { out };
	unsigned u = usual(a);

	put_fixed(&o, u, 2);
	put_fixed(&o, a->mode, 2);
	put_number(&o, a->uid);
	put_number(&o, a->gid);
	put_number(&o, a->size);
	if (!(u & ONE_LINK))
		put_number(&o, a->nlink);
	if (!(u & BLOCKS_BY_SIZE))
		put_number(&o, a->blocks);
	if (!(u & NO_RDEV))
		put_number(&o, a->rdev);
	if (u & LARGE_INO)
		put_fixed(&o, a->ino, 8);
	else
		put_number(&o, a->ino);
	put_time(&o, a->mtime, zero, u & WHOLE_MTIME);
	if (!(u & CTIME_AS_MTIME))
		put_time(&o, a->ctime, a->mtime, u & WHOLE_CTIME);
	if (!(u & (ATIME_AS_MTIME | ATIME_AS_CTIME)))
		put_time(&o, a->atime, a->mtime, u & WHOLE_ATIME);
	*o.p++ = a->ver.len;
	if (u & HEX_VER) {
		for (unsigned i = 0; i < a->ver.len; i += 2)
			*o.p++ = hex_digit(a->ver.b[i]) << 4 |
				 hex_digit(a->ver.b[i + 1]);
	} else {
		memcpy(o.p, a->ver.b, a->ver.len);
		o.p += a->ver.len;
	}
	if (!(u & NO_AVER))
		put_fixed(&o, a->aver, 8);
	if (!(u & NO_FLAGS))
		put_number(&o, a->flags);
	return o.p - out;
}

/* --- and back ------------------------------------------------------------ */

struct in {
	const unsigned char *p, *end;
	bool bad;
};

static uint64_t
get_fixed(struct in *in, unsigned bytes)
{
	uint64_t v = 0;

	if (in->end - in->p < (ptrdiff_t)bytes) {
		in->bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)in->p[i] << (8 * i);
	in->p += bytes;
	return v;
}

static uint64_t
get_number(struct in *in)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		unsigned c = get_fixed(in, 1);

		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80))
			return v;
	}
	in->bad = true;
	return 0;
}

static int64_t
get_signed(struct in *in)
{
	uint64_t v = get_number(in);

	return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

static struct timespec
get_time(struct in *in, struct timespec from, bool whole)
{
	struct timespec t = { 0 };

	t.tv_sec = (time_t)((uint64_t)from.tv_sec + (uint64_t)get_signed(in));
	t.tv_nsec = whole ? 0 : get_fixed(in, 4);
	if (t.tv_nsec >= 1000000000)
		in->bad = true;
	return t;
}

static void
get_ver(struct in *in, bool hex, struct be_ver *v)
{
	static const char digits[] = "0123456789abcdef";
	unsigned len = get_fixed(in, 1);

	if (len > BE_VER_MAX || (hex && len % 2)) {
		in->bad = true;
		return;
	}
	for (unsigned i = 0; i < len; i++) {
		unsigned c = get_fixed(in, 1);

		if (hex) {
			v->b[i++] = digits[c >> 4];
			v->b[i] = digits[c & 15];
		} else {
			v->b[i] = c;
		}
	}
	v->len = len;
}

bool
attr_unpack(const void *p, size_t n, struct be_attr *out)
{
	const struct timespec zero = { 0 };
	struct in in = { p, (const unsigned char *)p + n, false };
	struct be_attr a = { 0 };
	unsigned u = get_fixed(&in, 2);

	a.mode = get_fixed(&in, 2);
	a.uid = get_number(&in);
	a.gid = get_number(&in);
	a.size = get_number(&in);
	a.nlink = u & ONE_LINK ? 1 : get_number(&in);
	a.blocks = u & BLOCKS_BY_SIZE ? a.size / 512 + !!(a.size % 512) :
					get_number(&in);
	a.rdev = u & NO_RDEV ? 0 : get_number(&in);
	a.ino = u & LARGE_INO ? get_fixed(&in, 8) : get_number(&in);
	a.mtime = get_time(&in, zero, u & WHOLE_MTIME);
	a.ctime = u & CTIME_AS_MTIME ?
			  a.mtime :
			  get_time(&in, a.mtime, u & WHOLE_CTIME);
	a.atime = u & ATIME_AS_MTIME ? a.mtime :
		  u & ATIME_AS_CTIME ? a.ctime :
				       get_time(&in, a.mtime, u & WHOLE_ATIME);
	get_ver(&in, u & HEX_VER, &a.ver);
	a.aver = u & NO_AVER ? 0 : get_fixed(&in, 8);
	a.flags = u & NO_FLAGS ? 0 : get_number(&in);
	if (in.bad || in.p != in.end || u > USUAL_ALL)
		return false;
	*out = a;
	return true;
}
