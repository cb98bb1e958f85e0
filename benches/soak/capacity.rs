//! How many calls a second there can be: a closed loop of the very calls of the load.

use std::time::{Duration, Instant};

use crate::callers::{Caller, Phase};

/// Until tokens, permits and answers are remembered.
const WARM: Duration = Duration::from_secs(10);

const COUNTED: Duration = Duration::from_secs(15);

/// Calls a second that were served while all callers called as fast as they could: over fewer connections there can be more,
/// which no load over so many reaches.
pub async fn measure(callers: Vec<Caller>) -> (Vec<Caller>, f64) {
    let counted_from = Instant::now() + WARM;
    let until = counted_from + COUNTED;
    let busy = callers.into_iter().map(|mut caller| {
        tokio::spawn(async move {
            let mut served = 0_u32;
            loop {
                let good = caller.call(Instant::now(), Phase::Capacity).await;
                let now = Instant::now();
                if now >= until {
                    return (caller, served);
                }
                served += u32::from(good && now >= counted_from);
            }
        })
    });
    let (mut callers, mut served) = (Vec::new(), 0);
    for one in busy.collect::<Vec<_>>() {
        let (caller, calls) = one.await.unwrap();
        served += calls;
        callers.push(caller);
    }
    (callers, f64::from(served) / COUNTED.as_secs_f64())
}
