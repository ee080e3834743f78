# Completion of pffs(1) for bash. It asks the pffs that runs for names of sandboxes.
# shellcheck shell=bash

# _pffs_options COMMAND: the long options of a command, one a line.
_pffs_options() {
	case $1 in
	run) echo '--in --keep --language --template --timeout --json --api' ;;
	exec) echo '--bash --stdin --timeout --json --api' ;;
	sh | shell) echo '--new --terminal --mount --api' ;;
	ls) echo '--quiet --json --api' ;;
	diff) echo '--patch --path --json --api' ;;
	merge) echo '--files --ours --theirs --json --api' ;;
	cp) echo '--recursive --api' ;;
	rm) echo '--recursive --force --json --api' ;;
	create) echo '--template --config --json --api' ;;
	logs | events) echo '--follow --json --api' ;;
	net) echo '--egress --allow --clear --log --follow --json --api' ;;
	fork | tree | top | freeze | resume | stop) echo '--json --api' ;;
	template) echo '--images --json --api' ;;
	doctor) echo '--json' ;;
	mcp) echo '--sandbox --template --keep --allow-files --api' ;;
	mount | serve)
		echo '--http --keys --socket --images --state --engine --uplink --dns --memory-mib --vcpus' \
			'--disk-mib --config --max-sandboxes --max-memory-mib --at-cap --user --foreground'
		[ "$1" != mount ] || echo '--only --allow-other'
		;;
	esac
	echo '--help'
}

# _pffs_sandboxes: their names and the paths of forks. One that does not answer in time
# has none.
_pffs_sandboxes() {
	timeout 2 "${COMP_WORDS[0]}" ls --quiet 2>/dev/null
}

# _pffs_words WORD...: those that begin with what was typed.
_pffs_words() {
	mapfile -t COMPREPLY < <(compgen -W "$*" -- "$typed")
}

_pffs_files() {
	mapfile -t COMPREPLY < <(compgen -f -- "$typed")
	compopt -o filenames 2>/dev/null
}

_pffs_sandboxes_or_files() {
	local names
	names=$(_pffs_sandboxes)
	mapfile -t COMPREPLY < <(compgen -W "$names" -- "$typed" && compgen -d -- "$typed")
}

# _pffs_value OPTION: what may follow it. Return: whether it takes a value.
_pffs_value() {
	case $1 in
	--in | --sandbox) _pffs_words "$(_pffs_sandboxes)" ;;
	--language | -l) _pffs_words python bash ;;
	--engine) _pffs_words auto kvm emulated ;;
	--uplink) _pffs_words auto kernel user none ;;
	--egress) _pffs_words on off allow ;;
	--at-cap) _pffs_words refuse freeze ;;
	--api | --allow-files | --socket | --images | --state | --keys | --only | --mount) _pffs_files ;;
	--template | --timeout | --path | --http | --dns | --allow | --config | --memory-mib | --vcpus | --disk-mib | \
		--max-sandboxes | --max-memory-mib | --terminal) ;;
	*) return 1 ;;
	esac
}

# _pffs_operand COMMAND NUMBER: the operand with that number, from 0 on.
_pffs_operand() {
	case $1 in
	run) _pffs_files ;;
	exec | sh | shell | fork | logs | events | tree | net)
		[ "$2" != 0 ] || _pffs_sandboxes_or_files
		;;
	diff) _pffs_words "$(_pffs_sandboxes)" parent template ;;
	merge | rm | freeze | resume) _pffs_sandboxes_or_files ;;
	cp)
		# The part behind a colon is a word of its own, of a path that is not known here.
		_pffs_files
		if [[ $typed != */* ]]; then
			local name
			while read -r name; do
				[[ $name != "$typed"* ]] || COMPREPLY+=("$name:")
			done < <(_pffs_sandboxes)
			compopt -o nospace 2>/dev/null
		fi
		;;
	mount | umount) _pffs_files ;;
	help) [ "$2" != 0 ] || _pffs_words "$commands" ;;
	template)
		if [ "$2" = 0 ]; then
			_pffs_words list add rm freeze
		else
			_pffs_sandboxes_or_files
		fi
		;;
	esac
}

_pffs() {
	local typed=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]:-} operands=0 i
	local commands='run exec create sh shell ls tree fork diff merge cp logs events net top rm freeze
		resume mount umount serve stop template doctor mcp'
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		_pffs_words "$commands" help version --help --version
		return
	fi
	_pffs_value "$before" && return
	if [[ $typed == -* ]]; then
		_pffs_words "$(_pffs_options "$command")"
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == -* ]] || operands=$((operands + 1))
	done
	_pffs_operand "$command" "$operands"
}

complete -F _pffs pffs
