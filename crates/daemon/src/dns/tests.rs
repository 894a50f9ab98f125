use std::net::Ipv4Addr;
use std::thread;

use simple_dns::TYPE;
use simple_dns::rdata::{MX, RData as Answer};

use super::server::{NameServer, TLSA};
use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const OLIVE: [u8; 4] = [192, 0, 2, 1];

fn ask<T>(question: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(question)
}

fn dns(server: &NameServer) -> Arc<Dns> {
    Dns::of(vec![server.address], Path::new("/nonexistent"))
}

#[test]
fn what_a_domain_says_is_found() {
    let server = NameServer::start();
    let long = "v=DKIM1; p=".to_owned() + &"A".repeat(400);
    server.text("key._domainkey.example.com", &long).raw(
        "_25._tcp.mx.example.com",
        TLSA,
        &[3, 1, 1, 0xAB, 0xCD],
    );
    for (preference, name) in [(20, "b.example.com"), (10, "A.example.com")] {
        let exchange = simple_dns::Name::new(name).unwrap().into_owned();
        server.add("example.com", TYPE::MX, Answer::MX(MX { preference, exchange }));
    }
    ask(async {
        let dns = dns(&server);
        let texts = dns.texts("key._domainkey.EXAMPLE.com", LIMIT).await;
        assert_eq!(texts, Ok(vec![long.into_bytes()]));
        let exchangers = dns.exchangers("example.com.", LIMIT).await.unwrap();
        assert_eq!(exchangers, [(10, "a.example.com".to_owned()), (20, "b.example.com".to_owned())]);
        let tlsa = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0xAB, 0xCD] };
        assert_eq!(dns.certificates("_25._tcp.mx.example.com", LIMIT).await, Ok(vec![tlsa]));
        assert_eq!(dns.texts("example.com", LIMIT).await, Err(Failure::Absent), "it has other records");
        assert_eq!(dns.texts("example.net", LIMIT).await, Err(Failure::Absent));
        assert_eq!(dns.texts("a..b", LIMIT).await, Err(Failure::NoName));
    });
}

#[test]
fn an_address_has_the_name_that_leads_back_to_it() {
    let server = NameServer::start();
    server.name_of(OLIVE, "mx.bank.example").name_of(OLIVE, "olive.example");
    server.address_of("olive.example", Ipv4Addr::from(OLIVE).into());
    server.address_of("mx.bank.example", Ipv4Addr::new(203, 0, 113, 5).into());
    server.name_of([192, 0, 2, 2], "mx.bank.example");
    ask(async {
        let dns = dns(&server);
        let name = dns.name_of("::ffff:192.0.2.1".parse().unwrap(), LIMIT).await;
        assert_eq!(name.as_deref(), Ok("olive.example"));
        let claimed = dns.name_of("192.0.2.2".parse().unwrap(), LIMIT).await;
        assert_eq!(claimed, Err(Failure::Absent), "it calls itself what it is not");
    });
}

#[test]
fn the_name_of_a_client_is_there_when_it_is_known_and_nobody_waits_for_it() {
    let server = NameServer::start();
    server.name_of(OLIVE, "olive.example").address_of("olive.example", Ipv4Addr::from(OLIVE).into());
    ask(async {
        let dns = dns(&server);
        let name = dns.client_name(Ipv4Addr::from(OLIVE).into());
        assert_eq!(name.get(), None);
        while name.get().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(name.get(), Some("olive.example"));
        let (asked, itself) = (server.asked(), dns.client_name(Ipv4Addr::LOCALHOST.into()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!((itself.get(), server.asked()), (None, asked));
    });
}

#[test]
fn dead_servers_are_left_alone_and_live_ones_that_know_nothing_are_not_dead() {
    let server = NameServer::start();
    ask(async {
        let dns = dns(&server);
        // One domain without an answer, again and again: somebody's servers are down, not ours.
        for _ in 0..2 * 3 {
            let late = dns.within(LIMIT, async |_| Err::<(), _>(Failure::Late)).await;
            assert_eq!(late, Err(Failure::Late));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!dns.is_dead());
        server.be_silent(true);
        while !dns.is_dead() {
            let late = dns.texts("example.com", Duration::from_millis(50)).await;
            assert!(matches!(late, Err(Failure::Late | Failure::Dead)), "{late:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let asked = server.asked();
        assert_eq!(dns.texts("example.com", LIMIT).await, Err(Failure::Dead));
        assert_eq!(server.asked(), asked, "nobody was asked");
    });
}

#[test]
fn the_servers_of_the_file_are_asked_and_a_file_without_any_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    ask(async {
        let dns = Dns::of(Vec::new(), &file);
        assert_eq!(dns.texts("example.com", LIMIT).await, Err(Failure::NoServer));
        fs::write(&file, "search example.org\nnameserver 127.0.0.1\nnameserver ::1\n").unwrap();
        let dns = Dns::of(Vec::new(), &file);
        assert!(dns.resolver().is_some());
        fs::write(&file, "search example.org\n").unwrap();
        let dns = Dns::of(Vec::new(), &file);
        assert!(dns.resolver().is_none());
    });
}

#[test]
fn the_sandbox_lets_look_ups_through() {
    let server = NameServer::start();
    server.text("example.com", "v=spf1 -all");
    // One thread only: the others belong to the tests.
    thread::spawn(move || {
        ask(async {
            let dns = dns(&server);
            crate::sandbox::restrict_calls_of_this_thread();
            assert_eq!(dns.texts("example.com", LIMIT).await, Ok(vec![b"v=spf1 -all".to_vec()]));
        });
    })
    .join()
    .unwrap();
}
