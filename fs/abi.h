/* SPDX-License-Identifier: MIT */
/* What the kernel has and this libfuse lacks, in one place. */
#ifndef FS_ABI_H
#define FS_ABI_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Is this request INIT?  Then *unique is its number. */
bool abi_is_init(const void *request, size_t n, uint64_t *unique);
/* Does the kernel of this INIT know FUSE_NOTIFY_RESEND (6.9)? */
bool abi_can_resend(const void *init, size_t n);
/* The number of a request, the same each time it is sent. */
uint64_t abi_unique(const void *request, size_t n, bool *resent);
bool abi_has_answer(const void *request, size_t n);
/* Asks for all requests that were read and not answered once more; -EINVAL
 * from kernels without it. */
int abi_resend(int fd);
/* A whole reply in one piece, to be changed; 0: longer than cap. */
size_t abi_gather(const struct iovec *iov, int count, void *reply, size_t cap);
/* Does the kernel of this INIT know passthrough (6.9)? */
bool abi_can_passthrough(const void *init, size_t n);
/* Does the kernel of this INIT map files with MAP_SHARED whose handles are
 * DIRECT_IO (6.6)?  Older ones refuse it with ENODEV. */
bool abi_can_map_direct(const void *init, size_t n);
/*
 * In the reply to INIT: mappings as above, and lookups in one directory need
 * not wait for each other.  (libfuse 3.14 forgets to pass on
 * FUSE_CAP_PARALLEL_DIROPS; then one lookup that waits for the store keeps all
 * others of its directory waiting, and not even SIGKILL ends them.)
 */
void abi_want_offered(void *reply, size_t n, const void *init, size_t init_len);
/* libfuse has passthrough itself since 3.17: then the next two do what is left. */
#define ABI_LIBFUSE_PASSTHROUGH (FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17))
/*
 * In the reply to INIT: asks for passthrough, for HANDLE_KILLPRIV_V2 (without
 * it every passthrough write asks for security.capability first) and for
 * requests to be sent again.  reply is the whole reply, in one piece.
 */
void abi_want_passthrough(void *reply, size_t n);
/* In the reply to OPEN or CREATE: the kernel itself reads and writes the file
 * behind this id.  false: it is no such reply. */
bool abi_set_backing(void *reply, size_t n, int32_t id);
/* An id for the file fd, for opens of one node; -errno.  fd may be closed. */
int abi_backing_open(int fuse_fd, int fd);
void abi_backing_close(int fuse_fd, int32_t id);
/* The number of the request that this reply is for; 0: a notification. */
uint64_t abi_reply_unique(const struct iovec *iov, int count);

#endif
