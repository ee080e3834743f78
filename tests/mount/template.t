#!/bin/bash
# A template of one's own: from a recipe, from a sandbox that was set up by hand; while
# the mount goes on.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || skip_all "making images needs root"
name=made-by-test

pffs() {
	"$build/pffs/pffs" "$@"
}

images=${PFFS_IMAGES:-/var/cache/pffs}
has_image() {
	[ -e "$images/templates/$name.erofs" ]
}
trap 'status=$?; ! has_image || pffs template rm "$name"; clean_up "$status"' EXIT

# Small, so that it is made quickly: what the agent needs, and a mark of its own.
mkdir -p "$scratch/recipe/files/etc"
echo python3 >"$scratch/recipe/packages"
echo 'from files' >"$scratch/recipe/files/etc/made"
cat >"$scratch/recipe/customise" <<'SCRIPT'
#!/bin/sh
echo 'from customise' >>"$1/etc/made"
SCRIPT
chmod +x "$scratch/recipe/customise"

is "$(within 60 "$build/pffs/pffs" template add .bad "$scratch/recipe" 2>&1)" \
	"pffs template: a template's name is 1 to 64 of A-Za-z0-9._- and does not begin with a dot" \
	"a bad name is refused with a sentence"
ok "pffs template add makes a template" \
	within 500 "$build/pffs/pffs" template add "$name" "$scratch/recipe"
like "$(pffs template list)" "NAME +PACKAGES +MIB +BUILT.*$name +[0-9]+ +[0-9]+ +20" "list shows it"
like "$(ls templates)" "$name" "so does the mount"
is "$(value "templates/$name/info" name)" "$name" "with its info"
sandbox "templates/$name/forks/first"
ok "a sandbox is made from it at once" mv "templates/$name/forks/first" first
sandboxes+=(first)
echo 'cat /etc/made' >first/bash
is "$(cat first/stdout)" "from files
from customise" "of what the recipe says"
is "$(cat first/exit)" 0 "and runs"
done_testing
