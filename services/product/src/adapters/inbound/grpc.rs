//! gRPC: reads requests, checks callers, maps errors to status codes.

use std::future::Future;
use std::sync::Arc;

use chassis::auth::Caller;
use chassis::context::Context;
use kernel::{Money, ProductId, Sku};
use proto::common::v1 as common;
use proto::product::v1 as wire;
use proto::product::v1::product_service_server::ProductService;
use tonic::{Request, Response, Status};

use crate::application::ports::ProductKey;
use crate::application::{Catalogue, CatalogueError};
use crate::domain::{Category, Draft, Name, Product, ProductChange, Search, Shelf};

/// The most products of one quote.
const QUOTE_MAX: usize = 100;
/// The most products of one page, and how many it has when nobody says.
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 20;
/// No name of a category is longer, folded or not.
const AFTER_CHARS_MAX: usize = 256;

pub struct Handler {
    catalogue: Arc<Catalogue>,
}

impl Handler {
    pub fn new(catalogue: Catalogue) -> Self {
        Self { catalogue: Arc::new(catalogue) }
    }
}

/// Runs `work` to its end even if the caller goes away.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, CatalogueError>> + Send + 'static,
) -> Result<T, Status> {
    match tokio::spawn(Context::current().scope(work)).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Status::internal("the work was abandoned")),
    }
}

#[tonic::async_trait]
impl ProductService for Handler {
    async fn get_product(&self, request: Request<wire::GetProductRequest>) -> Result<Response<wire::Product>, Status> {
        let id = id_of("id", request.get_ref().id)?;
        Ok(Response::new(self.catalogue.product(id).await?.into()))
    }

    async fn quote_products(
        &self,
        request: Request<wire::QuoteProductsRequest>,
    ) -> Result<Response<wire::QuoteProductsResponse>, Status> {
        let refs = request.into_inner().products;
        if !(1..=QUOTE_MAX).contains(&refs.len()) {
            return Err(invalid("products", format_args!("1 to {QUOTE_MAX} are expected")));
        }
        let keys = refs.into_iter().enumerate().map(key_of).collect::<Result<Vec<_>, _>>()?;
        let products = self.catalogue.quote(&keys).await?.into_iter().map(Into::into).collect();
        Ok(Response::new(wire::QuoteProductsResponse { products }))
    }

    async fn search_products(
        &self,
        request: Request<wire::SearchProductsRequest>,
    ) -> Result<Response<wire::SearchProductsResponse>, Status> {
        let search = Search::try_from(request.into_inner())?;
        let (products, more) = self.catalogue.search(&search).await?;
        let next_after = products.last().filter(|_| more).map_or(0, |product| product.id.0);
        let products = products.into_iter().map(Into::into).collect();
        Ok(Response::new(wire::SearchProductsResponse { products, next_after }))
    }

    async fn list_categories(
        &self,
        request: Request<wire::ListCategoriesRequest>,
    ) -> Result<Response<wire::ListCategoriesResponse>, Status> {
        let wire::ListCategoriesRequest { after, limit } = request.into_inner();
        if after.chars().count() > AFTER_CHARS_MAX || after.chars().any(char::is_control) {
            return Err(invalid("after", "the name of a category is expected"));
        }
        let (shelves, more) = self.catalogue.categories(&after, limit_of("limit", limit)?).await?;
        let next_after = shelves.last().filter(|_| more).map(|shelf| shelf.category.folded()).unwrap_or_default();
        let category = |shelf: Shelf| wire::Category { name: shelf.category.into(), products: shelf.products };
        let categories = shelves.into_iter().map(category).collect();
        Ok(Response::new(wire::ListCategoriesResponse { categories, next_after }))
    }

    async fn create_product(
        &self,
        request: Request<wire::CreateProductRequest>,
    ) -> Result<Response<wire::Product>, Status> {
        Caller::of(&request).require_staff()?;
        let draft = Draft::try_from(request.into_inner())?;
        Ok(Response::new(self.catalogue.create(draft).await?.into()))
    }

    async fn update_product(
        &self,
        request: Request<wire::UpdateProductRequest>,
    ) -> Result<Response<wire::Product>, Status> {
        Caller::of(&request).require_staff()?;
        let wire::UpdateProductRequest { id, name, category, price } = request.into_inner();
        let id = id_of("id", id)?;
        let wish = ProductChange {
            name: name.map(name_of).transpose()?,
            category: category.map(category_of).transpose()?,
            price: price.map(price_of).transpose()?,
        };
        let catalogue = self.catalogue.clone();
        let product = to_its_end(async move { catalogue.change(id, wish).await }).await?;
        Ok(Response::new(product.into()))
    }

