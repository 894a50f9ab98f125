//! Builds the image of a box, signs it, tells what is in it, or starts an emulated box. `scripts/image` and `scripts/run` call
//! it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, ValueEnum};
use penstock_image::board::Board;
use penstock_image::bundle::{self, Compiled, Parts, Programs, Signer};
use penstock_image::keys::{self, Key};
use penstock_image::qemu::{Boot, Machine, Serial};
use penstock_image::{Error, inspect};
use penstock_slots::VerifyingKey;

/// Builds the image of a box, signs it, tells what is in it, or starts an emulated one.
#[derive(Debug, Parser)]
#[command(name = "penstock-image", version, max_term_width = 100)]
enum Command {
    /// Write all files of an image
    Build(Box<Build>),
    /// Sign the bundles of an image, and put them into its flash
    #[command(after_help = "\
Somebody else can hold the key. What is to be signed are 352 bytes each:
  openssl pkeyutl -sign -rawin -inkey KEY.pem -in system.manifest -out system.signature
  openssl pkeyutl -sign -rawin -inkey KEY.pem -in firmware.manifest -out firmware.signature
  penstock-image sign --system-signature system.signature --firmware-signature firmware.signature IMAGE")]
    Sign {
        /// The folder with board.toml
        #[arg(long, value_name = "DIR", default_value = "board/qemu-virt")]
        board: PathBuf,
        #[command(flatten)]
        known: Known,
        /// The key that signs, as OpenSSL writes it (PKCS #8, PEM)
        #[arg(long, value_name = "FILE", required_unless_present = "system_signature")]
        key: Option<PathBuf>,
        /// The signature of system.manifest, 64 bytes
        #[arg(long, value_name = "FILE", conflicts_with = "key")]
        system_signature: Option<PathBuf>,
        /// The signature of firmware.manifest, 64 bytes
        #[arg(long, value_name = "FILE", requires = "system_signature")]
        firmware_signature: Option<PathBuf>,
        /// The folder of the image
        #[arg(value_name = "DIR")]
        image: PathBuf,
    },
    /// Print the public halves of private keys, as they are compiled in
    Public {
        /// The keys: the one that signs, and the one that will
        #[arg(value_name = "FILE", num_args = 1..=2)]
        keys: Vec<PathBuf>,
    },
    /// Make the pair of keys for development unless it is there, and print the public halves
    DevelopmentKeys {
        /// The folder for them
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Tell what a bundle or a flash chip holds, and whether a box would start it
    Inspect {
        /// The folder with board.toml
        #[arg(long, value_name = "DIR", default_value = "board/qemu-virt")]
        board: PathBuf,
        #[command(flatten)]
        known: Known,
        /// A bundle, or the flash chip with the software
        #[arg(value_name = "FILE")]
        file: PathBuf,
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
        /// How it starts: from its flash, or by QEMU's loading the kernel; from flash if the image has what runs there
        #[arg(long, value_name = "HOW")]
        boot: Option<How>,
    },
}

/// What an image is made from.
#[derive(Debug, Args)]
struct Build {
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
    /// What cargo metadata said, for both targets
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
    #[command(flatten)]
    firmware: Option<Firmware>,
    /// The settings that the box begins with; without them it asks on its serial console
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The key that signs, as OpenSSL writes it (PKCS #8, PEM); without it the image is to be signed later
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    known: Known,
    /// Where the files go
    #[arg(value_name = "DIR")]
    into: PathBuf,
}

/// What runs before the kernel.
#[derive(Debug, Args)]
#[group(requires_all = ["stage0", "firmware", "firmware_messages", "firmware_target"], multiple = true)]
struct Firmware {
    /// Stage 0, as the linker made it
    #[arg(long, value_name = "FILE", required = false)]
    stage0: PathBuf,
    /// The firmware, as the linker made it
    #[arg(long, value_name = "FILE", required = false)]
    firmware: PathBuf,
    /// What cargo said while it built both, with --message-format=json
    #[arg(long, value_name = "FILE", required = false)]
    firmware_messages: PathBuf,
    /// Their target
    #[arg(long, value_name = "TRIPLE", required = false)]
    firmware_target: String,
}

/// The keys that a box knows.
#[derive(Debug, Args)]
struct Known {
    /// The public keys that the box was compiled with: twice 64 hexadecimal digits, a comma between
    #[arg(
        long = "keys",
        value_name = "HEX,HEX",
        env = "PENSTOCK_KEYS",
        default_value = "",
        hide_default_value = true
    )]
    text: String,
}

