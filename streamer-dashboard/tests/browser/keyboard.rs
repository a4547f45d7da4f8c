//! All of it without a mouse.

use crate::{browser::Browser, shop::Shop};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const SPACE: &str = " ";
const ESCAPE: &str = "\u{e00c}";

/// Presses Tab until what has the focus is as wanted.
async fn tab_to(browser: &Browser, wanted: &str) {
    for _ in 0..120 {
        browser.press(TAB).await;
        if browser
            .js(&format!("((one) => Boolean({wanted}))(document.activeElement)"))
            .await
            == true
        {
            return;
        }
    }
    panic!("Tab never came to {wanted}");
}

#[tokio::test]
async fn every_part_is_reached_and_used_by_keys_alone() {
    let shop = Shop::open().await;
    let browser = Browser::start(&shop.root).await;
    browser.open("overview").await;
    browser.sees("order.placed").await;

    // The first stop is the way to the content, and the focus is seen.
    browser.press(TAB).await;
    assert_eq!(browser.js("document.activeElement.innerText").await, "Skip to content");
    let seen = browser.js("document.activeElement.getBoundingClientRect().top >= 0 && getComputedStyle(document.activeElement).outlineStyle !== 'none'").await;
    assert_eq!(seen, true);
    browser.press(ENTER).await;
    assert_eq!(browser.js("document.activeElement.id").await, "main");

    tab_to(&browser, "one.innerText === 'billing' && one.tagName === 'A'").await;
    browser.press(ENTER).await;
    browser.sees("Consumers").await;
    browser.until("location.hash.startsWith('#/group')").await;

    // Shortcuts.
    browser.press("gf").await;
    browser.sees("17 failures listed").await;
    browser.press("?").await;
    browser.until("document.querySelector('dialog[open]')").await;
    browser.press(ESCAPE).await;
    browser.until("!document.querySelector('dialog')").await;
    browser.press("/").await;
    assert_eq!(browser.js("document.activeElement.name").await, "error");
    browser.press("audit").await;
    browser.press(ENTER).await;
    browser.sees("5 match").await;

    // A failure is opened, selected and forgotten.
    tab_to(&browser, "one.type === 'checkbox' && one.closest('.failures')").await;
    browser.press(SPACE).await;
    browser.sees("1 selected").await;
    browser.press(TAB).await;
    browser.press(ENTER).await;
    browser.until("document.querySelector('#detail pre.error')").await;
    browser
        .client
        .execute("document.getElementById('main').focus()", vec![])
        .await
        .unwrap();
    tab_to(&browser, "one.innerText === 'Forget selected'").await;
    browser.press(ENTER).await;
    browser.until("document.querySelector('dialog[open]')").await;
    // A change that cannot be taken back is not what Enter does at once.
    assert_eq!(browser.js("document.activeElement.innerText").await, "Cancel");
    browser.press(TAB).await;
    browser.press(ENTER).await;
    browser.sees("4 match").await;
    browser
        .until("document.getElementById('said').textContent.includes('Forget')")
        .await;
    assert_eq!(shop.failures().await, 16);

    browser
        .client
        .execute("document.getElementById('main').focus()", vec![])
        .await
        .unwrap();
    for (keys, page) in [
        ("go", "#/overview"),
        ("ga", "#/archive"),
        ("gr", "#/replay"),
        ("gx", "#/outbox"),
        ("gd", "#/doctor"),
    ] {
        browser.press(keys).await;
        browser
            .until(&format!(
                "location.hash === '{page}' && document.querySelector('nav [aria-current]')"
            ))
            .await;
    }
    browser.end_well().await;
}
