/* SPDX-License-Identifier: MIT */
/* See abi.h.  Numbers that <linux/fuse.h> of the build machine may not have
 * yet are given here; they are kernel ABI and never change. */
#include <config.h>

#include "fs/abi.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ABI_NOTIFY_RESEND 7
#define ABI_UNIQUE_RESENT (UINT64_C(1) << 63)
#define ABI_INIT_EXT (UINT32_C(1) << 30)
#define ABI_HAS_RESEND2 (UINT32_C(1) << (39 - 32)) /* in flags2 */

#define ABI_PASSTHROUGH2 (UINT32_C(1) << (37 - 32))
#define ABI_DIRECT_MMAP2 (UINT32_C(1) << (36 - 32))
#define ABI_HANDLE_KILLPRIV_V2 (UINT32_C(1) << 28)
#define ABI_MINOR 40 /* what passthrough and resend came with */
#define ABI_OPEN_PASSTHROUGH (UINT32_C(1) << 7)
#define ABI_OPEN_KEEP_CACHE (UINT32_C(1) << 1)

struct abi_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define ABI_BACKING_OPEN _IOW(229, 1, struct abi_backing_map)
#define ABI_BACKING_CLOSE _IOW(229, 2, uint32_t)

/* fuse_init_out as of 7.40. */
struct abi_init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background;
	uint16_t congestion_threshold;
	uint32_t max_write;
	uint32_t time_gran;
	uint16_t max_pages;
	uint16_t map_alignment;
	uint32_t flags2;
	uint32_t max_stack_depth;
	uint32_t unused[6];
};

struct abi_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};

/* fuse_init_in as of 7.36; older kernels send less. */
struct abi_init_in {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint32_t flags2;
};

bool
abi_is_init(const void *request, size_t n, uint64_t *unique)
{
	struct fuse_in_header h;

	if (n < sizeof(h))
		return false;
	memcpy(&h, request, sizeof(h));
	*unique = h.unique;
	return h.opcode == FUSE_INIT;
}

uint64_t
abi_unique(const void *request, size_t n, bool *resent)
{
	struct fuse_in_header h;

	*resent = false;
	if (n < sizeof(h))
		return 0;
	memcpy(&h, request, sizeof(h));
	*resent = (h.unique & ABI_UNIQUE_RESENT) != 0;
	return h.unique & ~ABI_UNIQUE_RESENT;
}

/* false: the kernel is too old to say what is asked for here. */
static bool
read_init(const void *init, size_t n, struct abi_init_in *in)
{
	if (n < sizeof(struct fuse_in_header) + sizeof(*in))
		return false;
	memcpy(in, (const char *)init + sizeof(struct fuse_in_header),
	       sizeof(*in));
	return (in->flags & ABI_INIT_EXT) != 0;
}

bool
abi_can_resend(const void *init, size_t n)
{
	struct abi_init_in in;

#ifdef SHAREDFS_DEV
	/* For tests: as if this kernel were older. */
	if (getenv("SHAREDFS_NO_RESEND"))
		return false;
#endif
	return read_init(init, n, &in) && (in.flags2 & ABI_HAS_RESEND2);
}

bool
abi_has_answer(const void *request, size_t n)
{
	struct fuse_in_header h;

	if (n < sizeof(h))
		return false;
	memcpy(&h, request, sizeof(h));
	return h.opcode != FUSE_FORGET && h.opcode != FUSE_BATCH_FORGET &&
	       h.opcode != FUSE_INTERRUPT;
}

size_t
abi_gather(const struct iovec *iov, int count, void *reply, size_t cap)
{
	size_t n = 0;

	for (int i = 0; i < count; i++) {
		if (n + iov[i].iov_len > cap)
			return 0;
		memcpy((char *)reply + n, iov[i].iov_base, iov[i].iov_len);
		n += iov[i].iov_len;
	}
	return n;
}

bool
abi_can_passthrough(const void *init, size_t n)
{
	struct abi_init_in in;

	return read_init(init, n, &in) && (in.flags2 & ABI_PASSTHROUGH2) &&
	       (in.flags & ABI_HANDLE_KILLPRIV_V2);
}

