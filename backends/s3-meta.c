/* SPDX-License-Identifier: MIT */
/* See s3-meta.h. */
#include <config.h>

#include "backends/s3-meta.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/random.h>
#include <xxhash.h>

#include "backends/s3-xml.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

/* --- lists of headers ------------------------------------------------------- */

void
s3_fields_add(struct s3_fields *f, const char *name, const char *value)
{
	if (f->n == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 8;
		f->v = xrealloc(f->v, f->cap, sizeof(*f->v));
	}
	f->v[f->n].name = xstrdup(name);
	f->v[f->n].value = xstrdup(value);
	f->n++;
}

void
s3_fields_addf(struct s3_fields *f, const char *name, const char *fmt, ...)
{
	_cleanup_free_ char *value = NULL;
	va_list ap;

	va_start(ap, fmt);
	value = xvasprintf(fmt, ap);
	va_end(ap);
	s3_fields_add(f, name, value);
}

const char *
s3_fields_get(const struct s3_fields *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->v[i].name, name) == 0)
			return f->v[i].value;
	return NULL;
}

void
s3_fields_release(struct s3_fields *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->v[i].name);
		free(f->v[i].value);
	}
	free(f->v);
	memset(f, 0, sizeof(*f));
}

/* --- struct s3_head ---------------------------------------------------------- */

time_t
s3_http_date(const char *s)
{
	time_t t = s ? curl_getdate(s, NULL) : -1;

	return t < 0 ? 0 : t;
}

bool
s3_etag_is_md5(const char *etag)
{
	return strlen(etag) == 32 &&
	       strspn(etag, "0123456789abcdefABCDEF") == 32;
}

struct s3_head *
s3_head_new(const char *etag, uint64_t size, time_t modified, time_t date)
{
	struct s3_head *h = xcalloc(1, sizeof(*h));

	atomic_init(&h->refs, 1);
	h->etag = xstrdup(etag);
	h->size = size;
	h->modified = modified;
	h->date = date;
	return h;
}

/* Headers that are part of the object and that a replacement would lose. */
static bool
is_kept(const char *name)
{
	static const char *const system[] = {
		"content-type", "cache-control", "content-disposition",
		"content-encoding", "content-language", "expires",
		"x-amz-storage-class", "x-amz-website-redirect-location",
		NULL
	};

	if (strncmp(name, S3_META, strlen(S3_META)) == 0)
		return true;
	for (size_t i = 0; system[i]; i++)
		if (strcmp(name, system[i]) == 0)
			return true;
	return false;
}

struct s3_head *
s3_head_from(const struct s3_reply *r)
{
	const char *len = s3_reply_get(r, "content-length");
	const char *range = s3_reply_get(r, "content-range");
	const char *etag = s3_reply_get(r, "etag");
	const char *sse = s3_reply_get(r, "x-amz-server-side-encryption");
	unsigned long long size;
	struct s3_head *h;
	char *end;

	if (r->status == 206) {
		const char *slash = range ? strrchr(range, '/') : NULL;

		len = slash ? slash + 1 : NULL;
	}
	if (!len || !isdigit((unsigned char)*len) || !etag)
		return NULL;
	errno = 0;
	size = strtoull(len, &end, 10);
	if (errno || *end || size > INT64_MAX)
		return NULL;
	h = s3_head_new(etag, size, s3_http_date(s3_reply_get(r, "last-modified")),
			s3_http_date(s3_reply_get(r, "date")));
	s3_etag_bare(h->etag);
	if (strlen(h->etag) > BE_VER_MAX || !*h->etag) {
		s3_head_put(h);
		return NULL;
	}
	h->opaque = (sse && strcmp(sse, "AES256") != 0) ||
		    s3_reply_get(r, "x-amz-server-side-encryption-customer-"
				    "algorithm");
	for (size_t i = 0; i < r->nh; i++)
		if (is_kept(r->h[i].name))
			s3_fields_add(&h->keep, r->h[i].name, r->h[i].value);
	return h;
}

