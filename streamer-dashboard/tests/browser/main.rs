//! The dashboard in a real browser: Chromium, driven by its WebDriver.
//!
//! `UPDATE_DOCUMENTS=1` writes the pictures of `docs/dashboard.md`.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod actions;
mod browser;
mod hostile;
mod keyboard;
mod pages;
mod shop;
