/* SPDX-License-Identifier: MIT */
/* See proxy-conn.h. */
#include <config.h>

#include "tests/lib/proxy-conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "tests/lib/proxy-http.h"

#define NEVER INT64_MAX
#define QUEUE_MAX ((size_t)16 << 20)
#define READ_MAX ((size_t)256 << 10)
/* With a bandwidth, small pieces pass evenly and little is taken ahead. */
#define SLOW_QUEUE_MAX ((size_t)128 << 10)
#define SLOW_READ_MAX ((size_t)16 << 10)

enum way { UP, DOWN }; /* to the server, to the client */

struct chunk {
	STAILQ_ENTRY(chunk) next;
	int64_t due;
	size_t off, len;
	char data[];
};

/* One direction: from side[way] to side[!way]. */
struct pipe {
	STAILQ_HEAD(, chunk) queue;
	size_t queued;
	int64_t last_due;
	bool eof;     /* nothing more comes from the source */
	bool done;    /* … and it has been told to the destination */
	bool blocked; /* the destination took no more */
	struct http http;
};

struct req {
	STAILQ_ENTRY(req) next;
	bool head; /* its answer has no body */
	enum fault_kind fault;
	int64_t arg;
	char *text;
	const char *class;
	char *name; /* "METHOD target" */
};

struct conn {
	struct proxy *p;
	struct side side[2]; /* by way: client, server */
	struct pipe pipe[2];
	STAILQ_HEAD(, req) sent; /* their answers are still to come */
	struct req *cur;	 /* being received; also in sent if delivered */
	bool cur_sent;
	bool connecting;
	bool used;   /* something has been sent up */
	bool opaque; /* bytes are not looked at (any more) */
	bool hold;   /* what goes up waits (FAULT_LATE) */
	/* Ends when this pipe is empty; nothing more is read. */
	bool closing;
	enum way closing_way;
	LIST_ENTRY(conn) next;
	bool dead;
};

static void
req_free(struct req *r)
{
	if (!r)
		return;
	free(r->text);
	free(r->name);
	free(r);
}

static void
side_close(struct side *s, bool rst)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (s->fd < 0)
		return;
	if (rst)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(s->fd);
	s->fd = -1;
	s->registered = false;
}

static void
conn_kill(struct conn *c, bool rst)
{
	if (c->dead)
		return;
	c->dead = true;
	side_close(&c->side[UP], rst);
	side_close(&c->side[DOWN], rst);
	LIST_REMOVE(c, next);
	LIST_INSERT_HEAD(&c->p->dead, c, next);
}

static void
conn_free(struct conn *c)
{
	struct chunk *k;
	struct req *r;

	for (int w = UP; w <= DOWN; w++) {
		while ((k = STAILQ_FIRST(&c->pipe[w].queue))) {
			STAILQ_REMOVE_HEAD(&c->pipe[w].queue, next);
			free(k);
		}
		http_release(&c->pipe[w].http);
	}
	if (!c->cur_sent)
		req_free(c->cur);
	while ((r = STAILQ_FIRST(&c->sent))) {
		STAILQ_REMOVE_HEAD(&c->sent, next);
		c->p->asked--;
		req_free(r);
	}
	free(c);
}

/* Registers what each side is to be woken for. */
static void
conn_watch(struct conn *c)
{
	size_t max = c->p->bandwidth ? SLOW_QUEUE_MAX : QUEUE_MAX;

	for (int w = UP; w <= DOWN && !c->dead; w++) {
		struct side *s = &c->side[w];
		struct epoll_event ev = {.data.ptr = s};
		int op;

		if (s->fd < 0)
			continue;
		if (!c->pipe[w].eof && !c->closing &&
		    (c->pipe[w].queued < max || (w == UP && c->hold)))
			ev.events |= EPOLLIN;
		if (c->pipe[!w].blocked || (w == DOWN && c->connecting))
			ev.events |= EPOLLOUT;
		if (s->registered && s->events == ev.events)
			continue;
		/* A peer that is gone would wake us for ever. */
		if (!ev.events && c->pipe[w].eof)
			op = EPOLL_CTL_DEL;
		else
			op = s->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
		if (op == EPOLL_CTL_DEL && !s->registered)
			continue;
		if (epoll_ctl(c->p->epoll, op, s->fd, &ev) == 0) {
			s->registered = op != EPOLL_CTL_DEL;
			s->events = ev.events;
		}
	}
}

