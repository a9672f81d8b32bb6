use super::seen::SERVERS;
use super::*;
use crate::api::{HealthStatus, Server, Status, UnresolvedServer};

fn page(status: &Status, hour: &Hour) -> String {
    render(&Seen { status, findings: None, hour, at: sample::at(), now: sample::NOW, host: "lb1" })
}

/// Every element is closed in its order, and no attribute is without quotes: what an HTML parser needs not guess.
fn assert_well_formed(page: &str) {
    const EMPTY: [&str; 4] = ["meta", "br", "path", "!DOCTYPE"];
    let mut open = Vec::new();
    let style = page.find("<style>").expect("a style")..page.find("</style>").expect("its end");
    for (at, _) in page.match_indices('<').filter(|(at, _)| !style.contains(at) || *at == style.start) {
        let tag = &page[at + 1..at + page[at..].find('>').expect("an end")];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "at …{}", &page[at.saturating_sub(80)..at]);
        } else if !EMPTY.contains(&name) {
            open.push(name);
        }
        assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
        assert_eq!(
            tag.matches('=').count() * 2,
            tag.matches('"').count()
                + tag.matches("width=device-width").count() * 2
                + tag.matches("initial-scale=1").count() * 2,
            "{tag}"
        );
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_failing_server_is_said_with_its_step() {
    let servers = vec![sample::server("downloads", "ftp1"), sample::down("downloads", "ftp2")];
    let status = sample::status(vec![sample::cluster("downloads", servers)]);
    let page = page(&status, &sample::hour(&["downloads"], 0));
    assert_well_formed(&page);
    for part in [
        "<title>⚠ ftpdirector on lb1</title>",
        "<li class=\"alarm\"><span class=\"grade\">Alarm</span> <b>downloads/ftp2</b> Down for 5 min: password: the server said 530</li>",
        "<dt>Servers up</dt><dd>1 of 2</dd>",
        "<th scope=\"row\" rowspan=\"2\">ftp2</th><td><span class=\"state down\">down</span> \
         <span class=\"quiet weight\">weight 0 of 10</span></td><td class=\"n\">3</td>",
        "<td colspan=\"4\"><span class=\"why\">password: the server said 530</span><br>\
         <span class=\"quiet\">down for 5 min, last check 3.0 s</span></td>",
        "announced data connections did not come in the last 15 minutes",
        "<meta http-equiv=\"refresh\" content=\"15\">",
        "192.0.2.10, 2001:db8::10, port 21, nat, wlc",
    ] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
    assert!(!page.contains("All is well"), "{page}");
    // Each chart has its title and its description, and nothing is said by color alone.
    for part in ["role=\"img\"", "<title id=", "<desc id=\"", "<figcaption>"] {
        assert_eq!(page.matches(part).count(), 4, "{part}");
    }
    assert_eq!(page.matches("scope=\"col\"").count(), 5);
}

#[test]
fn a_director_that_is_well_says_so() {
    let status = sample::status(vec![sample::cluster("downloads", vec![sample::server("downloads", "ftp1")])]);
    let page = page(&status, &Hour::default());
    assert_well_formed(&page);
    assert!(page.contains("All is well.") && page.contains("<title>ftpdirector on lb1</title>"), "{page}");
    assert!(page.contains("No history is kept"), "{page}");
}

#[test]
fn a_name_without_an_address_is_said_and_no_address() {
    let (host, error) = (Some("ftp1.example.net".into()), Some("10.0.0.99 is a VIP".into()));
    let server = Server { host, host_error: error, ..sample::server("downloads", "ftp1") };
    let unresolved =
        UnresolvedServer { name: "ftp2".into(), host: "ftp2.example.net".into(), error: "10.0.0.98".into() };
    let cluster = ClusterStatus { unresolved: vec![unresolved], ..sample::cluster("downloads", vec![server]) };
    let page = page(&sample::status(vec![cluster]), &Hour::default());
    assert_well_formed(&page);
    for part in [
        "<b>downloads/ftp1</b> Its name has no address any more, and the last one goes on.",
        "<b>downloads/ftp2</b> Left out: its name has no address.",
    ] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
    assert!(!page.contains("10.0.0.9") && !page.contains("example.net"), "{page}");
}

