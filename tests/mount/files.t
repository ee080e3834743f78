#!/bin/bash
# The guest's files are files: what the host puts into fs/ its programs see, and the
# other way round, at once.
. "$(dirname "$0")/lib.sh"
sandbox demo
printf 'a,b\n1,2\n3,4\n' > "$scratch/sales.csv"

ok "upload is cp" cp "$scratch/sales.csv" demo/fs/root/
is "$(ask demo <<< 'print(open("/root/sales.csv").read(), end="")')" "$(cat "$scratch/sales.csv")" \
	"a program in the guest reads it"
python demo <<< 'open("/root/out.csv", "w").write("sum\n6\n")'
is "$(cat demo/fs/root/out.csv)" $'sum\n6' "what it writes can be read on the host"
like "$(ls -l demo/fs/root)" "-rw-r--r-- +1 $(id -un) +$(id -gn) +6 .* out.csv" "as a file of who has the sandbox"
is "$(echo 'stat -c "%u %g %a" /root/sales.csv' > demo/bash; cat demo/stdout)" "0 0 644" "and its files are the guest's root's"

echo more >> demo/fs/root/out.csv
is "$(echo 'cat /root/out.csv' > demo/bash; cat demo/stdout)" $'sum\n6\nmore' "the host appends"
ok "mv renames" mv demo/fs/root/out.csv demo/fs/root/kept.csv
is "$(echo 'ls /root' > demo/bash; cat demo/stdout)" $'kept.csv\nsales.csv' "which the guest sees"
ok "rm removes" rm demo/fs/root/sales.csv
is "$(echo 'ls /root' > demo/bash; cat demo/stdout)" kept.csv "as the guest sees, too"
echo 'rm /root/kept.csv; mkdir -p /root/a/b; echo deep > /root/a/b/c' > demo/bash
is "$(cat demo/exit)$(ls demo/fs/root)" 0a "the guest removes and makes"
is "$(cat demo/fs/root/a/b/c)" deep "which the host sees"
ok "a directory is removed with all in it" rm -r demo/fs/root/a
not_ok "and is gone" test -e demo/fs/root/a

# Each side sees what the other did just before.
alternations() {
	local i
	for ((i = 0; i < 100; i += 2)); do
		echo "$i" > demo/fs/root/ping
		[ "$(echo "n=\$(cat /root/ping); echo \$((n + 1)) > /root/pong; echo \$n" > demo/bash; cat demo/stdout)" = "$i" ] ||
			{ diag "the guest does not see $i"; return 1; }
		[ "$(command cat demo/fs/root/pong)" = $((i + 1)) ] ||
			{ diag "the host does not see $((i + 1)): $(command cat demo/fs/root/pong)"; return 1; }
	done
}
ok "in 100 alternations neither sees what was" alternations

head -c 5000000 /dev/urandom > "$scratch/large"
ok "a large file goes in" cp "$scratch/large" demo/fs/root/large
is "$(echo 'sha256sum < /root/large' > demo/bash; cat demo/stdout)" "$(sha256sum < "$scratch/large")" "as it is"
ok "and comes out as it is" cmp "$scratch/large" demo/fs/root/large
# In pieces of many sizes, some of which the guest adds.
cp "$scratch/large" "$scratch/grown"
cp demo/fs/root/large demo/fs/root/grown
for size in 1 4095 70000 262144 300001 1048577; do
	head -c "$size" "$scratch/large" | tee -a "$scratch/grown" >> demo/fs/root/grown
	bash_in demo 'tail -c 1000 /root/large >> /root/grown'
	tail -c 1000 "$scratch/large" >> "$scratch/grown"
done
is "$(echo 'sha256sum < /root/grown' > demo/bash; cat demo/stdout)" "$(sha256sum < "$scratch/grown")" \
	"what both sides append to it is there, byte by byte"
ok "as the host sees it, too" cmp "$scratch/grown" demo/fs/root/grown
ok "from anywhere" cmp <(tail -c +3000001 "$scratch/large" | head -c 1000) \
	<(dd if=demo/fs/root/large bs=1 skip=3000000 count=1000 status=none)
ok "it is changed in the middle" dd if=/dev/zero of=demo/fs/root/large bs=1000 seek=7 count=3 conv=notrunc status=none
is "$(echo 'dd if=/root/large bs=1000 skip=7 count=3 status=none | tr -d "\0" | wc -c; stat -c %s /root/large' > demo/bash; cat demo/stdout)" \
	$'0\n5000000' "and nowhere else"
ok "it is cut short" truncate -s 1234 demo/fs/root/large
is "$(stat -c %s demo/fs/root/large)" 1234 "which shows"

mkdir "$scratch/tree"
(cd "$scratch/tree" && mkdir -p x/y && echo 1 > x/one && ln x/one x/y/same && ln -s ../one x/y/link && chmod 750 x/y &&
	touch -d '2001-02-03 04:05:06.789' x/one && printf 'n\n' > $'x/odd\n\377name')
ok "cp -a takes a tree in" cp -a "$scratch/tree" demo/fs/root/
ok "and out" cp -a demo/fs/root/tree "$scratch/back"
look() {
	(cd "$1" && find . -printf '%P %y %m %n %s %T@ %l\n' | grep -av ' d ' | LC_ALL=C sort)
}
is "$(look "$scratch/back")" "$(look "$scratch/tree")" "with its links, modes and times"
ok "find sees a hard link" test demo/fs/root/tree/x/one -ef demo/fs/root/tree/x/y/same
python demo <<< 'import os; os.makedirs("/root/many"); [open(f"/root/many/{i}", "w").close() for i in range(5000)]'
is "$(ls demo/fs/root/many | wc -l)" 5000 "a large directory is listed"
is "$(ls demo/fs/root/many | sort -n | tail -n 1)" 4999 "with all its names"

like "$(grep " $PWD " /proc/self/mounts)" 'nosuid,nodev' "setuid bits and devices of a guest carry no power"
not_ok "no device is made" mknod demo/fs/root/dev c 1 3 2> "$scratch/ignored"
is "$(cat demo/fs/proc/* demo/fs/sys/* 2> "$scratch/ignored" | wc -c)" 0 "what the guest's kernel mounts is not shown"
fails_with EACCES "a device of the image is none" read demo/fs/dev/zero
fails_with EXDEV "files do not move between a guest and the rest" rename demo/fs/root/ping demo/ping

exec {reading}< demo/fs/root/ping {adding}>> demo/fs/root/log
echo before >&"$adding"
ok "a fork" within 60 mkdir demo/forks/a
echo 'rm /root/ping; echo fork > /root/ping; echo fork > /root/log' > demo/forks/a/bash
is "$(cat demo/forks/a/exit)" 0 "changes files that its parent has open on the host"
ok "and is merged" within 60 bash -c 'echo a > demo/merge'
is "$(cat <&"$reading")" fork "which leaves descriptors valid: they are of the new machine's files"
echo after >&"$adding"
exec {adding}>&- {reading}<&-
is "$(cat demo/fs/root/log)" $'fork\nafter' "also for writing"

ok "its machine is killed" vmctl kill "$(value demo/status vm)" 9
ok "and ends" wait_for 30 state_is demo dead
fails_with EIO "then its files are EIO" read demo/fs/root/ping
ok "and the sandbox goes" rmdir demo
done_testing
