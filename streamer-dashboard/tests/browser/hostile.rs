//! Whatever others wrote is text.

use serde_json::json;
use streamer::{
    DynamicEvent, EmitOptions,
    engine::GroupStart,
    failed::{self, FailedMessage},
};

use crate::{browser::Browser, shop::Shop};

const MARKUP: &str = "<img src=x onerror=\"window.ran=1\"><script>window.ran=2</script></script><svg onload=window.ran=3>{{window.ran=4}}";

#[tokio::test]
async fn markup_in_names_payloads_and_errors_never_runs() {
    let shop = Shop::open().await;
    let event = DynamicEvent::new(MARKUP, json!({MARKUP: MARKUP, "link": "javascript:window.ran=5"}));
    let options = EmitOptions::new().identifier(MARKUP).header("x", MARKUP);
    let id = shop.streamer.emit_with(&event, options).await.unwrap();
    let engine = shop.streamer.engine();
    let start = GroupStart::After(streamer::EntryId::MIN);
    engine.create_group(&MARKUP.into(), MARKUP, start, true).await.unwrap();
    shop.streamer
        .stream(MARKUP)
        .consumer(MARKUP, MARKUP)
        .read_new(1, None)
        .await
        .unwrap();
    let failure = FailedMessage::new(id, &MARKUP.into(), MARKUP, MARKUP);
    failed::record(engine.as_ref(), &[failure]).await.unwrap();

    let browser = Browser::start(&shop.root).await;
    browser.open("overview").await;
    browser.sees(MARKUP).await;
    let stream = browser.js(&format!("encodeURIComponent({})", json!(MARKUP))).await;
    let stream = stream.as_str().unwrap();
    for page in [
        format!("stream?stream={stream}"),
        format!("entry?stream={stream}&id={id}"),
        format!("group?stream={stream}&group={stream}"),
        format!("replay?event={stream}&id={stream}"),
        format!("failed?stream={stream}"),
    ] {
        browser.open(&page).await;
        browser.sees("onerror=").await;
    }
    browser.click("(//ul[@class='failures']//button)[1]").await;
    browser.until("document.querySelector('#detail .json')").await;
    browser.open("doctor").await;
    let made = "document.querySelectorAll('main img, main script, main iframe, main [onload], main [onerror], a[href^=javascript]').length";
    assert_eq!(browser.js(made).await, 0);
    assert_eq!(browser.js("window.ran === undefined").await, true);
    browser.end_well().await;
}
