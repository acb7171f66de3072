//! What every adapter of [`ProductStore`] and [`ProductList`] must keep, and every [`ProductCache`];
//! each case starts empty.

use std::sync::Arc;

use kernel::{Currency, Money, ProductId, Timestamp};

use product::application::ports::{ProductCache, ProductKey, ProductList, ProductStore, SkuTaken, Stale};
use product::domain::{Draft, Product, ProductChange, Search};

/// Hands the names of the store's cases to a macro that makes tests of them.
macro_rules! store_cases {
    ($keeps:ident) => {
        $keeps!(
            an_added_product_is_found_by_id_and_by_sku_and_listed,
            a_taken_sku_names_its_product_and_does_not_stop_the_others,
            a_change_needs_the_version_before,
            a_deleted_product_is_gone_and_its_id_is_not_given_again,
            every_word_must_occur_and_every_character_counts,
            categories_are_filtered_without_regard_to_case,
            pages_follow_each_other_without_gap_or_overlap,
            categories_are_counted_without_regard_to_case_and_listed_by_name,
            a_category_goes_with_its_last_product,
            many_keys_are_answered_in_their_order,
            ids_are_given_in_the_order_of_the_batch,
            changes_in_a_row_leave_the_last,
            of_products_added_at_once_one_has_the_sku,
            batches_at_once_in_any_order_end,
            of_changes_at_once_to_one_product_one_counts,
            a_product_is_changed_or_deleted_but_never_comes_back,
        );
    };
}

/// As [`store_cases`], for the cache's cases.
macro_rules! cache_cases {
    ($keeps:ident) => {
        $keeps!(
            a_remembered_product_is_known_by_id_and_by_sku,
            an_invalidated_product_is_unknown_by_either_key_and_others_stay,
            a_sku_that_was_given_again_leads_to_its_new_product,
            a_late_reader_does_not_bring_an_old_product_back,
            a_late_invalidation_leaves_what_is_newer,
            a_late_reader_of_a_deleted_product_does_not_take_its_sku_back,
        );
    };
}

const NOW: Timestamp = Timestamp::from_micros(1);

fn draft(sku: &str, name: &str, category: &str) -> Draft {
    let (name, category) = (name.to_owned().try_into().unwrap(), category.to_owned().try_into().unwrap());
    Draft::new(sku.parse().unwrap(), name, category, Money::new(12_900, Currency::EUR)).unwrap()
}

async fn added(store: &Arc<dyn ProductStore>, sku: &str, name: &str, category: &str) -> Product {
    store.add(&[draft(sku, name, category)], NOW).await.unwrap().remove(0).unwrap()
}

fn renamed(product: &Product, name: &str) -> Product {
    let wish = ProductChange { name: Some(name.to_owned().try_into().unwrap()), ..ProductChange::default() };
    product.change(wish).unwrap().unwrap()
}

fn keys(product: &Product) -> [ProductKey; 2] {
    [ProductKey::Id(product.id), ProductKey::Sku(product.sku.clone())]
}

fn search(text: &str, category: &str) -> Search {
    let category = (!category.is_empty()).then(|| category.to_owned().try_into().unwrap());
    Search { words: Search::words(text).unwrap(), category, after: ProductId(0), limit: 100 }
}

async fn listed(list: &dyn ProductList, search: &Search) -> Vec<Product> {
    list.search(search).await.unwrap().0
}

async fn skus(list: &dyn ProductList, text: &str, category: &str) -> Vec<String> {
    let products = listed(list, &search(text, category)).await;
    products.into_iter().map(|product| product.sku.as_str().to_owned()).collect()
}

pub async fn an_added_product_is_found_by_id_and_by_sku_and_listed(
    store: Arc<dyn ProductStore>,
    list: &dyn ProductList,
) {
    let sneaker = added(&store, "SNEAKER-42", "Sneaker", "Shoes").await;
    assert_eq!(sneaker.version, 1);
    assert_eq!(store.find(&keys(&sneaker)).await.unwrap(), [Some(sneaker.clone()), Some(sneaker.clone())]);
    assert_eq!(listed(list, &search("", "")).await, [sneaker]);
    let unknown = [ProductKey::Id(ProductId(99)), ProductKey::Sku("sneaker-42".parse().unwrap())];
    assert_eq!(store.find(&unknown).await.unwrap(), [None, None]);
}

