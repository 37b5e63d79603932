/* SPDX-License-Identifier: MIT */
/* All of it or an error: what write(2) leaves to its caller; and what became of
 * it. */
#ifndef COMMON_IO_H
#define COMMON_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All n bytes at off.  0 or -errno; then some of them may be written.  The
 * descriptor's own offset is not used.  Any thread. */
int io_write_all(int fd, const void *p, size_t n, uint64_t off);

/* Could the kernel not bring to the disk what was written to the file, by
 * anybody?  Such bytes are right only as long as they stay in memory.  Told once
 * for each descriptor; costs nothing. */
bool io_write_failed(int fd);

/* Are all pages of [off, off+len) in memory?  A hole that was never read is
 * not.  -1: the kernel (before 6.5) does not tell. */
int io_in_memory(int fd, uint64_t off, uint64_t len);

/*
 * Begins to write out all that is dirty, so that the next store through a mapping
 * faults, and moves ctime.  A page that is being written out and was changed
 * again meanwhile is passed over, and stays as it is: then that is waited for.
 * -errno: as io_write_failed(), which tells of it no more.
 */
int io_protect_pages(int fd);

#endif
