//! What every adapter of [`ProductStore`] and [`ProductList`] must keep; each case starts empty.

use kernel::{Currency, Money, ProductId, Timestamp};

use crate::application::ports::{ProductKey, ProductList, ProductStore, SkuTaken, Stale};
use crate::domain::{Draft, Product, ProductChange, Search};

const NOW: Timestamp = Timestamp::from_micros(1);

fn draft(sku: &str, name: &str, category: &str) -> Draft {
    let (name, category) = (name.to_owned().try_into().unwrap(), category.to_owned().try_into().unwrap());
    Draft::new(sku.parse().unwrap(), name, category, Money::new(12_900, Currency::EUR)).unwrap()
}

async fn added(store: &dyn ProductStore, sku: &str, name: &str, category: &str) -> Product {
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

pub async fn an_added_product_is_found_by_id_and_by_sku_and_listed(store: &dyn ProductStore, list: &dyn ProductList) {
    let sneaker = added(store, "SNEAKER-42", "Sneaker", "Shoes").await;
    assert_eq!(sneaker.version, 1);
    assert_eq!(store.find(&keys(&sneaker)).await.unwrap(), [Some(sneaker.clone()), Some(sneaker.clone())]);
    assert_eq!(listed(list, &search("", "")).await, [sneaker]);
    let unknown = [ProductKey::Id(ProductId(99)), ProductKey::Sku("sneaker-42".parse().unwrap())];
    assert_eq!(store.find(&unknown).await.unwrap(), [None, None]);
}

pub async fn a_taken_sku_names_its_product_and_does_not_stop_the_others(
    store: &dyn ProductStore,
    list: &dyn ProductList,
) {
    let a = added(store, "A", "first", "").await;
    let batch = [draft("A", "second", ""), draft("B", "b", ""), draft("B", "b again", "")];
    let answers = store.add(&batch, NOW).await.unwrap();
    assert_eq!(answers[0], Err(SkuTaken { existing: a.id }));
    let b = answers[1].clone().unwrap();
    assert_eq!(answers[2], Err(SkuTaken { existing: b.id }));
    assert_eq!(listed(list, &search("", "")).await, [a, b]);
}

pub async fn a_change_needs_the_version_before(store: &dyn ProductStore, list: &dyn ProductList) {
    let (a, b) = (added(store, "A", "a", "").await, added(store, "B", "b", "").await);
    let (first, late, other) = (renamed(&a, "first"), renamed(&a, "late"), renamed(&b, "other"));
    let answers = store.update(&[first.clone(), late, other.clone()], NOW).await.unwrap();
    assert_eq!(answers, [Ok(()), Err(Stale), Ok(())]);
    assert_eq!(store.find(&keys(&a)).await.unwrap(), [Some(first.clone()), Some(first.clone())]);
    assert_eq!(listed(list, &search("", "")).await, [first, other]);
    assert!(skus(list, "late", "").await.is_empty());
}

pub async fn a_deleted_product_is_gone_and_its_id_is_not_given_again(store: &dyn ProductStore, list: &dyn ProductList) {
    let old = added(store, "A", "old", "").await;
    assert_eq!(store.delete(&[old.id, ProductId(99), old.id], NOW).await.unwrap(), [true, false, false]);
    assert_eq!(store.find(&keys(&old)).await.unwrap(), [None, None]);
    assert!(listed(list, &search("", "")).await.is_empty());
    assert_eq!(store.update(&[renamed(&old, "undead")], NOW).await.unwrap(), [Err(Stale)]);

    let new = added(store, "A", "new", "").await;
    assert!(new.id > old.id);
    assert_eq!(store.find(&keys(&new)).await.unwrap(), [Some(new.clone()), Some(new.clone())]);
    assert_eq!(listed(list, &search("", "")).await, [new]);
}

pub async fn every_word_must_occur_and_every_character_counts(store: &dyn ProductStore, list: &dyn ProductList) {
    for (sku, name) in
        [("RED_1", "Red Sneaker"), ("RED-2", "Red boot, 100% leather"), ("X1", "Éclair"), ("X2", r"back\slash")]
    {
        added(store, sku, name, "").await;
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
    ] {
        assert_eq!(skus(list, text, "").await, expected, "{text}");
    }
}

pub async fn categories_are_filtered_without_regard_to_case(store: &dyn ProductStore, list: &dyn ProductList) {
    added(store, "A", "sneaker", "Shoes").await;
    added(store, "B", "sneaker", "Toys").await;
    added(store, "C", "boot", "shoes").await;
    assert_eq!(skus(list, "", "SHOES").await, ["A", "C"]);
    assert_eq!(skus(list, "sneaker", "Shoes").await, ["A"]);
    assert_eq!(skus(list, "", "Shoe").await, Vec::<String>::new());
}

pub async fn pages_follow_each_other_without_gap_or_overlap(store: &dyn ProductStore, list: &dyn ProductList) {
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
