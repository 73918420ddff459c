//! Where the bytes go that a task has delivered: `--output FILE`, else standard output.
//!
//! A file appears whole or not at all: the bytes go into a fresh file beside it, which takes its place at the end, or is
//! gone. What is there already and is no regular file (a device, a pipe, a link) is written to and stays what it is. All
//! that can be known beforehand is checked by [`OutputTo::open`], before anything is paid for.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    cli::Context,
    console::{CliError, harmless::ForTerminal},
};

/// `--output` and `--raw`.
#[derive(Debug, clap::Args)]
pub(super) struct OutputTo {
    /// Where the output goes, or - for standard output [default: -].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the output as it is, also to a terminal, which obeys what is in it.
    #[arg(long, conflicts_with = "output")]
    raw: bool,
}

/// A place that was found good.
#[derive(Debug)]
pub(super) enum Place {
    /// Standard output.
    Stdout {
        /// Whether a terminal gets it as it is.
        raw: bool,
    },
    /// What is there is written to.
    Existing {
        /// As it was named.
        path: PathBuf,
        file: File,
    },
    /// A file is made, in place of the one that is there.
    Fresh(PathBuf),
}

impl OutputTo {
    /// Checks that the output can go where it is to go.
    ///
    /// # Errors
    /// If it can't.
    pub(super) fn open(&self) -> Result<Place, CliError> {
        match &self.output {
            Some(path) if path.as_os_str() != "-" => Place::at(path),
            _ => Ok(Place::Stdout { raw: self.raw }),
        }
    }
}

impl Place {
    /// The file at `path`.
    ///
    /// # Errors
    /// If it can't be written.
    pub(super) fn at(path: &Path) -> Result<Self, CliError> {
        let fail = |cause| CliError::file("write", path, &cause);
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => {
                // Not created, not truncated: it is what it is.
                let file = OpenOptions::new().write(true).open(path).map_err(fail)?;
                return Ok(Self::Existing { path: path.to_owned(), file });
            }
            Ok(_) => drop(OpenOptions::new().append(true).open(path).map_err(fail)?),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(fail(cause)),
        }
        if path.file_name().is_none() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        // The folder takes a file; it is made again when there is something to put in it.
        drop(Fresh::make(path).map_err(fail)?);
        Ok(Self::Fresh(path.to_owned()))
    }

    /// The file that the output goes to, if to one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Stdout { .. } => None,
            Self::Existing { path, .. } | Self::Fresh(path) => Some(path),
        }
    }

    /// Begins to write.
    ///
    /// # Errors
    /// If that is no longer possible.
    pub(super) fn begin(self) -> Result<Writing, CliError> {
        Ok(match self {
            Self::Stdout { raw } => Writing::Stdout { raw, shown: ForTerminal::default() },
            Self::Existing { path, file } => {
                if file.metadata().is_ok_and(|found| found.is_file()) {
                    file.set_len(0).map_err(|cause| CliError::file("write", &path, &cause))?;
                }
                Writing::Existing { path, file }
            }
            Self::Fresh(path) => {
                Writing::Fresh(Fresh::make(&path).map_err(|cause| CliError::file("write", &path, &cause))?)
            }
        })
    }
}

/// Output on its way.
#[derive(Debug)]
pub(super) enum Writing {
    Stdout { raw: bool, shown: ForTerminal },
    Existing { path: PathBuf, file: File },
    Fresh(Fresh),
}

impl Writing {
    /// Writes the next piece.
    ///
    /// # Errors
    /// If the disk is full, say.
    pub(super) fn piece(&mut self, bytes: &[u8], context: &Context) -> Result<(), CliError> {
        match self {
            Self::Stdout { raw, shown } => context.printer.output(bytes, shown, *raw),
            Self::Existing { path, file } => {
                file.write_all(bytes).map_err(|cause| CliError::file("write", path, &cause))
            }
            Self::Fresh(fresh) => {
                fresh.file.write_all(bytes).map_err(|cause| CliError::file("write", &fresh.path, &cause))
            }
        }
    }

    /// All is written.
    ///
    /// # Errors
    /// If it can't be put in its place.
    pub(super) fn end(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Stdout { mut shown, .. } => context.printer.end_output(&mut shown),
            Self::Existing { path, mut file } => file.flush().map_err(|cause| CliError::file("write", &path, &cause)),
            Self::Fresh(fresh) => {
                let path = fresh.path.clone();
                fresh.keep().map_err(|cause| CliError::file("write", &path, &cause))
            }
        }
    }
}

/// A fresh file beside the one that it shall become. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Fresh {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    kept: bool,
}

impl Fresh {
    /// With a name that nobody can guess, so that nobody can have put a link there.
    fn make(path: &Path) -> io::Result<Self> {
        let mut tag = [0; 8];
        getrandom::fill(&mut tag)?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.part", hex::encode(tag)));
        let beside = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&beside)?;
        Ok(Self { path: path.to_owned(), beside, file, kept: false })
    }

    fn keep(mut self) -> io::Result<()> {
        // A full disk may show only now.
        self.file.sync_all()?;
        if let Ok(old) = fs::metadata(&self.path) {
            // Who might read the file before may do so after.
            self.file.set_permissions(old.permissions())?;
        }
        fs::rename(&self.beside, &self.path)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::console::Printer;

    fn context() -> Context {
        Context {
            caller: None,
            printer: Printer::stdio(true),
            home: None,
            passphrase: crate::cli::PassphraseSource::of_process(None),
        }
    }

    fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
        let mut writing = Place::at(path)?.begin()?;
        writing.piece(bytes, &context())?;
        writing.end(&context())
    }

    fn entries(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        write(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, b"2").unwrap();
        assert_eq!((fs::read(&path).unwrap(), entries(dir.path())), (b"2".to_vec(), 1));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_given_up_half_way_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        write(&path, b"old").unwrap();
        let mut writing = Place::at(&path).unwrap().begin().unwrap();
        writing.piece(b"half", &context()).unwrap();
        drop(writing);
        assert_eq!((fs::read(&path).unwrap(), entries(dir.path())), (b"old".to_vec(), 1));
    }

    #[test]
    fn a_link_is_written_through_and_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, b"a longer text").unwrap();
        symlink(&real, &link).unwrap();
        write(&link, b"short").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"short");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let dangling = dir.path().join("dangling");
        symlink(dir.path().join("nothing"), &dangling).unwrap();
        assert!(write(&dangling, b"x").is_err(), "a link to nowhere makes no file");
        assert!(!dir.path().join("nothing").exists());
    }

    #[test]
    fn a_link_planted_where_a_part_might_lie_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, b"mine").unwrap();
        symlink(&victim, dir.path().join("out.part")).unwrap();
        write(&dir.path().join("out"), b"theirs").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"theirs");
    }

    #[test]
    fn devices_stay_devices_and_what_cannot_be_written_is_said_beforehand() {
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("no/such/folder"), PathBuf::from("/"), PathBuf::from("")] {
            let error = Place::at(&path).unwrap_err();
            assert!(error.told.message.starts_with("can't write"), "{error:?}");
        }
    }
}
