/* SPDX-License-Identifier: MIT */
/*
 * What is in the store already: a table in memory and a file of lines, which
 * are only appended, each with a checksum of its own.  Read again after a
 * kill -9 the file is complete but for a last half line; after a power cut it
 * may lack the last second, and what it lacks is found out by comparing.
 *
 *   S name value                a word for later runs
 *   K kind … path               the store has it
 *   D path                      the store has it no longer
 *   T temp | U temp             a temporary name is about to be made | is gone
 *   P opid ino path             path is about to get this content
 *   Q path                      it did not
 *
 * Words are divided by one blank; bytes that would disturb are %XX.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define FORMAT "1"
#define WORDS_MAX 16
#define ROOM_FOR_GARBAGE 10000 /* lines, before the file is written anew */

struct known {
	char *path; /* key */
	struct mig_rec rec;
	UT_hash_handle hh;
};
struct pended {
	char *path; /* key */
	struct mig_pending p;
	UT_hash_handle hh;
};
struct word {
	char *name, *value;
	UT_hash_handle hh;
};
struct inode { /* with more than one name */
	uint64_t ino;
	char **path;
	size_t n;
	UT_hash_handle hh;
};

struct mig_journal {
	pthread_mutex_t lock; /* all tables */
	struct known *known;
	struct pended *pended;
	struct word *words;
	struct word *temps; /* no value */
	struct inode *inodes;
	size_t beside; /* of known: with another name in the store */
	char *dir;
	int fd; /* O_APPEND; holds the flock */
	bool is_new;
	size_t lines;
	atomic_bool unsynced;
	atomic_int error; /* a write failed: the run must end */
};

void
mig_rec_release(struct mig_rec *r)
{
	free(r->as);
	r->as = NULL;
}

static struct mig_rec
rec_copy(const struct mig_rec *r)
{
	struct mig_rec c = *r;

	c.as = r->as ? xstrdup(r->as) : NULL;
	return c;
}

/* --- lines ----------------------------------------------------------------- */

static void
add_word(struct buf *b, const char *s)
{
	if (b->len)
		buf_addch(b, ' ');
	if (!*s)
		buf_addch(b, '%'); /* the empty word */
	for (; *s; s++) {
		unsigned char c = *s;

		if (c <= ' ' || c == '%' || c >= 0x7f)
			buf_addf(b, "%%%02x", c);
		else
			buf_addch(b, c);
	}
}

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* In place. */
static bool
decode(char *s)
{
	char *to = s;

	if (strcmp(s, "%") == 0) {
		*s = '\0';
		return true;
	}
	for (; *s; s++) {
		if (*s == '%') {
			if (hex(s[1]) < 0 || hex(s[2]) < 0)
				return false;
			*to++ = (char)(hex(s[1]) * 16 + hex(s[2]));
			s += 2;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
	return true;
}

static void
append(struct mig_journal *j, struct buf *b)
{
	uint32_t sum = XXH32(b->s, b->len, 0);
	ssize_t n;

	buf_addf(b, " %08x\n", sum);
	do
		n = write(j->fd, b->s, b->len);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)b->len)
		atomic_store(&j->error, n < 0 ? errno : ENOSPC);
	atomic_store(&j->unsynced, true);
}

static void
line_of_rec(struct buf *b, const char *path, const struct mig_rec *r)
{
	XXH128_canonical_t c;
	char ver[BE_VER_MAX + 1];

	buf_addf(b, "K %c %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64
		    " %o %u %u ",
		 r->kind, r->ino, r->size, r->mtime, r->ctime, r->mode, r->uid,
		 r->gid);
	XXH128_canonicalFromHash(&c, r->hash);
	for (size_t i = 0; i < sizeof(c.digest); i++)
		buf_addf(b, "%02x", c.digest[i]);
	memcpy(ver, r->ver.b, r->ver.len);
	ver[r->ver.len] = '\0';
	add_word(b, ver);
	buf_addf(b, " %" PRIu64 " %x", r->store_ino, r->flags);
	add_word(b, path);
	if (r->as)
		add_word(b, r->as);
}

static bool
number(const char *s, int base, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(s, &end, base);
	return !errno && end != s && !*end;
}

