//! Reading modules, in binary or in text form.

use crate::exit::Problem;
use anyhow::{Context, anyhow};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use wast::Wat;
use wast::parser::{self, ParseBuffer};

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    /// `-` is standard input; `./-` is a file.
    pub(crate) fn new(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::File(path) }
    }

    /// Reads a module, and translates it if it is in text form.
    ///
    /// What is larger than `limit` is not read.
    pub(crate) fn read(&self, limit: usize) -> Result<Vec<u8>, Problem> {
        let file = self.open().map_err(Problem::not_readable)?;
        Self::read_opened(file.as_ref(), limit)
    }

    /// Opens the file, if it is one.
    pub(crate) fn open(&self) -> io::Result<Option<File>> {
        match self {
            Self::Stdin => Ok(None),
            Self::File(path) => File::open(path).map(Some),
        }
    }

    /// Reads a module from the opened file, or from standard input.
    pub(crate) fn read_opened(file: Option<&File>, limit: usize) -> Result<Vec<u8>, Problem> {
        let bytes = read_bytes(file, limit).map_err(Problem::not_readable)?;
        if bytes.len() > limit {
            return Err(Problem::cannot_run(anyhow!("module is larger than the limit of {limit} bytes")));
        }
        if bytes.is_empty() {
            return Err(Problem::cannot_run(anyhow!("not a WebAssembly module: it is empty")));
        }
        if gate_image::is_snapshot(&bytes) {
            return Err(Problem::cannot_run(anyhow!(
                "it is a snapshot: `gate resume` lets the program go on"
            )));
        }
        match text_form(&bytes) {
            Some(text) => parse_text(text).map_err(Problem::cannot_run),
            None => Ok(bytes),
        }
    }

    /// Name for the program itself: without directories, which are none of its business.
    pub(crate) fn program_name(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Stdin => Cow::Borrowed(b"-"),
            Self::File(path) => {
                Cow::Borrowed(path.file_name().unwrap_or(path.as_os_str()).as_encoded_bytes())
            }
        }
    }

    /// The path, if it is a file.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdin => None,
            Self::File(path) => Some(path),
        }
    }
}

/// Reads from the file's beginning, or from standard input, up to a little more than the limit.
fn read_bytes(file: Option<&File>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = limit as u64 + 1;
    match file {
        None => io::stdin().lock().take(limit).read_to_end(&mut bytes)?,
        Some(mut file) => {
            // One more, so that the end is seen without more room.
            bytes.reserve_exact((file.metadata()?.len() + 1).min(limit) as usize);
            // What cannot be rewound, a pipe for instance, is read only once.
            let _ = file.rewind();
            file.take(limit).read_to_end(&mut bytes)?
        }
    };
    Ok(bytes)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The bytes as text, unless they are meant to be something else. All that is binary goes to the compiler, which says
/// what is wrong with it.
fn text_form(bytes: &[u8]) -> Option<&str> {
    if bytes.contains(&0) { None } else { std::str::from_utf8(bytes).ok() }
}

fn parse_text(text: &str) -> anyhow::Result<Vec<u8>> {
    let translate = || -> Result<Vec<u8>, wast::Error> {
        let buf = ParseBuffer::new(text)?;
        parser::parse::<Wat<'_>>(&buf)?.encode()
    };
    translate()
        .map_err(|err| {
            let (line, column) = err.span().linecol_in(text);
            anyhow!("{} (line {}, column {})", err.message(), line + 1, column + 1)
        })
        .context("not a WebAssembly module in text form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart_by_content() {
        assert!(text_form(b"(module)").is_some());
        assert!(text_form(b"\0asm\x01\0\0\0").is_none());
        assert!(text_form(b"\xffELF").is_none());
    }

    #[test]
    fn errors_of_text_say_where() {
        let err = format!("{:#}", parse_text("(module\n  (func (i32.konst 1)))").unwrap_err());
        assert!(err.contains("line 2, column 10"), "{err}");
        assert!(!err.contains('\n'), "{err}");
        assert_eq!(&parse_text("(module)").unwrap()[..4], b"\0asm");
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(Source::new("-".into()), Source::Stdin);
        assert_eq!(Source::new("dir/a.wasm".into()).program_name(), &b"a.wasm"[..]);
        assert_eq!(Source::new("./-".into()), Source::File("./-".into()));
    }
}
