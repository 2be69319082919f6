//! The strokes that all plots are made of. Colours are classes of the page's style sheet, so that they follow the reader's
//! light or dark theme.

use svg::node::element::{Line, Rectangle, Text, Title};
use svg::{Document, Node};

/// Width of all plots, in units that are pixels at full size.
pub(super) const WIDTH: f64 = 960.0;

/// A drawing that grows downwards.
pub(super) struct Plot {
    document: Document,
    label: String,
}

/// Where a text stands to its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Plot {
    /// `label` tells what is seen to those who can't see it.
    pub(super) fn new(label: &str) -> Self {
        Self { document: Document::new(), label: label.to_owned() }
    }

    /// A text whose baseline is at `y`.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, content: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = Text::new(content).set("x", round(x)).set("y", round(y));
        self.add(text.set("text-anchor", anchor).set("class", class));
    }

    /// A rectangle; `hint` is shown to who points at it.
    pub(super) fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, hint: &str) {
        let mut bar = Rectangle::new().set("x", round(x)).set("y", round(y)).set("class", class);
        bar = bar.set("width", round(width.max(0.0))).set("height", round(height.max(0.0)));
        self.add(if hint.is_empty() { bar } else { bar.add(Title::new(hint)) });
    }

    /// A line.
    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let line = Line::new().set("x1", round(x1)).set("y1", round(y1)).set("class", class);
        self.add(line.set("x2", round(x2)).set("y2", round(y2)));
    }

    /// Anything else.
    pub(super) fn add(&mut self, node: impl Into<Box<dyn Node>>) {
        self.document.append(node);
    }

    /// The finished element.
    pub(super) fn finish(self, height: f64) -> String {
        let document = self.document.set("viewBox", format!("0 0 {WIDTH} {}", round(height)));
        let document = document.set("role", "img").set("aria-label", self.label);
        document.to_string()
    }
}

/// To a tenth of a pixel.
pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Round steps from nought that cover `most` in about `count`.
pub(super) fn steps(most: f64, count: f64) -> Vec<f64> {
    let rough = (most / count).max(f64::MIN_POSITIVE);
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    (0..).map(|index| f64::from(index) * step).take_while(|value| *value < most + step).collect()
}
