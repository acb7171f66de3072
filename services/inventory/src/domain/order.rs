//! What one order has been told, and so what it is told next.

use std::collections::BTreeMap;

use kernel::{OrderId, ProductId};

use super::{Line, OrderLines, Stock, StockEvent};

/// The answer to a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveOutcome {
    Reserved,
    /// The first product in id order that has too few units, or none at all.
    SoldOut(ProductId),
    /// A release came first.
    Blocked,
}

/// The answer to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOutcome {
    Released,
    /// The order held nothing.
    Nothing,
}

/// What the caller asked for contradicts what was done before. Nothing changes by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("order {0} was committed: its units are sold and cannot be released")]
    Committed(OrderId),
    #[error("order {0} holds no reservation that could be committed")]
    NothingHeld(OrderId),
    #[error("order {0} has reserved other lines before")]
    OtherLines(OrderId),
    #[error("restock {0} has added other units before")]
    OtherRestock(super::RestockId),
    #[error(transparent)]
    Full(super::StockError),
}

/// An answer, and the event to record unless the answer was given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<A> {
    pub answer: A,
    pub event: Option<StockEvent>,
}

impl<A> Decision<A> {
    fn first(answer: A, event: StockEvent) -> Self {
        Self { answer, event: Some(event) }
    }

    fn repeated(answer: A) -> Self {
        Self { answer, event: None }
    }
}

/// The barrier of one order: the first answer to each saga operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderStock {
    pub order_id: OrderId,
    pub reserve: Option<ReserveOutcome>,
    pub release: Option<ReleaseOutcome>,
    pub committed: bool,
    /// What was reserved, whatever became of it since.
    pub lines: Vec<Line>,
}

impl OrderStock {
    /// An order nobody has asked about yet.
    pub const fn new(order_id: OrderId) -> Self {
        Self { order_id, reserve: None, release: None, committed: false, lines: Vec::new() }
    }

    /// Decides the order whole against `stock`; a product missing there has no units. A repetition
    /// is told what the first call was told, even if the units were released or sold since.
    ///
    /// # Errors
    /// `OtherLines` when a repetition names other lines than are reserved.
    pub fn reserve(
        &self,
        lines: &OrderLines,
        stock: &BTreeMap<ProductId, Stock>,
    ) -> Result<Decision<ReserveOutcome>, Refusal> {
        let (order_id, wanted) = (self.order_id, lines.as_slice());
        match self.reserve {
            Some(ReserveOutcome::Reserved) if self.lines != wanted => return Err(Refusal::OtherLines(order_id)),
            Some(outcome) => return Ok(Decision::repeated(outcome)),
            None => {}
        }
        let lacks = |line: &&Line| match stock.get(&line.product_id) {
            Some(stock) => stock.reserve(line.quantity).is_err(),
            None => true,
        };
        let lines = wanted.to_vec();
        Ok(match wanted.iter().find(lacks).map(|line| line.product_id) {
            None => Decision::first(ReserveOutcome::Reserved, StockEvent::Reserved { order_id, lines }),
            Some(sold_out) => {
                let event = StockEvent::Refused { order_id, lines, sold_out };
                Decision::first(ReserveOutcome::SoldOut(sold_out), event)
            }
        })
    }

    /// Gives back what is held, blocks a reservation that has not come yet.
    ///
    /// # Errors
    /// `Committed` when the units are sold.
    pub fn release(&self) -> Result<Decision<ReleaseOutcome>, Refusal> {
        let order_id = self.order_id;
        if let Some(outcome) = self.release {
            return Ok(Decision::repeated(outcome));
        }
        if self.committed {
            return Err(Refusal::Committed(order_id));
        }
        let lines = self.lines.clone();
        Ok(match self.reserve {
            Some(ReserveOutcome::Reserved) => {
                Decision::first(ReleaseOutcome::Released, StockEvent::Released { order_id, lines })
            }
            Some(ReserveOutcome::SoldOut(_) | ReserveOutcome::Blocked) => {
                Decision::first(ReleaseOutcome::Nothing, StockEvent::Released { order_id, lines })
            }
            None => Decision::first(ReleaseOutcome::Nothing, StockEvent::Blocked { order_id, lines }),
        })
    }

    /// Sells what is held.
    ///
    /// # Errors
    /// `NothingHeld` when nothing is: it was never reserved, or was released.
    pub fn commit(&self) -> Result<Decision<()>, Refusal> {
        let order_id = self.order_id;
        if self.committed {
            return Ok(Decision::repeated(()));
        }
        if self.release.is_some() || self.reserve != Some(ReserveOutcome::Reserved) {
            return Err(Refusal::NothingHeld(order_id));
        }
        Ok(Decision::first((), StockEvent::Committed { order_id, lines: self.lines.clone() }))
    }

