//! Speaks with the daemon: HTTP over its Unix socket, one request a connection.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use penstock_daemon::control::adopt::{AdoptHead, Adopted, AdoptedBelow};
use penstock_daemon::control::clients::{ClientsFilter, ClientsPage};
use penstock_daemon::control::quarantine::{BounceRequest, HeldFilter, HeldPage};
use penstock_daemon::control::recipients::{
    CheckedRecipient, FoundRecipient, ImportedView, RecipientsView, ReloadRequest,
};
use penstock_daemon::control::replay::{ReplayPage, ReplayRequest};
use penstock_daemon::control::tls::{AcceptRequest, CheckView, InstallRequest, TlsView};
use penstock_daemon::control::types::{
    ActionResult, CanaryFilter, CanaryPage, ConfirmRequest, ErrorBody, EventFilter, EventPage, ExportRequest,
    MessageView, ModeRequest, QueueFilter, QueuePage, RemoveRequest, Selection, SettingsRequest,
    SettingsView, Status,
};
use penstock_daemon::control::volume::{ScrubRequest, ScrubView, VolumeInfo};
use penstock_daemon::control::{MailId, SHA256_HEADER, Store};
use penstock_settings::{FILE_BYTES_MAX, Settings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::args::SETTINGS_FILE;
use crate::failure::{Exit, Failure};

/// Where the daemon listens unless its settings say otherwise.
const DEFAULT_SOCKET: &str = "/run/penstock/control.sock";
/// How long the daemon may take to begin its answer: longer than it gives itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// Pieces of a message that are read ahead of the daemon.
const PIECES: usize = 2;
/// The largest answer in JSON: a message with 10,000 of the longest recipients.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The daemon, seen from outside.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// A message on its way here.
pub(crate) struct Exported {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
    body: Incoming,
}

impl Client {
    /// Finds the socket: as asked for, else as in the settings where they are expected, else where it usually is.
    pub(crate) fn new(socket: Option<PathBuf>) -> Self {
        let socket = socket.or_else(|| socket_of(Path::new(SETTINGS_FILE)));
        Self { socket: socket.unwrap_or_else(|| DEFAULT_SOCKET.into()) }
    }

    pub(crate) async fn status(&self) -> Result<Status, Failure> {
        self.get("/v1/status".into()).await
    }

    pub(crate) async fn queue(&self, filter: &QueueFilter) -> Result<QueuePage, Failure> {
        let state = filter.state.map(|state| state.as_str().to_owned());
        let query = query(&[
            ("state", state),
            ("address", filter.address.clone()),
            ("from", filter.from.map(String::from)),
            ("limit", Some(filter.limit.to_string())),
        ]);
        self.get(format!("/v1/queue?{query}")).await
    }

    pub(crate) async fn show(&self, id: MailId) -> Result<MessageView, Failure> {
        self.get(format!("/v1/messages/{id}")).await
    }

    pub(crate) async fn set_mode(&self, request: &ModeRequest) -> Result<ActionResult, Failure> {
        self.send(Method::PUT, "/v1/mode".into(), request).await
    }

    pub(crate) async fn release(&self, which: &Selection) -> Result<ActionResult, Failure> {
        self.send(Method::POST, "/v1/release".into(), which).await
    }

    pub(crate) async fn confirm(&self, request: &ConfirmRequest) -> Result<ActionResult, Failure> {
        self.send(Method::POST, "/v1/confirm".into(), request).await
    }

    pub(crate) async fn remove(&self, request: &RemoveRequest) -> Result<ActionResult, Failure> {
        self.send(Method::POST, "/v1/remove".into(), request).await
    }

    pub(crate) async fn replay(&self, request: &ReplayRequest) -> Result<ReplayPage, Failure> {
        self.send(Method::POST, "/v1/replay".into(), request).await
    }

    pub(crate) async fn held(&self, filter: &HeldFilter) -> Result<HeldPage, Failure> {
        let query = query(&[
            ("domain", filter.domain.clone()),
            ("said", filter.said.clone()),
            ("from", filter.from.map(String::from)),
            ("limit", Some(filter.limit.to_string())),
        ]);
        self.get(format!("/v1/quarantine?{query}")).await
    }

    pub(crate) async fn bounce(&self, request: &BounceRequest) -> Result<ActionResult, Failure> {
        self.send(Method::POST, "/v1/bounce".into(), request).await
    }

    /// How far the messages of a volume were adopted.
    pub(crate) async fn adopted(&self, volume: &str) -> Result<AdoptedBelow, Failure> {
        self.get(format!("/v1/adopted?{}", query(&[("volume", Some(volume.to_owned()))]))).await
    }

    /// Gives a message of another volume to the daemon: its envelope, and what `next` gives until there is no more.
    pub(crate) async fn adopt(
        &self,
        head: &AdoptHead,
        mut next: impl FnMut() -> Option<Bytes>,
    ) -> Result<Adopted, Failure> {
        let mut first = serde_json::to_vec(head)?;
        first.push(b'\n');
        let mut first = Some(Bytes::from(first));
        self.send_pieces(Method::POST, "/v1/adopt".into(), || first.take().or_else(&mut next)).await
    }

    pub(crate) async fn recipients(&self) -> Result<RecipientsView, Failure> {
        self.get("/v1/recipients".into()).await
    }

    pub(crate) async fn find_recipient(&self, address: String) -> Result<FoundRecipient, Failure> {
        self.get(format!("/v1/recipients/find?{}", query(&[("address", Some(address))]))).await
    }

    pub(crate) async fn check_recipient(&self, address: String) -> Result<CheckedRecipient, Failure> {
        self.get(format!("/v1/recipients/check?{}", query(&[("address", Some(address))]))).await
    }

    /// Has the list read from where it is read by itself.
    pub(crate) async fn reload_recipients(&self, believe: bool) -> Result<RecipientsView, Failure> {
        self.send(Method::POST, "/v1/recipients/reload".into(), &ReloadRequest { believe }).await
    }

    /// Gives a file with recipients to the daemon: what `next` gives until there is no more.
    pub(crate) async fn import_recipients(
        &self,
        dry_run: bool,
        next: impl FnMut() -> Option<Bytes>,
    ) -> Result<ImportedView, Failure> {
        self.send_pieces(Method::PUT, format!("/v1/recipients?dry_run={dry_run}"), next).await
    }

    pub(crate) async fn clear_recipients(&self) -> Result<ActionResult, Failure> {
        self.answer(self.ask(Method::DELETE, "/v1/recipients".into(), Full::default()).await?).await
    }

    pub(crate) async fn tls(&self) -> Result<TlsView, Failure> {
        self.get("/v1/tls".into()).await
    }

    pub(crate) async fn accept_certificate(&self, request: &AcceptRequest) -> Result<ActionResult, Failure> {
        self.send(Method::POST, "/v1/tls/accept".into(), request).await
    }

    pub(crate) async fn reload_certificate(&self) -> Result<ActionResult, Failure> {
        self.answer(self.ask(Method::POST, "/v1/tls/reload".into(), Full::default()).await?).await
    }

    pub(crate) async fn check_tls(&self) -> Result<CheckView, Failure> {
        self.get("/v1/tls/check".into()).await
    }

    pub(crate) async fn install_certificate(
        &self,
        request: &InstallRequest,
    ) -> Result<ActionResult, Failure> {
        self.send(Method::PUT, "/v1/tls/certificate".into(), request).await
    }

    pub(crate) async fn uninstall_certificate(&self) -> Result<ActionResult, Failure> {
        self.answer(self.ask(Method::DELETE, "/v1/tls/certificate".into(), Full::default()).await?).await
    }

    pub(crate) async fn volume(&self, which: Store) -> Result<VolumeInfo, Failure> {
        self.get(of("/v1/volume", which)).await
    }

    pub(crate) async fn scrub(&self, which: Store) -> Result<ScrubView, Failure> {
        self.get(of("/v1/scrub", which)).await
    }

    pub(crate) async fn begin_scrub(
        &self,
        which: Store,
        request: &ScrubRequest,
    ) -> Result<ScrubView, Failure> {
        self.send(Method::POST, of("/v1/scrub", which), request).await
    }

    pub(crate) async fn stop_scrub(&self, which: Store) -> Result<ActionResult, Failure> {
        self.answer(self.ask(Method::DELETE, of("/v1/scrub", which), Full::default()).await?).await
    }

    pub(crate) async fn events(&self, filter: &EventFilter) -> Result<EventPage, Failure> {
        let query = query(&[
            ("message", filter.message.map(String::from)),
            ("kind", filter.kind.clone()),
            ("limit", Some(filter.limit.to_string())),
        ]);
        self.get(format!("/v1/events?{query}")).await
    }

    pub(crate) async fn canaries(&self, filter: &CanaryFilter) -> Result<CanaryPage, Failure> {
        self.get(format!("/v1/canaries?{}", query(&[("hop", filter.hop.clone())]))).await
    }

    pub(crate) async fn clients(&self, filter: ClientsFilter) -> Result<ClientsPage, Failure> {
        self.get(format!("/v1/clients?limit={}", filter.limit)).await
    }

    /// All figures as text for Prometheus.
    pub(crate) async fn metrics(&self) -> Result<String, Failure> {
        let response = self.ask(Method::GET, "/metrics".into(), Full::default()).await?;
        Ok(String::from_utf8_lossy(&self.bytes(response).await?).into_owned())
    }

    pub(crate) async fn settings(&self) -> Result<SettingsView, Failure> {
        self.get("/v1/settings".into()).await
    }

    pub(crate) async fn put_settings(&self, text: String) -> Result<SettingsView, Failure> {
        self.send(Method::PUT, "/v1/settings".into(), &SettingsRequest { text }).await
    }

    pub(crate) async fn export(&self, id: MailId, reason: String) -> Result<Exported, Failure> {
        let body = json(&ExportRequest { reason })?;
        let response = self.ask(Method::POST, format!("/v1/messages/{id}/export"), Full::new(body)).await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let size_bytes = header(header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        let (Some(size_bytes), Some(sha256)) = (size_bytes, header(SHA256_HEADER)) else {
            return Err(self.not_understood("neither size nor checksum"));
        };
        Ok(Exported { size_bytes, sha256: sha256.to_owned(), body: response.into_body() })
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, Failure> {
        self.answer(self.ask(Method::GET, path, Full::default()).await?).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.answer(self.ask(method, path, Full::new(json(body)?)).await?).await
    }

    /// Sends a body that comes in pieces.
    async fn send_pieces<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        mut next: impl FnMut() -> Option<Bytes>,
    ) -> Result<T, Failure> {
        let (pieces, body) = mpsc::channel(PIECES);
        let feed = async {
            // The daemon may refuse before it has all.
            while let Some(bytes) = next()
                && pieces.send(bytes).await.is_ok()
            {}
            drop(pieces);
        };
        let (answer, ()) = tokio::join!(self.ask(method, path, Pieces(body)), feed);
        self.answer(answer?).await
    }

    /// Asks, and has the head of a good answer; a refusal becomes a failure.
    async fn ask<B>(&self, method: Method, path: String, body: B) -> Result<Response<Incoming>, Failure>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "penstock")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            match request {
                Ok(request) => sender.send_request(request).await.map(Ok),
                Err(error) => Ok(Err(error)),
            }
        };
        let response = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Err(_) => {
                return Err(self.gone(&format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())));
            }
            Ok(Err(error)) => return Err(self.gone(&error.to_string())),
            Ok(Ok(Err(error))) => return Err(self.not_understood(&error.to_string())),
            Ok(Ok(Ok(response))) => response,
        };
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let refusal: ErrorBody = self.answer(response).await?;
        Err(Failure::Told(Exit::Failed, refusal))
    }

    async fn answer<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Failure> {
        let bytes = self.bytes(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_understood(&error.to_string()))
    }

    async fn bytes(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        match tokio::time::timeout(ANSWER_TIMEOUT, body).await {
            Err(_) => Err(self.gone("the answer stopped in the middle")),
            Ok(Err(error)) => Err(self.gone(&error.to_string())),
            Ok(Ok(body)) => Ok(body.to_bytes()),
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Failure::new(
                Exit::Unreachable,
                "PS-D302",
                format!("you may not use {socket}"),
                "Become root, or a member of the group that the socket belongs to.",
            );
        }
        Failure::new(
            Exit::Unreachable,
            "PS-D301",
            format!("no daemon answers on {socket}: {error}"),
            "Start it with `systemctl start penstock` or `penstock serve --settings FILE`; if it listens elsewhere, \
             say where with --socket.",
        )
    }

    fn gone(&self, why: &str) -> Failure {
        Failure::new(
            Exit::Unreachable,
            "PS-D303",
            format!("the daemon on {} broke off: {why}", self.socket.display()),
            "Its log says more: `journalctl -u penstock`.",
        )
    }

    fn not_understood(&self, why: &str) -> Failure {
        Failure::new(
            Exit::Failed,
            "PS-D306",
            format!("what answers on {} is not understood: {why}", self.socket.display()),
            "The command line and the daemon may be of different versions; restart the daemon after an update.",
        )
    }
}

