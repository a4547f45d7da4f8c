//! The picture of the demo in the README: made from what the program prints, and compared with it.
//! `UPDATE_DOCUMENTS=1` makes it again; `STREAMER_DEMO` names another binary to make it with, such as a release build.

use std::{fmt::Write as _, fs, path::Path};

use crate::bench::Bench;

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/demo.svg");
/// Pixels of a character and of a line, at the font size of the picture.
const CHARACTER: f64 = 7.83;
const LINE: usize = 18;

/// A part of a line with its ANSI style; empty without one.
type Part = (String, String);

/// The lines of a terminal: text with ANSI styles in, parts out.
fn parts(line: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for (number, piece) in line.split("\u{1b}[").enumerate() {
        let (style, text) = match (number, piece.split_once('m')) {
            (0, _) | (_, None) => ("0", piece),
            (_, Some(styled)) => styled,
        };
        if !text.is_empty() {
            let style = if style == "0" { "" } else { style };
            parts.push((style.to_owned(), text.to_owned()));
        }
    }
    parts
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Lines of a terminal as a picture.
fn svg(lines: &[Vec<Part>]) -> String {
    let length = |line: &Vec<Part>| line.iter().map(|(_, text)| text.chars().count()).sum::<usize>();
    let columns = lines.iter().map(length).max().unwrap_or_default();
    #[allow(clippy::cast_precision_loss, reason = "columns of a screen")]
    let width = (columns as f64 * CHARACTER).ceil() + 32.0;
    let height = lines.len() * LINE + 32;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"What streamer demo prints\">\n\
         <style>text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d8dee9;white-space:pre}}\
         .prompt{{fill:#88c0d0}}.s32{{fill:#a3be8c}}.s31{{fill:#ff7b72}}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e2430\"/>\n"
    );
    for (number, line) in lines.iter().enumerate() {
        let y = 28 + number * LINE;
        let _ = write!(svg, "<text x=\"16\" y=\"{y}\" xml:space=\"preserve\">");
        for (style, text) in line {
            let _ = match style.as_str() {
                "" => write!(svg, "{}", escaped(text)),
                "prompt" => write!(svg, "<tspan class=\"prompt\">{}</tspan>", escaped(text)),
                style => write!(svg, "<tspan class=\"s{style}\">{}</tspan>", escaped(text)),
            };
        }
        svg.push_str("</text>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// The lines of text that a picture shows.
fn lines_of(svg: &str) -> Vec<String> {
    let texts = svg.lines().filter(|line| line.starts_with("<text "));
    let text = |line: &str| {
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, tag)) = rest.split_once('<') {
            text.push_str(before);
            rest = tag.split_once('>').map_or("", |(_, after)| after);
        }
        text.push_str(rest);
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    };
    texts.map(text).collect()
}

/// What is the same in every run. Which orders are shown depends on what arrives when, so that of an order only the beginning is.
fn general(line: &str) -> String {
    let line = match line.split_once(" order ") {
        Some((before, _)) if line.trim_start().starts_with("handled [") => before,
        _ => line,
    };
    let mut general = String::new();
    for word in line.split_whitespace() {
        if !general.is_empty() {
            general.push(' ');
        }
        match word {
            word if word.starts_with("sqlite:") => general.push_str("URL"),
            word => {
                let mut digits = false;
                for c in word.chars() {
                    match c.is_ascii_digit() {
                        true if digits => {}
                        true => general.push('N'),
                        false => general.push(c),
                    }
                    digits = c.is_ascii_digit();
                }
            }
        }
    }
    general
}

#[test]
fn the_picture_of_the_demo_shows_what_it_prints() {
    let bench = Bench::new();
    let mut command = bench.command(&["demo", "--ansi"]);
    if let Some(other) = std::env::var_os("STREAMER_DEMO") {
        command = std::process::Command::new(other);
        command.args(["demo", "--ansi"]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let screen = String::from_utf8(output.stdout).unwrap();
    let shown = screen.split_once("\nWhat to try next").expect("the end of the demo").0;
    let prompt = vec![
        ("prompt".to_owned(), "$ ".to_owned()),
        (String::new(), "streamer demo".to_owned()),
    ];
    let lines: Vec<_> = [prompt]
        .into_iter()
        .chain(shown.trim_end().lines().map(parts))
        .collect();
    let picture = svg(&lines);
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(PICTURE, picture).unwrap();
        return;
    }
    let there = fs::read_to_string(Path::new(PICTURE)).unwrap();
    // Four workers at once: lines may change places.
    let general = |svg: &str| {
        let mut lines = lines_of(svg).iter().map(|line| general(line)).collect::<Vec<_>>();
        lines.sort();
        lines
    };
    assert_eq!(general(&there), general(&picture), "UPDATE_DOCUMENTS=1 makes it again");
    assert!(there.contains("class=\"s31\""), "the failure is red");
}
