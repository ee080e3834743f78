#!/bin/bash
# A single sandbox, mounted alone, is what a container gets: it works there, and there is
# nothing else to see.
. "$(dirname "$0")/lib.sh"
chmod 755 "$scratch"
cp "$build/pffs/pffs" "$scratch/pffs" # where other users may run it
shared=$scratch/shared box=$scratch/box
mkdir "$shared" "$box"
chmod 755 "$box"
second=
device_mode=$(stat -c %a /dev/fuse)
chmod 666 /dev/fuse # as Debian has it, where udev runs

also_clean_up() { # what a failure in the middle would leave
	local dir
	for dir in "$box" "$scratch"/own/*; do
		umount -l "$dir" 2> /dev/null
	done
	chmod "$device_mode" /dev/fuse
	[ -z "$second" ] || within 60 "$scratch/pffs" umount "$shared" 2> /dev/null
}

# What it is, as the user who made the mount.
sandbox demo other
ok "pffs mount --only" "$scratch/pffs" mount --only "$PWD/demo" "$box" 2> "$scratch/said"
like "$(command cat "$scratch/said")" "demo is mounted at $box" "says so"
is "$(ls "$box")" "$(ls demo)" "a mount has what is in the sandbox's directory"
is "$(stat -c '%u %a' "$box")" "$(stat -c '%u %a' demo)" "and is its owner's"
is "$(value "$box/status" id)" "$(value demo/status id)" "it is the same sandbox"
echo 'x = 41' > "$box/exec"
echo 'print(x + 1)' > demo/exec
is "$(cat "$box/stdout")" 42 "with one REPL"
ok "a fork made there" mkdir "$box/forks/twin"
is "$(ls demo/forks)" twin "is a fork here"
is "$(echo 'print(x)' > "$box/forks/twin/exec"; cat "$box/forks/twin/stdout")" 41 "and runs there"
fails_with EPERM "it is no place for other sandboxes" mkdir "$box/new"
fails_with EPERM "and nothing is moved out of forks" rename "$box/forks/twin" "$box/mine"
ok "forks go there" rmdir "$box/forks/twin"
like "$("$scratch/pffs" mount --only "$PWD/demo" "$box" 2>&1)" 'mounted already' "one place has one mount"
like "$("$scratch/pffs" mount --only "$PWD/runs" "$scratch/x" 2>&1)" 'there is no sandbox' "a mount of nothing"
like "$("$scratch/pffs" mount --only "$PWD/templates" "$scratch/x" 2>&1)" 'not the directory of a sandbox' \
	"or of something else fails"
like "$("$scratch/pffs" mount --only "$scratch" "$scratch/x" 2>&1)" 'not the directory of a sandbox' \
	"so does one of another directory"
{
	echo 'echo late > /tmp/late' > "$box/bash"
	"$scratch/pffs" umount "$box"
}
is "$?" 0 "pffs umount ends it"
wait_for 60 test -s demo/last/status
is "$(cat demo/exit)" 0 "a run whose file was closed just before goes on"
is "$(echo 'cat /tmp/late' > demo/bash; cat demo/stdout)" late "to its end"
is "$(ls "$box")" "" "nothing is left of the mount"
"$scratch/pffs" mount --only "$PWD/demo" "$box" 2> "$scratch/said"
cat "$box/events" > "$scratch/events" 2> "$scratch/ignored" &
reader=$!
wait_for 30 test -s "$scratch/events"
ok "umount -l while a file is read there" umount -l "$box"
kill "$reader"
wait "$reader" 2> "$scratch/ignored"
is "$(echo 'print(x)' > demo/exec; cat demo/stdout)" 41 "harms nobody"
"$scratch/pffs" mount --only "$PWD/demo" "$box" 2> "$scratch/said"
rmdir demo
fails_with ENOENT "a sandbox that is removed is gone there, too" stat "$box/status"
umount "$box"

# Another user's, of a pffs that has several users.
"$scratch/pffs" mount --foreground --allow-other --socket "$PFFS_TEST_SOCKET" "$shared" \
	> "$scratch/log" 2>&1 &
second=$!
ok "a mount with --allow-other" wait_for 60 is_up "$shared" || done_testing
ok "another user's sandbox" nobody mkdir "$shared/theirs"
ok "and root's" mkdir "$shared/ours"
install -d -o 65534 -g 65534 "$scratch/own" "$scratch/own/box"
ok "that user mounts it" nobody "$scratch/pffs" mount --only "$shared/theirs" "$scratch/own/box" \
	2> "$scratch/said" || diag "$(command cat "$scratch/said")"
is "$(nobody ls "$scratch/own/box" | grep -c '^exec$')" 1 "and has it"
not_ok "nobody else enters" ls "$scratch/own/box" 2> "$scratch/ignored"
fails_with EACCES "root neither, without --allow-other" stat "$scratch/own/box/status"
like "$(nobody "$scratch/pffs" mount --only "$shared/ours" "$scratch/own/no" 2>&1)" '^pffs: ' \
	"another's sandbox is not for that user"
chmod 755 "$shared/ours"
like "$(nobody "$scratch/pffs" mount --only "$shared/ours" "$scratch/own/no" 2>&1)" 'belongs to another user' \
	"even where its mode would let everybody look"
mkdir "$shared/theirs/forks/roots"
not_ok "nor is a fork that somebody else made of theirs" \
	nobody ls "$scratch/own/box/forks/roots" 2> "$scratch/ignored"
rmdir "$shared/theirs/forks/roots"

# Who is not root takes setuid bits away by writing, also those that the guest has just set.
is "$(nobody bash -c 'cd "$1" && echo 1 > tool && chmod 6755 tool && echo 2 >> tool && stat -c %a tool && cat tool' \
	- "$shared/theirs/fs/root")" $'755\n1\n2' "another user appends to a setuid program, which is none then"
is "$(nobody bash -c 'cd "$1" && chmod 6755 tool && : > tool && stat -c %a tool' - "$shared/theirs/fs/root")" \
	755 "and so who empties it"
is "$(nobody perl -e '
chdir $ARGV[0] and open(my $tool, ">", "fs/root/new") and open(my $bash, ">", "bash") or die $!;
print $bash "chmod 6755 /root/new\n";
close $bash;
open(my $end, "<", "exit");
print <$end>;
syswrite $tool, "3\n";
close $tool;
exec "stat -c %a fs/root/new; cat fs/root/new"' "$shared/theirs")" $'0\n755\n3' "also when the guest made it one meanwhile"

# session DIRECTORY: a shell session inside a container, in which the sandbox is /box.
cat > "$scratch/session" << 'END'
cd /box || exit 1
ls / /box/.. | grep -cE 'templates|theirs|ours'
echo 'x = 20' > exec; echo 'print(x + 3)' > exec; cat stdout
echo from the container > /tmp/note && cp /tmp/note fs/root/note
echo 'cat /root/note; echo from the guest > /root/answer' > bash; cat stdout exit
cat fs/root/answer
mkdir forks/x && ls forks && rmdir forks/x
END
said=$'0\n23\nfrom the container\n0\nfrom the guest\nx'
if command -v bwrap > "$scratch/ignored"; then
	bubble=(bwrap --unshare-all --die-with-parent --ro-bind /usr /usr --symlink usr/bin /bin
		--symlink usr/lib /lib --symlink usr/lib64 /lib64 --tmpfs /tmp
		--ro-bind "$scratch/session" /session)
	is "$(nobody "${bubble[@]}" --bind "$scratch/own/box" /box bash /session 2>&1)" "$said" \
		"in bubblewrap, by an unprivileged user"
	ok "another's sandbox cannot even be bound" \
		test "$(nobody "${bubble[@]}" --bind "$shared/ours" /box bash -c 'echo 1 > /box/exec' 2>&1 |
			grep -c denied)" = 1
elif [ "${PFFS_MUST_WORK:-}" = 1 ]; then
	fail "bubblewrap is installed"
fi
nobody "$scratch/pffs" umount "$scratch/own/box"

# bundle UID: a container for crun whose process is that user.
bundle() {
	rm -rf "$scratch/bundle"
	mkdir -p "$scratch/bundle/rootfs"/{usr,box,tmp,proc,dev,sys}
	ln -s usr/bin "$scratch/bundle/rootfs/bin"
	ln -s usr/lib "$scratch/bundle/rootfs/lib"
	ln -s usr/lib64 "$scratch/bundle/rootfs/lib64"
	cp "$scratch/session" "$scratch/bundle/rootfs/session"
	command cat > "$scratch/bundle/config.json" << END
{ "ociVersion": "1.0.0", "root": { "path": "rootfs", "readonly": true },
  "process": { "user": { "uid": $1, "gid": $1 }, "cwd": "/", "args": ["/bin/bash", "/session"],
    "env": ["PATH=/usr/bin"], "noNewPrivileges": true },
  "mounts": [
    { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] },
    { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] },
    { "destination": "/box", "type": "bind", "source": "$box", "options": ["rbind"] } ],
  "linux": { "namespaces": [ { "type": "pid" }, { "type": "mount" }, { "type": "ipc" },
    { "type": "uts" }, { "type": "network" } ] } }
END
}
in_crun() {
	bundle "$1"
	# It wants one kind of cgroups, which not each machine has, and is to use none.
	within "$wait_limit" unshare -m bash -c 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"' crun \
		crun --root "$scratch/crun" --cgroup-manager=disabled run \
		--bundle "$scratch/bundle" "pffs-test-$$" 2>&1 < /dev/null
}
if command -v crun > "$scratch/ignored"; then
	ok "root mounts it with --allow-other, for a container" \
		"$scratch/pffs" mount --only "$shared/theirs" --allow-other "$box" 2> "$scratch/said"
	is "$(in_crun 65534)" "$said" "in crun, as the sandbox's owner"
	like "$(in_crun 65533)" 'ermission denied' "another user of a container gets EACCES"
	chmod 755 "$shared/theirs"
	is "$(setpriv --reuid 65533 --regid 65533 --clear-groups stat -c %a "$box/exec")" \
		"$(stat -c %a "$shared/theirs/exec")" "modes are the sandbox's"
	not_ok "which give what they say" \
		setpriv --reuid 65533 --regid 65533 --clear-groups bash -c "echo 1 > '$box/exec'" 2> "$scratch/ignored"
	umount "$box"
elif [ "${PFFS_MUST_WORK:-}" = 1 ]; then
	fail "crun is installed"
fi

# The end of pffs is the end of such mounts.
"$scratch/pffs" mount --only "$shared/ours" "$box" 2> "$scratch/said"
ok "umount of pffs" within 60 "$scratch/pffs" umount "$shared"
wait "$second"
is "$?" 0 "whose process ends well"
second=
gone() {
	! grep -q " $box fuse.pffs" /proc/mounts
}
ok "the mounts of its sandboxes go with it" wait_for 30 gone
done_testing
