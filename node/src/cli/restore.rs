//! `guilder restore FILE`

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Context,
    backup::{FILES, FOLDERS, FORM, MANIFEST, Manifest, SUMS},
};
use crate::{
    console::{CliError, Exit, Show, fields},
    keys::{Existing, Home, SecretFile, write_private},
    limits::{MAX_BACKUP_FILES, MAX_BACKUP_LIST_BYTES},
    mint, store,
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder restore ~/guilder-2026-11-29.tar
  guilder --home ./elsewhere restore backup.tar";

/// Put a backup back, where no node is yet.
///
/// The home folder must be empty or not there. It appears whole or not at all. At its first start the node asks its mints what they have
/// signed and taken since, goes on after that, and counts no coin that is spent: start it while they can be reached. A hosted mint does no
/// swaps until its operator accepts what was spent since (`guilder mint resume --accept-loss`).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What `guilder backup` wrote.
    file: PathBuf,
    /// The backup was the last thing that was done in that home, which never runs again: a hosted mint goes on at once.
    #[arg(long)]
    nothing_since: bool,
}

/// What was put back.
#[derive(Debug, Serialize)]
struct PutBack {
    home: String,
    #[serde(flatten)]
    manifest: Manifest,
    files: u64,
    sealed: bool,
    /// Whether a hosted mint waits for its operator's word.
    mint_suspended: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    let is_empty = match fs::read_dir(home.dir()) {
        Ok(mut entries) => entries.next().is_none(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => true,
        Err(cause) => return Err(CliError::file("read", home.dir(), &cause)),
    };
    if !is_empty {
        return Err(CliError::usage(
            format!("{} isn't empty", home.dir().display()),
            "a backup goes where nothing is: move that away, or choose another home: --home DIR",
        ));
    }
    let file = File::open(&args.file).map_err(|cause| CliError::file("read", &args.file, &cause))?;
    let beside = beside(home.dir());
    let _ = fs::remove_dir_all(&beside);
    let put_back = unpack(file, &beside, args).and_then(|mut put_back| {
        if home.dir().exists() {
            fs::remove_dir(home.dir()).map_err(|cause| CliError::file("replace", home.dir(), &cause))?;
        }
        fs::rename(&beside, home.dir()).map_err(|cause| CliError::file("make", home.dir(), &cause))?;
        sync(home.dir().parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        put_back.home = home.dir().display().to_string();
        Ok(put_back)
    });
    let put_back = put_back.inspect_err(|_| drop(fs::remove_dir_all(&beside)))?;
    context.printer.show(&put_back)?;
    Ok(Exit::Done)
}

/// Where the home is made before it gets its name. What a restore that was killed left there is taken away by the next.
fn beside(home: &Path) -> PathBuf {
    let mut name = home.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    home.with_file_name(name)
}

fn unpack(file: File, dir: &Path, args: &Args) -> Result<PutBack, CliError> {
    let make = |path: &Path| {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|cause| CliError::file("make", path, &cause))
    };
    make(dir)?;
    for folder in FOLDERS {
        make(&dir.join(folder))?;
    }
    let (manifest, files) = extract(file, dir)?;
    if args.nothing_since && manifest.live {
        return Err(CliError::usage(
            "the node ran when this backup was made, so something may have been done since",
            "stop the node, make another backup, and put that back; or leave away --nothing-since",
        ));
    }
    let home = Home::at(dir);
    let secret = SecretFile::load(&home.secret())?;
    if secret.agent()?.peer_id() != manifest.peer_id {
        return Err(damaged("its keys aren't those of the node that it names"));
    }
    store::check(&home.store())?;
    if home.memory().exists() {
        store::check(&home.memory())?;
    }
    let mint_suspended = mint::books(&home.mint()).exists() && !args.nothing_since;
    if mint_suspended {
        // More than any books say that the keys have signed.
        write_private(&home.mint_used(), u64::MAX.to_string().as_bytes(), Existing::Replace)?;
    }
    for folder in FOLDERS.iter().map(|folder| dir.join(folder)).chain([dir.to_owned()]) {
        sync(&folder)?;
    }
    Ok(PutBack { home: String::new(), manifest, files, sealed: secret.is_sealed(), mint_suspended })
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> Result<(), CliError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|cause| CliError::file("write", folder, &cause))
}

