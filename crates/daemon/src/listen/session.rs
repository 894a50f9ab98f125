//! One connection from a client: bytes between the socket and the state machine, verdicts from the intake.
//!
//! Input is read into a buffer that all sessions of the thread share, since nothing is awaited between the read and
//! what is made of it; only what has to wait is copied. So an idle session costs its state and no buffers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use penstock_smtp::replies;
use penstock_smtp::server::{Awaits, CloseReason, Event, ResetReason, Session};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tracing::{debug, info};

use super::Listening;
use super::intake::{Intake, Verdict};
use super::limits::{Erred, Phase, Place};
use super::pace::Pace;
use super::through::{self, Answer};
use crate::stop;
use crate::tls::{self, Stream};

/// What is read at once.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// What has to happen next.
#[derive(Debug)]
enum Step {
    /// All input is used up.
    Read,
    /// There is no room for more replies.
    Flush,
    /// The intake has collected enough of the message to give it on.
    PassOn,
    /// The message has ended.
    End { received_lines: u32, bare_newlines: bool },
    /// The client is about to begin a TLS handshake.
    Encrypt,
    /// The session is over.
    Close,
}

/// Why a connection ended before its session did.
#[derive(Debug)]
enum Cut {
    Late,
    Lost(io::Error),
    /// The client closed it.
    Eof,
    /// Somebody else needs the place.
    Displaced,
    /// There was no TLS handshake.
    NotEncrypted(tls::Failed),
    Stopping,
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Serves a client until it goes or has to go.
pub(super) async fn serve(stream: TcpStream, client: SocketAddr, listening: Arc<Listening>, place: Place) {
    let stopping = listening.stopping.clone();
    let mut connection = Connection {
        session: Session::new(listening.config_for(client.ip())),
        intake: Intake::new(Arc::clone(&listening), client, place),
        input: Vec::new(),
        pace: Pace::new(),
        refused: 0,
        errors: 0,
        stream: Some(Stream::Plain(stream)),
        client,
        listening,
    };
    // The session looks at the signal itself, whenever it would wait for the client.
    stop::woken(stopping, pin!(connection.run())).await;
}

struct Connection {
    session: Session,
    intake: Intake,
    /// What was read and could not be used yet.
    input: Vec<u8>,
    pace: Pace,
    /// What was refused for good, and how many mistakes of the client, that included, were accounted for.
    refused: u64,
    errors: u64,
    /// Not there during a handshake, and after one that failed.
    stream: Option<Stream>,
    client: SocketAddr,
    listening: Arc<Listening>,
}

impl Connection {
    async fn run(&mut self) {
        let Err(cut) = self.converse().await else { return };
        let farewell = match &cut {
            Cut::Late => replies::TIMED_OUT,
            Cut::Displaced => replies::CONNECTIONS_MAX,
            Cut::Stopping => replies::SHUTTING_DOWN,
            Cut::Lost(error) => return debug!(client = %self.client, %error, "connection lost"),
            Cut::Eof => return debug!(client = %self.client, "connection closed by the client"),
            Cut::NotEncrypted(why) => {
                self.listening.metrics.handshakes_failed.add(1);
                return debug!(client = %self.client, %why, "no TLS handshake");
            }
        };
        if matches!(cut, Cut::Late) {
            self.listening.metrics.sessions_timed_out.add(1);
        }
        debug!(client = %self.client, ?cut, "session ended by us");
        self.intake.abandon();
        self.session.close(farewell);
        if let Some(stream) = &mut self.stream {
            stream.farewell(self.session.output()).await;
        }
    }

