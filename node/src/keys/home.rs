//! A node's home folder: what lies where, and who may read it.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use guilder_protocol::fault::{AtFault, Fault};

/// A node's folder.
///
/// ```text
/// config.toml     settings, written by `guilder init`
/// aliases.toml    what the operator calls peers and mints
/// secret.json     the recovery phrase                    0600
/// node.redb       everything that must not be lost
/// memory.redb     what is remembered; memory.redb.new while it is written anew
/// content/        large inputs and outputs, by hash
/// mint/           the hosted mint, if there is one
/// work/           folders of running services
/// daemon.lock     held by the running daemon
/// api.json        address and token of its API           0600
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The folder at `dir`.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// `flag`, else `GUILDER_HOME`, else `guilder` in the user's data folder (XDG); made absolute, because what runs in
    /// a folder of its own (a service's program) is given paths below it.
    ///
    /// # Errors
    /// If none of them is set.
    pub fn locate(flag: Option<PathBuf>, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, HomeError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        flag.or_else(|| set("GUILDER_HOME"))
            .or_else(|| Some(set("XDG_DATA_HOME").filter(|dir| dir.is_absolute())?.join("guilder")))
            .or_else(|| Some(set("HOME")?.join(".local/share/guilder")))
            .map(|dir| Self(std::path::absolute(&dir).unwrap_or(dir)))
            .ok_or(HomeError::Nowhere)
    }

    /// Makes the folder, for its owner alone. One that is there already becomes so if it is empty, and is left as it is if
    /// it was so before.
    ///
    /// # Errors
    /// If it can't be made, others may look into it that have something there, or its filesystem keeps no permissions.
    pub fn create(&self) -> Result<(), HomeError> {
        let fail = |cause| HomeError::io("create", &self.0, cause);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(fail)?;
        let mode = |path: &Path| Ok(fs::metadata(path)?.permissions().mode() & 0o777);
        let found = mode(&self.0).map_err(fail)?;
        if found & 0o077 == 0 {
            return Ok(());
        }
        if fs::read_dir(&self.0).map_err(fail)?.next().is_some() {
            return Err(HomeError::Shared { path: self.0.clone(), mode: found });
        }
        // Some filesystems refuse, others say yes and change nothing.
        let _ = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700));
        if mode(&self.0).map_err(fail)? & 0o077 == 0 { Ok(()) } else { Err(HomeError::NoModes(self.0.clone())) }
    }

    /// Refuses a home that `guilder init` hasn't made.
    ///
    /// # Errors
    /// If the secret file isn't there.
    pub fn check(&self) -> Result<(), HomeError> {
        if self.secret().exists() { Ok(()) } else { Err(HomeError::Missing(self.0.clone())) }
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The settings.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The recovery phrase.
    pub fn secret(&self) -> PathBuf {
        self.0.join("secret.json")
    }

    /// What the operator calls peers and mints.
    pub fn aliases(&self) -> PathBuf {
        self.0.join("aliases.toml")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.0.join("node.redb")
    }

    /// What is remembered.
    pub fn memory(&self) -> PathBuf {
        self.0.join("memory.redb")
    }

    /// What shows that sellers took money for nothing.
    pub fn accusations(&self) -> PathBuf {
        self.0.join("accusations")
    }

    /// Large inputs and outputs.
    pub fn content(&self) -> PathBuf {
        self.0.join("content")
    }

    /// The hosted mint.
    pub fn mint(&self) -> PathBuf {
        self.0.join("mint")
    }

    /// How much the hosted mint's keys have signed, beside its books so that these can be held against it.
    pub fn mint_used(&self) -> PathBuf {
        self.0.join("mint.used")
    }

    /// There if the operator has accepted that the mint's books don't show all that its keys have signed.
    pub fn mint_resume(&self) -> PathBuf {
        self.0.join("mint.resume")
    }

    /// Files that duties post.
    pub fn posts(&self) -> PathBuf {
        self.0.join("posts")
    }

    /// Folders of running services.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Copies that a running node makes of its store for a backup.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshot")
    }

    /// Held by the running daemon.
    pub fn lock(&self) -> PathBuf {
        self.0.join("daemon.lock")
    }

    /// The folder with callers' tokens.
    pub fn callers(&self) -> PathBuf {
        self.0.join("callers")
    }

    /// The token of a caller; `None` if that can't be one's name.
    pub fn caller(&self, name: &str) -> Option<PathBuf> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (!name.is_empty() && name.bytes().all(fits)).then(|| self.callers().join(name))
    }

    /// Address and token of the running daemon's API.
    pub fn api(&self) -> PathBuf {
        self.0.join("api.json")
    }
}

/// What to do about a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Leave it and fail.
    Keep,
    /// Put the new one in its place, in one step.
    Replace,
}

/// Writes a file that its owner alone may read, whole or not at all, and durable once this returns.
pub(crate) fn write_private(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), HomeError> {
    let fail = |cause| HomeError::io("write", path, cause);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(name);
    // Left over from a process with our number that was killed here.
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(fail)?;
    // Before anything secret is in it.
    if check_private(&fresh).is_err() {
        let _ = fs::remove_file(&fresh);
        return Err(HomeError::NoModes(path.parent().unwrap_or(path).to_owned()));
    }
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| match existing {
        Existing::Keep => put_if_none(&fresh, path, |from, to| fs::hard_link(from, to)),
        Existing::Replace => fs::rename(&fresh, path),
    });
    if let Err(cause) = written {
        let _ = fs::remove_file(&fresh);
        return Err(match cause.kind() {
            io::ErrorKind::AlreadyExists => HomeError::Exists(path.to_owned()),
            _ => fail(cause),
        });
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

/// Removes what [`write_private`] left beside `path` where its process was killed.
pub(crate) fn remove_unfinished(path: &Path) -> Result<(), HomeError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let fail = |cause| HomeError::io("tidy", folder, cause);
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let found = entry.file_name();
        let process =
            found.to_str().and_then(|found| found.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".new"));
        if process.is_some_and(|process| !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit())) {
            fs::remove_file(entry.path()).map_err(fail)?;
        }
    }
    Ok(())
}