static void
enqueue(struct conn *c, enum way w, const void *data, size_t n)
{
	struct proxy *p = c->p;
	struct pipe *pi = &c->pipe[w];
	int64_t due = clock_mono_ns();
	struct chunk *k;

	if (n == 0)
		return;
	if (p->bandwidth) {
		if (due < p->free_at[w])
			due = p->free_at[w];
		p->free_at[w] = due + (int64_t)n * NSEC_PER_SEC / p->bandwidth;
		due = p->free_at[w];
	}
	due += p->delay;
	if (w == UP && !c->used) {
		c->used = true;
		due += 2 * p->delay; /* the handshake's round trip */
	}
	if (due < pi->last_due)
		due = pi->last_due;
	pi->last_due = due;
	if (p->paused || (w == UP && c->hold))
		due = NEVER;
	k = xmalloc(sizeof(*k) + n);
	k->due = due;
	k->off = 0;
	k->len = n;
	memcpy(k->data, data, n);
	STAILQ_INSERT_TAIL(&pi->queue, k, next);
	pi->queued += n;
}

static void
release_queue(struct pipe *pi, int64_t due)
{
	struct chunk *k;

	STAILQ_FOREACH(k, &pi->queue, next)
	if (k->due == NEVER)
		k->due = due;
}

/* The pipe is empty: is that an end? */
static void
drained(struct conn *c, enum way w)
{
	struct pipe *pi = &c->pipe[w];

	if (c->closing && c->closing_way == w) {
		conn_kill(c, false);
		return;
	}
	if (!pi->eof || pi->done)
		return;
	pi->done = true;
	if (c->side[!w].fd >= 0)
		shutdown(c->side[!w].fd, SHUT_WR);
	/* Without a server no answer can come; without both, nothing. */
	if (c->pipe[!w].done || (w == DOWN && !c->opaque))
		conn_kill(c, false);
}

/* Writes what is due; returns when the next piece is. */
static int64_t
flush(struct conn *c, enum way w, int64_t now)
{
	struct pipe *pi = &c->pipe[w];
	struct chunk *k;

	if (c->dead || (w == UP && c->connecting))
		return NEVER;
	while ((k = STAILQ_FIRST(&pi->queue))) {
		ssize_t n;

		if (k->due > now)
			return k->due;
		/* The client was cut off: its answer goes nowhere. */
		n = c->side[!w].fd < 0 ? (ssize_t)(k->len - k->off)
				       : send(c->side[!w].fd, k->data + k->off,
					      k->len - k->off, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			pi->blocked = true;
			return NEVER;
		}
		if (n < 0) {
			conn_kill(c, false);
			return NEVER;
		}
		k->off += (size_t)n;
		pi->queued -= (size_t)n;
		if (k->off < k->len)
			continue;
		STAILQ_REMOVE_HEAD(&pi->queue, next);
		free(k);
	}
	pi->blocked = false;
	drained(c, w);
	return NEVER;
}

static void
close_after(struct conn *c, enum way w)
{
	c->closing = true;
	c->closing_way = w;
}

static void
count(struct proxy *p, const char *class)
{
	size_t i;

	for (i = 0; i < p->ncounts; i++)
		if (!strcmp(p->counts[i].class, class))
			break;
	if (i == p->ncounts) {
		p->counts = xrealloc(p->counts, i + 1, sizeof(*p->counts));
		p->counts[i] = (struct count){xstrdup(class), 0};
		p->ncounts++;
	}
	p->counts[i].n++;
}

