/* SPDX-License-Identifier: MIT */
/* The bytes of the memory store: reading, commits, copies. */
#include <config.h>

#include "backends/mem-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/xalloc.h"

#define CHUNK (64u * 1024)

static int
deliver(const struct be_sink *sink, const char *p, uint64_t len, uint64_t off)
{
	int ret = 0;

	for (uint64_t at = 0; ret == 0 && at < len; at += CHUNK)
		ret = sink->write(sink->arg, p + at,
				  len - at < CHUNK ? len - at : CHUNK,
				  off + at);
	return ret;
}

/* A copy of [off, off+*len) of a plain file; *len is cut at its end. */
static int
mem_data_copy(struct backend *be, struct be_ctx *ctx, const char *call,
	      const struct mem_node *n, const char *path, uint64_t off,
	      uint64_t *len, char **data)
{
	if (S_ISDIR(n->mode))
		return mem_fail(ctx, -EISDIR, call, path);
	if (S_ISLNK(n->mode))
		return mem_fail(ctx, -ELOOP, call, path);
	if (!S_ISREG(n->mode))
		return mem_fail(ctx, -EINVAL, call, path);
	if (off > n->size)
		off = n->size;
	if (*len > n->size - off)
		*len = n->size - off;
	*data = xmalloc(*len + 1);
	if (*len)
		memcpy(*data, n->data + off, *len);
	return 0;
}

static int
fetch_locked(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_ver *have, struct be_attr *attr, uint64_t *len,
	     char **data)
{
	LOCKED_TREE(be);
	struct mem_place at;
	int ret = mem_look(t, ctx, "fetch", path, &at);

	if (ret)
		return ret;
	mem_node_attr(at.node, attr);
	if (have && S_ISREG(attr->mode) && be_ver_equal(have, &attr->ver))
		return 1;
	return mem_data_copy(be, ctx, "fetch", at.node, path, 0, len, data);
}

int
mem_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_ver *have, uint64_t max, const struct be_sink *sink,
	  struct be_attr *out, uint64_t *got)
{
	struct be_attr attr;
	uint64_t len = max;
	char *data = NULL;
	int ret = fetch_locked(be, ctx, path, have, &attr, &len, &data);

	if (ret == 0)
		ret = deliver(sink, data, len, 0);
	free(data);
	if (ret < 0)
		return ret;
	*out = attr;
	*got = ret ? 0 : len;
	return ret;
}

static int
read_locked(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_ver *ver, uint64_t off, uint64_t *len, char **data)
{
	LOCKED_TREE(be);
	struct mem_place at;
	int ret = mem_look(t, ctx, "read", path, &at);

	if (ret || !mem_ver_is(at.node, ver))
		return mem_fail(ctx, -ESTALE, "read", path);
	return mem_data_copy(be, ctx, "read", at.node, path, off, len, data);
}

int
mem_read(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_ver *ver, uint64_t off, uint64_t len,
	 const struct be_sink *sink, uint64_t *got)
{
	char *data = NULL;
	int ret = read_locked(be, ctx, path, ver, off, &len, &data);

	if (ret == 0)
		ret = deliver(sink, data, len, off);
	free(data);
	if (ret == 0)
		*got = len;
	return ret;
}

static bool
dirty_in(const struct be_commit *c, uint64_t off, uint64_t len)
{
	for (size_t i = 0; i < c->ndirty; i++)
		if (c->dirty[i].off < off + len &&
		    off < c->dirty[i].off + c->dirty[i].len)
			return true;
	return false;
}

/*
 * Objects go in parts.  A part without a dirty byte comes from the base inside
 * the store; of any other all bytes are sent, so the clean ones of the base
 * are needed.
 */
static uint64_t
part_len(const struct backend *be, const struct be_commit *c)
{
	if (be->caps.part_size && c->size > be->caps.part_size)
		return be->caps.part_size;
	return c->size;
}

int
mem_need(struct backend *be, const struct be_commit *c, struct rangeset *need)
{
	uint64_t len = part_len(be, c);
	uint64_t end = c->base_size < c->size ? c->base_size : c->size;
	struct rangeset mine = RANGESET_INIT;

	if (be->caps.random_write || c->whole)
		return 0;
	for (uint64_t off = 0; off < end; off += len)
		if (dirty_in(c, off, len) || len == c->size)
			rangeset_add(&mine, off,
				     end - off < len ? end - off : len);
	for (size_t i = 0; i < c->ndirty; i++)
		rangeset_del(&mine, c->dirty[i].off, c->dirty[i].len);
	for (size_t i = 0; i < mine.n; i++)
		rangeset_add(need, mine.v[i].off, mine.v[i].len);
	rangeset_release(&mine);
	return 0;
}

