//! A PostgreSQL server of the test's own, on a free port, in a folder that is deleted afterwards.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::bad_input::free_port;

const START_ATTEMPTS: usize = 5;
pub(crate) const USER: &str = "ada";
/// With what a URL must not hold unescaped.
pub(crate) const PASSWORD: &str = "p@ss:w/rd";
/// The numbers of nobody and its group wherever Linux is: the server refuses to run as root.
const NOBODY: u32 = 65_534;

pub(crate) struct PostgresServer {
    process: Child,
    port: u16,
    /// Deleted after the server has ended.
    _folder: tempfile::TempDir,
}

impl PostgresServer {
    /// `None`, with a printed reason, where PostgreSQL is not installed.
    #[expect(clippy::print_stdout, reason = "skips are said")]
    pub(crate) fn start() -> Option<PostgresServer> {
        let Some(programs) = programs() else {
            println!("skipped: PostgreSQL is not installed; `make setup` installs it");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let is_root = std::fs::metadata(folder.path()).unwrap().uid() == 0;
        if is_root {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let data = folder.path().join("data");
        let made = as_nobody(is_root, &programs.join("initdb"))
            .args(["--username", USER, "--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8", "--no-locale"])
            .args(["--pwfile".as_ref(), password.as_os_str(), "--pgdata".as_ref(), data.as_os_str()])
            .current_dir(folder.path())
            .output();
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                println!("skipped: initdb cannot be run as nobody: {error}");
                return None;
            }
        };
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            let mut process = as_nobody(is_root, &programs.join("postgres"))
                .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-c", "logging_collector=off"])
                .args(["-k".as_ref(), folder.path().as_os_str(), "-D".as_ref(), data.as_os_str()])
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            if wait_until_ready(&mut process) {
                return Some(PostgresServer { process, port, _folder: folder });
            }
            process.wait().unwrap();
        }
        panic!("postgres did not start {START_ATTEMPTS} times");
    }

    /// Its address, with `user` (and password) before it.
    pub(crate) fn url(&self, user: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs a script of the command line client.
    pub(crate) fn run(&self, script: &str) {
        let mut client = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", &self.url(USER)])
            .env("PGPASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        client.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(client.wait().unwrap().success());
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Asked to end at once, it frees its shared memory, which a kill would leave behind.
        let asked = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            // It may have ended by itself.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

fn as_nobody(is_root: bool, program: &Path) -> Command {
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(program);
    command
}

/// Reads the server's log until it is ready, `false` when it ends before; the rest of the log is read and dropped.
fn wait_until_ready(process: &mut Child) -> bool {
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    while let Some(Ok(line)) = log.next() {
        if line.contains("ready to accept connections") {
            std::thread::spawn(move || log.for_each(drop));
            return true;
        }
    }
    false
}
