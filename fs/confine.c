/* SPDX-License-Identifier: MIT */
/* See confine.h. */
#include <config.h>

#include "fs/confine.h"

#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap) (UINT64_C(1) << (cap))

/*
 * To act for callers on a shared directory: CHOWN, DAC_OVERRIDE,
 * DAC_READ_SEARCH, FOWNER, FSETID, LEASE, MKNOD, SETUID, SETGID.  To give the
 * kernel the cached files: SYS_ADMIN (passthrough asks for it at each open: by
 * way of the supervisor that would cost more than the open).  To stay when
 * memory or the disk is short, and to be killed last: SYS_RESOURCE.  Of a
 * supervisor that a worker may have to make: KILL, LINUX_IMMUTABLE (guard).
 */
static const uint64_t needed =
	BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) |
	BIT(CAP_FOWNER) | BIT(CAP_FSETID) | BIT(CAP_KILL) | BIT(CAP_LEASE) |
	BIT(CAP_LINUX_IMMUTABLE) | BIT(CAP_MKNOD) | BIT(CAP_SETGID) |
	BIT(CAP_SETUID) | BIT(CAP_SYS_ADMIN) | BIT(CAP_SYS_RESOURCE);

static void
drop_capabilities(void)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2];

	/* First for those that it runs: this itself takes a capability.  EINVAL:
	 * the kernel knows no more of them. */
	for (int cap = 0; cap < 64; cap++) {
		if (!(needed & BIT(cap)) &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			break;
	}
	if (syscall(SYS_capget, &h, d) < 0)
		return;
	for (int i = 0; i < 2; i++) {
		uint32_t keep = needed >> (32 * i);

		d[i].effective &= keep;
		d[i].permitted &= keep;
		d[i].inheritable &= keep;
	}
	syscall(SYS_capset, &h, d);
}

void
confine_worker(void)
{
	drop_capabilities();
#ifndef SHAREDFS_SANITIZED
	/* (A sanitizer traces its own process at the end.) */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}
