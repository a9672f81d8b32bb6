//! `import`: the files that are named, and those that they include.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::Format;
use crate::import::{ImportError, Imported, Include, LARGEST, Source, import};

/// The most files that one `include` line names.
const FILES: usize = 64;

/// Reads the files (`-` is standard input) and imports them.
///
/// # Errors
/// A file cannot be read, or there is no FTP service in them.
pub fn run(files: &[PathBuf], format: Option<Format>) -> Result<Imported, ImportError> {
    let source = |path: &PathBuf| {
        let standard = path.as_os_str() == "-";
        let name = if standard { "standard input".to_owned() } else { path.display().to_string() };
        let bytes = if standard { bounded(io::stdin().lock()) } else { read(path) };
        let bytes = bytes.map_err(|error| ImportError::Unreadable(format!("{name}: {error}")))?;
        Ok(Source { name, bytes, format })
    };
    let sources = files.iter().map(source).collect::<Result<Vec<Source>, ImportError>>()?;
    let standard = files.iter().any(|path| path.as_os_str() == "-");
    import(&sources, &|pattern, from| included(pattern, from, standard))
}

/// A file that is too large is not read to its end, and what is no file (a device, a pipe) not at all.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::Error::other("this is a directory"));
    }
    if !kind.is_file() {
        return Err(io::Error::other("this is no file; give it on standard input: import -"));
    }
    bounded(File::open(path)?)
}

fn bounded(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(u64::try_from(LARGEST).unwrap_or(u64::MAX) + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files of an `include` line, seen from the file that it stands in.
fn included(pattern: &str, from: &str, standard: bool) -> Result<Vec<Include>, String> {
    if pattern.is_empty() {
        return Err("it names no file".to_owned());
    }
    if pattern.contains(['{', '}']) || pattern.contains("**") {
        return Err("braces and ** are not read; give the files too: import FILE FILE".to_owned());
    }
    let absolute = Path::new(pattern).is_absolute();
    if standard && !absolute && from == "standard input" {
        return Err("standard input has no directory; give the file by its name".to_owned());
    }
    let directory = Path::new(from).parent().unwrap_or(Path::new(""));
    // What is special in the directory's own name is no pattern.
    let whole = if absolute {
        pattern.to_owned()
    } else {
        let directory = glob::Pattern::escape(&directory.display().to_string());
        if directory.is_empty() {
            pattern.to_owned()
        } else {
            Path::new(&directory).join(pattern).display().to_string()
        }
    };
    let found = glob::glob(&whole).map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for path in found.take(FILES + 1) {
        let path = path.map_err(|error| error.to_string())?;
        if files.len() == FILES {
            return Err(format!("more than {FILES} files"));
        }
        let name = path.display().to_string();
        let bytes = read(&path).map_err(|error| format!("{name}: {error}"))?;
        files.push(Include { name, bytes });
    }
    Ok(files)
}
