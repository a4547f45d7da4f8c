//! Ways to connect, and what is said when that fails.

use super::*;

#[tokio::test]
async fn a_database_number_is_a_place_of_its_own() {
    let server = RedisServer::start();
    works(&format!("{}/3", server.url())).await;
    let other = RedisEngine::connect(&server.url()).await.unwrap();
    assert_eq!(other.len(&StreamName::from("events")).await.unwrap(), 0);
    assert!(server.command(&["INFO", "keyspace"]).contains("db3:keys=1"));
}

#[tokio::test]
async fn a_unix_socket_serves() {
    let server = Options::default()
        .unix_socket()
        .user("app on >secret ~* &* +@all")
        .start();
    let url = server.unix_url();
    assert_eq!(works(&url).await.location(), url);
    let engine = works(&format!("{url}?db=2&user=app&pass=secret")).await;
    assert_eq!(engine.location(), format!("{url}?db=2"));
}

#[tokio::test]
async fn tls_with_the_authoritys_certificate_serves() {
    let server = Options::default().tls().start();
    works(&server.url()).await;
    let (cert, key) = (server.file("cert.pem"), server.file("key.pem"));
    works(&format!(
        "{}&cert={}&key={}",
        server.url(),
        cert.display(),
        key.display()
    ))
    .await;
}

#[tokio::test]
async fn tls_trusts_a_self_signed_certificate_where_it_is_named_itself() {
    let server = Options::default().self_signed_tls().start();
    works(&server.url()).await;
    let host = format!("127.0.0.1:{}", server.tls_port());
    assert_eq!(
        connect_error(&format!("rediss://{host}")).await.kind(),
        EngineErrorKind::Connection
    );
    works(&format!("rediss://{host}?insecure")).await;
    // Another one's is not trusted, nor is this one for another name.
    let other = Options::default().self_signed_tls().start();
    let ca = other.file("ca.pem");
    let refused = connect_error(&format!("rediss://{host}?ca={}", ca.display())).await;
    assert_eq!(refused.kind(), EngineErrorKind::Connection, "{refused}");
    assert!(refused.to_string().contains("?insecure"), "{refused}");
    let pointed = connect_error(&format!("rediss://{host}#insecure")).await;
    assert_eq!(pointed.kind(), EngineErrorKind::InvalidInput);
    assert!(pointed.to_string().contains("write '?insecure'"), "{pointed}");
}

#[tokio::test]
async fn tls_trusts_no_unknown_authority_unless_told_to() {
    let server = Options::default().tls().start();
    let url = format!("rediss://127.0.0.1:{}", server.tls_port());
    assert_eq!(connect_error(&url).await.kind(), EngineErrorKind::Connection);
    works(&format!("{url}?insecure=true")).await;
}

#[tokio::test]
async fn a_tls_server_may_demand_a_clients_certificate() {
    let server = Options::default().tls().line("tls-auth-clients yes").start();
    let refused = connect_error(&server.url()).await;
    assert_eq!(refused.kind(), EngineErrorKind::Connection, "{refused}");
    let (cert, key) = (server.file("cert.pem"), server.file("key.pem"));
    works(&format!(
        "{}&cert={}&key={}",
        server.url(),
        cert.display(),
        key.display()
    ))
    .await;
}

#[tokio::test]
async fn a_user_logs_in_and_the_password_is_never_shown() {
    let server = Options::default().user("app on >s3cret/word ~* &* +@all").start();
    let host = format!("127.0.0.1:{}", server.port());
    let engine = works(&format!("redis://app:s3cret%2Fword@{host}")).await;
    assert_eq!(engine.location(), format!("redis://app@{host}"));
    assert!(!format!("{engine:?}").contains("s3cret"));

    let error = connect_error(&format!("redis://app:wrong-pass@{host}")).await;
    assert_eq!(error.kind(), EngineErrorKind::Permission, "{error}");
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("app@127.0.0.1") && !shown.contains("wrong-pass"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_user_without_permission_is_told_so() {
    let server = Options::default()
        .user("app on >secret ~events* &* +@all -xadd -config -ping -client")
        .start();
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let engine = RedisEngine::connect(&url).await.unwrap();
    assert_kind(engine.append(an_append("events")).await, EngineErrorKind::Permission);
    assert_kind(
        engine.len(&StreamName::from("others")).await,
        EngineErrorKind::Permission,
    );
    // What may not be asked is passed over.
    assert_eq!(engine.warnings().await.unwrap(), [""; 0]);
    // Without CLIENT there is no interrupting, but there is reading.
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(StreamName::from("events"), EntryId::MIN)]))
        .await
        .unwrap();
    reader.interrupter().interrupt();
    assert_eq!(reader.next(1, Some(Duration::from_millis(1))).await.unwrap(), []);
}

#[tokio::test]
async fn urls_that_make_no_sense_are_refused_before_connecting() {
    for url in [
        "redis:/localhost",
        "redis://",
        "redis://a,b",
        "redis://localhost/zero",
        "redis://localhost/1/2",
        "redis://localhost?colour=red",
        "redis://localhost?ca=/no/such/file",
        "rediss://localhost?ca=/no/such/file",
        "rediss://localhost?cert=/etc/hostname",
        "redis-sentinel://localhost",
        "redis-cluster://localhost/1",
        "redis://user:secret/word@localhost",
        "http://localhost",
    ] {
        let error = connect_error(url).await;
        assert_eq!(error.kind(), EngineErrorKind::InvalidInput, "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_a_connection_error() {
    let mut server = RedisServer::start();
    let url = server.url();
    server.stop();
    let error = connect_error(&url).await;
    assert_eq!(error.kind(), EngineErrorKind::Connection);
    assert!(error.to_string().contains(&url), "{error}");
}
