//! A rescue on simulated flash and a simulated network, with clients, in a time of its own.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a panic is the verdict"
)]

pub(crate) mod client;
pub(crate) mod ram;
pub(crate) mod wire;

use penstock_flash::sim::{Sim, SimMedium};
use penstock_flash::{Erase, Geometry, Medium};
use penstock_rescue::smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use penstock_rescue::smoltcp::phy::Device as _;
use penstock_rescue::smoltcp::socket::tcp;
use penstock_rescue::smoltcp::time::{Duration, Instant};
use penstock_rescue::smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use penstock_rescue::{Answer, Question, Rescue, Start, Unasked, WallClock};
use penstock_spool::{Buffers, MessageId, MountOptions, Spool, format};

use client::{Client, Mail, Raw};
use wire::{End, Weather, cable};

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(crate) const SERVER: [u8; 4] = [192, 0, 2, 2];
pub(crate) const CLIENT: [u8; 4] = [192, 0, 2, 100];

pub(crate) const DISK: Geometry =
    Geometry { segments: 64, segment_bytes: 1 << 20, unit_bytes: 4096, erase: Erase::Logical };
pub(crate) const NOR: Geometry =
    Geometry { segments: 64, segment_bytes: 128 << 10, unit_bytes: 32, erase: Erase::Physical };

/// Settings as a site would have them; the client is a front through which everybody's mail comes.
pub(crate) fn settings(more_of_listen: &str) -> String {
    format!(
        "[system]\nhostname = \"mx.example.org\"\n[network]\naddresses = [\"192.0.2.2/24\", \"2001:db8::2/64\"]\n\
         gateways = [\"192.0.2.1\"]\n[domains]\naccepted = [\"example.org\", \"*.example.org\"]\n\
         [[next_hop]]\nname = \"exchange\"\naddress = \"192.0.2.25\"\n[listen]\n{more_of_listen}\n"
    )
}

pub(crate) const FRONT: &str = "trusted_fronts = [\"192.0.2.100/32\"]";

pub(crate) const CLOCK: WallClock = WallClock { unix_ms: 1_795_317_580_000, is_trusted: true };

pub(crate) fn formatted(geometry: Geometry) -> Sim {
    let sim = Sim::new(geometry).unwrap();
    format(&mut sim.medium(), *b"test volume 0001", false, |_, _| {}).unwrap();
    sim
}

/// The world: a rescue, a cable, and a machine with clients on it.
pub(crate) struct World<D: Medium, N: Medium> {
    pub(crate) rescue: Rescue<D, N>,
    pub(crate) now: Instant,
    pub(crate) server: End,
    pub(crate) end: End,
    interface: Interface,
    sockets: SocketSet<'static>,
    next_port: u16,
    clients: Vec<(SocketHandle, Client)>,
    raws: Vec<(SocketHandle, Raw)>,
    /// When the rescue wants to be called again.
    due: Instant,
    /// Called instead of a plain poll of the rescue, by who measures it.
    pub(crate) polls: u64,
}

pub(crate) type SimWorld = World<SimMedium, SimMedium>;

pub(crate) fn start<'a, D, N>(settings: &'a str, disk: Option<D>, nor: Option<N>) -> Start<'a, D, N> {
    Start {
        settings: Some(settings),
        mac: MAC,
        disk,
        nor,
        seed: 4711,
        clock: CLOCK,
        reason: "both slots are bad",
        lease: None,
    }
}

/// A world with these volumes in that weather.
pub(crate) fn world(disk: Option<&Sim>, nor: Option<&Sim>, weather: Weather, seed: u64) -> SimWorld {
    let settings = settings(FRONT);
    World::new(start(&settings, disk.map(Sim::medium), nor.map(Sim::medium)), weather, seed)
}

