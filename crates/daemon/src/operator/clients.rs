//! Who holds the sessions, and what needs somebody about that.

use super::Operator;
use crate::control::clients::{ClientView, ClientsFilter, ClientsPage};
use crate::control::types::{Alert, ErrorBody, ListenerView, Severity};
use crate::listen::{GATEWAY_HELP, Limit, Shortage, SourceFigures};

pub(super) fn page(operator: &Operator, filter: ClientsFilter) -> ClientsPage {
    let (limits, metrics, settings) =
        (operator.listening.limits(), &operator.metrics, &operator.settings.listen);
    let (figures, reading) = (limits.figures(), limits.reading());
    ClientsPage {
        sessions: figures.sessions,
        sessions_max: settings.connections_max,
        busy: limits.is_busy(),
        held_back: limits.tarpitted(),
        short_of: short_of(limits.shortage()),
        descriptors: reading.descriptors,
        descriptors_max: reading.descriptors_max,
        memory_free_bytes: reading.memory_free_bytes,
        reserved_bytes: figures.reserved_bytes,
        reserved_bytes_max: settings.reserved_max.0,
        gateway: figures.gateway.map(|source| source.to_string()),
        connections: metrics.sessions.get(),
        refused: metrics.sessions_refused.get(),
        not_allowed: metrics.sessions_not_allowed.get(),
        displaced: metrics.sessions_displaced.get(),
        sources: figures.sources,
        remembered: figures.remembered,
        rows: limits.sources(filter.limit as usize).into_iter().map(client).collect(),
    }
}

fn client(figures: SourceFigures) -> ClientView {
    ClientView {
        source: figures.source.to_string(),
        trusted: figures.trusted,
        sessions: figures.sessions,
        reserved_bytes: figures.reserved_bytes,
        messages_per_minute: figures.messages_per_minute,
        recipients_per_minute: figures.recipients_per_minute,
        errors_per_minute: figures.errors_per_minute,
        limits: figures.limits.into_iter().map(Limit::as_str).map(str::to_owned).collect(),
        connections: figures.sums.connections,
        refused: figures.sums.refused,
        messages: figures.sums.messages,
        recipients: figures.sums.recipients,
        errors: figures.sums.errors,
        seen_ms_ago: figures.seen_ms_ago,
    }
}

pub(super) fn listener(operator: &Operator) -> ListenerView {
    let (limits, settings) = (operator.listening.limits(), &operator.settings.listen);
    let figures = limits.figures();
    ListenerView {
        addresses: settings.addresses.iter().map(ToString::to_string).collect(),
        sessions: figures.sessions,
        sessions_max: settings.connections_max,
        sources: figures.sources,
        sources_at_limits: figures.sources_at_limits,
        short_of: short_of(limits.shortage()),
    }
}

fn short_of(shortage: Option<Shortage>) -> Option<String> {
    shortage.map(|shortage| shortage.as_str().to_owned())
}

/// What needs somebody.
pub(super) fn alerts(operator: &Operator) -> Vec<Alert> {
    let limits = operator.listening.limits();
    let mut alerts = Vec::new();
    let mut add = |severity, code: &str, message: String, help: String| {
        alerts.push(Alert { severity, what: ErrorBody { code: code.to_owned(), message, help } });
    };
    if let Some(shortage) = limits.shortage() {
        let (code, help) = match shortage {
            Shortage::Descriptors => {
                ("PS-D227", "Raise the limit on open files, or lower listen.connections_max.")
            }
            Shortage::Memory => ("PS-D228", "Lower listen.connections_max, or give the machine more memory."),
        };
        let what = shortage.as_str();
        let message = format!(
            "The machine runs short of {what}: idle sessions end, and others are let in only in their place."
        );
        add(Severity::Critical, code, message, help.to_owned());
    }
    if let Some(source) = limits.figures().gateway {
        let message = format!(
            "Nearly all connections come from {source}: limits per source hold for all senders together."
        );
        let mut help = GATEWAY_HELP.to_owned();
        help[..1].make_ascii_uppercase();
        add(Severity::Warning, "PS-D225", message, help + ".");
    }
    alerts
}
