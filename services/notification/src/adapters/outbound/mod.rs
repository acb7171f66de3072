pub mod buyers;
pub mod courier;
pub mod recipients;
