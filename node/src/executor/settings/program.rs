//! Whether a command could be started: what would make every hire fail is told when the service is added.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

/// What the system reads of a script's first line at the most (`BINPRM_BUF_SIZE` on Linux).
const FIRST_LINE: usize = 256;

/// Programs whose first argument that is no option is a script to be run.
const INTERPRETERS: [&str; 14] =
    ["bash", "bun", "dash", "deno", "ksh", "lua", "node", "perl", "php", "python", "python3", "ruby", "sh", "zsh"];

/// How scripts' names end. Behind an option only such a name is taken for the script: another may be the option's value.
const SCRIPTS: [&str; 14] =
    ["bash", "cjs", "js", "jsx", "ksh", "lua", "mjs", "php", "pl", "py", "rb", "sh", "ts", "zsh"];

/// Why a command can't be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Nothing there.
    #[error("there is no program {0:?}")]
    Missing(String),
    /// A file without the right to run it, or a folder.
    #[error("{0:?} can't be executed by this user")]
    NotExecutable(String),
    /// Text that doesn't say what is to run it, or nothing.
    #[error("{0:?} is neither a program nor a script that begins with #!")]
    NoProgram(String),
    /// A script with line ends that the system doesn't take for such.
    #[error("the first line of {0:?} ends with a carriage return: the system looks for an interpreter of that name")]
    CarriageReturn(String),
    /// A script for an interpreter that isn't there.
    #[error("{script:?} is a script for {interpreter:?}, which can't be executed here")]
    NoInterpreter {
        /// The script.
        script: String,
        /// What it asks for.
        interpreter: String,
    },
    /// An argument names a file that can't be there.
    #[error("the command names {0:?}, and there is no such file or folder")]
    NoFile(String),
    /// An interpreter is to run a script that isn't there.
    #[error("{interpreter:?} is to run {script:?}, which can't be read")]
    NoScript {
        /// The program.
        interpreter: String,
        /// Its argument.
        script: String,
    },
}

impl ProgramError {
    pub(in crate::executor) fn hint(&self) -> &'static str {
        match self {
            Self::Missing(_) => "a path is taken from the definition's own folder, a bare name from the daemon's PATH",
            Self::NotExecutable(_) => "give it the right to be run, with chmod +x",
            Self::NoFile(_) => "correct the path; a relative one is taken from the definition's own folder",
            Self::NoProgram(_) => "begin the script with e.g. #!/bin/sh, or name the interpreter first in `command`",
            Self::CarriageReturn(_) => "save it with Unix line ends, e.g. with `sed -i 's/\\r$//' FILE`",
            Self::NoInterpreter { .. } => "install it, or correct the script's first line",
            Self::NoScript { .. } => "the script's path is taken from the definition's own folder",
        }
    }
}

/// Takes relative paths of the program, of the script that it is to run, and of arguments that name something which lies
/// there from the folder of the definition, as those of schemas are: the program works in an empty folder of its own, where
/// they could name nothing. A program without a slash is looked up on PATH. Reads the disk.
pub(in crate::executor) fn take_from(folder: &Path, command: &mut [String]) {
    if let Some(program) = command.first_mut()
        && program.contains('/')
    {
        make_absolute(folder, program);
    }
    let script = script_of(command);
    for (index, argument) in command.iter_mut().enumerate().skip(1) {
        if Some(index) == script || lies_in(folder, argument) {
            make_absolute(folder, argument);
        } else if let Some((option, value)) = option_of(argument)
            && lies_in(folder, value)
        {
            let (option, mut value) = (option.to_owned(), value.to_owned());
            make_absolute(folder, &mut value);
            *argument = format!("{option}={value}");
        }
    }
}

/// `--option=value`, apart.
fn option_of(argument: &str) -> Option<(&str, &str)> {
    argument.split_once('=').filter(|(option, _)| option.starts_with('-'))
}

