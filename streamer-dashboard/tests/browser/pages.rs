//! Each page: what it shows, in light and dark, on a desk and on a phone.

use streamer::{
    DynamicEvent, EmitOptions, EntryId,
    engine::FailingListener,
    failed::{self, FailedMessage},
};

use streamer_test_servers::Topology;

use crate::{
    browser::Browser,
    shop::{Shop, TOKEN},
};

/// Every page, and a text that is only there when it works.
fn all(shop: &Shop, entry: &str) -> Vec<(&'static str, String, &'static str)> {
    let _ = shop;
    vec![
        ("overview", "overview".to_owned(), "order.placed"),
        (
            "stream",
            "stream?stream=order.placed".to_owned(),
            "\"customer\":\"customer-5\"",
        ),
        (
            "entry",
            format!("entry?stream=order.placed&id={entry}"),
            "not delivered yet",
        ),
        (
            "group",
            "group?stream=order.placed&group=mailing".to_owned(),
            "worker-2",
        ),
        ("failed", "failed".to_owned(), "the printer has no paper for # pages"),
        ("archive", "archive".to_owned(), "{\"invoice\":5}"),
        ("replay", "replay?event=user&id=7".to_owned(), "Ann Hansen"),
        ("outbox", "outbox".to_owned(), "WRONGTYPE"),
        ("doctor", "doctor".to_owned(), "checks:"),
    ]
}

#[tokio::test]
async fn every_page_shows_what_it_should_and_fits_a_desk_and_a_phone() {
    let shop = Shop::open().await;
    // Lines of rates need time: two of three points have a rate. Those of the documents have some minutes of traffic.
    shop.begin_traffic();
    let points = if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        15
    } else {
        3
    };
    shop.until_points(points).await;
    let entry = shop.order(41).await.to_string();
    let browser = Browser::start(&shop.root).await;
    for (name, page, text) in all(&shop, &entry) {
        browser.size(1280, 900).await;
        if name == "entry" {
            // The other groups go on: by now they may have it.
            shop.add_group_without_consumers("order.placed", "reporting").await;
        }
        browser.open(&page).await;
        browser.sees(text).await;
        if name == "failed" {
            // Payload and error stand side by side.
            browser.click("(//ul[@class='failures']//button)[1]").await;
            browser
                .until("document.querySelector('#detail .json') && document.querySelector('#detail pre.error')")
                .await;
        }
        if name == "overview" {
            browser.until("document.querySelector('.finding')").await;
        }
        if ["overview", "stream", "group"].contains(&name) {
            browser
                .until("document.querySelector('main .spark path')?.getAttribute('d').includes('L')")
                .await;
        }
        browser.until("document.querySelector('.dot.good')").await;
        let wide = browser
            .js("document.documentElement.scrollWidth <= window.innerWidth")
            .await;
        assert_eq!(wide, true, "{name} is wider than a desk");
        // What is below the findings belongs on the picture.
        browser.size(1280, if name == "overview" { 1120 } else { 900 }).await;
        browser.picture(name).await;
        if ["overview", "failed"].contains(&name) {
            browser.scheme("dark").await;
            let colour = browser.js("getComputedStyle(document.body).backgroundColor").await;
            assert_eq!(colour, "rgb(15, 18, 24)", "{name} is not dark");
            browser.picture(&format!("{name}-dark")).await;
            browser.scheme("light").await;
        }
        browser.size(375, 720).await;
        let width = browser
            .js("[document.scrollingElement.scrollWidth, window.innerWidth]")
            .await;
        assert!(
            width[0].as_u64() <= width[1].as_u64(),
            "{name} is wider than a phone: {width}"
        );
        assert_eq!(width[1], 375, "{name}");
        if ["overview", "failed"].contains(&name) {
            browser.picture(&format!("{name}-phone")).await;
        }
        let unnamed = browser
            .js("[...document.querySelectorAll('button, a[href], input, select')].filter((one) => \
                 !(one.innerText?.trim() || one.getAttribute('aria-label') || one.labels?.length || one.textContent.trim())).map((one) => one.outerHTML)")
            .await;
        assert_eq!(unnamed, serde_json::json!([]), "{name} has parts without a name");
    }
    browser.end_well().await;
}

