//! What the server is capable of in each scenario, and how long a sender that knew it would take.

use super::backlog::Mail;

/// Cost of a message beyond 1, as set in the model.
const COST_PER_MIB: f64 = 0.5;
const COST_PER_RECIPIENT: f64 = 0.1;
/// What comes beside the backlog: one message a second of the bystander, and one through the sender.
const BESIDE_PER_S: f64 = 2.0;
/// A backlog of this many messages meets thresholds as Microsoft has them; with a smaller one they shrink alike, so
/// that a short run shows the same.
const MESSAGES_FULL: f64 = 20_000.0;
/// How much of the backlog makes the server short of memory in the scenario `memory`.
const MEMORY_SHARE: f64 = 0.1;
/// How long there is no disk space in the scenario `disk`, in seconds.
const DISK_S: f64 = 90.0;

/// What a sender that knows nothing of the server keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// Messages of any kind in a second.
    pub per_s: f64,
    /// Messages of a backlog within any ten minutes.
    pub backlog_in_ten_minutes: u32,
}

/// What the server is capable of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// 20 messages a second.
    Steady20,
    /// 100 messages a second.
    Steady100,
    /// 25 to 75 messages a second and back every two minutes.
    Varying,
    /// 50 messages a second; private bytes grow with what is queued.
    Memory,
    /// 50 messages a second; no disk space in the first 90 s.
    Disk,
}

/// All of them.
pub const SCENARIOS: [Scenario; 5] =
    [Scenario::Steady20, Scenario::Steady100, Scenario::Varying, Scenario::Memory, Scenario::Disk];

impl Scenario {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady20 => "steady-20",
            Self::Steady100 => "steady-100",
            Self::Varying => "varying",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }

    /// The capacity in messages of cost 1 a second, on average.
    pub fn capacity_per_s(self) -> f64 {
        match self {
            Self::Steady20 => 20.0,
            Self::Steady100 => 100.0,
            Self::Varying | Self::Memory | Self::Disk => 50.0,
        }
    }

    /// How fast it runs unless told otherwise: as fast as Postfix on a small machine can still send several times what
    /// the server takes, lest the machine rather than the sender's restraint protects the server.
    pub fn speed(self) -> u32 {
        match self {
            Self::Steady20 => 8,
            Self::Steady100 => 1,
            Self::Varying | Self::Memory | Self::Disk => 4,
        }
    }

    /// The commands for a server of this capacity, with nothing else that troubles it.
    pub fn at_ease(self) -> String {
        let capacity = match self {
            Self::Varying => "wave 25 75 120s".to_owned(),
            _ => self.capacity_per_s().to_string(),
        };
        format!("capacity {capacity}\ncost-mib {COST_PER_MIB}\ncost-recipient {COST_PER_RECIPIENT}\n")
    }

    /// The commands for the model.
    pub fn commands(self, messages: u32) -> String {
        let scale = (f64::from(messages) / MESSAGES_FULL).min(1.0);
        let own = match self {
            Self::Memory => {
                // Private bytes of 60 % reach medium, 72 %, when that share of the backlog lies in the queue.
                let mib: f64 = (0..messages).map(|n| mib(Mail::numbered(n).len_bytes)).sum();
                format!("memory 60%\nmemory-mib {:.4}\n", 12.0 / (mib * MEMORY_SHARE))
            }
            Self::Disk => format!("disk 95%\nat {DISK_S}s disk ok\n"),
            _ => String::new(),
        };
        format!("{}scale {scale}\n{own}", self.at_ease())
    }

    /// When pressure from outside ends, in ms, where there is any.
    pub fn pressure_ends_ms(self) -> Option<u64> {
        (self == Self::Disk).then_some(DISK_S as u64 * 1000)
    }

    fn idle_s(self) -> f64 {
        self.pressure_ends_ms().map_or(0.0, |ms| ms as f64 / 1000.0)
    }

    /// How long the server needs for a backlog at the least, beside what else it gets, in s.
    pub fn ideal_s(self, messages: u32) -> f64 {
        let cost: f64 = (0..messages).map(|n| cost(&Mail::numbered(n))).sum();
        // A wave is at its mean over each of its periods, and a drain takes several.
        self.idle_s() + cost / (self.capacity_per_s() - BESIDE_PER_S)
    }

    /// How long a sender needs for it that has a ceiling of its own, what comes meanwhile included, in s.
    pub fn ceiling_s(self, messages: u32, ceiling: Ceiling) -> f64 {
        let backlog_per_s = ceiling.per_s - BESIDE_PER_S / 2.0;
        let before_last = messages.saturating_sub(1);
        let waits = before_last / ceiling.backlog_in_ten_minutes;
        let last = before_last % ceiling.backlog_in_ten_minutes + 1;
        let own_s = f64::from(waits * 600) + f64::from(last) / backlog_per_s;
        (self.idle_s() + own_s).max(self.ideal_s(messages))
    }
}

fn mib(len_bytes: usize) -> f64 {
    len_bytes as f64 / (1024.0 * 1024.0)
}

fn cost(mail: &Mail) -> f64 {
    1.0 + COST_PER_MIB * mib(mail.len_bytes) + COST_PER_RECIPIENT * (mail.to.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use penstock_exchange::Server;

    use super::*;

    #[test]
    fn the_model_understands_every_scenario() {
        for scenario in SCENARIOS {
            Server::new(1, 0).scenario(0, &scenario.commands(2000)).unwrap();
        }
    }

    #[test]
    fn a_ceiling_counts_where_the_server_could_do_more() {
        let scenario = Scenario::Steady100;
        assert!((90.0..110.0).contains(&scenario.ideal_s(9000)));
        let of = |per_s: f64, backlog_in_ten_minutes: u32| {
            scenario.ceiling_s(9000, Ceiling { per_s, backlog_in_ten_minutes })
        };
        assert_eq!(of(10.0, u32::MAX).round(), 1000.0);
        // Five times ten minutes, and then the last 1,500 at nine a second.
        assert_eq!(of(10.0, 1500).round(), 3167.0);
        assert_eq!(of(1000.0, u32::MAX), scenario.ideal_s(9000), "no faster than the server");
    }
}
