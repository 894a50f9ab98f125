//! What is served over HTTP: the counters as windows_exporter serves them, and for people and tests the status, the
//! mailboxes, the reports and the commands.

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::net::TcpListener;

use crate::message::Delivery;
use crate::real::Model;
use crate::report::ReportKind;

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, model: Model) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/mailboxes", get(mailboxes))
        .route("/reports", get(reports))
        .route("/command", post(command))
        .with_state(model);
    loop {
        // One that failed to arrive is the peer's affair.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            // So is one that broke.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn metrics(State(model): State<Model>) -> String {
    model.with(|server| server.metrics())
}

async fn status(State(model): State<Model>) -> Json<Value> {
    Json(model.with(|server| server.summary()))
}

/// All deliveries, or those of `?address=`; `?after=N` leaves out the first N, for who asks again and again.
async fn mailboxes(
    State(model): State<Model>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Vec<Value>> {
    let after = query.get("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let address = query.get("address").map(|address| address.to_lowercase());
    let wanted = |delivery: &&Delivery| address.as_ref().is_none_or(|address| *address == delivery.mailbox);
    model.with(|server| {
        Json(server.deliveries().iter().skip(after).filter(wanted).map(delivery_to_json).collect())
    })
}

fn delivery_to_json(delivery: &Delivery) -> Value {
    json!({
        "message": delivery.message,
        "message_id": delivery.message_id,
        "mailbox": delivery.mailbox,
        "database": delivery.database,
        "from": delivery.from,
        "source": delivery.source,
        "bytes": delivery.len_bytes,
        "mail_ms": delivery.mail_ms,
        "accepted_ms": delivery.accepted_ms,
        "delivered_ms": delivery.delivered_ms,
        "content": String::from_utf8_lossy(&delivery.kept),
    })
}

async fn reports(State(model): State<Model>) -> Json<Vec<Value>> {
    let kind = |kind: ReportKind| match kind {
        ReportKind::Delivered => "delivered",
        ReportKind::UnknownRecipient => "unknown-recipient",
        ReportKind::Expired => "expired",
        ReportKind::TooLarge => "too-large",
    };
    model.with(|server| {
        let reports = server.reports().iter();
        Json(
            reports
                .map(|report| {
                    json!({
                        "kind": kind(report.kind),
                        "recipient": report.recipient,
                        "to": report.to,
                        "message_id": report.message_id,
                        "envelope_id": report.envelope_id,
                        "at_ms": report.at_ms,
                    })
                })
                .collect(),
        )
    })
}

/// The body holds commands, a line each; all before the first wrong one are carried out.
async fn command(State(model): State<Model>, body: String) -> (StatusCode, String) {
    let mut said = String::new();
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match model.command(line) {
            Ok(text) if text.is_empty() => said.push_str("ok\n"),
            Ok(text) => said.push_str(&format!("ok: {text}\n")),
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{said}error: {error}\n")),
        }
    }
    (StatusCode::OK, said)
}
