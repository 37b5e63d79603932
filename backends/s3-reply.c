/* SPDX-License-Identifier: MIT */
/* What an answer's headers say, taken apart.  Each byte is a stranger's. */
#include <config.h>

#include "backends/s3-http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

#define FIELDS_MAX 256
#define FIELDS_BYTES (64u * 1024)
#define HOST_MAX 255

const char *
s3_reply_get(const struct s3_reply *r, const char *name)
{
	for (size_t i = 0; i < r->nh; i++)
		if (strcmp(r->h[i].name, name) == 0)
			return r->h[i].value;
	return NULL;
}

static void
fields_clear(struct s3_reply *r)
{
	for (size_t i = 0; i < r->nh; i++) {
		free(r->h[i].name);
		free(r->h[i].value);
	}
	r->nh = 0;
	r->hbytes = 0;
}

void
s3_reply_release(struct s3_reply *r)
{
	fields_clear(r);
	free(r->h);
	free(r->words);
	buf_release(&r->body);
	memset(r, 0, sizeof(*r));
}

bool
s3_reply_line(struct s3_reply *r, const char *p, size_t n)
{
	const char *colon;
	struct s3_field *f;
	size_t vlen;

	/* Another answer on the same connection, as after "100 Continue". */
	if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
		fields_clear(r);
		return true;
	}
	colon = memchr(p, ':', n);
	if (!colon)
		return true;
	r->hbytes += n;
	if (r->nh >= FIELDS_MAX || r->hbytes > FIELDS_BYTES)
		return false;
	if ((r->nh & (r->nh - 1)) == 0)
		r->h = xrealloc(r->h, r->nh ? r->nh * 2 : 1, sizeof(*r->h));
	f = &r->h[r->nh++];
	f->name = xstrndup(p, colon - p);
	for (char *c = f->name; *c; c++)
		*c = tolower((unsigned char)*c);
	colon++;
	vlen = strnlen(colon, p + n - colon);
	while (vlen && (*colon == ' ' || *colon == '\t')) {
		colon++;
		vlen--;
	}
	while (vlen && isspace((unsigned char)colon[vlen - 1]))
		vlen--;
	f->value = xstrndup(colon, vlen);
	return true;
}

bool
s3_reply_begins_at(const struct s3_reply *r, uint64_t off)
{
	const char *s = s3_reply_get(r, "content-range");
	char *end;

	if (r->status == 200)
		return off == 0;
	if (!s || strncmp(s, "bytes ", 6) != 0)
		return false;
	return strtoull(s + 6, &end, 10) == off && *end == '-';
}

uint64_t
s3_reply_total(const struct s3_reply *r)
{
	const char *s = s3_reply_get(r, "content-range");
	const char *slash = s ? strchr(s, '/') : NULL;

	if (r->status == 200)
		s = s3_reply_get(r, "content-length");
	else
		s = slash ? slash + 1 : NULL;
	return s && *s >= '0' && *s <= '9' ? strtoull(s, NULL, 10) : UINT64_MAX;
}

char *
s3_reply_other_host(const struct s3_reply *r)
{
	const char *location = s3_reply_get(r, "location");
	const char *host = location ? strstr(location, "://") : NULL;
	size_t n;

	if (!host)
		return NULL;
	host += 3;
	n = strcspn(host, "/?#@");
	if (n == 0 || n > HOST_MAX || host[n] == '@')
		return NULL;
	/* It becomes a part of a URL and of a header. */
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)host[i]) && !strchr("-._:[]", host[i]))
			return NULL;
	return xstrndup(host, n);
}

bool
s3_region_ok(const char *r)
{
	size_t n = r ? strlen(r) : 0;

	if (n == 0 || n > 40)
		return false;
	for (; *r; r++)
		if (!isalnum((unsigned char)*r) && *r != '-')
			return false;
	return true;
}
