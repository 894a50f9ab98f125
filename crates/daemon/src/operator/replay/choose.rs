//! Which messages a page of a replay is about, and which of their recipients.

use std::ops::Range;
use std::sync::Arc;

use penstock_spool::{Envelope, Fate, MessageId, Recipient, Summary};

use super::super::{refusal, unavailable, view};
use super::times::{self, Place};
use crate::control::replay::{ReplayPage, ReplayRequest, Which};
use crate::control::types::Refused;
use crate::control::{Kind as Fault, MailId, Refusal};
use crate::directory::{Directory, List, Mailbox};
use crate::storage::{OpenMessage, Storage};
use crate::volume::Spool;

/// Messages that a page looks at.
const LOOKED_AT_PER_PAGE: usize = 4096;
/// Databases that are named to who asked for one that is not there.
const NAMES_TOLD: usize = 20;
/// Envelopes that are opened in one step of the storage thread.
const OPENED_PER_STEP: usize = 32;

/// A message, and those of its recipients who get it once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) id: MessageId,
    pub(super) size_bytes: u32,
    /// The first recipient, and how many; in ascending order.
    pub(super) runs: Vec<(u16, u16)>,
    /// Who that is, if it is one whose name was asked for.
    pub(super) mailbox: Option<String>,
    pub(super) is_undated: bool,
}

impl Chosen {
    pub(super) fn recipients_count(&self) -> u32 {
        self.runs.iter().map(|(_, count)| u32::from(*count)).sum()
    }

    /// The recipients for the ledger: by name if that is known, else counted.
    pub(super) fn recipients_text(&self) -> String {
        match (&self.mailbox, self.recipients_count()) {
            (Some(mailbox), _) => mailbox.clone(),
            (None, 1) => "1 recipient".to_owned(),
            (None, count) => format!("{count} recipients"),
        }
    }

    /// Whether a recipient, by number, is among those chosen.
    pub(super) fn holds(&self, number: u16) -> bool {
        self.runs.iter().any(|(first, count)| (*first..first.saturating_add(*count)).contains(&number))
    }
}

/// What a page found.
pub(super) struct Found {
    pub(super) chosen: Vec<Chosen>,
    /// The first message that was not looked at.
    pub(super) next: Option<MessageId>,
}

/// A message as the index knows it.
#[derive(Clone)]
struct Candidate {
    summary: Summary,
    /// The runs of recipients to whom it was delivered.
    delivered: Vec<(u16, u16)>,
}

impl Candidate {
    fn of(spool: &Spool, summary: Summary) -> Self {
        let fates = spool.fates(summary.id).unwrap_or_default().into_iter();
        let delivered = fates.filter(|(_, _, fate)| *fate == Fate::Delivered);
        Self { summary, delivered: delivered.map(|(first, count, _)| (first, count)).collect() }
    }
}

pub(super) async fn choose(
    storage: &Storage,
    request: &ReplayRequest,
    meant: Option<&Meant>,
    range: Range<MessageId>,
    page: &mut ReplayPage,
) -> Result<Found, Refusal> {
    let (candidates, next) = match &request.which {
        Which::Ids(ids) => (named(storage, ids, range, page).await?, None),
        Which::All | Which::Domain(_) | Which::Mailbox(_) | Which::Database(_) => all(storage, range).await?,
    };
    let has_range = request.from_unix_ms.is_some() || request.until_unix_ms.is_some();
    let times = if has_range || request.dry_run {
        times::of(storage, candidates.iter().map(|candidate| candidate.summary.id).collect()).await?
    } else {
        times::Times::new()
    };
    let known = times.values().filter(|at| at.trusted).map(|at| at.unix_ms);
    page.oldest_unix_ms = page.oldest_unix_ms.into_iter().chain(known).min();
    let mut wanted = Vec::new();
    for candidate in candidates {
        let at = times.get(&candidate.summary.id.0);
        match times::place(at, request.from_unix_ms, request.until_unix_ms) {
            Place::Outside => {}
            place => wanted.push((candidate, place == Place::Unknown)),
        }
    }
    let chosen = match meant {
        None => wanted
            .into_iter()
            .map(|(Candidate { summary, delivered }, is_undated)| Chosen {
                id: summary.id,
                size_bytes: summary.size_bytes,
                runs: delivered,
                mailbox: None,
                is_undated,
            })
            .collect(),
        Some(meant) => addressed(storage, wanted, meant, page).await?,
    };
    Ok(Found { chosen, next })
}

/// The next messages of which anything was delivered.
async fn all(
    storage: &Storage,
    range: Range<MessageId>,
) -> Result<(Vec<Candidate>, Option<MessageId>), Refusal> {
    let looked = storage.look(move |spool| {
        let mut found = spool
            .replayable(range.start)
            .take_while(|summary| summary.id < range.end)
            .take(LOOKED_AT_PER_PAGE + 1)
            .collect::<Vec<_>>();
        let next =
            if found.len() > LOOKED_AT_PER_PAGE { found.pop().map(|summary| summary.id) } else { None };
        (found.into_iter().map(|summary| Candidate::of(spool, summary)).collect(), next)
    });
    looked.await.map_err(unavailable)
}

