#!/bin/bash
# The host's kernel keeps names, attributes and content of the guest's files. Nobody
# notices: what was changed before a program said so is seen by who heard it.
. "$(dirname "$0")/lib.sh"
sandbox demo
t=demo/fs/root/t

guest() { # guest CODE: run in demo's bash, to its end
	bash_in demo "cd /root/t && $1" || diag "$1: $(cat demo/stderr)"
}

# Everything below t is known to the kernel, as far as it may be.
warm() {
	find "$t" -type f -exec sha256sum {} + > /dev/null
	find "$t" -size +0 > /dev/null
	ls -lR "$t" > /dev/null
}

bash_in demo 'mkdir -p /root/t/d/e /root/t/gone/in; cd /root/t; for i in 1 2 3 4; do echo $i > f$i; echo $i > d/e/g$i; done
	echo deep > gone/in/x; ln -s f1 link; touch -d 2001-01-01 old old2; echo old > old; touch -d 2001-01-01 old'

warm
guest 'echo more >> f1'
is "$(stat -c %s "$t/f1")" 7 "a file grows in the guest: its size is the new one"
is "$(cat "$t/f1")" $'1\nmore' "and what is in it"
warm
guest 'chmod 600 f1; touch -d 2002-02-02 f2'
is "$(stat -c %a "$t/f1")" 600 "a mode is the new one"
is "$(date -u -d "@$(stat -c %Y "$t/f2")" +%F)" 2002-02-02 "and a time"
warm
guest 'printf OLD\\n > old; touch -d 2001-01-01 old'
is "$(cat "$t/old")" OLD "a file changes, but for its size and time: what is in it is new"

warm
guest 'rm f3'
not_ok "a file that was removed is not there" test -e "$t/f3"
fails_with ENOENT "and cannot be opened" read "$t/f3"
ok "and its name is free" mkdir "$t/f3"
warm
guest 'echo new > n; mv n f2'
is "$(cat "$t/f2")" new "a file that another took the place of"
warm
guest 'echo newer > n; mv n f2'
is "$(stat -c %s "$t/f2")" 6 "is the other one for stat as well"
warm
guest 'rm f2; mkdir f2; echo inside > f2/x'
is "$(cat "$t/f2/x")" inside "a file that became a directory"
warm
guest 'rm -r f2; echo again > f2'
is "$(cat "$t/f2")" again "and a file again"
warm
guest 'ln -sfn f4 link'
is "$(cat "$t/link")" 4 "a link that leads elsewhere"
warm
guest 'rm link; echo none > link'
is "$(cat "$t/link")" none "and one that is none any more"

warm
guest 'mv d kept; mkdir -p d/e; echo other > d/e/g1'
is "$(cat "$t/d/e/g1")" other "a directory that is another one: a file in it"
not_ok "and none that was in the old one" test -e "$t/d/e/g2"
is "$(cat "$t/kept/e/g2")" 2 "which is where it is now"
warm
guest 'mv gone went'
not_ok "what is in a directory that went is not there" test -e "$t/gone/in/x"
is "$(cat "$t/went/in/x")" deep "but where that is"
warm
guest 'chmod 700 went/in; mkdir went/in/more'
is "$(stat -c '%a %h' "$t/went/in")" "$(bash_in demo 'stat -c "%a %h" /root/t/went/in'; cat demo/stdout)" \
	"a directory's own attributes are the new ones"

# An open file is the file that it was.
warm
exec 9< "$t/f1"
guest 'echo instead > n; mv n f1'
is "$(cat "$t/f1")" instead "a file that is open, and that another took the place of: its name is the other's"
is "$(stat -c %s "$t/f1")" 8 "and so are its attributes"
is "$(cat <&9)" $'1\nmore' "who has it open reads what it was"
exec 9<&-

# What we do ourselves does not need the guest to tell us.
warm
is "$(echo mine > "$t/mine" && chmod 640 "$t/mine" && mv "$t/mine" "$t/mine2" && stat -c '%a %s' "$t/mine2")" "640 5" \
	"what was made, changed and renamed here is so"
