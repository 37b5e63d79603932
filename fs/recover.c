/* SPDX-License-Identifier: MIT */
/* See recover.h.  Works on the cache directory, with a mount or without one;
 * only what a running daemon holds is dropped by that daemon. */
#include <config.h>

#include "fs/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cache/kept.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/xalloc.h"
#include "fs/client.h"
#include "fs/places.h"

#define EXIT_USAGE 2
#define ANSWER_MS 10000

static const char usage_text[] =
	"usage: sharedfs recover list [--json] DIR|CACHE_DIR\n"
	"       sharedfs recover show [--json] DIR|CACHE_DIR FILE\n"
	"       sharedfs recover save DIR|CACHE_DIR FILE TARGET\n"
	"       sharedfs recover discard DIR|CACHE_DIR FILE...|--all\n"
	"\n"
	"DIR is a mount, FILE an id that list printed, or the path of the file in\n"
	"the share.  save writes a new file; nothing is sent to the store.\n";

static void
json_putp(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ __attribute__((cleanup(json_putp)))

/* Where to look. */
struct place {
	bool mounted;
	struct mount_entry e;
	char *cache_dir;
	char *instance; /* of the mount; NULL: all */
	json_t *given_up; /* what its daemon says; NULL: nothing */
};

static void
place_release(struct place *p)
{
	if (p->mounted)
		mount_entry_release(&p->e);
	free(p->cache_dir);
	free(p->instance);
	json_decref(p->given_up);
}
#define _cleanup_place_ __attribute__((cleanup(place_release)))

static int
place_find(const char *dir, struct place *p, struct err *err)
{
	_cleanup_json_ json_t *o = NULL;
	const char *cache_dir, *instance;
	int r = places_mount_of(dir, &p->e);

	if (r <= 0) {
		p->cache_dir = xstrdup(dir);
		return 0;
	}
	p->mounted = true;
	r = client_ask(&p->e, "status", ANSWER_MS, &o, err);
	if (r < 0)
		return err_prefix(err, "%s is a mount whose daemon does not "
				       "answer; name its cache directory", dir);
	cache_dir = json_string_value(json_object_get(o, "cache_dir"));
	instance = json_string_value(json_object_get(o, "instance"));
	if (!cache_dir || !instance)
		return err_set(err, -EAGAIN,
			       "%s has not reached its store yet; name its "
			       "cache directory", dir);
	p->cache_dir = xstrdup(cache_dir);
	p->instance = xstrdup(instance);
	p->given_up = json_incref(json_object_get(
		json_object_get(o, "errors"), "given_up"));
	return 0;
}

/* --- what is there ----------------------------------------------------------- */

static json_t *
text_json(const char *s)
{
	json_t *j = json_string(s);

	return j ? j : json_string("(not UTF-8)");
}

static const char *
state_word(const struct kept *k)
{
	if (k->failed)
		return "failed";
	if (!k->rec)
		return "unreadable";
	switch (k->rec->state) {
	case JOURNAL_OPEN:
		return "unsent";
	case JOURNAL_SENDING:
		return "sending";
	case JOURNAL_FAILED:
		return "failed";
	case JOURNAL_UNLINKED:
		return "unlinked";
	case JOURNAL_JOINING:
		break;
	}
	return "joining";
}

/* Are all bytes of the file here, and not only those that were written? */
static bool
is_whole(const struct kept *k)
{
	return k->rec && (k->rec->whole || k->rec->exposed ||
			  (k->ndirty == 1 && k->dirty[0].off == 0 &&
			   k->dirty[0].len >= k->size));
}

static void
time_text(const struct timespec *t, char out[32])
{
	struct tm tm;

	if (!gmtime_r(&t->tv_sec, &tm) ||
	    !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(out, 32, "?");
}

static json_t *
kept_json(const struct kept *k, bool ranges)
{
	const struct journal_rec *r = k->rec;
	json_t *o = json_object();
	char since[32];

	json_object_set_new(o, "id", text_json(k->name));
	json_object_set_new(o, "path",
			    k->path ? text_json(k->path) : json_null());
	json_object_set_new(o, "state", json_string(state_word(k)));
	json_object_set_new(o, "size", json_integer((json_int_t)k->size));
	json_object_set_new(o, "bytes", json_integer((json_int_t)k->bytes));
	json_object_set_new(o, "whole", json_boolean(is_whole(k)));
	json_object_set_new(o, "file", text_json(k->file));
	json_object_set_new(o, "mount", text_json(k->instance));
	json_object_set_new(o, "live", json_boolean(k->live));
	if (r) {
		time_text(&r->since, since);
		json_object_set_new(o, "since", json_string(since));
		json_object_set_new(o, "uid", json_integer(r->owner));
		json_object_set_new(o, "gid", json_integer(r->group));
		json_object_set_new(o, "mode", json_integer(r->mode & 07777));
		json_object_set_new(o, "restarted",
				    json_boolean(!journal_this_boot(r)));
		if (r->store)
			json_object_set_new(o, "store", text_json(r->store));
		if (r->error)
			json_object_set_new(o, "errno",
					    json_integer(-r->error));
		if (r->words)
			json_object_set_new(o, "error", text_json(r->words));
	}
	if (ranges) {
		json_t *v = json_array();

		for (size_t i = 0; i < k->ndirty; i++)
			json_array_append_new(
				v, json_pack("[I,I]",
					     (json_int_t)k->dirty[i].off,
					     (json_int_t)k->dirty[i].len));
		json_object_set_new(o, "ranges", v);
	}
	return o;
}

static void
print_name(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			printf("\\x%02x", (unsigned char)*s);
		else
			putchar(*s);
}

struct listing {
	json_t *json; /* NULL: as text */
	unsigned n, others;
	const char *instance;
};

static void
list_one(void *arg, const struct kept *k)
{
	struct listing *l = arg;
	const struct journal_rec *r = k->rec;
	char since[32] = "?";

	if (l->instance && strcmp(l->instance, k->instance) != 0) {
		l->others++;
		return;
	}
	l->n++;
	if (l->json) {
		json_array_append_new(l->json, kept_json(k, false));
		return;
	}
	if (l->n == 1)
		printf("%-18s %12s  %-20s  %s\n", "ID", "BYTES", "SINCE",
		       "PATH");
	if (r)
		time_text(&r->since, since);
	printf("%-18s %12" PRIu64 "  %-20s  ", k->name, k->bytes, since);
	print_name(k->path ? k->path : "(its record can't be read)");
	printf("\n");
}

static int
do_list(const struct place *p, bool json, struct err *err)
{
	struct listing l = { .instance = p->instance };
	int ret;

	if (json)
		l.json = json_array();
	ret = kept_scan(p->cache_dir, p->given_up, list_one, &l, err);
	if (ret == 0 && json) {
		json_dumpf(l.json, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_decref(l.json);
	if (ret == 0 && !json && l.n == 0)
		printf("nothing is kept\n");
	if (ret == 0 && l.others)
		fprintf(stderr, "sharedfs: %u more files of other mounts: "
				"sharedfs recover list %s\n",
			l.others, p->cache_dir);
	return ret;
}

/* --- one of them ----------------------------------------------------------------- */

struct wanted {
	const struct place *p;
	const char *name; /* id or path; NULL: all */
	bool by_path;
	unsigned found;
	/* Called for each that fits. */
	int (*fn)(struct wanted *w, const struct kept *k);
	bool json;
	const char *target;
	struct victim *victims;
	struct err *err;
	int ret;
};

static void
wanted_one(void *arg, const struct kept *k)
{
	struct wanted *w = arg;

	if (w->p->instance && strcmp(w->p->instance, k->instance) != 0)
		return;
	if (w->name && strcmp(w->name, w->by_path ? k->path ? k->path : "" :
						    k->name) != 0)
		return;
	w->found++;
	if (w->fn && w->ret == 0)
		w->ret = w->fn(w, k);
}

/* An id, else a path that only one of them has. */
static int
each_wanted(struct wanted *w)
{
	int (*fn)(struct wanted *w, const struct kept *k) = w->fn;
	int ret;

	w->fn = NULL;
	ret = kept_scan(w->p->cache_dir, w->p->given_up, wanted_one, w, w->err);
	if (ret == 0 && w->name && !w->found) {
		w->by_path = true;
		while (*w->name == '/')
			w->name++;
		ret = kept_scan(w->p->cache_dir, w->p->given_up, wanted_one, w,
				w->err);
	}
	if (ret < 0)
		return ret;
	if (w->name && !w->found)
		return err_set(w->err, -ENOENT,
			       "nothing is kept under \"%s\" (sharedfs recover "
			       "list shows what is)", w->name);
	if (w->name && w->found > 1)
		return err_set(w->err, -EINVAL,
			       "\"%s\" is kept %u times: name one by its id",
			       w->name, w->found);
	w->fn = fn;
	ret = kept_scan(w->p->cache_dir, w->p->given_up, wanted_one, w, w->err);
	return ret < 0 ? ret : w->ret;
}

static int
show_one(struct wanted *w, const struct kept *k)
{
	_cleanup_json_ json_t *o = kept_json(k, true);
	const char *name;
	json_t *v;

	if (w->json) {
		json_dumpf(o, stdout, JSON_INDENT(2));
		printf("\n");
		return 0;
	}
	json_object_foreach (o, name, v) {
		_cleanup_free_ char *text = NULL;

		if (json_is_string(v))
			text = xstrdup(json_string_value(v));
		else if (strcmp(name, "mode") == 0)
			text = xasprintf("%04o",
					 (unsigned)json_integer_value(v));
		else
			text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
		printf("%-10s ", name);
		print_name(text ? text : "?");
		printf("\n");
	}
	return 0;
}

static int
save_one(struct wanted *w, const struct kept *k)
{
	int ret = kept_save(k, w->target, w->err);

	if (ret < 0)
		return ret;
	printf("%s: %" PRIu64 " bytes\n", w->target, k->size);
	if (!is_whole(k))
		fprintf(stderr, "sharedfs: only the %" PRIu64 " bytes that "
				"were written are in it (sharedfs recover show "
				"tells where); the others are zeros\n",
			k->bytes);
	if (k->rec && !journal_this_boot(k->rec))
		fprintf(stderr, "sharedfs: the host went down since they were "
				"written: the last of them may be missing\n");
	return 0;
}

/* Dropped when the scan has let go of the mounts' locks. */
struct victim {
	struct victim *next;
	char *instance, *name, *path;
	bool live;
};

static int
discard_note(struct wanted *w, const struct kept *k)
{
	struct victim *x = xcalloc(1, sizeof(*x));

	x->instance = xstrdup(k->instance);
	x->name = xstrdup(k->name);
	x->path = xstrdup(k->path ? k->path : "(unreadable)");
	x->live = k->live;
	x->next = w->victims;
	w->victims = x;
	return 0;
}

static int
discard_one(const struct place *p, const struct victim *x, struct err *err)
{
	_cleanup_json_ json_t *o = NULL;
	int ret;

	if (!x->live)
		ret = kept_drop(p->cache_dir, x->instance, x->name, err);
	else if (!p->mounted)
		ret = err_set(err, -EBUSY,
			      "a mount uses %s: name the mount instead of the "
			      "cache directory", x->name);
	else
		ret = client_discard(&p->e, x->name, &o, err);
	if (ret == 0) {
		printf("discarded %s ", x->name);
		print_name(x->path);
		printf("\n");
	}
	return ret;
}

static int
do_discard(struct wanted *w)
{
	int ret;

	w->fn = discard_note;
	w->by_path = false;
	w->found = 0;
	ret = each_wanted(w);
	while (w->victims) {
		struct victim *x = w->victims;

		if (ret == 0)
			ret = discard_one(w->p, x, w->err);
		w->victims = x->next;
		free(x->instance);
		free(x->name);
		free(x->path);
		free(x);
	}
	return ret;
}

/* --- the command -------------------------------------------------------------------- */

static int
bad_usage(void)
{
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}

static int
fail_with(struct err *err)
{
	fflush(stdout);
	fprintf(stderr, "sharedfs: %s\n", err_words(err));
	return EXIT_FAILURE;
}

int
recover_command(int argc, char **argv)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_place_ struct place p = { .mounted = false };
	_cleanup_free_ const char **v = xcalloc((size_t)argc + 1, sizeof(char *));
	struct wanted w = { .p = &p, .err = &err };
	const char *what;
	bool all = false;
	int n = 0, ret = 0;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			w.json = true;
		else if (strcmp(argv[i], "--all") == 0)
			all = true;
		else if (argv[i][0] == '-')
			return bad_usage();
		else
			v[n++] = argv[i];
	}
	if (n < 2)
		return bad_usage();
	what = v[0];
	if (place_find(v[1], &p, &err) < 0)
		return fail_with(&err);
	if (strcmp(what, "list") == 0 && n == 2 && !all) {
		ret = do_list(&p, w.json, &err);
	} else if (strcmp(what, "show") == 0 && n == 3 && !all) {
		w.name = v[2];
		w.fn = show_one;
		ret = each_wanted(&w);
	} else if (strcmp(what, "save") == 0 && n == 4 && !all && !w.json) {
		w.name = v[2];
		w.target = v[3];
		w.fn = save_one;
		ret = each_wanted(&w);
	} else if (strcmp(what, "discard") == 0 && all == (n == 2) && !w.json) {
		if (all)
			ret = do_discard(&w);
		for (int i = 2; i < n && ret == 0; i++) {
			w.name = v[i];
			ret = do_discard(&w);
		}
	} else {
		return bad_usage();
	}
	if (ret < 0)
		return fail_with(&err);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
