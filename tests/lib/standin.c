/* SPDX-License-Identifier: MIT */
/* See standin.h. */
#include <config.h>

#include "tests/lib/standin.h"

#include <stddef.h>

#ifdef HAVE_MICROHTTPD

#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/xalloc.h"

struct route {
	char *method, *path, *body, *header, *value;
	unsigned status, count;
	struct route *next;
};

struct standin {
	struct MHD_Daemon *daemon;
	char *url;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t end;
	bool ending;
	struct route *routes;
	unsigned total;
	struct buf body, headers, shown;
};

struct upload {
	struct buf body;
};

static struct route *
find_locked(struct standin *s, const char *method, const char *path)
{
	struct route *r;

	for (r = s->routes; r; r = r->next)
		if (strcmp(r->method, method) == 0 &&
		    strcmp(r->path, path) == 0)
			break;
	return r;
}

static enum MHD_Result
keep_header(void *arg, enum MHD_ValueKind kind, const char *name,
	    const char *value)
{
	buf_addf(arg, "%s: %s\n", name, value ? value : "");
	return MHD_YES;
}

static enum MHD_Result
on_request(void *arg, struct MHD_Connection *conn, const char *path,
	   const char *method, const char *version, const char *data,
	   size_t *size, void **state)
{
	struct standin *s = arg;
	struct upload *up = *state;
	struct MHD_Response *resp;
	enum MHD_Result ret;
	const char *body = "";
	unsigned status = 404;
	struct route *r;

	if (!up) {
		*state = xcalloc(1, sizeof(*up));
		return MHD_YES;
	}
	if (*size) {
		buf_add(&up->body, data, *size);
		*size = 0;
		return MHD_YES;
	}
	pthread_mutex_lock(&s->lock);
	s->total++;
	buf_reset(&s->body);
	buf_addstr(&s->body, buf_str(&up->body));
	buf_reset(&s->headers);
	MHD_get_connection_values(conn, MHD_HEADER_KIND, keep_header,
				  &s->headers);
	r = find_locked(s, method, path);
	if (r) {
		const char *got = r->header
					  ? MHD_lookup_connection_value(
						    conn, MHD_HEADER_KIND,
						    r->header)
					  : NULL;

		r->count++;
		status = r->status;
		body = r->body;
		if (r->header && (!got || strcmp(got, r->value) != 0)) {
			status = 401;
			body = "";
		}
		if (status == 0)
			body = "";
		while (status == 0 && !s->ending)
			pthread_cond_wait(&s->end, &s->lock);
	}
	resp = MHD_create_response_from_buffer(strlen(body), (void *)body,
					       MHD_RESPMEM_MUST_COPY);
	pthread_mutex_unlock(&s->lock);
	ret = MHD_queue_response(conn, status ? status : 500, resp);
	MHD_destroy_response(resp);
	return ret;
}

static void
on_done(void *arg, struct MHD_Connection *conn, void **state,
	enum MHD_RequestTerminationCode why)
{
	struct upload *up = *state;

	if (!up)
		return;
	buf_release(&up->body);
	free(up);
	*state = NULL;
}

struct standin *
standin_new(void)
{
	struct standin *s = xcalloc(1, sizeof(*s));
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const union MHD_DaemonInfo *info;

	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->end, NULL);
	s->daemon = MHD_start_daemon(
		MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD,
		0, NULL, NULL, on_request, s, MHD_OPTION_SOCK_ADDR, &addr,
		MHD_OPTION_NOTIFY_COMPLETED, on_done, NULL, MHD_OPTION_END);
	if (!s->daemon)
		abort();
	info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
	s->url = xasprintf("http://127.0.0.1:%u", (unsigned)info->port);
	return s;
}

static void
forget_locked(struct standin *s)
{
	while (s->routes) {
		struct route *r = s->routes;

		s->routes = r->next;
		free(r->method);
		free(r->path);
		free(r->body);
		free(r->header);
		free(r->value);
		free(r);
	}
	buf_reset(&s->body);
	buf_reset(&s->headers);
	s->total = 0;
}

