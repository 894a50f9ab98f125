//! What goes wrong with single messages.

use crate::common::{count, mailbox, numbered, send, session, world};

#[test]
fn poison_drops_the_connection_at_one_message() {
    let mut world = world(&["poison X-Poison: yes"]);
    let connection = session(&mut world);
    let poison = format!("X-Poison: yes\r\n{}", numbered(1));
    assert_eq!(world.message(connection, "a@b.example", &["ann@example.com"], &poison), "");
    assert!(world.is_closed(connection));
    assert!(send(&mut world, 2, "ann@example.com").starts_with("250"));
    world.run_until(10_000);
    assert_eq!(mailbox(&world, "ann@example.com"), ["<2@box.example.net>"]);
}

#[test]
fn spam_is_refused_by_content_and_nothing_else_is() {
    let mut world = world(&["spam casino"]);
    let connection = session(&mut world);
    let spam = format!("{}\r\nBest casino in town\r\n", numbered(1));
    let said = world.message(connection, "a@b.example", &["ann@example.com"], &spam);
    assert_eq!(said, "550 5.7.1 Message rejected as spam by Content Filtering.");
    let said = world.message(connection, "a@b.example", &["ann@example.com"], &numbered(2));
    assert!(said.starts_with("250"));
}

#[test]
fn a_reply_that_is_lost_after_the_final_dot_leaves_the_message_delivered() {
    let mut world = world(&["lose-replies 1"]);
    assert_eq!(send(&mut world, 1, "ann@example.com"), "");
    // Who sends it again is answered, and the mailbox has it once.
    assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
    world.run_until(10_000);
    assert_eq!(mailbox(&world, "ann@example.com").len(), 1);
    assert_eq!((count(&world, "accepted"), count(&world, "replies_lost")), (2, 1));
    assert_eq!(count(&world, "duplicates_suppressed"), 1);
}

#[test]
fn trouble_between_front_end_and_back_end_is_temporary() {
    let mut world = world(&["proxy broken"]);
    let said = send(&mut world, 1, "ann@example.com");
    assert_eq!(said, "451 4.7.0 Temporary server error. Please try again later. PRX2");
    world.command("proxy ok").unwrap();
    world.command("shadow broken").unwrap();
    assert_eq!(send(&mut world, 1, "ann@example.com"), "451 4.4.0 Message failed to be made redundant");
    world.command("shadow ok").unwrap();
    assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
    // A direct face has no front end that could be in trouble.
    world.command("proxy broken").unwrap();
    world.command("face direct").unwrap();
    assert!(send(&mut world, 2, "ann@example.com").starts_with("250"));
}

#[test]
fn the_end_of_data_takes_what_the_disk_and_the_second_copy_need() {
    let mut world = world(&["commit 300ms"]);
    let began_ms = world.now_ms();
    assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
    assert_eq!(world.now_ms() - began_ms, 300);
}
