/* SPDX-License-Identifier: MIT */
/* See journal.h.  Bytes that JSON can't hold (names are no text) are in hex. */
#include <config.h>

#include "cache/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/store-priv.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

#define FORMAT 1
#define RECORD_MAX (64u << 20)

static const char *const states[] = {
	[JOURNAL_OPEN] = "open",
	[JOURNAL_SENDING] = "sending",
	[JOURNAL_FAILED] = "failed",
	[JOURNAL_JOINING] = "joining",
};
static const char *const pres[] = {
	[BE_ANY] = "any",
	[BE_ABSENT] = "absent",
	[BE_MATCH] = "match",
};

static void
cleanup_json(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

void
journal_rec_release(struct journal_rec *r)
{
	free(r->path);
	free(r->groups);
	free(r->dirty);
	free(r->words);
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

/* As text where it is text, else as NAME_hex. */
static void
set_path(json_t *j, const char *name, const char *path)
{
	json_t *text = json_string(path);
	char key[32];

	snprintf(key, sizeof(key), "%s_hex", name);
	if (text)
		json_object_set_new(j, name, text);
	else
		json_object_set_new(j, key, hex(path, strlen(path)));
}

static json_t *
encode(const struct journal_rec *r)
{
	json_t *j = json_object(), *words, *groups, *dirty;

	json_object_set_new(j, "format", json_integer(FORMAT));
	set_path(j, "path", r->path);
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

static void
record_file(const char *name, char out[48])
{
	snprintf(out, 48, "%.40s.j", name);
}

static void
log_file(const char *name, char out[48])
{
	snprintf(out, 48, "%.40s.r", name);
}

/*
 * Inodes of old records are used again.  Each staged file has a record for a
 * moment, and some file systems (ext4) are slow to make a file where many were
 * removed a moment ago.
 */
static void
spare_name(unsigned long long n, char out[48])
{
	snprintf(out, 48, "s%llx", n);
}

static bool
spare_take(struct store *s, unsigned long long *n)
{
	bool got;

	pthread_mutex_lock(&s->spare_lock);
	got = s->nspare > 0;
	if (got)
		*n = s->spare[--s->nspare];
	pthread_mutex_unlock(&s->spare_lock);
	return got;
}

static bool
spare_add(struct store *s, unsigned long long n)
{
	bool room;

	pthread_mutex_lock(&s->spare_lock);
	room = s->nspare < SPARE_MAX;
	if (room)
		s->spare[s->nspare++] = n;
	pthread_mutex_unlock(&s->spare_lock);
	return room;
}

/* journal/FILE is no record any more. */
static void
recycle(struct store *s, const char *file)
{
	unsigned long long n = atomic_fetch_add(&s->next_name, 1);
	char spare[48];

	spare_name(n, spare);
	if (renameat(s->fd[DIR_JOURNAL], file, s->fd[DIR_JOURNAL], spare) < 0)
		store_failed(s, FAULT_WRITE, -errno, "journal");
	else if (!spare_add(s, n))
		unlinkat(s->fd[DIR_JOURNAL], spare, 0);
}

/* A spare with the text in it, or -errno. */
static int
spare_write(struct store *s, const char *spare, const char *text)
{
	_cleanup_close_ int fd = -1;
	size_t len = strlen(text);
	int e;

	fd = openat(s->fd[DIR_JOURNAL], spare,
		    O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	e = store_write_all(fd, text, len);
	/* Not to 0 first: ext4 would write it out when it is closed. */
	return e == 0 && ftruncate(fd, (off_t)len) < 0 ? -errno : e;
}

/* false: there was no spare, or it could not be used. */
static bool
replace_by_spare(struct store *s, const char *file, const char *text)
{
	unsigned long long n;
	char spare[48];
	int dir = s->fd[DIR_JOURNAL];

	if (!spare_take(s, &n))
		return false;
	spare_name(n, spare);
	if (spare_write(s, spare, text) == 0) {
		/* The old record becomes the spare. */
		if (renameat2(dir, spare, dir, file, RENAME_EXCHANGE) == 0) {
			if (!spare_add(s, n))
				unlinkat(dir, spare, 0);
			return true;
		}
		if (renameat(dir, spare, dir, file) == 0)
			return true;
	}
	unlinkat(dir, spare, 0);
	return false;
}

/* Makes journal/FILE hold j, in one step. */
static int
replace(struct store *s, const char *file, const json_t *j)
{
	_cleanup_free_ char *text = json_dumps(j, JSON_INDENT(1));
	_cleanup_close_ int fd = -1;
	char temp[TEMP_NAME_MAX];
	int e;

	if (!text)
		return -EIO;
	if (replace_by_spare(s, file, text))
		return 0;
	e = store_temp(s, DIR_FILES, "t", &fd, temp);
	if (e == 0) {
		e = store_write_all(fd, text, strlen(text));
		if (e == 0 && renameat(s->fd[DIR_FILES], temp,
				       s->fd[DIR_JOURNAL], file) < 0)
			e = -errno;
		if (e < 0)
			unlinkat(s->fd[DIR_FILES], temp, 0);
	}
	if (e < 0) {
		store_failed(s, FAULT_WRITE, e, "journal");
		return e == -ENOSPC || e == -EDQUOT ? -ENOSPC :
		       e == -EROFS		    ? e :
						      -EIO;
	}
	return 0;
}

int
journal_put(struct store *s, const char *name, const struct journal_rec *r)
{
	_cleanup_json_ json_t *j = encode(r);
	char file[48];

	record_file(name, file);
	return replace(s, file, j);
}

void
journal_drop(struct store *s, const char *name)
{
	char file[48];

	record_file(name, file);
	recycle(s, file);
	log_file(name, file);
	if (unlinkat(s->fd[DIR_JOURNAL], file, 0) < 0)
		store_failed(s, FAULT_WRITE, -errno, "journal");
}

bool
journal_has(struct store *s, const char *name)
{
	char file[48];

	record_file(name, file);
	return faccessat(s->fd[DIR_JOURNAL], file, F_OK,
			 AT_SYMLINK_NOFOLLOW) == 0;
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
to_ino(const json_t *j, uint64_t *out)
{
	_cleanup_free_ char *p = NULL;
	size_t n;

	p = unhex(json_string_value(json_object_get(j, "ino")), &n);
	if (!p || n != sizeof(*out))
		return false;
	memcpy(out, p, n);
	return true;
}

static bool
to_path(const json_t *j, const char *name, char **out)
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

static bool
decode(const json_t *j, struct journal_rec *r)
{
	const char *opid = json_string_value(json_object_get(j, "opid"));
	const char *words = json_string_value(json_object_get(j, "error"));
	const json_t *whole = json_object_get(j, "whole");
	uint64_t v;
	int state, pre;

	memset(r, 0, sizeof(*r));
	if (!to_uint(j, "format", FORMAT, &v) || v != FORMAT ||
	    !to_path(j, "path", &r->path) ||
	    !to_name(j, "state", states, JOURNAL_JOINING + 1, &state) ||
	    !to_name(j, "if", pres, BE_MATCH + 1, &pre) ||
	    !to_u32(j, "uid", &r->uid) || !to_u32(j, "gid", &r->gid) ||
	    !to_groups(j, r) || !to_ver(j, "if_version", &r->cond.ver) ||
	    !to_ver(j, "base", &r->base) || !json_is_boolean(whole) ||
	    !to_uint(j, "base_size", INT64_MAX, &r->base_size) ||
	    !to_uint(j, "size", INT64_MAX, &r->size) || !to_dirty(j, r) ||
	    !to_u32(j, "mask", &r->mask) || !to_ino(j, &r->ino) || !to_u32(j, "mode", &r->mode) ||
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
	if (to_uint(j, "errno", 4095, &v))
		r->error = -(int)v;
	r->words = words ? xstrdup(words) : NULL;
	return true;
}

/* NULL: not a record. */
static json_t *
load(struct store *s, const char *file)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *p = NULL;
	struct stat st;
	ssize_t n;

	fd = openat(s->fd[DIR_JOURNAL], file,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size <= 0 || st.st_size > RECORD_MAX)
		return NULL;
	p = xmalloc((size_t)st.st_size);
	n = pread(fd, p, (size_t)st.st_size, 0);
	return n > 0 ? json_loadb(p, (size_t)n, 0, NULL) : NULL;
}

static DIR *
open_dir(struct store *s)
{
	int fd = openat(s->fd[DIR_JOURNAL], ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

/* The part of a file's name before its ending; caller frees.  NULL: another
 * ending. */
static char *
stem(const char *file, const char *ending)
{
	size_t len = strlen(file), end = strlen(ending);

	if (len <= end || strcmp(file + len - end, ending) != 0)
		return NULL;
	return xstrndup(file, len - end);
}

unsigned
journal_scan(struct store *s,
	     void (*fn)(void *arg, const char *name, struct journal_rec *r),
	     void *arg)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	unsigned bad = 0;

	d = open_dir(s);
	while (d && (e = readdir(d))) {
		_cleanup_json_ json_t *j = NULL;
		_cleanup_free_ char *name = stem(e->d_name, ".j");
		struct journal_rec r = { 0 };

		if (!name)
			continue;
		if (faccessat(s->fd[DIR_FILES], name, F_OK,
			      AT_SYMLINK_NOFOLLOW) < 0) {
			/* Dropped between the two unlinks. */
			if (errno == ENOENT)
				journal_drop(s, name);
			continue;
		}
		j = load(s, e->d_name);
		if (j && decode(j, &r)) {
			fn(arg, name, &r);
		} else {
			bad++;
			log_warn("store", "%s: journal record %s can't be "
				 "read; %s is left where it is", s->dir,
				 e->d_name, name);
		}
		journal_rec_release(&r);
	}
	return bad;
}

/* --- the log of a record ------------------------------------------------- */

int
journal_log_open(struct store *s, const char *name, int *fd)
{
	char file[48];

	log_file(name, file);
	*fd = openat(s->fd[DIR_JOURNAL], file,
		     O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*fd < 0) {
		store_failed(s, FAULT_WRITE, -errno, "journal");
		return -EIO;
	}
	return 0;
}

int
journal_log_set(int fd, uint64_t n, const struct journal_change *ch)
{
	ssize_t w = pwrite(fd, ch, sizeof(*ch), (off_t)(n * sizeof(*ch)));

	return w == (ssize_t)sizeof(*ch) ? 0 : w < 0 ? -errno : -ENOSPC;
}

int
journal_log_reset(int fd)
{
	return ftruncate(fd, 0) < 0 ? -errno : 0;
}

void
journal_log_read(struct store *s, const char *name,
		 void (*fn)(void *arg, const struct journal_change *ch),
		 void *arg)
{
	_cleanup_close_ int fd = -1;
	struct journal_change ch;
	char file[48];

	log_file(name, file);
	fd = openat(s->fd[DIR_JOURNAL], file,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	while (read(fd, &ch, sizeof(ch)) == (ssize_t)sizeof(ch)) {
		if (ch.size > INT64_MAX || ch.off > ch.size ||
		    ch.len > ch.size - ch.off || ch.clean_end > INT64_MAX)
			return; /* not ours */
		fn(arg, &ch);
	}
}

/* --- moves --------------------------------------------------------------- */

static void
move_file(const struct be_opid *opid, char out[48])
{
	snprintf(out, 48, "%.40s.mv", opid->s);
}

int
journal_move_put(struct store *s, const struct be_opid *opid, const char *from,
		 const char *to)
{
	_cleanup_json_ json_t *j = json_object();
	char file[48];

	json_object_set_new(j, "format", json_integer(FORMAT));
	set_path(j, "from", from);
	set_path(j, "to", to);
	move_file(opid, file);
	return replace(s, file, j);
}

void
journal_move_drop(struct store *s, const struct be_opid *opid)
{
	char file[48];

	move_file(opid, file);
	if (unlinkat(s->fd[DIR_JOURNAL], file, 0) < 0)
		store_failed(s, FAULT_WRITE, -errno, "journal");
}

void
journal_move_scan(struct store *s,
		  void (*fn)(void *arg, const struct be_opid *opid,
			     const char *from, const char *to),
		  void *arg)
{
	_cleanup_closedir_ DIR *d = open_dir(s);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		_cleanup_json_ json_t *j = NULL;
		_cleanup_free_ char *name = stem(e->d_name, ".mv");
		_cleanup_free_ char *from = NULL;
		_cleanup_free_ char *to = NULL;
		struct be_opid opid;

		if (!name || strlen(name) >= sizeof(opid.s))
			continue;
		memcpy(opid.s, name, strlen(name) + 1);
		j = load(s, e->d_name);
		if (j && to_path(j, "from", &from) && to_path(j, "to", &to))
			fn(arg, &opid, from, to);
		else
			log_warn("store", "%s: journal record %s can't be read",
				 s->dir, e->d_name);
	}
}
