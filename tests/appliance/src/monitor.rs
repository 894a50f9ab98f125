//! What QEMU itself is told (QMP): a key is pressed, a line is broken.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use penstock_peers::process::HANG_GUARD;
use serde_json::{Value, json};

/// A connection to the monitor of a QEMU.
pub struct Monitor {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Monitor {
    /// Connects.
    pub fn connect(socket: &Path) -> Self {
        let writer =
            UnixStream::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
        writer.set_read_timeout(Some(HANG_GUARD)).unwrap();
        let reader = BufReader::new(writer.try_clone().unwrap());
        let mut monitor = Self { reader, writer };
        let greeting = monitor.read();
        assert!(greeting.get("QMP").is_some(), "{greeting}");
        monitor.execute("qmp_capabilities", &json!({}));
        monitor
    }

    /// Executes a command; it must succeed.
    pub fn execute(&mut self, command: &str, arguments: &Value) {
        writeln!(self.writer, "{}", json!({ "execute": command, "arguments": arguments })).unwrap();
        loop {
            let answer = self.read();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            // What is neither is an event.
            if answer.get("return").is_some() {
                return;
            }
        }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}
