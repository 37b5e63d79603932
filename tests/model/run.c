/* SPDX-License-Identifier: MIT */
/* See run.h. */
#include <config.h>

#include "tests/model/run.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

void
die(struct run *r, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "operation %u: %s\n", r->op, r->what);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr,
		"\nagain: model '%s' seed=%" PRIu64
		" ops=%u lost=%u faults=%u actimeo=%" PRId64
		" cto=%d verbose=1\n",
		r->url, r->seed, r->ops, r->lost, r->faults,
		r->actimeo_ns / NSEC_PER_MSEC, r->cto);
	fprintf(stderr, "cache: %s\n", r->dir);
	exit(1);
}

void
doing(struct run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->what, sizeof(r->what), fmt, ap);
	va_end(ap);
	if (r->verbose)
		fprintf(stderr, "%u %s\n", r->op, r->what);
}

void
must(struct run *r, const char *call, int ret)
{
	if (ret < 0)
		die(r, "%s: %s (%s)", call, strerror(-ret),
		    r->err.msg ? r->err.msg : "no words");
}

/* --- dice ----------------------------------------------------------------- */

uint64_t
dice(struct run *r, uint64_t below)
{
	r->dice ^= r->dice << 13;
	r->dice ^= r->dice >> 7;
	r->dice ^= r->dice << 17;
	return below ? (r->dice >> 11) % below : 0;
}

bool
one_in(struct run *r, unsigned n)
{
	return dice(r, n) == 0;
}

char *
dice_bytes(struct run *r, size_t len)
{
	char *p = xmalloc(len + 1);
	uint64_t v = dice(r, UINT64_MAX);

	for (size_t i = 0; i < len; i++) {
		v = v * 6364136223846793005u + 1442695040888963407u;
		p[i] = 'A' + (v >> 58) % 50;
	}
	p[len] = '\0';
	return p;
}

/* Mostly small. */
size_t
dice_size(struct run *r, size_t max)
{
	switch (dice(r, 8)) {
	case 0:
		return 0;
	case 1:
	case 2:
	case 3:
	case 4:
		return dice(r, max < 5000 ? max : 5000);
	case 5:
	case 6:
		return dice(r, max < 70000 ? max : 70000);
	default:
		return dice(r, max);
	}
}

char *
dice_path(struct run *r, enum want want)
{
	static const char *const name[] = {"a", "b", "c d", "e%f", "g"};

	for (int tries = 0; tries < 10; tries++) {
		char *path = NULL;

		if (want == SOMETHING || (want == ANYTHING && one_in(r, 2))) {
			if (r->t.n == 0)
				return NULL;
			return xstrdup(r->t.v[dice(r, r->t.n)].path);
		}
		for (unsigned n = 1 + dice(r, 3); n; n--) {
			char *next =
				path_join(path ? path : "", name[dice(r, 5)]);

			free(path);
			path = next;
			if (!tree_is_dir(&r->t, path))
				break;
		}
		if (want != NOTHING || !tree_get(&r->t, path))
			return path;
		free(path);
	}
	return NULL;
}

/* --- life ----------------------------------------------------------------- */

struct cache_ctx *
fresh(struct run *r)
{
	err_release(&r->err);
	r->ctx = (struct cache_ctx){.be = {.uid = geteuid(),
					   .gid = getegid(),
					   .op = r->op,
					   .err = &r->err}};
	return &r->ctx;
}

static const char *
option(void *arg, const char *name)
{
	char var[80] = "SHAREDFS_";
	size_t n = strlen(var);

	for (; *name && n < sizeof(var) - 1; name++)
		var[n++] = toupper((unsigned char)*name);
	var[n] = '\0';
	return getenv(var);
}

static struct backend *
store_plain(struct run *r)
{
	struct be_config cfg = {option, NULL};
	struct backend *be;

	fresh(r);
	if (r->keeper)
		must(r, "share", backend_mem_share(r->keeper, &be));
	else
		must(r, "open", backend_open(r->url, &cfg, &be, &r->err));
	return be;
}

struct backend *
open_store(struct run *r)
{
	struct wrap_retry_config retry = {
		.hard = true, .backoff_min_ns = 1000, .backoff_max_ns = 10000};
	struct wrap_fault_config none = {0};
	struct wrap_fault_config lose = {r->lost, r->lost, -EIO, true, true};
	struct backend *be = store_plain(r);

	if (r->verbose)
		must(r, "trace", wrap_trace_new(&be, &be));
	must(r, "probe", be_probe(be, &fresh(r)->be));
	if (r->lost || r->faults) {
		must(r, "faults",
		     wrap_fault_new(&be, r->lost ? &lose : &none, &be));
		r->fault = be;
	}
	if (r->lost)
		must(r, "retry", wrap_retry_new(&be, &retry, &be));
	return be;
}