struct s3_head *
s3_head_ref(struct s3_head *h)
{
	if (h)
		atomic_fetch_add(&h->refs, 1);
	return h;
}

void
s3_head_put(struct s3_head *h)
{
	if (!h || atomic_fetch_sub(&h->refs, 1) != 1)
		return;
	free(h->etag);
	s3_fields_release(&h->keep);
	free(h);
}

bool
s3_head_has_op(const struct s3_head *h, const struct be_opid *id)
{
	const char *op = s3_fields_get(&h->keep, S3_META_OP);

	return op && id->s[0] && strcmp(op, id->s) == 0;
}

/* --- numbers from the net ----------------------------------------------------- */

static bool
parse_number(const char *s, int base, uint64_t max, uint64_t *out)
{
	unsigned long long v;
	char *end;

	if (!s || !isdigit((unsigned char)*s))
		return false;
	errno = 0;
	v = strtoull(s, &end, base);
	if (errno || *end || v > max)
		return false;
	*out = v;
	return true;
}

/* A year that ext4 and friends can hold, so that nothing overflows later. */
#define SEC_MAX INT64_C(100000000000)

/* "SEC" or "SEC.FRACTION" */
static bool
parse_seconds(const char *s, struct timespec *out)
{
	long long sec;
	long ns = 0, unit = 100000000;
	char *end;

	if (!s || !(isdigit((unsigned char)*s) ||
		    (*s == '-' && isdigit((unsigned char)s[1]))))
		return false;
	errno = 0;
	sec = strtoll(s, &end, 10);
	if (errno || sec > SEC_MAX || sec < -SEC_MAX)
		return false;
	if (*end == '.')
		for (end++; isdigit((unsigned char)*end); end++) {
			ns += (*end - '0') * unit;
			unit /= 10;
		}
	if (*end)
		return false;
	out->tv_sec = sec;
	out->tv_nsec = ns;
	return true;
}

/* AWS's: "123ns", or milliseconds. */
static bool
parse_aws_time(const char *s, struct timespec *out)
{
	int64_t unit = 1000, v;
	char *end;

	if (!s || !(isdigit((unsigned char)*s) || *s == '-'))
		return false;
	errno = 0;
	v = strtoll(s, &end, 10);
	if (strcmp(end, "ns") == 0)
		unit = 1000000000;
	else if (*end && strcmp(end, "ms") != 0)
		return false;
	if (errno || v / unit > SEC_MAX || v / unit < -SEC_MAX)
		return false;
	out->tv_sec = v / unit;
	out->tv_nsec = (v % unit) * (1000000000 / unit);
	if (out->tv_nsec < 0) {
		out->tv_sec--;
		out->tv_nsec += 1000000000;
	}
	return true;
}

static const char *
meta(const struct s3_head *h, const char *name)
{
	for (size_t i = 0; i < h->keep.n; i++)
		if (strncmp(h->keep.v[i].name, S3_META, strlen(S3_META)) == 0 &&
		    strcmp(h->keep.v[i].name + strlen(S3_META), name) == 0)
			return h->keep.v[i].value;
	return NULL;
}

static bool
get_mode(const struct s3_head *h, mode_t *out)
{
	uint64_t v;

	if (!parse_number(meta(h, "mode"), 0, 0177777, &v) &&
	    !parse_number(meta(h, "file-permissions"), 8, 0177777, &v) &&
	    !parse_number(meta(h, "permissions"), 0, 0177777, &v) &&
	    !parse_number(meta(h, "goog-reserved-posix-mode"), 8, 0177777, &v))
		return false;
	*out = v;
	return true;
}

static bool
get_id(const struct s3_head *h, const char *const names[], uint32_t *out)
{
	uint64_t v;

	for (size_t i = 0; names[i]; i++)
		/* the highest means "none" to the kernel */
		if (parse_number(meta(h, names[i]), 10, UINT32_MAX - 1, &v)) {
			*out = v;
			return true;
		}
	return false;
}

