//! What was measured of one drain, for people and for programs.

use serde_json::{Value, json};

use super::row::{Idle, Question};
use super::trickle::percentile_s;

/// What was measured. Times are the model's.
#[derive(Clone, Debug)]
pub struct Row {
    pub(super) question: Question,
    pub(super) idle: Idle,
    /// From letting go to the last mailbox; `None` if that was not reached.
    pub(super) drained_s: Option<f64>,
    /// How long each message took of those that came meanwhile, in ms, sorted.
    pub(super) bystander_ms: Vec<u64>,
    pub(super) fresh_ms: Vec<u64>,
    pub(super) recovery_s: Option<f64>,
    /// The model's counts when the backlog had arrived.
    pub(super) summary: Value,
    /// Of these, what the bystander got.
    pub(super) bystander_put_off: (u64, u64),
    /// Messages of which a recipient has nothing and that the sender does not have any more.
    pub(super) lost: u64,
    /// Messages that were still on their way when it was given up.
    pub(super) unfinished: u64,
    /// Copies that lay in their mailbox already, suppressed or not.
    pub(super) duplicates: u64,
    pub(super) cpu_share: Option<f64>,
}

/// One of the model's counts.
pub(super) fn count_of(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("no {name}: {summary}"))
}

/// Three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Row {
    fn time_vs(&self, reference_s: f64) -> Option<f64> {
        self.drained_s.map(|drained_s| rounded(drained_s / reference_s))
    }

    fn time_vs_ideal(&self) -> Option<f64> {
        self.time_vs(self.question.scenario.ideal_s(self.question.messages))
    }

    /// Only who has a ceiling of its own is compared with it.
    fn time_vs_ceiling(&self) -> Option<f64> {
        let Question { scenario, kind, messages, .. } = self.question;
        kind.ceiling().and_then(|ceiling| self.time_vs(scenario.ceiling_s(messages, ceiling)))
    }

    /// Replies of 4xx to the sender, and messages of it that were refused at the end of data.
    fn put_off(&self) -> (u64, u64) {
        let replies = self.summary["replies"].as_object().into_iter().flatten();
        let all: u64 =
            replies.filter(|(code, _)| code.starts_with('4')).filter_map(|(_, n)| n.as_u64()).sum();
        let (bystander_all, bystander_in_vain) = self.bystander_put_off;
        let in_vain = count_of(&self.summary, "in_vain");
        (all.saturating_sub(bystander_all), in_vain.saturating_sub(bystander_in_vain))
    }

    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        let (sender, knows) = self.question.kind.sender_and_knowledge();
        let (replies_4xx, in_vain) = self.put_off();
        json!({
            "scenario": self.question.scenario.name(),
            "sender": sender,
            "knows": knows,
            "messages": self.question.messages,
            "speed": self.question.speed,
            "time_s": self.drained_s.map(rounded),
            "time_vs_ideal": self.time_vs_ideal(),
            "time_vs_ceiling": self.time_vs_ceiling(),
            "medium_share": self.summary["medium_share"],
            "high_share": self.summary["high_share"],
            "excursions": self.summary["excursions_medium"],
            "replies_4xx": replies_4xx,
            "in_vain": in_vain,
            "bystander_p50_s": percentile_s(&self.bystander_ms, 50).map(rounded),
            "bystander_p99_s": percentile_s(&self.bystander_ms, 99).map(rounded),
            "bystander_idle_p99_s": self.idle.bystander_p99_s.map(rounded),
            "fresh_p50_s": percentile_s(&self.fresh_ms, 50).map(rounded),
            "fresh_p99_s": percentile_s(&self.fresh_ms, 99).map(rounded),
            "fresh_idle_p99_s": self.idle.fresh_p99_s.map(rounded),
            "queue_s_mean": self.summary["queue_s_mean"],
            "recovery_s": self.recovery_s.map(rounded),
            "ndr_after_250": self.summary["ndr_after_250"],
            "lost": self.lost,
            "unfinished": self.unfinished,
            "duplicates": self.duplicates,
            "cpu_share": self.cpu_share.map(rounded),
        })
    }

    /// The head of the table for people.
    pub fn header() -> String {
        format!(
            "{:<11} {:<18} {:>5} {:>8} {:>7} {:>8} {:>7} {:>6} {:>5} {:>6} {:>8} {:>9} {:>8} {:>9} {:>8} {:>8} {:>8} \
             {:>5} {:>5} {:>6} {:>5}",
            "scenario",
            "sender",
            "speed",
            "time s",
            "x ideal",
            "x ceil.",
            "medium",
            "high",
            "exc.",
            "4xx",
            "in vain",
            "bystander",
            "(idle)",
            "fresh p99",
            "(idle)",
            "queue s",
            "recovery",
            "ndr",
            "lost",
            "again",
            "cpu"
        )
    }

    /// A line of it.
    pub fn line(&self) -> String {
        let (replies_4xx, in_vain) = self.put_off();
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let share = |name: &str| number(self.summary[name].as_f64(), 3);
        let unfinished =
            if self.unfinished > 0 { format!("  {} still to come", self.unfinished) } else { String::new() };
        format!(
            "{:<11} {:<18} {:>5} {:>8} {:>7} {:>8} {:>7} {:>6} {:>5} {:>6} {:>8} {:>9} {:>8} {:>9} {:>8} {:>8} {:>8} \
             {:>5} {:>5} {:>6} {:>5}{unfinished}",
            self.question.scenario.name(),
            self.question.kind.name(),
            self.question.speed,
            number(self.drained_s, 0),
            number(self.time_vs_ideal(), 2),
            number(self.time_vs_ceiling(), 2),
            share("medium_share"),
            share("high_share"),
            count_of(&self.summary, "excursions_medium"),
            replies_4xx,
            in_vain,
            number(percentile_s(&self.bystander_ms, 99), 1),
            number(self.idle.bystander_p99_s, 1),
            number(percentile_s(&self.fresh_ms, 99), 1),
            number(self.idle.fresh_p99_s, 1),
            share("queue_s_mean"),
            number(self.recovery_s, 1),
            count_of(&self.summary, "ndr_after_250"),
            self.lost,
            self.duplicates,
            number(self.cpu_share, 2),
        )
    }
}