/* An answer of our own to the current request. */
static void
answer(struct conn *c)
{
	_cleanup_buf_ struct buf body = BUF_INIT, all = BUF_INIT;
	const char *word = strchr(c->cur->text ? c->cur->text : "", ' ');
	int code = (int)c->cur->arg;
	char block[4096];
	size_t n;

	if (c->cur->fault == FAULT_CANNED) {
		_cleanup_fclose_ FILE *f = fopen(c->cur->text, "r");

		while (f && (n = fread(block, 1, sizeof(block), f)) > 0)
			buf_add(&all, block, n);
		enqueue(c, DOWN, buf_str(&all), all.len);
		/* Its length may be a lie. */
		close_after(c, DOWN);
		return;
	}
	if (word)
		word++;
	else
		word = code == 503   ? "SlowDown"
		       : code == 500 ? "InternalError"
		       : code == 403 ? "AccessDenied"
		       : code == 404 ? "NoSuchKey"
				     : "Injected";
	buf_addf(&body,
		 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
		 "<Error><Code>%s</Code><Message>test</Message>"
		 "<RequestId>test</RequestId></Error>",
		 word);
	buf_addf(&all,
		 "HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\n"
		 "Content-Length: %zu\r\n\r\n",
		 code, word, body.len);
	if (!c->cur->head)
		buf_add(&all, body.s, body.len);
	enqueue(c, DOWN, all.s, all.len);
}

static void
log_request(struct conn *c, const struct req *r, const char *what)
{
	if (!c->p->log)
		return;
	fprintf(c->p->log, "%s %s %s\n", what, r->class, r->name);
	fflush(c->p->log);
}

static void
request_head(struct conn *c)
{
	struct http *h = &c->pipe[UP].http;
	const char *class = http_class(h);
	_cleanup_free_ char *expect = http_header(&h->head, "Expect");
	struct req *r = xcalloc(1, sizeof(*r));
	const struct fault *f;

	count(c->p, class);
	r->class = class;
	if (class == h->method) /* the parser's memory is used again */
		r->class = "OTHER";
	r->head = !strcmp(h->method, "HEAD");
	if (r->head)
		r->class = "HEAD";
	r->name = xasprintf("%s %s", h->method, h->target);
	f = faults_match(&c->p->faults, class, h->method, h->target);
	if (f) {
		r->fault = f->kind;
		r->arg = f->arg;
		r->text = f->text ? xstrdup(f->text) : NULL;
	}
	log_request(c, r, f ? "fault" : "request");
	if (!c->cur_sent)
		req_free(c->cur);
	c->cur = r;
	c->cur_sent = false;
	switch (r->fault) {
	case FAULT_RESET:
		conn_kill(c, true);
		return;
	case FAULT_STATUS:
	case FAULT_CANNED:
		/* The rest of the request may never come. */
		if (expect) {
			answer(c);
			close_after(c, DOWN);
		}
		return;
	case FAULT_LATE:
		c->hold = true;
		if (expect) {
			static const char go[] =
				"HTTP/1.1 100 Continue\r\n\r\n";

			enqueue(c, DOWN, go, sizeof(go) - 1);
			http_set_header(&h->head, "Expect", NULL);
		}
		break;
	default:
		break;
	}
	STAILQ_INSERT_TAIL(&c->sent, r, next);
	if (++c->p->asked > c->p->asked_most)
		c->p->asked_most = c->p->asked;
	c->cur_sent = true;
	enqueue(c, UP, h->head.s, h->head.len);
}

static void
request_body(struct conn *c, char *p, size_t n)
{
	uint64_t at = c->pipe[UP].http.offset;
	uint64_t arg = (uint64_t)c->cur->arg;

	switch (c->cur->fault) {
	case FAULT_STATUS:
	case FAULT_CANNED:
		return;
	case FAULT_CUT_REQUEST:
		if (at + n >= arg) {
			enqueue(c, UP, p, (size_t)(arg - at));
			close_after(c, UP);
			return;
		}
		break;
	case FAULT_CORRUPT_REQUEST:
		if (arg >= at && arg < at + n)
			p[arg - at] ^= 1;
		break;
	default:
		break;
	}
	enqueue(c, UP, p, n);
}

