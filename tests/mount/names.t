#!/bin/bash
# What a sandbox may be called, and where it can be made.
. "$(dirname "$0")/lib.sh"
long=$(printf 'n%.0s' {1..64})
for name in a A-1 x.y_z 0 "$long"; do
	sandbox "$name"
	ok "a name: ${name:0:20}" test -d "$name"
	within 30 rmdir "$name"
done
for name in .hidden 'a b' 'a:b' 'ü' "${long}n" $'new\nline' 'a*'; do
	got=$(within 30 "$top/tests/mount/attempt" mkdir "$name")
	like "$got" '^(EINVAL|ENAMETOOLONG)$' "no name: ${name:0:20}"
	like "$(cat error)" '.' "and the mount's error says why"
done
for name in README templates new events host; do
	fails_with EEXIST "taken: $name" mkdir "$name"
done
sandbox demo
fails_with EEXIST "no sandbox is made twice" mkdir demo
sandbox "$long"
is "$(ls demo/diff | grep "^$long" | paste -sd ' ')" "$long $long.json $long.patch" "a long name is whole in diff/"
is "$(ls -l demo/diff | grep -c "$long")" 3 "where it is found by that"
within 30 rmdir "$long"
fails_with ENOENT "an unknown one cannot be removed" rmdir nothing
fails_with ENOENT "nor looked at" stat nothing

fresh=$(cat new)
sandboxes+=("$fresh")
ok "reading new makes a sandbox and names it" test -d "$fresh"
is "$(value "$fresh/status" template)" default "from the default template"
again=$(cat new)
sandboxes+=("$again")
not_ok "every time another" test "$fresh" = "$again"

id=$(value demo/status id)
like "$id" '^sbx_[0-9a-f]{32}$' "a sandbox has an id"
within 30 rmdir demo
sandbox demo
not_ok "which is never used again" test "$id" = "$(value demo/status id)"
like "$(ls)" 'demo' "ls shows the sandboxes"
is "$(value host sandboxes)" 3 "host counts them"
like "$(value host engine)" '^(kvm|emulated)$' "and tells the engine"
like "$(ls templates)" default "templates are listed"
ok "with what they are" test -s templates/default/info
ok "and what is in them" grep -q '^python3' templates/default/packages
like "$(cat README)" 'mkdir' "README tells how to begin"
done_testing
