/* SPDX-License-Identifier: MIT */
/* Threads and conditions as all of sharedfs wants them. */
#ifndef COMMON_THREAD_H
#define COMMON_THREAD_H

#include <pthread.h>

/* Its timed waits count by CLOCK_MONOTONIC (clock_mono_ns). */
void cond_init_mono(pthread_cond_t *c);

/* A thread that gets no signals: those are the main thread's.  t NULL:
 * detached.  Returns 0 or an error number, as pthread_create(). */
int thread_start(pthread_t *t, void *(*fn)(void *), void *arg);

#endif
