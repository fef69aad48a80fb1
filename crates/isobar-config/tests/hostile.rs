//! No text makes the loader panic, hang or grow without bound, whatever it holds.

use std::time::Instant;

use isobar_config::{Color, Diagnostics, Source};
use proptest::prelude::*;

/// What is said about a text, in every form; none: it loads without a warning.
fn examine(text: &str) -> Diagnostics {
    let source = Source {
        name: "hostile.yaml".to_owned(),
        text: text.to_owned(),
    };
    let diagnostics = match isobar_config::load(&source) {
        Ok(loaded) => {
            let again = Source {
                name: "effective.yaml".to_owned(),
                text: isobar_config::effective(&loaded.document),
            };
            let again = isobar_config::load(&again).expect("what is written out loads");
            assert_eq!(again.plan, loaded.plan);
            loaded.warnings
        }
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            diagnostics
        }
    };
    let rendered = diagnostics.render(&source, Color::Never);
    assert_eq!(rendered.is_empty(), diagnostics.is_empty());
    assert!(!rendered.contains('\x1b'), "control characters reach the terminal");
    assert!(!diagnostics.render(&source, Color::Always).contains("\x1b]"));
    assert_eq!(
        diagnostics.to_json()["diagnostics"].as_array().unwrap().len(),
        diagnostics.len()
    );
    diagnostics
}

/// Pieces of which many texts are nearly valid.
fn piece() -> impl Strategy<Value = &'static str> {
    let pieces: &[&'static str] = &[
        "listeners:",
        "upstreams:",
        "admin:",
        "access_log:",
        "drain_timeout:",
        "address:",
        "upstream:",
        "routes:",
        "servers:",
        "match:",
        "health:",
        "limits:",
        "name:",
        "weight:",
        "set:",
        "remove:",
        "host:",
        "path:",
        " ",
        "  ",
        "\n",
        "\n  ",
        "\n    ",
        "\n  - ",
        "\n      - ",
        "\r\n",
        "\t",
        "- ",
        "? ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&a ",
        "*a",
        "!!str ",
        "!x ",
        "|\n",
        ">-\n",
        "'",
        "\"",
        "\\",
        "#",
        " # x\n",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "~",
        "<<",
        "none",
        "true",
        "10s",
        "127.0.0.1:80",
        ":80",
        "web",
        "/v1/*",
        "\"*\"",
        "0",
        "-1",
        "99999999999999999999",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "é",
        "🌡",
        "\0",
        "\x1b[2J",
        "\u{202e}",
    ];
    proptest::sample::select(pieces)
}

/// What was found once stays found.
#[test]
fn known_troublemakers() {
    for text in [
        "~: listeners:|\nupstreams:\r\n- \u{85}",
        "- \u{85}",
        "a:\n- \u{85}",
        "é:\n- \u{2028}\u{85}",
    ] {
        examine(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,64}|[\\s\\S]{0,64}") {
        examine(&text);
    }

    #[test]
    fn any_pieces(pieces in proptest::collection::vec(piece(), 0..40)) {
        examine(&pieces.concat());
    }

    #[test]
    fn a_valid_text_with_a_change(at in 0.0..1.0f64, cut in 0usize..12, put in piece()) {
        const TEXT: &str = include_str!("valid/everything.yaml");
        let floor = |at: usize| TEXT.floor_char_boundary(at.min(TEXT.len()));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
        let start = floor((at * TEXT.len() as f64) as usize);
        let end = floor(start + cut).max(start);
        examine(&[&TEXT[..start], put, &TEXT[end..]].concat());
    }
}

#[test]
fn large_texts_end_quickly() {
    let check = |what: &str, text: String| {
        let start = Instant::now();
        let diagnostics = examine(&text);
        // Generous, as other tests run at the same time; what is quadratic takes minutes.
        assert!(start.elapsed().as_secs() < 60, "{what} took {:?}", start.elapsed());
        assert!(diagnostics.has_errors(), "{what}");
    };
    let many = |count: usize, of: &dyn Fn(usize) -> String| (0..count).map(of).collect::<String>();
    check("unknown keys", many(50_000, &|i| format!("key{i}: 1\n")));
    check("one key again and again", many(50_000, &|_| "key: 1\n".to_owned()));
    check("unknown upstreams", {
        let routes = many(5_000, &|i| {
            format!("      - {{ match: {{ path: /{i} }}, upstream: usptream{i} }}\n")
        });
        let upstreams = many(5_000, &|i| {
            format!("  upstream{i}: {{ servers: [127.0.0.1:{}] }}\n", i + 1)
        });
        format!("listeners:\n  - address: 127.0.0.1:1\n    routes:\n{routes}upstreams:\n{upstreams}")
    });
    check("one address again and again", {
        let listeners = many(5_000, &|_| "  - { address: 127.0.0.1:1, upstream: a }\n".to_owned());
        format!("listeners:\n{listeners}upstreams: {{ a: {{ servers: [127.0.0.1:1] }} }}")
    });
    check("a long line", format!("listeners: [{}]", "1, ".repeat(100_000)));
    check("open brackets", "[".repeat(500_000));
    check("open braces", "{".repeat(500_000));
    check("dashes", "- ".repeat(500_000));
    check("question marks", "? ".repeat(500_000));
    check("anchors", many(20_000, &|i| format!("&a{i} ")));
    check("a quoted text", format!("\"{}", "\\x41".repeat(500_000)));
    check("spaces", " ".repeat(2_000_000));
    check("a block text", format!("a: |\n{}", "  x\n".repeat(200_000)));
    check("colons", ":".repeat(500_000));
}

#[test]
fn bounds_hold() {
    let check = |text: &str, expected: &str| {
        let diagnostics = examine(text);
        let messages: Vec<&str> = diagnostics
            .iter()
            .map(|diagnostic| diagnostic.message.as_str())
            .collect();
        assert!(messages.contains(&expected), "{messages:?}");
    };
    check(
        &format!("a: [{}]", "x,".repeat(1_000_001)),
        "the configuration has more than 1000000 values",
    );
    check(&" ".repeat((64 << 20) + 1), "the text is longer than 64 MiB");
    let anchors_in_anchors = format!("{}[{}]{}", "[&a ".repeat(40), "x,".repeat(30_000), "]".repeat(40));
    check(
        &anchors_in_anchors.replacen("[&a", "[&b", 20),
        "the configuration has more than 1000000 values",
    );
    let diagnostics = examine(&(0..3_000).map(|i| format!("key{i}: 1\n")).collect::<String>());
    assert_eq!(
        (diagnostics.len() + diagnostics.left_out(), diagnostics.len()),
        (3_001, 1_000)
    );
}
