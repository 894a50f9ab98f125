//! Builds the image of a box, or starts an emulated one. `scripts/image` and `scripts/run` call it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use penstock_image::Error;
use penstock_image::board::Board;
use penstock_image::bundle::{self, Parts};
use penstock_image::qemu::{Machine, Serial};

/// Builds the image of a box, or starts an emulated one.
#[derive(Debug, Parser)]
#[command(name = "penstock-image", version, max_term_width = 100)]
enum Command {
    /// Write all files of an image
    Build {
        /// The folder with board.toml
        #[arg(long, value_name = "DIR")]
        board: PathBuf,
        /// The compressed kernel
        #[arg(long, value_name = "FILE")]
        kernel: PathBuf,
        /// The static binary
        #[arg(long, value_name = "FILE")]
        penstock: PathBuf,
        /// The settings that the box begins with; without them it asks on its serial console
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
        /// Where the files go
        #[arg(value_name = "DIR")]
        into: PathBuf,
    },
    /// Start a box under QEMU, its serial line in the terminal
    Run {
        /// The folder with board.toml
        #[arg(long, value_name = "DIR")]
        board: PathBuf,
        /// The folder of the image
        #[arg(long, value_name = "DIR")]
        image: PathBuf,
        /// The folder with disk and flash of the box, which are made if they are not there
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// The loopback port at which its port 25 can be reached
        #[arg(long, value_name = "PORT")]
        port: u16,
    },
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            tell(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Build { board, kernel, penstock, settings, into } => {
            let settings = settings.as_deref();
            let parts = Parts { board: &board, kernel: &kernel, penstock: &penstock, settings };
            bundle::build(&parts, &into)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { board, image, state, port } => {
            let machine = Machine {
                board: Board::read(&board)?,
                image,
                state,
                smtp_port: port,
                serial: Serial::Terminal,
                monitor: None,
                kernel_words: String::new(),
            };
            machine.prepare()?;
            let system_mib = machine.system_bytes()? as f64 / f64::from(1 << 20);
            let ended = machine.run(|after| {
                tell(&format!(
                    "\r\n==> first 220 on 127.0.0.1:{port} {:.2} s after the start of QEMU; kernel and initramfs have \
                     {system_mib:.1} MiB\r",
                    after.as_secs_f64()
                ));
            })?;
            Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn tell(line: &str) {
    // Where nobody reads it nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
