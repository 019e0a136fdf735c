//! The simulated intake: lines of flow events with their provenance.

use std::time::Duration;

use async_trait::async_trait;
use flowlogd::{
    batch::EncodedEvents,
    intake::{Cause, Framing, Intake, Selection, Verdict, stdout::StdoutIntake},
};

use super::{
    blobs::{Kind, number_of},
    weather::Fault,
    world::{Shared, World, lock},
};
use crate::support::wait::time_passes;

/// A body that every intake takes: more than one event.
const SMALL_BYTES: usize = 1_500;

/// An intake.
#[derive(Debug)]
pub(super) struct SimulatedIntake {
    pub(super) place: usize,
    pub(super) world: Shared,
}

impl SimulatedIntake {
    fn judge(&self, world: &mut World, events: &[(usize, String)], body_bytes: usize) -> Verdict {
        let has = |world: &World, fault| world.has(fault, Some(self.place));
        let retry = |reason: &str, cause| Verdict::Retry { after: None, reason: reason.to_owned(), cause };
        if has(world, Fault::IntakeDown) {
            return retry("down", Cause::Unanswered);
        }
        if has(world, Fault::IntakeBlocked) {
            return Verdict::Blocked { reason: "the key is refused".to_owned() };
        }
        if has(world, Fault::IntakeBusy) && world.random.u8(0..3) > 0 {
            return Verdict::Retry {
                after: Some(Duration::from_secs(world.random.u64(1..300))),
                reason: "busy".to_owned(),
                cause: Cause::Busy,
            };
        }
        let answer = (400, "no".to_owned());
        if has(world, Fault::IntakeSmall) && body_bytes > SMALL_BYTES && events.len() > 1 {
            return Verdict::TooLarge { reason: "too large".to_owned(), answer };
        }
        let is_poison = |number: &usize| world.blobs.tuples.kind(*number) == Kind::Poison;
        if has(world, Fault::IntakePartial) {
            let places = events.iter().enumerate();
            let poison = places.filter(|(_, (number, _))| is_poison(number));
            let refused: Vec<_> = poison.map(|(place, _)| (place, "poison".to_owned())).collect();
            let is_refused = |place: &usize| refused.iter().any(|(refused, _)| refused == place);
            let mut busy: Vec<usize> = (0..events.len()).filter(|place| !is_refused(place)).collect();
            busy.retain(|_| world.random.u8(0..5) == 0);
            for (place, (number, event)) in events.iter().enumerate() {
                if !is_refused(&place) && !busy.contains(&place) {
                    self.accept(world, *number, event);
                }
            }
            if refused.is_empty() && busy.is_empty() {
                return Verdict::Delivered;
            }
            let reason = "in part".to_owned();
            return Verdict::Partial { refused, untried: Vec::new(), busy, after: None, reason, answer };
        }
        if events.iter().any(|(number, _)| is_poison(number)) {
            return Verdict::BadBatch { reason: "poison".to_owned(), answer };
        }
        for (number, event) in events {
            self.accept(world, *number, event);
        }
        let one_of = if has(world, Fault::AnswersLost) { 4 } else { 50 };
        let may_be_lost = has(world, Fault::AnswersLost) || has(world, Fault::AnswersSometimesLost);
        if may_be_lost && world.random.u8(0..one_of) == 0 {
            return retry("the answer is lost", Cause::Unanswered);
        }
        Verdict::Delivered
    }

    fn accept(&self, world: &mut World, number: usize, event: &str) {
        let (_, rest) = event.split_once("\"event.id\":\"").unwrap();
        let (id, _) = rest.split_once('"').unwrap();
        world.accept(self.place, number, id, event);
    }
}

#[async_trait]
impl Intake for SimulatedIntake {
    fn framing(&self) -> &dyn Framing {
        &StdoutIntake
    }

    async fn attempt(&self, events: &EncodedEvents, selection: &Selection) -> Verdict {
        let ranges = selection.byte_ranges(events);
        let body = StdoutIntake.assemble(&events.bytes, &ranges);
        let lines: Vec<(usize, String)> = std::str::from_utf8(&body)
            .unwrap()
            .lines()
            .map(|line| (number_of(line), line.to_owned()))
            .collect();
        let [before, after] = {
            let mut world = lock(&self.world);
            [0; 2].map(|_| Duration::from_millis(world.random.u64(1..150)))
        };
        time_passes(before).await;
        let verdict = {
            let mut world = lock(&self.world);
            let verdict = self.judge(&mut world, &lines, body.len());
            world.note(&[&self.place.to_le_bytes(), format!("{verdict:?}").as_bytes(), &body]);
            verdict
        };
        // Whoever dies now does not hear it.
        time_passes(after).await;
        verdict
    }
}
