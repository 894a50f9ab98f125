//! The keys that sign bundles, and those that a box knows.
//!
//! A private key is a file as OpenSSL writes it: `openssl genpkey -algorithm ed25519` (PKCS #8, PEM). For development a pair
//! is made at its first use, in a folder outside the clone: one that signs, and the one that would after it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use penstock_slots::{KEYS, parse_keys};

use crate::Error;
use crate::slot::Bundle;

/// The key for development that signs.
pub const ACTIVE: &str = "active.pem";
/// The key for development that would sign after it.
pub const NEXT: &str = "next.pem";

/// A key that signs.
#[derive(Debug)]
pub struct Key(SigningKey);

impl Key {
    /// Reads one.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Key`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let pem = fs::read_to_string(path).map_err(Error::file("read", path))?;
        let key = SigningKey::from_pkcs8_pem(&pem).map_err(|error| {
            Error::Key(format!("{} is no Ed25519 key in PKCS #8 and PEM: {error}", path.display()))
        })?;
        Ok(Self(key))
    }

    /// Reads one, or makes it if it is not there, readable for its owner alone.
    fn read_or_make(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            let mut seed = [0; 32];
            let random = Path::new("/dev/urandom");
            let mut source = File::open(random).map_err(Error::file("open", random))?;
            source.read_exact(&mut seed).map_err(Error::file("read", random))?;
            let pem = SigningKey::from_bytes(&seed)
                .to_pkcs8_pem(LineEnding::LF)
                .map_err(|error| Error::Key(format!("a key cannot be written down: {error}")))?;
            write_once(path, pem.as_bytes()).map_err(Error::file("write", path))?;
        }
        Self::read(path)
    }

    /// Its public half.
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// Signs a bundle.
    pub fn sign(&self, bundle: &mut Bundle) {
        let signature = self.0.sign(&bundle.to_sign());
        bundle.put_signature(&signature.to_bytes());
    }
}

/// Writes a file unless somebody else was faster. Whoever looks sees all of it or nothing.
fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let _ = fs::remove_file(&draft);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        written => written,
    }
}

/// The pair for development, made if it is not there: the key that signs, and the public halves of both.
///
/// # Errors
/// [`Error::File`], [`Error::Key`].
pub fn for_development(folder: &Path) -> Result<(Key, [VerifyingKey; KEYS]), Error> {
    fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    let active = Key::read_or_make(&folder.join(ACTIVE))?;
    let known = [active.public(), Key::read_or_make(&folder.join(NEXT))?.public()];
    Ok((active, known))
}

/// Reads public keys as they are compiled in.
///
/// # Errors
/// [`Error::Key`].
pub fn parse_known(text: &str) -> Result<[VerifyingKey; KEYS], Error> {
    parse_keys(text).ok_or_else(|| {
        Error::Key(format!(
            "'{text}' is not {KEYS} public Ed25519 keys of 64 hexadecimal digits each, commas between"
        ))
    })
}

/// Writes public keys so that [`parse_known`] reads them.
pub fn known_text(keys: &[VerifyingKey]) -> String {
    let text =
        |key: &VerifyingKey| key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    keys.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (key, known) = for_development(folder.path()).unwrap();
        assert_eq!(key.public(), known[0]);
        assert_ne!(known[0], known[1]);
        let (_, again) = for_development(folder.path()).unwrap();
        assert_eq!(again, known);
        for name in [ACTIVE, NEXT] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no draft is left");
    }

    #[test]
    fn public_keys_are_written_as_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (_, known) = for_development(folder.path()).unwrap();
        assert_eq!(parse_known(&known_text(&known)).unwrap(), known);
        assert!(matches!(parse_known(&known_text(&known[..1])), Err(Error::Key(_))), "one is not enough");
    }

    #[test]
    fn a_key_of_openssl_is_read() {
        // The private key of RFC 8410, section 10.3.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        fs::write(&path, pem).unwrap();
        let public = known_text(&[Key::read(&path).unwrap().public()]);
        assert_eq!(public, "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
        fs::write(&path, "no key").unwrap();
        assert!(matches!(Key::read(&path), Err(Error::Key(_))));
    }
}
