//! The catalogue.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json as Reply, Response};
use kernel::Sku;
use proto::common::v1::Page;
use proto::product::v1 as product;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::extract::{Json, Params, Segment, Staff, checked, cursor, limit};
use super::problem::Problem;
use super::wire::{Items, MoneyJson};

/// Longer searches are refused.
const SEARCH_CHARACTERS_MAX: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    #[serde(default)]
    search: String,
    #[serde(default)]
    category: String,
    page: Option<String>,
    limit: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    sku: String,
    name: String,
    #[serde(default)]
    category: String,
    price: MoneyJson,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Update {
    name: Option<String>,
    category: Option<String>,
    price: Option<MoneyJson>,
}

#[derive(Debug, Serialize)]
struct ProductJson {
    id: i64,
    sku: String,
    name: String,
    category: String,
    price: MoneyJson,
    version: i64,
}

impl TryFrom<product::Product> for ProductJson {
    type Error = Problem;
    fn try_from(product: product::Product) -> Result<Self, Problem> {
        let product::Product { id, sku, name, category, price, version } = product;
        Ok(Self { id, sku, name, category, price: price.try_into()?, version })
    }
}

pub(super) async fn search(
    State(gateway): State<Shared>,
    Params(Search { search, category, page, limit: size }): Params<Search>,
) -> Result<Response, Problem> {
    for (field, text) in [("search", &search), ("category", &category)] {
        if text.chars().count() > SEARCH_CHARACTERS_MAX {
            return Err(Problem::invalid(field, format!("at most {SEARCH_CHARACTERS_MAX} characters are expected")));
        }
    }
    let page = Page { after: cursor("page", page.as_deref())?, limit: limit(size.as_deref())? };
    let request = product::SearchProductsRequest { search, category, page: Some(page) };
    let request = gateway.clients.request(request);
    let answer = gateway.clients.products.clone().search_products(request).await?.into_inner();
    let items: Result<Vec<_>, _> = answer.products.into_iter().map(ProductJson::try_from).collect();
    let next_page = Some(answer.next_after).filter(|after| *after > 0).map(|after| after.to_string());
    Ok(Reply(Items { items: items?, next_page }).into_response())
}

pub(super) async fn read(State(gateway): State<Shared>, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(product::GetProductRequest { id: id.product()? });
    let product = gateway.clients.products.clone().get_product(request).await?.into_inner();
    Ok(Reply(ProductJson::try_from(product)?).into_response())
}

pub(super) async fn create(
    State(gateway): State<Shared>,
    _: Staff,
    Json(Create { sku, name, category, price }): Json<Create>,
) -> Result<Response, Problem> {
    let sku: Sku = checked("sku", &sku)?;
    let price = Some(price.into_price()?);
    let request = product::CreateProductRequest { sku: sku.to_string(), name, category, price };
    let request = gateway.clients.request(request);
    let product = gateway.clients.products.clone().create_product(request).await?.into_inner();
    let location = format!("/api/v1/products/{}", product.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Reply(ProductJson::try_from(product)?)).into_response())
}

pub(super) async fn update(
    State(gateway): State<Shared>,
    _: Staff,
    id: Segment,
    Json(Update { name, category, price }): Json<Update>,
) -> Result<Response, Problem> {
    if name.is_none() && category.is_none() && price.is_none() {
        return Err(Problem::invalid("body", "`name`, `category` or `price` is expected"));
    }
    let price = price.map(MoneyJson::into_price).transpose()?;
    let request = product::UpdateProductRequest { id: id.product()?, name, category, price };
    let request = gateway.clients.request(request);
    let product = gateway.clients.products.clone().update_product(request).await?.into_inner();
    Ok(Reply(ProductJson::try_from(product)?).into_response())
}

pub(super) async fn delete(State(gateway): State<Shared>, _: Staff, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(product::DeleteProductRequest { id: id.product()? });
    gateway.clients.products.clone().delete_product(request).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
