//! The page of windows_exporter: Prometheus' text format 0.0.4, of which a few lines matter here.

use penstock_release::Counters;

/// What the names of the queues' figures begin with.
const PREFIX: &str = "windows_exchange_transport_queues_";
/// Whether a collector could read its figures.
const SUCCESS: &str = "windows_exporter_collector_success";
/// The instance that is the sum of all queues. Versions before 0.30 leave it out and serve each priority's queue.
const TOTAL: &str = "_total";
/// The largest whole number up to which a double, which all values are, has every one.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Why a page has no counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The exporter could not read them.
    CollectorFailed,
    /// They are not on the page.
    NotThere,
}

impl Missing {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::CollectorFailed => "the exporter says that its collector `exchange` failed",
            Self::NotThere => "there are no counters of Exchange: is the collector `exchange` enabled?",
        }
    }
}

/// A figure of all queues: as the page has it, or as the sum of its parts.
#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    total: Option<u64>,
    sum: Option<u64>,
}

impl Figure {
    fn add(&mut self, instance: &str, value: u64) {
        if instance == TOTAL {
            self.total = Some(value);
        } else {
            self.sum = Some(self.sum.unwrap_or(0).saturating_add(value));
        }
    }

    fn get(self) -> Option<u64> {
        self.total.or(self.sum)
    }
}

/// Reads a page. What a version of the exporter does not serve stays `None`.
pub(super) fn counters(page: &str) -> Result<Counters, Missing> {
    let [mut submission, mut active, mut retry, mut poison, mut completed, mut submitted] =
        [Figure::default(); 6];
    for line in page.lines() {
        let Some((name, labels, value)) = sample(line) else { continue };
        if name == SUCCESS {
            if label(labels, "collector").as_deref() == Some("exchange") && value == 0.0 {
                return Err(Missing::CollectorFailed);
            }
            continue;
        }
        let figure = match name.strip_prefix(PREFIX) {
            Some("submission_queue_length") => &mut submission,
            Some("active_mailbox_delivery") => &mut active,
            Some("retry_mailbox_delivery") => &mut retry,
            Some("poison") => &mut poison,
            Some("messages_completed_delivery_total") => &mut completed,
            Some("messages_submitted_total") => &mut submitted,
            _ => continue,
        };
        if let (Some(instance), Some(value)) = (label(labels, "name"), whole(value)) {
            figure.add(&instance, value);
        }
    }
    let counters = Counters {
        submission: submission.get(),
        active_mailbox: active.get(),
        retry_mailbox: retry.get(),
        poison: poison.get(),
        completed_total: completed.get(),
        submitted_total: submitted.get(),
    };
    if counters == Counters::default() { Err(Missing::NotThere) } else { Ok(counters) }
}

/// A line `name{labels} value [timestamp]` in its parts.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let line = line.trim();
    let name_len = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(name_len);
    if name.is_empty() || name.starts_with('#') {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => {
            let end = end_of_labels(rest)?;
            (rest.get(..end)?, rest.get(end + 1..)?)
        }
        None => ("", rest),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

/// Where the brace is that ends the labels: not within a value.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| {
        let ends = byte == b'}' && !quoted;
        if !escaped && byte == b'"' {
            quoted = !quoted;
        }
        escaped = !escaped && byte == b'\\';
        ends
    })
}

