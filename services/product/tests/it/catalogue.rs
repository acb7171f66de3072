//! Creating, changing, deleting, quoting.

use chassis::auth::Role;
use proto::common::v1::Money;
use proto::product::v1 as wire;
use tonic::Code;

use crate::harness::{Shop, by_id, by_sku, eur, named, sneaker, unchanged};

#[tokio::test]
async fn what_staff_create_anybody_sees_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let created = shop.create(sneaker()).await.unwrap();
    assert_eq!((created.sku.as_str(), created.price.clone(), created.version), ("SNEAKER-42", Some(eur(12_900)), 1));
    shop.stop().await;
    let shop = Shop::start(folder.path()).await;
    assert_eq!(shop.product(created.id).await.unwrap(), created);
}

#[tokio::test]
async fn creating_a_sku_again_names_the_existing_product() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let created = shop.create(sneaker()).await.unwrap();
    let refused = shop.create(sneaker()).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().ends_with(&format!("existing id {}", created.id)), "{}", refused.message());
}

#[tokio::test]
async fn only_staff_admins_and_services_write() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let id = shop.create(sneaker()).await.unwrap().id;
    let mut client = shop.client();
    let (change, delete) = (unchanged(id), wire::DeleteProductRequest { id });
    let anonymous = [
        client.create_product(sneaker()).await.unwrap_err(),
        client.update_product(change.clone()).await.unwrap_err(),
        client.delete_product(delete).await.unwrap_err(),
    ];
    assert!(anonymous.iter().all(|refused| refused.code() == Code::Unauthenticated), "{anonymous:?}");
    let customer = [
        shop.acting_as(Role::Customer, client.create_product(sneaker())).await.unwrap_err(),
        shop.acting_as(Role::Customer, client.update_product(change.clone())).await.unwrap_err(),
        shop.acting_as(Role::Customer, client.delete_product(delete)).await.unwrap_err(),
    ];
    assert!(customer.iter().all(|refused| refused.code() == Code::PermissionDenied), "{customer:?}");
    for role in [Role::Staff, Role::Admin, Role::Service] {
        assert!(shop.acting_as(role, client.update_product(change.clone())).await.is_ok(), "{role}");
    }
    assert!(shop.product(id).await.is_ok());
}

#[tokio::test]
async fn a_change_raises_the_version_and_no_change_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let created = shop.create(sneaker()).await.unwrap();
    let dearer = wire::UpdateProductRequest { price: Some(eur(13_900)), ..unchanged(created.id) };
    let changed = shop.update(dearer.clone()).await.unwrap();
    assert_eq!(changed, wire::Product { price: Some(eur(13_900)), version: 2, ..created });
    assert_eq!(shop.update(dearer).await.unwrap().version, 2);
    assert_eq!(shop.update(unchanged(changed.id)).await.unwrap().version, 2);
}

#[tokio::test]
async fn changes_at_once_all_count() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let id = shop.create(sneaker()).await.unwrap().id;
    let (renamed, dearer) = tokio::join!(
        shop.update(wire::UpdateProductRequest { name: Some("Boot".to_owned()), ..unchanged(id) }),
        shop.update(wire::UpdateProductRequest { price: Some(eur(1)), ..unchanged(id) }),
    );
    assert!(renamed.is_ok() && dearer.is_ok(), "{renamed:?} {dearer:?}");
    let product = shop.product(id).await.unwrap();
    assert_eq!((product.name.as_str(), product.price, product.version), ("Boot", Some(eur(1)), 3));
}

#[tokio::test]
async fn a_deleted_product_is_gone_everywhere_and_its_sku_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let created = shop.create(sneaker()).await.unwrap();
    let id = created.id;
    shop.quote(vec![by_id(id), by_sku("SNEAKER-42")]).await.unwrap();
    shop.delete(id).await.unwrap();
    let answers = [
        shop.product(id).await.map(drop),
        shop.quote(vec![by_id(id)]).await.map(drop),
        shop.quote(vec![by_sku("SNEAKER-42")]).await.map(drop),
        shop.update(unchanged(id)).await.map(drop),
        shop.delete(id).await,
    ];
    assert!(answers.iter().all(|answer| matches!(answer, Err(e) if e.code() == Code::NotFound)), "{answers:?}");
    assert!(shop.search("sneaker", "", None).await.unwrap().skus.is_empty());

    let again = shop.create(sneaker()).await.unwrap();
    assert!(again.id > id);
    assert_eq!(shop.quote(vec![by_sku("SNEAKER-42")]).await.unwrap(), [again]);
}