static bool
get_time(const struct s3_head *h, const char *s3fs, const char *aws,
	 const char *goog, struct timespec *out)
{
	return parse_seconds(meta(h, s3fs), out) ||
	       (aws && parse_aws_time(meta(h, aws), out)) ||
	       (goog && parse_seconds(meta(h, goog), out));
}

/* --- attributes ---------------------------------------------------------------- */

uint64_t
s3_meta_aver(const char *etag, time_t modified, time_t date)
{
	char text[BE_VER_MAX + 32];
	uint64_t v;
	int n;

	/* Two changes within one second look alike (rule 12). */
	if (modified == 0 || date - modified < 2)
		return 0;
	n = snprintf(text, sizeof(text), "%s/%" PRId64, etag,
		     (int64_t)modified);
	v = XXH3_64bits(text, n);
	return v ? v : 1;
}

uint64_t
s3_meta_ino_of_key(const char *key)
{
	uint64_t v = XXH3_64bits(key, strlen(key));

	return v > 1 ? v : v + 2;
}

uint64_t
s3_meta_ino_new(void)
{
	uint64_t v = 0;

	while (v <= 1)
		if (getrandom(&v, sizeof(v), 0) != sizeof(v))
			v = 0;
	return v;
}

static uint64_t
get_ino(const struct s3_head *h, const char *key)
{
	const char *s = s3_fields_get(&h->keep, S3_META_INO);
	uint64_t v;

	if (s && strlen(s) == 16 && strspn(s, "0123456789abcdef") == 16) {
		v = strtoull(s, NULL, 16);
		if (v > 1)
			return v;
	}
	return s3_meta_ino_of_key(key);
}

static bool
is_dir_type(const struct s3_head *h)
{
	const char *t = s3_fields_get(&h->keep, "content-type");

	return t && (strncasecmp(t, S3_DIR_TYPE, strlen(S3_DIR_TYPE)) == 0 ||
		     strncasecmp(t, "httpd/unix-directory", 20) == 0);
}

/* The type: by the key, the content type, then the mode. */
static mode_t
get_type(const struct s3_head *h, const char *key, mode_t mode)
{
	size_t n = strlen(key);

	if ((n && key[n - 1] == '/') || strcmp(key, ".sharedfs-root") == 0 ||
	    n == 0)
		return S_IFDIR;
	if (h->size == 0 && (is_dir_type(h) || S_ISDIR(mode)))
		return S_IFDIR;
	/* A target is never longer than a path may be. */
	if (S_ISLNK(mode) && h->size > 0 && h->size < 4096)
		return S_IFLNK;
	if ((S_ISFIFO(mode) || S_ISSOCK(mode)) && h->size == 0)
		return mode & S_IFMT;
	return S_IFREG; /* devices of a store are plain files */
}

void
s3_meta_attr(const struct s3_meta_config *c, const struct s3_head *h,
	     const char *key, struct be_attr *out)
{
	static const char *const uids[] = { "uid", "file-owner", "owner",
					    "goog-reserved-posix-uid", NULL };
	static const char *const gids[] = { "gid", "file-group", "group",
					    "goog-reserved-posix-gid", NULL };
	const struct timespec modified = { .tv_sec = h->modified };
	mode_t mode = 0, type;
	bool has_mode = get_mode(h, &mode);

	memset(out, 0, sizeof(*out));
	type = get_type(h, key, mode);
	if (!has_mode)
		mode = (type == S_IFDIR ? 0777 : 0666) & ~c->umask;
	/* A store can't make a program run as somebody else. */
	mode &= type == S_IFDIR ? 07777 : 01777;
	if (type == S_IFLNK)
		mode = 0777;
	out->mode = type | mode;
	out->uid = c->uid;
	out->gid = c->gid;
	get_id(h, uids, &out->uid);
	get_id(h, gids, &out->gid);
	out->nlink = 1;
	out->size = type == S_IFDIR ? 0 : h->size;
	out->blocks = (out->size + 511) / 512;
	out->ino = get_ino(h, key);
	out->mtime = modified;
	get_time(h, "mtime", "file-mtime", "goog-reserved-file-mtime",
		 &out->mtime);
	out->ctime = h->modified ? modified : out->mtime;
	get_time(h, "ctime", NULL, NULL, &out->ctime);
	out->atime = out->mtime;
	get_time(h, "atime", "file-atime", NULL, &out->atime);
	be_ver_set(&out->ver, h->etag, strlen(h->etag));
	out->aver = s3_meta_aver(h->etag, h->modified, h->date);
}