#[tokio::test]
async fn what_is_live_comes_by_itself_and_can_be_paused() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    browser.open("overview").await;
    browser.sees("order.placed").await;
    let entries =
        "[...document.querySelectorAll('.tile')].find((one) => one.innerText.startsWith('Streams')).innerText";
    let before = browser.js(entries).await.as_str().unwrap().to_owned();
    for n in 100..110 {
        shop.order(n).await;
    }
    browser
        .until(&format!("{entries} !== {}", serde_json::json!(before)))
        .await;
    browser
        .until("/Seen .* ago|Seen just now/.test(document.getElementById('foot').innerText)")
        .await;
    browser.sees("for 1 browser together").await;

    browser.open("stream?stream=order.placed").await;
    browser.button("Live tail").await;
    browser
        .until("document.querySelector('[data-tail]').getAttribute('aria-pressed') === 'true'")
        .await;
    browser.until("document.querySelector('.dot.good')").await;
    // The tail begins a moment after the page says so: it is asked for again and again.
    let first = "document.querySelector('tbody tr .id').innerText";
    let newest = browser.js(first).await;
    let mut n = 200;
    while browser.js(first).await == newest {
        shop.order(n).await;
        n += 1;
        assert!(n < 400, "nothing came");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    browser.button("Pause").await;
    browser
        .until("document.querySelector('[data-pause]').innerText.startsWith('Go on')")
        .await;
    let held = browser.js(first).await;
    let id = shop.order(500).await.to_string();
    browser
        .until("/Go on \\([1-9]/.test(document.querySelector('[data-pause]').innerText)")
        .await;
    assert_eq!(browser.js(first).await, held);
    browser.click("//button[@data-pause]").await;
    browser.until(&format!("{first} === {}", serde_json::json!(id))).await;
    browser.end_well().await;
}

#[tokio::test]
async fn the_log_is_filtered_and_read_back_and_a_message_is_one_click_away() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    browser.open("overview").await;
    browser.click("//a[normalize-space()='order.placed']").await;
    browser.sees("Entries").await;
    browser.write("//input[@name='field']", "items.0.sku").await;
    browser.write("//input[@name='text']", "A-12").await;
    browser.button("Filter").await;
    browser.until("document.querySelectorAll('main section, main .scroll').length && [...document.querySelectorAll('.preview')].length === 1").await;
    browser.sees("\"sku\":\"A-12\"").await;
    browser.click("//table[.//code]//a[contains(@class,'id')]").await;
    browser.sees("correlation_id").await;
    browser.sees("checkout-12").await;
    browser.sees("On the command line").await;
    browser.end_well().await;
}

#[tokio::test]
async fn events_for_later_are_on_their_streams_page_and_those_that_nobody_moves_stand_out() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    browser.open("overview").await;
    browser.sees("events, not due yet").await;
    browser.open("stream?stream=payment.received").await;
    browser.sees("Events for later").await;
    browser.sees("\"reminder\":true").await;
    browser.until("/in 1 h|in 2 h/.test(document.body.innerText)").await;
    // One click leads to the event.
    browser
        .click("(//*[@aria-label='Events for later, the next first']//tbody//a)[1]")
        .await;
    browser.sees("It waits under this ID until it is due, in").await;
    browser.sees("\"reminder\": true").await;
    browser.open("stream?stream=payment.received").await;
    // Nobody listens to the stream, so one that is due stays.
    let event = DynamicEvent::new("payment.received", serde_json::json!({"order": 44}));
    let scheduled = shop.streamer.scheduled("payment.received");
    let mut soon = std::time::Duration::from_millis(1);
    // One that was due before the store got it is on its stream at once: on a busy machine that takes long.
    while scheduled.count().await.unwrap() < 4 {
        let options = EmitOptions::new().deliver_after(soon);
        shop.streamer.emit_with(&event, options).await.unwrap();
        soon *= 4;
    }
    browser.sees("1 event overdue").await;
    browser.sees("streamer scheduled deliver payment.received").await;
    browser.open("overview").await;
    browser.sees("1 overdue").await;
    assert_eq!(scheduled.append_due().await.unwrap(), 1);
    browser.until("!document.body.innerText.includes('1 overdue')").await;
    browser.end_well().await;
}

