//! The plots of `DESIGN.md`: what lies inside a server while a backlog drains. `WRITE=1 cargo test -p penstock-release
//! --test behaviour plots` draws them anew.

use std::fmt::Write;
use std::path::Path;

use crate::inside::{Capacity, Knows, drain, dropping, steady, varying};

const SECONDS: usize = 240;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 30.0;
/// What the law aims at: that much of the server's work lies inside.
const TARGET_S: f64 = 2.5;

/// One line of a plot: what it is, its colour, its values by the second.
type Line = (&'static str, &'static str, Vec<f64>);

fn inside(knows: Knows, capacity: Capacity) -> Vec<f64> {
    let drain = drain(knows, 20_000, capacity);
    drain.inside.iter().take(SECONDS).map(|length| *length as f64).collect()
}

fn lines(capacity: Capacity) -> [Line; 3] {
    let target = (0..SECONDS as u64).map(|second| capacity(second * 1_000) * TARGET_S).collect();
    [
        ("2.5 s of its work", "#999999", target),
        ("canaries", "#c2571a", inside(Knows::Canaries, capacity)),
        ("counters", "#1a6bc2", inside(Knows::Counters, capacity)),
    ]
}

fn svg(title: &str, lines: &[Line]) -> String {
    let most = lines.iter().flat_map(|(.., values)| values).copied().fold(1.0, f64::max);
    // A round number above it.
    let top = (most / 40.0).ceil() * 40.0;
    let x = |second: usize| LEFT + (WIDTH - LEFT - 10.0) * second as f64 / SECONDS as f64;
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"14\" font-weight=\"bold\">{title}</text>\n"
    );
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        let at = y(value);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            x(SECONDS),
            LEFT - 6.0,
            at + 4.0
        );
    }
    for second in (0..=SECONDS).step_by(60) {
        let (at, below) = (x(second), HEIGHT - BOTTOM + 16.0);
        let _ =
            writeln!(out, "<text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{second} s</text>");
    }
    for (number, (name, colour, values)) in lines.iter().enumerate() {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(second, value)| format!("{:.1},{:.1}", x(second), y(*value)))
            .collect();
        let at = WIDTH - 330.0 + 115.0 * number as f64;
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n\
             <text x=\"{at:.1}\" y=\"14\" fill=\"{colour}\">{name}</text>",
            points.join(" ")
        );
    }
    out + "</svg>\n"
}

#[test]
fn the_plots_show_what_the_law_does() {
    let plots: [(&str, &str, Capacity); 3] = [
        ("steady", "Messages inside a server that does 20 a second", steady),
        ("varying", "… 10 to 30 a second, within each minute", varying),
        ("dropping", "… 80 a second, and 20 from one moment to the next", dropping),
    ];
    for (name, title, capacity) in plots {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("plots/{name}.svg"));
        let drawn = svg(title, &lines(capacity));
        if std::env::var_os("WRITE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &drawn).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == drawn, "plots/{name}.svg is out of step: see the head of this file");
    }
}
