# Names that the running daemon knows.
_ftpdirector_clusters() {
    local -a names
    names=(${(fu)"$(ftpdirector status --json 2> /dev/null | grep -o '"cluster":"[^"]*","name"' | sed 's/"cluster":"\(.*\)","name"/\1/')"})
    compadd -a names
}
_ftpdirector_servers() {
    local -a names
    names=(${(f)"$(ftpdirector status --json 2> /dev/null | grep -o '"cluster":"[^"]*","name":"[^"]*"' | sed 's/"cluster":"\(.*\)","name":"\(.*\)"/\1\/\2/')"})
    compadd -a names
}

