//! What the control interface says of TLS.

use serde::{Deserialize, Serialize};

/// The largest file with a certificate or a key, in bytes.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// How TLS stands on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsView {
    /// What time the box believes it is.
    pub now_unix_ms: u64,
    /// Whether it believes its clock.
    pub clock_trusted: bool,
    /// Whether clients are offered STARTTLS.
    pub offered: bool,
    /// What they are shown.
    pub certificate: Option<CertificateView>,
    /// Where that comes from: `file`, `installed` or `self_signed`.
    pub origin: Option<String>,
    /// What is wrong with the file that the settings name.
    pub trouble: Option<String>,
    /// The next hops in the order of the settings.
    pub hops: Vec<HopTlsView>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// The host names for which it is, eight at most.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// Whether that was its own key.
    pub self_signed: bool,
    /// From when it holds.
    pub not_before_unix_ms: i64,
    /// Until when.
    pub not_after_unix_ms: i64,
    /// SHA-256 of all of it, in hexadecimal.
    pub certificate_sha256: String,
    /// SHA-256 of its public key: the same after a renewal with the same key.
    pub key_sha256: String,
}

/// How TLS with a next hop stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopTlsView {
    /// What the operator calls it.
    pub hop: String,
    /// What the settings ask for: `opportunistic`, `required`, `pinned` or `never`.
    pub wants: String,
    /// What it showed at the last handshake that counted.
    pub certificate: Option<CertificateView>,
    /// Whether a public authority vouches for that.
    pub vouched: bool,
    /// Since when it has shown it.
    pub since_unix_ms: Option<u64>,
    /// Version and ciphers then.
    pub session: Option<String>,
    /// The SHA-256 that are pinned, where something is.
    pub pins: Vec<String>,
    /// What it shows and is not pinned: `penstock tls accept` pins it.
    pub unpinned: Option<CertificateView>,
    /// Why mail for it waits, or goes in plain text.
    pub trouble: Option<String>,
}

/// The next hop whose certificate is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptRequest {
    /// What the operator calls it.
    pub hop: String,
}

/// A certificate for the box to show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRequest {
    /// The file with the certificate and those of its issuers: PEM or PFX.
    pub certificate: Vec<u8>,
    /// The file with the key, where that is not in the same.
    pub key: Option<Vec<u8>>,
    /// The password of a PFX.
    pub password: Option<String>,
}

/// Without what is secret.
impl std::fmt::Debug for InstallRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstallRequest").finish_non_exhaustive()
    }
}

/// What comparing the certificate with what the world expects of it has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// One thing after the other.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How it stands.
    pub verdict: Verdict,
    /// What was looked at, such as `certificate` or `MTA-STS example.org`.
    pub subject: String,
    /// What was found, one sentence.
    pub what: String,
    /// What to do about it; empty where there is nothing to do.
    #[serde(default)]
    pub help: String,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It could be better, and no mail is lost for it.
    Hint,
    /// It could not be looked at.
    Unknown,
    /// Somebody's mail does not come, or comes in plain text.
    Wrong,
}

impl Verdict {
    /// The verdict as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Hint => "hint",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
        }
    }
}
