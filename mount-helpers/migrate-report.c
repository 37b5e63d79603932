/* SPDX-License-Identifier: MIT */
/*
 * What is told: counters, lists of names, the line of progress, the report.
 * One thread prints, waits for signals and brings the journal to the disk.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define SHOWN_MAX 20 /* names of a list on the terminal */
#define TICK_NS (250 * NSEC_PER_MSEC)
#define PLAIN_EVERY (10 * NSEC_PER_SEC)

struct item {
	char *path; /* key */
	char *words;
	UT_hash_handle hh;
};

struct mig_report {
	struct mig *m;
	atomic_llong count[MIG_COUNTS];
	pthread_mutex_t lock; /* all below */
	struct item *list[MIG_LISTS];
	char *phase;
	char *fatal;
	bool line; /* an unfinished line is on the terminal */
	bool quiet;
	/* the thread */
	pthread_t thread;
	bool running;
	atomic_bool end;
	bool tty;
	struct timespec began;
	int64_t start_ns, rate_ns, shown_ns;
	uint64_t rate_bytes, rate_files;
	double bytes_s, files_s;
};

static const char *const list_titles[MIG_LISTS] = {
	[MIG_NOT_CARRIED] = "not carried",
	[MIG_COLLISION] = "name taken by other content, not carried",
	[MIG_LEFT_OUT] = "left out",
	[MIG_DIFFERS] = "differs in the store",
	[MIG_NOTE] = "note",
};
static const char *const list_keys[MIG_LISTS] = {
	"failed", "collisions", "left_out", "differs", "notes",
};
static const char *const count_keys[MIG_COUNTS] = {
	[MIG_TOTAL_FILES] = "files",
	[MIG_TOTAL_BYTES] = "bytes",
	[MIG_DONE_FILES] = "files_done",
	[MIG_DONE_BYTES] = "bytes_done",
	[MIG_SENT_FILES] = "files_sent",
	[MIG_SENT_BYTES] = "bytes_sent",
	[MIG_DIRS] = "directories_made",
	[MIG_SYMLINKS] = "symlinks_made",
	[MIG_SPECIAL] = "fifos_made",
	[MIG_HARD_LINKS] = "hard_links_made",
	[MIG_REMOVED] = "removed",
	[MIG_VANISHED] = "vanished",
	[MIG_RETRIED] = "changed_while_read",
	[MIG_ATTRS] = "attributes_only",
	[MIG_VERIFIED] = "verified",
	[MIG_BACK_FILES] = "files_brought_back",
	[MIG_BACK_REMOVED] = "removed_from_old_tree",
};

struct mig_report *
mig_report_new(struct mig *m)
{
	struct mig_report *r = xcalloc(1, sizeof(*r));

	r->m = m;
	pthread_mutex_init(&r->lock, NULL);
	r->phase = xstrdup("starting");
	r->began = clock_wall();
	r->start_ns = clock_mono_ns();
	r->tty = m->a->progress == MIG_PROGRESS_AUTO && isatty(STDERR_FILENO);
	r->quiet = m->a->progress == MIG_PROGRESS_NONE;
	return r;
}

void
mig_report_free(struct mig_report *r)
{
	struct item *i, *next;

	if (!r)
		return;
	for (int l = 0; l < MIG_LISTS; l++) {
		HASH_ITER(hh, r->list[l], i, next) {
			HASH_DEL(r->list[l], i);
			free(i->path);
			free(i->words);
			free(i);
		}
	}
	pthread_mutex_destroy(&r->lock);
	free(r->phase);
	free(r->fatal);
	free(r);
}

void
mig_count(struct mig *m, enum mig_count c, int64_t n)
{
	atomic_fetch_add(&m->report->count[c], n);
}

uint64_t
mig_counted(struct mig *m, enum mig_count c)
{
	return atomic_load(&m->report->count[c]);
}

char *
mig_printable(const char *path)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	json_t *ok = json_string(path); /* NULL: not UTF-8 */

	for (; *path; path++) {
		unsigned char c = *path;

		if (c < ' ' || c == '%' || c == 0x7f || (c >= 0x80 && !ok))
			buf_addf(&b, "%%%02X", c);
		else
			buf_addch(&b, *path);
	}
	json_decref(ok);
	buf_str(&b);
	return buf_steal(&b);
}

/* --- lists ----------------------------------------------------------------- */

