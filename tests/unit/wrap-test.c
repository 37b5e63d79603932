/* SPDX-License-Identifier: MIT */
/* backends/wrap-retry.c, wrap-fault.c and wrap-trace.c, over mem and over a
 * store that breaks off in the middle. */
#include <config.h>

#include "backends/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"

#include "tests/lib/unit.h"

static const struct wrap_retry_config hard = {
	.hard = true,
	.backoff_min_ns = 1000,
	.backoff_max_ns = 100000,
};
static const struct wrap_retry_config soft = {
	.timeo_ns = 50 * NSEC_PER_MSEC,
	.backoff_min_ns = 1000,
	.backoff_max_ns = 1000000,
};
static const struct be_cond any = {BE_ANY};

/* mem, faults on it, retries over all. */
struct stack {
	struct backend *fault, *top;
	struct be_ctx ctx;
	struct err err;
};

static void
stack_init(struct stack *s, const struct wrap_retry_config *cfg)
{
	struct wrap_fault_config none = {0};
	struct backend *mem;

	memset(s, 0, sizeof(*s));
	s->ctx.err = &s->err;
	assert_int_equal(backend_mem_open(&mem), 0);
	assert_int_equal(wrap_fault_new(&mem, &none, &s->fault), 0);
	assert_null(mem);
	s->top = s->fault;
	assert_int_equal(wrap_retry_new(&s->top, cfg, &s->top), 0);
	assert_int_equal(be_probe(s->top, &s->ctx), 0);
	assert_true(s->top->caps.random_write);
	assert_string_equal(s->top->id, s->fault->id);
}

static void
stack_release(struct stack *s)
{
	backend_free(s->top);
	err_release(&s->err);
}

static void
break_calls(struct stack *s, unsigned first, unsigned every, bool transient,
	    bool after)
{
	struct wrap_fault_config cfg = {first, every, -EIO, transient, after};

	wrap_fault_set(s->fault, &cfg);
}

struct wanted {
	const char *name;
	uint64_t value;
};

static void
stat_find(void *arg, const char *name, uint64_t value)
{
	struct wanted *w = arg;

	if (strcmp(name, w->name) == 0)
		w->value = value;
}

static uint64_t
stat_get(struct backend *be, const char *name)
{
	struct wanted w = {name, 4711};

	be_stats(be, stat_find, &w);
	return w.value;
}

/* --- faults --------------------------------------------------------------- */

static void
fault_counts(void **state)
{
	struct stack s;
	struct be_attr a;
	char got[11] = "";

	stack_init(&s, &hard);
	break_calls(&s, 3, 4, false, false);
	for (int i = 0; i < 10; i++)
		got[i] = be_getattr(s.fault, &s.ctx, "", BE_HINT_NONE, &a)
				 ? 'x'
				 : '.';
	assert_string_equal(got, "..x...x...");
	assert_int_equal(wrap_fault_calls(s.fault), 10);
	assert_int_equal(stat_get(s.fault, "injected"), 2);
	break_calls(&s, 2, 0, false, false);
	for (int i = 0; i < 5; i++)
		got[i] = be_getattr(s.fault, &s.ctx, "", BE_HINT_NONE, &a)
				 ? 'x'
				 : '.';
	assert_memory_equal(got, ".x...", 5);
	stack_release(&s);
}

static void
fault_before_and_after(void **state)
{
	struct be_attr attr = {.mode = S_IFREG | 0644}, out, was;
	struct be_opid id;
	struct stack s;

	stack_init(&s, &hard);
	be_opid_new(&id);
	memset(&out, 0x5a, sizeof(out));
	was = out;
	break_calls(&s, 1, 0, false, false);
	assert_int_equal(be_create(s.fault, &s.ctx, "f", &attr, &id, &out),
			 -EIO);
	assert_false(s.ctx.transient);
	assert_non_null(strstr(s.err.msg, "injected"));
	assert_int_equal(be_getattr(s.fault, &s.ctx, "f", BE_HINT_NONE, &out),
			 -ENOENT);
	assert_memory_equal(&out, &was, sizeof(out));
	break_calls(&s, 1, 0, true, true);
	assert_int_equal(be_create(s.fault, &s.ctx, "f", &attr, &id, &out),
			 -EIO);
	assert_true(s.ctx.transient);
	assert_memory_equal(&out, &was, sizeof(out));
	assert_int_equal(be_getattr(s.fault, &s.ctx, "f", BE_HINT_NONE, &out),
			 0);
	stack_release(&s);
}

