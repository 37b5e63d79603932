/* SPDX-License-Identifier: MIT */
/* See s3-http.h. */
#include <config.h>

#include "backends/s3-http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "backends/s3-hedge.h"
#include "backends/secret.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define LANE_EASY 32   /* idle request handles kept by a lane */
#define LANE_CONNS 16L /* idle connections kept by a lane */
#define LANES_IDLE 64  /* idle lanes kept */
#define POLL_MS 100
/* libcurl sends so much in one piece with the header. */
#define ALONG_MAX (64u * 1024 - 1)

struct lane {
	CURLM *multi;
	CURL *easy[LANE_EASY];
	size_t neasy;
	struct lane *next;
};

struct s3_http {
	pthread_mutex_t lock; /* lanes, nlanes */
	struct lane *lanes;
	unsigned nlanes;
	char *ca_bundle;
	bool insecure;
	atomic_long connect_ms;
	atomic_long idle_s;
	bool hedging;
	struct s3_hedge hedge;
	atomic_ullong kinds[S3_NKINDS];
	atomic_ullong bytes_in, bytes_out, connections, retries, failures;
};

/* One transfer on its way. */
struct run {
	struct s3_xfer *x;
	CURL *easy;
	struct curl_slist *list;
	uint64_t pos; /* of the request's body */
	/* The same request on another connection.  Who has an answer first
	 * has the body's taker; the other is lost. */
	struct s3_http *h;
	struct run *peer;
	struct s3_xfer twin;	  /* what the second one fills */
	struct s3_xfer *for_both; /* of the first: what the caller gets */
	bool second, timed, answered, lost;
	int64_t start_ns, delay_ns; /* INT64_MAX: not asked twice */
	char errbuf[CURL_ERROR_SIZE];
};

void
s3_http_set_timeouts(struct s3_http *h, const struct s3_http_config *cfg)
{
	atomic_store(&h->connect_ms, cfg->connect_timeout_ns / NSEC_PER_MSEC);
	atomic_store(&h->idle_s, (cfg->request_timeout_ns + NSEC_PER_SEC - 1) /
					 NSEC_PER_SEC);
}

int
s3_http_new(const struct s3_http_config *cfg, struct s3_http **out,
	    struct err *err)
{
	struct s3_http *h;

	secret_start();
	if (cfg->ca_bundle && access(cfg->ca_bundle, R_OK) != 0)
		return err_set(err, -EINVAL, "ca_bundle %s can't be read: %s",
			       cfg->ca_bundle, strerror(errno));
	h = xcalloc(1, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
	h->ca_bundle = cfg->ca_bundle ? xstrdup(cfg->ca_bundle) : NULL;
	h->insecure = cfg->insecure;
	h->hedging = cfg->hedge;
	s3_hedge_init(&h->hedge);
	s3_http_set_timeouts(h, cfg);
	*out = h;
	return 0;
}

static void
lane_free(struct lane *l)
{
	while (l->neasy)
		curl_easy_cleanup(l->easy[--l->neasy]);
	curl_multi_cleanup(l->multi);
	free(l);
}

void
s3_http_free(struct s3_http *h)
{
	if (!h)
		return;
	while (h->lanes) {
		struct lane *l = h->lanes;

		h->lanes = l->next;
		lane_free(l);
	}
	s3_hedge_release(&h->hedge);
	pthread_mutex_destroy(&h->lock);
	free(h->ca_bundle);
	free(h);
}

static struct lane *
lane_take(struct s3_http *h)
{
	struct lane *l;

	pthread_mutex_lock(&h->lock);
	l = h->lanes;
	if (l) {
		h->lanes = l->next;
		h->nlanes--;
	}
	pthread_mutex_unlock(&h->lock);
	if (l)
		return l;
	l = xcalloc(1, sizeof(*l));
	l->multi = curl_multi_init();
	if (!l->multi)
		abort();
	curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, LANE_CONNS);
	return l;
}

static void
lane_give(struct s3_http *h, struct lane *l)
{
	bool keep;

	pthread_mutex_lock(&h->lock);
	keep = h->nlanes < LANES_IDLE;
	if (keep) {
		l->next = h->lanes;
		h->lanes = l;
		h->nlanes++;
	}
	pthread_mutex_unlock(&h->lock);
	if (!keep)
		lane_free(l);
}

/* --- callbacks ----------------------------------------------------------- */

static enum s3_hedge_kind
hedge_kind(enum s3_kind kind)
{
	return kind == S3_HEAD ? S3_HEDGE_HEAD :
	       kind == S3_LIST ? S3_HEDGE_LIST :
				 S3_HEDGE_GET;
}

