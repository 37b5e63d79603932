/* SPDX-License-Identifier: MIT */
/* A journal record as JSON, and back; see journal.h.  Bytes that JSON can't
 * hold (names are no text) are in hex. */
#include <config.h>

#include "cache/journal-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

#define RECORD_MAX (64u << 20)

static const char *const states[] = {
	[JOURNAL_OPEN] = "open",
	[JOURNAL_SENDING] = "sending",
	[JOURNAL_FAILED] = "failed",
	[JOURNAL_JOINING] = "joining",
	[JOURNAL_UNLINKED] = "unlinked",
};
static const char *const pres[] = {
	[BE_ANY] = "any",
	[BE_ABSENT] = "absent",
	[BE_MATCH] = "match",
};

void
journal_rec_release(struct journal_rec *r)
{
	free(r->path);
	free(r->groups);
	free(r->dirty);
	free(r->words);
	free(r->store);
	free(r->boot);
	memset(r, 0, sizeof(*r));
}

/* --- writing ------------------------------------------------------------- */

static json_t *
hex(const void *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	_cleanup_free_ char *s = xmalloc(2 * n + 1);
	const unsigned char *c = p;

	for (size_t i = 0; i < n; i++) {
		s[2 * i] = digits[c[i] >> 4];
		s[2 * i + 1] = digits[c[i] & 15];
	}
	s[2 * n] = '\0';
	return json_string(s);
}

static json_t *
from_time(struct timespec t)
{
	return json_pack("[I,I]", (json_int_t)t.tv_sec, (json_int_t)t.tv_nsec);
}

static json_t *
from_ver(const struct be_ver *v)
{
	return hex(v->b, v->len);
}

void
journal_set_path(json_t *j, const char *name, const char *path)
{
	json_t *text = json_string(path);
	char key[32];

	snprintf(key, sizeof(key), "%s_hex", name);
	if (text)
		json_object_set_new(j, name, text);
	else
		json_object_set_new(j, key, hex(path, strlen(path)));
}

json_t *
journal_encode(const struct journal_rec *r)
{
	json_t *j = json_object(), *words, *groups, *dirty;

	json_object_set_new(j, "format", json_integer(JOURNAL_FORMAT));
	journal_set_path(j, "path", r->path);
	json_object_set_new(j, "state", json_string(states[r->state]));
	json_object_set_new(j, "uid", json_integer(r->uid));
	json_object_set_new(j, "gid", json_integer(r->gid));
	groups = json_array();
	for (size_t i = 0; i < r->ngroups; i++)
		json_array_append_new(groups, json_integer(r->groups[i]));
	json_object_set_new(j, "groups", groups);
	json_object_set_new(j, "opid", json_string(r->opid.s));
	json_object_set_new(j, "if", json_string(pres[r->cond.pre]));
	json_object_set_new(j, "if_version", from_ver(&r->cond.ver));
	json_object_set_new(j, "whole", json_boolean(r->whole));
	json_object_set_new(j, "exposed", json_boolean(r->exposed));
	if (r->node)
		json_object_set_new(j, "node", hex(&r->node, sizeof(r->node)));
	if (r->complete)
		json_object_set_new(j, "complete", json_true());
	if (r->links)
		json_object_set_new(j, "links", json_true());
	if (r->sent.tv_sec)
		json_object_set_new(j, "sent", from_time(r->sent));
	json_object_set_new(j, "base", from_ver(&r->base));
	json_object_set_new(j, "base_size",
			    json_integer((json_int_t)r->base_size));
	json_object_set_new(j, "size", json_integer((json_int_t)r->size));
	dirty = json_array();
	for (size_t i = 0; i < r->ndirty; i++)
		json_array_append_new(
			dirty, json_pack("[I,I]", (json_int_t)r->dirty[i].off,
					 (json_int_t)r->dirty[i].len));
	json_object_set_new(j, "dirty", dirty);
	json_object_set_new(j, "mask", json_integer(r->mask));
	json_object_set_new(j, "ino", hex(&r->ino, sizeof(r->ino)));
	json_object_set_new(j, "mode", json_integer(r->mode));
	json_object_set_new(j, "owner", json_integer(r->owner));
	json_object_set_new(j, "group", json_integer(r->group));
	json_object_set_new(j, "atime", from_time(r->atime));
	json_object_set_new(j, "mtime", from_time(r->mtime));
	json_object_set_new(j, "since", from_time(r->since));
	if (r->error)
		json_object_set_new(j, "errno", json_integer(-r->error));
	if (r->words && (words = json_string(r->words)))
		json_object_set_new(j, "error", words);
	return j;
}

/* --- reading ------------------------------------------------------------- */

/* Each returns false for what does not fit; nothing is believed unchecked. */

static bool
to_uint(const json_t *j, const char *name, uint64_t max, uint64_t *out)
{
	const json_t *v = json_object_get(j, name);

	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    (uint64_t)json_integer_value(v) > max)
		return false;
	*out = (uint64_t)json_integer_value(v);
	return true;
}

