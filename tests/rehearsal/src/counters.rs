//! What the appliance reads of windows_exporter's text.

use penstock_release::Counters;

const PREFIX: &str = "windows_exchange_transport_queues_";

/// The counters in a text of `/metrics`; `None` if the collector serves none.
pub(crate) fn read(text: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(PREFIX) else { continue };
        let Some((name, value)) = rest.split_once("{name=\"_total\"} ") else { continue };
        let Ok(value) = value.parse() else { continue };
        let slot = match name {
            "submission_queue_length" => &mut counters.submission,
            "active_mailbox_delivery" => &mut counters.active_mailbox,
            "retry_mailbox_delivery" => &mut counters.retry_mailbox,
            "poison" => &mut counters.poison,
            "messages_completed_delivery_total" => &mut counters.completed_total,
            "messages_submitted_total" => &mut counters.submitted_total,
            _ => continue,
        };
        *slot = Some(value);
    }
    (counters != Counters::default()).then_some(counters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_exchange::Server;

    #[test]
    fn the_counters_of_a_server_are_read_and_those_that_are_missing_are_not_made_up() {
        let mut server = Server::new(1, 0);
        let full = read(&server.metrics()).unwrap();
        assert_eq!((full.submission, full.retry_mailbox, full.completed_total), (Some(0), Some(0), Some(0)));
        server.command(0, "counters old").unwrap();
        let old = read(&server.metrics()).unwrap();
        assert_eq!((old.submission, old.retry_mailbox, old.completed_total), (None, Some(0), None));
        server.command(0, "counters missing").unwrap();
        assert_eq!(read(&server.metrics()), None);
    }
}