#[tokio::test]
async fn each_question_of_the_night_is_answered_by_one_click_on_each_kind_of_store() {
    for store in [Topology::Redis, Topology::Cluster, Topology::Embedded] {
        // The browser first, whose turn may come late: consumers that did nothing for two minutes are not alive.
        let browser = Browser::start("").await;
        let shop = Shop::on(store, |dashboard| dashboard).await;
        let browser = browser.at(&shop.root);
        // How far behind is each group, and is anything alive? The first page tells.
        browser.open("overview").await;
        let row = "[...document.querySelectorAll('tbody tr')].find((row) => row.innerText.includes('mailing'))";
        let cell = |label: &str| format!("{row}?.querySelector('[data-label={label}]').innerText.trim()");
        browser.until(&format!("{} === '28'", cell("Lag"))).await;
        browser.until(&format!("/[0-9]/.test({})", cell("Waits"))).await;
        browser.until(&format!("{} === '2 of 2'", cell("Alive"))).await;
        // What is pending, with whom and since when?
        browser.click("//a[normalize-space()='mailing']").await;
        browser.sees("Pending, oldest first").await;
        let pending = "document.querySelector('[aria-label=\"Pending entries\"] tbody tr')";
        browser
            .until(&format!(
                "/worker-1/.test({pending}?.innerText) && /ago|just now/.test({pending}.innerText)"
            ))
            .await;
        // Which message is it?
        browser.click("(//*[@aria-label='Pending entries']//tbody//a)[1]").await;
        browser.sees("checkout-1").await;
        browser.sees("with worker-1, delivered once").await;
        // What failed, and why?
        browser
            .click("//nav//a[starts-with(normalize-space(), 'Failed')]")
            .await;
        browser.sees("the printer has no paper for # pages").await;
        browser.click("(//ul[@class='failures']//button)[1]").await;
        browser.until("document.querySelector('#detail pre.error')").await;
        browser.end_well().await;
    }
}

#[tokio::test]
async fn what_is_gone_is_said_and_is_no_error_in_the_console() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    for (page, text) in [
        ("stream?stream=never", "There is no stream 'never'."),
        (
            "group?stream=order.placed&group=nobody",
            "The stream 'order.placed' has no group 'nobody'.",
        ),
        ("entry?stream=order.placed&id=1-1", "Nothing is known of this message"),
        ("replay?event=user&id=nobody", "There is no history of 'user'"),
        ("archive?stream=never", "It has no message of never."),
        ("failed?receiver=nobody", "No failure matches"),
    ] {
        browser.open(page).await;
        browser.sees(text).await;
        // Each answer is shown, though the next look at the store asks for another one while it is awaited.
        let asked = "performance.getEntriesByType('resource').filter((one) => one.name.includes('/api/group?')).length";
        let asked = browser.js(asked).await;
        assert!(asked.as_u64() < Some(4), "{page} was shown after {asked} requests");
    }
    // What goes while it is shown is gone at the next look, and comes back when it does.
    let engine = shop.streamer.engine();
    browser.open("group?stream=payment.received&group=ledger").await;
    browser.sees("worker-1").await;
    engine
        .destroy_group(&"payment.received".into(), "ledger")
        .await
        .unwrap();
    browser.sees("The group is gone").await;
    browser.open("stream?stream=user").await;
    browser.sees("No group listens").await;
    engine.remove_stream(&"user".into()).await.unwrap();
    browser.sees("The stream is gone").await;
    let event = DynamicEvent::new("user", serde_json::json!({"name": "Bo"}));
    shop.streamer.emit(&event).await.unwrap();
    browser.sees("\"name\":\"Bo\"").await;
    // A row that somebody else skips while the question is open.
    let row = "0197fdd4-5f2c-7c0e-9d1b-0242ac120001";
    browser.open("outbox").await;
    browser.click(&format!("//button[@aria-label='Skip {row}']")).await;
    browser.until("document.querySelector('dialog[open]')").await;
    shop.outbox.skip(row).await.unwrap();
    browser.confirm("1 row.", "Skip").await;
    browser.sees("or it is not blocked").await;
    browser.end_well().await;
}

