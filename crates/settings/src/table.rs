//! The table: every setting once, with its type, default, range and reason.
//!
//! The comment above a key is what `penstock settings defaults` and `SETTINGS.md` say about it, so it speaks to the
//! operator: what it does, and why the default is what it is.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use crate::directory::{LdapUrl, Line, Sha256};
use crate::mailboxes::Mailboxes;
use crate::names::{AbsolutePath, DatabaseName, Domain, HopName, HostName, Reserve};
use crate::network::{HopAddress, InterfaceAddress, NameServer, Network, Smarthost, TimeServer};
use crate::pin::Pin;
use crate::problem::Problems;
use crate::proof::{HttpUrl, MailAddress};
use crate::read::{Document, Sink};
use crate::schema::{Group, Section, choice, default, group, required};
use crate::secret::Secret;
use crate::units::{Bytes, days, hours, mins, secs};

/// How many next hops there may be.
pub const NEXT_HOPS_MAX: usize = 16;

/// How many probe mailboxes a next hop may have.
pub const PROBE_MAILBOXES_MAX: usize = 16;

/// How many domains, or databases, a next hop may be kept for.
pub const HOP_NAMES_MAX: usize = 100;

choice! {
    /// How log lines look.
    LogFormat {
        /// For eyes.
        People = "people",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// The least important log lines that are written.
    LogLevel {
        /// What needs somebody now.
        Error = "error",
        /// What may need somebody soon.
        Warn = "warn",
        /// What happened.
        Info = "info",
        /// Why it happened.
        Debug = "debug",
        /// Every step.
        Trace = "trace",
    }
}

choice! {
    /// Whether part of the mailboxes are in Exchange Online.
    Microsoft365 {
        /// All mailboxes are on the site's own servers.
        None = "none",
        /// Exchange on the site and Exchange Online are one organisation.
        Hybrid = "hybrid",
    }
}

choice! {
    /// What is said to somebody who comes from none of the networks that are allowed.
    NotAllowed {
        /// That it may try again later (421).
        PutOff = "put-off",
        /// That it has no business here (554).
        Refuse = "refuse",
    }
}

choice! {
    /// Whether mail to a next hop goes encrypted.
    HopTls {
        /// Where the server offers it and it works; else in plain text.
        Opportunistic = "opportunistic",
        /// Always, whatever certificate the server shows; else the mail waits.
        Required = "required",
        /// Always, and to the certificate that is known; else the mail waits.
        Pinned = "pinned",
        /// Never.
        Never = "never",
    }
}

choice! {
    /// Whether senders are told that their mail was given to a server that sends no reports of delivery.
    RelayedReports {
        /// Nobody is told; the ledger says it.
        Never = "never",
        /// Those of whom SPF had found that they are who they say.
        Proven = "proven",
    }
}

choice! {
    /// Whether a box that has never been told otherwise releases mail.
    InitialMode {
        /// Mail is released as the next hop can take it.
        Auto = "auto",
        /// Mail is kept until the operator releases it.
        Hold = "hold",
    }
}

choice! {
    /// Whether a client waits for the next hop's word on its message.
    Through {
        /// It does, while the next hop is well.
        Auto = "auto",
        /// It never does.
        Off = "off",
    }
}

choice! {
    /// Whether the time that the appliance's chip keeps is believed by itself.
    ClockChip {
        /// It is not: it may have been without a battery.
        Unproven = "unproven",
        /// It is, unless it cannot be right.
        Trusted = "trusted",
    }
}

group! {
    /// The box itself.
    "system" => System {
        /// The name that the box gives in its greeting, in its Received lines and in EHLO to the next hop. There is no
        /// default: other servers see it, and one that the site's DNS knows is worth having.
        hostname: HostName = required("\"mx.example.org\""), ();
        /// The Unix socket through which `penstock status`, `hold` and the other commands talk to the daemon. Its
        /// group may use it (mode 0660). Linux allows 107 characters.
        control_socket: AbsolutePath = default(AbsolutePath::known("/run/penstock/control.sock")), 107;
        /// What log lines look like. Journals and terminals are read by people; a log collector wants JSON.
        log_format: LogFormat = default(LogFormat::People), ();
        /// The least important log lines that are written. Below `info` every message leaves several lines.
        log_level: LogLevel = default(LogLevel::Info), ();
        /// Whether the appliance believes its clock chip when no time server has confirmed it. While time is not
        /// trusted nothing expires, nothing is given up for its age and no hold ends by itself; mail is taken and
        /// released all the same. `trusted` is for a site without time servers and a chip with a good battery, and holds
        /// only while the chip is not before the last time that was known to be right and not a year beyond it.
        clock_chip: ClockChip = default(ClockChip::Unproven), ();
    }
}

group! {
    /// What the appliance is on its network. On any other host that is the host's affair, and this section does nothing.
    "network" => BoxNetwork {
        /// Its own addresses. They are static, since DHCP often lives on the very server that is down. Without one the
        /// box can be reached at its serial console only.
        addresses: Vec<InterfaceAddress> = default(Vec::new()), (0..=8, ());
        /// The routers to everywhere else, one of each address family.
        gateways: Vec<IpAddr> = default(Vec::new()), (0..=2, ());
        /// The servers that resolve names. Without one only addresses are understood, which is all that a box needs whose
        /// next hop is given by address.
        dns_servers: Vec<IpAddr> = default(Vec::new()), (0..=3, ());
        /// Whether IPv4 address, router and name servers come from a DHCP server, instead of from the lines above. Mind
        /// that it often lives on the very server that this box stands in for: a box that is switched on while that is
        /// down has no address and takes no mail. A lease that runs out while nobody answers is kept.
        dhcp: bool = default(false), ();
        /// Whether IPv6 addresses and routers are taken from the announcements of routers. There is then one address
        /// for good (from the MAC), none that changes. Off, since whoever announces becomes the router.
        router_advertisements: bool = default(false), ();
        /// The servers that tell the time (NTP). More than half of them must agree, so three stand the loss of one.
        /// Without any the clock is trusted only as `system.clock_chip` says.
        time_servers: Vec<TimeServer> = default(Vec::new()), (0..=4, ());
    }
}

group! {
    /// How the appliance takes another system or firmware (`penstock update`). On any other host this section does nothing.
    "update" => Update {
        /// How long all must have been well with what an update has put in before it is marked good: the service without a
        /// break, the network up, the volume written and read again. Until then the box goes back to what it had before if
        /// it is started three more times or the service fails, so that a shorter time trusts sooner what a longer one would
        /// have seen fail.
        good_after: Duration = default(mins(10)), mins(1)..=hours(24);
    }
}

group! {
    /// How names are looked up: what a client's address is called, and what domains say about mail that comes from them. Mail
    /// is taken and released without a single answer; next hops that are given by name are looked up by the system.
    "dns" => Dns {
        /// The servers to ask. Without one it is those of `network.dns_servers` on the appliance, and on any other host those
        /// in `/etc/resolv.conf`. One that finds names in the whole Internet is needed to check mail by SPF, DKIM and DMARC.
        servers: Vec<NameServer> = default(Vec::new()), (0..=3, ());
    }
}

group! {
    /// Where mail is kept.
    "volume" => Volume {
        /// A file, which is created if it does not exist, or a block device. A path below `/dev/` is a device.
        path: AbsolutePath = default(AbsolutePath::known("/var/lib/penstock/volume")), 4095;
        /// The size of a new volume file, which is written out in full so that space cannot run out underneath it. An
        /// existing file keeps its size, and a device is used whole.
        size: Bytes = default(Bytes::gib(4)), Bytes::mib(64)..=Bytes::gib(32 * 1024);
        /// The size of a segment of a new volume, a power of two. Space is taken and freed in segments: smaller ones
        /// are freed sooner, larger ones make a start after a power cut read less.
        segment_size: Bytes = default(Bytes::mib(16)), Bytes::kib(64)..=Bytes::mib(256);
        /// A second place for mail: it takes the messages up to 4 MiB while the volume above fails, is missing or does not
        /// answer for 10 s, and what it took is released like the rest. Larger ones are answered with 452 meanwhile.
        /// `mtd:` and a name is a partition of NOR flash, which is what a box has; a path is a device on another disk, or
        /// a file, which is made with 64 MiB. None by default: on a host what would hold it is usually the same disk.
        reserve: Reserve = default(Reserve::None), 4095;
        /// How many messages the volume may hold; beyond it mail is answered with 452. Each costs 32 bytes of memory,
        /// so that the default stays below 32 MiB.
        messages_max: u32 = default(1_000_000), 1_000..=10_000_000;
        /// How long a delivered message can still be replayed. A week covers the backup that the server is restored
        /// from. Kept mail counts as free space and goes first when space is needed.
        kept_age_max: Duration = default(days(7)), secs(0)..=days(365);
        /// How many percent of the volume delivered messages may fill; 0 keeps none.
        kept_percent_max: u32 = default(25), 0..=90;
        /// How often everything on the volume is read and checked, so that rot is found and put right before mail is to
        /// be delivered. Weekly, as storage arrays do it: bits that fade one at a time are found while each frame has one.
        scrub_interval: Duration = default(days(7)), days(1)..=days(365);
        /// How many percent of the time the checking may take, when nothing else waits for the disk; 0 checks only when
        /// `penstock volume scrub` asks for it. At 1, a disk that reads 100 MB a second is gone through at 1 MB a second.
        scrub_percent_max: u32 = default(1), 0..=100;
    }
}

group! {
    /// What the site is. Nothing in the service is different for it today; it is kept for those who look after the box, and
    /// `report` shows it.
    "site" => Site {
        /// Whether part of the site's mailboxes are in Exchange Online ("hybrid"). Mail between the two halves must not come
        /// through the box: what makes it internal is lost on a way with anything in between that processes SMTP. So the
        /// connector of Exchange Online has to reach Exchange directly, past the box. Where the site's MX points to Exchange
        /// Online, that is where outside mail comes from: put Microsoft's networks into `listen.trusted_fronts`, since the
        /// limits per source would hold all senders' mail up.
        microsoft_365: Microsoft365 = default(Microsoft365::None), ();
    }
}

group! {
    /// Mail that comes in.
    "listen" => Listen {
        /// Where to listen. `[::]:25` takes IPv6 and IPv4.
        addresses: Vec<SocketAddr> = default([SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 25)].into()), (1..=16, ());
        /// From which networks connections are taken, where something stands in front of the box through which all mail comes:
        /// the ranges of a filter in the cloud, which its maker publishes. Empty takes them from everywhere.
        /// `trusted_fronts`, and next hops that are given by address, may always come: Exchange itself hands in what
        /// reports on canaries.
        allowed: Vec<Network> = default(Vec::new()), (0..=512, ());
        /// What others are told. `put-off` says 421, so that a sender tries again, by the MX that it should have taken;
        /// and if a filter's maker adds a range that is not on the list yet, its mail is late and not returned. `refuse`
        /// says 554, after which a sender gives up at once.
        not_allowed: NotAllowed = default(NotAllowed::PutOff), ();
        /// How many sessions there may be at once. 200 is ten busy senders at their limit and some tens of KiB of memory
        /// each. When all are in use, who comes takes the place of a session that does nothing, or of a source that has
        /// many; if there is none, the answer is 421.
        connections_max: u32 = default(200), 1..=10_000;
        /// How many of them one source may hold, as Exchange has it. A sender's queue runner rarely opens more, and
        /// nobody can fill the box alone. A source is an IPv4 address or an IPv6 network of 64 bits, which is what one
        /// machine is given; for an IPv6 network of 48 bits, which is what a site is given, all limits per source hold
        /// four times over.
        connections_per_source_max: u32 = default(20), 1..=10_000;
        /// Addresses that stand in front of the box and bring everybody's mail (a spam filter, the firewall's proxy):
        /// no limit per source holds for them, they are never kept waiting, and no session of theirs has to make room.
        trusted_fronts: Vec<Network> = default(Vec::new()), (0..=64, ());
        /// Messages that one source may begin in a minute; further ones are answered with 450 and come later. 600 is the
        /// rate limit of Exchange's Edge role. So one sender who has gone mad needs a day to fill the box's index
        /// (`volume.messages_max`), not minutes. 0 is no limit.
        messages_per_minute_per_source_max: u32 = default(600), 0..=1_000_000;
        /// The same for all together. No limit by default: whoever reached it would keep everybody's mail out, and what
        /// the next hop can take is `[release]`'s to see to.
        messages_per_minute_max: u32 = default(0), 0..=1_000_000;
        /// Recipients that one source may name in a minute, good and bad, ten for each message that it may begin: who tries
        /// names does not get far. 0 is no limit.
        recipients_per_minute_per_source_max: u32 = default(6_000), 0..=10_000_000;
        /// The same for all together. No limit by default, for the same reason as with messages.
        recipients_per_minute_max: u32 = default(0), 0..=10_000_000;
        /// Mistakes (what is no SMTP, recipients refused for good) that one source may make in a minute; then its session
        /// ends, and new ones are answered with 421 until it is quiet. A list with many dead addresses stays below. 0 is no
        /// limit.
        errors_per_minute_per_source_max: u32 = default(100), 0..=1_000_000;
        /// How long the answer to a mistake is kept back, as Exchange has it for those who do not log in: guessing gets slow.
        /// 0 answers at once, as is done while sessions run short.
        tarpit_delay: Duration = default(secs(5)), secs(0)..=mins(1);
        /// Mistakes that one source has free in a minute before that begins. Everybody errs.
        tarpit_errors: u32 = default(3), 0..=1_000;
        /// Sessions that may be kept waiting so at once; with more of them the others are answered at once, so that mistakes
        /// cannot fill the box.
        tarpit_sessions_max: u32 = default(50), 0..=10_000;
        /// How long a client may take for its next command (RFC 5321 section 4.5.3.2.7 asks for 5 minutes).
        command_timeout: Duration = default(mins(5)), secs(10)..=hours(1);
        /// How long it may pause within a message (RFC 5321 section 4.5.3.2.5 asks for 3 minutes a block).
        block_timeout: Duration = default(mins(3)), secs(10)..=hours(1);
        /// Both time-outs while the sessions run short: idle ones make room for mail.
        busy_timeout: Duration = default(secs(30)), secs(5)..=mins(5);
        /// Sessions run short when more than this percentage of `connections_max` is in use.
        busy_percent: u32 = default(80), 1..=100;
        /// What a client must send in every minute of a message, lest it hold a session with a byte now and then. A
        /// modem of 1995 is thirty times faster.
        data_per_minute_min: Bytes = default(Bytes::kib(6)), Bytes(1)..=Bytes::mib(1);
        /// The same while the sessions run short, measured every 5 seconds too when somebody has to make room: a modem of
        /// 1995 is still three times faster.
        busy_data_per_minute_min: Bytes = default(Bytes::kib(60)), Bytes(1)..=Bytes::mib(16);
        /// The largest message, announced in EHLO as SIZE, unless a next hop has said that it takes less. 36 MiB is what a
        /// receive connector of Exchange announces;
        /// if the organisation's own limit (`MaxReceiveSize`, 10 MB unless raised) is lower, set that here, since what
        /// is larger is accepted now and refused when it is released.
        size_max: Bytes = default(Bytes::mib(36)), Bytes::kib(64)..=Bytes::gib(2);
        /// Recipients of one message; further ones are answered with 452 and come in another transaction. RFC 5321
        /// section 4.5.3.1.8 asks for 100 at least.
        recipients_max: u32 = default(1_000), 100..=10_000;
        /// Messages in one session; the next one ends it with 421, and its client connects again. It is announced in EHLO
        /// (RFC 9422). 0 is no limit, since a session that brings mail does no harm.
        session_messages_max: u32 = default(0), 0..=999_999;
        /// Networks from which ETRN (RFC 1985) may ask for what waits to be released now, as `penstock release` does: those of
        /// the site's own servers. It ends waits and overrides no hold. None by default: ETRN is then not offered.
        etrn_from: Vec<Network> = default(Vec::new()), (0..=64, ());
        /// Received lines a message may bring before it counts as going in circles. Exchange stops at 30 and refuses
        /// for good; the box must see the loop first.
        received_max: u32 = default(27), 5..=100;
        /// Commands that are no SMTP before the session is closed with 421, as Exchange has it.
        protocol_errors_max: u32 = default(5), 1..=100;
        /// Old devices at the site that send mail in which a CR or LF stands alone. RFC 5321 section 2.3.8 forbids it, and
        /// servers that disagree about it let a sender smuggle a second message behind the first, so from everybody else
        /// such mail is refused. From these addresses each such CR or LF becomes CR LF, which the ledger tells.
        bare_newlines_from: Vec<Network> = default(Vec::new()), (0..=64, ());
        /// Space of the volume that all messages on their way in may reserve; beyond it MAIL is answered with 452.
        reserved_max: Bytes = default(Bytes::gib(1)), Bytes::mib(1)..=Bytes::gib(1024);
        /// The share of it that one address may take, so that nobody can reserve everything and send nothing.
        reserved_per_source_max: Bytes = default(Bytes::mib(256)), Bytes::mib(1)..=Bytes::gib(1024);
        /// Memory that must be left on the machine, or in the service's control group if that has less. Below it idle
        /// sessions are ended and no more are added, before the kernel has to kill somebody; until there is half as much
        /// again. 0 does not look.
        memory_free_min: Bytes = default(Bytes::mib(16)), Bytes(0)..=Bytes::gib(1024);
    }
}

