#!/bin/bash
# A merge of the whole state: the sandbox is what its fork became.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/a demo/forks/b demo/forks/deep demo)
within 30 mkdir demo
wait_for "$wait_limit" state_is demo ready

python demo <<< 'plan = ["start"]; open("/root/plan.txt", "w").write("start\n"); print("begun")'
id=$(value demo/status id)
exec {past}<demo/stdout {story}<demo/events
echo 300 > demo/config/exec_timeout
echo a b > demo/forks/.n
for name in a b; do
	python demo/forks/$name <<< "plan.append('$name'); open('/root/plan.txt', 'a').write('$name\n')"
done
ok "a fork can have forks of its own" within "$wait_limit" mkdir demo/forks/a/forks/deep
runs=$(echo demo/runs/*)

is "$(cat demo/merge)" "" "nothing was merged yet"
ok "echo NAME > merge" within "$wait_limit" bash -c 'echo a > demo/merge'
ask='print(plan, open("/root/plan.txt").read().split(), __import__("socket").gethostname())'
is "$(ask demo <<< "$ask")" "['start', 'a'] ['start', 'a'] demo" \
	"it has the fork's memory and files, and its own name"
is "$(value demo/status id)" "$id" "and its own id"
is "$(ask demo <<< 'print(open("/etc/machine-id").read().strip())')" "${id#sbx_}" \
	"which its guest has, too"
like "$(echo demo/runs/*)" "^$runs " "its runs are there"
is "$(cat demo/runs/1/stdout)" begun "as they were"
is "$(cat demo/config/exec_timeout)" 300 "its limit stays"
not_ok "the fork has gone" [ -e demo/forks/a ]
ok "the fork's forks are the sandbox's" [ -d demo/forks/deep ]
is "$(value demo/forks/deep/status parent)" "$id" "and name it as their parent"
is "$(value demo/forks/deep/status generation)" 1 "they are of its generation and one"
is "$(ask demo/forks/deep <<< "$ask")" "['start', 'a'] ['start', 'a'] deep" "and go on"
is "$(ask demo/forks/b <<< "$ask")" "['start', 'b'] ['start', 'b'] b" "so does the sibling"
is "$(value demo/merge merge) $(value demo/merge result)" "a merged" "merge tells of it"
is "$(cat <&"$past")" begun "what was open is still open"
tell() { within "$wait_limit" grep -q '"merged"' <&"$story"; }
ok "events tells of it" tell

ok "the new machine can be forked" within "$wait_limit" mkdir demo/forks/again
sandboxes=(demo/forks/again "${sandboxes[@]}")
is "$(ask demo/forks/again <<< "$ask")" "['start', 'a'] ['start', 'a'] again" "as any other"
python demo/forks/again <<< 'plan.append("again")'
ok "and that fork merged" within "$wait_limit" bash -c 'echo again > demo/merge'
is "$(ask demo <<< 'print(plan)')" "['start', 'a', 'again']" "time and again"
ok "a sibling of an earlier time wins as well" within "$wait_limit" bash -c 'echo b > demo/merge'
is "$(ask demo <<< "$ask")" "['start', 'b'] ['start', 'b'] demo" "with what it has"

fails_with ENOENT "no such fork: ENOENT" write demo/merge nobody
like "$(cat demo/error)" "no fork nobody" "and error says so"
fails_with EINVAL "not a fork of it: EINVAL" write demo/merge demo
fails_with EINVAL "two names: EINVAL" write demo/merge "a b"
done_testing
