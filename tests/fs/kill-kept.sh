#!/bin/sh
# SPDX-License-Identifier: MIT
# kill-points.sh as on kernels that don't send requests again (before 6.9): they
# are kept in the table, and each is applied once [P6.2], [P6.5].
KEPT=1
export KEPT
exec "${abs_srcdir:?use ./run}/tests/fs/kill-points.sh"