pub async fn a_taken_sku_names_its_product_and_does_not_stop_the_others(
    store: Arc<dyn ProductStore>,
    list: &dyn ProductList,
) {
    let a = added(&store, "A", "first", "").await;
    let batch = [draft("A", "second", ""), draft("B", "b", ""), draft("B", "b again", "")];
    let answers = store.add(&batch, NOW).await.unwrap();
    assert_eq!(answers[0], Err(SkuTaken { existing: a.id }));
    let b = answers[1].clone().unwrap();
    assert_eq!(answers[2], Err(SkuTaken { existing: b.id }));
    assert_eq!(listed(list, &search("", "")).await, [a, b]);
}

pub async fn a_change_needs_the_version_before(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    let (a, b) = (added(&store, "A", "a", "").await, added(&store, "B", "b", "").await);
    let (first, late, other) = (renamed(&a, "first"), renamed(&a, "late"), renamed(&b, "other"));
    let answers = store.update(&[first.clone(), late, other.clone()], NOW).await.unwrap();
    assert_eq!(answers, [Ok(()), Err(Stale), Ok(())]);
    assert_eq!(store.find(&keys(&a)).await.unwrap(), [Some(first.clone()), Some(first.clone())]);
    assert_eq!(listed(list, &search("", "")).await, [first, other]);
    assert!(skus(list, "late", "").await.is_empty());
}

pub async fn a_deleted_product_is_gone_and_its_id_is_not_given_again(
    store: Arc<dyn ProductStore>,
    list: &dyn ProductList,
) {
    let old = added(&store, "A", "old", "").await;
    assert_eq!(store.delete(&[old.id, ProductId(99), old.id], NOW).await.unwrap(), [true, false, false]);
    assert_eq!(store.find(&keys(&old)).await.unwrap(), [None, None]);
    assert!(listed(list, &search("", "")).await.is_empty());
    assert_eq!(store.update(&[renamed(&old, "undead")], NOW).await.unwrap(), [Err(Stale)]);

    let new = added(&store, "A", "new", "").await;
    assert!(new.id > old.id);
    assert_eq!(store.find(&keys(&new)).await.unwrap(), [Some(new.clone()), Some(new.clone())]);
    assert_eq!(listed(list, &search("", "")).await, [new]);
}