bool
abi_can_map_direct(const void *init, size_t n)
{
	struct abi_init_in in;

	return read_init(init, n, &in) && (in.flags2 & ABI_DIRECT_MMAP2);
}

void
abi_want_offered(void *reply, size_t n, const void *init, size_t init_len)
{
	const size_t flags_at = sizeof(struct fuse_in_header) +
				offsetof(struct fuse_init_in, flags);
	struct fuse_out_header h;
	struct abi_init_out out;
	uint32_t offered;

	memcpy(&h, reply, sizeof(h));
	if (h.error || n < sizeof(h) + sizeof(out) ||
	    init_len < flags_at + sizeof(offered))
		return;
	memcpy(&offered, (const char *)init + flags_at, sizeof(offered));
	memcpy(&out, (char *)reply + sizeof(h), sizeof(out));
	out.flags |= offered & FUSE_PARALLEL_DIROPS;
	if (abi_can_map_direct(init, init_len)) {
		out.flags |= ABI_INIT_EXT;
		out.flags2 |= ABI_DIRECT_MMAP2;
	}
	memcpy((char *)reply + sizeof(h), &out, sizeof(out));
}

void
abi_want_passthrough(void *reply, size_t n)
{
	struct fuse_out_header h;
	struct abi_init_out out;

	memcpy(&h, reply, sizeof(h));
	if (h.error || n < sizeof(h) + sizeof(out))
		return;
	memcpy(&out, (char *)reply + sizeof(h), sizeof(out));
	if (out.minor < ABI_MINOR)
		out.minor = ABI_MINOR;
	out.flags |= ABI_INIT_EXT;
	out.flags2 |= ABI_HAS_RESEND2;
#if !ABI_LIBFUSE_PASSTHROUGH
	out.flags |= ABI_HANDLE_KILLPRIV_V2;
	out.flags2 |= ABI_PASSTHROUGH2;
	/* The cache may lie on a plain file system; a stack is refused. */
	out.max_stack_depth = 1;
#endif
	memcpy((char *)reply + sizeof(h), &out, sizeof(out));
}

bool
abi_set_backing(void *reply, size_t n, int32_t id)
{
	const size_t entry = sizeof(struct fuse_entry_out);
	struct fuse_out_header h;
	struct abi_open_out out;
	char *at;

	if (n == sizeof(h) + sizeof(out))
		at = (char *)reply + sizeof(h);
	else if (n == sizeof(h) + entry + sizeof(out))
		at = (char *)reply + sizeof(h) + entry;
	else
		return false;
	memcpy(&h, reply, sizeof(h));
	if (h.error)
		return false;
	memcpy(&out, at, sizeof(out));
	out.open_flags |= ABI_OPEN_PASSTHROUGH;
	out.open_flags &= ~ABI_OPEN_KEEP_CACHE; /* not beside it: EIO */
	out.backing_id = id;
	memcpy(at, &out, sizeof(out));
	return true;
}

int
abi_backing_open(int fuse_fd, int fd)
{
	struct abi_backing_map map = { .fd = fd };
	int id = ioctl(fuse_fd, ABI_BACKING_OPEN, &map);

	return id < 0 ? -errno : id;
}

void
abi_backing_close(int fuse_fd, int32_t id)
{
	uint32_t v = (uint32_t)id;

	ioctl(fuse_fd, ABI_BACKING_CLOSE, &v);
}

int
abi_resend(int fd)
{
	struct fuse_out_header h = {
		.len = sizeof(h),
		.error = ABI_NOTIFY_RESEND,
		.unique = 0,
	};

	if (write(fd, &h, sizeof(h)) < 0)
		return -errno;
	return 0;
}

uint64_t
abi_reply_unique(const struct iovec *iov, int count)
{
	struct fuse_out_header h;

	if (count < 1 || iov[0].iov_len < sizeof(h))
		return 0;
	memcpy(&h, iov[0].iov_base, sizeof(h));
	return h.unique;
}
