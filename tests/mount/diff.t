#!/bin/bash
# changes and diff/: what sandboxes have that others have not, as lines, JSON and patches.
. "$(dirname "$0")/lib.sh"
sandbox demo

is "$(cat demo/changes)" "" "a fresh sandbox has changed nothing"
bash_in demo 'mkdir /root/d; echo 1 > /root/d/a; echo two > /root/b; rm /etc/debian_version; echo x >> /etc/issue'
is "$(cat demo/changes)" $'D etc/debian_version\nM etc/issue\nA root/b\nA root/d\nA root/d/a' \
	"what it made, removed and modified"
is "$(cat demo/changes.json)" \
	'{"added": ["root/b", "root/d", "root/d/a"], "removed": ["etc/debian_version"], "modified": ["etc/issue"]}' \
	"as JSON"
is "$(cat demo/diff/template)" $'A etc/debian_version\nM etc/issue\nD root/b\nD root/d\nD root/d/a' \
	"the template is the other way round"

bash_in demo 'cp -p /etc/issue.net /tmp/i; echo > /etc/issue.net; cat /tmp/i > /etc/issue.net; rm /tmp/i; touch /etc/hostname'
not_ok "a file that is what it was is no change" grep -q issue.net demo/changes

echo a b > demo/forks/.n
is "$(cat demo/forks/a/changes)" "" "a fork has changed nothing yet"
echo 'printf "A\n" > /root/plan.txt; echo one > /root/b' > demo/forks/a/bash
echo 'printf "B\n" > /root/plan.txt; echo own > /root/own; rm -r /root/d' > demo/forks/b/bash
cat demo/forks/a/exit demo/forks/b/exit > /dev/null
is "$(cat demo/forks/a/diff/b)" $'M root/b\nD root/d\nD root/d/a\nA root/own\nM root/plan.txt' "siblings"
is "$(cat demo/forks/a/changes)" $'M root/b\nA root/plan.txt' "since the fork"
is "$(cat demo/diff/a)" $'M root/b\nA root/plan.txt' "its parent sees the same"
is "$(cat demo/forks/a/diff/parent)" $'M root/b\nD root/plan.txt' "and it its parent"
is "$(cat "demo/diff/$(value demo/forks/a/status id)")" "$(cat demo/diff/a)" "by id"
is "$(cat demo/forks/a/diff/demo.json)" '{"added": [], "removed": ["root/plan.txt"], "modified": ["root/b"]}' \
	"a sandbox of the root, by name"
is "$(ls demo/diff | tr '\n' ' ')" \
	"a a.json a.patch b b.json b.patch parent parent.json parent.patch template template.json template.patch " \
	"ls shows whom it can be compared with"

cat demo/forks/a/diff/b.patch > "$scratch/p"
mkdir -p "$scratch/t/root/d"
printf 'A\n' > "$scratch/t/root/plan.txt"
echo one > "$scratch/t/root/b"
echo 1 > "$scratch/t/root/d/a"
ok "patch -p1 takes the patch" within 10 patch -s -d "$scratch/t" -p1 -i "$scratch/p"
is "$(cd "$scratch/t" && head -n 9 root/*)" \
	$'==> root/b <==\ntwo\n\n==> root/own <==\nown\n\n==> root/plan.txt <==\nB' "and makes the other tree"

echo /root/own > demo/forks/a/config/diff_paths
is "$(cat demo/forks/a/diff/b)" "A root/own" "config/diff_paths restricts it"
echo > demo/forks/a/config/diff_paths
is "$(cat demo/forks/a/diff/b | wc -l)" 5 "an empty one does not"

fails_with ENOENT "nobody of that name" read demo/diff/nobody
fails_with EACCES "they are for reading" write demo/changes x
rmdir demo/forks/b
is "$(cat demo/forks/a/changes)" $'M root/b\nA root/plan.txt' "the fork point outlives a sibling"

within 60 mkdir templates/python-datasci/forks/other 2> /dev/null && {
	sandboxes+=(templates/python-datasci/forks/other)
	mv templates/python-datasci/forks/other other
	sandboxes+=(other)
	bash_in other 'echo B > /root/plan.txt'
	# It looks at all files of two images, which is slow in an emulated guest.
	lines=$(wait_limit=400; cat demo/diff/other)
	like "$lines" 'A usr/lib/python3/dist-packages/pandas' "of another template, all that it has more"
	is "$(grep -c ' root/plan.txt$' <<< "$lines")" 1 "and its own files"
	rmdir other
}
rmdir demo/forks/a
done_testing
