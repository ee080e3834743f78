#!/bin/bash
# A file that gets another name elsewhere in the guest, and is changed by that, is known
# to have changed by its first name, at once.
. "$(dirname "$0")/lib.sh"
sandbox demo
echo 'mkdir -p /srv/here /srv/there; for i in 1 2 3 4 5 6 7 8; do echo one > /srv/here/$i; done' > demo/bash
is "$(cat demo/exit)" 0 "the guest makes files"

# linked SANDBOX NUMBER COMMAND: what the host sees before and after.
linked() {
	local file=$1/fs/srv/here/$2
	ls -l "${file%/*}" > "$scratch/ignored"
	stat -c '%h %s' "$file"
	echo "cd /srv/there; $3" > "$1/bash"
	command cat "$1/exit"
	stat -c '%h %s' "$file"
	command cat "$file"
}
seen=$'1 4\n0\n2 9\none\nmore'
for i in 1 2 3 4; do
	is "$(linked demo $i "ln ../here/$i $i; echo more >> $i")" "$seen" "a link to file $i, which is written to by that"
done
is "$(linked demo 5 'python3 -c "import os; os.link(\"../here/5\", \"5\"); open(\"5\", \"a\").write(\"more\n\")"')" "$seen" \
	"by the older system call"
is "$(linked demo 6 'ln ../here/6 6; echo more >> 6; rm 6')" $'1 4\n0\n1 9\none\nmore' "and when that has gone again"
mkdir demo/forks/twin
is "$(linked demo/forks/twin 7 'ln ../here/7 7; echo more >> 7')" "$seen" "in a fork"
is "$(linked demo 7 'ln ../here/7 7; echo more >> 7')" "$seen" "and in what it was forked from"

rmdir demo/forks/twin

ok "the host makes a link" ln demo/fs/srv/here/8 demo/fs/srv/there/8
echo more >> demo/fs/srv/there/8
is "$(stat -c '%h %s' demo/fs/srv/here/8)" "2 9" "and writes to it"
done_testing
