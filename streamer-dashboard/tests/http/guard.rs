//! Who is let in, and what keeps an answer harmless.

use serde_json::json;
use streamer_dashboard::Token;
use streamer_test_servers::Topology;

use crate::bench::{Bench, listeners, orders};

const TOKEN: &str = "a-token-of-32-characters-or-so-12";

#[tokio::test]
async fn every_answer_says_that_nothing_else_may_be_loaded_or_run() {
    let bench = Bench::new(Topology::Embedded, |dashboard| dashboard.hosts(["ops.lan"])).await;
    for (path, host, status) in [
        ("/", "localhost", 200),
        ("/assets/main.js", "ops.lan", 200),
        ("/api/overview", "127.0.0.1", 200),
        ("/api/nothing", "localhost", 404),
        ("/api/overview", "evil.example", 403),
    ] {
        let reply = bench.say("GET", path, &[("Host", host)], "").await;
        assert_eq!(reply.status, status, "{path}");
        let policy = reply.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split("; ").any(|one| one == part), "{path}: {policy}");
        }
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn a_name_that_is_made_to_point_here_is_refused_with_the_flag_that_allows_it() {
    let bench = Bench::new(Topology::Embedded, |dashboard| dashboard.hosts(["ops.lan"])).await;
    let reply = bench
        .say("GET", "/api/session", &[("Host", "evil.example:80")], "")
        .await;
    assert_eq!(reply.status, 403);
    assert!(reply.body.contains("--allow-host evil.example"), "{}", reply.body);
    for host in ["OPS.lan:7878", "localhost:1", "127.0.0.1", "[::1]:7878"] {
        assert_eq!(
            bench.say("GET", "/api/session", &[("Host", host)], "").await.status,
            200,
            "{host}"
        );
    }
}

