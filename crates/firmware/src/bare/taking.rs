//! Taking mail: the rescue with the devices that it works on.

use alloc::boxed::Box;
use core::cell::RefCell;

use penstock_flash::nor::Nor;
use penstock_identity::Identity;
use penstock_rescue::smoltcp::time::Instant;
use penstock_rescue::smoltcp::wire::Ipv4Cidr;
use penstock_rescue::{Answer, Lease, Mode, Neighbour, Question, Rescue, Start, Status, Unasked, WallClock};
use penstock_settings::LentAddress;

use crate::bare::begin::{Begun, say_error};
use crate::bare::flash::{Banks, Chips};
use crate::bare::virtio::{Disk, DiskMedium, Net};
use crate::bare::{cpu, fail};
use crate::own;
use crate::say;

/// The least that is programmed of NOR flash, in bytes: as in userland, since a volume keeps it for good.
const NOR_UNIT_BYTES: u32 = 64;

type Running<'a> = Box<Rescue<DiskMedium<'a>, Nor<&'a RefCell<Chips>>>>;

/// What takes mail, or could.
pub(super) struct Taking<'a> {
    begun: &'a Begun,
    banks: &'a Banks,
    disk: Option<&'a RefCell<Disk>>,
    net: Option<Net>,
    identity: Option<Identity>,
    settings: Option<own::Kept>,
    reason: &'static str,
    rescue: Option<Running<'a>>,
}

/// Now, as smoltcp counts.
pub(super) fn now() -> Instant {
    Instant::from_micros(i64::try_from(cpu::now_us()).unwrap_or(i64::MAX))
}

/// An address that was lent, as the rescue takes it.
const fn lease(lent: LentAddress) -> Lease {
    // The settings keep none with more bits than there are.
    Lease { address: Ipv4Cidr::new(lent.address, lent.prefix_bits), router: lent.router }
}

impl<'a> Taking<'a> {
    /// Finds the devices. `reason` is why no system runs, for the ledger.
    pub(super) fn open(
        begun: &'a Begun,
        banks: &'a Banks,
        disk: Option<&'a RefCell<Disk>>,
        identity: Option<Identity>,
        reason: &'static str,
    ) -> Self {
        match disk.map(|disk| disk.borrow().size_bytes() >> 20) {
            Some(mib) => say!("rescue: disk of {mib} MiB"),
            None => say!("rescue: this machine has no disk"),
        }
        let net = Net::open(&begun.machine.virtio);
        if net.is_none() {
            say!("rescue: this machine has no network interface");
        }
        let settings = banks.part("settings").ok().and_then(|part| own::settings(&part));
        Self { begun, banks, disk, net, identity, settings, reason, rescue: None }
    }

    /// Mounts the volumes and opens the door.
    pub(super) fn start(&mut self) {
        self.close();
        let Some(net) = &mut self.net else { return };
        let (began, now_s) = (cpu::ticks(), self.begun.now_s());
        let nor = self.banks.part("mail").and_then(|part| {
            let medium = Nor::new(part.bank(), part.range().clone(), NOR_UNIT_BYTES);
            medium.map_err(|_| crate::Error::NoPartition("mail"))
        });
        let nor = nor.inspect_err(|error| say_error("mail", error)).ok();
        // A seed that nobody has seen: the numbers of TCP begin with it.
        let given = self.begun.machine.seed;
        let seed =
            self.banks.part("seed").ok().map(|part| own::seed(&part, given, now_s.saturating_mul(1000)));
        let seed = seed.map_or_else(cpu::ticks, |seed| {
            seed.bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ cpu::ticks()
        });
        let mac = self.identity.as_ref().map_or_else(|| net.mac(), |identity| identity.mac);
        let disk = self.disk.and_then(|disk| match DiskMedium::new(disk) {
            Ok(medium) => medium,
            Err(error) => {
                say!("rescue: the disk fails: {error}");
                None
            }
        });
        let start = Start {
            settings: self.settings.as_ref().map(|settings| settings.text.as_str()),
            mac,
            disk,
            nor,
            seed,
            // Nobody below Linux can tell whether the chip is right.
            clock: WallClock { unix_ms: now_s.saturating_mul(1000), is_trusted: false },
            reason: self.reason,
            lease: self.settings.as_ref().and_then(|settings| settings.lent).map(lease),
        };
        let rescue = Rescue::new(start, net, now());
        let status = rescue.status();
        match status.mode {
            Mode::Refusing(trouble) => say!("rescue: takes no mail: {trouble}"),
            _ => say!("rescue: takes mail as {}", status.host_name),
        }
        for address in status.addresses {
            say!("rescue: address {address}");
        }
        say!("rescue: disk {}; nor {}", status.disk, status.nor);
        say!("rescue: started in {} ms, {} ms", cpu::ms_since(began), fail::since_reset_ms());
        self.rescue = Some(Box::new(rescue));
    }

    /// Lets nobody in any more.
    pub(super) fn stop(&mut self) {
        if let Some(rescue) = &mut self.rescue {
            rescue.stop(now());
        }
    }

    /// Whether sessions may be under way.
    pub(super) fn is_running(&self) -> bool {
        self.rescue.as_ref().is_some_and(|rescue| !rescue.is_stopped())
    }

    /// Closes the volumes, so that the next mount finds a clean stop.
    pub(super) fn close(&mut self) {
        if let Some(rescue) = self.rescue.take() {
            rescue.close();
        }
    }

    /// Does what is due.
    pub(super) fn poll(&mut self) {
        if let (Some(rescue), Some(net)) = (&mut self.rescue, &mut self.net) {
            rescue.poll(net, now());
        }
    }

    /// How it stands, if it was started.
    pub(super) fn status(&self) -> Option<Status<'_>> {
        self.rescue.as_ref().map(|rescue| rescue.status())
    }

    /// Asks the network something.
    pub(super) fn ask(&mut self, question: Question) -> Result<(), Unasked> {
        self.rescue.as_mut().ok_or(Unasked::NoNetwork)?.ask(question, now())
    }

    /// How what was asked last stands.
    pub(super) fn answer(&mut self) -> Answer<'_> {
        self.rescue.as_mut().map_or(Answer::Silent, |rescue| rescue.answer(now()))
    }

    /// Who of the local network has said its address.
    pub(super) fn neighbours(&self) -> &[Neighbour] {
        self.rescue.as_ref().map_or(&[], |rescue| rescue.neighbours())
    }

    /// The text of the settings.
    pub(super) fn settings(&self) -> Option<&str> {
        self.settings.as_ref().map(|settings| settings.text.as_str())
    }
}
