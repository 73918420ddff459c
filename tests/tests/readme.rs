//! The README's session, "A market of your own, on one machine", done as it stands there; what it prints is compared.
//!
//! Keys, content IDs, times and sizes are others each time: an ID of the README stands for the one that was printed in its place
//! first, and for no other after that; any time stands for any. `…` stands for any text, and on a line of its own for any lines.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use guilder_tests::{Home, LONG, Ran, Slot, binary, eventually};

/// A fenced block of the session.
#[derive(Debug)]
struct Block {
    language: String,
    lines: Vec<String>,
}

fn session() -> Vec<Block> {
    let readme = fs::read_to_string(binary::file("README.md")).unwrap();
    let session = readme.split("\n## A market of your own").nth(1).unwrap().split("\n## ").next().unwrap();
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for line in session.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some(Block { language: language.to_owned(), lines: Vec::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

/// Which ID of the README stands for which of this session.
#[derive(Default, Debug)]
struct Names(BTreeMap<String, String>);

/// Letters of an ID that tell it from others.
const TAIL: usize = 6;

impl Names {
    /// The text with this session's IDs.
    fn translate(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (theirs, ours) in &self.0 {
            text = text.replace(theirs.as_str(), ours);
            text = text.replace(tail(theirs), tail(ours));
            // Cut off after some letters.
            for length in (12..theirs.len()).rev() {
                let cut = format!("{}…", &theirs[..length]);
                text = text.replace(&cut, &format!("{}…", &ours[..length]));
            }
        }
        text
    }

    /// Learns what the IDs of an expected line are here.
    fn learn(&mut self, expected: &str, printed: &str) {
        for (theirs, ours) in ids(expected).zip(ids(printed)) {
            if !self.0.contains_key(theirs) && !self.0.values().any(|known| known == theirs) {
                self.0.insert(theirs.to_owned(), ours.to_owned());
            }
        }
    }
}

fn tail(id: &str) -> &str {
    &id[id.len() - TAIL..]
}

fn ids(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| word.len() > 40 && (word.starts_with("12D3KooW") || word.starts_with("bafy")))
}

/// Whether a printed word is the expected one: times and sizes are any.
fn is_word(expected: &str, printed: &str) -> bool {
    let number = |word: &str| word.trim_start_matches('(').parse::<f64>().is_ok();
    let is_time = |word: &str| word.contains('.') && number(word);
    let is_size = |word: &str| word.starts_with('(') && number(word);
    if (is_time(expected) && is_time(printed)) || (is_size(expected) && is_size(printed)) {
        return true;
    }
    let mut parts = expected.split('…');
    let (first, last) = (parts.next().unwrap(), parts.next_back());
    match last {
        None => expected == printed,
        // What the program itself shortens stands there as it is.
        Some(last) => expected == printed || (printed.starts_with(first) && printed.ends_with(last)),
    }
}

fn is_line(expected: &str, printed: &str) -> bool {
    let (expected, printed) = (expected.split_whitespace(), printed.split_whitespace());
    expected.clone().count() == printed.clone().count() && expected.zip(printed).all(|(e, p)| is_word(e, p))
}

/// What is wrong with an output, if something is.
fn difference(names: &mut Names, expected: &[String], printed: &[&str]) -> Option<String> {
    let Some((first, rest)) = expected.split_first() else {
        return printed.first().map(|line| format!("printed beyond the end: {line}"));
    };
    if first.trim() == "…" {
        let from =
            (0..=printed.len()).find(|from| difference(&mut Names(names.0.clone()), rest, &printed[*from..]).is_none());
        return match from {
            Some(from) => difference(names, rest, &printed[from..]),
            None => Some(format!("not after `…`: {rest:#?}")),
        };
    }
    let Some((line, others)) = printed.split_first() else { return Some(format!("not printed: {first}")) };
    names.learn(first, line);
    let translated = names.translate(first);
    if is_line(&translated, line) {
        difference(names, rest, others)
    } else {
        Some(format!("README: {translated}\nprinted: {line}"))
    }
}

/// A command of the session, in its folder.
#[track_caller]
fn shell(home: &Home, command: &str) -> Ran {
    let path = format!("{}:{}", binary::guilder().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.env_clear().env("PATH", path).env("HOME", home.file("user")).current_dir(folder(home));
    shell.args(["-c", &format!("exec 2>&1; {command}")]);
    Ran::of(shell, b"")
}

fn folder(home: &Home) -> std::path::PathBuf {
    home.file("session")
}

/// `guilder --home NAME up` of the session, ended with the test.
struct Up(std::process::Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn up(home: &Home, name: &str) -> Up {
    let log = fs::File::create(folder(home).join(format!("{name}.log"))).unwrap();
    let mut command = Command::new(binary::guilder());
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", home.file("user"));
    command.current_dir(folder(home)).args(["--home", name, "up"]);
    let child =
        Up(command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    eventually(&format!("{name} to be up"), LONG, || {
        let status = shell(home, &format!("guilder --home {name} status"));
        if status.code() == 0 { Ok(()) } else { Err(status) }
    });
    child
}

/// The files that a block with `# NAME` in its first line is for.
fn files_of(block: &Block) -> Vec<String> {
    let first = block.lines.iter().find(|line| line.starts_with("# ")).cloned().unwrap_or_default();
    let words = first.split(|c: char| c.is_whitespace() || c == ':');
    words.filter(|word| Path::new(word).extension().is_some()).map(str::to_owned).collect()
}

#[test]
fn the_session_of_the_readme_prints_what_stands_there() {
    let _slot = Slot::take();
    let home = Home::empty();
    fs::create_dir_all(folder(&home)).unwrap();
    fs::create_dir_all(home.file("user")).unwrap();
    let (mut names, mut running, mut mint) = (Names::default(), Vec::new(), None::<(String, String)>);
    let mut join = String::new();
    let (mut compared, mut scripts) = (0, 0);
    for block in session() {
        match block.language.as_str() {
            "toml" | "sh" => {
                for file in files_of(&block) {
                    fs::write(folder(&home).join(&file), block.lines.join("\n") + "\n").unwrap();
                }
            }
            "python" => {
                scripts += 1;
                let text = block.lines.join("\n");
                let mut python = Command::new("python3");
                python.args(["-c", &text]).current_dir(folder(&home)).env("PYTHONDONTWRITEBYTECODE", "1");
                python.env("PYTHONPATH", binary::file("node/clients/python/src"));
                let version =
                    Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]).status();
                if version.is_ok_and(|status| status.success()) {
                    let said = Ran::of(python, b"").ok().text();
                    assert!(said.contains("\"words\": 2") && said.contains(" 3 "), "{said}");
                }
            }
            "ts" => {}
            _ => {
                for (index, line) in block.lines.iter().enumerate() {
                    if let Some(name) = line.strip_prefix("guilder --home ").and_then(|rest| rest.strip_suffix(" up")) {
                        running.push(up(&home, name));
                        if name == "mint" {
                            let json = |command: &str| {
                                shell(&home, &format!("guilder --home mint --json {command}")).ok().json()
                            };
                            let address = json("status")["listen"][0].as_str().unwrap().to_owned();
                            mint = Some((json("id")["peer_id"].as_str().unwrap().to_owned(), address));
                        }
                    } else if let Some(named) = line.strip_prefix("join=") {
                        let (id, address) = mint.as_ref().expect("the mint is up by then");
                        let bootstrap = "/ip4/127.0.0.1/tcp/4848/p2p/12D3KooW…";
                        join = named.trim_matches('"').replace(bootstrap, address).replace("12D3KooW…", id);
                    } else if line.starts_with("guilder ") {
                        // Port 4848 may be somebody's here.
                        shell(&home, &line.replace("/tcp/4848", "/tcp/0").replace("$join", &join)).ok();
                    } else if let Some(command) = line.strip_prefix("$ ") {
                        let command = names.translate(command);
                        let expected: Vec<_> = block.lines[index + 1..]
                            .iter()
                            .take_while(|line| !line.starts_with("$ "))
                            .cloned()
                            .collect();
                        let blank = expected.iter().rev().take_while(|line| line.is_empty()).count();
                        let expected = &expected[..expected.len() - blank];
                        if command.contains(" find ") {
                            // "A node that has just come up may take a few seconds until the swarm knows of it."
                            eventually("the service to be found", LONG, || {
                                let found = shell(&home, &command);
                                if found.code() == 0 { Ok(()) } else { Err(found) }
                            });
                        }
                        let ran = shell(&home, &command).ok();
                        let text = ran.text();
                        let printed: Vec<_> = text.lines().collect();
                        if let Some(wrong) = difference(&mut names, expected, &printed) {
                            panic!("$ {command}\n{wrong}\n--- all that it printed\n{text}");
                        }
                        compared += usize::from(!expected.is_empty());
                    }
                }
            }
        }
    }
    assert!(
        (running.len(), scripts) == (3, 1) && compared >= 6,
        "{} up, {scripts} scripts, {compared} compared",
        running.len()
    );
}

#[test]
fn an_output_differs_where_a_word_an_id_or_a_line_is_another() {
    let id = |letter: char| format!("12D3KooW{}", String::from(letter).repeat(44));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let same = |expected: &str, printed: &str| {
        let printed: Vec<_> = printed.lines().collect();
        difference(&mut Names::default(), &lines(expected), &printed).is_none()
    };
    let (a, b, c) = (id('a'), id('b'), id('c'));
    assert!(same(&format!("by {a}\n0.001 s  …aaaaaa accepts"), &format!("by {b}\n 7.250 s …bbbbbb accepts")));
    assert!(!same(&format!("by {a}\n0.001 s  …aaaaaa accepts"), &format!("by {b}\n 7.250 s …cccccc accepts")));
    assert!(!same(&format!("by {a}\nfor {a}"), &format!("by {b}\nfor {c}")), "one ID stands for one");
    assert!(same("one\n…\nlast", "one\ntwo\nthree\nlast") && same("one\n…\nlast", "one\nlast"));
    assert!(!same("one\n…\nlast", "one\ntwo") && !same("one", "one\ntwo") && !same("one\ntwo", "one"));
    assert!(!same("3 play", "4 play") && same("(3225 bytes)", "(3226 bytes)") && !same("39 bytes", "40 bytes"));
}
