//! A mint that nobody here wrote: Nutshell, in Python, with a wallet of fake Lightning money.

use std::{
    env,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::{LONG, eventually, foreign, home::tail, http};

/// Where free ports that somebody else took meanwhile stop being an excuse.
const STARTS: usize = 5;

/// A running Nutshell mint on loopback.
#[derive(Debug)]
pub struct Nutshell {
    child: Child,
    dir: TempDir,
    address: SocketAddr,
}

impl Nutshell {
    /// Starts one; none, with a word on why, where it isn't installed.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let Some(program) = foreign::nutshell_venv().map(|venv| venv.join("bin/mint")) else {
            foreign::skip("Nutshell");
            return None;
        };
        let mut last = String::new();
        for _ in 0..STARTS {
            match Self::try_start(&program) {
                Ok(mint) => return Some(mint),
                Err(log) => last = log,
            }
        }
        panic!("Nutshell doesn't start:\n{last}");
    }

    fn try_start(program: &PathBuf) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("guilder-test-nutshell-").tempdir().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let log = File::create(dir.path().join("mint.log")).unwrap();
        let mut command = Command::new(program);
        command.current_dir(dir.path()).env_clear().env("HOME", dir.path());
        command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs([
            ("CASHU_DIR", dir.path().to_str().unwrap()),
            ("MINT_DATABASE", dir.path().join("data").to_str().unwrap()),
            ("MINT_PRIVATE_KEY", "a key for tests"),
            ("MINT_BACKEND_BOLT11_SAT", "FakeWallet"),
            ("MINT_LISTEN_HOST", "127.0.0.1"),
            ("MINT_LISTEN_PORT", &free.port().to_string()),
            ("MINT_INPUT_FEE_PPK", "100"),
            ("MINT_RATE_LIMIT", "FALSE"),
            ("FAKEWALLET_BRR", "TRUE"),
            ("FAKEWALLET_DELAY_INCOMING_PAYMENT", "0"),
            ("FAKEWALLET_DELAY_OUTGOING_PAYMENT", "0"),
        ]);
        let output = log.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().unwrap();
        let mut mint = Self { child, dir, address: free };
        let answers = eventually("the Nutshell mint to answer", 2 * LONG, || {
            if mint.child.try_wait().unwrap().is_some() {
                return Ok(false);
            }
            match http::request(free, "GET", "/v1/info", &[], b"") {
                Ok(answer) if answer.status == 200 => Ok(true),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(error.to_string()),
            }
        });
        if answers { Ok(mint) } else { Err(mint.log_tail()) }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it (SIGKILL), as a power cut would end it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn log_tail(&self) -> String {
        format!("--- the log of the Nutshell mint\n{}", tail(&self.dir.path().join("mint.log"), 40))
    }
}

impl Drop for Nutshell {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}
