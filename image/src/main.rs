//! Builds the image of a box, or starts an emulated one. `scripts/image` and `scripts/run` call it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use penstock_image::Error;
use penstock_image::board::Board;
use penstock_image::bundle::{self, Compiled, Parts};
use penstock_image::manifest::Kind;
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
        /// What cargo said while it built that, with --message-format=json
        #[arg(long, value_name = "FILE")]
        messages: PathBuf,
        /// What cargo metadata said, for the target
        #[arg(long, value_name = "FILE")]
        metadata: PathBuf,
        /// Cargo.lock
        #[arg(long, value_name = "FILE")]
        lock: PathBuf,
        /// The target
        #[arg(long, value_name = "TRIPLE")]
        target: String,
        /// The version of the compiler
        #[arg(long, value_name = "VERSION")]
        rust: String,
        /// The version of the C library in the binary
        #[arg(long, value_name = "VERSION")]
        libc: String,
        /// The settings that the box begins with; without them it takes no mail
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
        /// Where the files go
        #[arg(value_name = "DIR")]
        into: PathBuf,
    },
    /// Tell what a system is, and whether it is whole
    Inspect {
        /// A bundle, or a flash chip
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where in the file it begins, in bytes
        #[arg(long, value_name = "BYTES", default_value_t = 0)]
        at: u64,
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
        Command::Build {
            board,
            kernel,
            penstock,
            messages,
            metadata,
            lock,
            target,
            rust,
            libc,
            settings,
            into,
        } => {
            let compiled = Compiled {
                messages: &messages,
                metadata: &metadata,
                lock: &lock,
                target: &target,
                rust: &rust,
                libc: &libc,
            };
            let (board, kernel, penstock) = (&board, &kernel, &penstock);
            let settings = settings.as_deref();
            bundle::build(&Parts { board, kernel, penstock, compiled, settings }, &into)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Inspect { file, at } => {
            let manifest = bundle::inspect(&file, at)?;
            tell(&format!(
                "Penstock {} for {}, security version {}, {} bytes",
                manifest.version, manifest.board, manifest.security_version, manifest.bundle_bytes
            ));
            for (kind, part) in Kind::ALL.iter().zip(&manifest.parts) {
                tell(&format!(
                    "{kind:>12}  {:>9} bytes at {:#x}, as it was written",
                    part.size_bytes, part.offset
                ));
            }
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
                disk_server: None,
            };
            machine.prepare()?;
            let system_mib = machine.system_bytes()?.iter().sum::<u64>() as f64 / f64::from(1 << 20);
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
