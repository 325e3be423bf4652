//! A server that speaks like S3 (moto's), of the test's own, on a free port, with its objects in memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::bad_input::free_port;

const START_ATTEMPTS: usize = 5;
/// The bucket that every server has.
pub(crate) const BUCKET: &str = "shop";
pub(crate) const SECRET_KEY: &str = "a-very-secret-key";
/// Its service and region are where moto looks for what is meant; the signature counts for nothing.
const AUTHORIZATION: &str =
    "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

pub(crate) struct ObjectServer {
    process: Child,
    port: u16,
}

impl ObjectServer {
    /// `None`, with a printed reason, where moto is not installed.
    #[expect(clippy::print_stdout, reason = "skips are said")]
    pub(crate) fn start() -> Option<ObjectServer> {
        for _ in 0..START_ATTEMPTS {
            // Another process may take the port before the server does; then the next one is tried.
            let port = free_port();
            let Ok(mut process) = spawn(port) else {
                println!("skipped: python3 is not installed");
                return None;
            };
            match wait_until_ready(&mut process) {
                Ok(()) => {
                    let server = ObjectServer { process, port };
                    server.request("PUT", &format!("/{BUCKET}"), b"");
                    return Some(server);
                }
                Err(log) => {
                    process.wait().unwrap();
                    if log.contains("No module named") {
                        println!("skipped: moto is not installed; `make setup` installs it");
                        return None;
                    }
                }
            }
        }
        panic!("moto did not start {START_ATTEMPTS} times");
    }

    /// Puts an object into [`BUCKET`].
    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        self.request("PUT", &format!("/{BUCKET}/{key}"), content);
    }

    /// From now on only known keys may do anything, and none are known.
    pub(crate) fn refuse_everybody(&self) {
        self.request("POST", "/moto-api/reset-auth", b"0");
    }

    /// A command that reads from this server, with keys.
    pub(crate) fn ask<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ALLOW_HTTP", "true")
            .env("NO_PROXY", "127.0.0.1")
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {AUTHORIZATION}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.lines().next().unwrap_or_default().contains(" 200 "), "{method} {path}: {answer}");
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16) -> std::io::Result<Child> {
    let brought = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.runtime/python");
    Command::new("python3")
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .env("PYTHONPATH", brought)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// Reads the server's log until it is ready; where it ends before, the log is the error.
fn wait_until_ready(process: &mut Child) -> Result<(), String> {
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut log = String::new();
    while let Some(Ok(line)) = lines.next() {
        if line.contains("Running on") {
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(());
        }
        log += &line;
    }
    Err(log)
}
