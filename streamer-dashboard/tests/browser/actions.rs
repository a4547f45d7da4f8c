//! Each action, by the mouse: it asks first, says how many messages it is about, and does it.

use serde_json::json;

use crate::{browser::Browser, shop::Shop};

#[tokio::test]
async fn failures_are_retried_and_forgotten_one_by_one_selected_and_all() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    browser.open("failed").await;
    assert_eq!(shop.failures().await, 17);

    // One that is open: it leaves the list.
    browser
        .click("//ul[@class='failures']/li[contains(., 'for 1 pages')]//button")
        .await;
    browser.until("document.querySelector('#detail .json')").await;
    browser
        .click("//section[@id='detail']//button[normalize-space()='Retry']")
        .await;
    browser.confirm("1 failure.", "Retry").await;
    browser.sees("1 handled").await;
    browser.sees("16 failures listed").await;

    // A selection.
    browser
        .click("//ul[@class='failures']/li[contains(., 'for 2 pages')]/input")
        .await;
    browser
        .click("//ul[@class='failures']/li[contains(., 'for 3 pages')]/input")
        .await;
    browser.button("Retry selected").await;
    browser.confirm("2 failures.", "Retry").await;
    browser.sees("14 failures listed").await;

    // A question that is answered with no changes nothing.
    browser.button("Flush").await;
    browser.until("document.querySelector('dialog[open]')").await;
    browser.button("Cancel").await;
    browser.until("!document.querySelector('dialog')").await;
    assert_eq!(shop.failures().await, 14);

    // All of a kind, by one click on it and one more.
    browser.click("//button[contains(., 'connection to audit')]").await;
    browser.sees("5 match").await;
    browser.button("Forget all matches").await;
    browser.confirm("5 failures.", "Forget").await;
    browser.sees("5 forgotten").await;
    assert_eq!(shop.failures().await, 9);
    browser.click("//a[normalize-space()='All failures']").await;
    browser.sees("9 failures listed").await;

    // All: those without paper stay, and the page says why.
    browser.button("Retry all").await;
    browser.confirm("9 failures.", "Retry").await;
    browser.sees("failed again").await;
    browser.until("document.querySelector('.job details')").await;
    let left = shop.failures().await;
    assert!((1..9).contains(&left), "{left}");
    browser.button("Flush").await;
    browser
        .confirm(
            &format!("{left} failure{}.", if left == 1 { "" } else { "s" }),
            "Forget",
        )
        .await;
    browser.sees("Nothing has failed").await;
    assert_eq!(shop.failures().await, 0);
    browser.end_well().await;
}

#[tokio::test]
async fn a_group_is_moved_after_a_dry_run() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    browser.open("group?stream=order.placed&group=billing").await;
    browser.write("//input[@name='to']", "start").await;
    assert_eq!(
        browser
            .js("[...document.querySelectorAll('button')].find((one) => one.innerText === 'Move').disabled")
            .await,
        true
    );
    browser.button("Dry run").await;
    browser.sees("28 messages will be delivered again").await;
    browser.button("Move").await;
    browser.confirm("28 messages will be delivered again.", "Move").await;
    browser
        .until("document.getElementById('said').textContent.includes('was moved to 0-0')")
        .await;
    let groups = shop.streamer.engine().groups(&"order.placed".into()).await.unwrap();
    assert!(
        groups
            .iter()
            .any(|group| group.name == "billing" && group.last_delivered_id.to_string() == "0-0")
    );
    browser.end_well().await;
}

#[tokio::test]
async fn archived_messages_and_blocked_rows_are_released() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    browser.open("archive").await;
    browser.click("(//button[normalize-space()='Restore'])[1]").await;
    browser.confirm("1 message.", "Restore").await;
    browser.sees("1 restored").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 4")
        .await;
    browser.button("Restore all").await;
    browser.confirm("4 messages.", "Restore").await;
    browser.sees("The archive is empty").await;
    browser.open("outbox").await;
    browser
        .click("//button[@aria-label='Skip 0197fdd4-5f2c-7c0e-9d1b-0242ac120001']")
        .await;
    browser.confirm("1 row.", "Skip").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 1")
        .await;
    browser.button("Retry all").await;
    browser.confirm("1 row.", "Retry").await;
    browser.sees("No row is blocked").await;
    browser.end_well().await;
}

#[tokio::test]
async fn a_slider_goes_through_the_history_of_a_resource() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    browser.open("replay").await;
    browser.write("//input[@name='event']", "user").await;
    browser.write("//input[@name='id']", "7").await;
    browser.button("Replay").await;
    browser.sees("4 of 4").await;
    browser
        .until("document.querySelector('.json').textContent.includes('Ann Hansen')")
        .await;
    browser.click("//button[@aria-label='One change back']").await;
    browser.sees("3 of 4").await;
    let state = browser
        .js("JSON.parse(document.querySelector('.json').textContent)")
        .await;
    assert_eq!(
        state,
        json!({"name": "Ann", "city": "Bergen", "plan": "pro", "seats": 5})
    );
    // The slider itself, by its keys.
    browser
        .client
        .execute("document.querySelector('input[type=range]').focus()", vec![])
        .await
        .unwrap();
    browser.press("\u{e011}").await;
    browser.sees("1 of 4").await;
    let state = browser
        .js("JSON.parse(document.querySelector('.json').textContent)")
        .await;
    assert_eq!(state, json!({"name": "Ann", "city": "Oslo", "plan": "free"}));
    browser.end_well().await;
}

#[tokio::test]
async fn what_cannot_be_done_says_why() {
    let shop = Shop::with(|dashboard| dashboard.read_only(true)).await;
    let browser = Browser::start(&shop.root).await;
    browser.open("failed").await;
    browser.sees("Read-only").await;
    browser.sees("Retry is off here. The dashboard is read-only.").await;
    let enabled = "[...document.querySelectorAll('main button')].filter((one) => !one.disabled && /^(Retry|Forget|Flush|Restore|Move|Dry)/.test(one.innerText)).length";
    assert_eq!(browser.js(enabled).await, 0);
    for page in ["archive", "outbox", "group?stream=order.placed&group=billing"] {
        browser.open(page).await;
        assert_eq!(browser.js(enabled).await, 0, "{page}");
    }
    browser.end_well().await;
}
