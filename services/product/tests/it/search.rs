//! Lists.

use proto::common::v1::Page;
use proto::product::v1 as wire;
use tonic::Code;

use crate::harness::{Shop, named, sneaker, unchanged};

#[tokio::test]
async fn finds_by_words_in_name_or_sku_and_by_category() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let created = shop.create(sneaker()).await.unwrap();
    shop.create(named("BOOT-7", "Red Boot 100%", "Shoes")).await.unwrap();
    shop.create(named("CAR-1", "Red Car", "Toys")).await.unwrap();
    assert_eq!(shop.search("sneaker", "", None).await.unwrap().products, [created]);
    for (text, category, expected) in [
        ("", "", &["SNEAKER-42", "BOOT-7", "CAR-1"][..]),
        ("RED", "shoes", &["SNEAKER-42", "BOOT-7"]),
        ("red -7", "", &["BOOT-7"]),
        ("0%", "", &["BOOT-7"]),
        ("e_", "", &[]),
        ("red", "none", &[]),
    ] {
        assert_eq!(shop.search(text, category, None).await.unwrap().skus, expected, "{text} in {category}");
    }
}

#[tokio::test]
async fn a_changed_name_is_found_at_once_and_the_old_one_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let id = shop.create(sneaker()).await.unwrap().id;
    let request = wire::UpdateProductRequest {
        name: Some("Boot".to_owned()),
        category: Some("Toys".to_owned()),
        ..unchanged(id)
    };
    let changed = shop.update(request).await.unwrap();
    assert_eq!(shop.search("boot", "toys", None).await.unwrap().products, [changed]);
    assert!(shop.search("red", "", None).await.unwrap().skus.is_empty());
    assert!(shop.search("", "shoes", None).await.unwrap().skus.is_empty());
}

#[tokio::test]
async fn pages_lead_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let all: Vec<String> = (0..45).map(|n| format!("S-{n}")).collect();
    for sku in &all {
        shop.create(named(sku, "same", "")).await.unwrap();
    }
    for (limit, sizes) in [(0, &[20, 20, 5][..]), (45, &[45]), (15, &[15, 15, 15])] {
        let (mut seen, mut after) = (Vec::new(), 0);
        for size in sizes {
            let page = shop.search("same", "", Some(Page { after, limit })).await.unwrap();
            assert_eq!(page.skus.len(), *size);
            seen.extend(page.skus);
            after = page.next_after;
        }
        assert_eq!((&seen, after), (&all, 0), "{limit} a page");
    }
}

#[tokio::test]
async fn refuses_a_search_out_of_bounds_by_the_name_of_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let long = "x".repeat(201);
    for (field, text, category, page) in [
        ("search", long.as_str(), "", Page::default()),
        ("search", "a b c d e f g h i", "", Page::default()),
        ("category", "", long.as_str(), Page::default()),
        ("page.after", "", "", Page { after: -1, limit: 0 }),
        ("page.limit", "", "", Page { after: 0, limit: 101 }),
    ] {
        let refused = shop.search(text, category, Some(page)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{}", refused.message());
    }
}

#[tokio::test]
async fn categories_lead_to_the_end_and_may_be_searched_by() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    for number in 0..25 {
        shop.create(named(&format!("S-{number}"), "same", &format!("Shelf {:02}", number / 2))).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let request = wire::ListCategoriesRequest { after, limit: 5 };
        let page = shop.client().list_categories(request).await.unwrap().into_inner();
        seen.extend(page.categories);
        after = page.next_after;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 13);
    assert_eq!((seen[0].name.as_str(), seen[0].products), ("Shelf 00", 2));
    assert_eq!(shop.search("", &seen[12].name, None).await.unwrap().skus, ["S-24"]);
    let request = wire::ListCategoriesRequest { after: String::new(), limit: 101 };
    let refused = shop.client().list_categories(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("limit: "), "{}", refused.message());
}
