use super::*;

/// A link that carries so many kbit/s; the estimate follows it, and finds more in steps, as probes do.
struct Simulated {
    climb: Climb,
    now: Instant,
    carries: f64,
    estimate: f64,
    loses: f64,
    /// What others hold each rung at.
    held: [f64; 3],
    /// Looks at which more was sent than the link carries.
    over: usize,
    moves: Vec<(u128, usize)>,
    /// When the estimate was to begin anew, and from what.
    anew: Vec<(u128, Anew)>,
    began: Instant,
}

const NEEDS: [Need; 3] =
    [Need { most: 2200.0, least: 1140.0 }, Need { most: 730.0, least: 400.0 }, Need { most: 250.0, least: 165.0 }];
/// More than the top rung takes is not looked for.
const SOUGHT: f64 = 2750.0;

impl Simulated {
    fn new(carries: f64) -> Self {
        let now = Instant::now();
        let climb = Climb::new(NEEDS.to_vec(), now);
        let (loses, held, over, moves, anew) = (0.0, [0.0; 3], 0, Vec::new(), Vec::new());
        Self { climb, now, carries, estimate: SOUGHT.min(carries), loses, held, over, moves, anew, began: now }
    }

    fn reading(&self, carries: f64) -> Reading {
        Reading { carries, sent: self.gets(), delivered: self.gets().min(carries), loss: self.loses, round_trip: None }
    }

    /// So many seconds pass, with a look every quarter of one.
    fn pass(&mut self, seconds: u32) -> &mut Self {
        for _ in 0..seconds * 4 {
            self.now += Duration::from_millis(250);
            let bounds = NEEDS[self.climb.rung()];
            assert!((bounds.least..=bounds.most).contains(&self.climb.wants()), "{}", self.climb.wants());
            self.over += usize::from(self.gets() > self.carries);
            self.estimate = self.carries.min(SOUGHT).min(self.estimate * 1.25);
            if let Some(anew) = self.climb.anew(Some(self.reading(self.estimate)), self.now) {
                self.anew.push((self.now.duration_since(self.began).as_millis(), anew));
            } else if let Some(rung) = self.climb.look(Some(self.reading(self.estimate)), &self.held, self.now) {
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
fn a_narrow_link_is_left_within_a_second_for_the_rung_it_carries() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 900.0;
    assert_eq!(link.pass(2).moves, [(11_000, 1)]);
    let mut link = Simulated::new(300.0);
    assert_eq!(link.pass(2).moves, [(1000, 2)]);
    link.pass(600);
    assert_eq!((link.moves.len(), link.gets()), (1, 250.0), "nothing more is tried on it");
}

#[test]
fn where_packets_are_lost_it_is_left_at_once() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 900.0;
    link.loses = 0.3;
    assert_eq!(link.pass(1).moves, [(10_250, 1)]);
}

#[test]
fn an_estimate_that_falls_below_what_arrives_is_made_anew() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).anew.clear();
    let look = |link: &mut Simulated, reading: Reading| {
        link.now += Duration::from_millis(250);
        let moved = link.climb.look(Some(reading), &link.held, link.now);
        (moved, link.climb.anew(Some(reading), link.now))
    };
    // A link of 1500: much is lost, and congestion control thinks of a sixth of what arrives.
    let lossy = Reading { carries: 260.0, sent: 2500.0, delivered: 1450.0, loss: 0.42, round_trip: None };
    assert_eq!(look(&mut link, lossy), (None, None));
    assert!((link.climb.wants() - 1305.0).abs() < 0.1, "less of the same rung: {}", link.climb.wants());
    // The reports of what had been sent before move it no further down.
    let late = Reading { carries: 250.0, sent: 1800.0, delivered: 1000.0, loss: 0.44, round_trip: None };
    for _ in 0..3 {
        assert_eq!(look(&mut link, late), (None, None));
    }
    let calm = Reading { carries: 250.0, sent: 1290.0, delivered: 1290.0, loss: 0.0, round_trip: None };
    let (moved, anew) = look(&mut link, calm);
    assert_eq!((moved, anew), (None, Some(Anew { from: 1450.0, seeks: false })));
    assert!((link.climb.wants() - 1305.0).abs() < 0.1);
}

#[test]
fn an_estimate_that_falls_though_all_arrives_is_doubted_once() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10);
    let look = |link: &mut Simulated, delivered: f64| {
        link.now += Duration::from_millis(250);
        let low = Reading { carries: 1900.0, sent: 2200.0, delivered, loss: 0.0, round_trip: None };
        let anew = link.climb.anew(Some(low), link.now);
        (anew, anew.map_or_else(|| link.climb.look(Some(low), &link.held, link.now), |_| None))
    };
    let ticks: Vec<_> = (0..5).map(|_| look(&mut link, 2200.0).0).collect();
    assert_eq!(ticks, [None, None, None, None, Some(Anew { from: 2200.0, seeks: true })]);
    assert_eq!(link.gets(), 2200.0);
    // Falling again it is believed, and at once where something is in the way.
    for _ in 0..4 {
        look(&mut link, 2200.0);
    }
    assert!((link.gets() - 1980.0).abs() < 0.1, "{}", link.gets());
    let mut link = Simulated::new(10_000.0);
    link.pass(10);
    for _ in 0..4 {
        look(&mut link, 2000.0);
    }
    assert!((link.gets() - 1800.0).abs() < 0.1, "{}", link.gets());
}

