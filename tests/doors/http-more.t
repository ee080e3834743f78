#!/bin/bash
# What the socket has of sandboxes beside runs and files: changes, diff, merges of files,
# events, templates, stats, freezing.
. "$(dirname "$0")/../mount/lib.sh"
[ -n "${PFFS_TEST_HTTP:-}" ] || skip_all "there is no socket"
api=$PFFS_TEST_HTTP/v1
mount=$PFFS_TEST_MOUNT
sandboxes+=(more/forks/{left,right} more)
cd "$scratch" || exit 1

# call METHOD PATH [OPTION...]: Return in $status the code; the answer goes to body.
call() {
	status=$(within "$wait_limit" curl -s -o body -w '%{http_code}' -X "$1" "$api/$2" "${@:3}")
}

# json EXPRESSION: of the body, as python sees it, b.
json() {
	python3 -c 'import json, sys; b = json.load(open("body")); print(eval(sys.argv[1]))' "$1"
}

# put SANDBOX PATH TEXT: write a file.
put() {
	printf '%s' "$3" >text
	within "$wait_limit" curl -s -o body -T text "$api/sandboxes/$1/files/$2"
}

newest=$(command curl -s "$api/events?since=0&follow=false" -H 'Accept: application/x-ndjson' | tail -n 1)
call POST sandboxes -d '{"name": "more"}'
is "$status $(json 'b["state"]')" "200 ready" "a sandbox is made"
id=$(json 'b["id"]')

# Changes.
put more root/base base && put more root/same same
call GET sandboxes/more/changes
is "$status $(json 'b["added"], b["removed"]')" "200 (['root/base', 'root/same'], [])" "what it made is what it has changed"
call GET 'sandboxes/more/changes?format=list&path=root/base'
is "$(command cat body)" "A root/base" "as lines, and of one path alone"
call GET 'sandboxes/more/changes?format=patch'
is "$(grep -c '^+base\|^+same' body)" 2 "as a patch"
mkdir before && (cd before && patch -s -p1 <../body)
is "$(command cat before/root/base)" base "that can be applied"
call GET 'sandboxes/more/changes?format=xml'
is "$status $(json 'b["code"]')" "400 EINVAL" "in no other form"

