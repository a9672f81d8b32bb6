use super::*;
use crate::api::{ConfigState, Connections, HealthStatus};
use crate::lvs::Traffic;

fn server(cluster: &str, name: &str, times: u64) -> Server {
    Server {
        cluster: cluster.into(),
        name: name.into(),
        address: [10, 0, 0, 11].into(),
        state: ServerState::Up,
        weight: 1,
        effective_weight: 1,
        sessions: 12,
        control: Some(Connections { active: 11, inactive: 3 }),
        data: Some(Connections { active: 2, inactive: 40 }),
        control_traffic: Some(Traffic { connections: 5 * times, bytes_in: 1000 * times, ..Traffic::default() }),
        data_traffic: Some(Traffic { bytes_in: 99_000 * times, bytes_out: 2_500_000 * times, ..Traffic::default() }),
        landed: Some(201 * times),
        misdirected: Some(0),
        health: None,
        drained_by: None,
        max_sessions: None,
        full: false,
        agent: None,
        host: None,
        host_error: None,
    }
}

fn cluster(name: &str, forwarding: &str, servers: Vec<Server>) -> ClusterStatus {
    ClusterStatus {
        name: name.into(),
        vips: vec![[192, 0, 2, 10].into()],
        ports: vec![21],
        forwarding: forwarding.into(),
        scheduler: "wlc".into(),
        advertise: None,
        servers,
        unresolved: Vec::new(),
    }
}

/// After so many times two seconds.
fn sample(times: u64) -> Sample {
    let busy = Server { sessions: 123_456, ..server("downloads", "ftp2", 3 * times) };
    let down = Server {
        state: ServerState::Down,
        effective_weight: 0,
        misdirected: Some(7),
        health: Some(HealthStatus {
            state: "down".into(),
            since: 0.0,
            step: Some("login".into()),
            error: Some("530 \x1b[2JLogin incorrect.".into()),
            seconds: BTreeMap::new(),
        }),
        ..server("downloads", "ftp3", 0)
    };
    let drained = Server {
        state: ServerState::Drained,
        data: None,
        misdirected: None,
        landed: None,
        control_traffic: None,
        ..server("mirror", "a-server-with-a-very-long-name", times)
    };
    let status = Status {
        version: "0.1.0".into(),
        uptime_seconds: 192 + 2 * times,
        config: ConfigState { file: "/etc/ftpdirector/config.yaml".into(), reload_good: true, read_at: 0.0 },
        drift: 3,
        kernel_error: None,
        // the sum of the rows
        sessions: 12 + 123_456 + 12 + 12 + 12,
        pinholes: 5,
        held: 0,
        clusters: vec![
            cluster("downloads", "nat", vec![server("downloads", "ftp1", times), busy, down]),
            cluster("mirror", "dr", vec![server("mirror", "m1", times), drained]),
        ],
    };
    Sample { at: 100.0 + 2.0 * times as f64, status }
}

fn text(lines: &[Line]) -> String {
    let line =
        |line: &Line| line.iter().map(|(_, piece)| piece.as_str()).collect::<String>().trim_end().to_owned() + "\n";
    lines.iter().map(line).collect()
}

fn shown(view: &PageView, size: (usize, usize)) -> Vec<Line> {
    let (before, now) = (sample(0), sample(1));
    screen(&Known { now: &now, before: Some(&before), lost: None }, view, size)
}

