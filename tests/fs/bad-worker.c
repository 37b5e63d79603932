/* SPDX-License-Identifier: MIT */
/* A "new version" that promises to take over and then does not start. */
#include <config.h>

#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--worker-check") == 0) {
		puts("can take over");
		return 0;
	}
	return 9;
}