/// Whether an argument is a path, and nothing can be there: neither does it exist, nor is there a folder in which the program could make
/// it. Only what can't be meant otherwise is taken for one.
fn names_nothing(argument: &str) -> bool {
    let path = option_of(argument).map_or(argument, |(_, value)| value);
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+@".contains(c));
    // `/ab/d` is a command of sed, too.
    let is_sure = ["./", "../"].iter().any(|begin| path.starts_with(begin))
        || (path.starts_with('/') && Path::new(path).extension().is_some());
    let place = Path::new(path).parent().filter(|place| *place != Path::new("."));
    is_plain
        && is_sure
        && !Path::new(path).exists()
        && !place.is_some_and(|place| place != Path::new("/") && place.exists())
}

/// Whether an argument that looks like a path names what lies in the folder.
fn lies_in(folder: &Path, argument: &str) -> bool {
    !argument.starts_with('-') && is_path(argument) && folder.join(argument).exists()
}

fn is_path(argument: &str) -> bool {
    argument.contains('/') || Path::new(argument).extension().is_some()
}

fn make_absolute(folder: &Path, path: &mut String) {
    if let Ok(absolute) = std::path::absolute(folder.join(&*path))
        && let Ok(absolute) = absolute.into_os_string().into_string()
    {
        *path = absolute;
    }
}

/// Looks whether the command could be started, with this process's PATH.
///
/// # Errors
/// The first thing that is missing.
pub(in crate::executor) fn check(command: &[String]) -> Result<(), ProgramError> {
    let Some(program) = command.first() else { return Err(ProgramError::Missing(String::new())) };
    let path = find(program)?;
    check_first_line(program, &path)?;
    if let Some(script) = script_of(command)
        && File::open(&command[script]).and_then(|file| file.metadata()).map_or(true, |file| file.is_dir())
    {
        return Err(ProgramError::NoScript { interpreter: program.clone(), script: command[script].clone() });
    }
    if let Some(argument) = command[1..].iter().find(|argument| names_nothing(argument)) {
        return Err(ProgramError::NoFile(argument.clone()));
    }
    Ok(())
}

fn find(program: &str) -> Result<PathBuf, ProgramError> {
    if program.contains('/') {
        let path = PathBuf::from(program);
        return match path.exists() {
            false => Err(ProgramError::Missing(program.into())),
            true if !runs(&path) => Err(ProgramError::NotExecutable(program.into())),
            true => Ok(path),
        };
    }
    on_path(program).ok_or_else(|| ProgramError::Missing(program.into()))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| runs(path))
}

fn runs(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // for root, `access` lets pass what has no right to run at all on some systems
    let may = |file: std::fs::Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
    path.metadata().is_ok_and(may) && access(path, Access::EXEC_OK).is_ok()
}

/// What can be told from the beginning of a file. One that can be run and not be read is left to the system.
fn check_first_line(program: &str, path: &Path) -> Result<(), ProgramError> {
    let mut start = Vec::new();
    let Ok(_) = File::open(path).and_then(|file| file.take(FIRST_LINE as u64).read_to_end(&mut start)) else {
        return Ok(());
    };
    let Some(rest) = start.strip_prefix(b"#!") else {
        // cut off within a character, perhaps
        let is_text = str::from_utf8(&start).map_or_else(|error| error.error_len().is_none(), |_| true);
        return if is_text && !start.contains(&0) { Err(ProgramError::NoProgram(program.into())) } else { Ok(()) };
    };
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Err(ProgramError::CarriageReturn(program.into()));
    }
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let interpreter = words.next().unwrap_or_default();
    let missing = |name: &str| ProgramError::NoInterpreter { script: program.into(), interpreter: name.into() };
    if !runs(Path::new(interpreter)) {
        return Err(missing(interpreter));
    }
    if interpreter.ends_with("/env")
        && let Some(name) = words.find(|word| !word.starts_with('-') && !word.contains('='))
        && !name.contains('/')
        && on_path(name).is_none()
    {
        return Err(missing(name));
    }
    Ok(())
}

