#!/bin/bash
# What is different between machines that were one a moment ago: the guests are asked what
# changed since, and the rest is not looked at. It has to be right all the same.
. "$(dirname "$0")/lib.sh"
sandbox demo

bash_in demo 'mkdir -p /root/many/d{0..9} /root/old/sub/deep /root/moves/in/side /root/gone/x/y; cd /root
for d in many/d*; do for n in {0..19}; do echo $n > $d/$n; done; done
echo one | tee old/a old/sub/b old/sub/deep/c moves/in/side/f moves/top gone/x/y/z gone/w mode owner truncated mapped back > /dev/null
ln -s one link; echo linked > name1; ln name1 name2; mkdir -p /etc/apt/own; rm -r /etc/apt/apt.conf.d'
is "$(grep -c ' root/many/' demo/changes)" 210 "a sandbox has many files of its own"

echo a b > demo/forks/.n
is "$(cat demo/forks/a/diff/b)" "" "forks are the same at first"
is "$(cat demo/forks/a/changes)" "" "and have not changed"

echo 'cd /root; echo two > old/sub/deep/c; chmod 600 mode; chown 7 owner; : > truncated; rm link; mkdir link
mv moves/in moved; rm -r gone; mkdir new; echo n > new/file; mv old/sub/b new/from; echo hi >> /etc/issue
rm -r /usr/share/base-files; mkdir -p /usr/share/base-files; echo x > /usr/share/base-files/x
echo three > back; echo one > back; touch many/d3/5; echo 100 > many/d4/100; rm many/d5/5' > demo/forks/a/bash
is "$(cat demo/forks/a/exit)" 0 "one of them changes much"
wanted='M etc/issue
D root/gone
D root/gone/w
D root/gone/x
D root/gone/x/y
D root/gone/x/y/z
M root/link
A root/many/d4/100
D root/many/d5/5
M root/mode
A root/moved
A root/moved/side
A root/moved/side/f
D root/moves/in
D root/moves/in/side
D root/moves/in/side/f
A root/new
A root/new/file
A root/new/from
M root/old/sub/deep/c
D root/old/sub/b
M root/owner
M root/truncated'
wanted=$(LC_ALL=C sort -k 2 <<< "$wanted")
share='usr/share/base-files'
cat demo/forks/a/changes > "$scratch/out"
is "$(grep -v " $share" "$scratch/out" | LC_ALL=C sort -k 2)" "$wanted" "what it made, moved, wrote, removed"
like "$(cat "$scratch/out")" "D $share/" "of the image, too"
like "$(cat "$scratch/out")" "A $share/x" "where a directory was made anew"
is "$(cat demo/forks/b/diff/a)" "$(cat "$scratch/out")" "its sibling sees the same"
is "$(cat demo/diff/a)" "$(cat "$scratch/out")" "so does its parent"
is "$(cat demo/forks/a/diff/parent | tr AD DA | LC_ALL=C sort)" "$(LC_ALL=C sort "$scratch/out")" \
	"and it its parent, the other way round"
python demo/forks/b <<< 'import mmap; f = open("/root/mapped", "r+b"); m = mmap.mmap(f.fileno(), 0); m[0] = 88'
is "$(cat demo/forks/b/changes)" "M root/mapped" "what is written through a mapping that is still there"
cp demo/forks/b/fs/etc/issue "$scratch/issue"
echo more >> demo/forks/b/fs/etc/issue
is "$(cat demo/forks/b/changes)" $'M etc/issue\nM root/mapped' "and from outside"
cat "$scratch/issue" > demo/forks/b/fs/etc/issue
is "$(cat demo/forks/b/changes)" "M root/mapped" "what is as it was is no change"
echo 'echo more >> /root/name1' > demo/forks/b/bash
cat demo/forks/b/exit > /dev/null
is "$(cat demo/forks/b/changes)" $'M root/mapped\nM root/name1\nM root/name2' "both names of a file"

mkdir demo/forks/a/forks/c
echo 'echo c > /root/c; echo c > /root/old/a' > demo/forks/a/forks/c/bash
cat demo/forks/a/forks/c/exit > /dev/null
is "$(cat demo/forks/a/forks/c/changes)" $'A root/c\nM root/old/a' "a fork of a fork"
is "$(cat demo/forks/a/forks/c/diff/parent)" $'D root/c\nM root/old/a' "and its parent"
echo "$(cat demo/forks/a/changes)"$'\nA root/c\nM root/old/a' | LC_ALL=C sort > "$scratch/sum"
is "$(cat "demo/diff/$(value demo/forks/a/forks/c/status id)" | LC_ALL=C sort)" "$(cat "$scratch/sum")" \
	"from where it all began, there is the sum of both"
rmdir demo/forks/b
echo c > demo/forks/a/merge
is "$(cat demo/diff/a | LC_ALL=C sort)" "$(cat "$scratch/sum")" "it is of the machine that a merge has brought"
is "$(cat demo/forks/a/changes | LC_ALL=C sort)" "$(cat "$scratch/sum")" "since its fork point, too"

bash_in demo 'rm -r /root/many'
is "$(cat demo/forks/a/diff/parent | grep -c '^D root/many')" 211 "a tree that goes is there, all of it"
rmdir demo/forks/a
done_testing