impl Exported {
    /// The next piece; `None` once all of it has come.
    pub(crate) async fn next_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = match tokio::time::timeout(ANSWER_TIMEOUT, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(cut(&error.to_string())),
                Err(_) => return Err(cut("nothing more came")),
            };
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}

/// A body that comes piece by piece.
struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn cut(why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "PS-D307",
        format!("the message came only in part: {why}"),
        "It may be damaged on flash: `penstock show` and the daemon's log say more.",
    )
}

fn json(body: &impl Serialize) -> Result<Bytes, Failure> {
    Ok(serde_json::to_vec(body)?.into())
}

/// A path about a volume.
fn of(path: &str, which: Store) -> String {
    format!("{path}?volume={}", which.as_str())
}

fn query(pairs: &[(&str, Option<String>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

/// The control socket that a settings file names, if it is there and right.
fn socket_of(settings: &Path) -> Option<PathBuf> {
    use io::Read;
    let mut text = String::new();
    std::fs::File::open(settings).ok()?.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).ok()?;
    Some(Settings::parse(&text).ok()?.system.control_socket.as_str().into())
}

#[cfg(test)]
mod tests {
    use penstock_settings::{Preset, SECTIONS};

    use super::*;

    #[test]
    fn the_usual_socket_is_the_default_of_the_settings() {
        let key = SECTIONS.iter().flat_map(|section| section.keys).find(|key| key.name == "control_socket");
        assert_eq!((key.unwrap().preset)(), Preset::Default(format!("\"{DEFAULT_SOCKET}\"")));
    }
}
