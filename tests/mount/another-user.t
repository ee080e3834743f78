#!/bin/bash
# A pffs of a user who is not root: it is his process, and all of it goes with its mount.
. "$(dirname "$0")/own-pffs.sh"
[ "$(id -u)" = 0 ] || skip_all "only root can become another user"
user=65534

# Of his all that runs.
left() {
	pgrep -u "$user" -f "$scratch/"
}

nothing_left() {
	[ -z "$(left)" ]
}

also_clean_up() {
	left | xargs -r kill -KILL
	kill "$view"
}

mkdir -m 755 theirs
chmod 755 "$scratch"
mkdir theirs/{build,dev,mnt,run}
chown -R "$user:$user" theirs

# Where there is no udev /dev/fuse is root's alone, and so may be the folder that this tree is
# in: he has a view of the machine in which they are for all. It keeps no mount of another test.
unshare --mount --propagation private bash -c 'set -e
	sed -n "s/^[^ ]* \([^ ]*\) fuse[. ].*/\1/p" /proc/self/mounts | xargs -r -n 1 umount -l || :
	mount -t tmpfs tmpfs theirs/dev
	mknod -m 666 theirs/dev/fuse c 10 229
	mount --bind theirs/dev/fuse /dev/fuse
	mount --bind "$1" theirs/build
	touch seen
	exec sleep infinity' - "$build" &
view=$!
ok "another user has what he needs to mount" wait_for 30 test -e seen || done_testing

he() {
	nsenter --mount --target "$view" \
		setpriv --reuid "$user" --regid "$user" --clear-groups \
		env --chdir "$scratch" HOME="$scratch/theirs" TMPDIR="$scratch/theirs" \
		PFFS_RUNTIME_DIR="$scratch/theirs/run" "$@"
}
pffs=theirs/build/pffs/pffs

he "$pffs" mount --foreground --images "$images" --engine "${PFFS_ENGINE:-auto}" theirs/mnt 2>> log &
job=$!
ok "he mounts" wait_for 180 he test -e theirs/mnt/host || done_testing
pid=$(he sed -n 's/^pid //p' theirs/mnt/host)
is "$(sed -n 's/^\(Uid\|NoNewPrivs\):\t\([0-9]*\).*/\2/p' "/proc/$pid/status" | xargs)" "$user 1" "his pffs can gain no rights"
is "$(he sed -n 's/^user //p' theirs/mnt/host)" "$(id -nu "$user")" "and is his"
is "$(he bash -c 'mkdir theirs/mnt/demo; echo "print(6 * 7)" > theirs/mnt/demo/exec; timeout "$1" cat theirs/mnt/demo/stdout' - "$wait_limit")" \
	42 "a run"
not_ok "he cannot have it run as another" he timeout 60 "$pffs" mount --user root theirs/run 2> "$scratch/ignored"
ok "umount" he timeout 60 "$pffs" umount theirs/mnt
wait "$job"
ok "leaves no process" wait_for 30 nothing_left
done_testing