/// Those of the messages that are named which are on this volume.
async fn named(
    storage: &Storage,
    ids: &[MailId],
    range: Range<MessageId>,
    page: &mut ReplayPage,
) -> Result<Vec<Candidate>, Refusal> {
    let here = ids.iter().filter(|id| id.store == storage.store()).map(|id| MessageId(id.number));
    let mut here: Vec<MessageId> = here.filter(|id| *id >= range.start).collect();
    here.sort_unstable();
    here.dedup();
    let looked = storage.look(move |spool| {
        let find = |id: MessageId| {
            let Some(summary) = spool.summary(id) else { return Err((id, None)) };
            let candidate = Candidate::of(spool, summary);
            let is_fit = !summary.damaged && !candidate.delivered.is_empty();
            if is_fit { Ok(candidate) } else { Err((id, Some(summary.damaged))) }
        };
        here.into_iter().map(find).collect::<Vec<_>>()
    });
    let mut candidates = Vec::new();
    for found in looked.await.map_err(unavailable)? {
        match found {
            Ok(candidate) => candidates.push(candidate),
            Err((id, flaw)) => {
                let name = storage.mail_id(id);
                let error = match flaw {
                    None => Refusal::no_such_message(name),
                    Some(true) => refusal(name, penstock_spool::Error::Damaged(id)),
                    Some(false) => nothing_delivered(name),
                };
                page.refused.push(Refused { id: name, error: error.body });
            }
        }
    }
    Ok(candidates)
}

pub(super) fn nothing_delivered(id: MailId) -> Refusal {
    Refusal::new(
        Fault::Conflict,
        "PS-D270",
        format!("message {id} has no recipient to whom it was delivered and is not on its way to"),
        "`penstock show` tells what became of each; what was held is tried again with `penstock quarantine retry`.",
    )
}

/// Whose mail is replayed, where that is not everybody's.
#[derive(Clone, Debug)]
pub(super) enum Meant {
    Domain(String),
    Mailbox(String),
    /// The list that counted when the page began, the database's number on it, and what parts a tag from a mailbox.
    Database(Arc<List>, u16, Option<char>),
}

impl Meant {
    /// Whose mail a request is about.
    pub(super) fn by(which: &Which, directory: &Directory) -> Result<Option<Self>, Refusal> {
        Ok(match which {
            Which::All | Which::Ids(_) => None,
            Which::Domain(domain) => Some(Self::Domain(domain.clone())),
            Which::Mailbox(mailbox) => Some(Self::Mailbox(mailbox.clone())),
            Which::Database(name) => {
                let list = directory.list().ok_or_else(without_list)?;
                let number = list.database_named(name).ok_or_else(|| no_such_database(name, &list))?;
                Some(Self::Database(list, number, directory.delimiter()))
            }
        })
    }

    fn is(&self, address: &str) -> bool {
        match self {
            Self::Mailbox(mailbox) => address.eq_ignore_ascii_case(mailbox),
            Self::Database(list, number, delimiter) => {
                let entry = Mailbox::parse(address).and_then(|mailbox| list.find(&mailbox, *delimiter));
                entry.is_some_and(|entry| entry.database == Some(*number))
            }
            Self::Domain(wanted) => {
                address.rsplit_once('@').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(wanted))
            }
        }
    }

    /// Those of the runs of recipients who are meant.
    fn among(&self, recipients: &[Recipient], delivered: &[(u16, u16)]) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for number in delivered.iter().flat_map(|(first, count)| *first..first.saturating_add(*count)) {
            let recipient = recipients.get(usize::from(number));
            if !recipient.is_some_and(|recipient| self.is(&recipient.address)) {
                continue;
            }
            match runs.last_mut() {
                Some((first, count)) if *first + *count == number => *count += 1,
                _ => runs.push((number, 1)),
            }
        }
        runs
    }
}

fn without_list() -> Refusal {
    Refusal::new(
        Fault::Conflict,
        "PS-D258",
        "which mailboxes lie in a database is not known: there is no list of recipients",
        "Import one with `penstock recipients import`; its help says how Exchange writes it.",
    )
}

fn no_such_database(name: &str, list: &List) -> Refusal {
    let names: Vec<&str> = list.about.databases.iter().map(|(name, _)| name.as_str()).collect();
    let help = if names.is_empty() {
        "The list of recipients names no databases: export it with them, and import it again.".to_owned()
    } else {
        let more = if names.len() > NAMES_TOLD { " and others" } else { "" };
        format!("It has {}{more}.", names[..names.len().min(NAMES_TOLD)].join(", "))
    };
    Refusal::new(
        Fault::NotFound,
        "PS-D259",
        format!("no recipient on the list lies in a database {name}"),
        help,
    )
}

