//! Sends the server's reports on: a small SMTP client with a queue, in a thread of its own.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Reports that may wait; what comes beyond is dropped.
const QUEUE_MAX: usize = 10_000;
const TRIES: u32 = 30;
const TRY_AGAIN: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(30);

/// The way to the mail server that takes reports.
#[derive(Debug)]
pub(crate) struct Relay {
    queue: mpsc::SyncSender<(String, Vec<u8>)>,
}

impl Relay {
    /// Starts it. It ends when this is dropped and its queue is empty.
    pub(crate) fn start(next_hop: SocketAddr) -> Self {
        let (queue, waiting) = mpsc::sync_channel::<(String, Vec<u8>)>(QUEUE_MAX);
        thread::spawn(move || {
            for (to, bytes) in waiting {
                for _ in 0..TRIES {
                    match deliver(next_hop, &to, &bytes) {
                        // 5xx ends it as 2xx does: there is nobody to report it to.
                        Ok(code) if !(400..500).contains(&code) => break,
                        _ => thread::sleep(TRY_AGAIN),
                    }
                }
            }
        });
        Self { queue }
    }

    pub(crate) fn send(&self, to: String, bytes: Vec<u8>) {
        // A full queue means that nobody has taken reports for hours.
        let _ = self.queue.try_send((to, bytes));
    }
}

/// One transaction; returns the code that ended it.
fn deliver(next_hop: SocketAddr, to: &str, bytes: &[u8]) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&next_hop, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut code = read_code(&mut reader)?;
    for line in ["EHLO exchange.example", "MAIL FROM:<>", &format!("RCPT TO:<{to}>"), "DATA"] {
        if code >= 400 {
            return Ok(code);
        }
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        code = read_code(&mut reader)?;
    }
    if code != 354 {
        return Ok(code);
    }
    // No line of a report begins with a dot.
    stream.write_all(bytes)?;
    stream.write_all(b".\r\n")?;
    let verdict = read_code(&mut reader)?;
    // It is delivered whether or not we part politely.
    let _ = stream.write_all(b"QUIT\r\n");
    Ok(verdict)
}

fn read_code(reader: &mut impl BufRead) -> io::Result<u16> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            let code = line.get(..3).and_then(|code| code.parse().ok());
            return code.ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
}
