#!/bin/bash
# No symbolic link of a guest leads a program of the host out of fs/.
. "$(dirname "$0")/lib.sh"
sandbox demo
echo secret > "$scratch/secret"
echo 'mkdir -p /srv/a/b; cd /srv/a/b; echo guest > /srv/file
ln -s '"$scratch/secret"' absolute; ln -s ../../../../../../../../../../../../..'"$scratch/secret"' up
ln -s /srv/file file; ln -s ../../file near; ln -s ../../../../../../srv/file far; ln -s / root; ln -s .. above
ln -s ../exec control; ln -s ../../../../exec control2; ln -s loop loop; ln -s ../b/../../file crooked
ln -s /proc/self/root/etc/passwd magic; ln -s "" empty 2>&1; ln -s "$(printf "odd\n\377")" odd' > demo/bash
is "$(cat demo/exit)" 0 "the guest makes links"
there=demo/fs/srv/a/b

not_ok "an absolute link leads to no file of the host" cat "$there/absolute" 2> "$scratch/ignored"
not_ok "nor does one with as many dots as it takes" cat "$there/up" 2> "$scratch/ignored"
is "$(readlink "$there/absolute")" "../../..$scratch/secret" "it is shown as a way from where it is"
is "$(readlink "$there/up")" "../../..$scratch/secret" "that ends at the guest's root"
is "$(cat "$there/file")" guest "an absolute link to a file of the guest leads there"
is "$(cat "$there/near" "$there/far" "$there/crooked")" $'guest\nguest\nguest' "and so do relative ones"
ok "the guest's root is fs/" test "$there/root" -ef demo/fs
ok "what is above is the directory above" test "$there/above" -ef demo/fs/srv/a
ok "links of the image work" test -e demo/fs/bin/sh
not_ok "none leads to a control file" test -e "$there/control"
not_ok "however many dots it has" test -e "$there/control2"
fails_with ELOOP "a link to itself is a loop" read "$there/loop"
not_ok "the host's /proc is not reached" cat "$there/magic" 2> "$scratch/ignored"
is "$(readlink "$there/odd")" "$(printf 'odd\n\377')" "a target has any bytes"

ok "the host makes a link" ln -s /etc/debian_version "$there/made"
is "$(echo 'readlink /srv/a/b/made' > demo/bash; cat demo/stdout)" /etc/debian_version "which the guest has as it was made"
is "$(cat "$there/made")" "$(echo 'cat /etc/debian_version' > demo/bash; cat demo/stdout)" "and which leads to the guest's file"
not_ok "a directory is not reached through a link to one of the host" ls "$there/absolute/.." 2> "$scratch/ignored"

# The guest swaps a directory for a link while the host walks through it.
cat > demo/exec << 'END'
import os, time
os.makedirs("/srv/real/tmp")
os.symlink("/", "/srv/link")
end = time.monotonic() + 3
while time.monotonic() < end:
    os.rename("/srv/real", "/srv/swap")
    os.rename("/srv/link", "/srv/real")
    os.rename("/srv/real", "/srv/link")
    os.rename("/srv/swap", "/srv/real")
END
walk() {
	while [ "$(value demo/status state)" = running ]; do
		if command cat "demo/fs/srv/real$scratch/secret" 2> "$scratch/ignored"; then
			diag "a file of the host was read"
			return 1
		fi
	done
}
ok "nor by a directory that becomes a link" walk
is "$(cat demo/exit)" 0 "which it did"
ok "the sandbox goes" rmdir demo
done_testing