#[tokio::test]
async fn all_failures_are_reached_page_by_page() {
    let shop = Shop::open().await;
    let failures = (1..=400_u64).map(|n| FailedMessage {
        date: "2025-03-01 12:00:00".to_owned(),
        ..FailedMessage::new(
            EntryId::new(n, 0),
            &"payment.received".into(),
            "ledger",
            format!("old error {n}"),
        )
    });
    let engine = shop.streamer.engine().as_ref();
    failed::record(engine, &failures.collect::<Vec<_>>()).await.unwrap();
    let listener = FailingListener {
        stream: "payment.received",
        receiver: "ledger",
    };
    engine.keep_failing_group(listener, "bookkeeping").await.unwrap();
    let browser = Browser::start(&shop.root).await;
    browser.size(1280, 900).await;
    browser.open("failed").await;
    browser.sees("The newest 200 failures of 417.").await;
    browser.click("//a[normalize-space()='Older']").await;
    browser.sees("200 failures of 417.").await;
    browser
        .until("!document.body.innerText.includes('The newest 200')")
        .await;
    // The oldest ones: by ID, those with the smallest.
    browser.click("//a[normalize-space()='Older']").await;
    browser.sees("17 failures of 417; there are no older ones.").await;
    browser.click("(//ul[@class='failures']//button)[17]").await;
    browser.sees("in the group bookkeeping").await;
    browser.sees("neither on the stream nor in the archive").await;
    let oldest = "[...document.querySelectorAll('.failures .first-line')].at(-1).innerText";
    assert_eq!(browser.js(oldest).await, "old error 1");
    browser.client.back().await.unwrap();
    browser.sees("200 failures of 417.").await;
    browser.click("//a[normalize-space()='Newest']").await;
    browser.sees("The newest 200 failures of 417.").await;
    browser.sees("the printer has no paper").await;
    // Its message is nowhere: the page says so, and the console has no error.
    browser.end_well().await;
}

#[tokio::test]
async fn nothing_is_shown_before_the_token_is_given() {
    let shop = Shop::locked().await;
    let browser = Browser::start(&shop.root).await;
    browser.client.goto(&shop.root).await.unwrap();
    browser.sees("Log in").await;
    browser.picture("login").await;
    browser
        .write("//input[@type='password']", "a-token-for-the-browser-9876543210")
        .await;
    browser.press("\u{e007}").await;
    browser.sees("that is not the token").await;
    browser.write("//input[@type='password']", TOKEN).await;
    browser.press("\u{e007}").await;
    browser.sees("order.placed").await;
    let cookies = browser.js("document.cookie").await;
    assert_eq!(cookies, "", "a script can read the cookie");
    browser.button("Log out").await;
    browser.sees("Log in").await;
    // The refusal of the wrong token is what the console shows.
    let errors = browser.errors().await;
    assert!(errors.iter().all(|error| error.contains("401")), "{errors:?}");
    browser.end_well().await;
}
