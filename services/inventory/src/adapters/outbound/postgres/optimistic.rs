//! The obvious way, to measure against: each command in a transaction of its own, decided on rows that nobody
//! has locked, and tried again when somebody else was faster. What batches make of the same load is
//! `shopctl bench hot-product`.

use std::sync::Arc;

use sqlx::PgConnection;
use store::StoreError;
use store::gather::Traced;
use store::postgres::Db;

use super::batch::{AnyAnswer, AnyCommand, Books, Writes};
use super::{Locks, read, write_new_stock, write_orders, write_restocks};
use crate::domain::Refusal;

/// How often a command is tried. When everybody wants one row, one of those who try at the same time gets
/// on; the pool bounds how many that are.
const TRIES_MAX: u32 = 100;

/// What a command is answered.
type Answered = Result<Result<AnyAnswer, Refusal>, StoreError>;

pub struct Optimistic {
    db: Arc<Db>,
}

impl Optimistic {
    pub fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// One after the other, as they come.
    pub async fn carry_out(&self, commands: Vec<AnyCommand>) -> Vec<Answered> {
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            answers.push(self.carry_out_one(&Traced::now(command)).await);
        }
        answers
    }

    async fn carry_out_one(&self, traced: &Traced<AnyCommand>) -> Answered {
        for _ in 1..TRIES_MAX {
            match self.try_once(traced).await {
                // What was read by one statement may not fit what was read by the next one.
                Err(StoreError::Conflict(_) | StoreError::Corrupt(_)) => {}
                answered => return answered,
            }
        }
        self.try_once(traced).await
    }

    /// `Conflict` when a row has moved on or a key was taken since they were read; nothing was written then.
    async fn try_once(&self, traced: &Traced<AnyCommand>) -> Answered {
        let mut tx = self.db.begin(traced.command.what()).await?;
        match attempt(&mut tx, traced).await {
            Ok(answer) => {
                tx.commit().await?;
                Ok(answer)
            }
            Err(error) => {
                // At once, and not when the pool finds the time: it may hold the row that all others want.
                let _ = tx.rollback().await;
                Err(error)
            }
        }
    }
}

/// The stock first: whoever was too slow has written nothing else that has to be undone.
async fn attempt(tx: &mut PgConnection, traced: &Traced<AnyCommand>) -> Answered {
    let mut books = Books::default();
    read(tx, std::slice::from_ref(traced), Locks::Left, &mut books).await?;
    let answer = traced.command.decide(&mut books)?;
    for event in &mut books.writes.events {
        event.traceparent.clone_from(&traced.trace);
    }
    let moves = books.moves();
    write_new_stock(tx, &moves).await?;
    write_orders(tx, &books, &Writes::default(), &moves).await?;
    write_orders(tx, &books, &books.writes, &[]).await?;
    write_restocks(tx, &books.writes.restocks).await?;
    Ok(answer)
}
