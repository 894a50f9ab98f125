//! The counters of the transport queues, as windows_exporter's `exchange` collector serves them to Prometheus: the same
//! names, the same labels. Its other objects (proxies, directory access, web access) are left out.

use std::fmt::Write;

use crate::config::Counters;
use crate::transport::Transport;

const PREFIX: &str = "windows_exchange_transport_queues_";

/// The text of `/metrics`, in the format of Prometheus.
pub(crate) fn text(transport: &Transport) -> String {
    let (mode, success) = match transport.config.counters {
        Counters::Missing => (Counters::Missing, 0),
        mode => (mode, 1),
    };
    let mut out = String::from(
        "# HELP windows_exporter_collector_success windows_exporter: Whether the collector was successful.\n\
         # TYPE windows_exporter_collector_success gauge\n",
    );
    let _ = writeln!(out, "windows_exporter_collector_success{{collector=\"exchange\"}} {success}");
    if mode == Counters::Missing {
        return out;
    }
    for (name, help, value) in gauges(transport) {
        write_metric(&mut out, "gauge", name, help, value);
    }
    if mode != Counters::Old {
        write_metric(
            &mut out,
            "gauge",
            "submission_queue_length",
            "Submission Queue Length",
            transport.submission_len() as u64,
        );
        write_metric(&mut out, "gauge", "delay_queue_length", "Delay Queue Length", 0);
        write_metric(&mut out, "gauge", "shadow_queue_length", "Shadow Queue Length", 0);
        for (name, help, value) in totals(transport) {
            write_metric(&mut out, "counter", name, help, value);
        }
    }
    out
}

/// What every version of the collector serves.
fn gauges(transport: &Transport) -> [(&'static str, &'static str, u64); 8] {
    let lengths: Vec<(usize, usize)> = transport.store.lengths().collect();
    let active: usize = lengths.iter().map(|(active, _)| active).sum();
    let retry: usize = lengths.iter().map(|(_, retry)| retry).sum();
    let largest = lengths.iter().map(|(active, retry)| active + retry).max().unwrap_or(0);
    [
        ("external_active_remote_delivery", "External Active Remote Delivery Queue length", 0),
        ("internal_active_remote_delivery", "Internal Active Remote Delivery Queue length", 0),
        ("active_mailbox_delivery", "Active Mailbox Delivery Queue length", active as u64),
        ("retry_mailbox_delivery", "Retry Mailbox Delivery Queue length", retry as u64),
        ("unreachable", "Unreachable Queue length", 0),
        ("external_largest_delivery", "External Largest Delivery Queue length", 0),
        ("internal_largest_delivery", "Internal Largest Delivery Queue length", largest as u64),
        ("poison", "Poison Queue length", 0),
    ]
}

/// What newer versions add.
fn totals(transport: &Transport) -> [(&'static str, &'static str, u64); 8] {
    let totals = &transport.totals;
    let submitted = totals.accepted + totals.background;
    let queued = transport.store.queued_total;
    [
        ("messages_queued_for_delivery_total", "Messages Queued For Delivery Total", queued),
        ("messages_submitted_total", "Messages Submitted Total", submitted),
        ("messages_delayed_total", "Messages Delayed Total", 0),
        ("messages_completed_delivery_total", "Messages Completed Delivery Total", totals.delivered),
        ("items_completed_delivery_total", "Items Completed Delivery Total", totals.delivered),
        (
            "items_queued_for_delivery_expired_total",
            "Items Queued For Delivery Expired Total",
            totals.expired,
        ),
        ("items_queued_for_delivery_total", "Items Queued For Delivery Total", queued),
        ("items_resubmitted_total", "Items Resubmitted Total", 0),
    ]
}

fn write_metric(out: &mut String, kind: &str, name: &str, help: &str, value: u64) {
    // Writing to a String cannot fail. `_total` is how Windows calls the sum of all instances.
    let _ = writeln!(
        out,
        "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n{PREFIX}{name}{{name=\"_total\"}} {value}"
    );
}
