//! A certificate that nobody vouches for, such as most mail servers have inside a site.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::process::run;
use crate::scratch::Scratch;

/// A self-signed certificate and its key, as PEM files that every user of this machine can read.
pub struct Certificate {
    scratch: Scratch,
}

impl Certificate {
    /// Makes one for this name.
    pub fn self_signed(name: &str) -> Self {
        let scratch = Scratch::new("certificate");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "30", "-subj", &format!("/CN={name}")]);
        openssl.args(["-addext", &format!("subjectAltName=DNS:{name}")]);
        run(openssl.arg("-keyout").arg(scratch.join("key.pem")).arg("-out").arg(scratch.join("chain.pem")));
        let certificate = Self { scratch };
        // Postfix wants both in one file, the key first.
        let [key, chain] = [certificate.key(), certificate.chain()].map(|path| fs::read(path).unwrap());
        fs::write(certificate.both(), [key, chain].concat()).unwrap();
        for path in [certificate.key(), certificate.chain(), certificate.both()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        certificate
    }

    /// The certificate.
    pub fn chain(&self) -> PathBuf {
        self.scratch.join("chain.pem")
    }

    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.scratch.join("key.pem")
    }

    /// The key, and the certificate behind it.
    pub fn both(&self) -> PathBuf {
        self.scratch.join("both.pem")
    }

    /// Copies both into a folder so that only their owner can read them: certificate, key.
    pub fn copy_private(&self, folder: &Scratch) -> (PathBuf, PathBuf) {
        let copies = (folder.join("chain.pem"), folder.join("key.pem"));
        for (from, to) in [(self.chain(), &copies.0), (self.key(), &copies.1)] {
            fs::copy(from, to).unwrap();
            fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
        }
        copies
    }
}
