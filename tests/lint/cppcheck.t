#!/bin/bash
# Every C file is free of what cppcheck finds; what it gets wrong is in the file
# cppcheck-suppressions, each with its reason.
. "$(dirname "$0")/lint.sh"
need cppcheck
mapfile -t files < <(sources '*.c')
lint_each cppcheck cppcheck --quiet --error-exitcode=1 --std=c11 --language=c \
	--enable=warning,performance,portability --inline-suppr \
	--suppressions-list=tests/lint/cppcheck-suppressions \
	-D_GNU_SOURCE -D__x86_64__ -I. FILE --- "${files[@]}"
