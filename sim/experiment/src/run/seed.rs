//! Fills the shop with what a scenario asks for, through its own HTTP interface. Repeatable: what is
//! there already is kept.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use tokio::time::Duration;

use audit::manifest::{Manifest, SeededProduct};
use load::api::Shopper;
use scenario::Scenario;
use shop::http::{Answer, HttpClient, NoAnswer, is_success};
use world::Admin;

/// argon2id takes its time, and so may a bulk registration.
const DEADLINE: Duration = Duration::from_secs(30);
/// Most users in one call.
const BULK: u32 = 1000;

/// What is in the shop after seeding.
#[derive(Debug, Clone, Default)]
pub struct Seeded {
    pub admin_token: String,
    pub shoppers: Vec<Shopper>,
    /// SKU → product id.
    pub products: BTreeMap<String, i64>,
    pub manifest: Manifest,
}

#[derive(Serialize)]
struct Login<'a> {
    email: &'a str,
    password: &'a str,
}

#[derive(Deserialize)]
struct Session {
    token: String,
}

#[derive(Serialize)]
struct Bulk {
    prefix: &'static str,
    first: u32,
    count: u32,
}

#[derive(Deserialize)]
struct Sessions {
    sessions: Vec<Shopper>,
}

#[derive(Serialize)]
struct NewProduct {
    sku: String,
    name: String,
    category: &'static str,
    price: Price,
}

#[derive(Serialize)]
struct Price {
    minor: i64,
    currency: String,
}

#[derive(Deserialize)]
struct ProductView {
    id: i64,
    sku: String,
}

#[derive(Deserialize)]
struct ProductPage {
    items: Vec<ProductView>,
}

#[derive(Serialize)]
struct Restock {
    quantity: u32,
    restock_id: String,
}

/// A product to seed: its description and its first units.
struct Wanted {
    product: NewProduct,
    stock: u32,
}

/// Seeds users, then products, then stock.
///
/// # Errors
/// One line: which call was refused, and with what.
pub async fn seed(client: &HttpClient, admin: &Admin, scenario: &Scenario) -> Result<Seeded, String> {
    let login = Login { email: &admin.email, password: &admin.password };
    let answer = client.send(Method::POST, "/api/v1/users/login", None, &login, DEADLINE).await;
    let session: Session = understood("sign in as admin", answer)?;
    let mut seeded = Seeded { admin_token: session.token, ..Seeded::default() };
    seeded.shoppers = users(client, &seeded.admin_token, scenario.shop.users).await?;
    for wanted in wanted(scenario) {
        let (sku, stock) = (wanted.product.sku.clone(), wanted.stock);
        let id = product(client, &seeded.admin_token, wanted.product).await?;
        if stock > 0 {
            let restock = Restock { quantity: stock, restock_id: format!("seed-{}-{id}", scenario.name) };
            let path = format!("/api/v1/inventory/{id}/restock");
            let answer = client.send(Method::POST, &path, Some(&seeded.admin_token), &restock, DEADLINE).await;
            accepted(&format!("stock {stock} units of {sku}"), answer)?;
        }
        seeded.manifest.products.insert(id, SeededProduct { sku: sku.clone(), initial: i64::from(stock) });
        seeded.products.insert(sku, id);
    }
    seeded.manifest.scenario.clone_from(&scenario.name);
    seeded.manifest.seed = scenario.seed;
    seeded.manifest.users = scenario.shop.users;
    Ok(seeded)
}

async fn users(client: &HttpClient, token: &str, count: u32) -> Result<Vec<Shopper>, String> {
    let mut shoppers = Vec::with_capacity(count as usize);
    let mut first = 0;
    while first < count {
        let bulk = Bulk { prefix: "shopper", first, count: BULK.min(count - first) };
        let answer = client.send(Method::POST, "/api/v1/admin/users", Some(token), &bulk, DEADLINE).await;
        let sessions: Sessions = understood(&format!("register {} users from {first}", bulk.count), answer)?;
        shoppers.extend(sessions.sessions);
        first += bulk.count;
    }
    Ok(shoppers)
}

fn wanted(scenario: &Scenario) -> Vec<Wanted> {
    let catalog = &scenario.shop.catalog;
    let named = catalog.items.iter().map(|item| Wanted {
        product: NewProduct {
            sku: item.sku.to_string(),
            name: item.name.clone(),
            category: "scenario",
            price: Price { minor: item.price.minor, currency: item.price.currency.to_string() },
        },
        stock: item.stock,
    });
    let generated = (1..=catalog.generate).map(|number| Wanted {
        product: NewProduct {
            sku: scenario::shop::Catalog::generated_sku(number),
            name: format!("Generated product {number}"),
            category: "generated",
            // 5.00 to 104.99, spread without a pattern that anyone would look for.
            price: Price { minor: 500 + i64::from(number) * 7919 % 10_000, currency: "EUR".into() },
        },
        stock: catalog.stock,
    });
    named.chain(generated).collect()
}

async fn product(client: &HttpClient, token: &str, product: NewProduct) -> Result<i64, String> {
    let answer = client.send(Method::POST, "/api/v1/products", Some(token), &product, DEADLINE).await;
    if !matches!(&answer, Ok(answer) if answer.status == 409) {
        let view: ProductView = understood(&format!("create product {}", product.sku), answer)?;
        return Ok(view.id);
    }
    let path = format!("/api/v1/products?search={}", product.sku);
    let page: ProductPage =
        understood(&format!("find product {}", product.sku), client.get(&path, None, DEADLINE).await)?;
    let found = page.items.into_iter().find(|view| view.sku == product.sku);
    found.map(|view| view.id).ok_or_else(|| format!("product {} exists but is not found", product.sku))
}

fn accepted(what: &str, answer: Result<Answer, NoAnswer>) -> Result<Answer, String> {
    match answer {
        Ok(answer) if is_success(answer.status) => Ok(answer),
        Ok(answer) => Err(format!("could not {what}: {}", answer.summary())),
        Err(error) => Err(format!("could not {what}: {error}")),
    }
}

fn understood<T: serde::de::DeserializeOwned>(what: &str, answer: Result<Answer, NoAnswer>) -> Result<T, String> {
    accepted(what, answer)?.json().map_err(|error| format!("could not {what}: {error}"))
}