#[test]
fn a_page_of_80_by_24() {
    let page = shown(&PageView::default(), (80, 24));
    assert_eq!(page.len(), 24);
    assert!(page.iter().all(|line| line.iter().map(|(_, text)| text.chars().count()).sum::<usize>() <= 80));
    let expected = "\
ftpdirector 0.1.0, up 3m14s: 123504 sessions, 5 pinholes, 0 held, drift 3
/etc/ftpdirector/config.yaml

NAME               STATE   WEIGHT  SESS  NEW/s  DATA DATA/s   IN/s  OUT/s MISDIR
downloads nat      2/3 up          123k   10.0     6    402   200k   5.0M      7
  ftp1             up           1    12    2.5     2    101  50000   1.2M      0
  ftp2             up           1  123k    7.5     2    302   150k   3.8M      0
  ftp3             down         0    12    0.0     2    0.0      0      0      7
    health check: login: 530 ?[2JLogin incorrect.
mirror dr          1/2 up            24    2.5     ?    101  50000      -      ?
  m1               up           1    12    2.5     2    101  50000      -      0
  a-server-with-a~ drained      1    12      -     ?      -      -      -      ?
";
    assert_eq!(text(&page[..12]), expected);
    let manual = include_str!("../../../deploy/man/ftpdirector.8.in");
    assert!(manual.contains(&format!(".Bd -literal\n{expected}.Ed\n")), "the manual shows another page");
    assert_eq!(text(&page[23..]), "q quit  c cluster: all  sorted by file: f s n d b m\n");
}

#[test]
fn what_should_not_be_is_painted() {
    let page = shown(&PageView::default(), (80, 24));
    let painted = |paint: Paint| {
        let pieces = page.iter().flatten().filter(|(found, _)| *found == paint);
        pieces.map(|(_, text)| text.trim()).collect::<Vec<_>>()
    };
    assert_eq!(painted(Paint::Alarm), ["7", "down", "7", "health check: login: 530 ?[2JLogin incorrect."]);
    assert_eq!(painted(Paint::Notice), ["drained"]);
    let (mut now, before) = (sample(1), sample(0));
    now.status.config.reload_good = false;
    now.status.kernel_error = Some("nft: ENOBUFS".into());
    let lines = whole(&Known { now: &now, before: Some(&before), lost: None }, &PageView::default(), 80);
    assert_eq!((lines[1][0].0, &lines[2][0]), (Paint::Alarm, &(Paint::Alarm, "KERNEL: nft: ENOBUFS".to_owned())));
    let lines = whole(&Known { now: &now, before: None, lost: Some("no daemon answers") }, &PageView::default(), 80);
    assert_eq!(lines[2][0].1, "trying again: no daemon answers");
}

#[test]
fn sorted_filtered_scrolled() {
    let names = |view: &PageView, size| -> Vec<String> {
        let page = text(&shown(view, size));
        let rows = page.lines().skip(4).filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        rows.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let view = |order, cluster: &str| PageView { order, cluster: Some(cluster.into()), first: 0 };
    let by = |order| names(&view(order, "downloads"), (80, 24));
    assert_eq!(by(Order::File), ["ftp1", "ftp2", "ftp3"]);
    assert_eq!(by(Order::Sessions), ["ftp2", "ftp1", "ftp3"]);
    assert_eq!(by(Order::Bytes), ["ftp2", "ftp1", "ftp3"]);
    assert_eq!(by(Order::Misdirected), ["ftp3", "ftp1", "ftp2"]);
    assert_eq!(names(&view(Order::New, "mirror"), (80, 24)), ["m1", "a-server-with-a~"]);
    // Five lines of eight: more below; past the end is the end.
    let small = (80, 10);
    assert!(text(&shown(&PageView::default(), small)).contains("3 more below"));
    let end = shown(&PageView { first: 99, ..PageView::default() }, small);
    assert!(text(&end).contains("a-server") && !text(&end).contains("below"), "{}", text(&end));
    assert_eq!(end.len(), 10);
    for size in [(1, 1), (0, 0), (20, 3), (300, 100)] {
        assert_eq!(shown(&PageView::default(), size).len(), size.1);
    }
}

#[test]
fn a_restarted_daemon_has_no_rates_at_first() {
    let (before, mut now) = (sample(5), sample(1));
    now.at = before.at + 2.0;
    let lines = whole(&Known { now: &now, before: Some(&before), lost: None }, &PageView::default(), 80);
    let row = "ftp1             up           1    12      -     2      -      -      -      0";
    assert!(text(&lines).contains(row), "{}", text(&lines));
}

#[test]
fn numbers_are_short() {
    for (number, expected) in [(0, "0"), (99_999, "99999"), (100_000, "100k"), (999_499, "999k"), (999_500, "1.0M")] {
        assert_eq!(count(number), expected);
    }
    assert_eq!((count(12_345_678), count(u64::MAX)), ("12M".into(), "18447P".into()));
    let rates = [0.04, 99.96, 123_456.0].map(each_second);
    assert_eq!(rates, ["0.0", "100", "123k"]);
}