/// Everything that is not written in this room, with markup in it.
#[test]
fn names_and_errors_are_escaped() {
    let evil = |what: &str| format!("<script>alert('{what}')</script>\"&\u{1b}[2J\u{202e}");
    let mut server = sample::down(&evil("cluster"), &evil("server"));
    if let Some(HealthStatus { state, step, error, .. }) = &mut server.health {
        (*state, *step, *error) = (evil("state"), Some(evil("step")), Some("<script>no</script>".into()));
    }
    let mut cluster = sample::cluster(&evil("cluster"), vec![server]);
    (cluster.forwarding, cluster.scheduler) = (evil("forwarding"), evil("scheduler"));
    let mut status = sample::status(vec![cluster]);
    (status.version, status.kernel_error) = (evil("version"), Some(evil("kernel")));
    let (name, host) = (evil("cluster"), evil("host"));
    let hour = sample::hour(&[&name], 30);
    let page =
        render(&Seen { status: &status, findings: None, hour: &hour, at: sample::at(), now: sample::NOW, host: &host });
    assert_well_formed(&page);
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains(['\u{1b}', '\u{202e}']), "{page}");
    for what in ["cluster", "server", "state", "step", "forwarding", "scheduler", "version", "kernel", "host"] {
        assert!(
            page.contains(&format!("&lt;script&gt;alert(&#39;{what}&#39;)&lt;/script&gt;&quot;&amp;")),
            "no {what}"
        );
    }
}

/// The words of a server and the addresses behind the director stay inside.
#[test]
fn nobody_reads_more_than_they_need() {
    let status = sample::status(vec![sample::cluster("downloads", vec![sample::down("downloads", "ftp1")])]);
    let page = page(&status, &sample::hour(&["downloads"], 0));
    for hidden in ["ftpcheck", "cannot log in", "10.0.0.11", "/etc/ftpdirector"] {
        assert!(!page.contains(hidden), "{hidden} in\n{page}");
    }
    for active in ["<script", "javascript:", " on", "http://", "https://", "src=", "style="] {
        let after_style = page.split("</style>").nth(1).expect("a body");
        let found = after_style.split('<').filter_map(|tag| tag.split('>').next()).any(|tag| tag.contains(active));
        assert!(!found, "{active} in a tag of\n{page}");
    }
}

#[test]
fn a_hundred_clusters_make_a_bounded_page() {
    let name = |number: usize| format!("cluster-with-a-name-of-32-chars{number:02}");
    let clusters: Vec<ClusterStatus> = (0..100)
        .map(|number| {
            let of = |server: usize| format!("a-server-with-a-long-name-{number}-{server}");
            let mut servers: Vec<_> = (0..20).map(|server| sample::server(&name(number), &of(server))).collect();
            // One of the last, and one beyond what is shown of its cluster.
            if number == 97 {
                servers.extend((20..400).map(|server| sample::server(&name(number), &of(server))));
                servers[399] = sample::down(&name(number), "far-below");
            }
            sample::cluster(&name(number), servers)
        })
        .collect();
    let names: Vec<String> = (0..100).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut status = sample::status(clusters);
    let hour = sample::hour(&names, 0);
    let text = page(&status, &hour);
    assert_well_formed(&text);
    assert_eq!(text.matches("<section").count(), CLUSTERS);
    assert_eq!(text.matches("<th scope=\"row\"").count(), CLUSTERS * SERVERS);
    assert!(text.contains("80 more clusters") && text.contains("380 more servers"), "{text}");
    let first = text.find("<h2").map(|at| &text[at..at + 80]).unwrap_or_default();
    assert!(first.contains(&name(97)) && text.contains(">far-below</th>"), "what fails comes first: {first}");
    assert!(text.len() < 400_000, "{} bytes", text.len());
    // Everything fails: still so many, and not one longer.
    for cluster in &mut status.clusters {
        let of = cluster.name.clone();
        cluster.servers.iter_mut().for_each(|server| *server = sample::down(&of, &server.name.clone()));
        cluster
            .servers
            .iter_mut()
            .filter_map(|server| server.health.as_mut())
            .for_each(|health| health.error = Some("é".repeat(5000)));
    }
    status.kernel_error = Some("x".repeat(1 << 20));
    let text = page(&status, &hour);
    assert!(text.contains("more: <code>ftpdirector status</code>"), "the list of what is wrong ends");
    assert!(text.len() < 600_000, "{} bytes", text.len());
}

#[test]
fn minutes_before_the_start_are_not_nothing() {
    let status = sample::status(vec![sample::cluster("a", vec![sample::server("a", "ftp1")])]);
    let [whole, young] = [0, 40].map(|unknown| page(&status, &sample::hour(&["a"], unknown)));
    assert!(!whole.contains("class=\"unknown\""), "{whole}");
    assert_eq!(young.matches("<path class=\"unknown\" d=\"M0 48v-48h160v48z\"/>").count(), 4, "{young}");
}