group! {
    /// Whether mail is from whom it says, by SPF, DKIM and DMARC. It is looked at when mail comes in, since the keys for it are
    /// taken out of the DNS while mail may still be held, and told by `penstock show`. Nothing is ever refused or held for it.
    "authenticity" => Authenticity {
        /// Whether it is looked at. After the message was taken, so that no sender waits; messages that come while the name
        /// servers do not answer are passed over, with the reason in the ledger.
        evaluate: bool = default(true), ();
        /// Whether messages get a field `Authentication-Results` with what was found, for a filter behind the box that reads
        /// such fields and believes those of `system.hostname`. Then the sender waits for it, up to `time_limit`. A message
        /// of more than 64 KiB goes to the volume before its end is known: its field has what SPF says, and no more.
        header: bool = default(false), ();
        /// Larger messages are not looked at: they are read once more from the volume for it.
        size_max: Bytes = default(Bytes::mib(36)), Bytes::kib(64)..=Bytes::gib(2);
        /// How long the look-ups for one message may take in all.
        time_limit: Duration = default(secs(5)), secs(1)..=secs(10);
    }
}

group! {
    /// Whose mail is taken.
    "domains" => Domains {
        /// The site's domains; a recipient elsewhere is refused with 550, whoever asks. `*.example.org` means every
        /// name below `example.org`. There is no default: a box without domains refuses everything, and one that takes
        /// all is an open relay.
        accepted: Vec<Domain> = required("[\"example.org\"]"), (1..=1_000, ());
    }
}