static void
request_end(struct conn *c)
{
	switch (c->cur->fault) {
	case FAULT_STATUS:
	case FAULT_CANNED:
		answer(c);
		break;
	case FAULT_LATE:
		side_close(&c->side[UP], true);
		c->pipe[UP].eof = false; /* keeps the server's side open */
		c->hold = false;
		c->pipe[UP].last_due =
			clock_mono_ns() + c->cur->arg * NSEC_PER_MSEC;
		release_queue(&c->pipe[UP], c->pipe[UP].last_due);
		break;
	default:
		break;
	}
	if (!c->cur_sent) {
		req_free(c->cur);
		c->cur = NULL;
	}
}

static void
reply_head(struct conn *c)
{
	struct http *h = &c->pipe[DOWN].http;
	struct req *r = STAILQ_FIRST(&c->sent);
	char words[32];

	if (!r) {
		c->opaque = true;
		enqueue(c, DOWN, h->head.s, h->head.len);
		return;
	}
	if (h->status / 100 != 1) {
		h->no_body = r->head;
		snprintf(words, sizeof(words), "%d", h->status);
		log_request(c, r, words);
	}
	switch (r->fault) {
	case FAULT_DROP:
	case FAULT_LATE:
		return;
	case FAULT_STALL:
		c->pipe[DOWN].last_due =
			clock_mono_ns() + r->arg * NSEC_PER_MSEC;
		break;
	case FAULT_TRUNCATE:
	case FAULT_LENGTH:
		if (h->length >= 0) {
			int64_t less =
				r->fault == FAULT_LENGTH ? -r->arg : r->arg;

			if (less > h->length)
				less = h->length;
			snprintf(words, sizeof(words), "%lld",
				 (long long)(h->length - less));
			http_set_header(&h->head, "Content-Length", words);
		}
		break;
	case FAULT_HEADER: {
		char *value = r->text ? strstr(r->text, ": ") : NULL;

		if (value) {
			*value = '\0';
			http_set_header(&h->head, r->text, value + 2);
			*value = ':';
		}
		break;
	}
	default:
		break;
	}
	enqueue(c, DOWN, h->head.s, h->head.len);
}

static void
reply_body(struct conn *c, char *p, size_t n)
{
	struct http *h = &c->pipe[DOWN].http;
	struct req *r = STAILQ_FIRST(&c->sent);
	uint64_t at = h->offset, arg, max = UINT64_MAX;

	if (!r) {
		enqueue(c, DOWN, p, n);
		return;
	}
	arg = (uint64_t)r->arg;
	switch (r->fault) {
	case FAULT_DROP:
	case FAULT_LATE:
		return;
	case FAULT_CUT:
		if (at + n >= arg) {
			enqueue(c, DOWN, p, (size_t)(arg - at));
			close_after(c, DOWN);
			return;
		}
		break;
	case FAULT_TRUNCATE:
		if (h->length >= 0)
			max = arg > (uint64_t)h->length
				      ? 0
				      : (uint64_t)h->length - arg;
		break;
	case FAULT_CORRUPT:
		if (arg >= at && arg < at + n)
			p[arg - at] ^= 1;
		break;
	default:
		break;
	}
	if (at + n > max)
		n = at < max ? (size_t)(max - at) : 0;
	enqueue(c, DOWN, p, n);
}

static void
reply_end(struct conn *c)
{
	struct req *r = STAILQ_FIRST(&c->sent);

	if (!r || c->pipe[DOWN].http.status / 100 == 1)
		return;
	STAILQ_REMOVE_HEAD(&c->sent, next);
	c->p->asked--;
	if (r == c->cur) {
		c->cur = NULL;
		c->cur_sent = false;
		/* It came before the request's end (an early refusal). */
		if (c->pipe[UP].http.state != 0)
			c->opaque = true;
	}
	if (r->fault == FAULT_DROP || r->fault == FAULT_LATE)
		conn_kill(c, r->fault == FAULT_DROP);
	else if (r->fault == FAULT_LENGTH)
		close_after(c, DOWN);
	req_free(r);
}

