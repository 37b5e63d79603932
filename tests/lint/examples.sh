#!/bin/sh
# SPDX-License-Identifier: MIT
# The examples are understood by the programs that they are for, as far as
# these are installed, and every option in them exists.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_program python3

e=$srcdir/examples
python3 -c 'import yaml' 2>/dev/null || skip "python3-yaml is not installed"
for f in "$e"/*/*.yml "$e"/*/*.yaml; do
	python3 -c '
import sys, yaml
docs = [d for d in yaml.safe_load_all(open(sys.argv[1]))]
assert docs and all(isinstance(d, dict) for d in docs)' "$f" ||
		fail "$f is no YAML"
done
if command -v docker-compose >/dev/null; then
	for f in "$e"/docker-compose/*.yml; do
		docker-compose -f "$f" config -q || fail "docker-compose refuses $f"
	done
else
	echo "docker-compose is not installed: only parsed"
fi

# fstab: the helper takes each line's options, and mount(8) each line.
mkdir "$work/dir"
grep -v '^#' "$e/fstab" | grep . | while read -r source dir type options rest; do
	[ "$dir $type $rest" = "/srv/share sharedfs 0 0" ] ||
		fail "fstab: $source $dir $type $rest"
	mount.sharedfs -f "$source" "$work/dir" -o "$options" ||
		fail "fstab: $options"
done
# In the docs too, lines of fstab.
for f in README.md docs/containers.md; do
	awk '$3 == "sharedfs" && NF == 6 { print $1, $4 }' "$srcdir/$f" |
		while read -r source options; do
		mount.sharedfs -f "$source" "$work/dir" -o "$options" ||
			fail "$f: $options"
	done
done

# SHAREDFS_NAME in the examples names options.
grep -rhoE 'SHAREDFS_[A-Z_]+' "$e" "$srcdir/docs/containers.md" | sort -u |
	while read -r name; do
	opt=$(echo "${name#SHAREDFS_}" | tr A-Z a-z)
	sharedfs --help | grep -qw -e "$opt" || fail "there is no option for $name"
done

# The image has the packages that the build needs.
wanted=$(sed -n '/^build="/,/"$/p' "$srcdir/tests/lib/packages.sh" |
	tr -d '"' | sed 's/^build=//')
for p in $wanted; do
	case $p in
	fuse3|ca-certificates) continue ;;
	esac
	grep -qw -e "$p" "$e/sidecar/Dockerfile" || fail "Dockerfile lacks $p"
done