guest 'echo theirs >> mine2; chmod 644 mine2'
is "$(stat -c '%a %s' "$t/mine2")" "644 12" "and what the guest did to it then"
both_sides() {
	local i
	for ((i = 0; i < 20; i++)); do
		echo "$i" > "$t/both-$i" && chmod 600 "$t/both-$i" || return 1
		guest "chmod 644 both-$i; echo x >> both-$i; [ ! -e both-$((i - 1)) ] || rm both-$((i - 1))"
		[ "$(stat -c '%a %s' "$t/both-$i")" = "644 $((${#i} + 3))" ] || { diag "$i: $(stat "$t/both-$i")"; return 1; }
		[ ! -e "$t/both-$((i - 1))" ] || { diag "both-$((i - 1)) is there"; return 1; }
	done
}
ok "in turns, twenty times" both_sides

# A tree that is unpacked here is what the guest has.
tar -C "$top" -cf "$scratch/docs.tar" docs
mkdir "$t/tree" && tar -C "$t/tree" -xf "$scratch/docs.tar"
ok "a tree that was unpacked is what was packed" diff -r "$top/docs" "$t/tree/docs"
is "$(cd "$t/tree" && find . -printf '%P %y %m %s %T@\n' | sort | md5sum)" \
	"$(bash_in demo "cd /root/t/tree; find . -printf '%P %y %m %s %T@\n' | LC_ALL=C sort | md5sum"; cat demo/stdout)" \
	"as the guest sees it"
ok "it is removed" rm -r "$t/tree"
is "$(bash_in demo 'ls -A /root/t/tree 2>&1 | wc -l'; cat demo/stdout)" 1 "for the guest, too"

# How much room there is.
room() {
	stat -f -c %a "$t"
}
before=$(room)
guest 'head -c 20000000 /dev/zero > big'
ok "what the guest fills is not free" test "$(room)" -lt "$before"
before=$(room)
rm "$t/big"
ok "and what is removed here is" test "$(room)" -gt "$before"

# Of what nobody changes all is known, also when something else has changed. A new name of a file is
# reason to ask for everything again, so that nothing is known for so long that it is asked for in the end.
guest 'ln f2 linked; rm linked'
ls -lR "$t" > "$scratch/listed"
guest 'mkdir elsewhere; chmod 700 elsewhere'
ls -lR "$t" > "$scratch/listed"
sleep 1.5
vmctl kill "$(value demo/status vm)" 19
within 20 ls -lR "$t" > "$scratch/again"
is "$?" 0 "a tree is listed while its machine stands still"
vmctl kill "$(value demo/status vm)" 18
ok "as it is" cmp "$scratch/listed" "$scratch/again"

# Another mount of the same sandbox.
"$build/pffs/pffs" mount --only "$PWD/demo" "$scratch/only" 2> /dev/null
o=$scratch/only/fs/root/t
find "$o" -size +0 > /dev/null
warm
echo longer than before > "$t/f4"
is "$(stat -c %s "$o/f4")" 19 "what is written in one mount has its size in another"
find "$o" -size +0 > /dev/null
chmod 611 "$t/f4"
is "$(stat -c %a "$o/f4")" 611 "and its mode"
find "$o" -size +0 > /dev/null
rm "$t/f4"
not_ok "and is not there when it was removed" test -e "$o/f4"
warm
guest 'echo four > f4'
is "$(cat "$t/f4") $(stat -c %s "$o/f4")" "four 5" "what the guest makes is in both"
within 30 "$build/pffs/pffs" umount "$scratch/only"

# Another machine takes the sandbox over.
warm
mkdir demo/forks/x
bash_in demo/forks/x 'cd /root/t; echo of x > f1; rm f4; chmod 600 f2; mv kept d2'
warm
echo x > demo/merge
is "$(cat "$t/f1") $(stat -c %a "$t/f2") $(cat "$t/d2/e/g2")" "of x 600 2" "after a merge all is as in the winner"
not_ok "and what it has not is not there" test -e "$t/f4"

warm
echo 'echo b > /proc/sysrq-trigger; sleep 1000' > demo/bash
wait_for "$wait_limit" state_is demo dead
fails_with EIO "of a dead machine nothing is known" read "$t/f1"
done_testing