static void
changed(void *arg, const char *path, bool data)
{
}

void
node_up(struct run *r, bool new_dir)
{
	struct cache_config cfg = {.dir = r->dir,
				   .instance = "model",
				   .actimeo_ns = r->actimeo_ns,
				   .cto = r->cto,
				   .uid = geteuid(),
				   .gid = getegid(),
				   .umask = 022,
				   .whole_max = 64 * 1024,
				   .changed = changed};
	struct backend *be;

	if (new_dir) {
		const char *tmp = getenv("TMPDIR");

		snprintf(r->dir, sizeof(r->dir), "%s/sharedfs-model-XXXXXX",
			 tmp ? tmp : "/tmp");
		if (!mkdtemp(r->dir))
			die(r, "no directory for the cache");
	}
	be = open_store(r);
	must(r, "cache_new", cache_new(&cfg, &be, &r->c, &r->err));
	cache_takeover(r->c, NULL, NULL);
	cache_recover(r->c, fresh(r));
}

void
node_down(struct run *r)
{
	struct cache_stats st;

	for (int i = 0; i < HANDLES; i++) {
		struct handle *h = &r->h[i];

		if (!h->cf)
			continue;
		must(r, "flush", cache_flush(h->cf, fresh(r)));
		cache_release(h->cf, fresh(r));
		mfile_put(h->f);
		h->cf = NULL;
	}
	cache_stats_get(r->c, &st);
	if (st.pending_files && !r->faults)
		die(r, "%" PRIu64 " files are unsent though all are closed",
		    st.pending_files);
	if (st.open_files)
		die(r, "%" PRIu64 " files are still open", st.open_files);
	cache_free(r->c);
	r->c = NULL;
	r->fault = NULL;
}

/* --- what the cache tells ------------------------------------------------- */

static bool
is_open(const struct run *r, const struct mfile *f)
{
	for (int i = 0; i < HANDLES; i++)
		if (r->h[i].cf && r->h[i].f == f)
			return true;
	return false;
}

static void
check_attr(struct run *r, const char *path, const struct mfile *f,
	   const struct be_attr *a)
{
	if ((a->mode & S_IFMT) != (f->mode & S_IFMT))
		die(r, "%s: type %o, not %o", path, a->mode, f->mode);
	/* Of two names of a file the other's attributes may be remembered. */
	if (f->names > 1 && r->actimeo_ns)
		return;
	if (S_ISREG(f->mode) && a->size != f->size)
		die(r, "%s: size %" PRIu64 ", not %zu", path, a->size, f->size);
	if (!S_ISLNK(f->mode) && cache_backend(r->c)->caps.owner &&
	    (a->mode & 0777) != (f->mode & 0777))
		die(r, "%s: mode %o, not %o", path, a->mode & 07777,
		    f->mode & 07777);
	if (f->has_mtime && !timespec_equal(a->mtime, f->mtime))
		die(r, "%s: mtime %ld.%09ld, not %ld.%09ld", path,
		    (long)a->mtime.tv_sec, a->mtime.tv_nsec,
		    (long)f->mtime.tv_sec, f->mtime.tv_nsec);
}

void
look_up(struct run *r, const char *path)
{
	size_t n = 0;

	while (*path) {
		_cleanup_free_ char *part = NULL;
		struct cache_life life;
		struct be_attr a;
		const struct mfile *f;
		int ret;

		n += strcspn(path + n, "/");
		part = xstrndup(path, n);
		f = tree_get(&r->t, part);
		ret = cache_lookup(r->c, fresh(r), part, &a, &life);
		if (!f) {
			if (ret != -ENOENT)
				die(r, "lookup \"%s\": %d though it is absent",
				    part, ret);
			return;
		}
		if (ret)
			die(r, "lookup \"%s\": %d (%s)", part, ret,
			    r->err.msg ? r->err.msg : "");
		check_attr(r, part, f, &a);
		if (!path[n])
			return;
		n++;
	}
}

static void
check_content(struct run *r, const char *path, const struct mfile *f)
{
	struct cfile *cf;
	_cleanup_free_ char *p = xmalloc(f->size + 1);
	size_t got = 0;
	bool keep;
	int ret = cache_open(r->c, fresh(r), path, O_RDONLY, &cf, &keep);

	if (ret == -ESTALE)
		ret = cache_open(r->c, fresh(r), path, O_RDONLY, &cf, &keep);
	must(r, path, ret);
	must(r, path, cache_read(cf, fresh(r), 0, p, f->size + 1, &got));
	if (got != f->size)
		die(r, "%s: %zu bytes, not %zu", path, got, f->size);
	for (size_t i = 0; i < got; i++)
		if (p[i] != f->data[i])
			die(r, "%s: byte %zu is wrong", path, i);
	cache_release(cf, fresh(r));
}

