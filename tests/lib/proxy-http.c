/* SPDX-License-Identifier: MIT */
/* See proxy-http.h. */
#include <config.h>

#include "tests/lib/proxy-http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define HEAD_MAX 65536

enum {
	S_HEAD,
	S_FRAMING, /* the head was shown, the body begins */
	S_LENGTH,
	S_CHUNK_SIZE,
	S_CHUNK_DATA,
	S_TRAILER,
	S_CLOSE, /* until the stream ends */
	S_DONE,
};

void
http_init(struct http *h, bool reply)
{
	*h = (struct http){.reply = reply, .length = -1};
}

void
http_release(struct http *h)
{
	buf_release(&h->head);
	buf_release(&h->line);
	free(h->target);
	h->target = NULL;
}

/* Finds the header's line: [*from, *to) with its line end. */
static bool
header_find(const struct buf *head, const char *name, size_t *from, size_t *to)
{
	size_t n = strlen(name);
	char *p = strstr(head->s, "\r\n");

	while (p && p[2] != '\r' && p[2] != '\0') {
		char *line = p + 2;

		p = strstr(line, "\r\n");
		if (!p)
			return false;
		if (!strncasecmp(line, name, n) && line[n] == ':') {
			*from = (size_t)(line - head->s);
			*to = (size_t)(p + 2 - head->s);
			return true;
		}
	}
	return false;
}

char *
http_header(const struct buf *head, const char *name)
{
	size_t from, to;

	if (!header_find(head, name, &from, &to))
		return NULL;
	from += strlen(name) + 1;
	while (from < to && isspace((unsigned char)head->s[from]))
		from++;
	while (to > from && isspace((unsigned char)head->s[to - 1]))
		to--;
	return xstrndup(head->s + from, to - from);
}

void
http_set_header(struct buf *head, const char *name, const char *value)
{
	struct buf out = BUF_INIT;
	size_t from, to;

	if (!header_find(head, name, &from, &to)) {
		if (!value)
			return;
		from = to = head->len - 2; /* before the empty line */
	}
	buf_add(&out, head->s, from);
	if (value)
		buf_addf(&out, "%s: %s\r\n", name, value);
	buf_addstr(&out, head->s + to);
	buf_release(head);
	*head = out;
}

/* "PUT /a HTTP/1.1" or "HTTP/1.1 200 OK", and how long the body is. */
static bool
head_parse(struct http *h)
{
	_cleanup_free_ char *length = http_header(&h->head, "Content-Length");
	_cleanup_free_ char *coding =
		http_header(&h->head, "Transfer-Encoding");
	const char *p = h->head.s, *end;

	if (h->reply) {
		if (strncmp(p, "HTTP/1.", 7) || strlen(p) < 12)
			return false;
		h->status = (int)strtol(p + 9, NULL, 10);
	} else {
		end = strchr(p, ' ');
		if (!end || (size_t)(end - p) >= sizeof(h->method))
			return false;
		memcpy(h->method, p, (size_t)(end - p));
		h->method[end - p] = '\0';
		p = end + 1;
		end = strchr(p, ' ');
		if (!end || strncmp(end, " HTTP/1.", 8))
			return false;
		free(h->target);
		h->target = xstrndup(p, (size_t)(end - p));
	}
	h->length = length ? (int64_t)strtoll(length, NULL, 10) : -1;
	h->chunked = coding && strcasestr(coding, "chunked");
	return true;
}

static void
framing(struct http *h)
{
	h->offset = 0;
	h->taken = 0;
	h->left = 0;
	if (h->no_body || (h->reply && (h->status / 100 == 1 ||
					h->status == 204 || h->status == 304)))
		h->state = S_DONE;
	else if (h->chunked)
		h->state = S_CHUNK_SIZE;
	else if (h->length >= 0) {
		h->state = S_LENGTH;
		h->left = (uint64_t)h->length;
	} else
		h->state = h->reply ? S_CLOSE : S_DONE;
}

/* Collects up to a line end in h->line; true when it is there. */
static bool
take_line(struct http *h, const char *p, size_t n, size_t *used)
{
	const char *nl = memchr(p, '\n', n);

	*used = nl ? (size_t)(nl - p) + 1 : n;
	buf_add(&h->line, p, *used);
	return nl != NULL;
}

