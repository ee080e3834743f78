#!/bin/bash
# Nothing that a guest puts into its files leads a program of the host astray, and a guest
# that does not serve them stops nobody who does not ask for them.
. "$(dirname "$0")/lib.sh"
sandbox demo other
tree=$PWD/demo/fs

# in_guest: bash code from standard input, to its end; its output is printed.
in_guest() {
	command cat > demo/bash && cat demo/output
}

# Links. The host has a secret, and the guest knows where.
echo outside > "$scratch/secret"
chmod 644 "$scratch/secret"
in_guest << CODE
mkdir -p /root/a/b; cd /root/a/b
echo root:inside > /etc/shadow
ln -s /etc/shadow absolute
ln -s ../../../../../../../../../../etc/shadow climbing
ln -s ../../../etc/../../../etc/./shadow winding
ln -s / top
ln -s ../../.. almost
ln -s $scratch/secret secret
ln -s ../../../../../../../../../..$scratch/secret secret2
ln -s top/../../../..$scratch/secret secret3
ln -s /proc/self/root$scratch/secret secret4
ln -s top chained; ln -s chained/../../../../.. chained2
ln -s "$PWD" mount
CODE
for link in absolute climbing winding top/etc/shadow chained/etc/shadow; do
	is "$(cat "$tree/root/a/b/$link" 2>&1)" root:inside "$link is the guest's"
