use super::*;

/// A link that carries so many kbit/s, with a short queue, and loses a share of its own.
struct Simulated {
    climb: Climb,
    now: Instant,
    carries: f64,
    loses: f64,
    /// What others hold each rung at.
    held: [f64; 3],
    /// Looks at which more was sent than the link carries.
    over: usize,
    moves: Vec<(u128, usize)>,
    began: Instant,
}

const NEEDS: [Need; 3] =
    [Need { most: 2200.0, least: 1140.0 }, Need { most: 730.0, least: 400.0 }, Need { most: 250.0, least: 165.0 }];

impl Simulated {
    fn new(carries: f64) -> Self {
        let now = Instant::now();
        let (climb, moves) = (Climb::new(NEEDS.to_vec(), now), Vec::new());
        Self { climb, now, carries, loses: 0.0, held: [0.0; 3], over: 0, moves, began: now }
    }

    /// So many seconds pass, with a look every quarter of one.
    fn pass(&mut self, seconds: u32) -> &mut Self {
        for _ in 0..seconds * 4 {
            self.now += Duration::from_millis(250);
            let (needs, bounds) = (self.gets(), NEEDS[self.climb.rung()]);
            assert!((bounds.least..=bounds.most).contains(&self.climb.wants()), "{}", self.climb.wants());
            let over = (needs - self.carries).max(0.0) / needs;
            self.over += usize::from(over > 0.0);
            let reading = Reading {
                delivered: needs.min(self.carries) * (1.0 - self.loses),
                loss: over.max(self.loses),
                queue: if over > 0.0 { Duration::from_millis(100) } else { Duration::ZERO },
                span: super::super::link::WINDOW,
            };
            if let Some(rung) = self.climb.look(Some(reading), &self.held, self.now) {
                self.moves.push((self.now.duration_since(self.began).as_millis(), rung));
            }
        }
        self
    }

    /// kbit/s that are sent to it.
    fn gets(&self) -> f64 {
        self.climb.wants().max(self.held[self.climb.rung()])
    }
}

#[test]
fn a_wide_link_stays_at_the_top() {
    let mut link = Simulated::new(10_000.0);
    assert!(link.pass(600).moves.is_empty());
    assert_eq!(link.gets(), NEEDS[0].most);
}

#[test]
fn a_narrow_link_is_left_at_once_for_the_rung_it_carries() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 900.0;
    link.pass(2);
    assert_eq!(link.moves, [(10_250, 1)]);
    let mut link = Simulated::new(500.0);
    assert_eq!(link.pass(2).moves, [(250, 2)]);
}

#[test]
fn trials_that_fail_end_quickly_and_grow_rare() {
    let mut link = Simulated::new(300.0);
    link.pass(600);
    let trials = link.moves.iter().filter(|(_, rung)| *rung == 1).count();
    assert!((4..=9).contains(&trials), "{:?}", link.moves);
    assert!(link.moves.iter().all(|(_, rung)| *rung > 0), "never two rungs up: {:?}", link.moves);
    let spent: u128 = link.moves.windows(2).filter(|pair| pair[0].1 == 1).map(|pair| pair[1].0 - pair[0].0).sum();
    assert!(spent < 2_000 * trials as u128, "{spent} ms in {trials} trials");
}

#[test]
fn a_link_that_widens_is_climbed_to_the_top() {
    let mut link = Simulated::new(500.0);
    link.pass(4).carries = 10_000.0;
    link.pass(16);
    assert_eq!(link.climb.rung(), 0, "{:?}", link.moves);
    let before = link.moves.len();
    assert_eq!(link.pass(600).moves.len(), before);
}

#[test]
fn loss_of_the_links_own_does_not_keep_it_down() {
    let mut link = Simulated::new(10_000.0);
    link.loses = 0.2;
    link.pass(60);
    assert_eq!(link.climb.rung(), 0, "{:?}", link.moves);
    assert!(link.moves.len() <= 4, "{:?}", link.moves);
}

#[test]
fn a_key_frame_lost_in_the_queue_is_sent_again() {
    let mut link = Simulated::new(300.0);
    link.pass(1);
    assert_eq!(link.climb.rung(), 2);
    let reading = |loss| Some(Reading { delivered: 250.0, loss, queue: Duration::ZERO, span: SPAN });
    let since = link.climb.moved;
    assert!(!link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(250)));
    assert!(link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(750)));
    assert!(!link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(1000)));
    assert!(!link.climb.needs_key_frame(reading(0.0), since + Duration::from_millis(1500)));
    assert!(!link.climb.needs_key_frame(reading(0.2), since + REPAIR));
}