static enum http_event
feed_head(struct http *h, const char *p, size_t n, size_t *used)
{
	while (*used < n) {
		size_t got;
		bool whole = take_line(h, p + *used, n - *used, &got);

		*used += got;
		if (h->head.len + h->line.len > HEAD_MAX)
			return HTTP_BAD;
		if (!whole)
			return HTTP_MORE;
		/* Empty lines before a message are allowed. */
		if (h->head.len || strcmp(h->line.s, "\r\n"))
			buf_add(&h->head, h->line.s, h->line.len);
		got = h->line.len;
		buf_reset(&h->line);
		if (got == 2 && h->head.len > 2) {
			h->state = S_FRAMING;
			return head_parse(h) ? HTTP_HEAD : HTTP_BAD;
		}
	}
	return HTTP_MORE;
}

static enum http_event
feed_body(struct http *h, const char *p, size_t n, size_t *used)
{
	uint64_t left = h->state == S_CLOSE ? n : h->left;

	*used = n < left ? n : (size_t)left;
	h->left = left - *used;
	if (h->left == 0 && h->state == S_LENGTH)
		h->state = S_DONE;
	if (h->left == 0 && h->state == S_CHUNK_DATA)
		h->state = S_CHUNK_SIZE;
	return HTTP_BODY;
}

/* A chunk's size line or a trailer's line; both belong to the body. */
static enum http_event
feed_line(struct http *h, const char *p, size_t n, size_t *used)
{
	if (!take_line(h, p, n, used))
		return HTTP_BODY;
	if (h->state == S_TRAILER) {
		if (!strcmp(h->line.s, "\r\n"))
			h->state = S_DONE;
	} else {
		h->left = strtoull(h->line.s, NULL, 16);
		if (h->left == 0) {
			h->state = S_TRAILER;
		} else {
			h->state = S_CHUNK_DATA;
			h->left += 2; /* the line end behind the data */
		}
	}
	buf_reset(&h->line);
	return HTTP_BODY;
}

static enum http_event
feed(struct http *h, const char *p, size_t n, size_t *used)
{
	if (h->state == S_FRAMING)
		framing(h);
	if (h->state == S_LENGTH && h->left == 0)
		h->state = S_DONE;
	if (h->state == S_DONE) {
		h->state = S_HEAD;
		h->no_body = false;
		buf_reset(&h->head);
		return HTTP_END;
	}
	if (n == 0)
		return HTTP_MORE;
	switch (h->state) {
	case S_HEAD:
		return feed_head(h, p, n, used);
	case S_LENGTH:
	case S_CHUNK_DATA:
	case S_CLOSE:
		return feed_body(h, p, n, used);
	default:
		return feed_line(h, p, n, used);
	}
}

enum http_event
http_feed(struct http *h, const char *p, size_t n, size_t *used)
{
	enum http_event ev;

	*used = 0;
	h->offset += h->taken;
	h->taken = 0;
	ev = feed(h, p, n, used);
	if (ev == HTTP_BODY)
		h->taken = *used;
	return ev;
}

/* Is "name" or "name=…" a parameter of the query? */
static bool
has_param(const char *target, const char *name)
{
	const char *q = strchr(target, '?');
	size_t n = strlen(name);

	while (q) {
		q++;
		if (!strncmp(q, name, n) &&
		    (q[n] == '=' || q[n] == '&' || !q[n]))
			return true;
		q = strchr(q, '&');
	}
	return false;
}

const char *
http_class(const struct http *h)
{
	_cleanup_free_ char *copy = http_header(&h->head, "x-amz-copy-source");
	const char *t = h->target;

	if (!strcmp(h->method, "GET"))
		return has_param(t, "list-type") || has_param(t, "prefix") ||
				       has_param(t, "uploads")
			       ? "LIST"
			       : "GET";
	if (!strcmp(h->method, "PUT")) {
		if (has_param(t, "partNumber"))
			return copy ? "PART_COPY" : "PART";
		return copy ? "COPY" : "PUT";
	}
	if (!strcmp(h->method, "POST")) {
		if (has_param(t, "delete"))
			return "DELETE_MANY";
		return has_param(t, "uploads") ? "CREATE" : "COMPLETE";
	}
	if (!strcmp(h->method, "DELETE"))
		return has_param(t, "uploadId") ? "ABORT" : "DELETE";
	return h->method;
}
