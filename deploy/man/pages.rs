//! Manual pages and shell completions: `cargo run --example pages -- DIRECTORY`.
//!
//! ftpdirector(8) and ftpdirector.yaml(5) are written by hand, but for the commands: they are described by the command line
//! itself.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};
use ftpdirector::facade::cli::Cli;

const PAGES: [(&str, &str); 2] = [
    ("ftpdirector.8", include_str!("ftpdirector.8.in")),
    ("ftpdirector.yaml.5", include_str!("ftpdirector.yaml.5.in")),
];

/// Explained once for all commands.
const COMMON: [&str; 3] = ["config", "help", "version"];

fn main() -> io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("which directory?"));
    };
    fs::create_dir_all(&directory)?;
    let mut line = Cli::command();
    line.build();
    let commands = commands(&line).map_err(io::Error::other)?;
    for (name, template) in PAGES {
        let page = template.replace("@version@", env!("CARGO_PKG_VERSION")).replace("@commands@\n", &commands);
        // What the comment says of the template is not true of the page.
        let page: String =
            page.lines().filter(|line| !line.starts_with(".\\\"")).map(|line| format!("{line}\n")).collect();
        fs::write(directory.join(name), page)?;
    }
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let path = generate_to(shell, &mut Cli::command(), "ftpdirector", &directory)?;
        fs::write(&path, with_names(shell, &fs::read_to_string(&path)?).map_err(io::Error::other)?)?;
    }
    Ok(())
}

/// A completion that also asks the daemon for the names of its clusters and servers.
fn with_names(shell: Shell, made: &str) -> Result<String, String> {
    match shell {
        Shell::Bash => Ok(format!("{made}\n{}", include_str!("../completions/names.bash"))),
        Shell::Fish => Ok(format!("{made}{}", include_str!("../completions/names.fish"))),
        Shell::Zsh => {
            let (mut named, mut text) = (0, String::new());
            for line in made.lines() {
                let names = [("--cluster=[", "clusters"), ("--server=[", "servers"), ("':server -- ", "servers")];
                let asked = names
                    .iter()
                    .find(|(begin, _)| line.trim_start_matches('\'').starts_with(begin.trim_start_matches('\'')));
                let asked = asked.filter(|_| line.contains(":_default'"));
                named += usize::from(asked.is_some());
                match asked {
                    Some((_, kind)) => text.push_str(&line.replace(":_default'", &format!(":_ftpdirector_{kind}'"))),
                    None => text.push_str(line),
                }
                text.push('\n');
            }
            // --cluster of four commands, --server of three, and the server of drain and undrain
            let (head, functions) = text.split_once("\n").unwrap_or_default();
            let whole = format!("{head}\n\n{}{functions}", include_str!("../completions/names.zsh"));
            if named == 9 {
                Ok(whole)
            } else {
                Err(format!("zsh: {named} places for names, not 9: what clap writes has changed"))
            }
        }
        other => Err(format!("{other}: no completion with names")),
    }
}

/// The list of commands in mdoc(7).
fn commands(line: &Command) -> Result<String, fmt::Error> {
    let mut list = String::from(".Bl -tag -width Ds\n");
    let mut explained = BTreeSet::new();
    let shown = line.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    for command in shown {
        let arguments: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_hide_set()).collect();
        write!(list, ".It Cm {}", command.get_name())?;
        for argument in &arguments {
            if !COMMON[1..].contains(&argument.get_id().as_str()) {
                write!(list, " {}", synopsis(argument))?;
            }
        }
        let about = command.get_long_about().or_else(|| command.get_about());
        writeln!(list, "\n{}", about.map(text).unwrap_or_default())?;
        let mut options = String::new();
        for argument in arguments.iter().filter(|argument| !COMMON.contains(&argument.get_id().as_str())) {
            let help = argument.get_long_help().or_else(|| argument.get_help()).map(text).unwrap_or_default();
            let spelling = spelling(argument);
            // The same option of another command.
            if !explained.insert((spelling.clone(), help.clone()))
                || spelling == format!("Ar {}", help.trim_end_matches('.'))
            {
                continue;
            }
            let short = argument.get_short().map(|short| format!("Fl {short} , ")).unwrap_or_default();
            writeln!(options, ".It {short}{spelling}\n{help}")?;
            for value in argument.get_default_values().iter().filter(|_| takes_value(argument)) {
                writeln!(options, "The default is\n.Li {} .", value.to_string_lossy())?;
            }
        }
        if !options.is_empty() {
            write!(list, ".Bl -tag -width Ds\n{options}.El\n")?;
        }
    }
    list.push_str(".El\n");
    Ok(list)
}

/// `Oo Fl -config Ar FILE Oc`
fn synopsis(argument: &Arg) -> String {
    if argument.is_required_set() { spelling(argument) } else { format!("Oo {} Oc", spelling(argument)) }
}

/// `Fl -config Ar FILE`
fn spelling(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let mut values: String = names.iter().filter(|_| takes_value(argument)).map(|name| format!(" Ar {name}")).collect();
    if matches!(argument.get_action(), ArgAction::Append) {
        values.push_str(" ...");
    }
    match argument.get_long() {
        Some(long) => format!("Fl -{long}{values}"),
        None => values.trim_start().to_owned(),
    }
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Help as mdoc(7) text: `words` in backquotes become bold, and each sentence ends where it should.
fn text(help: &clap::builder::StyledStr) -> String {
    let plain = help.to_string().replace('\\', "\\e");
    let marked = plain.split('`').enumerate();
    let marked: String =
        marked.map(|(at, part)| if at % 2 == 1 { format!("\\fB{part}\\fR") } else { part.to_owned() }).collect();
    let end = if marked.ends_with(['.', '!', '?']) { "" } else { "." };
    let lines = format!("{marked}{end}").replace("\n\n", "\n.Pp\n").replace(". ", ".\n");
    // A line that begins like a request is none.
    lines
        .lines()
        .map(|line| if line.starts_with('\'') { format!("\\&{line}") } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}