/// The value of a label, without its escapes.
fn label(mut labels: &str, wanted: &str) -> Option<String> {
    loop {
        let (name, rest) = labels.split_once('=')?;
        let rest = rest.trim_start().strip_prefix('"')?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()? {
                    (_, 'n') => value.push('\n'),
                    (_, other) => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        if name.trim_matches([',', ' ', '\t']) == wanted {
            return Some(value);
        }
        labels = rest.get(end + 1..)?;
    }
}

/// A number of things.
fn whole(value: f64) -> Option<u64> {
    (0.0..=WHOLE_MAX).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as version 0.31 serves it, of which only some lines are Exchange's.
    const PAGE: &str = "\
# HELP windows_cpu_time_total Time that processor spent in different modes (dpc, idle, interrupt, privileged, user)
# TYPE windows_cpu_time_total counter
windows_cpu_time_total{core=\"0,0\",mode=\"dpc\"} 131.265625
# HELP windows_exchange_transport_queues_submission_queue_length Submission Queue Length
# TYPE windows_exchange_transport_queues_submission_queue_length gauge
windows_exchange_transport_queues_submission_queue_length{name=\"_total\"} 17
windows_exchange_transport_queues_submission_queue_length{name=\"high_priority\"} 9
windows_exchange_transport_queues_active_mailbox_delivery{name=\"_total\"} 5
windows_exchange_transport_queues_retry_mailbox_delivery{name=\"_total\"} 3
windows_exchange_transport_queues_poison{name=\"_total\"} 0
windows_exchange_transport_queues_messages_submitted_total{name=\"_total\"} 1.234567e+06
windows_exchange_transport_queues_messages_completed_delivery_total{name=\"_total\"} 1.234500e+06 1700000000000
windows_exporter_collector_success{collector=\"exchange\"} 1
windows_exporter_collector_success{collector=\"os\"} 0
";

    #[test]
    fn the_counters_are_those_of_all_queues() {
        assert_eq!(
            counters(PAGE),
            Ok(Counters {
                submission: Some(17),
                active_mailbox: Some(5),
                retry_mailbox: Some(3),
                poison: Some(0),
                completed_total: Some(1_234_500),
                submitted_total: Some(1_234_567),
            })
        );
        assert_eq!(counters(&PAGE.replace('\n', "\r\n")), counters(PAGE));
    }

    #[test]
    fn an_old_exporter_serves_each_priority_and_less() {
        let page = "\
windows_exchange_transport_queues_active_mailbox_delivery{name=\"high_priority\"} 1
windows_exchange_transport_queues_active_mailbox_delivery{name=\"low_priority\"} 2
windows_exchange_transport_queues_active_mailbox_delivery{name=\"normal_priority\"} 40
windows_exchange_transport_queues_retry_mailbox_delivery{name=\"normal_priority\"} 4
";
        let read = counters(page).unwrap();
        assert_eq!((read.active_mailbox, read.retry_mailbox), (Some(43), Some(4)));
        assert_eq!((read.submission, read.completed_total), (None, None));
    }

    #[test]
    fn a_page_without_them_says_why() {
        let failed = PAGE.replace("{collector=\"exchange\"} 1", "{collector=\"exchange\"} 0");
        assert_eq!(counters(&failed), Err(Missing::CollectorFailed));
        for page in ["", "<html>404</html>", "windows_exporter_collector_success{collector=\"exchange\"} 1\n"]
        {
            assert_eq!(counters(page), Err(Missing::NotThere), "{page}");
        }
    }

    #[test]
    fn labels_may_stand_in_any_order_and_hold_anything() {
        let of = |line: &str| counters(&format!("windows_exchange_transport_queues_{line}\n")).ok()?.poison;
        assert_eq!(of("poison{name=\"_total\",server=\"a\"} 1"), Some(1));
        assert_eq!(of("poison{server=\"a}\\\" name=\\\"b\", name=\"_total\",} 2"), Some(2));
        assert_eq!(of("poison { name = \"_total\" } 3"), None, "no such form");
        assert_eq!(of("poison{server=\"a\"} 4"), None);
        assert_eq!(of("poison 5"), None);
    }

    #[test]
    fn values_that_count_nothing_are_left_out() {
        for value in ["NaN", "-1", "+Inf", "1e300", "", "many", "0x10"] {
            let page = format!("windows_exchange_transport_queues_poison{{name=\"_total\"}} {value}\n");
            assert_eq!(counters(&page), Err(Missing::NotThere), "{value:?}");
        }
        let most =
            format!("windows_exchange_transport_queues_poison{{name=\"a\"}} {WHOLE_MAX}\n").repeat(3000);
        assert_eq!(counters(&most).unwrap().poison, Some(u64::MAX), "it does not overflow");
    }

    #[test]
    fn nothing_that_a_page_holds_does_harm() {
        for end in 0..PAGE.len() {
            let _ = counters(&PAGE[..end]);
        }
        for bad in [
            "{",
            "}",
            "a{",
            "a{b",
            "a{b=",
            "a{b=\"",
            "a{b=\"\\",
            "a{b=\"c\"",
            "a{b=\"c\"}",
            "{} 1",
            "é{é=\"é\"} é",
        ] {
            let named = format!("{PREFIX}poison{bad}");
            assert_eq!(counters(&format!("{bad}\n{named}\n")), Err(Missing::NotThere), "{bad}");
        }
    }
}
