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
also_clean_up() {
	! has_image || pffs template rm "$name"
}

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

# How large the template's disk is, as a sandbox sees it.
disk_size() {
	echo 'echo $(($(cat /sys/block/vda/size) * 512))' >"$1/bash"
	cat "$1/stdout"
}

# Another image of that name, put there as a build does: whole.
image=$images/templates/$name.erofs
size=$(stat -c %s "$image")
cp "$image" "$image.new"
truncate -s +1M "$image.new"
mv "$image.new" "$image"
sandbox "templates/$name/forks/second"
is "$(disk_size "templates/$name/forks/second")" $((size + 1048576)) \
	"a sandbox has the image that replaced another one"
is "$(disk_size first)" "$size" "the one that was there keeps its own"
ok "a sandbox can leave the template's forks" mv "templates/$name/forks/second" made-second
sandboxes+=(made-second)

freeze() {
	within "$wait_limit" "$build/pffs/pffs" template freeze "$@" 2>&1
}

python first <<'CODE'
table = {n: n * n for n in range(1000)}
open("/root/ready", "w").write("yes")
CODE
sandboxes+=(templates/warm-by-test/forks/x templates/warm-by-test)
is "$(freeze first warm-by-test)" "" "pffs template freeze makes a template of a sandbox"
ok "of which sandboxes are made" within "$wait_limit" mkdir templates/warm-by-test/forks/x
echo 'print(table[31], open("/root/ready").read())' >templates/warm-by-test/forks/x/exec
is "$(cat templates/warm-by-test/forks/x/stdout)" "961 yes" "with its memory and its files"
echo 'print(len(table))' >first/exec
is "$(cat first/stdout)" 1000 "the sandbox itself goes on"
is "$(ls first/forks)" "" "and no fork of it is left"
is "$(freeze "$PWD/first" default)" \
	"pffs: there is a template default already" \
	"a name that is taken is refused with a sentence"
like "$(freeze first .bad)" "^pffs: .*name" "so is a bad one"
is "$(ls first/forks)" "" "and leaves no fork"
is "$(freeze ./nothing x)" "pffs: there is no sandbox ./nothing" \
	"a sandbox that is not there is told"
is "$(freeze templates x)" "pffs: there is no sandbox templates" "and what is no sandbox"

# among MOUNT...: mount `first` by its name, where these are the only mounts of pffs.
among() {
	only=$scratch/only unshare -m bash -c '
		sed -n "s/^[^ ]* \([^ ]*\) fuse\.pffs .*/\1/p" /proc/self/mounts |
			while read -r other; do
				case " $* " in *" $other "*) ;; *) umount -l "$other" ;; esac
			done
		[ $# != 2 ] || mount --bind "$1" "$2"
		cd / && timeout 60 "$0/pffs/pffs" mount --only first "$only" || exit
		test -e "$only/exec" && echo mounted
		"$0/pffs/pffs" umount "$only"' \
		"$build" "$@" 2>&1
}
mkdir "$scratch/second"
is "$(among)" "pffs: nothing is mounted: give the path of the sandbox's directory" \
	"a name alone needs a mount"
is "$(among "$PFFS_TEST_MOUNT" "$scratch/second")" \
	"pffs: there are several mounts: give the path of the sandbox's directory" "but one"
is "$(among "$PFFS_TEST_MOUNT" | tail -n 1)" mounted "then it is found"

ok "pffs template rm removes an image" pffs template rm "$name"
not_ok "for good" has_image
is "$(ls templates | grep "$name")" "" "the mount does not show it any more"
fails_with ENOENT "or find it" stat "templates/$name"
echo 'cat /etc/made | wc -l' >first/bash
is "$(cat first/stdout)" 2 "what was made of it lives on"
done_testing