/// Unpacks what a backup can hold and nothing else, and holds each file against its sum.
fn extract(file: File, dir: &Path) -> Result<(Manifest, u64), CliError> {
    let mut tar = tar::Archive::new(io::BufReader::new(file));
    let unreadable = |cause: io::Error| damaged(&cause.to_string());
    let (mut manifest, mut sums, mut found) = (None, None, BTreeMap::<String, String>::new());
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = name_of(&entry)?;
        match (&manifest, name.as_str()) {
            (None, MANIFEST) => manifest = Some(read_manifest(&mut entry)?),
            (None, _) => return Err(damaged("it doesn't begin as one of ours does")),
            (Some(_), SUMS) => sums = Some(text(&mut entry)?),
            (Some(_), _) if sums.is_some() || found.len() >= MAX_BACKUP_FILES => {
                return Err(damaged("there is more in it than it says"));
            }
            (Some(_), _) => {
                let sum = put(&mut entry, &dir.join(&name))?;
                if found.insert(name, sum).is_some() {
                    return Err(damaged("a file stands in it twice"));
                }
            }
        }
    }
    let (Some(manifest), Some(sums)) = (manifest, sums) else { return Err(damaged("it is cut off")) };
    let expected: BTreeMap<String, String> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect();
    if expected != found {
        return Err(damaged("a file in it isn't as it was written"));
    }
    Ok((manifest, found.len() as u64))
}

/// A regular file's name, if a backup can hold one of that name.
fn name_of(entry: &tar::Entry<'_, impl Read>) -> Result<String, CliError> {
    let strange = || damaged("it holds what no backup does");
    let path = entry.path().map_err(|_| strange())?;
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let name = path.to_str().filter(|_| is_plain && entry.header().entry_type() == tar::EntryType::Regular);
    let name = name.ok_or_else(strange)?;
    let in_folder = |folder: &&str| {
        name.strip_prefix(*folder).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| !rest.contains('/'))
    };
    let is_known = [MANIFEST, SUMS].contains(&name) || FILES.contains(&name) || FOLDERS.iter().any(in_folder);
    if is_known { Ok(name.to_owned()) } else { Err(strange()) }
}

fn read_manifest(entry: &mut impl Read) -> Result<Manifest, CliError> {
    #[derive(serde::Deserialize)]
    struct Form {
        form: u32,
    }
    let text = text(entry)?;
    let Ok(Form { form }) = serde_json::from_str(&text) else { return Err(damaged("what it is of can't be read")) };
    if form > FORM {
        return Err(CliError::usage(
            format!("the backup has form {form}, and this version knows forms up to {FORM}"),
            "use a version at least as new as the one that made it",
        ));
    }
    serde_json::from_str(&text).map_err(|_| damaged("what it is of can't be read"))
}

fn text(entry: &mut impl Read) -> Result<String, CliError> {
    let mut text = String::new();
    entry.take(MAX_BACKUP_LIST_BYTES).read_to_string(&mut text).map_err(|cause| damaged(&cause.to_string()))?;
    Ok(text)
}

/// Writes a file that its owner alone can read, durable once this returns; and says its SHA-256.
fn put(entry: &mut impl Read, path: &Path) -> Result<String, CliError> {
    let fail = |cause: io::Error| CliError::file("write", path, &cause);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    let (mut sum, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        let read = entry.read(&mut piece).map_err(|cause| damaged(&cause.to_string()))?;
        if read == 0 {
            break;
        }
        sum.update(&piece[..read]);
        file.write_all(&piece[..read]).map_err(fail)?;
    }
    file.sync_all().map_err(fail)?;
    Ok(hex::encode(sum.finalize()))
}

fn damaged(why: &str) -> CliError {
    CliError::usage(format!("this is no whole backup: {why}"), "use another copy of it; nothing was changed")
}

