/* SPDX-License-Identifier: MIT */
/* See s3-xml.h. */
#include <config.h>

#include "backends/s3-xml.h"

#include <errno.h>
#include <expat.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

#define DEPTH_MAX 16
#define NAME_MAX_XML 64
#define TEXT_MAX_XML (64u * 1024)

struct parse {
	XML_Parser xp;
	const char *root;
	s3_xml_fn *fn;
	void *arg;
	struct buf path; /* below the root */
	size_t mark[DEPTH_MAX + 1];
	unsigned depth;
	struct buf text;
	bool leaf;
	int ret;
};

static void
stop(struct parse *p, int ret)
{
	if (p->ret == 0)
		p->ret = ret;
	XML_StopParser(p->xp, XML_FALSE);
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Some servers use a namespace prefix. */
static const char *
local_name(const char *name)
{
	const char *colon = strrchr(name, ':');

	return colon ? colon + 1 : name;
}

static void
on_start(void *arg, const char *name, const char **atts)
{
	struct parse *p = arg;

	if (p->ret)
		return;
	name = local_name(name);
	if (p->depth >= DEPTH_MAX || strlen(name) > NAME_MAX_XML) {
		stop(p, -EPROTO);
		return;
	}
	if (p->depth == 0 && strcmp(name, p->root) != 0) {
		stop(p, -EBADMSG);
		return;
	}
	p->mark[p->depth] = p->path.len;
	if (p->depth > 0) {
		if (p->path.len)
			buf_addch(&p->path, '/');
		buf_addstr(&p->path, name);
	}
	p->depth++;
	buf_reset(&p->text);
	p->leaf = true;
}

static void
on_end(void *arg, const char *name)
{
	struct parse *p = arg;
	int ret;

	if (p->ret)
		return;
	ret = p->fn(p->arg, buf_str(&p->path), p->leaf ? buf_str(&p->text) : "");
	if (ret) {
		stop(p, ret);
		return;
	}
	p->leaf = false;
	p->depth--;
	p->path.len = p->mark[p->depth];
	if (p->path.s)
		p->path.s[p->path.len] = '\0';
}

static void
on_text(void *arg, const char *s, int n)
{
	struct parse *p = arg;

	if (p->ret || !p->leaf)
		return;
	if (p->text.len + n > TEXT_MAX_XML) {
		stop(p, -EPROTO);
		return;
	}
	buf_add(&p->text, s, n);
}

static void
on_doctype(void *arg, const char *name, const char *sys, const char *pub,
	   int internal)
{
	stop(arg, -EPROTO);
}

/*
 * RGW echoes a prefix with control characters as "&#x01;", which XML 1.0 does
 * not allow.  Keys are URL-encoded (encoding-type=url), so such a reference is
 * never in what we use: it becomes blanks.  NULL: there is none.
 */
static char *
without_controls(const char *s, size_t n)
{
	char *copy = NULL;

	for (const char *p = s; (p = memmem(p, n - (p - s), "&#", 2)); p += 2) {
		const char *q = p + 2, *end = s + n;
		bool hex = q < end && *q == 'x';
		unsigned v = 0, digits = 0;

		for (q += hex; q < end && digits < 7; q++, digits++) {
			int d = hex_value(*q);

			if (d < 0 || (!hex && d > 9))
				break;
			v = v * (hex ? 16 : 10) + d;
		}
		if (!digits || q == end || *q != ';' || v >= 0x20 ||
		    v == '\t' || v == '\n' || v == '\r')
			continue;
		if (!copy)
			copy = xmemdup(s, n);
		memset(copy + (p - s), ' ', q + 1 - p);
	}
	return copy;
}

int
s3_xml_parse(const char *s, size_t n, const char *root, s3_xml_fn *fn,
	     void *arg)
{
	_cleanup_free_ char *clean = n ? without_controls(s, n) : NULL;
	struct parse p = { .root = root, .fn = fn, .arg = arg };
	enum XML_Status st;

	if (n > INT32_MAX)
		return -EPROTO;
	p.xp = XML_ParserCreate(NULL);
	if (!p.xp)
		abort();
	XML_SetUserData(p.xp, &p);
	XML_SetElementHandler(p.xp, on_start, on_end);
	XML_SetCharacterDataHandler(p.xp, on_text);
	XML_SetStartDoctypeDeclHandler(p.xp, on_doctype);
	st = XML_Parse(p.xp, clean ? clean : s ? s : "", n, XML_TRUE);
	XML_ParserFree(p.xp);
	buf_release(&p.path);
	buf_release(&p.text);
	if (p.ret)
		return p.ret;
	return st == XML_STATUS_OK ? 0 : -EPROTO;
}

void
s3_etag_bare(char *s)
{
	static const char quot[] = "&quot;";
	size_t n = strlen(s);
	char *from = s;

	if (n >= 12 && strncmp(s, quot, 6) == 0 &&
	    strcmp(s + n - 6, quot) == 0) {
		from += 6;
		n -= 12;
	} else if (n >= 2 && s[0] == '"' && s[n - 1] == '"') {
		from++;
		n -= 2;
	}
	memmove(s, from, n);
	s[n] = '\0';
}

bool
s3_uri_decode(char *s)
{
	char *out = s;

	while (*s) {
		if (*s == '%') {
			int hi = hex_value(s[1]);
			int lo = hi < 0 ? -1 : hex_value(s[2]);

			if (hi < 0 || lo < 0 || (hi == 0 && lo == 0))
				return false;
			*out++ = hi * 16 + lo;
			s += 3;
		} else {
			/* Some servers encode like a form. */
			*out++ = *s == '+' ? ' ' : *s;
			s++;
		}
	}
	*out = '\0';
	return true;
}

bool
s3_time_iso(const char *s, struct timespec *out)
{
	struct tm tm = { 0 };
	const char *rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	long ns = 0, unit = 100000000;

	if (!rest)
		return false;
	if (*rest == '.')
		for (rest++; *rest >= '0' && *rest <= '9'; rest++) {
			ns += (*rest - '0') * unit;
			unit /= 10;
		}
	out->tv_sec = timegm(&tm);
	out->tv_nsec = ns;
	return true;
}

/* --- <Error> -------------------------------------------------------------- */

static void
keep(char **to, const char *text)
{
	free(*to);
	*to = xstrdup(text);
}

static int
error_fn(void *arg, const char *path, const char *text)
{
	struct s3_xml_error *e = arg;

	if (strcmp(path, "Code") == 0)
		keep(&e->code, text);
	else if (strcmp(path, "Message") == 0)
		keep(&e->message, text);
	else if (strcmp(path, "Region") == 0)
		keep(&e->region, text);
	else if (strcmp(path, "Endpoint") == 0)
		keep(&e->endpoint, text);
	return 0;
}

int
s3_xml_error(const char *p, size_t n, struct s3_xml_error *out)
{
	int ret = s3_xml_parse(p, n, "Error", error_fn, out);

	if (ret == 0 && !out->code)
		ret = -EPROTO;
	if (ret < 0)
		s3_xml_error_release(out);
	return ret;
}

void
s3_xml_error_release(struct s3_xml_error *e)
{
	free(e->code);
	free(e->message);
	free(e->region);
	free(e->endpoint);
	memset(e, 0, sizeof(*e));
}

/* --- ListObjectsV2 --------------------------------------------------------- */

struct list {
	s3_xml_entry_fn *fn;
	void *arg;
	struct s3_xml_list *out;
	char *key, *etag;
	bool bad;
	uint64_t size;
	struct timespec modified;
	/* Entries wait for EncodingType, which may stand behind them. */
	bool url;
};

static void
list_reset(struct list *l)
{
	free(l->key);
	free(l->etag);
	l->key = l->etag = NULL;
	l->bad = false;
	l->size = 0;
	memset(&l->modified, 0, sizeof(l->modified));
}

static int
list_emit(struct list *l, bool prefix)
{
	struct s3_xml_entry e = { .prefix = prefix, .size = l->size,
				  .modified = l->modified };
	int ret = 0;

	if (!l->key || l->bad || (l->url && !s3_uri_decode(l->key))) {
		l->out->bad++;
	} else {
		e.key = l->key;
		e.etag = l->etag ? l->etag : "";
		ret = l->fn(l->arg, &e);
	}
	list_reset(l);
	return ret;
}

static bool
parse_size(const char *s, uint64_t *out)
{
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*out = strtoull(s, &end, 10);
	return errno == 0 && *end == '\0' && *out <= INT64_MAX;
}

static int
list_fn(void *arg, const char *path, const char *text)
{
	struct list *l = arg;

	if (strcmp(path, "Contents") == 0)
		return list_emit(l, false);
	if (strcmp(path, "CommonPrefixes") == 0)
		return list_emit(l, true);
	if (strcmp(path, "Contents/Key") == 0 ||
	    strcmp(path, "CommonPrefixes/Prefix") == 0) {
		keep(&l->key, text);
	} else if (strcmp(path, "Contents/ETag") == 0) {
		keep(&l->etag, text);
		s3_etag_bare(l->etag);
	} else if (strcmp(path, "Contents/Size") == 0) {
		l->bad |= !parse_size(text, &l->size);
	} else if (strcmp(path, "Contents/LastModified") == 0) {
		if (!s3_time_iso(text, &l->modified))
			memset(&l->modified, 0, sizeof(l->modified));
	} else if (strcmp(path, "IsTruncated") == 0) {
		l->out->truncated = strcmp(text, "true") == 0;
	} else if (strcmp(path, "NextContinuationToken") == 0) {
		keep(&l->out->next, text);
	}
	return 0;
}

static int
encoding_fn(void *arg, const char *path, const char *text)
{
	if (strcmp(path, "EncodingType") == 0)
		*(bool *)arg = strcmp(text, "url") == 0;
	return 0;
}

int
s3_xml_list(const char *p, size_t n, s3_xml_entry_fn *fn, void *arg,
	    struct s3_xml_list *out)
{
	struct list l = { .fn = fn, .arg = arg, .out = out };
	int ret;

	/* The first pass also keeps a page that ends early from being half
	 * believed. */
	ret = s3_xml_parse(p, n, "ListBucketResult", encoding_fn, &l.url);
	if (ret == 0)
		ret = s3_xml_parse(p, n, "ListBucketResult", list_fn, &l);
	list_reset(&l);
	if (ret == 0 && out->truncated && (!out->next || !*out->next))
		ret = -EPROTO;
	if (ret != 0)
		s3_xml_list_release(out);
	return ret;
}

void
s3_xml_list_release(struct s3_xml_list *l)
{
	free(l->next);
	l->next = NULL;
}

/* --- ListMultipartUploads -------------------------------------------------- */

struct uploads {
	s3_xml_upload_fn *fn;
	void *arg;
	struct s3_xml_uploads *out;
	char *key, *id;
	struct timespec begun;
};

/* Some servers encode when they are asked to, but do not say so (RGW); one that
 * does not encode has few keys that look as if it did. */
static void
decode_likely(char **key)
{
	char *copy = xstrdup(*key);

	if (s3_uri_decode(copy)) {
		free(*key);
		*key = copy;
	} else {
		free(copy);
	}
}

static int
upload_emit(struct uploads *l)
{
	int ret = 0;

	if (l->key && l->id && *l->id) {
		decode_likely(&l->key);
		const struct s3_xml_upload u = { l->key, l->id, l->begun };

		ret = l->fn(l->arg, &u);
	}
	free(l->key);
	free(l->id);
	l->key = l->id = NULL;
	memset(&l->begun, 0, sizeof(l->begun));
	return ret;
}

static int
uploads_fn(void *arg, const char *path, const char *text)
{
	struct uploads *l = arg;

	if (strcmp(path, "Upload") == 0)
		return upload_emit(l);
	if (strcmp(path, "Upload/Key") == 0) {
		keep(&l->key, text);
	} else if (strcmp(path, "Upload/UploadId") == 0) {
		keep(&l->id, text);
	} else if (strcmp(path, "Upload/Initiated") == 0) {
		if (!s3_time_iso(text, &l->begun))
			memset(&l->begun, 0, sizeof(l->begun));
	} else if (strcmp(path, "IsTruncated") == 0) {
		l->out->truncated = strcmp(text, "true") == 0;
	} else if (strcmp(path, "NextKeyMarker") == 0) {
		keep(&l->out->next_key, text);
	} else if (strcmp(path, "NextUploadIdMarker") == 0) {
		keep(&l->out->next_id, text);
	}
	return 0;
}

int
s3_xml_uploads(const char *p, size_t n, s3_xml_upload_fn *fn, void *arg,
	       struct s3_xml_uploads *out)
{
	static const char root[] = "ListMultipartUploadsResult";
	struct uploads l = { .fn = fn, .arg = arg, .out = out };
	int ret = s3_xml_parse(p, n, root, uploads_fn, &l);

	free(l.key);
	free(l.id);
	if (ret == 0 && out->truncated &&
	    (!out->next_key || !*out->next_key || !out->next_id))
		ret = -EPROTO;
	if (ret == 0 && out->truncated)
		decode_likely(&out->next_key);
	if (ret != 0)
		s3_xml_uploads_release(out);
	return ret;
}

void
s3_xml_uploads_release(struct s3_xml_uploads *l)
{
	free(l->next_key);
	free(l->next_id);
	l->next_key = l->next_id = NULL;
}

/* --- one text -------------------------------------------------------------- */

struct text {
	const char *path;
	char *found;
};

static int
text_fn(void *arg, const char *path, const char *text)
{
	struct text *t = arg;

	if (strcmp(path, t->path) == 0)
		keep(&t->found, text);
	return 0;
}

int
s3_xml_text(const char *p, size_t n, const char *root, const char *path,
	    char **out)
{
	struct text t = { path, NULL };
	int ret = s3_xml_parse(p, n, root, text_fn, &t);

	if (ret < 0) {
		free(t.found);
		return ret;
	}
	*out = t.found;
	return 0;
}
