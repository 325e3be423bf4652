//! A Redis server of the test's own, on a free port, in a directory that is deleted afterwards.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

const START_ATTEMPTS: usize = 5;

pub struct RedisServer {
    process: Child,
    port: u16,
    directory: tempfile::TempDir,
    extra: Vec<String>,
}

impl RedisServer {
    /// A server that acknowledges after a sync to disk; `None`, with a printed reason, where Redis is not installed.
    pub fn start() -> Option<RedisServer> {
        RedisServer::start_with(&[])
    }

    /// The same with more command line options.
    pub fn start_with(extra: &[&str]) -> Option<RedisServer> {
        let directory = tempfile::tempdir().unwrap();
        let extra: Vec<String> = extra.iter().map(|&option| option.to_owned()).collect();
        for _ in 0..START_ATTEMPTS {
            // Another process may take the port before the server does; then the next one is tried.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut process = match spawn(port, &directory, &extra) {
                Ok(process) => process,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    println!("skipped: redis-server is not installed");
                    return None;
                }
                Err(error) => panic!("redis-server: {error}"),
            };
            if wait_until_ready(&mut process) {
                return Some(RedisServer { process, port, directory, extra });
            }
            process.wait().unwrap();
        }
        panic!("redis-server did not start {START_ATTEMPTS} times");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again after [`RedisServer::kill`], with what its disk holds, on the same port.
    pub fn restart(&mut self) {
        self.process = spawn(self.port, &self.directory, &self.extra).unwrap();
        assert!(wait_until_ready(&mut self.process), "the server starts again");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A test may have killed it already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, directory: &tempfile::TempDir, extra: &[String]) -> std::io::Result<Child> {
    let port = port.to_string();
    Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        .arg("--dir")
        .arg(directory.path())
        .args(extra)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Reads the server's log until it is ready, `false` when it ends before; the rest of the log is read and dropped.
fn wait_until_ready(process: &mut Child) -> bool {
    let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
    while let Some(Ok(line)) = log.next() {
        if line.contains("Ready to accept connections") {
            std::thread::spawn(move || log.for_each(drop));
            return true;
        }
    }
    false
}