void
mig_list(struct mig *m, enum mig_list l, const char *path, const char *fmt, ...)
{
	struct mig_report *r = m->report;
	struct item *i;
	char *words;
	va_list ap;

	va_start(ap, fmt);
	words = xvasprintf(fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&r->lock);
	HASH_FIND_STR(r->list[l], path, i);
	if (!i) {
		i = xcalloc(1, sizeof(*i));
		i->path = xstrdup(path);
		HASH_ADD_KEYPTR(hh, r->list[l], i->path, strlen(i->path), i);
	}
	free(i->words);
	i->words = words;
	pthread_mutex_unlock(&r->lock);
}

size_t
mig_listed(struct mig *m, enum mig_list l)
{
	size_t n;

	pthread_mutex_lock(&m->report->lock);
	n = HASH_COUNT(m->report->list[l]);
	pthread_mutex_unlock(&m->report->lock);
	return n;
}

void
mig_list_forget(struct mig *m, const char *path)
{
	static const enum mig_list lists[] = { MIG_NOT_CARRIED, MIG_COLLISION,
					       MIG_LEFT_OUT };
	struct mig_report *r = m->report;
	struct item *i;

	pthread_mutex_lock(&r->lock);
	for (size_t l = 0; l < sizeof(lists) / sizeof(*lists); l++) {
		HASH_FIND_STR(r->list[lists[l]], path, i);
		if (!i)
			continue;
		HASH_DEL(r->list[lists[l]], i);
		free(i->path);
		free(i->words);
		free(i);
	}
	pthread_mutex_unlock(&r->lock);
}

static int
by_path(const struct item *a, const struct item *b)
{
	return strcmp(a->path, b->path);
}

/* --- words ----------------------------------------------------------------- */

static void
say_locked(struct mig_report *r, FILE *f, const char *text)
{
	if (r->line)
		fputs("\r\033[K", stderr);
	r->line = false;
	fprintf(f, "%s\n", text);
	fflush(f);
}

void
mig_say(struct mig *m, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&m->report->lock);
	say_locked(m->report, stdout, text);
	pthread_mutex_unlock(&m->report->lock);
}

void
mig_fatal(struct mig *m, int code, const char *fmt, ...)
{
	struct mig_report *r = m->report;
	int none = 0;
	char *text;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	if (atomic_compare_exchange_strong(&m->fatal, &none, -code)) {
		pthread_mutex_lock(&r->lock);
		r->fatal = steal_ptr(&text);
		pthread_mutex_unlock(&r->lock);
	}
	free(text);
	atomic_store(&m->stop, 1);
}

void
mig_phase(struct mig *m, const char *phase)
{
	struct mig_report *r = m->report;

	pthread_mutex_lock(&r->lock);
	free(r->phase);
	r->phase = xstrdup(phase);
	r->shown_ns = 0;
	pthread_mutex_unlock(&r->lock);
}

static void
add_size(struct buf *b, double n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	int u = 0;

	while (n >= 1024 && u < 4) {
		n /= 1024;
		u++;
	}
	buf_addf(b, u ? "%.1f %s" : "%.0f %s", n, units[u]);
}

static void
add_time(struct buf *b, double s)
{
	unsigned long n = s < 0 ? 0 : s > 1e8 ? 100000000 : (unsigned long)s;

	if (n >= 3600)
		buf_addf(b, "%luh%02lum", n / 3600, n / 60 % 60);
	else if (n >= 60)
		buf_addf(b, "%lum%02lus", n / 60, n % 60);
	else
		buf_addf(b, "%lus", n);
}

/* --- progress -------------------------------------------------------------- */

static void
rates_locked(struct mig_report *r)
{
	int64_t now = clock_mono_ns();
	double dt = (double)(now - r->rate_ns) / NSEC_PER_SEC;
	uint64_t bytes = mig_counted(r->m, MIG_SENT_BYTES);
	uint64_t files = mig_counted(r->m, MIG_DONE_FILES);

	if (r->rate_ns && dt < 1)
		return;
	if (r->rate_ns) {
		r->bytes_s = (bytes - r->rate_bytes) / dt;
		/* A new pass counts from zero. */
		r->files_s = files > r->rate_files ?
				     (files - r->rate_files) / dt :
				     0;
	}
	r->rate_ns = now;
	r->rate_bytes = bytes;
	r->rate_files = files;
}

