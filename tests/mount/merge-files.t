#!/bin/bash
# A merge of files: what forks changed comes into the sandbox, which goes on.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/{a,b,c} demo)
within 30 mkdir demo
wait_for "$wait_limit" state_is demo ready

# bash_in NAME: commands from standard input in NAME's bash.
bash_in() {
	command cat >"$1/bash" && [ "$(cat "$1/exit")" = 0 ]
}

ok "a sandbox has files" bash_in demo <<'CODE'
mkdir -p /root/w/dir /root/w/gone && cd /root/w
seq 1 20 > text; echo same > kept; printf 'a\0b' > binary; ln -s text link
echo x > dir/x; echo y > gone/y; echo old > removed; echo mode > mode; echo both > both
CODE
python demo <<< 'counter = 1'
ok "which is forked" bash -c 'echo a b c > demo/forks/.n'
ok "one fork changes some" bash_in demo/forks/a <<'CODE'
cd /root/w
sed -i 's/^3$/three/' text; printf 'a\0B' > binary; ln -sf kept link; rm removed; rm -r gone
mkdir new; echo n > new/n; chmod 750 mode; rm -r dir; echo file > dir; touch kept
CODE
ok "another one others, and some the same" bash_in demo/forks/b <<'CODE'
cd /root/w
sed -i 's/^18$/eighteen/' text; echo z > added; rm removed; chown 7:8 mode; mkdir -p new; echo m > new/m
CODE
ok "a third is in their way" bash_in demo/forks/c <<'CODE'
cd /root/w
sed -i 's/^3$/drei/' text; printf 'a\0C' > binary; echo c > removed; echo d >> dir/x
CODE
ok "and so does the sandbox" bash_in demo <<'CODE'
cd /root/w
sed -i 's/^10$/ten/' text; echo mine > mine; echo more >> both
CODE
echo 'import time; counter += 1; time.sleep(3); print(counter)' > demo/exec

ok "two forks are merged at once, while a run goes on" within "$wait_limit" \
	bash -c 'echo files a b > demo/merge'
is "$(cat demo/stdout)" 2 "which goes on"
report=$(cat demo/merge)
like "$report" "merge files a b
result merged" "merge tells of it"
for line in "M root/w/text" "M root/w/binary" "M root/w/link" "D root/w/removed" "D root/w/gone" \
	"D root/w/gone/y" "A root/w/new" "A root/w/new/n" "A root/w/new/m" "M root/w/mode" "D root/w/dir/x" \
	"M root/w/dir" "A root/w/added"; do
	ok "$line" grep -qxF "$line" <<< "$report"
done
not_ok "what was only touched is not named" grep -q kept <<< "$report"
bash_in demo <<'CODE'
cd /root/w; md5sum text; ls; cat binary | od -c | head -n 1; readlink link; stat -c '%a %u %g' mode; cat dir new/*
cat mine both; ls -a / | grep -c pffs-merge
CODE
want=$(seq 1 20 | sed 's/^3$/three/; s/^10$/ten/; s/^18$/eighteen/' | md5sum)
is "$(cat demo/stdout)" "${want% -} text
added
binary
both
dir
kept
link
mine
mode
new
text
0000000   a  \0   B
kept
750 7 8
file
m
n
mine
both
more
0" "the files are what all of them made"
ok "the forks are still there" [ -d demo/forks/a ]
ok "and are as they were" bash_in demo/forks/b <<< 'test -e /root/w/dir/x'
ok "what was merged can be merged again" within "$wait_limit" bash -c 'echo files a > demo/merge'
is "$(tail -n +3 demo/merge)" "" "which changes nothing"

# A program that reads 60 files again and again while they are merged: of those that one look
# finds in two versions there is one at most, which was going on at that moment.
ok "a sandbox has many files" bash_in demo <<< 'mkdir /root/many; cd /root/many; for i in $(seq 60); do echo 1 > $i; done'
ok "which are forked" mkdir demo/forks/d
sandboxes=(demo/forks/d "${sandboxes[@]}")
ok "and changed there" bash_in demo/forks/d <<< 'cd /root/many; for i in *; do echo two > $i; done'
command cat > demo/exec <<'CODE'
import os, time
torn = looks = 0
seen = {"1\n"}
until = time.monotonic() + 60
while seen != {"two\n"} and time.monotonic() < until:
    seen = set()
    for name in sorted(os.listdir("/root/many"), key=int, reverse=looks % 2):
        with open("/root/many/" + name) as file:
            seen.add(file.read())
    torn += len(seen) > 1
    looks += 1
print(torn <= 1 or torn, looks > 1)
CODE
ok "they are merged while a program reads them" within "$wait_limit" bash -c 'echo files d > demo/merge'
is "$(cat demo/stdout)" "True True" "which stands still, and sees all of them change at once"

sum='cd /; find root -type f -o -type l | sort | xargs md5sum; ls -laR --time-style=full-iso root'
before=$(echo "$sum" > demo/bash; cat demo/stdout)
fails_with EBUSY "one that is in the way: EBUSY" write demo/merge "files c"
report=$(cat demo/merge)
like "$report" "result conflict" "merge says so"
for path in text binary removed dir/x; do
	ok "and names $path" grep -q "^C root/w/$path: " <<< "$report"
done
is "$(echo "$sum" > demo/bash; cat demo/stdout)" "$before" "nothing changed"
fails_with EBUSY "nor when one of several is" write demo/merge "files a c"
ok "--ours decides" within "$wait_limit" bash -c 'echo files --ours c > demo/merge'
is "$(echo "$sum" > demo/bash; cat demo/stdout)" "$before" "for what is there"
fails_with ENOENT "no such fork: ENOENT" write demo/merge "files a nobody"
fails_with EINVAL "no names: EINVAL" write demo/merge "files --ours"

echo 'rm /root/w/dir; mkdir /root/w/dir; echo x > /root/w/dir/x' > demo/bash
is "$(cat demo/exit)" 0 "a directory is there again"
ok "--theirs decides" within "$wait_limit" bash -c 'echo files --theirs c > demo/merge'
echo 'cd /root/w; sed -n 3p text; od -An -c binary; cat removed dir/x' > demo/bash
is "$(cat demo/stdout)" "drei
   a  \\0   C
c
x
d" "for what the fork has"
done_testing
