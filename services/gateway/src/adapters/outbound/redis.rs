//! Rate-limit counters in Redis, which all instances of the gateway share.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chassis::clock::SharedClock;
use redis::Script;
use store::StoreError;
use store::redis::Redis;

use crate::application::ports::RateLimiter;
use crate::domain::window::{Decision, WINDOW, Window, minute_of};

/// What a bucket's key begins with.
pub const KEY_PREFIX: &str = "rate:";

/// [`Window::admit`], on the counters behind a key. `ARGV`: the minute, the microseconds into it, the
/// limit, the microseconds of a window, the milliseconds to live. All of it stays below 2^53, where
/// Lua's numbers are exact: at most 10^8 requests a minute. Instead of dividing it multiplies: a
/// quotient rounded down is below a whole number exactly when the quotient is.
static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local minute, elapsed, limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
         local previous, current = 0, 0
         local m, p, c = string.match(redis.call('GET', KEYS[1]) or '', '^(-?%d+) (%d+) (%d+)$')
         if m then
           local past = minute - tonumber(m)
           if past == 0 then previous, current = tonumber(p), tonumber(c) end
           if past == 1 then previous = tonumber(c) end
           if past == -1 then minute, elapsed, previous, current = tonumber(m), 0, tonumber(p), tonumber(c) end
         end
         local admitted = previous * (window - elapsed) < (limit - current) * window
         if admitted then
           current = current + 1
           redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f', minute, previous, current), 'PX', ARGV[5])
         end
         return {admitted and 1 or 0, minute, previous, current}",
    )
});

/// Counts by the injected clock: instances agree on the minute as far as their clocks do.
pub struct RedisRateLimiter {
    redis: Arc<Redis>,
    clock: SharedClock,
}

impl RedisRateLimiter {
    pub fn new(redis: Arc<Redis>, clock: SharedClock) -> Self {
        Self { redis, clock }
    }
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    async fn admit(&self, bucket: &str, limit: u32) -> Result<Decision, StoreError> {
        let now = self.clock.now();
        let (minute, elapsed_us) = minute_of(now);
        let key = self.redis.key(format_args!("{KEY_PREFIX}{bucket}"));
        // A minute's count matters until the next minute is over.
        let (window_us, ttl_ms) = (WINDOW.as_micros(), (WINDOW * 2).as_millis());
        let arguments =
            [minute.to_string(), elapsed_us.to_string(), limit.to_string(), window_us.to_string(), ttl_ms.to_string()];
        let (admitted, minute, previous, current): (bool, i64, u32, u32) =
            self.redis.run(&ADMIT, &[key], &arguments).await?;
        Ok(Window::from_counters(minute, previous, current).decision(admitted, limit, now))
    }
}
