//! What ended although nobody asked it to.

use world::infra::Ground;
use world::plan::Shop;

/// Private servers and processes of a shop, looked at now and then; each that has ended is news once.
pub struct Deaths<'a> {
    ground: &'a Ground,
    shop: &'a Shop,
    /// A server tells of its end once.
    known: Vec<String>,
}

impl<'a> Deaths<'a> {
    pub fn of(ground: &'a Ground, shop: &'a Shop) -> Self {
        Self { ground, shop, known: Vec::new() }
    }

    /// Those that had not ended when this was asked before, each with what it said last.
    pub fn news(&mut self) -> Vec<String> {
        let dead = [self.shop.dead(), self.ground.dead()].concat();
        let news: Vec<String> = dead.into_iter().filter(|one| !self.known.contains(one)).collect();
        self.known.extend_from_slice(&news);
        news
    }

    /// All that have ended so far.
    pub fn all(mut self) -> Vec<String> {
        self.news();
        self.known
    }
}
