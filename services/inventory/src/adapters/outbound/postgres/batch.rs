//! A batch, decided in memory: the rows as they were read, moved on by each command in its turn, and what has to be written in the end.

use std::borrow::Cow;
use std::collections::BTreeMap;

use eventlog::Event;
use kernel::{OrderId, ProductId, Quantity, Timestamp};
use store::StoreError;

use super::super::rows::{barrier, corrupt, no_row, outbox_row};
use crate::application::ports::{Answer, CommitOrder, ReleaseOrder, ReserveOrder, RestockProduct};
#[cfg(feature = "planted-bugs")]
use crate::config::PlantedBug;
use crate::domain::{
    Decision, Line, OrderStock, Refusal, ReleaseOutcome, ReserveOutcome, Restock, RestockId, Stock, StockError,
    StockEvent,
};

/// Outside, a failure of the whole batch; inside, the domain's refusal of one command.
pub type Decided<T> = Result<Result<T, Refusal>, StoreError>;

/// What a command is known by, and locked on before anything is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Order(OrderId),
    Restock(RestockId),
    /// A stock row that may not exist yet, and so cannot be locked itself.
    Product(ProductId),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Order(id) => write!(f, "order:{id}"),
            Self::Restock(id) => write!(f, "restock:{id}"),
            Self::Product(id) => write!(f, "product:{id}"),
        }
    }
}

/// Whatever changes the books, so that one transaction takes what waits of all kinds.
#[derive(Debug, Clone)]
pub enum AnyCommand {
    Reserve(ReserveOrder),
    Release(ReleaseOrder),
    Commit(CommitOrder),
    Restock(RestockProduct),
}

/// The answer to one of them, of its kind.
#[derive(Debug)]
pub enum AnyAnswer {
    Reserve(Answer<ReserveOutcome>),
    Release(Answer<ReleaseOutcome>),
    Commit(Answer<()>),
    Restock(Answer<Stock>),
}

impl AnyCommand {
    /// Its name in metrics and traces.
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Reserve(_) => "reserve",
            Self::Release(_) => "release",
            Self::Commit(_) => "commit",
            Self::Restock(_) => "restock",
        }
    }

    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::Reserve(command) => command.keys(),
            Self::Release(command) => command.keys(),
            Self::Commit(command) => command.keys(),
            Self::Restock(command) => command.keys(),
        }
    }

    pub fn products(&self, books: &Books) -> Vec<ProductId> {
        match self {
            Self::Reserve(command) => command.products(books),
            Self::Release(command) => command.products(books),
            Self::Commit(command) => command.products(books),
            Self::Restock(command) => command.products(books),
        }
    }

    /// # Errors
    /// When the books contradict themselves: nothing of the batch may then be written.
    pub fn decide(&self, books: &mut Books) -> Decided<AnyAnswer> {
        Ok(match self {
            Self::Reserve(command) => command.decide(books)?.map(AnyAnswer::Reserve),
            Self::Release(command) => command.decide(books)?.map(AnyAnswer::Release),
            Self::Commit(command) => command.decide(books)?.map(AnyAnswer::Commit),
            Self::Restock(command) => command.decide(books)?.map(AnyAnswer::Restock),
        })
    }
}

/// A command of one kind.
pub trait Command: Clone + Into<AnyCommand> {
    type Outcome;

    /// The answer, if it is of this kind.
    fn answer(any: AnyAnswer) -> Option<Answer<Self::Outcome>>;

    fn keys(&self) -> Vec<Key>;

    /// The products whose rows it may change, going by what is known of its key.
    fn products(&self, books: &Books) -> Vec<ProductId>;

    /// # Errors
    /// When the books contradict themselves: nothing of the batch may then be written.
    fn decide(&self, books: &mut Books) -> Decided<Answer<Self::Outcome>>;
}

/// An order's barrier, and the version of its last event.
#[derive(Debug, Clone)]
pub struct KnownOrder {
    pub order: OrderStock,
    pub version: i64,
}

impl KnownOrder {
    pub const fn new(order_id: OrderId) -> Self {
        Self { order: OrderStock::new(order_id), version: 0 }
    }
}

/// The state of the books, as far as a batch is concerned with it.
#[derive(Debug, Default)]
pub struct Books {
    pub orders: BTreeMap<OrderId, KnownOrder>,
    pub restocks: BTreeMap<RestockId, (ProductId, i64)>,
    stock: BTreeMap<ProductId, Stock>,
    /// The rows as they were before the batch.
    read: BTreeMap<ProductId, Stock>,
    pub writes: Writes,
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<PlantedBug>,
}

