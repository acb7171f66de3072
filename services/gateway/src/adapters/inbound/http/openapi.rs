//! The API's description in OpenAPI 3.1. Each operation says beside its handler what it takes and
//! answers when all is well; what holds for all of them is written here, once: problems, headers, who
//! may come in.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::schema::{AnyOfBuilder, SchemaType};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    AllOfBuilder, ComponentsBuilder, Content, ContentBuilder, HeaderBuilder, InfoBuilder, Object, ObjectBuilder,
    OneOfBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::middleware::Access;
use super::problem::{Document, Kind, TYPE_PREFIX};
use super::{PREFIX, operations};

const ABOUT: &str = "A shop: accounts, catalogue, stock, orders and payments behind one gateway.\n\n\
    Bodies are JSON whatever their Content-Type. Amounts are integers in minor units. Listings are paged and bounded. \
    Failures are problems (RFC 9457). Customers are limited in requests a minute; the `RateLimit-*` headers say how \
    many are left.";
const BEARER: &str = "bearer";
const PROBLEM_JSON: &str = "application/problem+json";

/// The description as JSON, with a line break at its end.
pub fn document() -> String {
    let mut api: OpenApi = OpenApiBuilder::new()
        .info(InfoBuilder::new().title("shopctl").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT)).build())
        .components(Some(components().build()))
        .build();
    for (access, operations) in operations() {
        let router = OpenApiRouter::new().nest(PREFIX, operations);
        let mut group = router.into_openapi();
        for item in group.paths.paths.values_mut() {
            let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            methods.into_iter().flatten().for_each(|operation| complete(operation, access));
        }
        api.merge(group);
    }
    if let Some(components) = &mut api.components {
        say_what_derives_cannot(&mut components.schemas);
    }
    // Every value in it can be written as JSON: its maps have texts for keys.
    let mut text = api.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

fn components() -> ComponentsBuilder {
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let bearer = bearer.description(Some("The `token` of `POST /api/v1/users/login`")).build();
    let mut components = ComponentsBuilder::new()
        .schema(Document::name(), Document::schema())
        .security_scheme(BEARER, SecurityScheme::Http(bearer));
    for (status, types) in types_by_status() {
        components = components.response(response_name(status), problem(status, &describe(&types)));
    }
    components
}

/// Two rules that no attribute can say: an update changes something, and an ordered product is named in one way.
fn say_what_derives_cannot(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    for (name, schema) in schemas {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        let object = object.clone();
        let choice: Schema = if name == "NewOrderItem" {
            let way = |given: &str, absent: &str| with(&object, given, Some(absent));
            OneOfBuilder::new().item(way("product_id", "sku")).item(way("sku", "product_id")).build().into()
        } else if object.min_properties == Some(1) {
            let one_of_them = |any: AnyOfBuilder, field: &String| any.item(with(&object, field, None));
            object.properties.keys().fold(AnyOfBuilder::new(), one_of_them).build().into()
        } else {
            continue;
        };
        *schema = RefOr::T(AllOfBuilder::new().item(Schema::Object(object)).item(choice).build().into());
    }
}

/// The rule that `given` is there and not null, and that `absent` is neither there nor more than null.
fn with(object: &Object, given: &str, absent: Option<&str>) -> Schema {
    let rule = ObjectBuilder::new().required(given);
    let rule = match object.properties.get(given).cloned() {
        Some(property) => rule.property(given, not_null(property)),
        None => rule,
    };
    let null = || ObjectBuilder::new().schema_type(Type::Null).build();
    Schema::Object(absent.into_iter().fold(rule, |rule, absent| rule.property(absent, null())).build())
}

fn not_null(property: RefOr<Schema>) -> RefOr<Schema> {
    match property {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let Some(kind) = types.iter().find(|kind| **kind != Type::Null)
            {
                object.schema_type = SchemaType::Type(kind.clone());
            }
            RefOr::T(Schema::Object(object))
        }
        // Of null and something, the something.
        RefOr::T(Schema::OneOf(choice)) => {
            let something = choice.items.iter().find(|item| !is_null(item)).cloned();
            something.unwrap_or(RefOr::T(Schema::OneOf(choice)))
        }
        other => other,
    }
}

