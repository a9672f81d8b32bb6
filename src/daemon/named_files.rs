//! A look at the files that a configuration names, for `ftpdirector check`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use crate::config::{NamedFile, Problem};

/// A warning for each file that the health checks could not use.
#[must_use]
pub fn unusable(files: &[NamedFile]) -> Vec<Problem> {
    files.iter().filter_map(|file| Some(file.unusable(&why_not(&file.path)?))).collect()
}

/// Why a file cannot be used. Whoever may not read it is told nothing: the user ftpdirector may.
fn why_not(path: &Path) -> Option<String> {
    let first = fs::metadata(path).and_then(|about| match about.is_file() {
        // To open anything else may take as long as it likes.
        true => File::open(path)?.read(&mut [0]),
        false => Err(io::Error::other(if about.is_dir() { "is a directory" } else { "is no file" })),
    });
    match first {
        Ok(0) => Some("is empty".to_owned()),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => Some(error.to_string()),
    }
}
