/* SPDX-License-Identifier: MIT */
/*
 * Holds a store against each clause of backend.h:
 *   conformance URL [pattern]
 * Options of the store come from SHAREDFS_NAME in the environment.  All work
 * is done in one new directory of the store, which is removed at the end.
 */
#include <config.h>

#include "tests/backends/conformance.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

static struct {
	struct backend *be;
	char *top; /* the directory of this run */
	char *dir; /* the directory of this test, below it */
	unsigned n;
	char *pool[4096]; /* what P() gave out */
	unsigned npool;
	pthread_mutex_t lock; /* pool */
} conf = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __thread struct err last_err;
static __thread struct be_ctx last_ctx;

struct backend *
store(void)
{
	return conf.be;
}

const struct be_caps *
caps(void)
{
	return &conf.be->caps;
}

struct be_ctx *
ctx(void)
{
	err_release(&last_err);
	last_ctx = (struct be_ctx){
		.uid = geteuid(),
		.gid = getegid(),
		.err = &last_err,
		.deadline_ns = clock_mono_ns() + 60 * NSEC_PER_SEC,
	};
	return &last_ctx;
}

struct be_ctx *
ctx_again(void)
{
	ctx()->attempt = 1;
	return &last_ctx;
}

const char *
words(void)
{
	return last_err.msg ? last_err.msg : "";
}

void
words_release(void)
{
	err_release(&last_err);
}

const struct be_opid *
opid(void)
{
	static __thread struct be_opid ids[64];
	static __thread unsigned next;
	struct be_opid *id = &ids[next++ % 64];

	be_opid_new(id);
	return id;
}

const char *
P(const char *fmt, ...)
{
	va_list ap;
	char *name, *path;

	va_start(ap, fmt);
	name = xvasprintf(fmt, ap);
	va_end(ap);
	path = *name ? path_join(conf.dir, name) : xstrdup(conf.dir);
	free(name);
	pthread_mutex_lock(&conf.lock);
	if (conf.npool == 4096)
		abort();
	conf.pool[conf.npool++] = path;
	pthread_mutex_unlock(&conf.lock);
	return path;
}

struct be_attr
attr_of(mode_t mode)
{
	struct be_attr a = {.mode = mode,
			    .uid = geteuid(),
			    .gid = getegid(),
			    .mtime = clock_wall()};

	a.atime = a.ctime = a.mtime;
	return a;
}

struct be_attr
stat_of(const char *path)
{
	struct be_attr a = {0};

	ok(be_getattr(store(), ctx(), path, BE_HINT_NONE, &a));
	return a;
}

bool
exists(const char *path)
{
	struct be_attr a;
	int ret = be_getattr(store(), ctx(), path, BE_HINT_NONE, &a);

	if (ret != -ENOENT)
		ok(ret);
	return ret == 0;
}