#[test]
fn a_choice_is_kept_whatever_the_link_does() {
    let mut link = Simulated::new(500.0);
    let now = link.now;
    assert_eq!(link.climb.choose(Quality::High, now), None);
    assert!(link.pass(20).moves.is_empty());
    let now = link.now;
    assert_eq!(link.climb.choose(Quality::Low, now), Some(2));
    assert_eq!(link.climb.choose(Quality::Medium, now), Some(1));
    assert_eq!(link.climb.choose(Quality::Auto, now), None);
    link.pass(3);
    assert_eq!(link.climb.rung(), 2);
}

#[test]
fn a_ladder_of_one_rung_has_no_moves() {
    let now = Instant::now();
    let mut climb = Climb::new(NEEDS[..1].to_vec(), now);
    let full = Reading { delivered: 1.0, loss: 0.9, queue: Duration::from_secs(2), span: SPAN };
    assert_eq!(climb.look(Some(full), &[0.0], now + SPAN), None);
    assert_eq!(climb.wants(), NEEDS[0].least, "never below its floor");
    assert_eq!(climb.choose(Quality::Low, now), None);
    assert_eq!(climb.wants(), NEEDS[0].most, "a choice is for the whole of it");
}

#[test]
fn a_link_that_narrows_a_little_lowers_the_bit_rate_and_keeps_the_size() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 1800.0;
    assert_eq!(link.pass(1).gets(), 1440.0);
    link.pass(60);
    assert!(link.moves.is_empty(), "{:?}", link.moves);
    assert!((1440.0..=1440.0 * RAISE.0).contains(&link.gets()), "{}", link.gets());
    link.carries = 10_000.0;
    link.pass(130);
    assert_eq!((link.gets(), link.moves.len()), (2200.0, 0), "it rises again");
}

#[test]
fn a_link_between_two_rungs_gets_the_upper_one_with_less() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 1300.0;
    link.pass(60);
    let moves: Vec<usize> = link.moves.iter().map(|(_, rung)| *rung).collect();
    assert_eq!(moves, [1, 0], "away from a link that is much too full, and back with less");
    assert!((1140.0..=1300.0 * RAISE.0).contains(&link.gets()), "{}", link.gets());
    link.carries = 10_000.0;
    link.pass(130);
    assert_eq!((link.gets(), link.moves.len()), (2200.0, 2), "it rises again");
}

#[test]
fn more_than_a_link_was_full_at_waits() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 1300.0;
    link.pass(6).over = 0;
    assert_eq!((link.climb.rung(), link.gets()), (0, 1140.0));
    assert_eq!(
        (link.pass(4).over, link.gets()),
        (0, 1140.0),
        "the trial of the rung has passed; no more is tried at once"
    );
    assert!(link.pass(2).over > 0);
}

#[test]
fn trials_of_a_bit_rate_that_fail_grow_rare_and_cost_little() {
    let mut link = Simulated::new(1500.0);
    link.pass(15);
    (link.over, link.moves) = (0, Vec::new());
    link.pass(600);
    assert!((4..=20).contains(&link.over), "too much was sent at {} looks of 2400", link.over);
    assert!(link.climb.rung() == 0 && link.moves.is_empty(), "{:?}", link.moves);
}

#[test]
fn others_on_the_rung_are_cost_no_bit_rate() {
    let mut link = Simulated::new(10_000.0);
    link.held = [2200.0, 0.0, 0.0];
    link.pass(10).carries = 1800.0;
    link.pass(2);
    assert_eq!(link.moves, [(10_250, 1)], "it moves down, alone");
    // Who stays lowers it to what he needs himself, which is enough for this one.
    let mut link = Simulated::new(10_000.0);
    link.held = [1500.0, 0.0, 0.0];
    link.pass(10).carries = 1800.0;
    link.pass(2);
    assert_eq!((link.moves.len(), link.gets()), (0, 1500.0), "{:?}", link.moves);
}

#[test]
fn who_is_still_full_soon_after_moves() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 1800.0;
    link.pass(1).carries = 1280.0;
    link.pass(2);
    assert_eq!(link.moves, [(11_750, 1)]);
    assert_eq!(Simulated::new(1800.0).pass(2).moves, [(250, 1)]);
    // At the bottom there is nowhere to move to.
    let mut link = Simulated::new(200.0);
    link.pass(4);
    assert!(link.climb.rung() == 2 && link.gets() <= 200.0, "{} {:?}", link.gets(), link.moves);
}