/// Where in a command an interpreter's script stands: its first argument that is no option, unless an option gives it code
/// to run instead.
fn script_of(command: &[String]) -> Option<usize> {
    let name = Path::new(command.first()?).file_name()?.to_str()?;
    if !INTERPRETERS.contains(&name) && name.strip_prefix("python3.").is_none() {
        return None;
    }
    for (index, argument) in command.iter().enumerate().skip(1) {
        if gives_code(name, argument) {
            return None;
        }
        if argument.starts_with('-') || argument.is_empty() {
            continue;
        }
        let extension = Path::new(argument).extension().and_then(|extension| extension.to_str());
        let is_script = extension.is_some_and(|extension| SCRIPTS.contains(&extension));
        if is_script || (index == 1 && is_path(argument)) {
            return Some(index);
        }
        // `deno run x.ts` has a subcommand; what follows an option may be its value.
        let goes_on = command[index - 1].starts_with('-') || (index == 1 && ["bun", "deno"].contains(&name));
        if !goes_on {
            return None;
        }
    }
    None
}

/// Whether an interpreter's option says that what follows is code, or a module's name.
fn gives_code(interpreter: &str, option: &str) -> bool {
    if let Some(long) = option.strip_prefix("--") {
        return long.starts_with("eval") || long.starts_with("print") || long.starts_with("command");
    }
    let Some(letters) = option.strip_prefix('-') else { return false };
    let code: &[char] = match interpreter {
        "bash" | "dash" | "ksh" | "sh" | "zsh" => &['c'],
        _ if interpreter.starts_with("python") => &['c', 'm'],
        _ => &['e', 'E', 'p', 'r'],
    };
    letters.contains(code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What is said of a script with this text and these rights.
    fn script(text: &[u8], mode: u32) -> Result<(), ProgramError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("work");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        check(&["./work".to_owned()].map(|mut program| {
            make_absolute(folder.path(), &mut program);
            program
        }))
    }

    #[test]
    fn a_script_that_can_be_started_is_taken() {
        script(b"#!/bin/sh\necho\n", 0o755).unwrap();
        script(b"#! /usr/bin/env sh\necho\n", 0o700).unwrap();
        script(b"#!/usr/bin/env -S LC_ALL=C sh -e\necho\n", 0o700).unwrap();
        script(b"#!/bin/sh", 0o755).unwrap();
        // carriage returns further on are the interpreter's business
        script(b"#!/bin/sh\necho\r\n", 0o755).unwrap();
        script(b"\x7fELF\x02\x01\x01\0\0", 0o755).unwrap();
    }

    #[test]
    fn an_argument_that_can_only_be_a_path_must_lead_somewhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.bin"), "x").unwrap();
        let checked = |argument: &str| {
            let mut command = ["cat", argument].map(str::to_owned);
            take_from(folder.path(), &mut command);
            check(&command).map(|()| command[1].clone())
        };
        let there = folder.path().join("model.bin").to_str().unwrap().to_owned();
        assert_eq!(checked("model.bin").unwrap(), there);
        assert_eq!(checked("--model=model.bin").unwrap(), format!("--model={there}"));
        for missing in ["/no/such/file.txt", "./model.txt", "../no-such/model.txt", "--model=/no/such/weights.bin"] {
            assert_eq!(checked(missing), Err(ProgramError::NoFile(missing.to_owned())));
        }
        // A place where the program may write, and what isn't a path for sure.
        let new = folder.path().join("new.txt").to_str().unwrap().to_owned();
        for taken in [&*new, "/secret/d", "s/a.b/c/", "text/x.plain", "https://a.example/b.txt", "-n", "/", "a.b"] {
            assert_eq!(checked(taken).unwrap(), taken);
        }
    }

    #[test]
    fn what_would_fail_at_each_hire_is_told_at_once() {
        assert!(matches!(script(b"#!/bin/sh\r\necho\r\n", 0o755), Err(ProgramError::CarriageReturn(_))));
        assert!(matches!(script(b"#!/usr/bin/env sh\r\n", 0o755), Err(ProgramError::CarriageReturn(_))));
        assert!(matches!(script(b"#!/bin/sh\n", 0o644), Err(ProgramError::NotExecutable(_))));
        assert!(matches!(script(b"echo hello\n", 0o755), Err(ProgramError::NoProgram(_))));
        assert!(matches!(script(b"", 0o755), Err(ProgramError::NoProgram(_))));
        for (text, wanted) in [
            (&b"#!/no/such/interpreter -x\n"[..], "/no/such/interpreter"),
            (b"#!/usr/bin/env no-such-interpreter\n", "no-such-interpreter"),
            (b"#!\n", ""),
            (b"#!sh\n", "sh"),
        ] {
            let Err(ProgramError::NoInterpreter { interpreter, .. }) = script(text, 0o755) else { panic!("{wanted}") };
            assert_eq!(interpreter, wanted);
        }
        assert!(matches!(check(&["/no/such/program".into()]), Err(ProgramError::Missing(_))));
        assert!(matches!(check(&["no-such-program".into()]), Err(ProgramError::Missing(_))));
        assert!(matches!(check(&["/".into()]), Err(ProgramError::NotExecutable(_))));
    }

    #[test]
    fn an_interpreters_script_is_looked_for_beside_the_definition() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("work.sh"), "echo\n").unwrap();
        for script in ["work.sh", "./work.sh"] {
            let mut command = ["sh".to_owned(), script.to_owned(), "x.y".to_owned()];
            take_from(folder.path(), &mut command);
            assert_eq!(command[1], folder.path().join("work.sh").to_str().unwrap());
            assert_eq!(command[2], "x.y");
            check(&command).unwrap();
        }
        let mut command = ["sh".to_owned(), "missing.sh".to_owned()];
        take_from(folder.path(), &mut command);
        assert!(matches!(check(&command), Err(ProgramError::NoScript { .. })));
        for command in [
            &["sh", "-c", "exit 0"][..],
            &["sh", "-ec", "exit 0", "no.sh"],
            &["sh"],
            &["cat", "/no/such/file", "no.txt"],
            &["sh", "-o", "posix", "name"],
        ] {
            let command: Vec<_> = command.iter().map(ToString::to_string).collect();
            let mut taken = command.clone();
            take_from(folder.path(), &mut taken);
            assert_eq!(taken, command);
            check(&command).unwrap();
        }
    }

    #[test]
    fn a_script_behind_options_is_found_and_code_is_none() {
        let at = |command: &[&str]| script_of(&command.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (command, index) in [
            (&["python3", "-u", "work.py"][..], 2),
            (&["python3", "-W", "ignore", "work.py", "other.py"], 3),
            (&["sh", "-e", "./work.sh"], 2),
            (&["deno", "run", "--allow-net", "work.ts"], 3),
            (&["/usr/bin/node", "./work"], 1),
        ] {
            assert_eq!(at(command), Some(index), "{command:?}");
        }
        for command in [
            &["python3", "-m", "work.py"][..],
            &["python3", "work", "data.py"],
            &["bash", "-lc", "work.sh"],
            &["perl", "-ne", "print", "x.pl"],
            &["node", "--eval", "1", "x.js"],
            &["wc", "-l", "work.py"],
        ] {
            assert_eq!(at(command), None, "{command:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = ["sh", "-e", "missing.sh"].map(str::to_owned);
        take_from(folder.path(), &mut command);
        assert!(matches!(check(&command), Err(ProgramError::NoScript { .. })));
    }

    #[test]
    fn an_argument_that_lies_beside_the_definition_is_found_from_the_folder_where_it_is_run() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("model")).unwrap();
        std::fs::write(folder.path().join("prompt.txt"), "").unwrap();
        std::fs::write(folder.path().join("word"), "").unwrap();
        let mut command =
            ["cat", "prompt.txt", "./model", "word", "-prompt.txt", "gone.txt", "/etc"].map(str::to_owned);
        take_from(folder.path(), &mut command);
        let here = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let expected = ["cat", &here("prompt.txt"), &here("model"), "word", "-prompt.txt", "gone.txt", "/etc"];
        assert_eq!(command.each_ref().map(String::as_str), expected);
    }
}
