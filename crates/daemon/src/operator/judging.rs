//! What is said to recipients, for the operator: in sentences.

use penstock_smtp::{Address, replies};

use super::Operator;
use crate::control::Refusal;
use crate::control::recipients::{CheckedRecipient, PolicyView, ValidationEntry};
use crate::deliver::{Checks, ValidationView};
use crate::policy::{Answer, Basis, Hops, Reason, Standing};

pub(super) fn view(operator: &Operator) -> PolicyView {
    let Standing { hops, away_since, in_step, is_in_step } = operator.policy.standing();
    let (decides, unknown) = match hops {
        Hops::There => (
            "next_hop",
            "A next hop is there: mail for unknown recipients is taken, and its own answer counts.".to_owned(),
        ),
        Hops::NotKnownYet => {
            ("not_known_yet", "No next hop was asked yet: mail for unknown recipients is taken.".to_owned())
        }
        Hops::Away(Basis::InStep) => (
            "list_in_step",
            "No next hop is there: unknown recipients are refused with 550, by the list of recipients that was in step \
             when the last one went away."
                .to_owned(),
        ),
        Hops::Away(Basis::Older) => (
            "older_list",
            "No next hop is there: unknown recipients are put off with 450, by a list of recipients that was not in step \
             when the last one went away."
                .to_owned(),
        ),
        Hops::Away(Basis::NoList) => (
            "nobody",
            "No next hop is there, and when the last one went away there was no list of recipients: mail for unknown \
             recipients is taken."
                .to_owned(),
        ),
    };
    PolicyView {
        decides: decides.to_owned(),
        unknown,
        away_since_unix_ms: away_since.map(|stamp| stamp.unix_ms),
        in_step_unix_ms: in_step.map(|stamp| stamp.unix_ms),
        in_step: is_in_step,
        validation: operator.delivery.validations().into_iter().map(|view| entry(operator, view)).collect(),
    }
}

fn entry(operator: &Operator, view: ValidationView) -> ValidationEntry {
    let ValidationView { hop, domain, finding, trouble } = view;
    let hop = operator.settings.next_hops.get(usize::from(hop.0)).map_or("?", |hop| hop.name.as_str());
    let words = match (finding, trouble) {
        (Some(finding), _) => finding.checks.as_str().to_owned(),
        (None, Some(trouble)) => format!("did not say whether it looks at recipients: {trouble}"),
        (None, None) if operator.settings.recipients.find_out => {
            "was not asked yet whether it looks at recipients".to_owned()
        }
        (None, None) => "is not asked whether it looks at recipients (recipients.find_out)".to_owned(),
    };
    ValidationEntry {
        hop: hop.to_owned(),
        domain,
        validates: finding.map(|finding| finding.checks != Checks::Never),
        words,
        found_unix_ms: finding.map(|finding| finding.at.unix_ms),
    }
}

/// What would be said to a recipient now.
pub(super) fn check(operator: &Operator, text: String) -> Result<CheckedRecipient, Refusal> {
    let address = match Address::parse(&text) {
        Ok(address) if !address.is_null() => address,
        _ => {
            return Err(Refusal::bad_request(
                "that is no address: write somebody@example.org, without brackets",
            ));
        }
    };
    let reason = operator.policy.reason(&address);
    let (answer, reply) = match reason.answer() {
        Answer::Take => ("take", replies::RECIPIENT_OK),
        Answer::Later => ("later", replies::USER_UNSURE),
        Answer::Refuse if reason == Reason::NotOurs => ("refuse", replies::RELAY_DENIED),
        Answer::Refuse => ("refuse", replies::USER_UNKNOWN),
    };
    let mut why = vec![because(reason).to_owned()];
    if reason != Reason::NotOurs {
        why.extend(otherwise(operator, &text, reason));
    }
    Ok(CheckedRecipient {
        answer: answer.to_owned(),
        reply: reply.to_string(),
        reason: reason.as_str().to_owned(),
        why,
        address: text,
    })
}

/// A reason as a sentence.
const fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::NotOurs => "Its domain is none of domains.accepted, and this box relays for nobody.",
        Reason::Postmaster => "Postmaster is taken whatever happens.",
        Reason::ProbeMailbox => "It is a probe mailbox of the settings.",
        Reason::NextHopDecides => "A next hop is there, and its own answer counts.",
        Reason::NotKnownYet => "No next hop was asked yet since the start, and no outage is on record.",
        Reason::Listed => "No next hop is there; it is on the list of recipients.",
        Reason::KnownGood => {
            "No next hop is there; it is not on a list, but a next hop that looks at recipients took mail for it, or \
             reported that it got mail."
        }
        Reason::NoList => {
            "No next hop is there, and when the last one went away there was no list of recipients: nobody is refused."
        }
        Reason::UnknownToday => {
            "No next hop is there, and it is not on the list of recipients, which was in step when the last one went \
             away."
        }
        Reason::UnknownOnce => {
            "No next hop is there, and it is not on the list of recipients; but that was not in step any more when the \
             last one went away, so the sender is asked to come back."
        }
    }
}

/// What else is known: whether it is on the list, and what would be said if all next hops went away now.
fn otherwise(operator: &Operator, address: &str, reason: Reason) -> Vec<String> {
    let Some(list) = operator.directory.list() else { return Vec::new() };
    let entry = operator.directory.find(address);
    let mut said = Vec::new();
    said.push(match entry {
        Some(entry) => {
            let how = if entry.without_tag { " without its subaddress" } else { "" };
            match entry.database.and_then(|number| list.database(number)) {
                Some(database) => {
                    format!("It is on the list of recipients{how}, in the database {database}.")
                }
                None => format!("It is on the list of recipients{how}."),
            }
        }
        None => "It is not on the list of recipients.".to_owned(),
    });
    if entry.is_none() && matches!(reason, Reason::NextHopDecides | Reason::NotKnownYet) {
        said.push(if operator.policy.standing().is_in_step {
            "Were the last next hop to go away now, it would be refused with 550: the list is in step."
                .to_owned()
        } else {
            "Were the last next hop to go away now, it would be put off with 450: the list is not in step."
                .to_owned()
        });
    }
    said
}