static void
check_dir(struct run *r, const char *dir)
{
	struct cache_listing *l;
	struct cache_dirent d, last;
	size_t i;

	must(r, dir, cache_list(r->c, fresh(r), dir, &l));
	for (i = 0; cache_listing_get(l, fresh(r), i, &d) == 0; i++) {
		_cleanup_free_ char *path = path_join(dir, d.name);
		struct mfile *f = tree_get(&r->t, path);

		if (!f)
			die(r, "\"%s\" is listed, though it is absent", path);
		if (d.mode && (f->mode & S_IFMT) != d.mode)
			die(r, "\"%s\" is listed with type %o", path, d.mode);
		if (i && strcmp(last.name, d.name) >= 0)
			die(r, "\"%s\" is listed twice or unsorted", path);
		last = d;
	}
	if (i != tree_children(&r->t, dir))
		die(r, "\"%s\" lists %zu names, not %zu", dir, i,
		    tree_children(&r->t, dir));
	cache_listing_put(l);
}

void
check_all(struct run *r)
{
	check_dir(r, "");
	for (size_t i = 0; i < r->t.n; i++) {
		const char *path = r->t.v[i].path;
		struct mfile *f = r->t.v[i].f;

		look_up(r, path);
		if (S_ISDIR(f->mode))
			check_dir(r, path);
		else if (S_ISREG(f->mode) && !(f->names > 1 && is_open(r, f)))
			check_content(r, path, f);
	}
}

/* --- what the store holds ------------------------------------------------- */

struct walk {
	struct run *r;
	struct backend *be;
	const struct tree *t;
	const char *dir;
	char *why;
	size_t cap, seen;
};

static int
walk_entry(void *arg, const char *name, const struct be_attr *attr)
{
	struct walk *w = arg;
	_cleanup_free_ char *path = path_join(w->dir, name);
	const struct mfile *f = tree_get(w->t, path);

	w->seen++;
	if (f && ((f->mode & S_IFMT) == (attr->mode & S_IFMT) ||
		  ((attr->flags & BE_ATTR_PARTIAL) && !S_ISDIR(f->mode))))
		return 0;
	snprintf(w->why, w->cap, "\"%s\" is %s", path,
		 f ? "of another type" : "there");
	return 1;
}

static bool
same_dir(struct walk *w, const char *dir)
{
	int ret;

	w->dir = dir;
	w->seen = 0;
	ret = be_list(w->be, &fresh(w->r)->be, dir, walk_entry, w);
	if (ret == 0 && w->seen != tree_children(w->t, dir)) {
		snprintf(w->why, w->cap, "\"%s\" has %zu names, not %zu", dir,
			 w->seen, tree_children(w->t, dir));
		return false;
	}
	if (ret < 0)
		snprintf(w->why, w->cap, "\"%s\" can't be listed: %s", dir,
			 strerror(-ret));
	return ret == 0;
}

static bool
same_file(struct walk *w, const char *path, const struct mfile *f)
{
	_cleanup_free_ char *p = xmalloc(f->size + 1);
	struct be_sink_mem m = {p, 0, f->size + 1};
	struct be_sink sink = be_sink_to_mem(&m);
	struct be_attr a;
	uint64_t got = 0;
	int ret = be_fetch(w->be, &fresh(w->r)->be, path, NULL, f->size + 1,
			   &sink, &a, &got);

	if (ret)
		snprintf(w->why, w->cap, "\"%s\" can't be read: %s", path,
			 strerror(-ret));
	else if (a.size != f->size ||
		 memcmp(p, f->data ? f->data : "", f->size) != 0)
		snprintf(w->why, w->cap,
			 "\"%s\" has other bytes (size %" PRIu64 ", not %zu)",
			 path, a.size, f->size);
	else if (w->be->caps.owner && (a.mode & 0777) != (f->mode & 0777))
		snprintf(w->why, w->cap, "\"%s\" has mode %o, not %o", path,
			 a.mode & 0777, f->mode & 0777);
	else
		return true;
	return false;
}

bool
store_is(struct run *r, struct backend *be, const struct tree *t, char *why,
	 size_t cap)
{
	struct walk w = {r, be, t, "", why, cap, 0};
	bool same = same_dir(&w, "");

	for (size_t i = 0; same && i < t->n; i++) {
		if (S_ISDIR(t->v[i].f->mode))
			same = same_dir(&w, t->v[i].path);
		else if (S_ISREG(t->v[i].f->mode))
			same = same_file(&w, t->v[i].path, t->v[i].f);
	}
	return same;
}