done
for link in secret secret2 secret3 secret4 top$scratch/secret "chained2$scratch/secret" \
	"almost/../../../../../../../..$scratch/secret"; do
	case $link in
	almost/*) # what the caller itself says is followed; the link is not
		is "$(cat "$tree/root/a/b/almost/$(basename "$scratch")/secret" 2> "$scratch/ignored")" "" \
			"almost leads nowhere else"
		;;
	*) is "$(cat "$tree/root/a/b/$link" 2> "$scratch/ignored")" "" "$link leads nowhere" ;;
	esac
done
outside=0
for link in "$tree"/root/a/b/*; do
	case $(realpath -m "$link") in
	"$tree" | "$tree"/*) ;;
	*) outside=$((outside + 1)) ;;
	esac
done
is "$outside" 0 "no link leads out of fs/"
is "$(find -L "$tree/root/a" -maxdepth 4 -name README 2> "$scratch/ignored" | wc -l)" 0 \
	"not even to the mount's own files"
ln -s "$scratch/secret" "$tree/root/mine"
is "$(cat "$tree/root/mine" 2> "$scratch/ignored")" "" "nor does one that was made here"
is "$(in_guest <<< 'readlink /root/mine')" "$scratch/secret" "which the guest has as it was written"

# A directory that becomes a link while somebody goes through it.
in_guest << CODE
mkdir /root/race /root/race/d; echo inside > /root/race/d/secret
ln -s $scratch /root/race/l; ln -s ../../../../../../../../../..$scratch /root/race/l2
cat > /tmp/swap.py << 'END'
import ctypes, os, time
os.chdir("/root/race")
os.rename("d", "x")
swap = ctypes.CDLL(None).renameat2
end = time.monotonic() + 12
while time.monotonic() < end:
    for link in b"l", b"l2":
        swap(-100, b"x", -100, link, 2)
        swap(-100, b"x", -100, link, 2)
END
nohup python3 /tmp/swap.py > /dev/null 2>&1 &
CODE
rounds=0 inside=0 outside=0
deadline=$((SECONDS + 10))
while [ $SECONDS -lt $deadline ] && [ $rounds -lt 3000 ]; do
	case $(command cat "$tree/root/race/x/secret" 2> "$scratch/ignored") in
	inside) inside=$((inside + 1)) ;;
	outside) outside=$((outside + 1)) ;;
	esac
	rounds=$((rounds + 1))
done
is "$outside" 0 "of $rounds looks through a name that changes, none gets out"
ok "and $inside found what is there" [ "$inside" -gt 0 ]

# What has power in the guest has none here.
in_guest << 'CODE'
cp /usr/bin/id /root/id; chmod 6755 /root/id
mknod -m 666 /root/null c 1 3; mknod -m 666 /root/disk b 254 0; mkfifo /root/fifo
CODE
like "$(grep " $PWD fuse" /proc/mounts)" 'nosuid.*nodev|nodev.*nosuid' "the mount is nosuid and nodev"
not_ok "a device is none" bash -c "echo x > '$tree/root/null'" 2> "$scratch/ignored"
not_ok "whichever" within 10 head -c 1 "$tree/root/disk" 2> "$scratch/ignored"
is "$(stat -c %F "$tree/root/null")" "character special file" "though it looks like one"
not_ok "nor can one be made" mknod "$tree/root/new" c 1 3 2> "$scratch/ignored"
mkdir "$scratch/box"
chmod 711 "$scratch"
chmod 755 demo
chmod 755 "$tree/root"
"$build/pffs/pffs" mount --only "$PWD/demo" --allow-other "$scratch/box" 2> "$scratch/said"
is "$(setpriv --reuid 65534 --regid 65534 --clear-groups "$scratch/box/fs/root/id" -u 2>&1)" 65534 \
	"a setuid program of the guest's root gives another user nothing"
"$build/pffs/pffs" umount "$scratch/box"

# Names and sizes that are odd, but no lies.
in_guest << 'CODE'
mkdir /root/odd; cd /root/odd
python3 - << 'END'
import os
for name in b"\n", b"\xff\xfe", b"a\nb\x01\x7f", b"-rf", b"n" * 255, b" ", "\u202egnp".encode():
    open(name, "w").close()
os.truncate(b"-rf", 1 << 42)
os.utime(b" ", (-5, -5))
os.utime(b"\n", (1 << 33, 1 << 33))
END
CODE
is "$(find "$tree/root/odd" -type f -print0 | tr -cd '\0' | wc -c)" 7 "names of odd bytes are seven names"
is "$(stat -c %s "$tree/root/odd/-rf")" $((1 << 42)) "4 TiB of nothing have their size"
is "$(stat -c %Y "$tree/root/odd/ ")" -5 "a time before 1970 is one"
ok "and all can be removed" rm -r "$tree/root/odd"

# A file server that stands still, for a while.
echo before > "$tree/root/file"
echo else > other/fs/root/file
in_guest << 'CODE'
ice=/sys/fs/cgroup/ice # the agent lets a stopped one go on; this one stays
mkdir -p $ice
for pid in $(pgrep pffs-files); do echo "$pid" > $ice/cgroup.procs; done
echo 1 > $ice/cgroup.freeze
nohup bash -c "sleep 25; echo 0 > $ice/cgroup.freeze" > /dev/null 2>&1 &
CODE
within 3 cat "$tree/root/never-asked-before" > "$scratch/ignored" 2>&1
is "$?" 124 "who asks a file server that does not answer waits, and can be ended"
is "$(within 10 ls demo | grep -cx exec)" 1 "its sandbox can be listed"
like "$(value demo/status id)" '^sbx_' "and tells of itself"
is "$(within 10 cat other/fs/root/file)" else "files of another sandbox are served"
pids=()
for i in $(seq 100); do
	pids+=("$(command cat "$tree/root/nothing$i" > /dev/null 2>&1 & echo $!)")
done
is "$(within 10 cat other/fs/root/file)" else "also while a hundred wait"
ok "the hundred are killed" kill -KILL "${pids[@]}"
gone() {
	! kill -0 "${pids[@]}" 2> "$scratch/ignored"
}
ok "and end" wait_for 30 gone
is "$(cat "$tree/root/file")" before "it goes on when the server does"
is "$(echo 'print(6 * 7)' > demo/exec; cat demo/stdout)" 42 "and so do runs"

# One that is killed, again and again.
bad=0
for i in 1 2 3; do
	in_guest <<< 'pkill -KILL pffs-files' > "$scratch/ignored"
	echo "after $i" > "$tree/root/file" && [ "$(cat "$tree/root/file")" = "after $i" ] || bad=$((bad + 1))
done
is "$bad" 0 "a file server that was killed is there again"
exec 7< "$tree/root/file"
in_guest <<< 'pkill -KILL pffs-files' > "$scratch/ignored"
is "$(cat <&7)" "after 3" "and what was open is"
exec 7<&-

# A sandbox whose machine ends under who waits.
in_guest <<< 'pkill -STOP pffs-files'
within 60 cat "$tree/root/waits" > "$scratch/ignored" 2> "$scratch/why" &
reader=$!
sleep 1
ok "its machine ends" vmctl kill "$(value demo/status vm)" 9
ok "who waits when the machine ends is answered" wait_for 30 bash -c "! kill -0 $reader 2> '$scratch/ignored'"
wait "$reader"
is "$(cat other/fs/root/file)" else "and the others go on"
done_testing
