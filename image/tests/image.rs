//! An image from its parts: what is in the folder, and that signing can be somebody else's, elsewhere and later.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, SigningKey};
use penstock_image::Error;
use penstock_image::board::Board;
use penstock_image::bundle::{
    Compiled, FIRMWARE_MANIFEST, Parts, Programs, SUMS, SYSTEM_BUNDLE, SYSTEM_FLASH, SYSTEM_MANIFEST, Signer,
    build, sign,
};
use penstock_image::keys::{ACTIVE, Key, for_development};
use penstock_slots::{Kept, MANIFEST_BYTES, Rejected, SIGNED_BYTES, VerifyingKey, verify};
use serde_json::json;
use tempfile::TempDir;

/// The parts of an image in a folder, and the images made of them.
struct Workshop {
    folder: TempDir,
    known: [VerifyingKey; 2],
}

impl Workshop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (_, known) = for_development(folder.path()).unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        put("kernel.gz", b"a kernel");
        put("version", b"6.1.1-1\n");
        put("config", b"CONFIG_X=y\n");
        put("penstock", b"a program");
        put("stage0", &program(0x4600_0000, b"stage 0"));
        put("firmware", &program(0x4640_0000, b"firmware"));
        let artifact = |id: &str, file: &str| {
            let target = json!({ "kind": ["bin"] });
            json!({ "reason": "compiler-artifact", "package_id": id, "target": target, "filenames": [file] })
        };
        put("messages", artifact("p", "/out/box/release/penstock").to_string().as_bytes());
        put("bare-messages", artifact("f", "/out/bare/release/firmware").to_string().as_bytes());
        let package = |id: &str, name: &str| json!({ "id": id, "name": name, "version": env!("CARGO_PKG_VERSION"), "license": "MIT", "source": null });
        let node = |id: &str| json!({ "id": id, "deps": [] });
        let metadata = json!({
            "packages": [package("p", "penstock"), package("f", "penstock-firmware")],
            "resolve": { "nodes": [node("p"), node("f")] },
        });
        put("metadata", metadata.to_string().as_bytes());
        put("lock", b"package = []\n");
        Self { folder, known }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self) -> Key {
        Key::read(&self.path(ACTIVE)).unwrap()
    }

    fn build(&self, key: Option<&Key>, into: &str) -> Result<(), Error> {
        let [kernel, penstock, stage0, firmware, messages, bare_messages, metadata, lock] =
            ["kernel.gz", "penstock", "stage0", "firmware", "messages", "bare-messages", "metadata", "lock"]
                .map(|name| self.path(name));
        let firmware =
            Programs { stage0: &stage0, firmware: &firmware, messages: &bare_messages, target: "bare" };
        let compiled = Compiled {
            messages: &messages,
            metadata: &metadata,
            lock: &lock,
            target: "box",
            rust: "1",
            libc: "1",
        };
        let parts = Parts {
            board: &board_folder(),
            kernel: &kernel,
            penstock: &penstock,
            firmware: Some(firmware),
            compiled,
            settings: None,
            key,
            known: &self.known,
        };
        build(&parts, &self.path(into))
    }

    /// What the files of an image hold, but for the disk, which is a hole.
    fn files(&self, image: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.path(image)).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_name() != "disk.img");
        files
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect()
    }

    /// What a box makes of the system slot in the flash of an image.
    fn verdict(&self, image: &str) -> Result<(), Rejected> {
        let board = board();
        let flash = fs::read(self.path(image).join(SYSTEM_FLASH)).unwrap();
        let slot = &flash[board.partition("system-a").unwrap().1.offset as usize..];
        verify(slot, &self.known, Kept::System, &board.name, 1).map(|_| ())
    }
}

fn board_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../board/qemu-virt")
}

fn board() -> Board {
    Board::read(&board_folder()).unwrap()
}

