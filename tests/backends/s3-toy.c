/* SPDX-License-Identifier: MIT */
/* See s3-toy.h. */
#include <config.h>

#include "tests/backends/s3-toy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/s3-sign.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

struct object {
	char *key;
	char *meta; /* header lines */
	char *data;
	size_t len;
	char etag[33];
	SLIST_ENTRY(object) next;
};

struct toy {
	int fd;
	char *url;
	pthread_t thread;
	atomic_bool stop;
	pthread_mutex_t lock; /* hook, arg; held while it runs */
	toy_hook *hook;
	void *arg;
	SLIST_HEAD(, object) objects; /* the thread's */
};

const char *
toy_header(const struct toy_req *r, const char *name, char *out, size_t max)
{
	_cleanup_free_ char *want = xasprintf("\n%s:", name);
	const char *p = strstr(r->text, want);
	size_t n = 0;

	if (p) {
		p += strlen(want);
		while (*p == ' ')
			p++;
		n = strcspn(p, "\r\n");
		if (n >= max)
			n = max - 1;
		memcpy(out, p, n);
	}
	out[n] = '\0';
	return out;
}

static void
object_free(struct object *o)
{
	free(o->key);
	free(o->meta);
	free(o->data);
	free(o);
}

static struct object *
find(struct toy *t, const char *key)
{
	struct object *o;

	SLIST_FOREACH (o, &t->objects, next)
		if (strcmp(o->key, key) == 0)
			return o;
	return NULL;
}

static void
drop(struct toy *t, const char *key)
{
	struct object *o = find(t, key);

	if (o) {
		SLIST_REMOVE(&t->objects, o, object, next);
		object_free(o);
	}
}

static void
say(struct buf *b, const char *status, const char *headers, const char *body,
    size_t len)
{
	char date[64];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	buf_addf(b, "HTTP/1.1 %s\r\nDate: %s\r\nConnection: close\r\n"
		    "Content-Length: %zu\r\n%s\r\n",
		 status, date, len, headers);
	if (body)
		buf_add(b, body, len);
}

static void
say_error(struct buf *b, const char *status, const char *code)
{
	_cleanup_free_ char *x =
		xasprintf("<Error><Code>%s</Code></Error>", code);

	say(b, status, "", x, strlen(x));
}

static void
do_put(struct toy *t, const struct toy_req *r, struct buf *b)
{
	struct object *o = find(t, r->key);
	_cleanup_buf_ struct buf meta = BUF_INIT;
	unsigned char md[EVP_MAX_MD_SIZE];
	char value[256], line[64];
	const char *p = r->text;

	toy_header(r, "if-none-match", value, sizeof(value));
	if (*value && o) {
		say_error(b, "412 Precondition Failed", "PreconditionFailed");
		return;
	}
	toy_header(r, "if-match", value, sizeof(value));
	if (*value && (!o || strlen(value) != 34 ||
		       strncmp(value + 1, o->etag, 32) != 0)) {
		say_error(b, "412 Precondition Failed", "PreconditionFailed");
		return;
	}
	drop(t, r->key);
	o = xcalloc(1, sizeof(*o));
	o->key = xstrdup(r->key);
	o->data = xmemdup(r->len ? r->body : "", r->len + !r->len);
	o->len = r->len;
	while ((p = strstr(p, "\nx-amz-meta-"))) {
		size_t n = strcspn(++p, "\r\n");

		buf_add(&meta, p, n);
		buf_addstr(&meta, "\r\n");
	}
	buf_str(&meta);
	o->meta = buf_steal(&meta);
	if (!o->meta)
		o->meta = xstrdup("");
	EVP_Digest(o->data, o->len, md, NULL, EVP_md5(), NULL);
	s3_hex(md, 16, o->etag);
	SLIST_INSERT_HEAD(&t->objects, o, next);
	snprintf(line, sizeof(line), "ETag: \"%s\"\r\n", o->etag);
	say(b, "200 OK", line, NULL, 0);
}

static void
do_get(struct toy *t, const struct toy_req *r, struct buf *b)
{
	struct object *o = find(t, r->key);
	_cleanup_free_ char *h = NULL;
	bool head = strcmp(r->method, "HEAD") == 0;
	unsigned long from = 0, to;
	char range[128] = "", v[64];

	if (!o) {
		if (head)
			say(b, "404 Not Found", "", NULL, 0);
		else
			say_error(b, "404 Not Found", "NoSuchKey");
		return;
	}
	to = o->len;
	toy_header(r, "range", v, sizeof(v));
	if (sscanf(v, "bytes=%lu-%lu", &from, &to) == 2) {
		if (from >= o->len) {
			say_error(b, "416 Range", "InvalidRange");
			return;
		}
		if (++to > o->len)
			to = o->len;
		snprintf(range, sizeof(range),
			 "Content-Range: bytes %lu-%lu/%zu\r\n", from, to - 1,
			 o->len);
	}
	h = xasprintf("ETag: \"%s\"\r\nLast-Modified: Fri, 01 Jan 2021"
		      " 00:00:00 GMT\r\n%s%s",
		      o->etag, o->meta, range);
	say(b, *range ? "206 Partial Content" : "200 OK", h,
	    head ? NULL : o->data + from, to - from);
}

