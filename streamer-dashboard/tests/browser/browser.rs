//! A browser that is told what to do.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::http::Method;
use fantoccini::{Client, ClientBuilder, Locator, error::CmdError, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use url::Url;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// One browser at a time: a machine of two cores runs the servers, too.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct Browser {
    pub(crate) client: Client,
    root: String,
    driver: Child,
    /// Where the driver is, and its name for this browser.
    session: (u16, String),
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// A command of chromedriver beyond WebDriver.
#[derive(Debug)]
struct Beyond(&'static str, Value);

impl WebDriverCompatibleCommand for Beyond {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}

impl Browser {
    /// A browser whose pages are below `root`.
    pub(crate) async fn start(root: &str) -> Self {
        let turn = TURN.lock().await;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut driver = Command::new("chromedriver");
        driver
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let driver = driver.spawn().unwrap_or_else(|error| {
            panic!("chromedriver could not be started ({error}): apt-get install chromium chromium-driver, or cargo xtask prerequisites")
        });
        let profile = TempDir::new().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1280,900",
        ];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let wanted = wanted.as_object().unwrap().clone();
        let began = Instant::now();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(wanted);
        let address = format!("http://127.0.0.1:{port}");
        let client = loop {
            match builder.connect(&address).await {
                Ok(client) => break client,
                Err(error) => assert!(began.elapsed() < PATIENCE, "the browser does not start: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let session = client.session_id().await.unwrap().unwrap_or_default();
        Self {
            client,
            root: root.to_owned(),
            driver,
            session: (port, session),
            _profile: profile,
            _turn: turn,
        }
    }

    /// For pages below another root.
    pub(crate) fn at(mut self, root: &str) -> Self {
        root.clone_into(&mut self.root);
        self
    }

    /// Ends the browser of a test that failed. It would outlive the driver and keep the processors from the other tests.
    fn end(&self) -> std::io::Result<()> {
        let (port, session) = &self.session;
        let mut driver = TcpStream::connect(("127.0.0.1", *port))?;
        driver.set_read_timeout(Some(PATIENCE))?;
        let request =
            format!("DELETE /session/{session} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        driver.write_all(request.as_bytes())?;
        driver.read_to_end(&mut Vec::new())?;
        Ok(())
    }

    /// Opens a page, such as `failed`, and waits until it is shown.
    pub(crate) async fn open(&self, page: &str) {
        self.client.goto("about:blank").await.unwrap();
        self.client.goto(&format!("{}#/{page}", self.root)).await.unwrap();
        self.until(
            "document.querySelector('main h1') && !document.querySelector('main').textContent.includes('Loading…')",
        )
        .await;
    }

    /// What an expression gives.
    pub(crate) async fn js(&self, expression: &str) -> Value {
        self.client
            .execute(&format!("return ({expression})"), vec![])
            .await
            .unwrap()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let began = Instant::now();
        loop {
            if self.js(&format!("Boolean({expression})")).await == true {
                return;
            }
            if began.elapsed() > PATIENCE {
                let shown = self.js("document.body.innerText").await;
                panic!(
                    "it did not come to be so: {expression}\n{}",
                    shown.as_str().unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the page shows a text.
    pub(crate) async fn sees(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text)))
            .await;
    }

    /// Clicks on what a path of XML names, as a mouse does.
    pub(crate) async fn click(&self, path: &str) {
        self.with(path, async |element: fantoccini::elements::Element| {
            element.click().await
        })
        .await;
    }

    /// Clicks on a button with this text.
    pub(crate) async fn button(&self, text: &str) {
        self.click(&format!("//button[normalize-space()='{text}']")).await;
    }

    /// Answers the question before a change with yes; `affected` is what it has to say.
    pub(crate) async fn confirm(&self, affected: &str, yes: &str) {
        self.until(&format!(
            "document.querySelector('dialog[open] .affected')?.textContent === {}",
            json!(affected)
        ))
        .await;
        self.click(&format!("//dialog//button[normalize-space()='{yes}']"))
            .await;
        self.until("!document.querySelector('dialog')").await;
    }

    /// Writes into a field in place of what is there.
    pub(crate) async fn write(&self, path: &str, text: &str) {
        self.with(path, async |element: fantoccini::elements::Element| {
            element.clear().await?;
            element.send_keys(text).await
        })
        .await;
    }

    /// Does something with an element, and again when the page was brought up to date in between.
    async fn with(&self, path: &str, does: impl AsyncFn(fantoccini::elements::Element) -> Result<(), CmdError>) {
        let began = Instant::now();
        loop {
            let done = match self.client.find(Locator::XPath(path)).await {
                Ok(element) => does(element).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => return,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{path}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses keys, where the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        self.client
            .active_element()
            .await
            .unwrap()
            .send_keys(keys)
            .await
            .unwrap();
    }

    async fn beyond(&self, what: &'static str, body: Value) -> Value {
        self.client.issue_cmd(Beyond(what, body)).await.unwrap()
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        self.beyond("goog/cdp/execute", json!({"cmd": command, "params": parameters}))
            .await;
    }

    pub(crate) async fn size(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    pub(crate) async fn scheme(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// A picture for the documents, where they are to be written.
    pub(crate) async fn picture(&self, name: &str) {
        if std::env::var_os("UPDATE_DOCUMENTS").is_none() {
            return;
        }
        // A colour that is changing is none of the page's.
        self.until("document.getAnimations().length === 0").await;
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/images/dashboard");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = self.client.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// What the console of the page said that is an error; each line is given once.
    pub(crate) async fn errors(&self) -> Vec<String> {
        let log = self.beyond("se/log", json!({"type": "browser"})).await;
        let lines = log.as_array().cloned().unwrap_or_default();
        let severe = lines.iter().filter(|line| line["level"] == "SEVERE");
        severe.map(|line| line["message"].to_string()).collect()
    }

    /// The hosts that requests went to since this was asked last.
    pub(crate) async fn hosts(&self) -> std::collections::BTreeSet<String> {
        let log = self.beyond("se/log", json!({"type": "performance"})).await;
        let mut hosts = std::collections::BTreeSet::new();
        for line in log.as_array().cloned().unwrap_or_default() {
            let message: Value = serde_json::from_str(line["message"].as_str().unwrap_or_default()).unwrap_or_default();
            if message["message"]["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let address = message["message"]["params"]["request"]["url"]
                .as_str()
                .unwrap_or_default();
            // The tab that a browser begins with has resources of its own (`chrome:`), which no network brings.
            if let Ok(address) = Url::parse(address)
                && ["http", "https", "ws", "wss"].contains(&address.scheme())
                && let Some(host) = address.host_str()
            {
                hosts.insert(host.to_owned());
            }
        }
        hosts
    }

    /// Nothing went wrong in the page, and nothing was asked of another host. Ends the browser.
    pub(crate) async fn end_well(self) {
        assert_eq!(self.errors().await, Vec::<String>::new());
        let hosts = self.hosts().await;
        assert!(hosts.iter().all(|host| host == "127.0.0.1"), "{hosts:?}");
        self.client.clone().close().await.unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.end();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
