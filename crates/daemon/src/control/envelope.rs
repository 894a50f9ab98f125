//! Envelopes as an operator sees them: parameters as they were given, fates as words.

use penstock_spool::{Begin, Body, Fate, Notify, Recipient, Ret};

use super::types::RecipientView;

/// The parameters of MAIL as they were given, `BODY=8BITMIME SMTPUTF8 …`.
pub fn parameters(begin: &Begin) -> String {
    let mut words = Vec::new();
    match begin.body {
        Body::SevenBit => {}
        Body::EightBitMime => words.push("BODY=8BITMIME".to_owned()),
        Body::BinaryMime => words.push("BODY=BINARYMIME".to_owned()),
    }
    if begin.smtputf8 {
        words.push("SMTPUTF8".to_owned());
    }
    match begin.ret {
        Some(Ret::Full) => words.push("RET=FULL".to_owned()),
        Some(Ret::Headers) => words.push("RET=HDRS".to_owned()),
        None => {}
    }
    words.extend(begin.envid.iter().map(|envid| format!("ENVID={envid}")));
    words.join(" ")
}

/// The recipients of a message with their parameters, and what became of each. `fates` are runs, as the log tells them.
pub fn recipient_views(recipients: &[Recipient], fates: &[(u16, u16, Fate)]) -> Vec<RecipientView> {
    let fates = fates.iter().flat_map(|(_, count, fate)| std::iter::repeat_n(*fate, usize::from(*count)));
    let view = |(recipient, fate): (&Recipient, Fate)| RecipientView {
        address: recipient.address.clone(),
        fate: fate_name(fate).to_owned(),
        parameters: recipient_parameters(recipient),
    };
    recipients.iter().zip(fates).map(view).collect()
}

fn recipient_parameters(recipient: &Recipient) -> String {
    let mut words = Vec::new();
    let notify = recipient.notify;
    if notify.contains(Notify::NEVER) {
        words.push("NOTIFY=NEVER".to_owned());
    } else if !notify.is_absent() {
        let all = [(Notify::SUCCESS, "SUCCESS"), (Notify::FAILURE, "FAILURE"), (Notify::DELAY, "DELAY")];
        let given: Vec<_> =
            all.into_iter().filter(|(one, _)| notify.contains(*one)).map(|(_, word)| word).collect();
        words.push(format!("NOTIFY={}", given.join(",")));
    }
    words.extend(recipient.orcpt.iter().map(|orcpt| format!("ORCPT={orcpt}")));
    words.join(" ")
}

const fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Queued => "queued",
        Fate::Deferred => "deferred",
        Fate::Held => "held",
        Fate::Delivered => "delivered",
        Fate::Removed => "removed",
        Fate::RefusedInSession => "refused_in_session",
        Fate::Torn => "torn",
    }
}
