#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes configure from configure.ac; needs autoconf, automake and pkg-config.
set -e
cd "$(dirname "$0")"
for tool in autoreconf automake pkg-config; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "autogen.sh: $tool is missing; on Debian: apt-get install autoconf automake pkg-config" >&2
        exit 1
    fi
done
exec autoreconf -fi "$@"
