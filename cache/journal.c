/* SPDX-License-Identifier: MIT */
/* See journal.h: the files of the journal.  What is in them: journal-record.c,
 * journal-log.c. */
#include <config.h>

#include "cache/journal-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/store-priv.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "common/xalloc.h"

/* A record is written anew when its lines have become more than that. */
#define LINES_MAX 16384

void
journal_file(const char *name, const char *ending, char out[48])
{
	snprintf(out, 48, "%.40s%s", name, ending);
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
spare_write(struct store *s, const char *spare, const struct buf *text)
{
	_cleanup_close_ int fd = -1;
	int e;

	fd = openat(s->fd[DIR_JOURNAL], spare,
		    O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	e = io_write_all(fd, text->s, text->len, 0);
	/* Not to 0 first: ext4 would write it out when it is closed. */
	if (e == 0 && ftruncate(fd, (off_t)text->len) < 0)
		e = -errno;
	return e < 0 ? e : steal_fd(&fd);
}

/* The descriptor, or -errno: there was no spare, or it could not be used. */
static int
replace_by_spare(struct store *s, const char *file, const struct buf *text)
{
	_cleanup_close_ int fd = -1;
	unsigned long long n;
	char spare[48];
	int dir = s->fd[DIR_JOURNAL];

	if (!spare_take(s, &n))
		return -ENOENT;
	spare_name(n, spare);
	fd = spare_write(s, spare, text);
	if (fd >= 0 && renameat(dir, spare, dir, file) == 0)
		return steal_fd(&fd);
	unlinkat(dir, spare, 0);
	return -EIO;
}

static int
replace_by_new(struct store *s, const char *file, const struct buf *text)
{
	_cleanup_close_ int fd = -1;
	char temp[TEMP_NAME_MAX];
	int e;

	e = store_temp(s, DIR_FILES, "t", &fd, temp);
	if (e < 0)
		return e;
	e = io_write_all(fd, text->s, text->len, 0);
	if (e == 0 && renameat(s->fd[DIR_FILES], temp, s->fd[DIR_JOURNAL],
			       file) < 0)
		e = -errno;
	if (e < 0)
		unlinkat(s->fd[DIR_FILES], temp, 0);
	return e < 0 ? e : steal_fd(&fd);
}

static int
add(const char *p, size_t n, void *arg)
{
	buf_add(arg, p, n);
	return 0;
}

/* Makes journal/FILE hold j, in one step. */
static int
replace(struct store *s, const char *file, const json_t *j,
	struct journal_at *at)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	int fd;

	if (json_dump_callback(j, add, &text, JSON_COMPACT) < 0)
		return -EIO;
	buf_add(&text, "\n", 1);
	if (at->fd >= 0 && at->end + text.len <= LINES_MAX &&
	    io_write_all(at->fd, text.s, text.len, at->end) == 0) {
		at->end += text.len;
		return 0;
	}
	journal_close(at);
	fd = replace_by_spare(s, file, &text);
	if (fd < 0)
		fd = replace_by_new(s, file, &text);
	if (fd < 0) {
		store_failed(s, FAULT_WRITE, fd, "journal");
		return fd == -ENOSPC || fd == -EDQUOT ? -ENOSPC :
		       fd == -EROFS		      ? fd :
							-EIO;
	}
	at->fd = fd;
	at->end = text.len;
	return 0;
}

/* Of what is written once. */
static int
replace_once(struct store *s, const char *file, const json_t *j)
{
	struct journal_at at = JOURNAL_AT_INIT;
	int e = replace(s, file, j, &at);

	journal_close(&at);
	return e;
}

void
journal_close(struct journal_at *at)
{
	if (at->fd >= 0)
		close(at->fd);
	at->fd = -1;
}

void
journal_boot_id(char out[STORE_BOOT_MAX])
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id",
				      O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, STORE_BOOT_MAX - 1);

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

bool
journal_this_boot(const struct journal_rec *r)
{
	char now[STORE_BOOT_MAX];

	journal_boot_id(now);
	return !r->boot || !*now || strcmp(now, r->boot) == 0;
}

static void
set_boot(struct store *s, json_t *j)
{
	if (*s->boot)
		json_object_set_new(j, "boot", json_string(s->boot));
}

/*
 * A record of a step that this daemon did not end.  After a loss of power it
 * may be one that was done, and dropped, and only the disk has forgotten that:
 * then it must not be done again, over what came since.
 */
static bool
is_of_this_boot(struct store *s, const char *file, const json_t *j,
		const char *what)
{
	const char *boot = json_string_value(json_object_get(j, "boot"));

	if (!boot || !*s->boot || strcmp(s->boot, boot) == 0)
		return true;
	log_warn("store", "%s: dropped, the host went down since: %s", s->dir,
		 what);
	unlinkat(s->fd[DIR_JOURNAL], file, 0);
	return false;
}

int
journal_put(struct store *s, const char *name, const struct journal_rec *r,
	    struct journal_at *at)
{
	_cleanup_json_ json_t *j = journal_encode(r);
	json_t *store = json_string(r->store ? r->store : s->id);
	char file[48];

	if (store)
		json_object_set_new(j, "store", store);
	json_object_set_new(j, "file", json_string(name));
	if (r->boot)
		json_object_set_new(j, "boot", json_string(r->boot));
	else
		set_boot(s, j);
	journal_file(name, ".j", file);
	return at ? replace(s, file, j, at) : replace_once(s, file, j);
}

