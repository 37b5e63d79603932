/* SPDX-License-Identifier: MIT */
/* x */
#include <config.h>

#include "mount-helpers/migrate-mount.h"

int
mig_undo(struct mig *m)
{
	return MIG_FAILED;
}