/* What fd has of [off, off+len); what it lacks are zeros. */
static int
read_fd(const struct be_commit *c, uint64_t off, uint64_t len, char *to)
{
	while (len) {
		ssize_t n = pread(c->fd, to, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			memset(to, 0, len);
			break;
		}
		to += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* The new content: that of n, and over it what fd has. */
static int
commit_data(struct backend *be, const struct be_commit *c,
	    const struct mem_node *n, char **data)
{
	struct rangeset take __attribute__((cleanup(rangeset_release))) =
		RANGESET_INIT;
	int ret = 0;

	*data = xcalloc(1, c->size + 1);
	if (c->whole) {
		rangeset_add(&take, 0, c->size);
	} else {
		uint64_t keep = n ? n->size : 0;

		if (!be->caps.random_write && keep > c->base_size)
			keep = c->base_size;
		if (keep > c->size)
			keep = c->size;
		if (keep)
			memcpy(*data, n->data, keep);
		mem_need(be, c, &take);
		for (size_t i = 0; i < c->ndirty; i++)
			rangeset_add(&take, c->dirty[i].off, c->dirty[i].len);
	}
	for (size_t i = 0; ret == 0 && i < take.n; i++)
		ret = read_fd(c, take.v[i].off, take.v[i].len,
			      *data + take.v[i].off);
	return ret;
}

/* Does the commit copy parts of its base inside the store?  Then that version
 * must be there. */
static bool
uses_base(struct backend *be, const struct be_commit *c)
{
	return !be->caps.random_write && !c->whole && c->base_size &&
	       c->size > part_len(be, c);
}

int
mem_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	   struct be_attr *out)
{
	LOCKED_TREE(be);
	struct mem_place at;
	char *data = NULL;
	bool fresh;
	int ret;

	if (mem_done_before(t, &c->opid, out))
		return 0;
	ret = c->look ? -ESTALE : mem_find(t, c->path, &at);
	if (ret)
		return mem_fail(ctx, ret, "commit", c->path);
	ret = mem_cond_check(be, &c->cond, at.node);
	if (ret)
		return mem_fail(ctx, ret, "commit", c->path);
	if (at.node && !S_ISREG(at.node->mode))
		return mem_fail(ctx, S_ISDIR(at.node->mode) ? -EISDIR : -EINVAL,
				"commit", c->path);
	if (uses_base(be, c) && (!at.node || !mem_ver_is(at.node, &c->base)))
		return mem_fail(ctx, -ESTALE, "commit", c->path);
	if (c->size > be->caps.file_max)
		return mem_fail(ctx, -EFBIG, "commit", c->path);
	if (!at.node) {
		ret = mem_look_free(be, ctx, "commit", c->path, &at);
		if (ret)
			return ret;
	}
	ret = commit_data(be, c, at.node, &data);
	if (ret) {
		free(data);
		return mem_fail(ctx, ret, "commit", c->path);
	}
	fresh = !at.node || !be->caps.random_write;
	if (!at.node) {
		struct be_attr a = *c->attr;

		a.mode = S_IFREG | (a.mode & 07777);
		mem_name_add(&at, mem_node_new(t, &a));
	}
	free(at.node->data);
	at.node->data = data;
	at.node->size = c->size;
	mem_touch_data(be, at.node);
	mem_set_attr(at.node, fresh ? MEM_SET_ALL : c->mask, c->attr);
	return mem_done(t, &c->opid, at.node, out);
}

int
mem_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	 const struct be_ver *from_ver, const char *to,
	 const struct be_cond *cond, const struct be_opid *opid,
	 const struct be_attr *attr, struct be_attr *out)
{
	LOCKED_TREE(be);
	struct mem_place src, dst;
	char *data = NULL;
	uint64_t len = UINT64_MAX;
	int ret;

	if (!be->caps.server_copy)
		return mem_fail(ctx, -ENOTSUP, "copy", to);
	if (mem_done_before(t, opid, out))
		return 0;
	ret = mem_look(t, ctx, "copy", from, &src);
	if (ret)
		return ret;
	if (!mem_ver_is(src.node, from_ver))
		return mem_fail(ctx, -ESTALE, "copy", from);
	ret = mem_find(t, to, &dst);
	if (ret == 0)
		ret = mem_cond_check(be, cond, dst.node);
	if (ret == 0 && dst.node && !S_ISREG(dst.node->mode))
		ret = S_ISDIR(dst.node->mode) ? -EISDIR : -EINVAL;
	if (ret)
		return mem_fail(ctx, ret, "copy", to);
	if (!dst.node) {
		struct be_attr a = *attr;

		ret = mem_look_free(be, ctx, "copy", to, &dst);
		if (ret)
			return ret;
		a.mode = S_IFREG | (a.mode & 07777);
		mem_name_add(&dst, mem_node_new(t, &a));
	}
	ret = mem_data_copy(be, ctx, "copy", src.node, from, 0, &len, &data);
	if (ret)
		return ret;
	free(dst.node->data);
	dst.node->data = data;
	dst.node->size = len;
	mem_touch_data(be, dst.node);
	mem_set_attr(dst.node, MEM_SET_ALL, attr);
	return mem_done(t, opid, dst.node, out);
}