/* The answer begins. */
static void
first_word(struct run *run)
{
	struct run *peer = run->peer;

	if (run->lost)
		return;
	run->answered = true;
	if (peer && peer->easy)
		peer->lost = true;
	if (run->timed)
		s3_hedge_saw(&run->h->hedge, hedge_kind(run->x->kind),
			     clock_mono_ns() - run->start_ns, run->second);
}

static size_t
on_header(char *p, size_t size, size_t n, void *arg)
{
	struct run *run = arg;

	n *= size;
	if (!run->answered)
		first_word(run);
	if (run->lost)
		return 0;
	return s3_reply_line(&run->x->reply, p, n) ? n : 0;
}

static size_t
on_write(char *p, size_t size, size_t n, void *arg)
{
	struct run *run = arg;
	struct s3_xfer *x = run->x;
	long status = 0;
	size_t max;

	n *= size;
	curl_easy_getinfo(run->easy, CURLINFO_RESPONSE_CODE, &status);
	x->reply.status = status;
	if ((status == 200 || status == 206) && x->on_body) {
		int ret = x->on_body(x->arg, &x->reply, p, n);

		if (ret != 0) {
			x->reply.taker = ret;
			return 0;
		}
		x->reply.got += n;
		return n;
	}
	max = status >= 300 || !x->body_max ? S3_ERROR_MAX : x->body_max;
	if (n > max - x->reply.body.len) {
		x->reply.taker = -EMSGSIZE;
		return 0;
	}
	buf_add(&x->reply.body, p, n);
	x->reply.got += n;
	return n;
}

static size_t
on_read(char *p, size_t size, size_t n, void *arg)
{
	struct run *run = arg;
	struct s3_xfer *x = run->x;

	n *= size;
	if (n > x->body_len - run->pos)
		n = x->body_len - run->pos;
	if (n == 0)
		return 0;
	if (x->body) {
		memcpy(p, (const char *)x->body + run->pos, n);
	} else {
		ssize_t got;

		do
			got = pread(x->fd, p, n, x->fd_off + run->pos);
		while (got < 0 && errno == EINTR);
		if (got <= 0) {
			x->reply.source = got < 0 ? -errno : -ENODATA;
			return CURL_READFUNC_ABORT;
		}
		n = got;
	}
	run->pos += n;
	return n;
}

static int
on_seek(void *arg, curl_off_t off, int origin)
{
	struct run *run = arg;

	if (origin != SEEK_SET || off < 0 || (uint64_t)off > run->x->body_len)
		return CURL_SEEKFUNC_FAIL;
	run->pos = off;
	return CURL_SEEKFUNC_OK;
}

/* --- the run ------------------------------------------------------------- */

static void
set_method(struct run *run)
{
	struct s3_xfer *x = run->x;
	CURL *e = run->easy;
	bool post = strcmp(x->method, "POST") == 0;

	if (x->body_len ? x->body && x->body_len <= ALONG_MAX : post) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, x->body_len ? x->body : "");
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long)x->body_len);
	} else if (x->body_len || strcmp(x->method, "PUT") == 0) {
		curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(e, CURLOPT_READDATA, run);
		curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(e, CURLOPT_SEEKDATA, run);
		curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE,
				 (curl_off_t)x->body_len);
	} else if (strcmp(x->method, "HEAD") == 0) {
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
		return;
	} else if (strcmp(x->method, "GET") == 0) {
		return;
	}
	curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, x->method);
}

static void
run_setup(struct s3_http *h, struct run *run)
{
	struct s3_xfer *x = run->x;
	CURL *e = run->easy;
	long connect_ms = atomic_load(&h->connect_ms);
	long idle_s = atomic_load(&h->idle_s);

	for (size_t i = 0; i < x->nh; i++) {
		_cleanup_secret_ char *line = NULL;

		if (strcmp(x->h[i].name, "host") == 0)
			line = secret_concat("Host: ", x->h[i].value, NULL);
		else if (!*x->h[i].value) /* curl's form of an empty header */
			line = secret_concat(x->h[i].name, ";", NULL);
		else
			line = secret_concat(x->h[i].name, ": ",
					     x->h[i].value, NULL);
		run->list = curl_slist_append(run->list, line);
	}
	run->list = curl_slist_append(run->list, "Expect:");
	run->list = curl_slist_append(run->list, "Accept:");
	curl_easy_setopt(e, CURLOPT_URL, x->url);
	curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "sharedfs/" PACKAGE_VERSION);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 256L * 1024);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
	if (connect_ms > 0)
		curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	if (idle_s > 0) {
		curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, idle_s);
	}
	if (h->ca_bundle)
		curl_easy_setopt(e, CURLOPT_CAINFO, h->ca_bundle);
	if (h->insecure) {
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, run->list);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, run);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, run);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, run->errbuf);
	curl_easy_setopt(e, CURLOPT_PRIVATE, run);
	set_method(run);
}

