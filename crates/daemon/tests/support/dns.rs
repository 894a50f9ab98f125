//! A name server on loopback that knows what a test tells it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use simple_dns::rdata::{NULL, RData, TXT};
use simple_dns::{CLASS, CharacterString, Name, Packet, PacketFlag, RCODE, ResourceRecord, TYPE};

/// The type of records that say which certificate a service has, which the library does not know.
pub(crate) const TLSA: TYPE = TYPE::Unknown(52);

/// The header of a message, and where in it is how many questions there are (its lower half).
const HEADER_BYTES: usize = 12;
const QUESTIONS_AT: usize = 5;

type Zone = HashMap<(String, u16), Vec<RData<'static>>>;

/// The server. It serves until the process ends.
#[derive(Clone)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    silent: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            zone: Arc::default(),
            silent: Arc::default(),
            asked: Arc::default(),
        };
        let served = server.clone();
        thread::spawn(move || {
            let mut bytes = [0; 1500];
            while let Ok((len, from)) = socket.recv_from(&mut bytes) {
                served.asked.fetch_add(1, Relaxed);
                if let Some(answer) = served.answer(&bytes[..len]).filter(|_| !served.silent.load(Relaxed)) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        server
    }

    /// The library has no words for a question about a type that it does not know, so the question is read and given
    /// back as it came.
    fn answer(&self, asked: &[u8]) -> Option<Vec<u8>> {
        let id = u16::from_be_bytes([*asked.first()?, *asked.get(1)?]);
        let (mut labels, mut at) = (Vec::new(), HEADER_BYTES);
        loop {
            let len = usize::from(*asked.get(at)?);
            at += 1 + len;
            if len == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(asked.get(at - len..at)?).to_ascii_lowercase());
        }
        let kind = u16::from_be_bytes([*asked.get(at)?, *asked.get(at + 1)?]);
        let question = asked.get(HEADER_BYTES..at + 4)?;
        let name = labels.join(".");
        let zone = self.zone.lock().unwrap();
        let mut answer = Packet::new_reply(id);
        answer.set_flags(PacketFlag::RECURSION_AVAILABLE);
        for rdata in zone.get(&(name.clone(), kind)).into_iter().flatten() {
            let owner = Name::new(&name).ok()?.into_owned();
            answer.answers.push(ResourceRecord::new(owner, CLASS::IN, 60, rdata.clone()));
        }
        // A name has no records of this type, or does not exist.
        if !zone.keys().any(|(known, _)| *known == name) {
            *answer.rcode_mut() = RCODE::NameError;
        }
        let mut bytes = answer.build_bytes_vec().ok()?;
        bytes[QUESTIONS_AT] = 1;
        bytes.splice(HEADER_BYTES..HEADER_BYTES, question.iter().copied());
        Some(bytes)
    }

    /// Adds a record.
    pub(crate) fn add(&self, name: &str, kind: TYPE, rdata: RData<'static>) -> &Self {
        let key = (name.to_ascii_lowercase(), u16::from(kind));
        self.zone.lock().unwrap().entry(key).or_default().push(rdata);
        self
    }

    pub(crate) fn text(&self, name: &str, text: &str) -> &Self {
        let mut txt = TXT::new();
        for part in text.as_bytes().chunks(255) {
            txt.add_char_string(CharacterString::new(part).unwrap().into_owned());
        }
        self.add(name, TYPE::TXT, RData::TXT(txt))
    }

    pub(crate) fn address_of(&self, name: &str, address: IpAddr) -> &Self {
        match address {
            IpAddr::V4(v4) => self.add(name, TYPE::A, RData::A(v4.into())),
            IpAddr::V6(v6) => self.add(name, TYPE::AAAA, RData::AAAA(v6.into())),
        }
    }

    pub(crate) fn name_of(&self, address: [u8; 4], name: &str) -> &Self {
        let [a, b, c, d] = address;
        let name = Name::new(name).unwrap().into_owned();
        self.add(&format!("{d}.{c}.{b}.{a}.in-addr.arpa"), TYPE::PTR, RData::PTR(name.into()))
    }

    pub(crate) fn raw(&self, name: &str, kind: TYPE, data: &[u8]) -> &Self {
        self.add(name, kind, RData::NULL(u16::from(kind), NULL::new(data).unwrap().into_owned()))
    }

    /// Whether questions are left without an answer from now on.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Relaxed);
    }

    /// How many questions came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}
