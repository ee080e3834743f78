#!/bin/bash
# diff and merge against rsync and diff3: random trees, of which two versions are compared and merged.
# tests/unit/model.t has more of it. PFFS_TEST_TREES says how many, PFFS_TEST_SEED which; PFFS_LONG=1
# takes 200.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/{theirs,settled} demo)
trees=${PFFS_TEST_TREES:-60}
[ "${PFFS_LONG:-}" != 1 ] || trees=200
seed=${PFFS_TEST_SEED:-1}
model=$top/tests/mount/model-trees
diag "seed $seed"
ok "rsync and diff3 have their say" within 120 "$model" make "$scratch/m" "$trees" "$seed"
within 30 mkdir demo
wait_for "$wait_limit" state_is demo ready

# change NAME WHAT: files and removals in a sandbox.
change() {
	command cp "$scratch/m/$2.tar" "$1/fs/tmp/changes.tar" && command cp "$scratch/m/$2.removed" "$1/fs/tmp/removed" &&
		bash_in "$1" 'cd /root && xargs -0r rm -rf -- < /tmp/removed && tar xpf /tmp/changes.tar --numeric-owner &&
			rm /tmp/changes.tar /tmp/removed'
}

# What is below w/: names, types, modes, owners, targets and contents.
digest='find w -printf "%p %y %m %U %G %l\0" | LC_ALL=C sort -z | md5sum
find w -type f -print0 | LC_ALL=C sort -z | xargs -0r md5sum | md5sum'

# digest_of NAME: of a sandbox, by itself.
digest_of() {
	bash_in "$1" "cd /root; $digest" && cat "$1/stdout"
}

ok "the base is in a sandbox" change demo base
ok "it is forked twice" bash -c 'echo theirs settled > demo/forks/.n'
ok "the sandbox has ours" change demo ours
ok "a fork has theirs" change demo/forks/theirs theirs
ok "another one what can be merged of it" change demo/forks/settled settled
before=$(digest_of demo)
is "$before" "$(cd "$scratch/m/ours" && eval "$digest")" "all is as it should be"
echo root/w > demo/config/diff_paths
cat demo/diff/theirs > "$scratch/diff"
is "$("$model" check "$scratch/m" "$scratch/diff" diff)" "" "diff says what rsync says"
fails_with EBUSY "conflicts are found" write demo/merge "files theirs"
cat demo/merge > "$scratch/report"
is "$("$model" check "$scratch/m" "$scratch/report" conflicts)" "" "those that diff3 finds"
is "$(digest_of demo)" "$before" "and nothing changes"
ok "without them it is merged" within "$wait_limit" bash -c 'echo files settled > demo/merge'
is "$(digest_of demo)" "$(cd "$scratch/m/merged" && eval "$digest")" "into what diff3 makes of it"
done_testing
