# shellcheck shell=bash

# Names that the running daemon knows: `clusters`, or `servers` as CLUSTER/SERVER.
_ftpdirector_names() {
    "$1" status --json 2> /dev/null | grep -o '"cluster":"[^"]*","name":"[^"]*"' | case $2 in
        clusters) sed 's/"cluster":"\([^"]*\)".*/\1/' | sort -u ;;
        servers) sed 's/"cluster":"\([^"]*\)","name":"\([^"]*\)"/\1\/\2/' ;;
    esac
}

# As _ftpdirector, which knows no names of clusters and servers.
_ftpdirector_with_names() {
    local line=${COMP_LINE:0:COMP_POINT} kind='' word name words
    # The whole word: for bash one begins at a colon too, as in the server name 2001:db8::11, and at an equals sign.
    word=${line##*[[:space:]]}
    read -ra words <<< "${line%"$word"}"
    case ${words[${#words[@]} - 1]-} in
        --cluster) kind=clusters ;;
        --server) kind=servers ;;
        -c | --config | --socket) ;;
        *)
            case $word in
                --cluster=*) kind=clusters word=${word#*=} ;;
                --server=*) kind=servers word=${word#*=} ;;
                -*) ;;
                *) [[ ${words[1]-} == @(drain|undrain) ]] && kind=servers ;;
            esac
            ;;
    esac
    if [[ -z $kind ]]; then
        _ftpdirector "$@"
        return
    fi
    COMPREPLY=()
    while IFS= read -r name; do
        [[ $name == "$word"* ]] || continue
        # Bash puts the name in place of the last part of the word. A name may hold what the shell would run.
        printf -v name %q "${name#"${word%"$2"}"}"
        COMPREPLY+=("$name")
    done < <(_ftpdirector_names "$1" "$kind")
    return 0
}

complete -F _ftpdirector_with_names -o bashdefault -o default ftpdirector
