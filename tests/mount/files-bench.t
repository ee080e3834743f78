#!/bin/bash
# bench/files.py runs, and its table has every row; what it measures is not judged.
. "$(dirname "$0")/lib.sh"
for program in sshfs /usr/lib/openssh/sftp-server; do
	command -v "$program" > "$scratch/ignored" || skip_all "no $program"
done
table=$scratch/table
PFFS_BUILD=$build within 500 "$top/bench/files.py" --rounds 1 --mib 4 --files 20 --tree usr/lib/python3.11/json \
	> "$table" 2> "$scratch/errors"
is "$?" 0 "the benchmark runs" || diag "$(command cat "$scratch/errors")"
for row in "write 4 MiB" "read 4 MiB" "read it again" "tar of 20 files in" "tar of them out" \
	"rm -r of them" "find /usr/lib/python3.11/json, first" "find, again" "grep -r in it, first" "grep -r, again"; do
	like "$(grep "^$row " "$table")" "^$row +1 +[0-9.]+ +[0-9.]+ +[0-9.]+$" "$row"
done
for key in machine kernel load version engine; do
	like "$(grep "^$key" "$table")" "^$key +[^ ]" "it says on what it was measured: $key"
done
done_testing