/* --- retries -------------------------------------------------------------- */

static void
retry_heals(void **state)
{
	struct be_attr a;
	struct stack s;

	stack_init(&s, &hard);
	break_calls(&s, 1, 0, true, false);
	assert_int_equal(be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a), 0);
	assert_int_equal(wrap_fault_calls(s.fault), 2);
	assert_int_equal(s.ctx.attempt, 0);
	assert_int_equal(s.ctx.deadline_ns, 0);
	assert_int_equal(stat_get(s.top, "retries"), 1);
	assert_int_equal(stat_get(s.top, "gave_up"), 0);
	stack_release(&s);
}

static void
final_is_final(void **state)
{
	struct be_attr a;
	struct stack s;

	stack_init(&s, &hard);
	break_calls(&s, 1, 1, false, false);
	assert_int_equal(be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a), -EIO);
	assert_int_equal(wrap_fault_calls(s.fault), 1);
	stack_release(&s);
}

static int
commit(struct backend *be, struct be_ctx *ctx, const char *path,
       const struct be_cond *cond, const char *text, struct be_attr *out)
{
	struct be_attr attr = {.mode = S_IFREG | 0644};
	struct range all = {0, strlen(text)};
	_cleanup_close_ int fd = memfd_create("t", MFD_CLOEXEC);
	struct be_commit c = {.path = path,
			      .cond = *cond,
			      .fd = fd,
			      .size = all.len,
			      .whole = true,
			      .dirty = &all,
			      .ndirty = 1,
			      .attr = &attr};

	be_opid_new(&c.opid);
	assert_int_equal(pwrite(fd, text, all.len, 0), all.len);
	return be_commit(be, ctx, &c, out);
}

/* B5: each mutation, done once, its reply lost, repeated: as if all was well.
 */
static void
lost_replies(void **state)
{
	struct be_attr dir = {.mode = S_IFDIR | 0755}, out;
	struct be_attr reg = {.mode = S_IFREG | 0644};
	struct be_cond absent = {BE_ABSENT}, match = {BE_MATCH};
	struct be_opid id;
	struct stack s;

	stack_init(&s, &hard);
#define LOST(call)                                                             \
	do {                                                                   \
		be_opid_new(&id);                                              \
		break_calls(&s, 1, 0, true, true);                             \
		if (call)                                                      \
			fail_msg("%s: %s", #call, err_words(&s.err));          \
		assert_int_equal(wrap_fault_calls(s.fault), 2);                \
	} while (0)
	LOST(be_create(s.top, &s.ctx, "f", &reg, &id, &out));
	LOST(be_mkdir(s.top, &s.ctx, "d", &dir, &id, &out));
	LOST(be_symlink(s.top, &s.ctx, "l", "f", &reg, &id, &out));
	LOST(commit(s.top, &s.ctx, "c", &absent, "one", &out));
	match.ver = out.ver;
	LOST(commit(s.top, &s.ctx, "c", &match, "two", &out));
	match.ver = out.ver;
	LOST(be_setattr(s.top, &s.ctx, "c", &match, &id, BE_SET_MODE, &reg,
			&out));
	LOST(be_copy(s.top, &s.ctx, "c", &out.ver, "e", &absent, &id, &reg,
		     &out));
	LOST(be_link(s.top, &s.ctx, "c", "h", &out));
	LOST(be_setxattr(s.top, &s.ctx, "c", "user.a", "1", 1, 1, &id, &out));
	LOST(be_rename(s.top, &s.ctx, "c", "d/c", RENAME_NOREPLACE, &id, 0,
		       NULL, &out));
	LOST(be_rename(s.top, &s.ctx, "d/c", "e", RENAME_EXCHANGE, &id, 0, NULL,
		       &out));
	LOST(be_unlink(s.top, &s.ctx, "d/c", &any, &id));
	LOST(be_rmdir(s.top, &s.ctx, "d", &id));
#undef LOST
	stack_release(&s);
}

static void
soft_gives_up(void **state)
{
	int64_t start = clock_mono_ns();
	struct be_attr a;
	struct stack s;

	stack_init(&s, &soft);
	break_calls(&s, 1, 1, true, false);
	assert_int_equal(be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a), -EIO);
	assert_true(clock_mono_ns() - start >= soft.timeo_ns);
	assert_non_null(strstr(s.err.msg, "gave up after"));
	assert_non_null(strstr(s.err.msg, "injected"));
	assert_int_equal(s.ctx.deadline_ns, 0);
	assert_int_equal(s.ctx.attempt, 0);
	assert_int_equal(stat_get(s.top, "gave_up"), 1);
	stack_release(&s);
}

