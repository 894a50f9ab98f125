//! The paths of the control interface. Who serves them over which transport puts a [`Who`] into each request.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`](super::types::Status) |
//! | `GET /v1/queue?state=&address=&from=&limit=` | | [`QueuePage`](super::types::QueuePage) |
//! | `GET /v1/messages/{id}` | | [`MessageView`](super::types::MessageView) |
//! | `POST /v1/messages/{id}/export` | [`ExportRequest`] | the message as it was received |
//! | `PUT /v1/mode` | [`ModeRequest`] | [`ActionResult`](super::types::ActionResult) |
//! | `POST /v1/confirm` | [`ConfirmRequest`] | `ActionResult` |
//! | `POST /v1/release` | [`Selection`] | `ActionResult` |
//! | `GET /v1/quarantine?domain=&said=&from=&limit=` | | [`HeldPage`](super::quarantine::HeldPage) |
//! | `POST /v1/bounce` | [`BounceRequest`] | `ActionResult` |
//! | `POST /v1/replay` | [`ReplayRequest`] | [`ReplayPage`](super::replay::ReplayPage) |
//! | `POST /v1/remove` | [`RemoveRequest`] | `ActionResult` |
//! | `GET /v1/events?message=&kind=&limit=` | | [`EventPage`](super::types::EventPage) |
//! | `GET /v1/canaries?hop=` | | [`CanaryPage`](super::types::CanaryPage) |
//! | `GET /v1/clients?limit=` | | [`ClientsPage`](super::clients::ClientsPage) |
//! | `GET /v1/settings` | | [`SettingsView`](super::types::SettingsView) |
//! | `PUT /v1/settings` | [`SettingsRequest`] | `SettingsView`, its trial running |
//! | `GET /v1/volume?volume=` | | [`VolumeInfo`](super::volume::VolumeInfo) |
//! | `GET /v1/scrub?volume=` | | [`ScrubView`](super::volume::ScrubView) |
//! | `POST /v1/scrub?volume=` | [`ScrubRequest`] | `ScrubView` |
//! | `DELETE /v1/scrub?volume=` | | `ActionResult` |
//! | `POST /v1/adopt` | a line of JSON, [`AdoptHead`](super::adopt::AdoptHead), then the message | [`Adopted`](super::adopt::Adopted) |
//! | `GET /v1/adopted?volume=` | | [`AdoptedBelow`](super::adopt::AdoptedBelow): the volume by its id |
//! | `GET /v1/recipients` | | [`RecipientsView`](super::recipients::RecipientsView) |
//! | `PUT /v1/recipients?dry_run=` | the file | [`ImportedView`](super::recipients::ImportedView) |
//! | `DELETE /v1/recipients` | | `ActionResult` |
//! | `GET /v1/recipients/find?address=` | | [`FoundRecipient`](super::recipients::FoundRecipient) |
//! | `GET /v1/recipients/check?address=` | | [`CheckedRecipient`](super::recipients::CheckedRecipient) |
//! | `POST /v1/recipients/reload` | [`ReloadRequest`] | `RecipientsView` |
//! | `GET /v1/tls` | | [`TlsView`](super::tls::TlsView) |
//! | `POST /v1/tls/accept` | [`AcceptRequest`] | `ActionResult` |
//! | `POST /v1/tls/reload` | | `ActionResult` |
//! | `PUT /v1/tls/certificate` | [`InstallRequest`] | `ActionResult` |
//! | `DELETE /v1/tls/certificate` | | `ActionResult` |
//! | `GET /metrics` | | figures for Prometheus |
//!
//! A volume is `disk`, which it is if nobody says, or `nor`. Whatever goes wrong is told as an [`ErrorBody`](super::types::ErrorBody).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::adopt::{AdoptedOf, HandedOver};
use super::body::ExportBody;
use super::clients::ClientsFilter;
use super::quarantine::{BounceRequest, HeldFilter};
use super::recipients::{FindRecipient, ImportOptions, ReloadRequest, Upload};
use super::replay::{ADDRESS_BYTES_MAX, ReplayRequest, Which};
use super::tls::{AcceptRequest, InstallRequest};
use super::types::{
    CanaryFilter, ConfirmRequest, EventFilter, ExportRequest, IDS_MAX, ModeRequest, PAGE_ROWS_MAX,
    QueueFilter, REASON_BYTES_MAX, RemoveRequest, Selection, SettingsRequest,
};
use super::volume::{self, ScrubRequest};
use super::{Kind, MailId, Operate, Refusal, Who};