# Diff and merge of files.
write_names() {
	echo "${@:2}" >"$1"
}
ok "it is forked twice" write_names "$mount/more/forks/.n" left right
put more%2Fforks%2Fleft root/base left && put more%2Fforks%2Fleft root/new new
put more%2Fforks%2Fright root/base right && put more%2Fforks%2Fright root/other other
call GET sandboxes/more/diff/left
is "$status $(json 'b["added"], b["removed"], b["modified"]')" "200 (['root/new'], [], ['root/base'])" "a fork is compared by its name"
call GET sandboxes/more%2Fforks%2Fleft/diff/parent
is "$(json 'b["added"], b["removed"], b["modified"]')" "([], ['root/new'], ['root/base'])" "and its parent with it"
call GET "sandboxes/more%2Fforks%2Fleft/diff/$id?format=list&path=root/new"
is "$(command cat body)" "D root/new" "by its id, too"
call GET sandboxes/more%2Fforks%2Fleft/diff/right
is "$(json 'b["added"], b["removed"], b["modified"]')" "(['root/other'], ['root/new'], ['root/base'])" "siblings are compared"
call GET sandboxes/more/diff/template
is "$(json 'b["removed"]')" "['root/base', 'root/same']" "and with the template"
call GET sandboxes/more/diff/nobody
is "$status $(json 'b["code"]')" "404 ENOENT" "with nobody else"
call POST sandboxes/more/merge -d '{"files": ["left", "right"]}'
is "$status $(json 'b["merged"]')" "409 False" "two that changed one file are in conflict"
like "$(json 'b["report"]')" 'C root/base' "which the report names"
call GET sandboxes/more/files/root/base
is "$(command cat body)" base "and nothing has changed"
left=$(curl -s "$api/sandboxes/more%2Fforks%2Fleft" | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
call POST sandboxes/more/merge -d "{\"files\": [\"$left\", \"right\"], \"favour\": \"theirs\"}"
is "$status $(json 'b["merged"]')" "200 True" "unless one is favoured; by an id as well"
is "$(cat "$mount/more/fs/root/base" "$mount/more/fs/root/new" "$mount/more/fs/root/other")" rightnewother "the files of both are there"
like "$(json 'b["report"]')" 'A root/new' "and in the report"
call POST sandboxes/more/merge -d '{"files": []}'
is "$status" 400 "without forks there is nothing to merge"
call POST sandboxes/more/merge -d '{"files": ["none"]}'
is "$status" 404 "nor of one that is none"
call POST sandboxes/more/merge -d '{"files": ["left"], "favour": 1}'
is "$status" 400 "what is favoured is a word"

# Stats, as in the mount.
call GET sandboxes/more/stats
is "$(json '" ".join(b)')" "$(awk '{ printf "%s%s", sep, $1; sep = " " }' "$mount/more/stats")" "stats has what the mount has"
is "$(json 'b["forks"], b["memory_limit"], b["memory_private"] > 0')" "(2, $(value "$mount/more/stats" memory_limit), True)" "as numbers"

# Freezing.
call POST sandboxes/more%2Fforks%2Fright/freeze
is "$status $(json 'b["state"]') $(value "$mount/more/forks/right/status" state)" "200 frozen frozen" "it is frozen when that is answered"
call POST sandboxes/more%2Fforks%2Fright/freeze
is "$status $(json 'b["state"]')" "200 frozen" "once more changes nothing"
call POST sandboxes/more%2Fforks%2Fright/resume
is "$status $(json 'b["state"]')" "200 ready" "it is resumed"
echo freeze > "$mount/more/forks/right/ctl"
call POST spaces/more%2Fforks%2Fright/resume
is "$status $(json 'b["state"]')" "200 ready" "also by who does not wait for the end of freezing"
call POST sandboxes/more%2Fforks%2Fright/freeze
call GET sandboxes/more/diff/right
is "$status $(json 'b["added"]')" "200 []" "a frozen one can be compared"
is "$(value "$mount/more/forks/right/status" state)" ready "which resumes it"
call POST sandboxes/nobody/freeze
is "$status" 404 "who is not there is not frozen"

# Events.
since=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1] or "{\"seq\": 0}")["seq"])' "$newest")
# lines QUERY [OPTION...]: events as they are, without waiting.
lines() {
	within "$wait_limit" curl -s "$api/$1" -H 'Accept: application/x-ndjson' "${@:2}"
}
# so_far FILE: what a file has that goes on, without waiting.
so_far() {
	within "$wait_limit" python3 -c 'import os, sys
file = open(sys.argv[1], "rb")
os.set_blocking(file.fileno(), False)
sys.stdout.buffer.write(file.read(1 << 24) or b"")' "$1"
}
is "$(lines 'events?since=0&follow=false')" "$(so_far "$mount/events")" "all events are those of the mount"
lines "events?since=$((since + 1))&follow=false" >body
is "$(head -n 1 body | sed 's/.*"event":"\([a-z]*\)","sandbox":"\([a-z]*\)".*/\1 \2/')" "created more" "since is the first one"
second=$(sed -n 2p body)
is "$(lines "events?follow=false" -H "Last-Event-ID: $((since + 1))" | head -n 1)" "$second" "who had one gets the next"
is "$(lines "events?follow=false")" "" "and who does not say gets new ones"
is "$(lines "sandboxes/more/events?since=0&follow=false" | grep -cv '"sandbox":"more"')" 0 "of one sandbox there are only its own"
call GET 'events?since=x'
is "$status" 400 "since is a number"
within "$wait_limit" curl -sN -D ./head "$api/sandboxes/more%2Fforks%2Fright/events" >stream &
follower=$!
head_is_there() { grep -q $'^\r$' ./head; }
ok "headers come before any event" wait_for 20 head_is_there
like "$(command cat ./head)" 'Content-Type: text/event-stream' "of a stream of events"
call POST sandboxes/more%2Fforks%2Fright/freeze
told() { grep -q '^event: frozen$' stream; }
ok "an event comes when it happens" wait_for 20 told
rmdir "$mount/more/forks/right"
ok "the stream ends with its sandbox" wait "$follower"
is "$(grep -c '^event: ' stream) $(grep -c '^id: [0-9]*$' stream)" "$(grep -c '^data: {"seq":[0-9]*,.*}$' stream) $(grep -c '^$' stream)" \
	"each has a number, a name, data and an end"
python3 - <<'CODE'
import json
events = [dict(line.split(": ", 1) for line in e.split("\n")) for e in open("stream").read().strip("\n").split("\n\n")]
assert all(json.loads(e["data"])["seq"] == int(e["id"]) and json.loads(e["data"])["event"] == e["event"] for e in events), events
CODE
is $? 0 "which say the same"

# Templates.
call GET templates
is "$(json '[t["name"] for t in b["templates"] if t["default"]]')" "['default']" "there is a default template"
is "$(json '" ".join(sorted(t["name"] for t in b["templates"]))')" "$(cd "$mount/templates" && echo */ | tr -d /)" "all of the mount are listed"
call GET templates/default
is "$(json 'b["info"]')" "$(cat "$mount/templates/default/info")" "one tells of itself"
call GET templates/none
is "$status" 404 "one that is none does not"
rmdir "$mount/more/forks/left"
call POST templates -d '{"sandbox": "more", "name": "made"}'
is "$status $(json 'b["name"], b["made"], b["default"]')" "201 ('made', True, False)" "a sandbox becomes a template"
is "$(ls "$mount/templates/made" | head -n 1) $(ls -d "$mount/more" 2>/dev/null)" "forks " "in the mount as well"
call PATCH templates/made -d '{"default": true}'
is "$status $(cat "$mount/templates/.default")" "200 made" "it can be the default one"
call POST sandboxes -d '{"name": "more"}'
is "$(json 'b["template"]')" made "of which sandboxes are made then"
call GET sandboxes/more/files/root/base
is "$(command cat body)" right "with its files"
call PATCH templates/default -d '{"default": true}'
mkdir "$mount/templates/made/forks/more"
call DELETE templates/made
is "$status" 409 "while there are some in its directory it stays"
call DELETE templates/default
is "$status" 403 "and an image stays"
call DELETE sandboxes/more
rmdir "$mount/templates/made/forks/more"
call DELETE templates/made
is "$status $(ls -d "$mount/templates/made" 2>/dev/null)" "204 " "then it goes"
call POST templates -d '{"name": "x"}'
is "$status" 400 "without a sandbox there is no template"
done_testing
