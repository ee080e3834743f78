#!/bin/bash
# Every C file is as clang-format writes it: clang-format -i FILE mends one.
. "$(dirname "$0")/lint.sh"
need clang-format
mapfile -t files < <(sources '*.c' '*.h')
lint_each clang-format clang-format --dry-run --Werror FILE --- "${files[@]}"