fn is_null(item: &RefOr<Schema>) -> bool {
    matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
}

/// The problems that there are, by HTTP status.
fn types_by_status() -> BTreeMap<u16, Vec<Kind>> {
    let mut types: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in Kind::ALL {
        types.entry(kind.facts().0.as_u16()).or_default().push(kind);
    }
    types
}

fn describe(types: &[Kind]) -> String {
    let lines = types.iter().map(|kind| {
        let (_, slug, title) = kind.facts();
        format!("`{TYPE_PREFIX}{slug}`: {title}")
    });
    lines.collect::<Vec<_>>().join("; ")
}

fn response_name(status: u16) -> String {
    format!("Problem{status}")
}

fn problem_content() -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name(Document::name()))).build()
}

fn problem(status: u16, description: &str) -> Response {
    let response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, problem_content());
    let mut response = response.build();
    add_headers(&mut response, &status.to_string());
    response
}

/// Adds to an operation what follows from its shape and from who may come in.
fn complete(operation: &mut Operation, access: Access) {
    operation.security = match access {
        Access::Open => Some(Vec::new()),
        Access::Public => Some(vec![SecurityRequirement::default(), bearer()]),
        Access::Private => Some(vec![bearer()]),
    };
    let responses = &mut operation.responses.responses;
    for response in responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let is_problem = response.content.is_empty() && response.description.contains("(`");
        if is_problem {
            response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(problem_content()));
        }
    }
    for status in failures(operation, access) {
        let reference = RefOr::Ref(Ref::from_response_name(response_name(status)));
        operation.responses.responses.entry(status.to_string()).or_insert(reference);
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            add_headers(response, status);
        }
    }
}

fn bearer() -> SecurityRequirement {
    SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])
}

/// With which statuses the operation may fail, besides those of its own.
fn failures(operation: &Operation, access: Access) -> BTreeSet<u16> {
    // What any request may meet.
    let mut statuses = BTreeSet::from([414, 429, 431, 500, 503, 504]);
    let parameters = operation.parameters.iter().flatten();
    let places: Vec<&ParameterIn> = parameters
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(&parameter.parameter_in),
            RefOr::Ref(_) => None,
        })
        .collect();
    if !places.is_empty() {
        statuses.insert(400);
    }
    if places.contains(&&ParameterIn::Path) {
        statuses.insert(404);
    }
    if operation.request_body.is_some() {
        statuses.extend([400, 408, 413]);
    }
    match access {
        Access::Open => {}
        Access::Public => statuses.extend([401]),
        Access::Private => statuses.extend([401, 403]),
    }
    statuses
}

fn add_headers(response: &mut Response, status: &str) {
    let number = || ObjectBuilder::new().schema_type(Type::Integer).build();
    let mut add = |name: &str, schema: Object, description: &str| {
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
        response.headers.insert(name.to_owned(), RefOr::T(header));
    };
    let text = || ObjectBuilder::new().schema_type(Type::String).build();
    add("X-Request-Id", text(), "The request's name, the client's own if it sent a fit one");
    if status == "401" {
        add("WWW-Authenticate", text(), "`Bearer`, and what is wrong with the token that was sent");
    }
    if status == "429" || status == "503" {
        add("Retry-After", number(), "Seconds after which the request is worth another try");
    }
    if status.starts_with('2') || status == "429" {
        add("RateLimit-Policy", text(), "The limit and the seconds that it is about: `100;w=60`");
        add("RateLimit-Limit", number(), "Requests a minute; absent where nobody counts");
        add("RateLimit-Remaining", number(), "How many more would be admitted now");
        add("RateLimit-Reset", number(), "Seconds until the minute is over");
    }
}
