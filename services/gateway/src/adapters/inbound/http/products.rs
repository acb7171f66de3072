//! The catalogue.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json as Reply, Response};
use kernel::Sku;
use proto::common::v1::Page;
use proto::product::v1 as product;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::extract::{Json, LIMIT_MAX, Params, ProductPath, Segment, Staff, checked, cursor, limit, limit_or};
use super::object::{object, object_or_none};
use super::problem::Problem;
use super::wire::{Items, MoneyJson, Pages, Price, non_empty};

/// Longer searches are refused.
const SEARCH_CHARACTERS_MAX: usize = 200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Search {
    /// Words, at most eight, each of which the name or the SKU contains.
    #[serde(default)]
    #[param(max_length = 200)]
    search: String,
    /// A category, whatever its case.
    #[serde(default)]
    #[param(max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    category: String,
    /// `next_page` of the page before.
    #[param(pattern = "^[0-9]{0,18}$")]
    page: Option<String>,
    /// How many products a page has; 20 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CategoryQuery {
    /// `next` of the page before.
    #[serde(default)]
    #[param(max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    after: String,
    /// How many categories a page has; 100 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
}

/// A new product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = NewProduct)]
pub(super) struct Create {
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    sku: String,
    #[schema(
        max_length = 200,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
    )]
    name: String,
    #[serde(default)]
    #[schema(max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    category: String,
    #[serde(deserialize_with = "object")]
    price: Price,
}

/// What is to be different about a product: at least one of the three.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = ProductUpdate, min_properties = 1)]
pub(super) struct Update {
    #[schema(
        max_length = 200,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
    )]
    name: Option<String>,
    #[schema(max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    category: Option<String>,
    #[serde(default, deserialize_with = "object_or_none")]
    price: Option<Price>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Category)]
pub(super) struct CategoryJson {
    name: String,
    /// How many products are in it.
    products: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub(super) struct ProductJson {
    id: i64,
    sku: String,
    name: String,
    /// Empty for a product without one.
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

/// The catalogue, searched and filtered, a page at a time.
#[utoipa::path(get, operation_id = "searchProducts", path = "/products", tag = "catalogue", params(Search), responses(
    (status = 200, description = "A page of products, by ascending id", body = Items<ProductJson>),
))]
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

/// The categories that products are in, by name, each with how many.
///
/// Case does not matter; a category is shown in the spelling that sorts first. Products without a category are not
/// counted anywhere.
#[utoipa::path(get, operation_id = "listCategories", path = "/categories", tag = "catalogue", params(CategoryQuery), responses(
    (status = 200, description = "A page of categories", body = Pages<CategoryJson>),
))]
pub(super) async fn categories(
    State(gateway): State<Shared>,
    Params(CategoryQuery { after, limit: size }): Params<CategoryQuery>,
) -> Result<Response, Problem> {
    let limit = limit_or(LIMIT_MAX, size.as_deref())?;
    let request = gateway.clients.request(product::ListCategoriesRequest { after, limit });
    let answer = gateway.clients.products.clone().list_categories(request).await?.into_inner();
    let items =
        answer.categories.into_iter().map(|product::Category { name, products }| CategoryJson { name, products });
    Ok(Reply(Pages { items: items.collect(), next: non_empty(answer.next_after) }).into_response())
}

/// One product.
#[utoipa::path(get, operation_id = "getProduct", path = "/products/{id}", tag = "catalogue", params(ProductPath), responses(
    (status = 200, description = "The product", body = ProductJson),
))]
pub(super) async fn read(State(gateway): State<Shared>, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(product::GetProductRequest { id: id.product()? });
    let product = gateway.clients.products.clone().get_product(request).await?.into_inner();
    Ok(Reply(ProductJson::try_from(product)?).into_response())
}

/// Adds a product.
///
/// Staff only.
#[utoipa::path(post, operation_id = "createProduct", path = "/products", tag = "catalogue", request_body = Create, responses(
    (status = 201, description = "The product", body = ProductJson,
     headers(("Location" = String, description = "Its path"))),
    (status = 409, description = "The SKU is another product's (`already-exists`)"),
))]
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

/// Changes a product.
///
/// Staff only. The SKU stays; orders keep the price that they were made with.
#[utoipa::path(put, operation_id = "updateProduct", path = "/products/{id}", tag = "catalogue", params(ProductPath), request_body = Update, responses(
    (status = 200, description = "The changed product", body = ProductJson),
    (status = 409, description = "It was changed meanwhile (`conflict`)"),
))]
pub(super) async fn update(
    State(gateway): State<Shared>,
    _: Staff,
    id: Segment,
    Json(Update { name, category, price }): Json<Update>,
) -> Result<Response, Problem> {
    if name.is_none() && category.is_none() && price.is_none() {
        return Err(Problem::invalid("body", "`name`, `category` or `price` is expected"));
    }
    let price = price.map(Price::into_price).transpose()?;
    let request = product::UpdateProductRequest { id: id.product()?, name, category, price };
    let request = gateway.clients.request(request);
    let product = gateway.clients.products.clone().update_product(request).await?.into_inner();
    Ok(Reply(ProductJson::try_from(product)?).into_response())
}

/// Deletes a product.
///
/// Staff only. Its id is not given again, its SKU may be.
#[utoipa::path(delete, operation_id = "deleteProduct", path = "/products/{id}", tag = "catalogue", params(ProductPath), responses(
    (status = 204, description = "It is gone"),
))]
pub(super) async fn delete(State(gateway): State<Shared>, _: Staff, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(product::DeleteProductRequest { id: id.product()? });
    gateway.clients.products.clone().delete_product(request).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