static void
progress_locked(struct mig_report *r, struct buf *b)
{
	uint64_t files = mig_counted(r->m, MIG_DONE_FILES);
	uint64_t total = mig_counted(r->m, MIG_TOTAL_FILES);
	uint64_t bytes = mig_counted(r->m, MIG_DONE_BYTES);
	uint64_t all = mig_counted(r->m, MIG_TOTAL_BYTES);
	size_t errors = HASH_COUNT(r->list[MIG_NOT_CARRIED]) +
			HASH_COUNT(r->list[MIG_COLLISION]);
	double part = total + all ?
			      (double)(files * 65536 + bytes) /
				      (double)(total * 65536 + all) :
			      1;
	double left_b = r->bytes_s > 0 && all > bytes ?
				(double)(all - bytes) / r->bytes_s : 0;
	double left_f = r->files_s > 0 && total > files ?
				(double)(total - files) / r->files_s : 0;

	if (part > 1)
		part = 1;
	buf_addf(b, "%s: %.0f%%, %" PRIu64 "/%" PRIu64 " files, ", r->phase,
		 part * 100, files, total);
	add_size(b, bytes);
	buf_addstr(b, ", ");
	add_size(b, r->bytes_s);
	buf_addf(b, "/s, %.0f files/s", r->files_s);
	if (left_b > 0 || left_f > 0) {
		buf_addstr(b, ", left ");
		add_time(b, left_b > left_f ? left_b : left_f);
	}
	if (r->m->follow) {
		size_t n;
		int64_t lag = mig_follow_lag(r->m->follow, &n);

		buf_addf(b, ", lag %.1f s (%zu names)",
			 (double)lag / NSEC_PER_SEC, n);
	}
	if (errors)
		buf_addf(b, ", %zu errors", errors);
}

static void
show(struct mig_report *r, bool asked)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int64_t now = clock_mono_ns();

	pthread_mutex_lock(&r->lock);
	rates_locked(r);
	if (!asked && (r->quiet || (!r->tty && r->shown_ns &&
				    now - r->shown_ns < PLAIN_EVERY))) {
		pthread_mutex_unlock(&r->lock);
		return;
	}
	progress_locked(r, &b);
	if (r->tty) {
		fprintf(stderr, "\r\033[K%s", buf_str(&b));
		fflush(stderr);
		r->line = true;
	} else {
		say_locked(r, stderr, buf_str(&b));
	}
	r->shown_ns = now;
	pthread_mutex_unlock(&r->lock);
}

static void *
report_thread(void *arg)
{
	struct mig_report *r = arg;
	const struct timespec tick = ns_timespec(TICK_NS);
	unsigned ticks = 0;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	while (!atomic_load(&r->end)) {
		int sig = sigtimedwait(&set, NULL, &tick);

		if (atomic_load(&r->end) && sig == SIGUSR1)
			break;
		if (sig == SIGUSR1) {
			show(r, true);
			continue;
		}
		if (sig > 0) {
			atomic_store(&r->m->signal, sig);
			atomic_store(&r->m->stop, 1);
			continue;
		}
		if (!atomic_load(&r->m->showing))
			continue;
		show(r, false);
		if (++ticks % 4 == 0 && mig_journal_sync(r->m->journal) < 0)
			mig_fatal(r->m, -EIO,
				  "the journal can't be written: is its disk "
				  "full?");
	}
	return NULL;
}

void
mig_report_start(struct mig *m)
{
	struct mig_report *r = m->report;
	sigset_t set;

	/* The thread takes them, nobody else. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	r->running = pthread_create(&r->thread, NULL, report_thread, r) == 0;
}

void
mig_report_stop(struct mig *m)
{
	struct mig_report *r = m->report;

	atomic_store(&r->end, true);
	/* It may sit out its tick. */
	if (r->running) {
		pthread_kill(r->thread, SIGUSR1);
		pthread_join(r->thread, NULL);
	}
	r->running = false;
	if (r->line)
		fputs("\r\033[K", stderr);
	r->line = false;
}

/* --- the end --------------------------------------------------------------- */