#[test]
fn a_bad_link_costs_its_rung_no_key_frames_without_end() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10);
    // A picture that needs little, on a link that loses a fifth whatever is sent.
    let bad = Reading { carries: 100.0, sent: 90.0, delivered: 72.0, loss: 0.2, round_trip: None };
    let mut asked = Vec::new();
    for tick in 0..400 {
        link.now += Duration::from_millis(250);
        if link.climb.anew(Some(bad), link.now).is_none() {
            link.climb.look(Some(bad), &link.held, link.now);
        }
        asked.extend(link.climb.needs_key_frame(Some(bad), link.now).then_some(tick));
    }
    assert!(!asked.is_empty() && asked.iter().all(|tick| *tick < 40), "{asked:?}");
}

#[test]
fn after_silence_more_is_looked_for_at_once() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10);
    let silence = Reading { carries: 0.0, sent: 2200.0, delivered: 0.0, loss: 1.0, round_trip: None };
    for _ in 0..40 {
        link.now += Duration::from_millis(250);
        assert_eq!(link.climb.anew(Some(silence), link.now), None);
        link.climb.look(Some(silence), &link.held, link.now);
    }
    assert_eq!(link.climb.rung(), 2);
    link.now += Duration::from_millis(250);
    let again = Reading { carries: 45.0, sent: 200.0, delivered: 200.0, loss: 0.0, round_trip: None };
    assert_eq!(link.climb.anew(Some(again), link.now), Some(Anew { from: NEEDS[2].least, seeks: true }));
}

#[test]
fn more_is_looked_for_while_more_is_wanted() {
    let mut link = Simulated::new(300.0);
    link.pass(33);
    assert_eq!(link.climb.rung(), 2);
    let times: Vec<u128> = link.anew.iter().filter(|(_, anew)| anew.seeks).map(|(at, _)| *at / 1000).collect();
    assert_eq!(times.len(), 6, "after it fled every five seconds: {times:?}");
    let mut link = Simulated::new(10_000.0);
    assert!(link.pass(60).anew.is_empty(), "nothing more is wanted");
    link.climb.choose(Quality::Low, link.now);
    assert!(link.pass(60).anew.is_empty(), "nor by who chose it");
}

#[test]
fn a_dip_of_the_estimate_is_no_narrow_link() {
    let mut link = Simulated::new(10_000.0);
    for _ in 0..100 {
        link.pass(1).estimate = 600.0;
        let dip = link.reading(600.0);
        link.now += Duration::from_millis(250);
        assert_eq!(link.climb.look(Some(dip), &link.held, link.now), None);
        link.estimate = SOUGHT;
    }
    assert!(link.moves.is_empty() && link.gets() == NEEDS[0].most);
}

#[test]
fn a_link_that_widens_is_climbed_to_the_top() {
    let mut link = Simulated::new(300.0);
    link.pass(4).carries = 10_000.0;
    link.pass(12);
    assert_eq!((link.climb.rung(), link.gets()), (0, 2200.0), "{:?}", link.moves);
    let before = link.moves.len();
    assert_eq!(link.pass(600).moves.len(), before);
}

#[test]
fn who_flees_from_where_it_climbed_climbs_ever_more_seldom() {
    let mut link = Simulated::new(10_000.0);
    // A link that shows more than it carries for as long as nothing is sent.
    for _ in 0..1200 {
        link.carries = if link.climb.rung() == 0 { 700.0 } else { 2000.0 };
        link.pass(1);
    }
    let climbs = link.moves.iter().filter(|(_, rung)| *rung == 0).count();
    assert!((4..=16).contains(&climbs), "{climbs} in 20 minutes: {:?}", link.moves);
}

#[test]
fn pictures_that_need_little_say_nothing_of_a_link_that_carries_them() {
    let mut link = Simulated::new(10_000.0);
    for _ in 0..40 {
        link.now += Duration::from_millis(250);
        let idle = Reading { carries: 170.0, sent: 200.0, delivered: 200.0, loss: 0.0, round_trip: None };
        assert_eq!(link.climb.look(Some(idle), &link.held, link.now), None);
        assert_eq!(link.gets(), NEEDS[0].most);
    }
}

#[test]
fn loss_alone_does_not_keep_it_down() {
    let mut link = Simulated::new(10_000.0);
    link.loses = 0.2;
    assert!(link.pass(60).moves.is_empty(), "{:?}", link.moves);
}

