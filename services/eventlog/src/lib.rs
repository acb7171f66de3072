//! How facts leave a service: written to its outbox in the transaction that made them, carried by the relay to the
//! event log, read from there by durable consumers.
//!
//! - [`log`] is the port to the event log, [`stream`] and [`event`] what stands in it;
//! - [`sqlite`] and [`jetstream`] are its two implementations, [`counted`] and [`exposed`] go around either;
//! - [`outbox`] is the port to a service's outbox, with an implementation for each kind of store;
//! - [`relay`] carries an outbox to the log, [`consume`] feeds a handler from it;
//! - [`backing`] says with which family a service is built.
//!
//! No service's noun appears here: a service declares its own [`Stream`].

pub mod backing;
pub mod consume;
pub mod counted;
pub mod event;
pub mod exposed;
pub mod jetstream;
pub mod log;
pub mod outbox;
pub mod relay;
pub mod sqlite;
pub mod stream;

pub use backing::{Backing, Embedded};
pub use event::{Event, Message};
pub use log::{Consumer, ConsumerSettings, EventLog, Lag, Publish, PublishError};
pub use outbox::{Outbox, Published, Unpublished};
pub use stream::{DEAD_LETTERS, Stream};
