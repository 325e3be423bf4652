//! A client that keeps one connection: enough to ask our own server and to measure it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer of more than this is none of ours.
const BODY_BYTES_MAX: usize = 16 << 20;
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// One connection, made again when the server has closed it.
#[derive(Debug)]
pub struct HttpClient {
    address: SocketAddr,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpClient {
    /// Does not connect yet. Every read and write takes at most `timeout`.
    #[must_use]
    pub fn new(address: SocketAddr, timeout: Duration) -> Self {
        HttpClient { address, timeout, connection: None }
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// When the connection fails or the answer is no HTTP/1.1 with a length.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).as_bytes())
    }

    /// Posts JSON to a path.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<Reply> {
        let (address, length) = (self.address, body.len());
        let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
        self.send(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes())
    }

    fn send(&mut self, request: &[u8]) -> io::Result<Reply> {
        // After a failure what is left of an answer would be taken for the next one's.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.get_mut().write_all(request)?;
        let (reply, keep) = read(&mut connection)?;
        self.connection = keep.then_some(connection);
        Ok(reply)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::new(stream))
    }
}

/// An answer, and whether the connection stays open.
fn read(connection: &mut BufReader<TcpStream>) -> io::Result<(Reply, bool)> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the answer has {what}"));
    let mut lines = Vec::new();
    let mut head = connection.by_ref().take(HEAD_BYTES_MAX);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| malformed("no status"))?;
    let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(usize::MAX);
    if length > BODY_BYTES_MAX {
        return Err(malformed("no length, or a body that is too long"));
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((Reply { status, body }, field("connection") != Some("close")))
}