/* w[1…]: as line_of_rec wrote them. */
static bool
rec_of_words(char **w, size_t n, struct mig_rec *r)
{
	uint64_t v[10];
	XXH128_canonical_t c;

	memset(r, 0, sizeof(*r));
	if (n < 14 || strlen(w[1]) != 1 || strlen(w[9]) != 32)
		return false;
	r->kind = w[1][0];
	if (!number(w[2], 10, &v[0]) || !number(w[3], 10, &v[1]) ||
	    !number(w[4], 10, &v[2]) || !number(w[5], 10, &v[3]) ||
	    !number(w[6], 8, &v[4]) || !number(w[7], 10, &v[5]) ||
	    !number(w[8], 10, &v[6]) || !number(w[11], 10, &v[7]) ||
	    !number(w[12], 16, &v[8]))
		return false;
	for (size_t i = 0; i < 16; i++) {
		int a = hex(w[9][2 * i]), d = hex(w[9][2 * i + 1]);

		if (a < 0 || d < 0)
			return false;
		c.digest[i] = a * 16 + d;
	}
	r->ino = v[0];
	r->size = v[1];
	r->mtime = (int64_t)v[2];
	r->ctime = (int64_t)v[3];
	r->mode = v[4];
	r->uid = v[5];
	r->gid = v[6];
	r->hash = XXH128_hashFromCanonical(&c);
	be_ver_set(&r->ver, w[10], strlen(w[10]));
	r->store_ino = v[7];
	r->flags = v[8];
	if (n > 14)
		r->as = w[14];
	return true;
}

/* --- tables ---------------------------------------------------------------- */

static void
inode_forget_locked(struct mig_journal *j, uint64_t ino, const char *path)
{
	struct inode *i;

	HASH_FIND(hh, j->inodes, &ino, sizeof(ino), i);
	for (size_t n = 0; i && n < i->n; n++) {
		if (strcmp(i->path[n], path) == 0) {
			free(i->path[n]);
			i->path[n] = i->path[--i->n];
			break;
		}
	}
}

static void
inode_add_locked(struct mig_journal *j, uint64_t ino, const char *path)
{
	struct inode *i;

	HASH_FIND(hh, j->inodes, &ino, sizeof(ino), i);
	if (!i) {
		i = xcalloc(1, sizeof(*i));
		i->ino = ino;
		HASH_ADD(hh, j->inodes, ino, sizeof(i->ino), i);
	}
	i->path = xrealloc(i->path, i->n + 1, sizeof(*i->path));
	i->path[i->n++] = xstrdup(path);
}

static void
unpend_locked(struct mig_journal *j, const char *path)
{
	struct pended *p;

	HASH_FIND_STR(j->pended, path, p);
	if (p) {
		HASH_DEL(j->pended, p);
		free(p->path);
		free(p);
	}
}

static void
set_locked(struct mig_journal *j, const char *path, const struct mig_rec *r)
{
	struct known *k;

	HASH_FIND_STR(j->known, path, k);
	if (!k) {
		k = xcalloc(1, sizeof(*k));
		k->path = xstrdup(path);
		HASH_ADD_KEYPTR(hh, j->known, k->path, strlen(k->path), k);
	} else {
		if (k->rec.kind == 'f')
			inode_forget_locked(j, k->rec.ino, path);
		j->beside -= k->rec.as != NULL;
		mig_rec_release(&k->rec);
	}
	k->rec = rec_copy(r);
	j->beside += r->as != NULL;
	if (r->flags & MIG_REC_LINKED)
		inode_add_locked(j, r->ino, path);
	unpend_locked(j, path);
	if (r->as)
		unpend_locked(j, r->as);
}

static void
del_locked(struct mig_journal *j, const char *path)
{
	struct known *k;

	HASH_FIND_STR(j->known, path, k);
	if (k) {
		HASH_DEL(j->known, k);
		if (k->rec.flags & MIG_REC_LINKED)
			inode_forget_locked(j, k->rec.ino, path);
		j->beside -= k->rec.as != NULL;
		mig_rec_release(&k->rec);
		free(k->path);
		free(k);
	}
	unpend_locked(j, path);
}

