#!/bin/bash
# bench/mount.py runs, and its tables have every row; what it measures is not judged.
. "$(dirname "$0")/lib.sh"
table=$scratch/table
PFFS_BUILD=$build within 400 "$top/bench/mount.py" --rounds 1 --touched 16 --children 2 --idle 2 \
	> "$table" 2> "$scratch/errors"
is "$?" 0 "the benchmarks run" || diag "$(command cat "$scratch/errors")"
for row in "mkdir of a template that is not booted" "create: until the REPL's first byte" \
	"exec: code written, until its output ended" "destroy: rmdir returns" \
	"2 children: until each has answered" "2 children: pause of the parent" \
	"an idle fork: private memory" "16 MiB touched: until the child's first byte" \
	"16 MiB touched: pause of the parent"; do
	like "$(grep "^$row" "$table")" "^$row +[0-9]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ " "$row"
done
like "$(command cat "$table")" "idle forks made, and there at once +2 " "all idle forks are there"
for key in machine kernel load version engine; do
	like "$(grep "^$key" "$table")" "^$key +[^ ]" "it says on what it was measured: $key"
done
done_testing