static void
callers_deadline(void **state)
{
	struct be_attr a;
	struct stack s;
	int64_t end;

	stack_init(&s, &hard);
	break_calls(&s, 1, 1, true, false);
	s.ctx.deadline_ns = end = clock_mono_ns() + 20 * NSEC_PER_MSEC;
	assert_int_equal(be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a),
			 -ETIMEDOUT);
	assert_true(clock_mono_ns() >= end);
	assert_int_equal(s.ctx.deadline_ns, end);
	stack_release(&s);
}

struct caller {
	struct stack *s;
	int ret;
};

static void *
caller_main(void *arg)
{
	struct caller *c = arg;
	struct be_attr a;

	c->ret = be_getattr(c->s->top, &c->s->ctx, "", BE_HINT_NONE, &a);
	return NULL;
}

static void
cancel_ends_hard(void **state)
{
	atomic_int cancel = 0;
	struct stack s;
	struct caller c = {&s, 0};
	pthread_t t;

	stack_init(&s, &hard);
	break_calls(&s, 1, 1, true, false);
	s.ctx.cancel = &cancel;
	assert_int_equal(pthread_create(&t, NULL, caller_main, &c), 0);
	while (wrap_fault_calls(s.fault) < 5)
		sched_yield();
	assert_int_equal(wrap_retry_health(s.top), BE_DOWN);
	atomic_store(&cancel, 1);
	pthread_join(t, NULL);
	assert_int_equal(c.ret, -EINTR);
	stack_release(&s);
}

static char *
log_text(int fd)
{
	char *text = xcalloc(1, 65536);

	assert_true(pread(fd, text, 65535, 0) >= 0);
	return text;
}

static unsigned
count(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

/* Up, degraded, down and back: one line when it goes, one when it comes. */
static void
health(void **state)
{
	_cleanup_close_ int log = memfd_create("log", MFD_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	struct backend *outer;
	struct be_attr a;
	struct stack s;

	log_init(LOG_LEVEL_WARN, LOG_TEXT, log);
	stack_init(&s, &soft);
	assert_int_equal(wrap_trace_new(&s.top, &outer), 0);
	s.top = outer;
	assert_int_equal(wrap_retry_health(s.top), BE_UP);
	break_calls(&s, 1, 1, true, false);
	s.ctx.deadline_ns = 1; /* one try only */
	be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a);
	assert_int_equal(wrap_retry_health(s.top), BE_DEGRADED);
	s.ctx.deadline_ns = 0;
	be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a);
	be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a);
	assert_int_equal(wrap_retry_health(s.top), BE_DOWN);
	break_calls(&s, 0, 0, true, false);
	/* ENOENT is an answer. */
	assert_int_equal(be_getattr(s.top, &s.ctx, "no", BE_HINT_NONE, &a),
			 -ENOENT);
	assert_int_equal(wrap_retry_health(s.top), BE_UP);
	be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a);
	stack_release(&s);
	log_init(LOG_LEVEL_WARN, LOG_TEXT, STDERR_FILENO);
	text = log_text(log);
	assert_int_equal(count(text, "does not answer"), 1);
	assert_int_equal(count(text, "is back after"), 1);
	assert_int_equal(count(text, "\n"), 2);
}