pub async fn every_word_must_occur_and_every_character_counts(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    for (sku, name) in
        [("RED_1", "Red Sneaker"), ("RED-2", "Red boot, 100% leather"), ("X1", "Éclair"), ("X2", r"back\slash")]
    {
        added(&store, sku, name, "").await;
    }
    for (text, expected) in [
        ("red", &["RED_1", "RED-2"][..]),
        ("SNEAK red", &["RED_1"]),
        ("red nothing", &[]),
        ("leather red-2", &["RED-2"]),
        ("%", &["RED-2"]),
        ("_", &["RED_1"]),
        (r"\", &["X2"]),
        ("éCLAIR", &["X1"]),
        ("sneakerred", &[]),
        ("'; --", &[]),
        ("\0", &[]),
        ("red\0", &[]),
    ] {
        assert_eq!(skus(list, text, "").await, expected, "{text}");
    }
}

pub async fn categories_are_filtered_without_regard_to_case(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    added(&store, "A", "sneaker", "Shoes").await;
    added(&store, "B", "sneaker", "Toys").await;
    added(&store, "C", "boot", "shoes").await;
    assert_eq!(skus(list, "", "SHOES").await, ["A", "C"]);
    assert_eq!(skus(list, "sneaker", "Shoes").await, ["A"]);
    assert_eq!(skus(list, "", "Shoe").await, Vec::<String>::new());
}

pub async fn pages_follow_each_other_without_gap_or_overlap(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    let drafts: Vec<Draft> = (0..7).map(|n| draft(&format!("S{n}"), "same", "")).collect();
    let all: Vec<Product> = store.add(&drafts, NOW).await.unwrap().into_iter().map(Result::unwrap).collect();
    for limit in 1..=8 {
        let mut page = Search { limit, ..search("same", "") };
        let mut seen = Vec::new();
        loop {
            let (products, more) = list.search(&page).await.unwrap();
            assert!(products.len() <= limit as usize);
            seen.extend(products);
            if !more {
                break;
            }
            page.after = seen.last().unwrap().id;
        }
        assert_eq!(seen, all, "{limit} a page");
    }
}

async fn shelves(list: &dyn ProductList, after: &str, limit: u32) -> (Vec<(String, u64)>, bool) {
    let (shelves, more) = list.categories(after, limit).await.unwrap();
    (shelves.into_iter().map(|shelf| (shelf.category.as_str().to_owned(), shelf.products)).collect(), more)
}

pub async fn categories_are_counted_without_regard_to_case_and_listed_by_name(
    store: Arc<dyn ProductStore>,
    list: &dyn ProductList,
) {
    assert_eq!(shelves(list, "", 10).await, (vec![], false));
    let categories = ["shoes", "Shoes", "SHOES", "Ärmel", "toys", "", "a b", "a-b", "ab", "1'; --"];
    for (category, number) in categories.into_iter().zip(0..) {
        added(&store, &format!("S{number}"), "x", category).await;
    }
    let all = [("1'; --", 1), ("a b", 1), ("a-b", 1), ("ab", 1), ("SHOES", 3), ("toys", 1), ("Ärmel", 1)];
    let all = all.map(|(name, products)| (name.to_owned(), products));
    assert_eq!(shelves(list, "", 100).await, (all.to_vec(), false));
    for limit in 1..=8 {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (page, more) = shelves(list, &after, limit).await;
            assert!(page.len() <= limit as usize);
            seen.extend(page);
            if !more {
                break;
            }
            after = seen.last().unwrap().0.to_lowercase();
        }
        assert_eq!(seen, all, "{limit} a page");
    }
}

pub async fn a_category_goes_with_its_last_product(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    let (a, b) = (added(&store, "A", "a", "Shoes").await, added(&store, "B", "b", "shoes").await);
    store.delete(&[a.id], NOW).await.unwrap();
    assert_eq!(shelves(list, "", 10).await.0, [("shoes".to_owned(), 1)]);
    let wish = ProductChange { category: Some("Toys".to_owned().try_into().unwrap()), ..ProductChange::default() };
    store.update(&[b.change(wish).unwrap().unwrap()], NOW).await.unwrap();
    assert_eq!(shelves(list, "", 10).await.0, [("Toys".to_owned(), 1)]);
}

pub async fn many_keys_are_answered_in_their_order(store: Arc<dyn ProductStore>, _: &dyn ProductList) {
    let (a, b) = (added(&store, "A", "a", "").await, added(&store, "B", "b", "").await);
    let [a_id, a_sku] = keys(&a);
    let [b_id, b_sku] = keys(&b);
    let unknown = ProductKey::Sku("C".parse().unwrap());
    let found = store.find(&[b_sku, unknown, a_id.clone(), b_id, a_id, a_sku]).await.unwrap();
    assert_eq!(found, [Some(b.clone()), None, Some(a.clone()), Some(b), Some(a.clone()), Some(a)]);
    assert_eq!(store.find(&[]).await.unwrap(), []);
}

pub async fn ids_are_given_in_the_order_of_the_batch(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    let skus = ["Z", "A", "M", "B", "Y", "C"];
    let batch = skus.map(|sku| draft(sku, "same", ""));
    let all: Vec<Product> = store.add(&batch, NOW).await.unwrap().into_iter().map(Result::unwrap).collect();
    assert!(all.is_sorted_by_key(|product| product.id));
    assert_eq!(self::skus(list, "", "").await, skus);
    assert_eq!(listed(list, &search("", "")).await, all);
}

