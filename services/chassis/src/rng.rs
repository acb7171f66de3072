//! Randomness as named streams: each consumer has its own, so that one more draw by one of them
//! does not shift what the others see.

use rand::rngs::SysRng;
use rand::{SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The generator behind every stream. ChaCha8 is specified, so a seed means the same in every build.
pub type Stream = ChaCha8Rng;

/// The root from which streams are derived by name.
#[derive(Debug, Clone)]
pub struct Seeds {
    root: [u8; 32],
}

impl Seeds {
    pub fn from_number(seed: u64) -> Self {
        Self { root: Sha256::digest(seed.to_be_bytes()).into() }
    }

    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn from_entropy() -> Result<Self, rand::rngs::SysError> {
        let mut root = [0; 32];
        SysRng.try_fill_bytes(&mut root)?;
        Ok(Self { root })
    }

    /// A sub-root, for a host or a service.
    pub fn scope(&self, name: &str) -> Self {
        Self { root: self.digest(b'/', name) }
    }

    /// The stream called `name`; asked twice, it starts over.
    pub fn stream(&self, name: &str) -> Stream {
        ChaCha8Rng::from_seed(self.digest(b'#', name))
    }

    fn digest(&self, kind: u8, name: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.root);
        hash.update([kind]);
        hash.update(name.as_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_are_repeatable_and_apart() {
        let seeds = Seeds::from_number(7);
        let first = |name: &str| seeds.stream(name).next_u64();
        assert_eq!(first("a"), first("a"));
        assert_ne!(first("a"), first("b"));
        assert_ne!(seeds.scope("a").stream("b").next_u64(), seeds.scope("b").stream("b").next_u64());
        assert_ne!(first("a"), Seeds::from_number(8).stream("a").next_u64());
    }
}