/* --- the circuit breaker -------------------------------------------------- */

struct waiter {
	struct stack *s;
	atomic_int cancel;
	atomic_bool done;
	int ret;
};

static void *
wait_once(void *arg)
{
	struct waiter *c = arg;
	struct be_ctx ctx = { .cancel = &c->cancel };
	struct be_attr a;

	c->ret = be_getattr(c->s->top, &ctx, "", BE_HINT_NONE, &a);
	atomic_store(&c->done, true);
	return NULL;
}

/* Many callers of a dead store: one look at a time reaches it, a cancelled one
 * ends, one with an older answer does not wait, all the others succeed when it
 * is back [P7.8]. */
static void
dead_store(void **state)
{
	enum { N = 16 };
	static const struct wrap_retry_config patient = {
		.hard = true,
		.backoff_min_ns = NSEC_PER_MSEC,
		.backoff_max_ns = 2 * NSEC_PER_MSEC,
	};
	struct waiter c[N] = { 0 };
	pthread_t t[N];
	struct stack s;
	struct be_attr a;
	unsigned before;
	int64_t start;

	stack_init(&s, &patient);
	break_calls(&s, 1, 1, true, false);
	for (int i = 0; i < N; i++) {
		c[i].s = &s;
		assert_int_equal(pthread_create(&t[i], NULL, wait_once, &c[i]),
				 0);
	}
	while (wrap_retry_health(s.top) != BE_DOWN)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	/* Some of the first may still be under way. */
	nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
	before = wrap_fault_calls(s.fault);
	start = clock_mono_ns();
	nanosleep(&(struct timespec){ .tv_nsec = 700000000 }, NULL);
	before = wrap_fault_calls(s.fault) - before;
	assert_true(before <= (clock_mono_ns() - start) /
					(NSEC_PER_SEC / 2) + 2);
	s.ctx.have_stale = true;
	assert_int_equal(be_getattr(s.top, &s.ctx, "", BE_HINT_NONE, &a), -EIO);
	assert_true(s.ctx.transient);
	atomic_store(&c[0].cancel, 1);
	pthread_join(t[0], NULL);
	assert_int_equal(c[0].ret, -EINTR);
	for (int i = 1; i < N; i++)
		assert_false(atomic_load(&c[i].done));
	break_calls(&s, 0, 0, true, false);
	for (int i = 1; i < N; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(c[i].ret, 0);
	}
	assert_int_equal(wrap_retry_health(s.top), BE_UP);
	stack_release(&s);
}

/* --- a store that breaks off in the middle -------------------------------- */

struct torn {
	struct backend be;
	int calls;
	uint64_t read_from[4];
};

static int
torn_list(struct backend *be, struct be_ctx *ctx, const char *path,
	  struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	struct torn *t = (struct torn *)be;
	struct be_attr a = {.mode = S_IFREG};
	int ret = 0;

	for (int i = 0; ret == 0 && i < 4; i++) {
		char name[] = {'a' + i, '\0'};

		if (i == 2 && t->calls++ == 0)
			return be_fail(ctx, -EIO, true, "page 2");
		ret = fn(arg, name, &a);
	}
	return ret;
}

static int
torn_read(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_ver *ver, uint64_t off, uint64_t len,
	  const struct be_sink *sink, uint64_t *got)
{
	static const char text[] = "0123456789";
	struct torn *t = (struct torn *)be;
	uint64_t n = len;
	int ret;

	t->read_from[t->calls] = off;
	if (t->calls++ < 2)
		n = 3;
	if (n > 10 - off)
		n = 10 - off;
	ret = sink->write(sink->arg, text + off, n, off);
	if (ret == 0 && t->calls < 3)
		return be_fail(ctx, -EIO, true, "cut");
	*got = n;
	return ret;
}