choice! {
    /// What parts a mailbox from a tag behind it, as in `mia+news@example.org`.
    Subaddress {
        /// Nothing does: the whole local part is the mailbox.
        None = "none",
        /// A plus, as Exchange Online has it.
        Plus = "+",
        /// A hyphen, as qmail has it.
        Hyphen = "-",
        /// An equals sign.
        Equals = "=",
        /// An underscore.
        Underscore = "_",
    }
}

group! {
    /// Who is known at the site, and what is said to mail for others. While a next hop is healthy its own answer counts.
    /// While none is, a recipient that is not on the list of recipients is refused with 550 if the list was in step shortly
    /// before, put off with 450 if it is older, and taken if there is none. What is decided by then holds until a next hop
    /// is back: a directory that is being restored has nobody in it. The list comes from `penstock recipients import`, from
    /// the file below, or from `[ldap]`; the last reading is kept on the volume.
    "recipients" => Recipients {
        /// A file with the list, which is read again whenever it changes: an export of Exchange or an address a line, as
        /// `penstock recipients import --help` tells. Its time of change is the time of the list, so write it anew every
        /// night even if nobody came or went.
        file: Option<AbsolutePath> = default(None), 4095;
        /// How old the list may have been when the last next hop went away, that unknown recipients are refused for good.
        /// A day: with a nightly export, or a directory that is asked every hour, somebody who is missing is nobody.
        fresh_for: Duration = default(hours(24)), hours(1)..=days(30);
        /// What parts a tag from its mailbox where an address is looked for in the list: `mia+news` is taken for `mia` if
        /// it is not there itself. Exchange on a site's own servers does not know tags unless a transport agent does it;
        /// the plus is harmless there, since few names have one.
        subaddress: Subaddress = default(Subaddress::Plus), ();
        /// Whether to find out, daily and after each rebuild, whether a next hop looks at recipients at all: it is offered
        /// a small message to a mailbox that cannot exist. Where it refuses that, whom it takes is known to be there; where
        /// it takes it (Exchange does, unless recipient filtering is on), its 250 says nothing about recipients. The
        /// report on that message comes to this box.
        find_out: bool = default(true), ();
    }
}