void
mig_report_print(struct mig *m)
{
	struct mig_report *r = m->report;
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct item *i, *next;

	for (int l = 0; l < MIG_LISTS; l++) {
		unsigned n = 0, all = HASH_COUNT(r->list[l]);

		HASH_SORT(r->list[l], by_path);
		HASH_ITER(hh, r->list[l], i, next) {
			_cleanup_free_ char *p = mig_printable(i->path);

			if (n++ == SHOWN_MAX) {
				fprintf(stderr,
					"%s: %u more; --report=FILE has all\n",
					list_titles[l], all - SHOWN_MAX);
				break;
			}
			fprintf(stderr, "%s: %s: %s\n", list_titles[l],
				*p ? p : ".", i->words);
		}
	}
	if (r->fatal)
		fprintf(stderr, "migrate-local-uploads: %s\n", r->fatal);
	buf_addf(&b, "%" PRIu64 " files, ", mig_counted(m, MIG_DONE_FILES));
	add_size(&b, mig_counted(m, MIG_DONE_BYTES));
	buf_addf(&b, "; sent now %" PRIu64 " files, ",
		 mig_counted(m, MIG_SENT_FILES));
	add_size(&b, mig_counted(m, MIG_SENT_BYTES));
	buf_addf(&b, "; %" PRIu64 " removed, %" PRIu64 " vanished, ",
		 mig_counted(m, MIG_REMOVED), mig_counted(m, MIG_VANISHED));
	add_time(&b, (double)(clock_mono_ns() - r->start_ns) / NSEC_PER_SEC);
	printf("%s\n", buf_str(&b));
	fflush(stdout);
}

/* One hash of all that the journal has: names and bytes. */
static char *
tree_hash(struct mig *m)
{
	XXH3_state_t *h = XXH3_createState();
	XXH128_canonical_t c;
	char hex[33];
	size_t n;
	char **paths = mig_journal_paths(m->journal, &n);

	XXH3_128bits_reset(h);
	for (size_t i = 0; i < n; i++) {
		_cleanup_rec_ struct mig_rec r = { 0 };

		if (mig_journal_get(m->journal, paths[i], &r)) {
			XXH128_canonicalFromHash(&c, r.hash);
			XXH3_128bits_update(h, paths[i], strlen(paths[i]) + 1);
			XXH3_128bits_update(h, &r.kind, 1);
			XXH3_128bits_update(h, &c, sizeof(c));
		}
		free(paths[i]);
	}
	free(paths);
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(h));
	XXH3_freeState(h);
	for (size_t i = 0; i < sizeof(c.digest); i++)
		snprintf(hex + 2 * i, 3, "%02x", c.digest[i]);
	return xstrdup(hex);
}

int
mig_report_write(struct mig *m, const char *file, int exit_code,
		 struct err *err)
{
	struct mig_report *r = m->report;
	json_t *o = json_object();
	_cleanup_free_ char *dir = mig_printable(m->dir);
	char when[32];
	struct tm tm;
	int ok;

	gmtime_r(&r->began.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_object_set_new(o, "dir", json_string(dir));
	json_object_set_new(o, "source", json_string(m->a->source));
	json_object_set_new(o, "began", json_string(when));
	json_object_set_new(o, "seconds",
			    json_real((double)(clock_mono_ns() - r->start_ns) /
				      NSEC_PER_SEC));
	json_object_set_new(o, "exit", json_integer(exit_code));
	for (int c = 0; c < MIG_COUNTS; c++)
		json_object_set_new(o, count_keys[c],
				    json_integer(mig_counted(m, c)));
	for (int l = 0; l < MIG_LISTS; l++) {
		json_t *a = json_array();
		struct item *i, *next;

		HASH_SORT(r->list[l], by_path);
		HASH_ITER(hh, r->list[l], i, next) {
			_cleanup_free_ char *p = mig_printable(i->path);
			_cleanup_free_ char *w = mig_printable(i->words);

			json_array_append_new(a, json_pack("{s:s,s:s}", "path",
							   p, "why", w));
		}
		json_object_set_new(o, list_keys[l], a);
	}
	if (r->m->gap_ns)
		json_object_set_new(o, "gap_seconds",
				    json_real((double)r->m->gap_ns /
					      NSEC_PER_SEC));
	if (r->fatal) {
		_cleanup_free_ char *w = mig_printable(r->fatal);

		json_object_set_new(o, "error", json_string(w));
	}
	if (m->journal) {
		_cleanup_free_ char *hash = tree_hash(m);

		json_object_set_new(o, "hash_xxh3_128", json_string(hash));
	}
	ok = json_dump_file(o, file, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	json_decref(o);
	return ok == 0 ? 0 : err_set(err, -EIO, "%s can't be written", file);
}
