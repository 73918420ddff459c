//! Memories as files: Markdown with front matter, a file a memory.
//!
//! ```text
//! ---
//! id: bafyrei…
//! domain: suppliers
//! language: en
//! trust: owner
//! by: owner
//! time: 2026-11-29T08:00:00Z
//! at: 2026-11-29T08:00:00Z
//! subject: "the mint"
//! sources: ["owner"]
//! ---
//! The text, to the last line feed but one.
//! ```
//!
//! Values are JSON, or plain to the end of the line. Read back unchanged a file gives the same memory, byte for byte.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::ValueEnum as _;
use guilder_protocol::{
    limits::MAX_MEMORY_TEXT,
    memory::{Trust, is_domain},
};
use serde_json::Value;

use super::{super::ucan::read_bounded, parse_moment, parse_trust};
use crate::{api::memory::types::MemoryFile, console::CliError, limits::MAX_MEMORY_FILES, memory::Language};

/// The longest file: a text, and a front matter of as many names as there can be.
const MAX_FILE: u64 = (MAX_MEMORY_TEXT + 32 * 1024) as u64;
/// Folders in folders that are looked into.
const MAX_DEPTH: usize = 4;
const FENCE: &str = "---\n";

/// Writes a memory into a folder of its domain's name, for the eyes of whoever runs this alone: it may be private.
pub(super) fn write(folder: &Path, memory: MemoryFile) -> Result<(), CliError> {
    // A node says both; they must not lead anywhere else.
    let id = memory.id.clone().filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let Some(id) = id.filter(|_| is_domain(&memory.domain)) else {
        return Err(CliError::defect("a memory has no name for a file"));
    };
    let folder = folder.join(&memory.domain);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|cause| CliError::file("make", &folder, &cause))?;
    let (path, fresh) = (folder.join(format!("{id}.md")), folder.join(format!(".{id}.new")));
    // A file beside it that takes its place follows no link, and has no mode of an older one's.
    let written = remove(&fresh).and_then(|()| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text_of(&memory).as_bytes())?;
        fs::rename(&fresh, &path)
    });
    written.map_err(|cause| CliError::file("write", &path, &cause))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn text_of(memory: &MemoryFile) -> String {
    let MemoryFile { id, text, domain, language, trust, by, time, at, subject, session, sources, supersedes } = memory;
    let list = |names: &[String]| Some(Value::from(names.to_vec()).to_string()).filter(|_| !names.is_empty());
    let quoted = |text: &String| Value::from(text.as_str()).to_string();
    let values = [
        ("id", id.clone()),
        ("domain", Some(domain.clone())),
        ("language", language.and_then(|language| Some(language.to_possible_value()?.get_name().to_owned()))),
        ("trust", Some(trust.to_string())),
        ("by", Some(quoted(by))),
        ("time", time.map(|time| time.to_string())),
        ("at", at.map(|at| at.to_string())),
        ("subject", subject.as_ref().map(quoted)),
        ("session", session.as_ref().map(quoted)),
        ("sources", list(sources)),
        ("supersedes", list(supersedes)),
    ];
    let lines = values.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}\n", value?)));
    format!("{FENCE}{}{FENCE}{text}\n", lines.collect::<String>())
}