    /// What the order has been told once this event of it is recorded.
    pub fn apply(&mut self, event: &StockEvent) {
        match event {
            StockEvent::Reserved { lines, .. } => {
                self.reserve = Some(ReserveOutcome::Reserved);
                self.lines.clone_from(lines);
            }
            StockEvent::Refused { sold_out, .. } => self.reserve = Some(ReserveOutcome::SoldOut(*sold_out)),
            StockEvent::Released { lines, .. } if lines.is_empty() => self.release = Some(ReleaseOutcome::Nothing),
            StockEvent::Released { .. } => self.release = Some(ReleaseOutcome::Released),
            StockEvent::Committed { .. } => self.committed = true,
            StockEvent::Blocked { .. } => {
                self.reserve = Some(ReserveOutcome::Blocked);
                self.release = Some(ReleaseOutcome::Nothing);
            }
            StockEvent::Restocked { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::Quantity;
    use proptest::prelude::*;

    fn order(number: u8) -> OrderId {
        format!("00000000-0000-0000-0000-0000000000{number:02x}").parse().unwrap()
    }

    fn lines(wanted: &[(i64, u32)]) -> OrderLines {
        let line =
            |&(product, units)| Line { product_id: ProductId(product), quantity: Quantity::try_from(units).unwrap() };
        OrderLines::sum(&wanted.iter().map(line).collect::<Vec<_>>()).unwrap()
    }

    /// The books of a shop, changed by events alone.
    #[derive(Debug, Clone, Default, PartialEq)]
    struct Books {
        stock: BTreeMap<ProductId, Stock>,
        orders: BTreeMap<OrderId, OrderStock>,
    }

    impl Books {
        fn with(units: &[(i64, i64)]) -> Self {
            let stock = |&(id, available)| {
                let product = ProductId(id);
                (product, Stock { available, version: 1, ..Stock::none(product) })
            };
            Self { stock: units.iter().map(stock).collect(), orders: BTreeMap::new() }
        }

        fn order(&self, id: OrderId) -> OrderStock {
            self.orders.get(&id).cloned().unwrap_or(OrderStock::new(id))
        }

        fn reserve(&mut self, id: OrderId, lines: &OrderLines) -> Result<ReserveOutcome, Refusal> {
            let decision = self.order(id).reserve(lines, &self.stock)?;
            self.apply(decision.event);
            Ok(decision.answer)
        }

        fn release(&mut self, id: OrderId) -> Result<ReleaseOutcome, Refusal> {
            let decision = self.order(id).release()?;
            self.apply(decision.event);
            Ok(decision.answer)
        }

        fn commit(&mut self, id: OrderId) -> Result<(), Refusal> {
            let decision = self.order(id).commit()?;
            self.apply(decision.event);
            Ok(())
        }

        fn each(&mut self, lines: &[Line], change: fn(Stock, Quantity) -> Result<Stock, super::super::StockError>) {
            for line in lines {
                let stock = self.stock.get_mut(&line.product_id).unwrap();
                *stock = change(*stock, line.quantity).unwrap();
            }
        }

        fn apply(&mut self, event: Option<StockEvent>) {
            let Some(event) = event else { return };
            let id = event.aggregate().parse().unwrap();
            match &event {
                StockEvent::Reserved { lines, .. } => self.each(lines, Stock::reserve),
                StockEvent::Released { lines, .. } => self.each(lines, Stock::release),
                StockEvent::Committed { lines, .. } => self.each(lines, Stock::commit),
                StockEvent::Refused { .. } | StockEvent::Blocked { .. } => {}
                StockEvent::Restocked { .. } => unreachable!("no order restocks"),
            }
            let mut order = self.order(id);
            order.apply(&event);
            self.orders.insert(id, order);
        }
    }

    #[test]
    fn an_order_gets_all_its_lines_or_none() {
        let mut books = Books::with(&[(1, 5), (2, 1), (3, 0)]);
        assert_eq!(
            books.reserve(order(1), &lines(&[(3, 1), (2, 2), (1, 1)])),
            Ok(ReserveOutcome::SoldOut(ProductId(2))),
            "the first in id order that falls short"
        );
        assert_eq!(books.stock[&ProductId(1)].reserved, 0);
        assert_eq!(books.reserve(order(2), &lines(&[(1, 1), (2, 1)])), Ok(ReserveOutcome::Reserved));
    }

    #[test]
    fn a_product_nobody_stocked_is_sold_out() {
        assert_eq!(Books::default().reserve(order(1), &lines(&[(9, 1)])), Ok(ReserveOutcome::SoldOut(ProductId(9))));
    }

    #[test]
    fn a_sold_out_order_stays_sold_out_when_units_come_back() {
        let mut books = Books::with(&[(1, 1)]);
        books.reserve(order(1), &lines(&[(1, 1)])).unwrap();
        let refused = Ok(ReserveOutcome::SoldOut(ProductId(1)));
        assert_eq!(books.reserve(order(2), &lines(&[(1, 1)])), refused);
        books.release(order(1)).unwrap();
        assert_eq!(books.reserve(order(2), &lines(&[(1, 1)])), refused);
    }

    #[test]
    fn a_release_that_comes_first_blocks_the_late_reservation() {
        let mut books = Books::with(&[(1, 5)]);
        assert_eq!(books.release(order(1)), Ok(ReleaseOutcome::Nothing));
        assert_eq!(books.reserve(order(1), &lines(&[(1, 1)])), Ok(ReserveOutcome::Blocked));
        assert_eq!(books.stock[&ProductId(1)].available, 5);
    }

    #[test]
    fn what_is_sold_is_not_released_and_what_is_released_is_not_sold() {
        let mut books = Books::with(&[(1, 5)]);
        books.reserve(order(1), &lines(&[(1, 1)])).unwrap();
        books.commit(order(1)).unwrap();
        assert_eq!(books.release(order(1)), Err(Refusal::Committed(order(1))));

        books.reserve(order(2), &lines(&[(1, 1)])).unwrap();
        books.release(order(2)).unwrap();
        assert_eq!(books.commit(order(2)), Err(Refusal::NothingHeld(order(2))));
        assert_eq!(books.commit(order(3)), Err(Refusal::NothingHeld(order(3))));
    }

    #[test]
    fn a_repetition_with_other_lines_is_refused() {
        let mut books = Books::with(&[(1, 5)]);
        books.reserve(order(1), &lines(&[(1, 1)])).unwrap();
        assert_eq!(books.reserve(order(1), &lines(&[(1, 2)])), Err(Refusal::OtherLines(order(1))));
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Reserve(u8, Vec<(i64, u32)>),
        Release(u8),
        Commit(u8),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let wanted = prop::collection::vec((1i64..5, 1u32..4), 1..4);
        let one = prop_oneof![
            3 => (0u8..8, wanted).prop_map(|(id, wanted)| Operation::Reserve(id, wanted)),
            2 => (0u8..8).prop_map(Operation::Release),
            2 => (0u8..8).prop_map(Operation::Commit),
        ];
        prop::collection::vec(one, 0..50)
    }

    proptest! {
        #[test]
        fn whatever_comes_in_whatever_order_the_books_balance(operations in operations()) {
            // Product 4 is never stocked.
            let mut books = Books::with(&[(1, 5), (2, 5), (3, 5)]);
            for operation in operations {
                // Each is done twice: the second time says the same and changes nothing.
                match &operation {
                    Operation::Reserve(id, wanted) => {
                        let first = books.reserve(order(*id), &lines(wanted));
                        let after = books.clone();
                        prop_assert_eq!(books.reserve(order(*id), &lines(wanted)), first);
                        prop_assert_eq!(&books, &after);
                    }
                    Operation::Release(id) => {
                        let first = books.release(order(*id));
                        let after = books.clone();
                        prop_assert_eq!(books.release(order(*id)), first);
                        prop_assert_eq!(&books, &after);
                    }
                    Operation::Commit(id) => {
                        let first = books.commit(order(*id));
                        let after = books.clone();
                        prop_assert_eq!(books.commit(order(*id)), first);
                        prop_assert_eq!(&books, &after);
                    }
                }
                for (product, stock) in &books.stock {
                    let of = |which: fn(&OrderStock) -> bool| -> i64 {
                        let orders = books.orders.values().filter(|order| which(order));
                        let lines = orders.flat_map(|order| &order.lines).filter(|line| line.product_id == *product);
                        lines.map(|line| i64::from(line.quantity.get())).sum()
                    };
                    prop_assert_eq!(stock.total(), 5);
                    prop_assert!(stock.available >= 0);
                    prop_assert_eq!(stock.sold, of(|order| order.committed));
                    prop_assert_eq!(stock.reserved, of(|order| !order.committed && order.release.is_none()));
                }
            }
        }
    }
}
