//! Back pressure: resources, their thresholds, levels, and what follows from them for a sender that is no Exchange
//! server.
//!
//! Of `back-pressure` in Microsoft's documentation of Exchange: resources are polled every 2 s; each has thresholds for
//! rising and for falling. A foreign sender is refused at *medium* for disk and private bytes; *high* stops everybody.
//! Submission queue and version buckets at medium delay the reply to MAIL FROM by 10 s, then in steps of 5 s up to
//! 55 s; if the level does not come back to low within the history depth, mail is rejected. The delay grows by one step
//! with each poll; why is in the README, and it can be set. Of system memory only what happens inside depends, not SMTP.

use crate::units::SECOND;

/// Time between two polls.
pub const POLL_MS: u64 = 2 * SECOND;
const DELAY_FIRST_MS: u64 = 10 * SECOND;
const DELAY_STEP_MS: u64 = 5 * SECOND;
const DELAY_MAX_MS: u64 = 55 * SECOND;

/// How scarce a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough.
    Low,
    /// Somewhat too little.
    Medium,
    /// Far too little.
    High,
}

impl Level {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The drive of the queue database, in percent.
    QueueDrive,
    /// The drive of its logs and of content conversion, in percent.
    LogDrive,
    /// The private bytes of EdgeTransport, in percent of memory.
    PrivateBytes,
    /// Messages in the submission queue.
    SubmissionQueue,
    /// Version buckets of the queue database.
    VersionBuckets,
    /// Memory in use by everything, in percent.
    SystemMemory,
}

/// All of them.
pub(crate) const RESOURCES: [Resource; 6] = [
    Resource::QueueDrive,
    Resource::LogDrive,
    Resource::PrivateBytes,
    Resource::SubmissionQueue,
    Resource::VersionBuckets,
    Resource::SystemMemory,
];

/// Where a level begins and ends.
struct Thresholds {
    to_medium: f64,
    to_high: f64,
    /// From high down to medium.
    back_to_medium: f64,
    /// From medium down to low.
    back_to_low: f64,
}

const fn thresholds(to_medium: f64, to_high: f64, back_to_medium: f64, back_to_low: f64) -> Thresholds {
    Thresholds { to_medium, to_high, back_to_medium, back_to_low }
}

/// What a resource at medium does to a foreign sender.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtMedium {
    Refuse,
    /// Delay, and refuse after so many polls.
    Delay {
        polls_max: u32,
    },
    Nothing,
}

impl Resource {
    const fn thresholds(self) -> Thresholds {
        match self {
            Self::QueueDrive => thresholds(96.0, 99.0, 97.0, 94.0),
            Self::LogDrive => thresholds(89.0, 99.0, 90.0, 80.0),
            Self::PrivateBytes => thresholds(72.0, 75.0, 73.0, 71.0),
            Self::SubmissionQueue => thresholds(9999.0, 15_000.0, 10_000.0, 2000.0),
            Self::VersionBuckets => thresholds(999.0, 1500.0, 1000.0, 800.0),
            Self::SystemMemory => thresholds(88.0, 94.0, 89.0, 84.0),
        }
    }

    const fn at_medium(self) -> AtMedium {
        match self {
            Self::QueueDrive | Self::LogDrive | Self::PrivateBytes => AtMedium::Refuse,
            Self::SubmissionQueue => AtMedium::Delay { polls_max: 300 },
            Self::VersionBuckets => AtMedium::Delay { polls_max: 10 },
            Self::SystemMemory => AtMedium::Nothing,
        }
    }

    /// Whether its thresholds are numbers of things, which grow with the machine.
    const fn is_a_number(self) -> bool {
        matches!(self, Self::SubmissionQueue | Self::VersionBuckets)
    }

    /// As replies name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueDrive => {
                r"DatabaseUsedSpace[C:\Program Files\Microsoft\Exchange Server\V15\TransportRoles\data\Queue]"
            }
            Self::LogDrive => {
                r"UsedDiskSpace[C:\Program Files\Microsoft\Exchange Server\V15\TransportRoles\data\Queue]"
            }
            Self::PrivateBytes => "PrivateBytes",
            Self::SubmissionQueue => "QueueLength[SubmissionQueue]",
            Self::VersionBuckets => {
                r"UsedVersionBuckets[C:\Program Files\Microsoft\Exchange Server\V15\TransportRoles\data\Queue\mail.que]"
            }
            Self::SystemMemory => "SystemMemory",
        }
    }

    /// As the status line names it.
    pub(crate) const fn short_name(self) -> &'static str {
        match self {
            Self::QueueDrive => "queue drive",
            Self::LogDrive => "disk",
            Self::PrivateBytes => "memory",
            Self::SubmissionQueue => "submission queue",
            Self::VersionBuckets => "version buckets",
            Self::SystemMemory => "system memory",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Gauge {
    level: Level,
    /// Polls since the level was last low.
    polls: u32,
}

/// Time and excursions above low, of all resources that a sender can notice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    pub(crate) total_ms: u64,
    /// At medium or high.
    pub(crate) medium_ms: u64,
    pub(crate) high_ms: u64,
    pub(crate) medium_excursions: u64,
    pub(crate) high_excursions: u64,
}

