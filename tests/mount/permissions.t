#!/bin/bash
# A sandbox belongs to whoever made it; its modes are those of any directory.
. "$(dirname "$0")/lib.sh"
sandbox demo
is "$(stat -c '%a %u' demo)" "700 $(id -u)" "a sandbox is its maker's, mode 0700"
is "$(stat -c %a demo/exec)" 600 "exec can be read and written"
is "$(stat -c %a demo/stdout)" 400 "stdout can be read"
is "$(stat -c %a demo/ctl)" 200 "ctl can be written"
ok "chmod works on a sandbox" chmod 750 demo
is "$(stat -c %a demo)" 750 "and is seen"
ok "so does chown" chown 65534 demo
is "$(stat -c %u demo)" 65534 "and is seen"
not_ok "chmod of a file is refused" chmod 777 demo/status 2> "$scratch/ignored"
chown 0 demo
not_ok "without --allow-other nobody else enters" \
	setpriv --reuid 65534 --regid 65534 --clear-groups test -e "$PWD/README"

# A second pffs, at the same vmctl, lets others in.
shared=$scratch/shared
chmod 755 "$scratch"
mkdir "$shared"
"$build/pffs/pffs" mount --foreground --allow-other --socket "$PFFS_TEST_SOCKET" "$shared" \
	> "$scratch/log" 2>&1 &
second=$!
if ! ok "a second mount at the same vmctl, with --allow-other" wait_for 60 is_up "$shared"; then
	diag "$(command cat "$scratch/log")"
	done_testing
fi
is "$(ls "$shared" | grep -cx demo)" 0 "its sandboxes are its own"
ok "another user sees the mount" nobody test -r "$shared/README"
ok "and makes a sandbox" nobody mkdir "$shared/theirs"
is "$(stat -c '%u %a' "$shared/theirs")" "65534 700" "which is that user's"
ok "root's sandbox" mkdir "$shared/ours"
not_ok "is not for another user to enter" nobody test -e "$shared/ours/status"
not_ok "nor to end" nobody rmdir "$shared/ours" 2> "$scratch/ignored"
chmod 755 "$shared/ours"
ok "unless its mode says so" nobody grep -q "^id sbx_" "$shared/ours/status"
is "$(nobody bash -c "echo 'print(6 * 7)' > $shared/theirs/exec; cat $shared/theirs/stdout")" 42 \
	"another user's code runs"
not_ok "but does not fork root's sandbox" nobody mkdir "$shared/ours/forks/x" 2> "$scratch/ignored"
not_ok "by any way" nobody bash -c "echo 1 > $shared/ours/forks/.n" 2> "$scratch/ignored"
ok "another user forks its own" nobody mkdir "$shared/theirs/forks/x"
is "$(stat -c '%u %a' "$shared/theirs/forks/x")" "65534 700" "and the fork is that user's"
ok "who ends it" nobody rmdir "$shared/theirs/forks/x"
ok "root forks it, too" mkdir "$shared/theirs/forks/root"
not_ok "whose machine is not for its owner to take" nobody bash -c "echo root > $shared/theirs/merge" \
	2> "$scratch/ignored"
like "$(cat "$shared/theirs/error")" "not for you" "as its error says"
not_ok "nor are its files" nobody bash -c "echo files root > $shared/theirs/merge" 2> "$scratch/ignored"
like "$(cat "$shared/theirs/error")" "not for you" "as its error says"
ok "root takes it" bash -c "echo root > $shared/theirs/merge"
ok "and what it was made of" nobody rmdir "$shared/theirs"
ok "umount ends the second mount and its sandboxes" within 60 "$build/pffs/pffs" umount "$shared"
wait "$second"
is "$?" 0 "whose process ends well"
is "$(value demo/status state | grep -c dead)" 0 "the first mount's sandbox lives"
done_testing