    async fn delete_product(
        &self,
        request: Request<wire::DeleteProductRequest>,
    ) -> Result<Response<wire::DeleteProductResponse>, Status> {
        Caller::of(&request).require_staff()?;
        let id = id_of("id", request.get_ref().id)?;
        let catalogue = self.catalogue.clone();
        to_its_end(async move { catalogue.delete(id).await }).await?;
        Ok(Response::new(wire::DeleteProductResponse {}))
    }
}

fn invalid(field: &str, why: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {why}"))
}

fn limit_of(field: &str, limit: u32) -> Result<u32, Status> {
    match limit {
        0 => Ok(PAGE_DEFAULT),
        1..=PAGE_MAX => Ok(limit),
        _ => Err(invalid(field, format_args!("at most {PAGE_MAX} are allowed"))),
    }
}

fn id_of(field: &str, id: i64) -> Result<ProductId, Status> {
    match id {
        1.. => Ok(ProductId(id)),
        _ => Err(invalid(field, "a positive number is expected")),
    }
}

fn sku_of(field: &str, text: &str) -> Result<Sku, Status> {
    text.parse().map_err(|error| invalid(field, error))
}

fn name_of(text: String) -> Result<Name, Status> {
    text.try_into().map_err(|error| invalid("name", error))
}

fn category_of(text: String) -> Result<Category, Status> {
    text.try_into().map_err(|error| invalid("category", error))
}

fn price_of(money: common::Money) -> Result<Money, Status> {
    let currency = money.currency.parse().map_err(|error| invalid("price.currency", error))?;
    Ok(Money::new(money.minor, currency))
}

fn key_of((index, product): (usize, wire::ProductRef)) -> Result<ProductKey, Status> {
    let field = |name: &str| format!("products[{index}].{name}");
    match product.r#ref {
        Some(wire::product_ref::Ref::Id(id)) => Ok(ProductKey::Id(id_of(&field("id"), id)?)),
        Some(wire::product_ref::Ref::Sku(sku)) => Ok(ProductKey::Sku(sku_of(&field("sku"), &sku)?)),
        None => Err(invalid(&format!("products[{index}]"), "an id or a SKU is expected")),
    }
}

impl TryFrom<wire::CreateProductRequest> for Draft {
    type Error = Status;
    fn try_from(request: wire::CreateProductRequest) -> Result<Self, Status> {
        let wire::CreateProductRequest { sku, name, category, price } = request;
        let price = price.ok_or_else(|| invalid("price", "it is missing"))?;
        let (sku, name, category) = (sku_of("sku", &sku)?, name_of(name)?, category_of(category)?);
        Self::new(sku, name, category, price_of(price)?).map_err(|error| invalid("price", error))
    }
}

impl TryFrom<wire::SearchProductsRequest> for Search {
    type Error = Status;
    fn try_from(request: wire::SearchProductsRequest) -> Result<Self, Status> {
        let wire::SearchProductsRequest { search, category, page } = request;
        let common::Page { after, limit } = page.unwrap_or_default();
        if after < 0 {
            return Err(invalid("page.after", "an id of the page before, or 0, is expected"));
        }
        let limit = limit_of("page.limit", limit)?;
        let words = Self::words(&search).map_err(|error| invalid("search", error))?;
        let category = Some(category_of(category)?).filter(|category| !category.as_str().is_empty());
        Ok(Self { words, category, after: ProductId(after), limit })
    }
}

impl From<Product> for wire::Product {
    fn from(product: Product) -> Self {
        let Money { minor, currency } = product.price;
        Self {
            id: product.id.0,
            sku: product.sku.into(),
            name: product.name.into(),
            category: product.category.into(),
            price: Some(common::Money { minor, currency: currency.into() }),
            version: product.version,
        }
    }
}

impl From<CatalogueError> for Status {
    fn from(error: CatalogueError) -> Self {
        let text = error.to_string();
        match error {
            CatalogueError::NoSuchProduct(_) => Self::not_found(text),
            CatalogueError::SkuTaken(_) => Self::already_exists(text),
            CatalogueError::Price(_) => Self::invalid_argument(text),
            CatalogueError::Store(error) => error.into(),
        }
    }
}
