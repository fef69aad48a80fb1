//! How does one event lead to the next?
//!
//! The requests' side: coming, being sent, failing, waiting, ending. What happens to servers is in `servers`, what
//! balancers know of them in `front`.

mod detection;
mod front;
mod servers;

use alloc::vec::Vec;

use core::time::Duration;

use isobar_balance::{Attention, Chance, Finish, Moment, Outcome, Pick, Query, Tier, Verdict};

use crate::agenda::{Agenda, Event, Ticket};
use crate::arrivals::{self, Arrival, Arriving};
use crate::draws;
use crate::report::Report;
use crate::scenario::{Counters, Nonsense, Reports, Scenario, What};
use crate::station::Job;
use crate::tally::{End, Ended, Tally};

use front::Front;
use servers::Servers;

/// A key that no server has answered yet.
const NOBODY: u32 = u32::MAX;

/// A scenario under way.
#[derive(Debug)]
pub struct Simulation {
    scenario: Scenario,
    now: u64,
    events: u64,
    agenda: Agenda,
    arriving: Arriving,
    next: Option<Arrival>,
    servers: Servers,
    fronts: Vec<Front>,
    /// One generator per balancer, as each worker has its own.
    chances: Vec<Chance>,
    /// Which balancer a request comes in at.
    doors: Chance,
    requests: Vec<Request>,
    free: Vec<u32>,
    /// Fronts where a place became free and somebody may wait for it.
    freed: Vec<u32>,
    /// Who answered each key last.
    owners: Vec<u32>,
    tally: Tally,
}

/// A request under way, or the place for one.
#[derive(Debug, Default)]
struct Request {
    stamp: u32,
    number: u64,
    come: u64,
    work: f64,
    key: Option<u32>,
    balancer: u32,
    front: u32,
    stage: Stage,
    /// When it was sent to the server it is at, and what that had in flight then, itself included.
    sent: u64,
    in_flight: u32,
    tried: Vec<u32>,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// Nowhere: the place is free.
    #[default]
    Over,
    /// About to be sent.
    Between,
    /// Waiting for a place on a server.
    Queued,
    /// At a server.
    At(u32),
}

impl Simulation {
    /// Prepares a run.
    ///
    /// *Errors*: the scenario makes no sense; the writer's fault.
    pub fn new(scenario: Scenario) -> Result<Self, Nonsense> {
        scenario.check()?;
        let mut seeds = draws::stream(scenario.seed, 4);
        let mut agenda = Agenda::default();
        let servers = Servers::new(&scenario, &mut agenda);
        let count = match scenario.balancers.counters {
            Counters::Shared => 1,
            Counters::Own => scenario.balancers.count,
        };
        let fronts = (0..count).map(|_| Front::new(&scenario, servers.known(), seeds.bits()));
        let fronts: Vec<Front> = fronts.collect();
        let chances = (0..scenario.balancers.count).map(|_| Chance::new(seeds.bits()));
        let mut arriving = Arriving::new(&scenario);
        let tally = Tally::new(&scenario, arriving.horizon());
        let next = arriving.next();
        if let Some(first) = &next {
            agenda.put(first.at, Event::Arrival);
        }
        agenda.put(tally.interval(), Event::Sample);
        let mut simulation = Self {
            now: 0,
            events: 0,
            chances: chances.collect(),
            doors: draws::stream(scenario.seed, 5),
            scenario,
            agenda,
            arriving,
            next,
            servers,
            fronts,
            requests: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            owners: Vec::new(),
            tally,
        };
        simulation.follow();
        Ok(simulation)
    }

    /// Runs a scenario from its start to its end.
    ///
    /// *Errors*: it makes no sense; the writer's fault.
    pub fn run(scenario: Scenario) -> Result<Report, Nonsense> {
        let mut simulation = Self::new(scenario)?;
        while simulation.advance(u64::MAX) {}
        Ok(simulation.finish())
    }

    /// Goes on for so many events at most; *returns* whether there are more to come.
    pub fn advance(&mut self, events: u64) -> bool {
        for _ in 0..events {
            if self.is_over() {
                return false;
            }
            let Some((now, event)) = self.agenda.take() else {
                return false;
            };
            self.now = now;
            self.events += 1;
            self.happen(event);
            while let Some(front) = self.freed.pop() {
                self.serve_waiting(front);
            }
        }
        !self.is_over()
    }

    /// Whether every request came and ended, or nothing more would happen to those that did not end.
    fn is_over(&self) -> bool {
        !self.agenda.is_open() || (self.next.is_none() && self.tally.present() == 0)
    }

