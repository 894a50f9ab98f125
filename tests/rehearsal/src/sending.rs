//! What the appliance has in flight: messages, canaries and probes, each on a connection, as the daemon's attempts are.

use penstock_exchange::simulated::World;
use penstock_release::{
    CanaryOutcome, End, Fate as Follows, Found, MessageAttempt, Outcome, Refused, Transaction,
};

use crate::appliance::{Appliance, CANARY_SENDER, HOP, IDLE_MS_MAX, REPORTS_INTERVAL_MS, at, reason};
use crate::connection::{Connection, Happened, Letter};
use crate::mail::Fate;

/// Recipients of one transaction.
const RECIPIENTS_MAX: usize = 200;

/// A message of ours, or an attempt to see how the server is, on its connection.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) job: Job,
    pub(crate) attempt: MessageAttempt,
    pub(crate) connection: Connection,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// The message with this index.
    Mail(usize),
    Probe,
    /// The canary with this number, to this probe mailbox.
    Canary {
        id: u64,
        probe: u16,
    },
}

impl Appliance {
    /// Finds a connection for a job. A probe has one of its own.
    pub(crate) fn begin(&mut self, world: &mut World, job: Job, mut attempt: MessageAttempt) {
        while job != Job::Probe
            && let Some(connection) = self.idle.pop()
        {
            if connection.is_fresh(world.now_ms()) {
                return self.go_on(world, Work { job, attempt, connection });
            }
            self.dismiss(connection);
        }
        match Connection::open(world, Self::SOURCE, self.client.clone()) {
            Ok(connection) => self.works.push(Work { job, attempt, connection }),
            Err(found) => {
                attempt.no_session(Some(found));
                self.finish(world, &job, &attempt);
            }
        }
    }

    /// The next transaction, on a connection that is idle; or the end of the job.
    fn go_on(&mut self, world: &mut World, mut work: Work) {
        let now_ms = world.now_ms();
        if work.job == Job::Probe {
            work.connection.probe();
            return self.works.push(work);
        }
        // What a new connection showed may be a reason to send no mail.
        let may_go = !matches!(work.job, Job::Mail(_)) || self.release.may_have_mail(HOP);
        if !work.attempt.has_next() || !may_go {
            self.keep(work.connection, now_ms);
            return self.finish(world, &work.job, &work.attempt);
        }
        if !work.connection.is_fresh(now_ms) {
            self.dismiss(work.connection);
            return self.begin_anew(world, work.job, work.attempt);
        }
        let batch = work.attempt.begin(RECIPIENTS_MAX).to_vec();
        let letter = self.letter(&work.job, &batch);
        work.connection.transact(letter);
        self.works.push(work);
    }

    /// On a connection that is surely new.
    fn begin_anew(&mut self, world: &mut World, job: Job, mut attempt: MessageAttempt) {
        match Connection::open(world, Self::SOURCE, self.client.clone()) {
            Ok(connection) => self.works.push(Work { job, attempt, connection }),
            Err(found) => {
                attempt.no_session(Some(found));
                self.finish(world, &job, &attempt);
            }
        }
    }

    fn letter(&self, job: &Job, batch: &[u16]) -> Letter {
        match job {
            Job::Mail(id) => {
                let mail = &self.held[*id].mail;
                Letter {
                    from: "sender@sender.example".into(),
                    to: batch.iter().map(|number| mail.to[usize::from(*number)].clone()).collect(),
                    envelope_id: None,
                    body: mail.to_bytes(),
                }
            }
            Job::Canary { id, probe } => {
                let token = format!("{}-{id}", self.boots);
                Letter {
                    from: CANARY_SENDER.into(),
                    to: vec![self.knowledge.probes[usize::from(*probe)].clone()],
                    body: format!(
                        "Message-ID: <{token}@appliance.example>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n"
                    )
                    .into_bytes(),
                    envelope_id: Some(token),
                }
            }
            Job::Probe => unreachable!("a probe carries nothing"),
        }
    }

    /// What came of a connection that was at work.
    fn happened(&mut self, world: &mut World, mut work: Work, happened: Happened) {
        match happened {
            Happened::Ready => {
                self.release.greeted(HOP, &work.connection.greeting(), at(world.now_ms()));
                self.go_on(world, work);
            }
            Happened::NotReady(found) => {
                work.connection.close(world);
                if work.job == Job::Probe {
                    self.release.probed(HOP, Some(found.evidence()), at(world.now_ms()));
                } else {
                    work.attempt.no_session(Some(found));
                    self.finish(world, &work.job, &work.attempt);
                }
            }
            Happened::Probed(trouble) => {
                let evidence = trouble.as_ref().map(Found::evidence);
                self.release.probed(HOP, evidence, at(world.now_ms()));
                self.dismiss(work.connection);
            }
            Happened::Transacted { transaction, end, in_doubt } => {
                self.transacted(world, work, transaction, end, in_doubt);
            }
            Happened::Gone => unreachable!("a connection at work says how its work ended"),
        }
    }

