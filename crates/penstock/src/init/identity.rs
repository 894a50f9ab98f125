//! What makes this box this one: read from flash, or made at its first start; and told to everything that runs here.

use std::fs;
use std::path::Path;

use penstock_flash_linux::{Mtd, MtdError};
use penstock_identity::{Found, Identity, NameError, Serial, find_identity, local_mac};

use super::log::say;
use super::{Error, entropy};

/// The partition.
const PARTITION: &str = "identity";
/// Where everybody on the box reads it: TOML, the device key left out.
pub(crate) const FILE: &str = "/run/identity";
/// In which words of the kernel's command line the image says what board this is.
const BOARD_WORD: &str = "penstock.board=";
const REVISION_WORD: &str = "penstock.revision=";

/// Reads the identity, or makes it if there never was one. Random numbers must have been seeded before.
pub(super) fn know(interface: Option<&str>) -> Result<Identity, Error> {
    let flash = Mtd::find(PARTITION).and_then(|device| Mtd::open(&device, true)).map_err(Error::Identity)?;
    let mut sector = vec![0; flash.erase_bytes() as usize];
    flash.read(0, &mut sector).map_err(Error::Identity)?;
    match find_identity(&sector) {
        Found::Identity(identity) => Ok(identity),
        Found::Damaged => Err(Error::IdentityDamaged),
        Found::Blank(places) => {
            let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
            let identity = make(&line, interface.and_then(permanent_mac))?;
            write(&flash, &identity, places)?;
            say(&format!("this is the first start: the box is {} from now on", identity.serial));
            Ok(identity)
        }
    }
}

/// Makes an identity for a board, with the address of its interface if that has one for good.
fn make(kernel_line: &str, mac: Option<[u8; 6]>) -> Result<Identity, Error> {
    let word = |name: &str| kernel_line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let serial = Serial::from_random(entropy::random()?);
    Ok(Identity {
        serial,
        mac: mac.unwrap_or_else(|| local_mac(serial)),
        board: word(BOARD_WORD).unwrap_or_default().to_owned(),
        revision: word(REVISION_WORD).and_then(|word| word.parse().ok()).unwrap_or(0),
        key: entropy::random()?,
    })
}

fn write(flash: &Mtd, identity: &Identity, places: [usize; 2]) -> Result<(), Error> {
    let bytes = identity.to_bytes().map_err(|NameError| Error::NoBoard)?;
    let put = || -> Result<(), MtdError> {
        places.iter().try_for_each(|place| flash.program(*place as u64, &bytes))
    };
    put().map_err(Error::Identity)
}

/// The address that an interface came with, unless the kernel made it up.
fn permanent_mac(interface: &str) -> Option<[u8; 6]> {
    let read = |name: &str| fs::read_to_string(Path::new("/sys/class/net").join(interface).join(name)).ok();
    // NET_ADDR_PERM
    (read("addr_assign_type")?.trim() == "0").then(|| parse_mac(read("address")?.trim()))?
}

/// Six bytes with colons between them.
pub(super) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let is_byte = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = parts.next().filter(is_byte).and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    parts.next().is_none().then_some(mac)
}

/// The same as text.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The name of a box that has not been given one.
pub(super) fn default_hostname(identity: Option<&Identity>) -> String {
    match identity {
        Some(identity) => identity.serial.as_str().to_ascii_lowercase().replacen("ps-", "penstock-", 1),
        None => "penstock".into(),
    }
}

/// Writes the file that everybody reads. What is not known is an empty text.
pub(super) fn publish(identity: Option<&Identity>, hostname: &str) -> Result<(), Error> {
    let text = text(identity, hostname);
    super::publish(FILE, &text)
}

fn text(identity: Option<&Identity>, hostname: &str) -> String {
    let (serial, mac, board) = match identity {
        Some(it) => {
            (it.serial.to_string(), mac_text(it.mac), format!("{} revision {}", it.board, it.revision))
        }
        None => Default::default(),
    };
    format!("serial = \"{serial}\"\nmac = \"{mac}\"\nboard = \"{board}\"\nhostname = \"{hostname}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_of_chance_the_board_and_the_interface() {
        let line =
            "console=ttyAMA0 penstock.board=qemu-virt penstock.revision=3 rdinit=/bin/penstock -- init";
        let one = make(line, None).unwrap();
        assert_eq!((one.board.as_str(), one.revision, one.mac), ("qemu-virt", 3, local_mac(one.serial)));
        let other = make(line, Some([2, 4, 6, 8, 10, 12])).unwrap();
        assert_eq!(other.mac, [2, 4, 6, 8, 10, 12]);
        assert!(one.serial != other.serial && one.key != other.key);
        assert!(
            make("", None).unwrap().to_bytes().is_err(),
            "an image that does not say what board it is for"
        );
    }

    #[test]
    fn an_address_is_six_bytes() {
        let mac = parse_mac("52:54:00:12:34:fE").unwrap();
        assert_eq!(mac_text(mac), "52:54:00:12:34:fe");
        for text in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "5:54:00:12:34:56", "+2:54:00:12:34:56"] {
            assert_eq!(parse_mac(text), None, "{text:?}");
        }
    }

    #[test]
    fn everybody_reads_toml() {
        let identity = make("penstock.board=qemu-virt penstock.revision=1", Some([2; 6])).unwrap();
        let text = text(Some(&identity), "mx.example.org");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("serial = \"{}\"", identity.serial));
        assert_eq!(
            lines[1..],
            [
                "mac = \"02:02:02:02:02:02\"",
                "board = \"qemu-virt revision 1\"",
                "hostname = \"mx.example.org\""
            ]
        );
        assert!(default_hostname(Some(&identity)).starts_with("penstock-"));
    }
}