group! {
    /// Where the list of recipients is read from Active Directory. It is asked for the addresses of all recipients and the
    /// mailbox databases that they are in. A reading that lacks more than a third of those known before is not believed
    /// before `penstock recipients reload --believe`; none is while no next hop is healthy.
    "ldap" => Ldap {
        /// The domain controller: `ldaps://dc1.example.org`, or `ldap://` with `starttls` below. None by default. One that
        /// is not the mail server itself.
        url: Option<LdapUrl> = default(None), ();
        /// Whether TLS begins on a connection of `ldap://` before anything is said. Without it the password is there for
        /// everybody on the way to read, and Active Directory refuses it unless its policy was weakened.
        starttls: bool = default(true), ();
        /// The SHA-256 of the server's certificate, 64 hexadecimal digits: no other is believed, and nobody has to have
        /// signed this one. Empty believes what a public authority signed for the name in `url`. `penstock recipients
        /// reload` tells the SHA-256 of one that it does not believe.
        certificate_sha256: Sha256 = default(Sha256::none()), ();
        /// Who asks: `penstock@example.org`, or a distinguished name. An ordinary account that may read is enough, and
        /// should be all that it is. Empty asks without a name, which Active Directory refuses.
        user: Line = default(Line::empty()), 256;
        /// Its password. It is kept with the settings, and left out of what the box shows of them and of reports; where
        /// it is shown as `(kept)`, that word stands for the one that the box has.
        password: Secret = default(Secret::none()), ();
        /// Below what to look, a distinguished name: `DC=example,DC=org`. Must be set where `url` is.
        base: Line = default(Line::empty()), 512;
        /// Who is a recipient.
        filter: Line = default(Line::known("(proxyAddresses=*)")), 1024;
        /// How often to ask.
        interval: Duration = default(hours(1)), mins(5)..=days(1);
    }
}

