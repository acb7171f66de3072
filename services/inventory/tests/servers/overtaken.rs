//! Rows and keys that another instance changes between reading and writing.

use inventory::domain::ReserveOutcome;
use kernel::ProductId;

use crate::contract::{Books, outcomes, release, reserve, restock};
use crate::harness::order;

/// Three orders of one batch, each one unit of product 1 and of product 2, while somebody changes product 2.
async fn reserved_under(change: &str) -> (Books, Vec<ReserveOutcome>) {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 5), restock("b", 2, 5)]).await;
    let meddling = books.home.meddle(change).await;
    let batch = [1, 2, 3].map(|number| reserve(number, &[(1, 1), (2, 1)]));
    let meanwhile = async {
        books.home.somebody_waits().await;
        meddling.commit().await;
    };
    let (answers, ()) = tokio::join!(books.store.reserve(&batch), meanwhile);
    (books, outcomes(answers))
}

#[tokio::test]
async fn a_batch_on_a_row_that_has_moved_on_is_decided_anew_and_the_other_s_change_stays() {
    let (books, outcomes) = reserved_under("version = version + 7, available = available + 1").await;
    assert_eq!(outcomes, [ReserveOutcome::Reserved; 3]);
    assert_eq!((books.counts(1).await, books.counts(2).await), ((2, 3, 0), (3, 3, 0)));
    let version = books.store.stock(ProductId(2)).await.unwrap().unwrap().version;
    assert_eq!(version, 1 + 7 + 3, "each change raises it, and none is written over another");
    let told = books.home.texts("SELECT kind FROM inventory_events WHERE aggregate NOT LIKE 'restock:%'").await;
    assert_eq!(told.len(), 3, "what was refused first has told nothing: {told:?}");
}

#[tokio::test]
async fn units_that_are_gone_without_a_word_are_not_sold() {
    let (books, outcomes) = reserved_under("available = 1").await;
    let sold_out = ReserveOutcome::SoldOut(ProductId(2));
    assert_eq!(outcomes, [ReserveOutcome::Reserved, sold_out.clone(), sold_out]);
    assert_eq!((books.counts(1).await, books.counts(2).await), ((4, 1, 0), (0, 1, 0)));
}

#[tokio::test]
async fn an_order_that_two_instances_release_and_commit_at_once_has_one_end() {
    for round in 0..8 {
        let books = Books::open().await;
        let (other, _) = books.home.store().await;
        books.store.restock(&[restock("a", 1, 5)]).await;
        books.store.reserve(&[reserve(1, &[(1, 2)])]).await;
        let (released, committed) = (release(1), crate::contract::commit(1));
        let (batch_a, batch_b) = ([released], [committed]);
        let (one, two) = tokio::join!(books.store.release(&batch_a), other.commit(&batch_b));
        let ends = usize::from(one[0].is_ok()) + usize::from(two[0].is_ok());
        assert_eq!(ends, 1, "round {round}: {one:?} {two:?}");
        let counts = books.counts(1).await;
        assert_eq!(counts, if one[0].is_ok() { (5, 0, 0) } else { (3, 0, 2) });
        let told =
            books.home.texts(&format!("SELECT kind FROM inventory_events WHERE aggregate = '{}'", order(1))).await;
        assert_eq!(told.len(), 2, "{told:?}");
    }
}
