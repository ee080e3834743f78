#!/bin/bash
# Every C file is free of what clang-tidy finds; .clang-tidy says what it looks for.
. "$(dirname "$0")/lint.sh"
need clang-tidy

if [ ! -e config.h ]; then
	echo "1..0 # SKIP the tree is not configured: ./configure"
	exit 0
fi
mapfile -t files < <(sources '*.c')
mapfile -t flags < <(pkg-config --cflags fuse3 jansson libnl-route-3.0 libnl-nf-3.0 | tr ' ' '\n' | grep .)
lint_each clang-tidy clang-tidy --quiet --warnings-as-errors='*' FILE -- -std=gnu17 \
	-D_GNU_SOURCE -I. -DLIBEXECDIR='"/usr/libexec/pffs"' \
	-DPKGDATADIR='"/usr/share/pffs"' "${flags[@]}" --- "${files[@]}"
