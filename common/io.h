/* SPDX-License-Identifier: MIT */
/* All of it or an error: what write(2) leaves to its caller. */
#ifndef COMMON_IO_H
#define COMMON_IO_H

#include <stddef.h>
#include <stdint.h>

/* All n bytes at off.  0 or -errno; then some of them may be written.  The
 * descriptor's own offset is not used.  Any thread. */
int io_write_all(int fd, const void *p, size_t n, uint64_t off);

#endif