static void
run_start(struct s3_http *h, struct lane *l, struct run *run,
	  struct s3_xfer *x)
{
	s3_reply_release(&x->reply);
	memset(run, 0, sizeof(*run));
	run->h = h;
	run->x = x;
	run->start_ns = clock_mono_ns();
	run->delay_ns = INT64_MAX;
	if (l->neasy) {
		run->easy = l->easy[--l->neasy];
		curl_easy_reset(run->easy);
	} else {
		run->easy = curl_easy_init();
		if (!run->easy)
			abort();
	}
	run_setup(h, run);
	atomic_fetch_add(&h->kinds[x->kind], 1);
	curl_multi_add_handle(l->multi, run->easy);
}

/* The transfer is over, with curl's verdict; code < 0: we gave up. */
static void
run_finish(struct s3_http *h, struct lane *l, struct run *run, int code)
{
	struct s3_reply *r = &run->x->reply;
	curl_off_t up = 0;
	long status = 0, conns = 0;

	curl_easy_getinfo(run->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(run->easy, CURLINFO_NUM_CONNECTS, &conns);
	curl_easy_getinfo(run->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	r->sent = up;
	r->curl = code;
	/* An error that came with its answer: the answer counts. */
	if (code == CURLE_OK)
		r->status = status;
	else
		r->status = 0;
	if (code != CURLE_OK) {
		if (!run->lost && !r->source)
			atomic_fetch_add(&h->failures, 1);
		r->words = xstrdup(code < 0 ? "given up" :
				   *run->errbuf ? run->errbuf :
						  curl_easy_strerror(code));
	}
	atomic_fetch_add(&h->bytes_in, r->got);
	atomic_fetch_add(&h->bytes_out, r->sent);
	atomic_fetch_add(&h->connections, conns);
	curl_multi_remove_handle(l->multi, run->easy);
	curl_slist_free_all(run->list);
	run->list = NULL;
	if (l->neasy < LANE_EASY)
		l->easy[l->neasy++] = run->easy;
	else
		curl_easy_cleanup(run->easy);
	run->easy = NULL;
	run->x = NULL;
}

/* --- asking twice -------------------------------------------------------- */

static void
second_start(struct s3_http *h, struct lane *l, struct run *first,
	     struct run *second)
{
	struct s3_xfer twin = *first->x;

	memset(&twin.reply, 0, sizeof(twin.reply));
	memset(second, 0, sizeof(*second));
	second->twin = twin;
	run_start(h, l, second, &twin);
	/* run_start cleared it */
	second->twin = twin;
	second->x = &second->twin;
	second->second = second->timed = true;
	curl_easy_setopt(second->easy, CURLOPT_FRESH_CONNECT, 1L);
	second->peer = first;
	first->peer = second;
}

/* Starts what is due; how long until the next is, in ms. */
static int
hedge_due(struct s3_http *h, struct lane *l, struct run *runs, size_t slots,
	  size_t *active)
{
	int64_t now, wait = POLL_MS * NSEC_PER_MSEC;

	if (!h->hedging)
		return POLL_MS;
	now = clock_mono_ns();
	for (size_t i = 0; i < slots; i++) {
		struct run *r = &runs[i];
		int64_t left;

		if (!r->easy || r->peer || r->answered ||
		    r->delay_ns == INT64_MAX)
			continue;
		left = r->start_ns + r->delay_ns - now;
		if (left > 0) {
			if (left < wait)
				wait = left;
			continue;
		}
		r->delay_ns = INT64_MAX;
		if (s3_hedge_take(&h->hedge)) {
			second_start(h, l, r, &runs[slots + i]);
			++*active;
		}
	}
	return wait / NSEC_PER_MSEC + 1;
}

/*
 * One of two came to its end.  true: the other goes on, and may still have an
 * answer; this one does not count.
 */
static bool
leaves_it_to_peer(struct run *run, int code)
{
	struct run *peer = run->peer;

	return run->lost || (code != CURLE_OK && !run->answered && peer &&
			     peer->easy && !peer->lost);
}

/* The one that answered, or ended last, speaks for both. */
static void
pair_settle(struct run *run, struct s3_xfer *x)
{
	struct run *first = run->second ? run->peer : run;
	struct s3_xfer *to = first->for_both;

	if (x == to)
		return;
	s3_reply_release(&to->reply);
	to->reply = x->reply;
	memset(&x->reply, 0, sizeof(x->reply));
}

/* --- the loop ------------------------------------------------------------ */

static struct run *
run_idle(struct run *runs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!runs[i].easy && !(runs[i].peer && runs[i].peer->easy))
			return &runs[i];
	return NULL;
}

static void
run_done(struct s3_http *h, struct lane *l, struct run *run, int code)
{
	bool quiet = leaves_it_to_peer(run, code);
	struct s3_xfer *x = run->x;

	if (quiet) {
		run->lost = true;
		/* What the caller gets may be the other's already. */
		if (!run->second)
			memset(&run->twin, 0, sizeof(run->twin));
		x = run->x = &run->twin;
	}
	run_finish(h, l, run, code);
	if (quiet)
		s3_reply_release(&x->reply);
	else
		pair_settle(run, x);
}

int
s3_http_run(struct s3_http *h, struct be_ctx *ctx, struct s3_xfer **x, size_t n,
	    unsigned parallel)
{
	size_t slots = parallel < n ? parallel : n;
	_cleanup_free_ struct run *runs = NULL;
	size_t next = 0, active = 0;
	struct lane *l;
	int ret = 0;

	if (n == 0)
		return 0;
	if (slots == 0)
		slots = 1;
	/* The second half is for second requests. */
	runs = xcalloc(2 * slots, sizeof(*runs));
	l = lane_take(h);
	while (next < n || active) {
		struct run *idle;
		CURLMsg *msg;
		int left, running;

		while (next < n && (idle = run_idle(runs, slots))) {
			run_start(h, l, idle, x[next]);
			idle->for_both = x[next];
			if (h->hedging && x[next]->hedge) {
				idle->timed = true;
				idle->delay_ns = s3_hedge_delay(
					&h->hedge, hedge_kind(x[next]->kind));
			}
			next++;
			active++;
		}
		curl_multi_perform(l->multi, &running);
		while ((msg = curl_multi_info_read(l->multi, &left))) {
			CURLcode code = msg->data.result;
			char *priv = NULL;

			if (msg->msg != CURLMSG_DONE)
				continue;
			curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE,
					  &priv);
			run_done(h, l, (struct run *)(void *)priv, code);
			active--;
		}
		/* Who was asked too is not waited for. */
		for (size_t i = 0; i < 2 * slots; i++) {
			if (runs[i].easy && runs[i].lost) {
				run_done(h, l, &runs[i], -1);
				active--;
			}
		}
		ret = be_must_stop(ctx);
		if (ret < 0)
			break;
		if (active) {
			int ms = hedge_due(h, l, runs, slots, &active);

			curl_multi_poll(l->multi, NULL, 0, ms, NULL);
		}
	}
	for (size_t i = 0; i < 2 * slots; i++)
		if (runs[i].easy)
			run_done(h, l, &runs[i], -1);
	lane_give(h, l);
	/* All is answered: too late to stop. */
	if (ret < 0 && !active && next == n)
		ret = 0;
	return ret;
}

void
s3_http_count_retry(struct s3_http *h)
{
	atomic_fetch_add(&h->retries, 1);
}

void
s3_http_stats(struct s3_http *h, be_stat_fn *fn, void *arg)
{
	static const char *const names[] = {
#define X(id, name) "requests_" name,
		S3_KINDS(X)
#undef X
	};
	uint64_t asked, won;

	for (size_t i = 0; i < S3_NKINDS; i++)
		fn(arg, names[i], atomic_load(&h->kinds[i]));
	fn(arg, "bytes_in", atomic_load(&h->bytes_in));
	fn(arg, "bytes_out", atomic_load(&h->bytes_out));
	fn(arg, "connections", atomic_load(&h->connections));
	fn(arg, "retries", atomic_load(&h->retries));
	fn(arg, "requests_failed", atomic_load(&h->failures));
	pthread_mutex_lock(&h->hedge.lock);
	asked = h->hedge.asked;
	won = h->hedge.won;
	pthread_mutex_unlock(&h->hedge.lock);
	fn(arg, "requests_hedged", asked);
	fn(arg, "hedges_won", won);
}