group! {
    /// A server that takes the mail, in front of which the box stands. Repeat the section for several.
    "next_hop" repeats true => NextHop {
        /// What the operator calls it: in commands, figures and logs.
        name: HopName = required("\"exchange\""), ();
        /// Where it is. An address is better than a name: DNS often lives on the very server that is down.
        address: HopAddress = required("\"192.0.2.25:25\""), ();
        /// Hops with a higher number are used only while none with a lower one can take mail.
        priority: u32 = default(0), 0..=65_535;
        /// The share of the mail among hops of the same priority.
        weight: u32 = default(1), 1..=1_000;
        /// Keeps this hop for the mail of some domains, which then goes to no other: `sales.example.org`, or
        /// `*.example.org`. Several hops may be kept for the same ones, by priority and weight. A hop that is kept for
        /// nothing takes everything else, and there has to be one.
        for_domains: Vec<Domain> = default(Vec::new()), (0..=HOP_NAMES_MAX, ());
        /// Keeps this hop for the mail of mailboxes in some databases, by the list of recipients (`penstock recipients`),
        /// whatever their domains: where several servers have databases of their own, and a detour through another one is
        /// not wanted. Recipients that are not on the list go by their domain.
        for_databases: Vec<DatabaseName> = default(Vec::new()), (0..=HOP_NAMES_MAX, ());
        /// Mailboxes on this server to which the box sends small messages of its own, *canaries*, one for each mailbox
        /// database. Exchange answers 250 to mail for anybody, be the mailbox there or not: only its report that a
        /// canary lies in a mailbox proves that mail arrives. Without any the box goes by what SMTP says and stays slow.
        /// Take a mailbox that nobody reads, with a rule that deletes what comes. The report comes back by SMTP, so
        /// Exchange needs a send connector for `system.hostname` to this box: `New-SendConnector -Name Penstock
        /// -AddressSpaces mx.example.org -SmartHosts 192.0.2.2 -DNSRoutingEnabled $false`.
        probe_mailboxes: Vec<MailAddress> = default(Vec::new()), (0..=PROBE_MAILBOXES_MAX, ());
        /// Where windows_exporter on this server serves the counters of Exchange's queues (its collector `exchange` must be
        /// enabled). With them the box sees how much waits behind the 250, and gives mail as fast as it is delivered.
        /// It is asked every 2 seconds while mail goes, so let it answer with no more than is needed:
        /// `http://exchange:9182/metrics?collect[]=exchange`. Without it the box goes by canaries, or by SMTP alone.
        counters_url: Option<HttpUrl> = default(None), ();
        /// Whether mail to it goes encrypted (STARTTLS). `opportunistic`: where it offers that; if it fails the mail goes in
        /// plain text, as it would without the box, and the box says so. `required`: else the mail waits. `pinned`: it
        /// waits, too, when the server shows a certificate that is none of `tls_pins`; without any, the first one that was
        /// seen counts. In each case another certificate than before is taken for a sign that the server was rebuilt, and
        /// `penstock tls accept` ends that. `never` is for a server whose TLS is broken.
        tls: HopTls = default(HopTls::Opportunistic), ();
        /// For `pinned`: SHA-256 of the certificate, or of its public key, which stays when a certificate is renewed with
        /// the same key. `penstock tls show` prints both for what the server shows.
        tls_pins: Vec<Pin> = default(Vec::new()), (0..=8, ());
    }
}

