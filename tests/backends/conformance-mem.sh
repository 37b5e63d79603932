#!/bin/sh
# SPDX-License-Identifier: MIT
# The memory store in both of its kinds keeps the contract.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

conformance mem:
conformance mem:object