static void
torn_free(struct backend *be)
{
	free(be);
}

static const struct backend_ops torn_ops = {
	.name = "torn",
	.list = torn_list,
	.read = torn_read,
	.free = torn_free,
};

static struct backend *
torn_new(struct torn **out)
{
	struct torn *t = xcalloc(1, sizeof(*t));
	struct backend *be;

	backend_init(&t->be, &torn_ops, xstrdup("torn"));
	be = &t->be;
	*out = t;
	assert_int_equal(wrap_retry_new(&be, &hard, &be), 0);
	return be;
}

static int
collect(void *arg, const char *name, const struct be_attr *attr)
{
	strncat(arg, name, 1);
	return 0;
}

static int
stop_at_b(void *arg, const char *name, const struct be_attr *attr)
{
	return *name == 'b' ? 33 : 0;
}

static void
listing_comes_once(void **state)
{
	char names[16] = "";
	struct be_ctx ctx = {0};
	struct torn *t;
	struct backend *be = torn_new(&t);

	assert_int_equal(be_list(be, &ctx, "", collect, names), 0);
	assert_string_equal(names, "abcd");
	assert_int_equal(be_list(be, &ctx, "", stop_at_b, NULL), 33);
	backend_free(be);
}

static void
read_goes_on(void **state)
{
	char buf[11] = "";
	struct be_sink_mem m = {buf, 0, 10};
	struct be_sink sink = be_sink_to_mem(&m);
	struct be_ctx ctx = {0};
	struct be_ver ver;
	struct torn *t;
	struct backend *be = torn_new(&t);
	uint64_t got = 0;

	be_ver_set(&ver, "v", 1);
	assert_int_equal(be_read(be, &ctx, "f", &ver, 1, 8, &sink, &got), 0);
	assert_int_equal(got, 8);
	assert_memory_equal(buf + 1, "12345678", 8);
	assert_int_equal(t->read_from[0], 1);
	assert_int_equal(t->read_from[1], 4);
	assert_int_equal(t->read_from[2], 7);
	backend_free(be);
}

/* --- trace ---------------------------------------------------------------- */

static void
trace_lines(void **state)
{
	_cleanup_close_ int log = memfd_create("log", MFD_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	struct backend *mem, *be;
	struct be_ctx ctx = {.op = 4711};
	struct be_attr a;

	assert_int_equal(backend_mem_open(&mem), 0);
	assert_int_equal(wrap_trace_new(&mem, &be), 0);
	log_init(LOG_LEVEL_DEBUG, LOG_TEXT, log);
	assert_int_equal(be_probe(be, &ctx), 0);
	assert_int_equal(be_getattr(be, &ctx, "x/y", BE_HINT_NONE, &a),
			 -ENOENT);
	ctx.attempt = 1;
	assert_int_equal(be_getattr(be, &ctx, "", BE_HINT_NONE, &a), 0);
	log_init(LOG_LEVEL_WARN, LOG_TEXT, STDERR_FILENO);
	/* Not asked for: not written. */
	assert_int_equal(be_getattr(be, &ctx, "", BE_HINT_NONE, &a), 0);
	text = log_text(log);
	assert_int_equal(count(text, "\n"), 3);
	assert_non_null(strstr(text, "op=4711 getattr \"x/y\": No such file"));
	assert_non_null(strstr(text, "getattr \"\" again: ok, "));
	backend_free(be);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fault_counts),
		cmocka_unit_test(fault_before_and_after),
		cmocka_unit_test(retry_heals),
		cmocka_unit_test(final_is_final),
		cmocka_unit_test(lost_replies),
		cmocka_unit_test(soft_gives_up),
		cmocka_unit_test(callers_deadline),
		cmocka_unit_test(cancel_ends_hard),
		cmocka_unit_test(health),
		cmocka_unit_test(dead_store),
		cmocka_unit_test(listing_comes_once),
		cmocka_unit_test(read_goes_on),
		cmocka_unit_test(trace_lines),
	};

	alarm(120); /* no mistake of ours may hang the suite */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