impl Known {
    fn read(&self) -> Result<Vec<VerifyingKey>, Error> {
        if self.text.is_empty() { Ok(Vec::new()) } else { Ok(keys::parse_known(&self.text)?.to_vec()) }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    Flash,
    Direct,
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
        Command::Build(what) => build(&what)?,
        Command::Sign { board, known, key, system_signature, firmware_signature, image } => {
            let (board, known) = (Board::read(&board)?, known.read()?);
            let key = key.as_deref().map(Key::read).transpose()?;
            let signer = match (&key, &system_signature) {
                (Some(key), _) => Signer::Key(key),
                (None, Some(system)) => Signer::Elsewhere { system, firmware: firmware_signature.as_deref() },
                (None, None) => return Err(Error::Key("there is neither a key nor a signature".into())),
            };
            bundle::sign(&image, &board, signer, &known)?;
        }
        Command::Public { keys } => {
            let public: Vec<_> =
                keys.iter().map(|path| Ok(Key::read(path)?.public())).collect::<Result<_, Error>>()?;
            print(&keys::known_text(&public));
        }
        Command::DevelopmentKeys { folder } => {
            let (_, known) = keys::for_development(&folder)?;
            print(&keys::known_text(&known));
        }
        Command::Inspect { board, known, file } => {
            let (board, known) = (Board::read(&board)?, known.read()?);
            look(&file, &board, &known)?.iter().for_each(|line| tell(line));
        }
        Command::Run { board, image, state, port, boot } => {
            let boot = match boot {
                Some(How::Flash) => Boot::Flash,
                Some(How::Direct) => Boot::Direct,
                None => Boot::of(&image),
            };
            return start(&board, image, state, port, boot);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn build(what: &Build) -> Result<(), Error> {
    let key = what.key.as_deref().map(Key::read).transpose()?;
    let known = what.known.read()?;
    let parts = Parts {
        board: &what.board,
        kernel: &what.kernel,
        penstock: &what.penstock,
        firmware: what.firmware.as_ref().map(|it| Programs {
            stage0: &it.stage0,
            firmware: &it.firmware,
            messages: &it.firmware_messages,
            target: &it.firmware_target,
        }),
        compiled: Compiled {
            messages: &what.messages,
            metadata: &what.metadata,
            lock: &what.lock,
            target: &what.target,
            rust: &what.rust,
            libc: &what.libc,
        },
        settings: what.settings.as_deref(),
        key: key.as_ref(),
        known: &known,
    };
    bundle::build(&parts, &what.into)
}

fn look(file: &Path, board: &Board, known: &[VerifyingKey]) -> Result<Vec<String>, Error> {
    let bytes =
        fs::read(file).map_err(|source| Error::File { action: "read", path: file.to_owned(), source })?;
    let is_chip = board.flash.first().is_some_and(|flash| flash.size_bytes == bytes.len() as u64);
    if is_chip { Ok(inspect::chip(&bytes, board, known)) } else { Ok(inspect::bundle(&bytes, board, known)?) }
}

fn start(board: &Path, image: PathBuf, state: PathBuf, port: u16, boot: Boot) -> Result<ExitCode, Error> {
    let machine = Machine {
        board: Board::read(board)?,
        image,
        state,
        boot,
        smtp_port: port,
        serial: Serial::Terminal,
        monitor: None,
        kernel_words: String::new(),
        chip_time: None,
        disk_server: None,
    };
    machine.prepare()?;
    let system_mib = machine.system_bytes()?.iter().sum::<u64>() as f64 / f64::from(1 << 20);
    let ended = machine.run(|after| {
        tell(&format!(
            "\r\n==> first 220 on 127.0.0.1:{port} {:.2} s after the start of QEMU; kernel and initramfs have {system_mib:.1} MiB\r",
            after.as_secs_f64()
        ));
    })?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(line: &str) {
    // Where nobody reads it nobody can be told.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Command::command().debug_assert();
    }

    #[test]
    fn a_firmware_comes_with_all_that_belongs_to_it_or_not_at_all() {
        let common = "penstock-image build --board b --kernel k --penstock p --messages m --metadata m --lock l \
                      --target t --rust r --libc l";
        let parse = |more: &str| {
            let line = format!("{common} {more} out");
            Command::try_parse_from(line.split_whitespace())
        };
        let Ok(Command::Build(without)) = parse("") else { panic!("{:?}", parse("")) };
        assert!(without.firmware.is_none());
        let all = "--stage0 s --firmware f --firmware-messages m --firmware-target t";
        let Ok(Command::Build(with)) = parse(all) else { panic!("{:?}", parse(all)) };
        assert!(with.firmware.is_some());
        assert!(parse("--stage0 s").is_err());
    }
}