static void
word_set(struct word **table, const char *name, const char *value)
{
	struct word *w;

	HASH_FIND_STR(*table, name, w);
	if (w) {
		HASH_DEL(*table, w);
		free(w->name);
		free(w->value);
		free(w);
	}
	if (!value)
		return;
	w = xcalloc(1, sizeof(*w));
	w->name = xstrdup(name);
	w->value = xstrdup(value);
	HASH_ADD_KEYPTR(hh, *table, w->name, strlen(w->name), w);
}

static void
pend_locked(struct mig_journal *j, const char *path,
	    const struct mig_pending *p)
{
	struct pended *n;

	unpend_locked(j, path);
	n = xcalloc(1, sizeof(*n));
	n->path = xstrdup(path);
	n->p = *p;
	HASH_ADD_KEYPTR(hh, j->pended, n->path, strlen(n->path), n);
}

/* --- reading --------------------------------------------------------------- */

static bool
apply(struct mig_journal *j, char **w, size_t n)
{
	struct mig_pending p = { 0 };
	struct mig_rec r;

	if (strlen(w[0]) != 1)
		return false;
	switch (w[0][0]) {
	case 'S':
		if (n < 2)
			return false;
		word_set(&j->words, w[1], n > 2 ? w[2] : NULL);
		return true;
	case 'K':
		if (!rec_of_words(w, n, &r))
			return false;
		set_locked(j, w[13], &r);
		return true;
	case 'D':
		if (n < 2)
			return false;
		del_locked(j, w[1]);
		return true;
	case 'Q':
		if (n < 2)
			return false;
		unpend_locked(j, w[1]);
		return true;
	case 'T':
	case 'U':
		if (n < 2)
			return false;
		word_set(&j->temps, w[1], w[0][0] == 'T' ? "" : NULL);
		return true;
	case 'P':
		if (n < 4 || strlen(w[1]) >= sizeof(p.opid.s) ||
		    !number(w[2], 10, &p.ino))
			return false;
		memcpy(p.opid.s, w[1], strlen(w[1]) + 1);
		pend_locked(j, w[3], &p);
		return true;
	}
	return false;
}

static bool
read_line(struct mig_journal *j, char *line, size_t len)
{
	char *w[WORDS_MAX], *save = NULL;
	uint64_t sum;
	size_t n = 0;

	if (len < 10 || line[len - 9] != ' ' ||
	    !number(line + len - 8, 16, &sum))
		return false;
	line[len - 9] = '\0';
	if (XXH32(line, len - 9, 0) != (uint32_t)sum)
		return false;
	for (char *p = strtok_r(line, " ", &save); p && n < WORDS_MAX;
	     p = strtok_r(NULL, " ", &save)) {
		if (!decode(p))
			return false;
		w[n++] = p;
	}
	return n > 0 && apply(j, w, n);
}

static int
load(struct mig_journal *j, const char *path, size_t *bad, struct err *err)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	*bad = 0;
	if (!f)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	while ((n = getline(&line, &cap, f)) > 0) {
		if (line[n - 1] == '\n')
			line[--n] = '\0';
		if (!read_line(j, line, n))
			++*bad;
		j->lines++;
	}
	return ferror(f) ? err_set(err, -EIO, "%s: can't be read", path) : 0;
}

/* --- writing --------------------------------------------------------------- */