/// The largest body of a request: settings may be 64 KiB, and JSON makes up to six bytes of one.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// How long an answer may take to begin. A search through the queue reads bounded parts and stays far below.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How many rows a page has if nobody says.
const PAGE_ROWS: u32 = 50;
/// The header with the SHA-256 of an exported message, in lower-case hexadecimal.
pub const SHA256_HEADER: &str = "x-penstock-sha256";

/// All paths.
pub fn router<O: Operate>(operate: Arc<O>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<O>))
        .route("/v1/queue", get(queue::<O>))
        .route("/v1/messages/{id}", get(show::<O>))
        .route("/v1/messages/{id}/export", post(export::<O>))
        .route("/v1/mode", put(set_mode::<O>))
        .route("/v1/confirm", post(confirm::<O>))
        .route("/v1/release", post(release::<O>))
        .route("/v1/quarantine", get(held::<O>))
        .route("/v1/bounce", post(bounce::<O>))
        .route("/v1/replay", post(replay::<O>))
        .route("/v1/remove", post(remove::<O>))
        .route("/v1/events", get(events::<O>))
        .route("/v1/canaries", get(canaries::<O>))
        .route("/v1/clients", get(clients::<O>))
        .route("/v1/adopt", post(adopt::<O>).layer(DefaultBodyLimit::disable()))
        .route("/v1/adopted", get(adopted::<O>))
        .route("/v1/settings", get(settings::<O>).put(put_settings::<O>))
        .route("/v1/volume", get(volume::<O>))
        .route("/v1/scrub", get(scrub::<O>).post(begin_scrub::<O>).delete(stop_scrub::<O>))
        .route(
            "/v1/recipients",
            get(recipients::<O>)
                .put(import_recipients::<O>)
                .delete(clear_recipients::<O>)
                .layer(DefaultBodyLimit::disable()),
        )
        .route("/v1/recipients/find", get(find_recipient::<O>))
        .route("/v1/recipients/check", get(check_recipient::<O>))
        .route("/v1/recipients/reload", post(reload_recipients::<O>))
        .route("/v1/tls", get(tls::<O>))
        .route("/v1/tls/accept", post(accept_certificate::<O>))
        .route("/v1/tls/reload", post(reload_certificate::<O>))
        .route("/v1/tls/certificate", put(install_certificate::<O>).delete(uninstall_certificate::<O>))
        .route("/metrics", get(metrics::<O>))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_path)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn(bounded_and_logged))
        .with_state(operate)
}

type Answer<T> = Result<Json<T>, Refusal>;

async fn status<O: Operate>(State(operate): State<Arc<O>>) -> Answer<impl Serialize> {
    operate.status().await.map(Json)
}

async fn queue<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(mut filter): Asked<QueueFilter>,
) -> Answer<impl Serialize> {
    filter.limit = page_rows(filter.limit);
    operate.queue(filter).await.map(Json)
}

async fn show<O: Operate>(State(operate): State<Arc<O>>, Named(id): Named) -> Answer<impl Serialize> {
    operate.show(id).await.map(Json)
}

async fn export<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Named(id): Named,
    Told(request): Told<ExportRequest>,
) -> Result<Response, Refusal> {
    let export = operate.export(id, checked_reason(request.reason)?, who).await?;
    let sha256: String = export.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let headers = [(header::CONTENT_TYPE.as_str(), "message/rfc822"), (SHA256_HEADER, &sha256)];
    Ok((headers, axum::body::Body::new(ExportBody::new(export))).into_response())
}

async fn set_mode<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(request): Told<ModeRequest>,
) -> Answer<impl Serialize> {
    let reason = request.reason.map(checked_reason).transpose()?;
    operate.set_mode(request.mode, reason, who).await.map(Json)
}

async fn release<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(which): Told<Selection>,
) -> Answer<impl Serialize> {
    let which = match which {
        Selection::Ids(ids) => Selection::Ids(checked_ids(ids)?),
        Selection::All => Selection::All,
    };
    operate.release(which, who).await.map(Json)
}

async fn confirm<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(request): Told<ConfirmRequest>,
) -> Answer<impl Serialize> {
    operate.confirm(request.hop, who).await.map(Json)
}