pub async fn changes_in_a_row_leave_the_last(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    let a = added(&store, "A", "a", "").await;
    let second = renamed(&a, "second");
    let third = renamed(&second, "third");
    assert_eq!(store.update(&[second, third.clone()], NOW).await.unwrap(), [Ok(()), Ok(())]);
    assert_eq!(store.find(&keys(&a)).await.unwrap(), [Some(third.clone()), Some(third.clone())]);
    assert_eq!(listed(list, &search("third", "")).await, [third]);
}

/// Runs `work` at once for every input.
async fn at_once<I, T, F>(inputs: impl IntoIterator<Item = I>, work: impl Fn(I) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = inputs.into_iter().map(|input| tokio::spawn(work(input))).collect();
    let mut done = Vec::new();
    for task in running {
        done.push(task.await.unwrap());
    }
    done
}

pub async fn of_products_added_at_once_one_has_the_sku(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    for round in 0..10 {
        let sku = format!("S-{round}");
        let answers = at_once(0..5, |turn| {
            let (store, batch) = (store.clone(), [draft(&sku, &format!("by {turn}"), "")]);
            async move { store.add(&batch, NOW).await.unwrap().remove(0) }
        })
        .await;
        let winners: Vec<&Product> = answers.iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        let taken = Err(SkuTaken { existing: winners[0].id });
        assert_eq!(answers.iter().filter(|answer| **answer == taken).count(), 4);
        assert_eq!(listed(list, &search(&sku, "")).await, [winners[0].clone()]);
    }
}