impl NextHop {
    /// Whether it takes the mail of some domains or databases and no other.
    pub fn is_kept(&self) -> bool {
        !self.for_domains.is_empty() || !self.for_databases.is_empty()
    }
}

group! {
    /// How the box speaks to a next hop.
    "client" => Client {
        /// From which of the machine's addresses to connect, one of each address family, so that the next hop always sees
        /// the same and its receive connector can name it. Without one it is the first of `network.addresses` on the
        /// appliance, and on any other host whatever the host chooses.
        source_addresses: Vec<IpAddr> = default(Vec::new()), (0..=2, ());
        /// How long to wait for a TCP connection.
        connect_timeout: Duration = default(secs(30)), secs(1)..=mins(5);
        /// How long to wait for the greeting and for the answers to EHLO, MAIL and RCPT. A server under pressure delays
        /// MAIL by up to 55 seconds and means it; RFC 5321 section 4.5.3.2 asks for 5 minutes.
        reply_timeout: Duration = default(mins(5)), secs(10)..=hours(1);
        /// How long to wait for the answer to DATA (RFC 5321 section 4.5.3.2.4).
        data_timeout: Duration = default(mins(2)), secs(10)..=hours(1);
        /// How long a piece of the message may take to go out (RFC 5321 section 4.5.3.2.5).
        block_timeout: Duration = default(mins(3)), secs(10)..=hours(1);
        /// How long to wait for the verdict on a message (RFC 5321 section 4.5.3.2.6). Giving up early sends it twice.
        final_timeout: Duration = default(mins(10)), mins(1)..=hours(1);
        /// A session older than this is ended after its message. Exchange cuts one after 10 minutes, even in the middle
        /// of a message.
        session_age_max: Duration = default(mins(8)), mins(1)..=hours(1);
        /// Recipients in one transaction; a message with more goes in several. Exchange takes 200.
        recipients_max: u32 = default(200), 1..=10_000;
    }
}

