//! What can be seen of home and machine without the node.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::{
    config::Config,
    daemon,
    keys::{Home, SecretFile, check_private},
    limits::{DESCRIPTORS_NEEDED, DISK_LOW_BYTES, DISK_SHORT_BYTES},
};

/// The folder, its keys, and who may read them.
pub(super) fn home(home: &Home) -> Vec<Finding> {
    let dir = home.dir();
    let mode = match fs::metadata(dir) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(cause) => {
            let todo = "make a node: `guilder init`, or `guilder up --join INVITATION`; or name its folder: --home DIR";
            return vec![Finding::fail("home", format!("{}: {cause}", dir.display()), todo)];
        }
    };
    let mut found = vec![match mode & 0o077 {
        0 => Finding::ok("home", format!("{} is this user's alone", dir.display())),
        _ => Finding::fail(
            "home",
            format!("{} is open to others (mode {mode:04o})", dir.display()),
            format!("chmod 700 {}", dir.display()),
        ),
    }];
    found.push(keys(home));
    let mut secret = vec![home.store(), home.api(), home.mint_used()];
    secret.extend(fs::read_dir(home.callers()).into_iter().flatten().flatten().map(|entry| entry.path()));
    let exposed = secret.iter().filter(|path| path.exists()).find_map(|path| check_private(path).err());
    if let Some(error) = exposed {
        found.push(Finding::fail("secrets", error.to_string(), "if nobody did: chmod 600 the file"));
    }
    found
}

fn keys(home: &Home) -> Finding {
    let path = home.secret();
    if !path.exists() {
        let todo = "make a node: `guilder init`; or give this one its keys again: `guilder init --restore`";
        return Finding::fail("keys", format!("there are none in {}", home.dir().display()), todo);
    }
    match (check_private(&path), SecretFile::load(&path)) {
        (Err(error), _) => Finding::fail(
            "keys",
            error.to_string(),
            "whoever read it has the node's money; if nobody did: chmod 600 the file",
        ),
        (_, Err(error)) => Finding::fail("keys", error.to_string(), "give the phrase again: `guilder init --restore`"),
        (_, Ok(file)) if file.is_sealed() => Finding::ok("keys", "sealed with a passphrase"),
        (_, Ok(_)) => Finding::ok("keys", "in clear, readable by this user alone"),
    }
}

/// Whether there is room, and whether it can be written to.
pub(super) fn disk(home: &Home) -> Finding {
    const WHAT: &str = "disk";
    let room = "make room: without it the node takes no trades, and finishes none";
    if let Err(cause) = try_write(home.dir()) {
        return Finding::fail(WHAT, format!("{} can't be written to: {cause}", home.dir().display()), room);
    }
    let free = match rustix::fs::statvfs(home.dir()) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(cause) => {
            return Finding::warn(WHAT, format!("how much is free can't be told: {cause}"), "look yourself: df");
        }
    };
    let said = format!("{} free", in_units(free));
    match free {
        ..DISK_SHORT_BYTES => Finding::fail(WHAT, said, room),
        DISK_SHORT_BYTES..DISK_LOW_BYTES => Finding::warn(WHAT, said, "make room before it is full"),
        _ => Finding::ok(WHAT, said),
    }
}

/// Makes a file as the node makes them, and takes it away again.
fn try_write(dir: &Path) -> io::Result<()> {
    let path = dir.join(format!("doctor.{}.new", std::process::id()));
    let written = fs::File::create_new(&path).and_then(|mut file| {
        file.write_all(&[0; 4_096])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// In the largest unit of which there is one.
fn in_units(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// How many files and connections a node started here may have open: it raises the soft limit to the hard one itself.
pub(super) fn descriptors() -> Finding {
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < DESCRIPTORS_NEEDED => Finding::warn(
            "descriptors",
            format!("{most} at most, and a busy node needs {DESCRIPTORS_NEEDED}"),
            "raise the hard limit: LimitNOFILE=16384 in the unit, or in /etc/security/limits.conf",
        ),
        Some(most) => Finding::ok("descriptors", format!("{most} at most")),
        None => Finding::ok("descriptors", "without limit"),
    }
}

/// Whether the addresses of the settings can be listened on: nobody does now.
pub(super) fn ports(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for address in &config.network.listen {
        match daemon::try_listening(address) {
            Ok(()) => found.push(Finding::ok("ports", format!("{address} is free"))),
            Err(error) => found.push(Finding::fail("ports", error.to_string(), error_todo(&error))),
        }
    }
    let others = [
        ("api.listen", Some(config.api.listen)),
        ("monitor.listen", config.monitor.listen),
        ("hooks.listen", config.hooks.listen),
        ("mint.http", config.mint.http.filter(|_| config.mint.host)),
    ];
    for (setting, address) in others.into_iter().filter_map(|(setting, address)| Some((setting, address?))) {
        if let Err(cause) = std::net::TcpListener::bind(address) {
            found.push(Finding::fail(
                "ports",
                format!("{setting}: {address}: {cause}"),
                "is another program on this port? change the setting in config.toml",
            ));
        }
    }
    found
}

fn error_todo(error: &impl guilder_protocol::fault::AtFault) -> String {
    error.hint().unwrap_or("change network.listen in config.toml").to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        cli::doctor::State,
        keys::{Phrase, SecretFile},
    };

    fn made(dir: &Path) -> Home {
        let home = Home::at(dir.join("home"));
        home.create().unwrap();
        SecretFile::clear(&Phrase::from_entropy(&[9; 16])).create(&home.secret()).unwrap();
        home
    }

    fn worst(found: &[Finding]) -> State {
        found.iter().map(|finding| finding.state).max().unwrap()
    }

    #[test]
    fn a_sound_home_is_ok_and_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let home = made(dir.path());
        assert_eq!(worst(&super::home(&home)), State::Ok);
        disk(&home);
        assert_eq!(fs::read_dir(home.dir()).unwrap().count(), 1, "nothing is left behind");
        assert_eq!(worst(&super::home(&Home::at(dir.path().join("nowhere")))), State::Fail);
    }

    #[test]
    fn what_others_can_read_fails_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let home = made(dir.path());
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&home.secret(), 0o644);
        let found = super::home(&home);
        assert!(
            found
                .iter()
                .any(|finding| finding.what == "keys" && finding.state == State::Fail && finding.todo.is_some())
        );
        mode(&home.secret(), 0o600);
        mode(home.dir(), 0o755);
        assert_eq!(worst(&super::home(&home)), State::Fail);
        mode(home.dir(), 0o700);
        fs::create_dir(home.callers()).unwrap();
        fs::write(home.callers().join("bot"), "token").unwrap();
        mode(&home.callers().join("bot"), 0o640);
        assert_eq!(worst(&super::home(&home)), State::Fail);
    }

    #[test]
    fn a_port_that_somebody_has_is_said_to_be_taken() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.network.listen =
            vec![format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port()).parse().unwrap()];
        config.monitor.listen = taken.local_addr().ok();
        let found = ports(&config);
        assert_eq!(found.iter().filter(|finding| finding.state == State::Fail).count(), 2, "{found:?}");
        drop(taken);
        assert_eq!(worst(&ports(&config)), State::Ok);
    }
}