static int
write_anew(struct mig_journal *j, const char *path, struct err *err)
{
	_cleanup_free_ char *temp = xasprintf("%s.new", path);
	struct known *k, *kn;
	struct pended *p, *pn;
	struct word *w, *wn;
	int old = j->fd, fd;

	fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int code = -errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, code, "%s: %s", temp, strerror(-code));
	}
	j->fd = fd;
	HASH_ITER(hh, j->words, w, wn) {
		_cleanup_buf_ struct buf b = BUF_INIT;

		buf_addstr(&b, "S");
		add_word(&b, w->name);
		add_word(&b, w->value);
		append(j, &b);
	}
	HASH_ITER(hh, j->known, k, kn) {
		_cleanup_buf_ struct buf b = BUF_INIT;

		line_of_rec(&b, k->path, &k->rec);
		append(j, &b);
	}
	HASH_ITER(hh, j->temps, w, wn) {
		_cleanup_buf_ struct buf b = BUF_INIT;

		buf_addstr(&b, "T");
		add_word(&b, w->name);
		append(j, &b);
	}
	HASH_ITER(hh, j->pended, p, pn) {
		_cleanup_buf_ struct buf b = BUF_INIT;

		buf_addf(&b, "P %s %" PRIu64, p->p.opid.s, p->p.ino);
		add_word(&b, p->path);
		append(j, &b);
	}
	if (atomic_load(&j->error) || fdatasync(fd) < 0 ||
	    rename(temp, path) < 0) {
		int code = atomic_load(&j->error) ? -atomic_load(&j->error) :
						    -errno;

		close(fd);
		j->fd = old;
		return err_set(err, code, "%s: %s", temp, strerror(-code));
	}
	close(old);
	return 0;
}

/* --- life ------------------------------------------------------------------ */

static char *
state_dir(const struct mig_args *a, struct err *err)
{
	const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (a->state)
		return xstrdup(a->state);
	if (geteuid() == 0)
		return xstrdup("/var/lib/sharedfs/migrate");
	if (base && base[0] == '/')
		return xasprintf("%s/sharedfs/migrate", base);
	if (home && home[0] == '/')
		return xasprintf("%s/.local/state/sharedfs/migrate", home);
	err_set(err, -ENOENT, "no place for the journal: give --state=DIR");
	return NULL;
}

static int
make_dirs(char *path, struct err *err)
{
	for (char *p = path + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char c = *p;

		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return err_set(err, -errno, "make %s: %s", path,
				       strerror(errno));
		*p = c;
		if (!c)
			return 0;
	}
}

/* Will path, of which the end may not exist yet, be below dir? */
static bool
is_inside(const char *path, const char *dir)
{
	_cleanup_free_ char *up = xstrdup(path);
	size_t n = strlen(dir);

	for (;;) {
		_cleanup_free_ char *at = realpath(*up ? up : ".", NULL);
		char *slash = strrchr(up, '/');

		if (at)
			return strncmp(at, dir, n) == 0 &&
			       (at[n] == '/' || !at[n]);
		if (slash == up)
			return false;
		*(slash ? slash : up) = '\0';
	}
}

int
mig_journal_open(struct mig *m, const char *store_id, struct mig_journal **out,
		 struct err *err)
{
	_cleanup_free_ char *base = state_dir(m->a, err), *path = NULL;
	_cleanup_free_ char *dir = NULL, *there = NULL;
	struct mig_journal *j;
	size_t bad = 0;
	struct stat st;
	int r;

	if (!base)
		return -ENOENT;
	if (is_inside(base, m->dir))
		return err_set(err, -EINVAL,
			       "the journal can't be inside %s; give another "
			       "--state=DIR",
			       m->dir);
	r = make_dirs(base, err);
	if (r < 0)
		return r;
	there = realpath(base, NULL);
	dir = xasprintf("%s/%016llx", there ? there : base,
			(unsigned long long)XXH3_64bits_withSeed(
				store_id, strlen(store_id),
				XXH3_64bits(m->dir, strlen(m->dir))));
	r = make_dirs(dir, err);
	if (r < 0)
		return r;
	j = xcalloc(1, sizeof(*j));
	pthread_mutex_init(&j->lock, NULL);
	j->dir = steal_ptr(&dir);
	path = xasprintf("%s/journal", j->dir);
	j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
		     0600);
	if (j->fd < 0 || fstat(j->fd, &st) < 0) {
		r = err_set(err, -errno, "%s: %s", path, strerror(errno));
		goto fail;
	}
	if (flock(j->fd, LOCK_EX | LOCK_NB) < 0) {
		r = err_set(err, -EBUSY,
			    "another migrate-local-uploads of %s is running",
			    m->dir);
		goto fail;
	}
	j->is_new = st.st_size == 0;
	r = load(j, path, &bad, err);
	if (r < 0)
		goto fail;
	if (j->is_new) {
		mig_journal_set(j, "format", FORMAT);
		mig_journal_set(j, "dir", m->dir);
		mig_journal_set(j, "store", store_id);
	} else if (bad || j->lines > 2 * HASH_COUNT(j->known) +
					     ROOM_FOR_GARBAGE) {
		/* A half line would swallow the next one. */
		r = write_anew(j, path, err);
		if (r < 0)
			goto fail;
	}
	*out = j;
	return 0;