group! {
    /// The certificate that clients see, and how they come to an encrypted session. Next hops have their own `tls`.
    "tls" => Tls {
        /// Whether clients are offered STARTTLS. Without a certificate below there is one that the box has made for itself:
        /// senders that do not look at it, which is most, send encrypted to it.
        offer: bool = default(true), ();
        /// A file with the certificate and those of its issuers, PEM or PFX. It is read again when it changes. Empty: what
        /// `penstock tls install` has given to the box, else one of its own making, both of which are kept with the mail. On
        /// the appliance, which has no files, that is the only way.
        certificate_file: Option<AbsolutePath> = default(None), 4095;
        /// A file with its private key, PEM. Empty: the key is in the same file as the certificate.
        key_file: Option<AbsolutePath> = default(None), 4095;
        /// A file whose first line is the password of a PFX. Empty: it has none.
        password_file: Option<AbsolutePath> = default(None), 4095;
        /// How long a client may take from STARTTLS to the encrypted session.
        handshake_timeout: Duration = default(secs(30)), secs(5)..=mins(5);
        /// How many clients may be on that way at once; others wait within their time. It is the one step of a session that
        /// costs the processor something, and a slow box does some hundred in a second.
        handshakes_max: u32 = default(64), 1..=1_000;
    }
}

group! {
    /// When and how fast mail is released.
    "release" => Release {
        /// Whether a new volume releases mail at once. Afterwards `penstock hold` and `penstock release` decide, and
        /// their decision outlives a restart.
        initial_mode: InitialMode = default(InitialMode::Auto), ();
        /// Whether a client waits, at the end of its message, for what the next hop says of it, as long as that is well. The
        /// message is in the volume first. If the next hop refuses it for good the client is told so, as if it had spoken
        /// to it directly: spam and mail for nobody come to nothing there, and neither the box nor the next hop has to
        /// report them to a sender who is forged. Whatever else is said, and when nothing is in time, the client is told
        /// 250 and the box delivers. With `off` everything is taken at once, and what is refused is set aside for you.
        through: Through = default(Through::Auto), ();
        /// How long it waits at most. The next hop's own filters and its pause of 5 seconds before a refusal fit in; mail
        /// servers wait ten minutes (RFC 5321 section 4.5.3.2.6), some devices hardly more than half of one.
        through_wait: Duration = default(secs(30)), secs(1)..=mins(5);
        /// Connections to each next hop at once. A server that has just come up chokes on more; Exchange allows 20 from
        /// one address.
        connections_max: u32 = default(5), 1..=20;
        /// Messages to all next hops together in a minute. 0 leaves it to the box: where canaries or counters tell what the
        /// server does with its mail, as much as it is seen to bear; where nothing does, 600 a minute, which is the rate
        /// limit of Exchange's Edge role, and of a backlog 1,500 in ten minutes. A number holds always, and lifts the
        /// latter.
        messages_per_minute_max: u32 = default(0), 0..=60_000;
        /// How long a message waits after each failure that was about the message and not about the server; the last
        /// wait repeats. Frequent first (greylisting, a full mailbox), then hourly.
        retry_schedule: Vec<Duration> = default([mins(1), mins(5), mins(15), mins(30), hours(1)].into()),
            (1..=16, secs(10)..=days(1));
        /// How many percent each wait is varied up and down, so that what failed together does not return together.
        retry_jitter_percent: u32 = default(20), 0..=50;
        /// How often to try a connection while the next hop is down: release begins within this time of its return.
        probe_interval: Duration = default(secs(5)), secs(1)..=mins(10);
        /// How long to try at that pace before slowing down.
        probe_fast_for: Duration = default(mins(10)), secs(0)..=days(1);
        /// How often to try a connection after that.
        probe_slow_interval: Duration = default(secs(15)), secs(1)..=mins(10);
        /// How often to send one message as a test while the server answers but does not take mail. A refusal for lack
        /// of resources may come as late as the end of the message, so nothing less proves that it is over.
        probe_data_interval: Duration = default(secs(30)), secs(10)..=hours(1);
        /// A message this old is set aside for the operator, with an alert. Nothing is deleted.
        expire_after: Duration = default(days(30)), hours(1)..=days(3650);
        /// A message that fails this many times while others pass is set aside for the operator: it must not stop the
        /// queue.
        poison_failures: u32 = default(3), 2..=100;
        /// … but not before its failures span this long, lest a short disturbance condemn it.
        poison_span: Duration = default(mins(6)), secs(0)..=days(1);
        /// Mailboxes whose mail goes before other mail, when more waits than the next hop takes: those that the business
        /// cannot do without. A message goes by the foremost of its recipients.
        mailboxes_first: Vec<Mailboxes> = default(Vec::new()), (0..=64, ());
        /// Mailboxes whose mail goes after other mail, such as those of lists and machines. They have one turn in 16 all
        /// the same.
        mailboxes_last: Vec<Mailboxes> = default(Vec::new()), (0..=64, ());
    }
}