impl Show for PutBack {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { home, manifest, files, sealed, mint_suspended } = self;
        fields(
            out,
            &[
                ("home", home.clone()),
                ("peer ID", manifest.peer_id.clone()),
                ("backup of", format!("{} (seconds UTC), version {}", manifest.made.as_secs(), manifest.version)),
                ("files", files.to_string()),
                (
                    "secret file",
                    if *sealed { "sealed with its passphrase" } else { "in clear, readable by you alone" }.to_owned(),
                ),
            ],
        )?;
        writeln!(
            out,
            "\nStart it while its mints can be reached: it asks them what was signed and spent since, and goes on after that.\n\
             Locks and tasks that are newer than the backup are in the home that made them alone. So is what was spent since under a grant or\n\
             within a caller's daily budget: an award under a grant that was used since is proof that it was overspent. Have grants renewed\n\
             first. Callers that were revoked since are\n\
             callers again: guilder caller list"
        )?;
        if *mint_suspended {
            writeln!(out, "The hosted mint does no swaps before you say: guilder mint resume --accept-loss")?;
        }
        writeln!(out, "\nNext: guilder up")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> File {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o777);
            header.set_entry_type(*kind);
            // As its writer has it, whatever that is: the library would refuse some.
            let field = &mut header.as_gnu_mut().unwrap().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("/etc").unwrap();
            }
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&tar.into_inner().unwrap()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        file
    }

    const OF: &[u8] = br#"{"form":1,"version":"0.1.0","peer_id":"x","made":7,"live":true}"#;

    #[test]
    fn an_archive_puts_nothing_where_no_backup_has_anything() {
        use tar::EntryType::{Regular, Symlink};
        let refused = |entries: &[(&str, tar::EntryType, &[u8])]| {
            let dir = tempfile::tempdir().unwrap();
            let inner = dir.path().join("home");
            for folder in FOLDERS {
                fs::create_dir_all(inner.join(folder)).unwrap();
            }
            let error = extract(archive(entries), &inner).unwrap_err();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something beside it: {entries:?}");
            error.told.message
        };
        for name in [
            "../evil",
            "/etc/evil",
            "content/files/../../evil",
            "bashrc",
            "content/evil/x",
            "api.json",
            "daemon.lock",
            "callers/a/b",
        ] {
            assert!(refused(&[(MANIFEST, Regular, OF), (name, Regular, b"x")]).contains("no backup does"), "{name}");
        }
        assert!(refused(&[(MANIFEST, Regular, OF), ("callers/bot", Symlink, b"")]).contains("no backup does"));
        assert!(refused(&[("config.toml", Regular, b"x")]).contains("begin"));
        assert!(refused(&[(MANIFEST, Regular, OF), ("config.toml", Regular, b"x")]).contains("cut off"));
        assert!(
            refused(&[(MANIFEST, Regular, OF), (SUMS, Regular, b""), ("config.toml", Regular, b"x")]).contains("more")
        );
        assert!(
            refused(&[(MANIFEST, Regular, OF), ("config.toml", Regular, b"x"), (SUMS, Regular, b"00  config.toml\n")])
                .contains("as it was")
        );
        let twice: &[(&str, tar::EntryType, &[u8])] =
            &[(MANIFEST, Regular, OF), ("config.toml", Regular, b"x"), ("config.toml", Regular, b"y")];
        assert!(!refused(twice).is_empty());
        let later = br#"{"form":2,"what":"else"}"#;
        assert!(refused(&[(MANIFEST, Regular, later)]).contains("form 2"));
        assert!(refused(&[]).contains("cut off"));
    }

    #[test]
    fn what_was_written_is_put_back_for_its_owner_alone() {
        use tar::EntryType::Regular;
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("callers")).unwrap();
        let sums = format!("{}  callers/bot\n", hex::encode(Sha256::digest(b"token")));
        let entries: &[(&str, tar::EntryType, &[u8])] =
            &[(MANIFEST, Regular, OF), ("callers/bot", Regular, b"token"), (SUMS, Regular, sums.as_bytes())];
        let (manifest, files) = extract(archive(entries), dir.path()).unwrap();
        assert_eq!((manifest.peer_id.as_str(), files), ("x", 1));
        let path = dir.path().join("callers/bot");
        assert_eq!(fs::read(&path).unwrap(), b"token");
        crate::keys::check_private(&path).unwrap();
    }
}
