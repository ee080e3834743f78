#!/bin/bash
# net/: the policy of a sandbox as files, and where it goes: to forks, to disk, nowhere else.
. "$(dirname "$0")/own-pffs.sh"

# refused SENTENCE FILE TEXT: to write TEXT fails, and changes nothing; `error` says why.
refused() {
	local before after dir=${2%/net/*}
	before=$(cat "$2")
	if printf '%s\n' "$3" 2> /dev/null > "$2"; then
		fail "$3 is refused"
		return
	fi
	after=$(cat "$2")
	like "$(cat "$dir/error")" "$1" "${3%%$'\n'*} is refused, in a sentence"
	[ "$before" = "$after" ] || fail "and changes nothing: $after"
}

# made NAME: a sandbox of that name, which answers.
made() {
	within 60 mkdir "$1" && wait_for 120 state_is "$1" ready
}

start
ok "a sandbox" made mnt/demo
net=mnt/demo/net
is "$(ls $net | tr '\n' ' ' | sed 's/ports //')" "allow egress log secrets status " "net/ has its files"
is "$(cat $net/egress mnt/demo/config/egress)" $'on\non' "egress is on by default"
is "$(cat $net/allow $net/secrets $net/log)" "" "nothing else is set"
is "$(value $net/status egress) $(value $net/status ceiling)" "on on" "status says so"
like "$(value $net/status connected)" '^(yes|no)$' "and whether it is connected"

echo allow > $net/egress
is "$(cat $net/egress mnt/demo/config/egress) $(value $net/status egress)" $'allow\nallow allow' "allow"
echo off > mnt/demo/config/egress
is "$(cat $net/egress)" off "config/egress is the same value"
refused 'on, off or allow, not "open"' $net/egress open
echo allow > $net/egress

cat > $net/allow <<'END'
# what it may ask
Example.COM:443
*.pypi.org:443,80   # and below
203.0.113.0/24:8000-8010

[2001:db8::/32]:443
END
is "$(cat $net/allow)" $'example.com:443\n*.pypi.org:80,443\n203.0.113.0/24:8000-8010\n[2001:db8::/32]:443' \
	"a list is read in its canonical form"
is "$(stat -c %s $net/allow)" "$(cat $net/allow | wc -c)" "its size is that of its text"
echo one.example > $net/allow
echo two.example >> $net/allow
echo two.example >> $net/allow
is "$(cat $net/allow)" $'one.example\ntwo.example' "> replaces, >> adds, and nothing is there twice"
{ echo three.example; sleep 0.1; echo four.example; } > $net/allow
is "$(cat $net/allow)" $'three.example\nfour.example' "what one descriptor writes is one list"
refused 'did you mean 10.0.0.0/8' $net/allow 10.1.2.3/8
refused 'not a domain' $net/allow $'good.example\nnot a domain'
refused 'not ports' $net/allow example.com:http
refused 'closed for good' $net/allow 127.0.0.1
printf 'no-newline.example' > $net/allow
is "$(cat $net/allow)" no-newline.example "the last line needs no newline"
seq -f 'host-%g.a-name-that-is-somewhat-long.example:443' 1000 > $net/allow
is "$(cat $net/allow | wc -l)" 1000 "a thousand entries"
python3 -c 'import sys; f = open(sys.argv[1], "w"); f.writelines(f"other-{n}.example\n" for n in range(1, 801)); f.close()' $net/allow
is "$(sed -n '1p;$p' $net/allow)" $'other-1.example\nother-800.example' "written in pieces, it is whole"
refused 'at most 1024 entries' $net/allow "$(seq -f 'host-%g.example' 1025)"
: > $net/allow
wait_for 10 eval '[ ! -s $net/allow ]'
is "$(cat $net/allow)" "" "to open it for writing empties it"
echo one.example > $net/allow
truncate -s 0 $net/allow
is "$(cat $net/allow)" "" "and so does truncate"
not_ok "status and log cannot be written" eval 'echo x > $net/status || echo x > $net/log' 2> /dev/null

echo 'api.example Authorization: Bearer sesame-5309' > $net/secrets
echo 'API.example X-Key: sesame-5310' >> $net/secrets
is "$(cat $net/secrets)" $'api.example Authorization:\napi.example X-Key:' "secrets are read without their values"
refused 'DOMAIN HEADER: VALUE' $net/secrets sesame-5311
refused 'Host cannot be set' $net/secrets 'api.example Host: sesame-5311'
echo 'print("a run")' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" "a run" "a run"
found() {
	local file
	find mnt -path '*/fs' -prune -o -type f ! -name exec ! -name bash ! -name new ! -name data \
		! -name events ! -name 'diff*' ! -name 'changes*' ! -name 'parent*' ! -name 'template*' -print |
		while read -r file; do
			within 20 grep -l sesame "$file" 2> /dev/null
		done
	grep -l sesame log
	within 5 dd if=mnt/events iflag=nonblock bs=1M 2> /dev/null | grep sesame
	find state -type f -perm /077 -exec grep -l sesame {} +
}
is "$(found)" "" "no file, event, log or file of others has a value"
api=$(sed -n 's/^api //p' mnt/host | head -n 1)
# ask PATH [OPTION...]: what HTTP answers.
ask() {
	within 60 curl -sS --unix-socket "$api" "http://x/v1/sandboxes/$1" "${@:2}"
}
like "$(ask demo/net)" '"secrets":\[\{"domain":"api.example","header":"Authorization"\}' "HTTP has it, too"
not_ok "and no value" eval 'ask demo/net | grep -q sesame'
like "$(ask demo/net -X PUT -d '{"allow": ["Example.com", "bad one"]}')" '"code":"EINVAL"' "a wrong entry is 400"
like "$(ask demo/net -X PUT -d '{"allow": ["Example.com"], "egress": "off"}')" '"egress":"off","allow":\["example.com"\]' \
	"what is given is set"
is "$(cat $net/egress $net/allow; wc -l < $net/secrets)" $'off\nexample.com\n2' "and the rest stays"
like "$(ask demo)" '"egress":false' "a sandbox that is off tells so"
is "$(within 60 "$pffs" net mnt/demo --egress allow --allow '*.example.org:443' | head -n 3 | tr '\n' ' ')" \
	"egress allow allow example.com allow *.example.org:443 " "pffs net sets and shows"
not_ok "what is no mode is refused" within 60 "$pffs" net mnt/demo --egress open 2> /dev/null
is "$(ask demo/net/log; within 60 "$pffs" net mnt/demo --log)" "$(cat $net/log $net/log)" "the log is everywhere the same"

printf 'one.example\n*.two.example:443\n10.0.0.0/8\n' > $net/allow
ok "a fork" made mnt/demo/forks/a
child=mnt/demo/forks/a
is "$(cat $child/net/egress $child/net/allow $child/net/secrets)" "$(cat $net/egress $net/allow $net/secrets)" \
	"has its parent's policy"
is "$(cat $child/net/log)" "" "and a log of its own"
is "$(value $child/net/status ceiling) $(value $child/net/status ceiling_allow | tr '\n' ' ')" \
	"allow one.example *.two.example:443 10.0.0.0/8 " "which is its ceiling"
like "$( { echo on > $child/net/egress; } 2>&1)" "Operation not permitted" "it cannot be on"
like "$(cat $child/error)" "looser" "says error"
is "$(ask demo%2Fforks%2Fa/net -o /dev/null -w '%{http_code}' -X PUT -d '{"egress": "on"}')" 403 "and HTTP 403"
refused 'not within' $child/net/allow three.example
refused 'not within' $child/net/allow '*.two.example'
refused 'not within' $child/net/allow 0.0.0.0/0
printf 'x.two.example:443\n10.1.0.0/16:80\n' > $child/net/allow
is "$(cat $child/net/allow)" $'x.two.example:443\n10.1.0.0/16:80' "but tighter"
ok "a fork of the fork" made $child/forks/b
refused 'not within' $child/forks/b/net/allow one.example
echo off > $child/forks/b/net/egress
ok "a fork of that one" made $child/forks/b/forks/c
not_ok "which is off, stays off" eval 'echo allow > $child/forks/b/forks/c/net/egress' 2> /dev/null
ok "the one above may be what its parent allows" eval 'echo allow > $child/forks/b/net/egress'
printf 'one.example\nlater.example\n' > $net/allow
refused 'not within' $child/net/allow later.example
echo one.example > $child/net/allow
is "$(cat $child/net/allow)" one.example "what the parent gets later is not the child's, nor what it loses"

within 60 mv $child mnt/kept
refused 'not within' mnt/kept/net/allow later.example
ok "a fork to be merged" made mnt/demo/forks/m
echo off > mnt/demo/forks/m/net/egress
echo m > mnt/demo/merge
wait_for 60 eval '[ ! -e mnt/demo/forks/m ]'
is "$(cat $net/egress) $(cat $net/allow | tr '\n' ' ')" "allow one.example later.example " \
	"a sandbox that becomes what its fork is keeps its policy"

echo freeze > mnt/demo/ctl
ok "frozen" wait_for 90 state_is mnt/demo frozen
is "$(cat $net/egress) $(cat $net/secrets | wc -l)" "allow 2" "the policy is there"
echo 'frozen.example' >> $net/allow
echo 'three.example X-Key: cold' >> $net/secrets
is "$(value mnt/demo/status state)" frozen "and can be changed"
echo 'print("again")' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" again "it resumes"
is "$(cat $net/allow | tail -n 1)" frozen.example "with what was changed"
echo freeze > mnt/demo/ctl
wait_for 90 state_is mnt/demo frozen
kill -KILL "$pid"
wait "$pid" 2> /dev/null
within 60 umount -l mnt
ok "pffs is killed, and mounted again" start
wait_for 120 state_is mnt/kept ready
is "$(cat $net/egress) $(cat $net/allow | tail -n 1) $(cat $net/secrets | wc -l)" "allow frozen.example 3" \
	"the policy of what was frozen is as it was"
is "$(cat mnt/kept/net/egress) $(cat mnt/kept/net/allow)" "allow one.example" "and of what went on"
refused 'not within' mnt/kept/net/allow later.example
is "$(found)" "" "values are still nowhere to be read"

ok "a template of a sandbox" within 60 mv mnt/kept/forks/b/forks/c mnt/templates/closed
within 60 mkdir mnt/templates/closed/forks/x
is "$(cat mnt/templates/closed/forks/x/net/egress)" off "has its policy"
not_ok "and is a ceiling" eval 'echo on > mnt/templates/closed/forks/x/net/egress' 2> /dev/null
stop
cd / || exit
done_testing