group! {
    /// Telling senders what became of their mail. The box holds what is refused, and tells nobody by itself: it is
    /// `penstock quarantine bounce` that does, message by message.
    "bounce" => Bounce {
        /// The server that takes such reports: the one that takes the site's outgoing mail, which must take mail from this
        /// box. None by default: then nobody can be told.
        smarthost: Smarthost = default(Smarthost::None), ();
        /// Whether the box tells senders who asked for a report of success (DSN) that their mail was given to a next hop that
        /// sends none. Exchange sends them, so this is for others. `proven` tells those whose address SPF had found to be theirs;
        /// to everybody, a stranger could have the box write to third parties.
        relayed: RelayedReports = default(RelayedReports::Never), ();
    }
}

impl BoxNetwork {
    /// Reads the section `[network]` of a settings file that may lack everything else: the network is up before the rest
    /// has been asked for.
    ///
    /// # Errors
    /// Everything that is wrong with that section, or with the file as TOML.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Sink::collect(text, |sink| {
            let network: Self = Document::parse(text, &SECTIONS, sink).one()?;
            network.check(sink);
            Some(network)
        })
    }
}

impl Subaddress {
    /// The character, if there is one.
    pub const fn delimiter(self) -> Option<char> {
        match self {
            Self::None => None,
            Self::Plus => Some('+'),
            Self::Hyphen => Some('-'),
            Self::Equals => Some('='),
            Self::Underscore => Some('_'),
        }
    }
}

impl Volume {
    /// Whether the volume is a block device, whose size is its own.
    pub fn is_device(&self) -> bool {
        self.path.as_str().starts_with("/dev/")
    }
}

/// Every section of the file, in the order of the document.
pub static SECTIONS: [Section; 16] = [
    System::SECTION,
    BoxNetwork::SECTION,
    Update::SECTION,
    Dns::SECTION,
    Volume::SECTION,
    Site::SECTION,
    Listen::SECTION,
    Authenticity::SECTION,
    Domains::SECTION,
    Recipients::SECTION,
    Ldap::SECTION,
    NextHop::SECTION,
    Client::SECTION,
    Tls::SECTION,
    Release::SECTION,
    Bounce::SECTION,
];

/// All settings, checked one by one and against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[system]`
    pub system: System,
    /// `[network]`
    pub network: BoxNetwork,
    /// `[update]`
    pub update: Update,
    /// `[dns]`
    pub dns: Dns,
    /// `[volume]`
    pub volume: Volume,
    /// `[site]`
    pub site: Site,
    /// `[listen]`
    pub listen: Listen,
    /// `[authenticity]`
    pub authenticity: Authenticity,
    /// `[domains]`
    pub domains: Domains,
    /// `[recipients]`
    pub recipients: Recipients,
    /// `[ldap]`
    pub ldap: Ldap,
    /// `[[next_hop]]`, at least one, in the order of the file, with different names and addresses.
    pub next_hops: Vec<NextHop>,
    /// `[client]`
    pub client: Client,
    /// `[tls]`
    pub tls: Tls,
    /// `[release]`
    pub release: Release,
    /// `[bounce]`
    pub bounce: Bounce,
}

impl Settings {
    /// Reads the text of a settings file.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Sink::collect(text, |sink| Self::read(text, sink))
    }

    fn read(text: &str, sink: &mut Sink) -> Option<Self> {
        let mut document = Document::parse(text, &SECTIONS, sink);
        let system = document.one();
        let network = document.one();
        let update = document.one();
        let dns = document.one();
        let volume = document.one();
        let site = document.one();
        let listen = document.one();
        let authenticity = document.one();
        let domains = document.one();
        let recipients = document.one();
        let ldap = document.one();
        let next_hops = document.many(NEXT_HOPS_MAX);
        let client = document.one();
        let tls = document.one();
        let release = document.one();
        let bounce = document.one();
        document.refuse_the_rest();
        let (hop_lines, next_hops): (Vec<_>, _) = next_hops?.into_iter().unzip();
        let settings = Self {
            system: system?,
            network: network?,
            update: update?,
            dns: dns?,
            volume: volume?,
            site: site?,
            listen: listen?,
            authenticity: authenticity?,
            domains: domains?,
            recipients: recipients?,
            ldap: ldap?,
            next_hops,
            client: client?,
            tls: tls?,
            release: release?,
            bounce: bounce?,
        };
        settings.check(&hop_lines, sink);
        Some(settings)
    }
}