    async fn converse(&mut self) -> Result<(), Cut> {
        let mut step = self.drive(&mut &[][..]);
        loop {
            step = match step {
                Step::Read => {
                    self.hold_back().await?;
                    self.flush().await?;
                    if self.session.awaits() == Awaits::Nothing {
                        Step::Close
                    } else {
                        poll_fn(|context| self.poll_read(context)).await?
                    }
                }
                Step::Flush => {
                    self.hold_back().await?;
                    self.flush().await?;
                    self.go_on()
                }
                // What is rare and large has its memory only while it happens: most sessions are idle.
                Step::PassOn => {
                    Box::pin(self.intake.pass_on()).await;
                    self.pace.moved();
                    self.go_on()
                }
                Step::End { received_lines, bare_newlines } => {
                    self.flush().await?;
                    let answer = Box::pin(self.verdict(received_lines, bare_newlines)).await;
                    self.end(&answer);
                    self.pace.moved();
                    self.go_on()
                }
                Step::Encrypt => {
                    self.flush().await?;
                    Box::pin(self.encrypt()).await?;
                    self.go_on()
                }
                Step::Close => {
                    self.hold_back().await?;
                    self.flush().await?;
                    if let Some(stream) = &mut self.stream {
                        stream.close().await;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// What becomes of a message that has ended.
    async fn verdict(&mut self, received_lines: u32, bare_newlines: bool) -> Verdict<Option<Answer>> {
        let Some(stored) = self.intake.end(received_lines, bare_newlines).await? else { return Ok(None) };
        // Its client waits for us, perhaps for as long as the next hop takes.
        self.intake.place().step(Phase::Ours);
        let answer = through::answer(&self.listening, stored).await;
        self.intake.place().step(Phase::Idle);
        Ok(Some(answer))
    }

    /// Goes over to TLS. Nothing that came before is left: neither input, nor what the client said (RFC 3207 section 4.2).
    async fn encrypt(&mut self) -> Result<(), Cut> {
        self.input = Vec::new();
        self.intake.abandon();
        let Some(Stream::Plain(stream)) = self.stream.take() else { return Err(Cut::Eof) };
        let stream = {
            let (serving, stopping) =
                (self.listening.delivery.tls().serving(), self.listening.stopping.clone());
            let place = self.intake.place();
            let displaced = poll_fn(|context| match place.is_displaced(context) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            });
            tokio::select! {
                encrypted = serving.accept(stream) => encrypted.map_err(Cut::NotEncrypted)?,
                () = displaced => return Err(Cut::Displaced),
                () = stop::signalled(stopping) => return Err(Cut::Stopping),
            }
        };
        self.stream = Some(stream);
        self.listening.metrics.sessions_encrypted.add(1);
        self.session.tls_started().map_err(|_| Cut::Eof)?;
        self.intake.encrypted();
        self.pace.moved();
        Ok(())
    }

    /// Goes on with what was read earlier.
    fn go_on(&mut self) -> Step {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        let step = self.drive(&mut rest);
        self.input = rest.to_vec();
        step
    }

    /// Accounts for the mistakes that are about to be answered. If there were too many the answer waits, or the session ends.
    async fn hold_back(&mut self) -> Result<(), Cut> {
        let errors = self.session.errors() + self.refused;
        let new = u32::try_from(errors - std::mem::replace(&mut self.errors, errors)).unwrap_or(u32::MAX);
        if new == 0 {
            return Ok(());
        }
        match self.intake.place().erred(new) {
            Erred::Told => {}
            Erred::Goes(refused) => {
                self.intake.abandon();
                self.session.close(self.listening.too_much(refused, self.client));
            }
            Erred::Waits(_tarpit) => {
                self.listening.metrics.replies_held_back.add(1);
                let mut delay = pin!(tokio::time::sleep(self.listening.settings.listen.tarpit_delay));
                poll_fn(|context| {
                    if self.intake.place().is_displaced(context) {
                        return Poll::Ready(Err(Cut::Displaced));
                    }
                    if *self.listening.stopping.borrow() {
                        return Poll::Ready(Ok(()));
                    }
                    delay.as_mut().poll(context).map(Ok)
                })
                .await?;
                self.pace.moved();
            }
        }
        Ok(())
    }

    /// Reads, and goes on with that.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, Cut>> {
        if *self.listening.stopping.borrow() && self.session.awaits() == Awaits::Command {
            return Poll::Ready(Err(Cut::Stopping));
        }
        if self.intake.place().is_displaced(context) {
            return Poll::Ready(Err(Cut::Displaced));
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Cut::Eof)) };
            match Pin::new(stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    ready!(self.poll_late(context));
                    return Poll::Ready(Err(Cut::Late));
                }
            }
            let mut input = buffer.filled();
            if input.is_empty() {
                return Poll::Ready(Err(Cut::Eof));
            }
            let commands = self.session.commands();
            let step = self.drive(&mut input);
            if self.session.commands() != commands {
                self.pace.moved();
            }
            if !matches!(step, Step::Encrypt) {
                self.input.extend_from_slice(input);
            }
            Poll::Ready(Ok(step))
        })
    }

    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let listening = &self.listening;
        let awaits = self.session.awaits();
        self.pace.poll_late(context, awaits, &listening.settings.listen, &listening.limits)
    }

    /// Sends all replies.
    async fn flush(&mut self) -> Result<(), Cut> {
        poll_fn(|context| match self.poll_flush(context) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(Cut::from)),
            Poll::Pending if self.intake.place().is_displaced(context) => Poll::Ready(Err(Cut::Displaced)),
            Poll::Pending => self.poll_late(context).map(|()| Err(Cut::Late)),
        })
        .await
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        while !self.session.output().is_empty() {
            let sent = ready!(Pin::new(&mut *stream).poll_write(context, self.session.output()))?;
            self.session.sent(sent);
        }
        // What is encrypted may still wait in memory.
        Pin::new(stream).poll_flush(context)
    }

    /// Lets the state machine go on until something has to happen that takes time.
    fn drive(&mut self, input: &mut &[u8]) -> Step {
        loop {
            let verdict = match self.session.poll(input) {
                // A verdict is never left open here.
                Event::NeedInput | Event::Verdict => return Step::Read,
                Event::OutputFull => return Step::Flush,
                Event::Answered => continue,
                Event::Hello { name, extended } => {
                    self.intake.hello(name, extended);
                    continue;
                }
                Event::Mail(mail) => self.intake.mail(&mail),
                Event::Rcpt(recipient) => self.intake.rcpt(&recipient),
                Event::Data => {
                    self.pace.message_begins();
                    self.intake.data()
                }
                Event::Body(bytes) => {
                    self.pace.message_bytes(bytes.len());
                    if self.intake.body(bytes) {
                        return Step::PassOn;
                    }
                    continue;
                }
                Event::EndOfData { received_lines, bare_newlines, .. } => {
                    return Step::End { received_lines, bare_newlines };
                }
                Event::Reset { why } => {
                    if why != ResetReason::Rset {
                        self.listening.metrics.refused_form.add(1);
                        self.refused += 1;
                    }
                    self.intake.abandon();
                    continue;
                }
                Event::Etrn { .. } => {
                    let released = self.listening.delivery.release_now();
                    if released { Ok(()) } else { Err(replies::ETRN_HELD) }
                }
                Event::StartTls => return Step::Encrypt,
                Event::Close { why } => {
                    if why != CloseReason::Quit {
                        self.refused += u64::from(why != CloseReason::Caller);
                        debug!(client = %self.client, ?why, "session ended");
                    }
                    return Step::Close;
                }
            };
            self.answer(verdict);
        }
    }

    fn answer(&mut self, verdict: Verdict) {
        let answered = match verdict {
            Ok(()) => self.session.accept(),
            Err(reply) => {
                self.refused += u64::from(reply.is_permanent());
                self.session.refuse(reply)
            }
        };
        debug_assert!(answered.is_ok(), "it was asked, and refusals are 4xx or 5xx");
    }

    /// Tells the client what has become of its message; of a report on a canary of ours there is nothing to say.
    fn end(&mut self, ended: &Verdict<Option<Answer>>) {
        let answered = match ended {
            Ok(None) => self.session.accept(),
            Ok(Some(answer)) if answer.as_reply().is_success() => {
                self.tell("message accepted", answer);
                self.session.accept_with(answer.as_reply())
            }
            Ok(Some(answer)) => {
                self.tell("message refused while its client waited", answer);
                self.session.refuse(answer.as_reply())
            }
            Err(reply) => {
                info!(client = %self.client.ip(), reply = reply.code, text = reply.text, "message refused");
                self.refused += u64::from(reply.is_permanent());
                self.session.refuse(*reply)
            }
        };
        debug_assert!(answered.is_ok(), "it was asked, and refusals are 4xx or 5xx");
    }

    /// One line for a message, as long as they are not too many.
    fn tell(&self, what: &str, answer: &Answer) {
        if let Some(untold) = self.listening.lines.take() {
            let reply = answer.as_reply();
            info!(id = %answer.id, client = %self.client.ip(), reply = reply.code, untold, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_session_takes_little_memory() {
        let bytes = size_of_future(serve);
        println!("{bytes} bytes, of these {} for the dialogue", size_of::<Session>());
        assert!(bytes < 8 * 1024, "{bytes} bytes");
    }
}