void
s3_meta_implicit(const struct s3_meta_config *c, const char *key,
		 struct be_attr *out)
{
	memset(out, 0, sizeof(*out));
	out->mode = S_IFDIR | (0777 & ~c->umask);
	out->uid = c->uid;
	out->gid = c->gid;
	out->nlink = 1;
	out->ino = s3_meta_ino_of_key(key);
	out->flags = BE_ATTR_IMPLICIT;
}

/* --- and back -------------------------------------------------------------------- */

/* Keys that s3_meta_put writes itself. */
static bool
is_ours(const char *name)
{
	static const char *const ours[] = {
		"mode", "uid", "gid", "mtime", "ctime", "atime",
		"file-permissions", "file-owner", "file-group", "file-mtime",
		"file-atime", "sharedfs-op", "sharedfs-ino", "xattr",
		"permissions", "owner", "group", "goog-reserved-posix-mode",
		"goog-reserved-posix-uid", "goog-reserved-posix-gid",
		"goog-reserved-file-mtime", NULL
	};

	if (strncmp(name, S3_META, strlen(S3_META)) != 0)
		return false;
	name += strlen(S3_META);
	for (size_t i = 0; ours[i]; i++)
		if (strcmp(name, ours[i]) == 0)
			return true;
	return false;
}

/* What other tools say about the bytes: wrong when these change. */
static bool
is_about_data(const char *name)
{
	static const char *const data[] = {
		"content-encoding", S3_META "md5chksum", S3_META "md5-hash",
		S3_META "s3cmd-attrs", S3_META "s3b-last-modified",
		S3_META "sha256", NULL
	};

	for (size_t i = 0; data[i]; i++)
		if (strcmp(name, data[i]) == 0)
			return true;
	return false;
}

static void
add_seconds(struct s3_fields *f, const char *name, struct timespec t)
{
	if (t.tv_nsec == UTIME_OMIT)
		return;
	if (t.tv_nsec)
		s3_fields_addf(f, name, "%" PRId64 ".%09ld", (int64_t)t.tv_sec,
			       t.tv_nsec);
	else
		s3_fields_addf(f, name, "%" PRId64, (int64_t)t.tv_sec);
}

static void
add_aws_time(struct s3_fields *f, const char *name, struct timespec t)
{
	int64_t max = INT64_MAX / 1000000000 - 1;

	if (t.tv_sec > max || t.tv_sec < -max || t.tv_nsec == UTIME_OMIT)
		return;
	s3_fields_addf(f, name, "%" PRId64 "ns",
		       (int64_t)t.tv_sec * 1000000000 + t.tv_nsec);
}