async fn held<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(mut filter): Asked<HeldFilter>,
) -> Answer<impl Serialize> {
    filter.limit = page_rows(filter.limit);
    operate.held(filter).await.map(Json)
}

async fn bounce<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(mut request): Told<BounceRequest>,
) -> Answer<impl Serialize> {
    request.reason = checked_reason(request.reason)?;
    operate.bounce(request, who).await.map(Json)
}

async fn replay<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(mut request): Told<ReplayRequest>,
) -> Answer<impl Serialize> {
    request.reason = request.reason.map(checked_reason).transpose()?;
    request.which = match request.which {
        Which::Ids(ids) => Which::Ids(checked_ids(ids)?),
        Which::Domain(domain) => Which::Domain(checked_address(domain)?),
        Which::Mailbox(mailbox) => Which::Mailbox(checked_address(mailbox)?),
        Which::Database(database) => Which::Database(checked_address(database)?),
        Which::All => Which::All,
    };
    operate.replay(request, who).await.map(Json)
}

async fn remove<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(request): Told<RemoveRequest>,
) -> Answer<impl Serialize> {
    let ids = checked_ids(request.ids)?;
    operate.remove(ids, checked_reason(request.reason)?, who).await.map(Json)
}

async fn events<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(mut filter): Asked<EventFilter>,
) -> Answer<impl Serialize> {
    filter.limit = page_rows(filter.limit);
    operate.events(filter).await.map(Json)
}

async fn canaries<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(filter): Asked<CanaryFilter>,
) -> Answer<impl Serialize> {
    operate.canaries(filter).await.map(Json)
}

async fn clients<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(mut filter): Asked<ClientsFilter>,
) -> Answer<impl Serialize> {
    filter.limit = page_rows(filter.limit);
    operate.clients(filter).await.map(Json)
}

async fn settings<O: Operate>(State(operate): State<Arc<O>>) -> Answer<impl Serialize> {
    operate.settings().await.map(Json)
}

async fn put_settings<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(request): Told<SettingsRequest>,
) -> Answer<impl Serialize> {
    operate.put_settings(request.text, who).await.map(Json)
}

async fn adopt<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    body: axum::body::Body,
) -> Answer<impl Serialize> {
    operate.adopt(HandedOver::read(body).await?, who).await.map(Json)
}

async fn adopted<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(AdoptedOf { volume }): Asked<AdoptedOf>,
) -> Answer<impl Serialize> {
    operate.adopted(volume).await.map(Json)
}

async fn volume<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(which): Asked<volume::Which>,
) -> Answer<impl Serialize> {
    operate.volume(which.volume).await.map(Json)
}

async fn scrub<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(which): Asked<volume::Which>,
) -> Answer<impl Serialize> {
    operate.scrub(which.volume).await.map(Json)
}

async fn begin_scrub<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(which): Asked<volume::Which>,
    Told(request): Told<ScrubRequest>,
) -> Answer<impl Serialize> {
    operate.begin_scrub(which.volume, request.repair).await.map(Json)
}

async fn stop_scrub<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(which): Asked<volume::Which>,
) -> Answer<impl Serialize> {
    operate.stop_scrub(which.volume).await.map(Json)
}

async fn recipients<O: Operate>(State(operate): State<Arc<O>>) -> Answer<impl Serialize> {
    operate.recipients().await.map(Json)
}

async fn import_recipients<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Asked(ImportOptions { dry_run }): Asked<ImportOptions>,
    body: axum::body::Body,
) -> Answer<impl Serialize> {
    operate.import_recipients(Upload::new(body), dry_run, who).await.map(Json)
}

async fn clear_recipients<O: Operate>(State(operate): State<Arc<O>>, who: Who) -> Answer<impl Serialize> {
    operate.clear_recipients(who).await.map(Json)
}

async fn find_recipient<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(FindRecipient { address }): Asked<FindRecipient>,
) -> Answer<impl Serialize> {
    operate.find_recipient(address).await.map(Json)
}

async fn check_recipient<O: Operate>(
    State(operate): State<Arc<O>>,
    Asked(FindRecipient { address }): Asked<FindRecipient>,
) -> Answer<impl Serialize> {
    operate.check_recipient(address).await.map(Json)
}