pub async fn batches_at_once_in_any_order_end(store: Arc<dyn ProductStore>, _: &dyn ProductList) {
    let drafts: Vec<Draft> = (0..30).map(|number| draft(&format!("S-{number}"), "same", "")).collect();
    let answers = at_once(0..5, |turn| {
        let (store, mut batch) = (store.clone(), drafts.clone());
        batch.rotate_left(turn * 5);
        async move { store.add(&batch, NOW).await.unwrap() }
    })
    .await;
    let products: Vec<Product> = answers.into_iter().flatten().flatten().collect();
    assert_eq!(products.len(), 30);
    let answers = at_once(0..5, |turn| {
        let store = store.clone();
        let mut batch: Vec<Product> = products.iter().map(|product| renamed(product, &format!("by {turn}"))).collect();
        batch.rotate_left(turn * 5);
        async move { store.update(&batch, NOW).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().flatten().filter(|answer| answer.is_ok()).count(), 30);
    let answers = at_once(0..5, |turn| {
        let store = store.clone();
        let mut ids: Vec<ProductId> = products.iter().map(|product| product.id).collect();
        ids.rotate_left(turn * 5);
        async move { store.delete(&ids, NOW).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().flatten().filter(|deleted| **deleted).count(), 30);
}

pub async fn of_changes_at_once_to_one_product_one_counts(store: Arc<dyn ProductStore>, list: &dyn ProductList) {
    let mut a = added(&store, "A", "a", "").await;
    for round in 0..10 {
        let changes: Vec<Product> = (0..5).map(|turn| renamed(&a, &format!("{round}.{turn}"))).collect();
        let answers = at_once(changes.clone(), |change| {
            let store = store.clone();
            async move { store.update(&[change], NOW).await.unwrap().remove(0) }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        a = changes[answers.iter().position(Result::is_ok).unwrap()].clone();
        assert_eq!(store.find(&keys(&a)).await.unwrap(), [Some(a.clone()), Some(a.clone())]);
        assert_eq!(listed(list, &search("", "")).await, [a.clone()]);
    }
}

pub async fn a_product_is_changed_or_deleted_but_never_comes_back(
    store: Arc<dyn ProductStore>,
    list: &dyn ProductList,
) {
    for round in 0..10 {
        let product = added(&store, &format!("S-{round}"), "a", "").await;
        let (changes, ids) = ([renamed(&product, "b")], [product.id]);
        let (changed, deleted) = tokio::join!(store.update(&changes, NOW), store.delete(&ids, NOW));
        assert_eq!(deleted.unwrap(), [true]);
        assert!(matches!(changed.unwrap()[..], [Ok(()) | Err(Stale)]));
        assert_eq!(store.find(&keys(&product)).await.unwrap(), [None, None]);
        assert!(listed(list, &search("", "")).await.is_empty());
    }
}

fn product(id: i64, sku: &str) -> Product {
    let Draft { sku, name, category, price } = draft(sku, sku, "");
    Product { id: ProductId(id), sku, name, category, price, version: 1 }
}

pub async fn a_remembered_product_is_known_by_id_and_by_sku(cache: &dyn ProductCache) {
    let (a, b) = (product(1, "A"), product(2, "B"));
    assert_eq!(cache.get(&keys(&a)).await, [None, None]);
    cache.put(std::slice::from_ref(&a)).await;
    let asked = [keys(&a), keys(&b)].concat();
    assert_eq!(cache.get(&asked).await, [Some(a.clone()), Some(a), None, None]);
    assert_eq!(cache.get(&[]).await, []);
    cache.put(&[]).await;
}

pub async fn an_invalidated_product_is_unknown_by_either_key_and_others_stay(cache: &dyn ProductCache) {
    let (a, b) = (product(1, "A"), product(2, "B"));
    cache.put(&[a.clone(), b.clone()]).await;
    cache.invalidate(&[(a.id, 2)]).await;
    assert_eq!(cache.get(&keys(&a)).await, [None, None]);
    assert_eq!(cache.get(&keys(&b)).await, [Some(b.clone()), Some(b)]);
}

pub async fn a_sku_that_was_given_again_leads_to_its_new_product(cache: &dyn ProductCache) {
    let (old, new) = (product(1, "A"), product(2, "A"));
    cache.put(std::slice::from_ref(&old)).await;
    cache.invalidate(&[(old.id, i64::MAX)]).await;
    cache.put(std::slice::from_ref(&new)).await;
    cache.invalidate(&[(old.id, i64::MAX)]).await;
    assert_eq!(cache.get(&keys(&new)).await, [Some(new.clone()), Some(new)]);
}

pub async fn a_late_reader_does_not_bring_an_old_product_back(cache: &dyn ProductCache) {
    let old = product(1, "A");
    let new = renamed(&old, "new");
    // It was read before the change, and is stored after it.
    cache.invalidate(&[(old.id, new.version)]).await;
    cache.put(&[old.clone(), product(2, "B")]).await;
    assert_eq!(cache.get(&keys(&old)).await, [None, None]);
    cache.put(std::slice::from_ref(&new)).await;
    cache.put(std::slice::from_ref(&old)).await;
    assert_eq!(cache.get(&keys(&old)).await, [Some(new.clone()), Some(new)]);
}

pub async fn a_late_invalidation_leaves_what_is_newer(cache: &dyn ProductCache) {
    let second = renamed(&product(1, "A"), "second");
    let third = renamed(&second, "third");
    cache.invalidate(&[(third.id, 3)]).await;
    cache.put(std::slice::from_ref(&third)).await;
    cache.invalidate(&[(third.id, 2)]).await;
    cache.put(std::slice::from_ref(&second)).await;
    assert_eq!(cache.get(&keys(&third)).await, [Some(third.clone()), Some(third)]);
}

pub async fn a_late_reader_of_a_deleted_product_does_not_take_its_sku_back(cache: &dyn ProductCache) {
    let (old, new) = (product(1, "A"), product(2, "A"));
    cache.invalidate(&[(old.id, i64::MAX)]).await;
    cache.put(std::slice::from_ref(&new)).await;
    cache.put(std::slice::from_ref(&old)).await;
    assert_eq!(cache.get(&keys(&new)).await, [Some(new.clone()), Some(new)]);
    assert_eq!(cache.get(&[ProductKey::Id(old.id)]).await, [None]);
}
