#!/bin/bash
# bench/mount.py and bench/diff.py run, and their tables have every row; what it measures is not judged.
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
within 300 "$top/bench/diff.py" --files 300 --changed 3 --rounds 1 > "$table" 2> "$scratch/errors"
is "$?" 0 "bench/diff.py runs" || diag "$(command cat "$scratch/errors")"
for row in "a run that does nothing  " "making 300 files, in the guest" "then reading runs/N/changes" \
	"a run that does nothing, with that many files" "diff/a, where 3 files differ" \
	"sha256sum over both trees" "diff/a.patch"; do
	like "$(grep "^$row" "$table")" "^$row +[0-9.]+ ms" "$row"
done
done_testing
