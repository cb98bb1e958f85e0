use super::*;
use crate::clock::SystemClock;
use crate::store::record::postgres;

const LONG: Duration = Duration::from_secs(60);

async fn leases() -> Option<Leases> {
    let shared = Shared::open(&postgres("a").await?).unwrap().unwrap();
    Some(Leases::new(&shared, SystemClock::new(), LONG))
}

/// Who came as this one, and wants the turn at these places.
fn asking(leases: &Leases, holder: u128, places: &[u8]) -> Lease {
    Lease {
        from: leases.clone(),
        places: places.iter().map(|place| vec![*place; 32]).collect(),
        holder: Uuid::from_u128(holder),
        is_asked: false,
        until: Duration::ZERO,
        behind: Vec::new(),
    }
}

async fn ended(leases: &Leases, lease: Lease) {
    drop(lease);
    leases.settled(LONG).await;
}

#[tokio::test]
async fn whoever_waits_longest_is_next() {
    let Some(leases) = leases().await else { return };
    let [mut first, mut second, mut third] = [1, 2, 3].map(|n| asking(&leases, n, &[7]));
    let had = async |lease: &mut Lease| lease.ask(TAKE, "taking a turn").await.unwrap();
    assert!(had(&mut first).await);
    assert!(!had(&mut third).await);
    assert!(!had(&mut second).await, "who came earlier takes the place of who only asked earlier");
    ended(&leases, first).await;
    assert!(!had(&mut third).await);
    assert!(had(&mut second).await);
    ended(&leases, second).await;
    assert!(had(&mut third).await, "nobody is waited for who has had it");
    ended(&leases, third).await;
    let mut fourth = asking(&leases, 4, &[7, 8]);
    assert!(had(&mut fourth).await);
}

#[tokio::test]
async fn of_two_that_cross_the_earlier_is_let_through() {
    let Some(leases) = leases().await else { return };
    let had = async |lease: &mut Lease| lease.ask(TAKE, "taking a turn").await.unwrap();
    let [mut left, mut right] = [(10, 1), (11, 2)].map(|(n, place)| asking(&leases, n, &[place]));
    assert!(had(&mut left).await && had(&mut right).await);
    let (mut early, mut late) = (asking(&leases, 20, &[2, 1]), asking(&leases, 21, &[1, 2]));
    // Each is next where the other one is not yet.
    assert!(!had(&mut late).await && !had(&mut early).await);
    ended(&leases, left).await;
    assert!(!had(&mut late).await);
    ended(&leases, right).await;
    assert!(!had(&mut late).await && had(&mut early).await);
    ended(&leases, early).await;
    assert!(had(&mut late).await);
}

#[tokio::test]
async fn a_turn_that_must_last_longer_is_kept() {
    let Some(leases) = leases().await else { return };
    let until = leases.clock.monotonic() + LONG;
    let mut lease = leases.take([[1; 32], [2; 32]], Instant::now() + LONG).await.unwrap();
    lease.until = Duration::ZERO;
    lease.lasts(LONG / 2).await.unwrap();
    assert!(lease.until >= until, "it counts anew");
    let mut other = asking(&leases, 1, &[2, 3]);
    assert!(!other.ask(TAKE, "taking a turn").await.unwrap());
    assert!(!other.ask(KEEP, "keeping a turn").await.unwrap(), "who has it at none keeps none");
}