void
standin_free(struct standin *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	pthread_cond_broadcast(&s->end);
	pthread_mutex_unlock(&s->lock);
	MHD_stop_daemon(s->daemon);
	forget_locked(s);
	buf_release(&s->body);
	buf_release(&s->headers);
	buf_release(&s->shown);
	free(s->url);
	pthread_cond_destroy(&s->end);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

const char *
standin_url(const struct standin *s)
{
	return s->url;
}

static struct route *
add_locked(struct standin *s, const char *method, const char *path)
{
	struct route *r = find_locked(s, method, path);

	if (r)
		return r;
	r = xcalloc(1, sizeof(*r));
	r->method = xstrdup(method);
	r->path = xstrdup(path);
	r->body = xstrdup("");
	r->status = 200;
	r->next = s->routes;
	s->routes = r;
	return r;
}

void
standin_answer(struct standin *s, const char *method, const char *path,
	       unsigned status, const char *body)
{
	struct route *r;

	pthread_mutex_lock(&s->lock);
	r = add_locked(s, method, path);
	r->status = status;
	free(r->body);
	r->body = xstrdup(body);
	pthread_mutex_unlock(&s->lock);
}

void
standin_demand(struct standin *s, const char *method, const char *path,
	       const char *header, const char *value)
{
	struct route *r;

	pthread_mutex_lock(&s->lock);
	r = add_locked(s, method, path);
	free(r->header);
	free(r->value);
	r->header = xstrdup(header);
	r->value = xstrdup(value);
	pthread_mutex_unlock(&s->lock);
}

void
standin_clear(struct standin *s)
{
	pthread_mutex_lock(&s->lock);
	forget_locked(s);
	pthread_mutex_unlock(&s->lock);
}

unsigned
standin_count(struct standin *s, const char *method, const char *path)
{
	struct route *r;
	unsigned n;

	pthread_mutex_lock(&s->lock);
	r = path ? find_locked(s, method, path) : NULL;
	n = path ? (r ? r->count : 0) : s->total;
	pthread_mutex_unlock(&s->lock);
	return n;
}

const char *
standin_body(struct standin *s)
{
	pthread_mutex_lock(&s->lock);
	buf_reset(&s->shown);
	buf_addstr(&s->shown, buf_str(&s->body));
	pthread_mutex_unlock(&s->lock);
	return buf_str(&s->shown);
}

const char *
standin_header(struct standin *s, const char *name)
{
	size_t n = strlen(name);

	pthread_mutex_lock(&s->lock);
	buf_reset(&s->shown);
	for (const char *p = buf_str(&s->headers); *p;) {
		size_t line = strcspn(p, "\n");

		if (line > n + 1 && strncasecmp(p, name, n) == 0 &&
		    p[n] == ':')
			buf_add(&s->shown, p + n + 2, line - n - 2);
		p += line + (p[line] == '\n');
	}
	pthread_mutex_unlock(&s->lock);
	return buf_str(&s->shown);
}

#else /* !HAVE_MICROHTTPD: the caller skips */

struct standin *
standin_new(void)
{
	return NULL;
}

void
standin_free(struct standin *s)
{
}

const char *
standin_url(const struct standin *s)
{
	return "";
}

void
standin_answer(struct standin *s, const char *method, const char *path,
	       unsigned status, const char *body)
{
}

void
standin_demand(struct standin *s, const char *method, const char *path,
	       const char *header, const char *value)
{
}

void
standin_clear(struct standin *s)
{
}

unsigned
standin_count(struct standin *s, const char *method, const char *path)
{
	return 0;
}

const char *
standin_body(struct standin *s)
{
	return "";
}

const char *
standin_header(struct standin *s, const char *name)
{
	return "";
}

#endif
