//! What the rescue takes is on the volume, byte for byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod support;

use penstock_rescue::smoltcp::time::Duration;
use support::client::Mail;
use support::wire::Weather;
use support::{DISK, NOR, assert_all_there, formatted, world};

#[test]
fn a_message_is_taken_onto_the_disk_and_told_of_in_the_ledger() {
    let (disk, nor) = (formatted(DISK), formatted(NOR));
    let mut world = world(Some(&disk), Some(&nor), Weather::FAIR, 1);
    let mail = Mail::new(1, 500);
    let client = world.client([mail.clone()]);
    world.run_clients(Duration::from_secs(10));
    let (_, reply) = &world.of_client(client).answered[0];
    assert_eq!(reply.code, 250, "{reply:?}");
    println!("{}", world.rescue.status());
    world.stop();
    let found = support::found(disk.medium());
    assert_all_there(&found, &[mail]);
    let [found] = found.as_slice() else { panic!("one message") };
    assert_eq!(
        found.trace,
        format!(
            "Received: from client.example ([192.0.2.100])\r\n\tby mx.example.org (Penstock rescue) with ESMTP id d-{}\r\n\
             \tfor <somebody1@example.org>;\r\n\tSun, 22 Nov 2026 03:19:40 +0000\r\n",
            found.id
        )
    );
    assert_eq!(found.events, ["taken by the rescue, in plain text; no system ran: both slots are bad"]);
    assert!(support::found(nor.medium()).is_empty());
}