/// New rows.
#[derive(Debug, Default)]
pub struct Writes {
    /// Order, operation, outcome, time.
    pub operations: Vec<(OrderId, &'static str, String, Timestamp)>,
    /// New reservations, in the state that the batch leaves them in.
    pub held: Vec<(OrderId, Line, &'static str)>,
    /// Orders whose reservations, older than this batch, end in which state; and how many lines they have
    /// in all.
    pub ended: Vec<(OrderId, &'static str)>,
    pub lines_ended: usize,
    pub restocks: Vec<(Restock, Timestamp)>,
    pub events: Vec<Event>,
}

impl Writes {
    /// In the order of orders and, within one, of what was done.
    pub fn sort(&mut self) {
        self.operations.sort_by_key(|row| row.0);
        self.held.sort_by_key(|row| (row.0, row.1.product_id));
        self.ended.sort_by_key(|row| row.0);
        self.events.sort_by(|one, other| (&one.aggregate, one.version).cmp(&(&other.aggregate, other.version)));
    }
}

/// A stock row as it was, and as the batch leaves it.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    pub from: Stock,
    pub to: Stock,
}

impl Books {
    #[cfg(feature = "planted-bugs")]
    pub fn with_planted_bug(planted_bug: Option<PlantedBug>) -> Self {
        Self { planted_bug, ..Self::default() }
    }

    /// Takes in the stock rows that were read.
    pub fn read_stock(&mut self, rows: impl IntoIterator<Item = Stock>) {
        self.read = rows.into_iter().map(|stock| (stock.product_id, stock)).collect();
        self.stock.clone_from(&self.read);
    }

    /// The stock rows to write, in the order of product ids. One that was not there comes from version 0.
    pub fn moves(&self) -> Vec<Move> {
        let from = |product_id| self.read.get(&product_id).copied().unwrap_or(Stock::none(product_id));
        let moves = self.stock.values().map(|to| Move { from: from(to.product_id), to: *to });
        moves.filter(|Move { from, to }| from.version != to.version).collect()
    }

    fn order(&self, order_id: OrderId) -> OrderStock {
        self.orders.get(&order_id).map_or(OrderStock::new(order_id), |known| known.order.clone())
    }

    /// Takes up what was decided of an order.
    fn carry_out<T>(
        &mut self,
        order_id: OrderId,
        decision: Result<Decision<T>, Refusal>,
        at: Timestamp,
    ) -> Decided<Answer<T>> {
        let decision = match decision {
            Ok(decision) => decision,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let changed = match &decision.event {
            Some(event) => self.record(order_id, event, at)?,
            None => Vec::new(),
        };
        Ok(Ok(Answer { outcome: decision.answer, changed }))
    }

    /// Answers the stock rows that the event changed.
    fn record(&mut self, order_id: OrderId, event: &StockEvent, at: Timestamp) -> Result<Vec<Stock>, StoreError> {
        let changed = match event {
            StockEvent::Reserved { lines, .. } => {
                self.writes.held.extend(lines.iter().map(|line| (order_id, *line, "held")));
                self.move_lines(lines, self.reserving())?
            }
            StockEvent::Released { lines, .. } => self.end(order_id, lines, "released", Stock::release)?,
            StockEvent::Committed { lines, .. } => self.end(order_id, lines, "sold", Stock::commit)?,
            StockEvent::Refused { .. } | StockEvent::Blocked { .. } | StockEvent::Restocked { .. } => Vec::new(),
        };
        let known = self.orders.entry(order_id).or_insert(KnownOrder::new(order_id));
        known.order.apply(event);
        known.version += 1;
        self.writes.events.push(outbox_row(event, known.version, at)?);
        let barrier = barrier(event).into_iter().map(|(operation, outcome)| (order_id, operation, outcome, at));
        self.writes.operations.extend(barrier);
        Ok(changed)
    }

    fn end(
        &mut self,
        order_id: OrderId,
        lines: &[Line],
        state: &'static str,
        change: fn(Stock, Quantity) -> Result<Stock, StockError>,
    ) -> Result<Vec<Stock>, StoreError> {
        let mut new = self.writes.held.iter_mut().filter(|held| held.0 == order_id).peekable();
        if new.peek().is_some() {
            new.for_each(|held| held.2 = state);
        } else if !lines.is_empty() {
            self.writes.ended.push((order_id, state));
            self.writes.lines_ended += lines.len();
        }
        self.move_lines(lines, change)
    }

    fn move_lines(
        &mut self,
        lines: &[Line],
        change: fn(Stock, Quantity) -> Result<Stock, StockError>,
    ) -> Result<Vec<Stock>, StoreError> {
        let mut changed = Vec::with_capacity(lines.len());
        for line in lines {
            let stock = self.stock.get_mut(&line.product_id).ok_or_else(|| no_row(line.product_id))?;
            *stock = change(*stock, line.quantity).map_err(corrupt)?;
            changed.push(*stock);
        }
        Ok(changed)
    }

    fn reserving(&self) -> fn(Stock, Quantity) -> Result<Stock, StockError> {
        // PLANTED BUG: reserves units whether they exist or not.
        #[cfg(feature = "planted-bugs")]
        if self.planted_bug == Some(PlantedBug::SkipStockPredicate) {
            return |stock, quantity| {
                let lent = Stock { available: stock.available + Stock::UNITS_MAX, ..stock }.reserve(quantity)?;
                Ok(Stock { available: lent.available - Stock::UNITS_MAX, ..lent })
            };
        }
        Stock::reserve
    }

    /// What is left by the commands so far.
    fn balance(&self) -> Cow<'_, BTreeMap<ProductId, Stock>> {
        // PLANTED BUG: pretends that there are units enough.
        #[cfg(feature = "planted-bugs")]
        if self.planted_bug == Some(PlantedBug::SkipStockPredicate) {
            let plenty = |stock: &Stock| (stock.product_id, Stock { available: Stock::UNITS_MAX, ..*stock });
            return Cow::Owned(self.stock.values().map(plenty).collect());
        }
        Cow::Borrowed(&self.stock)
    }
}

/// The products of an order that is to change from here on.
fn products_of(lines: &[Line], is_open: bool) -> Vec<ProductId> {
    lines.iter().filter(|_| is_open).map(|line| line.product_id).collect()
}

impl From<ReserveOrder> for AnyCommand {
    fn from(command: ReserveOrder) -> Self {
        Self::Reserve(command)
    }
}

impl Command for ReserveOrder {
    type Outcome = ReserveOutcome;

    fn answer(any: AnyAnswer) -> Option<Answer<ReserveOutcome>> {
        if let AnyAnswer::Reserve(answer) = any { Some(answer) } else { None }
    }

    fn keys(&self) -> Vec<Key> {
        vec![Key::Order(self.order_id)]
    }

    fn products(&self, books: &Books) -> Vec<ProductId> {
        products_of(self.lines.as_slice(), books.order(self.order_id).reserve.is_none())
    }

    fn decide(&self, books: &mut Books) -> Decided<Answer<ReserveOutcome>> {
        let decision = books.order(self.order_id).reserve(&self.lines, &books.balance());
        books.carry_out(self.order_id, decision, self.at)
    }
}

impl From<ReleaseOrder> for AnyCommand {
    fn from(command: ReleaseOrder) -> Self {
        Self::Release(command)
    }
}

impl Command for ReleaseOrder {
    type Outcome = ReleaseOutcome;

    fn answer(any: AnyAnswer) -> Option<Answer<ReleaseOutcome>> {
        if let AnyAnswer::Release(answer) = any { Some(answer) } else { None }
    }

    fn keys(&self) -> Vec<Key> {
        vec![Key::Order(self.order_id)]
    }

    fn products(&self, books: &Books) -> Vec<ProductId> {
        let order = books.order(self.order_id);
        products_of(&order.lines, order.release.is_none() && !order.committed)
    }

    fn decide(&self, books: &mut Books) -> Decided<Answer<ReleaseOutcome>> {
        let decision = books.order(self.order_id).release();
        books.carry_out(self.order_id, decision, self.at)
    }
}

impl From<CommitOrder> for AnyCommand {
    fn from(command: CommitOrder) -> Self {
        Self::Commit(command)
    }
}

impl Command for CommitOrder {
    type Outcome = ();

    fn answer(any: AnyAnswer) -> Option<Answer<()>> {
        if let AnyAnswer::Commit(answer) = any { Some(answer) } else { None }
    }

    fn keys(&self) -> Vec<Key> {
        vec![Key::Order(self.order_id)]
    }

    fn products(&self, books: &Books) -> Vec<ProductId> {
        let order = books.order(self.order_id);
        products_of(&order.lines, order.release.is_none() && !order.committed)
    }

    fn decide(&self, books: &mut Books) -> Decided<Answer<()>> {
        let decision = books.order(self.order_id).commit();
        books.carry_out(self.order_id, decision, self.at)
    }
}

impl From<RestockProduct> for AnyCommand {
    fn from(command: RestockProduct) -> Self {
        Self::Restock(command)
    }
}

impl Command for RestockProduct {
    type Outcome = Stock;

    fn answer(any: AnyAnswer) -> Option<Answer<Stock>> {
        if let AnyAnswer::Restock(answer) = any { Some(answer) } else { None }
    }

    fn keys(&self) -> Vec<Key> {
        vec![Key::Restock(self.restock.id.clone()), Key::Product(self.restock.product_id)]
    }

    fn products(&self, _: &Books) -> Vec<ProductId> {
        vec![self.restock.product_id]
    }

    fn decide(&self, books: &mut Books) -> Decided<Answer<Stock>> {
        let Restock { id, product_id, quantity } = &self.restock;
        let stock = books.stock.get(product_id).copied().unwrap_or(Stock::none(*product_id));
        let units = (*product_id, i64::from(quantity.get()));
        match books.restocks.get(id) {
            Some(earlier) if *earlier == units => return Ok(Ok(Answer { outcome: stock, changed: Vec::new() })),
            Some(_) => return Ok(Err(Refusal::OtherRestock(id.clone()))),
            None => {}
        }
        let after = match stock.restock(*quantity) {
            Ok(after) => after,
            Err(full) => return Ok(Err(Refusal::Full(full))),
        };
        books.stock.insert(*product_id, after);
        books.restocks.insert(id.clone(), units);
        books.writes.restocks.push((self.restock.clone(), self.at));
        // A restock is told once, so this is the first event of its aggregate and the last.
        books.writes.events.push(outbox_row(&StockEvent::restocked(&self.restock), 1, self.at)?);
        Ok(Ok(Answer { outcome: after, changed: vec![after] }))
    }
}