/// All memories in these files, and in the files of these folders that end in `.md`: in the order in which they were remembered, as they
/// are neighbours in their sessions by it.
pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<MemoryFile>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, 0, &mut files)?;
    }
    let mut memories = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    memories.sort_by_key(|memory| (memory.at.is_none(), memory.at));
    Ok(memories)
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let fail = |cause| CliError::file("read", path, &cause);
    if !path.is_dir() {
        files.push(path.to_owned());
    } else if depth < MAX_DEPTH {
        let entries = fs::read_dir(path).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let mut below: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
        below.sort();
        below.retain(|path| path.is_dir() || path.extension().is_some_and(|end| end == "md"));
        for path in below {
            collect(&path, depth + 1, files)?;
        }
    }
    if files.len() > MAX_MEMORY_FILES {
        let message = format!("there are more than {MAX_MEMORY_FILES} files");
        return Err(CliError::usage(message, "import a part of them at a time"));
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<MemoryFile, CliError> {
    let bytes = read_bounded(path, MAX_FILE + 1)?;
    let refuse = |why: &str| {
        let hint = "a file begins with front matter between two lines of ---; `guilder memory export --help` tells what writes such";
        CliError::usage(format!("{}: {why}", path.display()), hint)
    };
    if bytes.len() as u64 > MAX_FILE {
        return Err(refuse("it is too long"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("it isn't UTF-8"))?;
    parse(&text).map_err(|why| refuse(&why))
}

fn parse(text: &str) -> Result<MemoryFile, String> {
    let rest = text.strip_prefix(FENCE).ok_or("it has no front matter")?;
    let end = rest.find("\n---\n").ok_or("its front matter has no end")?;
    let body = &rest[end + 1 + FENCE.len()..];
    let mut file = MemoryFile {
        id: None,
        text: body.strip_suffix('\n').unwrap_or(body).to_owned(),
        domain: String::new(),
        language: None,
        trust: Trust::default(),
        by: String::new(),
        time: None,
        at: None,
        subject: None,
        session: None,
        sources: Vec::new(),
        supersedes: Vec::new(),
    };
    for line in rest[..end].lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is no line of `name: value`"))?;
        let value = value.trim();
        let plain = || match serde_json::from_str(value) {
            Ok(Value::String(text)) => text,
            _ => value.to_owned(),
        };
        let list = || serde_json::from_str::<Vec<String>>(value).map_err(|_| format!("{name} is no list"));
        match name.trim() {
            "id" => file.id = Some(plain()),
            "domain" => file.domain = plain(),
            "language" => file.language = Some(Language::from_str(&plain(), false)?),
            // What a later version said, as an export of this one writes it.
            "trust" if plain() == Trust::Unknown.as_str() => file.trust = Trust::Unknown,
            "trust" => file.trust = parse_trust(&plain())?,
            "by" => file.by = plain(),
            "time" => file.time = Some(parse_moment(&plain())?),
            "at" => file.at = Some(parse_moment(&plain())?),
            "subject" => file.subject = Some(plain()),
            "session" => file.session = Some(plain()),
            "sources" => file.sources = list()?,
            "supersedes" => file.supersedes = list()?,
            // What people add for themselves is theirs.
            _ => {}
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use guilder_protocol::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_file_that_nobody_edited_is_the_same_memory(
            text in "[ -~\n\u{e4}\u{2028}]{1,200}",
            subject in prop::option::of("[ -~\n]{1,20}"),
            sources in prop::collection::vec("[ -~]{1,20}", 0..4),
            secs in 0_u64..253_402_300_800,
        ) {
            let memory = MemoryFile {
                id: Some("bafy".into()),
                text,
                domain: "a.b".into(),
                language: Some(Language::De),
                trust: Trust::Peer,
                by: "caller/x".into(),
                time: Some(Timestamp::from_secs(secs)),
                at: Some(Timestamp::from_secs(secs)),
                subject: subject.clone(),
                session: subject,
                sources: sources.clone(),
                supersedes: sources,
            };
            prop_assert_eq!(parse(&text_of(&memory)).unwrap(), memory);
        }
    }

    #[test]
    fn what_is_no_such_file_is_said_to_be_none() {
        for text in [
            "",
            "text",
            "---\nid: a\n",
            "---\nno line\n---\nx\n",
            "---\ntrust: much\n---\nx\n",
            "---\nsources: a\n---\nx",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse("---\ntrust: unknown\n---\nx").unwrap().trust, Trust::Unknown);
        let edited = parse("---\ndomain: a\nmood: good\n---\na b\n\n---\nc").unwrap();
        assert_eq!((edited.domain.as_str(), edited.text.as_str()), ("a", "a b\n\n---\nc"));
    }

    #[test]
    fn files_are_read_in_the_order_in_which_they_were_remembered() {
        let dir = tempfile::tempdir().unwrap();
        for (id, at) in [("b", 1), ("c", 3), ("a", 2)] {
            let at = Some(Timestamp::from_secs(at));
            write(dir.path(), MemoryFile { id: Some(id.into()), at, ..parse("---\ndomain: a\n---\nx\n").unwrap() })
                .unwrap();
        }
        let read = read_all(&[dir.path().to_owned()]).unwrap();
        assert_eq!(read.into_iter().filter_map(|memory| memory.id).collect::<Vec<_>>(), ["b", "a", "c"]);
    }

    #[test]
    fn a_node_leads_no_export_out_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let memory = parse("---\nid: bafy\ndomain: a\n---\nx\n").unwrap();
        write(dir.path(), memory.clone()).unwrap();
        let path = dir.path().join("a/bafy.md");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
        // A link in its place isn't followed, and nothing is left beside it.
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "theirs").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        write(dir.path(), memory.clone()).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        assert!(write(dir.path(), MemoryFile { id: Some("../x".into()), ..memory.clone() }).is_err());
        assert!(write(dir.path(), MemoryFile { domain: "../b".into(), ..memory }).is_err());
    }
}