/// An ELF file with one segment.
fn program(base: u64, code: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    for (at, field) in [(16, 2_u16), (18, 183), (52, 64), (54, 56), (56, 1), (58, 64)] {
        put(at, &field.to_le_bytes());
    }
    put(20, &1_u32.to_le_bytes());
    put(24, &base.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(64, &1_u32.to_le_bytes());
    for (at, field) in [(72, 120), (80, base), (88, base), (96, code.len() as u64), (104, code.len() as u64)]
    {
        put(at, &u64::to_le_bytes(field));
    }
    file.extend_from_slice(code);
    file
}

#[test]
fn the_same_parts_and_the_same_key_give_the_same_bytes() {
    let workshop = Workshop::new();
    workshop.build(Some(&workshop.key()), "one").unwrap();
    workshop.build(Some(&workshop.key()), "two").unwrap();
    let files = workshop.files("one");
    assert_eq!(files, workshop.files("two"));
    assert_eq!(workshop.verdict("one"), Ok(()));
    let sums = String::from_utf8(files[SUMS].clone()).unwrap();
    for name in files.keys().filter(|name| *name != SUMS) {
        assert!(sums.contains(&format!("  {name}\n")), "{name} has no checksum");
    }
    assert_eq!(files["stage0.bin"], b"stage 0");
}

#[test]
fn who_has_the_key_can_sign_elsewhere_and_the_result_is_the_same() {
    let workshop = Workshop::new();
    workshop.build(Some(&workshop.key()), "here").unwrap();
    workshop.build(None, "elsewhere").unwrap();
    assert_eq!(workshop.verdict("elsewhere"), Err(Rejected::Signature));

    let pem = fs::read_to_string(workshop.path(ACTIVE)).unwrap();
    let key = SigningKey::from_pkcs8_pem(&pem).unwrap();
    let image = workshop.path("elsewhere");
    let signature = |manifest: &str| {
        let path = workshop.path(&format!("{manifest}.signature"));
        fs::write(&path, key.sign(&fs::read(image.join(manifest)).unwrap()).to_bytes()).unwrap();
        path
    };
    let (system, firmware) = (signature(SYSTEM_MANIFEST), signature(FIRMWARE_MANIFEST));
    let signer = Signer::Elsewhere { system: &system, firmware: Some(&firmware) };
    sign(&image, &board(), signer, &workshop.known).unwrap();
    assert_eq!(workshop.files("elsewhere"), workshop.files("here"));
}

#[test]
fn what_no_box_would_start_is_not_put_into_an_image() {
    let workshop = Workshop::new();
    let stranger = SigningKey::from_bytes(&[3; 32]).to_pkcs8_pem(LineEnding::LF).unwrap();
    fs::write(workshop.path("stranger.pem"), stranger.as_bytes()).unwrap();
    let stranger = Key::read(&workshop.path("stranger.pem")).unwrap();
    let error = workshop.build(Some(&stranger), "image").unwrap_err();
    assert!(matches!(error, Error::Rejected(Rejected::Signature)), "{error}");

    workshop.build(Some(&workshop.key()), "image").unwrap();
    let before = workshop.files("image");
    // The signature of one bundle is none of the other.
    let image = workshop.path("image");
    let of_system = workshop.path("signature");
    fs::write(&of_system, &before[SYSTEM_BUNDLE][SIGNED_BYTES..MANIFEST_BYTES]).unwrap();
    for (signer, code) in [
        (Signer::Key(&stranger), "PS-B011"),
        (Signer::Elsewhere { system: &of_system, firmware: Some(&of_system) }, "PS-B011"),
        (Signer::Elsewhere { system: &of_system, firmware: None }, "PS-A008"),
        (Signer::Elsewhere { system: &image.join(SYSTEM_MANIFEST), firmware: None }, "PS-A008"),
    ] {
        assert_eq!(sign(&image, &board(), signer, &workshop.known).unwrap_err().code(), code);
        assert_eq!(workshop.files("image"), before, "nothing was changed");
    }
}

#[test]
fn a_firmware_that_belongs_elsewhere_or_is_too_large_is_refused() {
    let workshop = Workshop::new();
    fs::write(workshop.path("firmware"), program(0x4000_0000, b"firmware")).unwrap();
    let error = workshop.build(None, "image").unwrap_err().to_string();
    assert!(error.contains("PS-A007") && error.contains("0x46400000"), "{error}");
    // Nothing that could be compressed: it is what stands in flash that has a limit.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    let noise: Vec<u8> = noise.take(512 * 1024 + 1).collect();
    fs::write(workshop.path("firmware"), program(0x4640_0000, &noise)).unwrap();
    let error = workshop.build(None, "image").unwrap_err().to_string();
    assert!(error.contains("PS-A004") && error.contains("the firmware has"), "{error}");
    fs::write(workshop.path("firmware"), program(0x4640_0000, &vec![1; 512 * 1024 + 1])).unwrap();
    workshop.build(None, "image").unwrap();
}
