//! What lies where, and what links and processors are busy with: the same for all who schedule in it.
//!
//! A link carries one transfer at a time each way, in the order in which they were asked for, which moves as many bytes as
//! sharing it would. No path is sent twice. Where more builds run than a builder has cores, one that begins takes so many
//! times longer.

use super::plan::Plan;

#[derive(Debug, Clone)]
pub(super) struct World<'a> {
    plan: &'a Plan,
    /// By builder and build: when the outputs are there, in seconds.
    outputs: Vec<Vec<f64>>,
    /// The same for a build's own sources.
    sources: Vec<Vec<f64>>,
    /// By builder: until when its link is in use, there and back.
    there: Vec<f64>,
    back: Vec<f64>,
    /// By builder: builds that run.
    building: Vec<u32>,
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let builders = plan.builders.len();
        let nowhere = vec![vec![f64::INFINITY; plan.builds.len()]; builders];
        Self {
            plan,
            outputs: nowhere.clone(),
            sources: nowhere,
            there: vec![0.0; builders],
            back: vec![0.0; builders],
            building: vec![0; builders],
        }
    }

    /// When all that the build needs would be there.
    pub(super) fn arrival(&self, build: usize, builder: usize, now: f64) -> f64 {
        let outputs = &self.outputs[builder];
        let (mut bytes, mut last) = (0, now);
        for need in &self.plan.needs[build] {
            if outputs[*need].is_finite() {
                last = last.max(outputs[*need]);
            } else {
                bytes += self.plan.builds[*need].output_bytes;
            }
        }
        if self.sources[builder][build].is_finite() {
            last = last.max(self.sources[builder][build]);
        } else {
            bytes += self.plan.builds[build].input_bytes;
        }
        if bytes > 0 {
            last = last.max(self.there[builder].max(now) + self.plan.upload(builder, bytes));
        }
        last
    }

    /// It is sent; when it is there.
    pub(super) fn send(&mut self, build: usize, builder: usize, now: f64) -> f64 {
        let arrival = self.arrival(build, builder, now);
        for need in &self.plan.needs[build] {
            let at = &mut self.outputs[builder][*need];
            *at = at.min(arrival);
        }
        let at = &mut self.sources[builder][build];
        *at = at.min(arrival);
        self.there[builder] = self.there[builder].max(arrival);
        arrival
    }

    /// How long it would build there.
    pub(super) fn lasts(&self, build: usize, builder: usize) -> f64 {
        let running = f64::from(self.building[builder] + 1);
        let cores = self.plan.builders[builder].cores.map_or(running, f64::from);
        self.plan.work(build, builder) * (running / cores).max(1.0)
    }

    pub(super) fn begin(&mut self, builder: usize) {
        self.building[builder] += 1;
    }

    pub(super) fn end(&mut self, builder: usize) {
        self.building[builder] = self.building[builder].saturating_sub(1);
    }

    /// It is built, and its outputs come back; when they are here.
    pub(super) fn fetch(&mut self, build: usize, builder: usize, now: f64) -> f64 {
        let at = &mut self.outputs[builder][build];
        *at = at.min(now);
        let begins = self.back[builder].max(now);
        self.back[builder] = begins + self.plan.fetch(build, builder);
        self.back[builder]
    }

    /// Whatever is on its way there never arrives; nothing runs there.
    pub(super) fn lose(&mut self, builder: usize, now: f64) {
        self.stop_sending(builder, now);
        self.back[builder] = now;
        self.building[builder] = 0;
    }

    pub(super) fn stop_sending(&mut self, builder: usize, now: f64) {
        let all = self.outputs[builder].iter_mut().chain(&mut self.sources[builder]);
        all.filter(|at| **at > now).for_each(|at| *at = f64::INFINITY);
        self.there[builder] = now;
    }
}