int
tmp_fd(void)
{
	int fd = memfd_create("conformance", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

int
put_if(const char *path, const struct be_cond *cond, const struct be_opid *id,
       const void *p, size_t len, struct be_attr *out)
{
	struct be_attr attr = attr_of(S_IFREG | 0644);
	struct range all = {0, len};
	_cleanup_close_ int fd = tmp_fd();
	struct be_commit c = {.path = path,
			      .cond = *cond,
			      .opid = *id,
			      .fd = fd,
			      .size = len,
			      .whole = true,
			      .dirty = &all,
			      .ndirty = len != 0,
			      .attr = &attr};

	assert_int_equal(pwrite(fd, p, len, 0), len);
	return be_commit(store(), ctx(), &c, out);
}

struct be_attr
put(const char *path, const char *text)
{
	struct be_attr out = {0};
	struct be_cond any = {BE_ANY};

	ok(put_if(path, &any, opid(), text, strlen(text), &out));
	assert_int_equal(out.size, strlen(text));
	assert_true(be_ver_known(&out.ver));
	return out;
}

void
holds(const char *path, const void *p, size_t len)
{
	_cleanup_free_ char *buf = xmalloc(len + 1);
	struct be_sink_mem m = {buf, 0, len + 1};
	struct be_sink sink = be_sink_to_mem(&m);
	struct be_attr a = {0};
	uint64_t got = 0;

	ok(be_fetch(store(), ctx(), path, NULL, len + 1, &sink, &a, &got));
	assert_int_equal(a.size, len);
	assert_int_equal(got, len);
	assert_memory_equal(buf, p, len);
	if (len == 0)
		return;
	memset(buf, 'x', len);
	ok(be_read(store(), ctx(), path, &a.ver, 0, len + 1, &sink, &got));
	assert_int_equal(got, len);
	assert_memory_equal(buf, p, len);
}

void
holds_text(const char *path, const char *text)
{
	holds(path, text, strlen(text));
}

void
pattern(char *p, size_t len, uint64_t off, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t v = (off + i) * 2654435761u + seed * 40503u;

		p[i] = (char)(v >> 13 ^ v >> 29 ^ v);
	}
}

struct parallel {
	pthread_t thread;
	unsigned from, to, step;
	void (*fn)(void *arg, unsigned i);
	void *arg;
};

static void *
parallel_main(void *arg)
{
	struct parallel *p = arg;

	for (unsigned i = p->from; i < p->to; i += p->step)
		p->fn(p->arg, i);
	words_release();
	return NULL;
}

void
parallel(unsigned threads, unsigned n, void (*fn)(void *arg, unsigned i),
	 void *arg)
{
	struct parallel p[64];

	assert_true(threads <= 64);
	for (unsigned i = 0; i < threads; i++) {
		p[i] = (struct parallel){.from = i,
					 .to = n,
					 .step = threads,
					 .fn = fn,
					 .arg = arg};
		if (pthread_create(&p[i].thread, NULL, parallel_main, &p[i]))
			abort();
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(p[i].thread, NULL);
}

/* --- life ---------------------------------------------------------------- */

int
conf_setup(void **state)
{
	struct be_attr attr = attr_of(S_IFDIR | 0755), out;

	conf.dir = xasprintf("%s/%u", conf.top, conf.n++);
	ok(be_mkdir(store(), ctx(), conf.dir, &attr, opid(), &out));
	return 0;
}

int
conf_teardown(void **state)
{
	for (unsigned i = 0; i < conf.npool; i++)
		free(conf.pool[i]);
	conf.npool = 0;
	free(conf.dir);
	conf.dir = NULL;
	return 0;
}

struct names {
	size_t n;
	struct {
		char *path;
		bool dir;
	} * v;
	const char *dir;
};

static int
names_add(void *arg, const char *name, const struct be_attr *attr)
{
	struct names *l = arg;

	l->v = xrealloc(l->v, l->n + 1, sizeof(*l->v));
	l->v[l->n].path = path_join(l->dir, name);
	l->v[l->n++].dir = S_ISDIR(attr->mode);
	return 0;
}

static void
remove_one(void *arg, unsigned i)
{
	struct names *l = arg;
	struct be_cond any = {BE_ANY};

	if (!l->v[i].dir)
		be_unlink(store(), ctx(), l->v[i].path, &any, opid());
}

static void
remove_tree(const char *path)
{
	struct names l = {.dir = path};

	be_list(store(), ctx(), path, names_add, &l);
	parallel(8, l.n, remove_one, &l);
	for (size_t i = 0; i < l.n; i++) {
		if (l.v[i].dir)
			remove_tree(l.v[i].path);
		free(l.v[i].path);
	}
	free(l.v);
	be_rmdir(store(), ctx(), path, opid());
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

int
main(int argc, char **argv)
{
	struct be_config cfg = {option, NULL};
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_attr attr = attr_of(S_IFDIR | 0755), out;
	struct CMUnitTest *all;
	struct be_opid id;
	size_t n = 0;
	int ret;

	if (argc < 2) {
		fprintf(stderr, "usage: conformance URL [pattern]\n");
		return 2;
	}
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	ret = backend_open(argv[1], &cfg, &conf.be, &err);
	if (ret) {
		fprintf(stderr, "%s: %s\n", argv[1], err_words(&err));
		return 1;
	}
	be_opid_new(&id);
	conf.top = xasprintf("conformance-%.8s", id.s);
	ret = be_probe(store(), ctx());
	if (ret == 0)
		ret = be_mkdir(store(), ctx(), conf.top, &attr, opid(), &out);
	if (ret) {
		fprintf(stderr, "%s: %s\n", argv[1], words());
		return 1;
	}
	all = xcalloc(conf_names_n + conf_data_n + conf_cond_n, sizeof(*all));
	memcpy(all + n, conf_names, conf_names_n * sizeof(*all));
	n += conf_names_n;
	memcpy(all + n, conf_data, conf_data_n * sizeof(*all));
	n += conf_data_n;
	memcpy(all + n, conf_cond, conf_cond_n * sizeof(*all));
	n += conf_cond_n;
	ret = _cmocka_run_group_tests("conformance", all, n, NULL, NULL);
	remove_tree(conf.top);
	free(all);
	free(conf.top);
	words_release();
	backend_free(conf.be);
	return ret ? 1 : 0;
}
