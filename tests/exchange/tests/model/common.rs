//! What the tests share: a world with a server in some state, and mail.

use std::net::IpAddr;

use penstock_exchange::simulated::World;
use penstock_exchange::{ConnectionId, Server};

/// Where most of the tests' mail comes from.
pub(crate) const BOX: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// A server that has been given these commands.
pub(crate) fn world(commands: &[&str]) -> World {
    let mut server = Server::new(1, 1_700_000_000);
    server.scenario(0, &commands.join("\n")).unwrap();
    World::new(server)
}

/// A connection that has said EHLO.
pub(crate) fn session(world: &mut World) -> ConnectionId {
    let connection = world.connect(BOX).expect("it listens");
    let banner = world.reply(connection).expect("a banner");
    assert!(banner.starts_with("220 "), "{banner}");
    assert!(world.ask(connection, "EHLO box.example.net").starts_with("250"));
    connection
}

/// A message with this number, and its Message-ID.
pub(crate) fn numbered(number: usize) -> String {
    format!(
        "Message-ID: <{number}@box.example.net>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nSubject: {number}\r\n\r\nbody"
    )
}

/// Sends a numbered message to one recipient on a connection of its own; the last reply, and how long it took to
/// come, in milliseconds.
pub(crate) fn send(world: &mut World, number: usize, to: &str) -> String {
    let connection = session(world);
    let said = world.message(connection, "a@box.example.net", &[to], &numbered(number));
    world.close(connection);
    said
}

/// The reply to a step, and how many seconds it took.
pub(crate) fn timed(world: &mut World, step: impl FnOnce(&mut World) -> String) -> (String, u64) {
    let began_ms = world.now_ms();
    let said = step(world);
    (said, (world.now_ms() - began_ms) / 1000)
}

/// The Message-IDs that lie in a mailbox, in order.
pub(crate) fn mailbox(world: &World, address: &str) -> Vec<String> {
    let deliveries = world.server.deliveries().iter().filter(|delivery| delivery.mailbox == address);
    deliveries.filter_map(|delivery| delivery.message_id.clone()).collect()
}

/// A number in the summary.
pub(crate) fn count(world: &World, name: &str) -> u64 {
    world.server.summary()[name].as_u64().unwrap_or_else(|| panic!("no {name}"))
}