    /// The part of the requests that have come, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        self.arriving.come() as f64 / self.scenario.requests as f64
    }

    /// What came of it so far, or of all of it when there are no more events.
    #[must_use]
    pub fn finish(self) -> Report {
        let now = self.now;
        debug_assert_eq!(
            self.fronts.iter().map(Front::places_taken).sum::<u64>(),
            self.requests
                .iter()
                .filter(|request| matches!(request.stage, Stage::At(_)))
                .count() as u64,
            "places are taken by the requests that are at a server, and by no others"
        );
        let open = self.requests.iter().filter(|request| request.stage != Stage::Over);
        let open = open.map(|request| now - request.come);
        Report {
            events: self.events,
            ..self.tally.report(&self.scenario, now, open)
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Done { server, plan } => self.done(server, plan),
            Event::ClientLeaves(ticket) => self.client_leaves(ticket),
            Event::QueueEnds(ticket) => self.queue_ends(ticket),
            Event::Probed { server, front } => self.hear(front, server),
            Event::Judge { front, .. } => self.judge(front),
            Event::Change(at) => self.change(at),
            Event::Antagonist(server) => self.servers.antagonist(self.now, server, &mut self.agenda),
            Event::Wear(server) => self.servers.wear(self.now, server, &mut self.agenda),
            Event::Sample => {
                let next = self.tally.sample(self.now, self.servers.stations_mut());
                self.agenda.put(next, Event::Sample);
            }
        }
    }

    fn arrive(&mut self) {
        let Some(arrival) = self.next.take() else {
            return;
        };
        self.next = self.arriving.next();
        let number = self.tally.came(self.now);
        if number == self.scenario.warm_up {
            self.tally.open(self.now, self.servers.stations_mut());
        }
        match &self.next {
            Some(next) => self.agenda.put(next.at, Event::Arrival),
            None => self.tally.close(self.now, self.servers.stations_mut()),
        }
        let place = self.admit(number, arrival);
        if let Some(timeout) = self.scenario.timeout {
            let leaves = Event::ClientLeaves(self.ticket(place));
            self.agenda.put(self.now.saturating_add(timeout), leaves);
        }
        self.send(place);
    }

    fn admit(&mut self, number: u64, arrival: Arrival) -> u32 {
        let balancer = self.doors.below(u64::from(self.scenario.balancers.count));
        let balancer = u32::try_from(balancer).unwrap_or_default();
        let front = match self.scenario.balancers.counters {
            Counters::Shared => 0,
            Counters::Own => balancer,
        };
        self.fronts[front as usize].deposit();
        let place = self.free.pop().unwrap_or_else(|| {
            self.requests.push(Request::default());
            u32::try_from(self.requests.len() - 1).unwrap_or(u32::MAX)
        });
        let request = &mut self.requests[place as usize];
        request.number = number;
        request.come = self.now;
        request.work = arrival.work;
        request.key = arrival.key;
        request.balancer = balancer;
        request.front = front;
        request.stage = Stage::Between;
        request.tried.clear();
        place
    }

    fn ticket(&self, place: u32) -> Ticket {
        Ticket {
            place,
            stamp: self.requests[place as usize].stamp,
        }
    }

    /// Whether the request that this ticket was made for is still under way.
    fn is_open(&self, ticket: Ticket) -> bool {
        self.requests[ticket.place as usize].stamp == ticket.stamp
    }

    fn pick(&mut self, place: u32) -> Pick {
        let request = &self.requests[place as usize];
        let query = query(request, self.now);
        let chance = &mut self.chances[request.balancer as usize];
        self.fronts[request.front as usize].group().pick(&query, chance)
    }

    /// Asks the servers for a report that the algorithm wants to hear of now.
    fn probe(&mut self, place: u32, tier: Tier) {
        if self.scenario.reports != Reports::WhenProbed {
            return;
        }
        let request = &self.requests[place as usize];
        let chance = &mut self.chances[request.balancer as usize];
        let group = self.fronts[request.front as usize].group();
        let probes = group.probes(tier, &query(request, self.now), chance);
        for server in probes.iter() {
            let front = request.front;
            let heard = self.now.saturating_add(self.scenario.probe_time);
            self.agenda.put(heard, Event::Probed { server, front });
        }
    }

    /// A front hears what a server says of itself.
    fn hear(&mut self, front: u32, server: u32) {
        if let Some(report) = self.servers.report(self.now, server) {
            self.fronts[front as usize].reported(server, &report, self.now);
        }
    }

    /// Tells the balancer how a request ended at a server.
    fn tell(&mut self, place: u32, slot: u32, verdict: Verdict) {
        let request = &self.requests[place as usize];
        let finish = finish(request, self.now, verdict);
        let front = &self.fronts[request.front as usize];
        front.finished(slot, &finish);
        if front.adapt(slot, &finish) {
            self.freed.push(request.front);
        }
        if front.count(slot, verdict, &finish) == Attention::Due {
            let (front, returns) = (request.front, true);
            self.agenda.put(self.now, Event::Judge { front, returns });
        }
    }

    /// Tells the detectors which servers are known, and has them look at once.
    fn follow(&mut self) {
        if self.scenario.outliers.is_none() {
            return;
        }
        for (front, it) in (0..).zip(&mut self.fronts) {
            it.follow(self.servers.known(), self.now);
            let returns = true;
            self.agenda.put(self.now, Event::Judge { front, returns });
        }
    }

    /// A detector says who is out and who is back.
    fn judge(&mut self, front: u32) {
        let it = &mut self.fronts[front as usize];
        let (ejected, is_otherwise) = it.judge(self.now);
        if is_otherwise {
            it.regroup(self.servers.known());
            self.freed.push(front);
        }
        if let Some(next) = it.plan_judgement(self.now) {
            let returns = next.returns;
            self.agenda.put(next.at, Event::Judge { front, returns });
        }
        for slot in ejected {
            self.tally.ejected(slot as usize);
        }
    }

    /// Sends a request to a server, to another where one refuses it, or lets it wait.
    fn send(&mut self, place: u32) {
        loop {
            match self.pick(place) {
                Pick::Server { slot, tier } => {
                    if self.deliver(place, slot, tier) || !self.try_again(place, slot, Verdict::Unreachable) {
                        return;
                    }
                }
                Pick::Full => return self.wait(place),
                Pick::NoneAvailable => return self.give_up(place),
            }
        }
    }

    /// Brings a request to a server; *returns* whether that took it.
    fn deliver(&mut self, place: u32, slot: u32, tier: Tier) -> bool {
        let ticket = self.ticket(place);
        self.probe(place, tier);
        let request = &mut self.requests[place as usize];
        request.sent = self.now;
        request.in_flight = self.fronts[request.front as usize].in_flight(slot);
        self.tally.sent(slot as usize, request.number);
        let Some((fails, work)) = self.servers.reception(slot, request.work) else {
            self.release(place, slot);
            return false;
        };
        request.stage = Stage::At(slot);
        let job = Job { ticket, work, fails };
        self.servers.take(self.now, slot, job, &mut self.agenda);
        true
    }

    fn release(&mut self, place: u32, slot: u32) {
        let front = self.requests[place as usize].front;
        self.requests[place as usize].stage = Stage::Between;
        self.fronts[front as usize].release(slot);
        self.freed.push(front);
    }

    /// After a failure: *returns* whether another server is to be tried; otherwise the request has ended.
    fn try_again(&mut self, place: u32, slot: u32, verdict: Verdict) -> bool {
        self.tell(place, slot, verdict);
        let request = &mut self.requests[place as usize];
        self.tally.server_failed(slot as usize, request.number);
        request.tried.push(slot);
        let within = request.tried.len() <= self.scenario.retry.attempts as usize;
        let front = &mut self.fronts[request.front as usize];
        if within && front.withdraw(&self.scenario.retry, self.now) {
            self.tally.retries += 1;
            return true;
        }
        self.end(place, End::Failed);
        false
    }

    fn give_up(&mut self, place: u32) {
        let was_tried = !self.requests[place as usize].tried.is_empty();
        self.end(place, if was_tried { End::Failed } else { End::Unavailable });
    }

    fn wait(&mut self, place: u32) {
        let ticket = self.ticket(place);
        let request = &mut self.requests[place as usize];
        if !self.fronts[request.front as usize].enqueue(ticket, self.scenario.queue.max) {
            return self.end(place, End::Refused);
        }
        request.stage = Stage::Queued;
        if let Some(timeout) = self.scenario.queue.timeout {
            self.agenda
                .put(self.now.saturating_add(timeout), Event::QueueEnds(ticket));
        }
    }

    /// Gives places to those that wait longest, until there are none.
    fn serve_waiting(&mut self, front: u32) {
        while let Some(ticket) = self.fronts[front as usize].first_waiting() {
            if !self.is_open(ticket) || self.requests[ticket.place as usize].stage != Stage::Queued {
                self.fronts[front as usize].forget_first();
                continue;
            }
            let pick = self.pick(ticket.place);
            if pick == Pick::Full {
                return;
            }
            self.fronts[front as usize].forget_first();
            self.leave_queue(ticket.place);
            match pick {
                Pick::Server { slot, tier } => {
                    if !self.deliver(ticket.place, slot, tier)
                        && self.try_again(ticket.place, slot, Verdict::Unreachable)
                    {
                        self.send(ticket.place);
                    }
                }
                Pick::Full | Pick::NoneAvailable => self.give_up(ticket.place),
            }
        }
    }

    fn leave_queue(&mut self, place: u32) {
        let request = &mut self.requests[place as usize];
        request.stage = Stage::Between;
        self.fronts[request.front as usize].leave();
    }

    fn done(&mut self, server: u32, plan: u32) {
        let Some(job) = self.servers.done(self.now, server, plan, &mut self.agenda) else {
            return;
        };
        // A client that left takes its request's place with it; the server found out too late.
        if !self.is_open(job.ticket) {
            return;
        }
        let place = job.ticket.place;
        self.release(place, server);
        if self.scenario.reports != Reports::None {
            self.hear(self.requests[place as usize].front, server);
        }
        if !job.fails {
            self.tell(place, server, Verdict::Answered);
            let moved = self.note_owner(place, server);
            self.end_with(place, End::Answered, moved);
        } else if self.try_again(place, server, Verdict::ServerError) {
            self.send(place);
        }
    }

    /// Notes who answered the request's key; *returns* whether that is another than the last time, if there was one.
    fn note_owner(&mut self, place: u32, server: u32) -> Option<bool> {
        let key = self.requests[place as usize].key? as usize;
        if self.owners.len() <= key {
            self.owners.resize(key + 1, NOBODY);
        }
        let before = core::mem::replace(&mut self.owners[key], server);
        (before != NOBODY).then_some(before != server)
    }

    fn end(&mut self, place: u32, how: End) {
        self.end_with(place, how, None);
    }

    fn end_with(&mut self, place: u32, how: End, moved: Option<bool>) {
        let request = &mut self.requests[place as usize];
        let ended = Ended {
            how,
            number: request.number,
            time: self.now - request.come,
            moved,
        };
        request.stage = Stage::Over;
        request.stamp = request.stamp.wrapping_add(1);
        self.free.push(place);
        self.tally.ended(self.now, ended);
    }

    fn client_leaves(&mut self, ticket: Ticket) {
        if !self.is_open(ticket) {
            return;
        }
        match self.requests[ticket.place as usize].stage {
            Stage::At(server) => {
                self.release(ticket.place, server);
                self.abandon(ticket.place, server);
            }
            Stage::Queued => self.leave_queue(ticket.place),
            Stage::Between | Stage::Over => {}
        }
        self.end(ticket.place, End::TimedOut);
    }

    /// Tells the limit of a server how long a client waited for it in vain.
    fn abandon(&mut self, place: u32, server: u32) {
        let request = &self.requests[place as usize];
        let finish = finish(request, self.now, Verdict::ServerError);
        if self.fronts[request.front as usize].adapt(server, &finish) {
            self.freed.push(request.front);
        }
    }

    fn queue_ends(&mut self, ticket: Ticket) {
        if self.is_open(ticket) && self.requests[ticket.place as usize].stage == Stage::Queued {
            self.leave_queue(ticket.place);
            self.end(ticket.place, End::Refused);
        }
    }

    fn change(&mut self, at: u32) {
        let Some(change) = self.scenario.changes.get(at as usize).copied() else {
            return;
        };
        let outcome = self.servers.change(self.now, change, &mut self.agenda);
        let server = u32::try_from(change.server).unwrap_or(u32::MAX);
        if outcome.is_known_otherwise {
            if change.what == What::Trusted {
                self.fronts.iter_mut().for_each(|front| front.probes_passed(server));
            }
            self.follow();
            for front in &mut self.fronts {
                front.regroup(self.servers.known());
            }
            self.freed
                .extend(0..u32::try_from(self.fronts.len()).unwrap_or_default());
        }
        for job in outcome.lost {
            if self.is_open(job.ticket) {
                let place = job.ticket.place;
                self.release(place, server);
                if self.try_again(place, server, Verdict::ServerError) {
                    self.send(place);
                }
            }
        }
    }
}

/// What balancing is told of how a request ended.
fn finish(request: &Request, now: u64, verdict: Verdict) -> Finish {
    Finish {
        now: Moment::new(now),
        latency: Duration::from_nanos(now - request.sent),
        in_flight: request.in_flight,
        outcome: match verdict {
            Verdict::Answered => Outcome::Success,
            Verdict::ServerError | Verdict::Unreachable => Outcome::Failure { retry_after: None },
        },
    }
}

/// What an algorithm is told of a request.
fn query(request: &Request, now: u64) -> Query<'_> {
    Query {
        avoid: &request.tried,
        key: request.key.map(arrivals::hash),
        now: Moment::new(now),
    }
}