#[tokio::test]
async fn another_site_cannot_make_a_browser_change_something() {
    let bench = Bench::new(Topology::Redis, |dashboard| dashboard).await;
    orders(&bench).await;
    let body = json!({"filter": {}}).to_string();
    let json = ("Content-Type", "application/json");
    let change = ("X-Streamer-Dashboard", "1");
    let own = format!("http://127.0.0.1:{}", bench.port);
    for (headers, why) in [
        (vec![json], "no header of ours, as a form sends it"),
        (vec![json, change, ("Origin", "http://evil.example")], "another origin"),
        (vec![json, change, ("Origin", "null")], "no origin"),
        (vec![json, change, ("Sec-Fetch-Site", "cross-site")], "another site"),
        (vec![json, change, ("Sec-Fetch-Site", "same-site")], "another port"),
        (vec![json, change, ("Origin", "http://127.0.0.1:1")], "another port"),
    ] {
        let reply = bench.say("POST", "/api/failed/forget", &headers, &body).await;
        assert_eq!(reply.status, 403, "{why}: {}", reply.body);
    }
    let form = [("Content-Type", "text/plain"), change];
    let reply = bench.say("POST", "/api/failed/forget", &form, &body).await;
    assert_eq!(reply.status, 415);
    assert_eq!(bench.streamer.failed().count().await.unwrap(), 2);
    // A question before a change across origins gets no leave.
    let preflight = [
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "POST"),
    ];
    let reply = bench.say("OPTIONS", "/api/failed/forget", &preflight, "").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (403, None));
    let headers = [json, change, ("Origin", &own), ("Sec-Fetch-Site", "same-origin")];
    let reply = bench.say("POST", "/api/failed/forget", &headers, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[tokio::test]
async fn read_only_is_enforced_by_the_server_for_every_change() {
    let change = |dashboard: streamer_dashboard::Dashboard| dashboard.listeners(listeners()).read_only(true);
    let bench = Bench::new(Topology::Redis, change).await;
    let ids = orders(&bench).await;
    for (path, body) in [
        ("/api/failed/forget", json!({"filter": {}})),
        ("/api/failed/retry", json!({"filter": {}})),
        ("/api/archive/restore", json!({"all": true})),
        (
            "/api/group/reset",
            json!({"stream": "order.placed", "group": "billing", "to": "start", "dry_run": false}),
        ),
        ("/api/outbox/retry", json!({"all": true})),
        ("/api/outbox/skip", json!({"event_id": "x"})),
        ("/api/jobs/stop", json!({"id": 1})),
    ] {
        let reply = bench.post(path, body).await;
        assert_eq!(reply.status, 403, "{path}");
        assert!(reply.body.contains("read-only"), "{path}: {}", reply.body);
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let reply = bench
            .say(method, "/api/failed/forget", &[("X-Streamer-Dashboard", "1")], "")
            .await;
        assert_eq!(reply.status, 403, "{method}");
    }
    assert_eq!(bench.streamer.failed().count().await.unwrap(), 2);
    let groups = bench.streamer.engine().groups(&"order.placed".into()).await.unwrap();
    assert_eq!(groups[0].last_delivered_id, ids[0]);
    assert_eq!(bench.json("/api/session").await["read_only"], true);
}

#[tokio::test]
async fn with_a_token_nothing_is_shown_before_it_is_given() {
    let token = Token::new(TOKEN).unwrap();
    let bench = Bench::new(Topology::Embedded, |dashboard| dashboard.token(token)).await;
    bench.emit("secret.stream", json!({})).await;
    for path in [
        "/api/overview",
        "/api/entries?stream=secret.stream",
        "/api/failed",
        "/api/doctor",
        "/api/jobs",
        "/api/live",
    ] {
        assert_eq!(bench.get(path).await.status, 401, "{path}");
    }
    let session = bench.json("/api/session").await;
    assert_eq!(session, json!({"login": true, "logged_in": false}));
    assert_eq!(
        bench.post("/api/failed/forget", json!({"filter": {}})).await.status,
        401
    );
    // The page itself says nothing about the store.
    assert_eq!(bench.get("/").await.status, 200);

    let wrong = bench
        .post("/api/login", json!({"token": "a-token-of-32-characters-or-so-13"}))
        .await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let login = bench.post("/api/login", json!({"token": TOKEN})).await;
    assert_eq!(login.status, 200);
    let cookie = login.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(TOKEN) && !cookie.contains("Secure"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let entries = "/api/entries?stream=secret.stream";
    let reply = bench.say("GET", entries, &[("Cookie", pair)], "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["entries"].as_array().unwrap().len(), 1);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(
        bench
            .say("GET", "/api/overview", &[("Authorization", &bearer)], "")
            .await
            .status,
        200
    );
    let forged = format!("{}=0123", pair.split('=').next().unwrap());
    assert_eq!(
        bench
            .say("GET", "/api/overview", &[("Cookie", &forged)], "")
            .await
            .status,
        401
    );

    let headers = [("Cookie", pair), ("X-Streamer-Dashboard", "1")];
    assert_eq!(bench.say("POST", "/api/logout", &headers, "").await.status, 200);
    assert_eq!(
        bench.say("GET", "/api/overview", &[("Cookie", pair)], "").await.status,
        401
    );
}

#[tokio::test]
async fn a_cookie_that_came_by_tls_is_never_sent_without() {
    let token = Token::new(TOKEN).unwrap();
    let bench = Bench::new(Topology::Embedded, |dashboard| {
        dashboard.token(token).hosts(["ops.lan"])
    })
    .await;
    let headers = [
        ("Host", "ops.lan"),
        ("Origin", "https://ops.lan"),
        ("Content-Type", "application/json"),
        ("X-Streamer-Dashboard", "1"),
    ];
    let login = bench
        .say("POST", "/api/login", &headers, &json!({"token": TOKEN}).to_string())
        .await;
    assert_eq!(login.status, 200, "{}", login.body);
    assert!(login.header("set-cookie").unwrap().ends_with("; Secure"));
}

#[tokio::test]
async fn a_password_in_the_address_of_the_store_is_masked() {
    let options = streamer_test_servers::Options::default().line("user bob on >Hunter2 ~* &* +@all");
    let store = streamer_test_servers::Store::with_options(options);
    let url = store.url().replacen("redis://", "redis://bob:Hunter2@", 1);
    let streamer = streamer::Streamer::connect(&url).await.unwrap();
    let bench = Bench::new(Topology::Embedded, |_| streamer_dashboard::Dashboard::new(streamer)).await;
    for path in ["/api/session", "/api/overview", "/api/doctor"] {
        let reply = bench.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        assert!(!reply.body.contains("Hunter2"), "{path}: {}", reply.body);
    }
    assert!(
        bench.json("/api/session").await["store"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1")
    );
}