impl<D: Medium, N: Medium> World<D, N> {
    pub(crate) fn new(start: Start<'_, D, N>, weather: Weather, seed: u64) -> Self {
        let (mut server, mut end) = cable(weather, seed);
        let now = Instant::from_millis(1000);
        let rescue = Rescue::new(start, &mut server, now);
        let mut config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut end, now);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::v4(192, 0, 2, 100), 24)).unwrap();
            // It is the router, too.
            addresses.push(IpCidr::new(IpAddress::v4(192, 0, 2, 1), 24)).unwrap();
            addresses.push(IpCidr::new(IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x64), 64)).unwrap();
        });
        Self {
            rescue,
            now,
            server,
            end,
            interface,
            sockets: SocketSet::new(Vec::new()),
            next_port: 40_000,
            clients: Vec::new(),
            raws: Vec::new(),
            due: now,
            polls: 0,
        }
    }

    pub(crate) fn connect(&mut self) -> SocketHandle {
        self.connect_to(IpAddress::v4(SERVER[0], SERVER[1], SERVER[2], SERVER[3]), 16 * 1024)
    }

    pub(crate) fn connect_to(&mut self, server: IpAddress, rx_bytes: usize) -> SocketHandle {
        self.connect_to_port(server, 25, rx_bytes)
    }

    pub(crate) fn connect_to_port(&mut self, server: IpAddress, port: u16, rx_bytes: usize) -> SocketHandle {
        let buffer = |bytes: usize| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(rx_bytes), buffer(64 * 1024));
        self.next_port += 1;
        socket.connect(self.interface.context(), (server, port), self.next_port).unwrap();
        self.sockets.add(socket)
    }

    /// Has a client connect and bring these messages. Gives its number.
    pub(crate) fn client(&mut self, mails: impl IntoIterator<Item = Mail>) -> usize {
        let handle = self.connect();
        self.add_client(handle, Client::new(mails))
    }

    pub(crate) fn add_client(&mut self, handle: SocketHandle, client: Client) -> usize {
        self.clients.push((handle, client));
        self.clients.len() - 1
    }

    /// Has a client connect that does as it is told. Gives its number.
    pub(crate) fn raw(&mut self, raw: Raw, rx_bytes: usize) -> usize {
        let handle = self.connect_to(IpAddress::v4(SERVER[0], SERVER[1], SERVER[2], SERVER[3]), rx_bytes);
        self.raws.push((handle, raw));
        self.raws.len() - 1
    }

    /// Has a server of its own listen on the other machine, which says what it was told to who connects. Gives its number.
    pub(crate) fn serve(&mut self, port: u16, raw: Raw) -> usize {
        let buffer = |bytes: usize| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(4096), buffer(4096));
        socket.listen(port).unwrap();
        self.raws.push((self.sockets.add(socket), raw));
        self.raws.len() - 1
    }

    /// Has the rescue ask, and gives its answer: as text, since it is the rescue's own.
    pub(crate) fn ask(&mut self, question: Question) -> Result<String, Unasked> {
        self.rescue.ask(question, self.now)?;
        loop {
            self.due = self.now;
            self.step();
            match self.rescue.answer(self.now) {
                Answer::Waiting => {}
                answer => return Ok(format!("{answer:?}")),
            }
        }
    }

    pub(crate) fn of_client(&self, number: usize) -> &Client {
        &self.clients[number].1
    }

    pub(crate) fn of_raw(&mut self, number: usize) -> &mut Raw {
        &mut self.raws[number].1
    }

    pub(crate) fn state(&self, handle: SocketHandle) -> tcp::State {
        self.sockets.get::<tcp::Socket<'_>>(handle).state()
    }

    pub(crate) fn raw_state(&self, number: usize) -> tcp::State {
        self.state(self.raws[number].0)
    }

    pub(crate) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().map(|(_, client)| client)
    }

    /// All that was answered with 250.
    pub(crate) fn acknowledged(&self) -> Vec<Mail> {
        let answered = self.clients().flat_map(|client| &client.answered);
        answered.filter(|(_, reply)| reply.code == 250).map(|(mail, _)| mail.clone()).collect()
    }

    pub(crate) fn are_clients_over(&self) -> bool {
        self.clients().all(|client| client.is_over)
    }

    /// Pulls the plug of the cable.
    pub(crate) fn unplug(&mut self) {
        self.end.unplug();
    }

    /// Lets the world go one step.
    pub(crate) fn step(&mut self) {
        self.step_by(Rescue::poll);
    }

    /// The same, with the rescue polled by somebody who looks at how it does that.
    pub(crate) fn step_by(&mut self, poll: impl FnOnce(&mut Rescue<D, N>, &mut End, Instant) -> Instant) {
        if self.now >= self.due || self.server.due().is_some_and(|due| due <= self.now) {
            self.due = poll(&mut self.rescue, &mut self.server, self.now);
            self.polls += 1;
        }
        self.interface.poll(self.now, &mut self.end, &mut self.sockets);
        for (handle, client) in &mut self.clients {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            if socket.is_open() || !client.is_over {
                client.tick(socket);
            }
        }
        for (handle, raw) in &mut self.raws {
            raw.tick(self.sockets.get_mut(*handle));
        }
        self.interface.poll(self.now, &mut self.end, &mut self.sockets);
        let client_due = self.interface.poll_at(self.now, &self.sockets);
        let dues = [Some(self.due), client_due, self.server.due(), self.end.due()];
        let next = dues.into_iter().flatten().min().unwrap_or(self.now);
        // A step takes its time.
        self.now = next.max(self.now + Duration::from_micros(20));
    }

    /// Lets the world go on until something holds, which it does before so much time has passed.
    pub(crate) fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&mut Self) -> bool) {
        let until = self.now + limit;
        while !holds(self) {
            assert!(self.now < until, "it does not come to pass: {}", self.rescue.status());
            self.step();
        }
    }

    /// Lets so much time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    pub(crate) fn run_clients(&mut self, limit: Duration) {
        self.run_until(limit, |world| world.are_clients_over());
    }

    /// Stops the rescue in an orderly way.
    pub(crate) fn stop(mut self) {
        self.rescue.stop(self.now);
        self.run_until(Duration::from_secs(60), |world| world.rescue.is_stopped());
        self.rescue.close();
    }
}

