//! The story for programs: one document, which says the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::story::{Act, Check, Event, Shape, Track};

/// An act: its `name`, `title`, `events`, `tracks`, and the `guarantees` that were checked. Times in milliseconds since
/// the act began.
pub(crate) fn act(act: &Act) -> Value {
    json!({
        "name": act.name,
        "title": act.title,
        "met_transfers_in_flight": act.met,
        "stand_in": act.stands_in,
        "events": act.events().iter().map(event).collect::<Vec<_>>(),
        "tracks": act.tracks().iter().map(track).collect::<Vec<_>>(),
        "guarantees": act.checks.iter().map(check).collect::<Vec<_>>(),
        "held": act.held(),
    })
}

fn event(event: &Event) -> Value {
    json!({ "ms": ms(event.at), "what": event.what })
}

fn track(track: &Track) -> Value {
    let shape = match &track.shape {
        Shape::Level { of, points } => {
            let points: Vec<_> = points.iter().map(|(at, level)| json!([ms(*at), level])).collect();
            json!({ "kind": "level", "of": of, "points": points })
        }
        Shape::Lasts { what, from, to } => json!({ "kind": what.word(), "from_ms": ms(*from), "to_ms": ms(*to) }),
        Shape::Done { at } => json!({ "kind": "done", "at_ms": ms(*at) }),
    };
    json!({ "who": track.who, "shape": shape })
}

/// What was checked: `guarantee`, `what`, `held`.
pub(crate) fn check(check: &Check) -> Value {
    json!({ "guarantee": check.guarantee, "what": check.what, "held": check.held })
}

/// Milliseconds, to a thousandth.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