/// Gives a finished file its name, unless something has it. Where the filesystem knows no hard links (FAT), the name is
/// taken first, by an empty file that the finished one replaces.
fn put_if_none(fresh: &Path, path: &Path, link: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    match link(fresh, path) {
        Ok(()) => fs::remove_file(fresh),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Err(cause),
        Err(_) => {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            fs::rename(fresh, path)
        }
    }
}

/// Refuses a file that others than its owner may read or write.
pub(crate) fn check_private(path: &Path) -> Result<(), HomeError> {
    let metadata = fs::metadata(path).map_err(|cause| HomeError::io("read", path, cause))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(HomeError::Exposed { path: path.to_owned(), mode }) }
}

/// Why the home folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither a flag nor the environment names a place.
    #[error("there is no place for the home folder: neither --home, GUILDER_HOME nor HOME is set")]
    Nowhere,
    /// `guilder init` hasn't been here.
    #[error("there is no node in {}", .0.display())]
    Missing(PathBuf),
    /// `guilder init` has been here.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// Others may read a secret.
    #[error("{} can be read or changed by others (mode {mode:04o})", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may look into the folder, and have something in it.
    #[error("{} holds other files and is open to others (mode {mode:04o})", .path.display())]
    Shared {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is written there is everybody's.
    #[error("the filesystem of {} keeps no permissions: whoever uses this machine can read what lies there", .0.display())]
    NoModes(PathBuf),
    /// The disk.
    #[error("can't {verb} {}: {cause}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
}

impl HomeError {
    pub(crate) fn io(verb: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io { verb, path: path.to_owned(), cause }
    }
}

impl AtFault for HomeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io { .. } => Fault::Environment,
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Nowhere => Some("give --home DIR"),
            Self::Missing(_) => Some("make one with: `guilder init`"),
            Self::Exists(_) => Some(
                "it holds a node's keys; choose another with --home DIR, or give that node's phrase: `guilder init --restore`",
            ),
            Self::Exposed { .. } => Some("whoever read it has the node's money; if nobody did: chmod 600 the file"),
            Self::Shared { .. } => {
                Some("give the node a folder of its own, or close this one first: chmod 700 the folder")
            }
            Self::NoModes(_) => Some("choose a home on a Linux filesystem (ext4, xfs, btrfs): --home DIR"),
            Self::Io { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn located(flag: Option<&str>, env: &[(&str, &str)]) -> Option<PathBuf> {
        let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(*value));
        Home::locate(flag.map(PathBuf::from), lookup).ok().map(|home| home.0)
    }

    #[test]
    fn the_nearest_setting_wins() {
        let env = [("GUILDER_HOME", "/g"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(located(Some("/f"), &env), Some("/f".into()));
        assert_eq!(located(None, &env), Some("/g".into()));
        assert_eq!(located(None, &env[1..]), Some("/x/guilder".into()));
        assert_eq!(located(None, &env[2..]), Some("/h/.local/share/guilder".into()));
        assert_eq!(located(None, &[("XDG_DATA_HOME", "relative"), ("GUILDER_HOME", "")]), None);
    }

    #[test]
    fn a_relative_home_is_made_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(located(Some("alice"), &[]), Some(here.join("alice")));
        assert_eq!(located(None, &[("GUILDER_HOME", "alice")]), Some(here.join("alice")));
    }

    #[test]
    fn a_home_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("a/b"));
        assert!(matches!(home.check(), Err(HomeError::Missing(_))));
        home.create().unwrap();
        assert_eq!(fs::metadata(home.dir()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_private_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.json");
        write_private(&path, b"one", Existing::Replace).unwrap();
        write_private(&path, b"two", Existing::Replace).unwrap();
        assert!(matches!(write_private(&path, b"three", Existing::Keep), Err(HomeError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        check_private(&path).unwrap();
    }

    #[test]
    fn a_folder_that_others_look_into_is_closed_if_it_is_empty_and_refused_if_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            Home::at(path)
        };
        let empty = open("empty");
        empty.create().unwrap();
        assert_eq!(fs::metadata(empty.dir()).unwrap().permissions().mode() & 0o777, 0o700);
        let shared = open("shared");
        fs::write(shared.dir().join("notes.txt"), b"mine").unwrap();
        assert!(matches!(shared.create(), Err(HomeError::Shared { mode: 0o755, .. })));
        assert_eq!(fs::metadata(shared.dir()).unwrap().permissions().mode() & 0o777, 0o755, "it is left as it was");
    }

    #[test]
    fn a_secret_is_written_without_hard_links_too_and_never_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let (fresh, path) = (dir.path().join("secret.new"), dir.path().join("secret.json"));
        let unsupported = |_: &Path, _: &Path| Err(io::Error::from_raw_os_error(1));
        fs::write(&fresh, b"one").unwrap();
        put_if_none(&fresh, &path, unsupported).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fresh.exists()), (b"one".to_vec(), false));
        fs::write(&fresh, b"two").unwrap();
        let refused = put_if_none(&fresh, &path, unsupported).unwrap_err();
        assert_eq!((refused.kind(), fs::read(&path).unwrap()), (io::ErrorKind::AlreadyExists, b"one".to_vec()));
    }
}