#[test]
fn after_a_gap_without_anything_it_climbs_as_from_nowhere() {
    let mut link = Simulated::new(10_000.0);
    let gone = Reading { delivered: 0.0, loss: 1.0, queue: Duration::ZERO, span: SPAN };
    link.now += Duration::from_secs(5);
    assert_eq!(link.climb.look(Some(gone), &link.held, link.now), Some(2));
    link.now += SETTLE;
    assert_eq!(link.climb.look(Some(gone), &link.held, link.now), None);
    assert_eq!(link.gets(), NEEDS[2].most, "nothing is known of it");
    link.pass(30);
    assert_eq!((link.climb.rung(), link.gets()), (0, 2200.0), "{:?}", link.moves);
}

#[test]
fn a_full_link_is_given_less_whatever_arrived() {
    let now = Instant::now();
    let mut climb = Climb::new(NEEDS.to_vec(), now);
    let full = Reading { delivered: 9000.0, loss: 0.0, queue: FULL.0 * 2, span: SPAN };
    for (look, wants) in [(1, 1760.0), (2, 1408.0)] {
        assert_eq!(climb.look(Some(full), &[0.0; 3], now + CALM * look), None);
        assert!((climb.wants() - wants).abs() < 0.1, "{}", climb.wants());
    }
}

#[test]
fn who_cannot_carry_a_rung_does_not_speak_for_it() {
    let now = Instant::now();
    let climb = Climb::new(NEEDS.to_vec(), now);
    let reading = |delivered, queue| Some(Reading { delivered, loss: 0.0, queue, span: SPAN });
    assert_eq!(climb.will_want(reading(1000.0, Duration::ZERO)), 2200.0);
    assert_eq!(climb.will_want(reading(1000.0, FULL.0 * 2)), 0.0);
    assert_eq!(climb.will_want(reading(2000.0, FULL.0 * 2)), 1600.0);
    assert_eq!(climb.will_want(None), 2200.0);
}

/// Ten minutes of pictures whose bit rate swings by a third, from an encoder that follows slowly, over a link with a queue
/// of 200 ms; what is lost is sent again. Moves, and the share of the time on the top rung.
fn swinging(carries: f64) -> (usize, f64) {
    let (began, mut moves, mut top) = (Instant::now(), 0, 0);
    let mut climb = Climb::new(NEEDS.to_vec(), began);
    let (mut rate, mut queue, mut lost) = (NEEDS[0].most, 0.0_f64, 0.0_f64);
    let mut seen: Vec<(f64, f64)> = Vec::new();
    for look in 1..=2400 {
        let at = f64::from(look) / 4.0;
        let swing = 1.0 + 0.3 * (at / 3.7).sin() * (at / 11.0).cos();
        rate += (climb.wants() * swing - rate) * 0.3;
        let sent: f64 = rate / 4.0;
        let waits: f64 = queue + sent + lost.min(sent / 2.0);
        let out = waits.min(carries / 4.0);
        queue = (waits - out).min(carries / 5.0);
        lost = waits - out - queue;
        seen.push((out, lost));
        let last = &seen[seen.len().saturating_sub(4)..];
        let (arrived, missed) = last.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let half = &last[last.len().saturating_sub(2)..];
        let reading = Reading {
            delivered: half.iter().map(|one| one.0).sum::<f64>() * 4.0 / half.len() as f64,
            loss: missed / (arrived + missed),
            queue: Duration::from_secs_f64(queue / carries),
            span: super::super::link::WINDOW,
        };
        if climb.look(Some(reading), &[0.0; 3], began + Duration::from_millis(250) * look).is_some() {
            rate = climb.wants() * swing;
            seen.clear();
            moves += 1;
        }
        top += usize::from(climb.rung() == 0);
    }
    (moves, top as f64 / 2400.0)
}

#[test]
fn pictures_whose_bit_rate_swings_toss_nobody_about() {
    for (carries, share) in [(500.0, 0.0), (1300.0, 0.0), (1500.0, 0.5), (1800.0, 0.8), (2700.0, 1.0)] {
        let (moves, top) = swinging(carries);
        println!("{carries} kbit/s: {moves} moves, {:.0} % at the top", top * 100.0);
        assert!(moves <= 30 && top >= share, "{carries} kbit/s: {moves} moves, {:.0} % at the top", top * 100.0);
    }
}