int
s3_meta_put(const struct s3_meta_config *c, const struct be_attr *a,
	    const struct s3_head *old, bool new_data, const char *xattr,
	    const struct be_opid *op, struct s3_fields *out)
{
	uint64_t ino = a->ino;
	size_t bytes = 0;

	for (size_t i = 0; old && i < old->keep.n; i++) {
		const struct s3_field *f = &old->keep.v[i];

		if (!is_ours(f->name) && !(new_data && is_about_data(f->name)))
			s3_fields_add(out, f->name, f->value);
	}
	if (c->posix == S3_POSIX_BOTH || c->posix == S3_POSIX_S3FS) {
		s3_fields_addf(out, S3_META "mode", "%u", (unsigned)a->mode);
		s3_fields_addf(out, S3_META "uid", "%u", (unsigned)a->uid);
		s3_fields_addf(out, S3_META "gid", "%u", (unsigned)a->gid);
		add_seconds(out, S3_META "mtime", a->mtime);
		add_seconds(out, S3_META "ctime", a->ctime);
		add_seconds(out, S3_META "atime", a->atime);
	}
	if (c->posix == S3_POSIX_BOTH || c->posix == S3_POSIX_AWS) {
		s3_fields_addf(out, S3_META "file-permissions", "%07o",
			       (unsigned)a->mode);
		s3_fields_addf(out, S3_META "file-owner", "%u",
			       (unsigned)a->uid);
		s3_fields_addf(out, S3_META "file-group", "%u",
			       (unsigned)a->gid);
		add_aws_time(out, S3_META "file-mtime", a->mtime);
	}
	if (c->posix == S3_POSIX_AWS)
		add_aws_time(out, S3_META "file-atime", a->atime);
	if (ino <= 1)
		ino = s3_meta_ino_new();
	s3_fields_addf(out, S3_META_INO, "%016" PRIx64, ino);
	if (op && op->s[0])
		s3_fields_add(out, S3_META_OP, op->s);
	if (!xattr && old)
		xattr = s3_fields_get(&old->keep, S3_META_XATTR);
	if (xattr && *xattr)
		s3_fields_add(out, S3_META_XATTR, xattr);
	for (size_t i = 0; i < out->n; i++)
		if (strncmp(out->v[i].name, S3_META, strlen(S3_META)) == 0)
			bytes += strlen(out->v[i].name) - strlen(S3_META) +
				 strlen(out->v[i].value);
	return bytes > S3_META_MAX ? -ENOSPC : 0;
}

const char *
s3_content_type(const char *path)
{
	static const struct {
		const char *ext, *type;
	} table[] = {
		{ "html", "text/html" }, { "htm", "text/html" },
		{ "css", "text/css" }, { "js", "text/javascript" },
		{ "mjs", "text/javascript" }, { "txt", "text/plain" },
		{ "md", "text/markdown" }, { "csv", "text/csv" },
		{ "xml", "application/xml" }, { "json", "application/json" },
		{ "pdf", "application/pdf" }, { "zip", "application/zip" },
		{ "gz", "application/gzip" }, { "tar", "application/x-tar" },
		{ "wasm", "application/wasm" }, { "jpg", "image/jpeg" },
		{ "jpeg", "image/jpeg" }, { "png", "image/png" },
		{ "gif", "image/gif" }, { "webp", "image/webp" },
		{ "avif", "image/avif" }, { "svg", "image/svg+xml" },
		{ "ico", "image/vnd.microsoft.icon" },
		{ "bmp", "image/bmp" }, { "tif", "image/tiff" },
		{ "tiff", "image/tiff" }, { "heic", "image/heic" },
		{ "mp3", "audio/mpeg" }, { "ogg", "audio/ogg" },
		{ "wav", "audio/wav" }, { "m4a", "audio/mp4" },
		{ "mp4", "video/mp4" }, { "webm", "video/webm" },
		{ "mov", "video/quicktime" }, { "avi", "video/x-msvideo" },
		{ "woff", "font/woff" }, { "woff2", "font/woff2" },
		{ "ttf", "font/ttf" }, { "otf", "font/otf" },
		{ "doc", "application/msword" },
		{ "docx", "application/vnd.openxmlformats-officedocument."
			  "wordprocessingml.document" },
		{ "xls", "application/vnd.ms-excel" },
		{ "xlsx", "application/vnd.openxmlformats-officedocument."
			  "spreadsheetml.sheet" },
		{ "ppt", "application/vnd.ms-powerpoint" },
		{ "pptx", "application/vnd.openxmlformats-officedocument."
			  "presentationml.presentation" },
	};
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');

	if (dot)
		for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
			if (strcasecmp(dot + 1, table[i].ext) == 0)
				return table[i].type;
	return "application/octet-stream";
}