fail:
	mig_journal_close(j);
	return r;
}

void
mig_journal_close(struct mig_journal *j)
{
	struct known *k, *kn;
	struct pended *p, *pn;
	struct word *w, *wn;
	struct inode *i, *in;

	if (!j)
		return;
	HASH_ITER(hh, j->known, k, kn) {
		HASH_DEL(j->known, k);
		mig_rec_release(&k->rec);
		free(k->path);
		free(k);
	}
	HASH_ITER(hh, j->pended, p, pn) {
		HASH_DEL(j->pended, p);
		free(p->path);
		free(p);
	}
	HASH_ITER(hh, j->words, w, wn)
		word_set(&j->words, w->name, NULL);
	HASH_ITER(hh, j->temps, w, wn)
		word_set(&j->temps, w->name, NULL);
	HASH_ITER(hh, j->inodes, i, in) {
		HASH_DEL(j->inodes, i);
		for (size_t n = 0; n < i->n; n++)
			free(i->path[n]);
		free(i->path);
		free(i);
	}
	if (j->fd >= 0)
		close(j->fd);
	pthread_mutex_destroy(&j->lock);
	free(j->dir);
	free(j);
}

int
mig_journal_sync(struct mig_journal *j)
{
	if (atomic_exchange(&j->unsynced, false) && fdatasync(j->fd) < 0)
		return -errno;
	return -atomic_load(&j->error);
}

/* --- use ------------------------------------------------------------------- */

bool
mig_journal_is_new(const struct mig_journal *j)
{
	return j->is_new;
}

const char *
mig_journal_dir(const struct mig_journal *j)
{
	return j->dir;
}

bool
mig_journal_get(struct mig_journal *j, const char *path, struct mig_rec *out)
{
	struct known *k;

	pthread_mutex_lock(&j->lock);
	HASH_FIND_STR(j->known, path, k);
	if (k)
		*out = rec_copy(&k->rec);
	pthread_mutex_unlock(&j->lock);
	return k != NULL;
}

void
mig_journal_put(struct mig_journal *j, const char *path,
		const struct mig_rec *r)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	line_of_rec(&b, path, r);
	append(j, &b);
	pthread_mutex_lock(&j->lock);
	set_locked(j, path, r);
	pthread_mutex_unlock(&j->lock);
}

void
mig_journal_del(struct mig_journal *j, const char *path)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_addstr(&b, "D");
	add_word(&b, path);
	append(j, &b);
	pthread_mutex_lock(&j->lock);
	del_locked(j, path);
	pthread_mutex_unlock(&j->lock);
}

void
mig_journal_temp(struct mig_journal *j, const char *temp, bool there)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_addstr(&b, there ? "T" : "U");
	add_word(&b, temp);
	append(j, &b);
	pthread_mutex_lock(&j->lock);
	word_set(&j->temps, temp, there ? "" : NULL);
	pthread_mutex_unlock(&j->lock);
}

void
mig_journal_pend(struct mig_journal *j, const char *path,
		 const struct mig_pending *p)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_addf(&b, "P %s %" PRIu64, p->opid.s, p->ino);
	add_word(&b, path);
	append(j, &b);
	pthread_mutex_lock(&j->lock);
	pend_locked(j, path, p);
	pthread_mutex_unlock(&j->lock);
}

void
mig_journal_unpend(struct mig_journal *j, const char *path)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_addstr(&b, "Q");
	add_word(&b, path);
	append(j, &b);
	pthread_mutex_lock(&j->lock);
	unpend_locked(j, path);
	pthread_mutex_unlock(&j->lock);
}

bool
mig_journal_pending(struct mig_journal *j, const char *path,
		    struct mig_pending *out)
{
	struct pended *p;

