//! The relay between PostgreSQL and JetStream.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use eventlog::outbox::postgres::{self as outbox, PostgresOutbox};
use eventlog::{Event, EventLog, Outbox};
use servers::Borrowed;
use store::postgres::{Db, Tx};
use store::{Servers, StoreError};

use crate::event_log::log;
use crate::relay_contract::Shop;
use crate::world::TestClock;

const SCHEMA: &str = "
CREATE TABLE outbox (
    aggregate text NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    kind text NOT NULL,
    data text NOT NULL,
    occurred_at bigint NOT NULL,
    traceparent text,
    published_at bigint,
    published_seq bigint,
    PRIMARY KEY (aggregate, version)
);
CREATE INDEX outbox_unpublished ON outbox (aggregate, version) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_seq) WHERE published_seq IS NOT NULL;
";

pub struct PostgresShop {
    pub db: Arc<Db>,
    outbox: Arc<PostgresOutbox>,
}

impl PostgresShop {
    pub async fn open(servers: &Servers) -> Self {
        let db = Arc::new(Db::open(servers, "shop_db", &[SCHEMA], &Metrics::new("shop")).await.unwrap());
        let outbox = Arc::new(PostgresOutbox::new(db.clone(), "outbox", Arc::new(TestClock::new())));
        Self { db, outbox }
    }
}

#[async_trait]
impl Shop for PostgresShop {
    fn outbox(&self) -> Arc<dyn Outbox> {
        self.outbox.clone()
    }

    async fn append(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut tx: Tx<'_> = self.db.begin("command").await?;
        outbox::append(&mut tx, "outbox", events).await?;
        tx.commit().await
    }

    async fn marks(&self, aggregate: &str) -> Vec<(i64, Option<i64>)> {
        let sql = "SELECT version, published_seq FROM outbox WHERE aggregate = $1 ORDER BY version";
        sqlx::query_as(sql).bind(aggregate).fetch_all(self.db.pool()).await.unwrap()
    }
}

async fn shop_and_log() -> (Borrowed, PostgresShop, Arc<dyn EventLog>) {
    let borrowed = servers::for_test().unwrap();
    let shop = PostgresShop::open(&borrowed.connections).await;
    let log = Arc::new(log(&borrowed.connections).await);
    (borrowed, shop, log)
}

crate::relay_contract!(
    #[tokio::test]
    shop_and_log
);
