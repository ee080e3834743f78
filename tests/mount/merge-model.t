#!/bin/bash
# Merges of files against git: random trees, of which three versions are merged. PFFS_TEST_TREES says
# how many, PFFS_TEST_SEED which; PFFS_LONG=1 takes 200.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/{theirs,settled} demo)
trees=${PFFS_TEST_TREES:-40}
[ "${PFFS_LONG:-}" != 1 ] || trees=200
seed=${PFFS_TEST_SEED:-1}
diag "seed $seed"
ok "git merges random trees" within 120 "$top/tests/mount/merge-trees" make "$scratch/r" "$trees" "$seed"
ok "and the rest when conflicts are settled" within 120 "$top/tests/mount/merge-trees" settle "$scratch/r"
within 30 mkdir demo
wait_for "$wait_limit" state_is demo ready

# change NAME WHAT: files and removals in a sandbox.
change() {
	command cp "$scratch/r.$2.tar" "$1/fs/tmp/changes.tar" && command cp "$scratch/r.$2.removed" "$1/fs/tmp/removed" &&
		echo 'cd /root && xargs -0r rm -f -- < /tmp/removed && tar xpf /tmp/changes.tar && rm /tmp/changes.tar /tmp/removed' > "$1/bash" &&
		[ "$(cat "$1/exit")" = 0 ]
}

# digest: names, types, modes and contents of the files below w/ in this directory.
cat > "$scratch/digest" <<'CODE'
find w -type f -printf '%p %m\n' -exec md5sum {} + -o -type l -printf '%p -> %l\n' | LC_ALL=C sort | md5sum
CODE

ok "the base is in a sandbox" change demo base
ok "it is forked twice" bash -c 'echo theirs settled > demo/forks/.n'
ok "the sandbox has ours" change demo ours
ok "a fork has theirs" change demo/forks/theirs theirs
ok "another one has what git can merge" change demo/forks/settled theirs
ok "of it" change demo/forks/settled settled
fails_with EBUSY "conflicts are found" write demo/merge "files theirs"
cat demo/merge > "$scratch/report"
python3 - "$scratch/report" > "$scratch/found" <<'CODE'
import re, sys
escapes = {b"n": b"\n", b"t": b"\t"}
for line in open(sys.argv[1], "rb"):
    if line.startswith(b"C "):
        path = line[2:].rpartition(b": ")[0]
        if path.startswith(b'"'):
            path = re.sub(rb"\\(\d{3}|.)", lambda m: bytes([int(m[1], 8)]) if len(m[1]) == 3
                          else escapes.get(m[1], m[1]), path[1:-1])
        print(ascii(path.removeprefix(b"root/")))
CODE
python3 - "$scratch/r.conflicts" > "$scratch/expected" <<'CODE'
import sys
for path in filter(None, open(sys.argv[1], "rb").read().split(b"\0")):
    print(ascii(path))
CODE
is "$(sort "$scratch/found" | diff <(sort "$scratch/expected") -)" "" "those that git finds"
ok "without them it is merged" within "$wait_limit" bash -c 'echo files settled > demo/merge'
mkdir "$scratch/merged" && tar -C "$scratch/merged" -xpf "$scratch/r.merged.tar"
is "$({ echo 'cd /root'; command cat "$scratch/digest"; } > demo/bash; cat demo/stdout)" \
	"$(cd "$scratch/merged" && bash "$scratch/digest")" "into what git makes of it"
done_testing
