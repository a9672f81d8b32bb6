
# Names that the running daemon knows.
function __fish_ftpdirector_clusters
    ftpdirector status --json 2> /dev/null | grep -o '"cluster":"[^"]*","name"' | sed 's/"cluster":"\(.*\)","name"/\1/' | sort -u
end
function __fish_ftpdirector_servers
    ftpdirector status --json 2> /dev/null | grep -o '"cluster":"[^"]*","name":"[^"]*"' | sed 's/"cluster":"\(.*\)","name":"\(.*\)"/\1\/\2/'
end
complete -c ftpdirector -n "__fish_ftpdirector_using_subcommand drain undrain" -f -a "(__fish_ftpdirector_servers)"
complete -c ftpdirector -n "__fish_ftpdirector_using_subcommand sessions pinholes trace" -l server -x -a "(__fish_ftpdirector_servers)"
complete -c ftpdirector -n "__fish_ftpdirector_using_subcommand sessions pinholes trace top" -l cluster -x -a "(__fish_ftpdirector_clusters)"