/// The resource monitor.
#[derive(Debug)]
pub(crate) struct Pressure {
    gauges: [Gauge; 6],
    /// Polls since something began to delay.
    delaying_polls: u64,
    delay_ms: u64,
    record: Record,
}

impl Pressure {
    pub(crate) fn new() -> Self {
        Self {
            gauges: [Gauge { level: Level::Low, polls: 0 }; 6],
            delaying_polls: 0,
            delay_ms: 0,
            record: Record::default(),
        }
    }

    /// Takes the readings, in the order of [`RESOURCES`], that a poll found. Delays grow every `delay_step_ms`.
    pub(crate) fn poll(&mut self, readings: [f64; 6], scale: f64, delay_step_ms: u64) {
        let before = self.level();
        self.record.total_ms += POLL_MS;
        self.record.medium_ms += if before >= Level::Medium { POLL_MS } else { 0 };
        self.record.high_ms += if before == Level::High { POLL_MS } else { 0 };
        let mut delaying = false;
        for ((gauge, resource), value) in self.gauges.iter_mut().zip(RESOURCES).zip(readings) {
            let scale = if resource.is_a_number() { scale } else { 1.0 };
            gauge.level = next_level(gauge.level, value, &resource.thresholds(), scale);
            gauge.polls = if gauge.level == Level::Low { 0 } else { gauge.polls + 1 };
            delaying |=
                gauge.level >= Level::Medium && matches!(resource.at_medium(), AtMedium::Delay { .. });
        }
        let steps = self.delaying_polls * POLL_MS / delay_step_ms.max(1);
        let grown_ms = DELAY_FIRST_MS.saturating_add(DELAY_STEP_MS.saturating_mul(steps)).min(DELAY_MAX_MS);
        self.delay_ms = if delaying { grown_ms } else { 0 };
        self.delaying_polls = if delaying { self.delaying_polls + 1 } else { 0 };
        let now = self.level();
        self.record.medium_excursions += u64::from(before == Level::Low && now >= Level::Medium);
        self.record.high_excursions += u64::from(before < Level::High && now == Level::High);
    }

    /// The highest level of what a sender can notice.
    pub(crate) fn level(&self) -> Level {
        let noticed = self.levels().filter(|(resource, _)| resource.at_medium() != AtMedium::Nothing);
        noticed.map(|(_, level)| level).max().unwrap_or(Level::Low)
    }

    /// The level of each resource.
    pub(crate) fn levels(&self) -> impl Iterator<Item = (Resource, Level)> {
        RESOURCES.into_iter().zip(self.gauges.iter().map(|gauge| gauge.level))
    }

    /// How long the back end's answer to MAIL takes. Who is refused is not delayed as well.
    pub(crate) fn delay_ms(&self) -> u64 {
        if self.refuses_for().is_some() { 0 } else { self.delay_ms }
    }

    /// The resource for which a foreign sender is refused.
    pub(crate) fn refuses_for(&self) -> Option<Resource> {
        let refuses = |gauge: &Gauge, resource: Resource| match (resource.at_medium(), gauge.level) {
            (AtMedium::Nothing, _) | (_, Level::Low) => false,
            (_, Level::High) | (AtMedium::Refuse, Level::Medium) => true,
            (AtMedium::Delay { polls_max }, Level::Medium) => gauge.polls > polls_max,
        };
        let mut pairs = self.gauges.iter().zip(RESOURCES);
        pairs.find(|(gauge, resource)| refuses(gauge, *resource)).map(|(_, resource)| resource)
    }

    pub(crate) fn record(&self) -> Record {
        self.record
    }
}