async fn reload_recipients<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(request): Told<ReloadRequest>,
) -> Answer<impl Serialize> {
    operate.reload_recipients(request, who).await.map(Json)
}

async fn tls<O: Operate>(State(operate): State<Arc<O>>) -> Answer<impl Serialize> {
    operate.tls().await.map(Json)
}

async fn accept_certificate<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(request): Told<AcceptRequest>,
) -> Answer<impl Serialize> {
    operate.accept_certificate(request.hop, who).await.map(Json)
}

async fn reload_certificate<O: Operate>(State(operate): State<Arc<O>>) -> Answer<impl Serialize> {
    operate.reload_certificate().await.map(Json)
}

async fn install_certificate<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
    Told(request): Told<InstallRequest>,
) -> Answer<impl Serialize> {
    operate.install_certificate(request, who).await.map(Json)
}

async fn uninstall_certificate<O: Operate>(
    State(operate): State<Arc<O>>,
    who: Who,
) -> Answer<impl Serialize> {
    operate.uninstall_certificate(who).await.map(Json)
}

async fn metrics<O: Operate>(State(operate): State<Arc<O>>) -> Result<impl IntoResponse, Refusal> {
    let text = operate.metrics().await?;
    let mut headers = HeaderMap::new();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok((headers, text))
}

async fn no_such_path(request: Request) -> Refusal {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    Refusal::new(
        Kind::NotFound,
        "PS-D103",
        message,
        "The command line and the daemon may be of different versions.",
    )
}

/// Gives each request a bounded time, and leaves a line in the log of each that may have changed something.
async fn bounded_and_logged(request: Request, next: Next) -> Response {
    let changes = request.method() != Method::GET;
    let asked = format!("{} {}", request.method(), request.uri().path());
    let who = request.extensions().get::<Who>().map(ToString::to_string).unwrap_or_default();
    let response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(
            Kind::Unavailable,
            "PS-D104",
            format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()),
            "The volume may be slow or failing: look at `penstock status` and the daemon's log.",
        )
        .into_response(),
    };
    if changes {
        tracing::info!(who, asked, status = response.status().as_u16(), "control");
    }
    response
}

fn page_rows(limit: u32) -> u32 {
    if limit == 0 { PAGE_ROWS } else { limit.min(PAGE_ROWS_MAX) }
}

fn checked_reason(reason: String) -> Result<String, Refusal> {
    let trimmed = reason.trim();
    if trimmed.is_empty() {
        return Err(Refusal::bad_request("a reason is needed"));
    }
    if trimmed.len() > REASON_BYTES_MAX || trimmed.contains(char::is_control) {
        return Err(Refusal::bad_request(format!(
            "a reason is one line of at most {REASON_BYTES_MAX} bytes without control characters"
        )));
    }
    Ok(if trimmed.len() == reason.len() { reason } else { trimmed.to_owned() })
}

fn checked_address(address: String) -> Result<String, Refusal> {
    if address.is_empty() || address.len() > ADDRESS_BYTES_MAX || address.contains(char::is_control) {
        return Err(Refusal::bad_request(format!(
            "a mailbox, a domain or a database has 1 to {ADDRESS_BYTES_MAX} bytes and no control characters"
        )));
    }
    Ok(address)
}

fn checked_ids(ids: Vec<MailId>) -> Result<Vec<MailId>, Refusal> {
    match ids.len() {
        0 => Err(Refusal::bad_request("no message is named")),
        1..=IDS_MAX => Ok(ids),
        count => Err(Refusal::bad_request(format!("{count} messages are named: at most {IDS_MAX} at once"))),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.kind {
            Kind::BadRequest => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.body)).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Refusal::new(
                Kind::Internal,
                "PS-D105",
                "nobody knows who asks",
                "Only somebody known may do this.",
            )
        })
    }
}

/// A body of JSON.
struct Told<T>(T);

impl<S: Sync + Send, T: DeserializeOwned> FromRequest<S> for Told<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Json(told) = Json::from_request(request, state)
            .await
            .map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
        Ok(Self(told))
    }
}

/// The query of a URL.
struct Asked<T>(T);

impl<S: Sync + Send, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(asked) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
        Ok(Self(asked))
    }
}

/// The message that a path names.
struct Named(MailId);

impl<S: Sync + Send> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(id) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
        Ok(Self(id))
    }
}