static void
watch_bytes(struct conn *c, enum way w, char *p, size_t n)
{
	struct http *h = &c->pipe[w].http;
	size_t used;

	for (;;) {
		if (c->dead || (c->closing && c->closing_way == w))
			return;
		if (c->opaque) {
			enqueue(c, w, p, n);
			return;
		}
		switch (http_feed(h, p, n, &used)) {
		case HTTP_MORE:
			return;
		case HTTP_BAD:
			/* What was collected of a head is lost; so be it. */
			conn_kill(c, true);
			return;
		case HTTP_HEAD:
			(w == UP ? request_head : reply_head)(c);
			break;
		case HTTP_BODY:
			(w == UP ? request_body : reply_body)(c, p, used);
			break;
		case HTTP_END:
			(w == UP ? request_end : reply_end)(c);
			break;
		}
		p += used;
		n -= used;
	}
}

static void
read_side(struct conn *c, enum way w)
{
	struct pipe *pi = &c->pipe[w];
	static _Thread_local char block[READ_MAX];
	ssize_t n;

	if (pi->eof)
		return;
	n = recv(c->side[w].fd, block,
		 c->p->bandwidth ? SLOW_READ_MAX : READ_MAX, MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_kill(c, errno == ECONNRESET);
		return;
	}
	if (n > 0) {
		watch_bytes(c, w, block, (size_t)n);
		return;
	}
	pi->eof = true;
	/* The client gave up in the middle of what was to come late. */
	if (w == UP && c->hold)
		conn_kill(c, false);
}

void
conn_event(struct side *s, uint32_t events)
{
	struct conn *c = s->c;
	enum way w = s == &c->side[UP] ? UP : DOWN;
	int error = 0;
	socklen_t len = sizeof(error);

	if (c->dead || s->fd < 0)
		return;
	if (w == DOWN && c->connecting) {
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error) {
			conn_kill(c, true);
			return;
		}
		if (events & EPOLLOUT)
			c->connecting = false;
	}
	if (events & EPOLLOUT)
		c->pipe[!w].blocked = false;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_side(c, w);
	conn_watch(c);
}

void
conn_new(struct proxy *p, int fd)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	int one = 1;

	c->p = p;
	c->opaque = p->opaque;
	STAILQ_INIT(&c->sent);
	for (int w = UP; w <= DOWN; w++) {
		STAILQ_INIT(&c->pipe[w].queue);
		http_init(&c->pipe[w].http, w == DOWN);
		c->side[w].c = c;
	}
	c->side[UP].fd = fd;
	c->side[DOWN].fd =
		socket(p->target.ss_family,
		       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	LIST_INSERT_HEAD(&p->conns, c, next);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->side[DOWN].fd, IPPROTO_TCP, TCP_NODELAY, &one,
		   sizeof(one));
	if (connect(c->side[DOWN].fd, (struct sockaddr *)&p->target,
		    p->target_len) < 0) {
		if (errno != EINPROGRESS) {
			conn_kill(c, true);
			return;
		}
		c->connecting = true;
	}
	conn_watch(c);
}

unsigned
conns_count(const struct proxy *p)
{
	const struct conn *c;
	unsigned n = 0;

	LIST_FOREACH(c, &p->conns, next)
	n++;
	return n;
}

void
conns_kill(struct proxy *p)
{
	while (!LIST_EMPTY(&p->conns))
		conn_kill(LIST_FIRST(&p->conns), true);
}

void
conns_resume(struct proxy *p)
{
	int64_t now = clock_mono_ns();
	struct conn *c;

	LIST_FOREACH(c, &p->conns, next)
	{
		release_queue(&c->pipe[DOWN], now);
		if (!c->hold)
			release_queue(&c->pipe[UP], now);
	}
}

int64_t
conns_flush(struct proxy *p)
{
	int64_t now = clock_mono_ns(), next = NEVER, due;
	struct conn *c, *after;

	for (c = LIST_FIRST(&p->conns); c; c = after) {
		after = LIST_NEXT(c, next);
		for (int w = UP; w <= DOWN && !c->dead; w++) {
			due = flush(c, w, now);
			if (due < next)
				next = due;
		}
		conn_watch(c);
	}
	return next;
}

void
conns_reap(struct proxy *p)
{
	struct conn *c;

	while ((c = LIST_FIRST(&p->dead))) {
		LIST_REMOVE(c, next);
		conn_free(c);
	}
}
