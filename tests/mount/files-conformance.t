#!/bin/bash
# A sandbox's fs/ is a file system like any other: each operation, its errnos, and what
# it leaves. tests/tools/conform-*.c has the cases; here are those for which a program
# in the guest is the other side.
. "$(dirname "$0")/lib.sh"
tree
for part in names attr io dirs locks; do
	take_in "$build/tests/tools/conform-$part" "$tree"
done
has_guest || done_testing

# in_guest: bash code from standard input, to its end; its output is printed.
in_guest() {
	command cat > demo/bash && cat demo/output
}

# Who owns what: the sandbox's owner is root in the guest.
touch "$tree/mine"
is "$(in_guest <<< 'stat -c "%u %g" /root/mine')" "0 0" "what its owner makes is root's in the guest"
in_guest <<< 'touch /root/theirs; chown 1000:1001 /root/theirs; touch /root/roots'
is "$(stat -c '%u %g' "$tree/theirs")" "1000 1001" "another user's in the guest has its number here"
is "$(stat -c '%u %g' "$tree/roots")" "$(id -u) $(id -g)" "and what is root's is the owner's"

# Names that only the guest makes.
in_guest <<< $'mkdir /root/odd; cd /root/odd; touch $\'new\\nline\' $\'bad\\xff\\xfeutf\' -- "-rf" " "'
is "$(cd "$tree/odd" && find . -mindepth 1 -printf '%f\0' | sort -z | od -An -c | tr -d ' \n')" \
	"$(printf '%s\0' ' ' '-rf' $'bad\xff\xfeutf' $'new\nline' | sort -z | od -An -c | tr -d ' \n')" \
	"names of any bytes, made in the guest"
ok "and they go from here" rm -r "$tree/odd"
is "$(in_guest <<< 'ls -d /root/odd 2> /dev/null')" "" "which the guest sees"

# A large directory.
many=2000
[ "${PFFS_LONG:-}" != 1 ] || many=20000
in_guest <<< "mkdir /root/large; cd /root/large; seq -f n%06g $many | xargs touch"
is "$(ls -f "$tree/large" | sort | uniq | wc -l)" $((many + 2)) "$many entries, . and .. are listed"
is "$(ls -l "$tree/large" | grep -c '^-rw-r--r-- 1 .* n[0-9]*$')" "$many" "each with its attributes"
is "$(find "$tree/large" -name 'n*7' | wc -l)" $((many / 10)) "and found"
in_guest <<< 'rm -r /root/large/n0000*'
is "$(ls "$tree/large" | head -n 1)" n000100 "until the guest removes them"

# Locks hold between programs on both sides.
locked() { # locked CODE: how a program of the guest that tries a lock ends
	in_guest <<< "python3 -c 'import fcntl; f = open(\"/root/lock\", \"r+\"); $1' 2> /dev/null; echo \$?"
}
echo text > "$tree/lock"
exec 8<> "$tree/lock"
ok "a flock from here" flock -n 8
is "$(locked 'fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)')" 1 "is in the guest's way"
flock -u 8
is "$(locked 'fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)')" 0 "until it is given up"
in_guest << 'CODE'
python3 - << 'END' > /dev/null 2>&1 &
import fcntl, os, time
f = open("/root/lock", "r+")
fcntl.lockf(f, fcntl.LOCK_EX)
fcntl.flock(os.open("/root/lock2", os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
open("/root/locked", "w").close()
time.sleep(600)
END
until [ -e /root/locked ]; do sleep 0.05; done
CODE
not_ok "a guest's flock is in the way here" flock -n "$tree/lock2" true
is "$(python3 -c '
import fcntl, sys
try:
    fcntl.lockf(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("free")
except OSError as error:
    print(error.errno)' "$tree/lock")" 11 "and so is a POSIX lock"
exec 8>&-

# A map follows what the guest writes, after who has it open looks at the file.
head -c 100000 /dev/zero > "$tree/mapped"
is "$(python3 - "$tree/mapped" demo << 'END'
import mmap, os, sys
path, box = sys.argv[1:]
with open(path, "rb") as file:
    old = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    before = old[50000]
    with open(box + "/bash", "w") as bash:
        bash.write("printf x | dd of=/root/mapped bs=1 seek=50000 conv=notrunc 2> /dev/null")
    open(box + "/exit").read()
with open(path, "rb") as file:
    new = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    print(before, chr(new[50000]))
END
)" "0 x" "a new map shows what the guest wrote"
done_testing