void
journal_drop(struct store *s, const char *name, bool has_log)
{
	char file[48];

	journal_file(name, ".j", file);
	recycle(s, file);
	if (!has_log)
		return;
	journal_file(name, ".r", file);
	if (unlinkat(s->fd[DIR_JOURNAL], file, 0) < 0)
		store_failed(s, FAULT_WRITE, -errno, "journal");
}

bool
journal_has(struct store *s, const char *name)
{
	char file[48];

	journal_file(name, ".j", file);
	return faccessat(s->fd[DIR_JOURNAL], file, F_OK,
			 AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- reading ------------------------------------------------------------- */

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
				journal_drop(s, name, true);
			continue;
		}
		j = journal_load(s->fd[DIR_JOURNAL], e->d_name);
		if (j && journal_is_about(j, name) && journal_decode(j, &r)) {
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

/* --- moves --------------------------------------------------------------- */

int
journal_move_put(struct store *s, const struct be_opid *opid, const char *from,
		 const char *to)
{
	_cleanup_json_ json_t *j = json_object();
	char file[48];

	json_object_set_new(j, "format", json_integer(JOURNAL_FORMAT));
	journal_set_path(j, "from", from);
	journal_set_path(j, "to", to);
	set_boot(s, j);
	journal_file(opid->s, ".mv", file);
	return replace_once(s, file, j);
}

void
journal_move_drop(struct store *s, const struct be_opid *opid)
{
	char file[48];

	journal_file(opid->s, ".mv", file);
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
		_cleanup_free_ char *what = NULL;
		struct be_opid opid;

		if (!name || strlen(name) >= sizeof(opid.s))
			continue;
		memcpy(opid.s, name, strlen(name) + 1);
		j = journal_load(s->fd[DIR_JOURNAL], e->d_name);
		if (!j || !journal_get_path(j, "from", &from) ||
		    !journal_get_path(j, "to", &to)) {
			log_warn("store", "%s: journal record %s can't be read",
				 s->dir, e->d_name);
			continue;
		}
		what = xasprintf("the rename of \"%s\" to \"%s\"; if it was "
				 "not finished, rename again", from, to);
		if (is_of_this_boot(s, e->d_name, j, what))
			fn(arg, &opid, from, to);
	}
}

/* --- uploads -------------------------------------------------------------- */

static void
upload_file(const char *key, const char *id, char out[48])
{
	char name[20];

	snprintf(name, sizeof(name), "%016llx",
		 (unsigned long long)(XXH3_64bits(key, strlen(key)) ^
				      XXH3_64bits(id, strlen(id))));
	journal_file(name, ".up", out);
}

void
journal_upload_put(struct store *s, const char *key, const char *id)
{
	_cleanup_json_ json_t *j = json_object();
	char file[48];

	json_object_set_new(j, "format", json_integer(JOURNAL_FORMAT));
	journal_set_path(j, "key", key);
	json_object_set_new(j, "upload", json_string(id));
	json_object_set_new(j, "store", json_string(s->id));
	upload_file(key, id, file);
	replace_once(s, file, j);
}

void
journal_upload_drop(struct store *s, const char *key, const char *id)
{
	char file[48];

	upload_file(key, id, file);
	recycle(s, file);
}

void
journal_upload_scan(struct store *s,
		    void (*fn)(void *arg, const char *key, const char *id),
		    void *arg)
{
	_cleanup_closedir_ DIR *d = open_dir(s);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		_cleanup_free_ char *name = stem(e->d_name, ".up");
		_cleanup_json_ json_t *j = NULL;
		_cleanup_free_ char *key = NULL;
		const char *id, *store;

		if (!name)
			continue;
		j = journal_load(s->fd[DIR_JOURNAL], e->d_name);
		id = json_string_value(json_object_get(j, "upload"));
		store = json_string_value(json_object_get(j, "store"));
		if (!j || !id || !store || !journal_get_path(j, "key", &key))
			log_warn("store", "%s: journal record %s can't be read",
				 s->dir, e->d_name);
		else if (strcmp(store, s->id) == 0)
			fn(arg, key, id);
	}
}

/* --- changes of attributes ---------------------------------------------- */

int
journal_attr_put(struct store *s, const struct journal_attr *r)
{
	_cleanup_json_ json_t *j = journal_encode_attr(r);
	char file[48];

	set_boot(s, j);
	journal_file(r->id.s, ".at", file);
	return replace_once(s, file, j);
}

void
journal_attr_drop(struct store *s, const struct be_opid *id)
{
	char file[48];

	journal_file(id->s, ".at", file);
	recycle(s, file);
}

void
journal_attr_scan(struct store *s,
		  void (*fn)(void *arg, struct journal_attr *r), void *arg)
{
	_cleanup_closedir_ DIR *d = open_dir(s);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		_cleanup_json_ json_t *j = NULL;
		_cleanup_free_ char *name = stem(e->d_name, ".at");
		struct journal_attr r = { 0 };

		if (!name || strlen(name) >= sizeof(r.id.s))
			continue;
		memcpy(r.id.s, name, strlen(name) + 1);
		j = journal_load(s->fd[DIR_JOURNAL], e->d_name);
		if (!j || !journal_decode_attr(j, &r)) {
			log_warn("store", "%s: journal record %s can't be read",
				 s->dir, e->d_name);
		} else {
			_cleanup_free_ char *what =
				xasprintf("new attributes of \"%s\"", r.path);

			if (is_of_this_boot(s, e->d_name, j, what))
				fn(arg, &r);
		}
		free(r.path);
	}
}