static bool
to_u32(const json_t *j, const char *name, uint32_t *out)
{
	uint64_t v;

	if (!to_uint(j, name, UINT32_MAX, &v))
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool
to_time(const json_t *j, const char *name, struct timespec *out)
{
	const json_t *v = json_object_get(j, name);
	json_int_t ns = json_integer_value(json_array_get(v, 1));

	if (json_array_size(v) != 2 || ns < 0 || ns >= NSEC_PER_SEC)
		return false;
	out->tv_sec = json_integer_value(json_array_get(v, 0));
	out->tv_nsec = ns;
	return true;
}

static int
digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Caller frees; NULL: no hex. */
static char *
unhex(const char *s, size_t *n)
{
	size_t len = s ? strlen(s) : 1;
	_cleanup_free_ char *out = NULL;

	if (len % 2 != 0)
		return NULL;
	out = xcalloc(len / 2 + 1, 1);
	for (size_t i = 0; i < len / 2; i++) {
		int hi = digit(s[2 * i]), lo = digit(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return NULL;
		out[i] = (char)(hi << 4 | lo);
	}
	*n = len / 2;
	return steal_ptr(&out);
}

static bool
to_ver(const json_t *j, const char *name, struct be_ver *out)
{
	_cleanup_free_ char *p = NULL;
	size_t n;

	p = unhex(json_string_value(json_object_get(j, name)), &n);
	if (!p || n > BE_VER_MAX)
		return false;
	be_ver_set(out, p, n);
	return true;
}

static bool
to_number(const json_t *j, const char *name, uint64_t *out)
{
	_cleanup_free_ char *p = NULL;
	size_t n;

	p = unhex(json_string_value(json_object_get(j, name)), &n);
	if (!p || n != sizeof(*out))
		return false;
	memcpy(out, p, n);
	return true;
}

bool
journal_get_path(const json_t *j, const char *name, char **out)
{
	const char *s = json_string_value(json_object_get(j, name));
	_cleanup_free_ char *p = NULL;
	char key[32];
	size_t n = 0;

	snprintf(key, sizeof(key), "%s_hex", name);
	if (s)
		p = xstrdup(s);
	else
		p = unhex(json_string_value(json_object_get(j, key)), &n);
	if (!p || (!s && strlen(p) != n) || !path_ok(p) || !*p)
		return false;
	*out = steal_ptr(&p);
	return true;
}

static bool
to_name(const json_t *j, const char *name, const char *const *names, int n,
	int *out)
{
	const char *s = json_string_value(json_object_get(j, name));

	for (int i = 0; s && i < n; i++) {
		if (strcmp(s, names[i]) == 0) {
			*out = i;
			return true;
		}
	}
	return false;
}

static bool
to_groups(const json_t *j, struct journal_rec *r)
{
	const json_t *a = json_object_get(j, "groups");
	size_t n = json_array_size(a);

	if (!json_is_array(a))
		return false;
	r->groups = n ? xcalloc(n, sizeof(*r->groups)) : NULL;
	r->ngroups = n;
	for (size_t i = 0; i < n; i++) {
		json_int_t v = json_integer_value(json_array_get(a, i));

		if (v < 0 || v > UINT32_MAX)
			return false;
		r->groups[i] = (gid_t)v;
	}
	return true;
}

static bool
to_dirty(const json_t *j, struct journal_rec *r)
{
	const json_t *a = json_object_get(j, "dirty");
	size_t n = json_array_size(a);
	uint64_t end = 0;

	if (!json_is_array(a))
		return false;
	r->dirty = n ? xcalloc(n, sizeof(*r->dirty)) : NULL;
	r->ndirty = n;
	for (size_t i = 0; i < n; i++) {
		const json_t *p = json_array_get(a, i);
		json_int_t off = json_integer_value(json_array_get(p, 0));
		json_int_t len = json_integer_value(json_array_get(p, 1));

		if (off < 0 || len <= 0 || len > INT64_MAX - off ||
		    (uint64_t)off < end || (uint64_t)(off + len) > r->size)
			return false;
		r->dirty[i].off = (uint64_t)off;
		r->dirty[i].len = (uint64_t)len;
		end = (uint64_t)(off + len);
	}
	return true;
}

bool
journal_decode(const json_t *j, struct journal_rec *r)
{
	const char *opid = json_string_value(json_object_get(j, "opid"));
	const char *words = json_string_value(json_object_get(j, "error"));
	const json_t *whole = json_object_get(j, "whole");
	uint64_t v;
	int state, pre;

	memset(r, 0, sizeof(*r));
	if (!to_uint(j, "format", JOURNAL_FORMAT, &v) ||
	    v != JOURNAL_FORMAT ||
	    !journal_get_path(j, "path", &r->path) ||
	    !to_name(j, "state", states, JOURNAL_UNLINKED + 1, &state) ||
	    !to_name(j, "if", pres, BE_MATCH + 1, &pre) ||
	    !to_u32(j, "uid", &r->uid) || !to_u32(j, "gid", &r->gid) ||
	    !to_groups(j, r) || !to_ver(j, "if_version", &r->cond.ver) ||
	    !to_ver(j, "base", &r->base) || !json_is_boolean(whole) ||
	    !to_uint(j, "base_size", INT64_MAX, &r->base_size) ||
	    !to_uint(j, "size", INT64_MAX, &r->size) || !to_dirty(j, r) ||
	    !to_u32(j, "mask", &r->mask) || !to_number(j, "ino", &r->ino) || !to_u32(j, "mode", &r->mode) ||
	    !to_u32(j, "owner", &r->owner) || !to_u32(j, "group", &r->group) ||
	    !to_time(j, "atime", &r->atime) ||
	    !to_time(j, "mtime", &r->mtime) ||
	    !to_time(j, "since", &r->since) || !opid ||
	    strlen(opid) >= sizeof(r->opid.s))
		return false;
	memcpy(r->opid.s, opid, strlen(opid) + 1);
	r->state = (enum journal_state)state;
	r->cond.pre = (enum be_pre)pre;
	r->whole = json_is_true(whole);
	r->exposed = json_is_true(json_object_get(j, "exposed"));
	if (!to_number(j, "node", &r->node))
		r->node = 0;
	r->complete = json_is_true(json_object_get(j, "complete"));
	r->links = json_is_true(json_object_get(j, "links"));
	if (!to_time(j, "sent", &r->sent))
		r->sent = (struct timespec){ 0 };
	if (to_uint(j, "errno", 4095, &v))
		r->error = -(int)v;
	r->words = words ? xstrdup(words) : NULL;
	words = json_string_value(json_object_get(j, "store"));
	r->store = words ? xstrdup(words) : NULL;
	words = json_string_value(json_object_get(j, "boot"));
	r->boot = words ? xstrdup(words) : NULL;
	return true;
}

bool
journal_is_about(const json_t *j, const char *name)
{
	const char *file = json_string_value(json_object_get(j, "file"));

	return !file || strcmp(file, name) == 0;
}

/* --- changes of attributes ---------------------------------------------- */

#define ATTR_BITS                                                              \
	(BE_SET_MODE | BE_SET_UID | BE_SET_GID | BE_SET_ATIME | BE_SET_MTIME | \
	 BE_SET_CTIME)

json_t *
journal_encode_attr(const struct journal_attr *r)
{
	json_t *j = json_object();

	json_object_set_new(j, "format", json_integer(JOURNAL_FORMAT));
	journal_set_path(j, "path", r->path);
	json_object_set_new(j, "uid", json_integer(r->uid));
	json_object_set_new(j, "gid", json_integer(r->gid));
	json_object_set_new(j, "version", from_ver(&r->ver));
	json_object_set_new(j, "ino", hex(&r->ino, sizeof(r->ino)));
	json_object_set_new(j, "was", json_integer(r->mode));
	json_object_set_new(j, "mask", json_integer(r->mask));
	json_object_set_new(j, "mode", json_integer(r->attr.mode));
	json_object_set_new(j, "owner", json_integer(r->attr.uid));
	json_object_set_new(j, "group", json_integer(r->attr.gid));
	json_object_set_new(j, "atime", from_time(r->attr.atime));
	json_object_set_new(j, "mtime", from_time(r->attr.mtime));
	json_object_set_new(j, "ctime", from_time(r->attr.ctime));
	return j;
}

bool
journal_decode_attr(const json_t *j, struct journal_attr *r)
{
	uint64_t format;

	return to_uint(j, "format", JOURNAL_FORMAT, &format) &&
	       format == JOURNAL_FORMAT &&
	       journal_get_path(j, "path", &r->path) &&
	       to_u32(j, "uid", &r->uid) && to_u32(j, "gid", &r->gid) &&
	       to_ver(j, "version", &r->ver) && to_number(j, "ino", &r->ino) &&
	       to_u32(j, "was", &r->mode) && to_u32(j, "mask", &r->mask) &&
	       (r->mask & ~ATTR_BITS) == 0 &&
	       to_u32(j, "mode", &r->attr.mode) &&
	       to_u32(j, "owner", &r->attr.uid) &&
	       to_u32(j, "group", &r->attr.gid) &&
	       to_time(j, "atime", &r->attr.atime) &&
	       to_time(j, "mtime", &r->attr.mtime) &&
	       to_time(j, "ctime", &r->attr.ctime);
}

/* The last complete line.  (Records of before had many, and no end of line.) */
static json_t *
load_last(const char *p, size_t n)
{
	const char *end = memrchr(p, '\n', n), *from;
	json_t *j = NULL;

	if (end) {
		from = memrchr(p, '\n', (size_t)(end - p));
		from = from ? from + 1 : p;
		j = json_loadb(from, (size_t)(end - from), 0, NULL);
	}
	return j ? j : json_loadb(p, n, 0, NULL);
}

json_t *
journal_load(int dir, const char *file)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *p = NULL;
	struct stat st;
	ssize_t n;

	fd = openat(dir, file,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size <= 0 || st.st_size > RECORD_MAX)
		return NULL;
	p = xmalloc((size_t)st.st_size);
	n = pread(fd, p, (size_t)st.st_size, 0);
	return n > 0 ? load_last(p, (size_t)n) : NULL;
}