#[tokio::test]
async fn a_quote_answers_in_the_order_asked_by_id_and_by_sku() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let a = shop.create(named("A", "a", "")).await.unwrap();
    let b = shop.create(named("B", "b", "")).await.unwrap();
    // The second time around some come from the cache.
    for _ in 0..2 {
        let quoted = shop.quote(vec![by_sku("B"), by_id(a.id), by_sku("B"), by_id(b.id)]).await.unwrap();
        assert_eq!(quoted, [b.clone(), a.clone(), b.clone(), b.clone()]);
    }
    let c = shop.create(named("C", "c", "")).await.unwrap();
    assert_eq!(shop.quote(vec![by_id(c.id), by_sku("A"), by_sku("C")]).await.unwrap(), [c.clone(), a, c]);
}

#[tokio::test]
async fn a_quote_names_the_first_product_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let id = shop.create(sneaker()).await.unwrap().id;
    for (refs, missing) in [
        (vec![by_id(id), by_sku("BOOT-7"), by_id(99)], "product BOOT-7 does not exist"),
        (vec![by_id(99), by_sku("BOOT-7"), by_id(id)], "product 99 does not exist"),
    ] {
        let refused = shop.quote(refs).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, missing));
    }
}

#[tokio::test]
async fn a_quote_has_one_to_a_hundred_products_that_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let id = shop.create(sneaker()).await.unwrap().id;
    assert_eq!(shop.quote(vec![by_id(id); 100]).await.unwrap().len(), 100);
    for (refs, field) in [
        (vec![], "products: "),
        (vec![by_id(id); 101], "products: "),
        (vec![by_id(id), by_id(0)], "products[1].id: "),
        (vec![by_sku("a b")], "products[0].sku: "),
        (vec![wire::ProductRef { r#ref: None }], "products[0]: "),
    ] {
        let refused = shop.quote(refs).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{}", refused.message());
    }
}

#[tokio::test]
async fn bad_input_is_refused_by_the_name_of_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let id = shop.create(named("OTHER", "other", "")).await.unwrap().id;
    let price = |minor, currency: &str| Some(Money { minor, currency: currency.to_owned() });
    for (field, request) in [
        ("sku", wire::CreateProductRequest { sku: String::new(), ..sneaker() }),
        ("sku", wire::CreateProductRequest { sku: "a b".to_owned(), ..sneaker() }),
        ("name", wire::CreateProductRequest { name: " ".to_owned(), ..sneaker() }),
        ("name", wire::CreateProductRequest { name: "x".repeat(201), ..sneaker() }),
        ("category", wire::CreateProductRequest { category: "x".repeat(65), ..sneaker() }),
        ("price", wire::CreateProductRequest { price: None, ..sneaker() }),
        ("price", wire::CreateProductRequest { price: price(0, "EUR"), ..sneaker() }),
        ("price", wire::CreateProductRequest { price: price(-1, "EUR"), ..sneaker() }),
        ("price", wire::CreateProductRequest { price: price(1_000_000_001, "EUR"), ..sneaker() }),
        ("price.currency", wire::CreateProductRequest { price: price(1, "eur"), ..sneaker() }),
    ] {
        let refused = shop.create(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{}", refused.message());
    }
    for (field, request) in [
        ("id", unchanged(0)),
        ("price", wire::UpdateProductRequest { price: price(0, "EUR"), ..unchanged(id) }),
        ("name", wire::UpdateProductRequest { name: Some(String::new()), ..unchanged(id) }),
    ] {
        let refused = shop.update(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{}", refused.message());
    }
    assert_eq!(shop.product(-1).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(shop.product(99).await.unwrap_err().code(), Code::NotFound);
}