impl<D: Medium, N: Medium> World<D, N> {
    pub(crate) fn mtu(&self) -> usize {
        self.end.capabilities().max_transmission_unit
    }
}

/// A message as userland finds it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: MessageId,
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    /// Our line on top.
    pub(crate) trace: String,
    /// All behind it.
    pub(crate) body: Vec<u8>,
    /// What the ledger says about it.
    pub(crate) events: Vec<String>,
}

impl Found {
    /// Whether it is that message, byte for byte.
    pub(crate) fn is(&self, mail: &Mail) -> bool {
        self.sender == mail.sender && self.recipients == mail.recipients && self.body == mail.body
    }
}

/// Everything that a full mount finds on a volume, in order.
pub(crate) fn found<M: Medium>(medium: M) -> Vec<Found> {
    let buffers = Buffers { hot: vec![0; 16384], moved: vec![0; 8192], status: vec![0; 8192] };
    let mut spool = Spool::mount(medium, buffers, MountOptions::default()).unwrap();
    let ids: Vec<MessageId> = spool.queue(MessageId(0)).map(|message| message.id).collect();
    let events: Vec<_> = spool.events().collect();
    ids.into_iter()
        .map(|id| {
            let mut message = spool.open(id).unwrap();
            let envelope = message.envelope().unwrap();
            let mut body = Vec::new();
            while let Some(chunk) = message.next_chunk().unwrap() {
                body.extend_from_slice(chunk);
            }
            // The first line with its continuations is ours.
            let mut end = 0;
            for line in body.split_inclusive(|byte| *byte == b'\n') {
                if end > 0 && !line.starts_with(b"\t") {
                    break;
                }
                end += line.len();
            }
            let rest = body.split_off(end);
            Found {
                id,
                sender: envelope.begin.sender,
                recipients: envelope.recipients.into_iter().map(|recipient| recipient.address).collect(),
                trace: String::from_utf8(body).unwrap(),
                body: rest,
                events: events
                    .iter()
                    .filter(|event| event.message == Some(id) && event.code == penstock_rescue::EVENT_RESCUED)
                    .map(|event| event.text.clone())
                    .collect(),
            }
        })
        .collect()
}

/// Asserts that each of these messages is among what was found, and once.
pub(crate) fn assert_all_there(found: &[Found], mails: &[Mail]) {
    for mail in mails {
        let times = found.iter().filter(|found| found.is(mail)).count();
        assert_eq!(times, 1, "the message from {} of {} bytes", mail.sender, mail.body.len());
    }
}