	pthread_mutex_lock(&j->lock);
	HASH_FIND_STR(j->pended, path, p);
	if (p)
		*out = p->p;
	pthread_mutex_unlock(&j->lock);
	return p != NULL;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **
mig_journal_pendings(struct mig_journal *j, size_t *n)
{
	struct pended *p, *pn;
	char **v;

	pthread_mutex_lock(&j->lock);
	v = xcalloc(HASH_COUNT(j->pended) + 1, sizeof(*v));
	*n = 0;
	HASH_ITER(hh, j->pended, p, pn)
		v[(*n)++] = xstrdup(p->path);
	pthread_mutex_unlock(&j->lock);
	qsort(v, *n, sizeof(*v), by_name);
	return v;
}

char **
mig_journal_temps(struct mig_journal *j, size_t *n)
{
	struct word *w, *wn;
	char **v;

	pthread_mutex_lock(&j->lock);
	v = xcalloc(HASH_COUNT(j->temps) + 1, sizeof(*v));
	*n = 0;
	HASH_ITER(hh, j->temps, w, wn)
		v[(*n)++] = xstrdup(w->name);
	pthread_mutex_unlock(&j->lock);
	return v;
}

void
mig_journal_set(struct mig_journal *j, const char *name, const char *value)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_addstr(&b, "S");
	add_word(&b, name);
	if (value)
		add_word(&b, value);
	append(j, &b);
	pthread_mutex_lock(&j->lock);
	word_set(&j->words, name, value);
	pthread_mutex_unlock(&j->lock);
}

char *
mig_journal_value(struct mig_journal *j, const char *name)
{
	struct word *w;
	char *v;

	pthread_mutex_lock(&j->lock);
	HASH_FIND_STR(j->words, name, w);
	v = w ? xstrdup(w->value) : NULL;
	pthread_mutex_unlock(&j->lock);
	return v;
}

char **
mig_journal_paths(struct mig_journal *j, size_t *n)
{
	struct known *k, *kn;
	char **v;

	pthread_mutex_lock(&j->lock);
	v = xcalloc(HASH_COUNT(j->known) + 1, sizeof(*v));
	*n = 0;
	HASH_ITER(hh, j->known, k, kn)
		v[(*n)++] = xstrdup(k->path);
	pthread_mutex_unlock(&j->lock);
	qsort(v, *n, sizeof(*v), by_name);
	return v;
}

char **
mig_journal_below(struct mig_journal *j, const char *path, size_t *n)
{
	size_t len = strlen(path), cap = 0;
	struct known *k, *kn;
	char **v = NULL;

	*n = 0;
	pthread_mutex_lock(&j->lock);
	HASH_FIND_STR(j->known, path, k);
	/* Only a directory can have something below it. */
	if (k && k->rec.kind != 'd') {
		v = xcalloc(1, sizeof(*v));
		v[(*n)++] = xstrdup(path);
		k = NULL;
	} else if (k) {
		HASH_ITER(hh, j->known, k, kn) {
			if (strncmp(k->path, path, len) != 0 ||
			    (len && k->path[len] && k->path[len] != '/'))
				continue;
			if (*n == cap) {
				cap = cap ? 2 * cap : 64;
				v = xrealloc(v, cap, sizeof(*v));
			}
			v[(*n)++] = xstrdup(k->path);
		}
	}
	pthread_mutex_unlock(&j->lock);
	if (*n)
		qsort(v, *n, sizeof(*v), by_name);
	return v;
}

bool
mig_journal_has_beside(struct mig_journal *j)
{
	bool any;

	pthread_mutex_lock(&j->lock);
	any = j->beside > 0;
	pthread_mutex_unlock(&j->lock);
	return any;
}

char *
mig_journal_same_inode(struct mig_journal *j, const char *path, uint64_t ino)
{
	struct inode *i;
	char *v = NULL;

	pthread_mutex_lock(&j->lock);
	HASH_FIND(hh, j->inodes, &ino, sizeof(ino), i);
	for (size_t n = 0; i && n < i->n && !v; n++)
		if (strcmp(i->path[n], path) != 0)
			v = xstrdup(i->path[n]);
	pthread_mutex_unlock(&j->lock);
	return v;
}
