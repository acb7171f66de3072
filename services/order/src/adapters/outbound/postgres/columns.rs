//! Attempts and events as the arrays that one statement takes them from.

use eventlog::Event;
use kernel::OrderId;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

use super::super::rows::micros;
use crate::application::ports::Attempt;

pub type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// `$1` to `$9`, see `record!`.
#[derive(Default)]
pub struct Attempts {
    order: Vec<Uuid>,
    /// From 1 for each order of the statement.
    nth: Vec<i64>,
    step: Vec<&'static str>,
    number: Vec<i64>,
    outcome: Vec<&'static str>,
    epoch: Vec<i64>,
    started_at: Vec<i64>,
    took: Vec<Option<i64>>,
    detail: Vec<Option<String>>,
}

impl Attempts {
    /// All attempts of one order.
    pub fn push(&mut self, id: OrderId, epoch: i64, attempts: &[Attempt]) {
        for (attempt, nth) in attempts.iter().zip(1..) {
            self.order.push(*id.as_uuid());
            self.nth.push(nth);
            self.step.push(attempt.step.as_str());
            self.number.push(attempt.number.into());
            self.outcome.push(attempt.outcome.as_str());
            self.epoch.push(epoch);
            self.started_at.push(attempt.started_at.as_micros());
            self.took.push(attempt.took.map(micros));
            // PostgreSQL takes every character but this one; no word of a participant may stop an order.
            self.detail.push(attempt.detail.as_ref().map(|text| text.replace('\0', "")));
        }
    }

    pub fn bind<'q>(&'q self, statement: Statement<'q>) -> Statement<'q> {
        statement
            .bind(&self.order)
            .bind(&self.nth)
            .bind(&self.step)
            .bind(&self.number)
            .bind(&self.outcome)
            .bind(&self.epoch)
            .bind(&self.started_at)
            .bind(&self.took)
            .bind(&self.detail)
    }
}

/// `$10` to `$15`, see `append!`.
#[derive(Default)]
pub struct Events {
    order: Vec<Uuid>,
    version: Vec<i64>,
    kind: Vec<String>,
    data: Vec<String>,
    occurred_at: Vec<i64>,
    traceparent: Vec<Option<String>>,
}

impl Events {
    /// Events of one order, written in this trace.
    pub fn push(&mut self, id: OrderId, events: Vec<Event>, trace: Option<&String>) {
        for event in events {
            self.traceparent.push(trace.cloned());
            self.order.push(*id.as_uuid());
            self.version.push(event.version);
            self.kind.push(event.kind);
            self.data.push(event.data);
            self.occurred_at.push(event.occurred_at.as_micros());
        }
    }

    pub fn bind<'q>(&'q self, statement: Statement<'q>) -> Statement<'q> {
        statement
            .bind(&self.order)
            .bind(&self.version)
            .bind(&self.kind)
            .bind(&self.data)
            .bind(&self.occurred_at)
            .bind(&self.traceparent)
    }
}