static void
answer(struct toy *t, const struct toy_req *r, struct buf *b)
{
	static const char empty[] = "<ListBucketResult><IsTruncated>false"
				    "</IsTruncated></ListBucketResult>";
	char v[256];

	if (strstr(r->query, "list-type=2")) {
		say(b, "200 OK", "", empty, sizeof(empty) - 1);
	} else if (strcmp(r->method, "POST") == 0 || strstr(r->query, "upload")) {
		say_error(b, "501 Not Implemented", "NotImplemented");
	} else if (*toy_header(r, "x-amz-copy-source", v, sizeof(v))) {
		say_error(b, "501 Not Implemented", "NotImplemented");
	} else if (strcmp(r->method, "PUT") == 0) {
		do_put(t, r, b);
	} else if (strcmp(r->method, "DELETE") == 0) {
		drop(t, r->key);
		say(b, "204 No Content", "", NULL, 0);
	} else {
		do_get(t, r, b);
	}
}

/* --- the wire ------------------------------------------------------------------ */

static bool
receive(int fd, struct buf *in, size_t *head)
{
	size_t want = SIZE_MAX;

	for (;;) {
		char p[65536], *end;
		ssize_t n;

		if (want == SIZE_MAX && in->s &&
		    (end = strstr(in->s, "\r\n\r\n"))) {
			char *cl;

			*head = end + 4 - in->s;
			end[2] = '\0';
			/* names of headers in lower case */
			for (char *c = strchr(in->s, '\n'); c && c < end;
			     c = strchr(c, '\n'))
				for (c++; *c && *c != ':' && *c != '\n'; c++)
					*c = tolower((unsigned char)*c);
			cl = strstr(in->s, "\ncontent-length:");
			want = *head + (cl ? strtoul(cl + 16, NULL, 10) : 0);
		}
		if (in->len >= want)
			return true;
		n = read(fd, p, sizeof(p));
		if (n <= 0)
			return false;
		buf_add(in, p, n);
	}
}

static void
send_all(int fd, const struct buf *b)
{
	size_t done = 0;

	while (done < b->len) {
		ssize_t n = send(fd, b->s + done, b->len - done, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		done += n;
	}
}

static void
serve(struct toy *t, int fd)
{
	_cleanup_buf_ struct buf in = BUF_INIT, out = BUF_INIT;
	_cleanup_free_ char *line = NULL;
	enum toy_do what = TOY_NORMAL;
	struct toy_req r = { 0 };
	char *path, *save = NULL, *query, *key;
	size_t head;

	if (!receive(fd, &in, &head))
		return;
	line = xstrndup(in.s, strcspn(in.s, "\r\n"));
	r.method = strtok_r(line, " ", &save);
	path = strtok_r(NULL, " ", &save);
	if (!r.method || !path)
		return;
	query = strchr(path, '?');
	if (query)
		*query++ = '\0';
	key = strchr(path + 1, '/');
	r.key = key ? key + 1 : "";
	r.query = query ? query : "";
	r.text = in.s;
	r.body = in.s + head;
	r.len = in.len - head;
	pthread_mutex_lock(&t->lock);
	if (t->hook)
		what = t->hook(t->arg, &r, &out);
	pthread_mutex_unlock(&t->lock);
	if (what != TOY_REPLY)
		answer(t, &r, &out);
	if (what != TOY_SWALLOW)
		send_all(fd, &out);
}

static void *
loop(void *arg)
{
	struct toy *t = arg;

	for (;;) {
		int fd = accept(t->fd, NULL, NULL);

		if (atomic_load(&t->stop) || fd < 0) {
			if (fd >= 0)
				close(fd);
			return NULL;
		}
		serve(t, fd);
		/* Let the other side read all before a reset could hit it. */
		shutdown(fd, SHUT_WR);
		close(fd);
	}
}

struct toy *
toy_new(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);
	struct toy *t = xcalloc(1, sizeof(*t));

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pthread_mutex_init(&t->lock, NULL);
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->fd < 0 || bind(t->fd, (struct sockaddr *)&a, n) < 0 ||
	    listen(t->fd, 64) < 0 ||
	    getsockname(t->fd, (struct sockaddr *)&a, &n) < 0)
		abort();
	t->url = xasprintf("http://127.0.0.1:%d", ntohs(a.sin_port));
	if (pthread_create(&t->thread, NULL, loop, t) != 0)
		abort();
	return t;
}

void
toy_free(struct toy *t)
{
	struct object *o;

	atomic_store(&t->stop, true);
	shutdown(t->fd, SHUT_RDWR); /* wakes accept */
	pthread_join(t->thread, NULL);
	close(t->fd);
	while ((o = SLIST_FIRST(&t->objects))) {
		SLIST_REMOVE_HEAD(&t->objects, next);
		object_free(o);
	}
	pthread_mutex_destroy(&t->lock);
	free(t->url);
	free(t);
}

const char *
toy_url(const struct toy *t)
{
	return t->url;
}

void
toy_hook_set(struct toy *t, toy_hook *fn, void *arg)
{
	pthread_mutex_lock(&t->lock);
	t->hook = fn;
	t->arg = arg;
	pthread_mutex_unlock(&t->lock);
}