fn next_level(level: Level, value: f64, thresholds: &Thresholds, scale: f64) -> Level {
    let risen = match value {
        _ if value >= thresholds.to_high * scale => Level::High,
        _ if value >= thresholds.to_medium * scale => Level::Medium,
        _ => Level::Low,
    };
    if risen >= level {
        return risen;
    }
    let fallen_to_medium = value <= thresholds.back_to_medium * scale;
    let fallen_to_low = value <= thresholds.back_to_low * scale;
    match level {
        Level::High if !fallen_to_medium => Level::High,
        Level::Low => Level::Low,
        _ if fallen_to_low => Level::Low,
        _ => Level::Medium,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(resource: Resource, value: f64) -> [f64; 6] {
        RESOURCES.map(|each| if each == resource { value } else { 0.0 })
    }

    /// Microsoft's table, row by row: a value just short of each threshold and one at it.
    #[test]
    fn levels_rise_and_fall_at_the_documented_thresholds() {
        for (resource, to_medium, to_high, back_to_medium, back_to_low) in [
            (Resource::QueueDrive, 96.0, 99.0, 97.0, 94.0),
            (Resource::LogDrive, 89.0, 99.0, 90.0, 80.0),
            (Resource::PrivateBytes, 72.0, 75.0, 73.0, 71.0),
            (Resource::SubmissionQueue, 9999.0, 15_000.0, 10_000.0, 2000.0),
            (Resource::VersionBuckets, 999.0, 1500.0, 1000.0, 800.0),
        ] {
            let mut pressure = Pressure::new();
            for (value, level) in [
                (to_medium - 0.5, Level::Low),
                (to_medium, Level::Medium),
                (to_high - 0.5, Level::Medium),
                (to_high, Level::High),
                (back_to_medium + 0.5, Level::High),
                (back_to_medium, Level::Medium),
                (back_to_low + 0.5, Level::Medium),
                (back_to_low, Level::Low),
            ] {
                pressure.poll(at(resource, value), 1.0, POLL_MS);
                assert_eq!(pressure.level(), level, "{resource:?} at {value}");
            }
        }
    }

    #[test]
    fn delays_begin_at_ten_seconds_and_grow_by_five_up_to_fifty_five() {
        let mut pressure = Pressure::new();
        let mut delays = Vec::new();
        for _ in 0..12 {
            pressure.poll(at(Resource::SubmissionQueue, 10_000.0), 1.0, POLL_MS);
            delays.push(pressure.delay_ms() / SECOND);
        }
        assert_eq!(delays, [10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 55, 55]);
        pressure.poll(at(Resource::SubmissionQueue, 2000.0), 1.0, POLL_MS);
        assert_eq!(pressure.delay_ms(), 0);
    }

    #[test]
    fn what_only_delays_at_medium_refuses_after_its_history() {
        for (resource, value, polls) in
            [(Resource::SubmissionQueue, 10_000.0, 300), (Resource::VersionBuckets, 1100.0, 10)]
        {
            let mut pressure = Pressure::new();
            for _ in 0..polls {
                pressure.poll(at(resource, value), 1.0, POLL_MS);
                assert_eq!(pressure.refuses_for(), None);
            }
            assert!(pressure.delay_ms() > 0);
            pressure.poll(at(resource, value), 1.0, POLL_MS);
            assert_eq!((pressure.refuses_for(), pressure.delay_ms()), (Some(resource), 0));
        }
    }

    #[test]
    fn disk_and_private_bytes_refuse_foreign_senders_at_medium_and_system_memory_nobody() {
        for (resource, value) in
            [(Resource::QueueDrive, 96.0), (Resource::LogDrive, 89.0), (Resource::PrivateBytes, 72.0)]
        {
            let mut pressure = Pressure::new();
            pressure.poll(at(resource, value), 1.0, POLL_MS);
            assert_eq!((pressure.refuses_for(), pressure.delay_ms()), (Some(resource), 0));
        }
        let mut pressure = Pressure::new();
        pressure.poll(at(Resource::SystemMemory, 99.0), 1.0, POLL_MS);
        assert_eq!((pressure.refuses_for(), pressure.level()), (None, Level::Low));
    }

    #[test]
    fn only_thresholds_that_are_numbers_are_scaled() {
        let mut pressure = Pressure::new();
        pressure.poll(at(Resource::SubmissionQueue, 500.0), 0.05, POLL_MS);
        assert_eq!(pressure.level(), Level::Medium);
        let mut pressure = Pressure::new();
        pressure.poll(at(Resource::LogDrive, 50.0), 0.05, POLL_MS);
        assert_eq!(pressure.level(), Level::Low);
        let record = pressure.record();
        assert_eq!((record.total_ms, record.medium_ms, record.medium_excursions), (POLL_MS, 0, 0));
    }
}
