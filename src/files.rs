//! The configuration on disk: the file, and those that it includes.
//!
//! Everyone who reads the configuration reads it here: the daemon when it starts and when it reloads, every command, the doctor.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::config::{
    IncludePattern, Included, LARGEST, Parsed, ProblemSeverity, Problems, Unread, includes, parse_files, printable,
};

/// The most files that one configuration includes.
const FILES: usize = 1024;
/// The most bytes of all files together.
const BYTES: usize = 2 * LARGEST;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file itself cannot be read.
    #[error("{file}: {error}")]
    Unreadable {
        /// The file's name, as it was given.
        file: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// What is wrong with it, and with the files that it includes.
    #[error("{problems}")]
    Wrong {
        /// All of it.
        problems: Problems,
        /// Whether a file may not be read by who asks.
        denied: bool,
    },
}

impl FileError {
    /// Whether the daemon may know what is in a file that cannot be read here: it is not there, or not for this user.
    #[must_use]
    pub fn unread(&self) -> bool {
        match self {
            Self::Unreadable { .. } => true,
            Self::Wrong { denied, .. } => *denied,
        }
    }
}

/// Reads a file and those that it includes, and checks all of them as one.
///
/// # Errors
///
/// That the file cannot be read; or all that is wrong with it or an included one, one that cannot be read among it.
pub fn read(path: &Path) -> Result<Parsed, FileError> {
    let name = path.display().to_string();
    let unreadable = |error| FileError::Unreadable { file: name.clone(), error };
    // Not only a regular file: `--config /dev/stdin`.
    let file = File::open(path).map_err(unreadable)?;
    let own = file.metadata().map(|found| (found.dev(), found.ino())).ok();
    let bytes = limited(file, LARGEST).map_err(unreadable)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut reader =
        Reader { directory, seen: own.into_iter().collect(), left: BYTES, denied: false, found: Vec::new() };
    let patterns = includes(&bytes);
    for pattern in patterns.iter().take(FILES) {
        reader.follow(pattern);
    }
    if let Some(pattern) = patterns.get(FILES) {
        let what = format!("more than {FILES} items");
        reader.refuse(pattern.item, &directory.join(&pattern.name), what, "a pattern for the files of one directory");
    }
    let Reader { denied, found, .. } = reader;
    parse_files(&bytes, &name, &found).map_err(|problems| FileError::Wrong { problems, denied })
}

/// A byte more than `limit` tells that there are more.
fn limited(file: File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Follows `include`.
struct Reader<'p> {
    /// Where relative names begin.
    directory: &'p Path,
    /// Device and inode of each file that was read: none is read twice.
    seen: BTreeSet<(u64, u64)>,
    /// So many bytes more may be read.
    left: usize,
    denied: bool,
    found: Vec<Included>,
}

impl Reader<'_> {
    fn follow(&mut self, pattern: &IncludePattern) {
        let directory = self.directory.join(&pattern.directory);
        if pattern.pattern.is_none() {
            self.file(pattern.item, &directory.join(&pattern.name));
            return;
        }
        // As a path of its own, "" is no directory.
        let opened = if directory.as_os_str().is_empty() { Path::new(".") } else { directory.as_path() };
        match names(opened, pattern) {
            Ok(names) => {
                // Until one is too many.
                let _ = names.iter().all(|name| self.file(pattern.item, &directory.join(name)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let cure = "create the directory, or correct its name".to_owned();
                let unread = Unread { severity: ProblemSeverity::Warning, what: error.to_string(), cure };
                self.note(pattern.item, opened, unread);
            }
            Err(error) => self.unreadable(pattern.item, opened, &error),
        }
    }

    /// Reads one file, unless it was read before. Returns whether there is room for more.
    fn file(&mut self, item: usize, path: &Path) -> bool {
        if self.found.len() >= FILES {
            self.refuse(item, path, format!("more than {FILES} files"), "fewer files, with more clusters each");
            return false;
        }
        let read = match open(path) {
            Ok((file, id)) if self.seen.insert(id) => limited(file, LARGEST.min(self.left)),
            Ok(_) => return true,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) if bytes.len() > self.left => {
                let what = format!("with this file the configuration is larger than {BYTES} bytes");
                self.refuse(item, path, what, "split it over more directors");
                return false;
            }
            Ok(bytes) => {
                self.left -= bytes.len();
                self.found.push(Included { item, file: name(path), content: Ok(bytes) });
            }
            Err(error) => self.unreadable(item, path, &error),
        }
        true
    }

    fn unreadable(&mut self, item: usize, path: &Path, error: &io::Error) {
        self.denied |= error.kind() == ErrorKind::PermissionDenied;
        self.refuse(item, path, error.to_string(), &cure(error, path));
    }

    fn refuse(&mut self, item: usize, path: &Path, what: String, cure: &str) {
        self.note(item, path, Unread { severity: ProblemSeverity::Error, what, cure: cure.to_owned() });
    }

    fn note(&mut self, item: usize, path: &Path, unread: Unread) {
        self.found.push(Included { item, file: name(path), content: Err(unread) });
    }
}

/// A name as it is shown: whoever may put a file into a directory chooses it.
fn name(path: &Path) -> String {
    path.display().to_string().chars().map(printable).collect()
}

/// The names in a directory that are meant, in their order.
fn names(directory: &Path, pattern: &IncludePattern) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if pattern.matches(&name.to_string_lossy()) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Opens a regular file; nothing else is opened (a FIFO waits for somebody who writes, a tape is wound back).
fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    regular(&fs::metadata(path)?)?;
    // It may have become another one since.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let found = file.metadata()?;
    regular(&found)?;
    Ok((file, (found.dev(), found.ino())))
}

fn regular(found: &fs::Metadata) -> io::Result<()> {
    match found {
        found if found.is_file() => Ok(()),
        found if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::other("not a regular file")),
    }
}

fn cure(error: &io::Error, path: &Path) -> String {
    match error.kind() {
        ErrorKind::NotFound => "create it, or correct its name; only a pattern (`*.yaml`) may match nothing".to_owned(),
        ErrorKind::PermissionDenied => {
            "let the user that runs this read it (the daemon: `chgrp ftpdirector` and `chmod g+r`)".to_owned()
        }
        ErrorKind::NotADirectory => "what stands before the last `/` is no directory: correct it".to_owned(),
        ErrorKind::IsADirectory => format!("the files in it: {}/*.yaml", name(path)),
        _ => "a regular file with `clusters:`".to_owned(),
    }
}

#[cfg(test)]
mod tests;
