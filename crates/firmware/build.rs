//! Makes Rust and linker scripts of `board.toml`, so that no address stands in two places. `PENSTOCK_BOARD` is the folder
//! of the board below `board/`, `qemu-virt` if unset.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;

#[derive(Deserialize)]
struct Board {
    name: String,
    revision: u32,
    memory: Memory,
    security: Security,
    flash: Vec<Flash>,
}

#[derive(Deserialize)]
struct Memory {
    ram_base: u64,
    stage0_base: u64,
    firmware_base: u64,
    reserved_base: u64,
    reserved_bytes: u64,
}

#[derive(Deserialize)]
struct Security {
    system_floor: u32,
    firmware_floor: u32,
}

#[derive(Deserialize)]
struct Flash {
    base: u64,
    size_bytes: u64,
    erase_bytes: u64,
    partition: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    name: String,
    offset: u64,
    size_bytes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let name = env::var("PENSTOCK_BOARD").unwrap_or_else(|_| "qemu-virt".into());
    let path = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../board").join(name).join("board.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let board: Board = toml::from_str(&text)?;

    fs::write(out.join("board.rs"), rust(&board)?)?;
    let Memory { stage0_base, firmware_base, reserved_base, .. } = board.memory;
    let stage0_bytes = board.flash.iter().flat_map(|flash| &flash.partition);
    let stage0_bytes = stage0_bytes.filter(|partition| partition.name == "stage0").map(|it| it.size_bytes);
    let stage0_bytes = stage0_bytes.min().ok_or("the board has no partition stage0")?;
    let script = |base: u64, end: u64, image_max: u64, part_align: u64| {
        format!(
            "MEMORY {{ image : ORIGIN = {base:#x}, LENGTH = {:#x} }}\nIMAGE_BYTES_MAX = {image_max:#x};\n\
             PART_ALIGN = {part_align:#x};\nINCLUDE sections.ld\n",
            end.saturating_sub(base)
        )
    };
    let stage0 = script(stage0_base, firmware_base, stage0_bytes.min(128 << 10), 16);
    fs::write(out.join("stage0.ld"), stage0)?;
    fs::write(out.join("firmware.ld"), script(firmware_base, reserved_base, 1 << 20, 4096))?;
    fs::copy("sections.ld", out.join("sections.ld"))?;

    let mut told = format!("cargo::rerun-if-changed={}\n", path.display());
    told.push_str("cargo::rerun-if-changed=build.rs\ncargo::rerun-if-changed=sections.ld\n");
    told.push_str("cargo::rerun-if-env-changed=PENSTOCK_BOARD\n");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        writeln!(told, "cargo::rustc-link-search={}", out.display())?;
        // What is the same is there once.
        writeln!(told, "cargo::rustc-link-arg-bins=--icf=all")?;
        for bin in ["stage0", "firmware"] {
            writeln!(told, "cargo::rustc-link-arg-bin={bin}=-T{bin}.ld")?;
        }
    }
    tell(&told);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "cargo listens there")]
fn tell(lines: &str) {
    print!("{lines}");
}

fn rust(board: &Board) -> Result<String, Box<dyn Error>> {
    let Board { name, revision, memory, security, flash } = board;
    let Memory { ram_base, stage0_base, firmware_base, reserved_base, reserved_bytes } = memory;
    let Security { system_floor, firmware_floor } = security;
    let erase_bytes = flash.first().ok_or("the board has no flash")?.erase_bytes;
    if flash.iter().any(|flash| flash.erase_bytes != erase_bytes) {
        return Err("all chips of the board have the same erase_bytes, as the driver has them".into());
    }
    let mut text = String::new();
    writeln!(text, "/// What is erased at once, in bytes.")?;
    writeln!(text, "pub const ERASE_BYTES: usize = {erase_bytes};")?;
    writeln!(text, "/// The board that this was built for.")?;
    writeln!(text, "pub const BOARD: Board = Board {{ name: {name:?}, revision: {revision},")?;
    writeln!(text, "memory: Memory {{ ram_base: {ram_base}, stage0_base: {stage0_base},")?;
    writeln!(text, "firmware_base: {firmware_base}, reserved_base: {reserved_base},")?;
    writeln!(text, "reserved_bytes: {reserved_bytes} }}, system_floor: {system_floor},")?;
    writeln!(text, "firmware_floor: {firmware_floor}, banks: &[")?;
    for Flash { base, size_bytes, partition, .. } in flash {
        writeln!(text, "Bank {{ base: {base}, size_bytes: {size_bytes}, partitions: &[")?;
        for Partition { name, offset, size_bytes } in partition {
            writeln!(text, "Partition {{ name: {name:?}, offset: {offset}, size_bytes: {size_bytes} }},")?;
        }
        writeln!(text, "] }},")?;
    }
    writeln!(text, "] }};")?;
    Ok(text)
}