#[test]
fn a_key_frame_lost_in_the_queue_is_sent_again() {
    let mut link = Simulated::new(300.0);
    link.pass(2);
    assert_eq!(link.climb.rung(), 2);
    let reading = |loss| Some(Reading { carries: 250.0, sent: 250.0, delivered: 250.0, loss, round_trip: None });
    let since = link.climb.moved;
    assert!(!link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(250)));
    assert!(link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(750)));
    assert!(!link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(1000)));
    assert!(!link.climb.needs_key_frame(reading(0.0), since + Duration::from_millis(1500)));
    assert!(!link.climb.needs_key_frame(reading(0.2), since + REPAIR));
    // Fleeing on, without another move, is no end of it.
    let (full, now) =
        (Reading { carries: 100.0, delivered: 100.0, loss: 0.3, ..reading(0.3).expect("made") }, since + 2 * REPAIR);
    assert_eq!(link.climb.look(Some(full), &[0.0; 3], now), None);
    assert!(link.climb.needs_key_frame(reading(0.2), now + Duration::from_millis(250)));
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
    link.carries = 200.0;
    link.pass(3);
    assert_eq!(link.climb.rung(), 2);
}

#[test]
fn a_ladder_of_one_rung_has_no_moves() {
    let now = Instant::now();
    let mut climb = Climb::new(NEEDS[..1].to_vec(), now);
    let full = Reading { carries: 1.0, sent: 2200.0, delivered: 1.0, loss: 0.9, round_trip: None };
    assert_eq!(climb.look(Some(full), &[0.0], now + DIP), None);
    assert_eq!(climb.wants(), NEEDS[0].least, "never below its floor");
    assert_eq!(climb.choose(Quality::Low, now), None);
    assert_eq!(climb.wants(), NEEDS[0].most, "a choice is for the whole of it");
}

#[test]
fn a_link_that_narrows_a_little_lowers_the_bit_rate_and_keeps_the_size() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 1800.0;
    assert_eq!(link.pass(1).gets(), 1620.0);
    link.over = 0;
    link.pass(60);
    assert_eq!((link.moves.len(), link.over, link.gets()), (0, 0, 1620.0));
    link.carries = 10_000.0;
    link.pass(5);
    assert_eq!((link.gets(), link.moves.len()), (2200.0, 0), "it rises again");
}

#[test]
fn a_link_between_two_rungs_gets_the_upper_one_with_less() {
    let mut link = Simulated::new(10_000.0);
    link.pass(10).carries = 1400.0;
    link.pass(60);
    assert_eq!(link.moves.len(), 0, "{:?}", link.moves);
    assert!((1190.0..=1400.0).contains(&link.gets()), "{}", link.gets());
    // From below as well.
    let mut link = Simulated::new(600.0);
    link.pass(10).carries = 1400.0;
    link.pass(20);
    assert_eq!(link.climb.rung(), 0, "{:?}", link.moves);
    assert!((1190.0..=1400.0).contains(&link.gets()), "{}", link.gets());
}

#[test]
fn others_on_the_rung_are_cost_no_bit_rate() {
    let mut link = Simulated::new(10_000.0);
    link.held = [2200.0, 0.0, 0.0];
    link.pass(10).carries = 1800.0;
    link.pass(2);
    assert_eq!(link.moves, [(11_000, 1)], "it moves down, alone");
    // Who stays lowers it to what he needs himself, which is enough for this one.
    let mut link = Simulated::new(10_000.0);
    link.held = [1500.0, 0.0, 0.0];
    link.pass(10).carries = 1800.0;
    link.pass(2);
    assert_eq!((link.moves.len(), link.gets()), (0, 1620.0), "{:?}", link.moves);
}

#[test]
fn at_the_bottom_there_is_nowhere_to_move_to() {
    let mut link = Simulated::new(200.0);
    link.pass(4);
    assert!(link.climb.rung() == 2 && link.gets() <= 200.0, "{} {:?}", link.gets(), link.moves);
}

#[test]
fn a_gap_without_anything_leads_to_the_bottom_and_back() {
    let mut link = Simulated::new(10_000.0);
    link.now += Duration::from_secs(5);
    let gone = Reading { carries: 0.0, sent: 2200.0, delivered: 0.0, loss: 1.0, round_trip: None };
    assert_eq!(link.climb.look(Some(gone), &link.held, link.now), Some(2));
    link.pass(12);
    assert_eq!((link.climb.rung(), link.gets()), (0, 2200.0), "{:?}", link.moves);
}

#[test]
fn who_cannot_carry_a_rung_does_not_speak_for_it() {
    let climb = Climb::new(NEEDS.to_vec(), Instant::now());
    let reading = |carries| Some(Reading { carries, sent: 2200.0, delivered: carries, loss: 0.0, round_trip: None });
    assert_eq!(climb.will_want(reading(2750.0)), 2200.0);
    assert_eq!(climb.will_want(reading(1000.0)), 0.0);
    assert_eq!(climb.will_want(reading(2000.0)), 1800.0);
    assert_eq!(climb.will_want(None), 2200.0);
}