    fn transacted(
        &mut self,
        world: &mut World,
        mut work: Work,
        transaction: Transaction,
        end: End,
        in_doubt: bool,
    ) {
        let now_ms = world.now_ms();
        let answered_ms = std::mem::take(&mut work.connection.answered_ms);
        if work.connection.carried > 0 && end.is_cut_at_mail() {
            // The server had closed it meanwhile, which says nothing about anything.
            work.attempt.unbegin();
            work.connection.close(world);
            return self.begin_anew(world, work.job, work.attempt);
        }
        let size_bytes = match work.job {
            Job::Mail(id) => self.held[id].mail.len_bytes as u64,
            Job::Probe | Job::Canary { .. } => 0,
        };
        for (phase, took_ms) in answered_ms {
            self.release.answered(HOP, phase, size_bytes, took_ms, at(now_ms));
        }
        let settled = work.attempt.settle(transaction, end);
        if let Job::Mail(id) = work.job {
            self.held[id].in_doubt += u32::from(in_doubt);
            self.tell_client(id, &mut work.attempt, now_ms);
            let held = &mut self.held[id];
            // What was told is final.
            let fates = if held.is_told() { Vec::new() } else { settled.fates };
            for fated in fates {
                for number in &fated.recipients {
                    held.fates[usize::from(*number)] = match fated.delivered {
                        true => Fate::Delivered { at_ms: now_ms },
                        false => Fate::Quarantined { at_ms: now_ms, why: fated.found.to_string() },
                    };
                }
            }
        } else if let Some(refused) = settled.fates.into_iter().find(|fated| !fated.delivered) {
            self.canary_refused = Some(refused.found);
        }
        if settled.goes_on {
            work.connection.carried += 1;
            self.go_on(world, work);
        } else {
            work.connection.close(world);
            self.finish(world, &work.job, &work.attempt);
        }
    }

    /// Where everybody was refused, and the client waits and can be told: so be it.
    fn tell_client(&mut self, id: usize, attempt: &mut MessageAttempt, now_ms: u64) {
        let Some(refused) = attempt.refusal_of_all() else { return };
        let held = &mut self.held[id];
        let judged: Vec<_> = refused
            .iter()
            .map(|(number, found)| Refused {
                recipient: u64::from(*number),
                address: &held.mail.to[usize::from(*number)],
                known_good: false,
                evidence: found.evidence(),
            })
            .collect();
        let waits = now_ms < held.awaited_until_ms && judged.len() == held.mail.to.len();
        if waits && self.release.can_tell(id as u64, &judged, at(now_ms)) {
            attempt.refuse_all();
            for (number, found) in refused {
                held.fates[usize::from(number)] = Fate::Told { at_ms: now_ms, why: found.to_string() };
            }
        }
    }

    /// Reports what came of a job.
    fn finish(&mut self, world: &World, job: &Job, attempt: &MessageAttempt) {
        let now_ms = world.now_ms();
        match job {
            Job::Probe => {
                let evidence = attempt.kept_open().map(Found::evidence);
                self.release.probed(HOP, evidence, at(now_ms));
            }
            Job::Canary { id, .. } => {
                let refused = self.canary_refused.take();
                let outcome = match (attempt.outcome(), attempt.kept_open().or(refused.as_ref())) {
                    (Outcome::Done { delivered: true }, _) => CanaryOutcome::Taken,
                    (_, Some(found)) => CanaryOutcome::Refused(found.evidence()),
                    (_, None) => CanaryOutcome::NotTried,
                };
                if outcome == CanaryOutcome::Taken {
                    self.canaries_out += 1;
                    self.reports_at_ms = now_ms + REPORTS_INTERVAL_MS;
                }
                self.release.canary_ended(*id, outcome, at(now_ms));
            }
            Job::Mail(id) => {
                // Its client has its answer now.
                self.held[*id].awaited_until_ms = 0;
                match self.release.finished(*id as u64, attempt.outcome(), at(now_ms)) {
                    Some(Follows::Waits { attempts, .. }) => self.held[*id].noted_attempts = attempts,
                    Some(Follows::SetAside(why)) => {
                        let said = attempt.kept_open().map_or(String::new(), ToString::to_string);
                        self.quarantine_open(*id, now_ms, &format!("{}: {said}", reason(why)));
                    }
                    Some(Follows::Done | Follows::Kept) | None => {}
                }
            }
        }
    }

    fn keep(&mut self, mut connection: Connection, now_ms: u64) {
        if connection.is_fresh(now_ms) {
            connection.set_idle(now_ms);
            self.idle.push(connection);
        } else {
            self.dismiss(connection);
        }
    }

    fn dismiss(&mut self, mut connection: Connection) {
        connection.quit();
        self.quitting.push(connection);
    }

    /// Ends sessions that nobody needed for a while, and those beyond what the hop is to have.
    pub(crate) fn close_idle(&mut self, now_ms: u64) {
        if self.idle.is_empty() {
            return;
        }
        let wanted = self.release.hops(at(now_ms)).next().map_or(0, |hop| hop.connections as usize);
        let mut surplus = (self.works.len() + self.idle.len()).saturating_sub(wanted);
        while let Some(oldest) = self.idle.first()
            && (surplus > 0 || oldest.idle_since_ms() + IDLE_MS_MAX <= now_ms)
        {
            surplus = surplus.saturating_sub(1);
            let oldest = self.idle.remove(0);
            self.dismiss(oldest);
        }
    }

    /// Lets the connections send and receive.
    pub(crate) fn turn(&mut self, world: &mut World) {
        for mut work in std::mem::take(&mut self.works) {
            match work.connection.turn(world) {
                Some(happened) => self.happened(world, work, happened),
                None => self.works.push(work),
            }
        }
        let mut quitting = std::mem::take(&mut self.quitting);
        quitting.retain_mut(|connection| {
            let over = connection.is_over() || connection.turn(world).is_some();
            if over {
                connection.close(world);
            }
            !over
        });
        self.quitting.append(&mut quitting);
    }
}