/// Those messages that have a recipient who is meant, which only their envelopes tell.
async fn addressed(
    storage: &Storage,
    wanted: Vec<(Candidate, bool)>,
    meant: &Meant,
    page: &mut ReplayPage,
) -> Result<Vec<Chosen>, Refusal> {
    let mut chosen = Vec::new();
    for part in wanted.chunks(OPENED_PER_STEP) {
        for (candidate, is_undated, envelope) in envelopes(storage, part.to_vec()).await? {
            let (id, size_bytes) = (candidate.summary.id, candidate.summary.size_bytes);
            let Some(envelope) = envelope else {
                // Whose it is cannot be read.
                let name = storage.mail_id(id);
                let error = refusal(name, penstock_spool::Error::Damaged(id)).body;
                page.refused.push(Refused { id: name, error });
                continue;
            };
            let runs = meant.among(&envelope.recipients, &candidate.delivered);
            if !runs.is_empty() {
                let first = runs.first().and_then(|(first, _)| envelope.recipients.get(usize::from(*first)));
                let address = first.map(|recipient| recipient.address.clone());
                let mailbox = address.filter(|_| matches!(meant, Meant::Mailbox(_)));
                chosen.push(Chosen { id, size_bytes, runs, mailbox, is_undated });
            }
        }
        // Mail on its way comes first.
        tokio::task::yield_now().await;
    }
    Ok(chosen)
}

/// The envelopes of some messages; of one that has made room meanwhile nothing is left.
async fn envelopes(
    storage: &Storage,
    part: Vec<(Candidate, bool)>,
) -> Result<Vec<(Candidate, bool, Option<Envelope>)>, Refusal> {
    let opened = storage.look(move |spool| {
        let open = |(candidate, is_undated): (Candidate, bool)| {
            let open = spool.open(candidate.summary.id).ok().map(OpenMessage::unleased)?;
            Some((candidate, is_undated, open))
        };
        part.into_iter().filter_map(open).collect::<Vec<_>>()
    });
    let opened = opened.await.map_err(unavailable)?;
    view::blocking(move || {
        let read = |(candidate, is_undated, mut open): (Candidate, bool, OpenMessage)| {
            (candidate, is_undated, open.message.envelope().ok())
        };
        opened.into_iter().map(read).collect()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::list;

    fn recipients(addresses: &[&str]) -> Vec<Recipient> {
        let recipient = |address: &&str| Recipient { address: (*address).to_owned(), ..Recipient::default() };
        addresses.iter().map(recipient).collect()
    }

    #[test]
    fn only_who_is_meant_and_had_it_gets_it_again() {
        let all = recipients(&[
            "mia@example.org",
            "Tom@Example.org",
            "mia@example.com",
            "postmaster",
            "MIA@EXAMPLE.ORG",
        ]);
        let meant = |meant: Meant, delivered: &[(u16, u16)]| meant.among(&all, delivered);
        let mia = || Meant::Mailbox("mia@example.org".into());
        assert_eq!(meant(mia(), &[(0, 5)]), [(0, 1), (4, 1)]);
        assert_eq!(meant(mia(), &[(1, 3)]), []);
        let site = || Meant::Domain("example.org".into());
        assert_eq!(meant(site(), &[(0, 5)]), [(0, 2), (4, 1)]);
        assert_eq!(meant(site(), &[(1, 1), (4, 1)]), [(1, 1), (4, 1)]);
        assert_eq!(meant(Meant::Domain("ample.org".into()), &[(0, 5)]), [], "a whole domain");
    }

    #[test]
    fn a_database_is_those_whose_mailboxes_the_list_puts_there() {
        let directory = Directory::default();
        let of = |name: &str| Meant::by(&Which::Database(name.into()), &directory);
        assert_eq!(of("DB1").unwrap_err().body.code, "PS-D258");
        directory.set(list([("mia@example.org", "DB1"), ("tom@example.org", "DB2")]));
        assert!(of("DB3").unwrap_err().body.help.contains("DB1, DB2"));
        let meant = of("db2").unwrap().unwrap();
        let all = recipients(&["mia@example.org", "Tom@Example.org", "new@example.org", "tom+x@example.org"]);
        // What parts a tag from a mailbox is a setting, which is not made here.
        assert_eq!(meant.among(&all, &[(0, 4)]), [(1, 1)]);
    }

    #[test]
    fn the_ledger_names_one_and_counts_many() {
        let chosen = |mailbox: Option<&str>, runs: &[(u16, u16)]| Chosen {
            id: MessageId(7),
            size_bytes: 1,
            runs: runs.to_vec(),
            mailbox: mailbox.map(str::to_owned),
            is_undated: false,
        };
        assert_eq!(chosen(None, &[(0, 2), (4, 1)]).recipients_text(), "3 recipients");
        assert_eq!(chosen(Some("mia@example.org"), &[(0, 1)]).recipients_text(), "mia@example.org");
        let some = chosen(None, &[(0, 2), (4, 1)]);
        assert_eq!([0, 1, 2, 4, 5].map(|number| some.holds(number)), [true, true, false, true, false]);
    }
}
